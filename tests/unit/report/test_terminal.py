import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import Place
from builder.model.observed import Blocker
from builder.report.colour import rendered, wants_colour
from builder.report.plan_words import Presentation, printable
from builder.report.terminal import plan_lines
from tests.golden.plans import PLANS
from tests.unit.plan.world import World, document

ESCAPE = re.compile("\x1b\\[[0-9;]*m")


def text(plan, *, width=100, **presentation) -> str:
    return rendered(plan_lines(plan, Presentation(**presentation), width=width), colour=False)


@pytest.mark.parametrize("name", PLANS)
def test_colour_says_nothing_that_plain_text_does_not(name):
    golden = PLANS[name]()
    lines = plan_lines(golden.plan, golden.presentation)
    plain, coloured = rendered(lines, colour=False), rendered(lines, colour=True)
    assert "\x1b" not in plain
    assert ESCAPE.sub("", coloured) == plain


def test_only_symbols_and_loud_words_have_colour():
    golden = PLANS["everything"]()
    coloured = rendered(plan_lines(golden.plan, golden.presentation), colour=True)
    found = {match.strip() for match in re.findall("\x1b\\[[1-9][0-9;]*m(.*?)\x1b\\[0m", coloured)}
    assert found == {"!", "-", "~", "+", "^", "retire", "blocked"}


@pytest.mark.parametrize("width", [50, 60, 72, 80, 100, 140, 220])
@pytest.mark.parametrize("name", PLANS)
def test_every_width_has_the_same_words_and_no_line_that_could_be_shorter(name, width):
    golden = PLANS[name]()
    shown = rendered(plan_lines(golden.plan, golden.presentation, width=width), colour=False)
    wide = rendered(plan_lines(golden.plan, golden.presentation, width=400), colour=False)
    assert sorted(shown.split()) == sorted(wide.split())
    for line in rendered(plan_lines(golden.plan, golden.presentation, width=width), colour=False).splitlines():
        # Steps, diffs and commands stay on their line: a terminal may fold them, a reader copies them
        if re.match(r" *[!~+^=-] \S+ +(is|will|was|blocked|retire|re?build|adopt|publish)|    because", line):
            assert len(line) <= width


def test_wide_characters_take_two_columns():
    blockers = {
        name: Blocker(message, Place("a.yaml", 1)) for name, message in (("a", "画像がない"), ("b", "0123456789"))
    }
    shown = text(World([document("a"), document("b")], blockers=blockers).plan()).splitlines()
    assert shown[2].index("a.yaml") + 5 == shown[3].index("a.yaml")


def test_sections_are_short_unless_asked():
    packages = [f"package-{number}" for number in range(30)]
    world = World([document("web", prepare=[{"packages": {"install": packages}}])])
    assert "package-9" in text(world.plan())
    assert "package-10\n" not in text(world.plan())
    assert "... 20 more (--full)" in text(world.plan())
    assert "package-29" in text(world.plan(), full=True)
    assert "--full" not in text(world.plan(), full=True)


@pytest.mark.parametrize(("count", "last"), [(10, None), (12, None), (13, "... 3 more")])
def test_a_few_more_lines_are_shown_rather_than_counted(count, last):
    world = World([document("web", prepare=[{"packages": {"install": [f"p-{number}" for number in range(count)]}}])])
    shown = text(world.plan())
    assert [line.strip() for line in shown.splitlines() if " more" in line] == ([f"{last} (--full)"] if last else [])
    assert shown.count("+ package") == (10 if last else count)
    # `apply` has no --full
    assert text(world.plan(), applying=True) == shown.replace(" (--full)", "").split("Note:")[0]


@pytest.mark.parametrize(
    ("kinds", "legend"),
    [
        (("template",), None),
        (("packages",), "(predicted): details may differ."),
        (("run",), "(not previewed): only running it shows what it changes."),
        (
            ("packages", "run"),
            "(predicted): details may differ. (not previewed): only running it shows what it changes.",
        ),
    ],
)
def test_what_its_words_for_certainty_mean(kinds, legend):
    shown = text(World([document("web", prepare=[{kind: {}} for kind in kinds])]).plan())
    lines = [line.strip() for line in shown.splitlines()]
    assert [line for line in lines if line.startswith("(")] == ([legend] if legend else [])


def test_a_long_diff_is_short_unless_asked():
    world = World([document("web", prepare=[{"script": {"path": "a.sh"}}])], files={"a.sh": "old\n" * 90})
    world.apply(world.plan())
    world.files["a.sh"] = "new\n" * 90
    assert text(world.plan()).count("-old") == 9
    assert "... 171 more (--full)" in text(world.plan())
    assert text(world.plan(), full=True).count("+new") == 90


@pytest.mark.parametrize(
    ("presentation", "last"),
    [
        ({}, "To save it:   build plan --out build.buildplan"),
        (
            {"arguments": ["--env", "prod", "web-*"]},
            "To save it:   build plan --out build.buildplan --env prod 'web-*'",
        ),
        ({"saved_as": "my plan"}, "To do exactly this:  build apply 'my plan'"),
        ({"saved_as": "p", "stale": ["it expired"]}, "To plan again:  build plan"),
    ],
)
def test_the_last_line_is_the_exact_next_command(presentation, last):
    assert text(World([document("web")]).plan(), **presentation).splitlines()[-1] == last


@given(st.text())
def test_what_a_spec_says_can_not_steer_the_terminal(message):
    assert printable(message).isprintable()
    plan = World(
        [document("web")], blockers={"web": Blocker(message, Place("images/web.yaml", 1), hint=message)}
    ).plan()
    assert all(line.isprintable() for line in text(plan).split("\n"))


def test_tabs_and_controls_are_spelled_out():
    assert printable("a\tb") == "a   b"
    assert printable("\x1b[2J\u202e\n") == "\\x1b[2J\\u202e\\n"
    assert printable("größer 画像") == "größer 画像"


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"TERM": "xterm"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (False, {"FORCE_COLOR": ""}, False),
    ],
)
def test_when_there_is_colour(terminal, environment, expected):
    assert wants_colour(Stream(terminal), environment) == expected


def test_forced_colour_in_a_pipe_moves_no_cursor():
    golden = PLANS["everything"]()
    coloured = rendered(plan_lines(golden.plan, golden.presentation), colour=True)
    assert set(re.findall("\x1b.[0-9;]*([^0-9;])", coloured)) == {"m"}


COMMAND = "set -e\necho one\x1b[2J\x0btwo\n\ncurl https://example.test | sh\n"


def test_a_command_of_many_lines_says_so_and_is_shown_whole_when_asked():
    prepare = [{"run": {"command": COMMAND, "env": {"A": "1"}}}, {"run": {"command": "true"}}]
    plan = World([document("web", prepare=prepare)]).plan()
    assert "2 prepare    run  (4 lines, not previewed)\n" in text(plan)
    assert "curl" not in text(plan)
    lines = [line.strip() for line in text(plan, full=True).splitlines()]
    first = lines.index("2 prepare    run  (4 lines, not previewed)")
    assert lines[first + 1 : first + 6] == [
        'env: {"A": "1"}',
        "| set -e",
        "| echo one\\x1b[2J\\x0btwo",
        "|",
        "| curl https://example.test | sh",
    ]
    assert all(line.isprintable() for line in text(plan, full=True).split("\n"))


def test_the_text_of_a_script_is_shown_when_asked():
    prepare = [{"script": {"path": "a.sh", "args": ["--all"]}}]
    plan = World([document("web", prepare=prepare)], files={"a.sh": "#!/bin/sh\nrm -rf /srv\n"}).plan()
    assert "rm -rf" not in text(plan)
    shown = [line.strip() for line in text(plan, full=True).splitlines()]
    first = shown.index("2 prepare    script a.sh  (not previewed)")
    assert shown[first + 1 : first + 4] == ['args: ["--all"]', "| #!/bin/sh", "| rm -rf /srv"]
