"""A simulator of Azure Resource Manager: state in memory, spoken to over http and https by unmodified clients.

    with Simulator() as azure:
        client = ComputeManagementClient(azure.credential, azure.subscription, **azure.sdk_options())

It imports nothing of `builder`: what it knows about Azure comes from recorded traffic and Azure's documentation, so
that a mistake of ours can't hide by being made twice.
"""

from tests.azure.clock import Clock
from tests.azure.faults import Fault
from tests.azure.simulator import Simulator

__all__ = ["Clock", "Fault", "Simulator"]
