"""Run commands in VMs: the action (v1) and the resource (v2). Linux really runs scripts; tests may script answers."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, conflict, copy, without_nulls
from tests.azure.facts import Facts
from tests.azure.guests import SYSPREP, WINDOWS_STATE, Finished, Scripted
from tests.azure.kinds.machine_power import guest_power, machine_of
from tests.azure.kinds.machines import TYPE as MACHINES
from tests.azure.operations import COMPUTE
from tests.azure.resources import Manner, accept, act, lister, merge, new_body, reader, remove
from tests.azure.router import Route, resource_path, resource_routes
from tests.azure.state import Resource

if TYPE_CHECKING:
    from tests.azure.blobs import Blobs

TYPE = "Microsoft.Compute/virtualMachines/runCommands"
MANNER = Manner(COMPUTE)
# The instance view keeps the last 4 KiB of a script's output; the blobs keep all of it
SHOWN_BYTES = 4096
SECRETS = ("protectedParameters", "runAsPassword")
WINDOWS_POWER = ((r"Restart-Computer|shutdown(\.exe)? .*/r", "reboot"), (r"Stop-Computer|shutdown(\.exe)? .*/s", "off"))
LINUX, WINDOWS = "RunShellScript", "RunPowerShellScript"


@dataclass
class Command:
    """One execution. `ended` is set when it is over, however it ended."""

    machine: Resource
    name: str
    script: str
    state: str = "Pending"
    started: datetime | None = None
    finished: datetime | None = None
    result: Finished = field(default_factory=lambda: Finished(0, "", ""))
    output: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    message: str = ""
    thread: threading.Thread | None = None
    then: Callable[[], None] | None = None
    seconds: float = 0.0
    hangs: bool = False

    @property
    def over(self) -> bool:
        return self.state in ("Succeeded", "Failed", "TimedOut", "Canceled")

    def wait(self) -> None:
        """Waits (in real time) for a script that really runs."""
        if self.thread is not None:
            self.thread.join()

    def interrupt(self, why: str) -> None:
        if not self.over:
            self.state, self.message = "Failed", why

    def view(self) -> Json:
        """The instance view, with what Azure shows of it so far."""
        shown: Json = {}
        if self.over:
            shown["exitCode"] = self.result.exit_code
        shown["executionState"] = self.state
        if self.message or self.over:
            shown["executionMessage"] = self.message
        shown["output"] = _tail("".join(self.output))
        shown["error"] = _tail("".join(self.errors))
        if self.started is not None:
            shown["startTime"] = self.started.isoformat(timespec="seconds")
        if self.finished is not None:
            shown["endTime"] = self.finished.isoformat(timespec="seconds")
        return shown


def _tail(text: str) -> str:
    return text.encode()[-SHOWN_BYTES:].decode(errors="ignore")


def _check_runs(machine: Resource) -> None:
    if machine.hidden["power"] != "running":
        raise conflict("The operation requires the VM to be running (or set to run).")


def start(call: Call, machine: Resource, name: str, given: Json) -> Command:
    """Begins an execution. `given` are the properties of a v2 run command."""
    script = _script(given.get("source", {}))
    command = Command(machine, name, script, started=call.cloud.clock.now(), state="Running")
    machine.hidden["commands"][name.lower()] = command
    facts: Facts = machine.hidden["facts"]
    guests = call.cloud.guests
    sink = Sink(call.cloud.blobs, given.get("outputBlobUri"), given.get("errorBlobUri"))

    def heard(stream: str, text: str) -> None:
        (command.output if stream == "output" else command.errors).append(text)
        sink.write(stream, text)

    scripted = guests.scripted(machine.name, script)
    if scripted is None and facts.system == "Windows":
        scripted = windows_answer(call, facts, script)
    if not machine.hidden["agent"]:
        # Nobody is there to take it: it waits for an agent until its own timeout
        command.hangs = True
        command.seconds = float("inf")
        command.state = "Pending"
        return command
    if scripted is not None:
        _play(call, command, scripted, heard)
        return command
    assert facts.tree is not None
    tree = facts.tree
    variables, arguments = _parameters(given)
    devices = uploaded_disks(call, machine)

    def run() -> None:
        command.result = guests.run(
            tree, script, name=name, arguments=arguments, variables=variables, user=given.get("runAsUser", ""),
            timeout=given.get("timeoutInSeconds", 0), devices=devices, on_output=heard,
        )  # fmt: skip

    command.seconds = call.cloud.seconds("script")
    command.thread = threading.Thread(target=run, daemon=True)
    command.thread.start()
    return command


def uploaded_disks(call: Call, machine: Resource) -> dict[str, Path]:
    """The data disks of a VM whose bytes somebody uploaded, as files, by the names of their devices."""
    found: dict[str, Path] = {}
    for letter, entry in zip("cdefghij", machine.properties["storageProfile"]["dataDisks"], strict=False):
        disk = call.cloud.state.find(entry["managedDisk"].get("id", ""))
        if disk is None or call.cloud.blobs is None or disk.properties["creationData"]["createOption"] != "Upload":
            continue
        path = disk.hidden.get("content")
        if path is None:
            path = disk.hidden["content"] = call.cloud.guests.folder() / "content"
            call.cloud.blobs.content(disk, path)
        found[f"sd{letter}"] = path
    return found


def _script(source: Json) -> str:
    """The script itself, or what is at its address."""
    if "scriptUri" not in source:
        return str(source.get("script", ""))
    try:
        with urllib.request.urlopen(source["scriptUri"], timeout=30) as answer:
            text: str = answer.read().decode()
            return text
    except OSError as error:
        raise bad_request(f"Failed to download the script: {error}.", target="source.scriptUri") from error


def _parameters(given: Json) -> tuple[dict[str, str], list[str]]:
    """Named parameters become variables, nameless ones arguments; protected ones too, shown nowhere."""
    variables: dict[str, str] = {}
    arguments: list[str] = []
    for parameter in (*given.get("parameters", []), *given.get("protectedParameters", [])):
        if parameter.get("name"):
            variables[parameter["name"]] = str(parameter.get("value", ""))
        else:
            arguments.append(str(parameter.get("value", "")))
    return variables, arguments


def _play(call: Call, command: Command, scripted: Scripted, heard: Callable[[str, str], None]) -> None:
    for seconds, text in scripted.stages:
        call.cloud.clock.after(seconds, lambda text=text: heard("output", text))  # type: ignore[misc]
    command.seconds, command.hangs, command.then = scripted.seconds, scripted.hangs, scripted.then
    output = scripted.output(command.script) if callable(scripted.output) else scripted.output

    def speak() -> None:
        if not command.over and not scripted.hangs:
            if output:
                heard("output", output)
            if scripted.errors:
                heard("errors", scripted.errors)
            command.result = Finished(scripted.exit_code, "", "", power=scripted.power)

    call.cloud.clock.after(scripted.seconds, speak)


def windows_answer(call: Call, facts: Facts, script: str) -> Scripted:
    """A Windows guest knows Sysprep and its own state; everything else a test has to script."""
    tree = facts.tree
    assert tree is not None
    if re.search(SYSPREP, script, re.IGNORECASE | re.DOTALL):
        tree.sysprep_runs += 1
        tree.image_state = "IMAGE_STATE_UNDEPLOYABLE"
        off = "off" if re.search(r"/shutdown|Stop-Computer", script, re.IGNORECASE) else ""

        def sealed() -> None:
            tree.image_state = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"

        seconds = call.cloud.seconds("sysprep")
        call.cloud.clock.after(seconds, sealed)
        return Scripted(SYSPREP, output="IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE\r\n", seconds=seconds, power=off)
    if re.search(WINDOWS_STATE, script):
        return Scripted(WINDOWS_STATE, output=f"{tree.image_state}\r\n")
    for pattern, power in WINDOWS_POWER:
        if re.search(pattern, script, re.IGNORECASE):
            return Scripted(pattern, power=power)
    return Scripted("", errors=f"This Windows guest has no answer to: {script[:200]}\r\n", exit_code=1)


class Sink:
    """The append blobs that a caller gave for output and errors; written as the script speaks."""

    def __init__(self, blobs: Blobs | None, output: str | None, errors: str | None) -> None:
        self._blobs = blobs
        self._urls = {"output": output, "errors": errors}
        for url in self._urls.values():
            self._append(url, b"", create=True)

    def write(self, stream: str, text: str) -> None:
        self._append(self._urls[stream], text.encode())

    def _append(self, url: str | None, data: bytes, *, create: bool = False) -> None:
        if url is None or self._blobs is None:
            return
        try:
            self._blobs.append(url, data, create=create)
        except OSError as error:
            # The agent can't write: the command goes on, its instance view says so
            self._urls = dict.fromkeys(self._urls)
            self.failure = f"Failed to write to the append blob: {error}"


def _conclude(call: Call, command: Command) -> None:
    """The script is over: its state, and what it did to the VM."""
    if command.over:
        command.finished = call.cloud.clock.now()
        return
    command.finished = call.cloud.clock.now()
    code = command.result.exit_code
    command.state = "Succeeded" if code == 0 else "Failed"
    if command.result.timed_out:
        command.state, command.message = "TimedOut", "Execution timed out."
    elif code != 0:
        command.message = f"Execution failed: failed to execute command: command terminated with exit status={code}"
    else:
        command.message = "Execution completed"
    if command.then is not None:
        command.then()
    if command.result.power:
        guest_power(call, command.machine, command.result.power)


def put(call: Call) -> Answer:
    machine = machine_of(call)
    given = without_nulls(call.properties)
    source = given.get("source", {})
    if not any(source.get(key) for key in ("script", "scriptUri", "commandId", "galleryScriptReferenceId")):
        raise bad_request("Required parameter 'source' is missing (null).", target="source")
    _check_runs(machine)
    old = call.cloud.state.find(call.path)
    body = new_body(call, TYPE, call.path)
    body["properties"] = _shown(given)
    resource = old or Resource(call.path, TYPE, body)
    resource.body = body
    return _execute(call, machine, resource, given, new=old is None)


def patch(call: Call) -> Answer:
    machine = machine_of(call)
    resource = call.cloud.state.get(call.path)
    given = without_nulls(call.document)
    _check_runs(machine)
    if "tags" in given:
        resource.body["tags"] = given["tags"]
    resource.body["properties"] = merge(resource.properties, _shown(given.get("properties", {}), defaults=False))
    wanted = {**resource.properties, **given.get("properties", {})}
    return _execute(call, machine, resource, wanted, new=False)


def _shown(given: Json, *, defaults: bool = True) -> Json:
    shown = {key: copy(value) for key, value in given.items() if key not in SECRETS}
    for key in ("outputBlobUri", "errorBlobUri"):
        # The SAS is a secret of the caller's
        if key in shown:
            shown[key] = shown[key].partition("?")[0]
    if defaults:
        shown = {"source": shown.pop("source"), **shown}
        shown.setdefault("timeoutInSeconds", 0)
        shown.setdefault("asyncExecution", False)
        shown["treatFailureAsDeploymentFailure"] = shown.get("treatFailureAsDeploymentFailure", False)
        if not shown["treatFailureAsDeploymentFailure"]:
            del shown["treatFailureAsDeploymentFailure"]
    return shown


def _execute(call: Call, machine: Resource, resource: Resource, given: Json, *, new: bool) -> Answer:
    command = start(call, machine, resource.name, given)
    resource.hidden["command"] = command
    timeout = given.get("timeoutInSeconds") or 90 * 60
    asynchronous = given.get("asyncExecution", False)
    overhead = call.cloud.seconds("runCommands.put")
    late = command.hangs or command.seconds > timeout
    length = timeout if late else command.seconds

    def expire() -> None:
        if not command.over and late:
            command.state, command.message = "TimedOut", f"Execution timed out after {timeout} seconds."
            command.result = Finished(124, "", "", timed_out=True)
        _conclude(call, command)

    def finish() -> None:
        if not asynchronous:
            expire()
            if given.get("treatFailureAsDeploymentFailure") and command.state != "Succeeded":
                raise ArmError(
                    409,
                    "VMExtensionProvisioningError",
                    f"VM has reported a failure when processing run command '{resource.name}'. Error message:"
                    f' "{command.message}".',
                )

    if asynchronous:

        def later() -> None:
            command.wait()
            with call.cloud.lock:
                expire()

        # One that hangs is forgotten by the platform: not even its timeout comes
        if call.fault is None or call.fault.kind != "hang":
            call.cloud.clock.after(overhead + length, later)
        return accept(call, resource, MANNER, overhead, finish, new=new)
    return accept(call, resource, MANNER, overhead + length, finish, new=new, wait=command.wait)


def view(call: Call, resource: Resource) -> Json:
    body: Json = copy(resource.body)
    if "instanceview" in call.query.get("$expand", "").lower():
        body["properties"]["instanceView"] = resource.hidden["command"].view()
    return body


def delete(call: Call) -> Answer:
    def finish(resource: Resource) -> None:
        resource.hidden["command"].interrupt("The run command was deleted while it ran.")

    return remove(call, MANNER, call.cloud.seconds("runCommands.delete"), finish=finish)


def run_once(call: Call) -> Answer:
    """v1: one at a time; the answer's last word is in the Location URL's body."""
    machine = machine_of(call)
    given = without_nulls(call.document)
    facts: Facts = machine.hidden["facts"]
    command_id = given.get("commandId")
    if not command_id:
        raise bad_request("Required parameter 'commandId' is missing (null).", target="commandId")
    expected = LINUX if facts.system == "Linux" else WINDOWS
    if command_id not in (LINUX, WINDOWS, "RunShellScript", "RunPowerShellScript"):
        raise ArmError(404, "NotFound", f"The entity {command_id} was not found.")
    if command_id != expected:
        raise conflict(f"The commandId '{command_id}' is not supported on a VM with {facts.system}.")
    _check_runs(machine)
    running = machine.hidden.get("run_once")
    if running is not None and not running.over:
        raise conflict(
            "Run command extension execution is in progress. Please wait for completion before invoking a run command.",
            code="Conflict",
        )
    script = "\n".join(given.get("script", []))
    # The action gives parameters both ways: by position (recorded), and by name
    values = [{"value": parameter.get("value", "")} for parameter in given.get("parameters", [])]
    wanted = {"source": {"script": script}, "parameters": [*given.get("parameters", []), *values]}
    command = machine.hidden["run_once"] = start(call, machine, "0", wanted)

    def finish() -> Json:
        if command.hangs:
            command.interrupt("The script did not end in time.")
        _conclude(call, command)
        return {"value": _once_result(facts, command)}

    seconds = 90 * 60 if command.hangs else call.cloud.seconds("runCommand") + command.seconds
    return act(call, machine, COMPUTE, seconds, finish, output=True, wait=command.wait, exclusive=False)


def _once_result(facts: Facts, command: Command) -> list[Json]:
    output, errors = _tail("".join(command.output)), _tail("".join(command.errors))
    if facts.system == "Linux":
        message = f"Enable succeeded: \n[stdout]\n{output}\n[stderr]\n{errors}"
        return [_result("ProvisioningState/succeeded", message)]
    return [
        _result("ComponentStatus/StdOut/succeeded", output),
        _result("ComponentStatus/StdErr/succeeded", errors),
    ]


def _result(code: str, message: str) -> Json:
    return {"code": code, "level": "Info", "displayStatus": "Provisioning succeeded", "message": message}


ROUTES = (
    Route("POST", f"{resource_path(MACHINES)}/runCommand", f"POST {MACHINES}/runCommand", run_once),
    *resource_routes(
        TYPE,
        {"PUT": put, "PATCH": patch, "GET": reader(view), "DELETE": delete},
        list_group=lister(TYPE, view),
    ),
)
