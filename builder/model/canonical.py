"""One way to write JSON for digests and for files that are compared: sorted keys, no spaces, UTF-8."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# What YAML and JSON documents hold. Mappings and sequences are not parametrized: the schema checks their content.
Json = Any


def canonical(value: Json) -> bytes:
    """`value` as canonical JSON. Raises TypeError for what JSON can't hold, ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Json) -> str:
    """The sha256 of canonical JSON, as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def short(digest_text: str) -> str:
    """The first 12 hex digits of a digest, for people."""
    return digest_text.removeprefix("sha256:")[:12]
