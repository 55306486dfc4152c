"""Galleries as others see them: community ones by public name, direct shared ones by unique name; without ids."""

from __future__ import annotations

from tests.azure.answers import Answer, ArmError, Call, Json, copy
from tests.azure.kinds.galleries import DEFINITIONS
from tests.azure.kinds.galleries import TYPE as GALLERIES
from tests.azure.kinds.versions import TYPE as VERSIONS
from tests.azure.resources import normal_location
from tests.azure.router import SUBSCRIPTION, Route
from tests.azure.state import Resource

DISCLAIMER = "https://aka.ms/community-gallery-disclaimer"
COMMUNITY, SHARED = "communitygalleries", "sharedgalleries"
WORDS = {COMMUNITY: "CommunityGalleries", SHARED: "SharedGalleries"}


def _public_names(gallery: Resource, kind: str) -> list[str]:
    if kind == SHARED:
        shared = bool(gallery.hidden.get("groups"))
        return [gallery.properties["identifier"]["uniqueName"]] if shared else []
    info = gallery.properties.get("sharingProfile", {}).get("communityGalleryInfo", {})
    names: list[str] = info.get("publicNames", []) if info.get("communityGalleryEnabled") else []
    return names


def find_published(call: Call, kind: str, name: str, location: str) -> Resource:
    """The gallery behind a public name, of whatever subscription. Raises ArmError 404."""
    del location
    for gallery in call.cloud.state.of_type(GALLERIES):
        if name.lower() in [public.lower() for public in _public_names(gallery, kind)]:
            return gallery
    word = WORDS.get(kind, kind)
    raise ArmError(404, "GalleryNotFound", f"The gallery '/{word}/{name}' was not found.")


def _frame(call: Call, name: str, unique_id: str, properties: Json) -> Json:
    return {
        "properties": properties,
        "location": call.parameters["location"],
        "name": name,
        "identifier": {"uniqueId": unique_id},
    }


def _gallery(call: Call, kind: str, gallery: Resource) -> Json:
    public = _public_names(gallery, kind)[0]
    if kind == SHARED:
        return _frame(call, public, f"/SharedGalleries/{public}", {})
    info = gallery.properties["sharingProfile"]["communityGalleryInfo"]
    metadata = {
        key: copy(info[key]) for key in ("publisherUri", "publisherContact", "eula", "publicNames") if key in info
    }
    return _frame(
        call, public, f"/CommunityGalleries/{public}", {"communityMetadata": metadata, "disclaimer": DISCLAIMER}
    )


def _definition(call: Call, kind: str, public: str, definition: Resource) -> Json:
    declared = definition.properties
    properties: Json = {"disclaimer": DISCLAIMER} if kind == COMMUNITY else {}
    properties.update({"osType": declared["osType"], "osState": declared["osState"]})
    properties["recommended"] = copy(declared.get("recommended", {}))
    properties.update({"hyperVGeneration": declared["hyperVGeneration"], "architecture": declared["architecture"]})
    if declared.get("features"):
        properties["features"] = [{key: f[key] for key in ("name", "value")} for f in declared["features"]]
    for key in ("purchasePlan", "endOfLifeDate", "eula"):
        if key in declared:
            properties[key] = copy(declared[key])
    hidden = {"publisher": "", "offer": "", "sku": ""}
    properties["identifier"] = hidden if kind == COMMUNITY else copy(declared["identifier"])
    return _frame(call, definition.name, f"/{WORDS[kind]}/{public}/Images/{definition.name}", properties)


def _version(call: Call, kind: str, public: str, definition: Resource, version: Resource) -> Json:
    publishing = version.properties["publishingProfile"]
    storage = version.properties["storageProfile"]
    os_disk = storage["osDiskImage"]
    properties: Json = {"disclaimer": DISCLAIMER} if kind == COMMUNITY else {}
    properties.update(
        {"publishedDate": publishing["publishedDate"], "excludeFromLatest": publishing["excludeFromLatest"]}
    )
    if "endOfLifeDate" in publishing:
        properties["endOfLifeDate"] = publishing["endOfLifeDate"]
    properties["storageProfile"] = {
        "osDiskImage": {"diskSizeGB": os_disk["sizeInGB"], "hostCaching": os_disk["hostCaching"]}
    }
    if storage.get("dataDiskImages"):
        properties["storageProfile"]["dataDiskImages"] = [
            {"lun": disk["lun"], "diskSizeGB": disk["sizeInGB"], "hostCaching": disk["hostCaching"]}
            for disk in storage["dataDiskImages"]
        ]
    unique = f"/{WORDS[kind]}/{public}/Images/{definition.name}/Versions/{version.name}"
    return _frame(call, version.name, unique, properties)


def _routes_of(kind: str, collection: str) -> tuple[Route, ...]:
    def found(call: Call) -> Resource:
        return find_published(call, kind, call.parameters["gallery"], call.parameters["location"])

    def listed(call: Call) -> Answer:
        galleries = [gallery for gallery in call.cloud.state.of_type(GALLERIES) if _public_names(gallery, kind)]
        here = normal_location(call.parameters["location"])
        return Answer(
            200, {"value": [_gallery(call, kind, gallery) for gallery in galleries if gallery.location == here]}
        )

    def gallery(call: Call) -> Answer:
        return Answer(200, _gallery(call, kind, found(call)))

    def definitions(call: Call) -> Answer:
        images = call.cloud.state.of_type(DEFINITIONS, below=found(call).id)
        return Answer(200, {"value": [_definition(call, kind, call.parameters["gallery"], image) for image in images]})

    def definition(call: Call) -> Answer:
        image = call.cloud.state.get(f"{found(call).id}/images/{call.parameters['image']}")
        return Answer(200, _definition(call, kind, call.parameters["gallery"], image))

    def versions_of(call: Call) -> tuple[Resource, list[Resource]]:
        image = call.cloud.state.get(f"{found(call).id}/images/{call.parameters['image']}")
        here = normal_location(call.parameters["location"])
        known = call.cloud.state.of_type(VERSIONS, below=image.id)
        return image, [version for version in known if here in version.hidden.get("regions", ())]

    def versions(call: Call) -> Answer:
        image, known = versions_of(call)
        public = call.parameters["gallery"]
        return Answer(200, {"value": [_version(call, kind, public, image, version) for version in known]})

    def version(call: Call) -> Answer:
        image, known = versions_of(call)
        for candidate in known:
            if candidate.name == call.parameters["version"]:
                return Answer(200, _version(call, kind, call.parameters["gallery"], image, candidate))
        raise ArmError(404, "NotFound", f"The version '{call.parameters['version']}' was not found in this location.")

    base = f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}/{collection}"
    operation = f"Microsoft.Compute/{collection}"
    return (
        Route("GET", base, f"LIST {operation}", listed),
        Route("GET", f"{base}/{{gallery}}", f"GET {operation}", gallery),
        Route("GET", f"{base}/{{gallery}}/images", f"LIST {operation}/images", definitions),
        Route("GET", f"{base}/{{gallery}}/images/{{image}}", f"GET {operation}/images", definition),
        Route("GET", f"{base}/{{gallery}}/images/{{image}}/versions", f"LIST {operation}/images/versions", versions),
        Route(
            "GET",
            f"{base}/{{gallery}}/images/{{image}}/versions/{{version}}",
            f"GET {operation}/images/versions",
            version,
        ),
    )


ROUTES = (*_routes_of(COMMUNITY, "communityGalleries"), *_routes_of(SHARED, "sharedGalleries"))
