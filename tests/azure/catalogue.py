"""What Azure offers: locations, VM sizes with their capabilities and quotas, marketplace images with plans and terms.

A small, plain choice of the real catalogue, enough for every rule that a builder has to know. Tests add and change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.azure.answers import Json

LOCATIONS = {
    "westeurope": "West Europe",
    "northeurope": "North Europe",
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus": "West US",
    "westus2": "West US 2",
    "germanywestcentral": "Germany West Central",
    "centraluseuap": "Central US EUAP",
    "francecentral": "France Central",
    "southcentralus": "South Central US",
}


@dataclass(frozen=True)
class Size:
    """A VM size. `family` has the quota; `capabilities` are those that the list of SKUs shows."""

    name: str
    family: str
    cores: int
    memory: float
    generations: str = "V1,V2"
    architecture: str = "x64"
    controllers: str = "SCSI"
    trusted_launch: bool = True
    confidential: str = ""
    temporary_disk_mib: int = 0
    premium: bool = True
    accelerated_networking: bool = True
    encryption_at_host: bool = True
    spot: bool = True
    data_disks: int = 4

    def capabilities(self) -> list[Json]:
        given = {
            "MaxResourceVolumeMB": str(self.temporary_disk_mib),
            "OSVhdSizeMB": "1047552",
            "vCPUs": str(self.cores),
            "MemoryPreservingMaintenanceSupported": "True",
            "HyperVGenerations": self.generations,
            "DiskControllerTypes": self.controllers,
            "CpuArchitectureType": self.architecture,
            "MemoryGB": f"{self.memory:g}",
            "MaxDataDiskCount": str(self.data_disks),
            "LowPriorityCapable": str(self.spot),
            "PremiumIO": str(self.premium),
            "VMDeploymentTypes": "IaaS",
            "vCPUsAvailable": str(self.cores),
            "EncryptionAtHostSupported": str(self.encryption_at_host),
            "AcceleratedNetworkingEnabled": str(self.accelerated_networking),
            "EphemeralOSDiskSupported": "False",
        }
        if not self.trusted_launch:
            given["TrustedLaunchDisabled"] = "True"
        if self.confidential:
            given["ConfidentialComputingType"] = self.confidential
        return [{"name": name, "value": value} for name, value in given.items()]


SIZES = (
    Size("Standard_B2s", "standardBSFamily", 2, 4, temporary_disk_mib=8192, encryption_at_host=True),
    Size("Standard_D1_v2", "standardDv2Family", 1, 3.5, "V1", trusted_launch=False, premium=False,
         temporary_disk_mib=51200, accelerated_networking=False),
    Size("Standard_D2_v2", "standardDv2Family", 2, 7, "V1", trusted_launch=False, premium=False,
         temporary_disk_mib=102400),
    Size("Standard_DS1_v2", "standardDSv2Family", 1, 3.5, temporary_disk_mib=7168),
    Size("Standard_DS2_v2", "standardDSv2Family", 2, 7, temporary_disk_mib=14336),
    Size("Standard_D2s_v3", "standardDSv3Family", 2, 8, temporary_disk_mib=16384),
    Size("Standard_D2s_v5", "standardDSv5Family", 2, 8),
    Size("Standard_D4s_v5", "standardDSv5Family", 4, 16, data_disks=8),
    Size("Standard_D2as_v5", "standardDASv5Family", 2, 8),
    Size("Standard_D2ads_v5", "standardDADSv5Family", 2, 8, temporary_disk_mib=76800),
    Size("Standard_D2s_v6", "standardDSv6Family", 2, 8, "V2", controllers="NVMe"),
    Size("Standard_E2bds_v5", "standardEBDSv5Family", 2, 16, controllers="SCSI, NVMe", temporary_disk_mib=76800),
    Size("Standard_D2ps_v5", "standardDPSv5Family", 2, 8, "V2", "Arm64", trusted_launch=False),
    Size("Standard_D2ps_v6", "standardDPSv6Family", 2, 8, "V2", "Arm64", "NVMe", trusted_launch=False),
    Size("Standard_DC2as_v5", "standardDCASv5Family", 2, 8, "V2", confidential="SNP"),
    Size("Standard_A1", "standardA0_A7Family", 1, 1.75, "V1", trusted_launch=False, premium=False, spot=False,
         temporary_disk_mib=71680, accelerated_networking=False, encryption_at_host=False, data_disks=2),
)  # fmt: skip


@dataclass(frozen=True)
class MarketplaceImage:
    """One version of one SKU. `plan` is (name, product, publisher); `data_disks` are (LUN, GiB)."""

    publisher: str
    offer: str
    sku: str
    version: str
    system: str = "Linux"
    generation: str = "V2"
    architecture: str = "x64"
    size_gib: int = 30
    features: tuple[tuple[str, str], ...] = ()
    plan: tuple[str, str, str] | None = None
    data_disks: tuple[tuple[int, int], ...] = ()
    deprecated: str = ""
    locations: tuple[str, ...] = tuple(LOCATIONS)
    # What the guest tells the agent
    os_name: str = ""
    os_version: str = ""


TRUSTED = (("SecurityType", "TrustedLaunchSupported"),)
COMMON = (("IsAcceleratedNetworkSupported", "True"), ("DiskControllerTypes", "SCSI, NVMe"))

IMAGES = (
    MarketplaceImage("Canonical", "ubuntu-24_04-lts", "server", "24.04.202510010", features=(*TRUSTED, *COMMON),
                     os_name="ubuntu", os_version="24.04"),
    MarketplaceImage("Canonical", "ubuntu-24_04-lts", "server", "24.04.202512020", features=(*TRUSTED, *COMMON),
                     os_name="ubuntu", os_version="24.04"),
    MarketplaceImage("Canonical", "ubuntu-24_04-lts", "server-gen1", "24.04.202512020", generation="V1",
                     features=COMMON, os_name="ubuntu", os_version="24.04"),
    MarketplaceImage("Canonical", "ubuntu-24_04-lts", "server-arm64", "24.04.202512020", architecture="Arm64",
                     features=COMMON, os_name="ubuntu", os_version="24.04"),
    MarketplaceImage("Canonical", "ubuntu-24_04-lts", "cvm", "24.04.202512020",
                     features=(("SecurityType", "ConfidentialVmSupported"), *COMMON), os_name="ubuntu",
                     os_version="24.04"),
    MarketplaceImage("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", "22.04.202511120",
                     features=(*TRUSTED, *COMMON), os_name="ubuntu", os_version="22.04"),
    MarketplaceImage("Debian", "debian-12", "12-gen2", "0.20251210.2230", features=(*TRUSTED, *COMMON),
                     os_name="debian", os_version="12"),
    MarketplaceImage("Debian", "debian-12", "12-gen2", "0.20251124.2214", features=(*TRUSTED, *COMMON),
                     os_name="debian", os_version="12"),
    MarketplaceImage("Debian", "debian-12", "12", "0.20251210.2230", generation="V1", features=COMMON,
                     os_name="debian", os_version="12"),
    MarketplaceImage("RedHat", "RHEL", "94_gen2", "9.4.2025040917", size_gib=64, features=(*TRUSTED, *COMMON),
                     os_name="redhat", os_version="9.4"),
    MarketplaceImage("OpenLogic", "CentOS", "7.5", "7.5.201808150", generation="V1", os_name="centos",
                     os_version="7.5.1804"),
    MarketplaceImage("resf", "rockylinux-x86_64", "9-base", "9.6.20250531", size_gib=10, features=COMMON,
                     plan=("9-base", "rockylinux-x86_64", "resf"), os_name="rocky", os_version="9.6"),
    MarketplaceImage("cloud-vendor", "appliance", "data", "1.2.3", size_gib=30, data_disks=((0, 64), (1, 128)),
                     plan=("data", "appliance", "cloud-vendor"), os_name="ubuntu", os_version="22.04"),
    MarketplaceImage("MicrosoftWindowsServer", "WindowsServer", "2016-Datacenter", "14393.5786.230310", "Windows",
                     "V1", size_gib=127, os_name="Windows Server 2016 Datacenter", os_version="10.0.14393.5786"),
    MarketplaceImage("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-g2", "20348.4405.251112", "Windows",
                     size_gib=127, features=(*TRUSTED, *COMMON), os_name="Windows Server 2022 Datacenter",
                     os_version="10.0.20348.4405"),
    MarketplaceImage("MicrosoftWindowsServer", "WindowsServer", "2025-datacenter-g2", "26100.7171.251112", "Windows",
                     size_gib=127, features=(*TRUSTED, *COMMON), os_name="Windows Server 2025 Datacenter",
                     os_version="10.0.26100.7171"),
    MarketplaceImage("MicrosoftSQLServer", "sql2022-ws2022", "standard-gen2", "16.0.251015", "Windows", size_gib=127,
                     features=(*TRUSTED, *COMMON), os_name="Windows Server 2022 Datacenter",
                     os_version="10.0.20348.4405"),
    MarketplaceImage("MicrosoftWindowsDesktop", "windows-11", "win11-24h2-ent", "26100.7171.251112", "Windows",
                     size_gib=127, features=(*TRUSTED, *COMMON), os_name="Windows 11 Enterprise",
                     os_version="10.0.26100.7171"),
)  # fmt: skip


def version_key(version: str) -> tuple[int, ...]:
    """How versions are compared: number by number."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


@dataclass
class Catalogue:
    """`restrictions` is (location, size) -> reason; `quotas` cores by family, `cores` those of a whole region."""

    images: list[MarketplaceImage] = field(default_factory=lambda: list(IMAGES))
    sizes: dict[str, Size] = field(default_factory=lambda: {size.name.lower(): size for size in SIZES})
    restrictions: dict[tuple[str, str], str] = field(default_factory=dict)
    zones: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(LOCATIONS, ("1", "2", "3")))
    quotas: dict[str, int] = field(default_factory=dict)
    region_cores: int = 2000
    accepted_terms: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, image: MarketplaceImage) -> None:
        """Puts another image, or another version of one, into the marketplace."""
        self.images.append(image)

    def restrict(self, location: str, size: str, reason: str = "NotAvailableForSubscription") -> None:
        """Makes a size unavailable to the subscription there."""
        self.restrictions[location, size.lower()] = reason

    def quota(self, family: str) -> int:
        return self.quotas.get(family.lower(), 100)

    def find(self, publisher: str, offer: str, sku: str, version: str, location: str) -> MarketplaceImage | None:
        """The image; `latest` is the highest version there. Names are compared without letter case."""
        found = [
            image
            for image in self.images
            if (image.publisher.lower(), image.offer.lower(), image.sku.lower())
            == (publisher.lower(), offer.lower(), sku.lower())
            and location in image.locations
        ]
        if version.lower() != "latest":
            found = [image for image in found if image.version == version]
        return max(found, key=lambda image: version_key(image.version), default=None)
