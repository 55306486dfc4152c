"""The `bootstrap` source: a disk made of packages. mmdebstrap installs them, and the disk is written around the result.

No mount, no loop device: the filesystem is made from the folder (`mke2fs -d`), so that its free space is truly empty.
One disk starts on both generations of Azure's machines.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from builder import process
from builder.disk.partitions import write_gpt
from builder.errors import BuildError, Interrupted
from builder.guest.apt_sources import AptSource, host_settings, host_sources, sources_text
from builder.machines.local import bootloader, bootstrap_files
from builder.machines.local.bootstrap_files import FINISH, BaseFacts
from builder.machines.local.distributions import DISTRIBUTIONS, find_release
from builder.model.canonical import digest
from builder.model.hardware import DEBIAN_ARCHITECTURES, host_architecture
from builder.model.spec import GIB, MIB, OsSpec

DEFAULT_SIZE = 30 * GIB
# The packages take 700 MiB; upgrades need room for a second kernel
SMALLEST_SIZE = 2 * GIB
SNAPSHOTS = "http://snapshot.debian.org/archive"
NAMESPACE = uuid.UUID("b0d7f3a6-52a8-5a35-8d0e-6f3f6f0e7d41")
SNAPSHOT = re.compile(r"^\d{8}T\d{6}Z$")
PACKAGE = re.compile(r"^[a-z0-9][a-z0-9+.:-]+$")

# What mmdebstrap says when it begins a phase, and what we say
PHASES = {
    "running apt-get update": "reading package lists",
    "downloading packages with apt": "downloading packages",
    "extracting archives": "extracting essential packages",
    "installing essential packages": "installing essential packages",
    "installing remaining packages": "installing packages",
    "running --customize-hook": "finishing the system",
    "cleaning package lists": "cleaning up",
}

# The features that GRUB 2.04 and e2fsck 1.45 know, so that every release can start from and check its own root.
# The host's mke2fs.conf would make another filesystem on another host
MKE2FS_CONF = """[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
blocksize = 4096
inode_size = 256
inode_ratio = 16384

[fs_types]
ext4 = {
    features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}
"""

PROGRAMS = {
    "mmdebstrap": ("mmdebstrap", "install the packages"),
    "mke2fs": ("e2fsprogs", "make the root filesystem"),
    "mformat": ("mtools", "make the EFI system partition"),
    "qemu-img": ("qemu-utils", "write the disk"),
    "unshare": ("util-linux", "keep the installation apart from this host"),
}


def resolve(os: OsSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides what `make_base` makes, as JSON; pure, no network.

    `values` is the spec's `source.bootstrap` (all optional): `suite` (instead of the OS's release), `mirror` (URL),
    `components` and `packages` (lists), `snapshot` (a time such as `20260101T000000Z` of Debian's snapshot archive),
    and `size` in bytes. Raises BuildError for what can't be bootstrapped.
    """
    distribution, release, suite = find_release(os.distribution, values.get("suite") or os.release)
    if os.architecture == "arm64" and os.generation == 1:
        raise BuildError("there are no generation 1 machines with arm64", code="bootstrap-generation")
    size = values.get("size") or DEFAULT_SIZE
    if size % MIB or size < SMALLEST_SIZE:
        raise BuildError(
            f"the OS disk has {size / MIB:g} MiB; it must be a whole number of MiB, at least {SMALLEST_SIZE // MIB}",
            code="bootstrap-size",
        )
    snapshot = values.get("snapshot")
    if snapshot is not None and (distribution.name != "debian" or not SNAPSHOT.match(snapshot)):
        raise BuildError(
            f"{snapshot!r} is not a snapshot of {distribution.name}'s archive",
            code="bootstrap-snapshot",
            hint="Debian's have names such as 20260101T000000Z; other distributions have none",
        )
    extra = values.get("packages") or ()
    wrong = [name for name in extra if not PACKAGE.match(name)]
    if wrong:
        raise BuildError(f"not names of packages: {', '.join(wrong)}", code="bootstrap-packages")
    mirror = values.get("mirror")
    packages = {
        *distribution.packages,
        *distribution.architecture_packages[os.architecture],
        *distribution.release_packages.get(suite, ()),
        *extra,
    }
    return {
        "distribution": distribution.name,
        "release": release,
        "suite": suite,
        "architecture": os.architecture,
        "mirror": mirror or distribution.mirrors[os.architecture],
        "image_mirror": mirror
        or distribution.image_mirrors.get(os.architecture)
        or distribution.mirrors[os.architecture],
        "security_mirror": distribution.security_mirrors[os.architecture],
        "components": list(values.get("components") or distribution.components),
        "packages": sorted(packages),
        "snapshot": snapshot,
        "size": size,
        "recipe": _recipe(distribution.name, os.architecture),
    }


@lru_cache
def _recipe(distribution: str, architecture: str) -> str:
    """A digest of how bases are made, so that a base made another way is another base."""
    facts = BaseFacts(DISTRIBUTIONS[distribution], architecture, "", "", ())
    disk = [[part.number, part.start, part.size, part.type] for part in bootloader.layout(SMALLEST_SIZE, architecture)]
    return digest([dict(bootstrap_files.recipe(facts)), MKE2FS_CONF, disk, bootloader.VERSION])


def image_sources(inputs: Mapping[str, Any]) -> tuple[AptSource, ...]:
    """The package sources that the finished image uses."""
    return _sources(inputs, inputs["image_mirror"], inputs["security_mirror"])


def build_sources(inputs: Mapping[str, Any], package_sources: str) -> str:
    """The `.sources` text that packages are installed from.

    A snapshot is used whatever `package_sources` says: the spec asks for those packages. Raises BuildError when the
    host has no sources of the suite.
    """
    if inputs["snapshot"]:
        at = inputs["snapshot"]
        snapshot = _sources(inputs, f"{SNAPSHOTS}/debian/{at}/", f"{SNAPSHOTS}/debian-security/{at}/")
        return sources_text([AptSource(s.uris, s.suites, s.components, {**s.options, "Check-Valid-Until": "no"})
                             for s in snapshot])  # fmt: skip
    if package_sources == "host":
        return host_sources(inputs["suite"])
    return sources_text(_sources(inputs, inputs["mirror"], inputs["security_mirror"]))


def _sources(inputs: Mapping[str, Any], main: str, security: str) -> tuple[AptSource, ...]:
    suite, components = inputs["suite"], tuple(inputs["components"])
    options = {"Signed-By": DISTRIBUTIONS[inputs["distribution"]].keyring}
    return (
        AptSource((main,), (suite, f"{suite}-updates"), components, options),
        AptSource((security,), (f"{suite}-security",), components, options),
    )


def make_base(
    inputs: Mapping[str, Any],
    target: Path,
    *,
    work: Path,
    package_sources: str,
    on_line: Callable[[str], None],
    progress: Callable[[str], None],
    stop: threading.Event | None,
) -> None:
    """Make the disk that `resolve` described as a qcow2 file at `target`; it appears there when it is whole.

    `work` is a folder for scratch (about 2 GiB), left as it was found. `package_sources` is `host` (this host's
    mirror and proxy, of which nothing stays in the image) or `image`. Needs root. Raises BuildError, Interrupted when
    `stop` is set.
    """
    check_host(inputs, package_sources)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bootstrap-", dir=work))
        stack.callback(shutil.rmtree, folder)
        partial = target.with_name(f".{target.name}.partial")
        stack.callback(partial.unlink, missing_ok=True)
        try:
            _install(inputs, folder, package_sources, on_line=on_line, progress=progress, stop=stop)
            bootloader.check_boot(folder / "export")
            _write_disk(inputs, folder, partial, on_line=on_line, progress=progress, stop=stop)
        except BuildError as error:
            if stop is not None and stop.is_set():
                raise Interrupted("interrupted", code="interrupted") from error
            raise
        partial.replace(target)


def check_host(inputs: Mapping[str, Any], package_sources: str) -> None:
    """Raise BuildError when this host can't make the base: its architecture, its programs, its rights, a keyring."""
    if os.geteuid() != 0:
        raise BuildError("bootstrap needs root", code="needs-root", hint="run build with sudo")
    host = host_architecture()
    if host != inputs["architecture"]:
        raise BuildError(
            f"this host is {host}; it can't run the programs of an {inputs['architecture']} image",
            code="foreign-architecture",
            hint=f"build it on a host of {inputs['architecture']}",
        )
    for program, (package, why) in PROGRAMS.items():
        process.find_program(program, package=package, why=why)
    distribution = DISTRIBUTIONS[inputs["distribution"]]
    if (package_sources == "image" or inputs["snapshot"]) and not Path(distribution.keyring).exists():
        raise BuildError(
            f"{distribution.keyring} is not here; packages of {distribution.name} can't be verified without it",
            code="keyring-missing",
            hint=f"install {distribution.keyring_package}",
        )


def identifiers(inputs: Mapping[str, Any]) -> tuple[str, str, str]:
    """The root filesystem's UUID, the EFI system partition's volume id and the disk's GUID: same inputs, same ids."""
    key = digest(dict(inputs))
    esp = uuid.uuid5(NAMESPACE, f"{key}/esp").hex[:8].upper()
    root, disk = (str(uuid.uuid5(NAMESPACE, f"{key}/{name}")) for name in ("root", "disk"))
    return root, f"{esp[:4]}-{esp[4:]}", disk


def _install(
    inputs: Mapping[str, Any],
    folder: Path,
    package_sources: str,
    *,
    on_line: Callable[[str], None],
    progress: Callable[[str], None],
    stop: threading.Event | None,
) -> None:
    root, esp, _ = identifiers(inputs)
    distribution = DISTRIBUTIONS[inputs["distribution"]]
    facts = BaseFacts(distribution, inputs["architecture"], root, esp, image_sources(inputs))
    bootstrap_files.write_tar(folder / "early.tar", bootstrap_files.early_files())
    bootstrap_files.write_tar(folder / "late.tar", bootstrap_files.files(facts))
    (folder / "build.sources").write_text(build_sources(inputs, package_sources))
    settings = host_settings() if package_sources == "host" else {}
    (folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in sorted(settings.items())))
    errors: list[str] = []

    def line(text: str) -> None:
        on_line(text)
        kind, _, rest = text.partition(": ")
        if kind == "I":
            said = next((ours for theirs, ours in PHASES.items() if rest.startswith(theirs)), None)
            if said is not None:
                progress(said)
        elif kind == "E":
            errors.append(rest)

    try:
        process.stream(install_command(inputs, folder), on_line=line, env=_environment(inputs), stop=stop)
    except process.CommandFailed as error:
        what = f"{distribution.name} {inputs['suite']}"
        reason = errors[0] if errors else error.message
        raise BuildError(
            f"bootstrap of {what} failed: {reason}", code="bootstrap-failed", detail=error.detail
        ) from error


def install_command(inputs: Mapping[str, Any], folder: Path) -> list[str]:
    """mmdebstrap's command line, in namespaces of its own: whatever ends it ends its mounts and children too."""

    def quoted(*words: str | Path) -> str:
        return shlex.join(str(word) for word in words)

    apart = ["unshare", "--mount", "--propagation", "private", "--ipc", "--uts",
             "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]  # fmt: skip
    return [
        *apart,
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        "--verbose",
        f"--architectures={DEBIAN_ARCHITECTURES[inputs['architecture']]}",
        f"--components={','.join(inputs['components'])}",
        f"--include={','.join(inputs['packages'])}",
        f"--aptopt={folder / 'apt.conf'}",
        # The tree is thrown away when anything fails: no file of it need be synced on its own
        "--dpkgopt=force-unsafe-io",
        # It would make machine-id empty, which lets systemd think of the first boot as a later one
        "--skip=cleanup/reproducible",
        "--essential-hook=" + quoted("tar-in", folder / "early.tar", "/"),
        "--customize-hook=" + quoted("tar-in", folder / "late.tar", "/"),
        f'--customize-hook=chroot "$1" /{FINISH}/finish.sh',
        "--customize-hook=" + quoted("copy-out", f"/{FINISH}/export", folder),
        f'--customize-hook=rm -r "$1"/{FINISH}',
        inputs["suite"],
        str(folder / "tree"),
        str(folder / "build.sources"),
    ]


def _environment(inputs: Mapping[str, Any]) -> dict[str, str]:
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    if inputs["snapshot"]:
        moment = datetime.strptime(inputs["snapshot"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        env["SOURCE_DATE_EPOCH"] = str(int(moment.timestamp()))
    return env


def _write_disk(
    inputs: Mapping[str, Any],
    folder: Path,
    partial: Path,
    *,
    on_line: Callable[[str], None],
    progress: Callable[[str], None],
    stop: threading.Event | None,
) -> None:
    """Partition table, filesystems and boot loaders on a sparse raw file, then as qcow2 at `partial`."""
    root, esp, disk_id = identifiers(inputs)
    size, architecture = inputs["size"], inputs["architecture"]
    disk, export = folder / "disk.raw", folder / "export"
    parts = bootloader.layout(size, architecture)
    progress("making the root filesystem")
    write_gpt(disk, size, parts, disk_guid=disk_id)
    (folder / "mke2fs.conf").write_text(MKE2FS_CONF)
    env = {**_environment(inputs), "MKE2FS_CONFIG": str(folder / "mke2fs.conf")}
    process.stream(_filesystem_command(disk, folder / "tree", root, parts[0].size), on_line=on_line, env=env, stop=stop)
    progress("installing boot loaders")
    vendor = DISTRIBUTIONS[inputs["distribution"]].vendor
    config = (export / "esp.cfg").read_text()
    bootloader.write_efi_system(disk, export / "efi", config, vendor=vendor, volume_id=esp, work=folder)
    if architecture == "x64":
        boot, core = ((export / name).read_bytes() for name in ("boot.img", "core.img"))
        bootloader.write_bios_boot(disk, boot, core)
    progress("writing the disk")
    convert: Sequence[str | Path] = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-m", "16", "-W", disk, partial]
    process.stream([str(word) for word in convert], on_line=on_line, stop=stop)


def _filesystem_command(disk: Path, tree: Path, identifier: str, size: int) -> list[str]:
    # Tables that are initialized later would be written by the first kernel that mounts them: into every layer
    extended = f"offset={bootloader.ROOT_START},hash_seed={identifier},lazy_itable_init=0,lazy_journal_init=0"
    return ["mke2fs", "-q", "-F", "-t", "ext4", "-U", identifier, "-E", extended, "-d", str(tree),
            str(disk), f"{size // 1024}k"]  # fmt: skip
