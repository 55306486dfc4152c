"""The marketplace of a location, and the terms of its plans."""

from __future__ import annotations

from collections.abc import Callable

from tests.azure.answers import Answer, ArmError, Call, Json, copy
from tests.azure.catalogue import MarketplaceImage, version_key
from tests.azure.operations import stamp
from tests.azure.resources import normal_location
from tests.azure.router import SUBSCRIPTION, Route

PATH = "/Subscriptions/{subscription}/Providers/Microsoft.Compute/Locations/{location}/Publishers"
KEYS = ("publisher", "offer", "sku", "version")
# How each level is called in ids, and in the routes
LEVELS = (("Publishers", "publishers"), ("ArtifactTypes/VMImage/Offers", "artifacttypes/vmimage/offers"),
          ("Skus", "skus"), ("Versions", "versions"))  # fmt: skip


def _matching(call: Call, depth: int) -> list[MarketplaceImage]:
    """Images below the first `depth` names of the path."""
    location = normal_location(call.parameters["location"])
    return [
        image
        for image in call.cloud.catalogue.images
        if location in image.locations
        and all(getattr(image, key).lower() == call.parameters[key].lower() for key in KEYS[:depth])
    ]


def _id(call: Call, image: MarketplaceImage, depth: int) -> str:
    path = f"/Subscriptions/{call.subscription}/Providers/Microsoft.Compute/Locations/{call.parameters['location']}"
    for (word, _segment), key in list(zip(LEVELS, KEYS, strict=True))[:depth]:
        path += f"/{word}/{getattr(image, key)}"
    return path


def _list(depth: int) -> Callable[[Call], Answer]:
    def answer(call: Call) -> Answer:
        found = _matching(call, depth)
        if not found and depth:
            raise _missing(call, depth)
        by_name = {getattr(image, KEYS[depth]): image for image in found}
        names = sorted(by_name, key=version_key if depth == 3 else str.lower)
        if call.query.get("$orderby", "").endswith("desc"):
            names.reverse()
        if "$top" in call.query:
            names = names[: int(call.query["$top"])]
        listed: list[Json] = []
        for name in names:
            listed.append(
                {"location": call.parameters["location"], "name": name, "id": _id(call, by_name[name], depth + 1)}
            )
        return Answer(200, listed)

    return answer


def _missing(call: Call, depth: int) -> ArmError:
    key = KEYS[depth - 1]
    return ArmError(404, "NotFound", f"Artifact: VMImage was not found: {key} '{call.parameters[key]}'.")


def _properties(image: MarketplaceImage) -> Json:
    found: Json = {
        "hyperVGeneration": image.generation,
        "architecture": image.architecture,
        "replicaType": "Managed",
        "disallowed": {"vmDiskType": "None"},
        "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
        "imageDeprecationStatus": {"imageState": "Active"},
        "features": [{"name": name, "value": value} for name, value in image.features],
        "osDiskImage": {"operatingSystem": image.system, "sizeInBytes": image.size_gib * (1 << 30) + 512},
        "dataDiskImages": [{"lun": lun, "sizeInBytes": gib * (1 << 30) + 512} for lun, gib in image.data_disks],
    }
    if image.deprecated:
        found["imageDeprecationStatus"] = {
            "imageState": "ScheduledForDeprecation",
            "scheduledDeprecationTime": image.deprecated,
        }
    if image.plan is not None:
        found["plan"] = dict(zip(("name", "product", "publisher"), image.plan, strict=True))
    return found


def get(call: Call) -> Answer:
    found = _matching(call, 4)
    if not found:
        raise _missing(call, 4)
    image = found[0]
    return Answer(
        200,
        {
            "properties": _properties(image),
            "location": call.parameters["location"],
            "name": image.version,
            "id": _id(call, image, 4),
        },
    )


def _terms(call: Call) -> tuple[tuple[str, str, str], Json]:
    publisher, offer, plan = (call.parameters[key] for key in ("publisher", "offer", "plan"))
    known = [image for image in call.cloud.catalogue.images if image.plan is not None]
    wanted = (plan.lower(), offer.lower(), publisher.lower())
    if not any(tuple(part.lower() for part in image.plan or ()) == wanted for image in known):
        raise ArmError(400, "BadRequest", f"Unable to find the offer {offer} and plan {plan} of {publisher}.")
    key = (publisher.lower(), offer.lower(), plan.lower())
    path = f"/subscriptions/{call.subscription}/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine"
    body = {
        "id": f"{path}/publishers/{publisher}/offers/{offer}/plans/{plan}/agreements/current",
        "name": plan,
        "type": "Microsoft.MarketplaceOrdering/offertypes",
        "properties": {
            "publisher": publisher,
            "product": offer,
            "plan": plan,
            "licenseTextLink": f"https://mpcprodsa.blob.core.windows.net/legalterms/{publisher}",
            "privacyPolicyLink": "https://example.org/privacy",
            "marketplaceTermsLink": "https://mpcprodsa.blob.core.windows.net/marketplaceterms/terms",
            "retrieveDatetime": stamp(call.cloud.clock.now()),
            "signature": "SIMULATED" + "A" * 40,
            "accepted": key in call.cloud.catalogue.accepted_terms,
        },
    }
    return key, body


def get_terms(call: Call) -> Answer:
    return Answer(200, _terms(call)[1])


def put_terms(call: Call) -> Answer:
    key, body = _terms(call)
    accepted = call.properties.get("accepted", False)
    (call.cloud.catalogue.accepted_terms.add if accepted else call.cloud.catalogue.accepted_terms.discard)(key)
    body["properties"]["accepted"] = accepted
    return Answer(200, copy(body))


def _catalogue_routes() -> tuple[Route, ...]:
    path = f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
    operation = "Microsoft.Compute/locations"
    routes = []
    for depth, ((_word, segment), key) in enumerate(zip(LEVELS, KEYS, strict=True)):
        path += f"/{segment}"
        operation += f"/{segment.rpartition('/')[2]}"
        routes.append(Route("GET", path, f"LIST {operation}", _list(depth)))
        path += f"/{{{key}}}"
    routes.append(Route("GET", path, f"GET {operation}", get))
    return tuple(routes)


_TERMS = (
    f"{SUBSCRIPTION}/providers/Microsoft.MarketplaceOrdering/offerTypes/{{kind}}"
    "/publishers/{publisher}/offers/{offer}/plans/{plan}/agreements/current"
)
ROUTES = (
    *_catalogue_routes(),
    Route("GET", _TERMS, "GET Microsoft.MarketplaceOrdering/agreements", get_terms),
    Route("PUT", _TERMS, "PUT Microsoft.MarketplaceOrdering/agreements", put_terms),
)
