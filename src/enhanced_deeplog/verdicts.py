"""Stages 2 to 4: what deviates, what kind it is, and what a person is told about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.config import Config
from enhanced_deeplog.events import END, FIRST_TEMPLATE, PADDING, UNKNOWN, EventVocabulary, template_id
from enhanced_deeplog.explanation import (
    advice_for,
    class_key,
    class_name,
    pattern_of,
    reasons_of,
    severity_of,
    telling_events,
)
from enhanced_deeplog.findings import (
    NORMAL,
    SCHEMA_VERSION,
    UNKNOWN_CLASS,
    AnomalyClass,
    Evidence,
    Expected,
    Finding,
    Pattern,
    finding_id,
)
from enhanced_deeplog.learning.anomaly_classes import ClassCentres, Clustering, find_classes
from enhanced_deeplog.learning.calibration import fit_temperature
from enhanced_deeplog.learning.features import FeatureSpace, ScoredSessions, surprise_profile
from enhanced_deeplog.learning.scoring import OnnxNetwork, expected_events, softmax
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.stages import Detection

__all__ = ["Kinds", "Verdicts", "fit_kinds", "session_findings"]

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Progress = Callable[[str, float], None]

_MAX_EVIDENCE = 10  # records shown of one finding
_LEAST_EVIDENCE = 3  # shown even where nothing surprised and the counts alone are odd
_N_EXPECTED = 3  # PADDING and UNKNOWN are asked for besides, and left out
_PRIOR = 0.01  # share of abnormal sessions where no unlabelled log has told it
_LEAST_HELD_OUT = 30  # sessions below which no temperature is fitted


@dataclass(frozen=True)
class Verdicts:
    """What is decided about each session.

    Attributes:
        scored: The sessions.
        rarities: Of each kind of evidence, float64 (S, 4).
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
        n_abnormal: Sessions that were clustered.
    """

    classes: tuple[AnomalyClass, ...] = ()
    space: FeatureSpace | None = None
    centres: ClassCentres | None = None
    network: OnnxNetwork | None = None
    temperature: float = 1.0
    prior: float = _PRIOR
    clustering: Clustering | None = None
    labels: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    features: Float32s = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    n_abnormal: int = 0

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
        rarities, scores, thresholds, chance = _detect(scored, detection, config)
        is_anomaly = scores > thresholds
        rows = np.flatnonzero(is_anomaly)
        within = self._class_probabilities(scored.take(rows), config) if len(rows) else np.zeros((0, 0))
        n_classes = len(self.classes)
        # How probable it is that a normal session looks this odd, against that an abnormal one is here.
        false_alarm = chance / (chance + self.prior)
        probabilities = np.zeros((len(scored), n_classes + 2))
        probabilities[:, 0] = false_alarm
        probabilities[:, -1] = 1.0 - false_alarm
        if n_classes and len(rows):
            known = within.any(axis=1)
            probabilities[rows[known], -1] = 0.0
            probabilities[rows[known], 1:-1] = within[known] * (1.0 - false_alarm[rows[known], None])
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
        unknown = self.centres.is_unknown(self.space.transform(abnormal, config.features.for_clustering))
        return np.where(unknown[:, None], 0.0, probability)


def _detect(
    scored: ScoredSessions, detection: Detection, config: Config
) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    """Rarities (S, 4), scores and thresholds (S,), and the share of normal sessions that are at least as odd (S,)."""
    rarities, scores, thresholds = detection.judge(scored, config.detection.alarm_rate)
    chance = np.exp(-np.maximum(scores, 0.0))
    if config.detection.mode == "top_k":
        scores = np.maximum.reduceat(scored.rank, scored.starts[:-1]).astype(np.float64)
        thresholds = np.full(len(scores), float(config.detection.top_k))
    return rarities, scores, thresholds, chance


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
    return ClassifierInputs(windows, next_events, space.transform(scored, config.features.for_classifier))


def fit_kinds(
    sessions: Sessions | None,
    detection: Detection,
    vocabulary: EventVocabulary,
    config: Config,
    *,
    progress: Progress,
) -> Kinds:
    """Stages 2 to 4 on sessions of unknown content.

    Args:
        sessions: The sessions; None: there are none, and no classes.
        detection: Tells which of them deviate.
        vocabulary: Names their events.
        config: Settings.
        progress: Told the stage and the share done.

    Returns:
        The kinds; empty where nothing deviates.
    """
    if sessions is None:
        return Kinds()
    progress("finding kinds of anomaly", 0.0)
    scored = detection.look_at(sessions)
    rarities, scores, thresholds, _ = _detect(scored, detection, config)
    is_anomaly = scores > thresholds
    prior = float(np.clip(is_anomaly.mean(), 0.001, 0.5))
    rows = np.flatnonzero(is_anomaly)
    if not len(rows):
        return Kinds(prior=prior)

    # Stage 2: features. Stage 3: classes.
    abnormal = scored.take(rows)
    blocks = config.features.for_clustering
    space = FeatureSpace.fit(
        abnormal,
        (*blocks, *config.features.for_classifier),
        known=detection.known,
        drift=detection.drift,
        normal_state=detection.normal_state,
    )
    features = space.transform(abnormal, blocks)
    clustering = find_classes(features, config.clustering, seed=config.seed)
    labels = clustering.classes
    progress("finding kinds of anomaly", 1.0)
    kinds = Kinds(
        space=space,
        centres=clustering.centres,
        prior=prior,
        clustering=clustering,
        labels=labels,
        features=features,
        n_abnormal=len(rows),
    )
    if labels.max() < 1:
        return replace(kinds, space=None, centres=None)

    # Stage 4: the classifier.
    kinds = _fit_classifier(kinds, space, scored, rows, config, progress)
    named = _name_classes(kinds, sessions, abnormal, rows, rarities, detection, vocabulary)
    kinds = replace(kinds, classes=named)
    verdicts = kinds.judge(abnormal, detection, config)
    means = [float(verdicts.confidence[labels == c.id].mean()) for c in named]
    return replace(kinds, classes=tuple(replace(c, mean_confidence=m) for c, m in zip(named, means, strict=True)))


def _fit_classifier(
    kinds: Kinds,
    space: FeatureSpace,
    scored: ScoredSessions,
    rows: Int64s,
    config: Config,
    progress: Progress,
) -> Kinds:
    import torch  # only fitting needs torch

    from enhanced_deeplog.learning.classifier import ClassifierExamples, fit_classifier
    from enhanced_deeplog.learning.next_event import export_onnx

    classes = np.zeros(len(scored), dtype=np.int64)
    classes[rows] = kinds.labels
    rng = np.random.default_rng(config.seed)
    normal = np.setdiff1d(np.arange(len(scored)), rows)
    normal = rng.permutation(normal)[: max(len(rows), 100)]
    chosen = np.sort(np.concatenate([rows[kinds.labels > 0], normal]))
    held_out = rng.random(len(chosen)) < config.learning.validation_share
    held_out[0], held_out[-1] = False, True  # neither part is ever empty

    sessions, lengths, whole = _prefixes(scored, chosen, space.drift)
    inputs = classifier_inputs(scored.take(sessions, lengths), space, config)
    examples = ClassifierExamples(inputs.windows, inputs.next_events, inputs.features, classes[sessions], sessions)
    in_held_out = np.isin(sessions, chosen[held_out])
    n_classes = int(kinds.labels.max())
    network, _ = fit_classifier(
        examples.take(~in_held_out),
        examples.take(in_held_out),
        n_events=scored.n_events,
        n_classes=n_classes,
        learning=config.learning,
        config=config.classifier,
        seed=config.seed,
        on_epoch=lambda report: progress("learning the kinds", min(report.epoch / config.classifier.epochs, 1.0)),
    )
    progress("learning the kinds", 1.0)
    example = {
        "windows": torch.as_tensor(inputs.windows[:2]),
        "features": torch.as_tensor(inputs.features[:2]),
    }
    exported = OnnxNetwork(export_onnx(network, example, ["next_logits", "class_logits"]))
    calibrate = in_held_out & whole & (examples.classes > 0)
    (_, logits) = exported.run(windows=examples.windows[calibrate], features=examples.features[calibrate])
    enough = calibrate.sum() >= _LEAST_HELD_OUT
    temperature = fit_temperature(logits[:, 1:], examples.classes[calibrate] - 1) if enough else 1.0
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    return replace(kinds, network=exported, temperature=temperature, state=state)


def _prefixes(scored: ScoredSessions, chosen: Int64s, drift: float) -> tuple[Int64s, Int64s, Bools]:
    """Prefixes to learn from: up to the first surprising event, half-way on from there, and the whole session.

    Returns:
        Session and length of each prefix, int64 (N,), and whether it is the whole session, bool (N,).
    """
    full = np.diff(scored.starts)
    position = np.arange(len(scored.surprise)) - scored.starts[:-1][scored.session]
    first = np.minimum.reduceat(
        np.where(scored.surprise > drift, position, full[scored.session] - 1), scored.starts[:-1]
    )
    lengths = np.stack([first + 1, (first + 1 + full) // 2, full], axis=1)[chosen]  # (N, 3)
    sessions = np.repeat(chosen, 3)
    whole = lengths == full[chosen][:, None]
    new = np.concatenate([~whole[:, :2] & (lengths[:, :2] < lengths[:, 1:]), np.ones((len(chosen), 1), bool)], axis=1)
    return sessions[new.ravel()], lengths.ravel()[new.ravel()], whole.ravel()[new.ravel()]


def _name_classes(
    kinds: Kinds,
    sessions: Sessions,
    abnormal: ScoredSessions,
    rows: Int64s,
    rarities: Float64s,
    detection: Detection,
    vocabulary: EventVocabulary,
) -> tuple[AnomalyClass, ...]:
    """Describe each class by its members."""
    n_classes = int(kinds.labels.max())
    profile = surprise_profile(abnormal, detection.drift) ** 2  # rows of length 1: squares are shares
    members = [np.flatnonzero(kinds.labels == c) for c in range(1, n_classes + 1)]
    means = np.stack([profile[m].mean(axis=0) for m in members])[:, :-1]  # without the pooled place
    patterns = [_pattern(abnormal, i, rarities[rows[i]], detection) for i in range(len(abnormal))]
    classes = []
    for c, (member, telling) in enumerate(zip(members, telling_events(means), strict=True), 1):
        of_class = [patterns[i] for i in member]
        pattern = max(sorted(set(of_class)), key=of_class.count)
        templates = tuple((vocabulary.template(event), share) for event, share in telling)
        centre = kinds.features[member].mean(axis=0)
        typical = int(member[np.linalg.norm(kinds.features[member] - centre, axis=1).argmin()])
        classes.append(
            AnomalyClass(
                id=c,
                key=class_key({template_id(text): share for text, share in templates}) + f"-{pattern}",
                name=class_name(pattern, [text for text, _ in templates]),
                n_findings=len(member),
                pattern=pattern,
                templates=templates,
                example_key=str(sessions.table["session_key"][int(rows[typical])]),
                mean_confidence=0.0,
                examples=_example_lines(sessions, abnormal, int(rows[typical]), typical),
            )
        )
    return tuple(classes)


def _example_lines(sessions: Sessions, abnormal: ScoredSessions, session: int, typical: int) -> tuple[str, ...]:
    places = _evidence_places(abnormal, typical, 0.0, 3)
    first, n_records = int(sessions.table["first"][session]), int(sessions.table["n_records"][session])
    shown = dict.fromkeys(first + min(int(place), n_records - 1) for place in places)
    return tuple(str(sessions.records["text"][row]) for row in shown)


def _pattern(scored: ScoredSessions, session: int, rarities: Float64s, detection: Detection) -> Pattern:
    part = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    surprise, event_ids = scored.surprise[part], scored.event_ids[part]
    weight = np.maximum(surprise - detection.drift, 0.0)
    by_end = float(weight[event_ids == END].sum())
    total = float(rarities[0] + rarities[1:].max())
    return pattern_of(
        event_ids,
        surprise,
        scored.unseen[part],
        ended_early=by_end > 0.5 * float(weight.sum()) > 0,
        drift=detection.drift,
        counts_share=float(rarities[0]) / max(total, 1e-12),
    )


def _evidence_places(scored: ScoredSessions, session: int, drift: float, n_most: int) -> Int64s:
    """Places in the session of its most surprising events, in order."""
    surprise = scored.surprise[scored.starts[session] : scored.starts[session + 1]]
    order = np.argsort(-surprise, kind="stable")
    n_shown = min(n_most, max(int((surprise > drift).sum()), _LEAST_EVIDENCE))
    return np.sort(order[:n_shown])


def session_findings(
    sessions: Sessions,
    verdicts: Verdicts,
    wanted: Int64s,
    *,
    detection: Detection,
    kinds: Kinds,
    vocabulary: EventVocabulary,
    source_name: str,
    bundle_id: str,
    always_evidence: bool = False,
) -> list[Finding]:
    """Say what a person is given about the wanted sessions.

    Args:
        sessions: All sessions that were judged.
        verdicts: What was decided about them.
        wanted: Rows of the sessions to speak about, int64 (F,).
        detection: For what normal sessions look like.
        kinds: Names of the classes.
        vocabulary: Texts of the templates.
        source_name: The logical source, or "".
        bundle_id: The bundle that judges, or "".
        always_evidence: Show the most surprising records of normal sessions, too.
    """
    table = sessions.table[wanted].to_dicts()
    scored = verdicts.scored
    drift = detection.drift
    shown = {
        int(s): _evidence_places(scored, int(s), drift, _MAX_EVIDENCE)
        for s in wanted
        if always_evidence or verdicts.classes[s] != NORMAL
    }
    evidence = _evidence_of(sessions, scored, shown, detection, vocabulary)
    ends = _first_and_last(sessions, wanted)
    alike = _ordinals_of_alike(sessions)
    known_unseen = ~detection.scorer.known
    findings = []
    for session, row, (first, last) in zip(map(int, wanted), table, ends, strict=True):
        rarities = verdicts.rarities[session]
        part = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
        chosen = int(verdicts.classes[session])
        abnormal = chosen != NORMAL
        lines = evidence.get(session, ())
        pattern = _pattern(scored, session, rarities, detection) if abnormal else None
        score, threshold = float(verdicts.scores[session]), float(verdicts.thresholds[session])
        findings.append(
            Finding(
                schema_version=SCHEMA_VERSION,
                id=finding_id(
                    source_name or row["service"],
                    row["session_key"],
                    f"{row['part']}/{alike[session]}" if alike[session] else str(row["part"]),
                    first["timestamp"],
                    first["text"],
                ),
                bundle_id=bundle_id,
                source=row["source"],
                service=row["service"],
                session_key=row["session_key"],
                is_anomaly=abnormal,
                state=row["state"],
                complete=row["ended"],
                score=score,
                threshold=threshold,
                anomaly_class=chosen,
                class_key=kinds.key(chosen),
                class_name=kinds.name(chosen),
                confidence=float(verdicts.confidence[session]),
                class_probabilities={str(c): p for c, p in verdicts.class_probabilities(session).items()},
                pattern=pattern,
                severity=severity_of((e.severity for e in lines), score, threshold) if abnormal else None,
                reasons=reasons_of(
                    rarities,
                    scored.surprise[part],
                    scored.unseen[part],
                    scored.event_ids[part] == END,
                    detection.known.excess(scored.counts[session], bool(scored.is_open[session])),
                    known_unseen,
                    drift=drift,
                ),
                n_records=row["n_records"],
                first_line=first["line"],
                last_line=last["line"],
                first_timestamp=first["timestamp"],
                last_timestamp=last["timestamp"],
                evidence=lines,
                advice=advice_for(pattern) if pattern is not None else "",
            )
        )
    return findings


_ISO = "%Y-%m-%dT%H:%M:%S%.6fZ"


def _ordinals_of_alike(sessions: Sessions) -> Int64s:
    """How many sessions of the same key, time and first record came before each, int64 (S,); nearly always 0."""
    firsts = sessions.records[sessions.table["first"].to_numpy()].select("timestamp", "text")
    described = sessions.table.select("service", "session_key", "part").hstack(firsts)
    ordinal = pl.int_range(pl.len(), dtype=pl.Int64).over(described.columns)
    return described.select(ordinal.alias("ordinal"))["ordinal"].to_numpy()


def _first_and_last(sessions: Sessions, wanted: Int64s) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    firsts = sessions.table["first"].to_numpy()[wanted]
    lasts = firsts + sessions.table["n_records"].to_numpy()[wanted] - 1
    columns = (pl.col("line"), pl.col("timestamp").dt.to_string(_ISO), pl.col("text"))
    frames = [sessions.records[rows].select(columns).to_dicts() for rows in (firsts, lasts)]
    return list(zip(*frames, strict=True))


def _evidence_of(
    sessions: Sessions,
    scored: ScoredSessions,
    shown: dict[int, Int64s],
    detection: Detection,
    vocabulary: EventVocabulary,
) -> dict[int, tuple[Evidence, ...]]:
    """The evidence of many sessions at once: one look at the records, one run of the network."""
    if not shown:
        return {}
    session = np.concatenate([np.full(len(places), s) for s, places in shown.items()])
    position = np.concatenate(list(shown.values()))
    events = scored.starts[session] + position
    first = sessions.table["first"].to_numpy()[session]
    n_records = sessions.table["n_records"].to_numpy()[session]
    rows = first + np.minimum(position, n_records - 1)  # END stands on the session's last record
    columns = (
        *("source", "line", "byte_offset", "severity", "text"),
        pl.col("timestamp").dt.to_string(_ISO),
    )
    records = sessions.records[rows].select(columns).to_dicts()
    windows = detection.scorer.windows_at(sessions, events)
    distinct, inverse = np.unique(windows, axis=0, return_inverse=True)
    expected = expected_events(detection.scorer.network, distinct, _N_EXPECTED + 2)
    found: dict[int, list[Evidence]] = {s: [] for s in shown}
    for i, record in enumerate(records):
        event = int(scored.event_ids[events[i]])
        found[int(session[i])].append(
            Evidence(
                source=record["source"],
                line=record["line"],
                byte_offset=record["byte_offset"],
                timestamp=record["timestamp"],
                severity=record["severity"],
                template_id=template_id(vocabulary.template(event)) if event >= FIRST_TEMPLATE else None,
                template=vocabulary.template(event),
                event_id=event,
                position=int(position[i]),
                expected=tuple(
                    Expected(vocabulary.template(e), p) for e, p in expected[int(inverse.ravel()[i])] if e > UNKNOWN
                )[:_N_EXPECTED],
                surprise=float(scored.surprise[events[i]]),
                text=record["text"],
            )
        )
    return {s: tuple(lines) for s, lines in found.items()}
