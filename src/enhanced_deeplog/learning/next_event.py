"""Stage 1: an LSTM that learns which event follows (DeepLog)."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from enhanced_deeplog.config import LearningConfig
from enhanced_deeplog.events import PADDING
from enhanced_deeplog.learning.training import EpochReport, one_thread, train

__all__ = [
    "BaseDeepLogModel",
    "EventEncoder",
    "StackedLSTM",
    "WindowSet",
    "export_onnx",
    "fit_base_model",
    "the_device",
]

Int64s = npt.NDArray[np.int64]


def the_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class EventEncoder(nn.Module):
    """Event ids to vectors: an embedding, or the raw id as one number.

    Args:
        n_events: Size of the vocabulary (V).
        config: `encoding` and `embedding_size`.
    """

    def __init__(self, n_events: int, config: LearningConfig) -> None:
        super().__init__()
        self.n_events = n_events
        self.embedding = nn.Embedding(n_events, config.embedding_size) if config.encoding == "embedding" else None
        self.size = config.embedding_size if self.embedding is not None else 1

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """int64 (N, W) -> float32 (N, W, E)."""
        if self.embedding is None:
            return (windows.float() / self.n_events).unsqueeze(-1)
        encoded: torch.Tensor = self.embedding(windows)
        return encoded


_TORCH_GLOBALS = threading.Lock()  # drawing weights and exporting use state that torch has only once


class StackedLSTM(nn.Module):
    """LSTM layers with dropout between them, drawn from a generator of their own.

    torch's own stack draws dropout from the global generator: networks trained side by side would disturb each other.

    Args:
        input_size: Columns of the input.
        config: `hidden_size`, `num_layers`, `dropout`.
    """

    def __init__(self, input_size: int, config: LearningConfig) -> None:
        super().__init__()
        sizes = [input_size, *[config.hidden_size] * (config.num_layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in sizes)
        self.dropout = config.dropout
        self.generator: torch.Generator | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 (N, W, E) -> states float32 (N, W, H)."""
        states = inputs
        for i, layer in enumerate(self.layers):
            if i and self.training and self.dropout:
                kept = torch.rand(states.shape, generator=self.generator, device=states.device) >= self.dropout
                states = states * kept / (1.0 - self.dropout)
            states, _ = layer(states)
        return states


class BaseDeepLogModel(nn.Module):
    """Predicts the next event of a window.

    Args:
        n_events: Size of the vocabulary (V).
        config: Sizes of the network.

    Source:
        Du et al., CCS 2017 (DeepLog), section 3.1: a stacked LSTM and a softmax over log keys. The embedding in
        place of the raw key, and the END event, are ours.
    """

    def __init__(self, n_events: int, config: LearningConfig) -> None:
        super().__init__()
        self.encoder = EventEncoder(n_events, config)
        self.lstm = StackedLSTM(self.encoder.size, config)
        self.output = nn.Linear(config.hidden_size, n_events)

    def forward(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 (N, W) -> logits float32 (N, V), hidden state float32 (N, H)."""
        hidden_state = self.lstm(self.encoder(windows))[:, -1]  # (N, W, H) -> (N, H)
        return self.output(hidden_state), hidden_state


@dataclass(frozen=True)
class WindowSet:
    """Distinct windows, what followed them, and how often."""

    windows: Int64s
    next_events: Int64s
    counts: Int64s


def fit_base_model(
    training: WindowSet,
    validation: WindowSet,
    *,
    n_events: int,
    config: LearningConfig,
    seed: int,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> tuple[BaseDeepLogModel, list[EpochReport]]:
    """Learn which event follows each window of normal behaviour.

    The events inside a window are predicted, too: the network has read what came before them anyway, and learns from
    W events where it would learn from one. What is held out is judged by what followed the window alone.

    Args:
        training: Windows of the sessions to learn from.
        validation: Windows of sessions held out, to stop by.
        n_events: Size of the vocabulary (V).
        config: Rules of training.
        seed: Of weights, dropout and order.
        on_epoch: Called after each epoch.

    Returns:
        The network with its best weights, on the CPU, and one report an epoch.
    """
    device = the_device()
    with _TORCH_GLOBALS:
        torch.manual_seed(seed)
        network = BaseDeepLogModel(n_events, config).to(device)
    network.lstm.generator = torch.Generator(device).manual_seed(seed)

    def on_device(examples: WindowSet) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.as_tensor(examples.windows, device=device),
            torch.as_tensor(examples.next_events, device=device),
        )

    windows, next_events = on_device(training)
    held_out_windows, held_out_next_events = on_device(validation)

    def held_out_losses(batch: torch.Tensor) -> torch.Tensor:
        logits, _ = network(held_out_windows[batch])
        return nn.functional.cross_entropy(logits, held_out_next_events[batch], reduction="none")

    with one_thread():
        reports = train(
            network,
            lambda batch: _losses_everywhere(network, windows[batch], next_events[batch], config.inside_weight),
            training.counts,
            held_out_losses,
            validation.counts,
            config,
            seed=seed,
            on_epoch=on_epoch,
        )
    return network.cpu(), reports


def _losses_everywhere(
    network: BaseDeepLogModel, windows: torch.Tensor, next_events: torch.Tensor, inside_weight: float
) -> torch.Tensor:
    """Loss of what followed each window, plus, weighed, the mean of the events inside it; padding has none, (N,)."""
    logits = network.output(network.lstm(network.encoder(windows)))  # (N, W, V)
    followed = torch.cat([windows[:, 1:], next_events[:, None]], dim=1)  # (N, W)
    each = nn.functional.cross_entropy(logits.transpose(1, 2), followed, reduction="none", ignore_index=PADDING)
    return each[:, -1] + inside_weight * each[:, :-1].sum(dim=1) / max(windows.shape[1] - 1, 1)


def export_onnx(network: nn.Module, inputs: dict[str, torch.Tensor], output_names: list[str]) -> bytes:
    """Write a network as ONNX: weights inside, no source path, any number of rows.

    Args:
        network: In evaluation mode, on the CPU.
        inputs: An example of each input, by name; the first axis is the rows.
        output_names: Names of the outputs.

    Returns:
        The bytes of the model.
    """
    buffer = io.BytesIO()
    axes = {name: {0: "rows"} for name in [*inputs, *output_names]}
    with _TORCH_GLOBALS, warnings.catch_warnings():
        # The tracing exporter: the newer one takes seconds and writes source paths into the file.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]  # the stub leaves out file objects, which this exporter takes
            input_names=list(inputs),
            output_names=output_names,
            dynamic_axes=axes,
            dynamo=False,
        )
    return buffer.getvalue()
