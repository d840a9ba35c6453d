"""What one run of a protocol measures: ours and every peer on the same sessions, rows of plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import spearmanr

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress
from enhanced_deeplog.detection import detect
from enhanced_deeplog.detector import EnhancedDeepLog
from enhanced_deeplog.discovery import fit_kinds
from enhanced_deeplog.evaluation.datasets import ParsedLog
from enhanced_deeplog.evaluation.figures import OURS
from enhanced_deeplog.evaluation.judged import Judged, by_key, distinct_sequences, sequences_of
from enhanced_deeplog.evaluation.measures import (
    bootstrap_interval,
    confidence_measures,
    detection_measures,
    grouping_measures,
    kind_measures,
    paired_test,
)
from enhanced_deeplog.evaluation.peers import PEERS, PeerInput
from enhanced_deeplog.evaluation.plotted import kinds_shown, loss_by_epoch, pr_curve
from enhanced_deeplog.evaluation.splits import Split
from enhanced_deeplog.events import UNKNOWN
from enhanced_deeplog.findings import NORMAL, UNKNOWN_CLASS
from enhanced_deeplog.learning.metrics import precision_recall_f1
from enhanced_deeplog.logs.parsing import parse_records
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.scorecard import scorecard
from enhanced_deeplog.verdicts import Verdicts

__all__ = ["Row", "class_confidence", "measure_detection", "measure_kinds", "measure_parsing", "measure_unseen"]

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Row = dict[str, Any]

_LEAST_OF_TYPE = 200  # sessions of a type that is left out of `fit`
_MAX_FIRST_ALARMS = 500  # abnormal sessions whose first alarm is looked for


def _fit(split: Split, config: Config, progress: Progress) -> tuple[EnhancedDeepLog, float]:
    began = perf_counter()
    model = EnhancedDeepLog(config, progress=progress).fit(split.mixed, normal=split.normal)
    return model, perf_counter() - began


# --- Detection --------------------------------------------------------------------------------------------------


def measure_detection(split: Split, config: Config, progress: Progress) -> list[Row]:
    """Ours and every peer: detection by session and by distinct sequence; of ours, also how sure and how early."""
    model, fit_s = _fit(split, config, progress)
    began = perf_counter()
    sessions = model.read_sessions(split.judged)
    verdicts = model.judge(sessions)
    judged = by_key(sessions, verdicts, split.truth)
    classify_s = perf_counter() - began
    sequences = sequences_of(model, split.judged)
    distinct = distinct_sequences(judged, sequences)
    truth, found = judged.is_abnormal, judged.found
    learnt_from = split.normal if split.normal is not None else split.mixed
    if learnt_from is None:
        raise ValueError("measure_detection needs sessions to learn from.")
    given = PeerInput(
        training=list(sequences_of(model, learnt_from).values()),
        judged=[sequences[key] for key in judged.keys],
        n_events=len(model.vocabulary),
        alarm_rate=config.detection.alarm_rate,
        seed=config.seed,
    )
    told = {}
    for name, peer in PEERS.items():
        progress(f"peer: {name}", 0.0)
        told[name] = peer(given)
    rows: list[Row] = [
        {
            "system": OURS,
            **_detection(truth, found, judged.margins, distinct),
            "f1_interval": bootstrap_interval(
                lambda rows: precision_recall_f1(truth[rows], found[rows]).f1, len(truth), seed=config.seed
            ),
            "against_count_vector": paired_test(truth, found, told["count vector"].found),
            "alarm_rate_asked": config.detection.alarm_rate,
            "first_alarm": _first_alarms(model, sessions, verdicts, split.truth),
            "scorecard": _scorecard_kept(model, sessions, split.truth),
            "fit_s": fit_s,
            "classify_s": classify_s,
            "pr_curve": pr_curve(truth, judged.margins),
            "loss": loss_by_epoch(model),
        }
    ]
    if len(set(judged.types[truth].tolist())) > 1:
        rows[0]["kinds"] = kind_measures(judged.types, judged.classes)
        rows[0] |= kinds_shown(model, sessions, verdicts, split.truth)
    peers = [{"system": name, **_detection(truth, one.found, one.scores, distinct)} for name, one in told.items()]
    return rows + peers


def _detection(truth: Bools, found: Bools, scores: npt.NDArray[np.float64], distinct: Int64s) -> Row:
    return {
        "detection": detection_measures(truth, found, scores),
        "detection_distinct": detection_measures(truth[distinct], found[distinct], scores[distinct]),
    }


def _first_alarms(model: EnhancedDeepLog, sessions: Sessions, verdicts: Verdicts, truth: Mapping[str, str]) -> Row:
    """Which share of an abnormal session had passed when its prefix first looked abnormal, of those found."""
    is_abnormal = np.array([bool(truth.get(key)) for key in sessions.table["session_key"]])
    found = np.flatnonzero(is_abnormal & (verdicts.classes != NORMAL))
    rows = np.random.default_rng(model.config.seed).permutation(found)[:_MAX_FIRST_ALARMS]
    shares = []
    for row, length in zip(rows.tolist(), np.diff(verdicts.scored.starts)[rows].tolist(), strict=True):
        prefixes = verdicts.scored.take(np.full(length, row), np.arange(1, length + 1))
        _, scores, thresholds, _ = detect(prefixes, model.detection.calibration, model.config)
        alarms = np.flatnonzero(scores > thresholds)
        if len(alarms):  # by another mode of detection, none need be there
            shares.append((int(alarms[0]) + 1) / length)
    if not shares:
        return {"n_sessions": 0, "median_share": None, "mean_share": None, "before_the_end": None}
    return {
        "n_sessions": len(shares),
        "median_share": float(np.median(shares)),
        "mean_share": float(np.mean(shares)),
        "before_the_end": float(np.mean(np.array(shares) < 1.0)),
    }


def _scorecard_kept(model: EnhancedDeepLog, sessions: Sessions, truth: Mapping[str, str]) -> Row:
    """What the scorecard of `fit` promises, and what is found of truly normal sessions damaged in the same ways, which
    no part of `fit` has seen; and whether the order of strong and weak damages is the same (Spearman's rank)."""
    is_normal = np.array([not truth.get(key) for key in sessions.table["session_key"]])

    def is_abnormal(made: Sessions) -> Bools:
        _, scores, thresholds, _ = detect(model.detection.look_at(made), model.detection.calibration, model.config)
        return np.asarray(scores > thresholds)

    found = scorecard(
        sessions,
        np.where(is_normal, 0, -1),
        [is_abnormal],
        seed=model.config.seed,
        usual_pauses=model.detection.scorer.usual_pauses,
    )
    promised = {(one.service, one.damage): one.share for one in model.detection.scorecard}
    kept = {(one.service, one.damage): one.share for one in found}
    both = [key for key in promised if key in kept]
    was_promised, is_kept = (np.array([shares[key] for key in both]) for shares in (promised, kept))
    tells = len(np.unique(was_promised)) > 1 < len(np.unique(is_kept))  # of equal shares there is no order
    return {
        "damages": [[*key, promised[key], kept[key]] for key in both],
        "rank_correlation": float(spearmanr(was_promised, is_kept).statistic) if tells else None,
        "mean_difference": float(np.abs(was_promised - is_kept).mean()) if both else None,
    }


# --- Kinds ------------------------------------------------------------------------------------------------------


def measure_kinds(split: Split, config: Config, progress: Progress) -> list[Row]:
    """Kinds of the judged sessions, by session and by distinct sequence; beside them what must fail."""
    model, fit_s = _fit(split, config, progress)
    sessions = model.read_sessions(split.judged)
    verdicts = model.judge(sessions)
    judged = by_key(sessions, verdicts, split.truth)
    distinct = distinct_sequences(judged, sequences_of(model, split.judged))
    shuffled = np.random.default_rng(config.seed).permutation(judged.classes)
    rows = [
        {
            "system": system,
            "transductive": split.mixed is split.judged,
            "kinds": kind_measures(judged.types, classes),
            "kinds_distinct": kind_measures(judged.types[distinct], classes[distinct]),
        }
        for system, classes in (
            (OURS, judged.classes),
            ("the same, shuffled", shuffled),
            ("one class for all", np.ones_like(judged.classes)),
        )
    ]
    rows[0] |= {
        "fit_s": fit_s,
        "loss": loss_by_epoch(model),
        **kinds_shown(model, sessions, verdicts, split.truth),
    }
    if not judged.is_abnormal.all():
        rows[0]["detection"] = detection_measures(judged.is_abnormal, judged.found, judged.margins)
    return rows


def measure_unseen(split: Split, config: Config, progress: Progress) -> list[Row]:
    """Kinds and confidence on sessions that `fit` never saw; then each kind left out of `fit` in turn."""
    if split.mixed is None or split.normal is None:
        raise ValueError("measure_unseen needs normal sessions, and others to learn kinds from.")
    model, fit_s = _fit(split, config, progress)
    learnt, judged_sessions = model.read_sessions(split.mixed), model.read_sessions(split.judged)
    own = by_key(learnt, _as_clustered(model, model.judge(learnt)), split.truth)
    judged = by_key(judged_sessions, model.judge(judged_sessions), split.truth)
    abnormal = judged.take(judged.is_abnormal)
    rows: list[Row] = [
        {
            "system": OURS,
            "kinds": kind_measures(judged.types, judged.classes),
            "confidence": class_confidence(own, judged),
            "scorecard": _scorecard_kept(model, judged_sessions, split.truth),
            "share_unknown": _mean(abnormal.classes == UNKNOWN_CLASS),
            "fit_s": fit_s,
            "loss": loss_by_epoch(model),
        }
    ]
    types, n_of_type = np.unique(own.types[own.is_abnormal], return_counts=True)
    for left_out in types[n_of_type >= _LEAST_OF_TYPE].tolist():
        progress(f"without {left_out}", 0.0)
        rows.append(_without(model, learnt, judged_sessions, split.truth, left_out))
    return rows


def _as_clustered(model: EnhancedDeepLog, verdicts: Verdicts) -> Verdicts:
    """Verdicts on the sessions of `fit`, each of the class that it was clustered into."""
    classes = verdicts.classes.copy()
    classes[classes != NORMAL] = model.kinds.labels
    return replace(verdicts, classes=classes)


def _mean(chosen: Bools) -> float | None:
    """The share that is true; None of nothing, which is no number that JSON has."""
    return float(chosen.mean()) if len(chosen) else None


def class_confidence(own: Judged, judged: Judged) -> Row:
    """A class stands for the type that most of its members in `fit` have; a verdict is right if its class stands for
    the session's type (a normal session's never is). Sessions called unknown or normal say nothing about a class."""
    stands_for = {}
    for one in np.unique(own.classes[own.classes > 0]).tolist():
        types, counts = np.unique(own.types[own.classes == one], return_counts=True)
        stands_for[one] = str(types[counts.argmax()])
    known = judged.take(np.isin(judged.classes, list(stands_for)))
    if not len(known.keys):
        return {"n_sessions": 0, "ece": None}
    right = [stands_for[c] == t for c, t in zip(known.classes.tolist(), known.types.tolist(), strict=True)]
    return confidence_measures(known.confidence, np.array(right))


def _without(
    model: EnhancedDeepLog, learnt: Sessions, judged: Sessions, truth: Mapping[str, str], left_out: str
) -> Row:
    """The kinds found without one type, then all types judged.

    Stage 1 learns from normal sessions alone, so it is the same with and without the type and isn't trained again.
    Events that no other session has are UNKNOWN, as after a `fit` that never met them.
    """
    kept = _only(learnt, np.array([truth.get(key) != left_out for key in learnt.table["session_key"]]))
    seen = model.detection.scorer.known.copy()
    seen[kept.event_ids] = True
    masked = replace(judged, event_ids=np.where(seen[judged.event_ids], judged.event_ids, UNKNOWN))
    kinds = fit_kinds(kept, model.detection, model.vocabulary, model.config, progress=lambda *_: None)
    verdicts = kinds.judge(model.detection.look_at(masked), model.detection, model.config)
    found = by_key(masked, verdicts, truth)
    is_left_out, is_unknown = found.types == left_out, found.classes == UNKNOWN_CLASS
    others = found.is_abnormal & ~is_left_out & found.found
    return {
        "system": OURS,
        "left_out": left_out,
        "n_left_out": int(is_left_out.sum()),
        "left_out_unknown": _mean(is_unknown[is_left_out]),
        "left_out_normal": _mean(~found.found[is_left_out]),
        "known_unknown": _mean(is_unknown[others]),
        "n_classes": len(kinds.classes),
    }


def _only(sessions: Sessions, wanted: Bools) -> Sessions:
    """Some of the sessions; all parts of a session, or none."""
    rows = np.flatnonzero(wanted)
    lengths = np.diff(sessions.starts)[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(starts[-1]) + np.repeat(sessions.starts[:-1][rows] - starts[:-1], lengths)
    return replace(
        sessions,
        table=sessions.table[rows],
        event_ids=sessions.event_ids[places],
        starts=starts,
        context_starts=starts[:-1] - (sessions.starts[:-1] - sessions.context_starts)[rows],
        pauses=sessions.pauses[places],
        rows=sessions.rows[places],
        numbers=None if sessions.numbers is None else sessions.numbers[places],
    )


# --- Parsing ----------------------------------------------------------------------------------------------------


def measure_parsing(folder: Path, config: Config) -> list[Row]:
    """Grouping of the messages of each system."""
    rows: list[Row] = []
    for log in ParsedLog.read_all(folder):
        parsed = pl.concat(parse_records(LogRecords.from_lines(log.bodies, format="plain"), config))
        measures = grouping_measures(log.templates, parsed["event_id"].to_numpy())
        rows.append({"system": OURS, "log": log.system, **measures})
    return rows
