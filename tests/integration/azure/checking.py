"""Traffic against Azure's own OpenAPI, by validators beside the repository (calibrated on real traffic).

The folder of the validators is `CHECK_TRAFFIC`, else `../shared/tools/check-traffic` beside this checkout; the
OpenAPI is in `reference/` two folders above it. Where they are missing, tests are skipped with that reason, and fail
in CI.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azure.answers import Json

ROOT = Path(__file__).resolve().parents[3]
TOOLS = Path(os.environ.get("AZURE_TEST_TOOLS", ROOT / ".tools"))
# The stored OpenAPI's versions; newer and older traffic is checked against them: (path, api-version)
STORED = (
    (
        re.compile(r"/Microsoft\.Compute/(disks|snapshots|diskEncryptionSets)(/|\?|$)|/DiskOperations/", re.I),
        "2024-03-02",
    ),
    (
        re.compile(
            r"/Microsoft\.Compute/(galleries|locations/[^/]+/(communityGalleries|sharedGalleries))(/|\?|$)", re.I
        ),
        "2023-07-03",
    ),
    (re.compile(r"/Microsoft\.Compute/skus", re.I), "2021-07-01"),
    (re.compile(r"/Microsoft\.Compute/", re.I), "2024-07-01"),
    (re.compile(r"/Microsoft\.Network/", re.I), "2024-01-01"),
    (re.compile(r"/subscriptions/[^/]+/(resourcegroups|resources|providers/?[^/]*(\?|$))", re.I), "2024-07-01"),
    (re.compile(r"^/(subscriptions(/[^/]+)?(/locations)?|tenants)(\?|$)", re.I), "2022-12-01"),
)
# No stored OpenAPI speaks of these; the check takes the registration of a provider for a call to that provider
UNKNOWN = re.compile(
    r"/Microsoft\.(MarketplaceOrdering|ManagedIdentity|Storage)/|/operationStatuses/"
    r"|^/subscriptions/[^/]+/providers/[^/?]+(/register)?\?",
    re.I,
)


@dataclass(frozen=True)
class Violation:
    operation: str
    side: str
    code: str
    message: str
    place: str


def folder() -> Path:
    """Where the validators are. Skips the test (fails it in CI) when they aren't there."""
    found = Path(os.environ.get("CHECK_TRAFFIC", ROOT.parent / "shared/tools/check-traffic"))
    if (found / "check.js").is_file():
        return found
    require(False, f"the traffic validators are not in {found}; CHECK_TRAFFIC names their folder")
    raise AssertionError


def require(there: bool, reason: str) -> None:
    """Skips a test whose tools are not installed, with the reason. In CI that is a failure: nothing may be left out."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def strict_specifications(scratch: Path) -> Path:
    """The OpenAPI with its open enums closed: a value that isn't listed is a mistake."""
    source = folder().parents[1] / "reference/specs/specification"
    require(source.is_dir(), f"Azure's OpenAPI is not in {source}")
    target = scratch / "specification"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("examples"))
    for path in target.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        if '"modelAsString": true' in text:
            path.chmod(0o644)
            path.write_text(text.replace('"modelAsString": true', '"modelAsString": false'), encoding="utf-8")
    return target


def bridged(document: Json) -> Json | None:
    """A pair with the api-version of the stored OpenAPI, or None for what that doesn't speak of."""
    url = re.sub(r"^https?://[^/]+", "", document["request"]["url"])
    if UNKNOWN.search(url):
        return None
    version = next((version for pattern, version in STORED if pattern.search(url)), None)
    if version is not None:
        url = re.sub(r"api-version=[^&]+", f"api-version={version}", url)
    return {**document, "request": {**document["request"], "url": f"https://management.azure.com{url}"}}


def run_check(pairs: list[Json] | None, specifications: Path, file: Path) -> str:
    """The lines that check.js prints about `pairs`, or about a file that is there already."""
    node = TOOLS / "node/node_modules/node/bin/node"
    require(node.exists(), f"{node} is not installed; tests/azure/install does it")
    if pairs is not None:
        file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    done = subprocess.run(
        [node, folder() / "check.js", specifications, file, "--json"],
        env={**os.environ, "OAV_DIR": str(TOOLS / "node/node_modules/oav"), "APIMAP": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    summary = [line for line in done.stderr.splitlines() if '"pairs"' in line]
    assert summary, done.stderr + done.stdout
    if pairs is not None:
        assert json.loads(summary[-1])["pairs"] == len(pairs)
    return done.stdout


def violations(documents: list[Json], specifications: Path, scratch: Path) -> list[Violation]:
    """What check.js has to say of these pairs."""
    pairs = [found for found in map(bridged, documents) if found is not None]
    found = []
    for line in run_check(pairs, specifications, scratch / "bridged.jsonl").splitlines():
        if not line.startswith("{"):
            continue
        said = json.loads(line)
        request = pairs[said["line"] - 1]["request"]
        name = f"{request['method']} {request['url'].partition('?')[0].partition('management.azure.com')[2]}"
        found.append(Violation(name, said["side"], said["code"], said["message"], str(said.get("path", ""))))
    return found


# What the check says of real Azure's traffic too: (operation, side, code, part of the message or place, why)
FALSE_ALARMS = (
    ("virtualMachines", "", "ENUM_MISMATCH", "vmSize", "the list of sizes is old"),
    ("networkInterfaces", "response", "OBJECT_ADDITIONAL_PROPERTIES", "kind", "recorded so"),
    ("networkInterfaces", "response", "OBJECT_ADDITIONAL_PROPERTIES", "allowPort25Out", "recorded so"),
    ("/vmimage/offers/", "response", "OBJECT_ADDITIONAL_PROPERTIES", "replicaType", "recorded so"),
    ("/vmimage/offers/", "response", "OBJECT_ADDITIONAL_PROPERTIES", "sizeInBytes", "recorded so"),
    ("/share", "response", "INVALID_CONTENT_TYPE", "octet-stream", "recorded without body and type"),
    ("Microsoft.Compute/disks", "response", "INVALID_RESPONSE_CODE", "'4", "DiskRP declares no errors"),
    ("Microsoft.Compute/snapshots", "response", "INVALID_RESPONSE_CODE", "'4", "DiskRP declares no errors"),
    ("GET /subscriptions", "response", "OBJECT_MISSING_REQUIRED_PROPERTY", "nextLink", "a last page has none"),
    ("/versions", "", "OBJECT_ADDITIONAL_PROPERTIES", "blockDeletionBeforeEndOfLife", "newer than the stored OpenAPI"),
    ("deployments", "request", "ENUM_CASE_MISMATCH", "incremental", "azure-cli writes it so"),
)


def false_alarm(violation: Violation) -> bool:
    said = violation.message + violation.place
    return any(
        where in violation.operation and violation.side.startswith(side) and violation.code == code and what in said
        for where, side, code, what, _why in FALSE_ALARMS
    )


def type_violations(documents: list[Json], scratch: Path) -> list[Json]:
    """What types_check.py has to say: bodies against the exact types of the newest versions."""
    types = sorted((folder().parents[1] / "reference/specs/arm-types").glob("*.json"))
    file = scratch / "traffic.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in documents), encoding="utf-8")
    command = [sys.executable, str(folder() / "types_check.py"), str(file), *map(str, types)]
    done = subprocess.run(
        [*command, "--map=2026-04-01:2026-03-01,2026-03-03:2025-12-03"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
