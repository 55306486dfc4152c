"""Rules about the files that steps read here and write in the image."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from builder.errors import Diagnostic
from builder.model.spec import Choice, ImageSpec, KeyPath
from builder.spec.files import FileInvalid, repository_path
from builder.spec.rules.base import finding, normal_path, steps_of, values_of_format

# Filesystems that are made anew at every boot
NOT_KEPT = ("/dev", "/proc", "/run", "/sys")
WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/][^<>|?*\"]*")
# What Azure takes as user data or custom data of a VM
LARGEST_VM_DATA = 64 * 1024


def repository_files(image: ImageSpec) -> Iterator[Diagnostic]:
    """Files that a step reads exist, below the project's root. Found now, not an hour into a build.

    A retired image is never built again: its files may have gone.
    """
    if image.state == "retired":
        return
    for format, path, name in values_of_format(image, "repository-file", "repository-path"):
        try:
            repository_path(image.folder, name, image.root, folders=format == "repository-path")
        except FileInvalid as error:
            yield finding(image, path, error.code, error.message, error.help)


def one_content(image: ImageSpec) -> Iterator[Diagnostic]:
    """A file's content comes from `source` or from `content`: from one of them, so that it is clear which."""
    for step in steps_of(image, "files"):
        for index, file in enumerate(step.values["files"]):
            path = (*step.path, "files", index)
            if "source" in file and "content" in file:
                yield finding(image, (*path, "content"), "one-of", "a file has `source` or `content`, not both")
            elif "source" not in file and "content" not in file:
                yield finding(image, path, "missing-key", "a file needs `source` or `content`")


def folder_sources(image: ImageSpec) -> Iterator[Diagnostic]:
    """A folder's files are regular ones, with the rights that git keeps: every checkout gives the same image."""
    if image.state == "retired":
        return
    for step in steps_of(image, "files"):
        for index, file in enumerate(step.values["files"]):
            path = (*step.path, "files", index, "source")
            try:
                folder = repository_path(image.folder, file.get("source", ""), image.root, folders=True)
            except FileInvalid:
                continue
            if "source" in file and folder.is_dir():
                yield from _in_folder(image, path, folder, told_rights="mode" in file or image.os.family != "linux")


def _in_folder(image: ImageSpec, path: KeyPath, folder: Path, *, told_rights: bool) -> Iterator[Diagnostic]:
    for name, folders, files in os.walk(folder):
        folders.sort()
        here = Path(name)
        # Where umask hides everything, nobody meant any one file
        told = told_rights or not here.stat().st_mode & stat.S_IROTH
        links = [entry for entry in folders if (here / entry).is_symlink()]
        for file in (here / entry for entry in sorted([*files, *links])):
            mode, shown = file.lstat().st_mode, file.relative_to(folder.parent)
            if not stat.S_ISREG(mode):
                what = "a link" if stat.S_ISLNK(mode) else "no regular file"
                message = f"'{shown}' is {what}: it can't be taken along with its folder"
                yield finding(image, path, "not-a-file", message, "make links in the image with a `run` step")
            elif not told and not mode & stat.S_IROTH:
                message = f"'{shown}' is private here ({stat.S_IMODE(mode):04o}) and everybody's to read in the image"
                help = "git keeps no such rights: give the file an entry of its own, with its `mode`"
                yield finding(image, path, "rights-not-kept", message, help, severity="warning")


def image_paths(image: ImageSpec) -> Iterator[Diagnostic]:
    """Paths in the image are absolute, name a file, and lie where files are kept."""
    for _, path, name in values_of_format(image, "image-path"):
        if image.os.family == "windows":
            if not WINDOWS_PATH.fullmatch(name) or ".." in re.split(r"[\\/]", name):
                help = r"write a path such as C:\app\app.conf"
                yield finding(image, path, "image-path", f"'{name}' is not an absolute path of Windows", help)
            continue
        if not name.startswith("/") or ".." in name.split("/"):
            help = f"write '{normal_path(name)}'"
            yield finding(image, path, "image-path", f"'{name}' must be absolute, without '..'", help)
        elif name.endswith("/"):
            yield finding(image, path, "image-path", f"'{name}' must name the file itself, not its folder")
        elif _below(name, NOT_KEPT):
            message = f"'{name}' is not kept in the image: {NOT_KEPT[0]} and the like are made anew at every boot"
            yield finding(image, path, "image-path", message)


def _below(name: str, folders: tuple[str, ...]) -> bool:
    normal = normal_path(name)
    return any(normal == folder or normal.startswith(f"{folder}/") for folder in folders)


def paths_once(image: ImageSpec) -> Iterator[Diagnostic]:
    """One step puts one file at a path: of two, nobody could say which one stays."""
    for step in steps_of(image, "files"):
        seen: set[str] = set()
        for index, file in enumerate(step.values["files"]):
            path = normal_path(file["path"])
            if path in seen:
                where = (*step.path, "files", index, "path")
                yield finding(image, where, "duplicate-path", f"'{file['path']}' is already put there by this step")
            seen.add(path)


def script_lines(image: ImageSpec) -> Iterator[Diagnostic]:
    r"""A script's `#!` line ends without a carriage return, or Linux looks for the interpreter `/bin/sh\r`."""
    if image.os.family != "linux" or image.state == "retired":
        return
    for step in steps_of(image, "script"):
        first = _first_line(image, step)
        if first.startswith(b"#!") and first.endswith(b"\r\n"):
            message = f"'{step.values['path']}' has Windows line endings: Linux can't run it"
            help = "save it with LF line endings, and add `*.sh text eol=lf` to .gitattributes"
            yield finding(image, (*step.path, "path"), "script-lines", message, help)


def _first_line(image: ImageSpec, step: Choice) -> bytes:
    try:
        with repository_path(image.folder, step.values["path"], image.root).open("rb") as file:
            return file.readline(1024)
    except (FileInvalid, OSError):
        # `repository_files` tells
        return b""


def vm_data(image: ImageSpec) -> Iterator[Diagnostic]:
    """Azure takes at most 64 KiB of user data or custom data."""
    if image.machine.kind != "azure":
        return
    for key in ("userData", "customData"):
        name = image.machine.values.get(key)
        if name is None:
            continue
        try:
            size = repository_path(image.folder, name, image.root).stat().st_size
        except (FileInvalid, OSError):
            continue
        if size > LARGEST_VM_DATA:
            path = (*image.machine.path, key)
            yield finding(image, path, "too-large", f"'{name}' has {size:,} bytes; Azure takes {LARGEST_VM_DATA:,}")
