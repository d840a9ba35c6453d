"""The kinds of anomaly: hierarchies compared to naive and SciPy's ones, and blobs whose number is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from enhanced_deeplog.config import ClusteringConfig
from enhanced_deeplog.learning import anomaly_classes
from enhanced_deeplog.learning.anomaly_classes import Clustering, find_classes
from enhanced_deeplog.learning.class_centres import ClassCentres
from enhanced_deeplog.learning.metrics import adjusted_rand_index
from naive import naive_hierarchy, naive_silhouette

METHODS = ("ward", "average")


def points_of(seed: int, n: int, n_columns: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, n_columns))


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return adjusted_rand_index(one, other) == pytest.approx(1.0)


# --- The hierarchy ------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(2, 14), st.sampled_from(METHODS))
@settings(max_examples=30)
def test_the_hierarchy_is_the_naive_one(seed: int, n: int, method: str) -> None:
    points = points_of(seed, n)
    merges = anomaly_classes._hierarchy(points, np.ones(n), method)
    for n_classes in range(1, n + 1):
        labels, heights = naive_hierarchy(points, n_classes, method)
        assert same_partition(anomaly_classes._cut(merges, n, n_classes), labels)
        assert [height for height, _, _ in merges[: len(heights)]] == pytest.approx(heights)


@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from(METHODS))
@settings(max_examples=30)
def test_the_hierarchy_is_that_of_scipy(seed: int, n: int, method: str) -> None:
    points = points_of(seed, n)
    merges = anomaly_classes._hierarchy(points, np.ones(n), method)
    theirs = linkage(points, method)
    ours = np.array([height for height, _, _ in merges])
    assert (np.sqrt(2 * ours) if method == "ward" else ours) == pytest.approx(theirs[:, 2])
    for n_classes in (1, 2, n // 2 + 1, n):
        labels = anomaly_classes._cut(merges, n, n_classes)
        assert same_partition(labels, fcluster(theirs, n_classes, "maxclust"))


@given(st.integers(0, 10**6), st.integers(2, 12), st.sampled_from(METHODS))
@settings(max_examples=30)
def test_a_point_of_some_weight_is_as_good_as_so_many_points(seed: int, n: int, method: str) -> None:
    points = points_of(seed, n)
    sizes = np.random.default_rng(seed).integers(1, 6, n)
    merges = anomaly_classes._hierarchy(points, sizes.astype(np.float64), method)
    theirs = linkage(np.repeat(points, sizes, axis=0), method)
    for n_classes in range(1, n + 1):
        ours = np.repeat(anomaly_classes._cut(merges, n, n_classes), sizes)
        assert same_partition(ours, fcluster(theirs, n_classes, "maxclust"))


# --- How good classes are -----------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(2, 3))
@settings(max_examples=30)
def test_the_silhouette_is_the_naive_one_of_repeated_points(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    points, sizes = rng.normal(size=(n, 2)), rng.integers(1, 4, n)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    distance = anomaly_classes._distances(points)
    found = anomaly_classes._silhouette(distance, sizes.astype(np.float64), labels)
    repeated = np.repeat(points, sizes, axis=0), np.repeat(labels, sizes)
    assert found == pytest.approx(naive_silhouette(*repeated), abs=1e-6)


def test_the_quality_is_that_of_scikit_learn() -> None:
    features, _ = blobs(4, seed=3, spread=0.3)
    found = find(features, n_classes=4, threshold=1e-6)
    measures = {
        "silhouette": silhouette_score,
        "calinski_harabasz": calinski_harabasz_score,
        "davies_bouldin": davies_bouldin_score,
    }
    for name, measure in measures.items():
        assert found.quality[name] == pytest.approx(measure(features, found.classes), rel=1e-3)


# --- The number of classes ----------------------------------------------------------------------------------


def blobs(n_blobs: int, *, seed: int, spread: float = 0.1, n_each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Blobs around the corners of a simplex, as kinds with surprises of their own are."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(n_each // 2, n_each * 2, n_blobs)
    truth = np.repeat(np.arange(n_blobs), sizes)
    columns = n_blobs + 10
    features = np.eye(columns)[truth] + rng.normal(size=(len(truth), columns)) * spread
    return features.astype(np.float32), truth


def find(features: np.ndarray, seed: int = 0, **config: object) -> Clustering:
    return find_classes(features, ClusteringConfig(**config), seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_blobs", range(2, 7))
@pytest.mark.parametrize("method", ["birch", "ward", "average"])
def test_as_many_classes_are_found_as_there_are(n_blobs: int, method: str) -> None:
    features, truth = blobs(n_blobs, seed=n_blobs)
    found = find(features, method=method)
    assert found.classes.max() == n_blobs
    assert adjusted_rand_index(truth, found.classes) > 0.99


def test_one_blob_is_one_class() -> None:
    for seed in range(3):
        features, _ = blobs(1, seed=seed, n_each=80)
        found = find(features)
        assert set(found.classes.tolist()) == {1}


def test_sessions_that_are_all_alike_are_one_class() -> None:
    found = find(np.ones((30, 4), dtype=np.float32))
    assert found.classes.tolist() == [1] * 30
    assert found.curve == ()


@pytest.mark.parametrize("n_kinds", [2, 3, 6])
def test_kinds_whose_sessions_are_all_alike_are_told_apart(n_kinds: int) -> None:
    truth = np.repeat(np.arange(n_kinds), 20)
    found = find(np.eye(n_kinds, dtype=np.float32)[truth])
    assert adjusted_rand_index(truth, found.classes) == 1.0


def test_the_number_of_classes_can_be_given() -> None:
    features, truth = blobs(5, seed=0)
    for n_classes in (1, 2, 5):
        assert find(features, n_classes=n_classes, min_class_size=1).classes.max() == n_classes
    assert adjusted_rand_index(truth, find(features, n_classes=5).classes) == 1.0


def test_more_classes_than_sessions_are_as_many_as_sessions() -> None:
    features = np.eye(3, dtype=np.float32)
    assert sorted(find(features, n_classes=9, min_class_size=1).classes) == [1, 2, 3]


def test_the_curve_shows_every_number_that_was_looked_at() -> None:
    features, _ = blobs(3, seed=1)
    curve = find(features, max_classes=8).curve
    assert [point.n_classes for point in curve] == list(range(2, 9))
    explained = [point.explained for point in curve]
    assert explained == sorted(explained)
    assert max(curve, key=lambda point: point.silhouette).n_classes == 3
    assert curve[1].stability > 0.99


# --- Classes too small, and sessions like none --------------------------------------------------------------


def test_classes_that_are_too_small_are_unknown_and_the_largest_comes_first() -> None:
    truth = np.repeat([0, 1, 2], [4, 30, 12])
    features = (np.eye(3)[truth] * 5).astype(np.float32)
    found = find(features, n_classes=3, min_class_size=5)
    assert found.classes.tolist() == [-1] * 4 + [1] * 30 + [2] * 12
    assert found.centres.centres.shape == (2, 3)
    assert found.centres.is_unknown(features).tolist() == [True] * 4 + [False] * 42


def test_where_every_class_is_too_small_all_are_unknown() -> None:
    found = find(np.eye(4, dtype=np.float32), n_classes=4)
    assert found.classes.tolist() == [-1] * 4
    assert found.centres.is_unknown(np.eye(4)).all()


def test_all_members_are_known_and_nearly_all_like_them_and_near_the_centre_of_their_class_and_strangers_are_not() -> (
    None
):
    features, truth = blobs(3, seed=2)
    centres = find(features).centres
    assert not centres.is_unknown(features).any()
    assert centres.is_unknown(features + 0.01).mean() < 0.02
    assert centres.is_unknown(features + 1.0).all()
    nearest = centres.distances(features).argmin(axis=1)
    assert adjusted_rand_index(truth, nearest) == 1.0


def test_what_lies_in_the_midst_of_a_wide_class_and_is_like_none_of_its_members_is_unknown() -> None:
    """A class of two shapes: its centre lies between them, where no session is."""
    rng = np.random.default_rng(0)
    shapes = np.repeat([[-2.0, 0.0], [2.0, 0.0]], 60, axis=0) + rng.normal(0, 0.05, (120, 2))
    centres = ClassCentres.of(shapes.astype(np.float32), np.ones(120, dtype=np.int64), n_alike=5)
    assert centres.is_unknown(np.array([[0.0, 0.0], [2.0, 0.02], [-2.0, 0.0]])).tolist() == [True, False, False]
    assert centres.distances(np.array([[0.0, 0.0]]))[0, 0] < 1.0


def test_what_is_the_same_as_a_member_is_known_though_no_other_is_near() -> None:
    features = np.concatenate([np.zeros((200, 2)), [[9.0, 0.0]]]).astype(np.float32)
    centres = ClassCentres.of(features, np.ones(201, dtype=np.int64), n_alike=5)
    assert centres.is_unknown(np.array([[9.0, 0.0], [9.0, 0.1]])).tolist() == [False, True]


@given(st.integers(0, 50), st.integers(1, 6))
@settings(max_examples=20)
def test_a_session_is_known_where_enough_members_are_near_it(seed: int, n_alike: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 4, (40, 3)).astype(np.float32)
    classes = rng.choice([-1, 1, 2], 40)
    centres = ClassCentres.of(features, classes, n_alike)
    members = features[classes > 0].astype(np.float64)
    judged = rng.integers(0, 6, (20, 3)).astype(np.float32)
    if not len(members):
        assert centres.is_unknown(judged).all()
        return
    near = [np.sort(np.linalg.norm(members - row, axis=1))[min(n_alike, len(members)) - 1] for row in judged]
    is_member = [bool((members == row).all(axis=1).any()) for row in judged]
    too_far = [bool(d > centres.reach * (1 + 1e-5)) for d in near]
    assert centres.is_unknown(judged).tolist() == [f and not m for f, m in zip(too_far, is_member, strict=True)]


# --- What can't matter --------------------------------------------------------------------------------------


@given(st.integers(0, 100))
@settings(max_examples=10)
def test_the_order_of_the_sessions_does_not_matter(seed: int) -> None:
    features, _ = blobs(3, seed=1, spread=0.35, n_each=20)
    order = np.random.default_rng(seed).permutation(len(features))
    there, shuffled = find(features), find(features[order])
    assert shuffled.classes.tolist() == there.classes[order].tolist()
    assert shuffled.curve == there.curve
    assert shuffled.centres.centres == pytest.approx(there.centres.centres)
    assert shuffled.centres.radii == pytest.approx(there.centres.radii)
    assert shuffled.centres.members.tolist() == there.centres.members.tolist()
    assert shuffled.centres.reach == there.centres.reach


def test_the_seed_only_chooses_the_halves_of_the_stability_check() -> None:
    features, _ = blobs(4, seed=5, spread=0.3)
    one, other = find(features, seed=0), find(features, seed=1)
    assert one.classes.tolist() == other.classes.tolist()
    assert one.curve == find(features, seed=0).curve


def test_many_sessions_are_condensed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomaly_classes, "_MAX_SUBCLUSTERS", 50)
    features, truth = blobs(3, seed=4, n_each=200)
    found = find(features)
    assert found.quality["n_subclusters"] <= 50
    assert found.quality["threshold"] > 0.1
    assert adjusted_rand_index(truth, found.classes) > 0.99
