"""Containers of storage accounts, as specs and build.yaml name them: who is asked there, and what errors mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from builder.azure.clouds import Cloud, current
from builder.azure.credentials import Login
from builder.azure.sdk import STORAGE, load
from builder.azure.storage import credential_for
from builder.errors import BuildError

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.storage.blob import ContainerClient


@lru_cache
def sign_in(cloud: Cloud) -> Login:
    """One sign-in for all the storage that a process uses."""
    return Login(cloud, os.environ)


def container_address(where: Mapping[str, Any], cloud: Cloud) -> str:
    """The address of a container that is named by account, container, and perhaps endpoint."""
    endpoint = str(where.get("endpoint") or f"https://{where['account']}.blob.{cloud.storage_suffix}")
    return f"{endpoint.rstrip('/')}/{where['container']}"


def container_client(where: Mapping[str, Any]) -> ContainerClient:
    """A client of a container; nothing is asked yet. Raises BuildError for an address that no credential goes to."""
    load(STORAGE)
    from azure.storage.blob import ContainerClient

    cloud = current(os.environ)
    url = container_address(where, cloud)
    credential = credential_for(url, cloud=cloud, login=sign_in(cloud), environment=os.environ)
    options: dict[str, Any] = {"connection_verify": str(cloud.ca_file)} if cloud.ca_file is not None else {}
    return ContainerClient.from_container_url(url, credential=credential, **options)


def container_failed(where: Mapping[str, Any], what: str, error: AzureError) -> BuildError:
    """The error for what a container refused; `what` such as "read"."""
    return BuildError(
        f"container {where['container']} of storage account {where['account']} can't be {what}",
        code="container-failed",
        hint="give the signed-in identity the role Storage Blob Data Contributor on it",
        detail=str(error.message or error),
    )
