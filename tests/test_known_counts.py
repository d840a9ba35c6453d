"""How far the counts of a session are from known ones, compared to all pairs of sessions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhanced_deeplog.learning import known_counts
from enhanced_deeplog.learning.known_counts import KnownCounts, count_events
from naive import naive_novelty, naive_nth_nearest

counted_sessions = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.booleans()), min_size=1, max_size=12
)


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=6))
def test_counts_are_those_of_each_session(sessions: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, sessions)]).astype(np.int64)
    expected = [[session.count(event) for event in range(6)] for session in sessions]
    assert count_events(np.concatenate(sessions).astype(np.int64), starts, 6).tolist() == expected


# --- Novelty of counts --------------------------------------------------------------------------------------


@given(counted_sessions, counted_sessions, st.integers(1, 4))
def test_novelty_is_the_distance_within_which_enough_known_sessions_lie(
    normal: list[tuple[list[int], bool]], judged: list[tuple[list[int], bool]], n_alike: int
) -> None:
    known, _ = fit(normal, n_alike)
    counts, is_open = as_arrays(judged)
    if all(opened for _, opened in normal):  # no session was seen whole: those that were seen must do
        normal = [(c, False) for c, _ in normal]
    expected = [naive_novelty(c, opened, normal, known.scale.tolist(), n_alike) for c, opened in judged]
    assert known.novelty(counts, is_open).tolist() == pytest.approx(expected)


@given(counted_sessions, st.integers(1, 4))
def test_in_fit_each_session_is_judged_by_all_the_others(normal: list[tuple[list[int], bool]], n_alike: int) -> None:
    known, novelty = fit(normal, n_alike)
    expected = [
        naive_novelty(c, opened, normal[:i] + normal[i + 1 :], known.scale.tolist(), n_alike)
        for i, (c, opened) in enumerate(normal)
    ]
    assert novelty.tolist() == pytest.approx(expected)


@given(counted_sessions, st.lists(st.integers(0, 3), min_size=3, max_size=3), st.booleans(), st.integers(1, 4))
def test_what_a_session_has_too_much_or_too_little_of_adds_up_to_its_novelty(
    normal: list[tuple[list[int], bool]], counts: list[int], is_open: bool, n_alike: int
) -> None:
    known, _ = fit(normal, n_alike)
    (excess,) = known.excess(*as_arrays([(counts, is_open)]))
    novelty = known.novelty(*as_arrays([(counts, is_open)]))
    assert np.abs(excess).sum() == pytest.approx(novelty[0])
    assert not is_open or (excess >= 0).all()


def test_an_open_session_may_still_get_what_it_lacks() -> None:
    known, _ = fit([([2, 2, 1], False)] * 20)
    counts, is_open = as_arrays([([1, 1, 0], True), ([1, 1, 0], False), ([1, 3, 0], True)])
    prefix, cut_short, too_many = known.novelty(counts, is_open)
    assert prefix == 0.0
    assert cut_short > 0.0
    assert too_many > 0.0


def test_two_odd_sessions_do_not_make_each_other_known_where_a_few_may_be_abnormal() -> None:
    sessions = [([2, 2, 1], False)] * 20 + [([9, 2, 1], False)] * 2
    trusting, wary = (fit(sessions, n_alike)[1] for n_alike in (1, 5))
    assert trusting.tolist() == [0.0] * 22
    assert wary[:20].tolist() == [0.0] * 20
    assert (wary[20:] > 0.0).all()


def test_a_count_that_never_varied_weighs_more_than_one_that_did() -> None:
    known, _ = fit([([i % 4, 2, 1], False) for i in range(40)])
    counts, is_open = as_arrays([([5, 2, 1], False), ([3, 4, 1], False)])
    varied, never_varied = known.novelty(counts, is_open)
    assert never_varied == pytest.approx(20.0)
    assert varied < 2.0


def test_of_too_many_known_counts_the_most_frequent_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_counts, "_MAX_KNOWN", 3)
    known, novelty = fit([([i, 0, 0], False) for i in (0, 1, 1, 5, 5, 7, 8, 8)])
    assert known.whole[:, 0].tolist() == [1, 5, 8]
    assert novelty[[1, 2, 3, 4, 6, 7]].tolist() == [0.0] * 6


def test_where_only_some_counts_are_kept_fewer_of_them_must_be_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts, is_open = rng.integers(0, 9, (2000, 4)).astype(np.float64), np.zeros(2000, dtype=np.bool_)
    _, all_kept = KnownCounts.fit(counts, is_open, n_alike=20, seed=0)
    monkeypatch.setattr(known_counts, "_MAX_KNOWN", 200)
    known, some_kept = KnownCounts.fit(counts, is_open, n_alike=20, seed=0)
    assert known.n_alike < 10
    assert np.median(some_kept) == pytest.approx(np.median(all_kept), rel=0.2)


def test_comparing_in_small_steps_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts, is_open = rng.integers(0, 4, (40, 5)).astype(np.float64), rng.random(40) < 0.3
    at_once = KnownCounts.fit(counts, is_open, n_alike=2, seed=0)[1]
    monkeypatch.setattr(known_counts, "_CELLS", 1)
    assert KnownCounts.fit(counts, is_open, n_alike=2, seed=0)[1].tolist() == at_once.tolist()


def fit(sessions: list[tuple[list[int], bool]], n_alike: int = 1) -> tuple[KnownCounts, np.ndarray]:
    return KnownCounts.fit(*as_arrays(sessions), n_alike=n_alike, seed=0)


def as_arrays(sessions: list[tuple[list[int], bool]]) -> tuple[np.ndarray, np.ndarray]:
    counts, is_open = zip(*sessions, strict=True)
    return np.array(counts, dtype=np.float64), np.array(is_open)


neighbours = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=12)


@given(st.lists(st.tuples(neighbours, st.booleans()), min_size=1, max_size=4), st.integers(1, 9))
def test_the_nth_nearest_is_found_by_looking_at_few(
    rows: list[tuple[list[tuple[int, int]], bool]], n_alike: int
) -> None:
    n = min(len(near) for near, _ in rows)
    distance = np.array([[float(d) for d, _ in near[:n]] for near, _ in rows])
    # At most one doesn't count: the session itself.
    n_known = np.array([[0 if itself and i == 0 else k for i, (_, k) in enumerate(near[:n])] for near, itself in rows])
    found = known_counts.nth_nearest(distance, n_known, n_alike)
    expected = [naive_nth_nearest(d, k, n_alike) for d, k in zip(distance.tolist(), n_known.tolist(), strict=True)]
    assert found.tolist() == expected


@given(counted_sessions, st.lists(counted_sessions, min_size=1, max_size=4), st.integers(1, 3))
def test_novelty_that_is_remembered_is_the_same(
    normal: list[tuple[list[int], bool]], batches: list[list[tuple[list[int], bool]]], n_alike: int
) -> None:
    known, _ = fit(normal, n_alike)
    seen = known_counts.SeenCounts(known, most=3)
    for batch in batches:
        assert seen.novelty(*as_arrays(batch)).tolist() == known.novelty(*as_arrays(batch)).tolist()
