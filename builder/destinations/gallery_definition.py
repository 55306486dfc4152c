"""A gallery's image definition: what a spec and an artifact ask for, and how one that is there differs.

Everything is said explicitly: Azure's defaults for generation and security type change with the version of its API. A
definition that is there already is adopted; its immutable properties must agree (Azure: "Changing property ... is not
allowed"), the others are brought in line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from builder.model.observed import Blocker, Traits
from builder.model.spec import Choice, ImageSpec, KeyPath
from builder.spec.rules.publishing import DEFAULT_SKU, DEFINITIONS_OF

Json = dict[str, Any]
Values = Mapping[str, Any]

OS_TYPES = {"linux": "Linux", "windows": "Windows"}
ARCHITECTURES = {"x64": "x64", "arm64": "Arm64"}
# What a definition promises when the spec doesn't say, by the security type of the machine that made the disks
SECURITY_TYPES = {
    "Standard": "Standard",
    "TrustedLaunch": "TrustedLaunchSupported",
    "ConfidentialVM": "ConfidentialVMSupported",
}
_PLAN_KEYS = ("name", "product", "publisher")
# Properties that Azure changes in place: key in the body, key in the spec's `properties`
_UPDATABLE = (
    ("description", "description"),
    ("endOfLifeDate", "endOfLife"),
    ("releaseNoteUri", "releaseNotesUri"),
    ("recommended", "vcpus"),
    ("disallowed", "disallowedDiskTypes"),
)
NEW_DEFINITION = "an image definition can't be changed in this: name another `definition`, or correct the spec"


@dataclass(frozen=True)
class Difference:
    """A property that is not as the spec wants it. `updatable`: Azure can change it in place."""

    name: str
    before: str
    after: str
    path: KeyPath = ()
    updatable: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after}"


def os_state(image: ImageSpec) -> str:
    """Azure's word for whether the image is generalized."""
    return "Generalized" if image.generalize is not None else "Specialized"


def definition_body(choice: Choice, image: ImageSpec, traits: Traits) -> Json:
    """The properties of a definition for this image, every one of them."""
    values = choice.values
    given: Values = values.get("properties", {})
    found: Json = {
        "osType": OS_TYPES[image.os.family],
        "osState": os_state(image),
        "hyperVGeneration": f"V{image.os.generation}",
        "architecture": ARCHITECTURES[image.os.architecture],
        "identifier": {
            "publisher": given.get("publisher", values["gallery"]),
            "offer": given.get("offer", values["definition"]),
            "sku": given.get("sku", DEFAULT_SKU),
        },
        "features": _features(given, traits),
    }
    description = given.get("description", image.description)
    if description:
        found["description"] = description
    plan = given.get("plan", traits.plan)
    if plan:
        found["purchasePlan"] = {key: plan[key] for key in _PLAN_KEYS}
    recommended = _recommended(given)
    if recommended:
        found["recommended"] = recommended
    if given.get("disallowedDiskTypes"):
        found["disallowed"] = {"diskTypes": list(given["disallowedDiskTypes"])}
    for key, name in (("eula", "eula"), ("privacyStatementUri", "privacyStatementUri"),
                      ("releaseNoteUri", "releaseNotesUri")):  # fmt: skip
        if name in given:
            found[key] = given[name]
    if "endOfLife" in given:
        found["endOfLifeDate"] = moment_text(given["endOfLife"])
    return found


def _features(given: Values, traits: Traits) -> list[Json]:
    """The features, in Azure's words; the last is only said when the spec says it."""
    controllers = given.get("diskControllers", traits.controllers)
    found = {
        "SecurityType": given.get("securityType", SECURITY_TYPES.get(traits.security, traits.security)),
        "DiskControllerTypes": ", ".join(sorted(controllers, reverse=True)),
        "IsAcceleratedNetworkSupported": _word(given.get("acceleratedNetworking", traits.accelerated_networking)),
    }
    if "hibernation" in given:
        found["IsHibernateSupported"] = _word(given["hibernation"])
    return [{"name": name, "value": value} for name, value in found.items()]


def _recommended(given: Values) -> Json:
    found: Json = {}
    for key, name in (("vCPUs", "vcpus"), ("memory", "memory")):
        if given.get(name):
            found[key] = {limit: given[name][limit] for limit in ("min", "max") if limit in given[name]}
    return found


def _word(value: bool) -> str:
    return "True" if value else "False"


def moment_text(date: str) -> str:
    """A day of a spec, or a moment, as Azure takes it."""
    return date if "T" in date else f"{date}T00:00:00Z"


def same_moment(one: str | None, other: str | None) -> bool:
    """Whether two of Azure's moments are the same, however many digits and whichever zone they are written with."""
    from datetime import datetime

    if one is None or other is None:
        return one is other
    return datetime.fromisoformat(one) == datetime.fromisoformat(other)


def identifier_key(properties: Values) -> tuple[str, ...]:
    """Publisher, offer and SKU of a definition, by which Azure tells the definitions of a gallery apart."""
    return tuple(str(properties.get("identifier", {}).get(key, "")).lower() for key in ("publisher", "offer", "sku"))


def features_of(properties: Values) -> dict[str, str]:
    """A definition's features: Azure's names in lower case, and their values."""
    return {str(item["name"]).lower(): str(item["value"]) for item in properties.get("features", [])}


def immutable_differences(existing: Values, choice: Choice, image: ImageSpec) -> Iterator[Difference]:
    """What Azure can't change, and the spec wants otherwise. What the spec leaves open is as it is there."""
    given: Values = choice.values.get("properties", {})
    inside: KeyPath = (*choice.path, "properties")
    rows: list[tuple[str, Any, Any, KeyPath]] = [
        ("osType", existing.get("osType"), OS_TYPES[image.os.family], ("os", "family")),
        ("osState", existing.get("osState"), os_state(image), ("generalize",)),
        ("hyperVGeneration", existing.get("hyperVGeneration", "V1"), f"V{image.os.generation}", ("os", "generation")),
        ("architecture", existing.get("architecture", "x64"), ARCHITECTURES[image.os.architecture],
         ("os", "architecture")),
    ]  # fmt: skip
    identifier = existing.get("identifier", {})
    rows += [
        (f"identifier.{key}", identifier.get(key), given[key], (*inside, key))
        for key in ("publisher", "offer", "sku")
        if key in given
    ]
    rows += [
        (key, existing.get(key), given[key], (*inside, key)) for key in ("eula", "privacyStatementUri") if key in given
    ]
    features = features_of(existing)
    if "securityType" in given:
        theirs = features.get("securitytype", "Standard")
        rows.append(("SecurityType", theirs, given["securityType"], (*inside, "securityType")))
    if "diskControllers" in given:
        theirs = features.get("diskcontrollertypes", "SCSI")
        wanted = ", ".join(sorted(given["diskControllers"], reverse=True))
        rows.append(("DiskControllerTypes", theirs, wanted, (*inside, "diskControllers")))
    for key, feature in (("acceleratedNetworking", "IsAcceleratedNetworkSupported"),
                         ("hibernation", "IsHibernateSupported")):  # fmt: skip
        if key in given:
            theirs = features.get(feature.lower(), "False")
            rows.append((feature, theirs, _word(given[key]), (*inside, key)))
    for name, before, after, path in rows:
        if str(before).lower().replace(" ", "") != str(after).lower().replace(" ", ""):
            yield Difference(name, str(before), str(after), path, updatable=False)


def trait_blockers(existing: Values | None, choice: Choice, image: ImageSpec, traits: Traits) -> Iterator[Blocker]:
    """Why an artifact with these traits can't go into a definition: one that is there, or (None) the one we'd make."""
    given: Values = choice.values.get("properties", {})
    body = existing if existing is not None else definition_body(choice, image, traits)
    place = image.place(*choice.path, "definition")
    security = features_of(body).get("securitytype", "Standard")
    allowed = DEFINITIONS_OF.get(traits.security)
    if allowed is not None and security.lower() not in {name.lower() for name in allowed}:
        yield Blocker(
            f"the build VM is {traits.security}, and image definition {choice.values['definition']} has SecurityType "
            f"{security}: Azure refuses its disks there",
            image.place(*choice.path, "properties", "securityType"),
            hint=f"name another `definition`, or build with security type {security}",
            code="definition-security",
        )
    if existing is None:
        return
    wanted = _plan(given.get("plan", traits.plan))
    theirs = _plan(existing.get("purchasePlan"))
    if wanted != theirs:
        yield Blocker(
            f"image definition {choice.values['definition']} has purchase plan {_shown(theirs)}, and the image's "
            f"source has {_shown(wanted)}: Azure wants both the same",
            place,
            hint="name another `definition`: it is made with the source's plan",
            code="definition-plan",
        )


def _plan(plan: Values | None) -> tuple[str, ...] | None:
    return tuple(str(plan[key]).lower() for key in _PLAN_KEYS) if plan else None


def _shown(plan: tuple[str, ...] | None) -> str:
    return "/".join(plan) if plan else "none"


def updatable_differences(existing: Values, choice: Choice, image: ImageSpec, *, ours: bool) -> Iterator[Difference]:
    """What the spec wants otherwise and Azure can change. `ours`: we made it, so our defaults hold too."""
    given: Values = choice.values.get("properties", {})
    body = definition_body(choice, image, Traits())
    for key, name in _UPDATABLE:
        said = name in given or (key == "recommended" and "memory" in given)
        if key == "disallowed":
            said = bool(given.get(name))
        if not said and not (ours and key == "description" and image.description):
            continue
        before, after = existing.get(key), _wanted(key, existing, body)
        same = same_moment(before, after) if key == "endOfLifeDate" else _clean(before) == _clean(after)
        if not same:
            yield Difference(key, _text(before), _text(after), (*choice.path, "properties", name))


def _wanted(key: str, existing: Values, body: Values) -> Any:  # noqa: ANN401 - as JSON holds it
    """What a property is to be. Of recommended sizes, the spec may leave one open: it is as it is there."""
    if key == "recommended" and key in body:
        return {**(existing.get(key) or {}), **body[key]}
    return body.get(key)


def _clean(value: object) -> object:
    """Without what Azure adds as empty."""
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items() if item not in (None, {}, [])}
    return value


def _text(value: object) -> str:
    if value in (None, "", {}, []):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def merged(existing: Values, wanted: Values, changed: Iterable[str]) -> Json:
    """An existing definition's properties with the `changed` ones as they are wanted: the body of a PUT."""
    found = {key: value for key, value in existing.items() if key != "provisioningState"}
    for key in changed:
        found.pop(key, None)
        if key in wanted:
            found[key] = _wanted(key, existing, wanted)
    return found
