"""What groups records into sessions: the keys we know, names that stand before one, patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs.formats import printable
from enhanced_deeplog.redaction import REDACTED
from enhanced_deeplog.rust_regex import matches_nothing, regex_error

__all__ = [
    "CANDIDATE_KEYS",
    "SessionKey",
    "check_pattern",
    "extract_session_key",
    "named_key",
    "session_key_of",
    "shaped_key",
]

_NOTHING = ("null", "none", "nil", "undefined", "n/a", "na")  # what fields without a value have
_IN_VALUE = r"""[^\s"',;&|<>(){}\[\]\\]"""
_A_NAME = re.compile("[A-Za-z][0-9A-Za-z_.-]{0,60}")
_A_PREFIX = re.compile(r"([A-Za-z]+[_#-])\*")
_HEX_OF_LENGTH = re.compile("(hex|HEX)([1-9][0-9]?)")


@dataclass(frozen=True)
class SessionKey:
    """Something in a record that says which session it belongs to.

    Attributes:
        name: What to call it.
        pattern: Rust regex searched in the raw line, with at most one group; empty if a column holds the key.
        column: The column that holds the key; empty if a pattern finds it.
        weight: How surely this names ONE unit of work, (0, 1]: a block is one from birth to death, a request
            is a single call in the life of such an object, and a thread does one thing after another.
        otherwise: Another pattern, searched where the first finds nothing; empty if there is none.
    """

    name: str
    pattern: str = ""
    column: str = ""
    weight: float = 1.0
    otherwise: str = ""

    def extract(self, frame: pl.DataFrame) -> pl.Series:
        """The session key of each record, String (N,); null where it has none."""
        if self.column:
            return frame[self.column].alias("session_key")
        found = _first_match(frame["text"], self.pattern)
        if not self.otherwise:
            return found
        if found.null_count():
            found = found.zip_with(found.is_not_null(), _first_match(frame["text"], self.otherwise))
        return found.set(found.str.to_lowercase().is_in(_NOTHING), None)


_HEX_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_VALUE = r"""["']?[=: ]+["']?([0-9A-Za-z][0-9A-Za-z_.-]{3,})"""  # what follows a name: =x, : x, ": "x"

# In the order in which they are preferred if they are otherwise equally good.
CANDIDATE_KEYS: Mapping[str, SessionKey] = {
    key.name: key
    for key in (
        SessionKey("field", column="session_key"),
        SessionKey("block", "blk_-?[0-9]+"),
        SessionKey("instance", rf"\[instance: ({_HEX_UUID})\]"),
        SessionKey("attempt", "(?:app)?attempt_[0-9]+_[0-9]+(?:_[mr])?_[0-9]+(?:_[0-9]+)?"),
        SessionKey("trace", rf"(?i:trace[_-]?id){_VALUE}", weight=0.9),
        SessionKey("request", "req-[0-9a-fA-F][0-9a-fA-F-]{5,35}", weight=0.8),
        SessionKey("request_id", rf"(?i:request[_-]?id){_VALUE}", weight=0.8),
        SessionKey("application", "application_[0-9]+_[0-9]+", weight=0.7),
        SessionKey("container", "container_[0-9a-z_]*[0-9]+_[0-9]+|(?-u:\\b)[0-9a-f]{64}(?-u:\\b)", weight=0.7),
        SessionKey("uuid", _HEX_UUID, weight=0.6),
        SessionKey("hex32", "(?-u:\\b)[0-9a-f]{32}(?-u:\\b)", weight=0.8),  # a trace id, nginx' $request_id
        SessionKey("thread", column="process", weight=0.4),
    )
}


def named_key(name: str, *, weight: float = 1.0) -> SessionKey:
    """The key that stands behind a name: `job=vt-8b1a`, `"job": "vt-8b1a"`, `job #17`, `job 17`.

    Where it is no field, but prose, it must have a digit: "job 17" and "job: 17", but not "job finished".

    Example:
        >>> lines = ["job=a-17, ok", '{"job": "b"}', "job #18 begins", "job: finished", "job=null"]
        >>> named_key("job").extract(pl.DataFrame({"text": lines})).to_list()
        ['a-17', 'b', '18', None, None]
    """
    begins = rf"(?:^|[^0-9A-Za-z_.-]){re.escape(name)}"
    # A key that is a secret is still one, see `redaction`.
    field = rf"""{begins}(?:[ \t]*=|["'][ \t]*:)[ \t]*["'#\[(]*({REDACTED}|[0-9A-Za-z](?:{_IN_VALUE}*[0-9A-Za-z])?)"""
    with_digit = "[0-9A-Za-z_.-]*[0-9](?:[0-9A-Za-z_.-]*[0-9A-Za-z])?"
    prose = rf"""{begins}["']?[ \t]*[ \t:#\[(][ \t#\[(]*({REDACTED}|{with_digit})"""
    return SessionKey(name, field, weight=weight, otherwise=prose)


def shaped_key(name: str, *, weight: float = 1.0) -> SessionKey | None:
    """The key that has a shape: `vt-*` a prefix and a digit somewhere, `hex12` (`HEX12`) so many hexadecimal digits.

    Hexadecimal digits stand by themselves: they are no part of a UUID. None if the name is none of these.

    Example:
        >>> frame = pl.DataFrame({"text": ["[vt-8b1a] begins", "vt-none", "id 8b1a77"]})
        >>> [shaped_key(name).extract(frame).to_list() for name in ("vt-*", "hex6")]
        [['vt-8b1a', None, None], [None, None, '8b1a77']]
    """
    if prefix := _A_PREFIX.fullmatch(name):
        pattern = rf"(?-u:\b){re.escape(prefix[1])}[0-9A-Za-z-]*[0-9][0-9A-Za-z]*"
    elif digits := _HEX_OF_LENGTH.fullmatch(name):
        letters = "a-f" if digits[1] == "hex" else "A-F"
        pattern = rf"(?:^|[^0-9A-Za-z-])([0-9{letters}]{{{digits[2]}}})(?:[^0-9A-Za-z-]|$)"
    else:
        return None
    return SessionKey(name, pattern, weight=weight)


def extract_session_key(frame: pl.DataFrame, pattern: str | SessionKey) -> pl.Series:
    """The session key of each record by a pattern: the first match in its raw line.

    Args:
        frame: Records with at least the column `text` (and the column that a named key stands for).
        pattern: A key, the name of one of `CANDIDATE_KEYS`, or a Rust regex: group 1 if it has a group, else
            the whole match.

    Returns:
        String (N,), null where nothing matches or the match is empty.

    Raises:
        UsageError: If the pattern is no regex, uses look-around, or has more than one group.
    """
    return session_key_of(pattern).extract(frame)


def session_key_of(pattern: str | SessionKey) -> SessionKey:
    """The key that `--session-key` means: one of `CANDIDATE_KEYS`, a shape, a name that stands before it, a regex.

    Raises:
        UsageError: If the pattern is no regex, uses look-around, or has more than one group.
    """
    if isinstance(pattern, SessionKey):
        return pattern
    if pattern in CANDIDATE_KEYS:
        return CANDIDATE_KEYS[pattern]
    if shaped := shaped_key(pattern):
        return shaped
    if _A_NAME.fullmatch(pattern):  # as a regex it would find the same in each line
        return named_key(pattern)
    check_pattern(pattern)
    return SessionKey(pattern, pattern)


def check_pattern(pattern: str) -> None:
    """Refuse a session key pattern that can't be used, and say why.

    Raises:
        UsageError: If it is no regex, uses look-around, matches the empty text, or has more than one group.
    """
    shown = printable(pattern)
    if reason := regex_error(pattern):
        raise UsageError(
            f"session key '{shown}': expected a regular expression of Rust's syntax (no look-around, no "
            f"back-references); {reason}. Put what you want to keep into one group: 'order=([0-9]+)'."
        )
    n_groups = _n_groups(pattern)
    if n_groups > 1:
        raise UsageError(
            f"session key '{shown}': expected at most one group, the key itself; it has {n_groups}. "
            f"Write (?:...) for the others."
        )
    if matches_nothing(pattern, ""):
        raise UsageError(
            f"session key '{shown}': expected a pattern that needs at least one character; it matches the "
            f"empty text, which every line begins with. Write + instead of *."
        )


def _n_groups(pattern: str) -> int:
    dtype = pl.Series([""]).str.extract_groups(pattern).dtype
    return len(dtype.fields) if isinstance(dtype, pl.Struct) else 0


def _first_match(texts: pl.Series, pattern: str) -> pl.Series:
    found = texts.str.extract(pattern, min(_n_groups(pattern), 1)).alias("session_key")
    return found.set(found == "", None)
