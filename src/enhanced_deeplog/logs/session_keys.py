"""What groups records into sessions: the keys we know, and which of them a log is written around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs.formats import printable
from enhanced_deeplog.rust_regex import matches_nothing, regex_error

__all__ = [
    "CANDIDATE_KEYS",
    "SessionKey",
    "SessionKeyChoice",
    "check_pattern",
    "extract_session_key",
    "find_session_key",
    "session_key_of",
]

_SAMPLE_RECORDS = 50_000
_LEAST_SCORE = 0.35  # two sessions of all records, by request: 1 * 1 * .5 * .8 = .4


@dataclass(frozen=True)
class SessionKey:
    """Something in a record that says which session it belongs to.

    Attributes:
        name: What to call it.
        pattern: Rust regex searched in the raw line, with at most one group; empty if a column holds the key.
        column: The column that holds the key; empty if a pattern finds it.
        weight: How surely this names ONE unit of work, (0, 1]: a block is one from birth to death, a request
            is a single call in the life of such an object, and a thread does one thing after another.
    """

    name: str
    pattern: str = ""
    column: str = ""
    weight: float = 1.0

    def extract(self, frame: pl.DataFrame) -> pl.Series:
        """The session key of each record, String (N,); null where it has none."""
        if self.column:
            return frame[self.column].alias("session_key")
        return _first_match(frame["text"], self.pattern)


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


@dataclass(frozen=True)
class SessionKeyChoice:
    """The key that a log is written around, and what was weighed to find it.

    Attributes:
        chosen: The key to use; None if none is good enough: sessions are then blocks of consecutive records.
        runner_up: The next best key that would do; None if there is none.
        candidates: One row a key that occurs, best first: `key`, `coverage` (share of records that have it),
            `n_sessions`, `median_length` (records of a session), `singleton_share` (sessions of one record),
            `score`, `acceptable`.
    """

    chosen: SessionKey | None
    runner_up: SessionKey | None
    candidates: pl.DataFrame

    @property
    def reason(self) -> str:
        """One line for a person: what was chosen, and why."""
        if self.chosen is None:
            return "no key: consecutive blocks"
        best = self.candidates.row(0, named=True)
        return (
            f"{best['key']}: in {best['coverage']:.0%} of the records, {best['n_sessions']:,} sessions, "
            f"{best['median_length']:g} records each (median), {best['singleton_share']:.0%} have only one"
        )


def find_session_key(batch: pl.DataFrame) -> SessionKeyChoice:
    """Find what groups the records of a log into sessions, from its first 50,000 records.

    Args:
        batch: Records in the order of time, columns of `RECORD_SCHEMA`.

    Example:
        >>> lines = [f"blk_{block} {step}" for step in ("opened", "written") for block in (1, 2, 3)]
        >>> frame = pl.DataFrame({"text": lines}).with_columns(session_key=None, process=None)
        >>> find_session_key(frame).chosen.name
        'block'
    """
    sample = batch.head(_SAMPLE_RECORDS)
    rows = [row for key in CANDIDATE_KEYS.values() if (row := _weigh(key, sample)) is not None]
    table = pl.DataFrame(rows, schema=_CANDIDATES_SCHEMA, orient="row")
    table = table.sort("acceptable", "score", descending=True, maintain_order=True)
    good = [CANDIDATE_KEYS[name] for name in table.filter("acceptable")["key"]]
    return SessionKeyChoice(good[0] if good else None, good[1] if len(good) > 1 else None, table)


_CANDIDATES_SCHEMA = {
    "key": pl.String,
    "coverage": pl.Float64,
    "n_sessions": pl.Int64,
    "median_length": pl.Float64,
    "singleton_share": pl.Float64,
    "score": pl.Float64,
    "acceptable": pl.Boolean,
}


def _weigh(key: SessionKey, sample: pl.DataFrame) -> tuple[object, ...] | None:
    """One row of `SessionKeyChoice.candidates`; None if the key doesn't occur.

    The score is a product of shares, so that one bad property can't be made up for by another: the share of
    records that have the key; the share of sessions with more than one record; the chance that two records
    drawn at random lie in different sessions (0 for one session, .5 for two, small if one session swallows
    most records); and the weight of the key.
    """
    sessions = _sessions_of(key.extract(sample))
    if sessions.is_empty():
        return None
    n_records = int(sessions["length"].sum())
    coverage = n_records / len(sample)
    apart = 1.0 - float(((sessions["length"] / n_records) ** 2).sum())
    lengths = _unhurried(sessions, len(sample))["length"]
    median = float(lengths.quantile(0.5, "midpoint") or 0.0)
    singletons = int((lengths == 1).sum()) / len(lengths)
    score = coverage * (1.0 - singletons) * apart * key.weight
    acceptable = len(sessions) >= 2 and median >= 2 and singletons <= 0.5 and score >= _LEAST_SCORE
    return key.name, coverage, len(sessions), median, singletons, score, acceptable


def _sessions_of(keys: pl.Series) -> pl.DataFrame:
    """One row a session: `length` in records, and the `first` record's place."""
    return (
        keys.alias("key").to_frame().with_row_index("place").drop_nulls("key").group_by("key")
        .agg(pl.len().cast(pl.Int64).alias("length"), pl.col("place").min().alias("first"))
    )  # fmt: skip


def _unhurried(sessions: pl.DataFrame, n_records: int) -> pl.DataFrame:
    """Sessions that began in the first half of the sample: the end of the sample cuts the others short."""
    early = sessions.filter(pl.col("first") * 2 < n_records)
    return early if len(early) >= 2 else sessions


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
    """The key that `--session-key` means: the name of one of `CANDIDATE_KEYS`, or a regex.

    Raises:
        UsageError: If the pattern is no regex, uses look-around, or has more than one group.
    """
    if isinstance(pattern, SessionKey):
        return pattern
    if pattern in CANDIDATE_KEYS:
        return CANDIDATE_KEYS[pattern]
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
