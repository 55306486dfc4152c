"""The spec's reference in Markdown, made from the published schemas: `python -m builder.spec.reference`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from builder.model.canonical import Json
from builder.spec.messages import flow
from builder.spec.rules import IMAGE_RULES, PROJECT_RULES
from builder.spec.rules.together import outside_store
from builder.spec.schema import Schema, is_choice, load_schema
from builder.spec.yaml_text import plain

INTRODUCTION = """\
# The spec

One YAML document describes one image. This page lists every key; it is generated from `schemas/image.schema.json` and
`schemas/project.schema.json`, which editors read too: put `# yaml-language-server: $schema=FILE` at the top of a spec
(`build init` does). `build validate` shows every error of every spec at once, with its place.

**Values.** Scalars follow YAML 1.2: only `true` and `false` are booleans; `yes`, `0644`, `12:30` and dates are text.
Duplicate keys, tags and merge keys (`<<`) are errors; anchors and aliases may be used. A choice is a map with one key,
such as `source: {bootstrap: {}}`.

**Templates.** Every value may use Jinja2, rendered after the YAML was read: `{{ vars.x }}`, `{{ environment }}`
(the name given by `--env`; empty without), `{{ matrix.x }}`, `{{ image.name }}`, `{{ image.version }}`,
`{{ image.os.release }}`. Templates have values, filters, `if` and `for`; an unknown name is an error. The name of an
image can't use `image`. Later origins of a variable win: `vars` in build.yaml, `vars` in the spec, the environment
(`--env`), `--var name=value`. A list or map of a variable stays one where it is the whole value:
`install: "{{ vars.packages }}"`.

**Sizes and times.** A size is a whole number with its unit: `512MiB`, `30GiB`, `1TiB`. A length of time is hours,
minutes and seconds, `1h30m`, `10m`, `90s`, or a plain number, which is seconds: `timeout: 300` is five minutes.

**Secrets.** A spec says where a secret's value comes from, never the value. `secrets: {TOKEN: {env: APP_TOKEN}}` gives
a step the variable `TOKEN`, with the value that the variable `APP_TOKEN` has where `build apply` runs; `file` and
`keyVault` are the other origins. A value has at least four characters, and is never written to a plan, a log or a
manifest.

**Files.** What a spec reads is relative to the spec's own folder and stays inside the project; what it writes is
relative to the project's root: the nearest folder with a build.yaml, else git's top level, else the spec's folder.
"""

RULES = """\
## Rules

What the schema can't say is checked by rules. They run on everything that the schema accepts.
"""


def reference() -> str:
    """The whole page."""
    image, project = load_schema("image").schema, load_schema("project").schema
    parts = [
        INTRODUCTION,
        "## An image\n",
        *_map(image, ""),
        *_sections(image),
        "## The project: build.yaml\n",
        *_map(project, ""),
        *_sections(project, skip=("defaults",)),
        RULES,
        *_rules(),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _rules() -> Iterator[str]:
    lines = []
    for rule in (*IMAGE_RULES, *PROJECT_RULES, outside_store):
        name = rule.__name__.replace("_", " ")
        lines.append(f"- **{name}**: {(rule.__doc__ or '').strip()}".replace("\n    ", "\n  "))
    yield "\n".join(lines)


def _sections(schema: Schema, skip: tuple[str, ...] = ()) -> Iterator[str]:
    """A section for every part of a document that is more than a value."""
    for name, part in schema["properties"].items():
        inner = part.get("items", part) if part.get("type") == "array" else part
        named = _named_values(inner)
        if name in skip or ("properties" not in inner and named is None):
            continue
        yield f"### {name}\n"
        yield _text(part)
        if part is not inner:
            yield _text(inner)
        if is_choice(inner):
            for branch, values in inner["properties"].items():
                yield f"#### {name}: {branch}\n"
                yield _text(values)
                yield from _map(values, "")
        elif named is not None:
            yield _text(named)
            yield from _map(named, "NAME.")
            yield from _example(inner, name)
        else:
            yield from _map(inner, "")


def _named_values(part: Schema) -> Schema | None:
    """The schema of a map's values, where the author chooses the keys and every value is a map of its own."""
    values = part.get("additionalProperties")
    return values if isinstance(values, dict) and values.get("properties") and "properties" not in part else None


def _example(part: Schema, name: str) -> Iterator[str]:
    if part.get("examples"):
        yield f"For example `{name}: {flow(part['examples'][0])}`.\n"


def _map(schema: Schema, prefix: str) -> Iterator[str]:
    """A table of a map's keys, with those of the maps in it."""
    rows = list(_rows(schema, prefix))
    if rows:
        yield "\n".join(["| key | value | default | |", "|---|---|---|---|", *rows]) + "\n"


def _rows(schema: Schema, prefix: str) -> Iterator[str]:
    needed = {*schema.get("required", ()), *schema.get("requiredAfterDefaults", ())}
    for name, part in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        default = "needed" if name in needed else f"`{_json(part['default'])}`" if "default" in part else ""
        yield f"| `{path}` | {_kind(part)} | {default} | {_cell(_text(part))} |"
        # What has a section of its own, or stands in the image's part of the page, is not told twice
        if (prefix or not is_root(schema)) and name != "defaults":
            yield from _inner_rows(part, path)


def _inner_rows(part: Schema, path: str) -> Iterator[str]:
    named = _named_values(part)
    if named is not None:
        yield from _rows(named, f"{path}.NAME.")
        return
    if is_choice(part) or "properties" not in part:
        items = part.get("items")
        if isinstance(items, dict) and "properties" in items:
            yield from _rows(items, f"{path}[].")
        return
    yield from _rows(part, f"{path}.")


def is_root(schema: Schema) -> bool:
    """Whether a schema is a whole document's."""
    return "vars" in schema.get("properties", {})


def _kind(part: Schema) -> str:
    if "enum" in part and len(part["enum"]) <= 10:
        return " · ".join(f"`{item}`" for item in part["enum"])
    names = {"string": "text", "object": "map", "array": "list", "integer": "number", "boolean": "true, false"}
    wanted = part.get("type", "string")
    types = [wanted] if isinstance(wanted, str) else wanted
    if part.get("format") in ("size", "duration"):
        return str(part["format"])
    return " or ".join(names.get(name, name) for name in types)


def _text(part: Schema) -> str:
    text = str(part.get("description", ""))
    examples = part.get("examples")
    if examples and part.get("type") != "object":
        text += " For example " + " or ".join(f"`{_json(item)}`" for item in examples[:2]) + "."
    return text + "\n"


def _json(value: Json) -> str:
    # Text that YAML would read as something else is shown with its quotes
    return value if isinstance(value, str) and isinstance(plain(value), str) else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(reference(), end="")
