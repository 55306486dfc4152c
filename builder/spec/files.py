"""Files of the repository that a spec names: found without ever leaving the project's root."""

from __future__ import annotations

import os
from pathlib import Path

RELATIVE = "paths are relative to the spec's folder"


class FileInvalid(Exception):
    """A name that doesn't lead to a file of the repository."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.help = code, message, help


def repository_path(folder: Path, name: str, root: Path, *, folders: bool = False) -> Path:
    """The file that a spec in `folder` means by `name`, with links followed. Raises FileInvalid.

    `root` has no links in it; `folders` allows a folder too. Neither `..` nor a link may lead out of `root`: a spec
    from a pull request must not put the host's own files into an image.
    """
    if name.startswith(("/", "~")) or "\0" in name:
        raise FileInvalid("path-outside", f"'{name}' must be relative to the spec's folder")
    try:
        resolved = Path(os.path.realpath(folder / name))
    except OSError as error:
        raise FileInvalid("file-missing", f"'{name}' can't be followed: {error}") from error
    if not resolved.is_relative_to(root):
        raise FileInvalid("path-outside", f"'{name}' leads out of the project", "copy the file into the repository")
    if not resolved.exists():
        raise FileInvalid("file-missing", f"'{name}' does not exist", _near(folder, name, root, folders=folders))
    if resolved.is_dir() and not folders:
        raise FileInvalid("file-missing", f"'{name}' is a folder; a file is needed")
    if not resolved.is_file() and not resolved.is_dir():
        raise FileInvalid("file-missing", f"'{name}' is no regular file")
    return resolved


def _near(folder: Path, name: str, root: Path, *, folders: bool) -> str:
    """What to do about a missing file: a path whose parts are similar, if one leads to a file of the project."""
    found, parts = Path(), Path(name).parts
    for part in parts:
        chosen = _similar(folder / found, part)
        # Names of what lies outside are nobody's business
        if chosen is None or not Path(os.path.realpath(folder / found / chosen)).is_relative_to(root):
            return RELATIVE
        found /= chosen
    return f"did you mean '{found}'?" if folders or (folder / found).is_file() else RELATIVE


def _similar(folder: Path, name: str) -> str | None:
    """The entry of a folder that a name means: itself, else one that differs in case, else a similar one."""
    import difflib

    if (folder / name).exists():
        return name
    try:
        names = sorted(item.name for item in folder.iterdir() if item.exists())
    except OSError:
        return None
    folded = {item.lower(): item for item in names}
    close = difflib.get_close_matches(name.lower(), folded, 1)
    return folded[close[0]] if close else None
