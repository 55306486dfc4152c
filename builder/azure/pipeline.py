"""One call to Azure: sent through the SDK's pipeline, within the limits, and again where that helps.

The pipeline is that of azure-mgmt-compute's client, by its public `send_request`: bearer tokens with their challenges,
proxies, user agent, request ids. Retries are our own: the SDK's wait on no clock but its own, know no budget shared by
threads, and stop after three refusals.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from builder import __version__
from builder.azure.clock import Clock
from builder.azure.clouds import Cloud
from builder.azure.errors import AzureError, Remedy, azure_error, fault_of
from builder.azure.limits import Limits, retry_after
from builder.azure.sdk import RESOURCE_MANAGER, load
from builder.errors import Interrupted, Unreachable

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.mgmt.compute import ComputeManagementClient

# Seconds in all that a call waits out refusals for being asked too often, and for other operations to end
PATIENCE_THROTTLED = 1800.0
PATIENCE_BUSY = 1200.0
# How often a call is sent that Azure fails to answer: at first, later, and while an operation of hours is followed
TRIES_AT_FIRST, TRIES, TRIES_OF_POLLS = 3, 6, 25
LONGEST_PAUSE = 30.0
CONNECT_SECONDS, READ_SECONDS = 20, 90
POOL = 64
SILENT = logging.NullHandler()
_KEPT_IN_PATHS = "/:@!$&'()*+,;=~-._"


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` have lower-case names; `body` is JSON, text where it is none, or None."""

    status: int
    headers: Mapping[str, str]
    body: Any


class ConnectionLost(AzureError, Unreachable):
    """No answer came. `sent`: the request may have arrived. `final`: it would be the same again."""

    def __init__(self, message: str, *, sent: bool) -> None:
        self.sent = sent
        self.final = "CERTIFICATE_VERIFY_FAILED" in message
        hint = "look at the network, and at proxy variables"
        if self.final:
            hint = "AZURE_CA_BUNDLE names a file with the certificates to trust, where a proxy has one of its own"
        super().__init__(message, code="azure-unreachable", remedy=Remedy.RETRY, hint=hint)


@dataclass(frozen=True)
class Request:
    """`operation` counts calls ("PUT Microsoft.Compute/disks"); `doing` is for messages ("make disks/d").

    `twice`: whether sending it again is harmless when its answer was lost.
    """

    method: str
    url: str
    operation: str
    doing: str
    body: Any = None
    subscription: str = ""
    twice: bool = True


@dataclass
class Calls:
    """What was asked of Azure: counts by operation, and how often Azure refused because of a limit. Thread-safe."""

    _counts: Counter[str] = field(default_factory=Counter)
    _throttled: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, operation: str, status: int) -> None:
        """Count a call."""
        with self._lock:
            self._counts[operation] += 1
            self._throttled += status == 429

    @property
    def throttled(self) -> int:
        """How many calls were refused with 429."""
        return self._throttled

    @property
    def total(self) -> int:
        """All calls."""
        return self._counts.total()

    def counts(self) -> Counter[str]:
        """A copy of the counts. Subtract one from a later one to see what happened between."""
        with self._lock:
            return Counter(self._counts)


class Pipeline:
    """The way to one cloud with one identity. Shared by all its subscriptions and threads."""

    def __init__(self, cloud: Cloud, credential: TokenCredential, clock: Clock) -> None:
        self.cloud = cloud
        self.clock = clock
        self.calls = Calls()
        self._credential = credential
        self._limits = Limits()
        self._client: ComputeManagementClient | None = None
        self._lock = threading.Lock()
        self._answered = False
        # Only spreads callers that were refused together
        self._chance = random.Random()

    def address(self, path: str, api_version: str, query: Mapping[str, str] | None = None) -> str:
        """The whole address of a path."""
        parameters = urlencode({"api-version": api_version, **(query or {})}, quote_via=quote, safe="$")
        return f"{self.cloud.resource_manager}{quote(path, safe=_KEPT_IN_PATHS)}?{parameters}"

    def check_address(self, url: str) -> str:
        """An address that an answer or a token gave, if it leads to this cloud. Raises AzureError otherwise.

        The bearer token goes there. Azure may name a host of a region, which is below the usual one.
        """
        ours, theirs = urlsplit(self.cloud.resource_manager), urlsplit(url)
        host, known = (theirs.hostname or "").lower(), (ours.hostname or "").lower()
        same = host == known and (theirs.port or 443) == (ours.port or 443)
        below = host.endswith("." + known) and (theirs.port or 443) == 443
        if theirs.scheme != ours.scheme or not (same or below) or theirs.username is not None:
            raise AzureError(
                f"an operation is to be followed at {theirs.scheme}://{host}, which is not {ours.hostname}",
                code="azure-elsewhere",
                hint="tokens are sent to the cloud of AZURE_CLOUD alone; what named that address can't be trusted",
            )
        return url

    def call(self, request: Request, stop: threading.Event | None = None) -> Answer:
        """Send a request until it is answered for good. Raises AzureError (NotFound for 404).

        Answers below 400 are returned. Raises Interrupted when `stop` is set while it waits.
        """
        patience = Patience(self.clock.now(), self._tries(request), self._chance.random)
        while True:
            self._take_turn(request, stop)
            error: AzureError
            try:
                answer = self._send(request)
            except ConnectionLost as lost:
                if lost.sent and not request.twice:
                    raise
                error, seconds = lost, None if lost.final else patience.after_fault(None)
            else:
                if answer.status < 400:
                    return answer
                error = azure_error(request.doing, answer.status, answer.body)
                if self._register(request, answer, stop):
                    continue
                seconds = patience.after(answer, request, error.remedy, self.clock.now())
            if seconds is None:
                raise error
            self.pause(seconds, stop)

    def _take_turn(self, request: Request, stop: threading.Event | None) -> None:
        """Wait until the limits allow a call of this kind."""
        subscription, family = request.subscription, request.operation
        wait = self._limits.take(subscription, request.method, family, self.clock.now())
        self.pause(wait, stop)
        while wait > 0:
            wait = self._limits.held(subscription, request.method, family, self.clock.now())
            self.pause(wait, stop)

    def pause(self, seconds: float, stop: threading.Event | None) -> None:
        """Wait on the clock. Raises Interrupted once `stop` is set."""
        if seconds > 0 and not (stop is not None and stop.is_set()):
            self.clock.sleep(seconds, stop)
        if stop is not None and stop.is_set():
            raise Interrupted("interrupted while waiting for Azure", code="interrupted")

    def scarce(self, subscription: str) -> bool:
        """Whether reads are running short, so that one that is likely to tell nothing had better be left out."""
        return self._limits.scarce(subscription, self.clock.now())

    def _tries(self, request: Request) -> int:
        if not self._answered:
            return TRIES_AT_FIRST
        return TRIES_OF_POLLS if request.operation.startswith("POLL ") else TRIES

    def _send(self, request: Request) -> Answer:
        """One round trip. Raises ConnectionLost."""
        load(RESOURCE_MANAGER)
        from azure.core.exceptions import AzureError as SdkError
        from azure.core.exceptions import ServiceRequestError
        from azure.core.rest import HttpRequest

        content = None if request.body is None else json.dumps(request.body).encode()
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if content is not None else {})
        options = {"enforce_https": False} if self.cloud.plain else {}
        try:
            response = self._connected().send_request(
                HttpRequest(request.method, request.url, headers=headers, content=content), **options
            )
        except SdkError as error:
            self.calls.add(request.operation, 0)
            raise ConnectionLost(
                f"no answer to the request to {request.doing}: {error}", sent=not isinstance(error, ServiceRequestError)
            ) from error
        self.calls.add(request.operation, response.status_code)
        self._answered = True
        found = {name.lower(): value for name, value in response.headers.items()}
        self._limits.heard(
            request.subscription, request.method, request.operation, status=response.status_code, headers=found,
            now=self.clock.now(),
        )  # fmt: skip
        return Answer(response.status_code, found, _decoded(response.content))

    def _connected(self) -> ComputeManagementClient:
        with self._lock:
            if self._client is None:
                self._client = _client(self.cloud, self._credential)
            return self._client

    def _register(self, request: Request, answer: Answer, stop: threading.Event | None) -> bool:
        """Register the resource provider that a write lacks, and wait for it. Reads never change a subscription."""
        code = fault_of(answer.status, answer.body).meant.code
        if answer.status != 409 or code != "MissingSubscriptionRegistration" or request.method == "GET":
            return False
        provider = request.operation.partition(" ")[2].partition("/")[0]
        path = f"/subscriptions/{request.subscription}/providers/{provider}"
        doing = f"register {provider}"
        operation = "Microsoft.Resources/providers"
        url = self.address(f"{path}/register", "2021-04-01")
        self.call(Request("POST", url, f"POST {operation}/register", doing, subscription=request.subscription), stop)
        began = self.clock.now()
        while self.clock.now() - began < 600:
            url = self.address(path, "2021-04-01")
            found = self.call(Request("GET", url, f"GET {operation}", doing, subscription=request.subscription), stop)
            if isinstance(found.body, dict) and found.body.get("registrationState") == "Registered":
                return True
            self.pause(5.0, stop)
        return False


class Patience:
    """How long one call is tried again, and when. `chance` gives numbers in [0, 1)."""

    def __init__(self, began: float, tries: int, chance: Callable[[], float]) -> None:
        self._began = began
        self._tries = tries
        self._chance = chance
        self._faults = 0
        self._busy = 0

    def after(self, answer: Answer, request: Request, remedy: Remedy, now: float) -> float | None:
        """Seconds until the next try after a refusal, or None when it is final."""
        asked = retry_after(answer.headers)
        waited = now - self._began
        if answer.status == 429:
            # A call before its time is refused again, and for longer; a little more keeps callers from coming at once
            seconds = max(1.0, asked or 1.0)
            return seconds * (1 + 0.1 * self._chance()) if waited + seconds <= PATIENCE_THROTTLED else None
        if remedy is Remedy.WAIT and answer.status in (409, 412) and request.method != "GET":
            self._busy += 1
            seconds = max(asked or 0.0, min(30.0, 2.0 * self._busy))
            return seconds if waited + seconds <= PATIENCE_BUSY else None
        if remedy is Remedy.RETRY:
            return self.after_fault(asked)
        return None

    def after_fault(self, asked: float | None) -> float | None:
        """Seconds until the next try after a fault of the network or inside Azure."""
        self._faults += 1
        if self._faults >= self._tries:
            return None
        return max(asked or 0.0, min(LONGEST_PAUSE, 2.0 ** (self._faults - 1)) * (0.75 + 0.5 * self._chance()))


def _decoded(content: bytes) -> object:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _client(cloud: Cloud, credential: TokenCredential) -> ComputeManagementClient:
    """The SDK's client, with one pool of connections for all threads and without what we do ourselves."""
    import requests
    from azure.core.pipeline import policies
    from azure.core.pipeline.transport import RequestsTransport
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy, ARMHttpLoggingPolicy
    from requests.adapters import HTTPAdapter

    # Without a handler, warnings of these libraries would be printed
    for name in ("azure", "msal", "urllib3"):
        logging.getLogger(name).addHandler(SILENT)
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=POOL, pool_block=True, max_retries=0))
    verify: Any = str(cloud.ca_file) if cloud.ca_file is not None else True
    # Proxies and certificates of the environment are looked up once: done for each call, that is a fifth of its cost.
    # And a password for this host in somebody's .netrc would take the token's place
    found = session.merge_environment_settings(cloud.resource_manager, {}, None, verify, None)
    session.proxies, verify, session.trust_env = found["proxies"], found["verify"], False
    transport = RequestsTransport(
        session=session, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, connection_verify=verify
    )
    chain = [
        policies.RequestIdPolicy(),
        policies.HeadersPolicy(),
        policies.UserAgentPolicy(base_user_agent=f"azure-image-build/{__version__}"),
        policies.ProxyPolicy(),
        ARMChallengeAuthenticationPolicy(credential, cloud.scope),
        ARMHttpLoggingPolicy(),
    ]
    return ComputeManagementClient(
        credential, "unused", cloud.resource_manager, credential_scopes=[cloud.scope], transport=transport,
        policies=chain,
    )  # fmt: skip
