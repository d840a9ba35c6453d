"""What is measured of verdicts whose truth is known: detection, kinds, confidence; each by name, as plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.learning.calibration import expected_calibration_error
from enhanced_deeplog.learning.metrics import adjusted_rand_index, precision_recall_f1

__all__ = [
    "bootstrap_interval",
    "confidence_measures",
    "detection_measures",
    "grouping_measures",
    "kind_measures",
    "oracle_f1",
    "paired_test",
]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Measures = dict[str, Any]

_N_BINS = 15


def detection_measures(truth: Bools, found: Bools, scores: Float64s) -> Measures:
    """How well abnormal sessions were told from normal ones.

    Args:
        truth: Whether each session is abnormal, bool (S,).
        found: Whether it was found to be, bool (S,).
        scores: Higher is odder, float64 (S,); for the figures that need an order.

    Returns:
        accuracy, precision, recall, f1; of each of the two classes (`normal`, `abnormal`) precision, recall, f1 and
        support; macro_f1 and weighted_f1; pr_auc; oracle_f1; false_alarms, missed, false_alarms_per_10_000,
        alarm_rate_achieved (share of the normal sessions that raised one). None where nothing can be said.

    Source:
        Saito & Rehmsmeier, PLOS ONE 2015, for the area under precision and recall; as average precision.

    Example:
        >>> found = detection_measures(np.array([True, False]), np.array([True, False]), np.array([2.0, 1.0]))
        >>> found["f1"], found["pr_auc"], found["false_alarms"]
        (1.0, 1.0, 0)
    """
    from sklearn.metrics import average_precision_score

    of_abnormal, of_normal = precision_recall_f1(truth, found), precision_recall_f1(~truth, ~found)
    n_abnormal, n_normal = int(truth.sum()), int((~truth).sum())
    false_alarms = int((found & ~truth).sum())
    both = n_abnormal and n_normal
    return {
        "n_sessions": len(truth),
        "accuracy": float((truth == found).mean()),
        **of_abnormal._asdict(),
        "abnormal": {**of_abnormal._asdict(), "support": n_abnormal},
        "normal": {**of_normal._asdict(), "support": n_normal},
        "macro_f1": (of_abnormal.f1 + of_normal.f1) / 2,
        "weighted_f1": (of_abnormal.f1 * n_abnormal + of_normal.f1 * n_normal) / len(truth),
        "pr_auc": float(average_precision_score(truth, scores)) if both else None,
        "oracle_f1": oracle_f1(truth, scores) if both else None,
        "false_alarms": false_alarms,
        "missed": int((truth & ~found).sum()),
        "false_alarms_per_10_000": 10_000 * false_alarms / n_normal if n_normal else None,
        "alarm_rate_achieved": false_alarms / n_normal if n_normal else None,
    }


def oracle_f1(truth: Bools, scores: Float64s) -> float:
    """The best F1 that any threshold on these scores gives: picked by looking at the truth, so no result.

    Example:
        >>> oracle_f1(np.array([False, True, True]), np.array([0.0, 5.0, 5.0]))
        1.0
    """
    order = np.argsort(-scores, kind="stable")
    hits = truth[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(truth) + 1) + truth.sum())
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)  # a threshold can't part equal scores
    return float(f1[last_of_equals].max())


def kind_measures(types: npt.ArrayLike, classes: Int64s) -> Measures:
    """How well found classes agree with true types.

    Args:
        types: True type of each session, "" for a normal one, str (S,).
        classes: Found class of each, -1 and 0 among them if so, int64 (S,).

    Returns:
        ari, nmi, v_measure; purity and macro_f1 (after the one-to-one matching of classes to types that agrees most),
        for which "normal" can stand for normal sessions alone (type "") and "unknown" for none;
        n_types, n_classes, called_normal and called_unknown (shares), recall (share of each type that was found to
        be abnormal, by type).

    Source:
        Rosenberg & Hirschberg, EMNLP 2007 (V-measure; with equal weights it is NMI with the arithmetic mean);
        Kuhn, Naval Research Logistics 1955 (the matching).

    Example:
        >>> kind_measures(["a", "a", "b"], np.array([2, 2, 1]))["macro_f1"]
        1.0
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import normalized_mutual_info_score, v_measure_score
    from sklearn.metrics.cluster import contingency_matrix

    names = np.asarray(types)
    table = contingency_matrix(names, classes)  # types x classes
    by_type, by_class = table.sum(axis=1), table.sum(axis=0)
    # "normal" is right for normal sessions alone, "unknown" for none: neither names a type.
    found, types_in_order = np.unique(classes), np.unique(names)
    may_stand_for = (found > 0)[None, :] | ((found == 0)[None, :] & (types_in_order == "")[:, None])
    right = np.where(may_stand_for, table, 0)
    f1 = 2 * right / (by_type[:, None] + by_class[None, :])
    matched = f1[linear_sum_assignment(-f1)].sum()
    return {
        "n_sessions": len(names),
        "ari": adjusted_rand_index(names, classes),
        "nmi": float(normalized_mutual_info_score(names, classes)),
        "v_measure": float(v_measure_score(names, classes)),
        "purity": float(right.max(axis=0).sum() / len(names)),
        "macro_f1": float(matched / len(by_type)),
        "n_types": len(by_type),
        "n_classes": int((np.unique(classes) > 0).sum()),
        "called_normal": float((classes == 0).mean()),
        "called_unknown": float((classes == -1).mean()),
        "recall": {str(t): float((classes[names == t] != 0).mean()) for t in np.unique(names)},
    }


def grouping_measures(true_templates: npt.ArrayLike, found_templates: npt.ArrayLike) -> Measures:
    """How well found templates group log lines as the true ones do.

    Returns:
        ga: Share of the lines whose group is exactly a true one. fga: F1 of groups that are exactly true ones.

    Source:
        Zhu et al., ICSE-SEIP 2019 (grouping accuracy); Jiang et al., ISSTA 2024 (FGA).

    Example:
        >>> grouping_measures(["a", "a", "b", "c"], [1, 1, 2, 2])
        {'ga': 0.5, 'fga': 0.4, 'n_templates': 2, 'n_true_templates': 3}
    """
    _, true_ids, of_true = np.unique(np.asarray(true_templates), return_inverse=True, return_counts=True)
    _, found_ids, of_found = np.unique(np.asarray(found_templates), return_inverse=True, return_counts=True)
    cells, shared = np.unique(np.stack([true_ids, found_ids], axis=1), axis=0, return_counts=True)
    same = (shared == of_true[cells[:, 0]]) & (shared == of_found[cells[:, 1]])
    return {
        "ga": float(shared[same].sum() / len(true_ids)),
        "fga": float(2 * same.sum() / (len(of_true) + len(of_found))),
        "n_templates": len(of_found),
        "n_true_templates": len(of_true),
    }


def confidence_measures(confidence: Float64s, right: Bools) -> Measures:
    """Whether a confidence of 90 % is right nine times in ten.

    Args:
        confidence: Of each verdict, float64 (S,).
        right: Whether the verdict was right, bool (S,).

    Returns:
        ece (15 bins of equal mass), brier, and the bins of the reliability diagram: mean confidence, share of right
        verdicts, number of verdicts.

    Source:
        Guo et al., ICML 2017, section 2; Brier, Monthly Weather Review 1950.
    """
    order = np.argsort(confidence, kind="stable")
    bins = [b for b in np.array_split(order, _N_BINS) if len(b)]
    return {
        "n_sessions": len(confidence),
        "ece": expected_calibration_error(confidence, right, _N_BINS),
        "brier": float(((confidence - right) ** 2).mean()),
        "accuracy": float(right.mean()),
        "bins": [[float(confidence[b].mean()), float(right[b].mean()), len(b)] for b in bins],
    }


def bootstrap_interval(
    measure: Callable[[Int64s], float], n_sessions: int, *, seed: int = 0, n_draws: int = 1000, confidence: float = 0.95
) -> tuple[float, float]:
    """Between which values a measure lies if the sessions are drawn anew.

    Args:
        measure: Of the sessions whose rows it is given, int64 (S,).
        n_sessions: How many there are (S).
        seed: Of the draws.
        n_draws: Resamples.
        confidence: Of the interval.

    Source:
        Efron, Annals of Statistics 1979; percentile interval.
    """
    rng = np.random.default_rng(seed)
    values = [measure(rng.integers(0, n_sessions, n_sessions)) for _ in range(n_draws)]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_test(truth: Bools, ours: Bools, theirs: Bools) -> Measures:
    """Whether one system is right more often than another on the same sessions.

    Returns:
        only_ours, only_theirs: Sessions that only one of them was right about. p_value: Two-sided; the chance of a
        difference this large between systems that are equally often right.

    Source:
        McNemar, Psychometrika 1947; the exact binomial form.

    Example:
        >>> truth = np.ones(9, dtype=bool)
        >>> paired_test(truth, truth, ~truth)["p_value"]
        0.00390625
    """
    from scipy.stats import binomtest

    we_are_right, they_are_right = ours == truth, theirs == truth
    only_ours, only_theirs = int((we_are_right & ~they_are_right).sum()), int((they_are_right & ~we_are_right).sum())
    differ = only_ours + only_theirs
    p_value = float(binomtest(only_ours, differ).pvalue) if differ else 1.0
    return {"only_ours": only_ours, "only_theirs": only_theirs, "p_value": p_value}
