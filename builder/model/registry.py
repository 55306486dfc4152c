"""Values of the Windows registry: what their types can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HIVES: Mapping[str, str] = {"HKLM": "LocalMachine", "HKCR": "ClassesRoot", "HKU": "Users", "HKCC": "CurrentConfig"}
NUMBERS: Mapping[str, int] = {"DWord": 32, "QWord": 64}
TEXTS = ("String", "ExpandString")

Data = str | int | bytes | tuple[str, ...]


def registry_data(kind: str, value: object) -> Data:
    """A spec's value as its type holds it; numbers signed, as .NET takes them.

    Numbers are unsigned in the registry, and may be written as such, with a sign, or as text such as `0x1F`. Raises
    ValueError that says what the type holds.
    """
    if kind == "MultiString":
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) and text for text in texts):
            raise ValueError("a MultiString is a list of texts, none of them empty")
        return tuple(texts)
    # The full form of a spec has a list where a list may be
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if kind in NUMBERS:
        return _number(value, NUMBERS[kind])
    if kind == "Binary":
        return _bytes(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{'an' if kind.startswith('E') else 'a'} {kind} is one text")
    return str(value)


def _number(value: object, bits: int) -> int:
    try:
        number = value if isinstance(value, int) else int(str(value), 0)
    except ValueError:
        number = None
    if number is None or not -(2 ** (bits - 1)) <= number < 2**bits:
        raise ValueError(f"a {'DWord' if bits == 32 else 'QWord'} is a whole number of {bits} bits")
    return number - 2**bits if number >= 2 ** (bits - 1) else number


def _bytes(value: object) -> bytes:
    try:
        # `bytes.fromhex` takes spaces; `reg export` writes commas
        return bytes.fromhex(value.replace(",", " ") if isinstance(value, str) else "none")
    except ValueError:
        raise ValueError("Binary is text of hexadecimal digits, two for each byte") from None
