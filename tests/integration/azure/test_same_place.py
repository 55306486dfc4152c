"""Destinations that are the same place, which only those who know the subscription can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.plan import Action
from tests.azure import Simulator
from tests.integration.azure.building import GALLERY, Build

# A destination, with a place for more keys; and as another spec may write it
PLACES = {
    "gallery": ("{%s" + GALLERY[1:], "{%s" + GALLERY[1:].replace("corp", "Corp")),
    "managedImage": (
        "{%s resourceGroup: images, name: x}",
        '{%s resourceGroup: Images, name: "X-{{ image.version }}"}',
    ),
    "snapshot": ("{%s resourceGroup: images, name: x}", "{%s resourceGroup: Images, name: X}"),
}


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(tmp_path, azure, monkeypatch)


@pytest.mark.parametrize("kind", PLACES)
def test_a_subscription_that_is_written_out_is_the_usual_one(build: Build, kind: str) -> None:
    plain, other = PLACES[kind]
    written = other % f"subscription: {build.azure.subscription},"
    build.write(publish=f"{{to: [{{{kind}: {plain % ''}}}, {{{kind}: {written}}}]}}")
    plan = build.decided()
    assert plan.action == Action.BLOCKED
    assert [reason.code for reason in plan.reasons] == ["duplicate-destination"]


@pytest.mark.parametrize("kind", PLACES)
def test_two_images_are_not_published_to_one_place(build: Build, kind: str) -> None:
    plain, other = PLACES[kind]
    written = other % f"subscription: {build.azure.subscription},"
    build.write(publish=f"{{to: [{{{kind}: {written}}}]}}")
    text = (build.root / "web.image.yaml").read_text()
    build.write(publish=f"{{to: [{{{kind}: {plain % ''}}}]}}")
    (build.root / "db.image.yaml").write_text(text.replace("name: web", "name: db", 1))
    first, second = build.plan().images
    assert (first.image, first.action) == ("db", Action.BUILD)
    assert (second.image, second.action) == ("web", Action.BLOCKED)
    (reason,) = second.reasons
    assert (reason.code, str(reason.place)) == ("shared-destination", "web.image.yaml:6:16")
    assert "image db is published to the same place" in reason.message
    assert "db.image.yaml:6:16" in reason.message
