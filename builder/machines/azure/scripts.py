"""Renders what a run command gets: the author's script, its files and variables, and the way it is run in the guest.

The text of a run command can be read by whoever may read the VM: secrets go beside it, as a protected parameter.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import shlex
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.model.run import GuestScript

TEMPLATES = Path(__file__).parent / "templates"
SECRETS = "BUILD_SECRETS"
# Characters of base64 in one run command: its text travels in the VM's settings, which hold 256 KiB
PIECE = 128 * 1024
# Bytes of a script that go in the text of its run command, beside a piece; a longer one goes with the files
LONGEST_TEXT = 64 * 1024
TEXT_FILE = "build-script-text"
# Letters of packed output that one run command shows
WINDOW = 3900
# Without a limit of its own a script may run as long as a run command may (90 minutes by default)
LONGEST_SECONDS = 90 * 60


@dataclass(frozen=True)
class Payload:
    """The files of a script as one archive, in pieces of base64. No pieces where there are no files."""

    sha256: str = ""
    pieces: tuple[str, ...] = ()

    @property
    def staged(self) -> bool:
        """Whether the pieces go ahead, each in a run command of its own."""
        return len(self.pieces) > 1


def with_text(script: GuestScript) -> Mapping[str, bytes | Path]:
    """The files that go with a script: its own, and its text where that is too long for a run command."""
    text = script.text.encode()
    return {**script.files, TEXT_FILE: text} if len(text) > LONGEST_TEXT else script.files


def _is_file(script: GuestScript) -> bool:
    return TEXT_FILE in with_text(script)


def pack(files: Mapping[str, bytes | Path], *, windows: bool) -> Payload:
    """Pack files and folders: a tar.gz for Linux, a zip for Windows. Holds them in memory."""
    if not files:
        return Payload()
    data = _zip(files) if windows else _tar(files)
    text = base64.b64encode(data).decode()
    pieces = tuple(text[at : at + PIECE] for at in range(0, len(text), PIECE))
    return Payload(hashlib.sha256(data).hexdigest(), pieces)


def size_of(files: Mapping[str, bytes | Path]) -> int:
    """The bytes in files and folders."""
    return sum(len(found) if isinstance(found, bytes) else found.stat().st_size for _, found in _each(files))


def _each(files: Mapping[str, bytes | Path]) -> Iterator[tuple[str, bytes | Path]]:
    for name, content in sorted(files.items()):
        if isinstance(content, Path) and content.is_dir():
            for path in sorted(content.rglob("*")):
                if path.is_file():
                    yield f"{name}/{path.relative_to(content).as_posix()}", path
        else:
            yield name, content


def write_tar(files: Mapping[str, bytes | Path], target: BinaryIO, *, level: int) -> None:
    """Write files and folders as a tar.gz, the same bytes each time. `level` is gzip's: 1 is fast, 9 is small."""
    with (
        gzip.GzipFile("", "wb", level, target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for name, content in _each(files):
            opened: BinaryIO = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
            with opened as file:
                entry = tarfile.TarInfo(name)
                entry.size = len(content) if isinstance(content, bytes) else os.fstat(file.fileno()).st_size
                executable = isinstance(content, Path) and content.stat().st_mode & 0o100
                entry.mode = 0o555 if executable else 0o444
                archive.addfile(entry, file)


def _tar(files: Mapping[str, bytes | Path]) -> bytes:
    target = io.BytesIO()
    write_tar(files, target, level=6)
    return target.getvalue()


def _zip(files: Mapping[str, bytes | Path]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _each(files):
            archive.writestr(
                zipfile.ZipInfo(name),
                content if isinstance(content, bytes) else content.read_bytes(),
                compress_type=zipfile.ZIP_DEFLATED,
            )
    return target.getvalue()


def seal(secrets: Mapping[str, str], *, windows: bool) -> str:
    """The secrets as the value of one protected parameter; "" for none."""
    if not secrets:
        return ""
    if windows:
        from json import dumps

        text = dumps(dict(secrets))
    else:
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in secrets.items())
    return base64.b64encode(text.encode()).decode()


def here(command: str, text: str) -> str:
    """A command with text on its standard input, exactly as it is (a last newline is added where there is none)."""
    word = f"END_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return f"{command} <<'{word}'\n{text}{'' if text.endswith(chr(10)) else chr(10)}{word}"


def linux_script(script: GuestScript, work: str, payload: Payload, *, before: str = "", after: str = "") -> str:
    """The whole POSIX sh. `work` is its folder, where the payload's pieces are already unless there is just one.

    `before` and `after` are sh that runs beside it: `after` with its exit code in `status`, before that is told.
    """
    lines = [
        "#!/bin/sh",
        "# Runs one step of an image build",
        (TEMPLATES / "guest.sh").read_text(encoding="utf-8"),
        f"work={shlex.quote(work)}",
        "prepare_work",
    ]
    if not _is_file(script):
        lines.append(here('cat > "$work/script"', script.text))
    if payload.pieces:
        if not payload.staged:
            lines.append(here('cat > "$work/piece-0"', payload.pieces[0]))
        names = " ".join(f'"$work/piece-{number}"' for number in range(len(payload.pieces)))
        lines.append(f"unpack {payload.sha256} {names}")
    if _is_file(script):
        lines.append(f'mv -- "$work/files/{TEXT_FILE}" "$work/script"')
    lines.append('chmod 0555 "$work/script"')
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(script.env.items())]
    command = shlex.join(script.interpreter) + ' "$work/script" ' + shlex.join(script.arguments)
    seconds = int(script.timeout or LONGEST_SECONDS)
    lines += [before, f"run {seconds} {command}".rstrip(), after, "finish", ""]
    return "\n".join(lines)


def linux_piece(work: str, number: int, piece: str) -> str:
    """Brings one piece of a payload."""
    folder = shlex.quote(work)
    return f"umask 077\nmkdir -p -- {folder}\n" + here(f"cat > {folder}/piece-{number}", piece) + "\n"


def linux_cargo(work: str, mark: str, sha256: str, size: int) -> str:
    """Unpacks the archive of a disk that begins with `mark`, for a script that has `work` as its folder."""
    text = (TEMPLATES / "cargo.sh").read_text(encoding="utf-8")
    return f"set -- {shlex.join([work, mark, sha256, str(size)])}\n{text}"


def linux_window(work: str, start: int, length: int, begin: int) -> str:
    """Prints a part of the last output: of its `length` bytes from `start`, packed, the letters from `begin`."""
    text = (TEMPLATES / "window.sh").read_text(encoding="utf-8")
    return f"work={shlex.quote(work)}\nset -- {start} {length} {begin} {WINDOW}\n{text}"


def windows_script(script: GuestScript, work: str, payload: Payload) -> str:
    """The whole PowerShell, for Windows PowerShell 5.1; as `linux_script`."""
    from builder.guest.powershell import literal

    lines = [
        f"param([string]${SECRETS} = '')",
        "# Runs one step of an image build",
        f"$work = Join-Path $env:SystemRoot {literal(work)}",
        (TEMPLATES / "guest.ps1").read_text(encoding="utf-8"),
    ]
    if not _is_file(script):
        lines += ["$text = @(", *[f"{literal(line)}" for line in script.text.split("\n")], ') -join "`n"']
        lines.append("Write-Script $text")
    if payload.pieces:
        if not payload.staged:
            lines.append(f"Write-Piece 0 {literal(payload.pieces[0])}")
        lines.append(f"Expand-Files {literal(payload.sha256)} {len(payload.pieces)}")
    if _is_file(script):
        lines.append(f"Move-Script {literal(TEXT_FILE)}")
    lines += [f"Set-Variable-Of-Script {literal(name)} {literal(value)}" for name, value in sorted(script.env.items())]
    seconds = int(script.timeout or LONGEST_SECONDS)
    lines.append(f"Invoke-Script {seconds} {literal(list(script.interpreter))} {literal(list(script.arguments))}")
    return "\r\n".join("\n".join(lines).split("\n")) + "\r\n"


def windows_piece(work: str, number: int, piece: str) -> str:
    """Brings one piece of a payload."""
    from builder.guest.powershell import literal

    return (
        f"$work = Join-Path $env:SystemRoot {literal(work)}\r\n"
        "$null = New-Item -ItemType Directory -Force -Path $work\r\n"
        f"[IO.File]::WriteAllText((Join-Path $work 'piece-{number}'), {literal(piece)})\r\n"
    )


def windows_window(work: str, start: int, length: int, begin: int) -> str:
    """As `linux_window`."""
    from builder.guest.powershell import literal

    text = (TEMPLATES / "window.ps1").read_text(encoding="utf-8")
    values = {"start": start, "length": length, "from": begin, "letters": WINDOW}
    given = "".join(f"${name} = {value}\r\n" for name, value in values.items())
    return f"$work = Join-Path $env:SystemRoot {literal(work)}\r\n{given}{text}"
