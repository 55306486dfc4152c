import json
from xml.etree import ElementTree

import pytest

from builder.machines.local.rehearsal.deployment import Deployment, ovf_environment
from builder.machines.local.rehearsal.fabric import Fabric, Request

DEPLOYMENT = Deployment("ssh-ed25519 AAAA rehearsal", host_name="web<1>")
AGENT = {"user-agent": "Cloud-Init/22.4.2"}


class Heard:
    def __init__(self, *, generalized=True):
        self.asked = []
        self.verdicts = []
        self.fabric = Fabric(
            DEPLOYMENT, generalized=generalized, on_asked=self.asked.append, on_verdict=self.verdicts.append
        )

    def ask(self, method, path, query=None, headers=None, body=b""):
        return self.fabric.answer(Request(method, path, query or {}, headers or {}, body))


def health(state, details=""):
    role = f"<Role><InstanceId>i</InstanceId><Health><State>{state}</State>{details}</Health></Role>"
    return f"<?xml version='1.0'?><Health><Container>{role}</Container></Health>".encode()


def report(description):
    return f"<Details><SubStatus>ProvisioningFailed</SubStatus><Description>{description}</Description></Details>"


@pytest.mark.parametrize(
    ("body", "ready", "failed", "description"),
    [
        (health("Ready"), True, False, ""),
        (health("NotReady", report("no lease &amp; no user")), False, True, "no lease & no user"),
        (health("NotReady", "<Details><SubStatus>Provisioning</SubStatus></Details>"), False, False, ""),
        (health(" Ready\n"), True, False, ""),
    ],
)
def test_a_health_report_is_a_verdict(body, ready, failed, description):
    heard = Heard()
    assert heard.ask("POST", "/machine", {"comp": "health"}, AGENT, body).status == 200
    (verdict,) = heard.verdicts
    assert (verdict.ready, verdict.failed, verdict.description) == (ready, failed, description)
    assert verdict.program == "Cloud-Init/22.4.2"


@pytest.mark.parametrize("body", [b"", b"<Health/>", b"\xff\xfe", b"not xml <State>"])
def test_a_health_report_without_state_is_refused(body):
    heard = Heard()
    assert heard.ask("POST", "/machine/", {"comp": "health"}, {}, body).status == 400
    assert heard.verdicts == []


@pytest.mark.parametrize(
    ("report", "status", "failed"),
    [
        ({"state": "Ready", "details": {"subStatus": "Provisioning"}}, 200, [False]),
        ({"state": "NotReady", "details": {"subStatus": "ProvisioningFailed", "description": "x"}}, 200, [True]),
        ({"state": "Ready"}, 200, [False]),
        ({}, 400, []),
        ([], 400, []),
    ],
)
def test_the_health_report_of_azure_init(report, status, failed):
    heard = Heard()
    assert heard.ask("POST", "/provisioning/health", {}, {}, json.dumps(report).encode()).status == status
    assert [verdict.failed for verdict in heard.verdicts] == failed


def test_the_goal_state_names_the_machine_and_leads_to_its_configurations():
    heard = Heard()
    root = ElementTree.fromstring(heard.ask("GET", "/machine/", {"comp": "goalstate"}).body)
    assert root.findtext("./Incarnation") == "1"
    assert root.findtext("./Container/ContainerId") == DEPLOYMENT.container_id
    instance = root.find("./Container/RoleInstanceList/RoleInstance")
    assert instance is not None
    assert instance.findtext("InstanceId") == "_web<1>"
    assert root.find(".//Certificates") is None
    for name in ("HostingEnvironmentConfig", "SharedConfig", "ExtensionsConfig"):
        url = instance.findtext(f"Configuration/{name}")
        assert url is not None
        path, _, query = url.removeprefix("http://168.63.129.16").partition("?")
        answer = heard.ask("GET", path, dict(pair.split("=") for pair in query.split("&")))
        assert answer.status == 200
        ElementTree.fromstring(answer.body)


def test_the_agent_finds_its_protocol_version():
    root = ElementTree.fromstring(Heard().ask("GET", "/", {"comp": "versions"}).body)
    assert "2012-11-30" in [version.text for version in root.findall("./Supported/Version")]


METADATA = {"metadata": "true"}
VERSION = {"api-version": "2021-08-01"}


@pytest.mark.parametrize(
    ("path", "query", "headers", "status"),
    [
        ("/metadata/instance", VERSION, METADATA, 200),
        ("/metadata/instance", VERSION, {"metadata": "True"}, 200),
        ("/metadata/instance", {}, METADATA, 400),
        ("/metadata/instance", VERSION, {}, 400),
        ("/metadata/instance/compute", VERSION, METADATA, 200),
        ("/metadata/instance/network/interface/0/macAddress", VERSION, METADATA, 200),
        ("/metadata/instance/network/interface/7", VERSION, METADATA, 404),
        ("/metadata/instance/nothing", VERSION, METADATA, 404),
        ("/metadata/attested/document", VERSION, METADATA, 404),
        ("/metadata/scheduledevents", VERSION, METADATA, 200),
    ],
)
def test_instance_metadata(path, query, headers, status):
    assert Heard().ask("GET", path, query, headers).status == status


def test_instance_metadata_tells_the_user_and_the_key():
    data = json.loads(Heard().ask("GET", "/metadata/instance", VERSION, METADATA).body)
    assert data["compute"]["vmId"] == DEPLOYMENT.vm_id
    assert data["compute"]["osProfile"]["adminUsername"] == "rehearsal"
    assert data["compute"]["publicKeys"][0]["keyData"] == DEPLOYMENT.public_key
    text = Heard().ask("GET", "/metadata/instance/compute/vmId", {**VERSION, "format": "text"}, METADATA)
    assert text.body == DEPLOYMENT.vm_id


def test_a_specialized_machine_is_told_of_no_user():
    data = json.loads(Heard(generalized=False).ask("GET", "/metadata/instance", VERSION, METADATA).body)
    assert "osProfile" not in data["compute"]
    assert data["compute"]["publicKeys"] == []


def test_all_that_is_asked_is_remembered_and_bounded():
    heard = Heard()
    for number in range(1000):
        heard.ask("GET", "/unknown", {"n": str(number)})
    last = heard.fabric.asked[-1]
    assert (last.method, last.target, last.status) == ("GET", "/unknown?n=999", 404)
    assert len(heard.fabric.asked) == 200
    assert len(heard.asked) == 1000


def test_the_provisioning_media_tells_the_same():
    root = ElementTree.fromstring(ovf_environment(DEPLOYMENT))
    azure = "{http://schemas.microsoft.com/windowsazure}"
    assert root.findtext(f".//{azure}HostName") == "web<1>"
    assert root.findtext(f".//{azure}UserName") == "rehearsal"
    assert root.findtext(f".//{azure}PublicKey/{azure}Value") == DEPLOYMENT.public_key
