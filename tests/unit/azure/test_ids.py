from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.azure.ids import GROUP_KIND, SUBSCRIPTION_KIND, ResourceId, compute, group_id, network
from builder.errors import BuildError

WORDS = st.text(alphabet=string.ascii_letters + string.digits + "-_.()", min_size=1, max_size=20).filter(
    lambda text: text not in (".", "..") and text.lower() != "providers"
)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)


@given(WORDS, st.just("") | WORDS, WORDS, PAIRS)
def test_an_id_is_its_text(subscription: str, group: str, provider: str, pairs: list[tuple[str, str]]) -> None:
    types, names = zip(*pairs, strict=True)
    made = ResourceId(subscription, group, provider, types, names)

    assert ResourceId.parse(str(made)) == made
    assert str(ResourceId.parse(str(made))) == str(made)
    assert made.kind == "/".join((provider, *types))
    assert made.name == names[-1]
    assert str(made).startswith(f"{made.parent}/")
    assert len(types) == 1 or made.parent.child(types[-1], names[-1]) == made


@given(WORDS, WORDS, PAIRS)
def test_letter_case_makes_no_difference(subscription: str, group: str, pairs: list[tuple[str, str]]) -> None:
    types, names = zip(*pairs, strict=True)
    made = ResourceId(subscription, group, "Microsoft.Compute", types, names)
    shouted = ResourceId.parse(str(made).upper())

    assert shouted == made
    assert len({shouted, made}) == 1
    assert made != str(made)


@given(st.text(max_size=60))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    try:
        found = ResourceId.parse(text)
    except BuildError as error:
        assert error.code == "azure-id"
    else:
        assert str(found).lower() == text.rstrip("/").lower()


GROUP = group_id("s", "g")
KINDS = (
    (ResourceId("s"), SUBSCRIPTION_KIND, "s", "subscription s"),
    (GROUP, GROUP_KIND, "g", "resource group g"),
    (compute("s", "g", "disks", "d"), "Microsoft.Compute/disks", "d", "disks/d"),
    (
        compute("s", "g", "galleries", "corp", "images", "web").child("versions", "1.0.0"),
        "Microsoft.Compute/galleries/images/versions",
        "1.0.0",
        "galleries/corp/images/web/versions/1.0.0",
    ),
    (
        network("s", "g", "virtualNetworks", "n", "subnets", "b"),
        "Microsoft.Network/virtualNetworks/subnets",
        "b",
        "virtualNetworks/n/subnets/b",
    ),
)


@pytest.mark.parametrize(("id", "kind", "name", "short"), KINDS, ids=[kind for _, kind, _, _ in KINDS])
def test_what_an_id_says(id: ResourceId, kind: str, name: str, short: str) -> None:
    assert (id.kind, id.name, id.short) == (kind, name, short)


def test_parents_lead_up_to_the_subscription() -> None:
    version = compute("s", "g", "galleries", "corp", "images", "web", "versions", "1.0.0")
    found = [str(version)]
    while found[-1] != (above := str(ResourceId.parse(found[-1]).parent)):
        found.append(above)

    assert [ResourceId.parse(text).name for text in found] == ["1.0.0", "web", "corp", "g", "s"]
    assert version.group_id == GROUP


WRONG = (
    "", "/", "disks/d", "/subscriptions", "/subscriptions/", "/subscriptions/s/resourceGroups",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d/x",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/../../x",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/a?b=c",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/a%2fb",
    "/subscriptions/s/resourceGroups/../providers/Microsoft.Compute/disks/a",
    "/subscriptions/s/resourceGroups/g/providers/A/b/c/providers/D/e/f",
    "https://management.azure.com/subscriptions/s",
)  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(BuildError, match="is no id of an Azure resource"):
        ResourceId.parse(text)


def test_half_an_id_cannot_be_made() -> None:
    with pytest.raises(BuildError, match="missing"):
        compute("s", "g", "disks")
