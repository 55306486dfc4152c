"""What is left of a document when everything that breaks the schema is taken out of it.

Rules need a whole document. So that they find what they can beside the schema's findings, misspelt keys get the name
they were meant to have, and whatever else is wrong is left out. Where a document can't do without what is missing,
each of a few values stands in for it: what the rules find with every one of them is true whatever is written there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.messages import Problem
from builder.spec.places import Renames, written_path
from builder.spec.schema import load_schema, schema_at

MOST_ROUNDS = 8
# For what every image has; families and machines (which follow from the source) have rules of their own
STAND_INS: Mapping[KeyPath, tuple[Json, ...]] = {
    ("name",): ("unnamed",),
    ("os",): ({"family": "linux"}, {"family": "windows"}),
    ("os", "family"): ("linux", "windows"),
    ("source",): (
        {"image": {"name": "unnamed"}},
        {"marketplace": {"publisher": "unnamed", "offer": "unnamed", "sku": "unnamed"}},
    ),
}


def repaired(
    value: Mapping[str, Json],
    problems: Sequence[Problem],
    removed: set[KeyPath],
    renames: Renames,
) -> list[Mapping[str, Json]]:
    """Valid documents made of the valid parts of one: one, or one for each way to stand in for what is missing.

    None when nothing can be made of it. Items that were left out of a list are None, so that the others keep their
    index. `removed` are the paths of values to leave out besides, and gets those of all that were or that something
    stands in for; `renames` gets the misspelt keys.
    """
    if not isinstance(value, dict):
        return []
    document = copy.deepcopy(value)
    for path in removed:
        _remove(document, path)
    stand_ins: list[KeyPath] = []
    for _ in range(MOST_ROUNDS):
        # The longest paths first: a key is renamed after what is under it was looked at
        for problem in sorted(problems, key=lambda item: len(item.path), reverse=True):
            lacks = (*problem.path, problem.missing or "")
            if lacks in STAND_INS:
                _parent(document, lacks)[lacks[-1]] = STAND_INS[lacks][0]
                stand_ins.append(lacks)
                removed.add(lacks)
            elif problem.meant:
                _rename(document, problem, renames)
            elif problem.instead is not None and problem.path:
                _parent(document, problem.path)[problem.path[-1]] = problem.instead
            elif is_empty_map(document, problem):
                _parent(document, problem.path)[problem.path[-1]] = {}
            elif problem.path:
                _remove(document, problem.path)
                removed.add(written_path(problem.path, renames))
            else:
                return []
        problems = [item for item in load_schema("image").check(document) if not _is_gap(document, item.path)]
        if not problems:
            return list(_each_way(document, stand_ins))
    return []


def _each_way(document: Mapping[str, Json], stand_ins: Sequence[KeyPath]) -> Iterator[Mapping[str, Json]]:
    """The document with every combination of what may stand at these paths."""
    for values in product(*(STAND_INS[path] for path in stand_ins)):
        made = copy.deepcopy(document) if stand_ins else document
        for path, value in zip(stand_ins, values, strict=True):
            _parent(made, path)[path[-1]] = value
        yield made


def is_empty_map(document: Json, problem: Problem) -> bool:
    """Whether a value is left out where a map belongs (`restart:`): what was meant is clear."""
    schema = schema_at(load_schema("image").schema, problem.path)
    parent = _parent(document, problem.path) if problem.path else None
    key = problem.path[-1] if problem.path else ""
    wanted = schema is not None and "object" in schema.get("type", ())
    return wanted and isinstance(parent, dict) and key in parent and parent[key] is None


def _is_gap(document: Json, path: KeyPath) -> bool:
    parent = _parent(document, path) if path else None
    return isinstance(parent, list) and isinstance(path[-1], int) and parent[path[-1]] is None


def _parent(document: Json, path: KeyPath) -> Json:
    for key in path[:-1]:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _remove(document: Json, path: KeyPath) -> None:
    parent, key = _parent(document, path), path[-1]
    if isinstance(parent, dict):
        parent.pop(key, None)
    elif isinstance(parent, list) and isinstance(key, int) and key < len(parent):
        parent[key] = None


def _rename(document: Json, problem: Problem, renames: Renames) -> None:
    parent, key = _parent(document, problem.path), problem.path[-1]
    if isinstance(parent, dict) and key in parent and problem.meant and problem.meant not in parent:
        parent[problem.meant] = parent.pop(key)
        renames[written_path(problem.path[:-1], renames), problem.meant] = (key,)
