"""What a line says, in every format we know, and how a format is found and refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog import LogRecords
from enhanced_deeplog.errors import ConfigError, InputError, UsageError
from enhanced_deeplog.logs.formats import FORMATS, detect_format, find_format, format_from_string, printable

NOW = datetime(2024, 3, 2, 12)


def parse(name: str, *lines: str, **fields: str) -> pl.DataFrame:
    texts = pl.Series("text", lines, pl.String)
    return find_format(name, fields).parser(texts, "a.log", NOW).parse(texts)


def first(name: str, line: str) -> dict[str, object]:
    row = parse(name, line).drop("content", "origin", "goes_on").row(0, named=True)
    return {key: value for key, value in row.items() if value is not None}


# --- named formats ---


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "plain"])
def test_the_example_of_every_format_is_detected_as_that_format(name):
    assert detect_format([FORMATS[name].example] * 3).format.name == name


def test_an_hdfs_line_gives_time_process_severity_component_and_body():
    assert first("hdfs", "081109 203530 147 INFO dfs.DataNode$DataXceiver: Receiving block blk_1") == {
        "fits": True,
        "timestamp": datetime(2008, 11, 9, 20, 35, 30),
        "severity": "INFO",
        "component": "dfs.DataNode$DataXceiver",
        "process": "147",
        "body": "Receiving block blk_1",
    }


@pytest.mark.parametrize(
    ("line", "severity", "process", "component", "body"),
    [
        ("2015-10-18 18:01:47,978 INFO [main] org.x.App: up: now", "INFO", "main", "org.x.App", "up: now"),
        ("2015-10-18 18:01:47.978 [main] ERROR org.x.App - up", "ERROR", "main", "org.x.App", "up"),
        ("17/06/09 20:10:40 WARN spark.SecurityManager: up", "WARN", None, "spark.SecurityManager", "up"),
        ("2015-10-18T18:01:47.978Z  INFO 12345 --- [main] c.e.Foo  : up", "INFO", "12345", "c.e.Foo", "up"),
        ("2015-10-18 18:01:47,978 - WARNING [myid:1] - Learner - up", "WARN", "myid:1", "Learner", "up"),
        ("2015-10-18 18:01:47,978 INFO [main] org.x.App:", "INFO", "main", "org.x.App", ""),
    ],
)
def test_log4j_is_read_with_the_thread_in_any_place(line, severity, process, component, body):
    row = parse("log4j", line).row(0, named=True)
    assert (row["severity"], row["component"], row["body"]) == (severity, component, body)
    assert row["process"] == process
    assert row["timestamp"] is not None


def test_nova_lines_are_read_without_a_time_and_with_one():
    lines = (
        "INFO nova.compute.claims [req-1] [instance: a] Claim successful",
        "INFO os_vif [-] Loaded plugins",
        "nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 WARNING nova.api [req-2] slow",
        "   ERROR nova.compute.manager indented",
    )
    parts = parse("nova", *lines)
    assert parts["fits"].all()
    assert parts["severity"].to_list() == ["INFO", "INFO", "WARN", "ERROR"]
    assert parts["component"].to_list() == [
        "nova.compute.claims",
        "os_vif",
        "nova.api",
        "nova.compute.manager",
    ]
    assert parts["body"].to_list() == [
        "[req-1] [instance: a] Claim successful",
        "[-] Loaded plugins",
        "[req-2] slow",
        "indented",
    ]
    assert parts["timestamp"].to_list() == [None, None, datetime(2017, 5, 16, 0, 0, 0, 8000), None]
    assert parts["process"].to_list() == [None, None, "25746", None]


def test_pipes_separate_time_severity_component_and_body():
    row = first("pipe", "2024-03-01 08:00:00,123 | critical | orders.api | a | b")
    assert (row["severity"], row["component"], row["body"]) == ("FATAL", "orders.api", "a | b")
    loguru = first("pipe", "2024-03-01 08:00:00.123 | INFO     | app.run:main:12 - started | twice")
    assert (loguru["component"], loguru["body"]) == ("app.run:main:12", "started | twice")


def test_a_dated_line_needs_a_time_and_may_have_a_severity():
    rows = parse("dated", "2024-03-01T08:00:00Z ERROR broken", "[2024-03-01 08:00:00] Information follows", "no")
    assert rows["severity"].to_list() == ["ERROR", None, None]
    assert rows["body"].to_list() == ["broken", "Information follows", "no"]
    assert rows["fits"].to_list() == [True, True, False]


def test_a_line_that_does_not_fit_is_all_body():
    row = parse("hdfs", "    at java.lang.Thread.run(Thread.java:748)").row(0, named=True)
    assert not row["fits"]
    assert row["body"] == "    at java.lang.Thread.run(Thread.java:748)"
    assert [row[name] for name in ("timestamp", "severity", "component", "process")] == [None] * 4


def test_plain_takes_the_whole_line_whatever_is_in_it():
    assert parse("plain", "\x0b\x85 \u2028 x\x00y")["body"].to_list() == ["\x0b\x85 \u2028 x\x00y"]


def test_severities_are_normalised():
    words = ["warning", "Critical", "INFO", "error", "fatal"]
    lines = [f"2024-03-01 08:00:00 {word} a.b: x" for word in words]
    assert parse("log4j", *lines)["severity"].to_list() == ["WARN", "FATAL", "INFO", "ERROR", "FATAL"]


# --- timestamps ---


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1)),
    st.sampled_from(["T", " "]),
    st.sampled_from([".", ","]),
    st.integers(-14 * 60, 14 * 60) | st.sampled_from(["", "Z"]),
)
@settings(max_examples=60)
def test_any_iso_time_comes_back_in_utc(moment, between, point, zone):
    text = moment.strftime(f"%Y-%m-%d{between}%H:%M:%S{point}%f")
    expected = moment
    if isinstance(zone, int):
        text += f"{'+' if zone >= 0 else '-'}{abs(zone) // 60:02d}:{abs(zone) % 60:02d}"
        expected = moment.replace(tzinfo=timezone(timedelta(minutes=zone))).astimezone(UTC).replace(tzinfo=None)
    else:
        text += zone
    assert parse("dated", f"{text} x")["timestamp"].to_list() == [expected]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-03-01 08:00:00", datetime(2024, 3, 1, 8)),
        ("2024/03/01 08:00:00", datetime(2024, 3, 1, 8)),
        ("24/03/01 08:00:00", datetime(2024, 3, 1, 8)),
        ("240301 080000", datetime(2024, 3, 1, 8)),
        ("2024-03-01-08.00.00.250000", datetime(2024, 3, 1, 8, 0, 0, 250000)),
        ("Fri Mar 01 08:00:00 2024", datetime(2024, 3, 1, 8)),
        ("01/Mar/2024:08:00:00 +0100", datetime(2024, 3, 1, 7)),
        ("1709280000", datetime(2024, 3, 1, 8)),
        ("1709280000250", datetime(2024, 3, 1, 8, 0, 0, 250000)),
        ("9999-01-01 00:00:00", None),
        ("2024-13-45 08:00:00", None),
        ("yesterday", None),
        ("12", None),
    ],
)
def test_a_timestamp_is_read_in_the_way_its_source_writes_it(written, expected):
    assert parse("[<Timestamp>] <Content>", f"[{written}] x")["timestamp"].to_list() == [expected]


def test_nanoseconds_are_kept():
    times = parse("dated", "2024-03-01T08:00:00.123456789Z x")["timestamp"]
    assert times.cast(pl.Int64).to_list() == [1709280000123456789]


def test_the_way_of_writing_is_decided_once_for_a_source():
    sample = pl.Series(["1709280000 a"])
    parser = find_format("<Timestamp> <Content>").parser(sample, "a.log", NOW)
    later = parser.parse(pl.Series(["1709280000000 looks like ms", "1709280001 is s"]))
    assert later["timestamp"].to_list() == [None, datetime(2024, 3, 1, 8, 0, 1)]


def test_numbers_of_two_units_are_refused_with_the_way_out():
    with pytest.raises(InputError) as caught:
        parse("<Timestamp> <Content>", "1709280000 a", "1709280000000 b")
    assert str(caught.value) == (
        "a.log: expected timestamps of one unit; 1709280000 looks like s, 1709280000000 like ms. "
        "State the unit: --field timestamp:s=NAME, or <Timestamp:s> in a format string."
    )


def test_a_stated_unit_is_taken_at_its_word():
    lines = ("1709280000 a", "1709280000000 b")
    times = parse("<Timestamp:ms> <Content>", *lines)["timestamp"]
    assert times.to_list() == [datetime(1970, 1, 20, 18, 48), datetime(2024, 3, 1, 8)]


# --- JSON lines ---


def test_usual_json_names_need_no_fields():
    line = json.dumps(
        {"@timestamp": "2024-03-01T08:00:00Z", "level": "warning", "logger": "a.b", "host": "h", "pid": 7,
         "msg": "up", "trace_id": "t", "service": "orders"}
    )  # fmt: skip
    assert first("jsonl", line) == {
        "fits": True, "timestamp": datetime(2024, 3, 1, 8), "severity": "WARN", "component": "a.b",
        "host": "h", "process": "7", "session_key": "t", "service": "orders", "body": "up",
    }  # fmt: skip


def test_the_names_of_opentelemetry_need_no_fields():
    line = json.dumps(
        {
            "timeUnixNano": "0",
            "observedTimeUnixNano": "1709280000000000001",
            "severityNumber": 17,
            "body": {"stringValue": "up"},
            "traceId": "4bf9",
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "orders"}}]},
        }
    )
    parts = parse("jsonl", line)
    assert parts["timestamp"].cast(pl.Int64).to_list() == [1709280000000000001]
    row = parts.row(0, named=True)
    assert (row["severity"], row["body"], row["session_key"], row["service"]) == (
        "ERROR",
        "up",
        "4bf9",
        "orders",
    )
    model = json.dumps({"Timestamp": 1709280000000000001, "Body": "up", "Resource": {"service.name": "orders"}})
    assert parse("jsonl", model)["timestamp"].cast(pl.Int64).to_list() == [1709280000000000001]
    assert parse("jsonl", model)["service"].to_list() == ["orders"]


def test_fields_name_what_is_called_otherwise():
    line = json.dumps({"t": 1709280000250, "doc": {"text": "up"}, "flow.id": 9})
    found = first_with(line, **{"timestamp:ms": "t", "body": "doc.text", "session_key": "flow.id"})
    assert found == (datetime(2024, 3, 1, 8, 0, 0, 250000), "up", "9")


def first_with(line: str, **fields: str) -> tuple[object, ...]:
    return parse("jsonl", line, **fields).select("timestamp", "body", "session_key").row(0)


def test_the_unit_in_a_name_counts_for_that_name():
    lines = [json.dumps({"t_ms": 1709280000250, "msg": "a"}), json.dumps({"t_ms": 1709280001, "msg": "b"})]
    times = parse("jsonl", *lines, timestamp="t_ms")["timestamp"]
    assert times.to_list() == [datetime(2024, 3, 1, 8, 0, 0, 250000), datetime(1970, 1, 20, 18, 48, 0, 1000)]


def test_a_fraction_of_seconds_is_not_lost():
    assert parse("jsonl", '{"ts": 1709280000.123456, "msg": "x"}')["timestamp"].to_list() == [
        datetime(2024, 3, 1, 8, 0, 0, 123456)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "3",
        "null",
        '"x"',
        "{",
        "not json",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_json_object_does_not_fit(line):
    row = parse("jsonl", '{"msg": "ok"}', line).row(1, named=True)
    assert (row["fits"], row["body"]) == (False, line)


def test_half_characters_in_json_become_replacement_characters():
    assert parse("jsonl", '{"msg": "a\\ud800b"}')["body"].to_list() == ["a\ufffdb"]


def test_values_of_any_type_become_text():
    lines = [json.dumps({"msg": value}) for value in (1, 1.5, True, {"a": [1]}, "x")]
    assert parse("jsonl", *lines)["body"].to_list() == ["1", "1.5", "true", '{"a": [1]}', "x"]


def test_json_without_a_known_body_says_which_fields_there_are():
    with pytest.raises(InputError) as caught:
        parse("jsonl", '{"what": "up", "n": 1}')
    assert str(caught.value) == (
        "a.log: expected the text of each record in body or Body or message or msg or event or log or "
        "MESSAGE or Message or short_message; "
        "the JSON objects have other fields (what, n). Say which one it is: --field body=NAME."
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"bdy": "msg"},
            "--field bdy: expected one of body, component, host, process, service, session_key, ",
        ),
        (
            {"timestamp:min": "t"},
            "timestamp:min: expected a unit only behind the timestamp, one of s, ms, us, ns; ",
        ),
        ({"body:ms": "t"}, "body:ms: expected a unit only behind the timestamp"),
        ({"body": ""}, "--field body: expected the name of a JSON field, got ''."),
    ],
)
def test_wrong_fields_are_refused(fields, said):
    with pytest.raises(UsageError) as caught:
        find_format("jsonl", fields)
    assert str(caught.value).startswith(said)


def test_fields_are_for_json_lines_only():
    with pytest.raises(UsageError, match=r"^--field is for JSON lines and logfmt; the format is hdfs\."):
        find_format("hdfs", {"body": "msg"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["msg", "body", "time", "level", "severityNumber", "scope", "resource", "trace_id"])


@given(st.lists(st.dictionaries(names, json_values, max_size=6), min_size=1, max_size=5))
@settings(max_examples=50)
def test_any_json_object_makes_one_row(objects):
    lines = ['{"msg": "x"}'] * 6 + [json.dumps(one) for one in objects]
    try:
        parts = parse("jsonl", *lines)
    except InputError as error:
        assert "one unit" in str(error)  # noqa: PT017  # the only error such numbers may give
        return
    assert len(parts) == len(lines)
    assert parts["fits"].all()
    assert parts["body"].null_count() == 0


# --- format strings ---


def test_a_loghub_format_string_reads_its_fields_in_any_case():
    row = first("<DATE> <time> <Pid> <level> <Component>: <Content>", "081109 203530 147 INFO dfs.A: up: now")
    assert row["timestamp"] == datetime(2008, 11, 9, 20, 35, 30)
    assert (row["process"], row["severity"], row["component"], row["body"]) == (
        "147",
        "INFO",
        "dfs.A",
        "up: now",
    )


def test_unknown_fields_are_read_and_forgotten_and_literals_stand_for_themselves():
    row = first("(<Label>)*\t<Node>  [<SessionKey>] <Content>", "(anything at all)* \t n1 [k 1]   up")
    assert (row["host"], row["session_key"], row["body"]) == ("n1", "k 1", "up")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<Date> <Time>", "position 14: expected a field <Content>; there is none."),
        ("<Date <Content>", "position 1: expected a field such as <Level>; got '<Date <Content>'."),
        ("a> <Content>", "position 2: expected no '>' outside a field."),
        ("<> <Content>", "position 1: expected a field such as <Level>; got '<> <Content>'."),
        ("<Body> <Content>", "position 8: expected each field once; <Content> is a second body."),
        ("<Level:ms> <Content>", "<Level:ms>: expected a unit only behind the timestamp"),
    ],
)
def test_a_malformed_format_string_is_refused_with_the_position(text, said):
    with pytest.raises(UsageError) as caught:
        format_from_string(text)
    assert said in str(caught.value)


words = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
literals = st.text(st.sampled_from(" :|-[](){}.*+?^$\\#&~/\"'%\t"), min_size=1, max_size=4)


@given(st.permutations(["Level", "Component", "Host", "Pid", "SessionKey", "Other", "Content"]), st.data())
@settings(max_examples=50)
def test_what_is_written_by_a_format_string_is_read_back(order, data):
    values = {name: data.draw(words, label=name) for name in order}
    text = line = ""
    for name in order:
        literal = data.draw(literals)
        text += f"<{name}>{literal}"
        line += values[name] + literal
    text, line = text.rstrip(" \t"), line.rstrip(" \t")
    parts = format_from_string(text).split(pl.Series([line]))
    found = parts.select("severity", "component", "host", "process", "session_key", "body").row(0)
    assert found == tuple(values[name] for name in ("Level", "Component", "Host", "Pid", "SessionKey", "Content"))


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        find_format("hfds\x1b")
    assert str(caught.value) == (
        f"format 'hfds\\x1b': expected one of {', '.join(FORMATS)}, or a format string such as "
        "'<Date> <Time> <Level> <Component>: <Content>'. Did you mean hdfs?"
    )


# --- detection ---


def test_stack_traces_do_not_hide_the_format():
    record = "2015-10-18 18:01:47,978 ERROR [main] org.x.App: failed"
    lines = [record, *["    at org.x.App.run(App.java:1)"] * 2, record, record]
    found = detect_format(lines)
    assert (found.format.name, found.fit) == ("log4j", 1.0)
    assert detect_format([*lines, "no trace", "no trace"]).fit == 0.6


def test_the_more_specific_format_wins_and_the_other_is_runner_up():
    found = detect_format([FORMATS["log4j"].example])
    assert (found.format.name, found.fit) == ("log4j", 1.0)
    assert found.runner_up is FORMATS["dated"]
    assert found.runner_up_fit == 1.0


@pytest.mark.parametrize("lines", [[], [""], ["hello", "world"], ["\x00"]])
def test_what_fits_nothing_is_plain(lines):
    assert detect_format(lines).format.name == "plain"


@given(st.lists(st.text(), max_size=5))
@settings(max_examples=60)
def test_detection_is_deterministic_and_never_fails(lines):
    lines = [line.encode("utf-8", "replace").decode() for line in lines]
    assert detect_format(lines) == detect_format(lines)


@given(st.text())
def test_printable_text_is_printable(text):
    assert printable(text, limit=50).isprintable()


# --- formats of one's own ---

OWN = """
[shop]
pattern = '^#(?P<session_key>[0-9]+) {TIMESTAMP} (?P<severity>[A-Z]+)! (?P<body>.*)$'
example = "#17 2024-03-01 08:00:00 WARN! late"
"""


def test_a_format_of_ones_own_is_found_before_the_others_and_by_its_name(tmp_path):
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")
    lines = [f"#{i} 2024-03-01 08:00:{i:02} WARN! late" for i in range(20)]
    for asked in (None, "shop"):
        records = LogRecords.from_lines(lines, format=asked, formats=tmp_path / "own.toml")
        row = records.head(1).row(0, named=True)
        assert (row["session_key"], row["severity"], row["body"]) == ("0", "WARN", "late")
        assert records.sources[0].format == "shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x", r"^Expected a TOML file with log formats at .*own\.toml: "),
        ("x = 1", r"own\.toml, format x: expected .* pattern and example, perhaps unit and comment; got 1\.$"),
        (
            "[x]\npattern = '('\nexample = 'a'",
            r"format x: the pattern is no valid Rust regular expression: unclosed group$",
        ),
        ("[x]\npattern = '^(?P<body>b)'\nexample = 'a'", r"format x: the pattern doesn't fit its own example, a$"),
        (
            "[x]\npattern = '^a'\nexample = 'a'",
            r"format x: the pattern has no group \(\?P<body>\.\.\.\) for what the record says, nor",
        ),
        ("[x]\npattern = '^(?P<request>.*)'\nexample = 'a'", r"has no group .*, nor request and status\.$"),
        (
            "[x]\npattern = '^(?P<timestamp>.) (?P<body>.)'\nexample = '8 a'",
            r"format x: 8 is no timestamp that can be r",
        ),
        ("[hdfs]\npattern = '^a'\nexample = 'a'", r"format hdfs: expected a name of its own, without < and >"),
        (
            "[x]\npattern = '^a'\nexample = 'a'\nunit = 'h'",
            r"format x: expected one of s, ms, us, ns as unit; got 'h'\.$",
        ),
    ],
)
def test_a_format_of_ones_own_that_cant_be_used_is_refused(tmp_path, text, said):
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        LogRecords.from_lines(["a"], formats=tmp_path / "own.toml")


# --- time zones ---


def test_a_time_that_names_no_zone_is_on_the_clocks_of_the_zone_that_was_asked_for():
    lines = [
        "2024-07-01 08:00:00,123 INFO a.b: summer",
        "2024-01-01 08:00:00,123 INFO a.b: winter",
        "2024-07-01T08:00:00Z INFO a.b: says so itself",
        "2024-10-27 02:30:00 INFO a.b: comes twice, and is the first",
        "2024-03-31 02:30:00 INFO a.b: never came",
    ]
    times = LogRecords.from_lines(lines, time_zone="Europe/Berlin").head(9)["timestamp"]
    assert times.to_list() == [
        datetime(2024, 7, 1, 6, 0, 0, 123_000),
        datetime(2024, 1, 1, 7, 0, 0, 123_000),
        datetime(2024, 7, 1, 8),
        datetime(2024, 10, 27, 0, 30),
        None,
    ]
    late = LogRecords.from_lines(lines[:3], time_zone="Europe/Berlin", since="2024-07-01T09:00")
    assert late.head(9)["body"].to_list() == ["says so itself"]


def test_a_time_zone_that_isnt_one_is_refused_with_the_nearest():
    with pytest.raises(
        UsageError, match=r"^time zone 'Europe/Berln': expected a name .* Did you mean Europe/Berlin\?$"
    ):
        LogRecords.from_lines(["a"], time_zone="Europe/Berln")
