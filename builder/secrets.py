"""The gateway for secrets. Specs, plans and journals hold references; values exist between `resolve` and the step.

Every sink (terminal, log, journal, events, manifest) passes its text through `Redactor.text`, which removes the values
themselves and the forms that tools commonly print them in.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from builder.errors import BuildError, Place

MASK = "(secret)"
# Shorter values occur by chance in ordinary text ("yes", "root"): masking them would garble logs without hiding them
SHORTEST_MASKED = 4
# Reads a secret that isn't on this host, by origin ("keyVault") and name; None when it knows no such origin
Elsewhere = Callable[[str, str], str | None]


class Redactor:
    """Replaces known secret values in text. Thread-safe: steps run beside renderers."""

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        """Mask `value`, its lines, and their base64, URL-encoded and JSON-escaped forms from now on."""
        found = set[str]()
        for text in {value, value.strip(), *value.splitlines()}:
            if len(text) < SHORTEST_MASKED:
                continue
            found |= {text, quote(text, safe=""), quote(text), json.dumps(text)[1:-1], shlex.quote(text)}
            # `set -x` of dash and bash: 'it'"'"'s' and 'it'\''s'
            found.add("'" + text.replace("'", "'\\''") + "'")
            found |= set(_in_base64(text.encode()))
        with self._lock:
            self._forms = tuple(sorted({*self._forms, *found}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """`text` with every known form replaced by `(secret)`."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def _in_base64(value: bytes) -> Iterator[str]:
    """The value in base64, also as part of a longer text ("user:value"): one form for each place in its groups."""
    encoded = base64.b64encode(value).decode()
    yield from (encoded, encoded.rstrip("="))
    for before in range(3):
        whole = base64.b64encode(bytes(before) + value).decode().rstrip("=")
        # The letters at both ends also hold bits of the neighbours
        inside = whole[(0, 2, 3)[before] : len(whole) - (0 if (before + len(value)) % 3 == 0 else 1)]
        if len(inside) >= SHORTEST_MASKED:
            yield inside


def check(
    reference: Mapping[str, str], *, root: Path, elsewhere: Elsewhere | None = None, where: Place | None = None
) -> None:
    """Raise BuildError when the value behind a reference can't be had; the value itself is not kept."""
    resolve(reference, root=root, elsewhere=elsewhere, where=where)


def resolve(
    reference: Mapping[str, str], *, root: Path, elsewhere: Elsewhere | None = None, where: Place | None = None
) -> str:
    """The value behind `{env: NAME}` or `{file: PATH}`; a file's single final newline is dropped.

    `elsewhere` reads what is not on this host. Raises BuildError when the variable or file is missing, when nobody
    reads such a reference ("secret-unsupported"), and what `elsewhere` raises.
    """
    kind, name = next(iter(reference.items()))
    if kind == "env":
        value = os.environ.get(name)
        if value is None:
            raise BuildError(
                f"the secret's environment variable {name} is not set",
                code="secret-missing",
                where=where,
                hint=f"export {name} before `build apply`",
            )
        return _usable(value, f"in {name}", where)
    if kind == "file":
        path = root / Path(name).expanduser()
        try:
            return _usable(path.read_text(encoding="utf-8").removesuffix("\n"), f"in the file {name}", where)
        except (OSError, UnicodeDecodeError) as error:
            why = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise BuildError(
                f"the secret's file {name} can't be read: {why}", code="secret-missing", where=where
            ) from error
    try:
        found = elsewhere(kind, name) if elsewhere is not None else None
    except BuildError as error:
        error.where = error.where or where
        raise
    if found is not None:
        return _usable(found, f"at {name}", where)
    raise BuildError(
        f"secrets from {kind} can't be read on this machine", code="secret-unsupported", where=where,
        hint="use {env: NAME} or {file: PATH}",
    )  # fmt: skip


def _usable(value: str, place: str, where: Place | None) -> str:
    """The value, or BuildError for one that can't be handed on or can't be kept out of logs."""
    if "\0" in value:
        raise BuildError(f"the secret {place} holds a NUL, which no variable can", code="secret-invalid", where=where)
    if len(value.strip()) < SHORTEST_MASKED:
        raise BuildError(
            f"the secret {place} has fewer than {SHORTEST_MASKED} characters: it couldn't be kept out of logs",
            code="secret-invalid",
            where=where,
            hint="use a longer one",
        )
    return value
