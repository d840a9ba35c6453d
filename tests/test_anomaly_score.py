"""How odd a session is, compared to all pairs of sessions and to all stretches of a session."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog.learning import anomaly_score
from enhanced_deeplog.learning.anomaly_score import (
    EVIDENCE,
    KnownCounts,
    SessionScore,
    accumulated_surprise,
    count_events,
    per_session_max,
)
from enhanced_deeplog.learning.calibration import most_expected
from naive import naive_accumulated_surprise, naive_novelty

surprises = st.lists(st.lists(st.integers(0, 12).map(lambda i: i / 2), min_size=1, max_size=12), min_size=1, max_size=8)
counted_sessions = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.booleans()), min_size=1, max_size=12
)


def laid_out(sessions: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *map(len, sessions)]).astype(np.int64)
    return np.concatenate([np.array(s, dtype=np.float64) for s in sessions]), starts


# --- Surprise that accumulates ------------------------------------------------------------------------------


@given(surprises, st.sampled_from([0.0, 0.5, 1.0, 2.5]))
@settings(deadline=None)
def test_accumulated_surprise_is_that_of_the_best_of_all_stretches(sessions: list[list[float]], drift: float) -> None:
    values, starts = laid_out(sessions)
    expected = [naive_accumulated_surprise(session, drift) for session in sessions]
    assert accumulated_surprise(values, starts, drift).tolist() == pytest.approx(expected)


def test_five_weak_surprises_in_a_row_count_more_than_one_or_than_five_apart() -> None:
    in_a_row, one, apart = [0.0] * 5 + [2.0] * 5 + [0.0] * 5, [2.0] + [0.0] * 14, [2.0, 0.0, 0.0] * 5
    values, starts = laid_out([in_a_row, one, apart])
    assert accumulated_surprise(values, starts, drift=1.0).tolist() == [5.0, 1.0, 1.0]


@given(surprises)
def test_the_largest_surprise_is_that_of_the_session_alone(sessions: list[list[float]]) -> None:
    assert per_session_max(*laid_out(sessions)).tolist() == [max(session) for session in sessions]


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=6))
def test_counts_are_those_of_each_session(sessions: list[list[int]]) -> None:
    values, starts = laid_out([[float(e) for e in s] for s in sessions])
    expected = [[session.count(event) for event in range(6)] for session in sessions]
    assert count_events(values.astype(np.int64), starts, 6).tolist() == expected


# --- Novelty of counts --------------------------------------------------------------------------------------


@given(counted_sessions, counted_sessions)
@settings(deadline=None)
def test_novelty_is_the_distance_to_the_nearest_known_session(
    normal: list[tuple[list[int], bool]], judged: list[tuple[list[int], bool]]
) -> None:
    known, _ = fit(normal)
    counts, is_open = as_arrays(judged)
    if all(opened for _, opened in normal):  # no session was seen whole: those that were seen must do
        normal = [(c, False) for c, _ in normal]
    expected = [naive_novelty(c, opened, normal, known.scale.tolist()) for c, opened in judged]
    assert known.novelty(counts, is_open).tolist() == pytest.approx(expected)


@given(counted_sessions)
@settings(deadline=None)
def test_in_fit_each_session_is_judged_by_all_the_others(normal: list[tuple[list[int], bool]]) -> None:
    known, novelty = fit(normal)
    expected = [
        naive_novelty(c, opened, normal[:i] + normal[i + 1 :], known.scale.tolist())
        for i, (c, opened) in enumerate(normal)
    ]
    assert novelty.tolist() == pytest.approx(expected)


@given(counted_sessions, st.lists(st.integers(0, 3), min_size=3, max_size=3), st.booleans())
def test_what_a_session_has_too_much_or_too_little_of_adds_up_to_its_novelty(
    normal: list[tuple[list[int], bool]], counts: list[int], is_open: bool
) -> None:
    known, _ = fit(normal)
    excess = known.excess(np.array(counts, dtype=np.float64), is_open)
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


def test_a_count_that_never_varied_weighs_more_than_one_that_did() -> None:
    known, _ = fit([([i % 4, 2, 1], False) for i in range(40)])
    counts, is_open = as_arrays([([5, 2, 1], False), ([3, 4, 1], False)])
    varied, never_varied = known.novelty(counts, is_open)
    assert never_varied == pytest.approx(20.0)
    assert varied < 2.0


def test_of_too_many_known_counts_the_most_frequent_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomaly_score, "_MAX_KNOWN", 3)
    known, novelty = fit([([i, 0, 0], False) for i in (0, 1, 1, 5, 5, 7, 8, 8)])
    assert known.whole[:, 0].tolist() == [1, 5, 8]
    assert novelty[[1, 2, 3, 4, 6, 7]].tolist() == [0.0] * 6


def test_comparing_in_small_steps_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts, is_open = rng.integers(0, 4, (40, 5)).astype(np.float64), rng.random(40) < 0.3
    at_once = KnownCounts.fit(counts, is_open, seed=0)[1]
    monkeypatch.setattr(anomaly_score, "_CELLS", 1)
    assert KnownCounts.fit(counts, is_open, seed=0)[1].tolist() == at_once.tolist()


def fit(sessions: list[tuple[list[int], bool]]) -> tuple[KnownCounts, np.ndarray]:
    return KnownCounts.fit(*as_arrays(sessions), seed=0)


def as_arrays(sessions: list[tuple[list[int], bool]]) -> tuple[np.ndarray, np.ndarray]:
    counts, is_open = zip(*sessions, strict=True)
    return np.array(counts, dtype=np.float64), np.array(is_open)


# --- From evidence to one score -----------------------------------------------------------------------------


def exponential(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {kind: rng.exponential(scale, n) for kind, scale in zip(EVIDENCE, (1.0, 2.0, 5.0, 0.3), strict=True)}


def test_a_score_is_how_rare_a_session_is_among_normal_ones() -> None:
    score = SessionScore.fit(exponential(5000, seed=0))
    fresh = score.score(exponential(200_000, seed=1))
    for one_in in (10, 100, 1000):
        assert (fresh >= np.log(one_in)).mean() * one_in == pytest.approx(1.0, rel=0.3)


def test_one_kind_of_evidence_is_enough_to_make_a_session_odd() -> None:
    score = SessionScore.fit(exponential(2000, seed=0))
    usual = dict.fromkeys(EVIDENCE, 0.5)
    for i, kind in enumerate(EVIDENCE):
        evidence = {k: np.array([v]) for k, v in {**usual, kind: 100.0}.items()}
        assert score.score(evidence)[0] > score.threshold(0.0005)
        assert score.rarities(evidence)[0].argmax() == i


@given(st.integers(20, 3000), st.sampled_from([0.0005, 0.005, 0.05]), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_no_more_normal_sessions_pass_the_threshold_than_chance_explains(
    n_normal: int, alarm_rate: float, seed: int
) -> None:
    """Even where the tail is nothing like the one that is extrapolated."""
    heavy = {kind: values**3 for kind, values in exponential(n_normal, seed).items()}
    score = SessionScore.fit(heavy)
    threshold = score.threshold(alarm_rate)
    assert threshold >= -np.log(alarm_rate)
    assert (score.score(heavy) > threshold).sum() <= most_expected(n_normal * alarm_rate)


def test_a_score_survives_being_saved() -> None:
    score = SessionScore.fit(exponential(300, seed=0))
    again = SessionScore.from_json(score.to_json())
    fresh = exponential(500, seed=1)
    assert again.score(fresh).tolist() == score.score(fresh).tolist()
    assert again.threshold(0.01) == score.threshold(0.01)


def test_a_contaminated_log_still_shows_its_anomalies() -> None:
    evidence = exponential(2000, seed=0)
    odd = {kind: np.concatenate([values, np.full(200, 60.0)]) for kind, values in evidence.items()}
    trusting = SessionScore.fit(odd)
    wary = SessionScore.fit(odd, clean_share=0.85)
    one = {kind: np.array([60.0]) for kind in EVIDENCE}
    assert trusting.score(one)[0] < np.log(100)
    assert wary.score(one)[0] > np.log(1000)
