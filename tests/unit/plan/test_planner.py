from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import BuildError, Interrupted, Place, Unreachable
from builder.model.observed import Blocker, PublishedVersion
from builder.model.plan import Action, ImagePlan, Plan
from builder.model.spec import RetainSpec
from builder.model.version import LARGEST_PART
from tests.unit.plan.world import World, document

NGINX = ({"packages": {"install": ["nginx"]}},)
APACHE = ({"packages": {"install": ["apache2"]}},)
BLOCKER = Blocker("not readable (403)", Place("images/web.yaml", 3, 1), hint="log in", code="source-unreadable")


def only(plan: Plan) -> ImagePlan:
    (image,) = plan.images
    return image


def actions(plan: Plan) -> dict[str, str]:
    return {image.image: str(image.action) for image in plan.images}


def published(**options) -> World:
    """A world in which `web` is published as its spec says."""
    world = World([document("web", **options)])
    world.apply(world.plan())
    return world


class TestActions:
    def test_a_first_version_is_built(self):
        image = only(World([document("web")]).plan())
        assert (image.action, image.version, image.current_version) == (Action.BUILD, "1.0.0", None)
        assert [reason.code for reason in image.reasons] == ["new_image"]
        assert [item.step.index for item in image.steps] == list(range(1, len(image.steps) + 1))
        assert {item.action for item in image.steps} == {"run"}
        assert image.steps[-1].step.kind == "publish.memory"

    def test_nothing_is_done_when_nothing_changed(self):
        plan = published().plan()
        image = only(plan)
        assert (image.action, image.steps, image.reasons, image.current_version) == (Action.NONE, (), (), "1.0.0")
        assert not plan.has_changes

    def test_another_version_number_alone_is_no_change(self):
        world = published(prepare=[{"run": {"command": "echo {{ image.version }}"}}])
        assert only(world.plan()).action == Action.NONE

    def test_a_changed_spec_is_rebuilt_as_the_next_version(self):
        world = published()
        world.replace(document("web", prepare=APACHE))
        image = only(world.plan())
        assert (image.action, image.version, image.current_version) == (Action.REBUILD, "1.0.1", "1.0.0")
        world.apply(world.plan())
        assert only(world.plan()).action == Action.NONE
        assert world.versions("web") == ["1.0.0", "1.0.1"]

    def test_an_older_version_with_the_same_content_does_not_count(self):
        world = published()
        world.replace(document("web", prepare=APACHE))
        world.apply(world.plan())
        world.replace(document("web"))
        assert (only(world.plan()).action, only(world.plan()).version) == (Action.REBUILD, "1.0.2")

    def test_a_captured_artifact_is_adopted(self):
        world = World([document("web")])
        first = only(world.plan())
        captured = next(item.step.digest for item in first.steps if item.step.kind == "capture")
        world.artifacts.add(captured)
        image = only(world.plan())
        assert image.action == Action.ADOPT
        assert [reason.code for reason in image.reasons] == ["artifact_captured", "new_image"]
        assert [(item.step.stage, item.action) for item in image.steps][-3:] == [
            ("capture", "reuse"),
            ("test", "run"),
            ("publish", "run"),
        ]
        assert image.start == captured

    def test_images_of_equal_content_adopt_an_artifact_each(self):
        world = World([document("web"), document("twin")])
        world.artifacts = {item.step.digest for item in world.plan().images[0].steps if item.step.kind == "capture"}
        assert actions(world.plan()) == {"web": "adopt", "twin": "adopt"}

    def test_the_deepest_checkpoint_counts_even_when_earlier_ones_are_gone(self):
        world = World([document("web", prepare=[*NGINX, *APACHE])])
        steps = [item.step for item in only(world.plan()).steps]
        world.checkpoints = {steps[2].digest}
        assert [item.action for item in only(world.plan()).steps[:4]] == ["reuse", "reuse", "reuse", "run"]

    def test_a_digest_that_is_known_by_chance_for_a_publish_step_is_no_checkpoint(self):
        world = World([document("web")])
        world.checkpoints = {item.step.digest for item in only(world.plan()).steps if not item.step.identity}
        assert {item.action for item in only(world.plan()).steps} == {"run"}


class TestVersions:
    @pytest.mark.parametrize(
        ("version", "action", "planned", "code"),
        [
            ("1.0.x", Action.NONE, None, None),
            ("1.0.0", Action.NONE, None, None),
            ("2.3.x", Action.REBUILD, "2.3.0", "version_requested"),
            ("2.3.4", Action.REBUILD, "2.3.4", "version_requested"),
            ("0.9.0", Action.REBUILD, "0.9.0", "version_requested"),
        ],
    )
    def test_asking_for_another_version_of_the_same_content(self, version, action, planned, code):
        world = published()
        world.replace(document("web", version=version))
        image = only(world.plan())
        assert (image.action, image.version) == (action, planned)
        assert [reason.code for reason in image.reasons] == ([code] if code else [])
        world.apply(world.plan())
        assert only(world.plan()).action == Action.NONE

    def test_the_newest_is_the_highest_number(self):
        world = published(version="1.0.9")
        world.replace(document("web", prepare=APACHE))
        world.apply(world.plan())
        assert world.versions("web") == ["1.0.9", "1.0.10"]
        image = only(world.plan())
        assert (image.action, image.current_version) == (Action.NONE, "1.0.10")
        world.replace(document("web", version="2.0.x", prepare=APACHE))
        assert only(world.plan()).current_version == "1.0.10"

    def test_a_series_below_the_newest_settles(self):
        world = published(version="2.0.0")
        world.replace(document("web", version="1.4.x", prepare=APACHE))
        world.apply(world.plan())
        assert world.versions("web") == ["1.4.0", "2.0.0"]
        assert only(world.plan()).action == Action.NONE

    def test_an_exact_version_with_another_content_is_blocked(self):
        world = published(version="1.4.2")
        world.replace(document("web", version="1.4.2", prepare=APACHE))
        image = only(world.plan())
        (reason,) = image.reasons
        assert (image.action, reason.code, reason.place) == (
            Action.BLOCKED,
            "version-exists",
            Place("images/web.yaml", 51, 3),
        )
        assert reason.before != reason.after
        assert "higher" in str(reason.help)

    def test_an_exact_version_of_another_tool_is_blocked(self):
        world = World([document("web", version="1.4.2")])
        world.add_foreign("gallery", "web", "1.4.2")
        assert only(world.plan()).reasons[0].code == "version-foreign"

    def test_versions_of_other_tools_are_passed_over(self):
        world = World([document("web")])
        world.add_foreign("gallery", "web", "3.2.1")
        assert (only(world.plan()).action, only(world.plan()).version) == (Action.BUILD, "3.2.2")

    def test_a_version_that_makes_no_sense_blocks_its_image(self):
        image = only(World([document("web", version="latest")]).plan())
        assert (image.action, image.reasons[0].code) == (Action.BLOCKED, "version-invalid")


class TestRebuildOnRequest:
    def test_nothing_is_taken_from_checkpoints(self):
        world = published()
        image = only(world.plan(rebuild=["web"]))
        assert (image.action, image.version) == (Action.REBUILD, "1.0.1")
        assert [reason.code for reason in image.reasons] == ["rebuild_by_request"]
        assert {item.action for item in image.steps} == {"run"}

    def test_once_done_the_image_is_unchanged_and_its_checkpoints_are_the_new_ones(self):
        world = published()
        old = set(world.checkpoints)
        world.apply(world.plan(rebuild=["web"]))
        assert only(world.plan()).action == Action.NONE
        world.replace(document("web", generalize=False))
        image = only(world.plan())
        assert [reason.code for reason in image.reasons] == ["step_removed"]
        assert image.steps[1].action == "reuse"
        assert image.steps[1].step.digest not in old

    def test_a_rebuild_that_died_goes_on_from_its_own_checkpoints(self):
        world = published()
        first = only(world.plan(rebuild=["web"]))
        world.checkpoints.add(first.steps[0].step.digest)
        assert [item.action for item in only(world.plan(rebuild=["web"])).steps[:2]] == ["reuse", "run"]

    def test_what_else_changed_is_named_too(self):
        world = published()
        world.replace(document("web", prepare=APACHE))
        assert [reason.code for reason in only(world.plan(rebuild=["web"])).reasons] == [
            "rebuild_by_request",
            "step_changed",
        ]

    def test_an_exact_version_that_exists_is_in_the_way(self):
        world = published(version="1.4.2")
        assert only(world.plan(rebuild=["web"])).reasons[0].code == "version-exists"


class TestDestinations:
    def test_a_destination_that_lacks_the_version_gets_the_same_one(self):
        world = published()
        world.replace(document("web", to=["gallery", "mirror"]))
        image = only(world.plan())
        assert (image.action, image.version, image.destinations) == (Action.PUBLISH, "1.0.0", ("mirror",))
        assert [(reason.code, reason.place) for reason in image.reasons] == [
            ("output_missing", Place("images/web.yaml", 54, 7))
        ]
        assert [item.step.kind for item in image.steps] == ["publish.memory"]
        world.apply(world.plan())
        assert world.versions("web", "mirror") == ["1.0.0"]
        assert only(world.plan()).action == Action.NONE

    def test_a_rebuild_goes_to_all(self):
        world = published(to=["gallery", "mirror"])
        world.replace(document("web", to=["gallery", "mirror"], prepare=APACHE))
        world.apply(world.plan())
        assert world.versions("web", "mirror") == world.versions("web") == ["1.0.0", "1.0.1"]

    def test_the_same_number_with_another_content_is_never_overwritten(self):
        world = published()
        world.add_foreign("mirror", "web", "1.0.0")
        world.replace(document("web", to=["gallery", "mirror"]))
        assert only(world.plan()).reasons[0].code == "version-exists"

    def test_no_destination_is_no_plan(self):
        assert only(World([document("web", to=[])]).plan()).reasons[0].code == "no-destination"


class TestBlocked:
    @pytest.mark.parametrize("where", ["web", "gallery"])
    def test_a_blocker_blocks_what_has_to_be_built(self, where):
        world = World([document("web"), document("db", to=["other"])], blockers={where: BLOCKER})
        plan = world.plan()
        assert actions(plan) == {"web": "blocked", "db": "build"}
        (reason,) = plan.blocked[0].reasons
        assert (reason.code, reason.message, reason.place, reason.help) == (
            "source-unreadable",
            "not readable (403)",
            BLOCKER.place,
            "log in",
        )

    def test_a_destination_that_can_not_be_written_to_does_not_matter_when_nothing_changed(self):
        world = published()
        world.blockers["gallery"] = BLOCKER
        assert only(world.plan()).action == Action.NONE

    def test_an_error_while_looking_blocks_one_image(self):
        world = World([document("web", prepare=[{"script": {"path": "gone.sh"}}]), document("db")])
        machine_for = world.planner().machine_for
        error = BuildError("the host is full", code="no-space", hint="make room")

        def failing(image):
            if image.name == "web":
                raise error
            return machine_for(image)

        plan = replace(world.planner(), machine_for=failing).plan(
            world.documents, root=world.documents[0].render("0.0.0").root
        )
        assert actions(plan) == {"web": "blocked", "db": "build"}
        assert plan.blocked[0].reasons[0].code == "no-space"

    def test_what_stands_in_the_way_of_several_parts_in_the_same_words_is_one_reason(self):
        other = replace(BLOCKER, place=Place("images/web.yaml", 9, 1))
        world = World([document("web")], blockers={"web": BLOCKER, "gallery": other})
        (reason,) = only(world.plan()).reasons
        assert (reason.message, reason.place) == (BLOCKER.message, world.documents[0].place)

    @pytest.mark.parametrize("reached", [0, 1])
    def test_what_no_image_can_do_without_is_no_reason_of_each(self, reached):
        world = World([document("web"), document("db")])
        machine_for = world.planner().machine_for

        def away(image):
            if reached and image.name == "db":
                return machine_for(image)
            raise Unreachable("nobody is signed in", code="login", where=Place("images/web.yaml", 3, 1), detail="tried")

        def plan():
            return replace(world.planner(), machine_for=away).plan(
                world.documents, root=world.documents[0].render("0.0.0").root
            )

        if reached:
            assert actions(plan()) == {"web": "blocked", "db": "build"}
            return
        with pytest.raises(Unreachable) as caught:
            plan()
        assert (caught.value.where, caught.value.detail) == (None, "tried")

    def test_an_interruption_stops_the_whole_plan(self):
        world = World([document("web")])

        def interrupted(image):
            raise Interrupted("interrupted")

        with pytest.raises(Interrupted):
            replace(world.planner(), machine_for=interrupted).plan(
                world.documents, root=world.documents[0].render("0.0.0").root
            )


class TestImagesOnImages:
    @staticmethod
    def world() -> World:
        return World(
            [
                document("app", source={"image": {"name": "web"}}, prepare=APACHE),
                document("web", source={"image": {"name": "base"}}),
                document("base", prepare=[]),
                document("other"),
            ]
        )

    def test_bases_come_first(self):
        plan = self.world().plan()
        assert [image.image for image in plan.images] == ["base", "web", "app", "other"]
        assert [image.base for image in plan.images] == [None, "base", "web", None]

    def test_a_rebuilt_base_rebuilds_what_stands_on_it(self):
        world = self.world()
        world.apply(world.plan())
        world.replace(document("base", prepare=NGINX))
        plan = world.plan()
        assert actions(plan) == {"base": "rebuild", "web": "rebuild", "app": "rebuild", "other": "none"}
        (reason,) = plan.images[2].reasons
        assert (reason.code, reason.message, reason.before, reason.after) == (
            "upstream_image_rebuilt",
            "its base image web changed",
            "1.0.0",
            "1.0.1",
        )
        world.apply(plan)
        assert not world.plan().has_changes

    def test_a_rebuild_on_request_reaches_them_too(self):
        world = self.world()
        world.apply(world.plan())
        assert actions(world.plan(rebuild=["web"])) == {
            "base": "none",
            "web": "rebuild",
            "app": "rebuild",
            "other": "none",
        }

    def test_a_blocked_base_blocks_them(self):
        world = self.world()
        world.blockers["base"] = BLOCKER
        plan = world.plan()
        assert actions(plan) == {"base": "blocked", "web": "blocked", "app": "blocked", "other": "build"}
        assert plan.images[1].reasons[0].code == "base-blocked"
        assert plan.images[1].reasons[0].place == Place("images/web.yaml", 3, 1)

    def test_a_base_that_is_published_is_looked_at_silently(self):
        world = self.world()
        world.apply(world.plan())
        world.replace(document("web", source={"image": {"name": "base"}}, prepare=APACHE))
        assert actions(world.plan(include=["web"])) == {"web": "rebuild"}
        assert "base" in world.plan(include=["web"]).observed

    def test_a_base_that_has_to_be_built_joins(self):
        plan = self.world().plan(include=["app"])
        assert actions(plan) == {"base": "build", "web": "build", "app": "build"}
        assert plan.selection["joined"] == ["base", "web"]
        assert (plan.selection["checked"], plan.selection["skipped"]) == (3, 1)

    def test_a_base_that_has_to_be_built_but_is_excluded_blocks(self):
        plan = self.world().plan(exclude=["base"])
        assert actions(plan) == {"web": "blocked", "app": "blocked", "other": "build"}
        assert plan.blocked[0].reasons[0].code == "base-excluded"

    def test_a_pinned_version_is_what_it_says(self):
        world = self.world()
        world.apply(world.plan())
        world.replace(document("web", source={"image": {"name": "base", "version": "1.0.0"}}))
        world.replace(document("base", prepare=NGINX))
        plan = world.plan()
        assert actions(plan) == {"base": "rebuild", "web": "none", "app": "none", "other": "none"}

    @pytest.mark.parametrize(("version", "foreign"), [("9.9.9", False), ("8.8.8", True)])
    def test_a_pinned_version_that_is_not_there_blocks(self, version, foreign):
        world = self.world()
        world.apply(world.plan())
        if foreign:
            world.add_foreign("gallery", "base", version)
        world.replace(document("web", source={"image": {"name": "base", "version": version}}))
        assert actions(world.plan())["web"] == "blocked"
        assert world.plan().blocked[0].reasons[0].code == "base-version-missing"

    def test_a_pinned_version_that_this_plan_makes_will_do(self):
        world = self.world()
        world.replace(document("base", version="1.2.3"))
        world.replace(document("web", source={"image": {"name": "base", "version": "1.2.3"}}))
        assert actions(world.plan(include=["web"])) == {"base": "build", "web": "build"}

    @pytest.mark.parametrize(
        ("base", "code"),
        [(document("base", state="retired"), "base-retired"), (document("elsewhere"), "base-unknown")],
    )
    def test_a_base_that_can_not_be_had(self, base, code):
        world = World([document("web", source={"image": {"name": "base"}}), base])
        assert world.plan().blocked[0].reasons[0].code == code

    def test_a_circle_is_refused_and_ends(self):
        world = World(
            [
                document("top", source={"image": {"name": "a"}}),
                document("a", source={"image": {"name": "b"}}),
                document("b", source={"image": {"name": "a"}}),
            ]
        )
        with pytest.raises(BuildError, match="a -> b -> a") as caught:
            world.plan()
        assert caught.value.code == "image-cycle"

    def test_a_long_chain_is_no_problem(self):
        names = [f"image-{number}" for number in range(1200)]
        documents = [
            document(name, source={"image": {"name": names[index + 1]}} if index + 1 < len(names) else None, prepare=[])
            for index, name in enumerate(names)
        ]
        assert [image.image for image in World(documents).plan().images] == names[::-1]


class TestRetiring:
    def test_retention_is_part_of_a_rebuild(self):
        world = published(retain=RetainSpec(versions=2))
        for package in ("jq", "vim"):
            world.replace(
                document("web", retain=RetainSpec(versions=2), prepare=[{"packages": {"install": [package]}}])
            )
            plan = world.plan()
            world.apply(plan)
        assert only(plan).retires == ("1.0.0",)
        kinds = [item.step.kind for item in only(plan).steps]
        assert kinds.index("publish.memory") < kinds.index("retire.memory")
        assert world.versions("web") == ["1.0.1", "1.0.2"]
        assert not world.plan().has_changes

    def test_a_lower_limit_alone_is_a_plan_of_deletions(self):
        world = published(to=["gallery", "mirror"])
        world.replace(document("web", prepare=APACHE, to=["gallery", "mirror"]))
        world.apply(world.plan())
        world.replace(document("web", prepare=APACHE, to=["gallery", "mirror"], retain=RetainSpec(versions=1)))
        plan = world.plan()
        image = only(plan)
        assert (image.action, image.retires, image.version, image.current_version) == (
            Action.RETIRE, ("1.0.0",), None, "1.0.1",
        )  # fmt: skip
        assert not image.is_retired
        assert [item.step.kind for item in image.steps] == ["retire.memory"] * 2
        assert image.destinations == ("gallery", "mirror")
        assert [reason.code for reason in image.reasons] == ["retention"]
        world.apply(plan)
        assert world.versions("web") == ["1.0.1"]
        assert not world.plan().has_changes

    def test_a_deletion_that_failed_is_planned_again(self):
        limits = RetainSpec(versions=1)
        world = published(retain=limits)
        world.replace(document("web", prepare=APACHE, retain=limits))
        plan = world.plan()
        image = plan.images[0]
        kept = tuple(item for item in image.steps if item.step.kind != "retire.memory")
        world.apply(replace(plan, images=(replace(image, steps=kept),)))
        assert world.versions("web") == ["1.0.0", "1.0.1"]
        assert only(world.plan()).retires == ("1.0.0",)

    def test_a_version_that_is_used_stays_and_the_plan_says_why(self):
        limits = RetainSpec(versions=1)
        world = published(retain=limits)
        world.replace(document("web", prepare=APACHE, retain=limits))
        world.set_in_use("gallery", "web", "1.0.0", "scale set front")
        for _ in range(2):
            image = only(world.plan())
            assert image.retires == ()
            assert [(note.code, note.message) for note in image.notes] == [
                ("version_kept", "version 1.0.0 at gallery stays: it is kept by scale set front")
            ]
            world.apply(world.plan())
        assert image.action == Action.NONE
        world.set_in_use("gallery", "web", "1.0.0", "")
        assert only(world.plan()).retires == ("1.0.0",)

    def test_what_stands_on_an_image_whose_old_versions_go_is_left_alone(self):
        world = published()
        world.replace(document("web", prepare=APACHE))
        world.documents.append(document("app", source={"image": {"name": "web"}}, to=["other"]))
        world.apply(world.plan())
        world.replace(document("web", prepare=APACHE, retain=RetainSpec(versions=1)))
        assert actions(world.plan()) == {"web": "retire", "app": "none"}

    def test_a_retired_image_loses_all_versions_that_are_ours(self):
        world = published(to=["gallery", "mirror"])
        world.add_foreign("gallery", "web", "7.0.0")
        world.replace(document("web", to=["gallery", "mirror"], state="retired"))
        image = only(world.plan())
        assert (image.action, image.retires, image.destinations) == (Action.RETIRE, ("1.0.0",), ("gallery", "mirror"))
        assert image.reasons[0].place == Place("images/web.yaml", 2, 1)
        world.apply(world.plan())
        assert (world.versions("web"), world.versions("web", "mirror")) == (["7.0.0"], [])
        assert only(world.plan()).action == Action.NONE

    def test_a_spec_that_is_removed_deletes_nothing(self):
        world = published()
        world.documents = [document("db")]
        assert actions(world.plan()) == {"db": "build"}

    def test_a_version_that_another_image_names_is_not_deleted(self):
        pinned = document("app", source={"image": {"name": "web", "version": "1.0.0"}}, to=["other"])
        world = World([document("web"), pinned])
        world.apply(world.plan(include=["web"]))
        world.apply(world.plan())
        limits = RetainSpec(versions=1)
        world.replace(document("web", prepare=APACHE, retain=limits))
        assert world.plan().images[0].retires == ()
        world.replace(document("web", state="retired"))
        assert world.plan().images[0].reasons[0].code == "version-in-use"
        world.replace(document("app", source={"image": {"name": "web", "version": "1.0.0"}}, state="retired"))
        assert world.plan().images[0].action == Action.RETIRE


class TestSelection:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, ["web-a", "web-b", "db"]),
            ({"include": ["web-*"]}, ["web-a", "web-b"]),
            ({"include": ["db", "web-a"]}, ["web-a", "db"]),
            ({"exclude": ["web-*"]}, ["db"]),
            ({"include": ["web-*"], "exclude": ["*-b"]}, ["web-a"]),
            ({"include": ["web-a"], "rebuild": ["db"]}, ["web-a", "db"]),
            ({"include": ["db"], "exclude": ["*"]}, []),
        ],
    )
    def test_globs(self, options, expected):
        world = World([document("web-a"), document("web-b"), document("db")])
        plan = world.plan(**options)
        assert [image.image for image in plan.images] == expected
        assert plan.selection["skipped"] == 3 - len(expected)

    @pytest.mark.parametrize("option", ["include", "exclude", "rebuild"])
    def test_a_pattern_without_a_match_is_an_error(self, option):
        with pytest.raises(BuildError) as caught:
            World([document("web-a")]).plan(**{option: ["wep-a"]})
        assert (caught.value.code, caught.value.hint) == ("no-such-image", "did you mean 'web-a'?")


def test_twice_the_same_but_for_id_and_times():
    world = published()
    world.replace(document("web", prepare=APACHE))
    first = world.plan()
    world.now += timedelta(hours=1)
    second = world.plan()
    assert first.created != second.created
    assert replace(second, created=first.created, expires=first.expires) == first
    assert first.digest == second.digest


def test_every_file_that_was_read_is_an_input():
    world = World([document("web", prepare=[{"script": {"path": "a.sh"}}])], files={"a.sh": "true\n"})
    assert sorted(world.plan().inputs) == ["a.sh", "images/web.yaml"]


PACKAGES = st.lists(st.sampled_from(["nginx", "jq", "vim", "git"]), max_size=3, unique=True)
SPECS = st.fixed_dictionaries(
    {
        "prepare": st.lists(PACKAGES.map(lambda names: {"packages": {"install": names}}), max_size=3),
        "version": st.sampled_from(["auto", "1.4.x", "1.0.x"]),
        "retain": st.none() | st.builds(RetainSpec, versions=st.integers(1, 3)),
        "to": st.sampled_from([("gallery",), ("gallery", "mirror"), ("mirror",)]),
        "state": st.sampled_from(["active", "active", "active", "retired"]),
        "generalize": st.booleans(),
    }
)


@settings(max_examples=60)
@given(st.lists(st.tuples(SPECS, SPECS, st.booleans()), min_size=1, max_size=4))
def test_whatever_is_applied_leaves_nothing_to_do(history):
    world = World([])
    for base, app, rebuild in history:
        world.documents = [document("app", source={"image": {"name": "base"}}, **app), document("base", **base)]
        plan = world.plan(rebuild=["*"] if rebuild else [])
        assert all(image.reasons for image in plan.images if image.action != Action.NONE)
        world.apply(plan)
        again = world.plan()
        assert not again.has_changes, [reason for image in again.images for reason in image.reasons]
        for image in plan.images:
            steps = [item.step for item in image.steps if item.step.kind == "retire.memory"]
            assert {version for step in steps for version in [step.inputs["version"]]} == set(image.retires)
            for step in steps:
                assert not {step.inputs["version"]} & set(world.versions(image.image, step.inputs["destination"]))


def test_a_series_without_numbers_left_is_told_where_the_version_is_chosen():
    world = World([document("web")])
    world.galleries["gallery"] = {"web": [PublishedVersion(f"1.0.{LARGEST_PART}", None, "somewhere")]}
    image = only(world.plan())
    (reason,) = image.reasons
    place = world.documents[0].render("0.0.0").place("publish", "version")
    assert (image.action, reason.code, reason.place) == (Action.BLOCKED, "version-exhausted", place)
