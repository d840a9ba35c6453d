"""A fitted model as plain data, and back: what lies between the detector and the files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import BundleError
from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.findings import AnomalyClass
from enhanced_deeplog.learning.anomaly_classes import ClassCentres
from enhanced_deeplog.learning.anomaly_score import KnownCounts, SessionScore
from enhanced_deeplog.learning.features import FeatureSpace
from enhanced_deeplog.learning.scoring import OnnxNetwork
from enhanced_deeplog.logs.sessions import PauseLimits, SessionRules
from enhanced_deeplog.logs.templates import TemplateMiner
from enhanced_deeplog.model_card import model_card
from enhanced_deeplog.stages import BaseScorer, Detection
from enhanced_deeplog.verdicts import Kinds

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["ModelParts", "parts_of", "restore"]


@dataclass(frozen=True)
class ModelParts:
    """A fitted model as plain data: what a bundle holds.

    Attributes:
        documents: JSON-able data, by name.
        tensors: Named arrays, by name.
        networks: ONNX models, by name.
    """

    documents: dict[str, Any]
    tensors: dict[str, dict[str, npt.NDArray[Any]]]
    networks: dict[str, bytes]


def parts_of(model: EnhancedDeepLog) -> ModelParts:
    """Take a fitted model apart."""
    detection, kinds = model.detection, model.kinds
    documents = {
        "config": model.config.model_dump(mode="json"),
        "templates": model.miner.to_json(),
        "vocabulary": list(model.vocabulary.templates),
        "sessions": {
            "rules": asdict(model.session_rules),
            "pauses": {unit: limits.to_json() for unit, limits in model.pause_limits.items()},
        },
        "score": {
            "smoothing": detection.scorer.smoothing,
            "calibration": detection.score.to_json(),
            "prior": kinds.prior,
            "temperature": kinds.temperature,
        },
        "classes": [c.to_json() for c in kinds.classes],
        "summary": model.summary,
        "model_card": model_card(model),
    }
    statistics: dict[str, npt.NDArray[Any]] = {
        "known_events": detection.scorer.known,
        "known_whole": detection.known.whole,
        "known_any": detection.known.any,
        "known_scale": detection.known.scale,
        "normal_state": detection.normal_state,
    }
    tensors = {"statistics": statistics, "base_model": dict(detection.state)}
    networks = {"base_model": detection.scorer.network.model}
    networks |= {f"base_model_{size}": scorer.network.model for size, scorer in detection.by_size.items()}
    if kinds.space is not None and kinds.centres is not None and kinds.network is not None:
        statistics |= {f"space.{name}": array for name, array in kinds.space.to_parts().items()}
        statistics |= {"centres": kinds.centres.centres, "radii": kinds.centres.radii}
        tensors["classifier"] = dict(kinds.state)
        networks["classifier"] = kinds.network.model
    return ModelParts(documents, tensors, networks)


def restore(model: EnhancedDeepLog, parts: ModelParts) -> None:
    """Give an empty model everything that a fitted one knows.

    Raises:
        BundleError: If a part doesn't fit the others.
    """
    documents, statistics = parts.documents, parts.tensors["statistics"]
    model.config = Config.of(documents["config"], where="the bundle's config")
    model.miner = TemplateMiner.from_json(documents["templates"])
    model.vocabulary = EventVocabulary(tuple(documents["vocabulary"]))
    model.session_rules = SessionRules(**documents["sessions"]["rules"])
    pauses = documents["sessions"]["pauses"]
    model.pause_limits = {unit: PauseLimits.from_json(limits) for unit, limits in pauses.items()}
    model.summary = documents["summary"]

    n_events = len(model.vocabulary)
    for name in ("known_events", "known_scale"):
        _expect_shape(name, statistics[name], (n_events,))
    for name in ("known_whole", "known_any"):
        _expect_shape(name, statistics[name], (None, n_events))
    for limits in model.pause_limits.values():
        _expect_shape("the pauses", limits.ended_after, (n_events,))
    score = documents["score"]
    scorer = BaseScorer(
        OnnxNetwork(parts.networks["base_model"]),
        statistics["known_events"],
        float(score["smoothing"]),
        model.config.learning.window_size,
    )
    logits, state = scorer.network.run(windows=np.zeros((1, scorer.window_size), dtype=np.int64))
    _expect_shape("the prediction of the base model", logits, (1, n_events))
    _expect_shape("normal_state", statistics["normal_state"], (state.shape[1],))
    calibration = SessionScore.from_json(score["calibration"])
    known = KnownCounts(statistics["known_whole"], statistics["known_any"], statistics["known_scale"])
    by_size = {
        size: replace(scorer, network=OnnxNetwork(parts.networks[f"base_model_{size}"]), window_size=size)
        for size in model.config.features.window_sizes
        if size != scorer.window_size
    }
    model.detection = Detection(
        scorer, by_size, known, calibration, parts.tensors["base_model"], [], np.zeros(0), statistics["normal_state"]
    )
    model.kinds = _kinds(model, parts, calibration.drift)


def _kinds(model: EnhancedDeepLog, parts: ModelParts, drift: float) -> Kinds:
    documents, statistics = parts.documents, parts.tensors["statistics"]
    classes = tuple(_anomaly_class(data) for data in documents["classes"])
    prior = float(documents["score"]["prior"])
    if not classes:
        return Kinds(prior=prior)
    prefix = "space."
    arrays = {name.removeprefix(prefix): a for name, a in statistics.items() if name.startswith(prefix)}
    space = FeatureSpace.from_parts(arrays, drift)
    features = model.config.features
    _expect_shape("centres", statistics["centres"], (len(classes), space.width(features.for_clustering)))
    _expect_shape("radii", statistics["radii"], (len(classes),))
    network = OnnxNetwork(parts.networks["classifier"])
    windows = np.zeros((1, model.config.learning.window_size), dtype=np.int64)
    inputs = np.zeros((1, space.width(features.for_classifier)), dtype=np.float32)
    _, logits = network.run(windows=windows, features=inputs)
    _expect_shape("the classes of the classifier", logits, (1, 1 + len(classes)))
    return Kinds(
        classes=classes,
        space=space,
        centres=ClassCentres(statistics["centres"], statistics["radii"]),
        network=network,
        temperature=float(documents["score"]["temperature"]),
        prior=prior,
        state=parts.tensors["classifier"],
    )


def _anomaly_class(data: Mapping[str, Any]) -> AnomalyClass:
    templates = tuple((str(text), float(share)) for text, share in data["templates"])
    return AnomalyClass(**{**data, "templates": templates})


def _expect_shape(name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...]) -> None:
    fits = len(array.shape) == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise BundleError(f"In the bundle, {name} must have the shape {shape}; it has {array.shape}.")
