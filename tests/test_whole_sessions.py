"""A log that is too long to learn from gives whole sessions."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, LogRecords
from enhanced_deeplog.logs.whole_sessions import WholeSessions
from enhanced_deeplog.simulator import simulate


def frame_of(keys: list[str | None]) -> pl.DataFrame:
    columns = {"session_key": keys, "service": ["web"] * len(keys), "host": [None] * len(keys)}
    schema = dict.fromkeys(("session_key", "service", "host", "process"), pl.String)
    return pl.DataFrame({**columns, "process": [None] * len(keys)}, schema).with_row_index("at")


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=200),
    st.integers(4, 60),
    st.integers(1, 40),
    st.booleans(),
)
def test_what_is_kept_are_whole_sessions_however_the_records_come(
    keys: list[int], most: int, step: int, by_key: bool
) -> None:
    whole = frame_of([f"req-{key}" if key else None for key in keys])
    drawn = WholeSessions(most, by_key=by_key)
    for begin in range(0, len(whole), step):
        drawn.add(whole[begin : begin + step])
    kept = drawn.records()
    assert len(kept) <= most
    assert drawn.n_read == len(whole)
    assert kept["at"].is_sorted()
    keyless = pl.col("session_key").is_null() if by_key else pl.lit(value=True)
    has_keys = bool(len(whole.filter(~keyless)))
    most_keyless = len(whole) if len(whole) <= most else most // 4 if has_keys else most
    of_origin = whole.filter(keyless)["at"].to_list()[:most_keyless]
    if drawn._is_full:  # one key has more records than may be kept at all
        assert len(kept) == most
        return
    assert kept.filter(keyless)["at"].to_list() == of_origin
    chosen = kept.filter(~keyless)["session_key"].unique()
    assert (
        kept.filter(~keyless)["at"].to_list()
        == whole.filter(~keyless & pl.col("session_key").is_in(chosen.implode()))["at"].to_list()
    )


def test_a_short_log_is_kept_as_it_is() -> None:
    drawn = WholeSessions(100, by_key=True)
    drawn.add(frame_of(["a", "b", None]))
    assert (len(drawn.records()), drawn.share) == (3, 1.0)


def test_of_a_single_long_stream_the_beginning_is_kept() -> None:
    drawn = WholeSessions(40, by_key=True)
    for _ in range(3):
        drawn.add(frame_of([None] * 25))
    assert drawn.records()["at"].to_list() == [*range(25), *range(15)]
    assert (drawn.share, drawn.n_read) == (1.0, 75)


def test_much_without_a_key_leaves_room_for_what_has_one() -> None:
    drawn = WholeSessions(1_000, by_key=True)
    drawn.add(frame_of([None if i % 3 else f"req-{i // 12}" for i in range(9_000)]))
    kept = drawn.records()
    assert kept["session_key"].null_count() == 250
    assert 300 < kept["session_key"].count() <= 750


def test_about_as_many_sessions_are_drawn_as_there_is_room_for() -> None:
    drawn = WholeSessions(1_000, by_key=True)
    drawn.add(frame_of([f"req-{i // 4}" for i in range(6_000)]))
    assert drawn.share == 0.125
    assert len(drawn.records()) == pytest.approx(750, rel=0.15)


def test_a_fit_on_a_long_log_says_what_it_learnt_from() -> None:
    lines = simulate(n_records=8_000, seed=4).lines
    all_words = {"min_sessions": 1}  # which words are shared is known of the drawn sessions alone
    config = small_config(learning={"epochs": 4, "most_records": 3_000}, redaction=all_words)
    records = LogRecords.from_lines(lines)
    model = EnhancedDeepLog(config).fit(records)
    assert model.summary["n_records_read"] == 8_000
    assert 1_000 < model.summary["n_records"] <= 3_000
    whole = EnhancedDeepLog(small_config(learning={"epochs": 1}, redaction=all_words)).fit(records)
    assert model.summary["sessions_a_day"] == pytest.approx(whole.summary["sessions_a_day"], rel=0.15)
    assert model.vocabulary.templates == whole.vocabulary.templates  # of all records


def test_the_first_records_are_an_input_of_their_own() -> None:
    lines = [f"2026-01-01 00:00:{i:02} line {i}" for i in range(50)]
    records = LogRecords.from_lines(lines, batch_size=8)
    first = records.first(20)
    assert [text for batch in first for text in batch["text"]] == lines[:20]
    assert [text for batch in first.with_session_key("line [0-9]+") for text in batch["text"]] == lines[:20]
    assert sum(map(len, records.first(500))) == 50
    assert sum(map(len, records)) == 50
