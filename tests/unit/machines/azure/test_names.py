"""The names of what a run makes: no two images of a run share any."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builder.machines.azure.names import LONGEST_GROUP, Names

RUN = "20260105t080000-abcdef"
# What the schema lets an image be called
IMAGES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", fullmatch=True)
LONG = "a" * 63


def names_of(image: str, run: str = RUN, group: str = "") -> list[str]:
    """Everything that a VM and its surroundings are called, the group with them."""
    names = Names("s", run, image, group)
    return [
        str(names.group_id).lower(),
        str(names.compute("virtualMachines", "vm")).lower(),
        str(names.network("virtualNetworks", "net")).lower(),
        names.computer("vm").lower(),
    ]


@given(IMAGES, IMAGES)
def test_two_images_of_a_run_share_nothing(one: str, other: str) -> None:
    assume(one != other)
    assert not set(names_of(one)) & set(names_of(other))
    assert names_of(one) == names_of(one)


@pytest.mark.parametrize(
    ("one", "other"), [("web.1", "web-1"), ("web_1", "web-1"), ("a.b", "a..b"), (LONG + "x", LONG + "y")]
)
def test_names_that_azure_would_read_alike_are_told_apart(one: str, other: str) -> None:
    assert not set(names_of(one)) & set(names_of(other))
    theirs, ours = (set(names_of(image, group="theirs")[1:]) for image in (one, other))
    assert not theirs & ours


@given(IMAGES, st.text(min_size=1, max_size=80))
def test_a_group_has_a_name_that_azure_takes(image: str, run: str) -> None:
    assert re.fullmatch(r"[-\w]*[A-Za-z0-9]", Names("s", run, image).group) is not None
    assert len(Names("s", run, image).group) <= LONGEST_GROUP


def test_two_runs_of_an_image_share_nothing() -> None:
    assert not set(names_of("web")) & set(names_of("web", run="20260105t080000-abcdeg"))
