import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import Place
from builder.model.observed import Blocker
from builder.model.plan import Action, Reason
from builder.report.markdown import BUDGET, plan_comment
from builder.report.plan_words import Presentation
from tests.golden.plans import PLANS
from tests.unit.plan.world import World, document


def comment(plan, **options) -> str:
    return plan_comment(plan, Presentation(), **options)


def balanced(text: str) -> bool:
    """Whether every fence is closed by one of its own length and every fold is closed, outside of fences."""
    fence, folds = "", 0
    for line in text.splitlines():
        ticks = re.match("(`{3,})(diff)?$", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks[1]
        else:
            folds += line.startswith("<details>")
            folds -= line.startswith("</details>")
    return not fence and not folds


def many(count: int, *, lines: int = 60):
    """A plan in which `count` images are rebuilt, each for an edited script; some are blocked or retired."""
    world = World(
        [document("a", prepare=[{"script": {"path": "a.sh"}}]), document("b"), document("c", state="retired")],
        files={"a.sh": "".join(f"old {number}\n" for number in range(lines))},
    )
    world.replace(document("c"))
    world.apply(world.plan())
    world.files["a.sh"] = world.files["a.sh"].replace("old", "new `````")
    world.replace(document("c", state="retired"))
    world.replace(document("b", generalize=False))
    world.blockers["b"] = Blocker("not readable (403)", Place("images/b.yaml", 3))
    plan = world.plan()
    kinds = {image.action: image for image in plan.images}
    images = [replace(kinds[Action.REBUILD], image=f"image-number-{number}") for number in range(count)]
    images += [replace(kinds[Action.RETIRE], image=f"retired-{number}") for number in range(count // 10)]
    images += [replace(kinds[Action.BLOCKED], image=f"blocked-{number}") for number in range(count // 10)]
    return replace(plan, images=tuple(images))


@pytest.mark.parametrize("name", PLANS)
def test_the_first_line_finds_the_comment_again(name):
    golden = PLANS[name]()
    first, second = plan_comment(golden.plan, golden.presentation, target="prod").splitlines()[:2]
    match = re.fullmatch(r"<!-- build:plan v1 (\{.*\}) -->", first)
    assert match is not None
    assert json.loads(match[1]) == {"target": "prod", "plan": golden.plan.id, "digest": golden.plan.digest}
    assert second.startswith("### build plan")
    assert len(second) <= 80


@pytest.mark.parametrize("target", ["--> <script>", "a-->b", "`x`\n### y", "@everyone"])
def test_a_target_can_not_leave_its_comment(target):
    first, second = comment(World([document("web")]).plan(), target=target).splitlines()[:2]
    assert first.count("-->") == 1
    assert json.loads(first.removeprefix("<!-- build:plan v1 ").removesuffix(" -->"))["target"] == target
    assert second.startswith("### build plan")
    assert not re.search("[<>@`]", second)


@pytest.mark.parametrize("count", [1, 20, 300, 3000, 30000])
def test_any_number_of_images_fits(count):
    text = comment(many(count))
    assert len(text) <= BUDGET
    assert balanced(text)
    lines = text.splitlines()
    assert "> [!CAUTION]" in lines or count < 10
    assert (f"> **Blocked: {count // 10} images**" in lines) == (count >= 20)
    assert text.endswith("To apply: `build apply`\n")


@pytest.mark.parametrize("budget", [4_000, 6_000, 9_000, 15_000, 25_000, 40_000, 60_000])
def test_detail_is_dropped_in_order_and_never_cut(budget):
    text = comment(many(20), budget=budget)
    assert len(text) <= budget
    assert balanced(text)
    # Deletions, blocked images and a row for every image are there at every level
    assert text.count("\n| ~ | `image-number-") == 20
    assert "`retired-1` `1.0.0`" in text
    assert "`blocked-1`: not readable" in text


def test_more_room_never_shows_less():
    sizes = [len(comment(many(20), budget=budget)) for budget in range(4_000, 70_000, 3_000)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) >= 4


def test_rows_that_do_not_fit_are_counted():
    text = comment(many(3000))
    shown = len(re.findall(r"^\| [~!-] \|", text, re.MULTILINE))
    missing = sum(
        int(number) for number in re.findall(r"(\d+) (?:rebuild|blocked|retire)", text.split("Not listed:")[1])
    )
    assert shown + missing == 3000 + 300 + 300
    assert shown > 100


def test_deletions_stand_before_any_fold():
    golden = PLANS["everything"]()
    text = plan_comment(golden.plan, golden.presentation)
    assert text.index("[!CAUTION]") < text.index("[!WARNING]") < text.index("| | image |") < text.index("<details>")


def test_retention_alone_is_a_deletion_too():
    golden = PLANS["everything"]()
    plan = replace(golden.plan, images=tuple(image for image in golden.plan.images if image.image == "web"))
    assert "> **Deletes 1 version**:\n> - `web` `1.0.0`, once `1.0.1` is published" in comment(plan)


def test_a_fence_is_longer_than_any_inside():
    text = comment(many(1))
    assert "``````diff" in text
    assert balanced(text)


def test_a_very_long_line_is_described():
    world = World([document("web", prepare=[{"script": {"path": "a.js"}}])], files={"a.js": "x" * 90_000})
    world.apply(world.plan())
    world.files["a.js"] = "y" * 90_000
    text = comment(world.plan())
    assert "- (a line of 90001 characters)" in text
    assert "+ (a line of 90001 characters)" in text
    assert len(text) < 3_000


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text(alphabet="`~\n|<>@#*_[]!-\\ a"))
def test_what_a_spec_says_stays_text(message, markup):
    plan = World([document("web")]).plan()
    (image,) = plan.images
    reasons = tuple(
        Reason(
            "step_changed", text, Place("images/web.yaml", 1), before=text, after=text, diff=(f"+{text}",), help=text
        )
        for text in (message, markup)
    )
    text = comment(replace(plan, images=(replace(image, reasons=reasons, action=Action.BLOCKED, image="web"),)))
    assert balanced(text)
    outside = re.sub(r"(?ms)^(`{3,})diff$.*?^\1$", "", text)
    assert not re.search(r"@[^\u200b]", outside)
    assert outside.count("<details>") == outside.count("</details>") == 1
    row = next(line for line in text.splitlines() if line.startswith("| !"))
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 5


def test_a_command_is_shown_whole_and_stays_in_its_fence():
    command = "set -e\n```\n</details>\n@everyone\x1b[2J " + "x" * 500 + "\n"
    prepare = [{"run": {"command": command}}, {"script": {"path": "a.sh"}}]
    plan = World([document("web", prepare=prepare)], files={"a.sh": "rm -rf /srv\n"}).plan()
    text = comment(plan)
    assert balanced(text)
    assert "#   2 prepare: run (4 lines, not previewed)\n#     | set -e\n#     | ```\n#     | </details>\n" in text
    assert f"#     | @everyone\\x1b[2J {'x' * 500}\n" in text
    assert "rm -rf" not in text
    full = plan_comment(plan, Presentation(full=True))
    assert balanced(full)
    assert "#   3 prepare: script a.sh (not previewed)\n#     | rm -rf /srv\n" in full


def test_commands_that_do_not_fit_are_counted():
    world = World([document("web", prepare=[{"run": {"command": f"echo {'x' * 90}\n" * 900}}])])
    text = comment(world.plan())
    assert "#   2 prepare: run (900 lines, not previewed)\n" in text
    assert len(text) < 3_000
