"""The one function that scores windows, on ONNX Runtime and NumPy alone.

Everything is scored here, in the calibration of `fit` too. A row's result is bitwise the same in any batch and with
any number of threads, so a threshold can't flip.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# From version 1.29 on, ONNX Runtime sends to its maker what it runs, and only this keeps it from it altogether.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime  # after the variable, which is read while it loads

from enhanced_deeplog.errors import BundleError
from enhanced_deeplog.events import UNKNOWN

onnxruntime.disable_telemetry_events()  # where somebody has loaded it before us

__all__ = [
    "ExpectedEvents",
    "OnnxNetwork",
    "SeenWindows",
    "WindowScores",
    "expected_events",
    "score_windows",
    "softmax",
]

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

ExpectedEvents: TypeAlias = list[tuple[int, float]]  # event ids and their probabilities, best first

_BATCH = 1024  # rows a call; larger ones were no faster on two cores


@dataclass(frozen=True)
class OnnxNetwork:
    """A network as bytes, and the means to run it.

    Attributes:
        model: The ONNX model.
        threads: Threads of one call; 0: as many as there are cores.
    """

    model: bytes
    threads: int = 0

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Threads that spin while they wait take the cores from whatever else runs here.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # it logs to stderr whatever it raises as well
        try:
            return onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no base class but this
            raise BundleError(f"Expected an ONNX network; ONNX Runtime refuses it: {str(error)[:200]}") from None

    def load(self) -> None:
        """Load it, which is done before the first run at the latest.

        Raises:
            BundleError: If it is no network that the runtime knows.
        """
        _ = self._session

    def run(self, **inputs: npt.NDArray[Any]) -> list[Float32s]:
        """Run all rows, batch by batch.

        Args:
            inputs: By name; the first axis is the rows.

        Returns:
            The outputs, rows concatenated.
        """
        n_rows = len(next(iter(inputs.values())))
        if not n_rows:  # the runtime aborts the whole process where an LSTM gets no row
            one = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in inputs.items()}
            return [output[:0] for output in self.run(**one)]
        batches = [
            self._session.run(None, {name: array[start : start + _BATCH] for name, array in inputs.items()})
            for start in range(0, n_rows, _BATCH)
        ]
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


@dataclass(frozen=True)
class WindowScores:
    """What the base model says of each window and what followed it.

    Attributes:
        surprise: -log p(observed event), nats, float64 (N,).
        rank: 1-based place of the observed event in the prediction, int64 (N,).
        hidden_state: After the window, float32 (N, H).
    """

    surprise: Float64s
    rank: Int64s
    hidden_state: Float32s

    def take(self, rows: npt.NDArray[Any]) -> WindowScores:
        """Some of them, in another order."""
        return WindowScores(self.surprise[rows], self.rank[rows], self.hidden_state[rows])

    def and_then(self, others: WindowScores) -> WindowScores:
        """These and others."""
        return WindowScores(
            np.concatenate([self.surprise, others.surprise]),
            np.concatenate([self.rank, others.rank]),
            np.concatenate([self.hidden_state, others.hidden_state]),
        )


class SeenWindows:
    """Scores of the windows seen last, so that what comes again is not scored again.

    What was asked for since the last clearing is kept, and what was kept then, until it is cleared the next time.

    Args:
        most: Pairs of window and next event after which it is cleared.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._kept: list[tuple[npt.NDArray[np.void], WindowScores]] = []  # since the last clearing; at it; keys sorted

    def score(self, score: Callable[[Int64s], WindowScores], keys: npt.NDArray[np.void]) -> WindowScores:
        """Scores of distinct pairs, asking only for those of which none are kept.

        Args:
            score: Scores some of them, given by their places: each the same, whatever the others are.
            keys: Tell the pairs apart, whenever they come, void (N,).
        """
        left = np.arange(len(keys))
        order: list[Int64s] = []
        parts: list[WindowScores] = []
        for kept, scores in self._kept:
            place = np.minimum(np.searchsorted(kept, keys[left]), len(kept) - 1)
            hit = kept[place] == keys[left]
            order.append(left[hit])
            parts.append(scores.take(place[hit]))
            left = left[~hit]
        if len(left) or not parts:
            order.append(left)
            parts.append(score(left))
        found = reduce(WindowScores.and_then, parts).take(np.argsort(np.concatenate(order)))
        self._keep(keys, found)
        return found

    def _keep(self, keys: npt.NDArray[np.void], found: WindowScores) -> None:
        if not len(keys):
            return
        recent = self._kept[:1] if len(self._kept) and len(self._kept[0][0]) < self._most else []
        older = self._kept[1:2] if recent else self._kept[:1]
        if recent:
            keys, found = np.concatenate([recent[0][0], keys]), recent[0][1].and_then(found)
        keys, first = np.unique(keys, return_index=True)
        self._kept = [(keys, found.take(first)), *older]


def score_windows(network: OnnxNetwork, windows: Int64s, next_events: Int64s, *, smoothing: float) -> WindowScores:
    """Judge what followed each window.

    Args:
        network: The base model.
        windows: int64 (N, W).
        next_events: int64 (N,).
        smoothing: Share of probability spread evenly over all events. A network that saw n events can't know that
            anything is rarer than 1/n; with it, an event never seen has the largest surprise there is.

    Returns:
        Surprise, rank and hidden state of each window.
    """
    logits, hidden_state = network.run(windows=windows)
    probability = softmax(logits)  # (N, V)
    n_events = probability.shape[1]
    observed = probability[np.arange(len(next_events)), next_events]
    observed = np.where(next_events == UNKNOWN, 0.0, observed)
    rank = (probability > observed[:, None]).sum(axis=1) + 1
    return WindowScores(-np.log((1 - smoothing) * observed + smoothing / n_events), rank, hidden_state)


def expected_events(network: OnnxNetwork, windows: Int64s, n_expected: int) -> list[ExpectedEvents]:
    """The events the base model expected most after each window, with their probabilities."""
    (logits, _) = network.run(windows=windows)
    probability = softmax(logits)
    order = np.argsort(-probability, axis=1, kind="stable")[:, :n_expected]
    return [[(int(e), float(row[e])) for e in events] for row, events in zip(probability, order, strict=True)]


def softmax(logits: npt.NDArray[Any], temperature: float = 1.0) -> Float64s:
    """Probabilities from logits, float64 (N, C); computed row by row, so that a row never depends on its batch."""
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64) / temperature
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
