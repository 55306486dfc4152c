"""`files` and `template`: files of the repository, inline content and rendered templates, put into the image.

A folder as source stands for the files in it, with the rights that git knows: a checkout's own depend on its umask.
Folders that are missing are made, those in it with the owner of its files. Each file is written beside its place and
renamed, so that no half file is ever there. A symbolic link at the path is replaced.
"""

from __future__ import annotations

import ntpath
import os
import posixpath
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from builder.errors import BuildError, Place
from builder.guest.kinds import windows
from builder.guest.kinds.common import (
    Staged,
    file_input,
    listed,
    make_step,
    place_of,
    register,
    repository_path,
    staged_files,
)
from builder.model.run import GuestFacts, GuestScript
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, FileInput, Preview, Step

VERSION = 2
TEMPLATE_VERSION = 1
TEMPLATES = Path(__file__).parents[1] / "templates"
DEFAULT_MODE = "0644"
PROGRAM_MODE = "0755"

Entry = dict[str, Any]


def files_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `files`: a folder is taken apart, so that the plan names each file."""
    entries: list[Entry] = []
    inputs: list[FileInput] = []
    notes: list[list[str]] = []
    for index, values in enumerate(choice.values["files"]):
        where = place_of(choice, image, "files", index)
        for entry in _entries(values, image, where):
            entries.append(entry)
            notes.append(_notes(values, image))
            if "source" in entry:
                inputs.append(file_input(image, os.path.relpath(image.root / entry["source"], image.folder), where))
    unique = tuple({file.path: file for file in inputs}.values())
    return make_step(
        choice,
        image,
        title=f"write {listed([entry['path'] for entry in entries])}",
        inputs={"files": entries},
        preview=Preview.EXACT,
        changes=_changes(entries, {file.path: file.size for file in unique}, notes),
        files=unique,
    )


def template_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `template`: its input is the rendered text, so that only another result makes another image."""
    values = choice.values
    path = _paths(image).normpath(values["path"])
    entry = {"path": path, "content": values["content"], **_rights(values, image, DEFAULT_MODE)}
    return make_step(
        choice,
        image,
        title=f"write {values['path']} from {values['source']}",
        inputs=entry,
        preview=Preview.EXACT,
        changes=_changes([entry], {}, [_notes(values, image)]),
    )


def _entries(values: Mapping[str, Any], image: ImageSpec, where: Place) -> Iterator[Entry]:
    path = _paths(image).normpath(values["path"])
    if values.get("source") is None:
        yield {"path": path, "content": values["content"], **_rights(values, image, DEFAULT_MODE)}
        return
    below_root = repository_path(image, values["source"], where)
    source = image.root / below_root
    if not source.is_dir():
        yield {"path": path, "source": below_root, **_rights(values, image, DEFAULT_MODE)}
        return
    for file in _files_below(source, where):
        mode = PROGRAM_MODE if file.stat().st_mode & stat.S_IXUSR else DEFAULT_MODE
        target = _paths(image).join(path, *file.relative_to(source).parts)
        from_root = file.relative_to(image.root).as_posix()
        yield {"path": target, "source": from_root, "folder": below_root, **_rights(values, image, mode)}


def _files_below(folder: Path, where: Place) -> list[Path]:
    found = []
    for here, _, names in os.walk(folder):
        for name in names:
            path = Path(here, name)
            if path.is_symlink() or not path.is_file():
                raise BuildError(f"{path.relative_to(folder.parent)} is not a regular file", code="not-a-file",
                                 where=where, hint="make symbolic links in the image with a `run` step")  # fmt: skip
            found.append(path)
    return sorted(found)


def _paths(image: ImageSpec) -> ModuleType:
    """How paths of the image are written."""
    return ntpath if windows.is_windows(image) else posixpath


def _rights(values: Mapping[str, Any], image: ImageSpec, mode: str) -> Entry:
    """What an entry says about rights; on Windows a file has those of its folder."""
    if windows.is_windows(image):
        return {}
    given = values.get("mode") or mode
    return {"mode": given, "owner": values.get("owner") or "root", "group": values.get("group") or "root"}


def _changes(entries: Sequence[Entry], sizes: Mapping[str, int], notes: Sequence[Sequence[str]]) -> list[Change]:
    changes = []
    for entry, more in zip(entries, notes, strict=True):
        size = sizes[entry["source"]] if "source" in entry else len(entry["content"].encode())
        rights = [f"{entry['mode']} {entry['owner']}:{entry['group']}"] if "mode" in entry else []
        changes.append(Change("create", "file", entry["path"], ", ".join([f"{size} bytes", *rights, *more])))
    return changes


def _notes(values: Mapping[str, Any], image: ImageSpec) -> list[str]:
    return windows.ignored(values, windows.IGNORED_OF_FILES) if windows.is_windows(image) else []


def files_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """One call of `put` for each file, and before it one of `put_folder` for each folder that isn't root's."""
    lines = [(TEMPLATES / "put.sh").read_text(encoding="utf-8")]
    staged, names = staged_files(inputs["files"], files)
    known: set[str] = set()
    for name, entry in zip(names, inputs["files"], strict=True):
        for folder in _folders(entry):
            if folder not in known:
                lines.append(f"put_folder {shlex.join([folder, entry['owner'], entry['group']])}")
                known.add(folder)
        words = [name, entry["path"], entry["mode"], entry["owner"], entry["group"]]
        lines.append(f'put "$BUILD_FILES"/{shlex.join(words)}')
    return GuestScript("\n".join(lines) + "\n", files=staged)


def _folders(entry: Mapping[str, Any]) -> list[str]:
    """The folders of a folder's file that may have to be made for its owner, parents first."""
    if "folder" not in entry or (entry["owner"], entry["group"]) == ("root", "root"):
        return []
    depth = len(PurePosixPath(entry["source"]).relative_to(entry["folder"]).parts)
    return [str(folder) for folder in reversed(PurePosixPath(entry["path"]).parents[:depth])]


def template_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """A template is a file whose content the plan knows."""
    return files_script({"files": [inputs]}, facts, files)


register("files", VERSION, {"linux": files_script, "windows": windows.files_script})
register("template", TEMPLATE_VERSION, {"linux": template_script, "windows": windows.template_script})
