"""Reads rendered PowerShell with a grammar of the language, so that no test has to trust the eye."""

from __future__ import annotations

import re

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from builder.guest.powershell import BYTE_ORDER_MARK

PARSER = Parser(Language(tree_sitter_powershell.language()))
LITERAL = re.compile(r"'((?:[^']|'')*)'|\[char\]0x([0-9A-F]{4})")


def parsed(text: str) -> Node:
    """The tree of a script. Fails, with the first place, where the grammar doesn't understand it."""
    source = text.removeprefix(BYTE_ORDER_MARK).encode()
    tree = PARSER.parse(source).root_node
    if tree.has_error:
        at = next(node for node in walk(tree) if node.is_error or node.is_missing)
        raise AssertionError(f"{at.start_point}: {source[at.start_byte : at.end_byte][:200]!r}")
    return tree


def walk(node: Node) -> list[Node]:
    """A node and everything below it."""
    return [node, *(found for child in node.children for found in walk(child))]


def commands(text: str) -> list[str]:
    """The names of the commands that a script calls, but those that it computes."""
    return [node.text.decode() for node in walk(parsed(text)) if node.type == "command_name" and node.text]


def value_of(expression: str) -> str:
    """The text that a literal stands for, read by PowerShell's rules for single quotes and characters."""
    inner = expression[1:-1] if expression.startswith("(") else expression
    units: list[bytes] = []
    at = 0
    while at < len(inner):
        found = LITERAL.match(inner, at)
        assert found is not None, inner[at:]
        plain = found[1]
        units.append(
            int(found[2], 16).to_bytes(2, "little") if plain is None else plain.replace("''", "'").encode("utf-16-le")
        )
        at = found.end()
        if at < len(inner):
            assert inner.startswith(" + ", at), inner[at:]
            at += 3
    return b"".join(units).decode("utf-16-le", "surrogatepass")
