"""Measure the options of the method, each on and off on the same seeds: kinds of sessions that `fit` never saw.

python benchmarks/ablation.py --data ../shared/data --seeds 2

Stage 1 is trained once a data set and seed; options of stages 2 to 4 are measured on top of it. Rows go to
benchmarks/results/ablation.jsonl; figures.py makes a table of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from enhanced_deeplog import Config, EnhancedDeepLog
from enhanced_deeplog.discovery import fit_kinds
from enhanced_deeplog.evaluation.judged import by_key, distinct_sequences, sequences_of
from enhanced_deeplog.evaluation.measures import detection_measures, kind_measures
from enhanced_deeplog.evaluation.measuring import class_confidence
from enhanced_deeplog.evaluation.protocol import PROTOCOLS
from enhanced_deeplog.evaluation.splits import Split
from enhanced_deeplog.findings import NORMAL, UNKNOWN_CLASS
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.scoring import softmax
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.verdicts import Kinds, Verdicts, classifier_inputs

ROOT = Path(__file__).parents[1]
ON = ("synthetic/unseen", "service/unseen", "hdfs-sequences/unseen")
AS_IT_IS = "as it is"
NEAREST = "nearest class centre in place of the classifier"
Settings = Mapping[str, str]

STAGE_1: dict[str, Settings] = {
    "scalar encoding of events": {"learning.encoding": "scalar"},
    "window of 5 events": {"learning.window_size": "5"},
    "window of 15 events": {"learning.window_size": "15"},
    "features of windows of 5 and 15, too": {"features.window_sizes": "[5, 15]"},
    "time between events": {"detection.timing": "true"},
    "values of parameters": {"detection.values": "true"},
    "batches of 8 windows": {"learning.batch_size": "8"},
    "batches of 128 windows": {"learning.batch_size": "128"},
    "learning rate of .003": {"learning.learning_rate": "0.003"},
    "learning rate of .03": {"learning.learning_rate": "0.03"},
}
_BLOCKS = ("surprise_profile", "count_deviation", "deviation")
LATER: dict[str, Settings] = {
    "no attention": {"classifier.use_attention": "false"},
    "plain attention": {"classifier.improved_attention": "false"},
    "focal loss": {"classifier.loss": '"focal"'},
    "no consistency loss (gamma 0)": {"classifier.gamma": "0"},
    "average linkage": {"clustering.method": '"average"'},
    "number of classes given": {"clustering.n_classes": "true number"},
    "kinds of 3 sessions at least": {"clustering.min_class_size": "3"},
    "kinds of 10 sessions at least": {"clustering.min_class_size": "10"},
    **{
        f"clustering without {block}": {"features.clustering_blocks": json.dumps([b for b in _BLOCKS if b != block])}
        for block in _BLOCKS
    },
    **{
        f"clustering by {block} alone": {"features.clustering_blocks": json.dumps([block])}
        for block in (*_BLOCKS, "statistics", "event_counts", "transitions", "hidden_state", "perturbation")
    },
}


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    given.add_argument("--seeds", type=int, default=2)
    given.add_argument("--on", nargs="+", choices=ON, default=ON)
    given.add_argument("--only", nargs="+", help="these options alone, beside the method as it is")
    given.add_argument("--later-only", action="store_true", help="leave out what trains stage 1 again")
    given.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "ablation.jsonl")
    options = given.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with options.output.open("a", encoding="utf-8") as file:
        for protocol in options.on:
            split_of = PROTOCOLS[protocol].split
            assert split_of is not None  # noqa: S101  # each of these has one
            for seed in range(options.seeds):
                chosen = chosen_options(options.only, later_only=options.later_only)
                for row in measure(split_of(options.data, seed), Config(seed=seed), *chosen):
                    told = {"protocol": protocol, "seed": seed, **row, "commit": commit}
                    file.write(json.dumps(told, allow_nan=False) + "\n")
                    file.flush()
                    print(json.dumps(told), file=sys.stderr)


def chosen_options(only: list[str] | None, *, later_only: bool) -> tuple[dict[str, Settings], dict[str, Settings]]:
    """Those of stages 2 to 4, and those of stage 1."""
    later, stage_1 = LATER, {} if later_only else STAGE_1
    if only is not None:
        unknown = set(only) - later.keys() - stage_1.keys()
        if unknown:
            sys.exit(f"--only: expected options of {[*later, *stage_1]}; got {sorted(unknown)}.")
        later, stage_1 = ({k: v for k, v in some.items() if k in only} for some in (later, stage_1))
    return later, stage_1


def measure(
    split: Split, config: Config, later: dict[str, Settings], stage_1: dict[str, Settings]
) -> Iterator[dict[str, Any]]:
    """A row an option."""
    model = EnhancedDeepLog(config).fit(split.mixed, normal=split.normal)
    learnt, judged = read(model, split)
    yield {"option": AS_IT_IS, **detected(model, judged, split), **told(model, learnt, judged, split, model.kinds)}
    yield {"option": NEAREST, **told(model, learnt, judged, split, model.kinds, nearest=True)}
    types = {split.truth.get(key, "") for key in judged.table["session_key"]} - {""}
    for option, settings in later.items():
        changed = config.with_settings({k: v.replace("true number", str(len(types))) for k, v in settings.items()})
        kinds = fit_kinds(learnt, model.detection, model.vocabulary, changed, progress=lambda *_: None)
        yield {"option": option, **told(model, learnt, judged, split, kinds, config=changed)}
    for option, settings in stage_1.items():
        changed = config.with_settings(settings)
        other = EnhancedDeepLog(changed).fit(split.mixed, normal=split.normal)
        learnt, judged = read(other, split)
        yield {"option": option, **detected(other, judged, split), **told(other, learnt, judged, split, other.kinds)}


def read(model: EnhancedDeepLog, split: Split) -> tuple[Sessions, Sessions]:
    assert split.mixed is not None  # noqa: S101  # each of these protocols has sessions to learn kinds from
    return model.read_sessions(split.mixed), model.read_sessions(split.judged)


def detected(model: EnhancedDeepLog, judged: Sessions, split: Split) -> dict[str, Any]:
    """How well abnormal sessions are told from normal ones, where there are both."""
    found = by_key(judged, model.judge(judged), split.truth)
    if found.is_abnormal.all():
        return {"recall": float(found.found.mean())}
    measures = detection_measures(found.is_abnormal, found.found, found.margins)
    return {name: measures[name] for name in ("recall", "f1", "pr_auc")}


def told(
    model: EnhancedDeepLog,
    learnt: Sessions,
    judged: Sessions,
    split: Split,
    kinds: Kinds,
    *,
    config: Config | None = None,
    nearest: bool = False,
) -> dict[str, Any]:
    """Kinds of the abnormal sessions that were found: of whole ones, distinct ones, and half-way through."""
    config = config or model.config
    scored = model.detection.look_at(judged)
    verdicts = kinds.judge(scored, model.detection, config)
    is_abnormal = np.array([split.truth.get(key, "") != "" for key in judged.table["session_key"]])
    rows = np.flatnonzero(is_abnormal & (verdicts.classes != NORMAL))
    half = scored.take(rows, (np.diff(scored.starts)[rows] + 1) // 2)
    if nearest:
        verdicts = by_centre(kinds, scored, verdicts, config)
    found = by_key(judged, verdicts, split.truth)
    abnormal = found.take(found.is_abnormal & found.found)
    distinct = distinct_sequences(abnormal, sequences_of(model, split.judged))
    whole = verdicts.classes[rows]
    early = kind_of(kinds, half, config, nearest=nearest)
    own = by_key(learnt, as_clustered(model, learnt, kinds, config), split.truth)
    return {
        "ari": kind_measures(abnormal.types, abnormal.classes)["ari"],
        "nmi": kind_measures(abnormal.types, abnormal.classes)["nmi"],
        "ari_distinct": kind_measures(abnormal.types[distinct], abnormal.classes[distinct])["ari"],
        "n_classes": len(kinds.classes),
        "called_unknown": float((abnormal.classes == UNKNOWN_CLASS).mean()) if len(abnormal.keys) else None,
        "ece": class_confidence(own, found)["ece"],
        "same_at_half": float((early == whole)[whole > 0].mean()) if (whole > 0).any() else None,
    }


def as_clustered(model: EnhancedDeepLog, learnt: Sessions, kinds: Kinds, config: Config) -> Verdicts:
    verdicts = kinds.judge(model.detection.look_at(learnt), model.detection, config)
    classes = verdicts.classes.copy()
    classes[classes != NORMAL] = kinds.labels
    return replace(verdicts, classes=classes)


def by_centre(kinds: Kinds, scored: ScoredSessions, verdicts: Verdicts, config: Config) -> Verdicts:
    """The same verdicts, the kind of a known one told by the nearest centre, and its confidence by the distances."""
    rows = np.flatnonzero(verdicts.classes > 0)
    probability = centre_probability(kinds, scored.take(rows), config)
    classes, confidence = verdicts.classes.copy(), verdicts.confidence.copy()
    classes[rows] = probability.argmax(axis=1) + 1
    confidence[rows] = probability.max(axis=1)
    return replace(verdicts, classes=classes, confidence=confidence)


def kind_of(kinds: Kinds, scored: ScoredSessions, config: Config, *, nearest: bool) -> np.ndarray:
    """The most probable class of each, whether or not it is like a known one."""
    if kinds.space is None or kinds.network is None:
        return np.full(len(scored), UNKNOWN_CLASS)
    if nearest:
        return centre_probability(kinds, scored, config).argmax(axis=1) + 1
    inputs = classifier_inputs(scored, kinds.space, config)
    (_, logits) = kinds.network.run(windows=inputs.windows, features=inputs.features)
    return logits[:, 1:].argmax(axis=1) + 1


def centre_probability(kinds: Kinds, scored: ScoredSessions, config: Config) -> np.ndarray:
    assert kinds.space is not None and kinds.centres is not None  # noqa: S101, PT018  # there are classes
    features = kinds.space.transform(scored, config.blocks_for_clustering)
    return softmax(-kinds.centres.distances(features).astype(np.float32), 1.0)


if __name__ == "__main__":
    main()
