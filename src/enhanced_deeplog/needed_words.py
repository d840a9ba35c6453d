"""Words without which a regular expression can't match: a quick look before a slow one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from re import _constants as op  # type: ignore[attr-defined]  # nothing public reads a pattern
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

__all__ = ["NeededWords", "needed_words"]

_LEAST_LETTERS = 2  # a single one is in nearly every line
_ESCAPE = re.compile(r"\\(?:[bB]\{|.)", re.DOTALL)


@dataclass(frozen=True)
class NeededWords:
    """What a text must have to match.

    Attributes:
        groups: Of each, one thing at least: a lower-case word of ASCII without digits, or all that a branch of the
            pattern needs. With no group nothing is known, and any text may match.
    """

    groups: tuple[tuple[str | NeededWords, ...], ...]

    def are_in(self, lower: str) -> bool:
        """Whether a text, in lower case, has them."""
        return all(
            any(part in lower if isinstance(part, str) else part.are_in(lower) for part in group)
            for group in self.groups
        )

    def rarest(self) -> frozenset[str] | None:
        """Of these words every text that matches has at least one; of all such sets that whose shortest is longest."""
        flat = [words for group in self.groups if (words := _words_of(group)) is not None]
        return max(flat, key=lambda words: min(map(len, words)), default=None)


def needed_words(pattern: str) -> NeededWords:
    """What a text must have to match a pattern.

    Example:
        >>> needed = needed_words(r"(?i)no space left|(disk|volume) (is )?full")
        >>> needed.are_in("the disk has no space"), needed.are_in("the disk is full")
        (False, True)
        >>> sorted(needed.rarest())
        ['disk', 'no space left', 'volume']
        >>> needed_words("answered 50[0-9] at once").groups
        (('answered ',), (' at once',))
    """
    if _means_otherwise_to_rust(pattern):
        return NeededWords(())
    try:
        return _of_sequence(parser.parse(pattern))
    except (re.error, OverflowError):  # what Rust knows and Python doesn't
        return NeededWords(())


def _means_otherwise_to_rust(pattern: str) -> bool:
    """Whether Python reads letters where Rust reads the end of a word, or a set made of sets."""
    if {r"\<", r"\>", r"\b{", r"\B{"} & set(_ESCAPE.findall(pattern)):
        return True
    plain = _ESCAPE.sub("a", pattern)
    return re.search(r"\[[^\]]*(?:\[|&&|--|~~)", plain) is not None


def _is_plain(letter: str) -> bool:
    """Whether it is found in a lower-case line wherever the pattern matches it: no digit, and none beyond ASCII.

    Lines that differ in digits are looked at as one, and case is more than a letter beyond ASCII: at the end of a word
    a small sigma is another one. But k and s have relatives beyond ASCII that match them, too.
    """
    return letter.isascii() and not letter.isdigit()


def _words_of(group: tuple[str | NeededWords, ...]) -> frozenset[str] | None:
    """The words of a group, of each branch its rarest ones."""
    words = [frozenset([part]) if isinstance(part, str) else part.rarest() for part in group]
    return frozenset().union(*(some for some in words if some)) if all(words) else None


def _of_sequence(parts: Iterable[tuple[Any, Any]]) -> NeededWords:
    groups: list[tuple[str | NeededWords, ...]] = []
    run = ""
    for kind, value in [*parts, (None, None)]:
        if kind is op.LITERAL and _is_plain(chr(value)):
            run += chr(value).lower()
            continue
        if len(run) >= _LEAST_LETTERS:
            groups.append((run,))
        groups += _of_part(kind, value)
        run = ""
    return NeededWords(tuple(groups))


def _of_part(kind: Any, value: Any) -> tuple[tuple[str | NeededWords, ...], ...]:
    if kind is op.SUBPATTERN:
        return _of_sequence(value[-1]).groups
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] >= 1:
        return _of_sequence(value[2]).groups
    if kind is op.BRANCH:
        branches = [_of_sequence(branch) for branch in value[1]]
        if all(branch.groups for branch in branches):
            return (tuple(_simplest(branch) for branch in branches),)
    return ()


def _simplest(needed: NeededWords) -> str | NeededWords:
    if len(needed.groups) == 1 and len(needed.groups[0]) == 1:
        return needed.groups[0][0]
    return needed
