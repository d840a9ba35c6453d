"""What ours is compared with, in the same run: trivial baselines, and systems that others have published.

Each is a function from the sequences it learns from to the scores of the sequences it judges. All read the event ids
of our parser; a sequence has no END event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import LearningConfig
from enhanced_deeplog.learning.known_counts import count_events

__all__ = ["PEERS", "PeerInput", "PeerVerdicts", "count_vector"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_TOP_K, _WINDOW_SIZE = 9, 10  # g and h of the DeepLog paper, section 5.1
_PCA_VARIANCE = 0.95
_PEER_EPOCHS = 100


@dataclass(frozen=True)
class PeerInput:
    """What a peer is given.

    Attributes:
        training: Event ids of the sessions to learn from, each int64 (T,).
        judged: Those of the sessions to judge.
        n_events: Size of the vocabulary (V).
        alarm_rate: Share of the sessions to learn from above which a threshold is set, where one is needed.
        seed: Of weights and samples.
    """

    training: Sequence[Int64s]
    judged: Sequence[Int64s]
    n_events: int
    alarm_rate: float
    seed: int


@dataclass(frozen=True)
class PeerVerdicts:
    """What a peer says of the judged sessions: scores, float64 (S,), and which are abnormal, bool (S,)."""

    scores: Float64s
    found: Bools


def all_positive(given: PeerInput) -> PeerVerdicts:
    """Every session is abnormal: what a measure gives for nothing."""
    return _flagged(np.ones(len(given.judged)))


def new_event(given: PeerInput) -> PeerVerdicts:
    """Abnormal is what has an event that training never had."""
    seen = set(np.concatenate(given.training).tolist())
    return _flagged(np.array([sum(event not in seen for event in s.tolist()) for s in given.judged], dtype=float))


def length(given: PeerInput) -> PeerVerdicts:
    """Abnormal is what is shorter or longer than all but a few of the training sessions."""
    usual = np.sort([len(s) for s in given.training])
    low, high = np.quantile(usual, [given.alarm_rate / 2, 1 - given.alarm_rate / 2], method="nearest")
    lengths = np.array([len(s) for s in given.judged])
    beyond = np.maximum(np.maximum(low - lengths, lengths - high), 0)
    return _flagged(beyond.astype(np.float64))


def count_vector(given: PeerInput) -> PeerVerdicts:
    """Abnormal is what has event counts that no training session had. No network is needed for that.

    Source:
        Landauer et al., "A critical review of common log data sets", 2023: it rivals deep learning on HDFS.
    """
    known = {row.tobytes() for row in _counts(given.training, given.n_events)}
    return _flagged(np.array([row.tobytes() not in known for row in _counts(given.judged, given.n_events)], float))


def two_gram(given: PeerInput) -> PeerVerdicts:
    """Abnormal is what has a pair of neighbouring events that training never had; first and last event count as pairs
    with the edge of the session.

    Source:
        Forrest et al., IEEE S&P 1996 (unseen n-grams); as in Landauer et al. 2023.
    """
    known = {pair for s in given.training for pair in _pairs(s)}
    return _flagged(np.array([sum(pair not in known for pair in _pairs(s)) for s in given.judged], dtype=float))


def deeplog(given: PeerInput) -> PeerVerdicts:
    """DeepLog as its ports have it: the raw key as one number, rank > 9, no END, windows inside a session alone.

    Sessions too short for a window are never flagged.

    Source:
        Du et al., CCS 2017 (DeepLog), sections 3.1 and 5.1: two layers of 64, h = 10, g = 9.
    """
    import torch

    from enhanced_deeplog.learning.next_event import WindowSet, fit_base_model
    from enhanced_deeplog.logs.windows import distinct_windows

    rng = np.random.default_rng(given.seed)
    held_out = rng.random(len(given.training)) < 0.1
    held_out[rng.integers(len(held_out))] = True

    def examples(which: Bools) -> WindowSet:
        windows = [_whole_windows(s) for s, wanted in zip(given.training, which, strict=True) if wanted]
        joined = np.concatenate([w for w in windows if len(w)] or [np.zeros((1, _WINDOW_SIZE + 1), np.int64)])
        found = distinct_windows(joined[:, :-1], joined[:, -1])
        return WindowSet(found.windows, found.next_events, found.counts)

    training, validation = examples(~held_out), examples(held_out)
    config = LearningConfig(  # all that matters is said here: what becomes of our own defaults must not touch a peer
        hidden_size=64,
        num_layers=2,
        encoding="scalar",
        dropout=0.0,
        inside_weight=0.0,
        learning_rate=0.001,
        batch_size=128,
        epochs=_PEER_EPOCHS,
        early_stopping_patience=_PEER_EPOCHS,
        draws_per_epoch=len(training.counts),
    )
    network, _ = fit_base_model(training, validation, n_events=given.n_events, config=config, seed=given.seed)
    network.eval()
    worst = np.zeros(len(given.judged))
    with torch.no_grad():
        for i, sequence in enumerate(given.judged):
            windows = _whole_windows(sequence)
            if len(windows):
                logits, _ = network(torch.as_tensor(windows[:, :-1]))
                of_next = logits.gather(1, torch.as_tensor(windows[:, -1:]))
                worst[i] = int((logits > of_next).sum(dim=1).max()) + 1
    return PeerVerdicts(worst, worst > _TOP_K)


def isolation_forest(given: PeerInput) -> PeerVerdicts:
    """Isolation forest on event counts, at the threshold that training gives.

    Source:
        Liu et al., ICDM 2008.
    """
    from sklearn.ensemble import IsolationForest

    training, judged = _counts(given.training, given.n_events), _counts(given.judged, given.n_events)
    forest = IsolationForest(random_state=given.seed).fit(training)
    return _above(-forest.score_samples(training), -forest.score_samples(judged), given.alarm_rate)


def pca(given: PeerInput) -> PeerVerdicts:
    """What is left of event counts beyond their principal components, at the threshold that training gives.

    Source:
        Xu et al., SOSP 2009: weights by how few sessions have an event, components that hold 95 % of the variance.
    """
    from sklearn.decomposition import PCA

    training, judged = _counts(given.training, given.n_events), _counts(given.judged, given.n_events)
    # One session more than there are, so that an event which all have keeps a little weight.
    weight = np.log((len(training) + 1) / np.maximum((training > 0).sum(axis=0), 1))
    components = PCA(n_components=_PCA_VARIANCE, svd_solver="full").fit(training * weight)

    def left(counts: Float64s) -> Float64s:
        rebuilt = components.inverse_transform(components.transform(counts * weight))
        return np.asarray(((counts * weight - rebuilt) ** 2).sum(axis=1))

    return _above(left(training), left(judged), given.alarm_rate)


PEERS: dict[str, Callable[[PeerInput], PeerVerdicts]] = {
    "all positive": all_positive,
    "length": length,
    "new event": new_event,
    "2-gram": two_gram,
    "count vector": count_vector,
    "PCA": pca,
    "isolation forest": isolation_forest,
    "DeepLog": deeplog,
}


def _flagged(scores: Float64s) -> PeerVerdicts:
    return PeerVerdicts(scores, scores > 0)


def _above(usual: Float64s, scores: Float64s, alarm_rate: float) -> PeerVerdicts:
    return PeerVerdicts(scores, scores > np.quantile(usual, 1 - alarm_rate, method="higher"))


def _counts(sequences: Sequence[Int64s], n_events: int) -> Float64s:
    starts = np.concatenate([[0], np.cumsum([len(s) for s in sequences])]).astype(np.int64)
    return count_events(np.concatenate(sequences), starts, n_events)


def _pairs(sequence: Int64s) -> list[tuple[int, int]]:
    events = [-1, *sequence.tolist(), -1]
    return list(pairwise(events))


def _whole_windows(sequence: Int64s) -> Int64s:
    """Windows of which nothing is padding, and what followed each, int64 (N, W + 1)."""
    if len(sequence) <= _WINDOW_SIZE:
        return np.zeros((0, _WINDOW_SIZE + 1), dtype=np.int64)
    # A copy: a view can't be written to, and torch warns of that.
    return np.lib.stride_tricks.sliding_window_view(sequence, _WINDOW_SIZE + 1).copy()
