"""The prepare kinds that only Windows has: `windowsFeatures`, `windowsUpdates` and `registry`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from builder.errors import BuildError
from builder.guest.kinds.common import Staged, listed, make_step, register
from builder.guest.kinds.windows import told
from builder.guest.powershell import call, literal, script
from builder.model.kinds import KINDS, Kind
from builder.model.registry import HIVES, registry_data
from builder.model.run import GuestFacts, GuestScript, StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Preview, Step

VERSION = 1
# What Windows Update offers again after it was installed must not keep a build going round for ever
ROUNDS_FOR_EACH_RESTART = 3


def features_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `windowsFeatures`: what a feature brings along is only known when it is installed."""
    values = choice.values
    install, remove = list(values["install"]), list(values["remove"])
    parts = [f"install {listed(install)}"] if install else []
    parts += [f"remove {listed(remove)}"] if remove else []
    return make_step(
        choice,
        image,
        title=f"features: {'; '.join(parts)}",
        inputs={
            "install": install,
            "remove": remove,
            "subFeatures": values["subFeatures"],
            "managementTools": values["managementTools"],
        },
        preview=Preview.PREDICTED,
        changes=[
            *(Change("create", "feature", name) for name in install),
            *(Change("delete", "feature", name) for name in remove),
        ],
    )


def features_script(inputs: Mapping[str, Any]) -> GuestScript:
    """Install, then remove; tells whether Windows asks for a restart."""
    lines = ["$restart = $false"]
    for function, names, options in (
        ("Install", inputs["install"], ("SubFeatures", "ManagementTools")),
        ("Remove", inputs["remove"], ()),
    ):
        given = {name: inputs[name[0].lower() + name[1:]] for name in options}
        if names:
            done = call(f"{function}-BuildFeatures", Names=list(names), **given)
            lines.append(f"if ({done}) {{ $restart = $true }}")
    lines.append("Write-Result @{ restart = $restart }")
    return script("windowsFeatures", lines, templates=("result", "features"))


def _run_features(step: Step, context: StepContext) -> None:
    if told(context, replace(features_script(step.inputs), timeout=step.timeout))["restart"]:
        context.log("Windows asks for a restart to finish")
        context.session.restart(step.timeout)


def updates_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `windowsUpdates`: which there are is only known when it runs."""
    values = choice.values
    inputs = {key: values[key] for key in ("criteria", "include", "exclude", "limit", "restarts")}
    filters = [f"{key} {listed(values[key])}" for key in ("include", "exclude") if values[key]]
    return make_step(
        choice,
        image,
        title=f"install Windows updates{': ' if filters else ''}{'; '.join(filters)}",
        inputs=inputs,
        preview=Preview.OPAQUE,
        changes=[Change("change", "update", "Windows updates", f"at most {values['restarts']} restarts")],
    )


def updates_script(inputs: Mapping[str, Any]) -> GuestScript:
    """One round: look, choose, download, install. Tells whether a restart is needed, and what came of it."""
    line = call(
        "Invoke-UpdateRound",
        Criteria=inputs["criteria"],
        Include=list(inputs["include"]),
        Exclude=list(inputs["exclude"]),
        Limit=inputs["limit"],
    )
    return script("windowsUpdates", [line], templates=("result", "updates"))


def _run_updates(step: Step, context: StepContext) -> None:
    """Rounds and restarts until nothing is left, or until the same updates fail twice; both are bounded."""
    most = step.inputs["restarts"]
    restarts, failed_before = 0, frozenset[str]()
    for _ in range(ROUNDS_FOR_EACH_RESTART * (most + 1)):
        context.run.check_stop()
        told_now = told(context, replace(updates_script(step.inputs), timeout=step.timeout))
        failed = frozenset(told_now["failed"])
        if failed and failed == failed_before:
            raise BuildError(f"{len(failed)} Windows updates can't be installed", code="updates-failed",
                             hint="leave them out by `exclude`", detail="\n".join(sorted(failed)))  # fmt: skip
        failed_before = failed
        if told_now["restart"] and restarts < most:
            restarts += 1
            context.log(f"restart {restarts} of at most {most}")
            context.session.restart(step.timeout)
        elif told_now["restart"] and most:
            raise BuildError(f"Windows asks for another restart after {most}", code="updates-left",
                             hint="raise `restarts` of the step")  # fmt: skip
        elif told_now["restart"]:
            context.log("Windows asks for a restart, and the step has `restarts: 0`: a later step must restart")
            return
        elif not told_now["left"]:
            return
    raise BuildError(f"{told_now['left']} Windows updates are still left", code="updates-left",
                     hint="raise `restarts` of the step, or leave updates out by `exclude`")  # fmt: skip


def registry_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `registry`."""
    values = [dict(item) for item in choice.values["values"]]
    names = ["\\".join([item["path"], item["name"] or "(default)"]) for item in values]
    changes = [
        Change("delete", "registry", name)
        if item["state"] == "absent"
        else Change("change", "registry", name, f"{item['type']} {_shown(item)}")
        for item, name in zip(values, names, strict=True)
    ]
    return make_step(
        choice,
        image,
        title=f"registry: {listed(names)}",
        inputs={"values": values},
        preview=Preview.EXACT,
        changes=changes,
    )


def _shown(item: Mapping[str, Any]) -> str:
    data = registry_data(item["type"], item["value"])
    return data.hex() if isinstance(data, bytes) else ", ".join(data) if isinstance(data, tuple) else str(data)


def registry_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """One call for each value."""
    lines = []
    for item in inputs["values"]:
        hive, _, key = item["path"].partition("\\")
        where = {"Hive": HIVES[hive], "Key": key.strip("\\"), "Name": item["name"]}
        if item["state"] == "absent":
            lines.append(call("Remove-BuildValue", **where))
        else:
            value = registry_expression(item["type"], item["value"])
            lines.append(f"{call('Set-BuildValue', **where, Type=item['type'])} -Value:{value}")
    return script("registry", lines, templates=("registry",))


def registry_expression(kind: str, value: object) -> str:
    """A value as PowerShell of the type that .NET wants for it."""
    data = registry_data(kind, value)
    if isinstance(data, bytes):
        return f"([byte[]]@({', '.join(map(str, data))}))"
    if isinstance(data, tuple):
        return f"([string[]]{literal(data)})"
    if isinstance(data, int):
        # As text, since the smallest numbers can't be written with a sign before them
        return f"([{'int' if kind == 'DWord' else 'long'}]{literal(str(data))})"
    return literal(data)


KINDS.register(Kind("windowsFeatures", VERSION, _run_features))
KINDS.register(Kind("windowsUpdates", VERSION, _run_updates))
register("registry", VERSION, {"windows": registry_script})
