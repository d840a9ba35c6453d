"""From evidence to one score that says how rare a session is among normal ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog.learning.anomaly_score import EVIDENCE, VALUES, SessionScore
from enhanced_deeplog.learning.calibration import CleanPart, most_expected


def exponential(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {kind: rng.exponential(scale, n) for kind, scale in zip(EVIDENCE, (1.0, 0.5, 2.0, 5.0, 0.3), strict=True)}


def test_a_score_is_how_rare_a_session_is_among_normal_ones() -> None:
    score = SessionScore.fit(exponential(5000, seed=0))
    fresh = score.score(exponential(200_000, seed=1))
    for one_in in (10, 100, 1000):
        assert (fresh >= np.log(one_in)).mean() * one_in == pytest.approx(1.0, rel=0.3)


def test_one_kind_of_evidence_is_enough_to_make_a_session_odd() -> None:
    score = SessionScore.fit(exponential(2000, seed=0))
    usual = dict.fromkeys(EVIDENCE, 0.5)
    for odd in EVIDENCE:
        evidence = {k: np.array([v]) for k, v in {**usual, odd: 100.0}.items()}
        assert score.score(evidence)[0] > score.threshold(0.0005)
        assert max(EVIDENCE, key=lambda kind: score.rarities(evidence)[kind][0]) == odd


def test_what_is_odd_in_content_and_in_order_is_odder_than_what_is_odd_in_either() -> None:
    normal = exponential(2000, seed=0)
    usual = dict.fromkeys(EVIDENCE, 0.1)
    in_content, in_order = {**usual, "counts": 7.0}, {**usual, "misplacement": 35.0}
    in_both = {**in_order, "counts": 7.0}
    one = [{kind: np.array([value]) for kind, value in of.items()} for of in (in_content, in_order, in_both)]
    content, order, both = (SessionScore.fit(normal, agreement=0.5).score(evidence)[0] for evidence in one)
    assert both > max(content, order) + 2.0
    content, order, both = (SessionScore.fit(normal).score(evidence)[0] for evidence in one)
    assert both == max(content, order)


def test_odd_numbers_add_few_false_alarms_and_speak_only_where_they_are_rarer_than_other_evidence_must_be() -> None:
    normal, fresh = exponential(5000, seed=0), exponential(100_000, seed=1)
    rng = np.random.default_rng(2)
    with_values = SessionScore.fit({**normal, VALUES: rng.exponential(1.0, 5000)})
    alone = SessionScore.fit(normal)
    numbered = {**fresh, VALUES: rng.exponential(1.0, 100_000)}
    unnumbered = {**fresh, VALUES: np.zeros(100_000)}
    # Alarms of the same score with and without what numbers add, and of a score that does not know them.
    alarms, others, of_alone = (
        int((score.score(evidence) > np.log(100)).sum())
        for score, evidence in ((with_values, numbered), (with_values, unnumbered), (alone, fresh))
    )
    assert 0 < alarms - others < 0.05 * others + 2.0 * np.sqrt(0.05 * others)
    assert alarms < 1.05 * of_alone + 2.0 * np.sqrt(of_alone)
    usual = {kind: np.full(2, 0.5) for kind in EVIDENCE}
    odd, odder = with_values.score({**usual, VALUES: np.array([7.5, 30.0])})
    assert odd < np.log(1000) < 20.0 < odder


def test_evidence_that_does_not_count_says_nothing() -> None:
    score = SessionScore.fit({kind: values for kind, values in exponential(500, seed=0).items() if kind != "surprise"})
    evidence = {**{kind: np.array([0.1]) for kind in EVIDENCE}, "surprise": np.array([1e6])}
    assert score.score(evidence)[0] < 1.0
    assert "surprise" not in SessionScore.from_json(score.to_json()).rarities(evidence)


@given(st.integers(20, 3000), st.sampled_from([0.0005, 0.005, 0.05]), st.integers(0, 5))
@settings(max_examples=40)
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
    score = SessionScore.fit(exponential(300, seed=0), agreement=0.5)
    again = SessionScore.from_json(score.to_json())
    fresh = exponential(500, seed=1)
    assert again.score(fresh).tolist() == score.score(fresh).tolist()
    assert again.threshold(0.01) == score.threshold(0.01)


def test_a_contaminated_log_still_shows_its_anomalies() -> None:
    evidence = exponential(2000, seed=0)
    odd = {kind: np.concatenate([values, np.full(200, 60.0)]) for kind, values in evidence.items()}
    trusting = SessionScore.fit(odd)
    wary = SessionScore.fit(odd, clean=CleanPart(0.85, 0.8, 0.95))
    one = {kind: np.array([60.0]) for kind in EVIDENCE}
    assert trusting.score(one)[0] < np.log(100)
    assert wary.score(one)[0] > np.log(1000)


def test_what_the_judging_network_says_of_its_own_sessions_raises_no_more_alarms_than_asked() -> None:
    score = SessionScore.fit({kind: np.full(300, 0.3) for kind in EVIDENCE})
    own = np.where(np.arange(300) < 120, 9.0, 0.1)  # it finds 120 of them odd, which other networks did not
    assert score.threshold(0.01) < 9.0
    assert not (own > score.raised_to(own).threshold(0.01)).any()
    assert score.raised_to(np.zeros(300)).threshold(0.01) == score.threshold(0.01)
