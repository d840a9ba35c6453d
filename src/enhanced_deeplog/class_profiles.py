"""What people want to know of each kind of anomaly: how bad, how hard to find, what it looks like, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.detection import detect
from enhanced_deeplog.events import END
from enhanced_deeplog.evidence import session_findings
from enhanced_deeplog.explanation import advice_for, class_name
from enhanced_deeplog.findings import SEVERITIES, AnomalyClass, Finding, Severity
from enhanced_deeplog.learning.known_counts import count_events
from enhanced_deeplog.logs.sessions import Sessions

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["describe_classes"]

Int64s = npt.NDArray[np.int64]

_MOST_MEMBERS = 200  # of a class that are looked at
_SURE = 0.5  # share of the members that a rule must speak of; more of them must lack a step, or end after it


def describe_classes(model: EnhancedDeepLog, sessions: Sessions | None) -> tuple[AnomalyClass, ...]:
    """Describe each class by its members, as they are found by the model.

    Args:
        model: With detection and kinds fitted.
        sessions: Those that were searched for kinds; None: there are no classes.
    """
    if sessions is None or not model.kinds.classes:
        return model.kinds.classes
    rng = np.random.default_rng(model.config.seed)
    described = [_describe(model, sessions, one, rng) for one in model.kinds.classes]
    # Worst first, and of those as bad the most frequent.
    order = sorted(described, key=lambda one: (-SEVERITIES.index(one.severity), -one.n_findings, one.id))
    priority = {one.id: place for place, one in enumerate(order, 1)}
    return tuple(replace(one, priority=priority[one.id]) for one in described)


def _describe(model: EnhancedDeepLog, sessions: Sessions, one: AnomalyClass, rng: np.random.Generator) -> AnomalyClass:
    members = model.kinds.rows[model.kinds.labels == one.id]
    looked_at = sessions.take(np.sort(rng.permutation(members)[:_MOST_MEMBERS]))
    verdicts = model.judge(looked_at)
    every = np.arange(len(looked_at))
    findings = session_findings(
        model, model.detection, looked_at, verdicts, every, source_name="", always_evidence=True
    )
    rule = model.cause_rules.named(_rule_of(findings))
    title, templates = rule.title if rule is not None else "", [text for text, _ in one.templates]
    after, without = (
        model.vocabulary.template(events[0]) if len(events) == 1 else ""  # where much is missing, no step tells it
        for events in map(_most_have, (_last_steps(looked_at), _missing_steps(model, looked_at)))
    )
    return replace(
        one,
        name=class_name(one.pattern, templates, title, after=after, without=without),
        severity=_usual_severity(findings),
        cause=rule.name if rule is not None else "",
        advice=rule.advice if rule is not None else advice_for(one.pattern),
        recall_when_weak=_recall_when_weak(model, looked_at, findings, rng),
        template_ids=tuple(sorted({name for finding in findings for name in finding.template_ids})),
        patterns=tuple(sorted({finding.pattern for finding in findings if finding.pattern is not None})),
    )


def _last_steps(members: Sessions) -> list[list[int]]:
    """The step after which each of them ends; none of those that go on."""
    last = members.starts[1:] - 1
    ended = members.event_ids[last] == END
    return [
        members.event_ids[[place - 1]].tolist() if is_end else [] for place, is_end in zip(last, ended, strict=True)
    ]


def _missing_steps(model: EnhancedDeepLog, members: Sessions) -> list[list[int]]:
    """What each of them lacks that comes as often as what it has."""
    balanced = model.detection.calibration.balanced
    missing: list[list[int]] = []
    counts = count_events(members.event_ids, members.starts, len(model.vocabulary))
    for row, last in zip(counts, (members.starts[1:] - 1).tolist(), strict=True):
        pairs = balanced.pairs[balanced.broken(row)] if members.event_ids[last] == END else balanced.pairs[:0]
        missing.append(np.unique(pairs[row[pairs] == 0]).tolist())
    return missing


def _most_have(events: Sequence[Sequence[int]]) -> list[int]:
    """The events that more than half of some sessions have."""
    counts = Counter(event for of_one in events for event in of_one)
    return [event for event, n in counts.items() if n > _SURE * len(events)]


def _usual_severity(findings: Sequence[Finding]) -> Severity:
    """The most frequent one, of two as frequent the worse."""
    counts: Counter[Severity] = Counter(finding.severity for finding in findings if finding.severity is not None)
    return max(counts, key=lambda severity: (counts[severity], SEVERITIES.index(severity)), default="info")


def _rule_of(findings: Sequence[Finding]) -> str:
    """Name of the rule that speaks of most members; "" where none speaks of enough of them."""
    counts = Counter(finding.cause.rule for finding in findings if finding.cause is not None)
    name, n = counts.most_common(1)[0] if counts else ("", 0)
    return name if n >= _SURE * sum(finding.is_anomaly for finding in findings) else ""


def _recall_when_weak(
    model: EnhancedDeepLog, members: Sessions, findings: Sequence[Finding], rng: np.random.Generator
) -> float:
    """Share of the members that are still found when half of what tells them is left out."""
    left_out = np.zeros(len(members.event_ids), dtype=np.bool_)
    for start, finding in zip(members.starts[:-1].tolist(), findings, strict=True):
        places = np.array([start + line.position for line in finding.evidence], dtype=np.int64)
        left_out[rng.permutation(places)[: (len(places) + 1) // 2]] = True
    left_out &= members.event_ids != END
    weakened = model.detection.look_at(members.without(left_out))
    _, scores, thresholds, _ = detect(weakened, model.detection.calibration, model.config)
    return float((scores > thresholds).mean())
