"""Why an image is rebuilt: the steps that its newest version records, compared with those of its spec now."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from builder.errors import BuildError, Place
from builder.model.artifact import Manifest
from builder.model.canonical import canonical, short
from builder.model.kinds import KindRegistry
from builder.model.plan import Reason
from builder.model.steps import FileInput, Stage, Step
from builder.plan.differences import ABSENT, Difference, differences, spelled, unified
from builder.plan.digests import step_digest

SOURCE_PREFIX = "source."
# The part of a source's inputs that is about the machine which starts from it
MACHINE = "machine"
IDENTITY_STAGES = (Stage.PREPARE, Stage.GENERALIZE, Stage.CAPTURE)


@dataclass(frozen=True)
class _Known:
    """A step as a manifest records it, or as the spec has it now: what both can be compared by.

    `shown` are the inputs that it will run with, where they hold another version than those that are compared.
    """

    kind: str
    title: str
    inputs: Mapping[str, Any]
    files: Mapping[str, FileInput]
    index: int
    parent: str = ""
    digest: str = ""
    step: Step | None = None
    shown: Mapping[str, Any] | None = None

    @property
    def content(self) -> bytes:
        return canonical([self.kind, self.inputs, sorted((path, file.sha256) for path, file in self.files.items())])

    @property
    def label(self) -> str:
        return f'step {self.index} "{self.title}"'

    @property
    def is_source(self) -> bool:
        return self.kind.startswith(SOURCE_PREFIX)


def reasons_for(
    manifest: Manifest, steps: Sequence[Step], kinds: KindRegistry, place: Place, *, made: Sequence[Step] = ()
) -> tuple[Reason, ...]:
    """Every difference between a version's recorded steps and `steps`, the first (which decides) first.

    `steps` are chained and rendered with the version of the manifest, so that only true differences show; `made` are
    the same as they will run. `place` is used for what stands nowhere in the spec any more. The result is never empty:
    callers know that a digest differs.
    """
    old, new = _recorded(manifest), _current(steps, made or steps)
    if not old:
        # Every image has a source: what tells of no step at all is what the tags of a version tell
        return (
            Reason(
                "step_changed",
                "what changed is not known here: its manifest is not in these records",
                place,
                help="`records` of build.yaml keeps manifests where every checkout can read them",
            ),
        )
    found = tuple(_compare(old, new, kinds, place))
    if found:
        return found
    return (
        Reason(
            "step_changed",
            "the newest version was made from other inputs than its manifest can show",
            place,
            before=short(manifest.digest),
        ),
    )


def _recorded(manifest: Manifest) -> list[_Known]:
    known: list[_Known] = []
    for data in manifest.steps:
        if data.get("stage") not in IDENTITY_STAGES or not data.get("identity", True):
            continue
        files = [FileInput(item["path"], item["sha256"], item["size"], item.get("text")) for item in data["files"]]
        known.append(
            _Known(
                kind=data["kind"],
                title=data["title"],
                inputs=data["inputs"],
                files={file.path: file for file in files},
                index=len(known) + 1,
                parent=known[-1].digest if known else "",
                digest=data.get("digest", ""),
            )
        )
    return known


def version_used(manifest: Manifest, steps: Sequence[Step], made: Sequence[Step], first: int) -> Reason | None:
    """What to say where steps run again only because one of them uses the version, before any that was edited.

    `steps` and `made` as for `reasons_for`; `first` is the index of the first step that will run.
    """
    recorded = _recorded(manifest)
    edited = next((new.index for old, new in zip(recorded, steps, strict=False) if old.digest != new.digest), None)
    for before, after in zip(steps, made, strict=False):
        if canonical(before.inputs) == canonical(after.inputs) and before.files == after.files:
            continue
        if after.index != first or (edited is not None and edited <= first):
            return None
        message = f'step {after.index} "{after.title}" uses the version: it and all after it run for every version'
        return Reason("version_used", message, after.place)
    return None


def _current(steps: Sequence[Step], made: Sequence[Step]) -> list[_Known]:
    return [
        _Known(
            kind=step.kind,
            title=as_made.title,
            # As a manifest would give it back: lists instead of tuples
            inputs=json.loads(canonical(step.inputs)),
            files={file.path: file for file in step.files},
            index=step.index,
            digest=step.digest,
            step=step,
            shown=json.loads(canonical(as_made.inputs)),
        )
        for step, as_made in zip(steps, made, strict=True)
        if step.identity
    ]


def _compare(old: list[_Known], new: list[_Known], kinds: KindRegistry, place: Place) -> Iterator[Reason]:
    old_contents, new_contents = [item.content for item in old], [item.content for item in new]
    matcher = difflib.SequenceMatcher(None, old_contents, new_contents, autojunk=False)
    gone = {content for tag, i, j, _, _ in matcher.get_opcodes() if tag != "equal" for content in old_contents[i:j]}
    come = {content for tag, _, _, i, j in matcher.get_opcodes() if tag != "equal" for content in new_contents[i:j]}
    moved = gone & come
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            for before, after in zip(old[i1:i2], new[j1:j2], strict=True):
                yield from _implementation(before, after, kinds)
            continue
        for before_or_none, after_or_none in _pairs(old[i1:i2], new[j1:j2]):
            yield from _pair(before_or_none, after_or_none, moved, kinds, place)


def _pairs(old: list[_Known], new: list[_Known]) -> Iterator[tuple[_Known | None, _Known | None]]:
    """Steps that stand for each other: the same kind in the same order. The others come or go."""
    matcher = difflib.SequenceMatcher(
        None, [SOURCE_PREFIX if step.is_source else step.kind for step in old],
        [SOURCE_PREFIX if step.is_source else step.kind for step in new], autojunk=False,
    )  # fmt: skip
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(old[i1:i2], new[j1:j2], strict=True)
        else:
            yield from ((step, None) for step in old[i1:i2])
            yield from ((None, step) for step in new[j1:j2])


def _pair(
    before: _Known | None, after: _Known | None, moved: set[bytes], kinds: KindRegistry, place: Place
) -> Iterator[Reason]:
    if after is None and before is not None:
        if before.content not in moved:
            yield Reason("step_removed", f'step {before.index} "{before.title}" is gone', place, before=before.title)
    elif before is None and after is not None:
        if after.content in moved:
            yield Reason("step_moved", f"{after.label} stands elsewhere", _place(after, ()))
        else:
            yield Reason("step_added", f"{after.label} is new", _place(after, ()), after=after.title)
    elif before is not None and after is not None:
        yield from _implementation(before, after, kinds)
        yield from _source(before, after) if after.is_source else _step(before, after)


def _implementation(before: _Known, after: _Known, kinds: KindRegistry) -> Iterator[Reason]:
    """Whether today's tool gives the recorded inputs another digest than the tool that recorded them."""
    if before.kind != after.kind or not before.digest:
        return
    try:
        version = kinds[before.kind].version
    except BuildError:
        return  # a kind that is gone can't be compared; its steps are gone too and say so
    files = ((path, file.sha256) for path, file in before.files.items())
    if step_digest(before.kind, version, before.inputs, files, before.parent) != before.digest:
        yield Reason(
            "tool_version_changed",
            f"{after.label}: this version of build does `{after.kind}` differently",
            _place(after, ()),
            after=f"{after.kind} {version}",
        )


def _source(before: _Known, after: _Known) -> Iterator[Reason]:
    if before.kind != after.kind:
        yield Reason(
            "source_changed",
            "the source is another",
            _place(after, ()),
            before=before.kind.removeprefix(SOURCE_PREFIX),
            after=after.kind.removeprefix(SOURCE_PREFIX),
        )
    elif _rebuilt_base(before, after):
        same_version = before.inputs.get("version") == after.inputs.get("version")
        key = "digest" if same_version else "version"
        yield Reason(
            "upstream_image_rebuilt",
            f"its base image {after.inputs.get('image')} changed",
            _place(after, ()),
            before=_shortened(before.inputs.get(key)),
            after=_shortened(after.inputs.get(key)),
        )
        others = [each for each in _inputs(before, after) if each.path[0] == MACHINE]
        yield from (_changed("source_changed", after, difference) for difference in others)
    else:
        yield from (_changed("source_changed", after, difference) for difference in _told(_inputs(before, after)))
        yield from _files(before, after)


def _rebuilt_base(before: _Known, after: _Known) -> bool:
    """Whether an image stands on another version of the same image."""
    one, other = before.inputs, after.inputs
    same = one.get("image") is not None and one["image"] == other.get("image")
    return same and (one.get("version"), one.get("digest")) != (other.get("version"), other.get("digest"))


def _told(differences: Iterable[Difference]) -> list[Difference]:
    """Where a source's name says that it is another, what follows from that is left out; the machine is not."""
    found = list(differences)
    if not any(each.path == ("name",) for each in found):
        return found
    return [each for each in found if each.path == ("name",) or each.path[0] == MACHINE]


def _shortened(value: object) -> str | None:
    text = str(value)
    return None if value is None else short(text) if text.startswith("sha256:") else text


def _step(before: _Known, after: _Known) -> Iterator[Reason]:
    files = list(_files(before, after))
    yield from files
    for difference in _inputs(before, after):
        # A template's rendered text follows from its file, whose changed lines are named already
        if files and difference.path == ("content",):
            continue
        yield _changed("step_changed", after, difference)


def _inputs(before: _Known, after: _Known) -> Iterator[Difference]:
    """What differs at the same version, as it will be."""
    for difference in differences(before.inputs, after.inputs):
        found = list(differences(*(_part(inputs, difference.path) for inputs in (before.inputs, after.shown))))
        yield replace(found[0], path=difference.path) if len(found) == 1 and not found[0].path else difference


def _part(inputs: Any, path: Sequence[str | int]) -> Any:  # noqa: ANN401 - JSON
    for key in path:
        if isinstance(inputs, Mapping) and key not in inputs:
            return ABSENT
        inputs = inputs[key]
    return inputs


def _changed(code: str, after: _Known, difference: Difference) -> Reason:
    return Reason(
        code,
        f"{after.label}: {spelled(difference.path)} changed",
        _place(after, difference.path),
        before=difference.before,
        after=difference.after,
        diff=difference.diff,
    )


def _files(before: _Known, after: _Known) -> Iterator[Reason]:
    for path, file in after.files.items():
        old = before.files.get(path)
        if old is None:
            if before.inputs == after.inputs:
                yield Reason("file_changed", f"{path} is new (step {after.index})", Place(path), after=_described(file))
        elif old.sha256 != file.sha256:
            yield _file_changed(old, file, after)
    if before.inputs == after.inputs:
        for path, old in before.files.items():
            if path not in after.files:
                message = f"{path} is gone (step {after.index})"
                yield Reason("file_changed", message, Place(path), before=_described(old))


def _file_changed(old: FileInput, new: FileInput, step: _Known) -> Reason:
    message = f"{new.path} changed (step {step.index})"
    if old.text is None or new.text is None:
        return Reason("file_changed", message, Place(new.path), before=_described(old), after=_described(new))
    diff, line = unified(old.text, new.text)
    return Reason("file_changed", message, Place(new.path, line), diff=diff)


def _described(file: FileInput) -> str:
    return f"{file.size} bytes, sha256 {short(file.sha256)}"


def _place(known: _Known, path: tuple[str | int, ...]) -> Place | None:
    """Where an input stands in the YAML: its own place, that of the nearest key above it, or the step's."""
    step = known.step
    if step is None:
        return None
    while path:
        for name in (spelled(path), ".".join(map(str, path))):
            if name in step.places:
                return step.places[name]
        path = path[:-1]
    return step.place
