"""Projects for tests: files in a folder, and what the loader says about them."""

from __future__ import annotations

from pathlib import Path

from builder.errors import SpecInvalid
from builder.model.spec import ImageSpec
from builder.spec.loader import Loaded, load

# The shortest valid spec: everything else is a default
LOCAL = 'name: web\nos: {family: linux, distribution: debian, release: "12"}\nsource: {bootstrap: {}}\n'
AZURE = "name: web\nos: {family: linux}\nsource: {marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}}\n"
WINDOWS = (
    "name: web\nos: {family: windows}\n"
    "source: {marketplace: {publisher: MicrosoftWindowsServer, offer: WindowsServer, sku: 2025-datacenter-g2}}\n"
)


def write(root: Path, **files: str) -> Path:
    """Write files; `__` in a name stands for `/`, and `.yaml` is added. Returns the folder."""
    for name, text in files.items():
        put(root, name.replace("__", "/") + ".yaml", text)
    return root


def put(root: Path, name: str, text: str) -> None:
    """Write one file, with its folders."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def load_all(root: Path, **options: object) -> Loaded:
    """Load a folder as a project of its own."""
    if not (root / "build.yaml").exists():
        put(root, "build.yaml", "")
    return load([root], **options)  # type: ignore[arg-type]


def only_image(root: Path, text: str, version: str = "0.0.0", **options: object) -> ImageSpec:
    """The image of a project with this one spec."""
    put(root, "images/web.yaml", text)
    (document,) = load_all(root, **options).documents
    return document.render(version)


def diagnose(root: Path, text: str | None = None, **options: object) -> list[str]:
    """What is wrong, a line for each: `line:column code message | help`, after the file's name if it isn't the spec."""
    if text is not None:
        put(root, "images/web.yaml", text)
    try:
        loaded = load_all(root, **options)
    except SpecInvalid as error:
        found = error.diagnostics
    else:
        found = loaded.warnings
    lines = []
    for item in found:
        file = "" if item.place.file == "images/web.yaml" else f"{item.place.file}:"
        help = f" | {item.help}" if item.help else ""
        lines.append(f"{file}{item.place.line}:{item.place.column} {item.code} {item.message}{help}")
    return lines
