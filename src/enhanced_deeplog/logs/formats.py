"""Named log formats, and which of them a file is written in.

How a format takes lines apart is in `log_format`; where JSON lines keep what, in `json_lines`; how format
strings are read, in `format_strings`; how timestamps are, in `timestamps`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs.foreign_text import printable
from enhanced_deeplog.logs.format_strings import format_from_string
from enhanced_deeplog.logs.json_lines import JsonFields
from enhanced_deeplog.logs.log_format import LineParser, LogFormat
from enhanced_deeplog.logs.timestamps import TimestampReader

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
]

_TIMESTAMP = (
    r"(?P<timestamp>[0-9]{2,4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:[.,][0-9]{1,9})?(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?)"
)
_SEVERITY = r"(?P<severity>(?i:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|SEVERE|CRITICAL|FATAL))"

# The most specific first: where two fit a line, the earlier one says more about it.
_NAMED = (
    LogFormat(
        "jsonl",
        json_fields=JsonFields(),
        example='{"time": "2024-03-01T08:00:00Z", "level": "info", "msg": "up"}',
    ),
    LogFormat(
        "sequences",  # one session a line: its key, then the ids of its templates in order
        r"^(?:(?P<session_key>[^,\t]+),[ \t]*)?(?P<body>[A-Za-z]?[0-9]+(?:[ \t]+[A-Za-z]?[0-9]+)*)[ \t]*$",
        "blk_-1608999687919862906,5 5 22 5 11 9",
    ),
    LogFormat(
        "hdfs",
        r"^(?P<timestamp>[0-9]{6} [0-9]{6}) (?P<process>[0-9]+) (?P<severity>[A-Z]+) "
        r"(?P<component>[^ :]+): (?P<body>.*)$",
        "081109 203530 147 INFO dfs.DataNode$DataXceiver: Receiving block blk_1 src: /10.0.0.1:1",
    ),
    LogFormat(
        "nova",  # oslo.log: with or without file, time and process; no colon behind the component
        rf"^[ \t]*(?:(?:[^ ]+\.log[^ ]* )?{_TIMESTAMP} (?P<process>[0-9]+) )?{_SEVERITY} "
        r"(?:(?P<component>[a-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)+) (?P<body>.*)"
        r"|(?P<component_2>[a-z_]+) (?P<body_2>\[.*))$",
        "INFO nova.compute.claims [req-3ea4052c-895d-4b64-9e2d-04d64c4d94ab] Claim successful",
    ),
    LogFormat(
        "pipe",  # also loguru's `| module:function:line - body`
        rf"^[ \t]*{_TIMESTAMP} *\| *{_SEVERITY} *\| *"
        r"(?:(?P<component>[^| ]+) - |(?P<component_2>[^|]*?) *\| *)(?P<body>.*)$",
        "2024-03-01 08:00:00,123 | INFO | orders.api | order 17 accepted",
    ),
    LogFormat(
        "log4j",  # also logback, Spark, Spring Boot, ZooKeeper: thread before or behind the level
        rf"^[ \t]*{_TIMESTAMP}[ ,]+(?:- +)?(?:\[(?P<process>[^\]]*)\] +)?\[?{_SEVERITY}\]? +"
        r"(?:(?P<process_2>[0-9]+) +(?:-{2,3} +)?)?(?:\[(?P<process_3>[^\]]*)\] +)?(?:- +)?"
        r"(?P<component>[^ :\[\]]+)(?: *:| +-)(?: +(?P<body>.*))?$",
        "2015-10-18 18:01:47,978 INFO [main] org.apache.hadoop.mapreduce.v2.app.MRAppMaster: Created",
    ),
    LogFormat(
        "dated",  # a time, perhaps a severity, then free text
        rf"^[ \t]*\[?{_TIMESTAMP}\]?(?:[ \t,|-]+\[?{_SEVERITY}\]?)?[ \t:,|-]+(?P<body>.*)$",
        "2024-03-01T08:00:00Z ERROR could not reach the store",
    ),
)
_PLAIN = LogFormat("plain", r"^(?P<body>.*)$", "anything at all")

FORMATS: Mapping[str, LogFormat] = {named.name: named for named in (*_NAMED, _PLAIN)}


def find_format(name: str | LogFormat, json_fields: Mapping[str, str] | None = None) -> LogFormat:
    """The format that `--format` means: one of `FORMATS`, or a format string: `<Date> <Time> <Content>`.

    Args:
        name: A name, a format string, or a format as it is.
        json_fields: Names of the caller's JSON fields, `{"body": "msg", "timestamp:ms": "t"}`.

    Raises:
        UsageError: If there is no such format, or fields are given for one that has none.
    """
    chosen = name if isinstance(name, LogFormat) else _format_called(name)
    if not json_fields:
        return chosen
    if chosen.json_fields is None:
        raise UsageError(
            f"--field is for JSON lines; the format is {printable(chosen.name)}. "
            f"Leave --field away, or name the fields in a format string: '<Date> <Time> <Level> <Content>'."
        )
    return LogFormat("jsonl", example=chosen.example, json_fields=JsonFields.of(json_fields))


def _format_called(name: str) -> LogFormat:
    if "<" in name or ">" in name:
        return format_from_string(name)
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"format '{printable(name)}': expected one of {', '.join(FORMATS)}, or a format string such as "
        f"'<Date> <Time> <Level> <Component>: <Content>'.{hint}"
    )


# --- Detection ----------------------------------------------------------------------------------------------

_SURE = 0.9  # share of lines from which the most specific format is taken without looking further
_LEAST = 0.5  # share below which a format is no format of the file: stack traces may be many, not most


@dataclass(frozen=True)
class Detection:
    """The format of some lines, and how sure that is.

    Attributes:
        format: The format chosen.
        fit: Share of the lines that fit it, [0, 1].
        runner_up: The next best format that fits any line; None if there is none.
        runner_up_fit: Share of the lines that fit that one.
    """

    format: LogFormat
    fit: float
    runner_up: LogFormat | None
    runner_up_fit: float


def detect_format(sample_lines: Iterable[str] | pl.Series) -> Detection:
    """Find the format of a log from its first lines.

    The most specific format that fits nine lines in ten is chosen; else the one that fits the most lines, if
    that is half of them (the others are then stack traces and the like); else `plain`, which fits everything.

    Example:
        >>> detect_format(["081109 203530 147 INFO dfs.DataNode: up"]).format.name
        'hdfs'
    """
    lines = pl.Series("line", sample_lines, pl.String)
    lines = lines.filter(lines.str.strip_chars(" \t\r") != "")
    shares = {named.name: int(named.fits(lines).sum()) / max(len(lines), 1) for named in _NAMED}
    # Stable: those of which we are sure keep their order, most specific first; the others go by their share.
    ranked = sorted(shares, key=lambda name: -min(shares[name], _SURE))
    best = ranked[0]
    if shares[best] < _LEAST:
        return Detection(_PLAIN, 1.0, *_runner_up(best, shares))
    return Detection(FORMATS[best], shares[best], *_runner_up(ranked[1], shares))


def _runner_up(name: str, shares: Mapping[str, float]) -> tuple[LogFormat | None, float]:
    return (FORMATS[name], shares[name]) if shares[name] > 0 else (None, 0.0)
