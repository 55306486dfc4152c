import pytest

from builder.machines.local.rehearsal.checks import Identity, judge, parse_facts, shared_identity
from builder.machines.local.rehearsal.deployment import Deployment

DEPLOYMENT = Deployment("ssh-ed25519 AAAA rehearsal", host_name="web-1")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILTqFeyoDXe7VDZmwP4pQNm3ug9FlNl/a4kcN8DsL0Ga root@web-1"
FINGERPRINT = "ssh-ed25519 SHA256:"
GOOD = {
    "host-name": ["web-1"],
    "boot-time": ["1000"],
    "machine-id": ["1003 0123456789abcdef0123456789abcdef"],
    "host-key": [f"1010 {KEY}"],
    "mount": ["/", "/proc", "/data", "/with\\040blank"],
    "fstab": [
        "UUID=1 / ext4 defaults",
        "UUID=2 /data ext4 defaults,nofail",
        "UUID=3 /with\\040blank ext4 defaults",
        "UUID=4 none swap sw",
        "UUID=5 /media/usb auto noauto",
        "# a comment that goes on",
        "",
        "/dev/disk/cloud/azure_resource-part1 /mnt auto defaults,nofail,comment=cloudconfig",
    ],
    "failed-unit": [],
    "end": [""],
}


def facts(**changed):
    values = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return parse_facts("\n".join(f"{name} {value}" for name, found in values.items() for value in found))


def failed(**changed):
    results = judge(facts(**changed), DEPLOYMENT, 1.0)
    return {result.name: result.detail for result in results if not result.passed}


def test_a_machine_as_it_must_be():
    assert failed() == {}
    assert facts().complete
    identity = facts().identity
    assert identity.host_name == "web-1"
    assert identity.host_keys[0].startswith(FINGERPRINT)


@pytest.mark.parametrize(
    ("changed", "check", "detail"),
    [
        ({"host_name": ["old"]}, "the host name is the one asked for", "is 'old', asked was 'web-1'"),
        ({"machine_id": ["1003"]}, "the machine ID is new", "not 32 hexadecimal digits: ''"),
        ({"machine_id": ["1003 uninitialized"]}, "the machine ID is new", "'uninitialized'"),
        ({"machine_id": ["999 " + "a" * 32]}, "the machine ID is new", "came with the image"),
        ({"host_key": []}, "the ssh host keys are new", "there are no ssh host keys"),
        ({"host_key": [f"999 {KEY}"]}, "the ssh host keys are new", "these came with the image: ssh-ed25519"),
        ({"mount": ["/"]}, "the filesystems of fstab are mounted", "nothing is mounted: /data, /with blank"),
    ],
)
def test_what_must_not_be(changed, check, detail):
    found = failed(**changed)
    assert list(found) == [check]
    assert detail in found[check]


def test_failed_units_are_a_warning():
    results = judge(facts(failed_unit=["walinuxagent.service", "x.timer"]), DEPLOYMENT, 1.0)
    assert all(result.passed for result in results)
    assert results[-1].detail == "warning: failed units: walinuxagent.service, x.timer"


def test_output_that_was_cut_is_seen():
    assert not parse_facts("host-name web-1\n").complete


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        (Identity("b", "2" * 32, ("rsa 2",)), []),
        (Identity("b", "1" * 32, ("rsa 2",)), ["machine ID"]),
        (Identity("b", "2" * 32, ("ed 2", "rsa 1")), ["ssh host keys (rsa 1)"]),
        (Identity("a", "1" * 32, ("ed 1", "rsa 1")), ["machine ID", "ssh host keys (ed 1, rsa 1)", "host name"]),
    ],
)
def test_two_machines_share_nothing(second, shared):
    assert shared_identity(Identity("a", "1" * 32, ("ed 1", "rsa 1")), second) == shared
