"""Stage 2: what a session looks like to clustering and classifier.

A block of features answers one question about a session, or about its prefix so far. Blocks are scaled to the same
weight, so that none drowns the others by its number of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Block
from enhanced_deeplog.events import END
from enhanced_deeplog.learning.known_counts import KnownCounts, count_events
from enhanced_deeplog.learning.upper_tail import UsualMost
from enhanced_deeplog.learning.values import HANDICAP

__all__ = ["FeatureSpace", "ScoredSessions"]

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# What a session has too much or too little of is known exactly; what surprised depends on the network that was trained.
_WEIGHTS: dict[str, float] = {"count_deviation": 1.5, "statistics": 0.5}
_SCALED_BY_COLUMN = {"deviation", "statistics", "hidden_state"}
_MAX_TRANSITIONS = 200
_USUAL_SHARE = 0.01  # of the normal sessions


@dataclass(frozen=True)
class ScoredSessions:
    """Sessions and what the base model says of each of their events, laid out one after another.

    Attributes:
        event_ids: int64 (M,).
        starts: Where each session begins, int64 (S + 1,).
        surprise: nats, float64 (M,).
        rank: 1-based, int64 (M,).
        unseen: Whether the base model never saw the event, bool (M,).
        hidden_state: Of each distinct window, float32 (N, H).
        pair: Row of `hidden_state` of each event, int64 (M,).
        is_open: Whether more records may follow, bool (S,).
        keyed: Whether a key made the session; those without one are another population, bool (S,).
        n_events: Size of the vocabulary (V).
        by_size: Surprise to base models of further window sizes, by window size.
        lateness: How rare it is that the step to each event takes so long, nats, float64 (M,); None: not judged.
        oddness: How rare it is that the numbers of each record are so far from usual, nats, float64 (M,);
            None: not judged.
    """

    event_ids: Int64s
    starts: Int64s
    surprise: Float64s
    rank: Int64s
    unseen: Bools
    hidden_state: Float32s
    pair: Int64s
    is_open: Bools
    keyed: Bools
    n_events: int
    by_size: Mapping[int, Float64s] = field(default_factory=dict)
    lateness: Float64s | None = None
    oddness: Float64s | None = None

    def __len__(self) -> int:
        """Number of sessions (S)."""
        return len(self.starts) - 1

    @cached_property
    def session(self) -> Int64s:
        """The session of each event, int64 (M,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def counts(self) -> Float64s:
        """How often each event occurred in each session, float64 (S, V)."""
        return count_events(self.event_ids, self.starts, self.n_events)

    @cached_property
    def most_surprising(self) -> Int64s:
        """Row of the most surprising event of each session, the first of equals, int64 (S,)."""
        order = np.lexsort((np.arange(len(self.surprise)), -self.surprise, self.session))
        return np.asarray(order[self.starts[:-1]])

    def take(self, sessions: Int64s, lengths: Int64s | None = None) -> ScoredSessions:
        """Some of the sessions, or (given lengths) the first so many events of each.

        A prefix shorter than its session is open: more is known to follow.
        """
        full = np.diff(self.starts)[sessions]
        lengths = full if lengths is None else lengths
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[sessions], lengths)
        return ScoredSessions(
            event_ids=self.event_ids[rows],
            starts=starts,
            surprise=self.surprise[rows],
            rank=self.rank[rows],
            unseen=self.unseen[rows],
            hidden_state=self.hidden_state,
            pair=self.pair[rows],
            is_open=self.is_open[sessions] | (lengths < full),
            keyed=self.keyed[sessions],
            n_events=self.n_events,
            by_size={size: surprise[rows] for size, surprise in self.by_size.items()},
            lateness=None if self.lateness is None else self.lateness[rows],
            oddness=None if self.oddness is None else self.oddness[rows],
        )


@dataclass(frozen=True)
class FeatureSpace:
    """How sessions become features; fitted once.

    Attributes:
        known: The counts of normal sessions.
        drift: Surprise that an event of a normal session may have, nats.
        normal_state: Mean hidden state of normal windows, float64 (H,).
        transitions: Frequent pairs of events, int64 (P, 2).
        shift: Mean of each column, by block.
        scale: What each column is divided by, by block: every block then weighs the same.
        usual_lateness: How late events of normal sessions are; None: pauses are not judged.
        usual_oddness: How odd their numbers are; None: numbers are not judged.
    """

    known: KnownCounts
    drift: float
    normal_state: Float64s
    transitions: Int64s
    shift: dict[str, Float64s]
    scale: dict[str, Float64s]
    usual_lateness: UsualMost | None = None
    usual_oddness: UsualMost | None = None

    @classmethod
    def fit(
        cls,
        scored: ScoredSessions,
        blocks: Sequence[Block],
        *,
        known: KnownCounts,
        drift: float,
        normal_state: Float64s,
        usual_lateness: UsualMost | None = None,
        usual_oddness: UsualMost | None = None,
    ) -> FeatureSpace:
        """Learn the scales of the blocks from abnormal sessions.

        Args:
            scored: The sessions that deviate.
            blocks: All blocks that will be asked for.
            known: The counts of normal sessions.
            drift: As in `UsualSurprise`.
            normal_state: Mean hidden state of normal windows.
            usual_lateness: How late events of normal sessions are.
            usual_oddness: How odd their numbers are.
        """
        space = cls(known, drift, normal_state, _frequent_transitions(scored), {}, {}, usual_lateness, usual_oddness)
        for block in dict.fromkeys(blocks):
            raw = space._raw(block, scored)
            space.shift[block] = raw.mean(axis=0)
            spread = raw.std(axis=0) if block in _SCALED_BY_COLUMN else np.ones(raw.shape[1])
            spread = np.where(spread > 1e-9, spread, 1.0)
            centred = (raw - space.shift[block]) / spread
            # Where few sessions are late or have odd numbers, the block must not weigh the more for it.
            norm = 1.0 if block in ("timing", "values") else float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
            space.scale[block] = spread * norm / _WEIGHTS.get(block, 1.0)
        return space

    def transform(self, scored: ScoredSessions, blocks: Sequence[Block]) -> Float32s:
        """Features of each session, the blocks side by side.

        Args:
            scored: The sessions, or prefixes of them.
            blocks: Which, and in which order.

        Returns:
            float32 (S, D).
        """
        columns = [(self._raw(block, scored) - self.shift[block]) / self.scale[block] for block in blocks]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def width(self, blocks: Sequence[Block]) -> int:
        """Number of columns of these blocks (D)."""
        return sum(len(self.shift[block]) for block in blocks)

    def _raw(self, block: Block, scored: ScoredSessions) -> Float64s:
        match block:
            case "surprise_profile":
                return surprise_profile(scored, self.drift)
            case "count_deviation":
                return _count_deviation(scored, self.known)
            case "deviation":
                return _deviation(scored, self.drift)
            case "statistics":
                return _statistics(scored, self.drift)
            case "event_counts":
                return np.log1p(scored.counts)
            case "transitions":
                return _transition_shares(scored, self.transitions)
            case "hidden_state":
                return self._state(scored)
            case "perturbation":
                return self._perturbation(scored)
            case "window_sizes":
                others = [replace(scored, surprise=surprise) for surprise in scored.by_size.values()]
                profiles = [surprise_profile(other, self.drift) for other in others]
                return np.concatenate([np.zeros((len(scored), 1)), *profiles], axis=1)
            case "timing":
                return lateness_profile(scored, self.usual_lateness)
            case "values":
                return oddness_profile(scored, self.usual_oddness)

    def _state(self, scored: ScoredSessions) -> Float64s:
        return scored.hidden_state[scored.pair[scored.most_surprising]].astype(np.float64)

    def _perturbation(self, scored: ScoredSessions) -> Float64s:
        """Direction and strength of the hidden state against the normal one, (S, H + 1)."""
        difference = self._state(scored) - self.normal_state
        strength = np.linalg.norm(difference, axis=1, keepdims=True)
        return np.concatenate([difference / np.maximum(strength, 1e-9), strength], axis=1)

    def to_parts(self) -> dict[str, npt.NDArray[Any]]:
        """What detection doesn't know already, as named arrays, for the bundle."""
        parts: dict[str, npt.NDArray[Any]] = {"transitions": self.transitions}
        for block, shift in self.shift.items():
            parts[f"shift.{block}"], parts[f"scale.{block}"] = shift, self.scale[block]
        return parts


def surprise_profile(scored: ScoredSessions, drift: float) -> Float64s:
    """Which events surprised, and how much: the square root of each one's share of the surprise above `drift`.

    Every event keeps its own place; a last, pooled one holds all that the base model never saw. By the square root,
    an event that surprised often doesn't hide the others.

    Returns:
        float64 (S, V + 1), rows of length 1 (squares are shares), or 0 where nothing surprised.
    """
    weight = np.maximum(scored.surprise - drift, 0.0)
    profile = _by_event(scored, weight, scored.n_events + 1)
    profile[:, -1] = np.bincount(scored.session, weight * scored.unseen, len(scored))
    return _unit_rows(np.sqrt(profile))


def lateness_profile(scored: ScoredSessions, usual: UsualMost | None, called: Bools | None = None) -> Float64s:
    """Which events came late, and how late: the square root of each one's share of the lateness above the usual most.

    Args:
        scored: The sessions.
        usual: How late usual events are; None: pauses are not judged.
        called: Sessions that are called after their pauses, bool (S,): where no event passes the usual most, those
            that add up tell, all above the drift. None: no session is.

    Returns:
        float64 (S, V), rows of length 1 (squares are shares), or 0 where nothing came late.
    """
    if scored.lateness is None or usual is None:
        return np.zeros((len(scored), scored.n_events))
    return _profile_beyond(scored, scored.lateness, usual.most, usual.drift, called)


def oddness_profile(scored: ScoredSessions, usual: UsualMost | None, called: Bools | None = None) -> Float64s:
    """Which events had odd numbers: the square root of each one's share of the oddness above the usual most.

    And above the handicap that odd numbers have: what is odd by chance makes no kinds.

    Args:
        scored: The sessions.
        usual: How odd usual numbers are; None: numbers are not judged.
        called: Sessions that are called after their numbers, as in `lateness_profile`.

    Returns:
        float64 (S, V), rows of length 1 (squares are shares), or 0 where no number was odd.
    """
    if scored.oddness is None or usual is None:
        return np.zeros((len(scored), scored.n_events))
    return _profile_beyond(scored, scored.oddness, usual.most + HANDICAP, usual.drift, called)


def _profile_beyond(
    scored: ScoredSessions, values: Float64s, most: float, drift: float, called: Bools | None
) -> Float64s:
    rarest = np.maximum.reduceat(values, scored.starts[:-1])
    by_drift = np.zeros(len(scored), dtype=np.bool_) if called is None else called & (rarest <= most)
    beyond = np.maximum(values - np.where(by_drift, drift, most)[scored.session], 0.0)
    return _unit_rows(np.sqrt(_by_event(scored, beyond, scored.n_events)))


def _by_event(scored: ScoredSessions, weight: Float64s, width: int) -> Float64s:
    """Sums of a weight of each event, by session and event, float64 (S, width)."""
    cells = np.bincount(scored.session * width + scored.event_ids, weights=weight, minlength=len(scored) * width)
    return np.asarray(cells.reshape(len(scored), width), dtype=np.float64)


def _count_deviation(scored: ScoredSessions, known: KnownCounts) -> Float64s:
    """Which events are too many (+) or too few (-), float64 (S, V).

    Against the farthest of the nearest hundredth of the normal sessions: the few that carry the events of a fault, too,
    are not what tells its kind.
    """
    excess = known.excess(scored.counts, scored.is_open, share=_USUAL_SHARE)
    return _unit_rows(np.sign(excess) * np.log1p(np.abs(excess)))


def _deviation(scored: ScoredSessions, drift: float) -> Float64s:
    """Share of surprising and of unseen events, log of the longest repetition, early end, float64 (S, 4)."""
    lengths = np.diff(scored.starts)
    surprising = np.bincount(scored.session, scored.surprise > drift, len(scored)) / lengths
    unseen = np.bincount(scored.session, scored.unseen, len(scored)) / lengths
    last = scored.starts[1:] - 1
    early_end = np.where(scored.event_ids[last] == END, np.minimum(scored.surprise[last], 6.0) / 6.0, 0.0)
    return np.stack([surprising, unseen, np.log(_longest_repetition(scored)), early_end], axis=1)


def _statistics(scored: ScoredSessions, drift: float) -> Float64s:
    """Log length, share of distinct events, diversity, where the deviation begins, float64 (S, 4)."""
    lengths = np.diff(scored.starts)
    share = scored.counts / lengths[:, None]
    diversity = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=1)  # entropy, nats
    distinct = (scored.counts > 0).sum(axis=1) / lengths
    position = np.arange(len(scored.surprise)) - scored.starts[:-1][scored.session]
    relative = np.where(scored.surprise > drift, position / lengths[scored.session], 1.0)
    begins = np.minimum.reduceat(relative, scored.starts[:-1])
    return np.stack([np.log(lengths), distinct, diversity, begins], axis=1)


def _longest_repetition(scored: ScoredSessions) -> Float64s:
    """Most times that one event follows itself in each session, itself counted, float64 (S,)."""
    changes = np.ones(len(scored.event_ids), dtype=np.bool_)
    changes[1:] = (scored.event_ids[1:] != scored.event_ids[:-1]) | (scored.session[1:] != scored.session[:-1])
    begins = np.flatnonzero(changes)
    lengths = np.diff(np.append(begins, len(changes)))
    longest = np.zeros(len(scored))
    np.maximum.at(longest, scored.session[begins], lengths)
    return longest


def _frequent_transitions(scored: ScoredSessions) -> Int64s:
    follows = scored.session[1:] == scored.session[:-1]
    pairs = np.column_stack([scored.event_ids[:-1], scored.event_ids[1:]])[follows]
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.asarray(distinct[np.argsort(-counts, kind="stable")[:_MAX_TRANSITIONS]]).reshape(-1, 2)


def _transition_shares(scored: ScoredSessions, transitions: Int64s) -> Float64s:
    """Share of each frequent pair among the pairs of a session, float64 (S, P)."""
    if not len(transitions):  # learnt from sessions of a single event
        return np.zeros((len(scored), 0))
    follows = np.flatnonzero(scored.session[1:] == scored.session[:-1])
    codes = scored.event_ids[follows] * scored.n_events + scored.event_ids[follows + 1]
    wanted = transitions[:, 0] * scored.n_events + transitions[:, 1]
    order = np.argsort(wanted)
    place = np.minimum(np.searchsorted(wanted[order], codes), len(wanted) - 1)
    hit = wanted[order][place] == codes
    cells = scored.session[follows][hit] * len(wanted) + order[place[hit]]
    shares = np.bincount(cells, minlength=len(scored) * len(wanted)).reshape(len(scored), len(wanted))
    return np.asarray(shares / np.maximum(np.diff(scored.starts) - 1, 1)[:, None])


def _unit_rows(rows: Float64s) -> Float64s:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
