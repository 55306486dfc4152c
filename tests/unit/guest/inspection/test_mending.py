"""What `--fix` tells of a copy: each finding is mended, or failed, or it remains."""

from __future__ import annotations

import pytest

from builder.guest.inspection.mending import mended_of
from builder.guest.inspection.rules import DiskFinding


def named(message: str, rule: str = "fstab-device-name", place: str = "/etc/fstab") -> DiskFinding:
    return DiskFinding(rule, place, message)


A, B = named("/ is mounted from /dev/sda1"), named("/srv is mounted from /dev/sda2")
BY_HAND = DiskFinding("fstab-device-name", "/etc/fstab", "/x is mounted from /dev/sdb1", by_hand=True)
NO_CONSOLE = named("there is no console=ttyS0: root=/dev/sda1", "boot-console", "grub.cfg")
NO_CONSOLE_YET = named("there is no console=ttyS0: root=UUID=1", "boot-console", "grub.cfg")
SSH = named("it is not there", "ssh")


@pytest.mark.parametrize(
    ("before", "after", "mended"),
    [
        ((A,), (), (A,)),
        ((A, B), (B,), (A,)),
        ((A, B, BY_HAND), (BY_HAND,), (A, B)),
        ((A, B), (A, B), ()),
        # Another message at the same place is the same finding, not mended
        ((NO_CONSOLE,), (NO_CONSOLE_YET,), ()),
        ((NO_CONSOLE, A), (NO_CONSOLE_YET,), (A,)),
        # What nobody mends may be gone all the same, and something new may be there
        ((SSH,), (), ()),
        ((A,), (SSH,), (A,)),
    ],
)
def test_what_was_mended(
    before: tuple[DiskFinding, ...], after: tuple[DiskFinding, ...], mended: tuple[DiskFinding, ...]
) -> None:
    assert mended_of(before, after) == mended
