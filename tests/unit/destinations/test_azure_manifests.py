"""What versions in Azure tell of themselves by tags: within Azure's limits, and back again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builder.azure import tags as tag_names
from builder.destinations.azure_manifests import (
    OWN_TAGS,
    Seen,
    is_of,
    manifest_of,
    manifests_of,
    rebuild_token,
    source_text,
    version_tags,
)
from builder.model.artifact import Manifest
from builder.records.manifests import is_key, key_of
from tests.unit.destinations.test_directory import MANIFEST

NAMES = st.text(st.characters(exclude_characters="<>%&\\?/", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=512)
STEP = {"stage": "prepare", "kind": "k", "title": "t", "inputs": {"rebuild": "1.0.0"}, "files": [], "digest": "d"}


def tagged(manifest: Manifest, **extra: str) -> dict[str, str]:
    return version_tags(manifest, run="r", state="promoted", record="", extra=extra)


@given(st.dictionaries(NAMES, st.text(max_size=256), max_size=tag_names.MOST_TAGS - OWN_TAGS), st.text(max_size=2000))
def test_tags_stay_within_the_limits(extra: dict[str, str], source: str) -> None:
    manifest = replace(MANIFEST, source={"name": source}, steps=(STEP,))
    found = version_tags(manifest, run="r", state="held", record=key_of("web", "1.0.0", "r"), extra=extra)

    assert len(found) <= tag_names.MOST_TAGS
    assert all(len(name) <= tag_names.LONGEST_NAME and len(value) <= tag_names.LONGEST_VALUE
               for name, value in found.items())  # fmt: skip


def test_what_a_plan_compares_comes_back_from_tags() -> None:
    manifest = replace(MANIFEST, steps=(STEP,))
    found = manifest_of(Seen("1.0.0", tagged(manifest, team="web"), "x64", 2, True))

    assert (found.image, found.digest, found.created) == (manifest.image, manifest.digest, manifest.created)
    assert rebuild_token(found) == "1.0.0"
    assert Manifest.from_dict(found.as_dict()) == found


def test_only_versions_of_this_image_with_a_digest_are_ours() -> None:
    tags = tagged(MANIFEST)

    assert is_of(tags, "web")
    assert not is_of(tags, "app")
    assert not is_of({name: value for name, value in tags.items() if name != tag_names.DIGEST}, "web")
    assert not is_of({tag_names.IMAGE: "web", tag_names.DIGEST: "d"}, "web")
    assert not is_of(None, "web")


class Records:
    """Records that hold one manifest, whatever they are asked for."""

    def __init__(self, manifest: Manifest | None) -> None:
        self.manifest = manifest

    def read(self, key: str) -> Manifest | None:
        return self.manifest

    def write(self, key: str, manifest: Manifest) -> None:
        self.manifest = manifest


def test_a_record_counts_only_with_the_digest_of_the_tags() -> None:
    recorded = replace(MANIFEST, description="recorded")
    seen = Seen("1.0.0", tagged(MANIFEST) | {tag_names.MANIFEST: key_of("web", "1.0.0", "r")}, "x64", 2, True)

    assert manifests_of([seen], Records(recorded))["1.0.0"] is recorded
    for other in (replace(recorded, digest="sha256:other"), None):
        assert manifests_of([seen], Records(other))["1.0.0"].description == ""


def test_keys_lead_nowhere_else() -> None:
    assert is_key(key_of("web.app", "1.0.0", "20260105t080000-abcdef"))
    for text in (
        "",
        "/etc/passwd",
        "manifests/../x/1.0.0/r.json",
        "manifests/web/../../r.json",
        "manifests/web/1.0.0/r",
        "manifests/.hidden/1.0.0/r.json",
        "manifests/web/1.0.0/a/b.json",
    ):
        assert not is_key(text), text


def test_a_source_is_told_in_a_line() -> None:
    assert source_text({"name": "Debian:debian-12:12-gen2", "version": "0.1"}) == "Debian:debian-12:12-gen2 0.1"
    assert source_text({"distribution": "debian", "release": "12"}) == "debian 12"
    assert source_text({"path": "base.vhd"}) == "base.vhd"
    assert source_text({}) == ""
