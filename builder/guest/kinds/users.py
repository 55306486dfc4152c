"""`users`: accounts with groups, SSH keys and sudo rights. Done twice, nothing changes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.guest.kinds import windows
from builder.guest.kinds.common import Staged, listed, make_step, register
from builder.model.run import GuestFacts, GuestScript
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Preview, Step

VERSION = 1
# In a home; templates/users.sh writes it
KEYS = ".ssh/authorized_keys"
FUNCTIONS = Path(__file__).parents[1] / "templates" / "users.sh"


def home_of(user: Mapping[str, Any]) -> str:
    """Where the user's home is, as far as the spec tells."""
    if user.get("home"):
        return str(user["home"])
    return "/root" if user["name"] == "root" else f"/home/{user['name']}"


def keys_of(user: Mapping[str, Any]) -> str:
    """The user's file of authorized keys."""
    return f"{home_of(user)}/{KEYS}"


def step(choice: Choice, image: ImageSpec) -> Step:
    """The step. A user may exist already: the plan can't know."""
    users = [dict(user) for user in choice.values["users"]]
    on_windows = windows.is_windows(image)
    changes = []
    for user in users:
        facts = [f"uid {user['uid']}"] if user.get("uid") is not None and not on_windows else []
        facts += ["system"] if user.get("system") else []
        facts += [f"in {', '.join(user['groups'])}"] if user.get("groups") else []
        facts += [f"{len(user['sshKeys'])} SSH keys"] if user.get("sshKeys") else []
        facts += ["may sudo"] if user.get("sudo") else []
        facts += windows.account_notes(user) if on_windows else []
        changes.append(Change("create", "user", user["name"], ", ".join(facts)))
        if user.get("sshKeys"):
            path = windows.keys_of(user) if on_windows else keys_of(user)
            changes.append(Change("create", "file", path, f"{len(user['sshKeys'])} SSH keys"))
    names = [user["name"] for user in users]
    return make_step(
        choice,
        image,
        title=f"{'users' if len(names) > 1 else 'user'} {listed(names)}",
        inputs={"users": [windows.account(user) for user in users] if on_windows else users},
        preview=Preview.PREDICTED,
        changes=changes,
    )


def script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """Calls of the functions in templates/users.sh."""
    lines = [FUNCTIONS.read_text(encoding="utf-8")]
    for user in inputs["users"]:
        name = user["name"]
        uid = "" if user.get("uid") is None else str(user["uid"])
        words = [name, uid, "yes" if user.get("system") else "", *(user.get(key) or "" for key in ACCOUNT_KEYS)]
        lines.append(f"account {shlex.join(words)}")
        lines += [f"join {shlex.join([name, group])}" for group in user.get("groups") or ()]
        lines += [f"authorize {shlex.join([name, key])}" for key in user.get("sshKeys") or ()]
        lines += [f"may_sudo {shlex.quote(name)}"] if user.get("sudo") else []
    return GuestScript("\n".join(lines) + "\n")


ACCOUNT_KEYS = ("shell", "home", "comment")

register("users", VERSION, {"linux": script, "windows": windows.users_script})
