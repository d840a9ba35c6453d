"""Settings: what is wrong with them is said at once, and what is meant is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import ConfigError

FIRST_DESCRIPTION = {
    "model_config": {
        "lstm_hidden_size": 64,
        "lstm_num_layers": 3,
        "lstm_dropout": 0.1,
        "use_attention": True,
        "attention_heads": 4,
        "attention_dropout": 0.2,
    },
    "training_config": {
        "batch_size": 32,
        "learning_rate": 0.01,
        "epochs": 7,
        "early_stopping_patience": 2,
    },
    "clustering_config": {"n_clusters": 4, "threshold": 0.5, "branching_factor": 20},
}


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.of(data)
    return str(caught.value)


# --- What is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"lerning": {}}, "Unknown setting 'lerning'. Did you mean 'learning'?"),
        (
            {"learning": {"hiddn_size": 8}},
            "Unknown setting 'learning.hiddn_size'. Did you mean 'hidden_size'?",
        ),
        (
            {"clustering": {"n_clusters": 3}},
            "Unknown setting 'clustering.n_clusters'. Did you mean 'n_classes'?",
        ),
        (
            {"sessions": {"xyz": 3}},
            "Unknown setting 'sessions.xyz'. Valid here: by, idle_gap_s, key, max_records, n_records, time_span_s.",
        ),
        ({"learning": {"epochs": 0}}, "learning.epochs: Input should be greater than or equal to 1; got 0."),
        (
            {"sessions": {"by": "day"}},
            "sessions.by: Input should be 'key', 'idle_gap', 'time_span' or 'count'",
        ),
        (
            {"clustering_config": {"n_clusters": 1}},
            "clustering_config.n_clusters counts normal as one cluster, so it must be a whole number from 2; got 1.",
        ),
        ({"detection": {"alarm_rate": "many"}}, "detection.alarm_rate: Input should be a valid number"),
    ],
)
def test_a_wrong_setting_is_named_and_the_nearest_one_is_offered(data: dict[str, Any], text: str) -> None:
    assert refusal(data).startswith(f"In the configuration: {text}")


def test_everything_that_is_wrong_is_said_at_once() -> None:
    text = refusal({"learning": {"epochs": 0, "dropout": 1}, "seeds": 3})
    assert "learning.epochs" in text
    assert "learning.dropout" in text
    assert "Did you mean 'seed'?" in text


def test_the_heads_of_attention_must_share_the_hidden_state_evenly() -> None:
    assert refusal({"learning": {"hidden_size": 20}}) == (
        "In the configuration: classifier.attention_heads must divide learning.hidden_size: 8 does not "
        "divide 20. Set attention_heads to 5, or use_attention to false."
    )
    with pytest.raises(ConfigError, match="8 does not divide 20"):
        Config().with_settings({"learning.hidden_size": "20"})


def test_without_attention_any_hidden_size_will_do() -> None:
    config = Config.of({"learning": {"hidden_size": 21}, "classifier": {"use_attention": False}})
    assert config.learning.hidden_size == 21
    assert Config.of({"learning": {"hidden_size": 21}, "classifier": {"attention_heads": 7}}).classifier


def test_settings_can_not_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().learning.epochs = 3  # type: ignore[misc]


# --- Files --------------------------------------------------------------------------------------------------


def test_settings_come_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "edl.toml"
    path.write_text('seed = 3\n[learning]\nhidden_size = 64\n[sessions]\nkey = "req-\\\\w+"\n')
    config = Config.read(path)
    assert (config.seed, config.learning.hidden_size, config.sessions.key) == (3, 64, "req-\\w+")


def test_settings_come_from_json(tmp_path: Path) -> None:
    path = tmp_path / "edl.json"
    path.write_text(json.dumps({"clustering": {"method": "ward", "n_classes": 3}}))
    assert Config.read(path).clustering.n_classes == 3


def test_settings_survive_being_written(tmp_path: Path) -> None:
    config = Config.of({"features": {"window_sizes": [5, 15]}, "templates": {"extra_masks": [["a", "b+"]]}})
    path = tmp_path / "edl.json"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    assert Config.read(path) == config


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.toml", "seed =", "Expected TOML in "),
        ("a.json", "{", "Expected a JSON object in "),
        ("a.json", "[1]", "Expected a JSON object in "),
        ("a.json", '"text"', "Expected a JSON object in "),
        ("a.toml", "\udcff", "Expected a TOML or JSON file with settings at "),
    ],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        Config.read(path)
    assert str(caught.value).startswith(f"{expected}{path}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at .*absent\.toml; it can't be read"):
        Config.read(tmp_path / "absent.toml")


def test_what_is_wrong_in_a_file_says_which_file(tmp_path: Path) -> None:
    path = tmp_path / "edl.toml"
    path.write_text("[learning]\nepoch = 3\n")
    with pytest.raises(ConfigError) as caught:
        Config.read(path)
    assert str(caught.value) == f"In {path}: Unknown setting 'learning.epoch'. Did you mean 'epochs'?"


# --- The method's first description -------------------------------------------------------------------------


def test_the_three_sections_of_the_first_description_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "first.json"
    path.write_text(json.dumps(FIRST_DESCRIPTION))
    config = Config.read(path)
    learning, classifier, clustering = config.learning, config.classifier, config.clustering
    assert (learning.hidden_size, learning.num_layers, learning.dropout) == (64, 3, 0.1)
    assert (learning.batch_size, learning.learning_rate, learning.epochs) == (32, 0.01, 7)
    assert learning.early_stopping_patience == 2
    assert (classifier.use_attention, classifier.attention_heads, classifier.attention_dropout) == (
        True,
        4,
        0.2,
    )
    assert (clustering.threshold, clustering.branching_factor) == (0.5, 20)


def test_there_normal_counts_as_one_cluster() -> None:
    assert Config.of(FIRST_DESCRIPTION).clustering.n_classes == 3


def test_one_of_the_three_sections_is_enough() -> None:
    config = Config.of({"training_config": {"epochs": 7}})
    assert config == Config.of({"learning": {"epochs": 7}})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            {"model_config": {"lstm_hidden": 3}},
            "Unknown setting 'model_config.lstm_hidden'. Did you mean 'lstm_hidden_size'?",
        ),
        (
            {"model_config": {}, "trainig_config": {}},
            "Unknown setting 'trainig_config'. Did you mean 'training_config'?",
        ),
        ({"model_config": 3}, "model_config must be an object with settings; got 3."),
    ],
)
def test_what_is_wrong_in_the_three_sections_is_said_too(data: dict[str, Any], text: str) -> None:
    assert refusal(data) == f"In the configuration: {text}"


# --- Single settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "7", 7),
        ("learning.hidden_size", "64", 64),
        ("learning.learning_rate", "1e-2", 0.01),
        ("classifier.use_attention", "false", False),
        ("clustering.method", "ward", "ward"),
        ("clustering.n_classes", "none", None),
        ("clustering.n_classes", "null", None),
        ("sessions.key", r"req-\d+", r"req-\d+"),
        ("features.window_sizes", "[5, 15]", (5, 15)),
    ],
)
def test_a_single_setting_is_given_as_text(key: str, text: str, value: object) -> None:
    found: Any = Config().with_settings({key: text})
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("learning.hiden_size", "Unknown setting 'learning.hiden_size'. Did you mean 'hidden_size'?"),
        ("lerning.hidden_size", "Unknown setting 'lerning.hidden_size'. Did you mean 'learning'?"),
        ("learning.epochs.more", "Unknown setting 'learning.epochs.more'. Did you mean 'epochs'?"),
        (
            "templates",
            "Unknown setting 'templates'. Valid here: templates.extra_masks, templates.masks_off, "
            "templates.min_values, templates.most_per_service, templates.similarity.",
        ),
    ],
)
def test_an_unknown_single_setting_is_explained(key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().with_settings({key: "3"})
    assert str(caught.value) == text


def test_settings_that_are_not_named_keep_their_values() -> None:
    changed = Config.of({"seed": 9}).with_settings({"learning.epochs": "3"})
    assert changed == Config.of({"seed": 9, "learning": {"epochs": 3}})


@pytest.mark.parametrize("sizes", [[0], [-3], [1001]])
def test_window_sizes_have_the_range_of_the_window_size(sizes: list[int]) -> None:
    assert "features.window_sizes.0: Input should be " in refusal({"features": {"window_sizes": sizes}})
