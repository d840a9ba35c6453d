"""A fitted model as plain data, and back: what lies between the detector and the files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from enhanced_deeplog.base_scorer import BaseScorer
from enhanced_deeplog.checked_values import array_of, expect, number_of
from enhanced_deeplog.config import Block, Config, SessionConfig
from enhanced_deeplog.detection import Calibration, Detection
from enhanced_deeplog.errors import BundleError, UsageError
from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.findings import SEVERITIES, AnomalyClass
from enhanced_deeplog.learning.anomaly_score import EVERY_EVIDENCE, TIMING, VALUES, SessionScore
from enhanced_deeplog.learning.calibration import N_QUANTILES
from enhanced_deeplog.learning.class_centres import ClassCentres
from enhanced_deeplog.learning.features import FeatureSpace
from enhanced_deeplog.learning.scoring import OnnxNetwork
from enhanced_deeplog.learning.surprise import UsualSurprise
from enhanced_deeplog.logs.pause_limits import PauseLimits
from enhanced_deeplog.logs.session_keys import session_key_of
from enhanced_deeplog.logs.sessions import SessionRules
from enhanced_deeplog.logs.templates import TemplateMiner
from enhanced_deeplog.model_card import model_card
from enhanced_deeplog.usual_parts import (
    balanced_pairs_of,
    known_counts_of,
    usual_most_of,
    usual_pauses_of,
    usual_sequences_of,
    usual_values_of,
)
from enhanced_deeplog.verdicts import Kinds

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["ModelParts", "parts_of", "restore"]

Arrays = Mapping[str, npt.NDArray[Any]]
Float64s = npt.NDArray[np.float64]

_POPULATIONS = {True: "keyed", False: "unkeyed"}  # sessions made by a key, and those without


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
    calibration = detection.calibration
    documents: dict[str, Any] = {
        "config": model.config.model_dump(mode="json"),
        "templates": model.miner.to_json(),
        "vocabulary": list(model.vocabulary.templates),
        "sessions": {
            "rules": asdict(model.session_rules),
            "pauses": {unit: limits.to_json() for unit, limits in model.pause_limits.items()},
        },
        "score": {
            "smoothing": detection.scorer.smoothing,
            "calibration": {_POPULATIONS[keyed]: score.to_json() for keyed, score in calibration.scores.items()},
            "drift": calibration.usual.drift,
            "misplacement_drift": calibration.usual.misplacement_drift,
            "n_alike": calibration.known.n_alike,
            "prior": kinds.prior,
            "temperature": kinds.temperature,
            "reach": kinds.centres.reach if kinds.centres is not None else 0.0,
        },
        "classes": [c.to_json() for c in kinds.classes],
        "summary": model.summary,
        "model_card": model_card(model),
    }
    usual_pauses, usual_lateness = detection.scorer.usual_pauses, calibration.lateness
    if usual_pauses is not None and usual_lateness is not None:
        documents["score"]["timing"] = {"resolution_s": usual_pauses.resolution_s, **asdict(usual_lateness)}
    usual_values, usual_oddness = detection.scorer.usual_values, calibration.oddness
    if usual_values is not None and usual_oddness is not None:
        documents["score"]["values"] = asdict(usual_oddness)
    statistics: dict[str, npt.NDArray[Any]] = {
        "known_events": detection.scorer.known,
        "known_whole": calibration.known.whole,
        "n_known_whole": calibration.known.n_whole,
        "known_any": calibration.known.any,
        "n_known_any": calibration.known.n_any,
        "known_scale": calibration.known.scale,
        "balanced.pairs": calibration.balanced.pairs,
        "balanced.n_having": calibration.balanced.n_having,
        "balanced.n_unequal": calibration.balanced.n_unequal,
        "usual_surprise": calibration.usual.by_event,
        "normal_state": detection.normal_state,
        "usual_sequences": detection.usual_sequences.event_ids,
        "usual_sequences.starts": detection.usual_sequences.starts,
        "usual_sequences.n_alike": detection.usual_sequences.n_alike,
    }
    if usual_pauses is not None:
        statistics |= {"pauses.steps": usual_pauses.steps, "pauses.n_pauses": usual_pauses.n_pauses}
        statistics |= {"pauses.longest": usual_pauses.longest, "pauses.rarity": usual_pauses.rarity}
        statistics |= {"pauses.scale": usual_pauses.scale}
    if usual_values is not None:
        statistics |= {f"values.{name}": array for name, array in usual_values.to_parts().items()}
    tensors = {"statistics": statistics, "base_model": dict(detection.state)}
    networks = {"base_model": detection.scorer.network.model}
    networks |= {f"base_model_{size}": scorer.network.model for size, scorer in detection.by_size.items()}
    if kinds.space is not None and kinds.centres is not None and kinds.network is not None:
        statistics |= {f"space.{name}": array for name, array in kinds.space.to_parts().items()}
        statistics |= {"centres": kinds.centres.centres, "radii": kinds.centres.radii}
        statistics |= {"members": kinds.centres.members, "n_members": kinds.centres.n_members}
        tensors["classifier"] = dict(kinds.state)
        networks["classifier"] = kinds.network.model
    return ModelParts(documents, tensors, networks)


def restore(model: EnhancedDeepLog, parts: ModelParts) -> None:
    """Give an empty model everything that a fitted one knows.

    Raises:
        BundleError: If a part isn't what this version writes, or doesn't fit the others.
    """
    documents, statistics = parts.documents, parts.tensors["statistics"]
    model.config = Config.of(documents["config"], where="the bundle's config")
    model.miner = TemplateMiner.from_json(documents["templates"])
    texts = documents["vocabulary"]
    expect(
        isinstance(texts, list) and all(isinstance(t, str) for t in texts),
        "vocabulary",
        "a list of texts",
        texts,
    )
    model.vocabulary = EventVocabulary(tuple(texts))
    model.session_rules = _session_rules(documents["sessions"]["rules"])
    n_events = len(model.vocabulary)
    pauses = documents["sessions"]["pauses"]
    model.pause_limits = {unit: _pause_limits(unit, limits, n_events) for unit, limits in pauses.items()}
    model.summary = _summary(documents["summary"])

    score = documents["score"]
    scorer = BaseScorer(
        OnnxNetwork(parts.networks["base_model"]),
        array_of(statistics, "known_events", (n_events,), np.bool_),
        number_of(score, "smoothing", least=0.0, most=1.0),
        model.config.learning.window_size,
    )
    by_size = {
        size: replace(scorer, network=OnnxNetwork(parts.networks[f"base_model_{size}"]), window_size=size)
        for size in model.config.features.window_sizes
        if size != scorer.window_size
    }
    for one in (scorer, *by_size.values()):
        logits, state = one.network.run(windows=np.zeros((1, one.window_size), dtype=np.int64))
        array_of(
            {"the prediction of a base model": logits},
            "the prediction of a base model",
            (1, n_events),
            np.float32,
        )
        array_of(
            {"the hidden state": state},
            "the hidden state",
            (1, model.config.learning.hidden_size),
            np.float32,
        )
    populations = set(score["calibration"])
    good = bool(populations) and populations <= set(_POPULATIONS.values())
    expect(good, "score.calibration", "keyed, unkeyed or both", populations)
    scores = {k: _calibration(score["calibration"][n]) for k, n in _POPULATIONS.items() if n in score["calibration"]}
    usual = UsualSurprise(
        number_of(score, "drift", least=0.0),
        array_of(statistics, "usual_surprise", (n_events,)),
        number_of(score, "misplacement_drift"),
    )
    timing, values = model.config.detection.timing, model.config.detection.values
    for kinds in (one.tails.keys() for one in scores.values()):
        expect((TIMING in kinds) == timing, "score.calibration", "of timing if detection.timing says so", kinds)
        expect((VALUES in kinds) == values, "score.calibration", "of values if detection.values says so", kinds)
    model.detection = Detection(
        replace(
            scorer,
            usual_pauses=usual_pauses_of(score, statistics, n_events) if timing else None,
            usual_values=usual_values_of(statistics, n_events) if values else None,
        ),
        by_size,
        Calibration(
            known_counts_of(score, statistics, n_events),
            balanced_pairs_of(statistics, n_events),
            usual,
            scores,
            usual_most_of(score, "timing") if timing else None,
            usual_most_of(score, "values") if values else None,
        ),
        _weights(parts, "base_model"),
        [],
        array_of(statistics, "normal_state", (model.config.learning.hidden_size,)),
        usual_sequences_of(statistics, n_events),
    )
    model.kinds = _kinds(model, parts)


def _summary(data: dict[str, Any]) -> dict[str, Any]:
    """What `fit` said, if what is drawn of it is numbers in rows; a bundle of an earlier version has less."""
    for name, width in (("losses", 3), ("class_number_curve", 4), ("reliability", 3)):
        rows = data.get(name, [])
        good = isinstance(rows, list) and all(
            isinstance(row, list) and len(row) == width and all(type(value) in (int, float) for value in row)
            for row in rows
        )
        expect(good, f"summary.{name}", f"rows of {width} numbers", rows)
    return data


def _session_rules(data: Mapping[str, Any]) -> SessionRules:
    try:
        SessionConfig.model_validate(data, strict=True)  # rules and settings have the same names and ranges
        if data["key"] is not None:
            session_key_of(data["key"])
        return SessionRules(**data)
    except (ValidationError, UsageError, KeyError, TypeError) as error:
        raise BundleError(f"In the bundle, sessions.rules can't be used: {error}") from None


def _pause_limits(unit: str, data: Mapping[str, Any], n_events: int) -> PauseLimits:
    name = f"sessions.pauses.{unit}"
    expect(
        unit in ("ns", "records") and data["unit"] == unit,
        name,
        'of the unit "ns" or "records"',
        data["unit"],
    )
    for key, ticks in (("closed_after", [data["closed_after"]]), ("ended_after", data["ended_after"])):
        good = isinstance(ticks, list) and all(type(t) is int and 0 <= t < 2**62 for t in ticks)
        expect(good, f"{name}.{key}", "whole numbers from 0", ticks)
    limits = PauseLimits.from_json(data)
    array_of({name: limits.ended_after}, name, (n_events,), np.int64)
    return limits


def _calibration(data: Mapping[str, Any]) -> SessionScore:
    agreement, tails = data.get("agreement"), data["tails"]
    expect(type(agreement) is float and 0 <= agreement <= 1, "score.agreement", "a number from 0 to 1", agreement)
    good = isinstance(tails, Mapping) and {"counts"} < tails.keys() <= {*EVERY_EVIDENCE}
    expect(good, "score.tails", "of counts and other kinds of evidence", tails)
    calibration = SessionScore.from_json(data)
    number_of(data, "n_normal", least=1)
    array_of({"score.largest": calibration.largest}, "score.largest", (None,))
    for kind, tail in (*calibration.tails.items(), ("combined", calibration.combined)):
        name, written = f"score.{kind}", data["combined"] if kind == "combined" else data["tails"][kind]
        quantiles = array_of({name: tail.quantiles}, name, (N_QUANTILES,))
        expect(bool((np.diff(quantiles) >= 0).all()), name, "ascending quantiles", quantiles)
        number_of(written, "start")
        number_of(written, "at_start")
        number_of(written, "share", least=0.0, most=1.0)
        number_of(written, "scale", least=0.0)
        number_of(written, "n_tail", least=1)
        array_of({name: tail.seen}, name, (None,))
        array_of({name: tail.seen_rarity}, name, (len(tail.seen),))
    return calibration


def _kinds(model: EnhancedDeepLog, parts: ModelParts) -> Kinds:
    documents, statistics = parts.documents, parts.tensors["statistics"]
    classes = tuple(_anomaly_class(data) for data in documents["classes"])
    ids = [c.id for c in classes]
    expect(ids == [*range(1, len(ids) + 1)], "classes", "numbered from 1", ids)
    prior = number_of(documents["score"], "prior", least=0.0, most=1.0)
    if not classes:
        return Kinds(prior=prior)
    space = _feature_space(model, statistics)
    width = space.width(model.config.blocks_for_clustering)
    radii = array_of(statistics, "radii", (len(classes),))
    expect(bool((radii > 0).all()), "radii", "above 0", radii)
    members = array_of(statistics, "members", (None, width), np.float32)
    n_members = array_of(statistics, "n_members", (len(members),), np.int64)
    expect(len(members) > 0 and bool((n_members > 0).all()), "members and n_members", "of a session each at least", 0)
    centres = ClassCentres(
        centres=array_of(statistics, "centres", (len(classes), width)),
        radii=radii,
        members=members,
        n_members=n_members,
        n_alike=model.config.clustering.min_class_size,
        reach=number_of(documents["score"], "reach", least=0.0),
    )
    network = OnnxNetwork(parts.networks["classifier"])
    windows = np.zeros((1, model.config.learning.window_size), dtype=np.int64)
    inputs = np.zeros((1, space.width(model.config.blocks_for_classifier)), dtype=np.float32)
    _, logits = network.run(windows=windows, features=inputs)
    said = "the prediction of the classifier"
    array_of({said: logits}, said, (1, 1 + len(classes)), np.float32)
    return Kinds(
        classes=classes,
        space=space,
        centres=centres,
        network=network,
        temperature=number_of(documents["score"], "temperature", least=0.0),
        prior=prior,
        state=_weights(parts, "classifier"),
    )


def _feature_space(model: EnhancedDeepLog, statistics: Arrays) -> FeatureSpace:
    """The scales of exactly the blocks that the settings ask for, each as wide as the vocabulary makes it."""
    n_events, hidden_size = len(model.vocabulary), model.config.learning.hidden_size
    features = model.config.features
    transitions = array_of(statistics, "space.transitions", (None, 2), np.int64)
    expect(
        bool(((transitions >= 0) & (transitions < n_events)).all()),
        "space.transitions",
        "event ids",
        transitions,
    )
    others = {*features.window_sizes} - {model.config.learning.window_size}
    widths: dict[Block, int] = {
        "surprise_profile": n_events + 1,
        "count_deviation": n_events,
        "deviation": 4,
        "statistics": 4,
        "event_counts": n_events,
        "transitions": len(transitions),
        "hidden_state": hidden_size,
        "perturbation": hidden_size + 1,
        "window_sizes": 1 + len(others) * (n_events + 1),
        "timing": n_events,
        "values": n_events,
    }
    shift: dict[str, Float64s] = {}
    scale: dict[str, Float64s] = {}
    for block in dict.fromkeys((*model.config.blocks_for_clustering, *model.config.blocks_for_classifier)):
        shift[block] = array_of(statistics, f"space.shift.{block}", (widths[block],))
        scale[block] = array_of(statistics, f"space.scale.{block}", (widths[block],))
        expect(bool((scale[block] > 0).all()), f"space.scale.{block}", "above 0", scale[block])
    detection = model.detection
    return FeatureSpace(
        detection.calibration.known,
        detection.drift,
        detection.normal_state,
        transitions,
        shift,
        scale,
        detection.calibration.lateness,
        detection.calibration.oddness,
    )


def _weights(parts: ModelParts, network: str) -> Arrays:
    weights = parts.tensors[network]
    return {name: array_of(weights, name, array.shape, np.float32) for name, array in weights.items()}


def _anomaly_class(data: Mapping[str, Any]) -> AnomalyClass:
    templates = tuple((str(text), float(share)) for text, share in data["templates"])
    texts = {
        name: tuple(map(str, data.get(name, ()))) for name in ("typical", "usual", "template_ids", "patterns")
    }  # a bundle of an earlier version has none
    expect(data.get("severity", "info") in SEVERITIES, "classes.severity", ", ".join(SEVERITIES), data.get("severity"))
    return AnomalyClass(**{**data, **texts, "templates": templates})
