"""How the lines of a log are laid out, and the parser that this becomes for one source.

A format takes lines apart into columns of text with one regular expression (Polars' Rust engine: linear
time, no look-around), JSON lines with the `json` module. It becomes a `LineParser` once it has seen the first
lines of its source: only then is it known how timestamps are written there, and that must not change from
line to line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.continuations import begins_trace, is_record, looks_continued
from enhanced_deeplog.logs.envelopes import EnvelopeReader
from enhanced_deeplog.logs.foreign_text import extract_groups, printable
from enhanced_deeplog.logs.json_lines import (
    NAME_COLUMNS,
    SYSLOG_SEVERITIES,
    JsonFields,
    json_object,
    logfmt_object,
    split_objects,
)
from enhanced_deeplog.logs.timestamps import UTC, TimestampReader

__all__ = ["LineParser", "LogFormat"]

_SAME_SEVERITY = {
    **dict.fromkeys(("", "ANY"), None),  # Ruby
    **dict.fromkeys(("V", "VERBOSE", "VRB", "TRC", "TRCE", "FINEST"), "TRACE"),
    **dict.fromkeys(("D", ".", "DBG", "DBUG", "FINE", "FINER", *(f"DEBUG{i}" for i in range(1, 6))), "DEBUG"),
    **dict.fromkeys(("I", "-", "LOG", "NOTE", "SYSTEM", "INF", "INFORMATION", "INFORMATIONAL", "CONFIG"), "INFO"),
    "*": "NOTICE",
    **dict.fromkeys(("W", "#", "WRN", "WARNING"), "WARN"),
    **dict.fromkeys(("E", "ERR", "FAIL", "SEVERE"), "ERROR"),
    **dict.fromkeys(("F", "FTL", "CRIT", "CRITICAL", "ALERT", "EMERG", "EMERGENCY", "PANIC"), "FATAL"),
}
_INSIDE = ("timestamp", "severity", "session_key", "body")  # what an object in a body says better than what carries it
_TEXT_COLUMNS = ("timestamp", "unit", "severity", *NAME_COLUMNS, "body", "continues")


@dataclass(frozen=True)
class LogFormat:
    """How the lines of a log are laid out.

    Attributes:
        name: What `--format` calls it; the format string itself for one of those.
        pattern: Rust regex with groups `timestamp` (or `date` and `time`), `severity` or `priority` (a syslog number),
            `component`, `host`, `process`, `session_key`, `service`, `body` (or `request` and `status`, of HTTP;
            `method` and `route` make a request). A second place for the same field is `process_2`; where there is
            `continues`, the line goes on with the record before it; `kind` is put in front of the body. Empty for JSON
            lines.
        example: A line in this format.
        timestamp_unit: Unit of numeric timestamps, where the format states it.
        json_fields: Where JSON lines (logfmt, where there is a pattern) keep what; None for all other formats.
        comment: What a line begins with that is no record; empty if there are no such lines.
    """

    name: str
    pattern: str = ""
    example: str = ""
    timestamp_unit: str | None = None
    json_fields: JsonFields | None = None
    comment: str = ""

    @property
    def has_header(self) -> bool:
        """Whether each record begins with a header: then a line without one goes on with the record before it."""
        return any(f"(?P<{name}>" in self.pattern for name in ("timestamp", "date", "time"))

    @property
    def body_follows(self) -> bool:
        """Whether a header stands by itself, and all lines below it, up to the next one, are its text."""
        return "(?P<body>)" in self.pattern

    @property
    def is_of_requests(self) -> bool:
        """Whether each record is an HTTP request, which no further line goes on with."""
        return "(?P<status>" in self.pattern

    def fits(self, lines: pl.Series) -> pl.Series:
        """Which lines are laid out like this, Boolean (N,)."""
        if self.json_fields is not None and not self.pattern:
            return pl.Series([json_object(line) is not None for line in lines.to_list()], dtype=pl.Boolean)
        return lines.str.contains(self.pattern)

    def split(self, lines: pl.Series) -> pl.DataFrame:
        """Take lines apart: String columns of `_TEXT_COLUMNS`, null where absent, and `fits`, Boolean."""
        if self.json_fields is not None:
            return split_objects(lines, self.json_fields, logfmt_object if self.pattern else json_object)
        return _split_by_pattern(lines, self.pattern, self.timestamp_unit)

    def parser(self, sample: pl.Series, source: str, latest: datetime, zone: str = UTC) -> LineParser:
        """Settle what only the lines of a source can tell, from the first of them.

        Args:
            sample: The first lines of the source, String (N,).
            source: Its name, for errors.
            latest: When it was written last, UTC: for timestamps without a year.
            zone: Of timestamps that name none.

        Raises:
            InputError: If numeric timestamps don't agree on a unit, or JSON objects have no known body.
        """
        parts = self.split(sample)
        if self.json_fields is not None and not self.pattern:
            _check_has_body(parts, sample, source, self.json_fields.body)
        return LineParser(self, TimestampReader.for_sample(parts["timestamp"], parts["unit"], source, latest, zone))


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
    if "priority" in values:
        levels = dict(enumerate(SYSLOG_SEVERITIES))
        number = values["priority"].cast(pl.Int64, strict=False) % 8
        values["severity"] = number.replace_strict(levels, default=None)
    if "kind" in values:
        values["body"] = pl.concat_str(values["kind"], values["body"], separator=" ")
    if "method" in values:
        values["request"] = pl.concat_str(values["method"], values["route"], separator=" ")
    if "request" in values:
        values["body"], values["severity"] = _of_request(values["request"], values["status"])
    absent = pl.lit(None, pl.String)
    return groups.select(
        pl.any_horizontal(pl.all().is_not_null()).alias("fits"),
        *(values.get(name, absent).alias(name) for name in _TEXT_COLUMNS),
    )


def _of_request(request: pl.Expr, status: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Body and severity of an HTTP request: what was asked for, without its parameters, and how that went."""
    asked = request.str.replace(r" HTTP/[0-9.]+$", "").str.replace(r"\?.*$", "")
    level = status.str.head(1).replace_strict({"5": "ERROR", "4": "WARN"}, default="INFO")
    kind = status.str.replace("^([0-9])..$", "${1}xx")
    return pl.concat_str(asked, kind, separator=" "), pl.when(status.is_not_null()).then(level)


@dataclass(frozen=True)
class LineParser:
    """A format bound to one source: each of its lines is read in the same way, whatever block it is in.

    Attributes:
        format: The format.
        timestamps: How this source writes them.
        others: For lines that don't fit: where programs of different kinds write to one file.
        fallbacks: For lines that fit none of these, yet begin with a time or a level.
        envelope: What is wrapped round each line; None: nothing is.
        asked: Whether the format was given by somebody who should know: what doesn't fit it then goes on with a record,
            whether or not it has a header.
        inside: For bodies that are objects themselves: what a program wrote that the syslog carries.
    """

    format: LogFormat
    timestamps: TimestampReader
    others: tuple[LineParser, ...] = ()
    fallbacks: tuple[LineParser, ...] = ()
    envelope: EnvelopeReader | None = None
    asked: bool = False
    inside: tuple[LineParser, ...] = ()

    @property
    def name(self) -> str:
        """The formats, for people."""
        inside = ", ".join(parser.format.name for parser in (self, *self.others))
        return f"{self.envelope.kind.name}: {inside}" if self.envelope else inside

    def parse(self, lines: pl.Series) -> pl.DataFrame:
        """Lines -> columns `fits`, `timestamp`, `severity`, those of `NAME_COLUMNS`, `body`; and what tells where a
        record begins: `content`, the line as the program wrote it, `origin`, and `goes_on`, whether the line goes on
        with the record before it of that origin.

        A line that doesn't fit, or a JSON object without a body, has its whole text as body; a line that
        doesn't fit has null everywhere else. Empty names become null.
        """
        if self.envelope is None:
            return _apart(self._parse_content(lines).with_columns(content=lines, origin=pl.lit("")))
        opened = self.envelope.open(lines)
        parsed = self._parse_content(opened["content"]).with_columns(
            opened["content"],
            opened["origin"],
            **{name: pl.coalesce(name, opened[name]) for name in ("timestamp", "host", "service")},
        )
        return _apart(parsed).with_columns(goes_on=pl.col("goes_on") | ~opened["begins"])

    def _parse_content(self, lines: pl.Series) -> pl.DataFrame:
        parsed = self._read_inside(self._parse(lines))
        for other in (*self.others, *self.fallbacks):
            unfit = (~parsed["fits"]).arg_true()
            if not len(unfit):
                break
            again = other._parse(lines[unfit]).with_columns(at=unfit).filter("fits")
            kept = parsed.with_row_index("at").join(again.select("at"), on="at", how="anti")
            parsed = pl.concat([kept, again.select(kept.columns)]).sort("at").drop("at")
        return parsed.with_columns(goes_on=self._goes_on(lines, parsed["fits"]) | parsed["continues"]).drop("continues")

    def _goes_on(self, lines: pl.Series, fits: pl.Series) -> pl.Series:
        """Which lines go on with the record before them, by how they are written, Boolean (N,)."""
        unfit = (~fits).arg_true()
        if not len(unfit) and self.format.name != "plain":
            return ~fits
        if self.format.body_follows:
            return ~fits
        if (self.format.has_header or self.asked) and (self.others or not self.format.is_of_requests):
            return (~fits).scatter(unfit, ~is_record(lines[unfit]))
        # Nothing marks the beginning of a record: only a line that is written as a continuation is one.
        return looks_continued(lines) & (~fits | (self.format.name == "plain"))

    def _read_inside(self, parsed: pl.DataFrame) -> pl.DataFrame:
        bodies = parsed["body"]  # what an object in one of them says is not looked into again
        for parser in self.inside:
            places = parser.format.fits(bodies).arg_true()
            found = parser._parse(bodies[places]).with_columns(at=places).filter(pl.col("severity").is_not_null())
            if len(found):
                both = parsed.with_row_index("at").join(
                    found.select("at", *_INSIDE), on="at", how="left", suffix="_inside", maintain_order="left"
                )
                better = (pl.coalesce(f"{name}_inside", name).alias(name) for name in _INSIDE)
                parsed = both.with_columns(better).select(parsed.columns)
        return parsed

    def _parse(self, lines: pl.Series) -> pl.DataFrame:
        parts = self.format.split(lines)
        times = self.timestamps.read(parts["timestamp"], parts["unit"])
        body = pl.col("body").fill_null(lines if self.format.json_fields else "")
        return parts.select(
            "fits",
            times.alias("timestamp"),
            _normal_severity(),
            *(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in NAME_COLUMNS),
            pl.when("fits").then(body).otherwise(lines).alias("body"),
            pl.col("continues").is_not_null(),
        )


def _apart(parsed: pl.DataFrame) -> pl.DataFrame:
    """A stack trace behind another one doesn't go on with it."""
    if not parsed["goes_on"].any():
        return parsed
    return parsed.with_columns(goes_on=parsed["goes_on"] & ~begins_trace(parsed["content"], parsed["origin"]))


def _normal_severity() -> pl.Expr:
    upper = pl.col("severity").str.strip_chars().str.to_uppercase()
    return upper.replace(_SAME_SEVERITY).alias("severity")
