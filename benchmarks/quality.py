"""Measure detection and kinds on data with truth, over several splits and seeds.

    python benchmarks/quality.py PROTOCOL [--seeds 3] [--data ../shared/data]

Each run appends one row a seed to benchmarks/results/quality.jsonl: config, seed, commit, versions, figures. All
settings are the defaults; what is judged never takes part in `fit` where detection is measured.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords, read_records
from enhanced_deeplog.evaluation.synthetic import make_benchmark
from enhanced_deeplog.learning.metrics import adjusted_rand_index, precision_recall_f1
from enhanced_deeplog.simulator import simulate

RESULTS = Path(__file__).parent / "results" / "quality.jsonl"
Row = dict[str, object]


def _model(seed: int) -> EnhancedDeepLog:
    return EnhancedDeepLog(Config(seed=seed))


def _hdfs_halves(data: Path, seed: int) -> tuple[list[str], list[str], dict[str, bool], set[str]]:
    """Lines of a random half of the blocks, and of the other; which blocks are abnormal; blocks of the first half."""
    with gzip.open(data / "hdfs" / "HDFS_2percent.log.gz", "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    with (data / "hdfs" / "anomaly_label.csv").open(encoding="utf-8") as file:
        abnormal = {row["BlockId"]: row["Label"] != "Normal" for row in csv.DictReader(file)}
    blocks = [re.search(r"blk_-?\d+", line).group() for line in lines]  # type: ignore[union-attr]  # every line has one
    distinct = sorted(set(blocks))
    first = set(np.random.default_rng(seed).permutation(distinct)[: len(distinct) // 2].tolist())
    one = [line for line, block in zip(lines, blocks, strict=True) if block in first]
    other = [line for line, block in zip(lines, blocks, strict=True) if block not in first]
    return one, other, {b: abnormal[b] for b in distinct}, first


def hdfs(data: Path, seed: int, *, labelled: bool = True) -> Row:
    one, other, abnormal, _ = _hdfs_halves(data, seed)
    if labelled:
        one = [line for line in one if not abnormal[re.search(r"blk_-?\d+", line).group()]]  # type: ignore[union-attr]
    began = time.perf_counter()
    model = _model(seed)
    logs = LogRecords.from_lines(one)
    model.fit(normal=logs) if labelled else model.fit(logs)
    fitted = time.perf_counter()
    verdicts = model.classify(LogRecords.from_lines(other), every_session=True)
    judged = time.perf_counter()
    found = np.array([f.is_anomaly for f in verdicts])
    truth = np.array([abnormal[f.session_key] for f in verdicts])
    quality = precision_recall_f1(truth, found)
    order = np.sort([f.score for f in verdicts])
    oracle = max(precision_recall_f1(truth, np.array([f.score for f in verdicts]) > t).f1 for t in order[-600:])
    return {
        "f1": quality.f1,
        "precision": quality.precision,
        "recall": quality.recall,
        "false_alarms": int((found & ~truth).sum()),
        "missed": int((~found & truth).sum()),
        "n_sessions": len(verdicts),
        "n_abnormal": int(truth.sum()),
        "oracle_f1": oracle,
        "alarm_rate_asked": model.summary["alarm_rate"],
        "alarm_rate_achieved": float((found & ~truth).sum() / (~truth).sum()),
        "fit_s": fitted - began,
        "classify_s": judged - fitted,
    }


def hdfs_types(data: Path, seed: int) -> Row:
    abnormal, normal = (data / "hdfs" / f"sequences_{kind}.txt" for kind in ("abnormal", "normal"))
    began = time.perf_counter()
    model = _model(seed).fit(
        read_records(abnormal, format="sequences"), normal=read_records(normal, format="sequences")
    )
    fitted = time.perf_counter()
    verdicts = model.classify(read_records(abnormal, format="sequences"), every_session=True)
    with (data / "hdfs" / "anomaly_type.csv").open(encoding="utf-8") as file:
        types = {row["BlockId"]: row["Type"] for row in csv.DictReader(file) if row["Confidence"] in ("A", "B")}
    judged = [f for f in verdicts if f.session_key in types]
    found = [f.anomaly_class for f in judged]
    return {
        "ari": adjusted_rand_index([types[f.session_key] for f in judged], found),
        "n_judged": len(judged),
        "n_classes": len(model.classes),
        "called_normal": found.count(0),
        "called_unknown": found.count(-1),
        "fit_s": fitted - began,
        "classify_s": time.perf_counter() - fitted,
    }


def synthetic(_data: Path, seed: int) -> Row:
    benchmark = make_benchmark(seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        normal, mixed = benchmark.write(Path(directory))
        began = time.perf_counter()
        model = _model(seed).fit(
            read_records(mixed, format="sequences"), normal=read_records(normal, format="sequences")
        )
        fitted = time.perf_counter()
        verdicts = model.classify(read_records(mixed, format="sequences"), every_session=True)
    found = np.array([f.anomaly_class for f in verdicts])
    shuffled = np.random.default_rng(seed).permutation(found)
    return {
        "ari": adjusted_rand_index(benchmark.kinds, found),
        "ari_shuffled": adjusted_rand_index(benchmark.kinds, shuffled),
        "ari_constant": adjusted_rand_index(benchmark.kinds, np.ones_like(found)),
        "n_classes": len(model.classes),
        "recall": [float((found[benchmark.kinds == k] != 0).mean()) for k in range(4)],
        "called_unknown": int((found == -1).sum()),
        "fit_s": fitted - began,
    }


def demo(_data: Path, seed: int) -> Row:
    simulation = simulate(n_records=60_000, seed=seed)
    began = time.perf_counter()
    logs = LogRecords.from_lines(simulation.lines)
    model = _model(seed).fit(logs)
    verdicts = [f for f in model.classify(logs, every_session=True) if f.session_key in set(simulation.session_keys)]
    truth = [simulation.faults.get(f.session_key, "") for f in verdicts]
    found = [f.anomaly_class for f in verdicts]
    quality = precision_recall_f1(np.array([t != "" for t in truth]), np.array(found) != 0)
    inside = [(t, c) for t, c in zip(truth, found, strict=True) if t]
    return {
        "ari": adjusted_rand_index(truth, found),
        "ari_abnormal": adjusted_rand_index([t for t, _ in inside], [c for _, c in inside]),
        **quality._asdict(),
        "n_classes": len(model.classes),
        "n_kinds": len(set(simulation.faults.values())),
        "n_presumed_normal": model.summary["n_normal_sessions"],
        "seconds": time.perf_counter() - began,
    }


PROTOCOLS: dict[str, Callable[[Path, int], Row]] = {
    "hdfs": hdfs,
    "hdfs-unlabelled": lambda data, seed: hdfs(data, seed, labelled=False),
    "hdfs-types": hdfs_types,
    "synthetic": synthetic,
    "demo": demo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--no-row", action="store_true", help="print only")
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    for seed in range(arguments.seeds):
        figures = PROTOCOLS[arguments.protocol](arguments.data, seed)
        row = {
            "protocol": arguments.protocol,
            "seed": seed,
            **figures,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "commit": commit.stdout.strip(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("torch", "onnxruntime", "polars", "scikit-learn", "numpy")},
        }
        print(json.dumps(figures), flush=True)
        if not arguments.no_row:
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
