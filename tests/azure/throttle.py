"""Limits: ARM's token buckets per subscription and those of the compute providers, with the headers that show them.

Numbers are those of `x-ms-ratelimit-remaining-resource` in recorded traffic; a provider's bucket named `...3Min`
refills its size within 3 minutes, `...30Min` within 30. ARM's own are those of its documentation (2024): a bucket of
250 reads refilled by 25 a second, and 200 writes or deletes refilled by 10 a second.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.azure.answers import Answer
from tests.azure.clock import ROUNDING

if TYPE_CHECKING:
    from tests.azure.clock import Clock


@dataclass(frozen=True)
class Limit:
    """A bucket: `size` tokens, refilled over `seconds`. `of_resource`: each resource has its own."""

    name: str
    size: float
    seconds: float
    of_resource: bool = False


def _pair(name: str, short: float, long: float) -> tuple[Limit, ...]:
    return Limit(f"{name}3Min", short, 180), Limit(f"{name}30Min", long, 1800)


def _of_both(name: str, subscription: float, resource: float) -> tuple[Limit, ...]:
    """What VMs have had since 2024: a bucket for the subscription, and one for each VM (or operation)."""
    return (
        Limit(f"{name}SubscriptionMaximum", subscription, 180),
        Limit(f"{name}Resource", resource, 180, of_resource=True),
    )


# The first row whose pattern matches an operation says which buckets it draws from
PROVIDER_LIMITS: tuple[tuple[str, tuple[Limit, ...]], ...] = (
    ("GET Microsoft.Compute/operations", _of_both("GetOperation", 15000, 45)),
    ("GET Microsoft.Compute/DiskOperations", _pair("GetOperation", 50000, 400000)),
    ("GET Microsoft.Compute/capsOperations", _pair("GetOperationStatus", 5000, 15000)),
    # Not seen since 2024; by analogy with the others
    ("PUT Microsoft.Compute/virtualMachines", _of_both("PutVM", 1500, 12)),
    ("DELETE Microsoft.Compute/virtualMachines", _of_both("DeleteVM", 1500, 12)),
    ("LIST Microsoft.Compute/virtualMachines", _pair("HighCostGet", 240, 1920)),
    ("GET Microsoft.Compute/virtualMachines*", _of_both("LowCostGet", 24000, 36)),
    ("LIST Microsoft.Compute/virtualMachines/*", _of_both("LowCostGet", 24000, 36)),
    ("* Microsoft.Compute/virtualMachines*", _of_both("UpdateVM", 1500, 12)),
    ("PUT Microsoft.Compute/disks", _pair("CreateUpdateDisks", 3000, 25000)),
    ("PATCH Microsoft.Compute/disks", _pair("CreateUpdateDisks", 3000, 25000)),
    ("PUT Microsoft.Compute/snapshots", _pair("HighCostSnapshotCreateHydrate", 1000, 8000)),
    ("POST Microsoft.Compute/disks/*", _pair("HighCostDiskHydrate", 1000, 8000)),
    ("POST Microsoft.Compute/snapshots/*", _pair("HighCostDiskHydrate", 1000, 8000)),
    ("[GL]* Microsoft.Compute/disks*", _pair("LowCostGet", 15000, 120000)),
    ("[GL]* Microsoft.Compute/snapshots*", _pair("LowCostGet", 15000, 120000)),
    ("PUT Microsoft.Compute/images", (Limit("CreateImagesSubscriptionMaximum", 60, 180),)),
    ("[GL]* Microsoft.Compute/images", (Limit("GetImagesSubscriptionMaximum", 360, 180),)),
    ("POST Microsoft.Compute/galleries/share", _pair("PostShareGallery", 10, 60)),
    ("DELETE Microsoft.Compute/galleries/images/versions", _pair("DeleteGalleryImageVersion", 150, 1000)),
    ("DELETE Microsoft.Compute/galleries/images", _pair("DeleteGalleryImage", 50, 300)),
    ("DELETE Microsoft.Compute/galleries", _pair("DeleteGallery", 50, 300)),
    ("LIST Microsoft.Compute/galleries/images/versions", _pair("ListGalleryImageVersionsInGalleryImage", 1500, 10000)),
    ("LIST Microsoft.Compute/galleries/images", _pair("ListGalleryImagesInGallery", 1500, 10000)),
    ("LIST Microsoft.Compute/galleries", _pair("ListGalleryInResourceGroup", 100, 1000)),
    ("GET Microsoft.Compute/galleries/images/versions", _pair("GetGalleryImageVersion", 2000, 10000)),
    ("GET Microsoft.Compute/galleries/images", _pair("GetGalleryImage", 600, 3000)),
    ("GET Microsoft.Compute/galleries", _pair("GetGallery", 350, 2500)),
    ("* Microsoft.Compute/galleries/images/versions", _pair("CreateUpdateGalleryImageVersion", 375, 1200)),
    ("* Microsoft.Compute/galleries/images", _pair("CreateUpdateGalleryImage", 150, 750)),
    ("* Microsoft.Compute/galleries", _pair("CreateUpdateGallery", 50, 300)),
    ("GET Microsoft.Compute/locations/publishers*", _pair("GetVMImageFromLocation", 13000, 74000)),
    ("LIST Microsoft.Compute/locations/publishers*", _pair("ListVMImagesVersionsFromLocation", 16000, 44000)),
    ("GET Microsoft.Compute/*Galleries", _pair("GetGallery", 350, 2500)),
    ("GET Microsoft.Compute/*Galleries/images", _pair("GetGalleryArtifact", 600, 3000)),
    ("GET Microsoft.Compute/*Galleries/images/versions", _pair("GetGalleryArtifactVersion", 2000, 10000)),
    ("LIST Microsoft.Compute/*Galleries", _pair("ListGallery", 150, 1000)),
    ("LIST Microsoft.Compute/*Galleries/images", _pair("ListGalleryArtifact", 200, 200)),
    ("LIST Microsoft.Compute/*Galleries/images/versions", _pair("ListGalleryArtifactVersion", 800, 4000)),
)
ARM_LIMITS = {
    "reads": Limit("reads", 250, 10),
    "writes": Limit("writes", 200, 20),
    "deletes": Limit("deletes", 200, 20),
}
ARM_VERBS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}


class Bucket:
    def __init__(self, limit: Limit, moment: float) -> None:
        self.limit = limit
        self.tokens = limit.size
        self._filled = moment

    def refill(self, moment: float) -> None:
        rate = self.limit.size / self.limit.seconds
        self.tokens = min(self.limit.size, self.tokens + (moment - self._filled) * rate)
        self._filled = moment

    def wait(self) -> int:
        """Whole seconds until there is a token again, at least 1."""
        missing = max(0.0, 1 - self.tokens)
        return max(1, -int(-missing * self.limit.seconds // self.limit.size))


class Throttle:
    """`enforced` False shows the headers but refuses nothing."""

    def __init__(self, clock: Clock, *, enforced: bool = True) -> None:
        self._clock = clock
        self.enforced = enforced
        self._buckets: dict[tuple[str, ...], Bucket] = {}
        # A smaller (or larger) size for tests that want to run into a limit, by the bucket's name
        self.sizes: dict[str, float] = {}
        # Refusals by the emptiest bucket's name; calls that came before a Retry-After was over, by operation
        self.refusals: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
        self._told: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def refused(self) -> int:
        """How many calls found a bucket empty."""
        return self.refusals.total()

    def told(self, subscription: str, operation: str, seconds: float) -> None:
        """A call was told to come again after so many seconds: what is of its kind finds the same bucket."""
        now = self._clock.elapsed
        began, until = self._told.get((subscription, operation), (now, now))
        self._told[subscription, operation] = (began if until > now else now, max(until, now + seconds))

    def drain(self, name: str) -> None:
        """Somebody else uses all that is left in the buckets of a name."""
        for bucket in self._buckets.values():
            if bucket.limit.name == name:
                bucket.refill(self._clock.elapsed)
                bucket.tokens = 0.0

    def _look_at_time(self, subscription: str, operation: str) -> None:
        """Calls of the moment in which the first was refused may have been on their way."""
        began, until = self._told.get((subscription, operation), (0.0, 0.0))
        if began < self._clock.elapsed < until - ROUNDING:
            self.early[operation] += 1

    def _bucket(self, family: tuple[str, ...], limit: Limit) -> Bucket:
        key = (*family, limit.name)
        found = self._buckets.get(key)
        if found is None:
            size = self.sizes.get(limit.name, limit.size)
            found = self._buckets[key] = Bucket(Limit(limit.name, size, limit.seconds), self._clock.elapsed)
        found.refill(self._clock.elapsed)
        return found

    def draw(self, subscription: str, method: str, operation: str, path: str) -> tuple[Answer | None, dict[str, str]]:
        """Takes a token of every bucket. Returns the 429 (or None) and the headers that show what is left."""
        self._look_at_time(subscription, operation)
        verb = ARM_VERBS.get(method, "writes")
        arm = self._bucket((subscription,), ARM_LIMITS[verb])
        limits = next((limits for pattern, limits in PROVIDER_LIMITS if fnmatch.fnmatchcase(operation, pattern)), ())
        collection = operation.rpartition(" ")[2].split("/")[1:2]
        owner = resource_of(path)
        buckets = [
            self._bucket((subscription, *collection, *([owner] if limit.of_resource else [])), limit)
            for limit in limits
        ]
        empty = [bucket for bucket in (arm, *buckets) if bucket.tokens < 1]
        if not empty or not self.enforced:
            for bucket in (arm, *buckets):
                bucket.tokens = max(0.0, bucket.tokens - 1)
        headers = {f"x-ms-ratelimit-remaining-subscription-{verb}": str(int(arm.tokens))}
        if buckets:
            shown = (f"Microsoft.Compute/{bucket.limit.name};{int(bucket.tokens)}" for bucket in buckets)
            headers["x-ms-ratelimit-remaining-resource"] = ",".join(shown)
        if not empty or not self.enforced:
            return None, headers
        wait = max(bucket.wait() for bucket in empty)
        self.refusals[max(empty, key=Bucket.wait).limit.name] += 1
        self.told(subscription, operation, wait)
        code = "SubscriptionRequestsThrottled" if empty[0] is arm else "OperationNotAllowed"
        return too_many(wait, code), headers


def resource_of(path: str) -> str:
    """What has a bucket of its own: the VM of a path below it, or a polled operation."""
    parts = path.lower().split("/")
    if "virtualmachines" in parts:
        return "/".join(parts[: parts.index("virtualmachines") + 2])
    return path.lower()


def too_many(seconds: int, code: str = "TooManyRequests") -> Answer:
    message = f"The request is being throttled as the limit has been reached. Please retry after {seconds} seconds."
    body = {"error": {"code": code, "message": message}}
    return Answer(429, body, {"Retry-After": str(seconds)})
