"""The first steps of a local build: where the disks start, and the shape that the spec wants them in."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import BuildError, Place
from builder.machines.local.names import OS_DISK, data_disk
from builder.model.kinds import KINDS, Kind
from builder.model.run import GuestScript, StepContext
from builder.model.spec import MIB, DataDiskSpec, ImageSpec
from builder.model.steps import Change, FileInput, Preview, Stage, Step
from builder.records.files import sync_folder
from builder.records.hashes import FileHashes
from builder.records.store import Store

if TYPE_CHECKING:
    from builder.machines.local.session import LocalSession

DISK_NAMESPACE = uuid.UUID("5d3b0c38-6f0e-5a53-9a55-61d9c1f0b1d4")
CHUNK = 4 * MIB
# Silence of a server that long is an error; it also bounds how long Ctrl-C waits
DOWNLOAD_TIMEOUT = 20.0
# By HTTP: 401 and 403 want a login, which build has none of; 404 and 410 know no such file
LASTING_REFUSALS = (400, 401, 403, 404, 410)


def file_source(image: ImageSpec, hashes: FileHashes) -> dict[str, Any]:
    """What identifies a `file` source: its sha256, whatever its name or place. Hashes the file."""
    values = image.source.values
    if "url" in values:
        return {"url": values["url"], "sha256": values["sha256"], "format": values.get("format")}
    path = image.local_path(values["path"])
    found = hashes.sha256(path)
    wanted = values.get("sha256")
    if wanted and wanted != found:
        raise BuildError(
            f"{values['path']} has sha256 {found}, the spec says {wanted}",
            code="source-changed",
            where=image.place(*image.source.path, "sha256"),
            hint="if the new file is right, write its sha256 into the spec",
        )
    return {"path": os.path.relpath(path, image.root), "sha256": found, "format": values.get("format")}


def source_step(image: ImageSpec, source: Mapping[str, Any]) -> Step:
    """The step that makes the first checkpoint. `source` is what `observe` resolved."""
    kind = image.source.kind
    files: tuple[FileInput, ...] = ()
    if kind == "file" and "path" in source:
        # The file's content is in the inputs; its name is for people and for the staleness check
        size = (image.root / source["path"]).stat().st_size
        files = (FileInput(source["path"], source["sha256"], size),)
    titles = {
        "bootstrap": f"bootstrap {source.get('distribution')} {source.get('suite')}",
        "file": f"import {source.get('path') or source.get('url')}",
        "image": f"start from image {source.get('image')} {source.get('version', '')}".rstrip(),
    }
    return Step(
        stage=Stage.PREPARE,
        kind=f"source.{kind}",
        title=titles[kind],
        inputs=dict(source),
        preview=Preview.PREDICTED if kind == "bootstrap" else Preview.EXACT,
        changes=(Change("create", "disk", "os", _size(source)),),
        files=files,
        place=image.place(*image.source.path),
        places={key: image.place(*image.source.path, key) for key in image.source.values},
        checkpoint=True,
    )


def _size(source: Mapping[str, Any]) -> str:
    """What a plan shows of the OS disk's size: only a bootstrap chooses it."""
    return f"{source['size'] // MIB} MiB" if source.get("size") else ""


def disks_step(image: ImageSpec) -> Step | None:
    """The step that grows the OS disk and makes the data disks, where the spec asks for either."""
    grow = image.disks.os_size if image.source.kind != "bootstrap" else None
    if not image.disks.data and grow is None:
        return None
    data = [
        {"lun": disk.lun, "size": disk.size, "filesystem": disk.filesystem, "mount": disk.mount, "label": disk.label}
        for disk in image.disks.data
    ]
    changes = [Change("create", "disk", f"data {disk.lun}", disk.mount or "") for disk in image.disks.data]
    if grow is not None:
        changes.insert(0, Change("update", "disk", "os", f"{grow // MIB} MiB"))
    return Step(
        stage=Stage.PREPARE,
        kind="disks",
        title="disks: " + ", ".join(f"{change.name} {change.detail}".strip() for change in changes),
        inputs={"os_size": grow, "data": data},
        changes=tuple(changes),
        place=image.place("disks"),
        checkpoint=True,
    )


def _run_bootstrap(step: Step, context: StepContext) -> None:
    from builder.machines.local.bootstrap import make_base

    session: LocalSession = context.session
    make_base(
        step.inputs,
        session.layer(OS_DISK),
        work=session.work,
        package_sources=session.package_sources,
        on_line=context.log,
        progress=lambda doing: context.progress(0, None, "", doing),
        stop=context.run.stop,
    )
    session.disks = [(OS_DISK, None)]


def _run_file(step: Step, context: StepContext) -> None:
    from builder.disk.importing import import_disk

    session: LocalSession = context.session
    inputs, place = step.inputs, step.place
    if inputs.get("url"):
        path = download(inputs["url"], inputs["sha256"], session.store, context, place)
    else:
        path = context.run.image.root / inputs["path"]
        if session.store.hashes.sha256(path) != inputs["sha256"]:
            raise BuildError(f"{inputs['path']} changed after the plan was made", code="source-changed", where=place)
    try:
        import_disk(path, session.layer(OS_DISK), inputs.get("format"), stop=context.run.stop)
    except BuildError as error:
        error.where = error.where or place
        raise
    session.disks = [(OS_DISK, None)]
    # A disk without a system that can be worked on is the source's fault, not that of the first step
    session.open_system()


def _run_image(step: Step, context: StepContext) -> None:
    """Import the disks of a version of another image of this repository, found by the digest that was planned."""
    from builder.disk.contents import content_digest
    from builder.disk.importing import import_disk

    session: LocalSession = context.session
    places = [artifact for artifact, _ in context.base(str(step.inputs["image"]), str(step.inputs["digest"]))]
    artifact = next((artifact for artifact in places if artifact.folder is not None), places[0])
    for disk in artifact.disks:
        name = OS_DISK if disk.lun is None else data_disk(disk.lun)
        context.progress(0, None, "", f"checking and importing {disk.file.name}")
        if content_digest(disk.file, stop=context.run.stop) != disk.digest:
            raise BuildError(
                f"{disk.file} isn't what was published: its content has changed",
                code="version-damaged",
                where=step.place,
                hint="remove that version, and apply its image again",
            )
        import_disk(disk.file, session.layer(name), stop=context.run.stop)
        session.disks.append((name, disk.lun))


def download(url: str, sha256: str, store: Store, context: StepContext, place: Place | None) -> Path:
    """A file from the network, whole and with the right sha256, or BuildError. Kept for the next build."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    folder = store.sources
    path = folder / sha256
    if path.exists() and store.hashes.sha256(path) == sha256:
        os.utime(path)  # `build gc` removes what was not used for long
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{sha256}.{context.run.id}.partial"
    found = hashlib.sha256()
    try:
        with urlopen(url, timeout=DOWNLOAD_TIMEOUT) as answer, partial.open("wb") as file:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            done = 0
            while chunk := answer.read(CHUNK):
                context.run.check_stop()
                found.update(chunk)
                file.write(chunk)
                done += len(chunk)
                context.progress(done, total, "bytes", "downloading")
            file.flush()
            os.fsync(file.fileno())
        if total is not None and done != total:
            raise BuildError(
                f"can't download {url}: the connection ended after {done:,} of {total:,} bytes",
                code="download-failed",
                where=place,
                hint="run the same apply again",
            )
        if found.hexdigest() != sha256:
            raise BuildError(
                f"{url} has sha256 {found.hexdigest()}, the spec says {sha256}",
                code="download-changed",
                where=place,
                hint="it was replaced or damaged: check where it comes from before writing the new sha256",
            )
        partial.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        # The server understood, and has no such file or gives it to nobody: asking again changes nothing
        refused = isinstance(error, HTTPError) and error.code in LASTING_REFUSALS
        hint = "correct the address in the spec" if refused else "run the same apply again"
        raise BuildError(f"can't download {url}: {error}", code="download-failed", where=place, hint=hint) from error
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(folder)
    return path


def _run_disks(step: Step, context: StepContext) -> None:
    """Grow the OS disk, make the data disks, and mount those that say where, now and in fstab."""
    from builder.disk.sizing import grow_disk

    session: LocalSession = context.session
    if step.inputs["os_size"] is not None:
        context.progress(0, None, "", "growing the OS disk")
        grow_disk(session.disk(OS_DISK), int(step.inputs["os_size"]), folder=session.work)
    lines: list[tuple[str, str]] = []
    for values in step.inputs["data"]:
        disk = DataDiskSpec(**values)
        identity = str(uuid.uuid5(DISK_NAMESPACE, f"{step.digest}/{disk.lun}"))
        _make_data_disk(disk, identity, step, context)
        if disk.mount is not None:
            # nofail: a VM whose data disk is missing must still start (Azure, "Attach a data disk to a Linux VM")
            options = "defaults,nofail"
            target = fstab_field(disk.mount)
            lines.append((disk.mount, f"UUID={identity} {target} {disk.filesystem} {options} 0 2"))
    # Parents first, each mounted before the next: the folder of a nested mount belongs on its parent's disk
    for mount, line in sorted(lines, key=lambda item: item[0].rstrip("/").count("/")):
        session.guest.execute(_fstab_script([mount, line]), context.log)
        session.close_system()


def _make_data_disk(disk: DataDiskSpec, identity: str, step: Step, context: StepContext) -> None:
    from builder.disk.layers import DiskLayer
    from builder.disk.sizing import create_data_disk

    session: LocalSession = context.session
    name = data_disk(disk.lun)
    if name in [known for known, _ in session.disks]:
        raise BuildError(
            f"the source already brings a data disk with LUN {disk.lun}", code="lun-taken", where=step.place
        )
    context.progress(0, None, "", f"making data disk {disk.lun}")
    create_data_disk(
        DiskLayer(session.layer(name), disk.lun),
        size=disk.size,
        folder=session.work,
        filesystem=disk.filesystem,
        identity=identity,
        label=disk.label,
    )
    session.disks.append((name, disk.lun))


def fstab_field(text: str) -> str:
    """A field of fstab: white space and backslashes as octal escapes (fstab(5))."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\#" else letter for letter in text)


def _fstab_script(mounts_and_lines: list[str]) -> GuestScript:
    """Make each mount point and add its line, given in turn as arguments."""
    return GuestScript(
        text="""
# A last line without its newline would swallow the next one
if [ -s /etc/fstab ] && [ -n "$(tail -c 1 /etc/fstab)" ]; then echo >> /etc/fstab; fi
while [ $# -gt 0 ]; do
    mkdir -p -- "$1"
    printf '%s\\n' "$2" >> /etc/fstab
    shift 2
done
""",
        interpreter=("/bin/sh", "-eu"),
        arguments=tuple(mounts_and_lines),
    )


KINDS.register(Kind("source.bootstrap", 1, _run_bootstrap))
KINDS.register(Kind("source.file", 1, _run_file))
KINDS.register(Kind("source.image", 1, _run_image))
KINDS.register(Kind("disks", 2, _run_disks))
