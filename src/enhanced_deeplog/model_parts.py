"""A fitted model as plain data, and back: what lies between the detector and the files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from enhanced_deeplog.base_scorer import BaseScorer
from enhanced_deeplog.config import Block, Config, SessionConfig
from enhanced_deeplog.detection import Calibration, Detection
from enhanced_deeplog.errors import BundleError, UsageError
from enhanced_deeplog.events import FIRST_TEMPLATE, PADDING, EventVocabulary
from enhanced_deeplog.findings import SEVERITIES, AnomalyClass
from enhanced_deeplog.learning.anomaly_score import EVERY_EVIDENCE, TIMING, VALUES, SessionScore
from enhanced_deeplog.learning.balance import LEAST_HAVING, BalancedPairs
from enhanced_deeplog.learning.calibration import N_QUANTILES
from enhanced_deeplog.learning.class_centres import ClassCentres
from enhanced_deeplog.learning.features import FeatureSpace
from enhanced_deeplog.learning.known_counts import KnownCounts
from enhanced_deeplog.learning.pauses import LEAST_PAUSES, UsualPauses
from enhanced_deeplog.learning.scoring import OnnxNetwork
from enhanced_deeplog.learning.surprise import UsualSurprise
from enhanced_deeplog.learning.upper_tail import LEAST_SCALE, N_LARGEST, UsualMost
from enhanced_deeplog.learning.usual_sequences import UsualSequences
from enhanced_deeplog.learning.values import (
    LEAST_VALUES,
    MOST_FEW,
    MOST_SIGNED,
    RESOLUTIONS,
    UsualValues,
)
from enhanced_deeplog.logs.numbers import MOST_NUMBERS
from enhanced_deeplog.logs.pause_limits import PauseLimits
from enhanced_deeplog.logs.session_keys import session_key_of
from enhanced_deeplog.logs.sessions import SessionRules
from enhanced_deeplog.logs.templates import TemplateMiner
from enhanced_deeplog.model_card import model_card
from enhanced_deeplog.verdicts import Kinds

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["ModelParts", "parts_of", "restore"]

Arrays = Mapping[str, npt.NDArray[Any]]
Float64s = npt.NDArray[np.float64]

_MOST_COUNTED = 2**53  # above it, float64 has not every whole number
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
    _expect(
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
        _array(statistics, "known_events", (n_events,), np.bool_),
        _number(score, "smoothing", least=0.0, most=1.0),
        model.config.learning.window_size,
    )
    by_size = {
        size: replace(scorer, network=OnnxNetwork(parts.networks[f"base_model_{size}"]), window_size=size)
        for size in model.config.features.window_sizes
        if size != scorer.window_size
    }
    for one in (scorer, *by_size.values()):
        logits, state = one.network.run(windows=np.zeros((1, one.window_size), dtype=np.int64))
        _array(
            {"the prediction of a base model": logits},
            "the prediction of a base model",
            (1, n_events),
            np.float32,
        )
        _array(
            {"the hidden state": state},
            "the hidden state",
            (1, model.config.learning.hidden_size),
            np.float32,
        )
    populations = set(score["calibration"])
    good = bool(populations) and populations <= set(_POPULATIONS.values())
    _expect(good, "score.calibration", "keyed, unkeyed or both", populations)
    scores = {k: _calibration(score["calibration"][n]) for k, n in _POPULATIONS.items() if n in score["calibration"]}
    usual = UsualSurprise(
        _number(score, "drift", least=0.0),
        _array(statistics, "usual_surprise", (n_events,)),
        _number(score, "misplacement_drift"),
    )
    timing, values = model.config.detection.timing, model.config.detection.values
    for kinds in (one.tails.keys() for one in scores.values()):
        _expect((TIMING in kinds) == timing, "score.calibration", "of timing if detection.timing says so", kinds)
        _expect((VALUES in kinds) == values, "score.calibration", "of values if detection.values says so", kinds)
    model.detection = Detection(
        replace(
            scorer,
            usual_pauses=_usual_pauses(score, statistics, n_events) if timing else None,
            usual_values=_usual_values(statistics, n_events) if values else None,
        ),
        by_size,
        Calibration(
            _known_counts(score, statistics, n_events),
            _balanced(statistics, n_events),
            usual,
            scores,
            _usual_most(score, "timing") if timing else None,
            _usual_most(score, "values") if values else None,
        ),
        _weights(parts, "base_model"),
        [],
        _array(statistics, "normal_state", (model.config.learning.hidden_size,)),
        _usual_sequences(statistics, n_events),
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
        _expect(good, f"summary.{name}", f"rows of {width} numbers", rows)
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
    _expect(
        unit in ("ns", "records") and data["unit"] == unit,
        name,
        'of the unit "ns" or "records"',
        data["unit"],
    )
    for key, ticks in (("closed_after", [data["closed_after"]]), ("ended_after", data["ended_after"])):
        good = isinstance(ticks, list) and all(type(t) is int and 0 <= t < 2**62 for t in ticks)
        _expect(good, f"{name}.{key}", "whole numbers from 0", ticks)
    limits = PauseLimits.from_json(data)
    _array({name: limits.ended_after}, name, (n_events,), np.int64)
    return limits


def _calibration(data: Mapping[str, Any]) -> SessionScore:
    agreement, tails = data.get("agreement"), data["tails"]
    _expect(type(agreement) is float and 0 <= agreement <= 1, "score.agreement", "a number from 0 to 1", agreement)
    good = isinstance(tails, Mapping) and {"counts"} < tails.keys() <= {*EVERY_EVIDENCE}
    _expect(good, "score.tails", "of counts and other kinds of evidence", tails)
    calibration = SessionScore.from_json(data)
    _number(data, "n_normal", least=1)
    _array({"score.largest": calibration.largest}, "score.largest", (None,))
    for kind, tail in (*calibration.tails.items(), ("combined", calibration.combined)):
        name, written = f"score.{kind}", data["combined"] if kind == "combined" else data["tails"][kind]
        quantiles = _array({name: tail.quantiles}, name, (N_QUANTILES,))
        _expect(bool((np.diff(quantiles) >= 0).all()), name, "ascending quantiles", quantiles)
        _number(written, "start")
        _number(written, "at_start")
        _number(written, "share", least=0.0, most=1.0)
        _number(written, "scale", least=0.0)
        _number(written, "n_tail", least=1)
        _array({name: tail.seen}, name, (None,))
        _array({name: tail.seen_rarity}, name, (len(tail.seen),))
    return calibration


def _kinds(model: EnhancedDeepLog, parts: ModelParts) -> Kinds:
    documents, statistics = parts.documents, parts.tensors["statistics"]
    classes = tuple(_anomaly_class(data) for data in documents["classes"])
    ids = [c.id for c in classes]
    _expect(ids == [*range(1, len(ids) + 1)], "classes", "numbered from 1", ids)
    prior = _number(documents["score"], "prior", least=0.0, most=1.0)
    if not classes:
        return Kinds(prior=prior)
    space = _feature_space(model, statistics)
    width = space.width(model.config.blocks_for_clustering)
    radii = _array(statistics, "radii", (len(classes),))
    _expect(bool((radii > 0).all()), "radii", "above 0", radii)
    members = _array(statistics, "members", (None, width), np.float32)
    n_members = _array(statistics, "n_members", (len(members),), np.int64)
    _expect(len(members) > 0 and bool((n_members > 0).all()), "members and n_members", "of a session each at least", 0)
    centres = ClassCentres(
        centres=_array(statistics, "centres", (len(classes), width)),
        radii=radii,
        members=members,
        n_members=n_members,
        n_alike=model.config.clustering.min_class_size,
        reach=_number(documents["score"], "reach", least=0.0),
    )
    network = OnnxNetwork(parts.networks["classifier"])
    windows = np.zeros((1, model.config.learning.window_size), dtype=np.int64)
    inputs = np.zeros((1, space.width(model.config.blocks_for_classifier)), dtype=np.float32)
    _, logits = network.run(windows=windows, features=inputs)
    said = "the prediction of the classifier"
    _array({said: logits}, said, (1, 1 + len(classes)), np.float32)
    return Kinds(
        classes=classes,
        space=space,
        centres=centres,
        network=network,
        temperature=_number(documents["score"], "temperature", least=0.0),
        prior=prior,
        state=_weights(parts, "classifier"),
    )


def _feature_space(model: EnhancedDeepLog, statistics: Arrays) -> FeatureSpace:
    """The scales of exactly the blocks that the settings ask for, each as wide as the vocabulary makes it."""
    n_events, hidden_size = len(model.vocabulary), model.config.learning.hidden_size
    features = model.config.features
    transitions = _array(statistics, "space.transitions", (None, 2), np.int64)
    _expect(
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
        shift[block] = _array(statistics, f"space.shift.{block}", (widths[block],))
        scale[block] = _array(statistics, f"space.scale.{block}", (widths[block],))
        _expect(bool((scale[block] > 0).all()), f"space.scale.{block}", "above 0", scale[block])
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


def _usual_sequences(statistics: Arrays, n_events: int) -> UsualSequences:
    if "usual_sequences" not in statistics:  # a bundle of an earlier version
        none = np.zeros(0, dtype=np.int64)
        return UsualSequences(none, np.zeros(1, dtype=np.int64), none)
    event_ids = _array(statistics, "usual_sequences", (None,), np.int64)
    _expect(bool(((event_ids > PADDING) & (event_ids < n_events)).all()), "usual_sequences", "event ids", event_ids)
    n_alike = _array(statistics, "usual_sequences.n_alike", (None,), np.int64)
    starts = _array(statistics, "usual_sequences.starts", (len(n_alike) + 1,), np.int64)
    good = starts[0] == 0 and starts[-1] == len(event_ids) and bool((np.diff(starts) > 0).all())
    _expect(good, "usual_sequences.starts", f"ascending from 0 to {len(event_ids)}", starts)
    return UsualSequences(event_ids, starts, n_alike)


def _usual_pauses(score: Mapping[str, Any], statistics: Arrays, n_events: int) -> UsualPauses:
    steps = _array(statistics, "pauses.steps", (None, 2), np.int64)
    in_order = bool((np.diff(steps[:, 0] * n_events + steps[:, 1]) > 0).all())
    _expect(bool(((steps >= 0) & (steps < n_events)).all()) and in_order, "pauses.steps", "ascending event ids", steps)
    _expect(not len(steps) or not steps[0].any(), "pauses.steps", "of any step first", steps)
    n_pauses = _array(statistics, "pauses.n_pauses", (len(steps),), np.int64)
    _expect(bool((n_pauses >= LEAST_PAUSES).all()), "pauses.n_pauses", f"{LEAST_PAUSES} at least", n_pauses)
    longest, rarity = (_array(statistics, f"pauses.{name}", (len(steps), N_LARGEST)) for name in ("longest", "rarity"))
    for name, values in (("longest", longest), ("rarity", rarity)):
        _expect(bool((np.diff(values, axis=1) >= 0).all()), f"pauses.{name}", "ascending", values)
    scale = _array(statistics, "pauses.scale", (len(steps),))
    _expect(bool((scale > 0).all()), "pauses.scale", "above 0", scale)
    resolution_s = _number(score["timing"], "resolution_s", least=0.0)
    return UsualPauses(resolution_s, steps, n_pauses, longest, rarity, scale)


def _usual_most(score: Mapping[str, Any], of: str) -> UsualMost:
    return UsualMost(_number(score[of], "drift"), _number(score[of], "most"))


def _usual_values(statistics: Arrays, n_events: int) -> UsualValues:
    places = _array(statistics, "values.places", (None, 3), np.int64)
    most = np.array([n_events, MOST_NUMBERS + 1, MOST_NUMBERS])
    codes = (places[:, 0] * most[1] + places[:, 1]) * most[2] + places[:, 2]
    least = np.array([FIRST_TEMPLATE, 1, 0])
    good = bool(((places >= least) & (places < most)).all() and (np.diff(codes) > 0).all())
    _expect(good, "values.places", "ascending, of event ids", places)
    _expect(bool((places[:, 2] < places[:, 1]).all()), "values.places", "of numbers that a record has", places)
    n_few = _array(statistics, "values.n_few", (len(places),), np.int64)
    _expect(bool(((n_few >= 0) & (n_few <= MOST_FEW)).all()), "values.n_few", f"from 0 to {MOST_FEW}", n_few)
    few = _array(statistics, "values.few", (int(n_few.sum()),))
    ascend = all(bool((np.diff(values) > 0).all()) for values in np.split(few, np.cumsum(n_few)[:-1]))
    _expect(ascend, "values.few", "ascending at each place", few)
    n_seen = _array(statistics, "values.n_seen", (len(few),), np.int64)
    _expect(bool(((n_seen > 0) & (n_seen < _MOST_COUNTED)).all()), "values.n_seen", "from 1 and below 2**53", n_seen)
    n_ranges = int((n_few == 0).sum())
    n_values = _array(statistics, "values.n_values", (n_ranges,), np.int64)
    good = bool(((n_values >= LEAST_VALUES) & (n_values < _MOST_COUNTED)).all())
    _expect(good, "values.n_values", f"from {LEAST_VALUES} and below 2**53", n_values)
    resolution = _array(statistics, "values.resolution", (n_ranges,))
    good = bool(((resolution >= RESOLUTIONS[0]) & (resolution <= RESOLUTIONS[1])).all())
    _expect(good, "values.resolution", f"from {RESOLUTIONS[0]:.0e} to {RESOLUTIONS[1]:.0e}", resolution)
    largest, rarity = (_array(statistics, f"values.{name}", (n_ranges, 2, N_LARGEST)) for name in ("largest", "rarity"))
    for name, of_ranges in (("largest", largest), ("rarity", rarity)):
        _expect(bool((np.diff(of_ranges, axis=2) >= 0).all()), f"values.{name}", "ascending", of_ranges)
    _expect(bool((np.abs(largest) <= MOST_SIGNED).all()), "values.largest", "logarithms of numbers", largest)
    rarest = np.log(n_values)[:, None, None]
    good = bool(((rarity >= 0) & (rarity <= rarest)).all())
    _expect(good, "values.rarity", "from 0 to the logarithm of values.n_values", rarity)
    scale = _array(statistics, "values.scale", (n_ranges, 2))
    _expect(bool((scale >= LEAST_SCALE).all()), "values.scale", f"{LEAST_SCALE} at least", scale)
    parts = {name.removeprefix("values."): array for name, array in statistics.items() if name.startswith("values.")}
    return UsualValues.from_parts(parts)


def _known_counts(score: Mapping[str, Any], statistics: Arrays, n_events: int) -> KnownCounts:
    n_alike = int(_number(score, "n_alike", least=1))
    whole, some = (_array(statistics, f"known_{name}", (None, n_events)) for name in ("whole", "any"))
    _expect(len(whole) > 0 and len(some) > 0, "known_whole and known_any", "of one session at least", 0)
    n_whole = _array(statistics, "n_known_whole", (len(whole),), np.int64)
    n_any = _array(statistics, "n_known_any", (len(some),), np.int64)
    _expect(bool((n_whole > 0).all() and (n_any > 0).all()), "n_known_whole and n_known_any", "above 0", 0)
    return KnownCounts(whole, n_whole, some, n_any, _array(statistics, "known_scale", (n_events,)), n_alike)


def _balanced(statistics: Arrays, n_events: int) -> BalancedPairs:
    pairs = _array(statistics, "balanced.pairs", (None, 2), np.int64)
    good = bool(((pairs >= 0) & (pairs < n_events)).all())
    _expect(good, "balanced.pairs", f"events from 0 to {n_events - 1}", pairs)
    n_having, n_unequal = (
        _array(statistics, f"balanced.{n}", (len(pairs),), np.int64) for n in ("n_having", "n_unequal")
    )
    good = bool(((n_having >= LEAST_HAVING) & (n_unequal >= 0) & (n_unequal <= n_having)).all())
    _expect(good, "balanced.n_having", f"{LEAST_HAVING} at least, balanced.n_unequal from 0 to it", n_having)
    return BalancedPairs(pairs, n_having, n_unequal)


def _weights(parts: ModelParts, network: str) -> Arrays:
    weights = parts.tensors[network]
    return {name: _array(weights, name, array.shape, np.float32) for name, array in weights.items()}


def _anomaly_class(data: Mapping[str, Any]) -> AnomalyClass:
    templates = tuple((str(text), float(share)) for text, share in data["templates"])
    texts = {
        name: tuple(map(str, data.get(name, ()))) for name in ("typical", "usual", "template_ids", "patterns")
    }  # a bundle of an earlier version has none
    _expect(data.get("severity", "info") in SEVERITIES, "classes.severity", ", ".join(SEVERITIES), data.get("severity"))
    return AnomalyClass(**{**data, **texts, "templates": templates})


def _array(
    arrays: Mapping[str, npt.NDArray[Any]],
    name: str,
    shape: tuple[int | None, ...],
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[Any]:
    """An array of a bundle, if it has this shape (None: any length) and type and is finite."""
    if name not in arrays:
        raise BundleError(f"In the bundle, {name} is missing.")
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise BundleError(
            f"In the bundle, {name} must have the shape {shape} and the type {np.dtype(dtype)}; "
            f"it has {array.shape} and {array.dtype}."
        )
    if not np.isfinite(array).all():
        raise BundleError(f"In the bundle, {name} must be finite; it holds NaN or infinity.")
    return array


def _number(data: Mapping[str, Any], name: str, *, least: float = -np.inf, most: float = np.inf) -> float:
    """A number of a bundle between two bounds; 0 as the least is left out: nothing here may be 0."""
    value = data.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = float(value) if is_number else np.nan  # type: ignore[arg-type]  # checked in the line above
    good = np.isfinite(number) and least <= number <= most and not number == least == 0
    _expect(bool(good), name, f"a number from {least} to {most}", value)
    return number


def _expect(good: bool, name: str, expected: str, came: object) -> None:
    if not good:
        raise BundleError(f"In the bundle, {name} must be {expected}; got {str(came)[:200]}.")
