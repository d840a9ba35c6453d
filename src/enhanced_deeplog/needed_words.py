"""Words without which a regular expression can't match: a quick look before a slow one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]  # nothing public reads a pattern
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

__all__ = ["needed_words"]

_LEAST_LETTERS = 2  # a single one is in nearly every line


def needed_words(pattern: str) -> frozenset[str] | None:
    """Lower-case texts of which every text that matches has at least one; None if nothing can be said.

    Example:
        >>> sorted(needed_words(r"(?i)no space left|disk (is )?full"))
        ['disk ', 'no space left']
        >>> needed_words("[0-9]+") is None
        True
    """
    try:
        tree = parser.parse(pattern)
    except (re.error, OverflowError):  # what Rust knows and Python doesn't
        return None
    return _of_sequence(tree)


def _of_sequence(parts: Iterable[tuple[Any, Any]]) -> frozenset[str] | None:
    """The best of what its parts need: that whose shortest word is longest."""
    best: frozenset[str] | None = None
    run = ""
    for kind, value in [*parts, (None, None)]:
        if kind is op.LITERAL:
            run += chr(value).lower()
            continue
        for words in (frozenset([run]), _of_part(kind, value)):
            if words is not None and min(map(len, words)) >= max(_LEAST_LETTERS, _shortest(best) + 1):
                best = words
        run = ""
    return best


def _shortest(words: frozenset[str] | None) -> int:
    return min(map(len, words)) if words else 0


def _of_part(kind: Any, value: Any) -> frozenset[str] | None:
    if kind is op.SUBPATTERN:
        return _of_sequence(value[-1])
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] >= 1:
        return _of_sequence(value[2])
    if kind is op.BRANCH:
        found = [_of_sequence(branch) for branch in value[1]]
        return frozenset().union(*(words for words in found if words)) if all(found) else None
    return None
