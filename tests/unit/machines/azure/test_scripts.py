"""What a run command gets: readable, and without a secret."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from builder.machines.azure import scripts
from builder.model.run import GuestScript
from tests.unit.guest.windows.parsing import parsed

SCRIPT = GuestScript(
    "echo 'one'\n# END\necho \u00e9\n", arguments=("a b", "it's"), env={"LEVEL": "two words"},
    secrets={"TOKEN": "never to be seen"}, files={"one": b"1", "two/three": b"3"}, timeout=90,
)  # fmt: skip


def test_files_are_packed_with_their_digest(tmp_path: Path) -> None:
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/run").write_text("#!/bin/sh\n")
    (tmp_path / "folder/deep/run").chmod(0o755)
    files: dict[str, bytes | Path] = {"plain": b"x", "folder": tmp_path / "folder"}
    payload = scripts.pack(files, windows=False)
    data = base64.b64decode("".join(payload.pieces))
    assert hashlib.sha256(data).hexdigest() == payload.sha256
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {entry.name: entry.mode for entry in archive} == {"folder/deep/run": 0o555, "plain": 0o444}
    assert payload == scripts.pack(files, windows=False)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(scripts.pack(files, windows=True).pieces[0]))) as zipped:
        assert sorted(zipped.namelist()) == ["folder/deep/run", "plain"]
    assert scripts.size_of(files) == 11
    assert scripts.pack({}, windows=False) == scripts.Payload()


def test_large_files_go_ahead_in_pieces() -> None:
    import random

    payload = scripts.pack({"large": random.Random(1).randbytes(250_000)}, windows=False)
    assert payload.staged
    assert {len(piece) <= scripts.PIECE for piece in payload.pieces} == {True}
    text = scripts.linux_script(SCRIPT, "/run/build-1", payload)
    assert payload.pieces[0] not in text
    assert len(text) < 32 * 1024


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("files", [{}, {"one": b"1"}, {"large": bytes(range(256)) * 2000}])
def test_a_long_script_goes_with_the_files(windows: bool, files: dict[str, bytes | Path]) -> None:
    """Azure keeps a run command's text in the VM's settings, which hold 256 KiB."""
    lines = "".join(f"echo {hashlib.sha256(bytes([number % 256])).hexdigest()} {number}\n" for number in range(5000))
    script = GuestScript(lines, files=files)
    payload = scripts.pack(scripts.with_text(script), windows=windows)
    render = scripts.windows_script if windows else scripts.linux_script
    text = render(script, "Temp\\build-1" if windows else "/run/build-1", payload)
    assert "echo" not in text.partition(scripts.TEXT_FILE)[2].partition("Invoke-Script" if windows else "\nrun ")[0]
    assert len(text) < 150 * 1024
    data = io.BytesIO(base64.b64decode("".join(payload.pieces)))
    if windows:
        parsed(text)
        with zipfile.ZipFile(data) as zipped:
            assert zipped.read(scripts.TEXT_FILE) == lines.encode()
    else:
        with tarfile.open(fileobj=data) as archive:
            found = archive.extractfile(scripts.TEXT_FILE)
            assert found is not None
            assert found.read() == lines.encode()


@pytest.mark.parametrize("length", [scripts.LONGEST_TEXT, scripts.LONGEST_TEXT + 1])
def test_how_long_a_script_in_a_run_command_may_be(length: int) -> None:
    script = GuestScript("x" * length)
    assert (scripts.TEXT_FILE in scripts.with_text(script)) is (length > scripts.LONGEST_TEXT)


@pytest.mark.parametrize("windows", [False, True])
def test_a_script_is_readable_and_has_no_secret(windows: bool) -> None:
    payload = scripts.pack(SCRIPT.files, windows=windows)
    if windows:
        text = scripts.windows_script(SCRIPT, "Temp\\build-1", payload)
        parsed(text)
        assert text.startswith("param(")
        assert text.isascii()
    else:
        text = scripts.linux_script(SCRIPT, "/run/build-1", payload)
        assert SCRIPT.text in text
    assert "never to be seen" not in text
    sealed = base64.b64decode(scripts.seal(SCRIPT.secrets, windows=windows)).decode()
    assert "never to be seen" in sealed
    assert not windows or json.loads(sealed) == {"TOKEN": "never to be seen"}
    assert scripts.seal({}, windows=windows) == ""


def test_the_other_scripts_for_windows_are_powershell() -> None:
    parsed(scripts.windows_piece("Temp\\build-1", 3, "QUI="))
    parsed(scripts.windows_window("Temp\\build-1", 0, 10, 0))
