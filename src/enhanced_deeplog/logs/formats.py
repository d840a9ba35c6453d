"""Named log formats, those of `formats.toml`, and which of them a file is written in.

How a format takes lines apart is in `log_format`; where JSON lines keep what, in `json_lines`; how format
strings are read, in `format_strings`; how timestamps are, in `timestamps`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import polars as pl

from enhanced_deeplog.errors import ConfigError, UsageError
from enhanced_deeplog.logs.continuations import is_record, looks_continued
from enhanced_deeplog.logs.foreign_text import printable
from enhanced_deeplog.logs.format_strings import format_from_string
from enhanced_deeplog.logs.json_lines import LOGFMT, JsonFields
from enhanced_deeplog.logs.log_format import LineParser, LogFormat
from enhanced_deeplog.logs.timestamps import TIMESTAMP_UNITS, TimestampReader
from enhanced_deeplog.logs.w3c import as_declared
from enhanced_deeplog.rust_regex import regex_error

__all__ = [
    "FORMATS",
    "Detection",
    "JsonFields",
    "LineParser",
    "LogFormat",
    "TimestampReader",
    "detect_format",
    "find_format",
    "format_from_string",
    "printable",
    "read_formats",
]

_STANDS_FOR = {
    "{TIMESTAMP}": r"(?P<timestamp>[0-9]{2,4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:[.,][0-9]{1,9})?(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?)",
    # In any case what hardly begins a sentence; short forms as Serilog, zerolog and java.util.logging write them.
    "{SEVERITY}": r"(?P<severity>(?i:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|SEVERE|CRITICAL|FATAL)"
    r"|VERBOSE|VRB|TRC|TRCE|DBG|DBUG|INF|WRN|ERR|FAIL|CRIT|FTL|CONFIG|FINE(?:R|ST)?)(?-u:\b)",
    "{CLOCK}": r"[0-9]{2}:[0-9]{2}:[0-9]{2}",
}


def _from_table(name: str, entry: Mapping[str, str]) -> LogFormat:
    pattern = entry["pattern"]
    for short, long in _STANDS_FOR.items():
        pattern = pattern.replace(short, long)
    return LogFormat(
        name, pattern, example=entry["example"], timestamp_unit=entry.get("unit"), comment=entry.get("comment", "")
    )


_OBJECTS = (
    LogFormat(
        "jsonl",
        json_fields=JsonFields(),
        example='{"time": "2024-03-01T08:00:00Z", "level": "info", "msg": "up"}',
    ),
    LogFormat(
        "logfmt",
        LOGFMT,
        json_fields=JsonFields(),
        example='time=2024-03-01T08:00:00Z level=warn msg="order 17 is late" service=orders',
    ),
)
_TABLE = tomllib.loads((resources.files("enhanced_deeplog.logs") / "formats.toml").read_text(encoding="utf-8"))
# The most specific first: where two fit a line, the earlier one says more about it.
FORMATS: Mapping[str, LogFormat] = {
    named.name: named for named in (*(_from_table(name, entry) for name, entry in _TABLE.items()), *_OBJECTS)
}
_PLAIN = FORMATS["plain"]
_NAMED = tuple(named for named in FORMATS.values() if named is not _PLAIN)


def read_formats(path: Path) -> dict[str, LogFormat]:
    """Formats of one's own, from a file that is written like `formats.toml`.

    Args:
        path: TOML: a table for each format, with its `pattern`, an `example`, and perhaps the `unit` of its timestamps.

    Raises:
        ConfigError: If it can't be read, or a format can't be used; the text says which, and why.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Expected a TOML file with log formats at {path}: {error}.") from None
    return {name: _own_format(name, entry, path) for name, entry in written.items()}


def _own_format(name: str, entry: object, path: Path) -> LogFormat:
    where = f"{path}, format {printable(name)}"
    keys = {"pattern", "example", "unit", "comment"}
    if (
        not isinstance(entry, dict)
        or not {"pattern", "example"} <= entry.keys() <= keys
        or not all(isinstance(value, str) for value in entry.values())
    ):
        raise ConfigError(
            f"{where}: expected texts called pattern and example, perhaps unit and comment; got {entry!r:.200}."
        )
    if name in FORMATS or "<" in name or ">" in name:
        raise ConfigError(f"{where}: expected a name of its own, without < and >; there are {', '.join(FORMATS)}.")
    if entry.get("unit", "s") not in TIMESTAMP_UNITS:
        raise ConfigError(f"{where}: expected one of {', '.join(TIMESTAMP_UNITS)} as unit; got {entry['unit']!r:.40}.")
    made = _from_table(name, entry)
    if reason := regex_error(made.pattern):
        raise ConfigError(f"{where}: the pattern is no valid Rust regular expression: {printable(reason)}")
    has = {group: f"(?P<{group}>" in made.pattern for group in ("body", "request", "status")}
    if not has["body"] and not (has["request"] and has["status"]):
        raise ConfigError(
            f"{where}: the pattern has no group (?P<body>...) for what the record says, nor request and status."
        )
    example = pl.Series([entry["example"]])
    row = made.split(example).row(0, named=True)
    if not row["fits"]:
        raise ConfigError(f"{where}: the pattern doesn't fit its own example, {printable(entry['example'])}")
    time = made.parser(example, where, datetime(2000, 1, 1)).parse(example)["timestamp"][0]
    if row["timestamp"] is not None and time is None:
        raise ConfigError(
            f"{where}: {printable(row['timestamp'])} is no timestamp that can be read; see docs/formats.md."
        )
    return made


def find_format(
    name: str | LogFormat,
    json_fields: Mapping[str, str] | None = None,
    own: Mapping[str, LogFormat] = MappingProxyType({}),
) -> LogFormat:
    """The format that `--format` means: one of `FORMATS`, one's own, or a format string: `<Date> <Time> <Content>`.

    Args:
        name: A name, a format string, or a format as it is.
        json_fields: Names of the caller's JSON fields, `{"body": "msg", "timestamp:ms": "t"}`.
        own: Formats of the caller's own, by name.

    Raises:
        UsageError: If there is no such format, or fields are given for one that has none.
    """
    chosen = name if isinstance(name, LogFormat) else _format_called(name, {**FORMATS, **own})
    if not json_fields:
        return chosen
    if chosen.json_fields is None:
        raise UsageError(
            f"--field is for JSON lines and logfmt; the format is {printable(chosen.name)}. "
            f"Leave --field away, or name the fields in a format string: '<Date> <Time> <Level> <Content>'."
        )
    return replace(chosen, json_fields=JsonFields.of(json_fields))


def _format_called(name: str, formats: Mapping[str, LogFormat]) -> LogFormat:
    if "<" in name or ">" in name:
        return format_from_string(name)
    if name in formats:
        return formats[name]
    near = difflib.get_close_matches(name.lower(), formats, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"format '{printable(name)}': expected one of {', '.join(formats)}, or a format string such as "
        f"'<Date> <Time> <Level> <Component>: <Content>'.{hint}"
    )


# --- Detection ----------------------------------------------------------------------------------------------

_SURE = 0.9  # share of lines from which the most specific format is taken without looking further
_LEAST = 0.5  # share below which a format is no format of the file: stack traces may be many, not most
_LEAST_HEADERS = 0.1  # share of the lines, where headers stand on lines by themselves
# A format beside the best: so many lines of it, and such a share; fewer may be chance. So many of them at most.
_LEAST_OTHERS, _LEAST_OTHERS_SHARE, _MOST_OTHERS = 5, 0.005, 3


@dataclass(frozen=True)
class Detection:
    """The format of some lines, and how sure that is.

    Attributes:
        format: The format chosen.
        fit: Share of the lines that fit it, [0, 1]; those written as a continuation of others are left out.
        runner_up: The next best format that fits any line; None if there is none.
        runner_up_fit: Share of the lines that fit that one.
        others: Formats of the lines that don't fit, if several of them do: two programs may write to one file.
    """

    format: LogFormat
    fit: float
    runner_up: LogFormat | None
    runner_up_fit: float
    others: tuple[LogFormat, ...] = ()


def detect_format(sample_lines: Iterable[str] | pl.Series, own: Iterable[LogFormat] = ()) -> Detection:
    """Find the format of a log from its first lines.

    The most specific format that fits nine lines in ten is chosen; else the one that fits the most lines, if
    half of them fit it or another one found beside it; else `plain`, which fits everything. Lines written as a
    continuation of others don't count. Formats of one's own come before the others.

    Example:
        >>> detect_format(["081109 203530 147 INFO dfs.DataNode: up"]).format.name
        'hdfs'
    """
    lines = pl.Series("line", sample_lines, pl.String)
    lines = lines.filter(lines.str.strip_chars(" \t\r") != "")
    records = lines.filter(~looks_continued(lines))  # a log may have more lines of stack traces than of records
    lines = records if len(records) else lines
    named = {one.name: as_declared(one, lines) for one in (*own, *_NAMED)}
    fits = {name: _fits(one, lines) for name, one in named.items()}
    shares = {name: int(of_lines.sum()) / max(len(lines), 1) for name, of_lines in fits.items()}
    # Stable: those of which we are sure keep their order, most specific first; the others go by their share.
    ranked = sorted(shares, key=lambda name: -min(shares[name], _SURE))
    best = ranked[0]
    others, n_unfit = _others(named[best], lines.filter(~fits[best]), max(len(lines), 1), list(named.values()))
    if len(lines) - n_unfit < _LEAST * max(len(lines), 1):
        return Detection(_PLAIN, 1.0, *_runner_up(named[best], shares))
    return Detection(named[best], shares[best], *_runner_up(named[ranked[1]], shares), others)


def _fits(one: LogFormat, lines: pl.Series) -> pl.Series:
    """Which lines a file in this format may have, Boolean (N,): also its comments, and what stands below headers."""
    fits = one.fits(lines)
    if one.body_follows and fits.sum() >= _LEAST_HEADERS * len(lines):
        return fits | (fits.cum_max() & ~is_record(lines))
    return fits | lines.str.starts_with(one.comment) if one.comment and fits.any() else fits


def _others(
    best: LogFormat, unfit: pl.Series, n_lines: int, named: Sequence[LogFormat]
) -> tuple[tuple[LogFormat, ...], int]:
    """Formats of the lines that don't fit the best one, of so many in all; and how many fit none of all these."""
    found: list[LogFormat] = []
    may_have_others = best.has_header or best.json_fields is not None
    while may_have_others and len(unfit) >= _LEAST_OTHERS and len(found) < _MOST_OTHERS:
        # A line of a dump may look like nearly anything; what begins with a time, or is a JSON object, is a record.
        candidates = [one for one in named if one.name == "jsonl" or one.has_header]
        fits = {one.name: one.fits(unfit) for one in candidates if one is not best and one not in found}
        name = max(fits, key=lambda name: int(fits[name].sum()))  # the first of equals: the most specific
        if int(fits[name].sum()) < max(_LEAST_OTHERS, _LEAST_OTHERS_SHARE * n_lines):
            break
        found.append(next(one for one in candidates if one.name == name))
        unfit = unfit.filter(~fits[name])
    return tuple(found), len(unfit)


def _runner_up(one: LogFormat, shares: Mapping[str, float]) -> tuple[LogFormat | None, float]:
    return (one, shares[one.name]) if shares[one.name] > 0 else (None, 0.0)
