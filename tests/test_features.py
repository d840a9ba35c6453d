"""What a session looks like to clustering and classifier: each block by hand on two small sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog.config import Block
from enhanced_deeplog.learning.features import (
    FeatureSpace,
    ScoredSessions,
    lateness_profile,
    oddness_profile,
    surprise_profile,
)
from enhanced_deeplog.learning.known_counts import KnownCounts
from enhanced_deeplog.learning.upper_tail import UsualMost
from enhanced_deeplog.learning.values import HANDICAP

BLOCKS: tuple[Block, ...] = get_args(Block)
DRIFT = 1.0
NORMAL_STATE = np.array([1.0, 0.0])

# The first has ended (its last event is END), the second is open; event 5 was never seen.
TWO = ScoredSessions(
    event_ids=np.array([3, 4, 4, 5, 2, 3, 5]),
    starts=np.array([0, 5, 7]),
    surprise=np.array([0.5, 1.5, 0.5, 4.0, 3.0, 0.5, 0.75]),
    rank=np.array([1, 2, 1, 6, 4, 1, 1]),
    unseen=np.array([False, False, False, True, False, False, True]),
    hidden_state=np.array([[1.0, 0.0], [4.0, 4.0], [0.0, -1.0]], dtype=np.float32),
    pair=np.array([0, 0, 0, 1, 0, 0, 2]),
    is_open=np.array([False, True]),
    keyed=np.array([True, False]),
    n_events=6,
    by_size={3: np.array([0.5, 0.5, 0.5, 0.5, 2.0, 3.0, 0.0])},
)


def space_of(scored: ScoredSessions, blocks: tuple[Block, ...] = BLOCKS) -> FeatureSpace:
    normal = np.array([[0, 0, 1, 1, 2, 0], [0, 0, 0, 1, 0, 0]], dtype=np.float64)
    known = KnownCounts(
        normal[:1], np.array([1]), normal, np.array([1, 1]), np.array([1.0, 1.0, 1.0, 1.0, 2.0, 10.0]), 1
    )
    return FeatureSpace.fit(scored, blocks, known=known, drift=DRIFT, normal_state=NORMAL_STATE)


def raw(block: Block, scored: ScoredSessions = TWO) -> list[list[float]]:
    return space_of(TWO)._raw(block, scored).tolist()


def unit(*values: float) -> list[float]:
    return (np.array(values) / np.linalg.norm(values)).tolist()


# --- Each block ---------------------------------------------------------------------------------------------


def test_the_surprise_profile_says_which_events_surprised_and_pools_the_unseen_ones() -> None:
    first, second = surprise_profile(TWO, DRIFT).tolist()
    assert np.square(first) == pytest.approx(np.array([0, 0, 2.0, 0, 0.5, 3.0, 3.0]) / 8.5)
    assert second == [0.0] * 7  # nothing surprised


def test_the_count_deviation_says_which_events_are_too_many_or_too_few() -> None:
    first, second = raw("count_deviation")
    assert first == pytest.approx([0, 0, 0, 0, 0, 1.0])  # one unseen event more than the nearest session
    assert second == pytest.approx([0, 0, 0, 0, 0, 1.0])  # it is open: what it lacks may still come
    ended = replace(TWO, is_open=np.array([False, False]))
    end, few, many = np.log1p(1.0), np.log1p(2 * 2.0), np.log1p(10.0)
    assert raw("count_deviation", ended)[1] == pytest.approx(unit(0, 0, -end, 0, -few, many))


def test_the_deviation_is_shares_repetition_and_early_end() -> None:
    first, second = raw("deviation")
    assert first == pytest.approx([3 / 5, 1 / 5, np.log(2), 0.5])  # 4 comes twice; END surprised by 3 of 6 nats
    assert second == pytest.approx([0.0, 1 / 2, 0.0, 0.0])


def test_the_statistics_are_length_distinct_events_diversity_and_where_the_deviation_begins() -> None:
    first, second = raw("statistics")
    entropy = -(3 * 0.2 * np.log(0.2) + 0.4 * np.log(0.4))
    assert first == pytest.approx([np.log(5), 4 / 5, entropy, 1 / 5])
    assert second == pytest.approx([np.log(2), 1.0, np.log(2), 1.0])  # it never begins


def test_event_counts_are_logarithms() -> None:
    assert raw("event_counts")[0] == pytest.approx(np.log1p([0, 0, 1, 1, 2, 1]).tolist())


def test_transitions_are_shares_of_the_pairs_of_a_session() -> None:
    space = space_of(TWO)
    pairs = [tuple(pair) for pair in space.transitions.tolist()]
    assert sorted(pairs) == [
        (3, 4),
        (3, 5),
        (4, 4),
        (4, 5),
        (5, 2),
    ]  # END and the next session's 3 are no pair
    first, second = (dict(zip(pairs, row, strict=True)) for row in raw("transitions"))
    assert first == {(3, 4): 0.25, (4, 4): 0.25, (4, 5): 0.25, (5, 2): 0.25, (3, 5): 0.0}
    assert second == {(3, 4): 0.0, (4, 4): 0.0, (4, 5): 0.0, (5, 2): 0.0, (3, 5): 1.0}


def test_the_hidden_state_is_that_at_the_most_surprising_event() -> None:
    assert TWO.most_surprising.tolist() == [3, 6]
    assert raw("hidden_state") == [[4.0, 4.0], [0.0, -1.0]]


def test_of_equally_surprising_events_the_first_counts() -> None:
    assert replace(TWO, surprise=np.zeros(7)).most_surprising.tolist() == [0, 5]


def test_the_perturbation_is_direction_and_strength_against_normal() -> None:
    first, second = raw("perturbation")
    assert first == pytest.approx([3 / 5, 4 / 5, 5.0])
    assert second == pytest.approx([-np.sqrt(0.5), -np.sqrt(0.5), np.sqrt(2)])


def test_an_unperturbed_state_has_no_direction() -> None:
    calm = replace(TWO, hidden_state=np.array([[1.0, 0.0]] * 3, dtype=np.float32))
    assert raw("perturbation", calm) == [[0.0, 0.0, 0.0]] * 2


def test_further_window_sizes_add_their_surprise_profiles() -> None:
    first, second = raw("window_sizes")
    assert first == [0.0, *(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)]
    assert second == [0.0, *(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)]


def test_single_events_make_no_transitions() -> None:
    single = TWO.take(np.array([0, 1]), np.array([1, 1]))
    space = space_of(single)
    assert space.transform(single, ("transitions",)).shape == (2, 0)
    assert space.transform(TWO, ("transitions",)).shape == (2, 0)


# --- Prefixes -----------------------------------------------------------------------------------------------


def test_a_prefix_is_an_open_session_of_its_own() -> None:
    prefixes = TWO.take(np.array([0, 0, 1]), np.array([2, 5, 1]))
    assert prefixes.event_ids.tolist() == [3, 4, 3, 4, 4, 5, 2, 3]
    assert prefixes.starts.tolist() == [0, 2, 7, 8]
    assert prefixes.is_open.tolist() == [True, False, True]
    assert prefixes.keyed.tolist() == [True, True, False]
    assert prefixes.by_size[3].tolist() == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 3.0]
    assert len(prefixes) == 3


def test_the_features_of_a_prefix_do_not_know_what_followed() -> None:
    space = space_of(TWO)
    prefix = TWO.take(np.array([0]), np.array([3]))
    changed = replace(TWO, event_ids=np.array([3, 4, 4, 3, 3, 3, 3]), surprise=np.full(7, 0.5))
    other = replace(changed, surprise=np.array([*TWO.surprise[:3], 9, 9, 9, 9]))
    same = other.take(np.array([0]), np.array([3]))
    assert space.transform(prefix, BLOCKS).tolist() == space.transform(same, BLOCKS).tolist()


def test_taking_sessions_is_the_same_as_never_having_had_the_others() -> None:
    space = space_of(TWO)
    both = space.transform(TWO, BLOCKS)
    for i in range(2):
        assert space.transform(TWO.take(np.array([i])), BLOCKS).tolist() == both[[i]].tolist()


def test_the_lateness_profile_says_which_events_came_late_beyond_what_is_usual() -> None:
    scored = replace(TWO, lateness=np.array([0.0, 9.0, 6.0, 2.0, 0.0, 5.0, 0.0]))
    usual = UsualMost(drift=2.0, most=5.0)
    first, second = lateness_profile(scored, usual).tolist()
    assert np.square(first) == pytest.approx([0, 0, 0, 0, 1.0, 0])  # both late events are event 4
    assert second == [0.0] * 6
    assert lateness_profile(TWO, usual).tolist() == lateness_profile(scored, None).tolist() == [[0.0] * 6] * 2


def test_the_oddness_profile_says_which_events_had_odd_numbers_beyond_what_is_usual() -> None:
    scored = replace(TWO, oddness=HANDICAP + np.array([0.0, 9.0, 6.0, 2.0, 0.0, 5.0, 0.0]))
    usual = UsualMost(drift=2.0, most=5.0)
    first, second = oddness_profile(scored, usual).tolist()
    assert np.square(first) == pytest.approx([0, 0, 0, 0, 1.0, 0])  # both odd numbers are of event 4
    assert second == [0.0] * 6
    assert oddness_profile(TWO, usual).tolist() == oddness_profile(scored, None).tolist() == [[0.0] * 6] * 2


# --- Weights ------------------------------------------------------------------------------------------------


def many(seed: int, n: int = 40) -> ScoredSessions:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 12, n)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    n_rows = int(starts[-1])
    return ScoredSessions(
        event_ids=rng.integers(2, 6, n_rows),
        starts=starts,
        surprise=rng.exponential(1.0, n_rows),
        rank=rng.integers(1, 7, n_rows),
        unseen=rng.random(n_rows) < 0.1,
        hidden_state=rng.normal(size=(n_rows, 2)).astype(np.float32),
        pair=np.arange(n_rows),
        is_open=rng.random(n) < 0.3,
        keyed=np.ones(n, dtype=np.bool_),
        n_events=6,
        by_size={3: rng.exponential(1.0, n_rows)},
    )


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_every_block_has_the_weight_it_is_given_however_many_columns_it_has(seed: int) -> None:
    scored = many(seed)
    space = space_of(scored)
    for block in BLOCKS:
        if block in (
            "timing",
            "values",
        ):  # of what most sessions have nothing of, the few that have must not weigh the more
            continue
        features = space.transform(scored, (block,))
        weight = {"count_deviation": 1.5, "statistics": 0.5}.get(block, 1.0)
        assert (features.astype(np.float64) ** 2).sum(axis=1).mean() == pytest.approx(weight**2, rel=1e-4)
        assert features.mean(axis=0) == pytest.approx(np.zeros(space.width((block,))), abs=1e-5)


def test_blocks_stand_side_by_side_in_the_order_asked_for() -> None:
    scored = many(0)
    space = space_of(scored)
    parts = [space.transform(scored, (block,)) for block in ("deviation", "event_counts")]
    assert space.transform(scored, ("deviation", "event_counts")).tolist() == np.hstack(parts).tolist()
    assert space.width(("deviation", "event_counts")) == 4 + 6


def test_sessions_that_are_all_alike_have_features_all_the_same() -> None:
    alike = TWO.take(np.array([0, 0, 0]))
    features = space_of(alike).transform(alike, BLOCKS)
    assert np.isfinite(features).all()
    assert (features == features[0]).all()
