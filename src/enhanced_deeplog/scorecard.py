"""Does it work on these logs? Normal sessions, damaged in known ways, and judged by what never saw them.

Nobody has labels, but everybody has normal sessions. What share of the damaged ones is found says what a fit can see in
a log, and what it can't.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.events import END, FIRST_TEMPLATE
from enhanced_deeplog.learning.pauses import UsualPauses
from enhanced_deeplog.logs.sessions import Sessions

__all__ = ["DAMAGES", "ODD_VALUE", "SLOW_STEP", "DamageFound", "damage", "odd_value", "scorecard", "slow_step"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Generator = np.random.Generator

_N_SESSIONS = 200  # damaged of each service, in each way
_LEAST_OF_SERVICE = 20  # sessions below which a share says nothing
_MAX_SERVICES = 8  # shown, those with most sessions
_LEAST_EVENTS = 3  # of a session that can be damaged in every way


@dataclass(frozen=True)
class DamageFound:
    """What share of sessions damaged in one way is found.

    Attributes:
        service: Whose sessions were damaged; "" where records name none.
        damage: One of `DAMAGES`, or `SLOW_STEP`, or `ODD_VALUE`.
        n_sessions: So many were damaged.
        share: So many of them were found.
    """

    service: str
    damage: str
    n_sessions: int
    share: float

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the bundle."""
        return asdict(self)


# --- Damage -----------------------------------------------------------------------------------------------------


def _early_end(events: Int64s, _usual: Int64s, rng: Generator) -> Int64s:
    """Somewhere in the middle it is over."""
    return events[: max(int(len(events) * rng.uniform(0.2, 0.8)), 1)]


def _missing_step(events: Int64s, _usual: Int64s, rng: Generator) -> Int64s:
    """One event isn't there."""
    return np.delete(events, rng.integers(len(events)))


def _swapped_steps(events: Int64s, _usual: Int64s, rng: Generator) -> Int64s:
    """Two neighbours that differ come in the other order."""
    differ = np.flatnonzero(events[1:] != events[:-1])
    swapped = events.copy()
    if len(differ):
        place = int(rng.choice(differ))
        swapped[[place, place + 1]] = events[[place + 1, place]]
    return swapped


def _repetition(events: Int64s, _usual: Int64s, rng: Generator) -> Int64s:
    """One event comes five to ten times more."""
    place = int(rng.integers(len(events)))
    return np.insert(events, place, np.full(rng.integers(5, 11), events[place]))


def _foreign_event(events: Int64s, usual: Int64s, rng: Generator) -> Int64s:
    """An event that other sessions have, and this one has not."""
    foreign = np.setdiff1d(usual, events)
    if not len(foreign):
        return events
    return np.insert(events, rng.integers(len(events) + 1), rng.choice(foreign))


DAMAGES: dict[str, Callable[[Int64s, Int64s, Generator], Int64s]] = {
    "early end": _early_end,
    "missing step": _missing_step,
    "swapped steps": _swapped_steps,
    "repetition": _repetition,
    "foreign event": _foreign_event,
}

SLOW_STEP = "slow step"  # a sixth way, where pauses are judged
_SLOWER = 10.0  # times as long as it usually takes, or as it took
ODD_VALUE = "odd value"  # a seventh, where the numbers of records are judged
_LARGER = 10.0  # times as large as it was


def damage(sessions: Sessions, rows: Int64s, way: str, usual: Int64s, rng: Generator) -> tuple[Sessions, Bools]:
    """Damaged copies of some sessions that have ended; END still closes each. They have no pauses and no numbers.

    Args:
        sessions: Where they are taken from.
        rows: Which of them, int64 (N,).
        way: One of `DAMAGES`.
        usual: Events that normal sessions have, for foreign ones.
        rng: Where the damage is.

    Returns:
        The copies, and whether each differs from what it was, bool (N,).
    """
    copies, differs = [], []
    for row in rows.tolist():
        events = sessions.sequence(row)[:-1]
        copy = DAMAGES[way](events, usual, rng)
        copies.append(np.append(copy, END))
        differs.append(not np.array_equal(copy, events))
    starts = np.concatenate([[0], np.cumsum([len(copy) for copy in copies])]).astype(np.int64)
    made = replace(
        sessions,
        table=sessions.table[rows],
        event_ids=np.concatenate(copies).astype(np.int64),
        starts=starts,
        context_starts=starts[:-1],
        pauses=np.full(starts[-1], np.nan),
        rows=np.full(starts[-1], -1),  # no record says what is made up
        numbers=None,
    )
    return made, np.array(differs)


def slow_step(sessions: Sessions, rows: Int64s, usual: UsualPauses, rng: Generator) -> tuple[Sessions, Bools]:
    """Copies of some sessions, in each of which one step takes ten times as long as it usually does, or as it did.

    Args:
        sessions: Where they are taken from.
        rows: Which of them, int64 (N,).
        usual: How long steps usually take.
        rng: Chooses the steps.

    Returns:
        The copies, and whether each differs from what it was, bool (N,): one without timestamps doesn't.
    """
    taken = sessions.take(rows)
    parts = [slice(*ends) for ends in pairwise(taken.starts.tolist())]
    pauses = [_with_slow_step(taken.event_ids[part], taken.pauses[part], usual, rng) for part in parts]
    made = replace(taken, pauses=np.concatenate(pauses))
    return made, np.array([bool((~np.isnan(one)).any()) for one in pauses])


def _with_slow_step(events: Int64s, pauses: Float64s, usual: UsualPauses, rng: Generator) -> Float64s:
    timed = np.flatnonzero(~np.isnan(pauses))
    if not len(timed):
        return pauses
    place = rng.choice(timed, 1)
    slow = pauses.copy()
    slow[place] = _SLOWER * np.maximum(
        np.maximum(usual.median_s(events[place - 1], events[place]), pauses[place]), usual.resolution_s
    )
    return slow


def odd_value(sessions: Sessions, rows: Int64s, rng: Generator) -> tuple[Sessions, Bools]:
    """Copies of some sessions, in each of which one number is ten times as large.

    Args:
        sessions: Where they are taken from.
        rows: Which of them, int64 (N,).
        rng: Chooses the numbers.

    Returns:
        The copies, and whether each differs from what it was, bool (N,): one without numbers doesn't.
    """
    taken = sessions.take(rows)
    differs = np.zeros(len(rows), dtype=np.bool_)
    if taken.numbers is None:
        return taken, differs
    numbers = taken.numbers.copy()
    for i, (begin, end) in enumerate(pairwise(taken.starts.tolist())):
        places = np.argwhere(~np.isnan(numbers[begin:end]) & (numbers[begin:end] != 0.0))
        differs[i] = len(places) > 0
        if differs[i]:
            event, place = rng.choice(places)
            numbers[begin + event, place] *= _LARGER
    return replace(taken, numbers=numbers), differs


# --- What is found of it ----------------------------------------------------------------------------------------


def scorecard(
    sessions: Sessions,
    fold: Int64s,
    judges: Sequence[Callable[[Sessions], Bools]],
    *,
    seed: int,
    usual_pauses: UsualPauses | None = None,
) -> tuple[DamageFound, ...]:
    """Damage normal sessions in every way, and say what share is found.

    Args:
        sessions: Sessions that normal behaviour was learnt from, and others; with numbers, where these are judged.
        fold: The fold of each normal session, -1 for the others, int64 (S,).
        judges: Of each fold the verdict on sessions, bool (N,), by what never saw the sessions of that fold.
        seed: Of the choice of sessions and places.
        usual_pauses: How long steps usually take; None: pauses are not judged, and none is damaged.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(sessions.starts)
    usable = (fold >= 0) & sessions.table["ended"].to_numpy() & (lengths > _LEAST_EVENTS)
    usable &= (sessions.table["context"] == 0).to_numpy()  # a later part of a long session begins in its middle
    usual = np.unique(sessions.event_ids[np.repeat(fold >= 0, lengths)])
    usual = usual[usual >= FIRST_TEMPLATE]
    services = (
        sessions.table.filter(usable)["service"].value_counts().sort("count", "service", descending=[True, False])
    )
    ways = [*DAMAGES, *([SLOW_STEP] if usual_pauses is not None else [])]
    ways += [ODD_VALUE] if sessions.numbers is not None else []
    found = []
    for service, n in services.head(_MAX_SERVICES).iter_rows():
        if n < _LEAST_OF_SERVICE:
            continue
        of_service = np.flatnonzero(usable & (sessions.table["service"] == service).to_numpy())
        rows = np.sort(rng.permutation(of_service)[:_N_SESSIONS])
        for way in ways:
            verdicts = []
            for k, is_abnormal in enumerate(judges):
                of_fold = rows[fold[rows] == k]
                if len(of_fold):
                    if way == SLOW_STEP and usual_pauses is not None:
                        made, differs = slow_step(sessions, of_fold, usual_pauses, rng)
                    elif way == ODD_VALUE:
                        made, differs = odd_value(sessions, of_fold, rng)
                    else:
                        made, differs = damage(sessions, of_fold, way, usual, rng)
                    verdicts.append(is_abnormal(made)[differs])
            told = np.concatenate(verdicts)
            if len(told):
                found.append(DamageFound(service, way, len(told), float(told.mean())))
    return tuple(found)
