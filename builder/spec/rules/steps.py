"""Rules about steps that contradict themselves, about generalize, and about tests."""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import Diagnostic
from builder.model.registry import HIVES, registry_data
from builder.model.spec import ImageSpec
from builder.model.sysprep_roles import Support, role_of
from builder.spec.rules.base import finding, steps_of

# The longest name of a local account of Windows (NetUserAdd)
LONGEST_WINDOWS_NAME = 20
# Lists of one step in which the same name would mean two opposite things
OPPOSITES = {
    "packages": ("install", "remove"),
    "services": ("enable", "disable", "mask"),
    "windowsFeatures": ("install", "remove"),
}


def opposites(image: ImageSpec) -> Iterator[Diagnostic]:
    """A step doesn't ask for two opposite things."""
    for step in steps_of(image, *OPPOSITES):
        seen: dict[str, str] = {}
        for key in OPPOSITES[step.kind]:
            for index, name in enumerate(step.values[key]):
                plain = name.split("=")[0]
                # A service that is disabled and masked is doubly off, which is fine
                first = seen.setdefault(plain, key)
                if first != key and (first, key) != ("disable", "mask"):
                    path = (*step.path, key, index)
                    yield finding(image, path, "contradiction", f"'{plain}' is in `{first}` too")


def empty_steps(image: ImageSpec) -> Iterator[Diagnostic]:
    """A step does something: one that is empty is most likely unfinished."""
    for step in steps_of(image, "packages", "services", "windowsFeatures"):
        keys = OPPOSITES[step.kind]
        if not any(step.values[key] for key in keys) and not step.values.get("upgrade"):
            yield finding(image, step.path, "empty", f"`{step.kind}` does nothing", f"it has: {', '.join(keys)}")


def users_once(image: ImageSpec) -> Iterator[Diagnostic]:
    """A step makes an account once, and a number belongs to one account."""
    for step in steps_of(image, "users"):
        for key in ("name", "uid"):
            seen = set()
            for index, user in enumerate(step.values["users"]):
                value = user.get(key)
                if value is not None and value in seen:
                    path = (*step.path, "users", index, key)
                    yield finding(image, path, "duplicate-user", f"{key} '{value}' is already used in this step")
                seen.add(value)


def windows_names(image: ImageSpec) -> Iterator[Diagnostic]:
    """Windows refuses long names of accounts, and those that end with a dot (NetUserAdd)."""
    if image.os.family != "windows":
        return
    for step in steps_of(image, "users"):
        for index, user in enumerate(step.values["users"]):
            name, path = user["name"], (*step.path, "users", index, "name")
            if len(name) > LONGEST_WINDOWS_NAME:
                message = f"'{name}' has {len(name)} characters; Windows takes {LONGEST_WINDOWS_NAME}"
                yield finding(image, path, "user-name", message)
            elif name.endswith("."):
                yield finding(image, path, "user-name", f"'{name}' ends with a dot, which Windows refuses")


def registry_values(image: ImageSpec) -> Iterator[Diagnostic]:
    """A value fits its type. HKCU is the hive of the account that builds, which no user of the image ever is."""
    if image.os.family != "windows":
        return
    for step in steps_of(image, "registry"):
        for index, item in enumerate(step.values["values"]):
            path = (*step.path, "values", index)
            if item["path"].split("\\")[0] not in HIVES:
                message = "HKCU belongs to the account that builds, which nobody who logs in ever is"
                help = r"write below HKLM, or load C:\Users\Default\NTUSER.DAT in a `run` step"
                yield finding(image, (*path, "path"), "registry", message, help)
            if item["state"] == "absent":
                continue
            if "value" not in item:
                yield finding(image, path, "missing-key", "a value that is set needs `value`")
                continue
            try:
                registry_data(item["type"], item["value"])
            except ValueError as error:
                yield finding(image, (*path, "value"), "registry", str(error))


def roles_without_sysprep(image: ImageSpec) -> Iterator[Diagnostic]:
    """Sysprep would leave these roles broken, or fail after an hour (Microsoft: Sysprep support for server roles)."""
    if image.os.family != "windows" or image.generalize is None:
        return
    installed: dict[str, tuple[tuple[str | int, ...], str]] = {}
    for step in steps_of(image, "windowsFeatures"):
        for name in step.values["remove"]:
            installed.pop(name.lower(), None)
        for index, name in enumerate(step.values["install"]):
            installed[name.lower()] = ((*step.path, "install", index), name)
    for key, (path, name) in installed.items():
        role = role_of(key)
        if role is not None and role.support == Support.NO:
            help = "install it when a machine is made from the image, or write `generalize: false`"
            yield finding(image, path, "sysprep-role", f"Sysprep doesn't support {role.name} ({name})", help)


def operations(image: ImageSpec) -> Iterator[Diagnostic]:
    """Generalize operations are Linux's (Windows has Sysprep); one is left out or added, not both."""
    if image.generalize is None:
        return
    for key in ("skip", "add", "keep"):
        names = getattr(image.generalize, key)
        if names and image.os.family == "windows":
            yield finding(image, ("generalize", key), "os-family", f"`{key}` is for Linux: Sysprep has no operations")
    for index, name in enumerate(image.generalize.add):
        if name in image.generalize.skip:
            yield finding(image, ("generalize", "add", index), "contradiction", f"'{name}' is in `skip` too")
    for index, path in enumerate(image.generalize.keep):
        if not path.startswith("/"):
            help = "names of operations go into `skip`"
            yield finding(
                image, ("generalize", "keep", index), "image-path", f"'{path}' must be an absolute path", help
            )


def provision_first(image: ImageSpec) -> Iterator[Diagnostic]:
    """A command needs a VM to run in: `provision` makes it. A specialized image just boots."""
    if image.generalize is None:
        return
    provisioned = False
    for check in image.test:
        provisioned = provisioned or check.kind == "provision"
        if check.kind == "run" and not provisioned:
            message = "a command needs a VM that was provisioned from the image"
            yield finding(image, check.path, "test-order", message, "write `- provision: {}` before it")


def identity_of_generalized(image: ImageSpec) -> Iterator[Diagnostic]:
    """Specialized images are copies of one machine: they share its identity by intent."""
    for check in image.test:
        if check.kind == "identity" and image.generalize is None:
            message = "VMs from a specialized image share its identity"
            yield finding(image, check.path, "test-identity", message, "remove the check, or generalize the image")
