"""Specs for tests of the Azure machine: YAML in, the image out."""

from __future__ import annotations

from pathlib import Path

from builder.errors import SpecInvalid
from builder.model.spec import ImageSpec
from builder.spec.loader import load

SPEC = """\
name: web
os: {{{os}}}
source: {{{source}}}
machine: {{azure: {{{machine}}}}}
{more}
"""
DEBIAN = "marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}"


def image_of(
    folder: Path, *, machine: str = "", source: str = DEBIAN, os: str = "family: linux", more: str = ""
) -> ImageSpec:
    """The image of a spec. Raises SpecInvalid."""
    (folder / "build.yaml").write_text("{}\n")
    file = folder / "web.yaml"
    file.write_text(SPEC.format(os=os, source=source, machine=machine, more=more))
    (document,) = load([file]).documents
    return document.render("0.0.0")


def findings(folder: Path, **parts: str) -> set[str]:
    """The codes of what the spec rules find."""
    try:
        image_of(folder, **parts)
    except SpecInvalid as invalid:
        return {diagnostic.code for diagnostic in invalid.diagnostics}
    return set()
