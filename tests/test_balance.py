"""Events that come equally often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhanced_deeplog.detection import GIVEN_AS_NORMAL, calibrate
from enhanced_deeplog.learning import balance
from enhanced_deeplog.learning.balance import BalancedPairs
from naive import naive_imbalance
from test_detection import as_scored

small_counts = st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=25, max_size=40)


@given(small_counts, st.lists(st.booleans(), min_size=40, max_size=40), small_counts)
def test_imbalance_is_the_rarity_of_the_rarest_broken_pair(
    normal: list[list[int]], is_open: list[bool], judged: list[list[int]]
) -> None:
    has_end = ~np.array(is_open[: len(normal)])
    balanced, own = BalancedPairs.fit(np.array(normal, dtype=np.float64), has_end)
    whole = [row for row, later in zip(normal, is_open, strict=False) if not later]
    found = balanced.imbalance(np.array(judged, dtype=np.float64), np.ones(len(judged), dtype=np.bool_))
    assert found.tolist() == pytest.approx([naive_imbalance(row, whole) for row in judged])
    for i, row in enumerate(normal):
        others = whole.copy()
        if not is_open[i]:
            others.remove(row)
        expected = 0.0 if is_open[i] else naive_imbalance(row, others, chosen_by=whole)
        assert own[i] == pytest.approx(expected)


def test_an_open_session_may_still_get_what_it_lacks() -> None:
    balanced = BalancedPairs.of(np.tile([1.0, 1.0], (50, 1)), np.ones(50, dtype=np.bool_))
    assert balanced.imbalance(np.array([[1.0, 0.0]] * 2), np.array([False, True])).round(1).tolist() == [0.0, 4.0]


def test_of_many_partners_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "_MOST_PARTNERS", 1)
    counts = np.repeat(np.arange(1.0, 41.0)[:, None], 6, axis=1)
    balanced = BalancedPairs.of(counts, np.ones(40, dtype=np.bool_))
    assert len(balanced.pairs) < 15
    for missing in range(6):
        odd = np.full((1, 6), 3.0)
        odd[0, missing] = 2.0
        assert balanced.imbalance(odd, np.ones(1, dtype=np.bool_))[0] > 3.0


def test_comparing_in_small_steps_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).integers(0, 2, (60, 5)).astype(np.float64)
    counts[:, 1] = counts[:, 0]
    balanced = BalancedPairs.of(counts, np.ones(60, dtype=np.bool_))
    odd = np.random.default_rng(1).integers(0, 2, (60, 5)).astype(np.float64)
    whole = np.ones(60, dtype=np.bool_)
    at_once = balanced.imbalance(odd, whole)
    monkeypatch.setattr(balance, "_CELLS", 1)
    assert at_once.any()
    assert (balanced.imbalance(odd, whole) == at_once).all()


def test_a_step_left_out_is_found_where_all_else_varies() -> None:
    rng = np.random.default_rng(0)

    def session(*, closes: bool) -> list[int]:
        n_reads, n_writes, n_retries = rng.integers(0, 30, 3)
        opened = [3, *[4] * n_reads, *[5] * n_writes, *[6] * n_retries]
        return [*opened, 2, 2] if closes else [*opened, 2]

    calibration = calibrate(as_scored([session(closes=True) for _ in range(1_500)]), GIVEN_AS_NORMAL, seed=0)
    alarms = [
        (scores > thresholds).mean()
        for closes in (True, False)
        for _, scores, thresholds in [
            calibration.judge(as_scored([session(closes=closes) for _ in range(300)]), alarm_rate=0.001)
        ]
    ]
    assert alarms[0] <= 0.01
    assert alarms[1] == 1.0
