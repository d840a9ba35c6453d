"""The one function that scores windows, on ONNX Runtime and NumPy alone.

Everything is scored here, in the calibration of `fit` too. A row's result is bitwise the same in any batch and with
any number of threads, so a threshold can't flip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from enhanced_deeplog.errors import BundleError
from enhanced_deeplog.events import UNKNOWN

__all__ = ["OnnxNetwork", "WindowScores", "expected_events", "score_windows", "softmax"]

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

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


def expected_events(network: OnnxNetwork, windows: Int64s, n_expected: int) -> list[list[tuple[int, float]]]:
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
