"""Records that come one after another are judged as a file of them is."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, Finding, LogRecords, StreamingClassifier, read_records
from enhanced_deeplog.errors import InputError, SessionError, UsageError
from enhanced_deeplog.events import END
from enhanced_deeplog.logs.arrivals import Arrivals
from enhanced_deeplog.logs.corpus import event_ids_of, read_corpus
from enhanced_deeplog.logs.open_sessions import OpenPart, OpenSessions, as_sessions
from enhanced_deeplog.logs.pause_limits import PauseLimits
from enhanced_deeplog.logs.session_rules import SessionRules
from enhanced_deeplog.logs.sessions import split_into_sessions
from enhanced_deeplog.simulator import simulate
from short_logs import FORMAT, MINER, START, VOCABULARY, lines_of_a_file, text_of


def interleaved(batches: Sequence[pl.DataFrame], rng: random.Random) -> list[pl.DataFrame]:
    """The records of some sources in any order that keeps that of each source, cut anywhere."""
    left = [list(range(len(batch))) for batch in batches]
    order: list[pl.DataFrame] = []
    while any(left):
        source = rng.choice([i for i, rows in enumerate(left) if rows])
        n = rng.randint(1, 7)
        order.append(batches[source][left[source][:n]])
        left[source] = left[source][n:]
    whole = pl.concat(order)
    cuts = sorted({0, len(whole), *(rng.randrange(len(whole)) for _ in range(rng.randint(0, 8)))})
    return [whole[begin:end] for begin, end in pairwise(cuts)]


@settings(max_examples=30)
@given(
    st.lists(lines_of_a_file, min_size=1, max_size=3),
    st.sampled_from(["key", "idle_gap", "count", "time_span"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_sessions_of_a_stream_are_those_of_the_files(
    files: list[list[tuple[str, int | None, str]]], by: str, learnt: bool, rng: random.Random
) -> None:
    timed = [any(seconds is not None for _, seconds, _ in lines) for lines in files]
    if by in ("idle_gap", "time_span") or len(files) > 1:  # what has no time at all comes source by source as files
        files = [
            [(key, seconds if ok else 1, body) for key, seconds, body in lines]
            for ok, lines in zip(timed, files, strict=True)
        ]
    rules = SessionRules(by=by, idle_gap_s=60.0, time_span_s=100.0, n_records=3, max_records=4)  # type: ignore[arg-type]
    limits: dict[str, PauseLimits] = {}
    if learnt:
        for unit, tick in (("ns", 10**9), ("records", 1)):
            ended = np.array([rng.randint(0, 40) * tick for _ in range(len(VOCABULARY))])
            limits[unit] = PauseLimits(unit, ended, 60 * tick)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        for i, lines in enumerate(files):
            Path(folder, f"{i}.log").write_text(text_of(lines))
        records = read_records(f"{folder}/*.log", format=FORMAT)
        corpus = read_corpus(records, MINER)
        ids = event_ids_of(corpus.bodies, corpus.given, MINER, VOCABULARY)
        whole = split_into_sessions(corpus.with_event_ids(ids), rules, limits)
        batches = list(records)
    expected = [
        (*(row[name] for name in TOLD), whole.sequence(i).tolist(), texts_of(whole.records, row))
        for i, row in enumerate(whole.table.iter_rows(named=True))
    ]
    assert sorted(streamed(batches, rules, limits, rng), key=str) == sorted(expected, key=str)


TOLD = ("session_key", "source", "service", "part", "keyed", "ended", "state")


def texts_of(records: pl.DataFrame, row: dict[str, int]) -> list[str]:
    return records["text"][row["first"] : row["first"] + row["n_records"]].to_list()


def streamed(
    batches: list[pl.DataFrame], rules: SessionRules, limits: dict[str, PauseLimits], rng: random.Random
) -> list[tuple[object, ...]]:
    arrivals = Arrivals("ns", [batch["source"][0] for batch in batches], max_delay_s=float("inf"))
    opened: OpenSessions | None = None
    found: dict[OpenPart, None] = {}
    any_key = any(batch["session_key"].null_count() < len(batch) for batch in batches)
    ids = event_ids_of(["opened", "closed", "moved", "lost"], frozenset(), MINER, VOCABULARY)
    for batch in [*interleaved(batches, rng), None]:
        if batch is not None:
            events = batch["body"].replace_strict(ids, return_dtype=pl.Int64).alias("event_id")
            arrived = arrivals.take(batch.with_columns(events))
        else:
            arrived = arrivals.rest()
        if arrived is None:
            continue
        unit = arrivals.unit
        opened = opened or OpenSessions(
            rules, limits.get(unit), any_key=any_key, unit=unit, n_context=5, most_records=10**6
        )
        found |= opened.add(arrived)
        found |= opened.wait(arrivals.now)
    sessions, rows = as_sessions(list(found), arrivals.unit)
    table = sessions.table.with_columns(at=pl.int_range(pl.len()))[rows]
    return [
        (*(row[name] for name in TOLD), sessions.sequence(row["at"]).tolist(), texts_of(sessions.records, row))
        for row in table.iter_rows(named=True)
    ]


def test_a_window_looks_back_over_several_short_parts() -> None:
    opened = OpenSessions(
        SessionRules(max_records=3), None, any_key=True, unit="records", n_context=8, most_records=10**6
    )
    (batch,) = LogRecords.from_lines([f"|req-1|event {i}" for i in range(3, 12)], format=FORMAT)
    batch = batch.with_columns(event_id=pl.int_range(3, 12, dtype=pl.Int64), clock=pl.int_range(pl.len()))
    (*_, last) = opened.add(batch)
    assert last.event_ids.tolist() == [9, 10, 11]
    assert last.before is not None
    assert last.before.event_ids.tolist() == [3, 4, 5, 6, 7, 8]


def test_a_session_that_goes_on_in_another_source_without_time_is_woken_by_that_one() -> None:
    limits = PauseLimits("records", np.full(len(VOCABULARY), 10), 100)
    opened = OpenSessions(SessionRules(), limits, any_key=True, unit="records", n_context=5, most_records=10**6)
    for source in ("a", "b"):
        (batch,) = LogRecords.from_lines(["|req-1|opened"], format=FORMAT, source_name=source)
        opened.add(batch.with_columns(event_id=pl.lit(3, pl.Int64), clock=pl.lit(0, pl.Int64)))
    assert not opened.wait({"a": 50, "b": 5})
    (part,) = opened.wait({"a": 51, "b": 11})
    assert (part.ended, part.final) == (True, False)


# --- findings ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["untimed", "timed"])
def fitted(request: pytest.FixtureRequest) -> EnhancedDeepLog:
    """Learnt from a service's log without labels; sessions are judged in parts of at most 12 records."""
    config = small_config(
        sessions={"max_records": 12}, detection={"n_folds": 2, "alarm_rate": 0.01, "timing": request.param}
    )
    return EnhancedDeepLog(config).fit(LogRecords.from_lines(simulate(n_records=4_000, seed=1).lines), workers=1)


HOSTILE = (
    "\u202eright to left", "\x1b[31mred\x00", "K \u212a \u017f Straße İ", "\u2028line\u2029", "<*> <*>",
    "=cmd|' /C calc'!A0", "a" * 5_000, "🧨" * 300, "\ud7ff\uffff", "١٢٣ ½ Ⅻ", " ", "%s {} \\1",
)  # fmt: skip


@settings(max_examples=6)
@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 10**9))
def test_findings_of_a_stream_are_those_of_classify(
    fitted: EnhancedDeepLog, seed: int, n_sources: int, order: int
) -> None:
    rng = random.Random(order)
    lines = simulate(n_records=700, seed=10 + seed, fault_share=0.2).lines
    for hostile in HOSTILE:
        at = rng.randrange(len(lines))
        lines[at] = lines[at][: lines[at].rindex("|") + 2] + hostile
    of_source: list[list[str]] = [[] for _ in range(n_sources)]
    for line in lines:
        rng.choice(of_source).append(line)
    with tempfile.TemporaryDirectory() as folder:
        for i, some in enumerate(of_source):
            Path(folder, f"{i}.log").write_text("".join(f"{line}\n" for line in some), "utf-8", "surrogatepass")
        records = read_records(f"{folder}/*.log")
        expected = {finding.id: finding for finding in fitted.classify(records)}
        batches = list(records)
    stream = StreamingClassifier(fitted, sources=[batch["source"][0] for batch in batches], max_delay_s=float("inf"))
    outputs = [*(stream.process_many(batch) for batch in interleaved(batches, rng)), stream.finish()]
    last = {finding.id: finding for output in outputs for finding in output.findings}
    assert expected
    assert {key: told(one) for key, one in last.items() if one.is_anomaly} == {
        key: told(one) for key, one in expected.items()
    }
    assert sum(len(one.rank) for output in outputs for one in output.verdicts) == sum(map(len, batches))
    assert stream.n_late == 0


def told(finding: Finding) -> dict[str, object]:
    """All of it: a stream has even the lines and offsets that a file has."""
    return finding.to_json()


def test_an_open_session_is_told_of_once_and_again_when_it_closes(fitted: EnhancedDeepLog) -> None:
    lines = simulate(n_records=1_500, seed=5, fault_share=0.2).lines
    stream = StreamingClassifier(fitted)
    by_id: dict[str, list[Finding]] = {}
    for record in LogRecords.from_lines(lines, batch_size=64):
        for finding in stream.process_many(record).findings:
            by_id.setdefault(finding.id, []).append(finding)
    assert by_id
    for findings in by_id.values():
        states = [(finding.state, finding.complete, finding.n_records) for finding in findings]
        assert len(set(states)) == len(states)
        assert [n for _, _, n in states] == sorted(n for _, _, n in states)
        assert [state for state, _, _ in states[:-1]] == ["open"] * (len(states) - 1)
    assert any(findings[0].state == "open" and findings[-1].state == "final" for findings in by_id.values())


def test_one_record_at_a_time_comes_to_the_same(fitted: EnhancedDeepLog) -> None:
    lines = simulate(n_records=300, seed=6, fault_share=0.3).lines
    records = LogRecords.from_lines(lines)
    stream, last = StreamingClassifier(fitted), {}
    rows = [row for batch in records for row in batch.to_dicts()]
    for output in [*(stream.process(row) for row in rows), stream.finish()]:
        last |= {finding.id: finding for finding in output.findings}
    assert {one.id for one in last.values() if one.is_anomaly} == {one.id for one in fitted.classify(records)}


def test_what_was_called_abnormal_and_is_not_is_taken_back(fitted: EnhancedDeepLog) -> None:
    """A pause after which END was judged goes on after all."""
    odd = simulate(n_records=2_000, seed=8, fault_share=0.25).lines
    stream, words = StreamingClassifier(fitted), dict[str, list[bool]]()
    outputs = [stream.process_many(batch) for batch in LogRecords.from_lines(odd, batch_size=40)]
    for output in [*outputs, stream.finish()]:
        for finding in output.findings:
            words.setdefault(finding.id, []).append(finding.is_anomaly)
    expected = {finding.id for finding in fitted.classify(LogRecords.from_lines(odd))}
    assert {key for key, said in words.items() if said[-1]} == expected
    assert all(said[0] for said in words.values())  # nothing is taken back that was not said
    assert any(not said[-1] for said in words.values())


def test_memory_is_bounded_and_what_is_given_up_is_counted(fitted: EnhancedDeepLog) -> None:
    stream = StreamingClassifier(fitted, most_records=100)
    for batch in LogRecords.from_lines(simulate(n_records=2_000, seed=3).lines, batch_size=50):
        stream.process_many(batch)
        assert stream._open is not None
        assert stream._open.n_records <= 100
        assert stream._open.n_records == sum(len(part.records) for part in stream._open)
    assert stream.n_given_up > 0


def test_what_is_done_with_is_forgotten() -> None:
    limits = PauseLimits("records", np.full(len(VOCABULARY), 2), 5)
    opened = OpenSessions(SessionRules(), limits, any_key=True, unit="records", n_context=5, most_records=10**6)
    n_records = 4_000
    lines = [f"|req-{i // 2}|opened" for i in range(n_records)]
    (batch,) = LogRecords.from_lines(lines, format=FORMAT)
    batch = batch.with_columns(event_id=pl.lit(3, pl.Int64), clock=pl.int_range(pl.len(), dtype=pl.Int64))
    closed = 0
    for i in range(0, n_records, 10):
        opened.add(batch[i : i + 10])
        closed += sum(part.final for part in opened.wait({"": i + 9}))
        assert len(opened) <= 10
        assert sum(map(len, opened._due.values())) <= 20
    assert closed >= n_records // 2 - 10


def test_moments_of_sessions_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enhanced_deeplog.logs.open_sessions._MOST_DUE", 50)
    limits = PauseLimits("records", np.full(len(VOCABULARY), 10**9), 10**9)  # nothing ends by waiting
    opened = OpenSessions(SessionRules(), limits, any_key=True, unit="records", n_context=5, most_records=20)
    (batch,) = LogRecords.from_lines([f"|req-{i}|opened" for i in range(2_000)], format=FORMAT)
    batch = batch.with_columns(event_id=pl.lit(3, pl.Int64), clock=pl.int_range(pl.len(), dtype=pl.Int64))
    for i in range(0, len(batch), 10):
        opened.add(batch[i : i + 10])
        opened.give_up()
        assert len(opened) <= 20
        assert sum(map(len, opened._due.values())) <= 50 + 4 * 30


# --- the order of several sources -------------------------------------------------------------------------------------


def batch_of(source: str, seconds: Sequence[int | None]) -> pl.DataFrame:
    lines = [f"{START + timedelta(seconds=s):%Y-%m-%d %H:%M:%S}|k|x" if s is not None else "|k|x" for s in seconds]
    (batch,) = LogRecords.from_lines(lines, format=FORMAT, source_name=source)
    return batch


def seconds_of(arrived: pl.DataFrame | None) -> list[int]:
    epoch = int((START - datetime(1970, 1, 1)).total_seconds())
    return [] if arrived is None else [clock // 10**9 - epoch for clock in arrived["clock"]]


def test_a_record_waits_until_no_source_can_bring_an_earlier_one() -> None:
    arrivals = Arrivals("ns", ["a", "b"], max_delay_s=float("inf"))
    assert seconds_of(arrivals.take(batch_of("a", [1, 5, 9]))) == []
    assert seconds_of(arrivals.take(batch_of("b", [2, 6]))) == [1, 2, 5]
    assert seconds_of(arrivals.take(batch_of("b", [7, 20]))) == [6, 7]
    assert seconds_of(arrivals.rest()) == [9, 20]
    assert arrivals.n_late == 0


def test_a_source_that_falls_far_behind_is_not_waited_for_and_its_records_are_late() -> None:
    arrivals = Arrivals("ns", ["a", "b"], max_delay_s=60.0)
    assert seconds_of(arrivals.take(batch_of("a", [0, 30]))) == []
    assert seconds_of(arrivals.take(batch_of("a", [100]))) == [0, 30]
    assert seconds_of(arrivals.take(batch_of("b", [10, 31]))) == [30, 31]  # 10 comes at the time that it is by now
    assert arrivals.n_late == 1


def test_what_has_no_time_belongs_to_the_record_before_and_at_the_beginning_to_the_one_after() -> None:
    arrivals = Arrivals("ns", [], max_delay_s=60.0)
    assert seconds_of(arrivals.take(batch_of("a", [None, None]))) == []
    assert seconds_of(arrivals.take(batch_of("a", [7, None, 9]))) == [7, 7, 7, 7, 9]


def test_a_source_without_any_time_is_counted_in_records() -> None:
    arrivals = Arrivals("ns", [], max_delay_s=60.0)
    assert arrivals.take(batch_of("a", [None] * 999)) is None
    arrived = arrivals.take(batch_of("a", [None]))
    assert arrived is not None
    assert arrived["clock"].to_list() == list(range(1_000))
    assert arrivals.unit == "records"
    assert arrivals.now == {"a": 999}


def test_no_more_is_held_than_memory_should_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enhanced_deeplog.logs.arrivals._MAX_HELD", 50)
    arrivals = Arrivals("ns", ["a", "b"], max_delay_s=float("inf"))
    n_through = sum(len(seconds_of(arrivals.take(batch_of("a", [i])))) for i in range(150))
    assert n_through >= 100


def test_a_source_that_comes_late_and_without_a_time_comes_at_the_time_that_it_is_by_now() -> None:
    arrivals = Arrivals("ns", [], max_delay_s=60.0)
    assert seconds_of(arrivals.take(batch_of("a", [5]))) == [5]
    arrivals.take(batch_of("b", [None]))
    arrivals.take(batch_of("b", [None, 9]))
    assert seconds_of(arrivals.rest()) == [5, 5, 9]


def test_a_stream_that_was_finished_goes_on(fitted: EnhancedDeepLog) -> None:
    stream = StreamingClassifier(fitted)
    stream.finish()
    stream.process({"body": "x"})
    stream.finish()
    assert len(stream.process({"body": "y", "timestamp": START}).verdicts) == 1


def test_a_record_may_bring_its_key_and_its_time_in_any_form(fitted: EnhancedDeepLog) -> None:
    stream = StreamingClassifier(fitted)
    zone = timezone(timedelta(hours=2))
    record = {"body": "half \ud800 a letter", "session_key": "req-77", "source": None, "line": None}
    stream.process({**record, "timestamp": START.replace(tzinfo=zone)})
    frame = next(iter(LogRecords.from_lines(["2025-12-31 22:00:01 | INFO | api | req-88 x"]))).with_columns(
        pl.col("timestamp").cast(pl.Datetime("us"))
    )
    stream.process_many(frame)
    assert stream._open is not None
    told = [(part.stream.key, part.records[0][4]) for part in stream._open]
    at = int(datetime(2025, 12, 31, 22, tzinfo=UTC).timestamp()) * 10**9
    assert told[0] == ("req-77", at)
    assert told[1][1] == at + 10**9


def test_what_is_given_up_has_had_the_last_word(fitted: EnhancedDeepLog) -> None:
    lines = [f"2026-01-01 00:00:{i:02} | INFO | api | req-0000abcd never seen before {i}" for i in range(12)]
    (records,) = LogRecords.from_lines(lines, format="pipe")
    stream = StreamingClassifier(fitted, most_records=5)
    findings = [*stream.process_many(records[:4]).findings, *stream.process_many(records[4:]).findings]
    assert findings[-1].n_records == 12
    assert (stream.n_given_up, stream.n_open) == (1, 0)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"text": "no body"}, "Record 2: expected the fields .* got the body None"),
        ({"body": 7}, "got the body 7"),
        ({"body": "x", "boddy": "y"}, "got the field 'boddy'"),
        ({"body": "x", "timestamp": "yesterday"}, "fields have the types"),
    ],
)
def test_records_that_can_not_be_used_are_refused(
    fitted: EnhancedDeepLog, record: dict[str, object], said: str
) -> None:
    stream = StreamingClassifier(fitted)
    with pytest.raises(InputError, match=said):
        stream.process_many([{"body": "fine"}, record])


def test_frames_that_lack_columns_are_refused(fitted: EnhancedDeepLog) -> None:
    with pytest.raises(InputError, match=r"session_key, .*template, text is missing|is missing"):
        StreamingClassifier(fitted).process_many(pl.DataFrame({"body": ["x"]}))


def test_a_stream_refuses_what_classify_refuses(fitted: EnhancedDeepLog) -> None:
    with pytest.raises(UsageError, match="learnt nothing yet"):
        StreamingClassifier(EnhancedDeepLog())
    lines = [f"2026-01-01 00:{i // 60:02}:{i % 60:02} work item {i % 3}" for i in range(600)]
    config = small_config(sessions={"by": "time_span", "time_span_s": 10.0}, learning={"epochs": 1})
    model = EnhancedDeepLog(config).fit(LogRecords.from_lines(lines))
    stream = StreamingClassifier(model)
    stream.process_many([{"body": "work item 1"}] * 3)
    with pytest.raises(SessionError, match="need a timestamp"):
        stream.finish()


def test_nothing_in_nothing_out(fitted: EnhancedDeepLog) -> None:
    stream = StreamingClassifier(fitted)
    assert stream.process_many([]).findings == ()
    assert stream.finish().findings == ()
    assert stream.n_open == 0


def test_the_end_is_scored_once_a_session_has_ended(fitted: EnhancedDeepLog) -> None:
    stream = StreamingClassifier(fitted)
    for batch in LogRecords.from_lines(simulate(n_records=1_500, seed=2).lines):
        stream.process_many(batch)
    assert stream._open is not None
    ended = [part for part in stream._open if part.ended]
    sessions, rows = as_sessions(ended, "ns")
    assert ended
    assert all(sessions.sequence(int(row))[-1] == END for row in rows)
