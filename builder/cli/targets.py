"""What an argument of a command line means: specs, a saved plan, or an image's name.

What ends in `.yaml` or has a slash is a path. Everything else is the name of an image when one is called so, whatever
lies in the current folder; where that may well have been meant, neither is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from builder.errors import BuildError, SpecInvalid

SPEC_SUFFIXES = (".yaml", ".yml")


def is_path(target: str, environment: str | None, variables: Mapping[str, str]) -> bool:
    """Whether an argument is a path of specs. Raises BuildError ("ambiguous") for an image's and a folder's name."""
    if target.endswith(SPEC_SUFFIXES) or "/" in target:
        return True
    if not Path(target).exists():
        return False
    spec = _spec_of(target, environment, variables)
    if spec is not None and Path(target).is_dir() and _has_specs(Path(target)):
        raise _ambiguous(target, spec, "folder of specs")
    return spec is None


def is_plan_file(target: str, environment: str | None, variables: Mapping[str, str]) -> bool:
    """Whether an argument is a saved plan, or a file that is to be refused as none.

    Raises BuildError ("ambiguous") for a plan that is called as an image is: neither may be applied by mistake.
    """
    from builder.plan.saved import is_saved

    path = Path(target)
    if not path.is_file() or path.suffix in SPEC_SUFFIXES:
        return False
    if "/" in target:
        return True
    spec = _spec_of(target, environment, variables)
    if spec is not None and is_saved(path):
        raise _ambiguous(target, spec, "saved plan")
    return spec is None


def _ambiguous(target: str, spec: str, what: str) -> BuildError:
    return BuildError(
        f"{target!r} is the name of an image and of a {what}",
        code="ambiguous",
        hint=f"write ./{target} for the {what}, {spec} for the image",
    )


def _has_specs(folder: Path) -> bool:
    from builder.spec.project import find_root, load_project, spec_files

    try:
        project, _ = load_project(find_root(folder), None)
    except SpecInvalid:
        # Whoever has a build.yaml there means specs
        return True
    files, misplaced = spec_files(project, [folder])
    return bool(files or misplaced)


def _spec_of(name: str, environment: str | None, variables: Mapping[str, str]) -> str | None:
    """The file of the image that is called exactly so, in the project of the current folder; None without one."""
    from builder.spec.loader import drafts_of
    from builder.spec.project import find_root, load_project, read_text, spec_files
    from builder.spec.yaml_text import YamlInvalid

    root = find_root(Path())
    try:
        project, _ = load_project(root, environment)
    except SpecInvalid:
        # Whoever reads the specs next says what is wrong
        return None
    # An image's name stands in its file, or is made by a template there: other files needn't be parsed
    may_be = re.compile(rb"%s|name\W*:.*\{\{" % re.escape(name.encode()))
    for file in spec_files(project, [])[0]:
        try:
            text = read_text(file, file.name, root)
        except YamlInvalid:
            continue
        if not may_be.search(text):
            continue
        drafts = drafts_of(project, file, environment=environment, variables=variables)
        if any(draft.name_guess() == name for draft in drafts):
            return os.path.relpath(file)
    return None
