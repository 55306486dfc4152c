from __future__ import annotations

import time

import pytest

from builder.spec.scope import Scope
from builder.spec.template_errors import TemplateInvalid
from builder.spec.templating import Budget, is_templated, render

NAMES = {
    "vars": Scope(
        "vars", {"level": "strict", "n": 3, "list": ["b", "a"], "items": "own", "on": True, "big": "x" * 60_000}
    ),
    "environment": "prod",
    "matrix": Scope("matrix", {}),
    "image": Scope("image", {"name": "web", "version": "1.4.2"}),
}


LITERAL = "write {{ name }}; for the characters themselves write {{ '{{' }}"


def rendered(source: str) -> str:
    return render(source, NAMES, Budget())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ vars.level }}", "strict"),
        ("{{ vars['level'] }}-{{ image.version }}", "strict-1.4.2"),
        ("{{ vars.items }}", "own"),
        ("{{ vars.n * 2 + 1 }}", "7"),
        ("{{ vars.on }} {{ none }}", "true null"),
        ("{{ vars.level ~ '-' ~ vars.n }}", "strict-3"),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ vars.level | upper }}", "STRICT"),
        ("{{ vars.level.title() }}", "Strict"),
        ("{{ vars.list | sort | join(', ') }}", "a, b"),
        ("{{ vars.list | tojson }}", '["b","a"]'),
        ('{{ "it\'s" | quote }}', "'it'\"'\"'s'"),
        ("{{ vars.nope | default('none') }}", "none"),
        ("{{ 'x' | d('y') }}{{ vars.nope is defined }}", "xfalse"),
        ("{% if environment == 'prod' %}p{% else %}d{% endif %}", "p"),
        ("{% for item in vars.list if item != 'b' %}{{ loop.index }}{{ item }}{% endfor %}", "1a"),
        ("{% for n in range(3) %}{{ n }}{% endfor %}", "012"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{# a note #}text\n", "text\n"),
        ("{{ 'abcdef'[1:3] }}{{ 'a' in vars.list }}", "bctrue"),
        ("{{ 'a.b' | replace('.', '-') }}", "a-b"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
    ],
)
def test_templates_render(source, text):
    assert rendered(source) == text


@pytest.mark.parametrize(
    ("source", "code", "message", "at", "help"),
    [
        ("{{ vars.levle }}", "template-undefined", "vars has no 'levle'", (1, 1), "did you mean 'level'?"),
        ("{{ vars.levle.deeper }}", "template-undefined", "vars has no 'levle'", (1, 1), "did you mean 'level'?"),
        (
            "a\nb {{ nope }}",
            "template-undefined",
            "there is no 'nope' here",
            (2, 3),
            "names are: vars, environment, matrix, image",
        ),
        ("{{ vars.list[7] }}", "template-undefined", "the value has no '7'", (1, 1), None),
        ("a\n{{ x", "template-syntax", None, (2, 1), LITERAL),
        ("{{ vars.list }}", "template-failed", "a list or map can't be written as text", (1, 1), "use `| join(', ')`"),
        ("{{ 1 / 0 }}", "template-failed", "can't be rendered: division by zero", (1, 1), None),
        ("{{ 'a' + 1 }}", "template-failed", "`+` needs two numbers", (1, 1), None),
        ("{{ 'x' * 3 }}", "template-failed", "`*` needs two numbers", (1, 1), None),
        ("{{ 'x' | center(9) }}", "template-syntax", "not a template: No filter named 'center'.", (1, 1), None),
    ],
)
def test_what_can_t_be_rendered_is_told(source, code, message, at, help):
    with pytest.raises(TemplateInvalid) as caught:
        rendered(source)
    error = caught.value
    assert (error.code, error.at, error.help) == (code, at, help)
    assert message is None or error.message == message


@pytest.mark.parametrize(
    ("source", "at"),
    [
        ("{{ vars.level }} {{ vars.levle }}", (1, 18)),
        ("a\r\n  {%- if nope %}{% endif %}", (2, 3)),
        ("\n\n {{- ' ' ~ vars.n }} {% for x in nope %}{% endfor %}", (3, 22)),
        ("{% for x in vars.list %}\n{{ x }} {{ x.nope }}{% endfor %}", (2, 9)),
        ("{% raw %}{{ nope }}{% endraw %}{{ nope }}", (1, 32)),
        ("a\n {{ vars.level\n | upper + 1 }}", (2, 2)),
        ("{% if true %} a", (1, 1)),
        ("a {{ foo } }}", (1, 3)),
        ("a {# x", (1, 3)),
        ("a {% set x = 1 %}", (1, 3)),
        ("a {{ 'x' | center(9) }}", (1, 3)),
    ],
)
def test_what_is_wrong_has_the_place_of_its_tag(source, at):
    with pytest.raises(TemplateInvalid) as caught:
        rendered(source)
    assert caught.value.at == at


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ nope }}\n{{ vars.level }} {{ vars.levle }}", ["1:1 there is no 'nope' here", "2:18 vars has no 'levle'"]),
        ("{{ nope }} {{ 1 / 0 }}", ["1:1 there is no 'nope' here", "1:12 can't be rendered: division by zero"]),
        (
            "{% for x in nope %}{{ no }}{% endfor %} {{ no }}",
            ["1:1 there is no 'nope' here", "1:41 there is no 'no' here"],
        ),
        ("{% if true %}{{ a }}{{ b }}{% endif %}{{ c }}", ["1:14 there is no 'a' here", "1:39 there is no 'c' here"]),
        ("{{ vars.list }}{{ b }}", ["1:1 a list or map can't be written as text", "1:16 there is no 'b' here"]),
        ("{{ a }}{{ a }}", ["1:1 there is no 'a' here", "1:8 there is no 'a' here"]),
    ],
)
def test_every_tag_is_told_what_is_wrong_with_it(source, told):
    with pytest.raises(TemplateInvalid) as caught:
        rendered(source)
    assert [f"{error.at[0]}:{error.at[1]} {error.message}" for error in caught.value.each()] == told


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ vars.__class__ }}",
        "{{ vars.level.format(1) }}",
        "{{ range.__self__ }}",
        "{{ vars.list.append(1) }}",
        "{{ _budget.spend(-10) }}",
        "{{ self }}",
        "{{ lipsum() }}",
        "{{ cycler }}",
        "{% set x = 1 %}",
        "{% set x %}{% endset %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{% filter upper %}x{% endfilter %}",
        "{% for x in vars.list recursive %}{% endfor %}",
        "{{ 2 ** 3 }}",
        "{{ vars.list | map('upper') }}",
        "{{ vars.list | attr('append') }}",
        "{{ '%s' % 1 }}",
    ],
)
def test_templates_have_values_filters_if_and_for_only(source):
    with pytest.raises(TemplateInvalid):
        rendered(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 99999999999 * 99999999999 * 99999999999 * 99999999999 }}",
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
        "{% for i in range(10000) %}{{ vars.big }}{% endfor %}",
        "{% for i in range(10000) %}{% if vars.big | replace('x', 'yyyy') == '' %}{% endif %}{% endfor %}",
        "{% for i in range(10000) %}{% if vars.big.upper() == '' %}{% endif %}{% endfor %}",
        "{% for i in range(10000) %}{% if vars.big[1:] == '' %}{% endif %}{% endfor %}",
        "{% for i in range(10000) %}{% if vars.big == vars.big ~ 'x' %}{% endif %}{% endfor %}",
        "{% for i in range(10000) %}{% if 'y' in vars.big %}{% endif %}{% endfor %}",
        "{{ range(10**9) }}",
        "{% for i in range(1000000) %}{% endfor %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ vars.level" + " | upper" * 3000 + " }}",
        "{{ 1" + " + 1" * 3000 + " }}",
        "{% for a in range(1) %}" * 300 + "{% endfor %}" * 300,
        "{{ vars.level }}" * 50_000,
        "{% if true %}" * 900 + "{% endif %}" * 900,
    ],
)
def test_greedy_templates_are_refused_quickly(source):
    started = time.process_time()
    with pytest.raises(TemplateInvalid):
        rendered(source)
    # Bounded work, not measured speed: without the bounds each of these takes hours, or all memory
    assert time.process_time() - started < 5


def test_a_budget_is_shared_by_all_templates_of_a_document():
    budget = Budget()
    with pytest.raises(TemplateInvalid, match="takes too long"):
        for _ in range(100_000):
            render("{{ vars.level }}", NAMES, budget)


def test_what_is_a_template():
    assert is_templated("{{ x }}")
    assert is_templated("{% if x %}")
    assert not is_templated("${HOME} {x} 100%")
