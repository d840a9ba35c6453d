"""Settings, one model a stage. The comment of a field is its manual."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from enhanced_deeplog.errors import ConfigError

__all__ = [
    "ClassifierConfig",
    "ClusteringConfig",
    "Config",
    "DetectionConfig",
    "FeatureConfig",
    "LearningConfig",
    "RedactionConfig",
    "SessionConfig",
    "TemplateConfig",
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemplateConfig(_Section):
    """How bodies become templates (stage parse)."""

    similarity: float = Field(0.5, gt=0, le=1)  # share of equal tokens that makes bodies one template
    min_values: int = Field(6, ge=2)  # so many values in one place make it variable
    most_per_service: int = Field(2000, ge=10)  # the most frequent of a service are learnt from; the rest is UNKNOWN
    extra_masks: tuple[tuple[str, str], ...] = ()  # (name, regular expression), applied before the built-in ones
    masks_off: tuple[str, ...] = ()  # names of built-in masks to leave out


class RedactionConfig(_Section):
    """What must not be stored or shown (stage parse)."""

    ip: bool = False  # network addresses are secrets, too
    extra: tuple[tuple[str, str], ...] = ()  # (name, regular expression) of own kinds of secret
    off: tuple[str, ...] = ()  # names of built-in kinds to leave alone
    min_sessions: int = Field(5, ge=1)  # so many must share a word of a template, or it is hidden; 1: none is


class SessionConfig(_Section):
    """How records become sessions (stage parse)."""

    by: Literal["key", "idle_gap", "time_span", "count"] = "key"  # what makes records one session
    key: str | None = None  # name before the session key, known key, or regular expression; None: found
    idle_gap_s: float = Field(60.0, gt=0, le=1e9)  # pause that cuts records without a key, s
    time_span_s: float = Field(300.0, gt=0, le=1e9)  # length of a session with by = "time_span", s
    n_records: int = Field(100, ge=1)  # length of a session with by = "count", and of blocks of a log without keys
    max_records: int = Field(1000, ge=2)  # a longer session goes on as its next part


class LearningConfig(_Section):
    """Stage 1: the network that learns normal behaviour, and the rules of every training."""

    most_records: int = Field(1_000_000, ge=1000)  # of a longer log, whole sessions are drawn to learn from
    window_size: int = Field(10, ge=1, le=1000)  # past events the network sees (h in DeepLog)
    # Tried beside it, so that a fit can say which predicts better; the method uses none of them.
    compare_window_sizes: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (5, 20)
    encoding: Literal["embedding", "scalar"] = "embedding"  # "scalar": the raw id as one number, for comparison
    embedding_size: int = Field(32, ge=1)  # E
    hidden_size: int = Field(64, ge=1)  # H
    num_layers: int = Field(2, ge=1)  # of the LSTM, one upon another
    dropout: float = Field(0.2, ge=0, lt=1)  # share of what a layer says that is left out in training
    batch_size: int = Field(32, ge=1)  # windows of one step of training
    learning_rate: float = Field(0.01, gt=0)  # at its peak; it rises and falls over all epochs
    epochs: int = Field(16, ge=1)  # at most so many
    draws_per_epoch: int = Field(2048, ge=1)  # windows drawn in an epoch, at most
    inside_weight: float = Field(3.0, ge=0)  # of predicting the events inside a window, against what followed it
    early_stopping_patience: int = Field(6, ge=1)  # epochs without a better held-out loss
    validation_share: float = Field(0.2, gt=0, lt=1)  # sessions held out of training to stop it


class DetectionConfig(_Section):
    """Whether a session is abnormal."""

    mode: Literal["rarity", "top_k"] = "rarity"  # "top_k": as DeepLog was published, an event of rank > top_k
    alarm_rate: float = Field(0.001, gt=0, lt=0.5)  # share of normal sessions that may raise a false alarm
    top_k: int = Field(9, ge=1)  # g in DeepLog
    n_folds: int = Field(3, ge=2)  # each normal session is scored by a network that never saw it
    timing: bool = False  # also judge how long each step took
    values: bool = False  # also judge the numbers that lines carry


Block = Literal[
    "surprise_profile",  # which events surprised, and how much
    "count_deviation",  # which events are too many or too few, against the nearest normal session
    "deviation",  # share of surprising and of unseen events, longest repetition, early end
    "statistics",  # length, distinct events, diversity, where the deviation begins
    "event_counts",  # how often each event occurred
    "transitions",  # how often each frequent pair of events followed one another
    "hidden_state",  # last LSTM layer at the most surprising event
    "perturbation",  # hidden state against normal: its direction and strength
    "window_sizes",  # which events surprised base models that see more or less of the past
    "timing",  # which events came late; with `detection.timing` alone, and then always there
    "values",  # which events carried odd numbers; with `detection.values` alone, and then always there
]


class FeatureConfig(_Section):
    """Stage 2: what is read of a session. A block that is not named is switched off."""

    clustering_blocks: tuple[Block, ...] = ("surprise_profile", "count_deviation", "deviation")
    classifier_blocks: tuple[Block, ...] = (
        "surprise_profile",
        "count_deviation",
        "deviation",
        "statistics",
        "hidden_state",
        "perturbation",
    )
    # Further window sizes, each with a base model and a surprise profile.
    window_sizes: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = ()


class ClusteringConfig(_Section):
    """Stage 3: the kinds of anomaly."""

    method: Literal["birch", "ward", "average"] = "birch"  # how like things are brought together
    n_classes: int | None = Field(None, ge=1)  # number of anomaly classes, normal not counted; None: found
    max_classes: int = Field(25, ge=2)  # the most classes that are looked for
    threshold: float | None = Field(None, gt=0)  # radius of a BIRCH subcluster; None: from the data
    branching_factor: int = Field(50, ge=2)  # subclusters in a node of BIRCH
    min_class_size: int = Field(5, ge=1)  # a class needs so many findings; the rest are unknown


class ClassifierConfig(_Section):
    """Stage 4: the network that tells the kinds apart."""

    use_attention: bool = True  # the events of a window attend to one another
    attention_heads: int = Field(8, ge=1)  # each attends by itself
    attention_dropout: float = Field(0.1, ge=0, lt=1)  # share of the attention that is left out in training
    improved_attention: bool = True  # with residual, layer norm and dropout
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"  # "focal" counts what is hard to tell more
    focal_gamma: float = Field(2.0, ge=0)  # how much more
    alpha: float = Field(0.3, ge=0)  # weight of the sequence loss
    beta: float = Field(1.0, ge=0)  # weight of the anomaly loss
    gamma: float = Field(0.1, ge=0)  # weight of the consistency loss
    epochs: int = Field(12, ge=1)  # at most so many


class Config(_Section):
    """All settings of a fit."""

    seed: int = Field(0, ge=0, lt=2**31)  # same seed, same bundle
    redaction: RedactionConfig = RedactionConfig()
    templates: TemplateConfig = TemplateConfig()
    sessions: SessionConfig = SessionConfig()
    learning: LearningConfig = LearningConfig()
    detection: DetectionConfig = DetectionConfig()
    features: FeatureConfig = FeatureConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    classifier: ClassifierConfig = ClassifierConfig()

    @property
    def blocks_for_clustering(self) -> tuple[Block, ...]:
        """The blocks that clustering reads."""
        return self._with_switched_on(self.features.clustering_blocks)

    @property
    def blocks_for_classifier(self) -> tuple[Block, ...]:
        """The blocks that the classifier reads."""
        return self._with_switched_on(self.features.classifier_blocks)

    def _with_switched_on(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        more: list[Block] = ["window_sizes"] if self.features.window_sizes else []
        if self.detection.timing and "timing" not in blocks:
            more.append("timing")
        if self.detection.values and "values" not in blocks:
            more.append("values")
        return (*blocks, *more)

    @model_validator(mode="after")
    def _late_events_are_looked_for(self) -> Config:
        features = self.features
        if "timing" in (*features.clustering_blocks, *features.classifier_blocks) and not self.detection.timing:
            raise ValueError(
                "The block timing needs detection.timing: without it, no event is late. Set detection.timing to true, "
                "or take timing out of features.clustering_blocks and features.classifier_blocks."
            )
        return self

    @model_validator(mode="after")
    def _odd_numbers_are_looked_for(self) -> Config:
        features = self.features
        if "values" in (*features.clustering_blocks, *features.classifier_blocks) and not self.detection.values:
            raise ValueError(
                "The block values needs detection.values: without it, no number is odd. Set detection.values to true, "
                "or take values out of features.clustering_blocks and features.classifier_blocks."
            )
        return self

    @model_validator(mode="after")
    def _heads_share_the_hidden_state(self) -> Config:
        heads, size = self.classifier.attention_heads, self.learning.hidden_size
        if self.classifier.use_attention and size % heads:
            fitting = max(n for n in range(1, heads) if size % n == 0)
            raise ValueError(
                f"classifier.attention_heads must divide learning.hidden_size: {heads} does not divide {size}. "
                f"Set attention_heads to {fitting}, or use_attention to false."
            )
        return self

    @classmethod
    def of(cls, data: Mapping[str, Any], *, where: str = "the configuration") -> Config:
        """Validate settings.

        Args:
            data: Sections and their settings; or the three sections `model_config`, `training_config` and
                `clustering_config` of the method's first description.
            where: Named in errors.

        Raises:
            ConfigError: If a key is unknown or a value out of range; names the key, and the nearest valid one.

        Example:
            >>> Config.of({"learning": {"hidden_size": 64}}).learning.hidden_size
            64
        """
        try:
            return cls.model_validate(_from_first_description(data, where) if _FIRST_SECTIONS & set(data) else data)
        except ValidationError as error:
            raise ConfigError(_explain(error, where)) from None

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read settings from a TOML or JSON file.

        Raises:
            ConfigError: If the file can't be read, or says something it may not.
        """
        return cls.of(_read_mapping(path), where=str(path))

    def with_settings(self, settings: Mapping[str, str]) -> Config:
        """Change single settings, given as text: `{"learning.hidden_size": "64"}`."""
        data = self.model_dump()
        for key, text in settings.items():
            *sections, name = key.split(".")
            place = data
            for section in sections:
                child = place.get(section)
                if not isinstance(child, dict):
                    valid = [k for k, v in place.items() if isinstance(v, dict)] or list(place)
                    raise ConfigError(_unknown(key, section, valid))
                place = child
            if isinstance(place.get(name), dict):
                raise ConfigError(_unknown(key, "", [f"{name}.{setting}" for setting in place[name]]))
            if name not in place:
                raise ConfigError(_unknown(key, name, list(place)))
            place[name] = _value(text)
        return Config.of(data, where="--set")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None if text in ("none", "None") else text


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        return dict(json.loads(text)) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Expected a TOML or JSON file with settings at {path}; it can't be read: {error}.") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"Expected {'a JSON object' if path.suffix == '.json' else 'TOML'} in {path}: {error}."
        ) from None


def _unknown(key: str, part: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(part, valid, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Valid here: {', '.join(sorted(valid))}."
    return f"Unknown setting {key!r}. {hint}"


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown(key, path[-1], _valid_keys(path[:-1])))
        elif not path and "error" in problem.get("ctx", {}):  # several settings together; the text names them
            lines.append(str(problem["ctx"]["error"]))
        else:
            lines.append(f"{key}: {problem['msg']}; got {problem['input']!r}.")
    return f"In {where}: " + " ".join(lines)


def _valid_keys(path: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for name in path:
        annotation = section.model_fields[name].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return list(section.model_fields)


# The method's first description had these three sections; files written for it keep working.
_FIRST_NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "model_config": {
        "lstm_hidden_size": ("learning", "hidden_size"),
        "lstm_num_layers": ("learning", "num_layers"),
        "lstm_dropout": ("learning", "dropout"),
        "use_attention": ("classifier", "use_attention"),
        "attention_heads": ("classifier", "attention_heads"),
        "attention_dropout": ("classifier", "attention_dropout"),
    },
    "training_config": {
        "batch_size": ("learning", "batch_size"),
        "learning_rate": ("learning", "learning_rate"),
        "epochs": ("learning", "epochs"),
        "early_stopping_patience": ("learning", "early_stopping_patience"),
    },
    "clustering_config": {
        "n_clusters": ("clustering", "n_classes"),
        "threshold": ("clustering", "threshold"),
        "branching_factor": ("clustering", "branching_factor"),
    },
}
_FIRST_SECTIONS = set(_FIRST_NAMES)


def _from_first_description(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    for section, settings in data.items():
        if section not in _FIRST_NAMES:
            raise ConfigError(f"In {where}: {_unknown(section, section, list(_FIRST_NAMES))}")
        if not isinstance(settings, Mapping):
            raise ConfigError(f"In {where}: {section} must be an object with settings; got {settings!r}.")
        names = _FIRST_NAMES[section]
        for name, value in settings.items():
            if name not in names:
                raise ConfigError(f"In {where}: {_unknown(f'{section}.{name}', name, list(names))}")
            our_section, our_name = names[name]
            if name == "n_clusters" and value is not None:
                if type(value) is not int or value < 2:
                    raise ConfigError(
                        f"In {where}: {section}.n_clusters counts normal as one cluster, so it must be a "
                        f"whole number from 2; "
                        f"got {value!r}."
                    )
                value -= 1
            ours.setdefault(our_section, {})[our_name] = value
    return ours
