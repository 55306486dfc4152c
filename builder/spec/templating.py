"""Jinja2 in values and template files: sandboxed, strict about names, bounded in time and size.

A template comes from a pull request that nobody may have read yet. So it has values, filters, `if` and `for`, and
nothing that could name a result and use it twice (`set`, macros): then work can't grow faster than the text does, but
in loops and where texts are joined, which spend from a budget.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from builder.model.canonical import Json, canonical
from builder.spec.scope import Scope
from builder.spec.template_errors import ALLOWED, HELP_FOLLOWS, TemplateInvalid, lexer_class, placed, told

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes
    from jinja2.lexer import Lexer

# A unit is about a character that is read or written, or a tenth of a loop's round
BUDGET = 5_000_000
ROUND = 10
COMPILATION = 2_000
LONGEST_RANGE = 10_000
LONGEST_RESULT = 1024 * 1024
LONGEST_TEMPLATE = 256 * 1024
MOST_TAGS = 1000
DEEPEST = 40
LARGEST_NUMBER_BITS = 128

NAMES = "names are: vars, environment, matrix, image"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STATEMENTS = _words("Template Output TemplateData For If")
EXPRESSIONS = _words(
    """Name Const Tuple List Dict Pair Keyword CondExpr Filter Test Call Getitem Getattr Slice Concat Compare Operand
    Mul Add Sub Div FloorDiv Mod And Or Not Neg Pos"""
)
TEXT_METHODS = _words(
    """capitalize endswith isalnum isalpha isdigit islower isupper lower lstrip removeprefix removesuffix rsplit rstrip
    split splitlines startswith strip title upper"""
)
MAP_METHODS = _words("get items keys values")
# Jinja2's filters that are pure and whose result is no longer than what they are given
FILTERS = _words(
    """abs capitalize default first float int last length list lower max min round sort string title trim unique
    upper"""
)


def is_templated(text: str) -> bool:
    """Whether a text holds template syntax."""
    return "{{" in text or "{%" in text or "{#" in text


@dataclass
class Budget:
    """What the templates of one document may cost together; `spare` is for saying what is wrong with them."""

    left: int = BUDGET
    spare: int = BUDGET

    def spend(self, units: int) -> None:
        """Take from what is left. Raises TemplateInvalid when there is not enough."""
        self.left -= units
        if self.left < 0:
            raise TemplateInvalid("template-too-large", "the template takes too long or makes too much text")


def render(source: str, names: Mapping[str, Json], budget: Budget) -> str:
    """The text of a template. Raises TemplateInvalid, with what is wrong in each of its tags."""
    with placed(source), told():
        budget.spend(COMPILATION + len(source))
        template = _template(source)
    try:
        with placed(source), told():
            return _generate(template, names, budget)
    except TemplateInvalid as error:
        error.others = tuple(other for other in _of_each_tag(source, names, budget) if other.at != error.at)
        raise


def _generate(template: jinja2.Template, names: Mapping[str, Json], budget: Budget) -> str:
    written = []
    length = 0
    for part in template.generate({**names, "_budget": budget}):
        length += len(part)
        budget.spend(len(part))
        if length > LONGEST_RESULT:
            raise TemplateInvalid("template-too-large", f"makes more than {LONGEST_RESULT:,} characters")
        written.append(part)
    return "".join(written)


def _of_each_tag(source: str, names: Mapping[str, Json], budget: Budget) -> Iterator[TemplateInvalid]:
    """What goes wrong in the tags of a template, each rendered alone: none sets what another one uses."""
    from jinja2 import nodes

    purse = Budget(budget.spare)
    tree = _environment().parse(source)
    _count_work(tree)
    for statement in tree.body:
        parts = statement.nodes if isinstance(statement, nodes.Output) else [None]
        for part in parts:
            if isinstance(part, nodes.TemplateData):
                continue
            alone = statement if part is None else nodes.Output([part], lineno=part.lineno)
            try:
                with placed(source), told():
                    purse.spend(COMPILATION)
                    _generate(_compiled(nodes.Template([alone], lineno=1)), names, purse)
            except TemplateInvalid as error:
                if error.code == "template-too-large":
                    return
                yield error
            finally:
                budget.spare = max(0, purse.left)


def collection(source: str, names: Mapping[str, Json], budget: Budget) -> Json:
    """The list or map that a template is, when it is one expression and nothing else; None for all else.

    Raises TemplateInvalid.
    """
    with placed(source), told():
        budget.spend(COMPILATION + len(source))
        template = _expression(source)
        if template is None:
            return None
    with placed(source, alone=True), told():
        context = template.new_context({**names, "_budget": budget})
        for _ in template.root_render_func(context):
            pass
        value = context.vars[_RESULT]
        if isinstance(value, str) or not isinstance(value, Iterable):
            return None
        # Filters may yield their items
        text = json.dumps(value if isinstance(value, Mapping) else list(value))
        budget.spend(len(text))
        if len(text) > LONGEST_RESULT:
            raise TemplateInvalid("template-too-large", f"makes more than {LONGEST_RESULT:,} characters")
        return json.loads(text)


@lru_cache(maxsize=4096)
def _template(source: str) -> jinja2.Template:
    if len(source) > LONGEST_TEMPLATE or source.count("{{") + source.count("{%") > MOST_TAGS:
        message = f"a template has at most {LONGEST_TEMPLATE:,} characters and {MOST_TAGS:,} tags"
        raise TemplateInvalid("template-too-large", message)
    environment = _environment()
    tree = environment.parse(source)
    _check(tree, 0)
    _count_work(tree)
    return _compiled(tree)


def _compiled(tree: nodes.Template) -> jinja2.Template:
    import jinja2

    environment = _environment()
    return jinja2.Template.from_code(environment, environment.compile(tree), environment.make_globals(None))


# The name that an expression's value is put under
_RESULT = "result"


@lru_cache(maxsize=4096)
def _expression(source: str) -> jinja2.Template | None:
    """A template that puts the value of the only expression in `source` under a name; None for another template."""
    from jinja2 import nodes

    # Checks everything
    _template(source)
    environment = _environment()
    tree = environment.parse(source.strip())
    outputs = [node for output in tree.body if isinstance(output, nodes.Output) for node in output.nodes]
    if len(tree.body) != 1 or len(outputs) != 1 or isinstance(outputs[0], nodes.TemplateData):
        return None
    _count_work(tree)
    (value,) = tree.body[0].nodes  # type: ignore[attr-defined]
    put = nodes.Assign(nodes.Name(_RESULT, "store", lineno=1), value, lineno=1)
    return _compiled(nodes.Template([put], lineno=1))


def _check(node: nodes.Node, depth: int) -> None:
    """Refuse what could make work grow faster than the text. Raises TemplateInvalid."""
    from jinja2 import nodes

    name = type(node).__name__
    if name not in STATEMENTS and name not in EXPRESSIONS:
        word = {"Pow": "**", "Assign": "set", "AssignBlock": "set"}.get(name, name.lower())
        raise TemplateInvalid(
            "template-unsafe", f"`{word}` can't be used in templates", character=node.lineno, help=ALLOWED
        )
    if isinstance(node, nodes.Name) and node.name.startswith("_"):
        raise TemplateInvalid("template-unsafe", f"{node.name!r} can't be used in templates", character=node.lineno)
    if isinstance(node, nodes.For) and node.recursive:
        raise TemplateInvalid("template-unsafe", "a loop can't be recursive", character=node.lineno)
    # Jinja2's compiler takes a time that grows steeply with the depth
    if depth > DEEPEST:
        raise TemplateInvalid("template-too-large", "the template is nested too deeply", character=node.lineno)
    for child in node.iter_child_nodes():
        _check(child, depth + 1)


def _count_work(tree: nodes.Template) -> None:
    """Let loops, comparisons, slices, methods, filters and joined text spend from the budget."""
    from jinja2 import nodes

    for node in list(tree.find_all(nodes.Node)):
        if isinstance(node, nodes.For):
            node.iter = _through("_rounds", node.iter)
        elif isinstance(node, nodes.Compare | nodes.Operand):
            node.expr = _through("_weighed", node.expr)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            node.node = _through("_weighed", node.node)
        elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            node.node.node = _through("_weighed", node.node.node)
        elif isinstance(node, nodes.Filter) and node.name in FILTERS and node.node:
            node.node = _through("_weighed", node.node)
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in list(parent.iter_fields()):
            if isinstance(value, nodes.Concat):
                setattr(parent, field, _joined(value))
            elif isinstance(value, list):
                value[:] = [_joined(item) if isinstance(item, nodes.Concat) else item for item in value]


def _through(name: str, node: nodes.Node) -> nodes.Filter:
    from jinja2 import nodes

    assert isinstance(node, nodes.Expr)
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _joined(node: nodes.Concat) -> nodes.Filter:
    from jinja2 import nodes

    return _through("_concat", nodes.List(node.nodes, lineno=node.lineno))


@cache
def _lexer(environment: jinja2.Environment) -> Lexer:
    return lexer_class()(environment)


@cache
def _environment() -> jinja2.Environment:
    import jinja2
    from jinja2 import sandbox

    class Undefined(jinja2.StrictUndefined):
        """A name that isn't there; says which names are."""

        # The base class binds its operators to functions of its own, which ask this property
        __slots__ = ()

        @property
        def _undefined_message(self) -> str:
            name, scope = str(self._undefined_name), self._undefined_obj
            if isinstance(scope, Scope):
                return f"{scope.title} has no {name!r}{HELP_FOLLOWS}{scope.help_for(name)}"
            if scope is jinja2.utils.missing:
                return f"there is no {name!r} here{HELP_FOLLOWS}{NAMES}"
            return f"the value has no {name!r}"

    class Environment(sandbox.ImmutableSandboxedEnvironment):
        """The sandbox, with operators and calls that spend from the budget or are refused."""

        @property
        def lexer(self) -> Lexer:
            return _lexer(self)

        intercepted_binops = frozenset({"*", "+", "%"})

        def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Json, right: Json) -> Json:
            return _operate(operator, left, right, context["_budget"])

        def is_safe_callable(self, obj: object) -> bool:
            owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
            if isinstance(owner, str):
                return name in TEXT_METHODS
            return obj is _range or (isinstance(owner, Mapping) and name in MAP_METHODS)

        def getattr(self, obj: object, attribute: str) -> object:
            # `vars.items` is the variable, not the method
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            if isinstance(obj, Scope) and attribute not in MAP_METHODS:
                return self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

    environment = Environment(
        undefined=Undefined, finalize=_scalar, keep_trailing_newline=True, cache_size=0, optimized=False
    )
    environment.globals = {"range": _range}
    environment.filters = _filters()
    for name in ("callable", "escaped", "filter", "in", "test"):
        del environment.tests[name]
    return environment


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > LONGEST_RANGE:
        raise TemplateInvalid("template-too-large", f"a range has at most {LONGEST_RANGE:,} numbers")
    return numbers


def _scalar(value: Json) -> Json:
    """What may be written into text, as YAML writes it: true, not Python's True."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, str | int | float | jinja2_undefined()):
        return value
    raise TemplateInvalid("template-failed", "a list or map can't be written as text", help="use `| join(', ')`")


@cache
def jinja2_undefined() -> type:
    """Jinja2's class of undefined values."""
    import jinja2

    return jinja2.Undefined


def _operate(operator: str, left: Json, right: Json, budget: Budget) -> Json:
    numbers = all(isinstance(side, int | float) for side in (left, right))
    if operator == "+" and (numbers or type(left) is type(right)):
        if not numbers:
            budget.spend(len(left) + len(right))
        return left + right
    if not numbers:
        raise TemplateInvalid("template-failed", f"`{operator}` needs two numbers")
    if operator == "%":
        return left % right
    if sum(int(side).bit_length() for side in (left, right)) > LARGEST_NUMBER_BITS:
        raise TemplateInvalid("template-too-large", "the number is too large")
    return left * right


def _filters() -> dict[str, Callable[..., Any]]:
    """Every filter there is: those of jinja2's that are safe, and ours, which spend what they make."""
    import jinja2
    from jinja2 import filters

    @jinja2.pass_context
    def rounds(context: jinja2.runtime.Context, items: Iterable[Json]) -> Iterator[Json]:
        for item in items:
            context["_budget"].spend(ROUND)
            yield item

    @jinja2.pass_context
    def weighed(context: jinja2.runtime.Context, value: Json) -> Json:
        if isinstance(value, str | list | tuple | Mapping):
            context["_budget"].spend(len(value))
        return value

    @jinja2.pass_context
    def concat(context: jinja2.runtime.Context, parts: Sequence[Json]) -> str:
        text = "".join(str(_scalar(part)) for part in parts)
        context["_budget"].spend(len(text))
        return text

    @jinja2.pass_context
    def join(context: jinja2.runtime.Context, items: Iterable[Json], separator: str = "") -> str:
        texts = [str(_scalar(item)) for item in items]
        context["_budget"].spend(sum(len(text) + len(separator) for text in texts))
        return separator.join(texts)

    @jinja2.pass_context
    def replace(context: jinja2.runtime.Context, text: str, old: str, new: str) -> str:
        text = str(text)
        context["_budget"].spend(len(text) + text.count(old) * len(new))
        return text.replace(old, new)

    @jinja2.pass_context
    def indent(context: jinja2.runtime.Context, text: str, width: int = 4) -> str:
        text = str(text)
        context["_budget"].spend(len(text) + text.count("\n") * width)
        return text.replace("\n", "\n" + " " * width)

    @jinja2.pass_context
    def tojson(context: jinja2.runtime.Context, value: Json) -> str:
        text = canonical(value).decode()
        context["_budget"].spend(len(text))
        return text

    def quote(value: Json) -> str:
        return shlex.quote(str(_scalar(value)))

    ours = {
        "_rounds": rounds,
        "_concat": concat,
        "_weighed": weighed,
        "join": join,
        "replace": replace,
        "indent": indent,
        "tojson": tojson,
        "quote": quote,
        "d": filters.FILTERS["default"],
    }
    return {**{name: filters.FILTERS[name] for name in FILTERS}, **ours}
