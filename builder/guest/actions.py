"""What generalize operations do, as data. The script renders these and the verifier looks for what they leave behind.

Paths are globs in which `*` stays within one folder and never matches a leading dot; `~/` stands for every home: those
of /etc/passwd, /root and the folders of /home.
"""

from __future__ import annotations

from dataclasses import dataclass


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


@dataclass(frozen=True)
class Delete:
    """Remove files, links and whole folders. `links` False leaves symbolic links alone."""

    paths: tuple[str, ...]
    links: bool = True

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"deletes {_listed(self.paths)}" + ("" if self.links else " (not where it is a symbolic link)")


@dataclass(frozen=True)
class Empty:
    """Remove everything below these folders, and not the folders. `folders_stay` removes files only."""

    folders: tuple[str, ...]
    folders_stay: bool = False

    def describe(self) -> str:
        """For people, in Markdown."""
        return ("deletes the files below " if self.folders_stay else "empties ") + _listed(self.folders)


@dataclass(frozen=True)
class DeleteNamed:
    """Remove the regular files below these folders that have one of these names (globs)."""

    roots: tuple[str, ...]
    names: tuple[str, ...]

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"deletes files named {_listed(self.names)} below {_listed(self.roots)}"


@dataclass(frozen=True)
class Truncate:
    """Make every regular file below these folders empty. Owners and modes stay, so that services find their logs."""

    folders: tuple[str, ...]

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"makes every file below {_listed(self.folders)} empty"


@dataclass(frozen=True)
class DropLines:
    """Remove the lines that match. `pattern` is an extended regular expression that means the same in Python."""

    paths: tuple[str, ...]
    pattern: str
    what: str

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"drops {self.what} from {_listed(self.paths)}"


@dataclass(frozen=True)
class Write:
    """Give a file this content. Only a file that exists, unless `create`; only where the file `needs` exists."""

    path: str
    text: str
    mode: str = "0644"
    create: bool = False
    needs: str = ""

    def describe(self) -> str:
        """For people, in Markdown."""
        first = self.text.splitlines()[0] if self.text.count("\n") <= 1 and self.text else ""
        what = f"writes `{first}` to `{self.path}`" if first else f"writes `{self.path}`"
        return what + (f" where `{self.needs}` exists" if self.needs else "" if self.create else " if there is one")


@dataclass(frozen=True)
class Link:
    """Make a symbolic link, where the file `needs` exists."""

    path: str
    target: str
    needs: str

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"links `{self.path}` where `{self.needs}` exists"


@dataclass(frozen=True)
class RunProgram:
    """Run a program of the image, where it exists."""

    command: tuple[str, ...]

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"runs `{' '.join(self.command)}` where it exists"


@dataclass(frozen=True)
class RunFolder:
    """Run every executable file of a folder, in the order of their names."""

    folder: str

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"runs the programs of `{self.folder}`"


@dataclass(frozen=True)
class RemoveProvisionedUsers:
    """Remove the accounts that Azure's provisioning made, with homes and sudo rules; never those of the spec."""

    def describe(self) -> str:
        """For people, in Markdown."""
        return (
            "removes the users named in `/var/lib/waagent/ovf-env.xml`, `/etc/sudoers.d/waagent` and "
            "`/etc/sudoers.d/90-cloud-init-users`, and cloud-init's default user, with their homes; never a system "
            "account, never a user of the spec"
        )


@dataclass(frozen=True)
class RemoveOrdinaryUsers:
    """Remove every account between UID_MIN and UID_MAX, with homes; never those of the spec."""

    def describe(self) -> str:
        """For people, in Markdown."""
        return "removes every user between `UID_MIN` and `UID_MAX` with its home; never a user of the spec"


@dataclass(frozen=True)
class LockRootPassword:
    """Make root's password unusable, and take its hash out."""

    def describe(self) -> str:
        """For people, in Markdown."""
        return "replaces root's password hash in `/etc/shadow` by `*`"


@dataclass(frozen=True)
class ResetMachineId:
    """systemd's way to say "make a new one at the next boot"; where there is no systemd the file goes."""

    def describe(self) -> str:
        """For people, in Markdown."""
        return (
            "writes `uninitialized` to `/etc/machine-id` (mode 0444; deleted where there is no systemd) and deletes "
            "`/var/lib/dbus/machine-id` unless it is a symbolic link"
        )


Action = (
    Delete
    | Empty
    | DeleteNamed
    | Truncate
    | DropLines
    | Write
    | Link
    | RunProgram
    | RunFolder
    | RemoveProvisionedUsers
    | RemoveOrdinaryUsers
    | LockRootPassword
    | ResetMachineId
)
