"""A log that memory doesn't hold is judged as one that it holds."""

from __future__ import annotations

import os
import random
import stat
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords, read_records
from enhanced_deeplog.errors import InputError, OutputError
from enhanced_deeplog.logs import partitions
from enhanced_deeplog.logs.corpus import event_ids_of, read_corpus
from enhanced_deeplog.logs.parsing import parse_records
from enhanced_deeplog.logs.partitions import read_partitions
from enhanced_deeplog.logs.session_rules import SessionRules
from enhanced_deeplog.logs.sessions import Sessions, sessions_of, split_into_sessions
from enhanced_deeplog.output import write_findings, write_findings_by_place
from short_logs import FORMAT, MINER, START, VOCABULARY, lines_of_a_file, text_of


def told(sessions: Sessions) -> list[tuple[object, ...]]:
    """All that matters of each session."""
    texts = sessions.records["text"]
    return [
        (
            *(row[name] for name in ("session_key", "source", "service", "part", "keyed", "ended", "state", "context")),
            sessions.sequence(i).tolist(),
            texts[row["first"] : row["first"] + row["n_records"]].to_list(),
        )
        for i, row in enumerate(sessions.table.iter_rows(named=True))
    ]


@settings(max_examples=30)
@given(
    st.lists(lines_of_a_file, min_size=1, max_size=3),
    st.sampled_from(["key", "idle_gap", "count"]),
    st.integers(1, 30),
    st.booleans(),
)
def test_sessions_of_partitions_are_the_sessions_of_the_whole(
    files: list[list[tuple[str, int | None, str]]], by: str, in_memory: int, timed: bool
) -> None:
    if by == "idle_gap" or timed:
        files = [[(key, seconds or 0, body) for key, seconds, body in lines] for lines in files]
    rules = SessionRules(by=by, idle_gap_s=60.0, n_records=3, max_records=4)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        for i, lines in enumerate(files):
            Path(folder, f"{i}.log").write_text(text_of(lines))
        records = read_records(f"{folder}/*.log", format=FORMAT, batch_size=5)
        corpus = read_corpus(records, MINER)
        ids = event_ids_of(corpus.bodies, corpus.given, MINER, VOCABULARY)
        whole = split_into_sessions(corpus.with_event_ids(ids), rules, {})
        with read_partitions(records, MINER, VOCABULARY, by_key=by == "key", in_memory=in_memory) as read:
            parts = [sessions_of(part, read.clock, rules, {}) for part in read]
    found = [
        one
        for sessions in parts
        for one in zip(partitions.places_of(sessions, np.arange(len(sessions))), told(sessions), strict=True)
    ]
    assert [one for _, one in sorted(found, key=lambda one: one[0])] == told(whole)


def test_services_whose_origins_read_the_same_are_two_streams_in_memory_and_on_disk() -> None:
    lines = [
        f'{{"time": "2026-01-01T00:00:{i:02}Z", "{"service" if i % 2 else "host"}": "web", "msg": "opened"}}'
        for i in range(20)
    ]
    records = LogRecords.from_lines(lines, format="jsonl", batch_size=4)
    rules = SessionRules(by="idle_gap")
    for in_memory in (1000, 2):
        with read_partitions(records, MINER, VOCABULARY, by_key=False, in_memory=in_memory) as read:
            parts = [sessions_of(part, read.clock, rules, {}) for part in read]
        assert [n for sessions in parts for n in sessions.table["n_records"]] == [10, 10]


def test_findings_are_the_same_and_in_the_same_order_however_much_memory_holds(
    fitted: EnhancedDeepLog, mixed_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = LogRecords.from_lines(mixed_lines, format="sequences", batch_size=100)
    whole = fitted.classify(records, every_session=True)
    monkeypatch.setattr(EnhancedDeepLog._read.__wrapped__, "__kwdefaults__", {"in_memory": 300})
    assert fitted.classify(records, every_session=True) == whole
    assert [finding.first_line for finding in whole] == sorted(finding.first_line for finding in whole)
    key = whole[-1].session_key
    assert fitted.explain(records, key)[0].finding.score == whole[-1].score


def test_findings_that_memory_need_not_hold_are_written_in_the_same_order(
    fitted: EnhancedDeepLog, mixed_lines: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    records = LogRecords.from_lines(mixed_lines, format="sequences", batch_size=100)
    write_findings(whole := fitted.classify(records, every_session=True), tmp_path / "held.jsonl")
    monkeypatch.setattr(EnhancedDeepLog._read.__wrapped__, "__kwdefaults__", {"in_memory": 300})
    counts = write_findings_by_place(fitted.classify_parts(records, every_session=True), tmp_path / "spooled.jsonl")
    assert counts == (len(whole), sum(finding.is_anomaly for finding in whole))
    assert (tmp_path / "spooled.jsonl").read_bytes() == (tmp_path / "held.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"held.jsonl", "spooled.jsonl"}


def spooled(n_lines: int) -> partitions.PartitionedRecords:
    lines = [f"{START + timedelta(seconds=i):%Y-%m-%d %H:%M:%S}|req-{i % 50}|opened" for i in range(n_lines)]
    records = LogRecords.from_lines(lines, format=FORMAT, batch_size=100)
    return read_partitions(records, MINER, VOCABULARY, by_key=True, in_memory=200)


def test_what_is_on_disk_has_no_name_and_goes_when_it_is_no_longer_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with spooled(1000) as read:
        file = read.files._file
        assert file is not None
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert os.fstat(file.fileno()).st_size > 0
        assert not list(tmp_path.iterdir())  # nobody else can open it, and it is gone however the process ends
        assert sum(part.height for part in read) == 1000
        assert sum(part.height for part in read) == 1000  # again
    assert file.closed


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_ipc", full)
    with pytest.raises(OutputError, match=r"expected room for records .* No space left on device.* TMPDIR"):
        spooled(1000)


def test_a_place_for_files_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(OutputError, match=r"/nowhere: expected room for records .* TMPDIR"):
        spooled(1000)


def test_bodies_that_fit_no_template_are_counted_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    words = list({"".join(rng.choices("abcdefg", k=6)): None for _ in range(100)})
    lines = [f"2026-01-01 00:00:00|req-1|{word}" for word in words * 3]
    records = LogRecords.from_lines(lines, format=FORMAT, batch_size=70)
    read = read_partitions(records, MINER, VOCABULARY, by_key=True)
    assert read.unmatched == dict.fromkeys(words, 3)
    monkeypatch.setattr(partitions, "_MAX_UNMATCHED", 10)
    read = read_partitions(records, MINER, VOCABULARY, by_key=True)
    assert list(read.unmatched) == words[:10]
    (part,) = read
    assert part["body_id"].null_count() == len(lines) - sum(read.unmatched.values())


def test_a_file_that_changes_while_it_is_parsed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "live.log"
    lines = [f"{START + timedelta(seconds=i):%Y-%m-%d %H:%M:%S} opened door {i}\n" for i in range(30)]

    def parsed_after(text: str) -> int:
        path.write_text("".join(lines))
        batches = parse_records(read_records(path, batch_size=8), Config())  # its templates are learnt by now
        path.write_text(text)
        return sum(map(len, batches))

    assert parsed_after("".join([*lines, lines[0]])) == 30  # what was added since is left out
    for changed in ("", "".join(lines[:20]), "".join(lines).replace("opened", "broken")):
        with pytest.raises(InputError, match=r"live\.log(:| has changed meanwhile)"):
            parsed_after(changed)
