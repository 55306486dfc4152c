from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.model.artifact import Inventory, Manifest
from builder.model.observed import PublishedVersion, VersionState
from builder.model.spec import RetainSpec
from builder.plan.retention import retention
from builder.plan.versions import order
from tests.unit.plan.world import NOW

MANIFEST = Manifest(
    image="web", version="", digest="", created="", tool="", run="", generalized=True, kind="vmImage",
    architecture="x64", generation=2, source={}, steps=(), disks=(), recorded_inventory=Inventory().as_dict(),
)  # fmt: skip


def retiring(*args, **named):
    return retention(*args, **named).go


def published(version: str, *, age: float = 0, ours: bool = True, passed: bool = True, created: str | None = None):
    """A version; `age` in days."""
    when = created if created is not None else (NOW - timedelta(days=age)).isoformat()
    manifest = replace(MANIFEST, version=version, created=when, tests=({"name": "boot", "passed": passed},))
    return PublishedVersion(version, manifest if ours else None, f"gallery/{version}")


@pytest.mark.parametrize(
    ("versions", "retain", "expected"),
    [
        ([], RetainSpec(versions=1), ()),
        (["1.0.0", "1.0.1"], None, ()),
        (["1.0.0", "1.0.1"], RetainSpec(), ()),
        (["1.0.0", "1.0.1"], RetainSpec(versions=3), ()),
        (["1.0.0", "1.0.1"], RetainSpec(versions=2), ("1.0.0",)),
        (["1.0.0", "1.0.1"], RetainSpec(versions=1), ("1.0.0", "1.0.1")),
        (["1.0.9", "1.0.10"], RetainSpec(versions=2), ("1.0.9",)),
    ],
)
def test_the_newest_versions_stay_and_the_new_one_counts(versions, retain, expected):
    assert retiring([published(version) for version in versions], "1.0.11", retain, now=NOW) == expected


def test_a_version_goes_only_when_neither_limit_keeps_it():
    versions = [published("1.0.0", age=40), published("1.0.1", age=35), published("1.0.2", age=10)]
    limits = RetainSpec(versions=1, days=30)
    assert retiring(versions, "1.0.3", limits, now=NOW) == ("1.0.0", "1.0.1")
    assert retiring(versions, "1.0.3", replace(limits, versions=3), now=NOW) == ("1.0.0",)
    assert retiring(versions, "1.0.3", RetainSpec(days=5), now=NOW) == ("1.0.0", "1.0.1", "1.0.2")


@pytest.mark.parametrize("created", ["", "yesterday", "2020-01-01T00:00:00"])
def test_a_time_that_says_nothing_keeps_the_version(created):
    assert retiring([published("1.0.0", created=created)], "1.0.1", RetainSpec(days=1), now=NOW) == ()


def test_a_version_that_another_image_names_stays():
    versions = [published("1.0.0"), published("1.0.1")]
    assert retiring(versions, "1.0.2", RetainSpec(versions=1), now=NOW, pinned={"1.0.0"}) == ("1.0.1",)


def test_publishing_below_the_newest_keeps_the_newest_good_one():
    versions = [published("2.0.0", age=90), published("2.0.1", age=80, passed=False)]
    assert retiring(versions, "1.4.2", RetainSpec(days=1), now=NOW) == ("2.0.1",)


def test_what_stays_against_the_limits_is_told_with_the_reason():
    versions = [
        published("1.0.0"),
        replace(published("1.0.1"), in_use="scale set front"),
        published("1.0.2"),
        replace(published("1.0.3"), in_use="scale set back"),
    ]
    found = retention(versions, "1.0.4", RetainSpec(versions=2), now=NOW, pinned={"1.0.2"})
    assert found.go == ("1.0.0",)
    assert found.stay == (("1.0.1", "it is kept by scale set front"), ("1.0.2", "another image stands on it"))


def test_a_broken_version_keeps_no_place_from_one_that_is_whole():
    versions = [published("1.0.0"), published("1.0.1"), replace(published("1.0.2"), broken=True)]
    assert retiring(versions, "1.0.3", RetainSpec(versions=2), now=NOW) == ("1.0.0",)
    assert retiring(versions, "1.0.3", RetainSpec(versions=1), now=NOW) == ("1.0.0", "1.0.1", "1.0.2")


def test_what_failed_publishes_left_below_goes_and_takes_no_place():
    states = [("1.0.0", VersionState.FAILED), ("1.0.2", VersionState.UNFINISHED), ("1.0.3", VersionState.HELD),
              ("1.0.5", VersionState.FAILED)]  # fmt: skip
    versions = [published("1.0.1"), *(replace(published(version), state=state) for version, state in states)]
    assert retiring(versions, "1.0.4", RetainSpec(versions=2), now=NOW) == ("1.0.0",)
    assert retiring(versions, "1.0.4", None, now=NOW) == ()


def test_an_unfinished_version_goes_once_nobody_makes_it():
    half = replace(published("1.0.1"), state=VersionState.UNFINISHED)
    versions = [half, replace(half, version="1.0.2", abandoned=True), replace(half, version="1.0.4", abandoned=True)]
    foreign = replace(half, version="1.0.0", abandoned=True, manifest=None)
    assert retiring([foreign, *versions], "1.0.3", RetainSpec(versions=5), now=NOW) == ("1.0.2",)


def test_what_is_needed_stays_also_when_it_is_not_whole_any_more():
    """Somebody deleted a part of it, or a change of it failed: what stands on it stands on the rest."""
    half = replace(published("1.0.1"), state=VersionState.UNFINISHED, abandoned=True)
    failed = replace(published("1.0.2"), state=VersionState.FAILED, in_use="VM x")
    limits = RetainSpec(versions=5)
    assert retiring([half, failed], "1.0.3", limits, now=NOW) == ("1.0.1",)
    assert retention([half, failed], "1.0.3", limits, now=NOW, pinned=["1.0.1"]).go == ()


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 30)).map(lambda p: "{}.{}.{}".format(*p)),
        st.tuples(st.floats(0, 1000), st.booleans(), st.booleans()),
    ),
    st.sampled_from(["0.0.1", "2.2.2", "9.0.0"]),
    st.builds(RetainSpec, versions=st.none() | st.integers(0, 5), days=st.none() | st.integers(0, 1000)),
)
def test_what_must_stay_stays(world, new, retain):
    versions = [published(version, age=age, ours=ours, passed=passed) for version, (age, ours, passed) in world.items()]
    gone = retiring(versions, new, retain, now=NOW)
    foreign = {item.version for item in versions if item.manifest is None}
    good = [item.version for item in versions if item.manifest is not None and item.manifest.tests[0]["passed"]]
    assert new not in gone
    assert max([*good, new], key=order) not in gone
    assert not foreign & set(gone)
    assert set(gone) <= set(world)
    if retain.versions is None and retain.days is None:
        assert gone == ()
    if retain.versions is not None:
        staying = {item.version for item in versions if item.manifest} | {new}
        assert len(staying - set(gone)) >= min(retain.versions, len(staying))
