"""What is left of a document when everything that breaks the schema is taken out of it.

Rules need a whole document. So that they find what they can beside the schema's findings, misspelt keys get the name
they were meant to have, and whatever else is wrong is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.messages import Problem
from builder.spec.places import Renames, written_path
from builder.spec.schema import load_schema, schema_at

MOST_ROUNDS = 8


def repaired(
    value: Mapping[str, Json],
    problems: Sequence[Problem],
    removed: set[KeyPath],
    renames: Renames,
) -> Mapping[str, Json] | None:
    """A valid document made of the valid parts of one, or None when nothing can be made of it.

    Items that were left out of a list are None, so that the others keep their index. `removed` are the paths of values
    to leave out besides, and gets those of all that were; `renames` gets the misspelt keys.
    """
    if not isinstance(value, dict):
        return None
    document = copy.deepcopy(value)
    for path in removed:
        _remove(document, path)
    for _ in range(MOST_ROUNDS):
        # The longest paths first: a key is renamed after what is under it was looked at
        for problem in sorted(problems, key=lambda item: len(item.path), reverse=True):
            if problem.meant:
                _rename(document, problem, renames)
            elif problem.instead is not None and problem.path:
                _parent(document, problem.path)[problem.path[-1]] = problem.instead
            elif _is_empty_map(document, problem):
                _parent(document, problem.path)[problem.path[-1]] = {}
            elif problem.path:
                _remove(document, problem.path)
                removed.add(written_path(problem.path, renames))
            else:
                # The document itself, or a key that it can't do without
                return None
        problems = [item for item in load_schema("image").check(document) if not _is_gap(document, item.path)]
        if not problems:
            return document
    return None


def _is_empty_map(document: Json, problem: Problem) -> bool:
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
