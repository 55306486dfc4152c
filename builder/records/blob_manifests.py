"""Manifests in a container of a storage account: whoever may read it plans from any checkout, with no file to share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.azure.sdk import STORAGE, load
from builder.azure.storage import ensure_container
from builder.model.artifact import Manifest
from builder.model.canonical import canonical
from builder.records.containers import container_client, container_failed
from builder.records.manifests import is_key, understood

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient


class BlobManifests:
    """Manifests in a container, which is made when it is first written to. Thread-safe."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = where
        self._client: ContainerClient | None = None

    def read(self, key: str) -> Manifest | None:
        """The manifest, or None where there is none that can be understood. Raises BuildError."""
        load(STORAGE)
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        if not is_key(key):
            return None
        try:
            return understood(self._container().download_blob(key, max_concurrency=1).readall())
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            raise container_failed(self._where, "read", error) from error

    def write(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one. Raises BuildError."""
        load(STORAGE)
        from azure.core.exceptions import AzureError
        from azure.storage.blob import ContentSettings

        settings = ContentSettings(content_type="application/json")
        container = self._container()
        try:
            ensure_container(container)
            container.upload_blob(key, canonical(manifest.as_dict()), overwrite=True, content_settings=settings)
        except AzureError as error:
            raise container_failed(self._where, "written to", error) from error

    def _container(self) -> ContainerClient:
        if self._client is None:
            self._client = container_client(self._where)
        return self._client
