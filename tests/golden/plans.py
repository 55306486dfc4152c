"""The plans whose renderings are kept in this folder, made in the world in memory. All ids and times are fixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from builder.errors import Place
from builder.model.observed import Blocker, VersionState
from builder.model.plan import Plan
from builder.model.spec import RetainSpec
from builder.report.colour import rendered
from builder.report.markdown import plan_comment
from builder.report.plan_json import plan_document
from builder.report.plan_words import Presentation
from builder.report.terminal import plan_lines
from tests.unit.plan.world import World, document

TIDY = "#!/bin/sh\nset -eu\n" + "".join(f"rm -rf /var/cache/{name}\n" for name in ("apt", "debconf", "man"))
WEB = [
    {"packages": {"install": ["nginx", "jq"]}},
    {"template": {"path": "/etc/motd", "sources": ["files/motd.j2"], "content": "Welcome"}},
    {"script": {"path": "scripts/harden.sh", "secrets": {"TOKEN": {"env": "APP_TOKEN"}}}},
    {"script": {"path": "scripts/tidy.sh"}},
]
FILES = {"files/motd.j2": "Welcome\n", "scripts/harden.sh": "echo harden\n", "scripts/tidy.sh": TIDY}


@dataclass(frozen=True)
class Golden:
    """A plan and how it is presented."""

    plan: Plan
    presentation: Presentation
    target: str = ""

    def renderings(self) -> dict[str, str]:
        """The plan in every medium, by file suffix."""
        document = plan_document(self.plan, self.presentation)
        return {
            "txt": rendered(plan_lines(self.plan, self.presentation), colour=False),
            "md": plan_comment(self.plan, self.presentation, target=self.target),
            "json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        }


def first_build() -> Golden:
    """Nothing exists yet."""
    world = World([document("web", prepare=WEB)], files=dict(FILES))
    return Golden(world.plan(), Presentation(arguments=["images/web.yaml"]))


def unchanged() -> Golden:
    """Everything matches."""
    world = World([document("web", prepare=WEB), document("db")], files=dict(FILES))
    world.apply(world.plan())
    return Golden(world.plan(), Presentation())


def edited_script() -> Golden:
    """One line of the last script was edited."""
    world = World([document("web", prepare=WEB)], files=dict(FILES))
    world.apply(world.plan())
    world.files["scripts/tidy.sh"] = TIDY.replace("debconf", "fontconfig")
    return Golden(world.plan(), Presentation(arguments=["images/web.yaml"]))


def everything() -> Golden:
    """Every action, every kind of reason, retention, and text that tries to be markup."""
    limits = RetainSpec(versions=1)
    names = ("web", "app", "old", "mirrored", "died", "blocked", "same-1", "same-2")
    documents = {name: document(name) for name in names}
    documents["web"] = document("web", prepare=WEB, retain=limits)
    documents["app"] = document("app", source={"image": {"name": "web"}})
    world = World([*documents.values()], files=dict(FILES))
    world.apply(world.plan(exclude=["died", "blocked"]))
    world.files["scripts/tidy.sh"] = TIDY.replace("debconf", "``` | <b> @everyone \x1b[31m")
    world.replace(
        document(
            "web",
            prepare=[{"packages": {"install": ["nginx"], "upgrade": True}}, *WEB[1:], {"run": {"command": "true"}}],
            retain=limits,
        )
    )
    world.replace(document("old", state="retired"))
    world.replace(document("mirrored", to=["gallery", "mirror"]))
    died = next(image for image in world.plan().images if image.image == "died")
    world.artifacts.add(next(item.step.digest for item in died.steps if item.step.kind == "capture"))
    world.blockers["blocked"] = Blocker(
        "the base image is not readable (403)",
        Place("images/blocked.yaml", 6, 5),
        hint="log in",
        code="source-unreadable",
    )
    world.documents.append(document("new", prepare=[{"packages": {"install": ["postgresql"]}}]))
    return Golden(world.plan(), Presentation(saved_as="prod.buildplan"), "prod")


def stale() -> Golden:
    """A saved plan that doesn't hold any more is still shown."""
    world = World([document("web", prepare=WEB)], files=dict(FILES))
    reasons = ["file scripts/tidy.sh changed (sha256 0123456789ab -> ba9876543210)", "it was applied already"]
    return Golden(world.plan(), Presentation(saved_as="prod.buildplan", stale=reasons))


def kept() -> Golden:
    """Old versions: some go, some stay although the limits let them go, one was never promoted; a change in place."""
    limits = RetainSpec(versions=1)
    names = ("web", "db", "app", "cache")
    world = World([document(name) for name in names])
    world.apply(world.plan())
    for name in names[:3]:
        world.replace(document(name, prepare=WEB[:1]))
    world.apply(world.plan())
    for name in names[:3]:
        world.replace(document(name, prepare=WEB[:1], retain=limits))
    world.set_in_use("gallery", "db", "1.0.0", "scale set front and 2 more")
    world.set_state("gallery", "app", "1.0.0", VersionState.HELD)
    world.updates["mirror"] = ("regions",)
    world.replace(document("cache", to=["gallery", "mirror"]))
    world.apply(world.plan(include=["cache"]))
    return Golden(world.plan(), Presentation())


PLANS: dict[str, Callable[[], Golden]] = {
    "first-build": first_build,
    "unchanged": unchanged,
    "edited-script": edited_script,
    "everything": everything,
    "stale": stale,
    "kept": kept,
}
