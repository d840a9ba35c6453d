"""What a row of ours holds for plots alone: curves, counts and a map, few numbers of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.detector import EnhancedDeepLog
from enhanced_deeplog.evaluation.judged import Judged, by_key
from enhanced_deeplog.findings import NORMAL, UNKNOWN_CLASS
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.verdicts import Verdicts

__all__ = ["kinds_shown", "loss_by_epoch", "pr_curve"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAX_POINTS = 60  # of a curve
_MAX_SESSIONS = 500  # on a map


def pr_curve(truth: Bools, scores: Float64s) -> list[list[float]]:
    """Precision and recall at each threshold, strictest first.

    Thresholds are many and crowd where nothing happens: the points kept lie evenly along the curve as it is drawn. The
    one of the best F1 is kept, too: it is the corner of a good curve, which would be cut off without it.

    Args:
        truth: Whether each session is abnormal, bool (S,).
        scores: Higher is odder, float64 (S,).

    Returns:
        [recall, precision] of at most 60 thresholds, the first and the last among them; none where one of the two
        kinds of session is missing.

    Example:
        >>> pr_curve(np.array([True, False, True]), np.array([3.0, 2.0, 1.0]))
        [[0.5, 1.0], [0.5, 0.5], [1.0, 0.66667]]
    """
    if truth.all() or not truth.any():
        return []
    order = np.argsort(-scores, kind="stable")
    hits = truth[order].cumsum()
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)  # a threshold can't part equal scores
    curve = np.column_stack([hits / truth.sum(), hits / np.arange(1, len(truth) + 1)])[last_of_equals]  # (T, 2)
    way = np.concatenate([[0.0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()])
    wanted = np.linspace(0.0, way[-1], _MAX_POINTS - 1)
    best_f1 = int((curve.prod(axis=1) / np.maximum(curve.sum(axis=1), 1e-9)).argmax())
    some = np.unique([*np.searchsorted(way, wanted[:-1]), best_f1, len(way) - 1])
    chosen = some if len(way) > _MAX_POINTS else np.arange(len(way))
    return [[round(recall, 5), round(precision, 5)] for recall, precision in curve[chosen].tolist()]


def loss_by_epoch(model: EnhancedDeepLog) -> dict[str, list[float]]:
    """Loss of the base model, nats: of the examples it learns from, and of those held out."""
    reports = model.detection.reports
    return {
        "training": [round(report.loss, 5) for report in reports],
        "held_out": [round(report.validation_loss, 5) for report in reports],
    }


def kinds_shown(
    model: EnhancedDeepLog, sessions: Sessions, verdicts: Verdicts, truth: Mapping[str, str]
) -> dict[str, Any]:
    """True types against classes found, as counts and as a map.

    Args:
        model: What judged.
        sessions: What was judged.
        verdicts: On each of them.
        truth: Type of each session key, "" for normal; keys without one are left out.

    Returns:
        confusion: `types`, `classes` ("normal", the name of each class of the model, "unknown"), and `counts` of
        sessions, types x classes. class_map: `x` and `y` of at most 500 sessions found abnormal, drawn by the seed, in
        the two directions that spread most the features that clustering reads; `class` and `type`, places in the lists
        of `confusion`; `spread`, the share of the variance that each direction holds. None where too little was found.
    """
    counted = _confusion(model, by_key(sessions, verdicts, truth))
    return {"confusion": counted, "class_map": _class_map(model, sessions, verdicts, truth, counted["types"])}


def _confusion(model: EnhancedDeepLog, judged: Judged) -> dict[str, Any]:
    types, of_type = np.unique(judged.types, return_inverse=True)
    n_classes = len(model.classes)
    counts = np.zeros((len(types), n_classes + 2), dtype=np.int64)
    np.add.at(counts, (of_type, _places(judged.classes, n_classes)), 1)
    names = [model.kinds.name(c) for c in (NORMAL, *range(1, n_classes + 1), UNKNOWN_CLASS)]
    return {"types": types.tolist(), "classes": names, "counts": counts.tolist()}


def _places(classes: Int64s, n_classes: int) -> Int64s:
    """The column of each class: normal is first, unknown last."""
    return np.where(classes == UNKNOWN_CLASS, n_classes + 1, classes)


def _class_map(
    model: EnhancedDeepLog, sessions: Sessions, verdicts: Verdicts, truth: Mapping[str, str], types: Sequence[str]
) -> dict[str, Any] | None:
    keys = sessions.table["session_key"].to_list()
    is_judged = np.array([key in truth for key in keys], dtype=np.bool_)
    found = np.flatnonzero((verdicts.classes != NORMAL) & is_judged)
    if model.kinds.space is None or len(found) < 2:
        return None
    drawn = np.sort(np.random.default_rng(model.config.seed).permutation(found)[:_MAX_SESSIONS])
    features = model.kinds.space.transform(verdicts.scored.take(drawn), model.config.blocks_for_clustering)
    places, spread = _principal_plane(features.astype(np.float64))
    return {
        "x": places[:, 0].round(3).tolist(),
        "y": places[:, 1].round(3).tolist(),
        "class": _places(verdicts.classes[drawn], len(model.classes)).tolist(),
        "type": [types.index(truth[keys[row]]) for row in drawn.tolist()],
        "spread": spread.round(3).tolist(),
    }


def _principal_plane(features: Float64s) -> tuple[Float64s, Float64s]:
    """Places in the plane of the two widest directions, float64 (S, 2), and their shares of the variance, (2,).

    Source:
        Pearson, Philosophical Magazine 1901 (principal components).
    """
    centred = features - features.mean(axis=0)
    left, widths, directions = np.linalg.svd(centred, full_matrices=False)
    # The sign of a direction is arbitrary: its largest part points up.
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    places, share = np.zeros((len(features), 2)), np.zeros(2)
    n = min(2, len(widths))
    places[:, :n] = (left * widths * signs)[:, :n]
    share[:n] = (widths**2 / max(float((widths**2).sum()), 1e-12))[:n]
    return places, share
