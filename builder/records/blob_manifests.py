"""Manifests in a container of a storage account: whoever may read it plans from any checkout, with no file to share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from builder.azure.clouds import Cloud, current
from builder.azure.credentials import Login
from builder.azure.storage import credential_for
from builder.errors import BuildError
from builder.model.artifact import Manifest
from builder.records.manifests import is_key, understood

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.storage.blob import ContainerClient


@lru_cache
def _sign_in(cloud: Cloud) -> Login:
    """One sign-in for all records of a process."""
    return Login(cloud, os.environ)


def container_address(where: Mapping[str, str], cloud: Cloud) -> str:
    """The address of a container that a spec or build.yaml names by account, container, and perhaps endpoint."""
    endpoint = where.get("endpoint") or f"https://{where['account']}.blob.{cloud.storage_suffix}"
    return f"{endpoint.rstrip('/')}/{where['container']}"


class BlobManifests:
    """Manifests in a container, which is made when it is first written to. Thread-safe."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = where
        self._client: ContainerClient | None = None

    def read(self, key: str) -> Manifest | None:
        """The manifest, or None where there is none that can be understood. Raises BuildError."""
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        if not is_key(key):
            return None
        try:
            return understood(self._container().download_blob(key, max_concurrency=1).readall())
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            raise self._failed(error, "read") from error

    def write(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one. Raises BuildError."""
        from azure.core.exceptions import AzureError, ResourceExistsError
        from azure.storage.blob import ContentSettings

        from builder.model.canonical import canonical

        settings = ContentSettings(content_type="application/json")
        data = canonical(manifest.as_dict())
        container = self._container()
        try:
            if not container.exists():
                # Another run may make it in between
                with suppress(ResourceExistsError):
                    container.create_container()
            container.upload_blob(key, data, overwrite=True, content_settings=settings)
        except AzureError as error:
            raise self._failed(error, "written") from error

    def _container(self) -> ContainerClient:
        from azure.storage.blob import ContainerClient

        if self._client is None:
            cloud = current(os.environ)
            url = container_address(self._where, cloud)
            credential = credential_for(url, cloud=cloud, login=_sign_in(cloud), environment=os.environ)
            options: dict[str, Any] = {"connection_verify": str(cloud.ca_file)} if cloud.ca_file is not None else {}
            self._client = ContainerClient.from_container_url(url, credential=credential, **options)
        return self._client

    def _failed(self, error: AzureError, what: str) -> BuildError:
        return BuildError(
            f"the records in container {self._where['container']} of {self._where['account']} can't be {what}",
            code="records-unreadable",
            hint="give the signed-in identity the role Storage Blob Data Contributor on that container",
            detail=str(error.message or error),
        )
