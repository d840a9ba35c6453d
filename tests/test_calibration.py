"""Scores that mean something: rarities beyond what was seen, probabilities that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from enhanced_deeplog.learning.calibration import (
    N_QUANTILES,
    CleanPart,
    Tail,
    expected_calibration_error,
    fit_temperature,
    most_expected,
)
from enhanced_deeplog.learning.scoring import softmax

some_values = st.lists(st.floats(0, 50), min_size=20, max_size=200).map(np.array)


# --- Tails --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean_share", [1.0, 0.9])
def test_what_all_sessions_reach_is_not_rare_nor_what_is_hardly_more(clean_share: float) -> None:
    alike = np.full(120, 0.31)
    for tail in (
        Tail.fit(alike, least_scale=0.5),
        Tail.fit_contaminated(alike, CleanPart(clean_share, 0.8, 0.95), least_scale=0.5),
    ):
        assert tail.rarity(np.array([0.31, 0.33])).tolist() == pytest.approx([0.0, 0.4])


@given(some_values, st.sampled_from([1.0, 0.85]))
def test_a_larger_value_is_never_less_rare(values: np.ndarray, clean_share: float) -> None:
    for tail in (
        Tail.fit(values, least_scale=0.5),
        Tail.fit_contaminated(values, CleanPart(clean_share, 0.8, 0.95), least_scale=0.5),
    ):
        rarity = tail.rarity(np.sort(np.concatenate([values, np.linspace(-1, 100, 300)])))
        assert (np.diff(rarity) >= -1e-9).all()
        assert (rarity >= 0).all()
        assert np.isfinite(rarity).all()


def test_rarity_below_the_tail_is_counted() -> None:
    values = np.random.default_rng(0).permutation(1000).astype(np.float64)
    tail = Tail.fit(values, least_scale=0.5)
    for share in (0.5, 0.1, 0.02):
        assert tail.rarity(np.array([1000 * (1 - share)]))[0] == pytest.approx(-np.log(share), abs=0.25)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_rarity_goes_on_beyond_the_largest_value_seen(scale: float) -> None:
    values = np.random.default_rng(1).exponential(scale, 20_000)
    tail = Tail.fit(values, least_scale=0.5)
    for rarity in (8.0, 12.0, 20.0):  # one in 3,000, in 160,000, in 500 million
        assert tail.rarity(np.array([rarity * scale]))[0] == pytest.approx(rarity, rel=0.15)


def test_a_few_sessions_unlike_all_others_do_not_hide_what_is_rare() -> None:
    values = np.random.default_rng(2).exponential(1.0, 5000)
    spoilt = np.concatenate([values, np.full(4, 1000.0)])
    clean, trimmed = (Tail.fit(v, least_scale=0.1) for v in (values, spoilt))
    assert trimmed.scale == pytest.approx(clean.scale, rel=0.35)


def test_the_tail_of_presumed_normal_sessions_does_not_follow_from_what_may_be_abnormal() -> None:
    values = np.random.default_rng(3).exponential(2.0, 5000)
    for n_abnormal, clean in ((500, CleanPart(0.9, 0.8, 0.95)), (25, CleanPart(1.0, 0.9, 0.98))):
        spoilt = np.concatenate([values, np.full(n_abnormal, 1000.0)])
        tail = Tail.fit_contaminated(spoilt, clean, least_scale=0.1)
        assert tail.scale == pytest.approx(2.0, rel=0.3)
        assert np.isclose(tail.rarity(np.array([20.0]))[0], 10.0, rtol=0.3)


@given(st.integers(20, 400))
def test_differences_that_mean_nothing_make_nothing_rare(n: int) -> None:
    tail = Tail.fit(np.full(n, 3.0), least_scale=0.5)
    assert tail.scale == 0.5
    assert tail.rarity(np.array([3.0, 3.5]))[0] == 0.0
    assert tail.rarity(np.array([3.5]))[0] < -np.log(0.0005)


def test_more_sessions_tell_a_rarity_more_closely() -> None:
    rng = np.random.default_rng(4)
    widths = []
    for n in (200, 2000, 20_000):
        low, high = Tail.fit(rng.exponential(1.0, n), least_scale=0.1).interval(7.6)
        assert low < np.exp(-7.6) < high
        widths.append(np.log(high / low))
    assert widths == sorted(widths, reverse=True)


def test_the_interval_holds_the_true_share_almost_always() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        tail = Tail.fit(rng.exponential(1.0, 2000), least_scale=0.01)
        rarity = float(tail.rarity(np.array([8.0]))[0])
        low, high = tail.interval(rarity)
        hits += low <= np.exp(-8.0) <= high
    assert hits >= 180


def test_a_tail_survives_being_saved() -> None:
    tail = Tail.fit(np.random.default_rng(6).exponential(1.0, 300), least_scale=0.5)
    again = Tail.from_json(tail.to_json())
    assert again.quantiles.shape == (N_QUANTILES,)
    values = np.linspace(0, 30, 100)
    assert again.rarity(values).tolist() == tail.rarity(values).tolist()


# --- What chance explains -----------------------------------------------------------------------------------


@given(st.floats(1e-3, 400), st.sampled_from([0.5, 0.9, 0.975]))
def test_how_many_may_well_happen_is_the_quantile_of_the_poisson_distribution(mean: float, confidence: float) -> None:
    assert most_expected(mean, confidence) == poisson.ppf(confidence, mean)


def test_how_many_may_well_happen_is_told_of_millions_of_sessions() -> None:
    for mean in (744.0, 746.0, 5000.0, 1e6):
        assert most_expected(mean) == poisson.ppf(0.975, mean)


# --- Probabilities ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_classes_is_found(temperature: float) -> None:
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 4, (6000, 4))
    chances = softmax(logits, temperature)
    classes = (chances.cumsum(axis=1) < rng.random((6000, 1))).sum(axis=1)
    assert fit_temperature(logits, classes) == pytest.approx(temperature, rel=0.1)


def test_a_fitted_temperature_calibrates() -> None:
    rng = np.random.default_rng(8)
    logits = rng.normal(0, 1, (4000, 3))
    classes = (softmax(logits).cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    too_sure = 5.0 * logits
    errors = []
    for temperature in (1.0, fit_temperature(too_sure[:2000], classes[:2000])):
        chances = softmax(too_sure[2000:], temperature)
        right = chances.argmax(axis=1) == classes[2000:]
        errors.append(expected_calibration_error(chances.max(axis=1), right))
    assert errors[1] < 0.05 < 0.2 < errors[0]


def test_the_calibration_error_is_the_mean_gap_over_bins_of_equal_mass() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.6])
    right = np.array([True, True, True, False, True, False, False, False])
    assert expected_calibration_error(confidence, right, 2) == pytest.approx((0.15 + 0.35) / 2)
    assert expected_calibration_error(np.ones(5), np.ones(5, dtype=bool)) == 0.0
