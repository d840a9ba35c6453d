"""Logs as they lie around: read without being told how."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from enhanced_deeplog import LogRecords, read_records
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.envelopes import ENVELOPES, find_envelope
from enhanced_deeplog.logs.formats import FORMATS
from enhanced_deeplog.logs.inputs import service_of
from enhanced_deeplog.logs.records import Source

START = datetime(2024, 3, 1, 8)
N = 200  # records of each log
TRACE = (
    "java.sql.SQLException: connection lost",
    "\tat com.acme.db.Pool.take(Pool.java:91)",
    "Caused by: java.net.SocketTimeoutException: Read timed out",
    "\t... 12 more",
)


def moment(i: int) -> datetime:
    return START + timedelta(milliseconds=137 * i)


def rfc3339(i: int) -> str:
    return moment(i).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


def java(i: int) -> list[str]:
    head = f"{moment(i):%Y-%m-%d %H:%M:%S},{moment(i).microsecond // 1000:03}"
    if i % 20 == 7:
        return [f"{head} ERROR [http-{i % 8}] com.acme.Orders - could not store order {i}", *TRACE]
    return [f"{head} INFO  [http-{i % 8}] com.acme.Orders - order {i} accepted"]


def access(i: int) -> str:
    asked = f'"GET /orders/{i}?page=1 HTTP/1.1" {500 if i % 20 == 7 else 200}'
    return f'10.0.0.{i % 9} - - [{moment(i):%d/%b/%Y:%H:%M:%S} +0000] {asked} 17 "-" "curl/8"'


def read(folder: Path, lines: list[str], name: str = "any.log") -> tuple[pl.DataFrame, Source]:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    records = read_records(path)
    frame = pl.concat(list(records))
    source = records.sources[0]
    assert source.n_lines == source.n_records + source.n_joined_lines + source.n_empty_lines  # each is accounted for
    assert pl.concat(list(read_records(path, batch_size=17))).equals(frame)  # however batches fall
    return frame, source


def wrapped(name: str, lines: Iterator[str]) -> list[str]:
    match name:
        case "docker":
            return [
                json.dumps({"log": f"{line}\n", "stream": "stdout", "time": rfc3339(i)}) for i, line in enumerate(lines)
            ]
        case "cri":
            return [f"{rfc3339(i)} stdout F {line}" for i, line in enumerate(lines)]
        case "kubectl":
            return [f"[pod/orders-5d9c7/app] {line}" for line in lines]
        case _:
            return [f"orders-1  | {line}" for line in lines]


@pytest.mark.parametrize("envelope", [one.name for one in ENVELOPES])
def test_java_with_stack_traces_is_read_in_any_envelope(tmp_path: Path, envelope: str) -> None:
    frame, source = read(tmp_path, wrapped(envelope, (line for i in range(N) for line in java(i))))
    assert source.format == f"{envelope}: log4j"
    assert source.n_joined_lines == N // 20 * len(TRACE)
    assert frame["timestamp"].to_list() == [moment(i).replace(microsecond=137 * i % 1000 * 1000) for i in range(N)]
    assert frame["severity"].to_list() == ["ERROR" if i % 20 == 7 else "INFO" for i in range(N)]
    assert frame["body"][7] == (
        "could not store order 7 java.sql.SQLException java.net.SocketTimeoutException at com.acme.db.Pool.take"
    )
    assert frame["body"][8] == "order 8 accepted"


@pytest.mark.parametrize("envelope", ENVELOPES, ids=lambda one: one.name)
def test_the_example_of_each_envelope_is_found_and_unwrapped(envelope: object) -> None:
    sample = pl.Series([envelope.example])  # type: ignore[attr-defined]  # an Envelope
    assert find_envelope(sample) is envelope
    assert envelope.split(sample)["content"].to_list() == ["order 17 accepted"]  # type: ignore[attr-defined]


def test_what_is_in_no_envelope_has_none() -> None:
    assert (
        find_envelope(pl.Series([java(0)[0], access(0), '{"log": "up"}', "2024-03-01T08:00:00Z stdout is full"]))
        is None
    )
    assert find_envelope(pl.Series([], dtype=pl.String)) is None


def test_a_line_that_the_runtime_has_cut_is_one_record(tmp_path: Path) -> None:
    objects = [
        json.dumps({"time": rfc3339(i), "level": 30, "pid": i, "msg": f"handled {'x' * 40} {i}"}) for i in range(N)
    ]
    pieces = [
        f"{rfc3339(i)} stdout {'F' if last else 'P'} {piece}"
        for i, text in enumerate(objects)
        for piece, last in ((text[:50], False), (text[50:70], False), (text[70:], True))
    ]
    frame, source = read(tmp_path, pieces)
    assert (source.format, source.n_joined_lines) == ("cri: jsonl", 2 * N)
    assert frame["body"].to_list() == [f"handled {'x' * 40} {i}" for i in range(N)]
    assert frame["severity"].unique().to_list() == ["INFO"]


def test_pods_in_one_stream_are_told_apart(tmp_path: Path) -> None:
    lines = [
        line
        for i in range(N)
        for line in (
            f"[pod/orders-5d9c7/app] {java(i)[0]}",
            f"[pod/gate-77/nginx] {access(i)}",
            *(f"[pod/orders-5d9c7/app] {line}" for line in java(i)[1:]),  # behind a line of another pod
        )
    ]
    path = tmp_path / "pods.log"
    path.write_text("\n".join(lines))
    frame = pl.concat(list(read_records(path)))
    assert sorted(frame["service"].value_counts().rows()) == [("app", N), ("nginx", N)]
    of_nginx = frame.filter(pl.col("service") == "nginx")
    assert of_nginx["text"].str.contains("\n").sum() == 0
    assert of_nginx["body"].to_list() == [f"GET /orders/{i} {'5xx' if i % 20 == 7 else '2xx'}" for i in range(N)]
    assert of_nginx["severity"].to_list() == ["ERROR" if i % 20 == 7 else "INFO" for i in range(N)]


def test_two_programs_may_write_to_one_file(tmp_path: Path) -> None:
    frame, source = read(tmp_path, [line for i in range(N) for line in (*java(i), access(i))])
    assert source.format in ("log4j, access", "access, log4j")
    assert (len(frame), frame["timestamp"].null_count()) == (2 * N, 0)
    assert frame["body"][15] == "GET /orders/7 5xx"


def test_postgres_says_more_in_further_lines(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        head = f"{moment(i):%Y-%m-%d %H:%M:%S}.000 UTC [{100 + i % 5}] app@orders "
        lines += [f"{head}LOG:  duration: {i}.5 ms  statement: SELECT *", "\tFROM orders", f"\tWHERE id = {i}"]
        lines += [
            f"{head}ERROR:  deadlock detected",
            f"{head}DETAIL:  Process {i} waits",
            f"{head}STATEMENT:  UPDATE x",
        ]
    frame, source = read(tmp_path, lines)
    assert (source.format, len(frame)) == ("postgres", 2 * N)
    assert frame["severity"].to_list() == ["INFO", "ERROR"] * N
    assert frame["text"][1].count("\n") == 2


def test_a_python_traceback_tells_what_was_raised_and_where(tmp_path: Path) -> None:
    trace = ["Traceback (most recent call last):", '  File "/srv/shop/api.py", line 12, in handle', "    put()"]
    trace += ['  File "/srv/shop/db.py", line 3, in put', "    raise KeyError(1)", "KeyError: 1"]
    lines = [line for i in range(N) for line in (f"{moment(i):%Y-%m-%d %H:%M:%S},000 - shop - ERROR - failed", *trace)]
    frame, source = read(tmp_path, lines)
    assert source.format == "python_logging"
    assert frame["body"].unique().to_list() == ["failed KeyError at db.py:put at api.py:handle"]


def test_a_year_that_is_not_written_is_that_before_the_file_was(tmp_path: Path) -> None:
    path = tmp_path / "syslog"
    path.write_text(
        "Dec 31 23:59:58 web-1 cron[7]: up\nJan  1 00:00:01 web-1 cron[7]: down\nFeb 29 00:00:00 web-1 cron: leap\n"
    )

    written = datetime(2024, 3, 1).timestamp()
    os.utime(path, (written, written))
    frame = pl.concat(list(read_records(path)))
    assert frame["timestamp"].to_list() == [
        datetime(2023, 12, 31, 23, 59, 58),
        datetime(2024, 1, 1, 0, 0, 1),
        datetime(2024, 2, 29),
    ]


def test_a_label_is_no_part_of_what_is_learnt(tmp_path: Path) -> None:
    line = "{} 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 R02-M1 RAS KERNEL INFO cache parity error"
    frame, source = read(tmp_path, [line.format(label) for label in ("-", "APPREAD", "KERNDTLB")])
    assert source.format == "bgl"
    learnt_from = frame.drop("text", "line", "byte_offset")
    assert learnt_from.n_unique() == 1


@pytest.mark.parametrize(
    ("line", "severity", "body"),
    [
        ('{"t": {"$date": "2024-03-01T08:00:00.000Z"}, "s": "E", "c": "NETWORK", "msg": "lost"}', "ERROR", "lost"),
        ('{"__REALTIME_TIMESTAMP": "1709280000000000", "PRIORITY": "4", "MESSAGE": "slow"}', "WARN", "slow"),
        ('{"time": 1709280000000, "level": 50, "v": 0, "msg": "lost"}', "ERROR", "lost"),
        ('{"TimeCreated": "2024-03-01T08:00:00Z", "Level": 2, "Message": "lost"}', "ERROR", "lost"),
        ('{"@timestamp": "2024-03-01T08:00:00Z", "log.level": "warn", "message": "slow"}', "WARN", "slow"),
        ('ts=2024-03-01T08:00:00Z level=error msg="lost \\"it\\"" n=1', "ERROR", 'lost "it"'),
        ("<11>Mar  1 08:00:00 web-1 app: lost", "ERROR", "lost"),
    ],
)
def test_levels_are_read_by_any_of_their_names(tmp_path: Path, line: str, severity: str, body: str) -> None:
    frame, _ = read(tmp_path, [line] * 3)
    assert frame.select("severity", "body").row(0) == (severity, body)
    assert frame["timestamp"].null_count() == 0


def test_every_format_and_envelope_is_in_the_documentation() -> None:
    documentation = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for name in [*FORMATS, *(envelope.name for envelope in ENVELOPES)]:
        assert f"| `{name}` |" in documentation


JAVA_LINES = [java(i)[0] for i in range(8, 19)] * 10


@pytest.mark.parametrize(
    ("line", "severity", "body"),
    [
        ("2024-03-01 09:00:00,123 ERROR Disk failure imminent on sda", "ERROR", "Disk failure imminent on sda"),
        ("FATAL: out of disk", "FATAL", "out of disk"),
        ('{"level": "fatal", "msg": "db down"}', None, '{"level": "fatal", "msg": "db down"}'),
        ("Mar  1 09:00:00 web-1 kernel panic", None, "Mar  1 09:00:00 web-1 kernel panic"),
    ],
)
def test_what_begins_with_a_time_or_a_level_is_a_record_of_its_own(
    tmp_path: Path, line: str, severity: str | None, body: str
) -> None:
    frame, _ = read(tmp_path, [*JAVA_LINES, line, *JAVA_LINES])
    assert frame.select("severity", "body").row(len(JAVA_LINES)) == (severity, body)


def test_a_line_without_end_that_looks_like_a_frame_takes_no_time(tmp_path: Path) -> None:
    frame, source = read(tmp_path, [*JAVA_LINES, "(." * 50_000 + "x", "a." * 50_000])
    assert (len(frame), source.n_joined_lines) == (len(JAVA_LINES), 2)


@pytest.mark.parametrize(
    "lines",
    [
        [f'{{"a": 1, "b": {i}}}' for i in range(6)],
        [f'{{"msg": "x", "ts": {ts}}}' for ts in (1709280000, 1709280000000) * 3],
    ],
)
def test_some_odd_objects_make_no_log_unreadable(tmp_path: Path, lines: list[str]) -> None:
    syslog = [f"Mar  1 08:00:{i:02} web-1 app[1]: ok {i}" for i in range(50)]
    frame, source = read(tmp_path, [*syslog, *lines])
    assert (len(frame), source.format) == (56, "syslog")


@pytest.mark.parametrize(
    ("format_name", "lines"),
    [
        ("plain", ["Head", "  a", "  b", "  c"]),
        ("log4j", [JAVA_LINES[0], *TRACE]),
        ("log4j", [JAVA_LINES[0], "a statement", "  over", "  many", "  lines"]),
    ],
)
def test_a_format_that_is_right_is_not_refused_for_its_further_lines(format_name: str, lines: list[str]) -> None:
    records = read_records_from(lines * 5, format_name)
    assert len(pl.concat(list(records))) == 5


def read_records_from(lines: list[str], format_name: str | None = None) -> LogRecords:
    return LogRecords.from_lines(lines, format=format_name)


@pytest.mark.parametrize(
    ("line", "format_name", "severity", "body"),
    [
        ("[2024-03-01 08:00:00] Information about 0", "dated", None, "Information about 0"),
        ("[2024-03-01 08:00:00] errors found: 0", "dated", None, "errors found: 0"),
        ("2024-03-01 08:00:00 error-free run", "dated", None, "error-free run"),
        ("2024-03-01 08:00:00 - ERROR - lost", "dated", "ERROR", "lost"),
        ("INFO: https://x.org/a up", "level_first", "INFO", "https://x.org/a up"),
        ("ERROR: connection: lost", "level_first", "ERROR", "connection: lost"),
        ("INFO | order accepted", "plain", None, "INFO | order accepted"),
        ("[worker/4] ERROR failed", "plain", None, "[worker/4] ERROR failed"),
        ("ERROR config.yaml not found", "plain", None, "ERROR config.yaml not found"),
        ('{"short_message": "lost", "level": 3}', "jsonl", "ERROR", "lost"),
    ],
)
def test_no_format_takes_what_is_not_its_own(line: str, format_name: str, severity: str | None, body: str) -> None:
    records = read_records_from([line] * 9)
    frame = pl.concat(list(records))
    assert records.sources[0].format == format_name
    assert frame.select("severity", "body").row(0) == (severity, body)


def test_a_compressed_log_that_can_not_be_read_is_not_left_out_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.log").write_text("up\n")
    (tmp_path / "b.log.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match="zstandard is not installed"):
        list(read_records(tmp_path))


def test_a_file_from_the_future_is_read(tmp_path: Path) -> None:
    path = tmp_path / "syslog"
    path.write_text("Mar  1 08:00:00 web-1 app: up\n" * 3)
    os.utime(path, (2e11, 2e11))
    assert pl.concat(list(read_records(path)))["timestamp"].null_count() == 0


@pytest.mark.parametrize(
    ("path", "service"),
    [("node1.log", "node1"), ("s3.log", "s3"), ("app-2.log.1", "app"), ("x/0.log", "x"), ("a_20240301.log", "a")],
)
def test_the_name_of_a_file_is_that_of_its_service(path: str, service: str) -> None:
    assert service_of(path) == service
