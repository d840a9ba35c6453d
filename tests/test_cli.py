"""The command line, in process: what every command says and writes, and how it ends."""

from __future__ import annotations

import csv
import gzip
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from cli_logs import N_FAULTS, N_SESSIONS, SMALL, fitted_once, service_lines, session_key, write_log
from enhanced_deeplog.cli import app, fitting, inspection
from enhanced_deeplog.findings import FINDING_COLUMNS
from enhanced_deeplog.output import RECORD_COLUMNS, SUFFIXES
from enhanced_deeplog.output_schema import output_schema

COMMANDS = (
    "analyze", "inspect", "parse", "fit", "classify", "explain", "backtest", "evaluate", "demo", "classes",
)  # fmt: skip
ABNORMAL, USUAL = session_key(N_SESSIONS - 1), session_key(1)


def run(*words: object, input: str | bytes | None = None) -> Result:
    # Workers of a parallel run set COLUMNS to what pytest's own terminal has.
    result = CliRunner(env={"COLUMNS": "110"}).invoke(app, [str(word) for word in words], input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def said(result: Result, exit_code: int) -> str:
    """What a command that failed said; it says it once, without a traceback."""
    assert result.exit_code == exit_code, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="session")
def log() -> Path:
    return fitted_once().log


@pytest.fixture(scope="session")
def bundle() -> Path:
    return fitted_once().bundle


def findings_of(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- All commands -------------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    for word in ("--help", "-h"):
        text = run(word).stdout
        assert re.findall(r"^  ([a-z]+)  ", text.split("Commands:")[1], re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(command: str) -> None:
    text = run(command, "--help").stdout
    assert "Args:" not in text
    reads = command not in ("classes", "evaluate", "demo")
    learns = command in ("analyze", "inspect", "parse", "fit", "evaluate", "demo")
    options = {
        **dict.fromkeys(("--format", "--field", "--session-key", "--since", "--until"), reads),
        **dict.fromkeys(("--source-name", "--service"), reads),
        **dict.fromkeys(("--config", "--set", "--seed"), learns),
        "--json": command not in ("parse", "classes"),
        "--workers": command in ("analyze", "fit", "classify", "backtest", "demo"),
    }
    assert {option: re.search(rf"^  {option}\b", text, re.MULTILINE) is not None for option in options} == options


def test_version_is_said() -> None:
    assert re.fullmatch(r"enhanced-deeplog [0-9.]+\n", run("--version").stdout)


@pytest.mark.parametrize("words", [["no-such-command"], ["inspect"], ["inspect", "--no-such-option"], ["fit", "a.log"]])
def test_wrong_use_ends_with_2(words: list[str]) -> None:
    assert run(*words).exit_code == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "expected a log file, there is none. Check the path."),
        (b"", "expected log records"),
        (b"\x00\x01" * 4000, "this is binary (it holds many NUL bytes)"),
        (gzip.compress(b"a line of a log\n" * 100_000)[:-200], "expected a complete compressed file"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "parse", "analyze"])
def test_input_that_can_not_be_read_ends_with_4(
    tmp_path: Path, command: str, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "bad.log"
    if content is not None:
        path.write_bytes(content)
    text = said(run(command, path), 4)
    assert text.startswith("Error: ")
    assert expected.lower() in text.lower()
    assert text.count("bad.log") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--set", "learning.hiden_size=4"],
            "Unknown setting 'learning.hiden_size'. Did you mean 'hidden_size'?",
        ),
        (
            ["--set", "learning.epochs"],
            "--set learning.epochs: expected a name, = and a value, as in --set learning.e",
        ),
        (["--config", "absent.toml"], "Expected a TOML or JSON file with settings at absent.toml"),
        (["--field", "body"], "--field body: expected a name, = and a value, as in --field body=msg."),
        (["--since", "yesterday"], "since: expected a time such as 2024-03-01T08:00:00Z, got 'yesterday'."),
        (["--format", "hfds"], "Did you mean hdfs?"),
        (["--session-key", "("], "session key '(': expected a regular expression"),
    ],
)
def test_a_wrong_option_is_explained(log: Path, words: list[str], expected: str) -> None:
    assert expected in said(run("inspect", log, *words), 2)


def test_a_fault_of_ours_is_called_one(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of \x1b[31mpaper\nsecond line")

    monkeypatch.setattr("enhanced_deeplog.logs.records.read_records", fail)
    monkeypatch.delenv("EDL_DEBUG", raising=False)
    assert said(run("inspect", log), 1) == (
        "Error: this is a fault of enhanced-deeplog, not of your input: RuntimeError: out of \\x1b[31mpaper\n"
        "EDL_DEBUG=1 shows where it happened; please report it with that.\n"
    )
    monkeypatch.setenv("EDL_DEBUG", "1")
    result = run("inspect", log)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize("command", ["parse", "classify"])
def test_a_log_is_never_replaced_by_its_own_results(command: str, bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "in.jsonl"
    log.write_text('{"msg": "up"}\n')
    with_bundle = ["--bundle", bundle] if command == "classify" else []
    text = said(run(command, log, *with_bundle, "--output", log), 2)
    assert f"--output {log} is one of the logs to read. Write to another file." in text
    assert log.read_text() == '{"msg": "up"}\n'


def test_a_full_disk_is_no_fault_of_ours(log: Path, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.jsonl"
    command = [sys.executable, "-m", "enhanced_deeplog.cli", "classify", log, "--bundle", bundle, "--all"]
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *map(str, command), "--output", str(output)]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert f"{output}: expected to be able to write there, but: File too large." in result.stderr
    assert list(tmp_path.iterdir()) == []
    with Path("/dev/full").open("w") as full:
        command = [
            sys.executable,
            "-m",
            "enhanced_deeplog.cli",
            "classify",
            str(log),
            "--bundle",
            str(bundle),
            "--json",
        ]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert "Expected to be able to write to standard output, but: No space left on device." in result.stderr


def test_parsed_records_are_inert_in_csv(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a.log", ["2024-03-01T08:00:00Z up \u202etxt.exe \u2028 \x9b31m"])
    assert run("parse", log, "--output", tmp_path / "x.csv").exit_code == 0
    text = (tmp_path / "x.csv").read_text(encoding="utf-8")
    assert not set("\u202e\u2028\x9b") & set(text)
    assert "\\u202e" in text


def test_timestamps_that_can_not_be_read_are_told_of(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a.jsonl", [f'{{"msg": "up", "t": {10**18 + i}}}' for i in range(9)])
    result = run("parse", log, "--field", "body=msg", "--field", "timestamp:s=t", "--output", tmp_path / "x.csv")
    assert result.exit_code == 0
    assert "of 9 lines, 9 without a timestamp that can be read" in result.stderr


# --- inspect ------------------------------------------------------------------------------------------------


def test_inspect_shows_how_a_file_is_read(log: Path) -> None:
    text = run("inspect", log).stdout
    for expected in (
        "pipe: 100 % of the lines fit; the next best: dated",
        "1,341 lines, 1,341 records",
        "2024-03-01T08:00:00.844Z to 2024-03-01T08:08:",
        "Sessions by request: in 100% of the records, 260 sessions",
        "8 templates",
        "query cancelled after <*>",
    ):
        assert expected in text


def test_inspect_shows_what_does_not_fit(tmp_path: Path) -> None:
    lines = [*service_lines()[:40], "Traceback \x1b[31m(most recent call last):", "", "  File [red]x[/red]"]
    result = run("inspect", write_log(tmp_path / "a.log", lines))
    assert "2 lines go on with the record before them" in result.stdout
    assert "line 41: Traceback \\x1b[31m(most recent call last):" in result.stdout
    assert "line 43" not in result.stdout  # indented: it may well go on with what came before
    assert "1 empty lines, left out" in result.stdout
    assert "\x1b" not in result.stdout


def test_inspect_as_json(log: Path) -> None:
    seen = json.loads(run("inspect", log, "--json").stdout)
    (source,) = seen["sources"]
    assert (source["format"], source["whole"], source["n_records"]) == ("pipe", True, 1341)
    assert source["fields"]["component"] == {"share": 1.0, "example": "api"}
    assert seen["session_keys"]["chosen"] == "request"
    assert (seen["n_templates"], seen["templates"][0]["n_records"]) == (8, 260)


def test_inspect_says_when_it_saw_only_the_beginning(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = write_log(tmp_path / "many.log", service_lines() * 80)
    monkeypatch.setattr(inspection, "_MOST_RECORDS", 1000)
    result = run("inspect", many, log)
    assert "100,000 records; it goes on: this is what its beginning says" in result.stdout
    assert "1,341 lines, 1,341 records\n" in result.stdout


def test_inspect_with_a_key_as_asked(log: Path) -> None:
    text = run("inspect", log, "--session-key", "(order) stored").stdout
    assert "Sessions by (order) stored, as asked: in 19% of the records, 1 sessions" in text


# --- parse --------------------------------------------------------------------------------------------------


def test_parse_writes_json_lines_to_stdout(log: Path) -> None:
    rows = findings_of(run("parse", log))
    assert len(rows) == 1341
    assert all(tuple(row) == tuple(RECORD_COLUMNS) for row in rows)
    first = rows[0]
    assert (first["source"], first["line"], first["byte_offset"]) == (str(log), 1, 0)
    assert (first["severity"], first["session_key"]) == ("INFO", session_key(0))
    assert first["timestamp"] == "2024-03-01T08:00:00.844Z"
    assert (first["template"], first["parameters"]) == ("<*> accepted", [session_key(0)])


def test_parse_from_standard_input_is_the_same(log: Path) -> None:
    piped = findings_of(run("parse", "-", input=log.read_bytes()))
    assert {row.pop("source") for row in piped} == {"<stdin>"}
    from_file = findings_of(run("parse", log))
    assert piped == [{name: value for name, value in row.items() if name != "source"} for row in from_file]


def test_parse_by_a_bundle_uses_its_templates(log: Path, bundle: Path, tmp_path: Path) -> None:
    lines = [*service_lines()[:5], "2024-03-01 09:00:00.000 | INFO | api | req-00000001 never seen before"]
    rows = findings_of(run("parse", write_log(tmp_path / "a.log", lines), "--bundle", bundle))
    assert [row["event_id"] for row in rows].count(1) == 1
    assert (rows[-1]["template"], rows[-1]["template_id"]) == (None, None)
    text = said(run("parse", log, "--bundle", bundle, "--seed", 1), 2)
    assert text == "Error: --config, --set and --seed are for learning; a bundle has learnt. Leave them out.\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parse_to_a_file(log: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    result = run("parse", log, "--output", path, "--source-name", "orders")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"1,341 records written to {path}.\n"
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}[suffix]
    frame = read(path)
    assert tuple(frame.columns) == tuple(RECORD_COLUMNS)
    assert (frame.height, frame["source"][0]) == (1341, "orders")


def test_parse_keeps_a_window_of_time(log: Path) -> None:
    rows = findings_of(run("parse", log, "--since", "2024-03-01T08:01:00Z", "--until", "2024-03-01T08:02:00Z"))
    assert {row["timestamp"][:16] for row in rows} == {"2024-03-01T08:01"}


def test_parse_of_other_formats(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "a.jsonl", [f'{{"msg": "job {i} done", "t": {1_709_280_000_000 + i}}}' for i in range(9)]
    )
    (first, *_) = findings_of(run("parse", path, "--field", "body=msg", "--field", "timestamp:ms=t"))
    assert (first["template"], first["timestamp"]) == ("job <*> done", "2024-03-01T08:00:00Z")
    path = write_log(tmp_path / "b.log", [f"081109 20353{i} INFO dfs.DataNode: up" for i in range(9)])
    (first, *_) = findings_of(run("parse", path, "--format", "<Date> <Time> <Level> <Component>: <Content>"))
    assert (first["component"], first["severity"], first["template"]) == ("dfs.DataNode", "INFO", "up")


# --- fit ----------------------------------------------------------------------------------------------------


def test_fit_says_what_was_learnt(bundle: Path) -> None:
    result = fitted_once().result
    for expected in (
        "of 8 templates",
        "request: in 100% of the records",
        "Kinds of anomaly",
        "query cancelled after",
    ):
        assert expected in result.stdout
    assert re.search(rf"Bundle [0-9a-f]{{16}} saved to {bundle}\.\n", result.stderr)


def test_fit_leaves_the_output_of_each_stage_if_asked(log: Path, tmp_path: Path) -> None:
    stages = tmp_path / "stages"
    result = run("fit", log, "--bundle", tmp_path / "b", "--keep-stages", stages, *SMALL)
    assert result.exit_code == 0, result.stderr
    assert f"The output of each stage is in {stages}.\n" in result.stderr
    assert {path.name for path in stages.iterdir()} >= {
        "base_model.safetensors",
        "features.npy",
        "final_labels.npy",
        "multiclass_model.safetensors",
    }


def test_fit_says_what_looks_like_a_wrong_choice(tmp_path: Path) -> None:
    """A key that hardly groups anything, and lines of which no two are alike."""
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}" for i in range(600)]
    lines = [
        f"2024-03-01 08:00:{i % 60:02d},000 | INFO | shop | [req-{i:012x}] {' '.join([word] * (i % 40 + 1))}"
        for i, word in enumerate(words)
    ]
    usual = write_log(tmp_path / "varied.log", lines)
    words_of_fit = ("fit", "--normal", usual, "--session-key", "req-[0-9a-f]+", "--bundle", tmp_path / "b", *SMALL)
    (learnt,) = findings_of(run(*words_of_fit, "--set", "templates.min_values=1000", "--json"))
    notes = " ".join(learnt["notes"])
    assert "100% of the sessions have one record only: the session key may be the wrong one." in notes
    assert re.search(r"There are \d+ templates for 600 records: they grow with the log", notes)


def test_fit_from_normal_logs_alone_as_json(log: Path, tmp_path: Path) -> None:
    usual = write_log(tmp_path / "normal.log", service_lines()[:600])
    result = run("fit", "--normal", usual, "--bundle", tmp_path / "b", *SMALL, "--json")
    (learnt,) = findings_of(result)
    assert learnt["n_records"] == 600
    assert re.fullmatch("[0-9a-f]{16}", learnt["bundle_id"])
    (note, *_) = learnt["notes"]
    assert note.startswith("Only normal logs were given: no kinds of anomaly were looked for")
    assert run("classes", "list", "--bundle", tmp_path / "b").stdout.startswith("No kinds of anomaly are known")
    found = findings_of(run("classify", log, "--bundle", tmp_path / "b", "--json"))
    assert {finding["anomaly_class"] for finding in found} == {-1}
    assert "of no known kind" in run("classify", log, "--bundle", tmp_path / "b").stdout


def test_fit_finds_out_before_it_reads_that_it_can_not_save(log: Path, bundle: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.log"
    assert "a bundle is never changed" in said(run("fit", absent, "--bundle", bundle), 2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    assert "notes.txt. Choose another path." in said(run("fit", absent, "--bundle", tmp_path / "mine"), 2)
    place = tmp_path / "one"
    text = said(run("fit", absent, "--bundle", place, "--keep-stages", place), 2)
    assert text == f"Error: --keep-stages and --bundle are both {place}: expected two directories.\n"
    stages = tmp_path / "mine" / "notes.txt"
    assert "expected to be able to write there" in said(
        run("fit", absent, "--bundle", place, "--keep-stages", stages), 2
    )


def test_fit_needs_logs_and_training_packages(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(run("fit", "--bundle", tmp_path / "b"), 2) == (
        "Error: fit: expected logs to learn from; none were given. Give MIXED or --normal logs, or both.\n"
    )
    text = said(run("fit", "-", "--normal", "-", "--bundle", tmp_path / "b", input=""), 2)
    assert text == "Error: Expected - (standard input) for one purpose; it is given for two. Use a file.\n"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert said(run("fit", log, "--bundle", tmp_path / "b"), 2) == (
        "Error: Learning needs torch and scikit-learn, which can't be found. Install what is missing: "
        "pip install 'enhanced-deeplog[train]'. Judging by a bundle needs none of it.\n"
    )


def test_fit_says_how_many_sessions_it_needs(tmp_path: Path) -> None:
    few = write_log(tmp_path / "few.log", service_lines()[:50])
    assert "needs at least 20 normal sessions" in said(run("fit", few, "--bundle", tmp_path / "b", *SMALL), 4)
    assert not (tmp_path / "b").exists()


# --- classify -----------------------------------------------------------------------------------------------


def test_classify_shows_kinds_first_then_the_most_severe(log: Path, bundle: Path) -> None:
    result = run("classify", log, "--bundle", bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    kinds, oddest = result.stdout.split("The most severe")
    assert re.match(r"2\d abnormal sessions, of 2 kinds", kinds)
    assert re.search(r"\d +[\d.]+ %  high +>?[\d.]+ %  A query took too long and was stopped", kinds)
    assert re.search(r"2024-03-01 08:08:\d\d to 2024-03-01 08:08:\d\d UTC", kinds)
    assert "What to do: Run EXPLAIN" in kinds
    assert kinds.count("e.g. ") == 4
    assert re.search(r"e\.g\. .*service\.log:\d+  2024-03-01 08:08:", kinds)
    assert oddest.count("\n  req-") == 10


def test_own_rules_say_what_happened_and_what_to_do(log: Path, bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        "[[rule]]\nname = 'ours'\ntitle = 'Orders are stuck'\npattern = 'query cancelled'\n"
        "causes = ['The nightly job.']\nadvice = 'Call Bob.'\nseverity = 'critical'\n"
    )
    found = findings_of(run("classify", log, "--bundle", bundle, "--causes", own, "--json"))
    ours = [one for one in found if one["cause"]["rule"] == "ours"]
    assert len(ours) == 10
    assert {(one["advice"], one["severity"], one["cause"]["matched"]) for one in ours} == {
        ("Call Bob.", "critical", "query cancelled")
    }
    own.write_text("[[rule]]\nname = 'ours'\n")
    assert "is missing" in said(run("classify", log, "--bundle", bundle, "--causes", own), 2)


def test_classify_says_how_many_lines_were_not_read_as_they_should_be(bundle: Path, tmp_path: Path) -> None:
    lines = ["it begins", "in the midst of a trace", *service_lines()[:80]]
    path = tmp_path / "mixed.log"
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\n")
    result = run("classify", path, "--bundle", bundle)
    assert result.exit_code == 0
    assert (
        f"{path}: of 83 lines, 3 that don't fit the format pipe (part of the record before, if there is one); 1 with"
        in result.stderr
    )
    assert (
        "don't fit" not in run("classify", write_log(tmp_path / "good.log", service_lines()), "--bundle", bundle).stderr
    )


def test_classify_as_json_keeps_the_contract(log: Path, bundle: Path) -> None:
    found = findings_of(run("classify", log, "--bundle", bundle, "--json"))
    validator = jsonschema.Draft202012Validator(output_schema())
    for finding in found:
        validator.validate(finding)
        assert tuple(finding) == FINDING_COLUMNS
    keys = {finding["session_key"] for finding in found}
    assert keys >= {session_key(i) for i in range(N_SESSIONS - N_FAULTS, N_SESSIONS)}
    assert len(keys) < N_FAULTS + 5


def test_classify_all_gives_a_verdict_on_every_session(log: Path, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    result = run("classify", log, "--bundle", bundle, "--all", "--output", path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["session_key"] for row in rows} == {session_key(i) for i in range(N_SESSIONS)}
    n_abnormal = sum(row["is_anomaly"] for row in rows)
    assert result.stderr == f"Verdicts on 260 sessions written to {path}; {n_abnormal} are abnormal.\n"
    validator = jsonschema.Draft202012Validator(output_schema())
    for row in rows:
        validator.validate(row)
    screen = run("classify", log, "--bundle", bundle, "--all").stdout
    assert screen.startswith(f"{n_abnormal} abnormal sessions of 260, ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_classify_to_a_file(log: Path, bundle: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    result = run("classify", log, "--bundle", bundle, "--output", path)
    assert (result.exit_code, result.stdout) == (0, "")
    found = findings_of(run("classify", log, "--bundle", bundle, "--json"))
    assert result.stderr == f"{len(found)} findings written to {path}.\n"
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}[suffix]
    frame = read(path)
    assert tuple(frame.columns) == FINDING_COLUMNS
    assert frame["id"].to_list() == [finding["id"] for finding in found]


def test_fail_on_ends_with_3_where_there_are_findings(log: Path, bundle: Path, tmp_path: Path) -> None:
    assert run("classify", log, "--bundle", bundle, "--fail-on").exit_code == 3
    usual = [session_key(i) for i in range(100, 120)]
    lines = [line for line in service_lines() if any(key in line for key in usual)]
    quiet = write_log(tmp_path / "usual.log", lines)
    result = run("classify", quiet, "--bundle", bundle, "--fail-on", "--all")
    assert (result.exit_code, result.stdout) == (0, "No abnormal sessions of 20.\n")


def test_a_bundle_that_is_refused_ends_with_5(log: Path, bundle: Path, tmp_path: Path) -> None:
    assert "bundle" in said(run("classify", log, "--bundle", tmp_path / "absent"), 5)
    assert "Expected the bundle 0123456789abcdef; this is " in said(
        run("classify", log, "--bundle", bundle, "--expect-bundle", "0123456789abcdef"), 5
    )
    (finding, *_) = findings_of(run("classify", log, "--bundle", bundle, "--json"))
    expected = run("classify", log, "--bundle", bundle, "--expect-bundle", finding["bundle_id"])
    assert expected.exit_code == 0


def test_a_place_that_can_not_be_written_is_found_before_the_bundle_is_read(log: Path, tmp_path: Path) -> None:
    for name in ("x.txt", "absent/x.csv"):
        text = said(run("classify", log, "--bundle", tmp_path / "absent", "--output", tmp_path / name), 2)
        assert "expected" in text
        assert "bundle" not in text


def test_a_key_that_matches_nothing_ends_with_4(log: Path, bundle: Path) -> None:
    text = said(run("classify", log, "--bundle", bundle, "--session-key", "trace=[0-9]+"), 4)
    assert text.startswith("Error: The session key 'trace=[0-9]+' matches none of 1,341 records")


def test_text_of_strangers_stays_text(bundle: Path, tmp_path: Path) -> None:
    hostile = " \x1b[2J\x1b]0;owned\x07 [bold red]big[/bold red] \u202etxt.exe \x9b31m :smile: @SUM(A1)"
    path = write_log(tmp_path / "\x1b[31mred.log", service_lines(detail=hostile))
    for words in (["classify"], ["classify", "--json"], ["explain", "--session", ABNORMAL]):
        result = run(*words, path, "--bundle", bundle)
        assert result.exit_code == 0, result.stderr
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.stdout)
    for expected in ("[bold red]big[/bold red]", ":smile:", "\\x1b[2J", "\\u202etxt.exe", "\\x9b31m"):
        assert expected in result.stdout.replace("\n", "")
    result = run("classify", path, "--bundle", bundle, "--output", tmp_path / "x.csv", "--source-name", "=cmd()")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert {row[header.index("source")] for row in rows} == {"'=cmd()"}
    assert hostile in json.loads(rows[-1][header.index("evidence")])[0]["text"]


# --- explain and classes ------------------------------------------------------------------------------------


def test_explain_says_why_a_session_is_abnormal(log: Path, bundle: Path) -> None:
    text = run("explain", log, "--session", ABNORMAL, "--bundle", bundle).stdout
    for expected in (
        f"Session {ABNORMAL}: abnormal",
        "kind      ",
        "query cancelled after",
        "above the threshold 4.61",
        "expected: <*> order stored (",
        "what to do",
    ):
        assert expected in text


def test_explain_says_why_a_session_is_not_abnormal(log: Path, bundle: Path) -> None:
    text = run("explain", log, "--session", USUAL, "--bundle", bundle).stdout
    assert text.startswith(f"Session {USUAL}: normal\n")
    assert "not above the threshold 4.61" in text
    assert "Its most telling records" in text
    (row,) = findings_of(run("explain", log, "--session", USUAL, "--bundle", bundle, "--json"))
    assert (row["is_anomaly"], row["session_key"]) == (False, USUAL)
    assert row["evidence"]
    jsonschema.Draft202012Validator(output_schema()).validate(row)


def test_explain_knows_only_sessions_of_the_input(log: Path, bundle: Path) -> None:
    text = said(run("explain", log, "--session", "req-0", "--bundle", bundle), 4)
    assert text.startswith("Error: No session has the key 'req-0' in this input.")


def test_classes_are_listed_and_shown(bundle: Path) -> None:
    listed = run("classes", "list", "--bundle", bundle).stdout
    assert "query cancelled after ..." in listed
    first, second = findings_of(run("classes", "list", "--bundle", bundle, "--json"))
    assert {first["id"], second["id"]} == {1, 2}
    shown = run("classes", "show", "2", "--bundle", bundle).stdout
    assert shown.startswith(f"Class 2: {second['name'][:40]}")
    assert second["key"] in shown
    assert run("classes", "show", second["key"], "--bundle", bundle).stdout == shown
    assert findings_of(run("classes", "show", "2", "--bundle", bundle, "--json")) == [second]
    text = said(run("classes", "show", "3", "--bundle", bundle), 2)
    assert text == "Error: 3: expected the number or the key of a class of this bundle; it has 1, 2.\n"


# --- analyze and demo ---------------------------------------------------------------------------------------


@pytest.fixture
def long_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A log that is long by a smaller measure, so that it is looked at first."""
    monkeypatch.setattr(fitting, "_FIRST_LOOK", 1000)
    monkeypatch.setattr(fitting, "_LONG", 1200)
    return write_log(tmp_path / "long.log", service_lines())


def test_analyze_takes_a_first_look_at_a_long_log_and_then_all_of_it(log: Path, long_log: Path) -> None:
    result = run("analyze", long_log, *SMALL, "--json")
    first, after = result.stderr.split("Now all of them.")
    assert "A first look, at the first 1,000 records and learnt from them alone:" in first
    assert "abnormal session" in first
    assert "abnormal session" not in after
    keys = [finding["session_key"] for finding in findings_of(result)]
    assert keys == [finding["session_key"] for finding in findings_of(run("analyze", log, *SMALL, "--json"))]


def test_where_the_beginning_has_too_few_sessions_analyze_goes_on(
    long_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_FIRST_LOOK", 50)
    result = run("analyze", long_log, *SMALL, "--json")
    assert "No first look at the first 50 records: Learning normal behaviour needs at least 20" in result.stderr
    assert findings_of(result)


def test_ctrl_c_keeps_the_first_look(long_log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fit, fits = fitting._fit, []

    def interrupted(*given: Any) -> Any:
        fits.append(given)
        if len(fits) == 2:
            signal.raise_signal(signal.SIGINT)
        return fit(*given)

    monkeypatch.setattr(fitting, "_fit", interrupted)
    output = tmp_path / "found.jsonl"
    result = run("analyze", long_log, *SMALL, "--set", "detection.alarm_rate=0.2", "--all", "-o", output, "--fail-on")
    assert result.exit_code == 130
    assert "What follows is of the first 1,000 records alone." in result.stderr
    assert "Interrupted." in result.stderr
    told = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(told) > 100
    assert max(finding["last_line"] for finding in told) == 1000


def test_analyze_finds_what_fit_and_classify_find(log: Path, bundle: Path, tmp_path: Path) -> None:
    result = run("analyze", log, *SMALL, "--bundle", tmp_path / "kept", "--json")
    assert findings_of(result) == findings_of(run("classify", log, "--bundle", bundle, "--json"))
    kept = run("classes", "list", "--bundle", tmp_path / "kept").stdout
    assert kept == run("classes", "list", "--bundle", bundle).stdout


def test_demo_compares_what_it_finds_with_what_was_injected(tmp_path: Path) -> None:
    place = tmp_path / "demo-output"
    result = run("demo", "--output-dir", place, "--records", 3000, *SMALL, "--set", "learning.epochs=2")
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in place.iterdir()} == {
        "service.log",
        "truth.json",
        "findings.jsonl",
        "summary.json",
        "report.html",
    }
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    truth = json.loads((place / "truth.json").read_text(encoding="utf-8"))
    assert summary["n_records"] == 3000
    assert summary["kinds_injected"] == len(truth["kinds"])
    assert summary["n_abnormal_injected"] == len(truth["sessions"])
    for name in ("ari", "ari_abnormal", "precision", "recall", "f1", "seconds"):
        assert type(summary[name]) is float
    assert type(summary["kinds_found"]) is int
    assert summary["seed"] == 0
    found = [json.loads(line) for line in (place / "findings.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(found) == summary["n_findings"] > 0
    assert all(finding["is_anomaly"] and finding["source"] == "service.log" for finding in found)
    for expected in (
        "Kinds found, without labels",
        "Against the truth",
        f"{summary['kinds_injected']} injected",
    ):
        assert expected in result.stdout


def test_demo_finds_out_at_once_that_it_can_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "expected to be able to write there" in said(run("demo", "--output-dir", tmp_path / "file"), 2)


# --- Backtest -----------------------------------------------------------------------------------------------


def test_backtest_shows_findings_a_day_days_without_any_among_them(bundle: Path, tmp_path: Path) -> None:
    first = service_lines(seed=5)
    day = first[0][:10]
    third_day = f"{day[:8]}{int(day[8:]) + 2:02d}"
    past = write_log(
        tmp_path / "past.log", [*first, *(line.replace(day, third_day, 1) for line in service_lines(seed=6))]
    )
    days = findings_of(run("backtest", past, "--bundle", bundle, "--json"))
    assert [one["day"] for one in days] == [day, f"{day[:8]}{int(day[8:]) + 1:02d}", third_day]
    assert days[1]["n_sessions"] == 0
    assert all(0 < one["n_findings"] < one["n_sessions"] for one in (days[0], days[2]))
    assert all(sum(kind["n"] for kind in one["kinds"]) == one["n_findings"] for one in days)
    screen = run("backtest", past, "--bundle", bundle).stdout
    total = sum(one["n_findings"] for one in days)
    assert f"{total} findings among" in screen
    assert f"of 3 days: {total / 3:.1f} a day." in screen


def test_backtest_of_records_without_time_says_what_it_needs(tmp_path: Path) -> None:
    lines = [f"s{i},1 2 3" for i in range(60)]
    log = write_log(tmp_path / "log.txt", lines)
    words = ("--format", "sequences", "--bundle", tmp_path / "b")
    assert run("fit", "--normal", log, *words, *SMALL).exit_code == 0
    assert "backtest needs records with timestamps" in said(run("backtest", log, *words), 4)
