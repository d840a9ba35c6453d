"""Records to sessions, compared to a state machine that takes one record after another."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog.errors import SessionError
from enhanced_deeplog.events import END
from enhanced_deeplog.logs.corpus import event_ids_of, read_corpus
from enhanced_deeplog.logs.masks import choose_masks
from enhanced_deeplog.logs.records import read_records
from enhanced_deeplog.logs.sessions import (
    PauseLimits,
    SessionRules,
    Sessions,
    split_into_sessions,
    stream_pauses,
)
from enhanced_deeplog.logs.templates import TemplateMiner
from naive import naive_sessions

START = datetime(2024, 3, 1, 8)
V = 8  # event ids 3 to 7 are templates
SECOND = 1_000_000_000
SCHEMA = {
    "source": pl.String(),
    "service": pl.String(),
    "line": pl.Int64(),
    "timestamp": pl.Datetime("ns"),
    "host": pl.String(),
    "process": pl.String(),
    "session_key": pl.String(),
    "ends_session": pl.Boolean(),
    "event_id": pl.Int64(),
}


def record(
    event_id: int = 3,
    *,
    key: str | None = "a",
    at_s: float | None = None,
    source: str = "x.log",
    service: str = "",
    host: str | None = None,
    process: str | None = None,
    ends: bool = False,
) -> dict[str, Any]:
    return {
        "source": source,
        "service": service,
        "line": 0,
        "timestamp": None if at_s is None else START + timedelta(seconds=at_s),
        "host": host,
        "process": process,
        "session_key": key,
        "ends_session": ends,
        "event_id": event_id,
    }


def numbered(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "line": line} for line, one in enumerate(records, 1)]


def limits(closed_after_s: float = 100, **ended_after_s: float) -> dict[str, PauseLimits]:
    """Any event ends a session after 10 s, those named `e3` and so on after other times."""
    ended_after = np.full(V, 10 * SECOND)
    for name, seconds in ended_after_s.items():
        ended_after[int(name[1:])] = int(seconds * SECOND)
    return {"ns": PauseLimits("ns", ended_after, int(closed_after_s * SECOND))}


def split(records: list[dict[str, Any]], known: Mapping[str, PauseLimits] | None = None, **rules: Any) -> Sessions:
    frame = pl.DataFrame(numbered(records), schema=SCHEMA)
    return split_into_sessions(frame, SessionRules(**rules), known or {})


def rows_of(sessions: Sessions) -> list[dict[str, Any]]:
    columns = ["session_key", "keyed", "part", "n_records", "ended", "state", "context"]
    rows = []
    for i, row in enumerate(sessions.table.select(*columns, "first").to_dicts()):
        first = row.pop("first")
        lines = sessions.records["line"][first : first + row["n_records"]].to_list()
        rows.append({**row, "events": sessions.sequence(i).tolist(), "lines": lines})
    return rows


def sequences(sessions: Sessions) -> list[tuple[str, list[int]]]:
    return [(row["session_key"], row["events"]) for row in rows_of(sessions)]


# --- The naive twin -----------------------------------------------------------------------------------------

records_strategy = st.lists(
    st.builds(
        lambda event, key, pause, source, origin, ends: {
            **record(event, key=key, source=source, service=origin[0], host=origin[1], process=origin[2]),
            "ends_session": ends,
            "pause": pause,
        },
        st.integers(3, V - 1),
        st.sampled_from([None, "a", "b", "c"]),
        st.sampled_from([None, -3, 0, 1, 2, 5, 9, 30, 200]),
        st.sampled_from(["x.log", "x.log", "y.log"]),
        st.sampled_from([("", None, None), ("shop", "h1", None), ("shop", "h2", "7"), ("", "h1", "7")]),
        st.sampled_from([False] * 9 + [True]),
    ),
    min_size=1,
    max_size=40,
)
rules_strategy = st.builds(
    SessionRules,
    by=st.sampled_from(["key", "key", "idle_gap", "time_span", "count"]),
    idle_gap_s=st.sampled_from([1.0, 4.0, 60.0]),
    time_span_s=st.sampled_from([3.0, 20.0, 300.0]),
    n_records=st.integers(1, 5),
    max_records=st.integers(2, 6),
)
limits_strategy = st.one_of(
    st.just({}),
    st.builds(
        lambda ns, records, far: {
            "ns": PauseLimits("ns", np.array([0, 0, 0, *ns]) * SECOND, far * SECOND),
            "records": PauseLimits("records", np.array([0, 0, 0, *records]), far),
        },
        st.lists(st.integers(0, 40), min_size=V - 3, max_size=V - 3),
        st.lists(st.integers(0, 6), min_size=V - 3, max_size=V - 3),
        st.integers(2, 80),
    ),
)


def with_times(records: list[dict[str, Any]], *, untimed: str) -> list[dict[str, Any]]:
    """Steps of time, some of them back; None: a record without a timestamp, `untimed`: a source without any."""
    timed, at = [], 0.0
    for one in records:
        pause = one.pop("pause")
        at = max(at + (pause or 0), 0)
        time = None if pause is None or one["source"] == untimed else START + timedelta(seconds=at)
        timed.append({**one, "timestamp": time})
    return timed


@given(records_strategy, rules_strategy, limits_strategy, st.sampled_from(["", "", "x.log", "y.log"]))
@settings(max_examples=120)
def test_sessions_are_those_of_the_naive_twin(
    records: list[dict[str, Any]],
    rules: SessionRules,
    known: Mapping[str, PauseLimits],
    untimed: str,
) -> None:
    records = numbered(with_times([dict(one) for one in records], untimed=untimed))
    frame = pl.DataFrame(records, schema=SCHEMA)
    has_time = {one["source"] for one in records if one["timestamp"] is not None}
    if rules.by in ("idle_gap", "time_span") and has_time != {one["source"] for one in records}:
        with pytest.raises(SessionError, match=f"Sessions by {rules.by} need a timestamp"):
            split_into_sessions(frame, rules, known)
        return
    sessions = split_into_sessions(frame, rules, known)
    assert rows_of(sessions) == naive_sessions(records, rules, known)
    assert (sessions.starts[:-1] - sessions.context_starts).tolist() == sessions.table["context"].to_list()
    assert sorted(line for row in rows_of(sessions) for line in row["lines"]) == frame["line"].to_list()


# --- By key -------------------------------------------------------------------------------------------------


def test_a_session_ends_when_nothing_follows_for_longer_than_is_usual_after_its_last_event() -> None:
    records = [record(3, key="a", at_s=0), record(4, key="b", at_s=0), record(3, key="c", at_s=40)]
    sessions = split(records, limits(e3=30, e4=50))
    assert sequences(sessions) == [("a", [3, END]), ("b", [4]), ("c", [3])]
    assert sessions.table["state"].to_list() == ["open", "open", "open"]  # a's key could still be seen again


def test_waiting_exactly_as_long_as_is_usual_is_not_too_long() -> None:
    records = [record(3, key="a", at_s=0), record(3, key="b", at_s=10)]
    assert sequences(split(records, limits(e3=10))) == [("a", [3]), ("b", [3])]


def test_a_session_is_final_when_its_key_could_only_open_a_new_one() -> None:
    records = [record(3, key="a", at_s=0), record(3, key="b", at_s=101)]
    sessions = split(records, limits(closed_after_s=100))
    assert sessions.table["state"].to_list() == ["final", "open"]


def test_a_key_seen_again_after_a_longer_pause_than_ever_is_a_new_session() -> None:
    records = [record(3, at_s=0), record(4, at_s=100), record(5, at_s=201)]
    sessions = split(records, limits(closed_after_s=100))
    assert sequences(sessions) == [("a", [3, 4, END]), ("a", [5])]
    assert sessions.table["state"].to_list() == ["final", "open"]


def test_a_key_seen_again_after_its_end_opens_a_new_session() -> None:
    records = [record(3), record(4, ends=True), record(5, key="b"), record(6), record(7)]
    assert sequences(split(records)) == [("a", [3, 4, END]), ("b", [5]), ("a", [6, 7])]


def test_while_pauses_are_learnt_only_the_source_can_end_a_session() -> None:
    records = [record(3, at_s=0), record(4, at_s=9e6), record(5, key="b", ends=True, at_s=9.1e6)]
    assert sequences(split(records)) == [("a", [3, 4]), ("b", [5, END])]


def test_a_session_over_max_records_goes_on_as_its_next_part_with_its_past_and_without_end() -> None:
    records = [record(3 + i % 5, at_s=i) for i in range(7)] + [record(3, key="b", at_s=50)]
    sessions = split(records, limits(), max_records=3)
    assert rows_of(sessions)[:3] == [
        {**PART, "part": 0, "context": 0, "events": [3, 4, 5], "lines": [1, 2, 3]},
        {**PART, "part": 1, "context": 3, "events": [6, 7, 3], "lines": [4, 5, 6]},
        {**PART, "part": 2, "context": 6, "events": [4, END], "lines": [7], "n_records": 1} | LAST,
    ]
    assert sessions.context_starts.tolist() == [0, 0, 0, 8]


PART = {"session_key": "a", "keyed": True, "n_records": 3, "ended": False, "state": "final"}
LAST = {"ended": True, "state": "open"}


def test_a_session_of_exactly_max_records_has_one_part_and_can_end() -> None:
    records = [record(3, at_s=0), record(4, at_s=1), record(3, key="b", at_s=50)]
    assert sequences(split(records, limits(), max_records=2)) == [("a", [3, 4, END]), ("b", [3])]


def test_sessions_come_in_the_order_of_their_first_records() -> None:
    records = [record(key=key) for key in "cabac"]
    assert split(records).table["session_key"].to_list() == ["c", "a", "b"]


def test_one_key_in_several_sources_is_one_session() -> None:
    records = [record(3, at_s=0), record(4, source="y.log", at_s=1), record(5, at_s=2)]
    assert sequences(split(records, limits())) == [("a", [3, 4, 5])]


def test_time_is_one_for_all_sources() -> None:
    records = [record(3, at_s=0), record(4, key="b", source="y.log", at_s=60)]
    assert sequences(split(records, limits())) == [("a", [3, END]), ("b", [4])]


def test_clocks_that_step_back_make_no_pause() -> None:
    records = [record(3, at_s=500), record(4, at_s=0), record(5, at_s=501)]
    assert sequences(split(records, limits())) == [("a", [3, 4, 5])]


def test_without_timestamps_pauses_are_counted_in_records_of_the_source() -> None:
    known = {"records": PauseLimits("records", np.full(V, 2), 3)}
    records = [record(3), *(record(4, key="b") for _ in range(3)), record(5), record(6, source="y.log")]
    assert sequences(split(records, known)) == [("a", [3, END]), ("b", [4, 4, 4]), ("a", [5, 6])]
    assert sequences(split(records[:4], known)) == [("a", [3, END]), ("b", [4, 4, 4])]
    assert sequences(split(records[:3], known)) == [("a", [3]), ("b", [4, 4])]


# --- Records without a key ----------------------------------------------------------------------------------


def test_records_without_the_key_become_sessions_by_origin_and_pause() -> None:
    records = [
        record(3, key="a", at_s=0),
        record(4, key=None, at_s=0, service="shop", host="h1"),
        record(5, key=None, at_s=1, service="shop", host="h2"),
        record(6, key=None, at_s=59, service="shop", host="h1"),
        record(7, key=None, at_s=120, service="shop", host="h1"),
    ]
    sessions = split(records, limits(e3=1000), idle_gap_s=60)
    assert sequences(sessions) == [
        ("a", [3]),
        ("shop/h1", [4, 6, END]),
        ("shop/h2", [5, END]),
        ("shop/h1", [7]),
    ]
    assert sessions.table["keyed"].to_list() == [True, False, False, False]


def test_a_session_without_a_key_ends_by_pause_whether_or_not_its_origin_speaks_again() -> None:
    """What is said of a session follows from its records and the time of the input alone."""
    quiet = [record(3, key=None, at_s=0, host="h1"), record(4, key="a", at_s=61)]
    speaks = [*quiet, record(5, key=None, at_s=61, host="h1")]
    for records in (quiet, speaks):
        first = rows_of(split(records, limits(), idle_gap_s=60))[0]
        assert (first["events"], first["state"]) == ([3, END], "final")
    assert sequences(split(quiet, limits(), idle_gap_s=61)) == [("h1", [3]), ("a", [4])]


def test_a_log_without_any_key_becomes_blocks_in_which_each_event_is_judged_once() -> None:
    records = [record(3 + i % 5, key=None, at_s=i) for i in range(8)]
    sessions = split(records, limits(), n_records=3)
    assert [row["events"] for row in rows_of(sessions)] == [[3, 4, 5], [6, 7, 3], [4, 5]]
    assert sessions.table["state"].to_list() == ["final", "final", "open"]
    assert sessions.event_ids.tolist() == [one["event_id"] for one in records]
    assert sessions.context_starts.tolist() == [0, 0, 0]  # a block sees what came before it


# --- By pause, span and count -------------------------------------------------------------------------------


def test_by_idle_gap_keys_do_not_matter() -> None:
    records = [record(3, key=k, at_s=t) for k, t in (("a", 0), ("b", 5), ("a", 11), ("a", 30))]
    sessions = split(records, by="idle_gap", idle_gap_s=10)
    assert [row["events"] for row in rows_of(sessions)] == [[3, 3, 3, END], [3]]


def test_by_time_span_sessions_begin_at_whole_spans_and_have_no_end_of_their_own() -> None:
    records = [record(3, at_s=t) for t in (0, 299, 300, 301, 900)]
    sessions = split(records, by="time_span", time_span_s=300)
    assert [row["events"] for row in rows_of(sessions)] == [[3, 3], [3, 3], [3]]
    assert sessions.table["state"].to_list() == ["final", "final", "open"]


def test_by_count_services_are_kept_apart() -> None:
    records = [record(3 + i, service="ab"[i % 2]) for i in range(5)]
    sessions = split(records, by="count", n_records=2)
    assert sequences(sessions) == [("a", [3, 5]), ("a", [7]), ("b", [4, 6])]


# --- The pauses that are learnt -----------------------------------------------------------------------------


def test_each_kind_of_event_has_its_own_longest_usual_pause() -> None:
    times = ((3, 0), (4, 5), (3, 6), (4, 10), (5, 50))
    sessions = split([record(event, at_s=t) for event, t in times])
    learnt = stream_pauses(sessions, V)["ns"]
    assert (learnt.ended_after // SECOND).tolist() == [40, 40, 40, 5, 40, 40, 40, 40]  # 5 was always the last
    assert learnt.closed_after == 80 * SECOND
    again = PauseLimits.from_json(learnt.to_json())
    assert (again.unit, again.closed_after) == ("ns", learnt.closed_after)
    assert again.ended_after.tolist() == learnt.ended_after.tolist()


def test_without_a_single_pause_nothing_ever_ends_by_waiting() -> None:
    records = [record(3, key="a", at_s=0), record(3, key="b", at_s=1e9)]
    assert sequences(split(records, stream_pauses(split(records), V))) == [("a", [3]), ("b", [3])]


def test_records_without_a_key_do_not_take_part_in_learning() -> None:
    records = [record(3, at_s=0), record(4, at_s=2), *(record(3, key=None, at_s=t) for t in (0, 50, 9000))]
    assert stream_pauses(split(records), V)["ns"].closed_after == 4 * SECOND


# --- Files --------------------------------------------------------------------------------------------------


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    lines = [f"2024-03-01 08:00:{i:02} | INFO | api | req-{i % 3}a{i % 3}b step {'abc'[i % 3]} done" for i in range(30)]
    parts = lines[::2], lines[1::2]
    found = []
    for names in (("1.log", "2.log"), ("2.log", "1.log")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name, part in zip(names, parts, strict=True):
            (folder / name).write_text("".join(f"{line}\n" for line in part))
        for order in (names, names[::-1]):
            records = read_records(*(folder / n for n in order), format="pipe", session_key=r"req-\w+")
            miner = TemplateMiner(min_values=6, similarity=0.5, masks=choose_masks(extra={}, without=()))
            corpus = read_corpus(records, miner)
            ids = event_ids_of(corpus.bodies, frozenset(corpus.bodies), miner, Bodies(corpus.bodies))
            sessions = split_into_sessions(corpus.with_event_ids(ids), SessionRules(), {})
            texts = [
                sessions.records["text"][first : first + n].to_list()
                for first, n in sessions.table.select("first", "n_records").rows()
            ]
            found.append((sequences(sessions), texts))
    assert found == [found[0]] * 4
    assert [text for texts in found[0][1] for text in texts] == [line for i in range(3) for line in lines[i::3]]


class Bodies:
    """A vocabulary in which each body is a template."""

    def __init__(self, bodies: tuple[str, ...]) -> None:
        self.event_ids = {body: i for i, body in enumerate(sorted(bodies), 3)}


# --- What can't be sessions ---------------------------------------------------------------------------------


def test_an_input_without_records_is_refused() -> None:
    with pytest.raises(SessionError) as caught:
        split([])
    assert str(caught.value) == "Expected log records to make sessions of; none came. Is the input empty?"


def test_sessions_by_time_need_times() -> None:
    with pytest.raises(SessionError) as caught:
        split([record(3, at_s=0), record(3, source="y.log")], by="idle_gap")
    assert str(caught.value) == (
        "Sessions by idle_gap need a timestamp on the records of every source, and at least one source has "
        "none. Use a session key or sessions by count, or name the format that reads the timestamps."
    )
