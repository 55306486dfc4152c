"""What the prepare kinds that both families have do on Windows: PowerShell from a step's inputs.

Offline editing of Windows disks is nobody's business here: these scripts run in a running Windows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from builder.errors import BuildError, Place
from builder.guest.kinds.common import Staged, staged_files
from builder.guest.powershell import author_script, call, literal, marked, script
from builder.guest.results import ResultReader
from builder.model.run import GuestFacts, GuestScript, StepContext
from builder.model.spec import ImageSpec

# What a verb of `services` means to the service manager: `disable` is "not at boot", `mask` "not at all"
START_TYPES: Mapping[str, str] = {"disable": "Manual", "enable": "Automatic", "mask": "Disabled"}
ADMINISTRATORS_KEYS = r"C:\ProgramData\ssh\administrators_authorized_keys"
# What Windows' accounts and files don't have, with the default that stands where nothing was written
IGNORED_OF_USERS: Mapping[str, Any] = {"uid": None, "shell": None, "home": None}
IGNORED_OF_FILES: Mapping[str, Any] = {"mode": None, "owner": "root", "group": "root"}
POWERSHELL_SUFFIXES = (".ps1", "")
BATCH_SUFFIXES = (".cmd", ".bat")

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(=[A-Za-z0-9][A-Za-z0-9._+-]*)?")
_PARAMETER = re.compile(r"-[A-Za-z][A-Za-z0-9_]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Windows PowerShell passes quotes on wrongly; cmd.exe also reads the others in arguments, quoted or not
_NOT_FOR_PROGRAMS = '"'
_NOT_FOR_BATCH = '"%^&|<>!'


def is_windows(image: ImageSpec) -> bool:
    """Whether an image's steps are for Windows."""
    return image.os.family == "windows"


def ignored(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """A note for the plan about what was written and means nothing on Windows; empty where there is none."""
    given = [key for key, default in defaults.items() if values.get(key) not in (None, default)]
    return [f"without {' and '.join(given)}: Windows has other rights and accounts"] if given else []


def check_packages(names: Iterable[str], where: Place) -> None:
    """Raise BuildError for a name that neither Chocolatey nor winget could mean."""
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise BuildError(
                f"{name!r} is not the name of a package", code="package-name", where=where,
                hint="write an id of Chocolatey or winget such as `Git.Git`, or `name=version`",
            )  # fmt: skip


def packages_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """Upgrade, then install, then remove; which manager does it is found in the guest."""
    lines = ["Update-AllPackages"] if inputs.get("upgrade") else []
    for item in inputs.get("install", ()):
        name, _, version = item.partition("=")
        lines.append(call("Install-BuildPackage", Name=name, Version=version or None))
    lines += [call("Remove-BuildPackage", Name=name) for name in inputs.get("remove", ())]
    return script("packages", lines, templates=("program", "packages"))


def files_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """One call for each file; contents come in as staged files."""
    staged, names = staged_files(inputs["files"], files)
    lines = [
        call("Set-BuildFile", Source=name.replace("/", "\\"), Path=entry["path"])
        for name, entry in zip(names, inputs["files"], strict=True)
    ]
    return script("files", lines, templates=("files",), files=staged)


def template_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """A template is a file whose content the plan knows."""
    return files_script({"files": [inputs]}, facts, files)


def keys_of(user: Mapping[str, Any]) -> str:
    """The file that sshd reads a user's keys from: one for all administrators, else the profile's."""
    if "administrators" in map(str.lower, user.get("groups") or ()):
        return ADMINISTRATORS_KEYS
    return rf"C:\Users\{user['name']}\.ssh\authorized_keys"


def account(user: Mapping[str, Any]) -> dict[str, Any]:
    """What of a user means something on Windows."""
    return {key: value for key, value in user.items() if key not in (*IGNORED_OF_USERS, "sudo")}


def account_notes(user: Mapping[str, Any]) -> list[str]:
    """For the plan: who can log in, and what is left out."""
    login = "disabled" if disabled(user) else "no known password"
    return [login, *ignored(user, IGNORED_OF_USERS)]


def disabled(user: Mapping[str, Any]) -> bool:
    """An account that nobody logs in to: one of a system, without keys."""
    return bool(user.get("system")) and not user.get("sshKeys")


def users_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """Accounts first, each with its groups, then its keys: where these go depends on the groups."""
    lines = []
    for user in inputs["users"]:
        name = user["name"]
        lines.append(call("Set-BuildUser", Name=name, Comment=user.get("comment"), Disabled=disabled(user)))
        lines += [call("Add-BuildMember", Name=name, Group=group) for group in user.get("groups") or ()]
        if user.get("sshKeys"):
            lines.append(call("Add-BuildKeys", Name=name, Keys=list(user["sshKeys"])))
    return script("users", lines, templates=("users_windows",))


def services_script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """The start types."""
    lines = [
        call("Set-ServiceStart", Names=list(inputs[verb]), Type=start)
        for verb, start in START_TYPES.items()
        if inputs.get(verb)
    ]
    return script("services", lines, templates=("services_windows",))


def interpreter(given: str | None, path: str, arguments: Sequence[str], where: Place) -> list[str]:
    """What runs a script: what was asked for; none where PowerShell or cmd.exe does by the file's ending.

    Raises BuildError for a file of another ending, and for arguments that would not arrive as they were written.
    """
    suffix = PurePosixPath(path).suffix.lower()
    words = [word.strip("\"'") for word in re.findall(r'"[^"]*"|\'[^\']*\'|\S+', given or "")]
    if not words and suffix not in (*POWERSHELL_SUFFIXES, *BATCH_SUFFIXES):
        raise BuildError(f"nothing says what runs {path}", code="no-interpreter", where=where,
                         hint="name its program under `interpreter`, or write a .ps1 or .cmd")  # fmt: skip
    refused = _NOT_FOR_PROGRAMS if words else _NOT_FOR_BATCH if suffix in BATCH_SUFFIXES else ""
    for argument in arguments:
        if bad := sorted(set(refused) & set(argument)):
            raise BuildError(f"{argument!r} would not arrive as it is: it has {' '.join(bad)}", code="argument",
                             where=where, hint="pass it by `env`, or write a .ps1")  # fmt: skip
    return words


def script_of_file(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """A call of the staged file, by PowerShell unless the inputs name another program."""
    path = PurePosixPath(inputs["path"])
    name = path.name if _PLAIN_NAME.fullmatch(path.name) else f"script{path.suffix.lower()}"
    if not inputs["interpreter"] and not path.suffix:
        name += ".ps1"
    own = f"([System.IO.Path]::Combine($env:BUILD_FILES, {literal(name)}))"
    by_powershell = name.lower().endswith(".ps1") and not inputs["interpreter"]
    arguments = [_argument(word) if by_powershell else literal(word) for word in inputs["args"]]
    words = ["&", *map(literal, inputs["interpreter"]), own, *arguments]
    content = files[inputs["path"]].read_bytes()
    made = author_script(f"script {inputs['path']}", " ".join(words), env=inputs["env"])
    staged = {name: _marked_bytes(content) if name.lower().endswith(".ps1") else content}
    return GuestScript(made.text, interpreter=made.interpreter, env=made.env, files=staged)


def _argument(word: str) -> str:
    """`-Level` is a parameter's name where PowerShell reads arguments; everything else is text."""
    return word if _PARAMETER.fullmatch(word) else literal(word)


def _marked_bytes(content: bytes) -> bytes:
    """A script in UTF-8 gets the mark by which PowerShell knows; others are left as they are."""
    try:
        return marked(content.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return content


def script_of_command(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """The command under PowerShell that stops at the first error and at unset variables."""
    return author_script("run", inputs["command"].rstrip("\n"), env=inputs["env"])


def told(context: StepContext, made: GuestScript, on_line: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run a script in the guest and give its result (see `builder.guest.results`)."""
    reader = ResultReader(on_line or context.log)
    context.session.guest.execute(made, reader)
    return reader.result()
