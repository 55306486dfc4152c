"""Names that templates may use, which know what to say about those that aren't there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from builder.model.canonical import Json


class Scope(dict[str, Json]):
    """Names that templates may use, under a title such as `vars`. `help` is for a name that isn't there.

    `later` are those that will be there, but only for what follows.
    """

    def __init__(self, title: str, values: Mapping[str, Json], help: str = "", later: Iterable[str] = ()) -> None:
        super().__init__(values)
        self.title = title
        self.help = help
        self.later = set(later)

    def help_for(self, name: str) -> str:
        """What to do about a name that isn't there."""
        if name in self.later:
            return f"{name!r} is set after it: a variable can use those that are set before it"
        close = difflib.get_close_matches(name, self, 1)
        return f"did you mean {close[0]!r}?" if close else self.help
