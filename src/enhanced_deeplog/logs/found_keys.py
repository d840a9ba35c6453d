"""Session keys that nobody named: what stands behind a name or looks like an id, and makes units of work.

A log names its units of work in its own words: `job=vt-8b1a`, `"flow": "fl_83925f"`, `build #697000`. Names that
stand before values, and shapes that ids have, are looked for in some lines. Which of them is a key is told by the
sessions that it makes: a unit of work is over soon, and it begins as others of its kind do, with records that come
nowhere else; a user, a host, a status or a minute is and does neither.
"""

from __future__ import annotations

import polars as pl

from enhanced_deeplog.logs.session_keys import CANDIDATE_KEYS, SessionKey, named_key, shaped_key

__all__ = ["found_keys", "makes_units_of_work"]

_SAMPLE_LINES = 4_000
_LEAST_SHARE = 0.3  # of these lines must have it
_MOST_FOUND = 8  # of each sort
_WEIGHT = 0.7  # a key that is known by its name is surer
_BEHIND = r"""(?:["']?[ \t]*[=:#][ \t]*["'#\[(]?|[ \t]+[#\[(]?)[0-9A-Za-z_-]*[0-9]"""  # a name: a value with a digit
_NAME = rf"([A-Za-z][0-9A-Za-z_.-]*[0-9A-Za-z]|[A-Za-z]){_BEHIND}"
_PREFIX = r"(?-u:\b)([A-Za-z][A-Za-z]*[_#-])[0-9A-Fa-f]{3,}"
_HEX = r"(?:^|[^0-9A-Za-z-])([0-9a-f]{8,40}|[0-9A-F]{8,40})(?:[^0-9A-Za-z-]|$)"  # by itself, no part of a UUID
_WARM_UP = 0.05  # what began before a log begins seems to begin with anything
_LEAST_LOCAL = 0.5
_LEAST_ALIKE = 0.2


def found_keys(sample: pl.DataFrame) -> list[SessionKey]:
    """What may be a session key in these records, names first, then shapes, the most frequent first.

    Args:
        sample: Records in the order of time, with the column `text`.

    Example:
        >>> lines = [f"job {i} {step}" for i in range(9) for step in ("begins", "ends")]
        >>> [key.name for key in found_keys(pl.DataFrame({"text": lines}))]
        ['job']
    """
    begin = max(len(sample) - _SAMPLE_LINES, 0) // 2  # the beginning of a log may be unlike the rest
    lines = sample["text"].slice(begin, _SAMPLE_LINES)
    names = _frequent(lines, _NAME)
    shapes = [f"{prefix}*" for prefix in _frequent(lines, _PREFIX)] + _frequent(lines, _HEX, by_length=True)
    by_name = [named_key(name, weight=_WEIGHT) for name in names if name not in CANDIDATE_KEYS]
    by_shape = [shaped_key(name, weight=_WEIGHT) for name in shapes if name not in CANDIDATE_KEYS]
    return by_name + [key for key in by_shape if key is not None]


def makes_units_of_work(keys: pl.Series, events: pl.Series) -> bool:
    """Whether the records of one key lie together, and the first of them are unlike the others.

    Args:
        keys: Of each record in the order of time, String (N,), null where it has none.
        events: What sort of record each is, any type (N,).
    """
    n_records = len(keys)
    keyed = (
        pl.DataFrame({"key": keys, "event": events})
        .with_row_index("place")
        .drop_nulls("key")
        .with_columns(is_first=pl.col("place") == pl.col("place").min().over("key"))
    )
    sessions = keyed.group_by("key").agg(
        pl.len().alias("length"), pl.col("place").min().alias("first"), pl.col("place").max().alias("last")
    )
    early = sessions.filter((pl.col("length") > 1) & (pl.col("first") * 2 < n_records))
    if early.is_empty():
        return False
    spans = early.select(
        span=(pl.col("last") - pl.col("first")) / n_records,
        # That of as many records drawn at random.
        expected=(pl.col("length") - 1) / (pl.col("length") + 1),
    )
    local = 1.0 - float(spans["span"].sum()) / float(spans["expected"].sum())
    warm = keyed.filter(pl.col("place") >= _WARM_UP * n_records)
    n_first = int(warm["is_first"].sum())
    if n_first in (0, len(warm)):
        return False
    by_event = warm.group_by("event").agg(pl.len().alias("n"), pl.col("is_first").sum().alias("first"))
    # How many of the other records like its first one are first ones, too; nothing, where there are no others.
    others = by_event.filter(pl.col("n") > 1).select(pl.col("first") * (pl.col("first") - 1) / (pl.col("n") - 1))
    alike = float(others.to_series().sum()) / n_first
    by_chance = n_first / len(warm)
    return local >= _LEAST_LOCAL and (alike - by_chance) / (1.0 - by_chance) >= _LEAST_ALIKE


def _frequent(lines: pl.Series, pattern: str, *, by_length: bool = False) -> list[str]:
    """What a pattern finds in enough of the lines, the most frequent first."""
    found = (
        lines.str.extract_all(pattern)
        .alias("found")
        .to_frame()
        .with_row_index("line")
        .explode("found")
        .drop_nulls("found")
        .with_columns(pl.col("found").str.extract(pattern, 1))
    )
    if by_length:
        digits = pl.when(pl.col("found").str.contains("[A-F]")).then(pl.lit("HEX")).otherwise(pl.lit("hex"))
        found = found.with_columns(found=pl.format("{}{}", digits, pl.col("found").str.len_bytes()))
    counts = (
        found.unique().group_by("found").len().filter(pl.col("len") >= _LEAST_SHARE * len(lines))
        .sort(["len", "found"], descending=[True, False])
    )  # fmt: skip
    return counts["found"].head(_MOST_FOUND).to_list()
