"""What is wrong with a template, and where in it, to the character: jinja2 itself tells lines only.

Its lexer gives every token the number of its line, which goes on into nodes, compiled code and errors. Ours gives the
number of the token's first character instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from builder.spec.document import Position, position_of

if TYPE_CHECKING:
    from jinja2.lexer import Lexer

ALLOWED = "templates have values, filters, `if` and `for`"
# Between an undefined name's message and its help, which jinja2 carries as one text
HELP_FOLLOWS = "\0"
# What to do about jinja2's own findings; the first that fits counts
_SYNTAX = (
    ("No (filter|test) named", None),
    ("comment", "`{#` begins a comment; for the characters themselves write {{ '{#' }}"),
    ("tag", ALLOWED),
    ("", "write {{ name }}; for the characters themselves write {{ '{{' }}"),
)
_TAGS = ("{{", "{%", "{#")
_LINE_BREAK = re.compile("\r\n|\r|\n")


class TemplateInvalid(Exception):
    """A template that can't be rendered.

    `character` counts from 1 within the template; 0 for what no place in it is to blame for. `at` is the line and
    column of the tag there, known once the error leaves this module. `others` are those of other tags.
    """

    def __init__(self, code: str, message: str, *, character: int = 0, help: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.character, self.help = code, message, character, help
        self.at: Position | None = None
        self.others: tuple[TemplateInvalid, ...] = ()

    def each(self) -> tuple[TemplateInvalid, ...]:
        """This and those of other tags, by place."""
        return tuple(sorted((self, *self.others), key=lambda error: error.at or (0, 0)))


@contextmanager
def placed(source: str, *, alone: bool = False) -> Iterator[None]:
    """Whatever goes wrong with the template in the block is told with its place in it; `alone`: it has one tag only."""
    try:
        yield
    except TemplateInvalid as error:
        if alone:
            error.character = source.index("{{") + 1
        if error.character:
            error.at = tag_position(source, error.character)
        raise


@contextmanager
def told() -> Iterator[None]:
    """Whatever goes wrong with a template in the block is a TemplateInvalid."""
    import jinja2
    from jinja2.exceptions import SecurityError

    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        message = f"not a template: {error.message}"
        help = next((text for pattern, text in _SYNTAX if re.search(pattern, message)), None)
        raise TemplateInvalid("template-syntax", message, character=error.lineno, help=help) from error
    except jinja2.UndefinedError as error:
        message, _, help = str(error.message).partition(HELP_FOLLOWS)
        raise TemplateInvalid(
            "template-undefined", message, character=_character_of(error), help=help or None
        ) from error
    except SecurityError as error:
        # Jinja2's own message shows addresses in memory, which differ from run to run
        message, character = "this can't be used in templates", _character_of(error)
        raise TemplateInvalid("template-unsafe", message, character=character, help=ALLOWED) from error
    except TemplateInvalid as error:
        error.character = max(error.character, _character_of(error))
        raise
    except (RecursionError, MemoryError, SyntaxError) as error:
        # Python's compiler has limits of its own on how deep code is nested
        raise TemplateInvalid("template-too-large", "the template is nested too deeply") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        message, character = f"can't be rendered: {error}", _character_of(error)
        raise TemplateInvalid("template-failed", message, character=character) from error


def _character_of(error: BaseException) -> int:
    """The character of the template at which an error arose, which compiled templates have for a line; 0 for none."""
    character, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            character = trace.tb_lineno
        trace = trace.tb_next
    return character


def tag_position(source: str, number: int) -> Position:
    """The line and column, within the template, of the tag around the character with this number (from 1)."""
    source = _LINE_BREAK.sub("\n", source)
    # A tag that starts at the character itself counts
    starts = [source.rfind(tag, 0, number + 1) for tag in _TAGS]
    return position_of(source, max(0, *starts))


@cache
def lexer_class() -> type[Lexer]:
    """Jinja2's lexer, which numbers characters where it numbered lines."""
    from jinja2 import TemplateSyntaxError
    from jinja2.lexer import Lexer

    class Characters(Lexer):
        def tokeniter(
            self, source: str, name: str | None, filename: str | None = None, state: str | None = None
        ) -> Iterator[tuple[int, str, str]]:
            source = _LINE_BREAK.sub("\n", source)
            tokens = super().tokeniter(source, name, filename, state)
            end = 0
            while True:
                try:
                    _, kind, text = next(tokens)
                except StopIteration:
                    return
                except TemplateSyntaxError as error:
                    error.lineno = end + 1
                    raise
                # Looked for, because white space that `{%-` removes is in no token
                start = max(source.find(text, end), end)
                yield start + 1, kind, text
                end = start + len(text)

    return Characters
