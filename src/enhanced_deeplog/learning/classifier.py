"""Stage 4: a dual-input, two-headed attention network that tells the kinds of anomaly apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from enhanced_deeplog.config import ClassifierConfig, LearningConfig
from enhanced_deeplog.events import PADDING
from enhanced_deeplog.learning.next_event import EventEncoder, the_device
from enhanced_deeplog.learning.training import EpochReport, one_thread, train

__all__ = ["ClassifierExamples", "EnhancedDeepLogModel", "fit_classifier"]

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]


class EnhancedDeepLogModel(nn.Module):
    """Reads the events up to the most surprising one and the features of the session, or of its prefix so far.

    The sequence head predicts the next event, the anomaly head the class: 0 is normal.

    Args:
        n_events: Size of the vocabulary (V).
        n_features: Columns of the features (D).
        n_classes: Anomaly classes, normal not counted (C).
        learning: Sizes of the encoder and the LSTM.
        config: Attention and losses.

    Source:
        Multi-head attention: Vaswani et al., NeurIPS 2017, section 3.2. The two heads over one encoder are ours.
    """

    def __init__(
        self,
        n_events: int,
        n_features: int,
        n_classes: int,
        *,
        learning: LearningConfig,
        config: ClassifierConfig,
    ) -> None:
        super().__init__()
        size = learning.hidden_size
        self.encoder = EventEncoder(n_events, learning)
        self.lstm = nn.LSTM(self.encoder.size, size, batch_first=True)
        self.attention = (
            nn.MultiheadAttention(size, config.attention_heads, config.attention_dropout, batch_first=True)
            if config.use_attention
            else None
        )
        self.norm = nn.LayerNorm(size) if config.use_attention and config.improved_attention else None
        self.dropout = nn.Dropout(config.attention_dropout)
        self.sequence_head = nn.Linear(size, n_events)
        self.anomaly_head = nn.Sequential(
            nn.Linear(size + n_features, size),
            nn.ReLU(),
            nn.Dropout(learning.dropout),
            nn.Linear(size, 1 + n_classes),
        )

    def forward(self, windows: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 (N, W), float32 (N, D) -> next-event logits (N, V), class logits (N, 1 + C)."""
        states, _ = self.lstm(self.encoder(windows))  # (N, W, H)
        if self.attention is not None:
            attended, _ = self.attention(states, states, states, need_weights=False)
            states = attended if self.norm is None else self.norm(states + self.dropout(attended))
        sequence = states[:, -1]  # (N, H)
        return self.sequence_head(sequence), self.anomaly_head(torch.cat([sequence, features], dim=1))


@dataclass(frozen=True)
class ClassifierExamples:
    """Prefixes of sessions and what they are.

    Attributes:
        windows: The W events up to the most surprising one, int64 (N, W).
        next_events: What followed it, PADDING where nothing did, int64 (N,).
        features: Of the prefix, float32 (N, D).
        classes: 0 normal, else the anomaly class, int64 (N,).
        sessions: The session of each prefix, int64 (N,); all prefixes of one are held out together.
    """

    windows: Int64s
    next_events: Int64s
    features: Float32s
    classes: Int64s
    sessions: Int64s

    def take(self, rows: npt.NDArray[np.bool_]) -> ClassifierExamples:
        """Some of the examples."""
        return ClassifierExamples(
            self.windows[rows],
            self.next_events[rows],
            self.features[rows],
            self.classes[rows],
            self.sessions[rows],
        )


def fit_classifier(
    training: ClassifierExamples,
    validation: ClassifierExamples,
    *,
    n_events: int,
    n_classes: int,
    learning: LearningConfig,
    config: ClassifierConfig,
    seed: int,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> tuple[EnhancedDeepLogModel, list[EpochReport]]:
    """Learn next event and class together.

    The loss is alpha * sequence + beta * anomaly + gamma * consistency. As often written, the consistency loss
    compares two outputs of different size. Ours says that both heads must agree on how normal a window is: the
    probability that the anomaly head gives to class 0 against the probability that the sequence head gives to
    what followed, relative to what it expected most (1 where the expected happened).

    Args:
        training: Prefixes to learn from.
        validation: Prefixes of other sessions, to stop by.
        n_events: Size of the vocabulary (V).
        n_classes: Anomaly classes (C).
        learning: Rules of training, sizes.
        config: Weights of the losses.
        seed: Of weights, dropout and order.
        on_epoch: Called after each epoch.

    Returns:
        The network with its best weights, on the CPU, and one report an epoch.

    Source:
        Focal loss: Lin et al., ICCV 2017, section 3.
    """
    torch.manual_seed(seed)
    device = the_device()
    n_features = training.features.shape[1]
    network = EnhancedDeepLogModel(n_events, n_features, n_classes, learning=learning, config=config).to(device)
    class_weights = _class_weights(training.classes, n_classes).to(device)

    def losses_of(examples: ClassifierExamples) -> Callable[[torch.Tensor], torch.Tensor]:
        windows, next_events, features, classes = (
            torch.as_tensor(array, device=device)
            for array in (examples.windows, examples.next_events, examples.features, examples.classes)
        )

        def losses(batch: torch.Tensor) -> torch.Tensor:
            next_logits, class_logits = network(windows[batch], features[batch])
            followed = next_events[batch]
            return (
                config.alpha
                * nn.functional.cross_entropy(next_logits, followed, reduction="none", ignore_index=PADDING)
                + config.beta * _anomaly_loss(class_logits, classes[batch], class_weights, config)
                + config.gamma * _consistency_loss(next_logits, followed, class_logits)
            )

        return losses

    with one_thread():
        reports = train(
            network,
            losses_of(training),
            np.ones(len(training.classes), dtype=np.int64),
            losses_of(validation),
            np.ones(len(validation.classes), dtype=np.int64),
            learning,
            seed=seed,
            on_epoch=on_epoch,
            epochs=config.epochs,
        )
    return network.cpu(), reports


def _class_weights(classes: Int64s, n_classes: int) -> torch.Tensor:
    """Rare classes count more, by the square root: fully balanced, the smallest ones drown the rest in noise."""
    counts = np.maximum(np.bincount(classes, minlength=1 + n_classes), 1)
    weights = np.sqrt(counts.mean() / counts)
    return torch.as_tensor(weights / weights.mean(), dtype=torch.float32)


def _anomaly_loss(
    logits: torch.Tensor, classes: torch.Tensor, class_weights: torch.Tensor, config: ClassifierConfig
) -> torch.Tensor:
    loss = nn.functional.cross_entropy(logits, classes, weight=class_weights, reduction="none")
    if config.loss == "focal":
        right = torch.softmax(logits, dim=1).gather(1, classes[:, None])[:, 0]
        loss = loss * (1.0 - right) ** config.focal_gamma
    return loss


def _consistency_loss(next_logits: torch.Tensor, followed: torch.Tensor, class_logits: torch.Tensor) -> torch.Tensor:
    expected = torch.softmax(next_logits, dim=1)
    as_expected = expected.gather(1, followed[:, None])[:, 0] / expected.max(dim=1).values
    normal = torch.softmax(class_logits, dim=1)[:, 0]
    return torch.where(followed == PADDING, torch.zeros_like(normal), (normal - as_expected) ** 2)
