"""Reading a Windows registry hive from a file. Keys are written with `\\`; neither they nor values mind their case."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from builder.errors import BuildError


class HiveBroken(BuildError):
    """A file that is no registry hive, or a damaged one."""


class Hive:
    """An open hive. What is not there is None; what can't be read raises HiveBroken."""

    def __init__(self, path: Path) -> None:
        from regipy.registry import RegistryHive

        self._name = path.name
        self.unclean = _is_unclean(path)
        self._hive: Any = self._guarded(RegistryHive, str(path))

    def _guarded(self, call: Any, *arguments: Any) -> Any:  # noqa: ANN401
        from construct import ConstructError  # type: ignore[import-untyped]  # it has none
        from regipy.exceptions import RegipyException

        try:
            return call(*arguments)
        # The parser believes what the hive says: in a damaged one, anything may be out of range
        except (RegipyException, ConstructError, ValueError, LookupError, TypeError, AttributeError,
                struct.error, EOFError, StopIteration, RecursionError, OverflowError) as error:  # fmt: skip
            raise HiveBroken(f"the hive {self._name} is damaged: {error}", code="hive-broken") from error

    def key(self, path: str) -> Any | None:  # noqa: ANN401
        """The key at a path, None when there is none."""
        found = self._hive.root
        for part in path.split("\\"):
            found = self._guarded(lambda key, name: key.get_subkey(name, raise_on_missing=False), found, part)
            if found is None:
                return None
        return found

    def has(self, path: str) -> bool:
        """Whether there is such a key."""
        return self.key(path) is not None

    def value(self, path: str, name: str) -> Any | None:  # noqa: ANN401
        """A value of a key: a number, text, a list of texts or bytes; None when there is none."""
        key = self.key(path)
        if key is None:
            return None
        values = self._guarded(lambda: {item.name.lower(): item.value for item in key.iter_values()})
        return values.get(name.lower())

    def text(self, path: str, name: str) -> str:
        """A value as text, "" when there is none. What a terminal would obey is escaped."""
        value = self.value(path, name)
        text = "" if value is None else str(value).rstrip("\0")
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)

    def number(self, path: str, name: str) -> int | None:
        """A number; None when there is none, or it is something else."""
        value = self.value(path, name)
        return value if isinstance(value, int) else None

    def count(self, path: str) -> int:
        """How many values a key has; 0 when there is none."""
        key = self.key(path)
        return 0 if key is None else int(key.values_count)


def _is_unclean(path: Path) -> bool:
    """Whether changes are in the hive's log only: both sequence numbers of its header are equal when all is written."""
    with path.open("rb") as file:
        header = file.read(12)
    if len(header) < 12 or header[:4] != b"regf":
        raise HiveBroken(f"{path.name} is no registry hive", code="hive-broken")
    first, second = struct.unpack_from("<II", header, 4)
    return bool(first != second)
