"""Everything that can be wrong with an Azure build and is known before it: checks of one image, each a generator.

Nothing here writes. What two images have in common is read once in a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from builder.azure.ids import ResourceId, group_id
from builder.azure.names import region_name
from builder.errors import BuildError, Unreachable
from builder.machines.azure import sizes
from builder.machines.azure.checked import Checked
from builder.machines.azure.matrix import forbidden
from builder.machines.azure.reading import Reader
from builder.machines.azure.resolved import ResolvedSource
from builder.machines.azure.rules import blocker
from builder.machines.azure.step_checks import STEP_CHECKS
from builder.machines.azure.wanted import network_of
from builder.model.observed import Blocker, Demand
from builder.model.spec import MIB, KeyPath

SKUS = "Microsoft.Compute/skus"
USAGES = "Microsoft.Compute/locations/usages"
TERMS = "Microsoft.MarketplaceOrdering/offerTypes/publishers/offers/plans/agreements"
REGIONS = "`az account list-locations --query [].name --output tsv` lists the regions"
LICENCE_WORDS = {"RHEL_BYOS": "redhat", "SLES_BYOS": "suse"}


def check_matrix(checked: Checked) -> Iterator[Blocker]:
    """The combination as a whole."""
    image = checked.image
    paths: dict[str, KeyPath] = {"machine": image.machine.path, "source": image.source.path}
    for row in forbidden(checked.case):
        start = paths.get(str(row.path[0]), row.path[:1])
        message = row.rule.sentence.rstrip(".")
        yield blocker(row.rule.code, message[0].lower() + message[1:], image.place(*start, *row.path[1:]))


def check_agreement(checked: Checked) -> Iterator[Blocker]:
    """The spec says of the source what it is, and asks of it what it allows."""
    source, image, machine = checked.source, checked.image, checked.machine
    if source is None:
        return
    for code, key, theirs, ours in (
        ("source-family", "family", source.family, image.os.family),
        ("source-architecture", "architecture", source.architecture, image.os.architecture),
        ("source-generation", "generation", source.generation, image.os.generation),
    ):
        if theirs != ours:
            message = f"{source.name} has {key} {theirs}, the spec says {ours}"
            hint = f"write `{key}: {theirs}` in `os`, or take another source"
            yield blocker(code, message, image.place("os", key), hint, source=image.source.kind)
    if machine.security.type not in source.security:
        message = f"{source.name} allows VMs of type {', '.join(source.security)}, not {machine.security.type}"
        hint = f"write `security: {{type: {source.security[0]}}}` in `machine.azure`, or take another source"
        yield blocker("source-security", message, checked.place("security", "type"), hint)
    if machine.controller not in source.controllers:
        message = f"{source.name} boots from {', '.join(source.controllers)}, not {machine.controller}"
        hint = f"write `diskController: {source.controllers[0]}`, or take another source"
        yield blocker("source-controller", message, checked.place("diskController"), hint)
    yield from _disks(checked, source)


def _disks(checked: Checked, source: ResolvedSource) -> Iterator[Blocker]:
    wanted, has = checked.image.disks.os_size, source.os_disk.size
    if wanted is not None and wanted < has:
        message = f"the OS disk of {source.name} has {has // MIB} MiB, the spec asks for {wanted // MIB} MiB"
        yield blocker(
            "disk-shrinks", message, checked.image.place("disks", "os", "size"), "write a larger size, or none"
        )
    brought = {disk.lun for disk in source.data_disks}
    for index, disk in enumerate(checked.image.disks.data):
        if disk.lun in brought:
            message = f"{source.name} brings a data disk with LUN {disk.lun}"
            place = checked.image.place("disks", "data", index, "lun")
            yield blocker("lun-taken", message, place, "write another `lun`")


def check_licence(checked: Checked) -> Iterator[Blocker]:
    """A licence type that the source asks for, or that is another system's."""
    source, licence = checked.source, checked.machine.licence
    if source is None:
        return
    place = checked.place("licenseType") if licence else checked.place()
    if source.licence and source.licence != licence:
        yield blocker("licence-client", f"{source.name} holds Windows for people", place)
    publisher = source.reference.get("publisher", "").lower()
    if licence == "Windows_Client" and publisher and not source.licence and not publisher.startswith("microsoftvisual"):
        message = f"{source.name} is no Windows client"
        yield blocker("licence-system", message, place, "write `licenseType: Windows_Server`, or leave it out")
    word = LICENCE_WORDS.get(licence)
    if word and publisher and word not in publisher:
        message = f"{licence} is no licence for {source.name}"
        yield blocker("licence-system", message, place, "leave `licenseType` out")


def check_plan(checked: Checked) -> Iterator[Blocker]:
    """The purchase plan: the one that the source has, with its terms accepted."""
    source, image = checked.source, checked.image
    if source is None:
        return
    written = image.source.values.get("plan")
    keys = ("name", "product", "publisher")
    if written:
        theirs, ours = (tuple((plan or {}).get(key, "").lower() for key in keys) for plan in (source.plan, written))
        if theirs != ours:
            has = "/".join(source.plan[key] for key in keys) if source.plan else "none"
            place = image.place(*image.source.path, "plan")
            yield blocker("plan", f"{source.name} has another plan: {has}", place, "leave `plan` out: it is read")
    if source.plan:
        yield from _terms(checked, source, source.plan["publisher"], source.plan["product"], source.plan["name"])


def _terms(checked: Checked, source: ResolvedSource, publisher: str, product: str, name: str) -> Iterator[Blocker]:
    path = (
        f"/subscriptions/{checked.reads.subscription}/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine"
        f"/publishers/{publisher}/offers/{product}/plans/{name}/agreements/current"
    )
    agreed = checked.reads.read(path, kind=TERMS)
    if agreed.get("properties", {}).get("accepted"):
        return
    if source.kind == "marketplace":
        by = f"--urn {':'.join(source.reference[key] for key in ('publisher', 'offer', 'sku', 'version'))}"
    else:
        by = f"--publisher {publisher} --offer {product} --plan {name}"
    message = f"the terms of {publisher}/{product}/{name} have not been accepted in this subscription"
    place = checked.image.place(*checked.image.source.path)
    hint = f"read them, then: az vm image terms accept {by} --subscription {checked.reads.subscription}"
    yield blocker("terms", message, place, hint)


def check_group(checked: Checked) -> Iterator[Blocker]:
    """The resource group to work in."""
    name = checked.machine.group
    if name and checked.reads.find(group_id(checked.reads.subscription, name)) is None:
        yield blocker("group-missing", f"there is no resource group {name}", checked.place("resourceGroup"))


def check_subnet(checked: Checked) -> Iterator[Blocker]:
    """The subnet to work in, and its region."""
    machine = checked.machine
    if not machine.subnet:
        return
    subnet = ResourceId.parse(machine.subnet)
    network = checked.reads.find(network_of(machine.subnet))
    known = [str(each.get("name", "")).lower() for each in (network or {}).get("properties", {}).get("subnets") or ()]
    if network is None or subnet.name.lower() not in known:
        missing = f"subnet {subnet.name} in {subnet.parent.short}" if network else subnet.parent.short
        yield blocker("subnet-missing", f"there is no {missing}", checked.place("subnet"))
    elif region_name(network["location"]) != machine.location:
        message = f"the subnet is in {region_name(network['location'])}, the build VM in {machine.location}"
        yield blocker("subnet-region", message, checked.place("subnet"), f"take a subnet in {machine.location}")


def check_encryption_set(checked: Checked) -> Iterator[Blocker]:
    """The disk encryption set, its region and subscription."""
    machine = checked.machine
    if not machine.disk_encryption_set:
        return
    place, id = checked.place("diskEncryptionSet"), ResourceId.parse(machine.disk_encryption_set)
    found = checked.reads.find(id)
    if found is None:
        yield blocker("encryption-set", f"there is no {id.short}", place)
    elif region_name(found["location"]) != machine.location:
        message = f"{id.short} is in {region_name(found['location'])}, the build VM in {machine.location}"
        yield blocker("encryption-set", message, place, f"take one in {machine.location}")
    elif id.subscription.lower() != checked.reads.subscription.lower():
        yield blocker("encryption-set", f"{id.short} is in another subscription than the build VM", place)


def check_identities(checked: Checked) -> Iterator[Blocker]:
    """The identities that the VM gets."""
    for index, text in enumerate(checked.machine.identities):
        id = ResourceId.parse(text)
        if checked.reads.find(id) is None:
            yield blocker("identity-missing", f"there is no {id.short}", checked.place("identities", index))


def offered_sizes(reads: Reader, location: str) -> dict[str, sizes.VmSize]:
    """The VM sizes of a region, for this subscription."""
    place = f"/subscriptions/{reads.subscription}/providers/{SKUS}"
    question = ("sizes", place, location)
    query = {"$filter": f"location eq '{location}'"}
    return reads.seldom(question, lambda: sizes.sizes_of(reads.azure.list(place, SKUS, query=query), location))


def quotas(reads: Reader, location: str) -> dict[str, sizes.Quota]:
    """What the subscription uses of its limits in a region."""
    place = f"/subscriptions/{reads.subscription}/providers/Microsoft.Compute/locations/{location}/usages"
    return reads.once(("quotas", place), lambda: sizes.quotas_of(reads.azure.list(place, USAGES)))


def check_sizes(checked: Checked) -> Iterator[Blocker]:
    """One of the sizes can be had."""
    reads, needs = checked.reads, checked.needs
    offered = offered_sizes(reads, needs.location)
    if not offered:
        message = f"{needs.location} is no region that offers VMs to this subscription"
        yield blocker("location", message, checked.place("location"), REGIONS)
        return
    used = quotas(reads, needs.location)
    fitting, refused = sizes.choose(checked.machine.sizes, offered, needs, used)
    if fitting:
        return
    found = sizes.suggestions(offered, needs, used)
    hint = (
        f"for example `size: [{', '.join(found)}]`"
        if found
        else f"no size of {needs.location} fits: try another region"
    )
    whys: dict[str, list[str]] = {}
    for each in refused:
        whys.setdefault(each.size, []).append(each.why)
    why = "; ".join(f"{size} {', '.join(reasons)}" for size, reasons in whys.items())
    codes = {each.code for each in refused}
    place = checked.place("size", 0) if len(checked.machine.sizes) == 1 else checked.place("size")
    yield blocker(codes.pop() if len(codes) == 1 else "vm-size", why, place, hint)


def fitting_sizes(checked: Checked) -> tuple[str, ...]:
    """The sizes that can be had, in the spec's order; where all lack quota alone, those that could be had with more.

    What uses it up may be other VMs of the same run, which go.
    """
    reads, needs = checked.reads, checked.needs
    offered, used = offered_sizes(reads, needs.location), quotas(reads, needs.location)
    wanted = checked.machine.sizes
    return sizes.choose(wanted, offered, needs, used)[0] or sizes.choose(wanted, offered, needs, {})[0]


def demands(checked: Checked) -> tuple[Demand, ...]:
    """What the image's VMs take of the subscription's quotas, in the size that it will have."""
    reads, needs = checked.reads, checked.needs
    offered, used = offered_sizes(reads, needs.location), quotas(reads, needs.location)
    fitting = sizes.choose(checked.machine.sizes, offered, needs, used)[0]
    return sizes.demands(offered[fitting[0].lower()], needs, used) if fitting else ()


Check = Callable[[Checked], Iterator[Blocker]]
CHECKS: tuple[Check, ...] = (
    check_matrix,
    check_agreement,
    check_licence,
    check_plan,
    check_group,
    check_subnet,
    check_encryption_set,
    check_identities,
    check_sizes,
    *STEP_CHECKS,
)


def run(check: Check, checked: Checked) -> list[Blocker]:
    """What a check finds; also when Azure refuses to answer it."""
    try:
        return list(check(checked))
    except Unreachable:
        raise
    except BuildError as error:
        return [Blocker(error.message, error.where or checked.place(), error.hint, error.code)]
