"""Stage 1 and detection, from sessions to calibrated scores: where text's arrays meet the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import TooFewSessionsError
from enhanced_deeplog.events import FIRST_TEMPLATE, PADDING, UNKNOWN
from enhanced_deeplog.learning.anomaly_score import KnownCounts, SessionScore, accumulated_surprise, per_session_max
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.scoring import OnnxNetwork, WindowScores, score_windows
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.windows import distinct_windows, session_windows

__all__ = ["BaseScorer", "Detection", "fit_detection", "presume_normal"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Progress = Callable[[str, float], None]

LEAST_SESSIONS = 20  # normal sessions without which no rate of false alarms can be told

# Learning from a log of unknown content: sessions rarer than this among the others are not learnt from, and
# tails are fitted to what remains without its upper end, which that cut has thinned.
_PRESUMED_RARITY = float(np.log(100.0))
_CLEAN_SHARE = 0.85


@dataclass(frozen=True)
class BaseScorer:
    """The base model as it scores: on ONNX Runtime, every event that it never saw as UNKNOWN.

    Attributes:
        network: The base model.
        known: Which events it was trained on, bool (V,).
        smoothing: See `score_windows`.
        window_size: W.
    """

    network: OnnxNetwork
    known: Bools
    smoothing: float
    window_size: int

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

    def as_known(self, event_ids: Int64s) -> Int64s:
        """Event ids with UNKNOWN in place of what the network never saw."""
        return np.where(self.known[event_ids], event_ids, UNKNOWN)

    def score(self, sessions: Sessions) -> ScoredSessions:
        """Judge every event of every session once; the network sees each distinct window once."""
        next_events = self.as_known(sessions.event_ids)
        pairs = distinct_windows(self.windows(sessions), next_events)
        scores = score_windows(self.network, pairs.windows, pairs.next_events, smoothing=self.smoothing)
        return _scored(sessions, scores, pairs.inverse, ~self.known[sessions.event_ids], len(self.known))


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
        n_events=n_events,
    )


@dataclass(frozen=True)
class Detection:
    """All that decides whether a session is abnormal.

    Attributes:
        scorer: The base model, trained on all normal sessions.
        by_size: Base models of further window sizes, for features alone.
        known: Their counts.
        score: Calibrated on sessions that the network which scored them never saw.
        state: Weights of the base model, for the bundle.
        reports: Loss of each epoch of the final training.
        normal_scores: Score of each normal session, cross-fitted, float64 (S,).
        normal_state: Mean hidden state of normal windows, float64 (H,).
    """

    scorer: BaseScorer
    by_size: Mapping[int, BaseScorer]
    known: KnownCounts
    score: SessionScore
    state: Mapping[str, npt.NDArray[Any]]
    reports: list[Any]
    normal_scores: Float64s
    normal_state: Float64s

    def look_at(self, sessions: Sessions) -> ScoredSessions:
        """What the base models say of every event."""
        others = {size: scorer.score(sessions).surprise for size, scorer in self.by_size.items()}
        return replace(self.scorer.score(sessions), by_size=others)

    def with_threads(self, threads: int) -> Detection:
        """The same, scoring on so many threads."""
        by_size = {size: scorer.with_threads(threads) for size, scorer in self.by_size.items()}
        return replace(self, scorer=self.scorer.with_threads(threads), by_size=by_size)

    def evidence(self, scored: ScoredSessions) -> dict[str, Float64s]:
        """Each kind of evidence of each session, float64 (S,)."""
        return _evidence(scored, self.known.novelty(scored.counts, scored.is_open), self.score.drift)


def _evidence(scored: ScoredSessions, novelty: Float64s, drift: float) -> dict[str, Float64s]:
    return {
        "counts": novelty,
        "largest_surprise": per_session_max(scored.surprise, scored.starts),
        "accumulated_surprise": accumulated_surprise(scored.surprise, scored.starts, drift),
    }


def fit_detection(
    sessions: Sessions, normal: Bools, config: Config, n_events: int, *, clean_share: float, progress: Progress
) -> Detection:
    """Learn normal behaviour, and how odd normal sessions look to a network that never saw them.

    Args:
        sessions: Sessions to learn from.
        normal: Which of them to learn from, bool (S,).
        config: Settings.
        n_events: Size of the vocabulary (V).
        clean_share: Share of the sessions trusted to be normal; see `SessionScore.fit`.
        progress: Told the stage and the share done.

    Raises:
        TooFewSessionsError: If there are too few normal sessions to calibrate on.
    """
    n_normal = int(normal.sum())
    if n_normal < LEAST_SESSIONS:
        raise TooFewSessionsError(
            f"Learning normal behaviour needs at least {LEAST_SESSIONS} normal sessions; {n_normal} came. Give a longer "
            "log, or check the session key: 'enhanced-deeplog inspect' shows how the log is cut into sessions."
        )
    sizes = [size for size in config.features.window_sizes if size != config.learning.window_size]
    rounds = config.detection.n_folds + 1 + len(sizes)
    scored = _cross_fit(
        sessions, normal, config, n_events, lambda text, share: progress(text, share * config.detection.n_folds / rounds)
    )
    known, novelty = KnownCounts.fit(scored.counts, scored.is_open, seed=config.seed)
    drift = float(scored.surprise.mean() + scored.surprise.std())
    evidence = _evidence(scored, novelty, drift)
    score = SessionScore.fit(evidence, drift=drift, clean_share=clean_share)

    def train(size: int, done: int) -> tuple[BaseScorer, dict[str, npt.NDArray[Any]], list[Any]]:
        learning = config.learning.model_copy(update={"window_size": size})
        return _train(
            sessions,
            normal,
            config.model_copy(update={"learning": learning}),
            n_events,
            seed=config.seed,
            progress=lambda share: progress("learning normal behaviour", (done + share) / rounds),
        )

    scorer, state, reports = train(config.learning.window_size, config.detection.n_folds)
    by_size = {size: train(size, rounds - len(sizes) + i)[0] for i, size in enumerate(sizes)}
    final = scorer.score(sessions)
    used = normal[final.session]
    normal_state = final.hidden_state[final.pair[used]].astype(np.float64).mean(axis=0)
    return Detection(scorer, by_size, known, score, state, reports, score.score(evidence), normal_state)


def presume_normal(sessions: Sessions, config: Config, n_events: int, *, progress: Progress) -> Bools:
    """Which sessions of a log of unknown content to learn normal behaviour from, bool (S,).

    Each session is scored by a network that never saw it; what looks rare among the others is left out.
    """
    everything = np.ones(len(sessions), dtype=np.bool_)
    if len(sessions) < LEAST_SESSIONS:
        return everything
    quick = config.model_copy(update={"detection": config.detection.model_copy(update={"n_folds": 2})})
    scored = _cross_fit(sessions, everything, quick, n_events, progress)
    _, novelty = KnownCounts.fit(scored.counts, scored.is_open, seed=config.seed)
    drift = float(scored.surprise.mean() + scored.surprise.std())
    evidence = _evidence(scored, novelty, drift)
    score = SessionScore.fit(evidence, drift=drift, clean_share=_CLEAN_SHARE)
    return score.score(evidence) < _PRESUMED_RARITY


def _cross_fit(sessions: Sessions, chosen: Bools, config: Config, n_events: int, progress: Progress) -> ScoredSessions:
    """Score each chosen session by a network trained on the other folds.

    Returns:
        The chosen sessions, in their order. Hidden states are not comparable between networks and are left out.
    """
    n_folds = min(config.detection.n_folds, int(chosen.sum()))
    fold = np.full(len(sessions), -1)
    fold[chosen] = np.random.default_rng(config.seed).permutation(int(chosen.sum())) % n_folds
    of_event = fold[np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))]
    surprise, rank = np.zeros(len(of_event)), np.zeros(len(of_event), dtype=np.int64)
    unseen = np.zeros(len(of_event), dtype=np.bool_)
    for k in range(n_folds):
        scorer, _, _ = _train(
            sessions,
            chosen & (fold != k),
            config,
            n_events,
            seed=config.seed + 1 + k,
            progress=lambda share, k=k: progress("calibrating on held-out sessions", (k + share) / n_folds),  # type: ignore[misc]  # mypy can't infer a lambda's default
        )
        scored = scorer.score(sessions)
        held_out = of_event == k
        surprise[held_out], rank[held_out] = scored.surprise[held_out], scored.rank[held_out]
        unseen[held_out] = scored.unseen[held_out]
    stitched = replace(scored, surprise=surprise, rank=rank, unseen=unseen, hidden_state=np.zeros((1, 0), np.float32))
    stitched = replace(stitched, pair=np.zeros(len(of_event), dtype=np.int64))
    return stitched.take(np.flatnonzero(chosen))


def _train(
    sessions: Sessions, chosen: Bools, config: Config, n_events: int, *, seed: int, progress: Callable[[float], None]
) -> tuple[BaseScorer, dict[str, npt.NDArray[Any]], list[Any]]:
    """Train one base model on the chosen sessions; a part of them is held out to stop by."""
    import torch  # scoring needs no torch; only fitting comes here

    from enhanced_deeplog.learning.next_event import WindowSet, export_onnx, fit_base_model

    learning = config.learning
    of_event = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
    known = np.zeros(n_events, dtype=np.bool_)
    known[:FIRST_TEMPLATE] = True
    known[np.unique(sessions.event_ids[chosen[of_event]])] = True
    scorer = BaseScorer(OnnxNetwork(b""), known, 0.0, learning.window_size)

    rows = np.flatnonzero(chosen)
    held_out = np.zeros(len(sessions), dtype=np.bool_)
    n_held_out = max(1, round(len(rows) * learning.validation_share))
    held_out[np.random.default_rng(seed).permutation(rows)[:n_held_out]] = True
    windows, next_events = scorer.windows(sessions), scorer.as_known(sessions.event_ids)

    def examples(which: Bools) -> WindowSet:
        pairs = distinct_windows(windows[which[of_event]], next_events[which[of_event]])
        return WindowSet(pairs.windows, pairs.next_events, pairs.counts)

    training, validation = examples(chosen & ~held_out), examples(held_out)
    network, reports = fit_base_model(
        training,
        validation,
        n_events=n_events,
        config=learning,
        seed=seed,
        on_epoch=lambda report: progress(min(report.epoch / learning.epochs, 1.0)),
    )
    example = {"windows": torch.zeros(2, learning.window_size, dtype=torch.int64)}
    model = export_onnx(network, example, ["logits", "hidden_state"])
    # Nothing can be known to be rarer than one in all that was seen.
    smoothing = 1.0 / (int(training.counts.sum()) + 1)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    return BaseScorer(OnnxNetwork(model), known, smoothing, learning.window_size), state, reports
