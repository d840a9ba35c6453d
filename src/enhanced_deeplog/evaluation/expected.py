"""What one mark as "expected" does: how many false alarms it ends, and how much that is abnormal it hides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress
from enhanced_deeplog.detector import EnhancedDeepLog
from enhanced_deeplog.evaluation.figures import OURS
from enhanced_deeplog.evaluation.measures import detection_measures
from enhanced_deeplog.evaluation.measuring import Row
from enhanced_deeplog.evaluation.splits import Split
from enhanced_deeplog.findings import AnomalyClass, Finding
from enhanced_deeplog.knowledge import Knowledge, Statement

__all__ = ["measure_expected"]

_MARKED = datetime(2000, 1, 1, tzinfo=UTC)


def measure_expected(split: Split, config: Config, progress: Progress) -> list[Row]:
    """Detection before and after a person marks one class.

    Detection learns from the normal sessions alone. Kinds are found in the judged ones, without labels: a class can
    only be marked once it has been found. The person knows the truth and marks the class with the most normal sessions,
    if most of its sessions are normal.
    """
    model = EnhancedDeepLog(config, progress=progress).fit(split.judged, normal=split.normal)
    findings = model.classify(split.judged)
    marked = _marked(findings, model.classes, split)
    known = Knowledge((_expected(marked),) if marked is not None else ())
    shown = known.apply(findings, model.classes, now=_MARKED)
    hidden = {one.session_key for one in shown if one.expected}
    return [
        {
            "system": OURS,
            "detection": _measured(split, {one.session_key for one in shown if not one.expected}),
            "expected": {
                "before": _measured(split, {one.session_key for one in findings}),
                "n_hidden": len(hidden),
                "n_hidden_abnormal": sum(bool(split.truth.get(key)) for key in hidden),
                "n_alike_abnormal": _n_alike(findings, marked, split),
            },
        }
    ]


def _marked(findings: Sequence[Finding], classes: Sequence[AnomalyClass], split: Split) -> AnomalyClass | None:
    def normal_and_all(one: AnomalyClass) -> tuple[int, int]:
        members = [finding for finding in findings if finding.anomaly_class == one.id]
        return sum(not split.truth.get(member.session_key) for member in members), len(members)

    best = max(classes, key=lambda one: normal_and_all(one)[0], default=None)
    if best is None:
        return None
    n_normal, n_members = normal_and_all(best)
    return best if 2 * n_normal > n_members else None


def _expected(one: AnomalyClass) -> Statement:
    return Statement(
        one.key, "expect", "yes", "a person", _MARKED, templates=one.template_ids, patterns=tuple(one.patterns)
    )


def _n_alike(findings: Sequence[Finding], marked: AnomalyClass | None, split: Split) -> int:
    """Abnormal sessions that have all the templates that tell the marked class."""
    if marked is None:
        return 0
    telling = {text for text, _ in marked.templates}
    return sum(
        telling <= {line.template for line in finding.evidence} and bool(split.truth.get(finding.session_key))
        for finding in findings
    )


def _measured(split: Split, found: set[str]) -> Row:
    keys = sorted(split.truth)
    truth = np.array([bool(split.truth[key]) for key in keys])
    flagged = np.array([key in found for key in keys])
    return detection_measures(truth, flagged, flagged.astype(np.float64))
