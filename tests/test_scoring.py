"""Scoring on ONNX Runtime: the same as torch, the same in any batch, and no word of where it was made."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from enhanced_deeplog.config import ClassifierConfig, LearningConfig
from enhanced_deeplog.errors import BundleError
from enhanced_deeplog.events import END, UNKNOWN
from enhanced_deeplog.learning import scoring
from enhanced_deeplog.learning.classifier import EnhancedDeepLogModel
from enhanced_deeplog.learning.next_event import BaseDeepLogModel, export_onnx
from enhanced_deeplog.learning.scoring import (
    OnnxNetwork,
    SeenWindows,
    WindowScores,
    expected_events,
    score_windows,
    softmax,
)

V, W, D = 12, 10, 7
LEARNING = LearningConfig(hidden_size=32, embedding_size=8)
rng = np.random.default_rng(0)
WINDOWS = rng.integers(0, V, (1000, W))
NEXT = rng.integers(1, V, 1000)
FEATURES = rng.normal(size=(1000, D)).astype(np.float32)


def base_model(encoding: str = "embedding") -> BaseDeepLogModel:
    torch.manual_seed(0)
    learning = LEARNING.model_copy(update={"encoding": encoding})
    return BaseDeepLogModel(V, learning).eval()


def classifier(**config: object) -> EnhancedDeepLogModel:
    torch.manual_seed(0)
    settings = ClassifierConfig.model_validate(config)
    return EnhancedDeepLogModel(V, D, 3, learning=LEARNING, config=settings).eval()


def exported_base(encoding: str = "embedding") -> OnnxNetwork:
    example = {"windows": torch.zeros(2, W, dtype=torch.int64)}
    return OnnxNetwork(export_onnx(base_model(encoding), example, ["logits", "hidden_state"]))


def exported_classifier(**config: object) -> OnnxNetwork:
    example = {"windows": torch.zeros(2, W, dtype=torch.int64), "features": torch.zeros(2, D)}
    return OnnxNetwork(export_onnx(classifier(**config), example, ["next_logits", "class_logits"]))


@pytest.fixture(scope="module")
def network() -> OnnxNetwork:
    return exported_base()


# --- The same as torch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["embedding", "scalar"])
def test_the_exported_base_model_is_that_of_torch(encoding: str) -> None:
    with torch.no_grad():
        expected = base_model(encoding)(torch.as_tensor(WINDOWS))
    for ours, theirs in zip(exported_base(encoding).run(windows=WINDOWS), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("config", [{"use_attention": False}, {"improved_attention": False}, {}])
def test_the_exported_classifier_is_that_of_torch(config: dict[str, bool]) -> None:
    with torch.no_grad():
        expected = classifier(**config)(torch.as_tensor(WINDOWS), torch.as_tensor(FEATURES))
    found = exported_classifier(**config).run(windows=WINDOWS, features=FEATURES)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


# --- The same in any batch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 2, 7, 64, 1000])
def test_a_row_is_bitwise_the_same_in_any_batch_and_on_any_number_of_threads(
    network: OnnxNetwork, monkeypatch: pytest.MonkeyPatch, batch: int, threads: int
) -> None:
    rows = WINDOWS if batch > 2 else WINDOWS[:100]
    whole = score_windows(network, rows, NEXT[: len(rows)], smoothing=1e-4)
    monkeypatch.setattr(scoring, "_BATCH", batch)
    parts = score_windows(replace(network, threads=threads), rows, NEXT[: len(rows)], smoothing=1e-4)
    assert parts.surprise.tobytes() == whole.surprise.tobytes()
    assert parts.rank.tobytes() == whole.rank.tobytes()
    assert parts.hidden_state.tobytes() == whole.hidden_state.tobytes()


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_a_row_of_the_classifier_is_bitwise_the_same_in_any_batch(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    one = exported_classifier()
    (_, whole) = one.run(windows=WINDOWS[:200], features=FEATURES[:200])
    monkeypatch.setattr(scoring, "_BATCH", batch)
    (_, parts) = replace(one, threads=2).run(windows=WINDOWS[:200], features=FEATURES[:200])
    assert parts.tobytes() == whole.tobytes()
    assert softmax(parts[:9]).tobytes() == softmax(whole)[:9].tobytes()


def test_no_rows_are_no_answers(network: OnnxNetwork) -> None:
    logits, hidden_state = network.run(windows=WINDOWS[:0])
    assert (logits.shape, hidden_state.shape) == ((0, V), (0, 32))


# --- No word of where it was made ---------------------------------------------------------------------------


def test_an_exported_network_names_no_path_and_no_person() -> None:
    places = {"/home", "/work", "/tmp", "site-packages", ".py", str(Path.cwd()), sys.prefix}  # noqa: S108
    places |= {name for name in (getpass.getuser(), os.environ.get("USER", "")) if len(name) > 3}
    for model in (exported_base().model, exported_classifier().model):
        assert [place for place in sorted(places) if place.encode() in model] == []
        assert b"location" not in model


def test_exporting_twice_gives_the_same_bytes() -> None:
    assert exported_base().model == exported_base().model
    assert exported_classifier().model == exported_classifier().model


# --- Surprise and rank --------------------------------------------------------------------------------------


def test_surprise_is_minus_log_of_the_smoothed_probability(network: OnnxNetwork) -> None:
    (logits, _) = network.run(windows=WINDOWS)
    observed = softmax(logits)[np.arange(1000), NEXT]
    found = score_windows(network, WINDOWS, NEXT, smoothing=0.1)
    known = NEXT != UNKNOWN
    np.testing.assert_allclose(found.surprise[known], -np.log(0.9 * observed + 0.1 / V)[known])
    assert found.surprise[~known].tolist() == pytest.approx([-np.log(0.1 / V)] * int((~known).sum()))


def test_what_was_never_seen_surprises_most(network: OnnxNetwork) -> None:
    windows = np.repeat(WINDOWS[:20], V - 1, axis=0)
    next_events = np.tile(np.arange(1, V), 20)
    found = score_windows(network, windows, next_events, smoothing=1e-3)
    surprise, rank = found.surprise.reshape(20, V - 1), found.rank.reshape(20, V - 1)
    assert (surprise[:, 0] > surprise[:, 1:].max(axis=1)).all()  # UNKNOWN is event 1
    assert (rank[:, 0] == V + 1).all()


def test_ranks_are_places_in_the_prediction(network: OnnxNetwork) -> None:
    windows = np.repeat(WINDOWS[:10], V - 2, axis=0)
    next_events = np.tile(np.arange(2, V), 10)
    ranks = score_windows(network, windows, next_events, smoothing=1e-3).rank.reshape(10, V - 2)
    (logits, _) = network.run(windows=WINDOWS[:10])
    places = (-logits).argsort(axis=1).argsort(axis=1) + 1
    assert ranks.tolist() == places[:, 2:].tolist()


def test_expected_events_come_best_first(network: OnnxNetwork) -> None:
    for events in expected_events(network, WINDOWS[:20], 4):
        probabilities = [p for _, p in events]
        assert len(events) == 4
        assert probabilities == sorted(probabilities, reverse=True)
    (every,) = expected_events(network, WINDOWS[:1], V)
    assert sum(p for _, p in every) == pytest.approx(1.0)
    assert END in {event for event, _ in every}


def test_a_higher_temperature_makes_less_sure() -> None:
    logits = np.array([[3.0, 1.0, 0.0]], dtype=np.float32)
    cold, warm = softmax(logits), softmax(logits, 5.0)
    assert cold.sum() == warm.sum() == pytest.approx(1.0)
    assert cold[0, 0] > warm[0, 0] > 1 / 3
    assert np.isfinite(softmax(np.array([[1e30, -1e30]], dtype=np.float32))).all()


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(BundleError, match="Expected an ONNX network; ONNX Runtime refuses it: "):
        OnnxNetwork(b"none").run(windows=WINDOWS[:1])


# --- What was seen of late is not scored again ------------------------------------------------------------------


def scores_of(windows: np.ndarray, nexts: np.ndarray) -> WindowScores:
    """Scores that tell which pair they are of."""
    told = windows @ 7 ** np.arange(windows.shape[1]) + nexts / 100
    return WindowScores(told, nexts * 3, np.column_stack([told, nexts]).astype(np.float32))


def asked_of(seen: SeenWindows, pairs: tuple[np.ndarray, np.ndarray], asked: list[int] | None = None) -> WindowScores:
    windows, nexts = pairs

    def score(some: np.ndarray) -> WindowScores:
        if asked is not None:
            asked.append(len(some))
        return scores_of(windows[some], nexts[some])

    keys = np.ascontiguousarray(np.column_stack([windows, nexts]).astype(">i4")).view("V16").ravel()
    return seen.score(score, keys)


def distinct_pairs(n: int, n_events: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pairs = rng.permutation(np.unique(rng.integers(0, n_events, (n, 4)), axis=0))
    return pairs[:, :3], pairs[:, 3]


@pytest.mark.parametrize("most", [1, 50, 10_000])
def test_remembered_scores_are_the_scores(most: int) -> None:
    seen, rng = SeenWindows(most), np.random.default_rng(0)
    for n in (30, 0, 100, 3, 100, 200):
        pairs = distinct_pairs(n, 4, rng)
        found, wanted = asked_of(seen, pairs), scores_of(*pairs)
        for name in ("surprise", "rank", "hidden_state"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_only_what_is_not_remembered_is_scored_and_no_more_is_remembered_than_allowed() -> None:
    asked: list[int] = []
    seen = SeenWindows(most=100)
    windows, nexts = distinct_pairs(2000, 9, np.random.default_rng(0))

    def ask(first: int, n: int) -> None:
        asked_of(seen, (windows[first : first + n], nexts[first : first + n]), asked)

    ask(0, 60)
    ask(30, 60)
    assert asked == [60, 30]
    for i in range(100, 1500, 40):
        ask(i, 40)
        assert sum(len(kept) for kept, _ in seen._kept) <= 2 * (100 + 40)
    asked.clear()
    ask(0, 60)  # long ago
    assert asked == [60]
