"""The rules of the house: floors import downward only, rooms stay small, start-up stays light."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "builder"
FLOORS = {
    "errors": 0, "events": 0, "process": 0, "secrets": 0, "model": 1, "azure": 2, "disk": 2, "spec": 2, "guest": 3,
    "records": 3, "machines": 4, "destinations": 4, "plan": 5, "apply": 6, "report": 7, "cli": 8,
}  # fmt: skip
MOST_LINES = 420
MODULES = sorted(path for path in BUILDER.rglob("*.py") if path.name != "__init__.py")
# Whole modules that only a function that needs them may import
HEAVY = ("jinja2", "jsonschema", "rich", "yaml", "cyclonedx", "azure", "msal", "requests", "urllib.request", "asyncio")


def floor(module: str) -> tuple[int, str]:
    part = module.split(".")[1] if "." in module else ""
    return FLOORS.get(part, -1), part


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_from_below_only(path: Path) -> None:
    here, room = floor(name_of(path))
    if here < 0:
        return  # builder/__main__.py stands on top of the house
    for module in imports(ast.parse(path.read_text())):
        if module.startswith("builder."):
            there, other = floor(module)
            allowed = there < here or other == room or there == here == 0
            assert allowed, f"{name_of(path)} (floor {here}) imports {module} (floor {there})"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def runs_at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported; not those for type checkers, nor inside functions."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_imports_wait_until_they_are_needed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    eager = {module for node in runs_at_import(tree) for module in imports(node)}
    assert not {module for module in eager if module.startswith(HEAVY)}


def test_no_imports_go_in_circles() -> None:
    known = {name_of(path) for path in MODULES}
    graph = {
        name_of(path): {
            module
            for node in runs_at_import(ast.parse(path.read_text()))
            for module in imports(node)
            if module in known
        }
        for path in MODULES
    }
    while graph:
        free = {name for name, needs in graph.items() if not needs & set(graph)}
        assert free, f"a circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


def test_published_schemas_describe_every_key() -> None:
    for path in sorted((ROOT / "schemas").glob("*.schema.json")):
        schema = json.loads(path.read_text())
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
        assert list(undescribed(schema, path.stem)) == []


def undescribed(schema: object, where: str) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from undescribed(item, where)
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key == "properties":
            for name, child in value.items():
                if "description" not in child and "$ref" not in child:
                    yield f"{where}/{name}"
                yield from undescribed(child, f"{where}/{name}")
        elif key not in ("enum", "const", "default", "examples"):
            yield from undescribed(value, where)


def test_the_tree_names_no_place_of_one_machine() -> None:
    for path in [*BUILDER.rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        assert not re.search(r"(?<![\w.])/(work|farm)/", path.read_text()), path
