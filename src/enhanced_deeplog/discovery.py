"""Stages 2 to 4: the kinds of anomaly in sessions of unknown content, and a network that tells them apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress
from enhanced_deeplog.detection import Detection, detect
from enhanced_deeplog.events import EventVocabulary, template_id
from enhanced_deeplog.evidence import pattern_of_session, telling_places
from enhanced_deeplog.explanation import class_key, class_name, telling_events
from enhanced_deeplog.findings import AnomalyClass, Pattern
from enhanced_deeplog.learning.anomaly_classes import find_classes
from enhanced_deeplog.learning.calibration import fit_temperature, reliability
from enhanced_deeplog.learning.features import (
    FeatureSpace,
    ScoredSessions,
    lateness_profile,
    oddness_profile,
    surprise_profile,
)
from enhanced_deeplog.learning.scoring import OnnxNetwork
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.verdicts import Kinds, Verdicts, classifier_inputs

__all__ = ["fit_kinds"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_N_EXAMPLES = 3  # lines shown of a class
_MOST_EVENTS = 100  # shown of its typical session
_LEAST_HELD_OUT = 30  # sessions below which no temperature is fitted, and reliability isn't told
_IN_A_GROUP = 10  # sessions of like confidence, at least


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
    rarities, scores, thresholds, _ = detect(scored, detection.calibration, config)
    is_anomaly = scores > thresholds
    prior = float(np.clip(is_anomaly.mean(), 0.001, 0.5))
    rows = np.flatnonzero(is_anomaly)
    if not len(rows):
        return Kinds(prior=prior)

    # Stage 2: features. Stage 3: classes.
    abnormal = scored.take(rows)
    blocks = config.blocks_for_clustering
    space = FeatureSpace.fit(
        abnormal,
        (*blocks, *config.blocks_for_classifier),
        known=detection.calibration.known,
        drift=detection.drift,
        normal_state=detection.normal_state,
        usual_lateness=detection.calibration.lateness,
        usual_oddness=detection.calibration.oddness,
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
        rows=rows,
    )
    if labels.max() < 1:
        return replace(kinds, space=None, centres=None)

    # Stage 4: the classifier.
    kinds, held_out = _fit_classifier(kinds, space, scored, rows, config, progress)
    named = _name_classes(kinds, sessions, abnormal, rows, rarities, detection, vocabulary)
    kinds = replace(kinds, classes=named)
    verdicts = kinds.judge(abnormal, detection, config)
    means = [float(verdicts.confidence[labels == c.id].mean()) for c in named]
    return replace(
        kinds,
        classes=tuple(replace(c, mean_confidence=m) for c, m in zip(named, means, strict=True)),
        reliability=_reliability(verdicts, labels, np.isin(rows, held_out) & (labels > 0)),
    )


def _reliability(verdicts: Verdicts, labels: Int64s, held_out: Bools) -> tuple[tuple[float, float, int], ...]:
    """Whether the classifier is as often right about sessions that it has not learnt from as it says."""
    n = int(held_out.sum())
    if n < _LEAST_HELD_OUT:
        return ()
    right = verdicts.classes[held_out] == labels[held_out]
    return tuple(reliability(verdicts.confidence[held_out], right, min(10, n // _IN_A_GROUP)))


def _fit_classifier(
    kinds: Kinds,
    space: FeatureSpace,
    scored: ScoredSessions,
    rows: Int64s,
    config: Config,
    progress: Progress,
) -> tuple[Kinds, Int64s]:
    """The kinds with a network that tells them apart, and the sessions that it has not learnt from."""
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
    return replace(kinds, network=exported, temperature=temperature, state=state), chosen[held_out]


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
    patterns = [pattern_of_session(abnormal, i, rarities[row], detection.drift) for i, row in enumerate(rows.tolist())]
    slow = np.array([pattern == "slow_step" for pattern in patterns])  # told by what came late
    profile[slow, :-1] = lateness_profile(abnormal, detection.calibration.lateness, slow)[slow] ** 2
    odd = np.array([pattern == "odd_value" for pattern in patterns])
    profile[odd, :-1] = oddness_profile(abnormal, detection.calibration.oddness, odd)[odd] ** 2
    means = np.stack([profile[m].mean(axis=0) for m in members])[:, :-1]  # without the pooled place
    classes: list[AnomalyClass] = []
    for c, (member, telling) in enumerate(zip(members, telling_events(means), strict=True), 1):
        of_class = [patterns[i] for i in member]
        pattern = max(sorted(set(of_class)), key=of_class.count)
        templates = tuple((vocabulary.template(event), share) for event, share in telling)
        centre = kinds.features[member].mean(axis=0)
        typical = int(member[np.linalg.norm(kinds.features[member] - centre, axis=1).argmin()])
        course = sessions.sequence(int(rows[typical]))
        classes.append(
            AnomalyClass(
                id=c,
                key=_key_of(templates, pattern, {other.key for other in classes}),
                name=class_name(pattern, [text for text, _ in templates]),
                n_findings=len(member),
                pattern=pattern,
                templates=templates,
                example_key=str(sessions.table["session_key"][int(rows[typical])]),
                mean_confidence=0.0,
                typical=_templates(course, vocabulary),
                usual=_templates(detection.usual_sequences.nearest(course), vocabulary),
                examples=_example_lines(sessions, abnormal, int(rows[typical]), typical, patterns[typical], detection),
            )
        )
    return tuple(classes)


def _templates(event_ids: Int64s, vocabulary: EventVocabulary) -> tuple[str, ...]:
    """The templates of a session, the first of a long one."""
    return tuple(map(vocabulary.template, event_ids[:_MOST_EVENTS].tolist()))


def _key_of(templates: tuple[tuple[str, float], ...], pattern: Pattern, taken: set[str]) -> str:
    """The key of a class; where a larger class has the same, a number is added."""
    key = class_key({template_id(text): share for text, share in templates}) + f"-{pattern}"
    return next(free for n in count(1) if (free := key if n == 1 else f"{key}-{n}") not in taken)


def _example_lines(
    sessions: Sessions, abnormal: ScoredSessions, session: int, typical: int, pattern: Pattern, detection: Detection
) -> tuple[str, ...]:
    calibration = detection.calibration
    (excess,) = calibration.known.excess(abnormal.counts[[typical]], abnormal.is_open[[typical]])
    places, _ = telling_places(abnormal, typical, calibration, excess, n_most=_N_EXAMPLES, pattern=pattern)
    shown = dict.fromkeys(sessions.rows[sessions.starts[session] + places].tolist())
    return tuple(str(sessions.records["text"][row]) for row in shown)
