"""What the schema can't say: rules about an image as a whole, its files, and the images of a project together.

Every rule is a function that yields findings; its docstring states the reason. Rules run on what the schema accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from builder.errors import Diagnostic
from builder.model.spec import ImageSpec
from builder.spec.rules import disks, files, machines, publishing, steps, together
from builder.spec.rules.base import Rule

IMAGE_RULES: tuple[Rule, ...] = (
    machines.local_machine,
    machines.azure_machine,
    machines.bootstrap_release,
    machines.file_source,
    machines.step_family,
    machines.secret_origin,
    machines.generation,
    machines.security,
    machines.vm_sizes,
    machines.licence,
    disks.lun_once,
    disks.disk_sizes,
    disks.destination_sizes,
    disks.mounts,
    disks.windows_data_disks,
    disks.os_image_alone,
    files.repository_files,
    files.one_content,
    files.folder_sources,
    files.image_paths,
    files.paths_once,
    files.script_lines,
    files.vm_data,
    steps.opposites,
    steps.empty_steps,
    steps.users_once,
    steps.windows_names,
    steps.registry_values,
    steps.roles_without_sysprep,
    steps.operations,
    steps.provision_first,
    steps.identity_of_generalized,
    publishing.version_parts,
    publishing.tags,
    publishing.inside_project,
    publishing.destinations_once,
    publishing.own_source,
    publishing.gallery_regions,
    publishing.shallow,
    publishing.end_of_life,
    publishing.definition_identifier,
    publishing.definition_properties,
    publishing.managed_image,
)
PROJECT_RULES: tuple[Callable[[Sequence[ImageSpec]], Iterator[Diagnostic]], ...] = (
    together.names_once,
    together.known_bases,
    together.cycles,
    together.bases_fit,
    together.own_destinations,
    together.own_identifiers,
)


def check_image(image: ImageSpec) -> list[Diagnostic]:
    """What the rules find in one image."""
    return [finding for rule in IMAGE_RULES for finding in rule(image)]


def check_images(
    images: Sequence[ImageSpec], *, complete: bool, store: str, others: Collection[str] = ()
) -> list[Diagnostic]:
    """What the rules find in the images of a project together.

    `complete`: no image is missing for being invalid. `store` is the project's local store, below its root. `others`
    are the names of images that were not loaded.
    """
    found = [finding for rule in PROJECT_RULES if rule is not together.known_bases for finding in rule(images)]
    # An image that is invalid itself is not unknown
    if complete:
        found += together.known_bases(images, others)
    return [*found, *together.outside_store(images, store)]
