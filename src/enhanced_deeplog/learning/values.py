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

__all__ = [
    "HANDICAP",
    "LEAST_VALUES",
    "MOST_FEW",
    "MOST_SIGNED",
    "RESOLUTIONS",
    "FewValues",
    "Form",
    "UsualValues",
    "ValueRange",
]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

LEAST_VALUES = 100  # of a place that is judged
MOST_FEW = 20  # distinct values, at most, that are few...
_LEAST_SEEN = 5  # ...if each was seen so often
_SHOWN_DIGITS = 2  # of the ends of a range, outwards; so that they differ where what is known does
_SHOWN = 5  # of few values, the most frequent ones are shown
_ODD_SHARE = 0.05  # of the values, that are looked at to see whether a place changes with time
_OWN_SHARE = 0.05  # of the values at either end, that too few sessions have, at most: more, and nothing is shared
_LEAST_ODD = 5  # and the oddest of them, so many
_SLACK = 2.0  # values come in bursts, and what was learnt from half of them is not exact: twice as many may be odd
_NOTHING = 0.01  # of the power of ten below the smallest value seen
_LEAST, _MOST = 1e-100, 1e100  # what is less is 0, what is more is as much: so nothing overflows
RESOLUTIONS = (_NOTHING * _LEAST / 2, _NOTHING * _MOST * 2)  # all that `fit` makes, and a little room
# Of a logarithm: values that differ by a hundredth are one. Still, whole numbers below a hundred can be told from it,
# and of larger ones the first two digits.
_DIGITS = 2
MOST_SIGNED = float(np.log(_MOST / RESOLUTIONS[0])) + 1.0  # of the logarithm, without its sign
# Of the many numbers of a session, some are rare by chance. They speak only where they are rarer, by so many nats, than
# all else must be: at any threshold, they add a twentieth to the false alarms.
HANDICAP = float(np.log(20.0))
_HARDLY = 1e-6  # less than this is an error of the arithmetic
_TWO_SIDES = float(np.log(2.0))


@dataclass(frozen=True)
class FewValues:
    """A place of a number that holds one of a few values.

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

    def shared(self, numbers: Float64s, sessions: Int64s, min_sessions: int) -> FewValues | None:
        """The same without the values that too few sessions have, which then are new ones; None where that is too much.

        Args:
            numbers: What it was learnt from, float64 (N,).
            sessions: The session of each, from 0, int64 (N,).
            min_sessions: So many must have a value.
        """
        width = int(sessions.max()) + 1
        pairs = np.unique(np.searchsorted(self.values, numbers) * width + sessions)
        kept = np.bincount(pairs // width, minlength=len(self.values)) >= min_sessions
        if self.n_seen[~kept].sum() > _OWN_SHARE * len(numbers):
            return None
        return FewValues(self.values[kept], self.n_seen[kept])

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
    """A place of a number that holds a quantity: both ends of what it usually is, in a logarithm that keeps the sign.

    Attributes:
        n_values: So many were seen.
        resolution: Far less than nearly any of them but 0, without its sign; what is less is as good as 0.
        largest: Some of the largest from the median on, and of the smallest with the sign turned round, as signed
            logarithms, ascending, float64 (2, N_LARGEST); none beyond what enough sessions reach.
        rarity: -log of the share of all that are at least so large, or so small, float64 (2, N_LARGEST).
        scale: Beyond them, rarity rises by 1 for so much in the logarithm, float64 (2,).
    """

    n_values: int
    resolution: float
    largest: Float64s
    rarity: Float64s
    scale: Float64s

    @classmethod
    def fit(cls, numbers: Float64s, sessions: Int64s, *, min_sessions: int) -> ValueRange | None:
        """Learn it from the numbers of normal sessions.

        What only few sessions reach counts as the farthest that enough of them do: how far it lies is theirs alone.

        Args:
            numbers: float64 (N,).
            sessions: The session of each, int64 (N,).
            min_sessions: So many must reach what is kept.

        Returns:
            None where too much lies beyond.
        """
        sizes = np.abs(numbers)
        least = -_reached(-sizes[sizes > 0], sessions[sizes > 0], min_sessions)
        least = min(max(least, _LEAST), _MOST) if np.isfinite(least) else 1.0
        resolution = float(_NOTHING * 10.0 ** np.floor(np.log10(least)))
        signed = _signed_log(numbers, resolution)
        most = [_reached(side, sessions, min_sessions) for side in (signed, -signed)]
        sides = [np.sort(np.minimum(side, end)) for side, end in zip((signed, -signed), most, strict=True)]
        n_beyond = [int((side > end).sum()) for side, end in zip((signed, -signed), most, strict=True)]
        if max(n_beyond) > _OWN_SHARE * len(numbers):
            return None
        points = [largest_of(side) for side in sides]
        return cls(
            len(numbers),
            resolution,
            np.array([largest for largest, _ in points]),
            np.array([rarity for _, rarity in points]),
            np.array([tail_scale(side, n) for side, n in zip(sides, n_beyond, strict=True)]),
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
        """Between which values nearly all are, rounded outwards, float64 (2,), and what share of all that is."""
        point, share_beyond = usual_point(self.n_values)
        most, least = self.largest[0, point], -self.largest[1, point]
        ends = np.array([least, most])
        exact = np.sign(ends) * (np.exp(np.abs(ends)) - 1.0) * self.resolution
        return np.array([-_rounded_up(-exact[0]), _rounded_up(exact[1])]), 1.0 - 2.0 * share_beyond


Form: TypeAlias = FewValues | ValueRange


@dataclass(frozen=True)
class UsualValues:
    """The numbers of normal sessions, by place of a number.

    Attributes:
        places: Those that are judged, ascending: event id, how many numbers the record has, which of them, from 0;
            int64 (K, 3).
        forms: What each of them holds.
    """

    places: Int64s
    forms: tuple[Form, ...]

    @classmethod
    def fit(cls, numbers: Float64s, event_ids: Int64s, sessions: Int64s, *, min_sessions: int) -> UsualValues:
        """Learn what each place of a number holds, but of those that change with time.

        Args:
            numbers: Of the records of normal sessions in the order of time, whichever session each is of, NaN where
                there are fewer, float64 (M, P).
            event_ids: int64 (M,).
            sessions: The session of each record, from 0, int64 (M,).
            min_sessions: So many sessions must share what is kept.

        Source:
            Du et al., CCS 2017 (DeepLog), section 3.2, judges the values of parameters by a second LSTM for each
            template. Quantiles by place, and that a place must be the same all the time, are ours.
        """
        has_template = event_ids >= FIRST_TEMPLATE  # what UNKNOWN records carry has nothing in common
        record, codes, values = _coded(numbers[has_template], event_ids[has_template])
        session = sessions[has_template][record]
        enough = ((code, members) for code, members in groups_of(codes) if len(members) >= LEAST_VALUES)
        forms = ((code, _form_of(values[members], session[members], min_sessions)) for code, members in enough)
        found = [(code, form) for code, form in forms if form is not None]
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
        _, codes, values = _coded(numbers, event_ids)
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
        """What a place of a number holds; None where it is not judged."""
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


def _coded(numbers: Float64s, event_ids: Int64s) -> tuple[Int64s, Int64s, Float64s]:
    """The record of each number, its place as one number, int64 (N,), and the number, float64 (N,)."""
    has = ~np.isnan(numbers)
    record, place = np.nonzero(has)
    return record, _codes(event_ids[record], has.sum(axis=1)[record], place, numbers.shape[1]), numbers[has]


def _codes(event_ids: Int64s, n_numbers: Int64s, place: Int64s, width: int) -> Int64s:
    return np.asarray((event_ids * (width + 1) + n_numbers) * width + place, dtype=np.int64)


def _form_of(numbers: Float64s, sessions: Int64s, min_sessions: int) -> Form | None:
    """What a place of a number holds; None where that changes with time, or too few sessions share it.

    Args:
        numbers: In the order of time, float64 (N,).
        sessions: The session of each, int64 (N,).
        min_sessions: So many must share what is kept.
    """
    few = FewValues.fit(numbers)
    is_few = len(few.values) <= MOST_FEW and few.n_seen.min() >= _LEAST_SEEN
    earlier, later = np.split(numbers, [len(numbers) // 2])
    is_steady = _few_are_steady(earlier, later) if is_few else _range_is_steady(earlier, later)
    if not is_steady:
        return None
    if is_few:
        return few.shared(numbers, sessions, min_sessions)
    return ValueRange.fit(numbers, sessions, min_sessions=min_sessions)


def _reached(values: Float64s, sessions: Int64s, n_sessions: int) -> float:
    """The largest value that so many sessions reach; -inf where there are fewer."""
    order = np.lexsort((values, sessions))
    of_each = values[order[np.flatnonzero(np.diff(sessions[order], append=-1))]]  # the largest of each session
    return float(np.sort(of_each)[-n_sessions]) if len(of_each) >= n_sessions else -np.inf


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
    size = np.log(np.minimum(np.abs(numbers), _MOST) + resolution) - np.log(resolution)
    return np.asarray(np.sign(numbers) * np.round(size, _DIGITS))


def _rounded_up(value: float) -> float:
    """The next number that is no smaller and has two digits.

    Example:
        >>> [_rounded_up(value) for value in (1048.0, -1048.0, 0.0301, 20.0, 0.0)]
        [1100.0, -1000.0, 0.031, 20.0, 0.0]
    """
    if value == 0.0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - _SHOWN_DIGITS + 1)
    return float(f"{np.ceil(value / unit - _HARDLY) * unit:.{_SHOWN_DIGITS}g}")
