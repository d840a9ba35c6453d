"""Session keys that nobody named: what stands behind a name or looks like an id, and makes units of work.

A log names its units of work in its own words: `job=vt-8b1a`, `"flow": "fl_83925f"`, `build #697000`. Names that
stand before values, and shapes that ids have, are looked for in some lines. Which of them is a key is told by the
sessions that it makes: a unit of work is over soon, and it begins as others of its kind do, with records that hardly
come elsewhere. A user or a status is and does neither; a day or a process may do both, and is known by its name.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from enhanced_deeplog.logs.session_keys import CANDIDATE_KEYS, SessionKey, named_key, shaped_key

__all__ = ["beginnings", "found_keys", "makes_units_of_work"]

_SAMPLE_LINES = 4_000
_MOST_CHARACTERS = 2_000  # of a line: what names it stands near its beginning
_LEAST_SHARE = 0.3  # of these lines must have it: a key of fewer makes sessions of little of the log
_MOST_FOUND = 12  # of each sort
_WEIGHT = 0.7  # a key that is known by its name is surer
_BEHIND = r"""(?:["']?[ \t]*[=:#][ \t]*["'#\[(]?|[ \t]+[#\[(]?)"""  # a name, before a value with a digit
_NAME = rf"([A-Za-z][0-9A-Za-z_.-]{{0,60}}){_BEHIND}[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*"
_PREFIX = r"(?-u:\b)([A-Za-z]{1,20}[_#-])[0-9A-Fa-f]{3,}"
_HEX = r"(?:^|[^0-9A-Za-z-])([0-9a-f]{8,40}|[0-9A-F]{8,40})(?:[^0-9A-Za-z-]|$)"  # by itself, no part of a UUID
# What has a name like these lives longer than a unit of work, or is no thing at all; or it is a secret.
_NO_KEY = (
    "(?i)^(?:.*[_.-])?(?:ts|time|timestamp|date|datetime|day|hour|minute|second|epoch|version|v|level|severity|status|code|pod"
    "|container|host|hostname|node|server|pid|ppid|tid|thread|user|username|uid|gid|ip|addr|port|auth|cookie|token|password)$"
)
_WARM_UP = 0.05  # what began before a log begins seems to begin with anything
_LEAST_SESSIONS = 20  # of fewer, how they begin says little
_LEAST_LOCAL = 0.5  # 0: they lie over the log as drawn at random, 1: each in one place
_LEAST_ALIKE = 0.2  # 0: their first records are like any others, 1: there are no others like them


def found_keys(texts: pl.Series) -> list[SessionKey]:
    """What may be a session key in some lines, names first, then shapes, the most frequent first.

    Args:
        texts: Lines in the order of time, String (N,).

    Example:
        >>> lines = [f"job {i} {step}" for i in range(9) for step in ("begins", "ends")]
        >>> [key.name for key in found_keys(pl.Series(lines))]
        ['job']
    """
    begin = max(len(texts) - _SAMPLE_LINES, 0) // 2  # the beginning of a log may be unlike the rest
    lines = beginnings(texts.slice(begin, _SAMPLE_LINES))
    names = [name for name in _frequent(lines, _NAME) if shaped_key(name) is None]
    shapes = [f"{prefix}*" for prefix in _frequent(lines, _PREFIX)] + _frequent(lines, _HEX, by_length=True)
    by_name = [named_key(name, weight=_WEIGHT) for name in names if name not in CANDIDATE_KEYS]
    by_shape = [shaped_key(name, weight=_WEIGHT) for name in shapes if name not in CANDIDATE_KEYS]
    return by_name + [key for key in by_shape if key is not None]


def beginnings(texts: pl.Series) -> pl.Series:
    """As much of each line as is searched."""
    return texts.str.head(_MOST_CHARACTERS)


def makes_units_of_work(keys: pl.Series, sorts: Sequence[pl.Series]) -> bool:
    """Whether the records of one key lie together, and the first of them are unlike the others.

    Args:
        keys: Of each record in the order of time, String (N,), null where it has none.
        sorts: What sort of record each is, String (N,), in one way or another: one by which they begin alike will do.
    """
    n_records = len(keys)
    keyed = (
        pl.DataFrame({"key": keys, **{f"sort {i}": sort for i, sort in enumerate(sorts)}})
        .with_row_index("place")
        .drop_nulls("key")
        .with_columns(is_first=pl.col("place") == pl.col("place").min().over("key"))
    )
    sessions = keyed.group_by("key").agg(
        pl.len().alias("length"), pl.col("place").min().alias("first"), pl.col("place").max().alias("last")
    )
    early = sessions.filter((pl.col("length") > 1) & (pl.col("first") * 2 < n_records))
    if len(sessions) < _LEAST_SESSIONS or early.is_empty():
        return False
    spans = early.select(
        span=(pl.col("last") - pl.col("first")) / n_records,
        # That of as many records drawn at random.
        expected=(pl.col("length") - 1) / (pl.col("length") + 1),
    )
    if 1.0 - float(spans["span"].sum()) / float(spans["expected"].sum()) < _LEAST_LOCAL:
        return False
    warm = keyed.filter(pl.col("place") >= _WARM_UP * n_records)
    return any(_begin_alike(warm, f"sort {i}") >= _LEAST_ALIKE for i in range(len(sorts)))


def _begin_alike(keyed: pl.DataFrame, sort: str) -> float:
    """How much surer a record like the first of a session is a first one than any record is; 1: there are no others."""
    n_first = int(keyed["is_first"].sum())
    if n_first in (0, len(keyed)):
        return 0.0
    by_sort = keyed.group_by(sort).agg(pl.len().alias("n"), pl.col("is_first").sum().alias("first"))
    # Of the other records like each first one; nothing, where there are no others.
    others = by_sort.filter(pl.col("n") > 1).select(pl.col("first") * (pl.col("first") - 1) / (pl.col("n") - 1))
    by_chance = n_first / len(keyed)
    return (float(others.to_series().sum()) / n_first - by_chance) / (1.0 - by_chance)


def _frequent(lines: pl.Series, pattern: str, *, by_length: bool = False) -> list[str]:
    """What a pattern finds in enough of the lines, the most frequent first; of those, what is not always the same."""
    matches = lines.str.extract_all(pattern).alias("match").to_frame().with_row_index("line").explode("match")
    found = matches.drop_nulls("match").with_columns(pl.col("match").str.extract(pattern, 1).alias("found"))
    if by_length:
        found = found.filter(pl.col("found").str.contains("[A-Fa-f]"))  # digits alone may be a time
        digits = pl.when(pl.col("found").str.contains("[A-F]")).then(pl.lit("HEX")).otherwise(pl.lit("hex"))
        found = found.with_columns(found=pl.format("{}{}", digits, pl.col("found").str.len_bytes()))
    counts = (
        found.filter(~pl.col("found").str.contains(_NO_KEY)).group_by("found")
        .agg(pl.col("line").n_unique().alias("n_lines"), pl.col("match").n_unique().alias("n_values"))
        .filter((pl.col("n_lines") >= _LEAST_SHARE * len(lines)) & (pl.col("n_values") > 1))
        # Of two that are in as many lines, the one that has more values: a key has many.
        .sort(["n_lines", "n_values", "found"], descending=[True, True, False])
    )  # fmt: skip
    return counts["found"].head(_MOST_FOUND).to_list()
