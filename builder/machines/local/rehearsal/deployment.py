"""What the rehearsed deployment asks for, and the documents in which Azure tells it to the virtual machine.

The documents are those that cloud-init's DataSourceAzure and the Azure Linux agent read: ovf-env.xml on the CD-ROM, the
wire server's goal state and the configurations it points to, and the instance metadata.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

WIRE_SERVER = "168.63.129.16"
INSTANCE_METADATA = "169.254.169.254"
GUEST_ADDRESS = "168.63.129.20"
# By this asset tag of the chassis cloud-init and the agent know that they are on Azure
CHASSIS_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
INCARNATION = "1"
# The guest agent speaks this version of the wire protocol and refuses a server that doesn't list it
WIRE_PROTOCOL_VERSIONS = ("2015-04-05", "2012-11-30")


def _random_hardware_address() -> str:
    """A network address from the range of Azure's virtual network cards."""
    return "00:22:48:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))


def _random_host_name() -> str:
    return f"rehearsal-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Deployment:
    """One deployment of the image: who may log in, what the machine is called, which machine it is.

    `public_key` is a line of authorized_keys. `vm_id` is the machine's SMBIOS UUID too: cloud-init compares them.
    """

    public_key: str
    user: str = "rehearsal"
    host_name: str = field(default_factory=_random_host_name)
    vm_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    container_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    hardware_address: str = field(default_factory=_random_hardware_address)

    @property
    def instance_id(self) -> str:
        """The name of the role instance, as the wire server and the health reports use it."""
        return f"_{self.host_name}"


def ovf_environment(deployment: Deployment) -> str:
    """ovf-env.xml of the provisioning media: a Linux machine, a user with a key, no password."""
    return f"""<?xml version="1.0" encoding="utf-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:wa="http://schemas.microsoft.com/windowsazure">
  <wa:ProvisioningSection>
    <wa:Version>1.0</wa:Version>
    <wa:LinuxProvisioningConfigurationSet>
      <wa:ConfigurationSetType>LinuxProvisioningConfiguration</wa:ConfigurationSetType>
      <wa:HostName>{escape(deployment.host_name)}</wa:HostName>
      <wa:UserName>{escape(deployment.user)}</wa:UserName>
      <wa:DisableSshPasswordAuthentication>true</wa:DisableSshPasswordAuthentication>
      <wa:SSH>
        <wa:PublicKeys>
          <wa:PublicKey>
            <wa:Path>/home/{escape(deployment.user)}/.ssh/authorized_keys</wa:Path>
            <wa:Value>{escape(deployment.public_key)}</wa:Value>
          </wa:PublicKey>
        </wa:PublicKeys>
      </wa:SSH>
    </wa:LinuxProvisioningConfigurationSet>
  </wa:ProvisioningSection>
  <wa:PlatformSettingsSection>
    <wa:Version>1.0</wa:Version>
    <wa:PlatformSettings>
      <wa:ProvisionGuestAgent>true</wa:ProvisionGuestAgent>
      <wa:GuestAgentPackageName></wa:GuestAgentPackageName>
      <wa:PreprovisionedVm>false</wa:PreprovisionedVm>
    </wa:PlatformSettings>
  </wa:PlatformSettingsSection>
</Environment>
"""


def versions_document() -> str:
    """The versions of the wire protocol that the wire server speaks."""
    supported = "".join(f"<Version>{version}</Version>" for version in WIRE_PROTOCOL_VERSIONS)
    return (
        '<?xml version="1.0" encoding="utf-8"?><Versions>'
        f"<Preferred><Version>{WIRE_PROTOCOL_VERSIONS[0]}</Version></Preferred>"
        f"<Supported>{supported}</Supported></Versions>"
    )


def goal_state(deployment: Deployment) -> str:
    """The goal state: which machine this is, and where its configurations are.

    It names no certificates: the deployment has no secrets, and its key is in ovf-env.xml and the instance metadata.
    """
    machine = f"http://{WIRE_SERVER}/machine/{deployment.container_id}/{escape(deployment.instance_id)}"

    def configuration(kind: str) -> str:
        return f"{machine}?comp=config&amp;type={kind}&amp;incarnation={INCARNATION}"

    return f"""<?xml version="1.0" encoding="utf-8"?>
<GoalState xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <Version>{WIRE_PROTOCOL_VERSIONS[-1]}</Version>
  <Incarnation>{INCARNATION}</Incarnation>
  <Machine>
    <ExpectedState>Started</ExpectedState>
    <StopRolesDeadlineHint>300000</StopRolesDeadlineHint>
    <ExpectHealthReport>FALSE</ExpectHealthReport>
  </Machine>
  <Container>
    <ContainerId>{deployment.container_id}</ContainerId>
    <RoleInstanceList>
      <RoleInstance>
        <InstanceId>{escape(deployment.instance_id)}</InstanceId>
        <State>Started</State>
        <Configuration>
          <HostingEnvironmentConfig>{configuration("hostingEnvironmentConfig")}</HostingEnvironmentConfig>
          <SharedConfig>{configuration("sharedConfig")}</SharedConfig>
          <ExtensionsConfig>{configuration("extensionsConfig")}</ExtensionsConfig>
          <ConfigName>{deployment.container_id}.{INCARNATION}.{escape(deployment.instance_id)}.1.xml</ConfigName>
        </Configuration>
      </RoleInstance>
    </RoleInstanceList>
  </Container>
</GoalState>
"""


def hosting_environment(deployment: Deployment) -> str:
    """The hosting environment: the names of the deployment and of its role."""
    name = escape(deployment.host_name)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<HostingEnvironmentConfig version="1.0.0.0" goalStateIncarnation="{INCARNATION}">
  <StoredCertificates />
  <Deployment name="{deployment.container_id}" guid="{{{deployment.container_id}}}" incarnation="0" />
  <Incarnation number="{INCARNATION}" instance="{name}" guid="{{{deployment.vm_id}}}" />
  <Role guid="{{{deployment.vm_id}}}" name="{name}" hostingEnvironmentVersion="1" software="" softwareType="ApplicationPackage" />
  <HostingEnvironmentSettings name="full" Runtime="" />
  <ApplicationSettings />
  <ResourceReferences />
</HostingEnvironmentConfig>
"""  # noqa: E501


def shared_configuration(deployment: Deployment) -> str:
    """The shared configuration: the one instance of the deployment and its address."""
    name = escape(deployment.host_name)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<SharedConfig version="1.0.0.0" goalStateIncarnation="{INCARNATION}">
  <Deployment name="{deployment.container_id}" guid="{{{deployment.container_id}}}" incarnation="0" />
  <Incarnation number="{INCARNATION}" instance="{name}" guid="{{{deployment.vm_id}}}" />
  <Role guid="{{{deployment.vm_id}}}" name="{name}" />
  <Instances>
    <Instance id="{escape(deployment.instance_id)}" address="{GUEST_ADDRESS}" />
  </Instances>
</SharedConfig>
"""


def extensions_configuration() -> str:
    """The extensions to install: none."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<Extensions version="1.0.0.0" goalStateIncarnation="1"><GuestAgentExtension /><Plugins /><PluginSettings />'
        "</Extensions>"
    )


def instance_metadata(deployment: Deployment, *, generalized: bool) -> dict[str, Any]:
    """What `/metadata/instance` says. A specialized machine has no user or key that provisioning would set up."""
    compute: dict[str, Any] = {
        "azEnvironment": "AzurePublicCloud",
        "location": "westeurope",
        "name": deployment.host_name,
        "osType": "Linux",
        "provider": "Microsoft.Compute",
        "publicKeys": [],
        "resourceGroupName": "rehearsal",
        "resourceId": f"/subscriptions/{uuid.UUID(int=0)}/resourceGroups/rehearsal/providers/Microsoft.Compute"
        f"/virtualMachines/{deployment.host_name}",
        "subscriptionId": str(uuid.UUID(int=0)),
        "tags": "",
        "tagsList": [],
        "userData": "",
        "vmId": deployment.vm_id,
        "vmSize": "Standard_D2s_v5",
        "zone": "",
    }
    extended: dict[str, Any] = {"ppsType": "None", "hasCustomData": False}
    if generalized:
        compute["osProfile"] = {
            "adminUsername": deployment.user,
            "computerName": deployment.host_name,
            "disablePasswordAuthentication": "true",
        }
        compute["publicKeys"] = [
            {"keyData": deployment.public_key, "path": f"/home/{deployment.user}/.ssh/authorized_keys"}
        ]
    interface = {
        "ipv4": {
            "ipAddress": [{"privateIpAddress": GUEST_ADDRESS, "publicIpAddress": ""}],
            "subnet": [{"address": "160.0.0.0", "prefix": "4"}],
        },
        "ipv6": {"ipAddress": []},
        "macAddress": deployment.hardware_address.replace(":", "").upper(),
    }
    return {"compute": compute, "extended": {"compute": extended}, "network": {"interface": [interface]}}
