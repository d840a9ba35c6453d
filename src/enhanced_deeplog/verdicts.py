"""The verdict on each session: detection decides whether it is abnormal, the classifier which kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.detection import Detection, detect
from enhanced_deeplog.events import PADDING
from enhanced_deeplog.findings import NORMAL, UNKNOWN_CLASS, AnomalyClass
from enhanced_deeplog.learning.anomaly_classes import Clustering
from enhanced_deeplog.learning.class_centres import ClassCentres
from enhanced_deeplog.learning.features import FeatureSpace, ScoredSessions
from enhanced_deeplog.learning.scoring import OnnxNetwork, softmax

__all__ = ["PRIOR", "ClassifierInputs", "Kinds", "Verdicts", "classifier_inputs"]

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PRIOR = 0.01  # share of abnormal sessions where no unlabelled log has told it


@dataclass(frozen=True)
class Verdicts:
    """What is decided about each session.

    Attributes:
        scored: The sessions.
        rarities: Of each kind of evidence, see `Calibration.judge`, nats.
        scores: float64 (S,).
        thresholds: A higher score is abnormal, float64 (S,).
        classes: 0 normal, -1 unknown, int64 (S,).
        confidence: float64 (S,).
        probabilities: Of normal, class 1 to C, and unknown, float64 (S, C + 2).
    """

    scored: ScoredSessions
    rarities: Float64s
    scores: Float64s
    thresholds: Float64s
    classes: Int64s
    confidence: Float64s
    probabilities: Float64s

    def class_probabilities(self, session: int) -> dict[int, float]:
        """Probability by class id; classes that can't be are left out."""
        ids = [*range(self.probabilities.shape[1] - 1), UNKNOWN_CLASS]
        return {c: float(p) for c, p in zip(ids, self.probabilities[session], strict=True) if p > 0}


@dataclass(frozen=True)
class Kinds:
    """The kinds of anomaly and all that tells them apart. Empty where `fit` saw no anomaly.

    Attributes:
        classes: As people see them.
        space: How sessions become features; None where there are no classes.
        centres: Of the classes, in the features of clustering.
        network: The classifier; None where there are no classes.
        temperature: Calibrates its probabilities.
        prior: Share of abnormal sessions among those judged.
        clustering: How the classes were found; None in a loaded model.
        labels: Class of each session that `fit` clustered.
        features: Their features, float32 (S, D).
        state: Weights of the classifier, for the bundle.
        rows: Which sessions were clustered, int64 (S,).
        reliability: Of members that the classifier has not learnt from, in groups of like confidence: mean confidence,
            share that it put into their class, how many. Empty where there are too few, and in a loaded model.
    """

    classes: tuple[AnomalyClass, ...] = ()
    space: FeatureSpace | None = None
    centres: ClassCentres | None = None
    network: OnnxNetwork | None = None
    temperature: float = 1.0
    prior: float = PRIOR
    clustering: Clustering | None = None
    labels: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    features: Float32s = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    rows: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    reliability: tuple[tuple[float, float, int], ...] = ()

    @property
    def n_abnormal(self) -> int:
        """Sessions that were clustered."""
        return len(self.rows)

    def name(self, anomaly_class: int) -> str:
        """Name of a class for people."""
        if anomaly_class > 0:
            return self.classes[anomaly_class - 1].name
        return "normal" if anomaly_class == NORMAL else "unknown"

    def key(self, anomaly_class: int) -> str:
        """Name of a class for programs."""
        return self.classes[anomaly_class - 1].key if anomaly_class > 0 else self.name(anomaly_class)

    def judge(self, scored: ScoredSessions, detection: Detection, config: Config) -> Verdicts:
        """Detection decides whether a session is abnormal; the classifier decides which kind it is."""
        rarities, scores, thresholds, chance = detect(scored, detection.calibration, config)
        is_anomaly = scores > thresholds
        rows = np.flatnonzero(is_anomaly)
        within = self._class_probabilities(scored.take(rows), config) if len(rows) else np.zeros((0, 0))
        n_classes = len(self.classes)
        normal = _normal_probability(is_anomaly, chance, self.prior, config.detection.alarm_rate)
        probabilities = np.zeros((len(scored), n_classes + 2))
        probabilities[:, 0] = normal
        probabilities[:, -1] = 1.0 - normal
        if n_classes and len(rows):
            known = within.any(axis=1)
            probabilities[rows[known], -1] = 0.0
            probabilities[rows[known], 1:-1] = within[known] * (1.0 - normal[rows[known], None])
        classes = np.zeros(len(scored), dtype=np.int64)
        best = probabilities[rows, 1:].argmax(axis=1) + 1 if len(rows) else rows
        classes[rows] = np.where(best == n_classes + 1, UNKNOWN_CLASS, best)
        column = np.where(classes == UNKNOWN_CLASS, n_classes + 1, classes)
        confidence = probabilities[np.arange(len(scored)), column]
        return Verdicts(scored, rarities, scores, thresholds, classes, confidence, probabilities)

    def _class_probabilities(self, abnormal: ScoredSessions, config: Config) -> Float64s:
        """Probability of each class given that a session is abnormal; all 0 for one like no known class."""
        if self.space is None or self.network is None or self.centres is None:
            return np.zeros((len(abnormal), 0))
        inputs = classifier_inputs(abnormal, self.space, config)
        (_, logits) = self.network.run(windows=inputs.windows, features=inputs.features)
        probability = softmax(logits[:, 1:], self.temperature)
        unknown = self.centres.is_unknown(self.space.transform(abnormal, config.blocks_for_clustering))
        return np.where(unknown[:, None], 0.0, probability)


def _normal_probability(is_anomaly: Bools, chance: Float64s, prior: float, alarm_rate: float) -> Float64s:
    """How probable it is that each session is normal, float64 (S,); the verdict is never the less probable one.

    Of one called abnormal: the chance that a normal session looks this odd, against that of an abnormal one being
    there. Abnormal sessions lie above the threshold; the few below lie near it, fewer the farther from it.

    Args:
        is_anomaly: The verdicts, bool (S,).
        chance: Share of normal sessions that are at least as odd, float64 (S,).
        prior: Share of abnormal sessions.
        alarm_rate: Share of normal sessions that may raise a false alarm.
    """
    false_alarm = np.minimum(chance / (chance + prior), 0.5)
    missed = min(prior, 0.5) * alarm_rate / np.maximum(chance, alarm_rate)
    return np.where(is_anomaly, false_alarm, 1.0 - missed)


@dataclass(frozen=True)
class ClassifierInputs:
    """What the classifier reads of a session or prefix.

    Attributes:
        windows: The W events up to the most surprising one, int64 (N, W).
        next_events: What followed it, PADDING where nothing did, int64 (N,).
        features: float32 (N, D).
    """

    windows: Int64s
    next_events: Int64s
    features: Float32s


def classifier_inputs(scored: ScoredSessions, space: FeatureSpace, config: Config) -> ClassifierInputs:
    """Both inputs of the classifier, of whole sessions or of prefixes."""
    most = scored.most_surprising
    begins, ends = scored.starts[:-1], scored.starts[1:]
    places = most[:, None] + np.arange(1 - config.learning.window_size, 1)  # (N, W)
    windows = np.where(places >= begins[:, None], scored.event_ids[np.maximum(places, 0)], PADDING)
    follows = np.minimum(most + 1, len(scored.event_ids) - 1)
    next_events = np.where(most + 1 < ends, scored.event_ids[follows], PADDING)
    return ClassifierInputs(windows, next_events, space.transform(scored, config.blocks_for_classifier))
