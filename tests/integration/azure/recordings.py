"""Real Azure traffic: recordings of azure-cli beside the repository, and those in the SDK's source distributions."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.integration.azure.checking import TOOLS, folder, require


@dataclass(frozen=True)
class Entry:
    """One recorded pair. Header names are in lower case; empty bodies are None."""

    method: str
    url: str
    body: Any
    status: int
    headers: dict[str, str]
    answer: Any

    @property
    def path(self) -> str:
        return re.sub(r"^https?://[^/]+", "", self.url).partition("?")[0]


@dataclass(frozen=True)
class Recording:
    """`complete_headers`: the recorder of azure-cli and of the SDK's older versions leaves Retry-After out."""

    name: str
    complete_headers: bool
    entries: tuple[Entry, ...]


def _json(text: Any) -> Any:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return None


def _from_yaml(name: str, text: str, *, complete: bool) -> Recording:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = []
    for pair in yaml.load(text, Loader=loader)["interactions"]:
        asked, answered = pair["request"], pair["response"]
        headers = {key.lower(): value[0] for key, value in answered["headers"].items()}
        answer = _json(answered["body"].get("string"))
        status = answered["status"]["code"]
        entries.append(Entry(asked["method"], asked["uri"], _json(asked["body"]), status, headers, answer))
    return Recording(name, complete, tuple(entries))


def _from_json(name: str, text: str) -> Recording:
    entries = []
    for pair in json.loads(text)["Entries"]:
        headers = {key.lower(): _first(value) for key, value in pair["ResponseHeaders"].items()}
        body, answer = _json(pair.get("RequestBody")), _json(pair.get("ResponseBody"))
        entries.append(
            Entry(pair["RequestMethod"], pair["RequestUri"], body, pair["StatusCode"], headers, answer or None)
        )
    return Recording(name, True, tuple(entries))


def _first(value: str | list[str]) -> str:
    return value if isinstance(value, str) else value[0]


def of_the_cli() -> Iterator[Recording]:
    source = folder().parents[1] / "reference/recordings"
    require(source.is_dir(), f"the recordings of azure-cli are not in {source}")
    for path in sorted(source.glob("*.yaml")):
        yield _from_yaml(path.stem, path.read_text(encoding="utf-8"), complete=False)


def of_the_sdk() -> Iterator[Recording]:
    source = TOOLS / "recordings"
    require((source / "installed").exists(), f"the recordings are not in {source}; tests/azure/install puts them there")
    for archive in sorted(source.iterdir()):
        for name, text in _members(archive):
            if "/tests/recordings/" not in name:
                continue
            short = f"{archive.name.removesuffix('.zip')}/{Path(name).stem}"
            yield _from_json(short, text) if name.endswith(".json") else _from_yaml(short, text, complete=False)


def _members(archive: Path) -> Iterator[tuple[str, str]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith((".json", ".yaml")):
                    yield name, opened.read(name).decode()
    elif archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as opened_tar:
            for member in opened_tar:
                file = opened_tar.extractfile(member) if member.name.endswith((".json", ".yaml")) else None
                if file is not None:
                    yield member.name, file.read().decode()


def keys(value: Any, *, below: str = "") -> set[str]:
    """Every path of keys in a JSON value; lists count as their elements."""
    if isinstance(value, list):
        return {found for item in value for found in keys(item, below=f"{below}[]")}
    if not isinstance(value, dict):
        return set()
    found = set()
    for key, item in value.items():
        found.add(f"{below}.{key}")
        found |= keys(item, below=f"{below}.{key}")
    return found


def poll_kind(url: str | None) -> str:
    """What of a polling URL says how it is polled: provider, collection, and whether it is a monitor."""
    if not url:
        return ""
    found = re.search(r"/providers/(Microsoft\.\w+)/locations/[^/]+/(\w+)/", url)
    monitor = " monitor" if "monitor=true" in url else ""
    if found:
        return f"{found[1]}/{found[2]}{monitor}"
    return "operationStatuses" if "/operationStatuses/" in url else "operationresults"
