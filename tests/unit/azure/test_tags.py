from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.azure import tags


def test_ours_win_over_the_specs_own() -> None:
    found = tags.ours(run="r1", image="web", expires=0.0, extra={"cost": "42", tags.RUN: "forged"})

    assert found[tags.RUN] == "r1"
    assert found["cost"] == "42"
    assert found[tags.EXPIRES] == "1970-01-01T00:00:00Z"
    assert found[tags.TOOL].startswith("build ")


@pytest.mark.parametrize("name", [tags.STEP, tags.DIGEST, tags.EXPIRES.upper(), "Build-Run", "build-of-mine"])
def test_no_tag_of_the_specs_own_hides_what_is_to_be_removed(name: str) -> None:
    found = tags.ours(run="r1", image="web", extra={name: "forged", "rebuild-x": "theirs"})

    assert found == {tags.RUN: "r1", tags.IMAGE: "web", tags.TOOL: found[tags.TOOL], "rebuild-x": "theirs"}


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_moments_survive_as_text(moment: int) -> None:
    assert tags.moment(tags.stamp(moment)) == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-01-05", "2026-13-05T08:00:00Z"])
def test_text_that_is_no_moment(text: str) -> None:
    assert tags.moment(text) is None


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (None, False),
        ({}, False),
        ({"a": "b"}, False),
        # Somebody else's word for something of theirs
        ({tags.RUN: "r"}, False),
        ({tags.RUN: "r", tags.TOOL: "builder 2"}, False),
        ({tags.RUN: "", tags.TOOL: "build 0.1.0"}, False),
        ({tags.TOOL: "build 0.1.0"}, False),
        (tags.ours(run="r"), True),
    ],
)
def test_what_is_ours(found: dict[str, str] | None, ours: bool) -> None:
    assert tags.is_ours(found) is ours
