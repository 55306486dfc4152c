"""What can be wrong with an image's steps on Azure, and is known before anything is made."""

from __future__ import annotations

from collections.abc import Iterator

from builder.azure.key_vault import check_address
from builder.errors import BuildError
from builder.machines.azure.checked import Checked, large_steps
from builder.machines.azure.rules import blocker
from builder.model.observed import Blocker
from builder.model.spec import MIB

KEY_VAULT = "keyVault"


def check_files(checked: Checked) -> Iterator[Blocker]:
    """On Windows, files of a step go by run commands alone."""
    if checked.image.os.family != "windows":
        return
    for step in large_steps(checked.image):
        size = -(-sum(file.size for file in step.files) // MIB)
        place = step.place or checked.image.place("prepare")
        yield blocker("files-too-large", f"the files of this step have {size} MiB together", place)


def check_vaults(checked: Checked) -> Iterator[Blocker]:
    """Secrets are in vaults of the cloud that one is signed in to."""
    image = checked.image
    for choice in image.prepare:
        for name, reference in choice.values.get("secrets", {}).items():
            if KEY_VAULT not in reference:
                continue
            try:
                check_address(reference[KEY_VAULT], checked.reads.azure.cloud)
            except BuildError as error:
                yield blocker("vault-address", error.message, image.place(*choice.path, "secrets", name), error.hint)


def check_verify(checked: Checked) -> Iterator[Blocker]:
    """What `verify: deep` looks for is in disks of generalized Linux machines."""
    image, place = checked.image, checked.place("verify")
    if checked.machine.verify != "deep":
        return
    if image.generalize is None:
        yield blocker("verify-specialized", "a specialized image keeps its machine's identity", place)
    elif image.os.family == "windows":
        yield blocker("verify-windows", "Sysprep's state is asked of the machine itself", place)


STEP_CHECKS = (check_files, check_vaults, check_verify)
