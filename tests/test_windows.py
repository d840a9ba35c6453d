"""Sessions to windows, compared to windows that are cut one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhanced_deeplog.base_scorer import BaseScorer
from enhanced_deeplog.errors import SessionError
from enhanced_deeplog.events import UNKNOWN
from enhanced_deeplog.learning.scoring import OnnxNetwork
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.windows import distinct_windows, make_windows, session_windows
from naive import naive_windows
from test_sessions import limits, record, split

sessions_of_events = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=25), st.integers(1, 12))
def test_windows_of_one_session_are_those_of_the_naive_twin(events: list[int], window_size: int) -> None:
    windows, next_events = make_windows(np.array(events), window_size)
    assert windows.tolist() == naive_windows([], events, window_size)
    assert next_events.tolist() == events


@given(sessions_of_events, st.integers(1, 12))
def test_windows_of_many_sessions_never_see_another_session(sessions: list[list[int]], window_size: int) -> None:
    starts = np.cumsum([0, *map(len, sessions)])
    contexts = np.repeat(starts[:-1], np.diff(starts))
    windows = session_windows(np.concatenate([np.array(s) for s in sessions]), contexts, window_size)
    assert windows.tolist() == [w for s in sessions for w in naive_windows([], s, window_size)]


@given(sessions_of_events, st.integers(1, 4))
def test_each_distinct_pair_is_kept_once_with_its_count(sessions: list[list[int]], window_size: int) -> None:
    made = [make_windows(np.array(s), window_size) for s in sessions]
    windows, next_events = (np.concatenate(arrays) for arrays in zip(*made, strict=True))
    found = distinct_windows(windows, next_events)
    pairs = [(*w, e) for w, e in zip(windows.tolist(), next_events.tolist(), strict=True)]
    kept = [(*w, e) for w, e in zip(found.windows.tolist(), found.next_events.tolist(), strict=True)]
    assert kept == sorted(set(pairs))
    assert found.counts.tolist() == [pairs.count(pair) for pair in kept]
    assert [kept[i] for i in found.inverse] == pairs


@given(st.permutations(range(12)))
def test_the_order_of_the_windows_does_not_matter(order: list[int]) -> None:
    windows = np.array([[0, 3], [3, 300], [300, 70_000], [0, 3]] * 3)
    next_events = np.array([3, 70_000, 4, 3] * 3)
    there, shuffled = (
        distinct_windows(windows, next_events),
        distinct_windows(windows[order], next_events[order]),
    )
    assert there.windows.tolist() == shuffled.windows.tolist() == [[0, 3], [3, 300], [300, 70_000]]
    assert there.counts.tolist() == shuffled.counts.tolist() == [6, 3, 3]
    assert there.inverse[order].tolist() == shuffled.inverse.tolist()


def three_sessions() -> Sessions:
    """One of two parts, one that ended, one that goes on."""
    records = [record(3 + i % 5, at_s=i) for i in range(6)]
    records += [record(7, key="b", at_s=7), record(3, key="c", at_s=40), record(4, key="c", at_s=41)]
    return split(records, limits(), max_records=4)


def scorer_of(known: list[int], window_size: int) -> BaseScorer:
    is_known = np.isin(np.arange(8), known)
    return BaseScorer(OnnxNetwork(b""), is_known, 0.0, window_size)


def test_a_next_part_sees_the_part_before_it_and_no_other_session() -> None:
    sessions = three_sessions()
    assert [sessions.sequence(i).tolist() for i in range(4)] == [[3, 4, 5, 6], [7, 3, 2], [7, 2], [3, 4]]
    windows = scorer_of([2, 3, 4, 5, 6, 7], 3).windows(sessions).tolist()
    assert windows == [
        *([0, 0, 0], [0, 0, 3], [0, 3, 4], [3, 4, 5]),
        *([4, 5, 6], [5, 6, 7], [6, 7, 3]),
        *([0, 0, 0], [0, 0, 7]),
        *([0, 0, 0], [0, 0, 3]),
    ]


def test_windows_at_some_events_are_those_of_all_events() -> None:
    sessions = three_sessions()
    for window_size in (1, 3, 10):
        scorer = scorer_of([2, 3, 4, 7], window_size)
        events = np.array([10, 0, 4, 6, 6, 8])
        assert scorer.windows_at(sessions, events).tolist() == scorer.windows(sessions)[events].tolist()


def test_what_the_network_never_saw_is_unknown_to_it() -> None:
    windows = scorer_of([2, 3, 4, 5, 6], 2).windows(three_sessions())
    assert 7 not in windows
    assert windows[5].tolist() == [6, UNKNOWN]


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "Expected a session of at least one event; an empty one came."),
        ([3, 0, 4], "Event id 0 is PADDING and can't be an event; a session contains it."),
    ],
)
def test_what_is_no_session_has_no_windows(events: list[int], text: str) -> None:
    with pytest.raises(SessionError) as caught:
        make_windows(np.array(events, dtype=np.int64), 3)
    assert str(caught.value) == text
