"""The little of ARM's template language that clients send: expressions in brackets, with functions over parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.azure.answers import Json, bad_request

TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|(-?\d+)|([A-Za-z_][\w.]*)|([()\[\],.]))")


@dataclass
class Scope:
    """What expressions may refer to."""

    parameters: Json
    variables: Json
    group: Json
    subscription: str
    deployment: str

    def evaluate(self, value: Any) -> Any:
        """Replaces every expression in a JSON value. Raises ArmError 400 for one that can't be read."""
        if isinstance(value, dict):
            return {self.evaluate(key): self.evaluate(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.evaluate(item) for item in value]
        if not isinstance(value, str) or not (value.startswith("[") and value.endswith("]")):
            return value
        if value.startswith("[["):
            return value[1:]
        return Reader(value[1:-1], self).whole()


class Reader:
    """A recursive descent over one expression."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self._scope = scope
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            found = TOKEN.match(text, place)
            if found is None:
                raise self._wrong()
            kind = next(
                name
                for name, group in zip(("text", "number", "name", "mark"), found.groups(), strict=True)
                if group is not None
            )
            self._tokens.append((kind, next(group for group in found.groups() if group is not None)))
            place = found.end()
        self._next = 0

    def _wrong(self) -> Exception:
        return bad_request(f"Unable to process template language expressions: '{self._text}'.", code="InvalidTemplate")

    def whole(self) -> Any:
        found = self._value()
        if self._next != len(self._tokens):
            raise self._wrong()
        return found

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, mark: str | None = None) -> str:
        kind, text = self._peek()
        if kind == "end" or (mark is not None and text != mark):
            raise self._wrong()
        self._next += 1
        return text

    def _value(self) -> Any:
        kind, text = self._peek()
        self._take()
        if kind == "text":
            return text.replace("''", "'")
        if kind == "number":
            return int(text)
        if kind != "name":
            raise self._wrong()
        name, *members = text.split(".")
        self._take("(")
        arguments = []
        while self._peek()[1] != ")":
            arguments.append(self._value())
            if self._peek()[1] == ",":
                self._take(",")
        self._take(")")
        return self._members(self._call(name, arguments), members)

    def _members(self, found: Any, members: list[str]) -> Any:
        for member in members:
            found = found[member]
        while self._peek()[1] in (".", "["):
            if self._take() == ".":
                for member in self._take().split("."):
                    found = found[member]
            else:
                key = self._value()
                self._take("]")
                found = found[key]
        return found

    def _call(self, name: str, arguments: list[Any]) -> Any:
        function = FUNCTIONS.get(name.lower())
        if function is None:
            raise self._wrong()
        try:
            return function(self._scope, arguments)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._wrong() from error


def resource_id(scope: Scope, arguments: list[Any]) -> str:
    """`resourceId([subscription,] [group,] type, name...)`."""
    place = next(index for index, argument in enumerate(arguments) if "/" in str(argument))
    before, resource_type, names = arguments[:place], arguments[place], arguments[place + 1 :]
    group = before[-1] if before else scope.group["name"]
    subscription = before[0] if len(before) == 2 else scope.subscription
    provider, *types = resource_type.split("/")
    path = "/".join(f"{kind}/{name}" for kind, name in zip(types, names, strict=True))
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{provider}/{path}"


FUNCTIONS: dict[str, Callable[[Scope, list[Any]], Any]] = {
    "parameters": lambda scope, given: scope.parameters[given[0]],
    "variables": lambda scope, given: scope.evaluate(scope.variables[given[0]]),
    "concat": lambda _scope, given: (
        sum(given[1:], given[0]) if isinstance(given[0], list) else "".join(map(str, given))
    ),
    "resourceid": resource_id,
    "resourcegroup": lambda scope, _given: scope.group,
    "subscription": lambda scope, _given: {
        "id": f"/subscriptions/{scope.subscription}",
        "subscriptionId": scope.subscription,
    },
    "deployment": lambda scope, _given: {"name": scope.deployment},
    "tolower": lambda _scope, given: given[0].lower(),
    "toupper": lambda _scope, given: given[0].upper(),
    "string": lambda _scope, given: str(given[0]),
    "int": lambda _scope, given: int(given[0]),
    "equals": lambda _scope, given: given[0] == given[1],
    "not": lambda _scope, given: not given[0],
    "and": lambda _scope, given: all(given),
    "or": lambda _scope, given: any(given),
    "if": lambda _scope, given: given[1] if given[0] else given[2],
    "true": lambda _scope, _given: True,
    "false": lambda _scope, _given: False,
    "null": lambda _scope, _given: None,
    "empty": lambda _scope, given: not given[0],
    "length": lambda _scope, given: len(given[0]),
    "first": lambda _scope, given: given[0][0],
    "last": lambda _scope, given: given[0][-1],
    "split": lambda _scope, given: given[0].split(given[1]),
    "replace": lambda _scope, given: given[0].replace(given[1], given[2]),
    "createarray": lambda _scope, given: given,
    "format": lambda _scope, given: re.sub(r"\{(\d+)\}", lambda found: str(given[1 + int(found[1])]), given[0]),
}
