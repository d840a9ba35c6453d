"""What must be true of the readers whatever the bytes are: the fuzzers look for bytes of which it isn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from enhanced_deeplog.errors import EnhancedDeepLogError
from enhanced_deeplog.logs.envelopes import ENVELOPES, find_envelope
from enhanced_deeplog.logs.formats import FORMATS
from enhanced_deeplog.logs.records import RECORD_SCHEMA, LogRecords, read_records

__all__ = ["check_reader", "examples"]

_BELOW = {  # what may follow a line of a format
    "time_above": "ORA-1555 at order 17\nSELECT a\n\n  FROM t\nERROR: in it",
    "dotnet": "      order 17 accepted\n      at a.b",
    "log4j": "a.b.IOException: lost\n\tat a.b(C.java:1)\nCaused by: a.b.Error: x\na.b.IOException: lost\n\tat a.b",
    "level_first": 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: x',
    "ruby_logger": "app/orders.rb:17\n[12.345s][info][gc] GC(17)\n(node:1) Warning: x",
    "access": '10.0.0.7 - john doe [01/Mar/2024:08:00:00 +0000] "GET / HTTP/1.1" 200\nGET / 200',
    "syslog": 'Mar  1 08:00:01 web-1 {"level": "error", "msg": "level=info msg=x"}\nlevel=warn msg=late',
    "bracketed": "[2024-03-01 08:00:00] Error: late\nover\nlines",
}
_W3C = """#Fields: date time cs-method cs-uri-stem sc-status
2024-03-01 08:00:00 GET /orders 200
#Fields: date time c-ip cs-method cs-uri-stem sc-status
2024-03-01 08:00:01 10.0.0.7 GET /orders 500
GET /orders
"""

_SMALL_BLOCK = 64  # bytes: nearly every line lies in a block of its own


def examples() -> list[bytes]:
    """A line in each format and in each envelope, as often as it takes to be found; and records over several lines."""
    lines = [one.example for one in FORMATS.values() if one.example]
    lines += [envelope.example for envelope in ENVELOPES]
    logs = [f"{line}\n{line}\n\tat a.b(C.java:1)\n" for line in lines]
    logs += [f"{FORMATS[name].example}\n{below}\n" * 3 for name, below in _BELOW.items()]
    return [log.encode() for log in [*logs, _W3C]]


def check_reader(raw: bytes, path: Path) -> None:
    """Read bytes as a log: every line is accounted for and stays as it was, in any blocks; or the bytes are refused.

    Raises:
        AssertionError: If not.
    """
    path.write_bytes(raw)
    records = read_records(path)
    try:
        frame = _all_of(records)
    except EnhancedDeepLogError as error:
        if str(path) not in str(error):
            raise AssertionError("an error says of which file") from error
        return
    (source,) = records.sources
    events = 0 if source.format == "sequences" else source.n_records
    if events:
        assert source.n_lines == events + source.n_empty_lines + source.n_joined_lines
    if raw.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\xff\xfe", b"\xfe\xff")):
        return
    lines = raw.split(b"\n")
    for number, text in frame.select("line", "text").iter_rows():
        line = lines[number - 1].removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf" if number == 1 else b"")
        assert text.split("\n")[0] in line.decode("utf-8", "replace") or source.n_overlong, "text is what was written"
    if (
        find_envelope(pl.Series(raw.decode("utf-8", "replace").split("\n"))) is None
    ):  # docs/formats.md: those may differ
        options = replace(records._options, block_bytes=_SMALL_BLOCK)
        again = _all_of(LogRecords(records._inputs, options))
        assert again.equals(frame), "blocks change nothing"


def _all_of(records: LogRecords) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=RECORD_SCHEMA), *records])
