"""Which sessions of a log of unknown content to learn normal behaviour from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress, fold_trainings, folds, score_held_out, train_all
from enhanced_deeplog.detection import LEAST_SESSIONS, Trust, calibrate
from enhanced_deeplog.logs.sessions import Sessions

__all__ = ["PRESUMED_NORMAL", "presume_normal"]

Bools = npt.NDArray[np.bool_]

# What only one session in a thousand should look like is not learnt from; see docs/decisions.md, Detection.
_PRESUMED_RARITY = float(np.log(1000.0))
_CLEAN_SHARE = 0.9  # of a log of unknown content
_ALIKE_SHARE = 0.01  # what one session in a hundred looks like is usual, even if all of them should be abnormal
_LEAST_ALIKE = 5  # no fewer sessions make a class, either

# Of what is presumed normal, the odd end was cut off, and a few abnormal sessions are still in it.
PRESUMED_NORMAL = Trust(clean_share=0.95, n_alike=_LEAST_ALIKE)


def presume_normal(sessions: Sessions, config: Config, n_events: int, *, workers: int, progress: Progress) -> Bools:
    """Which sessions of a log of unknown content to learn normal behaviour from, bool (S,).

    Each session is scored by a network that never saw it; what looks rare among the others is left out.
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
        n_events,
        workers=workers,
        progress=progress,
        stage="telling usual from rare",
    )
    scored = score_held_out(sessions, fold, [one.scorer for one in trained])
    presumed = everything.copy()
    for keyed in (True, False):  # what a hundred sessions are is asked of each population by itself
        rows = np.flatnonzero(scored.keyed == keyed)
        trust = Trust(_CLEAN_SHARE, max(round(len(rows) * _ALIKE_SHARE), _LEAST_ALIKE))
        if len(rows) >= LEAST_SESSIONS:
            _, scores = calibrate(scored.take(rows), trust, seed=config.seed)
            presumed[rows] = scores < _PRESUMED_RARITY
    return presumed
