"""Findings and records in files, and the contract of their form."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import enhanced_deeplog.output as output_module
from enhanced_deeplog.errors import OutputError, UsageError
from enhanced_deeplog.findings import FINDING_COLUMNS, Cause, Evidence, Expected, Finding
from enhanced_deeplog.output import (
    RECORD_COLUMNS,
    SUFFIXES,
    _inert_column,
    check_directory,
    check_output,
    finding_line,
    record_lines,
    write_findings,
    write_records,
)
from enhanced_deeplog.output_schema import output_schema

SCHEMA_FILE = Path(__file__).parents[1] / "docs" / "output.schema.json"
EVIDENCE = Evidence(
    source="service.log",
    line=17,
    byte_offset=1024,
    timestamp="2024-03-01T08:00:00.123456789Z",
    severity="ERROR",
    template_id="ccdef1b725b7",
    template="query cancelled after <*>",
    event_id=5,
    position=3,
    expected=(Expected("order <*> stored", 0.75), Expected("<END>", 0.125)),
    surprise=7.5,
    text="query cancelled after 3000 ms",
)
FINDING = Finding(
    schema_version=1,
    id="0123456789abcdef",
    bundle_id="fedcba9876543210",
    source="service.log",
    service="orders",
    session_key="req-1",
    is_anomaly=True,
    state="final",
    complete=True,
    score=9.25,
    threshold=7.5,
    anomaly_class=1,
    class_key="class-13afee9251-repetition",
    class_name="repetition: query cancelled after ...",
    confidence=0.9,
    class_probabilities={"0": 0.05, "1": 0.9, "-1": 0.05},
    pattern="repetition",
    severity="high",
    reasons={"new_template": 0.5, "sequence": 0.5, "counts": 0.0, "early_end": 0.0, "timing": 0.0},
    n_records=9,
    first_line=11,
    last_line=40,
    first_timestamp="2024-03-01T08:00:00.123456789Z",
    last_timestamp="2024-03-01T08:00:04Z",
    evidence=(EVIDENCE, replace(EVIDENCE, byte_offset=None, timestamp=None, severity=None, template_id=None)),
    advice="Look at what the repeated step waits for.",
    cause=Cause(
        "query_timed_out",
        "A query took too long",
        "query cancelled",
        "service.log",
        12,
        3,
        ("A lock.", "A missing index."),
    ),
    template_ids=("ccdef1b725b7", ""),
    expected=False,
    owner="storage team",
    runbook="https://wiki.example/queries",
)
NORMAL = replace(
    FINDING,
    is_anomaly=False,
    anomaly_class=0,
    pattern=None,
    severity=None,
    evidence=(),
    advice="",
    cause=None,
    first_timestamp=None,
    last_timestamp=None,
)
RECORDS = pl.DataFrame(
    {
        "source": ["a.log", "a.log"],
        "service": ["", "orders"],
        "line": [1, 2],
        "byte_offset": [0, 40],
        "timestamp": pl.Series([1_709_280_000_123_456_789, None], dtype=pl.Datetime("ns")),
        "severity": ["INFO", None],
        "component": ["api", None],
        "session_key": ["req-1", None],
        "event_id": [3, 1],
        "template_id": ["ccdef1b725b7", None],
        "template": ["order <*> of <*> stored", None],
        "parameters": [["7", 'a "b"'], []],
        "unasked": [1, 2],
    }
)


def mended(value: Any) -> Any:
    """What of any text can be written in UTF-8: halves of characters become U+FFFD."""
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))


# --- JSON ---------------------------------------------------------------------------------------------------


def test_a_line_is_the_finding_in_the_order_of_the_contract() -> None:
    read = json.loads(finding_line(FINDING))
    assert tuple(read) == FINDING_COLUMNS
    assert read == mended(FINDING.to_json())


any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)


@given(any_text, any_text)
def test_whatever_a_log_says_the_line_is_inert_and_says_the_same(key: str, text: str) -> None:
    finding = replace(FINDING, session_key=key, evidence=(replace(EVIDENCE, text=text),))
    line = finding_line(finding)
    line.encode()  # no halves of characters
    assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]", line)
    assert json.loads(line) == mended(finding.to_json())


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Out of range float values are not JSON compliant"):
        finding_line(replace(FINDING, score=float("nan")))
    said = finding_line(replace(FINDING, session_key="NaN of -Infinity"))
    assert json.loads(said)["session_key"] == "NaN of -Infinity"


# --- The contract -------------------------------------------------------------------------------------------


def test_the_published_schema_is_that_of_the_code() -> None:
    published = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert published == output_schema(), "write json.dumps(output_schema(), indent=2) to docs/output.schema.json"


def test_the_schema_is_one_and_findings_keep_it() -> None:
    jsonschema.Draft202012Validator.check_schema(output_schema())
    validator = jsonschema.Draft202012Validator(output_schema())
    for finding in (FINDING, NORMAL):
        validator.validate(json.loads(finding_line(finding)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["unasked"], 1),
        (["evidence", 0, "unasked"], 1),
        (["evidence", 0, "expected", 0, "unasked"], 1),
        (["score"], "9"),
        (["score"], None),
        (["state"], "closed"),
        (["pattern"], "odd"),
        (["anomaly_class"], -2),
        (["confidence"], 1.5),
        (["first_timestamp"], "2024-03-01T08:00:00+01:00"),
        (["class_probabilities", "one"], 0.5),
        (["reasons", "weather"], 0.5),
        (["schema_version"], 2),
    ],
)
def test_the_schema_refuses_what_no_finding_is(path: list[Any], value: Any) -> None:
    row = json.loads(finding_line(FINDING))
    place = row
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not jsonschema.Draft202012Validator(output_schema()).is_valid(row)


@pytest.mark.parametrize("column", FINDING_COLUMNS)
def test_the_schema_asks_for_every_column(column: str) -> None:
    row = json.loads(finding_line(FINDING))
    del row[column]
    assert not jsonschema.Draft202012Validator(output_schema()).is_valid(row)


# --- Files of findings --------------------------------------------------------------------------------------


def test_findings_as_json_lines(tmp_path: Path) -> None:
    write_findings([FINDING, NORMAL], tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == [finding_line(FINDING), finding_line(NORMAL)]


def rows_of_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_findings_as_csv_have_nested_columns_as_json_text(tmp_path: Path) -> None:
    write_findings([FINDING, NORMAL], tmp_path / "x.csv")
    header, *rows = rows_of_csv(tmp_path / "x.csv")
    assert tuple(header) == FINDING_COLUMNS
    row = dict(zip(header, rows[0], strict=True))
    for name in ("evidence", "reasons", "class_probabilities"):
        assert json.loads(row[name]) == mended(FINDING.to_json()[name])
    assert (row["score"], row["first_timestamp"]) == ("9.25", "2024-03-01T08:00:00.123456789Z")
    assert rows[1][header.index("first_timestamp")] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_csv_computes(tmp_path: Path, text: str) -> None:
    write_findings([replace(FINDING, session_key=text, anomaly_class=-1)], tmp_path / "x.csv")
    header, row = rows_of_csv(tmp_path / "x.csv")
    assert row[header.index("session_key")] == f"'{text}"
    assert row[header.index("anomaly_class")] == "-1"  # a number is no formula


@given(key=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_csv_gives_back_every_text(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    write_findings([replace(FINDING, session_key=key)], path)
    header, row = rows_of_csv(path)
    escaped = _inert_column(pl.Series([key]))[0]  # what is more than text to a terminal
    assert row[header.index("session_key")] in (escaped, f"'{escaped}")


def test_findings_as_parquet_have_real_types(tmp_path: Path) -> None:
    write_findings([FINDING, NORMAL], tmp_path / "x.parquet")
    frame = pl.read_parquet(tmp_path / "x.parquet")
    assert tuple(frame.columns) == FINDING_COLUMNS
    assert frame.schema["first_timestamp"] == pl.Datetime("ns", "UTC")
    assert frame["first_timestamp"].dt.nanosecond().to_list() == [123_456_789, None]
    assert json.loads(frame["class_probabilities"][0]) == FINDING.class_probabilities
    assert frame["reasons"][0] == {**FINDING.reasons, "values": None}  # columns do not differ from fit to fit
    assert frame["evidence"].list.len().to_list() == [2, 0]
    evidence = frame["evidence"][0].struct.unnest()
    assert evidence.schema["timestamp"] == pl.Datetime("ns", "UTC")
    assert evidence["byte_offset"].to_list() == [1024, None]
    assert evidence["expected"][0].to_list()[1] == {"template": "<END>", "probability": 0.125}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_findings_make_a_file_that_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_findings([], path)
    if suffix == ".jsonl":
        assert path.read_bytes() == b""
    else:
        frame = pl.read_csv(path) if suffix == ".csv" else pl.read_parquet(path)
        assert (frame.height, tuple(frame.columns)) == (0, FINDING_COLUMNS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_findings_are_written_some_at_a_time(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [replace(FINDING, id=f"{i:016x}") for i in range(5)]
    write_findings(findings, tmp_path / f"whole{suffix}")
    monkeypatch.setattr(output_module, "_ROWS", 2)
    write_findings(findings, tmp_path / f"parts{suffix}")
    if suffix == ".parquet":
        assert pl.read_parquet(tmp_path / "parts.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))
    else:
        assert (tmp_path / f"parts{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


# --- Files of records ---------------------------------------------------------------------------------------


def test_records_as_lines_have_exactly_the_columns_of_the_contract() -> None:
    first, second = (json.loads(line) for line in record_lines(RECORDS))
    assert tuple(first) == tuple(RECORD_COLUMNS) == tuple(second)
    assert first["timestamp"] == "2024-03-01T08:00:00.123456789Z"
    assert first["parameters"] == ["7", 'a "b"']
    assert (second["timestamp"], second["template"], second["parameters"]) == (None, None, [])


def test_records_in_files_are_the_same_in_every_form(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        assert write_records([RECORDS, RECORDS.head(1)], tmp_path / f"x{suffix}") == 3
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == [*record_lines(RECORDS), *record_lines(RECORDS.head(1))]
    parquet = pl.read_parquet(tmp_path / "x.parquet")
    assert dict(parquet.schema) == RECORD_COLUMNS
    assert record_lines(parquet) == lines
    header, *rows = rows_of_csv(tmp_path / "x.csv")
    assert tuple(header) == tuple(RECORD_COLUMNS)
    assert [json.loads(row[-1]) for row in rows] == [["7", 'a "b"'], [], ["7", 'a "b"']]
    assert rows[0][header.index("timestamp")] == "2024-03-01T08:00:00.123456789Z"


def test_records_are_as_inert_as_findings(tmp_path: Path) -> None:
    hostile = RECORDS.with_columns(component=pl.lit("=1\x1b[31m\u202e\u2028\x9b"))
    (line, _) = record_lines(hostile)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202e]", line)
    assert json.loads(line)["component"] == "=1\x1b[31m\u202e\u2028\x9b"
    write_records([hostile], tmp_path / "x.csv")
    header, row, _ = rows_of_csv(tmp_path / "x.csv")
    assert row[header.index("component")].startswith("'=1")


# --- Where to -----------------------------------------------------------------------------------------------


def test_an_ending_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_output(tmp_path / "x.xlsx")
    assert str(caught.value) == (
        f"--output {tmp_path}/x.xlsx: expected a name that ends in .jsonl, .parquet or .csv: the ending says "
        "what to write. Give it one of these."
    )


def test_a_place_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"d\.csv: expected a file to write to; this is a directory or a device\.$"):
        check_output(tmp_path / "d.csv")
    with pytest.raises(OutputError, match=r"x\.csv: expected to be able to write there, but: No such file or dir"):
        check_output(tmp_path / "absent" / "x.csv")
    with pytest.raises(OutputError, match=r"expected to be able to write there, but: Not a directory\. Choose"):
        check_output(tmp_path / "file" / "x.csv")
    with pytest.raises(OutputError, match=r"expected to be able to write there, but: (Not a directory|File exists)"):
        check_directory(tmp_path / "file")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("old")

    def broken() -> Iterator[pl.DataFrame]:
        yield RECORDS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(broken(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_keeps_pointing_and_a_mode_is_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_findings([FINDING], link)
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == finding_line(FINDING) + "\n"
    assert real.stat().st_mode & 0o777 == 0o600


def test_times_of_another_kind_are_taken_for_utc() -> None:
    naive = RECORDS.with_columns(timestamp=pl.lit(datetime(2024, 3, 1, tzinfo=UTC).replace(tzinfo=None)))
    assert json.loads(record_lines(naive)[0])["timestamp"] == "2024-03-01T00:00:00Z"
