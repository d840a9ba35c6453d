"""What is usual of normal sessions, from the arrays of a bundle: the inverse of what `parts_of` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.checked_values import array_of, expect, number_of
from enhanced_deeplog.events import FIRST_TEMPLATE, PADDING
from enhanced_deeplog.learning.balance import LEAST_HAVING, BalancedPairs
from enhanced_deeplog.learning.known_counts import KnownCounts
from enhanced_deeplog.learning.pauses import LEAST_PAUSES, UsualPauses
from enhanced_deeplog.learning.upper_tail import LEAST_SCALE, N_LARGEST, UsualMost
from enhanced_deeplog.learning.usual_sequences import UsualSequences
from enhanced_deeplog.learning.values import LEAST_VALUES, MOST_FEW, MOST_SIGNED, RESOLUTIONS, UsualValues
from enhanced_deeplog.logs.numbers import MOST_NUMBERS

__all__ = [
    "balanced_pairs_of",
    "known_counts_of",
    "usual_most_of",
    "usual_pauses_of",
    "usual_sequences_of",
    "usual_values_of",
]

Arrays = Mapping[str, npt.NDArray[Any]]

_MOST_COUNTED = 2**53  # above it, float64 has not every whole number


def usual_sequences_of(statistics: Arrays, n_events: int) -> UsualSequences:
    if "usual_sequences" not in statistics:  # a bundle of an earlier version
        none = np.zeros(0, dtype=np.int64)
        return UsualSequences(none, np.zeros(1, dtype=np.int64), none)
    event_ids = array_of(statistics, "usual_sequences", (None,), np.int64)
    expect(bool(((event_ids > PADDING) & (event_ids < n_events)).all()), "usual_sequences", "event ids", event_ids)
    n_alike = array_of(statistics, "usual_sequences.n_alike", (None,), np.int64)
    starts = array_of(statistics, "usual_sequences.starts", (len(n_alike) + 1,), np.int64)
    good = starts[0] == 0 and starts[-1] == len(event_ids) and bool((np.diff(starts) > 0).all())
    expect(good, "usual_sequences.starts", f"ascending from 0 to {len(event_ids)}", starts)
    return UsualSequences(event_ids, starts, n_alike)


def usual_pauses_of(score: Mapping[str, Any], statistics: Arrays, n_events: int) -> UsualPauses:
    steps = array_of(statistics, "pauses.steps", (None, 2), np.int64)
    in_order = bool((np.diff(steps[:, 0] * n_events + steps[:, 1]) > 0).all())
    expect(bool(((steps >= 0) & (steps < n_events)).all()) and in_order, "pauses.steps", "ascending event ids", steps)
    expect(not len(steps) or not steps[0].any(), "pauses.steps", "of any step first", steps)
    n_pauses = array_of(statistics, "pauses.n_pauses", (len(steps),), np.int64)
    expect(bool((n_pauses >= LEAST_PAUSES).all()), "pauses.n_pauses", f"{LEAST_PAUSES} at least", n_pauses)
    longest, rarity = (
        array_of(statistics, f"pauses.{name}", (len(steps), N_LARGEST)) for name in ("longest", "rarity")
    )
    for name, values in (("longest", longest), ("rarity", rarity)):
        expect(bool((np.diff(values, axis=1) >= 0).all()), f"pauses.{name}", "ascending", values)
    scale = array_of(statistics, "pauses.scale", (len(steps),))
    expect(bool((scale > 0).all()), "pauses.scale", "above 0", scale)
    resolution_s = number_of(score["timing"], "resolution_s", least=0.0)
    return UsualPauses(resolution_s, steps, n_pauses, longest, rarity, scale)


def usual_most_of(score: Mapping[str, Any], of: str) -> UsualMost:
    return UsualMost(number_of(score[of], "drift"), number_of(score[of], "most"))


def usual_values_of(statistics: Arrays, n_events: int) -> UsualValues:
    places = array_of(statistics, "values.places", (None, 3), np.int64)
    most = np.array([n_events, MOST_NUMBERS + 1, MOST_NUMBERS])
    codes = (places[:, 0] * most[1] + places[:, 1]) * most[2] + places[:, 2]
    least = np.array([FIRST_TEMPLATE, 1, 0])
    good = bool(((places >= least) & (places < most)).all() and (np.diff(codes) > 0).all())
    expect(good, "values.places", "ascending, of event ids", places)
    expect(bool((places[:, 2] < places[:, 1]).all()), "values.places", "of numbers that a record has", places)
    n_few = array_of(statistics, "values.n_few", (len(places),), np.int64)
    expect(bool(((n_few >= 0) & (n_few <= MOST_FEW)).all()), "values.n_few", f"from 0 to {MOST_FEW}", n_few)
    few = array_of(statistics, "values.few", (int(n_few.sum()),))
    ascend = all(bool((np.diff(values) > 0).all()) for values in np.split(few, np.cumsum(n_few)[:-1]))
    expect(ascend, "values.few", "ascending at each place", few)
    n_seen = array_of(statistics, "values.n_seen", (len(few),), np.int64)
    expect(bool(((n_seen > 0) & (n_seen < _MOST_COUNTED)).all()), "values.n_seen", "from 1 and below 2**53", n_seen)
    n_ranges = int((n_few == 0).sum())
    n_values = array_of(statistics, "values.n_values", (n_ranges,), np.int64)
    good = bool(((n_values >= LEAST_VALUES) & (n_values < _MOST_COUNTED)).all())
    expect(good, "values.n_values", f"from {LEAST_VALUES} and below 2**53", n_values)
    resolution = array_of(statistics, "values.resolution", (n_ranges,))
    good = bool(((resolution >= RESOLUTIONS[0]) & (resolution <= RESOLUTIONS[1])).all())
    expect(good, "values.resolution", f"from {RESOLUTIONS[0]:.0e} to {RESOLUTIONS[1]:.0e}", resolution)
    largest, rarity = (
        array_of(statistics, f"values.{name}", (n_ranges, 2, N_LARGEST)) for name in ("largest", "rarity")
    )
    for name, of_ranges in (("largest", largest), ("rarity", rarity)):
        expect(bool((np.diff(of_ranges, axis=2) >= 0).all()), f"values.{name}", "ascending", of_ranges)
    expect(bool((np.abs(largest) <= MOST_SIGNED).all()), "values.largest", "logarithms of numbers", largest)
    rarest = np.log(n_values)[:, None, None]
    good = bool(((rarity >= 0) & (rarity <= rarest)).all())
    expect(good, "values.rarity", "from 0 to the logarithm of values.n_values", rarity)
    scale = array_of(statistics, "values.scale", (n_ranges, 2))
    expect(bool((scale >= LEAST_SCALE).all()), "values.scale", f"{LEAST_SCALE} at least", scale)
    parts = {name.removeprefix("values."): array for name, array in statistics.items() if name.startswith("values.")}
    return UsualValues.from_parts(parts)


def known_counts_of(score: Mapping[str, Any], statistics: Arrays, n_events: int) -> KnownCounts:
    n_alike = int(number_of(score, "n_alike", least=1))
    whole, some = (array_of(statistics, f"known_{name}", (None, n_events)) for name in ("whole", "any"))
    expect(len(whole) > 0 and len(some) > 0, "known_whole and known_any", "of one session at least", 0)
    n_whole = array_of(statistics, "n_known_whole", (len(whole),), np.int64)
    n_any = array_of(statistics, "n_known_any", (len(some),), np.int64)
    expect(bool((n_whole > 0).all() and (n_any > 0).all()), "n_known_whole and n_known_any", "above 0", 0)
    return KnownCounts(whole, n_whole, some, n_any, array_of(statistics, "known_scale", (n_events,)), n_alike)


def balanced_pairs_of(statistics: Arrays, n_events: int) -> BalancedPairs:
    if "balanced.pairs" not in statistics:  # a bundle of an earlier version
        none = np.zeros(0, dtype=np.int64)
        return BalancedPairs(np.zeros((0, 2), dtype=np.int64), none, none)
    pairs = array_of(statistics, "balanced.pairs", (None, 2), np.int64)
    good = bool(((pairs >= 0) & (pairs < n_events)).all())
    expect(good, "balanced.pairs", f"events from 0 to {n_events - 1}", pairs)
    n_having, n_unequal = (
        array_of(statistics, f"balanced.{n}", (len(pairs),), np.int64) for n in ("n_having", "n_unequal")
    )
    good = bool(((n_having >= LEAST_HAVING) & (n_unequal >= 0) & (n_unequal <= n_having)).all())
    expect(good, "balanced.n_having", f"{LEAST_HAVING} at least, balanced.n_unequal from 0 to it", n_having)
    return BalancedPairs(pairs, n_having, n_unequal)
