"""Which api-versions exist. Any of them is accepted everywhere in its namespace and echoed into polling URLs."""

from __future__ import annotations

from tests.azure.answers import ArmError


def _versions(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COMPUTE = _versions(
    """
    2015-06-15 2016-03-30 2017-03-30 2017-12-01 2018-04-01 2018-06-01 2018-09-30 2018-10-01 2019-03-01
    2019-04-01 2019-07-01 2019-11-01 2019-12-01 2020-05-01 2020-06-01 2020-06-30 2020-09-30 2020-12-01
    2021-03-01 2021-04-01 2021-07-01 2021-08-01 2021-10-01 2021-11-01 2021-12-01 2022-01-03 2022-03-01
    2022-03-02 2022-03-03 2022-07-02 2022-08-01 2022-08-03 2022-11-01 2023-01-02 2023-03-01 2023-04-02
    2023-07-01 2023-07-03 2023-09-01 2023-10-02 2024-03-01 2024-03-02 2024-03-03 2024-07-01 2024-11-01
    2025-01-02 2025-03-03 2025-04-01 2025-11-01 2025-12-03 2026-03-01 2026-03-02 2026-03-03 2026-04-01
    """
)
NETWORK = _versions(
    """
    2015-06-15 2016-03-30 2017-10-01 2018-01-01 2018-04-01 2018-11-01 2019-11-01 2020-05-01 2020-06-01
    2020-07-01 2020-08-01 2020-11-01 2021-02-01 2021-03-01 2021-05-01 2021-08-01 2022-01-01 2022-05-01
    2022-07-01 2022-09-01 2022-11-01 2023-02-01 2023-04-01 2023-06-01 2023-09-01 2023-11-01 2024-01-01
    2024-03-01 2024-05-01 2024-07-01 2024-10-01 2025-01-01 2025-03-01 2025-05-01 2025-07-01 2026-01-01
    2026-03-01
    """
)
RESOURCES = _versions(
    """
    2015-11-01 2016-06-01 2017-05-10 2018-02-01 2018-05-01 2019-05-10 2019-07-01 2019-10-01 2020-06-01
    2020-10-01 2021-01-01 2021-04-01 2022-09-01 2022-12-01 2023-07-01 2024-03-01 2024-07-01 2024-11-01
    2025-04-01
    """
)
KNOWN: dict[str, tuple[str, ...]] = {
    "Microsoft.Compute": COMPUTE,
    "Microsoft.Network": NETWORK,
    "Microsoft.Resources": RESOURCES,
}


def check_api_version(operation: str, api_version: str | None) -> None:
    """Raises ArmError 400 without an api-version, or with one that its namespace never had."""
    resource_type = operation.rpartition(" ")[2]
    namespace = resource_type.partition("/")[0]
    if not api_version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    known = KNOWN.get(namespace)
    if known is not None and api_version not in known:
        raise ArmError(
            400,
            "InvalidApiVersionParameter" if namespace == "Microsoft.Resources" else "NoRegisteredProviderFound",
            f"No registered resource provider found for API version '{api_version}' of '{resource_type}'."
            f" The supported api-versions are '{', '.join(known)}'.",
        )
