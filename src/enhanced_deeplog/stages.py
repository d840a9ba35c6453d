"""Stage 1 and detection, from sessions to calibrated scores: where text's arrays meet the networks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import TooFewSessionsError
from enhanced_deeplog.events import END, FIRST_TEMPLATE, PADDING, UNKNOWN
from enhanced_deeplog.learning.anomaly_score import (
    EVIDENCE,
    KnownCounts,
    SessionScore,
    accumulated_surprise,
    per_session_max,
)
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.scoring import OnnxNetwork, WindowScores, score_windows
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.windows import distinct_windows, session_windows

__all__ = ["CLEAN_SHARE", "BaseScorer", "Detection", "fit_detection", "presume_normal"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Progress = Callable[[str, float], None]

LEAST_SESSIONS = 20  # normal sessions without which no rate of false alarms can be told

# Learning from a log of unknown content: sessions rarer than one in a hundred of the others are not learnt from.
# Tails are fitted to the smallest values alone, for the largest may be those of abnormal sessions.
_PRESUMED_RARITY = float(np.log(100.0))
_CLEAN_SHARE = 0.85  # of a log of unknown content
CLEAN_SHARE = 0.95  # of what is presumed normal in it: the rest lacks the end that was cut off


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
        keyed=sessions.table["keyed"].to_numpy(),
        n_events=n_events,
    )


@dataclass(frozen=True)
class Detection:
    """All that decides whether a session is abnormal.

    Attributes:
        scorer: The base model, trained on all normal sessions.
        by_size: Base models of further window sizes, for features alone.
        known: Their counts.
        scores: Calibrated on sessions that the network which scored them never saw; apart for sessions made by a
            key (True) and sessions without (False), where there are enough of them.
        drift: Surprise that an event of a normal session may have, nats.
        state: Weights of the base model, for the bundle.
        reports: Loss of each epoch of the final training.
        normal_state: Mean hidden state of normal windows, float64 (H,).
    """

    scorer: BaseScorer
    by_size: Mapping[int, BaseScorer]
    known: KnownCounts
    scores: Mapping[bool, SessionScore]
    drift: float
    state: Mapping[str, npt.NDArray[Any]]
    reports: list[Any]
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
        return _evidence(scored, self.known.novelty(scored.counts, scored.is_open), self.drift)

    def judge(self, scored: ScoredSessions, alarm_rate: float) -> tuple[Float64s, Float64s, Float64s]:
        """How odd each session is.

        A kind of session of which `fit` saw too few normal ones can't be judged: it scores 0.

        Returns:
            rarities: Of each kind of evidence, float64 (S, 4), nats.
            scores: One normal session in exp(score) is at least this odd, float64 (S,).
            thresholds: A higher score is abnormal, float64 (S,).
        """
        evidence = self.evidence(scored)
        rarities, scores = np.zeros((len(scored), len(EVIDENCE))), np.zeros(len(scored))
        thresholds = np.full(len(scored), -np.log(alarm_rate))
        for keyed, score in self.scores.items():
            rows = np.flatnonzero(scored.keyed == keyed)
            of_kind = {kind: values[rows] for kind, values in evidence.items()}
            rarities[rows], scores[rows] = score.rarities(of_kind), score.score(of_kind)
            thresholds[rows] = score.threshold(alarm_rate)
        return rarities, scores, thresholds


def _evidence(scored: ScoredSessions, novelty: Float64s, drift: float) -> dict[str, Float64s]:
    return {
        "counts": novelty,
        "largest_surprise": per_session_max(scored.surprise, scored.starts),
        "accumulated_surprise": accumulated_surprise(scored.surprise, scored.starts, drift),
        "end_surprise": np.where(
            scored.event_ids[scored.starts[1:] - 1] == END, scored.surprise[scored.starts[1:] - 1], 0.0
        ),
    }


def fit_detection(
    sessions: Sessions,
    normal: Bools,
    config: Config,
    n_events: int,
    *,
    clean_share: float,
    workers: int,
    progress: Progress,
) -> Detection:
    """Learn normal behaviour, and how odd normal sessions look to a network that never saw them.

    Args:
        sessions: Sessions to learn from.
        normal: Which of them to learn from, bool (S,).
        config: Settings.
        n_events: Size of the vocabulary (V).
        clean_share: Share of the sessions trusted to be normal; see `SessionScore.fit`.
        workers: Networks trained side by side; the result is the same with any number.
        progress: Told the stage and the share done.

    Raises:
        TooFewSessionsError: If there are too few normal sessions to calibrate on.
    """
    n_normal = int(normal.sum())
    if n_normal < LEAST_SESSIONS:
        raise TooFewSessionsError(_too_few(n_normal))
    size = config.learning.window_size
    others = [other for other in config.features.window_sizes if other != size]
    fold = _folds(normal, config)
    jobs = [
        *_fold_jobs(normal, fold, config),
        *(_Training(normal, config.seed, window_size) for window_size in (size, *others)),
    ]
    trained = _train_all(
        sessions,
        jobs,
        config,
        n_events,
        workers=workers,
        progress=progress,
        stage="learning normal behaviour",
    )
    n_folds = len(jobs) - 1 - len(others)
    scored = _stitch(sessions, fold, [one.scorer for one in trained[:n_folds]])
    scored = scored.take(np.flatnonzero(normal))
    known, novelty = KnownCounts.fit(scored.counts, scored.is_open, seed=config.seed)
    drift = float(scored.surprise.mean() + scored.surprise.std())
    scores = _fit_scores(scored, _evidence(scored, novelty, drift), clean_share)
    if not scores:
        raise TooFewSessionsError(_too_few(n_normal))
    final = trained[n_folds]
    by_size = {other: one.scorer for other, one in zip(others, trained[n_folds + 1 :], strict=True)}
    hidden = final.scorer.score(sessions)
    normal_state = hidden.hidden_state[hidden.pair[normal[hidden.session]]].astype(np.float64).mean(axis=0)
    return Detection(final.scorer, by_size, known, scores, drift, final.state, final.reports, normal_state)


def presume_normal(sessions: Sessions, config: Config, n_events: int, *, workers: int, progress: Progress) -> Bools:
    """Which sessions of a log of unknown content to learn normal behaviour from, bool (S,).

    Each session is scored by a network that never saw it; what looks rare among the others is left out.
    """
    everything = np.ones(len(sessions), dtype=np.bool_)
    if len(sessions) < LEAST_SESSIONS:
        return everything
    detection = config.detection.model_copy(update={"n_folds": 2})
    learning = config.learning.model_copy(update={"epochs": max(config.learning.epochs // 2, 1)})  # a first look
    two_folds = config.model_copy(update={"detection": detection, "learning": learning})
    fold = _folds(everything, two_folds)
    jobs = _fold_jobs(everything, fold, two_folds)
    trained = _train_all(
        sessions,
        jobs,
        two_folds,
        n_events,
        workers=workers,
        progress=progress,
        stage="telling usual from rare",
    )
    scored = _stitch(sessions, fold, [one.scorer for one in trained])
    _, novelty = KnownCounts.fit(scored.counts, scored.is_open, seed=config.seed)
    drift = float(scored.surprise.mean() + scored.surprise.std())
    evidence = _evidence(scored, novelty, drift)
    presumed = everything
    for keyed, score in _fit_scores(scored, evidence, _CLEAN_SHARE).items():
        rows = scored.keyed == keyed
        presumed[rows] = score.score({kind: values[rows] for kind, values in evidence.items()}) < _PRESUMED_RARITY
    return presumed


def _fit_scores(
    scored: ScoredSessions, evidence: Mapping[str, Float64s], clean_share: float
) -> dict[bool, SessionScore]:
    """Calibrate sessions with a key and sessions without apart; those of which there are too few not at all."""
    scores = {}
    for keyed in (True, False):
        rows = scored.keyed == keyed
        if rows.sum() >= LEAST_SESSIONS:
            of_kind = {kind: values[rows] for kind, values in evidence.items()}
            scores[keyed] = SessionScore.fit(of_kind, clean_share=clean_share)
    return scores


def _too_few(n_normal: int) -> str:
    return (
        f"Learning normal behaviour needs at least {LEAST_SESSIONS} normal sessions; {n_normal} came. Give a longer "
        "log, or check the session key: 'enhanced-deeplog inspect' shows how the log is cut into sessions."
    )


@dataclass(frozen=True)
class _Training:
    """One base model to train: on which sessions, bool (S,), from which seed, with which window size."""

    chosen: Bools
    seed: int
    window_size: int


@dataclass(frozen=True)
class _Trained:
    """What came of it: the model as it scores, its weights, its losses."""

    scorer: BaseScorer
    state: dict[str, npt.NDArray[Any]]
    reports: list[Any]


def _folds(chosen: Bools, config: Config) -> Int64s:
    """The fold of each chosen session, -1 for the others, int64 (S,)."""
    n_chosen = int(chosen.sum())
    fold = np.full(len(chosen), -1)
    fold[chosen] = np.random.default_rng(config.seed).permutation(n_chosen) % min(config.detection.n_folds, n_chosen)
    return fold


def _fold_jobs(chosen: Bools, fold: Int64s, config: Config) -> list[_Training]:
    folds = range(int(fold.max()) + 1)
    return [_Training(chosen & (fold != k), config.seed + 1 + k, config.learning.window_size) for k in folds]


def _stitch(sessions: Sessions, fold: Int64s, scorers: list[BaseScorer]) -> ScoredSessions:
    """Score each session by a network that never saw it: that of its fold, or for one of no fold, the first.

    Returns:
        The sessions. Hidden states are not comparable between networks and are left out.
    """
    of_event = fold[np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))]
    parts = [scorer.score(sessions) for scorer in scorers]
    held_out = np.maximum(of_event, 0)
    rows = np.arange(len(of_event))
    return replace(
        parts[0],
        surprise=np.stack([part.surprise for part in parts])[held_out, rows],
        rank=np.stack([part.rank for part in parts])[held_out, rows],
        unseen=np.stack([part.unseen for part in parts])[held_out, rows],
        hidden_state=np.zeros((1, 0), dtype=np.float32),
        pair=np.zeros(len(of_event), dtype=np.int64),
    )


def _train_all(
    sessions: Sessions,
    jobs: list[_Training],
    config: Config,
    n_events: int,
    *,
    workers: int,
    progress: Progress,
    stage: str,
) -> list[_Trained]:
    """Train base models side by side, in threads: torch computes without Python's lock."""
    done = [0.0] * len(jobs)
    stop = threading.Event()

    def train(i: int) -> _Trained:
        def report(share: float) -> None:
            if stop.is_set():
                raise CancelledError
            done[i] = share
            progress(stage, sum(done) / len(done))

        return _train(sessions, jobs[i], config, n_events, progress=report)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            return list(pool.map(train, range(len(jobs))))
        except BaseException:  # Ctrl-C, too: the threads end with their epoch
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train(
    sessions: Sessions, job: _Training, config: Config, n_events: int, *, progress: Callable[[float], None]
) -> _Trained:
    """Train one base model on the chosen sessions; a part of them is held out to stop by."""
    import torch  # scoring needs no torch; only fitting comes here

    from enhanced_deeplog.learning.next_event import WindowSet, export_onnx, fit_base_model

    learning = config.learning
    of_event = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
    known = np.zeros(n_events, dtype=np.bool_)
    known[:FIRST_TEMPLATE] = True
    known[np.unique(sessions.event_ids[job.chosen[of_event]])] = True
    scorer = BaseScorer(OnnxNetwork(b""), known, 0.0, job.window_size)

    rows = np.flatnonzero(job.chosen)
    held_out = np.zeros(len(sessions), dtype=np.bool_)
    n_held_out = max(1, round(len(rows) * learning.validation_share))
    held_out[np.random.default_rng(job.seed).permutation(rows)[:n_held_out]] = True
    windows, next_events = scorer.windows(sessions), scorer.as_known(sessions.event_ids)

    def examples(which: Bools) -> WindowSet:
        pairs = distinct_windows(windows[which[of_event]], next_events[which[of_event]])
        return WindowSet(pairs.windows, pairs.next_events, pairs.counts)

    training, validation = examples(job.chosen & ~held_out), examples(held_out)
    network, reports = fit_base_model(
        training,
        validation,
        n_events=n_events,
        config=learning,
        seed=job.seed,
        on_epoch=lambda report: progress(min(report.epoch / learning.epochs, 1.0)),
    )
    example = {"windows": torch.zeros(2, job.window_size, dtype=torch.int64)}
    model = export_onnx(network, example, ["logits", "hidden_state"])
    # Nothing can be known to be rarer than one in all that was seen.
    smoothing = 1.0 / (int(training.counts.sum()) + 1)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    return _Trained(replace(scorer, network=OnnxNetwork(model), smoothing=smoothing), state, reports)
