"""What numbers the lines of normal sessions carry, and how odd those of another session are.

A number has a place: the event of its record, how many numbers the record has, and which of them it is. Places that
hold a few values are told from those that hold a quantity; what says which one, not how much (a counter, a number of
an order), goes on to what was never seen, and is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.events import FIRST_TEMPLATE
from enhanced_deeplog.learning.calibration import most_expected
from enhanced_deeplog.learning.groups import groups_of
from enhanced_deeplog.learning.upper_tail import N_LARGEST, largest_of, rarity_of, tail_scale, usual_point

__all__ = ["HANDICAP", "LEAST_VALUES", "MOST_FEW", "FewValues", "Form", "UsualOddness", "UsualValues", "ValueRange"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

LEAST_VALUES = 100  # of a place that is judged
MOST_FEW = 20  # distinct values, at most, that are few...
_LEAST_SEEN = 5  # ...if each was seen so often
_SHOWN = 5  # of few values, the most frequent ones are shown
_ODD_SHARE = 0.05  # of the values, that are looked at to see whether a place changes with time
_LEAST_ODD = 5  # and the oddest of them, so many
_SLACK = 2.0  # values come in bursts, and what was learnt from half of them is not exact: twice as many may be odd
_NOTHING = 0.01  # of the power of ten below the smallest value seen
_LEAST = 1e-300  # what is less is 0
_DIGITS = 2  # of a logarithm: values that differ by a hundredth are one, and a bundle tells none of them exactly
# Of the many numbers of a session, some are rare by chance. They speak only where they are rarer, by so many nats, than
# all else must be: at any threshold, they add a twentieth to the false alarms.
HANDICAP = float(np.log(20.0))
_TWO_SIDES = float(np.log(2.0))


@dataclass(frozen=True)
class FewValues:
    """A place that holds one of a few values.

    Attributes:
        values: Ascending, float64 (L,).
        n_seen: How often each was seen, int64 (L,).
    """

    values: Float64s
    n_seen: Int64s

    @classmethod
    def fit(cls, numbers: Float64s) -> FewValues:
        """Learn them from the numbers of normal sessions, float64 (N,)."""
        values, n_seen = np.unique(numbers, return_counts=True)
        return cls(values, n_seen.astype(np.int64))

    def oddness(self, numbers: Float64s) -> Float64s:
        """How rare it is to see a value that was seen so rarely; a new one is the rarest, nats, float64 (N,)."""
        n_all = self.n_seen.sum()
        as_rare = self.n_seen[None, :] <= self.n_seen[:, None]  # (L, L)
        known = np.log(n_all / (as_rare * self.n_seen).sum(axis=1))
        place = np.minimum(np.searchsorted(self.values, numbers), len(self.values) - 1)
        return np.asarray(np.where(self.values[place] == numbers, known[place], np.log(n_all + 1.0)), dtype=np.float64)

    def usual(self) -> tuple[Float64s, float]:
        """The most frequent values, and what share of all they are."""
        most = np.argsort(-self.n_seen, kind="stable")[:_SHOWN]
        return self.values[most], float(self.n_seen[most].sum() / self.n_seen.sum())


@dataclass(frozen=True)
class ValueRange:
    """A place that holds a quantity: both ends of what it usually is, in a logarithm that keeps the sign.

    Attributes:
        n_values: So many were seen.
        resolution: Far less than any of them but 0, without its sign; what is less is as good as 0.
        largest: Some of the largest from the median on, and of the smallest with the sign turned round, as signed
            logarithms, ascending, float64 (2, N_LARGEST).
        rarity: -log of the share of all that are at least so large, or so small, float64 (2, N_LARGEST).
        scale: Beyond them, rarity rises by 1 for so much in the logarithm, float64 (2,).
    """

    n_values: int
    resolution: float
    largest: Float64s
    rarity: Float64s
    scale: Float64s

    @classmethod
    def fit(cls, numbers: Float64s) -> ValueRange:
        """Learn it from the numbers of normal sessions, float64 (N,)."""
        sizes = np.abs(numbers)
        least = float(sizes[sizes > 0].min(initial=np.inf))
        least = max(least, _LEAST) if np.isfinite(least) else 1.0
        resolution = float(_NOTHING * 10.0 ** np.floor(np.log10(least)))
        signed = _signed_log(numbers, resolution)
        sides = (np.sort(signed), np.sort(-signed))
        points = [largest_of(side) for side in sides]
        return cls(
            len(numbers),
            resolution,
            np.array([largest for largest, _ in points]),
            np.array([rarity for _, rarity in points]),
            np.array([tail_scale(side) for side in sides]),
        )

    def oddness(self, numbers: Float64s) -> Float64s:
        """How rare it is to be so far out on either side; 0 for the middle half, nats, float64 (N,)."""
        signed = _signed_log(numbers, self.resolution)
        sides = [
            rarity_of(sign * signed, self.largest[i], self.rarity[i], float(self.scale[i]))
            for i, sign in enumerate((1.0, -1.0))
        ]
        return np.asarray(np.maximum(np.max(sides, axis=0) - _TWO_SIDES, 0.0))

    def usual(self) -> tuple[Float64s, float]:
        """Between which values nearly all are, with two digits, float64 (2,), and what share of all that is."""
        point, share_beyond = usual_point(self.n_values)
        most, least = self.largest[0, point], -self.largest[1, point]
        ends = np.array([least, most])
        exact = np.sign(ends) * (np.exp(np.abs(ends)) - 1.0) * self.resolution
        return np.array([float(f"{value:.2g}") for value in exact]), 1.0 - 2.0 * share_beyond


Form: TypeAlias = FewValues | ValueRange


@dataclass(frozen=True)
class UsualValues:
    """The numbers of normal sessions, by place.

    Attributes:
        places: Those that are judged, ascending: event id, how many numbers the record has, which of them, from 0;
            int64 (K, 3).
        forms: What each of them holds.
    """

    places: Int64s
    forms: tuple[Form, ...]

    @classmethod
    def fit(cls, numbers: Float64s, event_ids: Int64s) -> UsualValues:
        """Learn what each place holds, but of those that change with time.

        Args:
            numbers: Of the records of normal sessions in the order of time, NaN where there are fewer, float64 (M, P).
            event_ids: int64 (M,).

        Source:
            Du et al., CCS 2017 (DeepLog), section 3.2, judges the values of parameters by a second LSTM for each
            template. Quantiles by place, and that a place must be the same all the time, are ours.
        """
        has_template = event_ids >= FIRST_TEMPLATE  # what UNKNOWN records carry has nothing in common
        codes, values = _coded(numbers[has_template], event_ids[has_template])
        found = [
            (code, form)
            for code, members in groups_of(codes)
            if len(members) >= LEAST_VALUES and (form := _form_of(values[members])) is not None
        ]
        known = np.array([code for code, _ in found], dtype=np.int64)
        width = numbers.shape[1]
        places = np.stack([known // width // (width + 1), known // width % (width + 1), known % width], axis=1)
        return cls(places, tuple(form for _, form in found))

    def oddness(self, numbers: Float64s, event_ids: Int64s) -> Float64s:
        """How odd the oddest number of each record is, nats, float64 (M,); 0 where none is judged.

        Args:
            numbers: NaN where there are fewer, float64 (M, P).
            event_ids: int64 (M,).
        """
        return np.asarray(self.by_place(numbers, event_ids).max(axis=1, initial=0.0))

    def by_place(self, numbers: Float64s, event_ids: Int64s) -> Float64s:
        """How odd each number is, nats, float64 (M, P); 0 where there is none, and where none is judged."""
        odd = np.zeros(numbers.shape)
        if not len(self.places):
            return odd
        codes, values = _coded(numbers, event_ids)
        width = numbers.shape[1]
        known = _codes(self.places[:, 0], self.places[:, 1], self.places[:, 2], width)
        row = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        judged = np.flatnonzero(known[row] == codes)
        found = np.zeros(len(codes))
        for one, members in groups_of(row[judged]):
            found[judged[members]] = self.forms[one].oddness(values[judged[members]])
        odd[~np.isnan(numbers)] = found
        return odd

    def form_of(self, event_id: int, n_numbers: int, place: int) -> Form | None:
        """What a place holds; None where it is not judged."""
        (rows,) = np.nonzero((self.places == (event_id, n_numbers, place)).all(axis=1))
        return self.forms[int(rows[0])] if len(rows) else None

    def to_parts(self) -> dict[str, npt.NDArray[Any]]:
        """As named arrays, for the bundle: few values one after another, ranges one after another."""
        few = [form for form in self.forms if isinstance(form, FewValues)]
        ranges = [form for form in self.forms if isinstance(form, ValueRange)]
        n_few = [len(form.values) if isinstance(form, FewValues) else 0 for form in self.forms]
        return {
            "places": self.places,
            "n_few": np.array(n_few, dtype=np.int64),  # 0: a range
            "few": np.concatenate([np.zeros(0), *(form.values for form in few)]),
            "n_seen": np.concatenate([np.zeros(0, dtype=np.int64), *(form.n_seen for form in few)]),
            "n_values": np.array([form.n_values for form in ranges], dtype=np.int64),
            "resolution": np.array([form.resolution for form in ranges], dtype=np.float64),
            "largest": np.array([form.largest for form in ranges]).reshape(-1, 2, N_LARGEST),
            "rarity": np.array([form.rarity for form in ranges]).reshape(-1, 2, N_LARGEST),
            "scale": np.array([form.scale for form in ranges]).reshape(-1, 2),
        }

    @classmethod
    def from_parts(cls, parts: Mapping[str, npt.NDArray[Any]]) -> UsualValues:
        """The inverse of `to_parts`."""
        ends = np.cumsum(parts["n_few"])
        forms: list[Form] = []
        n_ranges = 0
        for end, n_few in zip(ends.tolist(), parts["n_few"].tolist(), strict=True):
            if n_few:
                forms.append(FewValues(*(parts[name][end - n_few : end] for name in ("few", "n_seen"))))
                continue
            of_range = (parts[name][n_ranges] for name in ("largest", "rarity", "scale"))
            n_values, resolution = int(parts["n_values"][n_ranges]), float(parts["resolution"][n_ranges])
            forms.append(ValueRange(n_values, resolution, *of_range))
            n_ranges += 1
        return cls(parts["places"], tuple(forms))


@dataclass(frozen=True)
class UsualOddness:
    """How odd the numbers of normal sessions are.

    Attributes:
        drift: Oddness that a record may have, nats: mean + standard deviation.
        most: The oddest record of 99 in 100 normal sessions is at most so odd, nats: of many, some are odd by chance.
    """

    drift: float
    most: float

    @classmethod
    def fit(cls, oddness: Float64s, starts: Int64s) -> UsualOddness:
        """Learn it from normal sessions that the values which judge them do not contain.

        Args:
            oddness: Of all their records, nats, float64 (M,).
            starts: Where each session begins, int64 (S + 1,).
        """
        oddest = np.maximum.reduceat(oddness, starts[:-1])
        return cls(float(oddness.mean() + oddness.std()), float(np.quantile(oddest, 0.99)))


def _coded(numbers: Float64s, event_ids: Int64s) -> tuple[Int64s, Float64s]:
    """The place of each number as one number, and the number, int64 and float64 (N,), record by record."""
    has = ~np.isnan(numbers)
    record, place = np.nonzero(has)
    return _codes(event_ids[record], has.sum(axis=1)[record], place, numbers.shape[1]), numbers[has]


def _codes(event_ids: Int64s, n_numbers: Int64s, place: Int64s, width: int) -> Int64s:
    return np.asarray((event_ids * (width + 1) + n_numbers) * width + place, dtype=np.int64)


def _form_of(numbers: Float64s) -> Form | None:
    """What a place holds, by its numbers in the order of time, float64 (N,); None where that changes with time."""
    few = FewValues.fit(numbers)
    is_few = len(few.values) <= MOST_FEW and few.n_seen.min() >= _LEAST_SEEN
    earlier, later = np.split(numbers, [len(numbers) // 2])
    is_steady = _few_are_steady(earlier, later) if is_few else _range_is_steady(earlier, later)
    if not is_steady:
        return None
    return few if is_few else ValueRange.fit(numbers)


def _few_are_steady(earlier: Float64s, later: Float64s) -> bool:
    """Whether later values are no rarer among earlier ones than chance explains."""
    oddness = FewValues.fit(earlier).oddness(later)
    shares = (_ODD_SHARE, _LEAST_ODD / len(earlier))
    return all(_by_chance(int((oddness >= -np.log(share)).sum()), share, len(later)) for share in shares)


def _range_is_steady(earlier: Float64s, later: Float64s) -> bool:
    """Whether later values lie outside the earlier ones no more often than chance explains.

    By their order alone: a counter that is far from 0 hardly grows in the logarithm.
    """
    ordered = np.sort(earlier)
    for n_odd in (_ODD_SHARE * len(earlier), _LEAST_ODD):
        n_side = int(n_odd / 2)
        n_outside = int(((later < ordered[n_side]) | (later > ordered[-1 - n_side])).sum())
        if not _by_chance(n_outside, 2.0 * (n_side + 1) / (len(earlier) + 1), len(later)):
            return False
    return True


def _by_chance(n_odd: int, share: float, n_values: int) -> bool:
    return n_odd <= most_expected(_SLACK * share * n_values)


def _signed_log(numbers: Float64s, resolution: float) -> Float64s:
    """0 at 0; far from it, each factor is as far, wherever it begins."""
    size = np.log(np.abs(numbers) + resolution) - np.log(resolution)
    return np.asarray(np.sign(numbers) * np.round(size, _DIGITS))
