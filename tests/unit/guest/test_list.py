"""`build generalize --list`."""

from __future__ import annotations

import json

import pytest

from builder.cli.generalize import Format, command
from builder.guest.operations import all_operations
from builder.guest.operations_reference import markdown


def test_a_line_for_each_operation(capsys: pytest.CaptureFixture[str]) -> None:
    command(list_=True, format_=Format.TEXT)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(all_operations())
    words = {line.split()[0]: line.split()[1] for line in lines}
    assert words == {item.id: "on" if item.default else "off" for item in all_operations()}
    assert all(item.reason.removeprefix("off: ") in line for item, line in zip(all_operations(), lines, strict=True))


def test_other_formats(capsys: pytest.CaptureFixture[str]) -> None:
    command(list_=True, format_=Format.JSON)
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == [item.id for item in all_operations()]
    command(list_=True, format_=Format.MARKDOWN)
    assert capsys.readouterr().out == markdown()
