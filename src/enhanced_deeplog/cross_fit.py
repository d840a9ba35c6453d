"""Stage 1: base models trained side by side, some of them so that each session is scored by one that never saw it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.base_scorer import BaseScorer
from enhanced_deeplog.config import Config
from enhanced_deeplog.events import FIRST_TEMPLATE
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.scoring import OnnxNetwork
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.windows import distinct_windows

__all__ = ["Progress", "Trained", "Training", "fold_trainings", "folds", "score_held_out", "train_all"]

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Training:
    """One base model to train: on which sessions, bool (S,), from which seed, with which window size."""

    chosen: Bools
    seed: int
    window_size: int


@dataclass(frozen=True)
class Trained:
    """What came of it: the model as it scores, its weights, its losses."""

    scorer: BaseScorer
    state: dict[str, npt.NDArray[Any]]
    reports: list[Any]


def folds(chosen: Bools, config: Config) -> Int64s:
    """The fold of each chosen session, -1 for the others, int64 (S,)."""
    n_chosen = int(chosen.sum())
    fold = np.full(len(chosen), -1)
    fold[chosen] = np.random.default_rng(config.seed).permutation(n_chosen) % min(config.detection.n_folds, n_chosen)
    return fold


def fold_trainings(chosen: Bools, fold: Int64s, config: Config) -> list[Training]:
    """One base model to train for each fold, on all chosen sessions but those of the fold."""
    size = config.learning.window_size
    return [Training(chosen & (fold != k), config.seed + 1 + k, size) for k in range(int(fold.max()) + 1)]


def score_held_out(sessions: Sessions, fold: Int64s, scorers: list[BaseScorer]) -> ScoredSessions:
    """Score each session by a network that never saw it: that of its fold, or for one of no fold, the first.

    Returns:
        The sessions. Hidden states are not comparable between networks and are left out.
    """
    of_event = fold[np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))]
    parts = [scorer.score(sessions) for scorer in scorers]
    held_out = np.maximum(of_event, 0)
    rows = np.arange(len(of_event))
    lateness = [part.lateness for part in parts if part.lateness is not None]
    oddness = [part.oddness for part in parts if part.oddness is not None]
    return replace(
        parts[0],
        lateness=np.stack(lateness)[held_out, rows] if lateness else None,
        oddness=np.stack(oddness)[held_out, rows] if oddness else None,
        surprise=np.stack([part.surprise for part in parts])[held_out, rows],
        rank=np.stack([part.rank for part in parts])[held_out, rows],
        unseen=np.stack([part.unseen for part in parts])[held_out, rows],
        hidden_state=np.zeros((1, 0), dtype=np.float32),
        pair=np.zeros(len(of_event), dtype=np.int64),
    )


def train_all(
    sessions: Sessions,
    jobs: list[Training],
    config: Config,
    n_events: int,
    *,
    workers: int,
    progress: Progress,
    stage: str,
) -> list[Trained]:
    """Train base models side by side, in threads: torch computes without Python's lock."""
    done = [0.0] * len(jobs)
    stop = threading.Event()

    def train(i: int) -> Trained:
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
    sessions: Sessions, job: Training, config: Config, n_events: int, *, progress: Callable[[float], None]
) -> Trained:
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
    return Trained(replace(scorer, network=OnnxNetwork(model), smoothing=smoothing), state, reports)
