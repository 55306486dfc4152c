"""The page docs/azure.md: what can be built of what, and every rule that is looked at. Made from the tables.

Refresh it with `python -m builder.machines.azure.reference > docs/azure.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from builder.machines.azure.matrix import (
    DESTINATIONS,
    FORBIDDEN,
    LOCAL,
    MAY_BE_SPECIALIZED,
    SOURCES,
    Case,
    forbidden,
)
from builder.machines.azure.resolved import SECURITY_TYPES
from builder.machines.azure.rules import RULES

HEAD = """\
# Building on Azure

A build VM in your subscription prepares the image. `build plan` reads what exists and says everything that stands
against a build, before anything is made; it writes nothing. This page is made from the tables that it goes by.

## Sources

| source | is pinned by |
|---|---|
| `marketplace` | the exact version that `latest` means in the region |
| `gallery`, `communityGallery`, `sharedGallery` | the exact version that `latest` means, and when it was published |
| `managedImage` | its id and what it was made of |
| `vm` | the VM's id and the unique ids of its disks |
| `disk`, `snapshot` | the unique ids and the times of creation |
| `blob` | the ETag and the time of the last change |
| `image` | the version of this project's image and its digest |

`latest` of a gallery is the highest version that is in the region, whole, and not excluded.

What a running VM or an attached disk holds changes all the time without changing any of these: such a source is as it
was when it was built, until `build plan --rebuild NAME`. The VM itself is never changed: its disks are copied through
snapshots.

`build plan --offline` asks Azure nothing: sources are as written, and what is published is not known. Such a plan shows
what a spec says, and can't be applied.

## Where a build is

`machine.azure.location`, where it is written. Else the region of the subnet, of the source, of the destination (its
`location`, the gallery's own, the first of its `regions`), of the resource group, of the source's gallery: the first
that tells.

## Its network, and its VMs

Without `subnet` a network is made for the run, with nothing let in, no public IP, and outbound access by Azure's
default (`defaultOutboundAccess: true`). A subnet that is given needs a way out of its own where the spec fetches
anything: a NAT gateway, a firewall, or default outbound access, which newer subnets don't have. The guest's agent needs
none: it speaks to its host.

`spot` is for the build VM alone. Azure may take it away at any moment: the build then goes on from its last checkpoint,
at most `retries` times. VMs that test, or look at a disk for `verify: deep`, are never of spot capacity.

A plan counts the cores of all VMs that an image has at once: the build VM, one or (`identity`) two that test. Images
that are built side by side and find the quota used up by others of their run wait for those; the plan says which.

## What goes into the VM, and what comes out

Everything goes by managed run commands: nothing listens in the VM, and nobody logs in. The text of a run command can be
read by whoever may read the VM; secrets go beside it, as protected parameters.

- Files of a step, and scripts of more than 64 KiB, go in pieces by run commands, up to 16 MiB together.
- More of them go, on Linux, as a disk: it is uploaded, attached to the VM at a free LUN, unpacked in the guest, taken
  off and deleted. That needs no storage account and no role beyond those for VMs and disks. It needs room for one more
  data disk on the VM, and a network of this host that reaches the upload addresses of managed disks
  (`*.blob.storage.azure.net`). A policy that forbids disks with public network access stands in its way.
- On Windows 16 MiB are the limit; a plan says so. A script of yours can fetch more.
- Of a script's output Azure shows the last 4 KiB at each look; the rest is asked for afterwards. Where that is too
  much, the log says how much was left out. It has whole lines alone.

Secrets of `keyVault` are read by the signed-in identity, with the role Key Vault Secrets User, when `build apply` needs
them: once before anything is made, to see that they can be had, and again when their step runs. A token is sent to
vaults of the cloud that it is for, and nowhere else.
"""


def markdown() -> str:
    """The whole page."""
    parts = [HEAD, "## What can be built of what\n", *_sources(), "## Security types, processors, destinations\n"]
    return "\n".join([*parts, *_destinations(), "## Rules\n", *_rules()]).rstrip() + "\n"


def _cell(case: Case) -> str:
    codes = ", ".join(f"`{row.rule.code}`" for row in forbidden(case))
    return f"no: {codes}" if codes else "yes"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _cases() -> Iterator[Case]:
    for source in SOURCES:
        for generalized in (True, False) if source in MAY_BE_SPECIALIZED else (True,):
            for data in (False, True) if source not in LOCAL else (False,):
                yield Case(source, generalized, data)


def _sources() -> Iterator[str]:
    """Sources by systems and results, then by security types and processors."""
    yield "For generation 2, x64 and security type Standard; to any destination but a managed image. `generalize: {}`"
    yield "and `generalize: false` (a specialized image) have one cell where they don't differ.\n"
    head = ("source", "state", "data disks", *(f"{family}, {kind}" for family in ("Linux", "Windows") for kind in
                                               ("`osImage`", "`vmImage`")))  # fmt: skip

    def rows() -> Iterator[Sequence[str]]:
        for case in _cases():
            cells = [
                _both(replace(case, family=family, capture=kind))
                for family in ("linux", "windows")
                for kind in ("osImage", "vmImage")
            ]
            state = "generalized" if case.source_generalized else "specialized"
            yield f"`{case.source}`", state, "yes" if case.source_data else "none", *cells

    yield from _table(head, rows())
    yield "The same by security type and processors, without data disks, for both systems and both results. What the"
    yield "source itself allows is asked of it (`source-security`, `source-architecture`).\n"
    kinds = [(security, architecture) for security in SECURITY_TYPES for architecture in ("x64", "arm64")]

    def by_security() -> Iterator[Sequence[str]]:
        for case in _cases():
            if case.source_data:
                continue
            cells = [_cell(replace(case, security=security, architecture=processors)) for security, processors in kinds]
            yield f"`{case.source}`", "generalized" if case.source_generalized else "specialized", *cells

    yield from _table(("source", "state", *(" ".join(kind) for kind in kinds)), by_security())


def _both(case: Case) -> str:
    """One cell for both results; where they differ, both."""
    cells = {word: _cell(replace(case, generalize=word == "generalized")) for word in ("generalized", "specialized")}
    if len(set(cells.values())) == 1:
        return cells["generalized"]
    return "; ".join(f"{word}: {cell}" for word, cell in cells.items())


def _destinations() -> Iterator[str]:
    yield "From a marketplace image, for Linux and Windows alike.\n"
    head = ("security", "processors", "generation", "result", *(f"`{destination}`" for destination in DESTINATIONS))

    def rows() -> Iterator[Sequence[str]]:
        for security in SECURITY_TYPES:
            for architecture in ("x64", "arm64"):
                for generation in (1, 2):
                    case = Case("marketplace", security=security, architecture=architecture, generation=generation)
                    for generalize in (True, False):
                        cells = [_cell(replace(case, destination=each, generalize=generalize)) for each in DESTINATIONS]
                        word = "generalized" if generalize else "specialized"
                        yield security, architecture, str(generation), word, *cells

    yield from _table(head, rows())


def _rules() -> Iterator[str]:
    yield "Each with the page of Microsoft's documentation that states it. Those of the tables above are marked.\n"
    tables = {row.rule.code for row in FORBIDDEN}

    def rows() -> Iterator[Sequence[str]]:
        for rule in RULES.values():
            mark = " (table)" if rule.code in tables else ""
            yield f"`{rule.code}`{mark}", rule.sentence.replace("|", "\\|"), rule.document

    yield from _table(("rule", "what it says", "stated in"), rows())


if __name__ == "__main__":
    sys.stdout.write(markdown())
