"""Which server roles survive Sysprep: Microsoft's table "Sysprep support for server roles", one row for each role.

The table ends with Windows Server 2012. For newer editions nobody published another: what it says is taken for them
too, and messages say so. Features are named as `Get-WindowsFeature` shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

SOURCE = "Microsoft's table of Sysprep support for server roles, which ends with Windows Server 2012"


class Support(StrEnum):
    """What Sysprep does for a role. `UNSAID`: the table has the role, but says nothing about it."""

    YES = "yes"
    CONDITION = "condition"
    NO = "no"
    UNSAID = "unsaid"


@dataclass(frozen=True)
class Role:
    """A server role: the features that mean it is installed, and whether an image may have it.

    `reason` says why not, or what has to be so.
    """

    name: str
    features: tuple[str, ...]
    support: Support
    reason: str = ""


ROLES: tuple[Role, ...] = (
    Role(
        "Active Directory Certificate Services",
        ("AD-Certificate",),
        Support.NO,
        "an authority's name and keys belong to one machine",
    ),
    Role(
        "Active Directory Domain Services",
        ("AD-Domain-Services",),
        Support.NO,
        "a domain controller's identity is replicated and can't be copied",
    ),
    Role(
        "Active Directory Federation Services",
        ("ADFS-Federation",),
        Support.NO,
        "its certificates and its farm are bound to the machine",
    ),
    Role(
        "Active Directory Lightweight Directory Services",
        ("ADLDS",),
        Support.NO,
        "its instances are replicated under the machine's identity",
    ),
    Role(
        "Active Directory Rights Management Services",
        ("ADRMS",),
        Support.NO,
        "its cluster's keys and addresses are bound to the machine",
    ),
    Role("Application Server", ("Application-Server",), Support.YES),
    Role("DHCP Server", ("DHCP",), Support.NO, "it is authorized for one machine, with its leases"),
    Role("DNS Server", ("DNS",), Support.UNSAID),
    Role("Fax Server", ("Fax",), Support.NO, "its devices and queues belong to one machine"),
    Role("File and Storage Services", ("FileAndStorage-Services",), Support.YES),
    Role("Hyper-V", ("Hyper-V",), Support.CONDITION, "its virtual networks must be deleted first"),
    Role(
        "Network Policy and Access Services",
        ("NPAS",),
        Support.NO,
        "its policies and certificates are bound to the machine",
    ),
    Role("Routing and Remote Access Services", ("Routing",), Support.UNSAID),
    Role("Print and Document Services", ("Print-Services",), Support.YES),
    Role("Remote Desktop Services", ("Remote-Desktop-Services",), Support.YES),
    Role("Volume Activation Services", ("VolumeActivation",), Support.UNSAID),
    Role(
        "Web Server (IIS)",
        ("Web-Server",),
        Support.CONDITION,
        "ApplicationHost.config must hold no encrypted credentials: their key goes with the machine's identity",
    ),
    Role(
        "Windows Deployment Services",
        ("WDS",),
        Support.CONDITION,
        "it must not be initialized: run `wdsutil /uninitialize-server` first",
    ),
    Role(
        "Windows Server Update Services",
        ("UpdateServices",),
        Support.NO,
        "its database knows one server, and its clients one identity",
    ),
)


def role_of(feature: str) -> Role | None:
    """The role that a feature stands for; features below a role, and tools for it, don't. Case doesn't matter."""
    wanted = feature.lower()
    return next((role for role in ROLES if wanted in map(str.lower, role.features)), None)


def installed_roles(features: Iterable[str]) -> Iterator[Role]:
    """The roles among installed features, in the order of the table."""
    names = {feature.lower() for feature in features}
    return (role for role in ROLES if names & set(map(str.lower, role.features)))
