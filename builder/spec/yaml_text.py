"""YAML text to plain values, with the place of every node and key. Bounded: any text is answered within a second.

Scalars follow the core of YAML 1.2: only `true` and `false` are booleans, `null` and `~` are null, and numbers are
decimal without leading zeros or exponents. All else is text: `yes`, `0644`, `12:30:45`, `2024-01-01`, `12e5034`.
Duplicate keys, tags (`!!binary`), merge keys (`<<`, which YAML 1.2 doesn't have) and several documents in one file are
refused. Keys are always text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from builder.errors import Diagnostic, Place
from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.document import LINE_BREAK, Document, Position, position_of

if TYPE_CHECKING:
    import yaml

LARGEST_TEXT = 1024 * 1024
DEEPEST = 32
# What a small file may unfold to once its aliases are followed
MOST_NODES = 50_000
MOST_CHARACTERS = 4 * LARGEST_TEXT

_PLAIN = "plain"
_QUOTED = "quoted"
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False} | dict.fromkeys(
    ("null", "Null", "NULL", "~", "")
)
# Longer digits are identifiers, not amounts, and would lose precision in JSON
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,14})")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,14})\.[0-9]{1,15}")


class YamlInvalid(Exception):
    """A text that can't be read as YAML at all."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class _Refused(Exception):
    """Raised inside the parser's hooks and the reader; `parse` makes it a YamlInvalid."""

    def __init__(self, code: str, message: str, at: Position, help: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.at, self.help = code, message, at, help


class _Hooks:
    """What the parser asks while it composes nodes: how each is written, and whether to go deeper."""

    depth = 0
    nodes = 0

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        self.depth += 1
        self.nodes += 1
        # Here, while it is parsed: the parser is recursive, and a million brackets would end the process
        if self.depth > DEEPEST:
            assert parent is not None
            raise _Refused("yaml-too-deep", f"nested deeper than {DEEPEST} levels", _start(parent))
        if self.nodes > MOST_NODES:
            raise _too_large()

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, kind: type, value: str | None, implicit: object) -> str:
        return _PLAIN if isinstance(implicit, tuple) and implicit[0] else _QUOTED


@cache
def composer() -> type[Any]:
    """The parser class: libyaml's, or the one written in Python where libyaml is missing (8 times slower)."""
    import yaml

    if not yaml.__with_libyaml__:
        return portable_composer()
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    class Fast(_Hooks, CParser):
        pass

    return Fast


@cache
def portable_composer() -> type[Any]:
    """The parser written in Python, with the same hooks."""
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class Portable(_Hooks, Reader, Scanner, Parser, Composer):
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)

    return Portable


def parse(data: bytes | str, file: str, *, make: type[Any] | None = None) -> Document:
    """The document of a YAML text; its value is None when the text is empty.

    `file` names it in places; `make` is the parser's class (default: the fastest there is). Raises YamlInvalid.
    """
    text = data if isinstance(data, str) else _decode(data, file)
    text = text.removeprefix("\ufeff")
    if len(text) > LARGEST_TEXT:
        raise _invalid(file, _too_large())
    wrong = _UNPRINTABLE.search(text)
    if wrong:
        message = f"the control character U+{ord(wrong[0]):04X} can't stand in YAML"
        raise _invalid(file, _Refused("yaml-encoding", message, position_of(text, wrong.start())))
    reader = _Reader(file)
    try:
        root = _compose(text, make or composer())
        value = None if root is None else reader.read(root, (), None)
    except _Refused as refused:
        raise _invalid(file, refused) from refused
    return Document(file, value, reader.places, reader.keys, reader.written, tuple(reader.problems), text)


def _invalid(file: str, refused: _Refused) -> YamlInvalid:
    return YamlInvalid(Diagnostic(Place(file, *refused.at), refused.code, refused.message, refused.help))


def _too_large() -> _Refused:
    message = f"too large: a spec may have {LARGEST_TEXT:,} characters and {MOST_NODES:,} values, aliases followed"
    return _Refused("yaml-too-large", message, (1, 1), "keep long content in files of its own")


def _decode(data: bytes, file: str) -> str:
    if len(data) > 4 * LARGEST_TEXT:
        raise _invalid(file, _too_large())
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        at = position_of(before, len(before))
        raise _invalid(file, _Refused("yaml-encoding", message, at, "save the file as UTF-8")) from error


def _start(node: yaml.Node) -> Position:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1


# What the parser's words mean to someone who writes a spec. Both parsers' words; the first that fits counts
_SYNTAX: tuple[tuple[str, str, str | None], ...] = (
    ("mapping values are not allowed", "a ':' that doesn't fit here", "put quotes around text that contains ': '"),
    ("sequence entries are not allowed", "a list can't start here", "start it on a line of its own"),
    ("cannot start any token", "text can't start with {character}", "put it in quotes"),
    ("expected '-' indicator", "the list ends here without being closed by its indentation", "line up the '-'"),
    ("expected key|expected <block end>", "the indentation doesn't fit the lines above", "line keys up"),
    ("expected ',' or '([\\]}])'", "a ',' or {match} is missing before this", "opened at {context}"),
    ("expected (the )?node content", "a value is missing here", None),
    ("undefined alias", "this alias refers to an anchor that doesn't exist", None),
    ("second occurrence", "this anchor's name is already used", None),
    ("another document", "a second document: a file holds one", "put it in a file of its own"),
)


def _compose(text: str, make: type[Any]) -> yaml.Node | None:
    import yaml

    parser = make(text)
    try:
        root: yaml.Node | None = parser.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _unclosed(text, error, make) or _syntax(text, error) from error
    finally:
        parser.dispose()
    return root


def _unclosed(text: str, error: yaml.MarkedYAMLError, make: type[Any]) -> _Refused | None:
    """The last bracket that is still open where the text ends, when that is the error."""
    import yaml

    mark = error.problem_mark
    if mark is None or "node content" not in (error.problem or ""):
        return None
    if "".join(LINE_BREAK.split(text)[mark.line :])[mark.column :].strip():
        return None
    scanner = make(text)
    opened: list[yaml.Token] = []
    try:
        while scanner.check_token():
            token = scanner.get_token()
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                opened.append(token)
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and opened:
                opened.pop()
    finally:
        scanner.dispose()
    if not opened:
        return None
    start = opened[-1].start_mark
    bracket = LINE_BREAK.split(text)[start.line][start.column]
    return _Refused("yaml-syntax", f"this {bracket} is never closed", (start.line + 1, start.column + 1))


def _syntax(text: str, error: yaml.MarkedYAMLError) -> _Refused:
    problem = error.problem or "not YAML"
    mark, opened = error.problem_mark or error.context_mark, error.context_mark
    lines = [*LINE_BREAK.split(text), ""]
    line, column = at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    rest = "".join([lines[line - 1][column - 1 :], *lines[line:]])
    # What is open is shown where it opens: where the text ends says nothing
    if opened and ("end of stream" in problem or ("',' or" in problem and not rest.strip())):
        at = (opened.line + 1, opened.column + 1)
        return _Refused("yaml-syntax", f"this {lines[opened.line][opened.column]} is never closed", at)
    character = rest[:1]
    if character == "\t":
        return _Refused("yaml-syntax", "a tab can't indent YAML", at, "indent with spaces")
    for pattern, message, help in _SYNTAX:
        found = re.search(pattern, problem)
        if found:
            named = {
                "character": repr(character),
                "match": repr(found[found.lastindex or 0]),
                "context": f"line {opened.line + 1}, column {opened.column + 1}" if opened else "",
            }
            return _Refused("yaml-syntax", message.format(**named), at, help.format(**named) if help else None)
    return _Refused("yaml-syntax", f"not YAML: {problem}", at)


class _Reader:
    """Nodes to plain values. Fills the maps of a Document."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[KeyPath, Position] = {}
        self.keys: dict[KeyPath, Position] = {}
        self.written: dict[KeyPath, str] = {}
        self.problems: list[Diagnostic] = []
        self.nodes = 0
        self.characters = 0
        # The collections around what is being read
        self.around: list[yaml.Node] = []

    def read(self, node: yaml.Node, path: KeyPath, key: Position | None) -> Json:
        """The value of a node; `key` is the position of its key, when it has one."""
        import yaml

        self.nodes += 1
        # Again, because an alias is parsed once but counts every time (and may even contain itself)
        if self.nodes > MOST_NODES or self.characters > MOST_CHARACTERS:
            raise _too_large()
        if len(path) > DEEPEST:
            raise _Refused("yaml-too-deep", f"nested deeper than {DEEPEST} levels", _start(node))
        at = _start(node)
        if node.tag not in (_PLAIN, _QUOTED):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.problem(at, "yaml-tag", f"tags such as {tag} are not used in specs", "remove it")
        if isinstance(node, yaml.ScalarNode):
            empty = node.tag == _PLAIN and not node.value
            self.places[path] = key if empty and key else at
            return self.scalar(node, path)
        assert isinstance(node, yaml.CollectionNode)
        self.places[path] = at if key is None or node.flow_style else key
        if any(node is other for other in self.around):
            raise _Refused("yaml-alias", "this holds an alias of itself", at, "write out what is meant")
        self.around.append(node)
        made = self.mapping(node, path) if isinstance(node, yaml.MappingNode) else self.list(node, path)
        self.around.pop()
        return made

    def text(self, node: yaml.ScalarNode) -> str:
        text: str = node.value
        self.characters += len(text)
        # Escapes in quotes can write what no file name and no UTF-8 can hold
        if _UNUSABLE.search(text):
            self.problem(_start(node), "yaml-encoding", "text can't hold NUL or half of a character (a surrogate)")
            return _UNUSABLE.sub("", text)
        return text

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Json:
        text = self.text(node)
        if node.tag != _PLAIN:
            return text
        value = plain(text)
        if value.__class__ is not str:
            self.written[path] = text
        return value

    def list(self, node: yaml.CollectionNode, path: KeyPath) -> list[Json]:
        return [self.read(item, (*path, index), None) for index, item in enumerate(node.value)]

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Json]:
        import yaml

        values: dict[str, Json] = {}
        for key_node, value_node in node.value:
            at = _start(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                # What `key: {{ vars.x }}` means to YAML
                templated = isinstance(key_node, yaml.MappingNode) and key_node.flow_style
                help = "put quotes around a value that starts with '{{'" if templated else None
                raise _Refused("yaml-key", "a key must be text", at, help)
            name = self.text(key_node)
            entry = (*path, name)
            if name in values:
                first = self.keys[entry][0]
                self.problem(at, "duplicate-key", f"key {name!r} is already set on line {first}")
                continue
            if name == "<<" and key_node.tag == _PLAIN:
                self.problem(
                    at, "yaml-merge", "merge keys are not part of YAML 1.2", "share values by `defaults` in build.yaml"
                )
                continue
            self.keys[entry] = at
            values[name] = self.read(value_node, entry, at)
        return values

    def problem(self, at: Position, code: str, message: str, help: str | None = None) -> None:
        self.problems.append(Diagnostic(Place(self.file, *at), code, message, help))


def plain(text: str) -> Json:
    """What a scalar without quotes means: true, false, null, a number, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text
