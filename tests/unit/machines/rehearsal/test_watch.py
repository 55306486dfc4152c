import pytest

from builder.machines.local.rehearsal.fabric import Asked, Verdict
from builder.machines.local.rehearsal.watch import Watch


@pytest.mark.parametrize(
    ("line", "fatal"),
    [
        ("No bootable device.", "the firmware found nothing"),
        ('BdsDxe: starting Boot0002 "EFI Internal Shell" from Fv(1)/FvFile(2)', "the UEFI firmware found nothing"),
        ("BdsDxe: No bootable option or device was found.", "the UEFI firmware found nothing"),
        ("grub rescue>", "GRUB does not find its files"),
        ("Minimal BASH-like line editing is supported. For the first word,", "GRUB has no menu"),
        ("[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs", "the kernel panicked"),
        ("ALERT!  UUID=1 does not exist.  Dropping to a shell!", "the initramfs does not find the root"),
        ("You are in emergency mode. After logging in, type", "emergency mode"),
        ('BdsDxe: starting Boot0001 "UEFI QEMU QEMU HARDDISK " from PciRoot(0x0)', ""),
        ("[    0.0] Kernel command line: panic=10", ""),
    ],
)
def test_what_the_console_shows_of_a_disk_that_does_not_start(line, fatal):
    watch = Watch()
    watch.shown(line)
    assert watch.fatal.startswith(fatal) or fatal in watch.fatal
    assert bool(watch.fatal) == bool(fatal)


@pytest.mark.parametrize(
    ("line", "up"),
    [
        ("web login:", True),
        ("[  OK  ] Reached target multi-user.target - Multi-User System.", True),
        ("[  OK  ] Reached target Multi-User System.", True),
        ("Last login: yesterday", False),
        ("[  OK  ] Reached target local-fs.target - Local File Systems.", False),
    ],
)
def test_what_the_console_shows_of_a_machine_that_is_up(line, up):
    watch = Watch()
    watch.shown(line)
    assert watch.up == up


def test_news_are_told_once():
    watch = Watch()
    for _ in range(3):
        watch.shown("[    0.000000] Linux version 6.1.0")
        watch.asked(Asked(1.0, "GET", "/machine/?comp=goalstate", 200, ""))
    assert watch.told(0) == ["the kernel starts", "the machine asks the wire server for its goal state"]
    assert watch.told(2) == []


def test_the_first_verdict_counts_and_progress_is_none():
    watch = Watch()
    watch.reported(Verdict("NotReady", "Provisioning", "Starting", 1.0, "agent"))
    assert watch.verdict is None
    watch.reported(Verdict("NotReady", "ProvisioningFailed", "no lease", 2.0, "agent"))
    watch.reported(Verdict("Ready", "", "", 3.0, "agent"))
    assert watch.verdict is not None
    assert watch.verdict.description == "no lease"
