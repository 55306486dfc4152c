"""The disks of an artifact as sources that Azure publishes from, wherever they are.

Snapshots and managed disks are sources as they are, and so is a VHD in a storage account. Files of this host are
uploaded into managed disks first, which are deleted once the version stands. Where publishing fails or is interrupted
they stay: Azure may still copy from them, and the next apply need not upload again. A tag says when they expire.
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
from builder.errors import BuildError
from builder.model.artifact import CapturedDisk
from builder.model.run import StepContext

if TYPE_CHECKING:
    from builder.azure.connection import Azure

ACCOUNTS = "Microsoft.Storage/storageAccounts"
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


def upload_ids(context: StepContext, target: ResourceId) -> list[ResourceId]:
    """The managed disks that the artifact's files are uploaded into: the same on every try from this place."""
    artifact = context.artifact
    disks = artifact.disks if artifact is not None else ()
    return [_upload_id(context, disk, target) for disk in disks if disk.path is not None]


def _upload_id(context: StepContext, disk: CapturedDisk, target: ResourceId) -> ResourceId:
    # Two hosts that publish the same at once must not write to one disk
    place = f"{platform.node()}:{context.run.image.root}:{target}:{disk.digest}"
    name = hashlib.sha256(f"{place}:{disk.name}".encode()).hexdigest()[:16]
    return compute(target.subscription, target.group, "disks", f"build-upload-{name}")


def remove_uploads(azure: Azure, context: StepContext, target: ResourceId) -> None:
    """Delete the disks that were uploaded for `target`, of this run and of those before it."""
    from builder.azure.operations import wait_all

    found = []
    for id in upload_ids(context, target):
        body = azure.find(id)
        if body is not None and tag_names.is_ours(body.get("tags")):
            found.append(azure.delete(id))
    wait_all(found)


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
        "tags": tag_names.ours(
            run=context.run.id, image=image.name, expires=expires, extra={tag_names.DIGEST: disk.digest}
        ),
        "properties": properties,
    }
    manner = Manner(progress=lambda done, total: context.progress(done, total, "bytes", f"uploading {disk.name}"))
    context.log(f"uploading {disk.name} ({disk.data_bytes} bytes of data)")
    stop = context.run.stop
    with (
        vhd_source(disk.file, work=context.run.folder, stop=stop) as source,
        context.run.effect("upload", resource=str(id)),
    ):
        done = upload_disk(azure, id, source, body, manner, stop=stop)
    how = "it is there already" if done is None else f"{done.sent} bytes sent, {done.kept} were there"
    context.log(f"{disk.name}: {how}")
    return {"id": str(id)}


def _account(azure: Azure, url: str) -> str:
    """The id of the storage account of a blob. Raises BuildError when it is in another subscription."""
    from builder.azure.storage import account_of

    name = account_of(url)
    for account in azure.list(ResourceId(azure.subscription), ACCOUNTS):
        if str(account["name"]).lower() == name:
            return str(account["id"])
    raise BuildError(
        f"storage account {name} is not in subscription {azure.subscription}: Azure can't publish from it",
        code="account-elsewhere",
        hint="publish to a gallery of the account's subscription",
    )
