"""The networks and their training: seeds, losses, early stop, attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from enhanced_deeplog.config import ClassifierConfig, LearningConfig
from enhanced_deeplog.learning import classifier, training
from enhanced_deeplog.learning.classifier import ClassifierExamples, EnhancedDeepLogModel, fit_classifier
from enhanced_deeplog.learning.next_event import (
    BaseDeepLogModel,
    EventEncoder,
    WindowSet,
    _losses_everywhere,
    fit_base_model,
)
from enhanced_deeplog.learning.training import train
from enhanced_deeplog.logs.windows import distinct_windows, make_windows

V = 8


def learning_of(**changes: object) -> LearningConfig:
    small = {"hidden_size": 16, "embedding_size": 8, "epochs": 3, "learning_rate": 0.02, "window_size": 4}
    return LearningConfig.model_validate({**small, **changes})


def windows_of(*sessions: list[int]) -> WindowSet:
    made = [make_windows(np.array(session), 4) for session in sessions]
    found = distinct_windows(*(np.concatenate(arrays) for arrays in zip(*made, strict=True)))
    return WindowSet(found.windows, found.next_events, found.counts)


CYCLE = windows_of(*([3, 4, 5, 6, 7] * 4 + [2] for _ in range(3)))


def learn(seed: int = 0, **changes: object) -> tuple[BaseDeepLogModel, list[float]]:
    network, reports = fit_base_model(CYCLE, CYCLE, n_events=V, config=learning_of(**changes), seed=seed)
    return network, [report.validation_loss for report in reports]


def weights_of(network: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


# --- Stage 1 ------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    assert weights_of(learn(seed=3)[0]) == weights_of(learn(seed=3)[0])
    assert weights_of(learn(seed=3)[0]) != weights_of(learn(seed=4)[0])


def test_what_was_drawn_before_does_not_matter() -> None:
    one = weights_of(learn()[0])
    torch.rand(17)
    assert weights_of(learn()[0]) == one


EASY = {"dropout": 0.0, "num_layers": 1, "batch_size": 4}


def test_a_sequence_without_chance_is_learnt() -> None:
    network, losses = learn(epochs=100, early_stopping_patience=100, **EASY)
    followed = torch.as_tensor(CYCLE.next_events)
    logits, hidden_state = network(torch.as_tensor(CYCLE.windows))
    inside = followed != 2  # where the cycle ends, nothing before it tells
    inside[(torch.as_tensor(CYCLE.windows)[:, -1] == 7)] = False
    assert logits[inside].argmax(dim=1).tolist() == followed[inside].tolist()
    assert hidden_state.shape == (len(followed), 16)
    assert min(losses) < 0.3


def test_raw_ids_as_numbers_are_learnt_from_too_if_slowly() -> None:
    _, losses = learn(encoding="scalar", inside_weight=1.0, epochs=150, early_stopping_patience=150, **EASY)
    assert min(losses) < 0.6 * losses[0]


def test_the_events_inside_a_window_are_learnt_from_but_padding_is_not() -> None:
    torch.manual_seed(0)
    network = BaseDeepLogModel(V, learning_of(dropout=0.0))
    windows, next_events = torch.tensor([[0, 0, 3, 4], [5, 6, 7, 3]]), torch.tensor([5, 4])
    one, other = _losses_everywhere(network, windows, next_events, 2.0).tolist()

    def loss(past: list[int], followed: int) -> float:
        logits, _ = network(torch.tensor([past]))
        return float(-torch.log_softmax(logits, dim=1)[0, followed].detach())

    inside = loss([0, 0], 3) + loss([0, 0, 3], 4)
    assert one == pytest.approx(loss([0, 0, 3, 4], 5) + 2.0 * inside / 3, rel=1e-4)
    inside = loss([5], 6) + loss([5, 6], 7) + loss([5, 6, 7], 3)
    assert other == pytest.approx(loss([5, 6, 7, 3], 4) + 2.0 * inside / 3, rel=1e-4)


def test_a_scalar_encoding_is_the_raw_id_as_one_number() -> None:
    encoder = EventEncoder(V, learning_of(encoding="scalar"))
    assert encoder.size == 1
    assert list(encoder.parameters()) == []
    assert encoder(torch.tensor([[0, 4], [7, 2]])).tolist() == [[[0.0], [0.5]], [[0.875], [0.25]]]


def test_an_embedding_is_a_vector_for_each_event() -> None:
    encoder = EventEncoder(V, learning_of())
    assert encoder(torch.tensor([[3, 3, 4]])).shape == (1, 3, 8)


def test_a_network_judges_the_same_twice_and_drops_out_only_while_it_learns() -> None:
    network = BaseDeepLogModel(V, learning_of(num_layers=2, dropout=0.5))
    windows = torch.as_tensor(CYCLE.windows)
    network.eval()
    assert network(windows)[0].tolist() == network(windows)[0].tolist()
    network.train()
    assert network(windows)[0].tolist() != network(windows)[0].tolist()


# --- The loop -----------------------------------------------------------------------------------------------


class OneWeight(nn.Module):
    """A network of one number, and losses that say how far it is from another."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def away_from(self, *targets: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda batch: (self.weight - torch.tensor(targets)[batch]) ** 2


def run(network: OneWeight, goals: list[float], held_out: list[float], **changes: object) -> list[float]:
    config = learning_of(**{"epochs": 60, "learning_rate": 0.1, **changes})
    reports = train(
        network,
        network.away_from(*goals),
        np.ones(len(goals), dtype=np.int64),
        network.away_from(*held_out),
        np.ones(len(held_out), dtype=np.int64),
        config,
        seed=0,
    )
    assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
    return [report.validation_loss for report in reports]


def test_training_stops_when_held_out_sessions_stop_getting_better_and_keeps_the_best_weights() -> None:
    network = OneWeight()
    losses = run(network, goals=[5.0], held_out=[1.0], early_stopping_patience=4)
    best = losses.index(min(losses))
    assert 0 < best < len(losses) - 1
    assert len(losses) == best + 1 + 4
    assert float((network.weight.detach() - 1.0) ** 2) == pytest.approx(losses[best])


def test_training_that_gets_better_goes_on_to_the_last_epoch() -> None:
    assert len(run(OneWeight(), goals=[100.0], held_out=[100.0], epochs=20)) == 20


def test_of_many_held_out_examples_some_are_judged_and_their_mean_is_that_of_all() -> None:
    counts = np.random.default_rng(0).integers(1, 50, 40_000)
    generator = torch.Generator().manual_seed(0)
    rows, weights = training._held_out(counts, generator)
    assert len(rows) == training._MOST_HELD_OUT
    of_each = np.sin(np.arange(40_000) / 7_000.0) + counts / 50
    drawn = float((torch.as_tensor(of_each)[rows] * weights).sum() / weights.sum())
    assert drawn == pytest.approx(np.average(of_each, weights=counts), rel=0.02)
    few, their_weights = training._held_out(counts[:100], generator)
    assert (few.tolist(), their_weights.tolist()) == (list(range(100)), counts[:100].tolist())


@pytest.mark.parametrize("epochs", range(1, 11))
def test_so_few_steps_as_one_an_epoch_are_taken(epochs: int) -> None:
    network = OneWeight()
    config = learning_of(epochs=epochs, batch_size=4096, early_stopping_patience=99)
    losses = network.away_from(5.0)
    assert len(train(network, losses, np.array([1]), losses, np.array([1]), config, seed=0)) == epochs


def test_the_learning_rate_rises_and_falls() -> None:
    network = OneWeight()
    reports = train(
        network,
        network.away_from(5.0),
        np.array([1]),
        lambda batch: torch.ones(len(batch)),
        np.array([1]),
        learning_of(epochs=12, early_stopping_patience=99),
        seed=0,
    )
    rates = [report.learning_rate for report in reports]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.02, rel=0.05)
    assert 0 < peak < 4
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert rates[-1] < rates[peak] / 100


def test_a_window_that_occurred_often_counts_as_often() -> None:
    """The best single number is the mean of all examples, repeated ones counted as often as they occurred."""
    network = OneWeight()
    goals, counts = (0.0, 1.0), np.array([1, 9])
    train(
        network,
        network.away_from(*goals),
        counts,
        network.away_from(*goals),
        counts,
        learning_of(epochs=200, learning_rate=0.02, early_stopping_patience=200, batch_size=2),
        seed=0,
    )
    assert float(network.weight.detach()) == pytest.approx(0.9, abs=0.05)


# --- Stage 4 ------------------------------------------------------------------------------------------------


def examples(n: int, seed: int = 0) -> ClassifierExamples:
    """Class 1 shows in the events, class 2 in the features."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    windows = np.where(classes[:, None] == 1, 7, rng.integers(3, 6, (n, 4)))
    features = rng.normal(0, 0.1, (n, 5)).astype(np.float32)
    features[classes == 2, 0] += 3
    return ClassifierExamples(windows, np.where(classes == 0, 4, 0), features, classes, np.arange(n))


def network_of(**config: object) -> EnhancedDeepLogModel:
    torch.manual_seed(0)
    settings = ClassifierConfig.model_validate(config)
    return EnhancedDeepLogModel(V, 5, 2, learning=learning_of(), config=settings).eval()


ATTENTION = {
    "off": {"use_attention": False},
    "plain": {"improved_attention": False},
    "improved": {},
}


@pytest.mark.parametrize("form", ATTENTION)
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_every_form_of_the_classifier_learns_from_events_and_features(form: str, loss: str) -> None:
    config = ClassifierConfig.model_validate({**ATTENTION[form], "loss": loss, "epochs": 25})
    network, _ = fit_classifier(
        examples(200),
        examples(60, seed=1),
        n_events=V,
        n_classes=2,
        learning=learning_of(early_stopping_patience=25),
        config=config,
        seed=0,
    )
    fresh = examples(100, seed=2)
    _, logits = network(torch.as_tensor(fresh.windows), torch.as_tensor(fresh.features))
    assert (logits.argmax(dim=1).numpy() == fresh.classes).mean() > 0.95


def test_the_classifier_is_the_same_for_the_same_seed() -> None:
    fitted = [
        fit_classifier(
            examples(50),
            examples(20, seed=1),
            n_events=V,
            n_classes=2,
            learning=learning_of(),
            config=ClassifierConfig(epochs=2),
            seed=seed,
        )[0]
        for seed in (5, 5, 6)
    ]
    assert weights_of(fitted[0]) == weights_of(fitted[1]) != weights_of(fitted[2])


def test_attention_can_be_off_plain_or_improved() -> None:
    names = {form: set(dict(network_of(**config).named_children())) for form, config in ATTENTION.items()}
    assert names["plain"] - names["off"] == {"attention"}
    assert names["improved"] - names["plain"] == {"norm"}


def test_improved_attention_is_a_residual_under_a_layer_norm() -> None:
    network = network_of()
    windows, features = torch.tensor([[3, 4, 5, 6]]), torch.zeros(1, 5)
    states, _ = network.lstm(network.encoder(windows))
    attended, _ = network.attention(states, states, states)  # type: ignore[misc]
    sequence = network.norm(states + attended)[:, -1]  # type: ignore[misc]
    torch.testing.assert_close(network(windows, features)[0], network.sequence_head(sequence))


def test_both_heads_have_their_sizes() -> None:
    next_logits, class_logits = network_of()(torch.ones(6, 4, dtype=torch.int64), torch.zeros(6, 5))
    assert (next_logits.shape, class_logits.shape) == ((6, V), (6, 3))


def test_the_sequence_head_does_not_read_the_features() -> None:
    network, windows = network_of(), torch.tensor([[3, 4, 5, 6]])
    one, other = (network(windows, torch.full((1, 5), value)) for value in (0.0, 9.0))
    assert one[0].tolist() == other[0].tolist()
    assert one[1].tolist() != other[1].tolist()


# --- Losses by hand -----------------------------------------------------------------------------------------

LOGITS = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
EVEN = torch.ones(3)


def test_the_focal_loss_makes_little_of_what_is_right_already() -> None:
    classes = torch.tensor([0, 2])
    plain = classifier._anomaly_loss(LOGITS, classes, EVEN, ClassifierConfig())
    focal = classifier._anomaly_loss(LOGITS, classes, EVEN, ClassifierConfig(loss="focal", focal_gamma=2.0))
    assert plain.tolist() == pytest.approx([-np.log(0.7), -np.log(0.3)])
    assert focal.tolist() == pytest.approx([-np.log(0.7) * 0.3**2, -np.log(0.3) * 0.7**2], rel=1e-5)
    none = classifier._anomaly_loss(LOGITS, classes, EVEN, ClassifierConfig(loss="focal", focal_gamma=0.0))
    assert none.tolist() == pytest.approx(plain.tolist())


def test_rare_classes_count_more_by_the_square_root() -> None:
    weights = classifier._class_weights(np.repeat([0, 1], [90, 10]), 1)
    assert float(weights[1] / weights[0]) == pytest.approx(3.0)
    assert float(weights.mean()) == pytest.approx(1.0)


def test_the_heads_are_consistent_when_they_agree_on_how_normal_a_window_is() -> None:
    next_logits = torch.log(torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]))
    class_logits = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]))
    followed = torch.tensor([1, 2, 0])
    losses = classifier._consistency_loss(next_logits, followed, class_logits).tolist()
    # The expected happened: 1 against .9. An event an eighth as probable: .125 against .9. Nothing: 0.
    assert losses == pytest.approx([0.1**2, (0.9 - 0.125) ** 2, 0.0], rel=1e-4)
