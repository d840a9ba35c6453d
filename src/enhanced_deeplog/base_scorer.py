"""The base model as it scores sessions: where text's arrays meet the network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import PADDING, UNKNOWN
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.pauses import UsualPauses
from enhanced_deeplog.learning.scoring import (
    ExpectedEvents,
    OnnxNetwork,
    SeenWindows,
    WindowScores,
    expected_events,
    score_windows,
)
from enhanced_deeplog.learning.values import UsualValues
from enhanced_deeplog.logs.numbers import MOST_NUMBERS
from enhanced_deeplog.logs.records import merge_order
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.windows import DistinctWindows, distinct_windows, session_windows
from enhanced_deeplog.remembered import Remembered

__all__ = ["BaseScorer", "events_before", "fit_usual_pauses", "fit_usual_values"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAX_EXPECTED = 100_000  # windows of which it is remembered what was expected after them


@dataclass(frozen=True)
class BaseScorer:
    """The base model as it scores: on ONNX Runtime, every event that it never saw as UNKNOWN.

    Attributes:
        network: The base model.
        known: Which events it was trained on, bool (V,).
        smoothing: See `score_windows`.
        window_size: W.
        usual_pauses: How long steps usually take; None: pauses are not judged.
        usual_values: What numbers records usually carry; None: they are not judged.
        seen: Scores of windows seen before; None: they are not remembered.
        seen_expected: What was expected after windows seen before; None: it is not remembered.
    """

    network: OnnxNetwork
    known: Bools
    smoothing: float
    window_size: int
    usual_pauses: UsualPauses | None = None
    usual_values: UsualValues | None = None
    seen: SeenWindows | None = None
    seen_expected: Remembered[tuple[int, bytes], ExpectedEvents] | None = None

    def windows(self, sessions: Sessions) -> Int64s:
        """The window before each event, as the network reads it, int64 (M, W)."""
        contexts = np.repeat(sessions.context_starts, np.diff(sessions.starts))
        return session_windows(self.as_known(sessions.event_ids), contexts, self.window_size)

    def windows_at(self, sessions: Sessions, events: Int64s) -> Int64s:
        """The windows before some of the events, int64 (N, W)."""
        contexts = sessions.context_starts[np.searchsorted(sessions.starts, events, side="right") - 1]
        places = events[:, None] + np.arange(-self.window_size, 0)
        past = self.as_known(sessions.event_ids[np.maximum(places, 0)])
        return np.where(places >= contexts[:, None], past, PADDING)

    def with_threads(self, threads: int) -> BaseScorer:
        """The same, scoring on so many threads."""
        return replace(self, network=replace(self.network, threads=threads))

    def remembering(self) -> BaseScorer:
        """The same, that scores again only what it hasn't seen of late."""
        return replace(self, seen=SeenWindows(), seen_expected=Remembered(_MAX_EXPECTED))

    def as_known(self, event_ids: Int64s) -> Int64s:
        """Event ids with UNKNOWN in place of what the network never saw."""
        return np.where(self.known[event_ids], event_ids, UNKNOWN)

    def score(self, sessions: Sessions) -> ScoredSessions:
        """Judge every event of every session once; the network sees each distinct window once."""
        pairs = distinct_windows(self.windows(sessions), self.as_known(sessions.event_ids))
        unseen = ~self.known[sessions.event_ids]
        scored = _scored(sessions, self._scores_of(pairs), pairs.inverse, unseen, len(self.known))
        if self.usual_pauses is not None:
            before = events_before(sessions)
            scored = replace(scored, lateness=self.usual_pauses.lateness(sessions.pauses, before, sessions.event_ids))
        if self.usual_values is not None:
            scored = replace(scored, oddness=self.usual_values.oddness(_numbers(sessions), sessions.event_ids))
        return scored

    def look_at(self, windows: Int64s, event_ids: Int64s) -> WindowScores:
        """Judge some events by the windows before them.

        Args:
            windows: Event ids, left-padded with `PADDING`, int64 (N, W).
            event_ids: What followed each, int64 (N,).
        """
        known = np.where(windows == PADDING, PADDING, self.as_known(windows))
        pairs = distinct_windows(known, self.as_known(event_ids))
        return self._scores_of(pairs).take(pairs.inverse)

    def expected(self, windows: Int64s, n_expected: int) -> list[ExpectedEvents]:
        """The events expected most after each of distinct windows, int64 (N, W); see `expected_events`."""

        def ask(some: Int64s) -> list[ExpectedEvents]:
            return expected_events(self.network, some, n_expected)

        if self.seen_expected is None:
            return ask(windows)
        place = {(n_expected, window.tobytes()): i for i, window in enumerate(windows)}
        return self.seen_expected.of(list(place), lambda new: ask(windows[[place[key] for key in new]]))

    def _scores_of(self, pairs: DistinctWindows) -> WindowScores:
        def score(some: Int64s | slice) -> WindowScores:
            return score_windows(self.network, pairs.windows[some], pairs.next_events[some], smoothing=self.smoothing)

        return score(slice(None)) if self.seen is None else self.seen.score(score, pairs.keys)


def fit_usual_pauses(sessions: Sessions, chosen: Bools) -> UsualPauses:
    """Learn how long steps take in the chosen sessions, bool (S,)."""
    of_event = np.repeat(chosen, np.diff(sessions.starts))
    return UsualPauses.fit(sessions.pauses[of_event], events_before(sessions)[of_event], sessions.event_ids[of_event])


def fit_usual_values(sessions: Sessions, chosen: Bools, *, min_sessions: int) -> UsualValues:
    """Learn what numbers records carry in the chosen sessions, bool (S,); see `UsualValues.fit`."""
    row = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
    events = np.flatnonzero(chosen[row])
    # Sessions overlap: one after another, a counter of the whole program would look steady.
    events = events[np.argsort(_order_of_input(sessions.records)[sessions.rows[events]], kind="stable")]
    origin = _origins(sessions)[row[events]]
    return UsualValues.fit(_numbers(sessions)[events], sessions.event_ids[events], origin, min_sessions=min_sessions)


def events_before(sessions: Sessions) -> Int64s:
    """The event before each; of another session where there is no pause, int64 (M,)."""
    return np.concatenate([[PADDING], sessions.event_ids[:-1]])


def _order_of_input(records: pl.DataFrame) -> Int64s:
    """How many records of the input came before each, int64 (R,)."""
    by_line = (
        records.select("source", "line", "timestamp").with_row_index("row").sort("source", "line", maintain_order=True)
    )
    return np.argsort(merge_order(by_line)["row"].to_numpy())


def _origins(sessions: Sessions) -> Int64s:
    """The same number for all that has one key, and for the parts of one session without, int64 (S,)."""
    begin = pl.Series(sessions.context_starts).cast(pl.String)
    name = pl.when("keyed").then(pl.lit("key ") + pl.col("session_key")).otherwise(begin)
    return sessions.table.select(name.rank("dense").cast(pl.Int64)).to_series().to_numpy()


def _numbers(sessions: Sessions) -> Float64s:
    """The numbers of each event, none of sessions that were made without, float64 (M, 4)."""
    return np.full((len(sessions.event_ids), MOST_NUMBERS), np.nan) if sessions.numbers is None else sessions.numbers


def _scored(sessions: Sessions, scores: WindowScores, inverse: Int64s, unseen: Bools, n_events: int) -> ScoredSessions:
    is_open = ((sessions.table["state"] == "open") & ~sessions.table["ended"]).to_numpy()
    return ScoredSessions(
        event_ids=sessions.event_ids,
        starts=sessions.starts,
        surprise=scores.surprise[inverse],
        rank=scores.rank[inverse],
        unseen=unseen,
        hidden_state=scores.hidden_state,
        pair=inverse,
        is_open=is_open,
        keyed=sessions.table["keyed"].to_numpy(),
        n_events=n_events,
    )
