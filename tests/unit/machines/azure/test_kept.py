"""Which snapshots can be started from: whole sets, done, not expired, of the region."""

from __future__ import annotations

from typing import Any

import pytest

from builder.azure import tags as tag
from builder.machines.azure.checkpoints import sort_out, source_disks

NOW = 1_800_000_000.0


def snapshot(role: str, disks: str = "os data-0", **changes: Any) -> dict[str, Any]:
    tags = {tag.RUN: "r", tag.TOOL: "build 0", tag.IMAGE: "web", tag.STEP: "sha256:aa", tag.ROLE: role,
            tag.DISKS: disks, tag.EXPIRES: tag.stamp(NOW + 60)}  # fmt: skip
    tags |= changes.pop("tags", {})
    properties = {"provisioningState": "Succeeded", "diskSizeGB": 8, "completionPercent": 100.0, **changes}
    return {"id": f"/s/{role}", "location": "westeurope", "tags": tags, "properties": properties}


def test_a_whole_set_is_known_with_the_os_disk_first() -> None:
    found = sort_out([snapshot("data-0"), snapshot("os")], "westeurope", NOW)
    assert [item["id"] for item in found.checkpoints["sha256:aa"]] == ["/s/os", "/s/data-0"]
    assert [disk.lun for disk, _ in source_disks(found.checkpoints["sha256:aa"])] == [None, 0]
    assert found.artifacts == {}


def test_a_region_is_the_same_however_it_is_written() -> None:
    found = sort_out([{**snapshot("os", "os"), "location": "West Europe"}], "westeurope", NOW)
    assert list(found.checkpoints) == ["sha256:aa"]


@pytest.mark.parametrize(
    "other",
    [
        None,
        snapshot("data-0", completionPercent=50.0),
        snapshot("data-0", provisioningState="Updating"),
        snapshot("data-0", tags={tag.RUN: "another run"}),
        snapshot("data-0", tags={tag.EXPIRES: tag.stamp(NOW - 1)}),
        {**snapshot("data-0"), "location": "northeurope"},
        {**snapshot("data-0"), "tags": None},
        snapshot("os"),
    ],
    ids=["missing", "copying", "unfinished", "of another run", "expired", "elsewhere", "not ours", "the same disk"],
)
def test_half_a_set_is_none(other: dict[str, Any] | None) -> None:
    found = sort_out([snapshot("os"), *([other] if other else [])], "westeurope", NOW)
    assert found.checkpoints == {}


def test_captured_disks_are_told_from_checkpoints() -> None:
    captured = snapshot("os", "os")
    captured["tags"] = {**captured["tags"], tag.DIGEST: "sha256:bb"}
    del captured["tags"][tag.STEP]
    found = sort_out([captured], "westeurope", NOW)
    assert (list(found.checkpoints), list(found.artifacts)) == ([], ["sha256:bb"])
