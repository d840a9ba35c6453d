"""Stage 3: the kinds of anomaly, without labels: BIRCH, then hierarchical clustering of what it condensed.

BIRCH condenses the sessions into subclusters; a hierarchy over these, each weighing as many sessions as it holds,
makes the classes. Their number is the knee of the variance they explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import ClusteringConfig
from enhanced_deeplog.findings import UNKNOWN_CLASS
from enhanced_deeplog.learning.class_centres import ClassCentres
from enhanced_deeplog.learning.metrics import adjusted_rand_index

__all__ = ["Clustering", "NumberOfClasses", "find_classes"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_MAX_SUBCLUSTERS = 600
_N_REPEATS = 5  # of the stability check
_LEAST_SILHOUETTE = 0.1  # below it, the best number of classes is one


@dataclass(frozen=True)
class NumberOfClasses:
    """How well one number of classes suits.

    Attributes:
        n_classes: The number.
        silhouette: Mean over sessions, [-1, 1].
        stability: Adjusted Rand index between clusterings of two random halves of the sessions.
        explained: Share of the variance that lies between the classes.
    """

    n_classes: int
    silhouette: float
    stability: float
    explained: float


@dataclass(frozen=True)
class Clustering:
    """The classes found.

    Attributes:
        classes: Class of each session, from 1 by size, -1 unknown, int64 (S,).
        centres: Of the classes, and their members.
        curve: How well each number of classes suits.
        quality: `silhouette`, `calinski_harabasz`, `davies_bouldin` of the chosen one, `n_subclusters`, `threshold`.
    """

    classes: Int64s
    centres: ClassCentres
    curve: tuple[NumberOfClasses, ...]
    quality: Mapping[str, float]


def find_classes(features: npt.NDArray[np.float32], config: ClusteringConfig, *, seed: int) -> Clustering:
    """Find the kinds among abnormal sessions.

    Args:
        features: float32 (S, D).
        config: Method, number of classes (or None), threshold, smallest class.
        seed: Of the stability check.

    Returns:
        The classes. Sessions of classes with fewer than `min_class_size` members are unknown.

    Source:
        Zhang et al., SIGMOD 1996 (BIRCH). That subclusters weigh as many sessions as they hold is ours:
        scikit-learn's last step ignores their sizes. The knee: Satopaa et al., ICDCSW 2011 (Kneedle).
    """
    # Distinct rows in the order of their values: the order of the sessions can't matter.
    rows, inverse, counts = np.unique(
        np.asarray(np.round(features, 5), dtype=np.float64), axis=0, return_inverse=True, return_counts=True
    )
    inverse = inverse.ravel()
    subcluster, threshold = _condense(np.asarray(rows, dtype=np.float64), config)
    sizes = np.bincount(subcluster, counts).astype(np.float64)
    points = np.stack([np.bincount(subcluster, counts * column) for column in rows.T], axis=1) / sizes[:, None]
    merges = _hierarchy(points, sizes, "average" if config.method == "average" else "ward")
    curve = _curve(points, sizes, merges, config, seed)
    n_classes = config.n_classes or _knee(curve)
    labels = _cut(merges, len(points), min(n_classes, len(points)))
    classes = _number_by_size(labels[subcluster[inverse]], config.min_class_size)
    quality = _quality(points, sizes, labels) | {
        "n_clusters": float(labels.max() + 1),
        "n_subclusters": float(len(points)),
        "threshold": threshold,
    }
    return Clustering(classes, ClassCentres.of(features, classes, config.min_class_size), curve, quality)


def _condense(rows: Float64s, config: ClusteringConfig) -> tuple[Int64s, float]:
    """Subcluster of each distinct row; without a threshold, the smallest at which there are few enough."""
    from sklearn.cluster import Birch  # fitting alone needs scikit-learn; placing new sessions does not

    threshold = config.threshold or 0.1
    while True:
        birch = Birch(threshold=threshold, branching_factor=config.branching_factor, n_clusters=None)
        labels = np.unique(birch.fit(rows).labels_, return_inverse=True)[1]
        if config.threshold is not None or labels.max() < _MAX_SUBCLUSTERS:
            return labels.astype(np.int64), threshold
        threshold *= 1.25


def _hierarchy(points: Float64s, sizes: Float64s, linkage: str) -> list[tuple[float, int, int]]:
    """Merge the two nearest clusters until one is left.

    Returns:
        (height, one, other) of each merge, heights ascending; a cluster goes by its first point.

    Source:
        Lance and Williams, Computer Journal 1967; nearest-neighbour chain: Murtagh, Computer Journal 1983.
    """
    size = sizes.astype(np.float64).copy()
    squares = (points**2).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares[None] - 2.0 * points @ points.T, 0.0)
    if linkage == "ward":
        distance *= size[:, None] * size[None] / (size[:, None] + size[None])
    else:
        distance = np.sqrt(distance)
    np.fill_diagonal(distance, np.inf)
    alive = np.ones(len(points), dtype=np.bool_)
    merges: list[tuple[float, int, int]] = []
    chain: list[int] = []
    while len(merges) < len(points) - 1:
        if not chain:
            chain = [int(np.flatnonzero(alive)[0])]
        while True:
            near = int(distance[chain[-1]].argmin())
            if len(chain) > 1 and distance[chain[-1], chain[-2]] <= distance[chain[-1], near]:
                break
            chain.append(near)
        j, i = sorted((chain.pop(), chain.pop()), reverse=True)
        height = float(distance[i, j])
        merges.append((height, i, j))
        if linkage == "ward":
            merged = (size[i] + size) * distance[i] + (size[j] + size) * distance[j] - size * height
            merged /= size[i] + size[j] + size
        else:
            merged = (size[i] * distance[i] + size[j] * distance[j]) / (size[i] + size[j])
        merged[~alive] = np.inf
        merged[[i, j]] = np.inf
        distance[i], distance[:, i] = merged, merged
        distance[j], distance[:, j] = np.inf, np.inf
        size[i] += size[j]
        alive[j] = False
    return sorted(merges, key=lambda merge: merge[0])


def _cut(merges: list[tuple[float, int, int]], n_points: int, n_classes: int) -> Int64s:
    """Class of each point where the hierarchy has `n_classes`, from 0, int64 (P,)."""
    parent = np.arange(n_points)

    def root(point: int) -> int:
        while parent[point] != point:
            point = int(parent[point])
        return point

    for _, i, j in merges[: n_points - n_classes]:
        one, other = sorted((root(i), root(j)))
        parent[other] = one
    return np.unique([root(point) for point in range(n_points)], return_inverse=True)[1].astype(np.int64)


def _curve(
    points: Float64s,
    sizes: Float64s,
    merges: list[tuple[float, int, int]],
    config: ClusteringConfig,
    seed: int,
) -> tuple[NumberOfClasses, ...]:
    # Each point a class of its own explains everything and nothing, unless each stands for enough equal sessions.
    most = len(points) if sizes.min() >= config.min_class_size else len(points) - 1
    # More classes than could be large enough on average would only scatter what is alike.
    largest = max(int(sizes.sum()) // config.min_class_size, 2)
    numbers = range(2, min(config.max_classes, most, largest) + 1)
    distance = _distances(points)
    stability = _stability(points, sizes, numbers, config, seed)
    total = _within(points, sizes, np.zeros(len(points), dtype=np.int64))
    curve = []
    for n in numbers:
        labels = _cut(merges, len(points), n)
        explained = 1.0 - _within(points, sizes, labels) / max(total, 1e-12)
        curve.append(NumberOfClasses(n, _silhouette(distance, sizes, labels), stability[n], explained))
    return tuple(curve)


def _knee(curve: tuple[NumberOfClasses, ...]) -> int:
    """The number after which another class explains less of what is left than classes do on average."""
    if not curve:
        return 1
    left = np.maximum(1.0 - np.array([0.0, *(point.explained for point in curve)]), 1e-9)
    gains = 1.0 - left[1:] / left[:-1]
    best = int(np.argmax(np.cumsum(gains - gains.mean())))
    return curve[best].n_classes if curve[best].silhouette >= _LEAST_SILHOUETTE else 1


def _stability(
    points: Float64s, sizes: Float64s, numbers: range, config: ClusteringConfig, seed: int
) -> dict[int, float]:
    """Agreement of the classes of two random halves of the sessions, by number of classes."""
    rng = np.random.default_rng(seed)
    linkage = "average" if config.method == "average" else "ward"
    found: dict[int, list[float]] = {n: [] for n in numbers}
    for _ in range(_N_REPEATS):
        half = rng.binomial(np.round(sizes).astype(np.int64), 0.5).astype(np.float64)
        halves = [(h, _hierarchy(points[h > 0], h[h > 0], linkage)) for h in (half, sizes - half) if (h > 0).any()]
        for n in numbers:
            if len(halves) == 2 and all(n <= (h > 0).sum() for h, _ in halves):
                one, other = (_labels_from(points, h, merges, n) for h, merges in halves)
                repeat = np.round(sizes).astype(np.int64)
                found[n].append(adjusted_rand_index(np.repeat(one, repeat), np.repeat(other, repeat)))
    return {n: float(np.mean(values)) if values else 0.0 for n, values in found.items()}


def _labels_from(points: Float64s, half: Float64s, merges: list[tuple[float, int, int]], n: int) -> Int64s:
    """Cluster the half of the sessions, then give every point the class of the nearest centre."""
    there = half > 0
    labels = _cut(merges, int(there.sum()), n)
    weights = np.bincount(labels, half[there])
    centres = np.stack([np.bincount(labels, half[there] * c) for c in points[there].T], axis=1) / weights[:, None]
    squares = (centres**2).sum(axis=1)[None] - 2.0 * points @ centres.T
    return np.asarray(squares.argmin(axis=1), dtype=np.int64)


def _distances(points: Float64s) -> Float64s:
    squares = (points**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None] - 2.0 * points @ points.T, 0.0)))


def _within(points: Float64s, sizes: Float64s, labels: Int64s) -> float:
    weights = np.bincount(labels, sizes)
    centres = np.stack([np.bincount(labels, sizes * column) for column in points.T], axis=1) / weights[:, None]
    return float((sizes * ((points - centres[labels]) ** 2).sum(axis=1)).sum())


def _silhouette(distance: Float64s, sizes: Float64s, labels: Int64s) -> float:
    """Silhouette of subclusters, each standing for as many sessions as it holds.

    Source:
        Rousseeuw, Journal of Computational and Applied Mathematics 1987.
    """
    n_classes = int(labels.max()) + 1
    member = np.zeros((len(labels), n_classes))
    member[np.arange(len(labels)), labels] = sizes
    totals = distance @ member  # (P, C)
    weights = member.sum(axis=0)
    rows = np.arange(len(labels))
    own = totals[rows, labels] / np.maximum(weights[labels] - 1.0, 1.0)
    others = totals / weights
    others[rows, labels] = np.inf
    nearest = others.min(axis=1)
    value = np.where(weights[labels] > 1, (nearest - own) / np.maximum(np.maximum(own, nearest), 1e-12), 0.0)
    return float((value * sizes).sum() / sizes.sum())


def _quality(points: Float64s, sizes: Float64s, labels: Int64s) -> dict[str, float]:
    """Silhouette, Calinski-Harabasz and Davies-Bouldin of the chosen classes."""
    n_classes = int(labels.max()) + 1
    n = float(sizes.sum())
    if n_classes < 2 or n <= n_classes:
        return {"silhouette": 0.0, "calinski_harabasz": 0.0, "davies_bouldin": 0.0}
    within = _within(points, sizes, labels)
    between = _within(points, sizes, np.zeros_like(labels)) - within
    weights = np.bincount(labels, sizes)
    centres = np.stack([np.bincount(labels, sizes * c) for c in points.T], axis=1) / weights[:, None]
    spread = np.bincount(labels, sizes * np.linalg.norm(points - centres[labels], axis=1)) / weights
    apart = _distances(centres)
    np.fill_diagonal(apart, np.inf)
    worst = ((spread[:, None] + spread[None]) / np.maximum(apart, 1e-12)).max(axis=1)
    return {
        "silhouette": _silhouette(_distances(points), sizes, labels),
        "calinski_harabasz": (between / (n_classes - 1)) / max(within / (n - n_classes), 1e-12),
        "davies_bouldin": float(worst.mean()),
    }


def _number_by_size(labels: Int64s, min_class_size: int) -> Int64s:
    """Largest class first, from 1; classes too small are unknown."""
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    number = np.full(len(sizes), UNKNOWN_CLASS)
    kept = order[sizes[order] >= min_class_size]
    number[kept] = np.arange(1, len(kept) + 1)
    return number[labels].astype(np.int64)
