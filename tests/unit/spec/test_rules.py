# ruff: noqa: E501 - a row of a table says more on one line
from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.azure.tags import PREFIX
from builder.errors import SpecInvalid
from builder.model.spec import ImageSpec
from builder.spec.files import RELATIVE
from builder.spec.loader import drafts_of, load
from builder.spec.project import load_project
from builder.spec.rules import IMAGE_RULES, PROJECT_RULES
from builder.spec.rules.publishing import RESERVED_TAGS
from tests.unit.spec.projects import AZURE, LOCAL, WINDOWS, diagnose, put

ARM = AZURE.replace("linux", "linux, architecture: arm64")
GENERATION_1 = AZURE.replace("linux", "linux, generation: 1")
GALLERY = "publish: {{to: [{{gallery: {{resourceGroup: r, gallery: g, definition: d, {}}}}}]}}\n"


OWN = "name: web\nos: {{family: linux}}\nsource: {{gallery: {{{}}}}}\n"


def gallery(more: str) -> str:
    return GALLERY.format(more)


def step(text: str) -> str:
    return f"prepare:\n- {text}\n"


# The spec, and every finding about it: the text that it points at, its code, its message and its help
FINDINGS = [
    (
        LOCAL + "publish: {to: [{directory: {path: .git/x}}]}\n",
        [".git/x: path-outside '.git/x' must be a folder of its own below the project's root"],
    ),
    (
        LOCAL + "publish: {to: [{directory: {path: images}}]}\n",
        ["images: path-specs 'images' holds the specs: a gallery is a folder of its own | write `path: gallery`"],
    ),
    (LOCAL + "publish: {to: [{directory: {path: images/gallery}}]}\n", []),
    # Machines
    (
        AZURE + "machine: {local: {}}\n",
        [
            "{publisher: machine the local machine can't start from `marketplace`: it would need Azure | start from bootstrap, file, image, or write `machine: {azure: {}}`"
        ],
    ),
    (
        LOCAL.replace("linux", "windows"),
        [
            "windows: machine the local machine makes Linux images only | `bootstrap` is for Linux only: start from marketplace, or another image in Azure"
        ],
    ),
    (
        LOCAL + "machine: {azure: {}}\n",
        [
            "{: machine the azure machine can't start from `bootstrap` | write `machine: {local: {}}`; a disk that is prepared here can be published to Azure"
        ],
    ),
    (LOCAL.replace("debian", "fedora"), ["fedora: bootstrap bootstrap can't make fedora | it makes debian, ubuntu"]),
    (
        LOCAL.replace("distribution: debian, ", ""),
        ["{family: bootstrap bootstrap can't make an image without os.distribution | it makes debian, ubuntu"],
    ),
    (
        LOCAL.replace('"12"', '"9"'),
        [
            '"9": bootstrap bootstrap doesn\'t know 9 of debian | it makes "11" (bullseye), "12" (bookworm), "13" (trixie)'
        ],
    ),
    (
        LOCAL.replace("{}", "{suite: sid}"),
        [
            'sid: bootstrap bootstrap doesn\'t know sid of debian | it makes "11" (bullseye), "12" (bookworm), "13" (trixie)'
        ],
    ),
    (LOCAL.replace('"12"', "bookworm"), []),
    (LOCAL.replace("bootstrap: {}", "file: {}"), ["{: missing-key a file needs `path` or `url`"]),
    (
        LOCAL.replace("bootstrap: {}", "file: {url: 'https://example.org/a.vhd'}"),
        ["'https: missing-key a file from a `url` needs its `sha256` | write what `sha256sum` prints for the file"],
    ),
    (
        LOCAL.replace(
            "bootstrap: {}", "file: {path: ok.sh, url: 'https://example.org/a.vhd', sha256: " + "a" * 64 + "}"
        ),
        ["'https: one-of a file has `path` or `url`, not both"],
    ),
    (
        LOCAL + step("registry: [{path: HKLM\\Software\\X}]"),
        ["[{path: os-family `registry` needs `os: {family: windows}`"],
    ),
    (LOCAL + step("windowsUpdates: {}"), ["{: os-family `windowsUpdates` needs `os: {family: windows}`"]),
    (
        WINDOWS + step("users: [{name: app, sudo: true}]"),
        ["true: os-family Windows has no sudo | write `groups: [Administrators]`"],
    ),
    (
        LOCAL + step("run: {command: ls, secrets: {T: {keyVault: 'https://v.vault.azure.net/secrets/t'}}}"),
        ["{keyVault: secret the local machine can't read Key Vault | write {env: NAME} or {file: PATH}"],
    ),
    (LOCAL + step("run: {command: ls, env: {T: x}, secrets: {T: {env: X}}}"), ["{env: secret 'T' is set by `env` too"]),
    (
        ARM.replace("arm64", "arm64, generation: 1"),
        ["1: generation Arm64 VMs have generation 2 | write `generation: 2`"],
    ),
    (
        GENERATION_1 + "machine: {azure: {security: {type: TrustedLaunch}}}\n",
        ["TrustedLaunch: generation TrustedLaunch needs generation 2 | write `generation: 2` in `os`"],
    ),
    (
        GENERATION_1 + "machine: {azure: {diskController: NVMe}}\n",
        ["NVMe: generation NVMe needs generation 2 | write `generation: 2` in `os`"],
    ),
    (
        AZURE + "machine: {azure: {security: {secureBoot: true, vtpm: false}}}\n",
        ["true: security `secureBoot` needs another security type | write `type: TrustedLaunch`"],
    ),
    (
        AZURE + "machine: {azure: {security: {encryption: VMGuestStateOnly}}}\n",
        ["VMGuestStateOnly: security only a confidential VM has `encryption` | write `type: ConfidentialVM`"],
    ),
    (
        ARM + "machine: {azure: {size: Standard_D2ps_v5, security: {type: ConfidentialVM}}}\n",
        ["ConfidentialVM: security confidential VMs have x64 processors"],
    ),
    (
        AZURE + "machine: {azure: {size: [Standard_D2s_v5, Standard_D2ps_v5]}}\n",
        ["Standard_D2ps_v5: vm-size Standard_D2ps_v5 has Arm64 processors, the image is for x64"],
    ),
    (
        ARM + "machine: {azure: {size: Standard_D2s_v5}}\n",
        ["Standard_D2s_v5: vm-size Standard_D2s_v5 has x64 processors, the image is for arm64"],
    ),
    (ARM + "machine: {azure: {}}\n", []),
    (
        AZURE + "machine: {azure: {size: Standard_A2_v2}}\n",
        ["Standard_A2_v2: vm-size Standard_A2_v2 has generation 1 only | take a size such as Standard_D2s_v5"],
    ),
    (
        AZURE + "machine: {azure: {licenseType: Windows_Server}}\n",
        ["Windows_Server: license Windows_Server is a licence of Windows"],
    ),
    # Disks
    (
        LOCAL + "disks: {data: [{lun: 1, size: 1GiB}, {lun: 1, size: 1GiB}]}\n",
        ["1: duplicate-lun LUN 1 is already used by data disk 0"],
    ),
    (
        LOCAL + "disks: {os: {size: 512MiB}}\n",
        ["512MiB: disk-size 512MiB is not possible: an OS disk has between 1GiB and 4095GiB in generation 2"],
    ),
    (
        GENERATION_1 + "disks: {os: {size: 2TiB}}\n",
        ["2TiB: disk-size 2TiB is not possible: an OS disk has between 1GiB and 2047GiB in generation 1"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 33TiB}]}\n",
        ["33TiB: disk-size 33TiB is not possible: a data disk has between 1GiB and 32767GiB"],
    ),
    (
        AZURE + "disks: {data: [{lun: 0, size: 3TiB}]}\n" + gallery("regions: [westeurope]"),
        [
            "3TiB: disk-size a gallery copies disks up to 2TiB, not of 3TiB | publish with `shallow: true`, or make the disk smaller"
        ],
    ),
    (AZURE + "disks: {data: [{lun: 0, size: 3TiB}]}\n" + gallery("shallow: true"), []),
    (
        AZURE + "disks: {data: [{lun: 0, size: 9TiB}]}\npublish: {to: [{blob: {account: abc, container: abc}}]}\n",
        ["9TiB: disk-size a page blob holds at most 8TiB"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 1GiB, mount: /data}]}\n",
        ["/data: mount `mount` needs a `filesystem` | write `filesystem: ext4`"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs, mount: data}]}\n",
        ["data: mount 'data' must be absolute, without '..'"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs, mount: /x/../etc}]}\n",
        ["/x/../etc: mount '/x/../etc' must be absolute, without '..'"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs, mount: /usr/}]}\n",
        ["/usr/: mount '/usr/' is part of the system: a data disk can't be there"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs, mount: /mnt}]}\n",
        [
            "/mnt: mount Azure's agents mount a VM's temporary disk at /mnt: the data disk would be hidden | mount it at another path, such as /data"
        ],
    ),
    (
        LOCAL
        + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs, mount: /a}, {lun: 1, size: 1GiB, filesystem: xfs, mount: /a/}]}\n",
        ["/a/: duplicate-mount '/a/' is already another data disk's"],
    ),
    (
        WINDOWS + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs}]}\n",
        ["xfs: windows-disk Windows has no xfs | leave the disk blank and format it in a `script` step"],
    ),
    (
        LOCAL + "disks: {data: [{lun: 0, size: 1GiB}]}\ncapture: {kind: osImage}\n",
        [
            "osImage: os-image an OS image holds no data disks: their content would be lost | write `vmImage`, or remove `disks.data`"
        ],
    ),
    # Files
    (LOCAL + step("script: {path: okk.sh}"), ["okk.sh: file-missing 'okk.sh' does not exist | did you mean 'ok.sh'?"]),
    (LOCAL + step("script: {path: folder}"), ["folder: file-missing 'folder' is a folder; a file is needed"]),
    (LOCAL + step("files: [{path: /a, source: folder}, {path: /b, source: ok.sh}]"), []),
    (
        LOCAL + step("files: [{path: /a, source: linked}]"),
        [
            "linked: not-a-file 'linked/here' is a link: it can't be taken along with its folder | make links in the image with a `run` step",
            "linked: not-a-file 'linked/there' is a link: it can't be taken along with its folder | make links in the image with a `run` step",
        ],
    ),
    (LOCAL + step("files: [{path: /a, source: linked}]") + "state: retired\n", []),
    (
        LOCAL + step("files: [{path: /a, source: private}]"),
        [
            "private: rights-not-kept 'private/key' is private here (0600) and everybody's to read in the image | git keeps no such rights: give the file an entry of its own, with its `mode`"
        ],
    ),
    (LOCAL + step('files: [{path: /a, source: private, mode: "0600"}]'), []),
    (
        LOCAL + step("script: {path: ../../secret}"),
        ["../../secret: path-outside '../../secret' leads out of the project | copy the file into the repository"],
    ),
    (
        LOCAL + step("script: {path: out}"),
        ["out: path-outside 'out' leads out of the project | copy the file into the repository"],
    ),
    (
        LOCAL + step("script: {path: /etc/passwd}"),
        ["/etc/passwd: path-outside '/etc/passwd' must be relative to the spec's folder"],
    ),
    (
        LOCAL + step("template: {source: none.j2, path: /a}"),
        ["none.j2: file-missing 'none.j2' does not exist | paths are relative to the spec's folder"],
    ),
    (LOCAL + step("script: {path: none.sh}") + "state: retired\n", []),
    (
        LOCAL + step("files: [{path: /a}]"),
        ["{path: missing-key a file needs `source` or `content`"],
    ),
    (
        LOCAL + step("files: [{path: /a, source: ok.sh, content: x}]"),
        ["x: one-of a file has `source` or `content`, not both"],
    ),
    (
        LOCAL + step("files: [{path: /etc/../x, content: x}]"),
        ["/etc/../x: image-path '/etc/../x' must be absolute, without '..' | write '/x'"],
    ),
    (
        LOCAL + step("files: [{path: etc/a, content: x}]"),
        ["etc/a: image-path 'etc/a' must be absolute, without '..' | write '/etc/a'"],
    ),
    (
        LOCAL + step("files: [{path: /etc/, content: x}]"),
        ["/etc/: image-path '/etc/' must name the file itself, not its folder"],
    ),
    (
        LOCAL + step("files: [{path: /run/a, content: x}]"),
        ["/run/a: image-path '/run/a' is not kept in the image: /dev and the like are made anew at every boot"],
    ),
    (
        LOCAL + step("files: [{path: /a, content: x}, {path: //a, content: y}]"),
        ["//a: duplicate-path '//a' is already put there by this step"],
    ),
    (
        WINDOWS + step("files: [{path: /etc/a, content: x}]"),
        ["/etc/a: image-path '/etc/a' is not an absolute path of Windows | write a path such as C:\\app\\app.conf"],
    ),
    (WINDOWS + step("files: [{path: 'C:\\app\\a', content: x}]"), []),
    (
        LOCAL + step("script: {path: crlf.sh}"),
        [
            "crlf.sh: script-lines 'crlf.sh' has Windows line endings: Linux can't run it | save it with LF line endings, and add `*.sh text eol=lf` to .gitattributes"
        ],
    ),
    (
        AZURE + "machine: {azure: {userData: large}}\n",
        ["large: too-large 'large' has 70,000 bytes; Azure takes 65,536"],
    ),
    # Steps
    (LOCAL + step("packages: {install: [a, b=1], remove: [b]}"), ["b: contradiction 'b' is in `install` too"]),
    (LOCAL + step("services: {enable: [a], disable: [a], mask: [b]}"), ["a: contradiction 'a' is in `enable` too"]),
    (LOCAL + step("services: {disable: [a], mask: [a]}"), []),
    (LOCAL + step("packages: {}"), ["{: empty `packages` does nothing | it has: install, remove"]),
    (LOCAL + step("packages: {upgrade: true}"), []),
    (
        LOCAL + step("users: [{name: a, uid: 7}, {name: a, uid: 7}]"),
        [
            "a: duplicate-user name 'a' is already used in this step",
            "7: duplicate-user uid '7' is already used in this step",
        ],
    ),
    (
        WINDOWS + step("windowsFeatures: {install: [Web-Server, DHCP]}"),
        [
            "DHCP: sysprep-role Sysprep doesn't support DHCP Server (DHCP) | install it when a machine is made from the image, or write `generalize: false`"
        ],
    ),
    (WINDOWS + step("windowsFeatures: {install: [DHCP]}") + "generalize: false\n", []),
    (WINDOWS + step("windowsFeatures: {install: [DHCP]}") + "- windowsFeatures: {remove: [dhcp]}\n", []),
    (WINDOWS + step("windowsFeatures: {install: [DNS, Web-Server, Hyper-V]}"), []),
    (
        WINDOWS
        + step("users: [{name: a-name-of-twenty-one-, system: true}, {name: a-name-of-twenty-one}, {name: b.}]"),
        [
            "a-name-of-twenty-one-: user-name 'a-name-of-twenty-one-' has 21 characters; Windows takes 20",
            "b.: user-name 'b.' ends with a dot, which Windows refuses",
        ],
    ),
    (
        WINDOWS + step(r"registry: [{path: HKCU\Software\X, value: x}, {path: HKLM\SOFTWARE\X}]"),
        [
            r"HKCU\Software\X: registry HKCU belongs to the account that builds, which nobody who logs in ever is | write below HKLM, or load C:\Users\Default\NTUSER.DAT in a `run` step",
            "{path: missing-key a value that is set needs `value`",
        ],
    ),
    (
        WINDOWS + step(r"registry: [{path: HKLM\X, type: DWord, value: 4294967296}, {path: HKLM\X, state: absent}]"),
        ["4294967296: registry a DWord is a whole number of 32 bits"],
    ),
    (
        LOCAL + "generalize: {skip: [logs], add: [logs]}\n",
        ["logs: contradiction 'logs' is in `skip` too"],
    ),
    (
        LOCAL + "generalize: {keep: [machine-id]}\n",
        ["machine-id: image-path 'machine-id' must be an absolute path | names of operations go into `skip`"],
    ),
    (WINDOWS + "generalize: {skip: [logs]}\n", ["[logs: os-family `skip` is for Linux: Sysprep has no operations"]),
    (
        LOCAL + "test:\n- run: ls\n- provision: {}\n- run: ls\n",
        ["ls: test-order a command needs a VM that was provisioned from the image | write `- provision: {}` before it"],
    ),
    (LOCAL + "test:\n- run: ls\ngeneralize: false\n", []),
    (
        LOCAL + "test:\n- identity: unique\ngeneralize: false\n",
        [
            "unique: test-identity VMs from a specialized image share its identity | remove the check, or generalize the image"
        ],
    ),
    # Publishing
    (
        LOCAL + 'publish: {version: "202607161345.1.x"}\n',
        ["\"202607161345.1.x\": version '202607161345' is larger than 2,147,483,647 | a date fits: 20260131"],
    ),
    (LOCAL + "publish: {version: 1.04.x}\n", ["1.04.x: version '04' is written with leading zeros | write 1.4.x"]),
    (
        LOCAL + "tags: {Team: a, team: b, microsoft-x: c}\n",
        [
            "b: tag 'team' is the same tag as 'Team' to Azure",
            "c: tag tag names that start like 'microsoft-x' are reserved by Azure",
        ],
    ),
    (
        LOCAL + "publish: {tags: {Build-State: promoted, builder: me}}\n",
        ["promoted: tag tag names that start like 'Build-State' are reserved by build"],
    ),
    (
        AZURE + "machine: {azure: {location: a1, tags: {build-run: x}}}\n",
        ["x: tag tag names that start like 'build-run' are reserved by build"],
    ),
    (
        LOCAL + "publish: {to: [{directory: {path: ../x}}]}\n",
        ["../x: path-outside '../x' must be a folder of its own below the project's root"],
    ),
    (
        LOCAL + "publish: {to: [{directory: {path: images/elsewhere}}]}\n",
        ["images/elsewhere: path-outside 'images/elsewhere' leads out of the project"],
    ),
    (
        LOCAL + "publish: {to: [{directory: {}}, {directory: {path: gallery}}]}\n",
        ["{path: duplicate-destination the same directory is listed before"],
    ),
    (
        LOCAL + "publish: {to: [{directory: {path: a/b}}, {directory: {path: ./a//b/}}, {directory: {path: A/b}}]}\n",
        ["{path: duplicate-destination the same directory is listed before"],
    ),
    (
        AZURE + "publish: {to: [{snapshot: {resourceGroup: r}}, {snapshot: {resourceGroup: R, name: web}}]}\n",
        ["{resourceGroup: duplicate-destination the same snapshot is listed before"],
    ),
    (
        OWN.format("resourceGroup: R, gallery: g, definition: D") + gallery(""),
        [
            "D: own-source the image's versions go to the definition whose latest version it is made of | "
            "write the exact `version` to stand on, or publish to another definition"
        ],
    ),
    (OWN.format("resourceGroup: r, gallery: g, definition: d, version: 1.0.0") + gallery(""), []),
    (OWN.format("resourceGroup: r, gallery: g, definition: other") + gallery(""), []),
    (
        AZURE + gallery("regions: [westeurope, {name: westeurope, replicas: 100}]"),
        [
            "[westeurope: replicas a version has at most 100 replicas in all regions",
            "westeurope: duplicate-region 'westeurope' is listed twice",
        ],
    ),
    (
        AZURE + gallery("regions: [a1, {name: b2, diskEncryptionSet: /subscriptions/s/x}]"),
        [
            "[a1: encryption regions without `diskEncryptionSet`: a1 | give every region one, or none".replace(
                "4:83", "4:74"
            )
        ],
    ),
    (
        AZURE + gallery("shallow: true, replicas: 2, regions: [a1]"),
        ["true: shallow a shallow version has one region and one replica"],
    ),
    (AZURE + gallery("shallow: true, replicas: 3"), ["true: shallow a shallow version has one region and one replica"]),
    (AZURE + gallery("shallow: true, replicas: 3, regions: [{name: a1, replicas: 1}]"), []),
    (
        AZURE + gallery("").replace("definition: d", f"definition: {'d' * 65}"),
        [
            f"{'d' * 65}: identifier as the definition's offer, its name may have 64 characters, and has 65"
            " | give a shorter one: `properties: {offer: ...}`"
        ],
    ),
    (AZURE + gallery("properties: {offer: web}").replace("definition: d", f"definition: {'d' * 65}"), []),
    (AZURE + gallery("endOfLife: 2027-02-30"), ["2027-02-30: date '2027-02-30' is no day of the calendar"]),
    (
        AZURE + gallery("blockDeletionBeforeEndOfLife: true"),
        ["true: missing-key `blockDeletionBeforeEndOfLife` needs `endOfLife`"],
    ),
    (
        GENERATION_1 + gallery("properties: {securityType: TrustedLaunch, diskControllers: [SCSI, NVMe]}"),
        ["TrustedLaunch: generation TrustedLaunch needs generation 2", "[SCSI: generation NVMe needs generation 2"],
    ),
    (
        AZURE + gallery("properties: {diskControllers: [NVMe], vcpus: {min: 4, max: 2}}"),
        ["[NVMe: disk-controller a definition has SCSI, or SCSI and NVMe", "{min: range `min` is larger than `max`"],
    ),
    (
        AZURE
        + "machine: {azure: {security: {type: TrustedLaunch}}}\n"
        + gallery("properties: {securityType: Standard}"),
        [
            "Standard: security the build VM is TrustedLaunch: its disks can't go to a definition for Standard | write TrustedLaunch or TrustedLaunchAndConfidentialVmSupported or TrustedLaunchSupported"
        ],
    ),
    (
        AZURE + "publish: {to: [{managedImage: {resourceGroup: r}}]}\ngeneralize: false\n",
        ["{resourceGroup: managed-image a managed image can't be specialized | publish to a `gallery`"],
    ),
    (
        ARM + "publish: {to: [{managedImage: {resourceGroup: r}}]}\n",
        ["{resourceGroup: managed-image a managed image can't be for Arm64 | publish to a `gallery`"],
    ),
    (
        AZURE
        + "machine: {azure: {security: {type: TrustedLaunch}}}\npublish: {to: [{managedImage: {resourceGroup: r}}]}\n",
        [
            "{resourceGroup: managed-image a managed image can't be made from a TrustedLaunch VM | publish to a `gallery`"
        ],
    ),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a few files, and something outside it."""
    root = tmp_path / "project"
    put(tmp_path, "secret", "outside")
    put(root, "images/ok.sh", "#!/bin/sh\n")
    put(root, "images/crlf.sh", "#!/bin/sh\r\necho\r\n")
    put(root, "images/folder/file", "x")
    put(root, "images/large", "x" * 70_000)
    put(root, "images/linked/file", "x")
    (root / "images/linked/here").symlink_to("file")
    (root / "images/linked/there").symlink_to(tmp_path)
    put(root, "images/private/key", "x")
    (root / "images/private").chmod(0o755)
    (root / "images/private/key").chmod(0o600)
    put(root, "images/private/closed/file", "x")
    (root / "images/private/closed").chmod(0o700)
    (root / "images/private/closed/file").chmod(0o600)
    (root / "images/out").symlink_to(tmp_path / "secret")
    (root / "images/elsewhere").symlink_to(tmp_path)
    return root


def test_the_tags_that_build_writes_are_reserved():
    assert RESERVED_TAGS[PREFIX] == "build"


@pytest.mark.parametrize(("text", "expected"), FINDINGS, ids=[(item[1] or ["fine"])[0][:50] for item in FINDINGS])
def test_findings(project: Path, text: str, expected: list[str]):
    assert [pointed_at(text, line) for line in diagnose(project, text)] == expected


def pointed_at(text: str, finding: str) -> str:
    """A finding with the text at its place instead of the place."""
    place, rest = finding.split(" ", 1)
    line, column = map(int, place.split(":"))
    there = re.match(r"[^,:}\]\n]*", text.split("\n")[line - 1][column - 1 :])
    assert there
    return f"{there[0]}: {rest}"


def test_every_rule_states_its_reason():
    assert all(rule.__doc__ for rule in IMAGE_RULES)


def test_every_rule_is_tried(project: Path):
    """Each rule finds something in the table above: one that nothing triggers is one that nobody has seen work."""
    fruitful = set()
    for text, expected in FINDINGS:
        if expected:
            fruitful |= {rule.__name__ for rule in IMAGE_RULES for _ in rule(checked(project, text))}
    assert {rule.__name__ for rule in IMAGE_RULES} - fruitful == set()


def checked(root: Path, text: str) -> ImageSpec:
    """The image of a spec that the schema accepts, whatever the rules say."""
    put(root, "images/web.yaml", text)
    project, _ = load_project(root, None)
    (draft,) = drafts_of(project, root / "images/web.yaml")
    draft.check()
    assert draft.checked
    return draft.checked


def image(name: str, more: str = "", source: str = "{bootstrap: {}}") -> str:
    return f'name: {name}\nos: {{family: linux, distribution: debian, release: "12"}}\nsource: {source}\n{more}'


def many(root: Path, *specs: str) -> list[str]:
    for number, text in enumerate(specs):
        put(root, f"images/{number}.yaml", text)
    return diagnose(root)


def test_names_are_unique(tmp_path: Path):
    assert many(tmp_path, image("a"), image("b"), image("a")) == [
        "images/2.yaml:1:7 duplicate-name 'a' is already the name of the image in images/0.yaml:1:7"
    ]


def test_a_base_must_exist(tmp_path: Path):
    assert many(tmp_path, image("base"), image("web", source="{image: bse}")) == [
        "images/1.yaml:3:17 unknown-image there is no image 'bse' | did you mean 'base'?"
    ]


def test_a_base_s_version_is_told_what_it_can_be(tmp_path: Path):
    assert many(tmp_path, image("base"), image("web", source="{image: {name: base, version: 1.2}}")) == [
        "images/1.yaml:3:39 type 'version' must be text, not a number | write latest, or three numbers such as 1.2.0"
    ]


def test_an_image_that_is_alone_has_no_base(tmp_path: Path):
    assert many(tmp_path, image("web", source="{image: wbe}")) == [
        "images/0.yaml:3:17 unknown-image there is no image 'wbe' | there is no other image in this project"
    ]


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("scripts/tdy.sh", "did you mean 'scripts/tidy.sh'?"),
        ("Scripts/tidy.sh", "did you mean 'scripts/tidy.sh'?"),
        ("scripts/TIDY.sh", "did you mean 'scripts/tidy.sh'?"),
        ("../images/scripts/tdy.sh", "did you mean '../images/scripts/tidy.sh'?"),
        # A link that leads nowhere is not what was meant, nor is a folder, nor what lies outside
        ("scripts/dangling.sh", RELATIVE),
        ("scrpts", RELATIVE),
        ("otside/secret.sh", RELATIVE),
    ],
)
def test_a_missing_file_s_likely_name_is_its_whole_path(tmp_path: Path, name: str, help: str):
    root = tmp_path / "project"
    put(root, "images/scripts/tidy.sh", "#!/bin/sh\n")
    put(tmp_path, "outside/secret.sh", "#!/bin/sh\n")
    (root / "images/scripts/dangling.sh").symlink_to("gone")
    (root / "images/outside").symlink_to(tmp_path / "outside")
    (line,) = diagnose(root, LOCAL + step(f"script: {{path: {name}}}"))
    assert line.endswith(f" does not exist | {help}")


def test_a_base_is_looked_for_in_the_whole_project(tmp_path: Path):
    """Also where only one spec is asked about: what is near, and what there is."""
    put(tmp_path, "build.yaml", "")
    put(tmp_path, "images/base.yaml", image("base"))
    for name, help in (("bse", "did you mean 'base'?"), ("zz", "images are: base")):
        put(tmp_path, "images/web.yaml", image("web", source=f"{{image: {name}}}"))
        with pytest.raises(SpecInvalid) as caught:
            load([tmp_path / "images/web.yaml"])
        assert [item.help for item in caught.value.diagnostics] == [help]


def test_a_base_that_is_invalid_itself_is_not_unknown(tmp_path: Path):
    assert many(
        tmp_path, image("base", "zzz: 1\n").replace("name: base", "name: 3"), image("web", source="{image: base}")
    ) == [
        "images/0.yaml:1:7 type 'name' must be text, not a number | write \"3\"",
        "images/0.yaml:4:1 unknown-key unknown key 'zzz'",
    ]


def test_a_base_must_not_be_retired(tmp_path: Path):
    assert many(tmp_path, image("base", "state: retired\n"), image("web", source="{image: {name: base}}")) == [
        "images/1.yaml:3:24 retired-base image 'base' is retired"
    ]


def test_circles_are_told_once(tmp_path: Path):
    specs = [image(name, source=f"{{image: {base}}}") for name, base in ("ab", "bc", "ca", "da")]
    assert many(tmp_path, *specs) == [
        "images/0.yaml:3:17 image-cycle images stand on each other in a circle: a -> b -> c -> a"
    ]


def test_an_image_that_stands_on_itself(tmp_path: Path):
    assert many(tmp_path, image("a", source="{image: a}")) == [
        "images/0.yaml:3:17 image-cycle images stand on each other in a circle: a -> a"
    ]


def test_an_image_is_like_its_base(tmp_path: Path):
    other = image("web", source="{image: base}").replace("linux", "linux, generation: 1, architecture: x64")
    assert many(tmp_path, image("base"), other) == [
        "images/1.yaml:2:33 base-differs generation is 1, but image 'base' has 2 | write `generation: 2`"
    ]


def test_a_definition_holds_one_image(tmp_path: Path):
    first = AZURE + gallery("regions: [westeurope]")
    assert many(tmp_path, first, first.replace("name: web", "name: db")) == [
        "images/1.yaml:4:69 shared-definition image 'web' is published to the same definition"
        ' | write one for each image, such as `definition: "{{ image.name }}"`'
    ]


GIVEN = "{{resourceGroup: r, name: {}}}"


@pytest.mark.parametrize(
    ("kind", "first", "second", "found"),
    [
        ("managedImage", GIVEN.format("x"), GIVEN.format("X"), "same"),
        ("managedImage", GIVEN.format("x"), GIVEN.format('"x-{{ image.version }}"'), "same"),
        ("managedImage", GIVEN.format("x"), GIVEN.format('"{{ image.version }}-x"'), ""),
        ("managedImage", GIVEN.format("x"), GIVEN.format("y"), ""),
        ("managedImage", "{resourceGroup: r}", "{resourceGroup: r}", ""),
        ("managedImage", "{resourceGroup: r}", GIVEN.format("web"), "same"),
        ("managedImage", GIVEN.format("db"), "{resourceGroup: R}", "theirs"),
        ("managedImage", GIVEN.format("x"), "{resourceGroup: q, name: x}", ""),
        ("snapshot", GIVEN.format("x"), GIVEN.format("X"), "same"),
        ("snapshot", "{resourceGroup: r}", "{resourceGroup: r}", ""),
        ("blob", "{account: abc, container: vhds, prefix: x}", "{account: abc, container: vhds, prefix: x/}", "same"),
        ("blob", "{account: abc, container: vhds, prefix: x}", "{account: abc, container: vhds, prefix: X}", ""),
        ("blob", "{account: abc, container: vhds}", "{account: abc, container: vhds}", ""),
        ("blob", "{account: abc, container: vhds}", "{account: abc, container: other, prefix: web}", ""),
        ("directory", "{path: g}", "{path: g}", ""),
    ],
)
def test_images_have_names_of_their_own_in_azure(tmp_path: Path, kind: str, first: str, second: str, found: str):
    spec = "{}publish: {{to: [{{{}: {}}}]}}\n"
    db = spec.format(AZURE, kind, second).replace("name: web", "name: db", 1)
    key, line = "prefix" if kind == "blob" else "name", db.splitlines()[3]
    message = "shared-name versions of image 'web' get the same names here"
    column = line.find(f"{key}: ") + len(f"{key}: ") + 1
    expected = {
        "": [],
        "same": [
            f'images/1.yaml:4:{column} {message} | write one for each image, such as `{key}: "{{{{ image.name }}}}"`'
        ],
        "theirs": [f"images/1.yaml:4:31 {message} | write another `name` there: images/0.yaml:4:56"],
    }
    assert many(tmp_path, spec.format(AZURE, kind, first), db) == expected[found]


def test_a_matrix_needs_its_values_in_names(tmp_path: Path):
    text = AZURE.replace("name: web", 'name: "web-{{ matrix.x }}"\nmatrix: {x: [a, b]}')
    one = text + "publish: {to: [{managedImage: {resourceGroup: r, name: web}}]}\n"
    assert many(tmp_path, one) == [
        "images/0.yaml:5:56 shared-name versions of image 'web-a' get the same names here"
        ' | write one for each image, such as `name: "{{ image.name }}"`'
    ]
    assert many(tmp_path, one.replace("name: web}", 'name: "{{ image.name }}-base"}')) == []


def test_definitions_of_a_gallery_have_identifiers_of_their_own(tmp_path: Path):
    first = AZURE + gallery("regions: [westeurope]")
    second = first.replace("name: web", "name: db").replace("definition: d", "definition: e")
    assert many(tmp_path, first, second) == []
    assert many(tmp_path, first, second.replace("regions:", "properties: {offer: D}, regions:")) == [
        "images/1.yaml:4:92 shared-identifier another definition of the gallery is g/D/default too"
        " | give one of them another offer or SKU"
    ]


def test_a_gallery_is_not_in_the_store(tmp_path: Path):
    assert many(tmp_path, LOCAL + "publish: {to: [{directory: {path: .build/gallery}}]}\n") == [
        "images/0.yaml:4:35 path-store '.build/gallery' is in the local store, which is cleaned | write `path: gallery`"
    ]


def test_the_rules_of_a_project_state_their_reasons():
    assert all(rule.__doc__ for rule in PROJECT_RULES)
