from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.azure.limits import BUDGETS, Limits, retry_after, window

# What Azure grants: (calls at once, calls a second)
GRANTED = {"GET": (250, 25), "PUT": (200, 10), "DELETE": (200, 10)}


def send(limits: Limits, method: str, moments: list[float], family: str = "f") -> list[float]:
    """When calls go out that are asked for at these moments."""
    return [moment + limits.take("s", method, family, moment) for moment in sorted(moments)]


@given(st.sampled_from(sorted(GRANTED)), st.lists(st.floats(min_value=0, max_value=120), min_size=1, max_size=700))
def test_no_stream_of_calls_empties_azures_bucket(method: str, moments: list[float]) -> None:
    size, rate = GRANTED[method]
    left, filled = float(size), 0.0
    for moment in send(Limits(), method, moments):
        left = min(size, left + (moment - filled) * rate) - 1
        filled = moment
        assert left >= 0


def test_a_few_calls_wait_for_nothing() -> None:
    assert send(Limits(), "PUT", [0.0] * 100) == [0.0] * 100


def test_methods_and_subscriptions_have_budgets_of_their_own() -> None:
    limits = Limits()
    send(limits, "PUT", [0.0] * 1000)

    assert limits.take("s", "PUT", "f", 0.0) > 0
    assert limits.take("s", "GET", "f", 0.0) == 0
    assert limits.take("s", "DELETE", "f", 0.0) == 0
    assert limits.take("other", "PUT", "f", 0.0) == 0


def test_what_others_used_is_learnt_from_answers() -> None:
    limits = Limits()
    limits.take("s", "GET", "f", 0.0)
    headers = {"x-ms-ratelimit-remaining-subscription-reads": "0"}
    limits.heard("s", "GET", "f", status=200, headers=headers, now=0.0)

    assert 0.5 < limits.take("s", "GET", "f", 0.0) < 2
    assert limits.take("s", "GET", "f", 30.0) == 0


def test_a_refused_family_waits_and_others_go_on() -> None:
    limits = Limits()
    limits.heard("s", "PUT", "disks", status=429, headers={"retry-after": "7"}, now=10.0)

    assert limits.take("s", "PUT", "disks", 10.0) == 7
    assert limits.take("s", "PUT", "disks", 10.0) > 7
    assert limits.take("s", "PUT", "snapshots", 10.0) == 0


def test_calls_refused_together_slow_down_once() -> None:
    one, many = Limits(), Limits()
    one.heard("s", "PUT", "f", status=429, headers={"retry-after": "5"}, now=0.0)
    for _ in range(100):
        many.heard("s", "PUT", "f", status=429, headers={"retry-after": "5"}, now=0.0)

    assert send(many, "PUT", [5.0] * 20) == send(one, "PUT", [5.0] * 20)


def test_who_waited_waits_on_when_others_were_refused_meanwhile() -> None:
    limits = Limits()
    limits.heard("s", "PUT", "f", status=429, headers={"retry-after": "2"}, now=0.0)
    assert limits.take("s", "PUT", "f", 0.0) == 2
    limits.heard("s", "PUT", "f", status=429, headers={"retry-after": "10"}, now=2.0)

    first, second = limits.held("s", "PUT", "f", 2.0), limits.held("s", "PUT", "f", 2.0)
    assert 10 <= first < second
    assert limits.held("s", "PUT", "f", 2.0 + second) == limits.held("s", "PUT", "other", 2.0) == 0


def test_an_empty_subscription_holds_all_families_of_its_verb() -> None:
    limits = Limits()
    headers = {"x-ms-ratelimit-remaining-subscription-reads": "0", "retry-after": "3"}
    limits.heard("s", "GET", "f", status=429, headers=headers, now=0.0)

    assert limits.take("s", "GET", "g", 0.0) >= 3
    assert limits.held("s", "GET", "h", 1.0) >= 2
    assert limits.held("s", "GET", "h", 3.0) == limits.held("s", "PUT", "h", 1.0) == 0


def test_reads_are_scarce_when_half_of_them_are_used() -> None:
    limits = Limits()
    assert not limits.scarce("s", 0.0)
    send(limits, "GET", [0.0] * 110)
    assert limits.scarce("s", 0.0)
    assert not limits.scarce("other", 0.0)
    assert not limits.scarce("s", 10.0)


def test_a_family_speeds_up_again_as_it_succeeds() -> None:
    limits = Limits()
    for moment in range(0, 50, 5):
        limits.heard("s", "GET", "f", status=429, headers={"retry-after": "5"}, now=float(moment))
    slow = send(limits, "GET", [100.0] * 3)
    for _ in range(40):
        limits.heard("s", "GET", "f", status=200, headers={}, now=200.0)

    assert slow[2] - slow[1] > 5
    assert send(limits, "GET", [200.0] * 3) == [200.0] * 3


def test_the_last_quarter_of_a_providers_bucket_is_used_no_faster_than_it_fills() -> None:
    limits = Limits()
    sent, left, now = 0, 60.0, 0.0
    while now < 600:
        now += limits.take("s", "PUT", "images", now)
        left = min(60.0, left + 60 / 180 * (now - sent)) - 1
        sent = now
        assert left >= 0
        headers = {
            "x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/CreateImagesSubscriptionMaximum;{int(left)}"
        }
        limits.heard("s", "PUT", "images", status=202, headers=headers, now=now)


def test_the_bucket_of_a_single_resource_slows_nobody_else() -> None:
    limits = Limits()
    for left in (12, 1):
        headers = {"x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/PutVMResource;{left}"}
        limits.heard("s", "PUT", "f", status=200, headers=headers, now=0.0)

    assert send(limits, "PUT", [0.0] * 5) == [0.0] * 5


def test_windows_by_name() -> None:
    assert [window(f"Microsoft.Compute/PutVM{name}") for name in ("3Min", "30Min", "SubscriptionMaximum")] == [
        180, 1800, 180,
    ]  # fmt: skip


def test_forms_of_retry_after() -> None:
    assert [retry_after({"retry-after": text}) for text in ("3", " 17 ", "", "soon", "-1")] == [3, 17, None, None, None]
    assert retry_after({}) is None


def test_budgets_stay_below_what_azure_grants() -> None:
    for method, verb in (("GET", "reads"), ("PUT", "writes"), ("DELETE", "deletes")):
        assert all(ours < theirs for ours, theirs in zip(BUDGETS[verb], GRANTED[method], strict=True))
