"""The full form of a document to an ImageSpec. Every default is there already; nothing is checked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.model.canonical import Json
from builder.model.spec import (
    Choice,
    DataDiskSpec,
    DisksSpec,
    GeneralizeSpec,
    ImageSpec,
    KeyPath,
    OsSpec,
    Places,
    PublishSpec,
    RetainSpec,
)
from builder.spec.schema import load_schema

# The size of a build VM by architecture and security type, where the author names none
VM_SIZES = {
    ("x64", "ConfidentialVM"): "Standard_DC2as_v5",
    ("x64", ""): "Standard_D2s_v5",
    ("arm64", ""): "Standard_D2ps_v5",
}
# Sources that this host can work with by itself: `machine` is then local unless the author says otherwise
LOCAL_SOURCES = frozenset({"file", "bootstrap", "image"})


def image_spec(value: Mapping[str, Json], root: Path, file: str, places: Places) -> ImageSpec:
    """The image that a valid document in its full form describes."""
    source = choice(value["source"], ("source",))
    publish = value.get("publish", {})
    generalize = value.get("generalize", {})
    return ImageSpec(
        name=value["name"],
        os=OsSpec(**value["os"]),
        source=source,
        machine=_machine(value, source),
        disks=_disks(value.get("disks", {})),
        prepare=choices(value.get("prepare", ()), ("prepare",)),
        generalize=_generalize(generalize),
        capture=value.get("capture", {}).get("kind", "vmImage"),
        test=choices(value.get("test", ()), ("test",)),
        publish=_publish(publish),
        root=root,
        file=file,
        places=places,
        description=value.get("description", ""),
        state=value.get("state", "active"),
        tags=value.get("tags", {}),
    )


def choice(value: Mapping[str, Json], path: KeyPath) -> Choice:
    """The Choice that a one-key map is."""
    ((kind, values),) = value.items()
    return Choice(kind, values, (*path, kind))


def choices(values: Sequence[Json], path: KeyPath) -> tuple[Choice, ...]:
    """The choices of a list."""
    return tuple(choice(value, (*path, index)) for index, value in enumerate(values))


def _machine(value: Mapping[str, Json], source: Choice) -> Choice:
    if "machine" in value:
        machine = choice(value["machine"], ("machine",))
    else:
        kind = "local" if source.kind in LOCAL_SOURCES else "azure"
        machine = Choice(kind, defaults_of("machine", kind), ("machine",))
    if machine.kind == "azure" and "size" not in machine.values:
        architecture, security = value["os"]["architecture"], machine.values.get("security", {}).get("type", "")
        size = VM_SIZES.get((architecture, security)) or VM_SIZES[architecture, ""]
        return Choice(machine.kind, {**machine.values, "size": [size]}, machine.path)
    return machine


def defaults_of(part: str, kind: str) -> dict[str, Json]:
    """What a choice of the schema holds when nothing was written in it."""
    from builder.spec.fill import fill

    schema = load_schema("image").schema["properties"][part]["properties"][kind]
    filled: dict[str, Json] = fill({}, schema, (), {})
    return filled


def _disks(value: Mapping[str, Json]) -> DisksSpec:
    size = value.get("os", {}).get("size")
    return DisksSpec(size, tuple(DataDiskSpec(**disk) for disk in value.get("data", ())))


def _generalize(value: Json) -> GeneralizeSpec | None:
    if value is False:
        return None
    names = {} if value is True else value
    return GeneralizeSpec(**{key: tuple(items) for key, items in names.items()})


def _destination(destination: Choice) -> Choice:
    if destination.kind != "gallery" or "regions" not in destination.values:
        return destination
    shared = {key: destination.values[key] for key in ("replicas", "storageType")}
    regions = [{**shared, **region} for region in destination.values["regions"]]
    return Choice(destination.kind, {**destination.values, "regions": regions}, destination.path)


def _publish(value: Mapping[str, Json]) -> PublishSpec:
    to = tuple(_destination(item) for item in choices(value.get("to", ()), ("publish", "to")))
    retain = value.get("retain")
    return PublishSpec(
        version=value.get("version", "auto"),
        retain=RetainSpec(**retain) if retain else None,
        to=to or (Choice("directory", {"path": "gallery"}, ("publish",)),),
        tags=value.get("tags", {}),
    )
