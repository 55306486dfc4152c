"""Files that are too large for run commands: they go as a disk that is uploaded, attached to the VM, and removed again.

No storage account is needed, and nothing in the guest but a shell: the disk holds a line that says what it is, and from
its second block on an archive.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.azure.disk_access import end_open, upload_disk
from builder.azure.errors import AzureError
from builder.azure.ids import ResourceId
from builder.azure.ranges import Span
from builder.disk.vhd import FOOTER_SIZE, make_footer, whole_mib
from builder.events import Warned
from builder.machines.azure.attaching import attach, detach
from builder.machines.azure.names import short
from builder.machines.azure.scripts import write_tar
from builder.model.spec import MIB

if TYPE_CHECKING:
    from builder.machines.azure.provision import Provisioner
    from builder.machines.azure.vm import Vm

# What is before the archive: sectors of any size are whole in it
HEADER = 4096
# Azure makes no smaller disk of an upload
SMALLEST = 20 * MIB


@dataclass(frozen=True)
class Cargo:
    """An archive (tar.gz) on its way. `mark` is what its disk begins with, and tells it from all others."""

    archive: Path
    sha256: str
    size: int

    @property
    def mark(self) -> str:
        """One line of ASCII."""
        return f"build files {self.sha256}"

    @staticmethod
    def pack(files: Mapping[str, bytes | Path], folder: Path) -> Cargo:
        """Pack files and folders into an archive in `folder`, without holding them in memory."""
        path = folder / "files.tar.gz"
        with path.open("w+b") as file:
            write_tar(files, file, level=1)
            file.seek(0)
            return Cargo(path, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


class CargoDisk:
    """The bytes of a cargo's disk, as a fixed VHD."""

    def __init__(self, cargo: Cargo, descriptor: int) -> None:
        held = max(SMALLEST, whole_mib(HEADER + cargo.size))
        self.size = held + FOOTER_SIZE
        self._header = f"{cargo.mark}\n".encode().ljust(HEADER, b"\0")
        self._end = HEADER + cargo.size
        self._held = held
        self._footer = make_footer(held, content_digest=cargo.sha256)
        self._descriptor = descriptor

    def extents(self) -> Iterable[Span]:
        """The archive with its header, and the footer."""
        return ((0, self._end), (self._held, self.size))

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes; from any thread."""
        parts, at, end = [], offset, offset + length
        while at < end:
            if at < HEADER:
                part = self._header[at : min(end, HEADER)]
            elif at < self._end:
                part = os.pread(self._descriptor, min(end, self._end) - at, at - HEADER)
            elif at < self._held:
                part = bytes(min(end, self._held) - at)
            else:
                part = self._footer[at - self._held : end - self._held]
            if not part:
                raise OSError(f"the archive ends at {at}")
            parts.append(part)
            at += len(part)
        return b"".join(parts)


class Carrier:
    """Brings cargo to one VM."""

    def __init__(self, made: Provisioner, vm: Vm, work: Path) -> None:
        self._made = made
        self._vm = vm
        self._work = work

    @contextmanager
    def brought(self, files: Mapping[str, bytes | Path]) -> Iterator[Cargo]:
        """A disk with these files is attached to the VM for the length of the block, and removed then.

        Raises AzureError, BuildError (those of uploads), Interrupted.
        """
        made, vm, stop = self._made, self._vm, self._made.run.stop
        with ExitStack() as stack:
            self._work.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{made.run.id}-files-", dir=self._work))
            cargo = Cargo.pack(files, Path(folder))
            id = made.names.compute("disks", f"files-{short(vm.id.name, cargo.sha256)}")
            file = stack.enter_context(cargo.archive.open("rb"))
            stack.callback(self._remove, id)
            with made.run.effect("azure.disk", resource=str(id)):
                upload_disk(made.azure, id, CargoDisk(cargo, file.fileno()), self._body(), stop=stop)
            stack.callback(detach, vm, id)
            attach(vm, id)
            yield cargo

    def _remove(self, id: ResourceId) -> None:
        """Have the disk removed, without waiting, also one that was not uploaded to its end."""
        azure = self._made.azure
        try:
            found = azure.find(id)
            if found is not None:
                end_open(azure, [found])
                azure.delete(id)
        except AzureError as error:
            message = f"{id.short} could not be removed: {error.message}"
            self._made.run.emit(Warned(image=self._made.run.image.name, message=message, code="left-over"))

    def _body(self) -> dict[str, Any]:
        machine = self._made.machine
        body: dict[str, Any] = {
            "location": machine.location,
            "tags": self._made.tags(),
            "sku": {"name": machine.os_disk_type},
        }
        if machine.disk_encryption_set:
            body["properties"] = {
                "encryption": {
                    "type": "EncryptionAtRestWithCustomerKey",
                    "diskEncryptionSetId": machine.disk_encryption_set,
                }
            }
        if machine.zone:
            body["zones"] = [machine.zone]
        return body
