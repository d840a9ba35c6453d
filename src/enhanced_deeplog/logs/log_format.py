"""How the lines of a log are laid out, and the parser that this becomes for one source.

A format takes lines apart into columns of text with one regular expression (Polars' Rust engine: linear
time, no look-around), JSON lines with the `json` module. It becomes a `LineParser` once it has seen the first
lines of its source: only then is it known how timestamps are written there, and that must not change from
line to line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.foreign_text import extract_groups, printable
from enhanced_deeplog.logs.json_lines import NAME_COLUMNS, JsonFields, json_object, split_json
from enhanced_deeplog.logs.timestamps import TimestampReader

__all__ = ["LineParser", "LogFormat"]

_TEXT_COLUMNS = ("timestamp", "unit", "severity", *NAME_COLUMNS, "body")


@dataclass(frozen=True)
class LogFormat:
    """How the lines of a log are laid out.

    Attributes:
        name: What `--format` calls it; the format string itself for one of those.
        pattern: Rust regex with groups `timestamp` (or `date` and `time`), `severity`, `component`, `host`,
            `process`, `session_key`, `service`, `body`. A second place for the same field is `process_2`.
            Empty for JSON lines.
        example: A line in this format.
        timestamp_unit: Unit of numeric timestamps, where the format states it.
        json_fields: Where JSON lines keep what; None for all other formats.
    """

    name: str
    pattern: str = ""
    example: str = ""
    timestamp_unit: str | None = None
    json_fields: JsonFields | None = None

    def fits(self, lines: pl.Series) -> pl.Series:
        """Which lines are laid out like this, Boolean (N,)."""
        if self.json_fields is not None:
            return pl.Series([json_object(line) is not None for line in lines.to_list()], dtype=pl.Boolean)
        return lines.str.contains(self.pattern)

    def split(self, lines: pl.Series) -> pl.DataFrame:
        """Take lines apart: String columns of `_TEXT_COLUMNS`, null where absent, and `fits`, Boolean."""
        if self.json_fields is not None:
            return split_json(lines, self.json_fields)
        return _split_by_pattern(lines, self.pattern, self.timestamp_unit)

    def parser(self, sample: pl.Series, source: str) -> LineParser:
        """Settle what only the lines of a source can tell, from the first of them.

        Args:
            sample: The first lines of the source, String (N,).
            source: Its name, for errors.

        Raises:
            InputError: If numeric timestamps don't agree on a unit, or JSON objects have no known body.
        """
        parts = self.split(sample)
        if self.json_fields is not None:
            _check_has_body(parts, sample, source, self.json_fields.body)
        return LineParser(self, TimestampReader.for_sample(parts["timestamp"], parts["unit"], source))


def _check_has_body(parts: pl.DataFrame, sample: pl.Series, source: str, names: tuple[str, ...]) -> None:
    without = parts["fits"] & parts["body"].is_null()
    if without.sum() * 2 <= parts["fits"].sum():
        return
    record = json_object(sample.filter(without)[0]) or {}
    keys = ", ".join(printable(key, 40) for key in list(record)[:20]) or "none"
    raise InputError(
        f"{printable(source)}: expected the text of each record in {' or '.join(map(printable, names))}; "
        f"the JSON objects have other fields ({keys}). Say which one it is: --field body=NAME."
    )


def _split_by_pattern(lines: pl.Series, pattern: str, unit: str | None) -> pl.DataFrame:
    groups = extract_groups(lines, pattern)
    found: dict[str, list[pl.Expr]] = {}
    for group in groups.columns:  # in the order of the pattern
        found.setdefault(re.sub(r"_[0-9]+$", "", group), []).append(pl.col(group))
    values = {name: pl.coalesce(places) for name, places in found.items()}
    date_and_time = [values[name] for name in ("date", "time") if name in values]
    if date_and_time:
        joined = pl.concat_str(date_and_time, separator=" ", ignore_nulls=len(date_and_time) == 1)
        values.setdefault("timestamp", joined)
    if unit is not None:
        values["unit"] = pl.lit(unit)
    absent = pl.lit(None, pl.String)
    return groups.select(
        pl.any_horizontal(pl.all().is_not_null()).alias("fits"),
        *(values.get(name, absent).alias(name) for name in _TEXT_COLUMNS),
    )


@dataclass(frozen=True)
class LineParser:
    """A format bound to one source: each of its lines is read in the same way, whatever block it is in."""

    format: LogFormat
    timestamps: TimestampReader

    def parse(self, lines: pl.Series) -> pl.DataFrame:
        """Lines -> columns `fits`, `timestamp`, `severity`, those of `NAME_COLUMNS`, and `body`.

        A line that doesn't fit, or a JSON object without a body, has its whole text as body; a line that
        doesn't fit has null everywhere else. Empty names become null.
        """
        parts = self.format.split(lines)
        times = self.timestamps.read(parts["timestamp"], parts["unit"])
        body = pl.col("body").fill_null(lines if self.format.json_fields else "")
        return parts.select(
            "fits",
            times.alias("timestamp"),
            _normal_severity(),
            *(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in NAME_COLUMNS),
            pl.when("fits").then(body).otherwise(lines).alias("body"),
        )


def _normal_severity() -> pl.Expr:
    upper = pl.col("severity").str.strip_chars().str.to_uppercase()
    return upper.replace({"WARNING": "WARN", "CRITICAL": "FATAL", "": None}).alias("severity")
