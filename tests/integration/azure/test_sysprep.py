"""Sysprep on the simulator's Windows: it seals the disk, or stops before anything is lost, or tells why it failed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from builder.errors import BuildError
from builder.guest import sysprep
from builder.guest.kinds.windows import told
from builder.guest.powershell import author_script
from builder.guest.windows_inventory import read_inventory
from builder.model.kinds import KINDS
from builder.model.run import GuestScript, StepContext
from builder.model.steps import Preview, Stage, Step
from tests.azure import Simulator
from tests.azure.guests import Scripted, Tree
from tests.integration.azure.asking import WINDOWS, Asking
from tests.integration.azure.windows_answers import answer_all, marker
from tests.unit.guest.windows.test_inventory import EXPECTED, TOLD

STEP = Step(Stage.GENERALIZE, "sysprep", "generalize with Sysprep", {"mode": "vm"}, Preview.PREDICTED)


class CommandGuest:
    """Runs scripts by run commands."""

    def __init__(self, ask: Asking) -> None:
        self.ask = ask

    def execute(self, script: GuestScript, on_line: Callable[[str], None]) -> None:
        view = self.ask.command(script.text)
        on_line(view["output"])
        if view["exitCode"]:
            raise BuildError(f"ended with exit code {view['exitCode']}", code="step-failed", detail=view["error"])


class World:
    """A Windows VM, and a context for steps in it."""

    def __init__(self, azure: Simulator) -> None:
        self.ask = Asking(azure)
        self.ask.machine(WINDOWS)
        self.log: list[str] = []
        session = SimpleNamespace(guest=CommandGuest(self.ask))
        self.context = StepContext(run=None, session=session, steps=(), log=self.log.append)  # type: ignore[arg-type]
        self.tree: Tree = azure.resource("virtualMachines/vm").hidden["facts"].tree


@pytest.fixture
def world(azure: Simulator) -> World:
    return World(azure)


def test_it_seals_the_disk(azure: Simulator, world: World) -> None:
    answer_all(azure, TOLD)
    assert read_inventory(world.context) == EXPECTED
    told(world.context, sysprep.check_script())
    assert (world.tree.image_state, world.tree.sysprep_runs) == ("IMAGE_STATE_COMPLETE", 0)
    KINDS["sysprep"].run(STEP, world.context)
    assert (world.tree.image_state, world.tree.sysprep_runs) == ("IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE", 1)
    assert "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE" in world.log[-1]


def test_a_role_that_it_does_not_support_stops_it_before(azure: Simulator, world: World) -> None:
    answer_all(azure, features=["DHCP"])
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(STEP, world.context)
    assert caught.value.code == "sysprep-blocked"
    assert (world.tree.image_state, world.tree.sysprep_runs) == ("IMAGE_STATE_COMPLETE", 0)


def test_its_failure_has_a_cause_and_the_logs(azure: Simulator, world: World) -> None:
    answer_all(azure)
    output = '---- setuperr.log\r\nSYSPRP 0x80073cf2\r\nbuild: result {"cause":"store-app","state":"X"}\r\n'
    azure.guests.answer(Scripted(marker("sysprep"), output=output, exit_code=22))
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(STEP, world.context)
    assert caught.value.code == "sysprep-store-app"
    assert "SYSPRP 0x80073cf2" in world.log[-1]


def test_an_unknown_script_is_no_success(azure: Simulator, world: World) -> None:
    answer_all(azure)
    with pytest.raises(BuildError):
        world.context.session.guest.execute(author_script("other", "Get-Thing", env={}), world.log.append)
