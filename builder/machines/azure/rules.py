"""The rules of Azure that are looked at before anything is made: one row each, with the document that states it.

`blocker` makes what a plan shows of a broken rule; docs/azure.md lists the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.errors import BuildError, Place
from builder.model.observed import Blocker

GENERATION_2 = "Support for generation 2 VMs"
TRUSTED = "Trusted Launch for Azure virtual machines"
CONFIDENTIAL = "About Azure confidential VMs"
MANAGED = "Create a legacy managed image of a generalized VM"
GALLERIES = "Store and share images in an Azure Compute Gallery"
GALLERY_TROUBLE = "Troubleshoot issues with gallery images"
GENERALIZE = "Remove machine specific information by generalizing a VM"
MARKETPLACE = "Find and use Azure Marketplace images"
DISKS = "Azure managed disks"
NVME = "Enable NVMe for VMs"
SKUS = "Resolve errors for SKU not available"
QUOTA = "Check vCPU quotas"
NETWORK = "Azure virtual networks"
ENCRYPTION = "Server-side encryption of Azure disks"
HOST_ENCRYPTION = "Encryption at host"
HYBRID = "Azure Hybrid Benefit"
WINDOWS_CLIENT = "Deploy Windows 11 on Azure"
SPOT = "Use Azure Spot Virtual Machines"
RUN_COMMANDS = "Run scripts in a Windows VM by using managed Run Commands"
VAULTS = "Azure Key Vault developer's guide"
ZONES = "Azure regions with availability zones"
# Of a rule that holds for every source: stated by the page about sources of that kind
OF_SOURCE = "the page about such sources"
PAGE_OF_SOURCE = {
    "marketplace": MARKETPLACE,
    "gallery": GALLERIES,
    "communityGallery": GALLERIES,
    "sharedGallery": GALLERIES,
    "managedImage": MANAGED,
}


@dataclass(frozen=True)
class Rule:
    """`code` is the blocker's; `sentence` says the rule as a whole; `document` is the title of Microsoft's page.

    A document of `OF_SOURCE` is that of the source's kind. `hint` is what to write instead, where that doesn't depend
    on the case.
    """

    code: str
    sentence: str
    document: str
    hint: str = ""


_ROWS = (
    Rule("source-local", "A build VM starts from what Azure has, not from a file of this host.", DISKS,
         "write `machine: {local: {}}`; a disk that is prepared here can be published to Azure"),
    Rule("source-missing", "The source must exist, and the signed-in identity may read it.", OF_SOURCE),
    Rule("source-region", "A source is used in its own region; a gallery's version in the regions it is replicated to.",
         GALLERY_TROUBLE),
    Rule("source-unfinished", "A source must be whole: provisioned, its upload ended, its copy complete.", DISKS),
    Rule("source-family", "`os.family` is the operating system that the source holds.", OF_SOURCE),
    Rule("source-generation", "A disk's generation can't be changed: `os.generation` is the source's.", GENERATION_2),
    Rule("source-architecture", "`os.architecture` is the source's.", OF_SOURCE),
    Rule("source-security", "A source says which security types its VMs may have.", TRUSTED),
    Rule("source-controller", "A disk controller needs a source that has its drivers and says so.", NVME),
    Rule("source-disk", "Images hold managed disks: none that is ephemeral, Ultra, or has Azure Disk Encryption.",
         GALLERY_TROUBLE),
    Rule("source-state", "What Azure knows of a source's state is what the spec says of it.", GENERALIZE),
    Rule("account-missing", "A VHD is imported with the id of its storage account.", DISKS,
         "write `account: /subscriptions/…/storageAccounts/<name>` beside `url`"),
    Rule("generation-arm64", "Arm64 VMs have generation 2.", GENERATION_2, "write `generation: 2` in `os`"),
    Rule("generation-security", "Trusted Launch and confidential VMs have generation 2.", GENERATION_2,
         "write `generation: 2` in `os`"),
    Rule("generation-nvme", "The NVMe controller needs generation 2.", NVME, "write `generation: 2` in `os`"),
    Rule("confidential-arm64", "Confidential VMs have x64 processors.", CONFIDENTIAL),
    Rule("managed-source-security", "A managed image holds no Trusted Launch or confidential VM.", MANAGED,
         "start from a `gallery`"),
    Rule("managed-source-arm64", "A managed image holds no Arm64 VM.", MANAGED, "start from a `gallery`"),
    Rule("blob-confidential", "A VHD blob has no guest state: no confidential VM starts from it.", CONFIDENTIAL,
         "start from a marketplace image or a gallery"),
    Rule("generalized-disks", "Generalized disks start through a managed image: x64, without Trusted Launch.",
         GENERALIZE, "publish them to a `gallery` first, and start from there"),
    Rule("os-image-data-disks", "An OS image leaves the source's data disks behind, and what is on them.", GALLERIES,
         "write `capture: {kind: vmImage}`"),
    Rule("managed-image-specialized", "A managed image can't be specialized.", MANAGED, "publish to a `gallery`"),
    Rule("managed-image-arm64", "A managed image can't be for Arm64.", MANAGED, "publish to a `gallery`"),
    Rule("managed-image-security", "A managed image can't be made from a Trusted Launch or confidential VM.", MANAGED,
         "publish to a `gallery`"),
    Rule("plan", "A VM needs exactly the purchase plan of the image that it came from.", MARKETPLACE),
    Rule("terms", "The terms of a purchase plan must be accepted once per subscription.", MARKETPLACE),
    Rule("licence-client", "Windows client images of the Marketplace need the licence type Windows_Client.",
         WINDOWS_CLIENT, "with multitenant hosting rights, write `licenseType: Windows_Client` in `machine.azure`"),
    Rule("licence-system", "A licence type is for one operating system.", HYBRID),
    Rule("files-too-large", "On Windows, the files of one step have at most 16 MiB together.", RUN_COMMANDS,
         "have a script fetch them in the guest, from a storage account by the VM's identity for example"),
    Rule("vault-address", "A secret is in a key vault of the cloud that one is signed in to.", VAULTS),
    Rule("verify-windows", "`verify: deep` is for Linux.", GENERALIZE,
         "leave `verify` out: a build ends when Sysprep has not sealed the machine"),
    Rule("verify-specialized", "`verify: deep` looks for what generalizing leaves.", GENERALIZE,
         "leave `verify` out"),
    Rule("disk-shrinks", "A disk can grow, not shrink.", DISKS),
    Rule("lun-taken", "Each LUN holds one disk.", DISKS),
    Rule("location", "A build VM is in one region.", NETWORK, "write `location` in `machine.azure`"),
    Rule("group-missing", "A given resource group must exist.", NETWORK, "make it, or leave `resourceGroup` out"),
    Rule("subnet-missing", "A given subnet must exist.", NETWORK),
    Rule("subnet-region", "A VM's subnet is in the VM's region.", NETWORK),
    Rule("encryption-set", "A disk encryption set exists in the VM's region and subscription.", ENCRYPTION),
    Rule("identity-missing", "A given identity must exist.", "Managed identities for Azure resources"),
    Rule("size-offered", "A size must be offered in the region, and to the subscription.", SKUS),
    Rule("size-zone", "A size must be offered in the zone.", ZONES),
    Rule("size-generation", "A size boots the generations that it lists.", GENERATION_2),
    Rule("size-architecture", "A size has processors of one architecture.", SKUS),
    Rule("size-trusted-launch", "Not every size has Trusted Launch.", TRUSTED),
    Rule("size-confidential", "Confidential VMs need sizes with such processors.", CONFIDENTIAL),
    Rule("size-controller", "A size attaches disks by the controllers that it lists.", NVME),
    Rule("size-encryption-at-host", "Not every size encrypts at the host.", HOST_ENCRYPTION),
    Rule("size-accelerated-networking", "Not every size has accelerated networking.", NETWORK),
    Rule("size-premium", "Premium disks need a size that takes them.", DISKS),
    Rule("size-data-disks", "A size takes so many data disks.", DISKS),
    Rule("size-spot", "Not every size is sold as spot capacity.", SPOT),
    Rule("quota", "A subscription may use so many vCPUs of a family, and so many in a region.", QUOTA,
         "ask for more quota, or take a size of another family"),
    Rule("vm-size", "One of the sizes must be to be had.", SKUS),
)  # fmt: skip
RULES = {rule.code: rule for rule in _ROWS}


def blocker(code: str, message: str, place: Place, hint: str | None = None, *, source: str = "") -> Blocker:
    """A broken rule as a plan shows it: what is wrong here, the document that says so, what to write instead.

    `source` is the kind of the source, for rules that hold for every kind.
    """
    return Blocker(f"{message} ({page(code, source)})", place, hint or RULES[code].hint or None, code)


def page(code: str, source: str = "") -> str:
    """The title of the page that states a rule, for a kind of source."""
    document = RULES[code].document
    return PAGE_OF_SOURCE.get(source, DISKS) if document == OF_SOURCE else document


def refusal(code: str, message: str, place: Place, hint: str | None = None, *, source: str = "") -> BuildError:
    """The same, where nothing can go on."""
    found = blocker(code, message, place, hint, source=source)
    return BuildError(found.message, code=found.code, where=found.place, hint=found.hint)
