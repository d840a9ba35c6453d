"""Measure how fast logs become templates and findings, and in how much memory, side by side with others in one run.

python benchmarks/throughput.py --lines 200000 2000000

Logs are made once and kept in --folder. Rows go to benchmarks/results/throughput.jsonl: of each log and length, `parse`
and `classify` as whole processes, with a cold and a warm cache; the stages of `classify`; Drain3 alone, line by line,
with the same masks; and scoring on ONNX Runtime, in batches by torch, and one window at a time by torch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from long_logs import KINDS, long_log

ROOT = Path(__file__).parents[1]
EDL = [sys.executable, "-c", "from enhanced_deeplog.cli import main; main()"]
_LEARNT_LINES = 220_000  # as many as HDFS_2percent has
_STREAM_LINES = 200_000
_BATCH = 512
_DRAIN_LINES = 50_000
_DRAIN_S = 20.0
_WINDOWS = 20_000
_ONE_AT_A_TIME = 2_000


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    given.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "enhanced-deeplog-bench")
    given.add_argument("--lines", type=int, nargs="+", default=[200_000, 2_000_000])
    given.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "throughput.jsonl")
    options = given.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "commit": commit}
    with options.output.open("a", encoding="utf-8") as file:
        for row in measure(options):
            file.write(json.dumps({**row, **machine}, allow_nan=False) + "\n")
            file.flush()
            print(json.dumps(row), flush=True)


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    bundle, places = options.folder / "bundle", (options.folder, options.data)
    learnt = long_log("repeated", _LEARNT_LINES, *places)
    fit = run(["fit", str(learnt), "--bundle", str(bundle), "--overwrite"])
    yield {"what": "fit", "log": "repeated", "lines": _LEARNT_LINES, **fit}
    yield apart(scoring, bundle)
    yield {"what": "stream", "log": "repeated", **apart(stream, long_log("repeated", _STREAM_LINES, *places), bundle)}
    for kind in options.kinds:
        for n_lines in options.lines:
            log = long_log(kind, n_lines, *places)
            about = {"log": kind, "lines": n_lines}
            parsed, found = options.folder / "parsed.parquet", options.folder / "findings.jsonl"
            for cache in ("cold", "warm"):
                yield {
                    "what": "parse",
                    **about,
                    "cache": cache,
                    **run(["parse", str(log), "-o", str(parsed)], log, cache),
                }
            if kind == "repeated" and n_lines > _LEARNT_LINES:
                fit = run(["fit", str(log), "--bundle", str(options.folder / "other"), "--overwrite"])
                yield {"what": "fit", **about, **fit}
            if kind == "repeated":
                command = ["classify", str(log), "--bundle", str(bundle), "-o", str(found)]
                for cache in ("cold", "warm"):
                    yield {"what": "classify", **about, "cache": cache, **run(command, log, cache)}
                yield {"what": "stages", **about, **apart(stages, log, bundle)}
            yield {"what": "drain3", **about, **apart(drain3, log)}


def run(command: list[str], log: Path | None = None, cache: str = "warm") -> dict[str, Any]:
    """A whole process: time from start to end, and the most memory it ever had."""
    if log is not None and cache == "cold":
        with log.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        process = subprocess.Popen([*EDL, *command], stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        if status:
            said.seek(0)
            sys.exit(f"{' '.join(command)}: {said.read().decode()}")
    return {"wall_s": round(wall, 3), "peak_mib": round(used.ru_maxrss / 1024)}


def stages(log: Path, bundle: Path) -> dict[str, Any]:
    """Time of the threads in each stage of `classify`.

    What runs side by side adds up, what Polars and ONNX Runtime give to threads of their own is left out, and `judge`
    has `features` in it.
    """
    from enhanced_deeplog import base_scorer, detector, output, read_records, verdicts
    from enhanced_deeplog import bundle as bundles
    from enhanced_deeplog.learning import features
    from enhanced_deeplog.logs import byte_streams, log_format, partitions

    spent: dict[str, float] = defaultdict(float)
    lock = threading.Lock()

    def timed(stage: str, owner: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            begin = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                with lock:
                    spent[stage] += time.thread_time() - begin

        setattr(owner, name, wrapped)

    timed("read", byte_streams, "_lines_of_block")
    timed("read", log_format.LineParser, "parse")
    timed("mask", partitions, "masked_bodies")
    timed("mine", partitions, "look_up")
    timed("session", detector, "sessions_of")
    timed("window", base_scorer, "distinct_windows")
    timed("score", base_scorer, "score_windows")
    timed("features", features.FeatureSpace, "transform")
    timed("judge", verdicts.Kinds, "judge")
    timed("evidence", detector, "session_findings")
    model = bundles.load_bundle(bundle)
    begin = time.perf_counter()
    findings = model.classify(read_records(log), workers=os.cpu_count() or 1)
    wall = time.perf_counter() - begin
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output.write_findings(findings, Path(folder) / "findings.jsonl")
    spent["write"] = time.perf_counter() - begin
    return {
        "wall_s": round(wall, 3),
        "spent_s": {stage: round(s, 3) for stage, s in spent.items()},
        "n_findings": len(findings),
    }


def stream(log: Path, bundle: Path) -> dict[str, Any]:
    """Records a second of one process that judges them in micro-batches, and how long a batch takes."""
    from enhanced_deeplog import StreamingClassifier, load_bundle, read_records

    classifier = StreamingClassifier(load_bundle(bundle))
    batches = list(read_records(log, batch_size=_BATCH))
    took, n_updates = [], 0
    for batch in batches:
        begin = time.perf_counter()
        n_updates += len(classifier.process_many(batch).findings)
        took.append(time.perf_counter() - begin)
    n_records = sum(map(len, batches))
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1000
    return {
        "lines": n_records,
        "wall_s": round(sum(took), 3),
        "records_per_s": round(n_records / sum(took)),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "n_updates": n_updates,
        "n_open": classifier.n_open,
    }


def drain3(log: Path) -> dict[str, Any]:
    """Drain3 alone on the first lines of a log, with the same masks."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    from enhanced_deeplog import read_records
    from enhanced_deeplog.logs.masks import DEFAULT_MASKS

    bodies = read_records(log).head(_DRAIN_LINES)["body"].to_list()
    config = TemplateMinerConfig()
    config.masking_instructions = [  # Python's re knows neither (?-u:...) nor what a mask keeps
        MaskingInstruction(mask.pattern.replace("(?i-u:", "(?i:").replace("(?-u:", "(?:"), "*")
        for mask in DEFAULT_MASKS
        if not mask.keeps
    ]
    miner = TemplateMiner(config=config)
    begin, n_lines = time.perf_counter(), 0
    for n_lines, body in enumerate(bodies, 1):  # noqa: B007  # told below
        miner.add_log_message(body)
        if time.perf_counter() - begin > _DRAIN_S:
            break
    wall = time.perf_counter() - begin
    return {"wall_s": round(wall, 3), "measured_lines": n_lines, "lines_per_s": round(n_lines / wall)}


def apart(work: Callable[..., dict[str, Any]], *given: Path) -> dict[str, Any]:
    """In a process of its own: what is started by a large process seems to have needed as much memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def scoring(bundle: Path) -> dict[str, Any]:
    """Windows a second, nothing remembered: ONNX Runtime as it scores; torch in batches; torch one at a time."""
    import torch

    from enhanced_deeplog.bundle import load_bundle
    from enhanced_deeplog.learning.next_event import BaseDeepLogModel
    from enhanced_deeplog.learning.scoring import score_windows

    model = load_bundle(bundle)
    scorer, n_events = model.detection.scorer, len(model.vocabulary)
    rng = np.random.default_rng(0)
    windows = rng.integers(3, n_events, (_WINDOWS, scorer.window_size))
    nexts = rng.integers(3, n_events, _WINDOWS)
    twin = BaseDeepLogModel(n_events, model.config.learning).eval()
    twin.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in model.detection.state.items()})

    def by_torch(some: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.softmax(twin(torch.as_tensor(some))[0], dim=1).numpy()

    def timed(work: Callable[[], Any]) -> float:
        work()
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    onnx_s = timed(lambda: score_windows(scorer.network, windows, nexts, smoothing=0.0))
    batches_s = timed(lambda: [by_torch(windows[i : i + 1024]) for i in range(0, _WINDOWS, 1024)])
    one_s = timed(lambda: [by_torch(window[None]) for window in windows[:_ONE_AT_A_TIME]])
    ours = np.exp(-score_windows(scorer.network, windows, nexts, smoothing=0.0).surprise)
    difference = np.abs(ours - by_torch(windows)[np.arange(_WINDOWS), nexts]).max()
    return {
        "what": "scoring",
        "onnx_per_s": round(_WINDOWS / onnx_s),
        "torch_batches_per_s": round(_WINDOWS / batches_s),
        "torch_one_at_a_time_per_s": round(_ONE_AT_A_TIME / one_s),
        "largest_difference": float(difference),
    }


if __name__ == "__main__":
    main()
