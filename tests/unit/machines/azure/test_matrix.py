"""What can be built of what: the table agrees with the spec's own rules, and the page shows it as it is."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from builder.errors import Place
from builder.machines.azure import reference
from builder.machines.azure.matrix import FORBIDDEN, SOURCES, Case, forbidden
from builder.machines.azure.resolved import SECURITY_TYPES
from builder.machines.azure.rules import DISKS, MARKETPLACE, RULES, blocker
from builder.spec.schema import load_schema
from tests.unit.machines.azure.specs import findings

ROOT = Path(__file__).resolve().parents[4]
# A case, and the rules that forbid it
CASES = (
    (Case("marketplace"), ()),
    (Case("vm", source_generalized=False, source_data=True, capture="vmImage", generalize=False), ()),
    (Case("vm", source_generalized=False, source_data=True, capture="osImage"), ("os-image-data-disks",)),
    (Case("bootstrap"), ("source-local",)),
    (Case("managedImage", security="TrustedLaunch"), ("managed-source-security",)),
    (Case("managedImage", architecture="arm64"), ("managed-source-arm64",)),
    (Case("snapshot", source_generalized=True, security="TrustedLaunch"), ("generalized-disks",)),
    (Case("snapshot", source_generalized=False, security="TrustedLaunch"), ()),
    (Case("blob", source_generalized=False, security="ConfidentialVM"), ("blob-confidential",)),
    (Case("gallery", architecture="arm64", destination="managedImage"), ("managed-image-arm64",)),
    (Case("gallery", generalize=False, destination="managedImage"), ("managed-image-specialized",)),
    (Case("gallery", generalize=False, destination="gallery"), ()),
    (Case("gallery", generation=1, controller="NVMe"), ("generation-nvme",)),
)


@pytest.mark.parametrize(("case", "codes"), CASES)
def test_what_forbids_a_case(case: Case, codes: tuple[str, ...]) -> None:
    assert tuple(row.rule.code for row in forbidden(case)) == codes


def test_every_source_of_a_spec_is_in_the_table() -> None:
    assert set(SOURCES) == set(load_schema("image").schema["properties"]["source"]["properties"])


def test_every_rule_says_what_to_do_or_leaves_it_to_the_case() -> None:
    for row in FORBIDDEN:
        assert RULES[row.rule.code] is row.rule
        assert row.rule.sentence.endswith(".")
        assert row.rule.document


def test_the_spec_rules_say_the_same(tmp_path: Path) -> None:
    """What a spec alone tells is an error in it; the table must not be of another opinion."""
    combinations = product(SECURITY_TYPES, ("x64", "arm64"), (1, 2), (True, False), ("gallery", "managedImage"))
    for security, architecture, generation, generalize, destination in combinations:
        case = Case("marketplace", security=security, architecture=architecture, generation=generation,
                    generalize=generalize, destination=destination)  # fmt: skip
        to = {"gallery": "gallery: {resourceGroup: g, gallery: g, definition: d}",
              "managedImage": "managedImage: {resourceGroup: g}"}[destination]  # fmt: skip
        found = findings(
            tmp_path,
            machine=f"security: {{type: {security}}}",
            os=f"family: linux, architecture: {architecture}, generation: {generation}",
            more=f"generalize: {'{}' if generalize else 'false'}\npublish: {{to: [{{{to}}}]}}",
        )
        assert bool(found) == any(True for _ in forbidden(case)), (case, found)


def test_the_page_is_current() -> None:
    """Refresh it with `python -m builder.machines.azure.reference > docs/azure.md`."""
    assert (ROOT / "docs/azure.md").read_text(encoding="utf-8") == reference.markdown()


@pytest.mark.parametrize(("source", "page"), [("marketplace", MARKETPLACE), ("vm", DISKS)])
def test_a_rule_for_every_source_is_stated_by_the_page_about_that_source(source: str, page: str) -> None:
    found = blocker("source-missing", "there is none", Place("web.yaml", 1, 1), source=source)
    assert found.message == f"there is none ({page})"
