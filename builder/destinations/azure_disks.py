"""The disks of an artifact as sources that Azure publishes from, wherever they are.

Snapshots and managed disks are sources as they are, and so is a VHD in a storage account. Files of this host are
uploaded into managed disks first, which are deleted once the version stands. Where the upload or the publishing fails,
or is interrupted, they stay: Azure may still copy from them, and the next apply goes on with what was sent. A tag says
when they expire; the next upload of the image into the same resource group deletes those that have, as does `build gc`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from builder.azure import tags as tag_names
from builder.azure.ids import ResourceId, compute
from builder.destinations.gallery_definition import ARCHITECTURES, OS_TYPES
from builder.errors import BuildError, Interrupted
from builder.model.artifact import Artifact, CapturedDisk
from builder.model.run import StepContext

if TYPE_CHECKING:
    from builder.azure.connection import Azure

ACCOUNTS = "Microsoft.Storage/storageAccounts"
DISKS = "Microsoft.Compute/disks"
# What the names of disks begin with that files are uploaded into
UPLOAD = "build-upload-"
UPLOADS_EXPIRE_SECONDS = 2 * 24 * 3600.0

Source = Mapping[str, str]


@contextmanager
def disk_sources(azure: Azure, context: StepContext, target: ResourceId, location: str) -> Iterator[list[Source]]:
    """A source for each disk of the artifact; none when the artifact is one whole resource.

    `target` is what is made of them; uploads go to its resource group. Raises BuildError, AzureError, Interrupted.
    """
    artifact = context.artifact
    assert artifact is not None
    if artifact.resource and not artifact.has_disks:
        yield []
        return
    sources = []
    for disk in artifact.disks:
        if disk.path is not None:
            sources.append(_uploaded(azure, context, disk, target, location))
        elif disk.resource.startswith("https://") or disk.resource.startswith("http://"):
            sources.append({"uri": disk.resource, "storageAccountId": _account(azure, disk.resource)})
        elif disk.resource:
            sources.append({"id": disk.resource})
        else:
            raise BuildError(f"disk {disk.name} is neither here nor in Azure", code="disk-elsewhere")
    yield sources
    remove_uploads(azure, context, target)


def _upload_id(context: StepContext, disk: CapturedDisk, target: ResourceId) -> ResourceId:
    """The managed disk that a file is uploaded into: the same on every try from this place."""
    # Two hosts that publish the same at once must not write to one disk
    place = f"{platform.node()}:{context.run.image.root}:{target}:{disk.digest}"
    name = hashlib.sha256(f"{place}:{disk.name}".encode()).hexdigest()[:16]
    return compute(target.subscription, target.group, "disks", f"{UPLOAD}{name}")


def remove_uploads(azure: Azure, context: StepContext, target: ResourceId) -> None:
    """Delete the disks that were uploaded for `target`, of this run and of those before it, and the image's expired."""
    from builder.azure.disk_access import end_open
    from builder.azure.operations import wait_all

    artifact = context.artifact
    disks = artifact.disks if artifact is not None else ()
    uploads = [_upload_id(context, disk, target) for disk in disks if disk.path is not None]
    if not uploads:
        return
    bodies = azure.list(target.group_id, DISKS)
    found = {
        id: body
        for id, body in ((ResourceId.parse(str(body["id"])), body) for body in bodies)
        if tag_names.is_ours(body.get("tags")) and (id in uploads or _is_expired(id, body, context, azure.clock.now()))
    }
    end_open(azure, found.values())
    wait_all([azure.delete(id) for id in found])


def _is_expired(id: ResourceId, body: Mapping[str, Any], context: StepContext, now: float) -> bool:
    """Whether it is an upload of this image whose time is over."""
    tags = body.get("tags") or {}
    expires = tag_names.moment(str(tags.get(tag_names.EXPIRES, "")))
    ours = id.name.startswith(UPLOAD) and tags.get(tag_names.IMAGE) == context.run.image.name
    return ours and expires is not None and expires <= now


def _uploaded(azure: Azure, context: StepContext, disk: CapturedDisk, target: ResourceId, location: str) -> Source:
    from builder.azure.disk_access import upload_disk
    from builder.azure.pageblob import Manner
    from builder.destinations.upload import vhd_source

    image = context.run.image
    id = _upload_id(context, disk, target)
    expires = azure.clock.now() + UPLOADS_EXPIRE_SECONDS
    properties: dict[str, Any] = {}
    if disk.lun is None:
        properties = {
            "osType": OS_TYPES[image.os.family],
            "hyperVGeneration": f"V{image.os.generation}",
            "supportedCapabilities": {"architecture": ARCHITECTURES[image.os.architecture]},
        }
    body = {
        "location": location,
        "sku": {"name": "Standard_LRS"},
        "tags": tag_names.ours(run=context.run.id, image=image.name, expires=expires) | {tag_names.DIGEST: disk.digest},
        "properties": properties,
    }
    manner = Manner(progress=lambda done, total: context.progress(done, total, "bytes", f"uploading {disk.name}"))
    context.log(f"uploading {disk.name} ({disk.data_bytes} bytes of data)")
    stop = context.run.stop
    with (
        vhd_source(disk.file, work=context.run.folder, stop=stop) as source,
        context.run.effect("upload", resource=str(id)),
    ):
        try:
            done = upload_disk(azure, id, source, body, manner, stop=stop)
        except Interrupted as error:
            raise Interrupted(
                f"interrupted; what was sent of {disk.name} stays in Azure, until {tag_names.stamp(expires)}",
                code="interrupted",
                hint="the same `build apply` goes on with it",
            ) from error
    how = "it is there already" if done is None else f"{done.sent} bytes sent, {done.kept} were there"
    context.log(f"{disk.name}: {how}")
    return {"id": str(id)}


def gives_out(azure: Azure, artifact: Artifact) -> bool:
    """Whether Azure can make something of the artifact's disks in this subscription: VHDs must be in an account of it.

    Raises AzureError.
    """
    from builder.azure.storage import account_of

    addresses = [disk.resource for disk in artifact.disks if disk.resource.startswith(("https://", "http://"))]
    return not addresses or {account_of(address) for address in addresses} <= _accounts(azure).keys()


def _account(azure: Azure, url: str) -> str:
    """The id of the storage account of a blob. Raises BuildError when it is in another subscription."""
    from builder.azure.storage import account_of

    name = account_of(url)
    found = _accounts(azure).get(name)
    if found is None:
        raise BuildError(
            f"storage account {name} is not in subscription {azure.subscription}: Azure can't publish from it",
            code="account-elsewhere",
            hint="publish to a gallery of the account's subscription",
        )
    return found


def _accounts(azure: Azure) -> dict[str, str]:
    """The ids of the subscription's storage accounts, by name."""
    listed = azure.list(ResourceId(azure.subscription), ACCOUNTS)
    return {str(account["name"]).lower(): str(account["id"]) for account in listed}
