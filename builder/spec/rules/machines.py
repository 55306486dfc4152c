"""Rules about where an image comes from and where it is prepared."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.errors import Diagnostic
from builder.model.spec import ImageSpec, KeyPath
from builder.spec.image import LOCAL_SOURCES
from builder.spec.rules.base import finding, steps_of

# Releases that `bootstrap` can make a disk of, with their suites; the machine's own table has the details
BOOTSTRAP = {
    "debian": {"11": "bullseye", "12": "bookworm", "13": "trixie"},
    "ubuntu": {"20.04": "focal", "22.04": "jammy", "24.04": "noble"},
}
# Sources that are made or found on this host
FILE_SOURCES = ("file", "bootstrap")
WINDOWS_STEPS = ("windowsFeatures", "windowsUpdates", "registry")
LICENCES = {
    "Windows_Client": "windows",
    "Windows_Server": "windows",
    "RHEL_BYOS": "linux",
    "SLES_BYOS": "linux",
}
# Family, processors, then letters for features: `p` stands for Arm processors
VM_SIZE = re.compile(r"(?:Standard|Basic)_(?P<family>[A-Z]+)[0-9]+(?:-[0-9]+)?(?P<features>[a-z]*)")


def local_machine(image: ImageSpec) -> Iterator[Diagnostic]:
    """The local machine works on Linux disks that it can get at without Azure."""
    if image.machine.kind != "local":
        return
    if image.os.family != "linux":
        message = "the local machine makes Linux images only"
        help = "write `machine: {azure: {}}`"
        if image.source.kind in FILE_SOURCES:
            # The azure machine would refuse those
            help = f"`{image.source.kind}` is for Linux only: start from marketplace, or another image in Azure"
        yield finding(image, ("os", "family"), "machine", message, help)
    if image.source.kind not in LOCAL_SOURCES:
        message = f"the local machine can't start from `{image.source.kind}`: it would need Azure"
        help = f"start from {', '.join(sorted(LOCAL_SOURCES))}, or write `machine: {{azure: {{}}}}`"
        yield finding(image, image.source.path, "machine", message, help)


def azure_machine(image: ImageSpec) -> Iterator[Diagnostic]:
    """A build VM starts from what Azure has: a file of this host would first have to be uploaded."""
    if image.machine.kind == "azure" and image.source.kind in FILE_SOURCES:
        message = f"the azure machine can't start from `{image.source.kind}`"
        help = "write `machine: {local: {}}`; a disk that is prepared here can be published to Azure"
        yield finding(image, image.source.path, "machine", message, help)


def bootstrap_release(image: ImageSpec) -> Iterator[Diagnostic]:
    """Bootstrap knows what a bootable disk needs for some distributions' releases."""
    if image.source.kind != "bootstrap" or image.os.family != "linux":
        return
    releases = BOOTSTRAP.get(image.os.distribution or "")
    if releases is None:
        path: KeyPath = ("os", "distribution") if image.os.distribution else ("os",)
        message = f"bootstrap can't make {image.os.distribution or 'an image without os.distribution'}"
        yield finding(image, path, "bootstrap", message, f"it makes {', '.join(BOOTSTRAP)}")
        return
    wanted = image.source.values.get("suite") or image.os.release
    if wanted not in releases and wanted not in releases.values():
        path = (*image.source.path, "suite") if "suite" in image.source.values else ("os", "release")
        message = f"bootstrap doesn't know {wanted or 'an image without os.release'} of {image.os.distribution}"
        known = ", ".join(f'"{number}" ({suite})' for number, suite in releases.items())
        yield finding(image, path, "bootstrap", message, f"it makes {known}")


def file_source(image: ImageSpec) -> Iterator[Diagnostic]:
    """A disk file comes from one place. What is downloaded is checked: a URL alone names no content."""
    if image.source.kind != "file":
        return
    values, path = image.source.values, image.source.path
    if "path" in values and "url" in values:
        yield finding(image, (*path, "url"), "one-of", "a file has `path` or `url`, not both")
    elif "path" not in values and "url" not in values:
        yield finding(image, path, "missing-key", "a file needs `path` or `url`")
    if "url" in values and "sha256" not in values:
        message = "a file from a `url` needs its `sha256`"
        yield finding(image, (*path, "url"), "missing-key", message, "write what `sha256sum` prints for the file")


def step_family(image: ImageSpec) -> Iterator[Diagnostic]:
    """Features, updates and the registry are Windows'; sudo is Linux'."""
    if image.os.family == "windows":
        for step in steps_of(image, "users"):
            for index, user in enumerate(step.values["users"]):
                if user["sudo"]:
                    path = (*step.path, "users", index, "sudo")
                    help = "write `groups: [Administrators]`"
                    yield finding(image, path, "os-family", "Windows has no sudo", help)
        return
    for step in steps_of(image, *WINDOWS_STEPS):
        yield finding(image, step.path, "os-family", f"`{step.kind}` needs `os: {{family: windows}}`")


def secret_origin(image: ImageSpec) -> Iterator[Diagnostic]:
    """Key Vault is read with the credentials of the azure machine; a variable is either a secret or plain."""
    for step in steps_of(image, "script", "run"):
        for name, reference in step.values["secrets"].items():
            path = (*step.path, "secrets", name)
            if "keyVault" in reference and image.machine.kind == "local":
                help = "write {env: NAME} or {file: PATH}"
                yield finding(image, path, "secret", "the local machine can't read Key Vault", help)
            if name in step.values["env"]:
                yield finding(image, path, "secret", f"'{name}' is set by `env` too")


def generation(image: ImageSpec) -> Iterator[Diagnostic]:
    """Generation 1 boots by BIOS: no Arm64, no NVMe, no Trusted Launch (Azure: generation 2 VMs)."""
    if image.os.generation != 1:
        return
    path, help = ("os", "generation"), "write `generation: 2`"
    if image.os.architecture == "arm64":
        yield finding(image, path, "generation", "Arm64 VMs have generation 2", help)
    if image.machine.kind != "azure":
        return
    values = image.machine.values
    security = values.get("security", {}).get("type", "Standard")
    if security != "Standard":
        where = (*image.machine.path, "security", "type")
        yield finding(image, where, "generation", f"{security} needs generation 2", "write `generation: 2` in `os`")
    if values["diskController"] == "NVMe":
        where = (*image.machine.path, "diskController")
        yield finding(image, where, "generation", "NVMe needs generation 2", "write `generation: 2` in `os`")


def security(image: ImageSpec) -> Iterator[Diagnostic]:
    """Secure Boot and vTPM belong to Trusted Launch and confidential VMs; the latter have x64 processors."""
    if image.machine.kind != "azure":
        return
    values = image.machine.values.get("security", {})
    path, kind = (*image.machine.path, "security"), values.get("type", "Standard")
    if kind == "Standard":
        for key in ("secureBoot", "vtpm"):
            if values.get(key):
                help = "write `type: TrustedLaunch`"
                yield finding(image, (*path, key), "security", f"`{key}` needs another security type", help)
    if kind != "ConfidentialVM" and "encryption" in values:
        help = "write `type: ConfidentialVM`"
        yield finding(image, (*path, "encryption"), "security", "only a confidential VM has `encryption`", help)
    if kind == "ConfidentialVM" and image.os.architecture == "arm64":
        yield finding(image, (*path, "type"), "security", "confidential VMs have x64 processors")


def vm_sizes(image: ImageSpec) -> Iterator[Diagnostic]:
    """A size's name tells its processors (`p`: Arm64), and sizes of the A family have generation 1 only."""
    if image.machine.kind != "azure":
        return
    for index, size in enumerate(image.machine.values["size"]):
        found = VM_SIZE.match(size)
        if found is None:
            continue
        path = (*image.machine.path, "size", index)
        arm = "p" in found["features"]
        if arm != (image.os.architecture == "arm64"):
            has = "Arm64" if arm else "x64"
            message = f"{size} has {has} processors, the image is for {image.os.architecture}"
            yield finding(image, path, "vm-size", message)
        if found["family"] == "A" and image.os.generation == 2:
            yield finding(
                image, path, "vm-size", f"{size} has generation 1 only", "take a size such as Standard_D2s_v5"
            )


def licence(image: ImageSpec) -> Iterator[Diagnostic]:
    """A licence is for one operating system."""
    if image.machine.kind != "azure":
        return
    kind = image.machine.values.get("licenseType")
    if kind and LICENCES[kind] != image.os.family:
        path = (*image.machine.path, "licenseType")
        yield finding(image, path, "license", f"{kind} is a licence of {LICENCES[kind].capitalize()}")
