"""What a fit learnt, as plain data: for the screen, the model card and the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.logs.corpus import Corpus
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.template_cap import ServiceTemplates

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["summarise"]

_MANY_SINGLE = 0.5  # sessions of a single record
_MANY_ABNORMAL = 0.2  # sessions called abnormal
_MANY_TEMPLATES, _TEMPLATES_PER_RECORD = 300, 0.02  # more than both: they grow with the log
_BETTER_LOSS = 0.95  # share of the held-out loss below which another window size is worth a word...
_LEAST_GAIN = 0.01  # ...if it is less by so many nats: where next to nothing is left, so is any share of it
_LEAST_SPAN_S = 60.0  # a log shorter than that says nothing about a day


def summarise(
    model: EnhancedDeepLog,
    corpora: Sequence[Corpus],
    learnt_from: Sessions,
    usual: npt.NDArray[np.bool_],
    mixed: Sessions | None,
) -> dict[str, Any]:
    """Collect what a person wants to know about a fit.

    Args:
        model: With detection and kinds fitted.
        corpora: The logs that were read; the last one is that of stage 1.
        learnt_from: The sessions of stage 1.
        usual: Which of them were learnt from, bool (S,).
        mixed: The sessions that were searched for kinds, or None.
    """
    # Of the sessions that matter most: those with a key, where there are such.
    score = model.detection.calibration.scores.get(True) or model.detection.calibration.scores[False]
    threshold = score.threshold(model.config.detection.alarm_rate)
    sets = _distinct(learnt_from, mixed)
    table = learnt_from.table
    without_key = table.filter(~table["keyed"])["n_records"].sum() / max(int(table["n_records"].sum()), 1)
    kinds, detection = model.kinds, model.detection
    clustering = kinds.clustering
    presumed = len(corpora) == 1 and mixed is not None
    return {
        "n_records": sum(s.records.height for s in sets),
        "n_records_read": sum(corpus.n_read for corpus in corpora),
        "n_templates": len(model.vocabulary.templates),
        "n_sessions": sum(len(s) for s in sets),
        "n_normal_sessions": int(usual.sum()),
        "normal_is_presumed": presumed,
        "normal_from": "presumed: what looked rare in the log itself was left out" if presumed else "given as normal",
        "n_open_sessions": int((~table["ended"]).sum()),
        "session_key": model.key_choice.chosen,
        "session_key_runner_up": model.key_choice.runner_up,
        "session_key_reason": model.key_choice.reason,
        "share_without_key": float(without_key),
        "threshold": threshold,
        "alarm_rate": model.config.detection.alarm_rate,
        "alarm_rate_interval": list(score.alarm_interval(model.config.detection.alarm_rate)),
        "sessions_a_day": _sessions_a_day(learnt_from, corpora[-1].share),
        "scorecard": [found.to_json() for found in detection.scorecard],
        "epochs": len(detection.reports),
        "loss_by_window": {str(size): loss for size, loss in sorted(detection.loss_by_window.items())},
        "losses": [[r.epoch, r.loss, r.validation_loss] for r in detection.reports],
        "n_abnormal": kinds.n_abnormal,
        "n_unknown": int((kinds.labels < 0).sum()),
        "clustering": dict(clustering.quality) if clustering is not None else {},
        "class_number_curve": [
            [p.n_classes, p.silhouette, p.stability, p.explained] for p in (clustering.curve if clustering else ())
        ],
        "reliability": [list(group) for group in kinds.reliability],
        "notes": _notes(model, corpora, learnt_from, mixed, float(without_key)),
    }


def _distinct(learnt_from: Sessions, mixed: Sessions | None) -> list[Sessions]:
    return [learnt_from] if mixed is None or mixed is learnt_from else [learnt_from, mixed]


def _sessions_a_day(sessions: Sessions, share: float) -> float | None:
    """At the rate of the log, of which such a share was drawn; None where it has no time, or too little to tell."""
    times = sessions.records["timestamp"]
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    days = (last - first).total_seconds() / 86_400
    return len(sessions) / share / days if days * 86_400 >= _LEAST_SPAN_S else None


def _notes(
    model: EnhancedDeepLog,
    corpora: Sequence[Corpus],
    learnt_from: Sessions,
    mixed: Sessions | None,
    without_key: float,
) -> list[str]:
    notes = []
    if mixed is None:
        notes.append("Only normal logs were given: no kinds of anomaly were looked for; every anomaly will be unknown.")
    elif not model.kinds.n_abnormal:
        notes.append(
            "No session deviates: stages 3 and 4 had nothing to learn from. Anomalies will still be detected, "
            "as unknown."
        )
    elif not model.kinds.classes:
        least = model.config.clustering.min_class_size
        notes.append(
            f"{model.kinds.n_abnormal} sessions deviate, too few alike to make a kind (at least {least}); "
            "they stay unknown."
        )
    notes += _doubts(model, learnt_from, mixed)
    if any(_is_newest_first(corpus.frame) for corpus in corpora):
        notes.append(
            "The times of most records are earlier than those of the records before them: the log seems to be written "
            "newest first. Turn it round (tac FILE), or what comes next is learnt backwards."
        )
    if 0 < without_key < 1:
        judged = "" if False in model.detection.calibration.scores else " Too few to learn from: they are not judged."
        notes.append(
            f"{without_key:.1%} of the records have no session key; they became sessions by origin and time.{judged}"
        )
    return notes


def _has_many_templates(found: ServiceTemplates) -> bool:
    many = max(_MANY_TEMPLATES, found.n_records * _TEMPLATES_PER_RECORD)
    return found.n_kept < found.n_templates or found.n_templates > many


def _many_templates(found: ServiceTemplates) -> str:
    of = f" of the service {found.service!r}" if found.service else ""
    kept = ""
    if found.n_kept < found.n_templates:
        kept = (
            f" The {found.n_kept:,} most frequent were kept, which {found.share_kept:.1%} of the records fit; the "
            "others are UNKNOWN (templates.most_per_service)."
        )
    return (
        f"There are {found.n_templates:,} templates for {found.n_records:,} records{of}: they grow with the log. "
        f"Something in its lines varies that no mask covers; templates.extra_masks adds one.{kept}"
    )


def _is_newest_first(records: pl.DataFrame) -> bool:
    step = records.select(pl.col("timestamp").diff().over("source"))["timestamp"].dt.total_nanoseconds()
    return int((step < 0).sum()) > int((step > 0).sum())


def _doubts(model: EnhancedDeepLog, learnt_from: Sessions, mixed: Sessions | None) -> list[str]:
    """What looks like a wrong choice."""
    doubts = []
    keyed = learnt_from.table.filter(learnt_from.table["keyed"])["n_records"]
    single = float((keyed == 1).mean() or 0.0) if len(keyed) else 0.0  # type: ignore[arg-type]  # a mean of bools
    if single > _MANY_SINGLE:
        doubts.append(
            f"{single:.0%} of the sessions have one record only: the session key may be the wrong one. --session-key "
            "names another; 'enhanced-deeplog inspect' shows the candidates."
        )
    if mixed is not None and model.kinds.n_abnormal > _MANY_ABNORMAL * len(mixed):
        doubts.append(
            f"{model.kinds.n_abnormal / len(mixed):.0%} of the sessions are called abnormal. Where that is not so, "
            "normal logs (--normal) that are more like these, or another session key, may help."
        )
    doubts += map(_many_templates, filter(_has_many_templates, model.service_templates))
    losses, size = model.detection.loss_by_window, model.config.learning.window_size
    best = min(losses, key=lambda other: (losses[other], other), default=size)
    if best != size and losses[best] < min(_BETTER_LOSS * losses[size], losses[size] - _LEAST_GAIN):
        doubts.append(
            f"A window of {best} events predicts held-out sessions better than one of {size} (loss {losses[best]:.3f} "
            f"against {losses[size]:.3f} nats): --set learning.window_size={best}."
        )
    n_single = sum(one.n_findings == 1 for one in model.kinds.classes)
    if n_single:
        doubts.append(
            f"{n_single} of {len(model.kinds.classes)} kinds have one session only, which is no kind yet. A larger "
            "clustering.min_class_size, or a longer log, tells kinds from single cases."
        )
    return doubts
