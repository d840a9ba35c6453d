"""How well found labels agree with true ones: plain functions from arrays to numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["DetectionQuality", "adjusted_rand_index", "precision_recall_f1"]


class DetectionQuality(NamedTuple):
    """How well abnormal sessions are told from normal ones; each in [0, 1], 0 where nothing counts."""

    precision: float
    recall: float
    f1: float


def adjusted_rand_index(truth: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Agreement of two partitions: 1 for the same one whatever its labels are called, about 0 for chance.

    Args:
        truth: True label of each session, any type that sorts, (S,).
        found: Found label of each session, (S,).

    Returns:
        At most 1; below 0 where they agree less than chance would.

    Raises:
        ValueError: If the two differ in length, or are empty.

    Source:
        Hubert & Arabie, Journal of Classification 1985, equation 5.

    Example:
        >>> adjusted_rand_index(["a", "a", "b", "b"], [7, 7, 3, 3])
        1.0
        >>> round(adjusted_rand_index([0, 0, 1, 1], [0, 1, 0, 1]), 2)
        -0.5
    """
    true_ids, found_ids = _dense(truth), _dense(found)
    if len(true_ids) != len(found_ids) or not len(true_ids):
        raise ValueError(
            f"adjusted_rand_index expects as many found labels as true ones, and at least one; "
            f"got {len(true_ids)} true and {len(found_ids)} found."
        )
    n_found = int(found_ids.max()) + 1
    _, shared = np.unique(true_ids * n_found + found_ids, return_counts=True)  # sizes of the cells that occur
    same_in_both = _n_pairs(shared)
    same_in_truth, same_in_found = _n_pairs(np.bincount(true_ids)), _n_pairs(np.bincount(found_ids))
    most = (same_in_truth + same_in_found) / 2
    by_chance = same_in_truth * same_in_found / max(_n_pairs(np.array([len(true_ids)])), 1.0)
    if most == by_chance:  # both put all in one class, or each in a class of its own
        return 1.0
    return (same_in_both - by_chance) / (most - by_chance)


def precision_recall_f1(truth: npt.ArrayLike, found: npt.ArrayLike) -> DetectionQuality:
    """Judge detection.

    Args:
        truth: Whether each session is abnormal, bool (S,).
        found: Whether each session was found to be, bool (S,).

    Raises:
        ValueError: If the two differ in length.

    Source:
        van Rijsbergen, Information Retrieval, 1979, chapter 7; F1 is 1 - E with alpha = 1/2.

    Example:
        >>> precision_recall_f1([True, True, False, False], [True, False, True, False])
        DetectionQuality(precision=0.5, recall=0.5, f1=0.5)
    """
    is_true, is_found = np.asarray(truth, dtype=np.bool_), np.asarray(found, dtype=np.bool_)
    if is_true.shape != is_found.shape:
        raise ValueError(
            f"precision_recall_f1 expects as many verdicts as truths; got {is_true.size} truths and "
            f"{is_found.size} verdicts."
        )
    n_hits, n_true, n_found = int((is_true & is_found).sum()), int(is_true.sum()), int(is_found.sum())
    return DetectionQuality(
        precision=n_hits / n_found if n_found else 0.0,
        recall=n_hits / n_true if n_true else 0.0,
        f1=2 * n_hits / (n_true + n_found) if n_true + n_found else 0.0,
    )


def _dense(labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Number the distinct labels from 0, int64 (S,)."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _n_pairs(sizes: npt.NDArray[np.int64]) -> float:
    """How many pairs lie inside groups of these sizes."""
    return float((sizes * (sizes - 1) / 2).sum())
