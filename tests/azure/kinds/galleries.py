"""Galleries and image definitions, and who may see them."""

from __future__ import annotations

import re

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, conflict, copy, without_nulls
from tests.azure.catalogue import LOCATIONS
from tests.azure.operations import GALLERY
from tests.azure.resources import Manner, accept, act, lister, merge, new_body, new_uuid, reader, remove
from tests.azure.router import resource_routes
from tests.azure.state import Resource

TYPE = "Microsoft.Compute/galleries"
DEFINITIONS = "Microsoft.Compute/galleries/images"
MANNER = Manner(GALLERY)
PATCHED = Manner(GALLERY, updating="Succeeded")
# From this api-version on, a definition without generation and security is V2 and Trusted Launch (documented)
NEW_DEFAULTS = "2025-03-03"
SECURITY_TYPES = ("Standard", "TrustedLaunchSupported", "TrustedLaunch", "ConfidentialVmSupported", "ConfidentialVM",
                  "TrustedLaunchAndConfidentialVmSupported")  # fmt: skip
IMMUTABLE = ("osType", "osState", "hyperVGeneration", "identifier", "architecture", "purchasePlan")
UPDATABLE = ("description", "eula", "privacyStatementUri", "releaseNoteUri", "endOfLifeDate", "recommended",
             "disallowed", "features", "allowUpdateImage")  # fmt: skip


def put(call: Call) -> Answer:
    given = without_nulls(call.properties)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._]{0,78}[A-Za-z0-9])?", call.name):
        raise bad_request(
            f"The gallery name '{call.name}' is invalid. Allowed characters are English alphanumeric characters, with"
            " underscores and periods allowed in the middle, up to 80 characters total.",
            target="galleryName",
        )
    old = call.cloud.state.find(call.path)
    for other in call.cloud.state.of_type(TYPE):
        if other.name.lower() == call.name.lower() and other is not old:
            raise conflict(
                f"The gallery name '{call.name}' is already in use in this subscription: {other.id}.",
                code="GalleryNameConflict",
            )
    body = new_body(call, TYPE, call.path, keys=("identity",))
    properties: Json = {"identifier": {"uniqueName": f"{call.subscription}-{call.name.upper()}"}}
    if "description" in given:
        properties["description"] = given["description"]
    if "softDeletePolicy" in given:
        properties["softDeletePolicy"] = copy(given["softDeletePolicy"])
    if "sharingProfile" in given:
        properties["sharingProfile"] = _sharing(given["sharingProfile"], old)
    elif old is not None and "sharingProfile" in old.properties:
        properties["sharingProfile"] = old.properties["sharingProfile"]
    body["properties"] = properties
    gallery = old or Resource(call.path, TYPE, body)
    gallery.body = body
    return accept(call, gallery, MANNER, call.cloud.seconds("galleries.put"), lambda: None, new=old is None)


def _sharing(given: Json, old: Resource | None) -> Json:
    shown: Json = copy(given)
    before = old.properties.get("sharingProfile", {}) if old is not None else {}
    if old is not None and before.get("permissions") not in (None, given.get("permissions")):
        raise conflict(
            "Changing property 'sharingProfile.permissions' is not allowed.",
            code="PropertyChangeNotAllowed",
            target="sharingProfile.permissions",
        )
    info = shown.get("communityGalleryInfo")
    if isinstance(info, dict):
        names = before.get("communityGalleryInfo", {}).get("publicNames")
        info["publicNames"] = names or [f"{info.get('publicNamePrefix', 'gallery')}-{new_uuid()}"]
        info["communityGalleryEnabled"] = before.get("communityGalleryInfo", {}).get("communityGalleryEnabled", False)
        shown["communityGalleryInfo"] = {"communityGalleryEnabled": info.pop("communityGalleryEnabled"), **info}
    return shown


def patch(call: Call) -> Answer:
    gallery = call.cloud.state.get(call.path)
    given = without_nulls(call.document)
    gallery.body = merge(gallery.body, {key: given[key] for key in ("tags", "identity") if key in given})
    properties = given.get("properties", {})
    if "description" in properties:
        gallery.properties["description"] = properties["description"]
    if "sharingProfile" in properties:
        gallery.properties["sharingProfile"] = _sharing(properties["sharingProfile"], gallery)
    # Recorded: a PATCH of a gallery may say Succeeded at once
    return accept(call, gallery, PATCHED, call.cloud.seconds("galleries.put"), lambda: None, new=False)


def view(call: Call, gallery: Resource) -> Json:
    body: Json = copy(gallery.body)
    sharing = body["properties"].get("sharingProfile")
    if sharing is not None and gallery.hidden.get("groups") and call.query.get("$select", "").lower() == "permissions":
        sharing["groups"] = copy(gallery.hidden["groups"])
    if call.query.get("$expand", "").lower() == "sharingprofile/groups" and sharing is not None:
        sharing["groups"] = copy(gallery.hidden.get("groups", []))
    return body


def share(call: Call) -> Answer:
    gallery = call.cloud.state.get(call.owner)
    given = without_nulls(call.document)
    operation = given.get("operationType")
    if operation not in ("Add", "Remove", "Reset", "EnableCommunity"):
        raise bad_request(f"The value '{operation}' of parameter 'operationType' is invalid.", target="operationType")
    sharing = gallery.properties.get("sharingProfile", {})
    wanted = "Community" if operation == "EnableCommunity" else "Groups"
    if operation != "Reset" and sharing.get("permissions") != wanted:
        raise bad_request(
            f"Gallery '{gallery.name}' must have sharingProfile.permissions '{wanted}' for '{operation}'.",
            code="InvalidParameter",
        )

    def finish() -> None:
        if operation == "EnableCommunity":
            sharing["communityGalleryInfo"]["communityGalleryEnabled"] = True
        groups: list[Json] = gallery.hidden.setdefault("groups", [])
        for group in given.get("groups", []):
            _change_group(groups, operation, group)
        if operation == "Reset":
            groups.clear()
            if "communityGalleryInfo" in sharing:
                sharing["communityGalleryInfo"]["communityGalleryEnabled"] = False

    return act(call, gallery, GALLERY, call.cloud.seconds("galleries.share"), finish)


def _change_group(groups: list[Json], operation: str, change: Json) -> None:
    found = next((group for group in groups if group["type"] == change["type"]), None)
    if found is None:
        found = {"type": change["type"], "ids": []}
        groups.append(found)
    ids = [name for name in found["ids"] if name not in change.get("ids", [])]
    found["ids"] = ids + (change.get("ids", []) if operation == "Add" else [])


def delete(call: Call) -> Answer:
    def check(gallery: Resource) -> None:
        _refuse_nested(call, gallery)

    return remove(call, MANNER, call.cloud.seconds("galleries.delete"), check=check)


def _refuse_nested(call: Call, resource: Resource) -> None:
    if call.cloud.state.under(resource.id):
        raise conflict("Can not delete resource before nested resources are deleted.", code="CannotDeleteResource")


def put_definition(call: Call) -> Answer:
    gallery = call.cloud.state.get(call.path.rpartition("/images/")[0])
    given = without_nulls(call.properties)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,79}(?<![-.])", call.name):
        raise bad_request(f"The image definition name '{call.name}' is invalid.", target="galleryImageName")
    for key in ("osType", "osState", "identifier"):
        if key not in given:
            raise bad_request(f"Required parameter 'galleryImage.properties.{key}' is missing (null).", target=key)
    identifier = given["identifier"]
    for key in ("publisher", "offer", "sku"):
        if not identifier.get(key):
            raise bad_request(f"Required parameter 'identifier.{key}' is missing (null).", target=f"identifier.{key}")
    old = call.cloud.state.find(call.path)
    body = new_body(call, DEFINITIONS, call.path)
    if body["location"] != gallery.location:
        raise bad_request(
            f"The gallery is located in '{gallery.location}' and the image definition in '{body['location']}':"
            " they must be the same.",
            target="location",
        )
    body["properties"] = _definition(call, given)
    if old is not None:
        _check_unchanged(old.properties, body["properties"])
    else:
        _check_identifier(call, gallery, identifier)
    definition = old or Resource(call.path, DEFINITIONS, body)
    definition.body = body
    return accept(call, definition, MANNER, call.cloud.seconds("definitions.put"), lambda: None, new=old is None)


def _definition(call: Call, given: Json) -> Json:
    new = call.api_version >= NEW_DEFAULTS
    features = copy(given.get("features", []))
    security = next((f["value"] for f in features if f["name"].lower() == "securitytype"), None)
    if security is not None and security.lower() not in [name.lower() for name in SECURITY_TYPES]:
        raise bad_request(f"The value '{security}' of feature 'SecurityType' is invalid.", target="features")
    generation = given.get("hyperVGeneration") or ("V2" if new else "V1")
    if new and security is None and generation == "V2" and given.get("architecture", "x64") == "x64":
        features.append({"name": "SecurityType", "value": "TrustedLaunchSupported"})
    if security not in (None, "Standard") and generation != "V2":
        raise bad_request(f"SecurityType '{security}' needs hyperVGeneration V2.", target="features")
    shown: Json = {
        "hyperVGeneration": generation,
        "architecture": given.get("architecture", "x64"),
    }
    for key in (*UPDATABLE, "purchasePlan"):
        if key in given and given[key] not in ({}, []):
            shown[key] = copy(given[key])
    if features:
        shown["features"] = features
    shown.update({"osType": given["osType"], "osState": given["osState"], "identifier": copy(given["identifier"])})
    return shown


def _check_unchanged(old: Json, new: Json) -> None:
    for key in IMMUTABLE:
        if old.get(key) != new.get(key):
            raise conflict(
                f"Changing property 'galleryImage.properties.{key}' is not allowed.",
                code="PropertyChangeNotAllowed",
                target=f"galleryImage.properties.{key}",
            )


def _check_identifier(call: Call, gallery: Resource, identifier: Json) -> None:
    for other in call.cloud.state.of_type(DEFINITIONS, below=gallery.id):
        theirs = other.properties["identifier"]
        if all(theirs[key].lower() == identifier[key].lower() for key in ("publisher", "offer", "sku")):
            raise conflict(
                f"The identifier {identifier['publisher']}/{identifier['offer']}/{identifier['sku']} is already in use"
                f" by image definition '{other.name}' of this gallery.",
                code="GalleryImageIdentifierConflict",
            )


def patch_definition(call: Call) -> Answer:
    definition = call.cloud.state.get(call.path)
    given = without_nulls(call.document)
    changes = given.get("properties", {})
    _check_unchanged(definition.properties, {**definition.properties, **changes})
    definition.body = merge(definition.body, {"tags": given["tags"]} if "tags" in given else {})
    definition.properties.update({key: copy(changes[key]) for key in UPDATABLE if key in changes})
    return accept(call, definition, MANNER, call.cloud.seconds("definitions.put"), lambda: None, new=False)


def delete_definition(call: Call) -> Answer:
    def check(definition: Resource) -> None:
        _refuse_nested(call, definition)

    return remove(call, MANNER, call.cloud.seconds("definitions.delete"), check=check)


def region_name(region: str) -> str:
    """The display name, which is what versions show of their regions."""
    key = region.replace(" ", "").lower()
    if key not in LOCATIONS:
        raise ArmError(
            400, "InvalidParameter", f"The value '{region}' of 'targetRegions' is not a region.", target="targetRegions"
        )
    return LOCATIONS[key]


ROUTES = (
    *resource_routes(
        TYPE,
        {"PUT": put, "PATCH": patch, "GET": reader(view), "DELETE": delete},
        list_group=lister(TYPE, view),
        list_subscription=lister(TYPE, view),
        actions={"share": share},
    ),
    *resource_routes(
        DEFINITIONS,
        {"PUT": put_definition, "PATCH": patch_definition, "GET": reader(), "DELETE": delete_definition},
        list_group=lister(DEFINITIONS),
    ),
)
