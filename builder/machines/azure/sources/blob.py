"""VHD blobs of a storage account: imported as disks. Nothing but the spec says what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC

from builder.azure.blobs import BlobFacts, PageBlob
from builder.azure.clouds import Cloud
from builder.azure.credentials import sign_in
from builder.azure.ids import ResourceId
from builder.azure.names import region_name
from builder.azure.storage import credential_for
from builder.machines.azure.resolved import STANDARD, TRUSTED_LAUNCH, ResolvedSource, SourceDisk
from builder.machines.azure.sources.base import Search
from builder.model.spec import MIB

FOOTER = 512
LookAtBlob = Callable[[str], BlobFacts | None]


def resolve(search: Search, ask: LookAtBlob) -> ResolvedSource:
    """The blobs as they are now. Raises BuildError."""
    values = search.values
    if "account" not in values:
        raise search.refuse("account-missing", "an import needs the storage account of the blob", "url")
    account = ResourceId.parse(values["account"])
    location = region_name(search.get(account, "account")["location"])
    written: list[tuple[int | None, str, tuple[str | int, ...]]] = [(None, values["url"], ("url",))]
    for index, disk in sorted(enumerate(values["data"]), key=lambda each: int(each[1]["lun"])):
        written.append((int(disk["lun"]), disk["url"], ("data", index, "url")))
    disks = []
    for lun, url, keys in written:
        found = _look(search, url, ask, *keys)
        disks.append(SourceDisk(lun, found.size - FOOTER, "blob", url, str(account), _unique(found)))
    return ResolvedSource(
        kind="blob",
        name=values["url"],
        family=search.image.os.family,
        generation=search.image.os.generation,
        architecture=search.image.os.architecture,
        generalized=values["osState"] == "generalized",
        disks=tuple(disks),
        location=location,
        security=(STANDARD, TRUSTED_LAUNCH) if search.image.os.generation == 2 else (STANDARD,),
        # The image's own drivers decide, and nothing tells: as the spec says
        controllers=("SCSI", "NVMe"),
        accelerated_networking=True,
    )


def look(url: str, *, cloud: Cloud) -> BlobFacts | None:
    """What a blob's properties say, asked with the identity that the environment gives; None where there is none.

    Raises BuildError for an address that no credential may be sent to.
    """
    environment = dict(os.environ)
    login = sign_in(cloud, environment)
    credential = credential_for(url, cloud=cloud, login=login, environment=environment)
    return PageBlob(url, credential=credential, ca=cloud.ca_file).facts()


def _look(search: Search, url: str, ask: LookAtBlob, *keys: str | int) -> BlobFacts:
    found = search.reads.once(("blob", url), lambda: ask(url))
    if found is None:
        raise search.refuse("source-missing", f"there is no blob {url}", *keys)
    if found.kind != "PageBlob" or (found.size - FOOTER) % MIB:
        message = f"{url} is no fixed VHD: a page blob of whole MiB and a footer of {FOOTER} bytes"
        raise search.refuse("source-disk", message, *keys, hint="`build inspect` says what is wrong with a disk file")
    return found


def _unique(found: BlobFacts) -> str:
    """What a blob that was written again has otherwise."""
    return f"{found.etag} {found.modified.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"
