"""Surprise that accumulates, compared to all stretches of a session; surprise that an event has anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog.learning.surprise import UsualSurprise, accumulate, rare_surprise
from naive import naive_accumulated, naive_rare_surprise

surprises = st.lists(st.lists(st.integers(0, 12).map(lambda i: i / 2), min_size=1, max_size=12), min_size=1, max_size=8)


def laid_out(sessions: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *map(len, sessions)]).astype(np.int64)
    return np.concatenate([np.array(s, dtype=np.float64) for s in sessions]), starts


# --- Surprise that accumulates ------------------------------------------------------------------------------


@given(surprises, st.sampled_from([0.0, 0.5, 1.0, 2.5]))
def test_accumulated_surprise_is_that_of_the_best_of_all_stretches(sessions: list[list[float]], drift: float) -> None:
    values, starts = laid_out(sessions)
    expected = [naive_accumulated(session, drift) for session in sessions]
    assert accumulate(values, starts, drift).tolist() == pytest.approx(expected)


def test_five_weak_surprises_in_a_row_count_more_than_one_or_than_five_apart() -> None:
    in_a_row, one, apart = [0.0] * 5 + [2.0] * 5 + [0.0] * 5, [2.0] + [0.0] * 14, [2.0, 0.0, 0.0] * 5
    values, starts = laid_out([in_a_row, one, apart])
    assert accumulate(values, starts, drift=1.0).tolist() == [5.0, 1.0, 1.0]


# --- The surprise that events have anyway -------------------------------------------------------------------


def test_a_rare_event_is_not_misplaced_where_it_comes_as_rarely_as_anywhere() -> None:
    event_ids = np.array([3] * 98 + [4] * 2)
    usual = UsualSurprise.fit(np.full(100, 0.1), event_ids, n_events=6)
    anywhere = float(-np.log(2.5 / 103))
    assert usual.misplacement(np.array([anywhere]), np.array([4]))[0] == pytest.approx(0.0)
    assert usual.misplacement(np.array([anywhere]), np.array([3]))[0] > 3.0


def test_an_event_that_was_never_seen_is_the_most_surprising_of_all_anywhere() -> None:
    usual = UsualSurprise.fit(np.zeros(5), np.array([3, 3, 3, 4, 4]), n_events=6)
    assert np.isfinite(usual.by_event).all()
    assert usual.by_event[5] == usual.by_event.max() > usual.by_event[4] > usual.by_event[3]


def test_what_an_event_may_have_is_mean_and_standard_deviation() -> None:
    usual = UsualSurprise.fit(np.array([1.0, 3.0]), np.array([3, 3]), n_events=4)
    assert usual.drift == pytest.approx(3.0)
    assert usual.misplacement_drift == pytest.approx(3.0 - usual.by_event[3])


# --- Surprise that is rare among sessions -------------------------------------------------------------------

some_sessions = st.lists(
    st.lists(st.tuples(st.integers(2, 5), st.integers(0, 12).map(lambda i: i / 2)), min_size=1, max_size=8),
    min_size=30,
    max_size=60,
)


@given(some_sessions)
@settings(max_examples=40)
def test_rare_surprise_is_that_of_comparing_every_session_with_every_other(
    sessions: list[list[tuple[int, float]]],
) -> None:
    values, starts = laid_out([[surprise for _, surprise in session] for session in sessions])
    event_ids = np.array([event for session in sessions for event, _ in session])
    found = rare_surprise(values, event_ids, starts, n_events=6)
    assert found.tolist() == pytest.approx(naive_rare_surprise(sessions))


def test_an_event_that_often_surprises_says_less_than_one_that_never_does() -> None:
    rng = np.random.default_rng(0)
    starts, event_ids = np.arange(0, 2001, 2), np.tile([3, 4], 1000)
    surprise = np.where(event_ids == 3, rng.uniform(0, 6, 2000), rng.uniform(0, 0.2, 2000))
    surprise[0], surprise[3] = 5.9, 5.9  # session 0 by the event that often does, session 1 by the other
    rare = rare_surprise(surprise, event_ids, starts, n_events=5)
    assert rare[1] > rare[0]
    assert rare[1] == rare.max()
