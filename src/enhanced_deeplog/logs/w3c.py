"""W3C's extended log format (IIS, CloudFront, firewalls): the file itself tells its columns, behind `#Fields:`."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from enhanced_deeplog.logs.log_format import LogFormat

__all__ = ["as_declared"]

_DECLARES = r"^#Fields:[ \t]*(.+)$"
_MOST_COLUMNS = 100
_MOST_DECLARATIONS = 4  # a server that is set up anew declares again, in the same file
_VALUE = r'(?:"(?:[^"]|"")*"|[^ \t]+)'
_GROUPS = {
    "date": "date",
    "time": "time",
    "cs-method": "method",
    "cs-uri-stem": "route",
    "sc-status": "status",
    "c-ip": "host",
}
_REQUEST = {"cs-method", "cs-uri-stem", "sc-status"}


def as_declared(log_format: LogFormat, lines: pl.Series) -> LogFormat:
    """A format with the columns that the lines declare; as it is if they declare none, or it is another one.

    Example:
        >>> lines = pl.Series(["#Fields: time cs-method cs-uri-stem sc-status", "08:00:00 GET /orders 200"])
        >>> as_declared(LogFormat("w3c"), lines).split(lines).select("fits", "body").rows()
        [(False, None), (True, 'GET /orders 2xx')]
    """
    if log_format.name != "w3c":
        return log_format
    written = lines.str.extract(_DECLARES).drop_nulls().unique(maintain_order=True).to_list()
    declared = [columns for one in written if (columns := one.split()[:_MOST_COLUMNS])]
    of_requests = [columns for columns in declared if set(columns) >= _REQUEST]
    # What isn't about requests has few marks of its own: only the head of a file is believed to declare it.
    chosen = of_requests or (declared[:1] if declared and lines[0].startswith("#") else [])
    patterns = [_pattern_of(columns, number) for number, columns in enumerate(chosen[:_MOST_DECLARATIONS])]
    return replace(log_format, pattern=f"^(?:{'|'.join(patterns)})[ \\t]*$") if patterns else log_format


def _pattern_of(columns: list[str], number: int) -> str:
    """The columns of one of several declarations, which its number tells apart."""
    place = f"_{number}" if number else ""
    if not set(columns) >= _REQUEST:  # no log of requests: what it is about is in all the columns behind the time
        n_timed = 2 if columns[:2] == ["date", "time"] and len(columns) > 2 else 0
        body = r"[ \t]+".join([_VALUE] * (len(columns) - n_timed))
        return "".join([*(rf"(?P<{name}>[0-9:.-]+)[ \t]+" for name in columns[:n_timed]), f"(?P<body>{body})"])
    groups = dict.fromkeys(columns)  # each once
    values = [rf"(?P<{_GROUPS[name]}{place}>[^ \t]+)" if name in _GROUPS else _VALUE for name in groups]
    return r"[ \t]+".join(values)
