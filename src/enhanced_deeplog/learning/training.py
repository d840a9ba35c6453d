"""The one minibatch loop: seed, early stop, schedule; a report per epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from enhanced_deeplog.config import LearningConfig

__all__ = ["EpochReport", "one_thread", "train"]

_LEAST_GAIN = 0.001  # share by which the held-out loss must get better to count as better

_MOST_HELD_OUT = 6_000  # examples judged after an epoch
_LEAST_STEPS = 10  # of the cycle, which can't be cut into phases where it has five
_LEAST_BATCHES = 16  # an epoch: where few examples are distinct, they are drawn again and again

Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: From 1.
        loss: Mean of the loss that is trained, over the drawn examples.
        validation_loss: Weighted mean of the loss to stop by, over the held-out examples; where the two are different
            losses, they can't be compared.
        learning_rate: At its end.
    """

    epoch: int
    loss: float
    validation_loss: float
    learning_rate: float


@contextmanager
def one_thread() -> Iterator[None]:
    """Train on one thread: the result can't depend on the number of cores.

    With networks this small a second thread saves a third at best; where another process wants the core, the two
    wait for each other and training takes ten times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(
    network: nn.Module,
    losses: Loss,
    counts: npt.NDArray[np.int64],
    validation_losses: Loss,
    validation_counts: npt.NDArray[np.int64],
    config: LearningConfig,
    *,
    seed: int,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
    epochs: int | None = None,
) -> list[EpochReport]:
    """Train for so many epochs, or until the held-out loss has stopped getting better, and keep the best weights.

    Distinct examples are drawn with a probability proportional to the square root of their count and weighted by
    the other square root: the expected loss is that of all examples, repeated ones counted as often as they
    occurred, while common and rare examples both take part in every epoch.

    Args:
        network: Trained in place.
        losses: Loss of the examples whose indices are given, float32 (B,).
        counts: How often each distinct example occurred, int64 (N,).
        validation_losses: What to stop by, of the held-out examples; need not be the loss that is trained.
        validation_counts: int64 (M,).
        config: Rules of training.
        seed: Of the order of the examples.
        on_epoch: Called after each epoch.
        epochs: Instead of `config.epochs`.

    Returns:
        One report an epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    weights = torch.as_tensor(counts, dtype=torch.float64)
    chance = weights.sqrt() / weights.sqrt().sum()
    importance = (weights / weights.sum() / chance).float()
    n_draws = min(max(len(counts), _LEAST_BATCHES * config.batch_size), config.draws_per_epoch)
    epochs = epochs or config.epochs
    schedule = _cycle(optimiser, config.learning_rate, epochs * math.ceil(n_draws / config.batch_size))
    held_out, held_out_weights = _held_out(validation_counts, generator)
    best_loss, best_epoch, best_state = float("inf"), 0, _copy(network)
    reports: list[EpochReport] = []
    for epoch in range(1, epochs + 1):
        network.train()
        total = 0.0
        for batch in _draw(chance, n_draws, generator).split(config.batch_size):  # type: ignore[no-untyped-call]  # torch leaves split untyped
            loss = (losses(batch) * importance[batch].to(_device(network))).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves this method untyped
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        validation = _mean_loss(network, validation_losses, held_out, held_out_weights)
        reports.append(EpochReport(epoch, total / n_draws, validation, float(schedule.get_last_lr()[0])))
        on_epoch(reports[-1])
        if validation < best_loss * (1.0 - _LEAST_GAIN):
            best_loss, best_epoch, best_state = validation, epoch, _copy(network)
        elif epoch - best_epoch >= config.early_stopping_patience:
            break
    network.load_state_dict(best_state)
    network.eval()
    return reports


def _cycle(optimiser: torch.optim.Optimizer, peak: float, n_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A learning rate that rises to its peak in the first fifth of the steps and falls to nearly nothing in the rest.

    Source:
        Smith and Topin, 2018, Super-convergence.
    """
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=peak,
        total_steps=max(n_steps, _LEAST_STEPS),
        pct_start=0.2,
        div_factor=10,
        final_div_factor=100,
    )


def _draw(chance: torch.Tensor, n_draws: int, generator: torch.Generator) -> torch.Tensor:
    """Systematic resampling: evenly spaced places on the cumulated chances, so that no example is missed by luck."""
    places = (torch.rand(1, generator=generator, dtype=torch.float64) + torch.arange(n_draws)) / n_draws
    drawn = torch.searchsorted(chance.cumsum(0), places).clamp(max=len(chance) - 1)
    return drawn[torch.randperm(n_draws, generator=generator)]


@torch.no_grad()
def _mean_loss(network: nn.Module, losses: Loss, rows: torch.Tensor, weights: torch.Tensor) -> float:
    network.eval()
    batches: tuple[torch.Tensor, ...] = rows.split(4096)  # type: ignore[no-untyped-call]  # as above
    each = torch.cat([losses(batch).double().cpu() for batch in batches])
    return float((each * weights).sum() / weights.sum())


def _held_out(counts: npt.NDArray[np.int64], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The held-out examples to stop by, and what each weighs: all of them, or so many drawn as the others are.

    They are judged after each epoch, and in a log of many shapes there are far more of them than are trained on.
    """
    weights = torch.as_tensor(counts, dtype=torch.float64)
    if len(counts) <= _MOST_HELD_OUT:
        return torch.arange(len(counts)), weights
    rows = _draw(weights.sqrt() / weights.sqrt().sum(), _MOST_HELD_OUT, generator)
    return rows, weights[rows].sqrt()


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
