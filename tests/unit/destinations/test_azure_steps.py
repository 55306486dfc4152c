"""Versions in the names of resources: put there by the spec's template, or at their end; and found again."""

from __future__ import annotations

import pytest

from builder.destinations.azure_steps import version_in, versioned

# The spec's name without a version, with version 1.0.0, and the resource's
NAMES = [
    ("web", "web", "web-1.0.0"),
    ("web-0.0.0", "web-1.0.0", "web-1.0.0"),
    ("0.0.0_web", "1.0.0_web", "1.0.0_web"),
    # "1.0.0" is only a part of these numbers
    ("sql-11.0.0", "sql-11.0.0", "sql-11.0.0-1.0.0"),
    ("sql-1.0.0.5", "sql-1.0.0.5", "sql-1.0.0.5-1.0.0"),
    # The spec's name has a number that happens to be this version's
    ("sql-1.0.0", "sql-1.0.0", "sql-1.0.0-1.0.0"),
    # A part of the version doesn't tell versions apart
    ("web-0", "web-1", "web-1-1.0.0"),
    ("web-0-0-0", "web-1-0-0", "web-1-0-0-1.0.0"),
]


@pytest.mark.parametrize(("neutral", "rendered", "name"), NAMES)
def test_names_hold_the_version_once(neutral: str, rendered: str, name: str) -> None:
    assert versioned(neutral, rendered, "1.0.0") == name


@pytest.mark.parametrize(("neutral", "name"), [(neutral, name) for neutral, _, name in NAMES[:6]])
def test_the_version_is_found_in_a_name(neutral: str, name: str) -> None:
    assert version_in(name, neutral) == "1.0.0"
    assert version_in(name.upper(), neutral) == "1.0.0"


@pytest.mark.parametrize("name", ["web", "web-1.0", "web-1.0.0-os", "web-01.0.0", "other-1.0.0", "my-web-1.0.0"])
def test_other_names_say_no_version(name: str) -> None:
    assert version_in(name, "web") == ""
