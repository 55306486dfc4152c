"""Why a gallery would refuse a version, or a change of one, found out before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from builder.azure import tags as tag_names
from builder.azure.names import region_name
from builder.destinations import azure_manifests as manifests
from builder.destinations import gallery_definition as definitions
from builder.destinations import gallery_versions as versions
from builder.destinations.azure_manifests import HERE
from builder.destinations.gallery_standing import Standing
from builder.errors import BuildError
from builder.model.observed import Blocker, Traits
from builder.model.spec import Choice, ImageSpec, KeyPath


def standing_blockers(choice: Choice, image: ImageSpec, standing: Standing) -> Iterator[Blocker]:
    """What no version could be published with."""
    gallery, path = choice.values["gallery"], choice.path
    wanted = choice.values.get("location")
    found = region_name(standing.gallery["location"]) if standing.gallery is not None else None
    if found is not None and wanted not in (None, found):
        yield Blocker(
            f"gallery {gallery} is in {found}, and the spec says {wanted}",
            image.place(*path, "location"),
            hint=f"write `location: {found}`, or name another gallery",
            code="gallery-location",
        )
    if standing.definition is None:
        return
    for item in definitions.immutable_differences(standing.definition["properties"], choice, image):
        yield Blocker(
            f"image definition {gallery}/{choice.values['definition']} has {item.name} {item.before}, and the spec "
            f"wants {item.after}: Azure can't change that (PropertyChangeNotAllowed)",
            image.place(*item.path),
            hint=definitions.NEW_DEFINITION,
            code="definition-differs",
        )


def definition_changes(choice: Choice, image: ImageSpec, standing: Standing) -> list[definitions.Difference]:
    """What of the definition that stands is to be changed in place."""
    body = standing.definition
    if body is None:
        return []
    ours = tag_names.TOOL in (body.get("tags") or {})
    found = list(definitions.updatable_differences(body["properties"], choice, image, ours=ours))
    if versions.provisioning(body) == versions.FAILED:
        found.append(definitions.Difference("provisioningState", versions.FAILED, versions.SUCCEEDED, choice.path))
    return found


@dataclass(frozen=True)
class Checks:
    """What a spec wants of a gallery, and what stands there.

    `location` is the gallery's region, "" where nothing says it; `now` the time in seconds since 1970.
    """

    choice: Choice
    image: ImageSpec
    standing: Standing
    location: str
    now: float

    @property
    def _name(self) -> str:
        return f"gallery {self.choice.values['gallery']}/{self.choice.values['definition']}"

    def of_version(self, traits: Traits) -> Iterator[Blocker]:
        """Why a version of an artifact with these traits can't be published."""
        choice, image, standing = self.choice, self.image, self.standing
        existing = standing.definition["properties"] if standing.definition is not None else None
        yield from definitions.trait_blockers(existing, choice, image, traits)
        yield from self._identifier(traits)
        if not self.location:
            yield Blocker(
                f"{self._name} doesn't exist yet, and nothing says in which region to make it",
                image.place(*choice.path),
                hint="write `location` or `regions`",
                code="gallery-location",
            )
            return
        yield from self._source(traits)
        yield from self._regions()
        yield from self._end(choice.values, choice.path)
        changed = {item.name for item in definition_changes(choice, image, standing)}
        if existing is None or "endOfLifeDate" in changed:
            yield from self._end_of_definition()
        yield from self._tags()

    def refuse_changes(self, changed: Iterable[definitions.Difference]) -> None:
        """Raise BuildError for changes of a definition or a version that stand which Azure would refuse."""
        found: list[Blocker] = []
        for item in changed:
            if item.name.startswith("region "):
                found += self._regions()
            elif item.name == "endOfLifeDate":
                found += self._end_of_definition()
            elif item.name == "endOfLife":
                found += self._end(self.choice.values, self.choice.path)
        if found:
            first = found[0]
            raise BuildError(first.message, code=first.code, where=first.place, hint=first.hint)

    def _identifier(self, traits: Traits) -> Iterator[Blocker]:
        """Publisher, offer and SKU are a definition's own in its gallery (GalleryImageIdentifierConflict)."""
        if self.standing.definition is not None:
            return
        wanted = definitions.definition_body(self.choice, self.image, traits)
        other = self.standing.identifiers.get(definitions.identifier_key(wanted))
        if other is not None:
            yield Blocker(
                f"image definition {other} of that gallery is {'/'.join(wanted['identifier'].values())} already: Azure "
                f"refuses {self.choice.values['definition']} the same",
                self.image.place(*self.choice.path, "properties"),
                hint="give another `offer` or `sku` in `properties`, or name that `definition`",
                code="definition-identifier",
            )

    def _source(self, traits: Traits) -> Iterator[Blocker]:
        """Azure makes a version in the gallery's region, of what is there."""
        place, location, name = self.image.place(*self.choice.path), self.location, self._name
        if traits.regions and location not in traits.regions:
            yield Blocker(
                f"{name} is in {location}, and the version that it would copy only in {', '.join(traits.regions)}",
                place,
                hint=f"list {location} in the `regions` of a gallery that has the version, and apply that first",
                code="gallery-location",
            )
        elif not traits.regions and traits.where not in (HERE, location):
            yield Blocker(
                f"the image is built in {traits.where}, and {name} is in {location}: Azure publishes a version "
                "from its own region only",
                place,
                hint=f"build in {location} (machine.azure.location), and list {traits.where} in `regions`; or publish "
                f"to a gallery in {traits.where} with {location} in its `regions`, and add this one after that",
                code="gallery-location",
            )

    def _regions(self) -> Iterator[Blocker]:
        """A version has a replica where its gallery is."""
        regions = [region["name"] for region in versions.wanted_regions(self.choice.values, self.location)]
        if self.location not in regions:
            yield Blocker(
                f"the regions of {self._name} leave out {self.location}, where it is: Azure wants that one among them",
                self.image.place(*self.choice.path, "regions"),
                hint=f"add {self.location}",
                code="gallery-regions",
            )

    def _end_of_definition(self) -> Iterator[Blocker]:
        return self._end(self.choice.values.get("properties", {}), (*self.choice.path, "properties"))

    def _end(self, holder: Mapping[str, str], path: KeyPath) -> Iterator[Blocker]:
        """Ends of life that are over: Azure wants them in the future."""
        text = holder.get("endOfLife")
        if text and datetime.fromisoformat(definitions.moment_text(text)).timestamp() <= self.now:
            yield Blocker(
                f"the end of life {text} is over, and Azure takes only one that is to come",
                self.image.place(*path, "endOfLife"),
                hint="write a later day",
                code="end-of-life",
            )

    def _tags(self) -> Iterator[Blocker]:
        count = len(manifests.spec_tags(self.image)) + manifests.OWN_TAGS
        if count > tag_names.MOST_TAGS:
            yield Blocker(
                f"a version would have {count} tags, and Azure takes {tag_names.MOST_TAGS}",
                self.image.place("publish", "tags"),
                hint=f"give at most {tag_names.MOST_TAGS - manifests.OWN_TAGS} tags of your own",
                code="too-many-tags",
            )
