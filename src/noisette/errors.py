"""The one exception that a user can cause and the command line turns into a single line with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong, where, and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: '; did you mean "x"?', or the list of known names when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(names)}"
