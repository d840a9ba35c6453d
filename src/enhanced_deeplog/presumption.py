"""Which sessions of a log of unknown content to learn normal behaviour from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress, fold_trainings, folds, score_held_out, train_all
from enhanced_deeplog.detection import LEAST_SESSIONS, Trust, end_surprise
from enhanced_deeplog.learning.anomaly_score import SessionScore
from enhanced_deeplog.learning.calibration import CleanPart
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.known_counts import KnownCounts
from enhanced_deeplog.learning.surprise import rare_surprise
from enhanced_deeplog.logs.sessions import Sessions

__all__ = ["PRESUMED_NORMAL", "presume_normal"]

Bools = npt.NDArray[np.bool_]
Float64s = npt.NDArray[np.float64]

# What only one session in a thousand should look like is not learnt from; see docs/decisions.md, Detection.
_PRESUMED_RARITY = float(np.log(1000.0))
_UNKNOWN_CONTENT = CleanPart(share=0.9, start=0.8, end=0.95)  # up to a tenth of a log may be abnormal
_ALIKE_SHARE = 0.01  # what one session in a hundred looks like is usual, even if all of them should be abnormal
_LEAST_ALIKE = 5  # no fewer sessions make a class, either
_USUAL_FAILURE = 0.2  # an error that one session in five has is part of normal behaviour

# The odd end has been cut off; one session in a hundred that is left may still be abnormal. Rare, harmless records were
# cut off with it, so that they surprise wherever they come: only misplacement tells.
PRESUMED_NORMAL = Trust(
    least_alike=_LEAST_ALIKE,
    clean=CleanPart(share=1.0, start=0.9, end=0.98),
    evidence=("counts", "misplacement", "end"),
    agreement=0.0,
)


def presume_normal(sessions: Sessions, severe: Bools, config: Config, *, workers: int, progress: Progress) -> Bools:
    """Which sessions of a log of unknown content to learn normal behaviour from, bool (S,).

    Each session is scored by a network that never saw it; what looks rare among the others is left out. Sessions that
    fail are compared with those that don't, for many may fail alike.

    Args:
        sessions: Sessions of unknown content.
        severe: Which events say that something failed, bool (V,).
        config: Settings.
        workers: Networks trained side by side; the result is the same with any number.
        progress: Told the stage and the share done.
    """
    everything = np.ones(len(sessions), dtype=np.bool_)
    if len(sessions) < LEAST_SESSIONS:
        return everything
    detection = config.detection.model_copy(update={"n_folds": 2})  # a first look
    two_folds = config.model_copy(update={"detection": detection})
    fold = folds(everything, two_folds)
    jobs = fold_trainings(everything, fold, two_folds)
    trained = train_all(
        sessions,
        jobs,
        two_folds,
        len(severe),
        workers=workers,
        progress=progress,
        stage="telling usual from rare",
    )
    scored = score_held_out(sessions, fold, [one.scorer for one in trained])
    presumed = everything.copy()
    for keyed in (True, False):  # what a hundred sessions are is asked of each population by itself
        rows = np.flatnonzero(scored.keyed == keyed)
        if len(rows) >= LEAST_SESSIONS:
            presumed[rows] = _rarity(scored.take(rows), severe, config.seed) < _PRESUMED_RARITY
    return presumed


def _fails(counts: Float64s, severe: Bools) -> Bools:
    """Whether each session has an event that says so, and that fewer than a fifth of them have, bool (S,)."""
    has = counts[:, severe] > 0
    return np.asarray(has[:, has.mean(axis=0) < _USUAL_FAILURE].any(axis=1))


def _rarity(scored: ScoredSessions, severe: Bools, seed: int) -> Float64s:
    """How rare each session looks among these, the odd end of which may be abnormal, nats, float64 (S,)."""
    n_alike = max(round(len(scored) * _ALIKE_SHARE), _LEAST_ALIKE)
    counts, is_open = scored.counts, scored.is_open
    _, novelty = KnownCounts.fit(counts, is_open, n_alike=n_alike, seed=seed)
    fails = _fails(counts, severe)
    if (~fails).sum() < LEAST_SESSIONS:
        fails = np.zeros_like(fails)
    if fails.any():  # those that fail make no other usual that does
        without = KnownCounts.of(counts[~fails], is_open[~fails], n_alike=n_alike, seed=seed)
        novelty[fails] = np.maximum(novelty[fails], without.novelty(counts[fails], is_open[fails]))
    evidence = {
        "counts": novelty,
        "rare surprise": rare_surprise(scored.surprise, scored.event_ids, scored.starts, scored.n_events),
        "end": end_surprise(scored),
    }
    others = {kind: values[~fails] for kind, values in evidence.items()}
    return SessionScore.fit(others, clean=_UNKNOWN_CONTENT).score(evidence)
