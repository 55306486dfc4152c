"""From a path to what answers it: a table of routes, most of it generated from resource types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from tests.azure.answers import Answer, Call

Handler = Callable[[Call], Answer]
SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = SUBSCRIPTION + "/resourceGroups/{group}"


@dataclass(frozen=True)
class Route:
    """`operation` names it in faults, limits and logs. `open` routes ask for no token and no api-version."""

    method: str
    template: str
    operation: str
    handler: Handler
    open: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", self.template)
        source = "".join(
            re.escape(part) if place % 2 == 0 else f"(?P<{part}>[^/]+)" for place, part in enumerate(parts)
        )
        return re.compile(source + "/?", re.IGNORECASE)

    def path(self, parameters: Mapping[str, str]) -> str:
        """The path in Azure's own letter case, with the caller's names."""
        return re.sub(r"\{(\w+)\}", lambda found: parameters[found[1]], self.template)


def resource_path(resource_type: str) -> str:
    """The template of a type: its own name is `{name}`, those of its parents are their collections' names."""
    provider, *collections = resource_type.split("/")
    path = f"{GROUP}/providers/{provider}"
    for collection in collections[:-1]:
        path += f"/{collection}/{{{collection}}}"
    return f"{path}/{collections[-1]}/{{name}}"


def resource_routes(
    resource_type: str,
    handlers: Mapping[str, Handler],
    *,
    list_group: Handler | None = None,
    list_subscription: Handler | None = None,
    actions: Mapping[str, Handler] | None = None,
) -> tuple[Route, ...]:
    """The routes of one type: `handlers` by method, lists, and POST actions by name."""
    path = resource_path(resource_type)
    routes = [Route(method, path, f"{method} {resource_type}", handler) for method, handler in handlers.items()]
    if list_group is not None:
        routes.append(Route("GET", path.removesuffix("/{name}"), f"LIST {resource_type}", list_group))
    if list_subscription is not None:
        everywhere = f"{SUBSCRIPTION}/providers/{resource_type}"
        routes.append(Route("GET", everywhere, f"LIST {resource_type}", list_subscription))
    for action, handler in (actions or {}).items():
        routes.append(Route("POST", f"{path}/{action}", f"POST {resource_type}/{action}", handler))
    return tuple(routes)


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and the values of its placeholders, or None."""
        for route in self._routes:
            if route.method != method:
                continue
            found = route.pattern.fullmatch(path)
            if found is not None:
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
        return None

    def methods(self, path: str) -> list[str]:
        """Methods that this path knows."""
        return sorted({route.method for route in self._routes if route.pattern.fullmatch(path)})
