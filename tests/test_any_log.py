"""Logs as they lie around: read without being told how."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from enhanced_deeplog import LogRecords, read_records
from enhanced_deeplog.cli.inspection import inspection_screen, look_at
from enhanced_deeplog.cli.options import Reading
from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.envelopes import ENVELOPES, find_envelope
from enhanced_deeplog.logs.formats import FORMATS
from enhanced_deeplog.logs.inputs import service_of
from enhanced_deeplog.logs.key_choice import find_session_key
from enhanced_deeplog.logs.records import Source
from enhanced_deeplog.logs.session_rules import choose_rules

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
    [
        ("node1.log", "node1"),
        ("s3.log", "s3"),
        ("app-2.log.1", "app"),
        ("x/0.log", "x"),
        ("a_20240301.log", "a"),
        ("nginx/access.log", "nginx"),  # as error.log beside it
        ("access.log", "access"),
        ("mariadb/mariadb-11-main.log", "mariadb"),
        ("mariadb/backup-11.log", "backup"),
        ("pods/shop_mail-0_5f3a/main/0.log", "mail"),  # of a stateful set
        ("pods/shop_mail-7c9d8f6b54-zl8vw_5f3a/proxy/0.log", "proxy"),
        ("containers/mail-zl8vw_shop_app-0123456789abcdef.log", "mail"),
    ],
)
def test_the_name_of_a_file_is_that_of_its_service(path: str, service: str) -> None:
    assert service_of(path) == service


# --- systems that write in ways of their own ---


def at(i: int, style: str) -> str:
    return moment(i).strftime(style)


def test_tomcat_says_when_at_which_level_and_in_which_thread(tmp_path: Path) -> None:
    lines = [
        line
        for i in range(N)
        for line in (
            f"{at(i, '%d-%b-%Y %H:%M:%S')}.250 INFO [http-nio-{i % 5}] com.acme.Shop.open Session {i} opened",
            f"{at(i, '%d-%b-%Y %H:%M:%S')}.750 SEVERE [main] com.acme.Shop.close Session {i} not closed",
            *TRACE,
        )
    ]
    frame, source = read(tmp_path, lines)
    assert (source.format, len(frame)) == ("juli", 2 * N)
    assert frame.select("timestamp", "severity", "component", "process").row(1) == (
        START.replace(microsecond=750_000), "ERROR", "com.acme.Shop.close", "main",
    )  # fmt: skip
    assert frame["body"][0] == "Session 0 opened"


def test_a_level_may_stand_before_the_time_and_the_text_go_on_without_indentation(tmp_path: Path) -> None:
    lines = [
        line
        for i in range(N)
        for line in (
            f"INFO  [Writer:{i % 3}] {at(i, '%Y-%m-%d %H:%M:%S')},250 Store.java:91 - wrote segment {i}",
            f"ERROR [Reader:{i % 3}] {at(i, '%Y-%m-%d %H:%M:%S')},500 Store.java:17 - segment {i} is lost",
            "com.acme.StoreException: segment is lost",
            "\tat com.acme.Store.read(Store.java:17)",
        )
    ]
    frame, source = read(tmp_path, lines)
    assert (source.format, len(frame)) == ("level_and_time", 2 * N)
    assert frame.select("severity", "process", "component", "body").row(1) == (
        "ERROR", "Reader:0", "Store.java:17", "segment 0 is lost com.acme.StoreException at com.acme.Store.read",
    )  # fmt: skip
    assert frame["timestamp"][1] == START.replace(microsecond=500_000)


@pytest.mark.parametrize(
    ("line", "component", "body"),
    [
        ("WARN  [main] 2024-03-01T08:00:00,000 com.acme.Shop:17 - late", "com.acme.Shop:17", "late"),
        ("WARN 2024-03-01 08:00:00.000 [main] com.acme.Shop - late", "com.acme.Shop", "late"),
        ("[WARN] 2024-03-01 08:00:00 order 17: late", None, "order 17: late"),
        ("WARNING: 2024/03/01 08:00:00 main.go:17: late", "main.go:17", "late"),  # Go's log with a prefix
    ],
)
def test_what_stands_behind_level_and_time(line: str, component: str | None, body: str) -> None:
    frame = pl.concat(list(read_records_from([line] * 9)))
    assert frame.select("timestamp", "severity", "component", "body").row(0) == (START, "WARN", component, body)


def test_ruby_says_in_further_lines_what_failed(tmp_path: Path) -> None:
    lines = ["# Logfile created on 2024-03-01 08:00:00 +0000 by logger.rb/v1.6.0"]
    for i in range(N):
        request = f"{i:08x}-0000-4000-8000-0000000000aa"
        lines.append(f"I, [{at(i, '%Y-%m-%dT%H:%M:%S.%f')} #7]  INFO -- shop: [{request}] Started GET /orders/{i}")
        lines.append(f"F, [{at(i, '%Y-%m-%dT%H:%M:%S.%f')} #7] FATAL -- shop: [{request}]   ")
        lines += [f"[{request}] Shop::NoOrder (no order):", f"[{request}] app/models/order.rb:3:in `find'"]
    frame, source = read(tmp_path, lines)
    assert (source.format, len(frame), source.n_empty_lines) == ("ruby_logger", 2 * N, 1)
    assert frame.select("timestamp", "severity", "component", "process", "body").row(3) == (
        moment(1), "FATAL", "shop", "7", "Shop::NoOrder (no order):",
    )  # fmt: skip
    assert frame["session_key"].n_unique() == N
    assert frame["text"][1].count("\n") == 2


def test_the_events_of_the_audit_daemon_have_a_time_a_type_and_a_number(tmp_path: Path) -> None:
    event = "msg=audit({}.250:{}):"
    lines = [
        line
        for i in range(N)
        for line in (
            f"type=SYSCALL {event.format(1709280000 + i, 500 + i)} arch=c000003e syscall=59 success=yes exit=0",
            f'type=EXECVE {event.format(1709280000 + i, 500 + i)} argc=1 a0="date"',
        )
    ]
    frame, source = read(tmp_path, lines)
    assert source.format == "auditd"
    assert frame.select("timestamp", "session_key", "body").row(3) == (
        datetime(2024, 3, 1, 8, 0, 1, 250_000), "501", 'type=EXECVE argc=1 a0="date"',
    )  # fmt: skip
    found = find_session_key(frame).chosen
    assert found is not None
    assert found.name == "field"


def test_a_body_may_begin_below_its_header(tmp_path: Path) -> None:
    lines = [
        line
        for i in range(N)
        for line in (
            "info: Acme.Shop.Orders[14]",
            f"      Order {i} accepted",
            "fail: Acme.Shop.Orders[0]",
            f"      Order {i} lost",
            "      Acme.Shop.StoreException: no store",
            "         at Acme.Shop.Store.Put(Order order)",
        )
    ]
    frame, source = read(tmp_path, lines)
    assert source.format == "dotnet"
    assert frame.select("severity", "component", "body").head(2).rows() == [
        ("INFO", "Acme.Shop.Orders", "Order 0 accepted"),
        ("ERROR", "Acme.Shop.Orders", "Order 0 lost at Acme.Shop.Store.Put"),
    ]


@pytest.mark.parametrize("style", ["%Y-%m-%dT%H:%M:%S+00:00", "%a %b %d %H:%M:%S %Y"])
def test_a_time_on_a_line_by_itself_begins_a_record(tmp_path: Path, style: str) -> None:
    lines = [
        line
        for i in range(N)
        for line in (
            at(i, style),
            f"Thread 1 advanced to log sequence {i}",
            "WARNING: redo is slow",
            "  Current log# 2",
        )
    ]
    frame, source = read(tmp_path, lines)
    assert (source.format, len(frame), source.n_unfit_lines) == ("time_above", N, 0)
    assert frame["body"][3] == "Thread 1 advanced to log sequence 3"
    assert frame["timestamp"][3] == moment(3).replace(microsecond=0)


@pytest.mark.parametrize(
    ("columns", "row", "body", "severity"),
    [
        ("date time cs-method cs-uri-stem cs-uri-query c-ip sc-status", "GET /orders/{} page=1 192.0.2.7 500",
         "GET /orders/{} 5xx", "ERROR"),
        ("date time c-ip cs-method cs(Host) cs-uri-stem sc-status cs(User-Agent)", "192.0.2.7 PUT a.de /cart/{} 200 x",
         "PUT /cart/{} 2xx", "INFO"),
        ("date time action protocol src-ip", "ALLOW TCP 192.0.2.{}", "ALLOW TCP 192.0.2.{}", None),
    ],
)  # fmt: skip
def test_a_file_tells_its_columns_itself(tmp_path: Path, columns: str, row: str, body: str, severity: str) -> None:
    lines = ["#Software: any", "#Version: 1.0", f"#Fields: {columns}"]
    lines += [f"{at(i, '%Y-%m-%d %H:%M:%S')} {row.format(i)}" for i in range(N)]
    frame, source = read(tmp_path, [*lines, "#Software: any", *lines[3:]])
    assert (source.format, len(frame), source.n_empty_lines) == ("w3c", 2 * N, 4)
    assert frame["body"].to_list() == [body.format(i) for i in range(N)] * 2
    assert frame["severity"].unique().to_list() == [severity]
    assert frame["timestamp"][5] == moment(5).replace(microsecond=0)


@pytest.mark.parametrize(
    ("line", "process"),
    [
        ("[2024-03-01 08:00:00,000] ERROR late (shop.Orders)", None),
        ("[2024-03-01 08:00:00 +0000] [17] [ERROR] late", "17"),  # gunicorn
        ("[2024-03-01 08:00:00,000: ERROR/MainProcess] late", "MainProcess"),  # Celery
    ],
)
def test_time_and_level_may_stand_in_brackets(line: str, process: str | None) -> None:
    records = read_records_from([line] * 9)
    frame = pl.concat(list(records))
    assert records.sources[0].format == "bracketed"
    assert frame.select("timestamp", "severity", "process").row(0) == (START, "ERROR", process)
    assert frame["body"][0].startswith("late")


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("2024-03-01 08:00:00.000 +00:00 [WRN] late", "WARN"),
        ("2024-03-01T08:00:00Z ERR late", "ERROR"),
        ("2024-03-01 08:00:00 [FINEST] late", "TRACE"),
        ("2024-03-01 08:00:00 fine, it works", None),
        ("2024-03-01 08:00:00 fail to start", None),
    ],
)
def test_short_levels_are_levels_and_words_are_words(line: str, severity: str | None) -> None:
    frame = pl.concat(list(read_records_from([line] * 9)))
    assert frame.select("timestamp", "severity").row(0) == (START, severity)


def test_a_format_that_was_given_takes_lines_that_go_on_without_indentation(tmp_path: Path) -> None:
    lines = ["<<17>> opened", "over", "many", "lines"] * 9
    (tmp_path / "own.toml").write_text(
        "[own]\npattern = '^<<(?P<session_key>[0-9]+)>> (?P<body>.*)$'\nexample = '<<1>> x'\n"
    )
    frame = pl.concat(list(LogRecords.from_lines(lines, format="own", formats=tmp_path / "own.toml")))
    assert frame["body"].to_list() == ["opened"] * 9
    with pytest.raises(InputError, match="27 of 36 lines don't fit it"):
        list(LogRecords.from_lines(lines[1:] + lines[:1], format="own", formats=tmp_path / "own.toml"))


def test_a_time_that_is_not_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("".join(f"order {i} late ~ {at(i, '%H:%M:%S')}\n" for i in range(N)))
    seen = look_at([str(tmp_path / "a.log")], Reading(), Config())
    assert seen["sources"][0]["unread_times"] == 1
    console = Console(record=True, width=150)
    console.print(*inspection_screen(seen))
    assert "hold what looks like a time, yet fit no known format" in console.export_text()


# --- programs that share files, hosts and requests ---


def test_spring_boot_says_for_which_application_and_request(tmp_path: Path) -> None:
    head = "{}  INFO 7 --- [shop] [  exec-{}] [{}] c.a.C.[.[/].[cart] : "
    lines = [
        head.format(at(i, "%Y-%m-%dT%H:%M:%S.250Z"), i % 4, f"{i // 2:032x}-{i:016x}" if i % 9 else " " * 49)
        + f"cart {i}"
        for i in range(N)
    ]
    frame, source = read(tmp_path, lines)
    assert source.format == "spring_boot"
    assert frame.select("severity", "process", "component", "session_key", "body").row(3) == (
        "INFO", "exec-3", "c.a.C.[.[/].[cart]", f"{1:032x}", "cart 3",
    )  # fmt: skip
    assert frame["session_key"][0] is None
    without = pl.concat(list(read_records_from(["2024-03-01T08:00:00.000Z  WARN 7 --- [main] c.a.Shop : late"] * 9)))
    assert without.select("timestamp", "process", "component", "body").row(0) == (START, "main", "c.a.Shop", "late")


def test_what_a_runtime_says_is_a_record_of_its_own(tmp_path: Path) -> None:
    spoken = [f"[{i}.125s][info ][gc ] GC({i}) Pause Full 9M->4M(64M) 3.2ms" for i in range(3)]
    frame, _ = read(tmp_path, [*JAVA_LINES, *spoken, 'Exception in thread "main" a.b.MyError: x', *JAVA_LINES])
    assert len(frame) == 2 * len(JAVA_LINES) + 4
    first_spoken = frame.row(len(JAVA_LINES), named=True)
    assert (first_spoken["severity"], first_spoken["component"]) == ("INFO", "gc")
    assert first_spoken["body"] == "GC(0) Pause Full 9M->4M(64M) 3.2ms"
    objects = [f'{{"level": 30, "time": {1709280000000 + i}, "msg": "paid"}}' for i in range(N)]
    frame, _ = read(tmp_path, [*objects, "(node:8) [DEP0005] DeprecationWarning: Buffer() is deprecated"])
    assert frame.select("severity", "component", "process", "body").row(N) == (
        "WARN", "DeprecationWarning", "8", "Buffer() is deprecated",
    )  # fmt: skip


def test_a_stack_trace_behind_another_one_is_a_record_of_its_own(tmp_path: Path) -> None:
    lines = [
        line
        for i in range(N)
        for line in (f"{rfc3339(i)} stdout F {java(8)[0]}", *(f"{rfc3339(i)} stderr F {line}" for line in TRACE))
    ]
    frame, _ = read_without_batches(tmp_path, lines)
    assert len(frame) == 2 * N
    assert frame.filter(pl.col("text").str.contains("stderr"))["text"].str.count_matches("\n").unique().to_list() == [3]


def read_without_batches(folder: Path, lines: list[str]) -> tuple[pl.DataFrame, Source]:
    (folder / "any.log").write_text("".join(f"{line}\n" for line in lines))
    records = read_records(folder / "any.log")
    return pl.concat(list(records)), records.sources[0]


@pytest.mark.parametrize(
    ("said", "severity", "body"),
    [
        ('time="2024-03-01T08:00:00.250Z" level=warning msg="disk is full" disk=sda', "WARN", "disk is full"),
        ('{"ts": "2024-03-01T08:00:00.250Z", "level": "error", "msg": "disk is gone"}', "ERROR", "disk is gone"),
        ("disk=sda speed=17", None, "disk=sda speed=17"),
        ("[    7.250000] disk is new", None, "disk is new"),  # the kernel
    ],
)
@pytest.mark.parametrize("head", ["Mar  1 08:00:00", "2024-03-01T08:00:00Z"])
def test_the_syslog_carries_what_a_program_wrote(
    tmp_path: Path, head: str, said: str, severity: str | None, body: str
) -> None:
    frame, _ = read(tmp_path, [f"{head} web-1 cron[7]: up", f"{head} web-1 diskd[8]: {said}"] * 9)
    row = frame.row(1, named=True)
    assert (row["severity"], row["component"], row["body"]) == (severity, "diskd", body)
    assert row["timestamp"] == START.replace(year=row["timestamp"].year, microsecond=250_000 if severity else 0)


def test_the_number_of_a_connection_is_not_what_nginx_says(tmp_path: Path) -> None:
    head = "2024/03/01 08:00:00 [crit] 7#7: "
    frame, _ = read(tmp_path, [f"{head}*17 SSL_do_handshake() failed", f"{head}no space left"] * 9)
    assert frame["body"].to_list()[:2] == ["SSL_do_handshake() failed", "no space left"]


def test_the_key_of_a_folder_is_found_in_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "jobs.log").write_text("".join(f"{at(i, '%Y-%m-%d %H:%M:%S')} job {i} is done\n" for i in range(9)))
    for name in ("cart", "mail", "stock"):
        lines = [f"{at(i, '%Y-%m-%d %H:%M:%S')} {name} for request {i // 3:032x}\n" for i in range(3 * N)]
        (tmp_path / f"{name}.log").write_text("".join(lines))
    rules, _ = choose_rules(read_records(tmp_path), Config().sessions)
    assert rules.key == "hex32"
    sample = read_records(tmp_path).beginnings(4 * 30)
    assert sample["timestamp"].is_sorted()
    assert sample["timestamp"].max() == moment(29).replace(microsecond=0)


ODD_REQUESTS = [
    '10.0.0.7 - john doe [01/Mar/2024:08:00:00 +0000] "GET /orders HTTP/1.1" 200 17',
    '10.0.0.7, 10.0.0.8 - - [01/Mar/2024:08:00:00 +0000] "GET /orders HTTP/1.1" 200 17',
    '[2001:db8::1] - - [01/Mar/2024:08:00:00 +0000] "GET /orders HTTP/1.1" 200',
    'shop:443 10.0.0.7 - john [01/Mar/2024:08:00:00 +0000] "GET /orders HTTP/1.1" 200 -',
]


@pytest.mark.parametrize("others", [JAVA_LINES, [access(i) for i in range(N)]], ids=["log4j", "access"])
@pytest.mark.parametrize("line", ODD_REQUESTS)
def test_an_odd_request_is_no_part_of_the_record_before(tmp_path: Path, line: str, others: list[str]) -> None:
    frame, _ = read(tmp_path, [*others, line, *others])
    assert frame.select("timestamp", "severity", "body").row(len(others)) == (START, "INFO", "GET /orders 2xx")


def test_a_request_that_can_not_be_read_is_a_record_of_its_own(tmp_path: Path) -> None:
    line = '10.0.0.7 "john" - [01/Mar/2024:08:00:00 +0000] GET / 200'
    frame, _ = read(tmp_path, [*JAVA_LINES, line, *JAVA_LINES])
    assert frame["text"][len(JAVA_LINES)] == line


def test_a_w3c_log_may_declare_other_columns_further_down(tmp_path: Path) -> None:
    lines = ["#Fields: date time cs-method cs-uri-stem sc-status"]
    lines += [f"{at(i, '%Y-%m-%d %H:%M:%S')} GET /orders/{i} 200" for i in range(N)]
    lines += ["#Fields: date time c-ip cs-method cs-uri-stem sc-status"]
    lines += [f"{at(i, '%Y-%m-%d %H:%M:%S')} 10.0.0.7 GET /orders/{i} 500" for i in range(N)]
    frame, source = read(tmp_path, [*lines, "GET /lost 200"])
    assert (source.format, len(frame)) == ("w3c", 2 * N + 1)
    assert frame["severity"].to_list() == ["INFO"] * N + ["ERROR"] * N + [None]
    assert frame["host"][N] == "10.0.0.7"


def test_a_line_that_declares_fields_makes_no_w3c_log(tmp_path: Path) -> None:
    frame, source = read(tmp_path, [*JAVA_LINES, "#Fields: a b c", *JAVA_LINES])
    assert (source.format, len(frame)) == ("log4j", 2 * len(JAVA_LINES))


def test_times_on_lines_by_themselves_take_no_record_in(tmp_path: Path) -> None:
    lines = [line for i in range(N) for line in (*java(8), *([at(i, "%Y-%m-%d %H:%M:%S")] if i % 4 == 0 else []))]
    frame, source = read(tmp_path, lines)
    assert source.format == "log4j, time_above"
    assert frame["body"].to_list().count("order 8 accepted") == N


@pytest.mark.parametrize(
    ("line", "component", "body"),
    [
        ("[2024-03-01 08:00:00] Error: late", None, "late"),
        ("[2024-03-01 08:00:00] ERROR - late", None, "late"),
        ("[2024-03-01 08:00:00] ERROR -5 degrees", None, "-5 degrees"),
        ("[2024-03-01 08:00:00] {orders.py:17} ERROR - late", "orders.py:17", "late"),  # Airflow
        ("[2024-03-01T08:00:00.000+0000][12.345s][error][gc] late", "gc", "late"),  # the JVM
        ("[2024-03-01 08:00:00] ERROR/WARN are levels", None, "/WARN are levels"),
    ],
)
def test_what_stands_between_level_and_text_is_no_text(line: str, component: str | None, body: str) -> None:
    frame = pl.concat(list(read_records_from([line] * 9)))
    row = frame.select("timestamp", "severity", "component", "process", "body").row(0)
    assert row == (START, "ERROR", component, None, body)


@pytest.mark.parametrize(
    ("line", "severity", "body"),
    [
        ('Mar  1 08:00:00 web-1 {"level": "error", "msg": "lost"}', "ERROR", "lost"),
        ('2024-03-01T08:00:00Z {"level": "error", "msg": "level=info msg=lost"}', "ERROR", "level=info msg=lost"),
        ("INFO starting [1/3]", None, "INFO starting [1/3]"),
    ],
)
def test_an_object_is_read_once_and_no_word_is_taken_for_a_name(line: str, severity: str | None, body: str) -> None:
    frame = pl.concat(list(read_records_from([line] * 9)))
    assert frame.select("severity", "component", "body").row(0) == (severity, None, body)


def test_a_trace_before_the_process_is_the_session_key() -> None:
    line = "2024-03-01 08:00:00.000  INFO [shop,4bf92f3577b34da6,00f067aa0ba902b7] 1 --- [main] c.a.Shop : up"
    frame = pl.concat(list(read_records_from([line] * 9)))
    assert frame.select("session_key", "process", "body").row(0) == ("4bf92f3577b34da6", "main", "up")


def test_a_character_that_the_runtime_has_cut_is_put_together(tmp_path: Path) -> None:
    said, head = f"order 17 for Zoë{'€' * 9}".encode(), b"2024-03-01T08:00:00.000000000Z stdout "
    for n in range(1, len(said)):
        (tmp_path / "a.log").write_bytes((head + b"P " + said[:n] + b"\n" + head + b"F " + said[n:] + b"\n") * 2)
        frame = pl.concat(list(read_records(tmp_path / "a.log")))
        assert frame["body"].to_list() == [said.decode()] * 2


def test_very_many_further_lines_take_no_time() -> None:
    frame = pl.concat(list(read_records_from([JAVA_LINES[0], *["\tat a.b(C.java:1)"] * 50_000])))
    assert len(frame) == 1 + 50_000 - 5_000


def test_a_folder_of_mixed_logs_is_read_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import_module("mixed_folder").make_folder(tmp_path / "logs", records=2_000)
    outcome = import_module("check_folder").check_folder(tmp_path / "logs", parse=False)
    assert {aspect: outcome.share(aspect) for aspect in ("service", "time", "severity", "body")} == {
        "service": 1, "time": 1, "severity": 1, "body": 1,
    }, dict(outcome.examples)  # fmt: skip
