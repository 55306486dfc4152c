"""The bytes of managed disks and snapshots: uploads into a disk, copies out of one. Each by an access of its own.

A disk that is uploaded to takes writes until its access is ended, and never again: whatever it then holds is the disk
(Microsoft: "Upload a VHD to Azure"; once a signature has run out, another one can be had). So the access of an upload
that stopped half-way is not ended but left to run out, and the next upload goes on with the disk. Tags say whether one
is whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from builder.azure import tags
from builder.azure.blobs import PageBlob
from builder.azure.connection import Azure
from builder.azure.ids import ResourceId
from builder.azure.movers import DiskBytes
from builder.azure.operations import wait_all
from builder.azure.pageblob import Manner, Uploaded, copy, upload
from builder.errors import BuildError

UPLOADING = "uploading"
UPLOADED = "uploaded"
# How long a signature is good; a longer transfer asks for another one. One to write with may be left to run out
READ_SECONDS = 24 * 3600
WRITE_SECONDS = 3600
_TAKES_WRITES = ("ReadyToUpload", "ActiveUpload")
# While an access is open, Azure deletes neither disk nor snapshot
_OPEN = ("ActiveSAS", "ActiveSASFrozen", "ActiveUpload")


def upload_disk(
    azure: Azure,
    id: ResourceId,
    disk: DiskBytes,
    body: dict[str, Any],
    manner: Manner | None = None,
    *,
    stop: threading.Event | None = None,
) -> Uploaded | None:
    """Make a managed disk that holds `disk`. `body` is the disk's, without `creationData`; its tags say whose it is.

    What an upload left that died or was stopped is gone on with. None when the disk stands already, whole and with the
    same `build-digest`. Raises BuildError ("disk-exists" for one that isn't this image's; those of uploads),
    AzureError, Interrupted; then what was sent stays in the disk.
    """
    wanted = {**(body.get("tags") or {}), tags.STATE: UPLOADING}
    found = _left(azure, id, wanted, disk.size, stop)
    if found == UPLOADED:
        return None
    if not found:
        properties = {
            **(body.get("properties") or {}),
            "creationData": {"createOption": "Upload", "uploadSizeBytes": disk.size},
        }
        azure.put(id, {**body, "tags": wanted, "properties": properties}, stop=stop).wait(stop=stop)
    with access(azure, id, write=True, stop=stop) as sign:
        blob = PageBlob(sign(), renew=sign, given=True, stop=stop, ca=azure.cloud.ca_file)
        done = upload(disk, blob, manner)
    azure.patch(id, {"tags": {**wanted, tags.STATE: UPLOADED}}, stop=stop).wait(stop=stop)
    return done


def copy_disk(
    azure: Azure,
    id: ResourceId,
    target: PageBlob,
    manner: Manner | None = None,
    *,
    stop: threading.Event | None = None,
) -> Uploaded:
    """Copy a managed disk or snapshot, which nobody writes to, into a page blob. As `pageblob.copy`."""
    with access(azure, id, write=False, stop=stop) as sign:
        return copy(PageBlob(sign(), renew=sign, stop=target.stop, ca=azure.cloud.ca_file), target, manner)


@contextmanager
def access(
    azure: Azure, id: ResourceId, *, write: bool, stop: threading.Event | None = None
) -> Iterator[Callable[[], str]]:
    """An access to the bytes of a disk or snapshot for the block. One for reading is ended whatever happens, one for
    writing when the block ends well: a disk that lacks something would take no more.

    Yields what gives an address with a signature (a secret), a new one at each call. Raises AzureError, Interrupted.
    """
    word, seconds = ("Write", WRITE_SECONDS) if write else ("Read", READ_SECONDS)
    given: dict[str, Any] = {"access": word, "durationInSeconds": seconds}
    with ExitStack() as stack:
        begun = azure.post(id, "beginGetAccess", given, stop=stop)
        if not write:
            stack.callback(_end, azure, id)
        first = [str(begun.wait(stop=stop)["accessSAS"])]

        def sign() -> str:
            if first:
                return first.pop()
            return str(azure.post(id, "beginGetAccess", given, stop=stop).wait(stop=stop)["accessSAS"])

        yield sign
        if write:
            _end(azure, id)


def _end(azure: Azure, id: ResourceId) -> None:
    azure.post(id, "endGetAccess").wait()


def end_open(azure: Azure, bodies: Iterable[Mapping[str, Any]]) -> None:
    """End the access of those disks and snapshots that somebody left open, so that they can be deleted."""
    left = [body for body in bodies if body["properties"].get("diskState") in _OPEN]
    wait_all([azure.post(ResourceId.parse(str(body["id"])), "endGetAccess") for body in left])


def _left(azure: Azure, id: ResourceId, wanted: dict[str, str], size: int, stop: threading.Event | None) -> str:
    """What an earlier upload left of the disk: UPLOADED, UPLOADING (it takes writes), or "" (nothing, any more)."""
    found = azure.find(id)
    if found is None:
        return ""
    has: dict[str, str] = found.get("tags") or {}
    if not tags.is_ours(has) or has.get(tags.DIGEST) != wanted.get(tags.DIGEST) or tags.STATE not in has:
        raise BuildError(
            f"the disk {id.name} exists and was not made for this image",
            code="disk-exists",
            hint="remove it, or choose another name",
        )
    properties: dict[str, Any] = found["properties"]
    same = properties["creationData"].get("uploadSizeBytes") == size
    if has[tags.STATE] == UPLOADED and same:
        return UPLOADED
    if properties.get("diskState") in _TAKES_WRITES and same:
        return UPLOADING
    if properties.get("diskState") in _TAKES_WRITES:
        azure.post(id, "endGetAccess", stop=stop).wait(stop=stop)
    azure.delete(id, stop=stop).wait(stop=stop)
    return ""
