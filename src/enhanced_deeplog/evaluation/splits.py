"""Which sessions are learnt from and which are judged: one split a seed, with the truth about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enhanced_deeplog.evaluation.datasets import HdfsBlocks, HdfsSequences, NovaLogs
from enhanced_deeplog.evaluation.synthetic import KINDS, make_benchmark
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.simulator import simulate

__all__ = [
    "DEPLOY_AT",
    "Split",
    "hdfs_by_time",
    "hdfs_halves",
    "hdfs_sequences",
    "hdfs_types",
    "hdfs_types_unseen",
    "nova_halves",
    "service",
    "service_deploy",
    "service_unseen",
    "synthetic",
    "synthetic_unseen",
]

DEPLOY_AT = 0.5  # of the records
_ABNORMAL = "abnormal"  # a type where only abnormal and normal are known


@dataclass(frozen=True)
class Split:
    """What one run learns from, and what it judges.

    Attributes:
        mixed: Sessions of unknown content to learn from, or None.
        normal: Normal sessions to learn from, or None.
        judged: Sessions to judge.
        truth: Type of each judged session, by key; "" for a normal one. Sessions that are not in it count nowhere.
        learnt_until: Where in the data set what is learnt from ends, in words; "" where sessions alone decide.
    """

    mixed: LogRecords | None
    normal: LogRecords | None
    judged: LogRecords
    truth: Mapping[str, str]
    learnt_until: str = ""


def hdfs_halves(folder: Path, seed: int, *, labelled: bool) -> Split:
    data = HdfsBlocks.read(folder)
    blocks = sorted(data.is_abnormal)
    first = set(np.random.default_rng(seed).permutation(blocks)[: len(blocks) // 2].tolist())
    learnt = {block for block in first if not (labelled and data.is_abnormal[block])}
    judged = set(blocks) - first
    records = LogRecords.from_lines(data.of(learnt), session_key="block")
    return Split(
        None if labelled else records,
        records if labelled else None,
        LogRecords.from_lines(data.of(judged), session_key="block"),
        {block: _type_of(data.is_abnormal[block]) for block in data.is_abnormal if block in judged},
    )


def hdfs_by_time(folder: Path, seed: int) -> Split:
    """Blocks that begin before some moment, their records up to it; and those that begin after it.

    The moment is when half of the blocks have begun; each seed moves it a little, so that there are several splits.
    """
    data = HdfsBlocks.read(folder)
    blocks = list(data.is_abnormal)
    shift = np.random.default_rng(seed).uniform(-0.05, 0.05) if seed else 0.0
    n_first = round(len(blocks) * (0.5 + shift))
    until = data.blocks.index(blocks[n_first])
    learnt = {block for block in blocks[:n_first] if not data.is_abnormal[block]}
    judged = blocks[n_first:]
    return Split(
        None,
        LogRecords.from_lines(data.of(learnt, until=until), session_key="block"),
        LogRecords.from_lines(data.of(set(judged), first=until), session_key="block"),
        {block: _type_of(data.is_abnormal[block]) for block in judged},
        learnt_until=f"line {until} of hdfs/HDFS_2percent.log.gz",
    )


def _type_of(is_abnormal: bool) -> str:
    return _ABNORMAL if is_abnormal else ""


def hdfs_sequences(folder: Path, seed: int) -> Split:
    data = HdfsSequences.read(folder)
    order = np.random.default_rng(seed).permutation(len(data.normal))
    n_learnt = round(0.8 * len(order))
    learnt, held_out = ([data.normal[i] for i in part.tolist()] for part in (order[:n_learnt], order[n_learnt:]))
    return Split(
        None,
        _sequence_records(learnt),
        _sequence_records([*held_out, *data.abnormal]),
        {_key(line): "" for line in held_out} | {_key(line): _ABNORMAL for line in data.abnormal},
    )


def _sequence_records(lines: Sequence[str]) -> LogRecords:
    return LogRecords.from_lines(lines, format="sequences")


def _key(line: str) -> str:
    return line.partition(",")[0]


def hdfs_types(folder: Path, _seed: int) -> Split:
    data = HdfsSequences.read(folder)
    abnormal = _sequence_records(data.abnormal)
    return Split(abnormal, _sequence_records(data.normal), abnormal, data.types)


def synthetic(_folder: Path, seed: int) -> Split:
    normal, mixed, truth = _synthetic_lines(seed, "m")
    records = _sequence_records(mixed)
    return Split(records, _sequence_records(normal), records, truth)


def _synthetic_lines(seed: int, prefix: str) -> tuple[list[str], list[str], dict[str, str]]:
    made = make_benchmark(seed=seed)
    normal = [f"n{i},{' '.join(map(str, session.tolist()))}" for i, session in enumerate(made.normal)]
    mixed = [f"{prefix}{i},{' '.join(map(str, session.tolist()))}" for i, session in enumerate(made.mixed)]
    names = ["", *KINDS[1:]]
    return normal, mixed, {f"{prefix}{i}": names[kind] for i, kind in enumerate(made.kinds.tolist())}


def hdfs_types_unseen(folder: Path, seed: int) -> Split:
    data = HdfsSequences.read(folder)
    known = [line for line in data.abnormal if _key(line) in data.types]
    order = np.random.default_rng(seed).permutation(len(known))
    one, other = ([known[i] for i in part.tolist()] for part in np.array_split(order, 2))
    return Split(_sequence_records(one), _sequence_records(data.normal), _sequence_records(other), data.types)


def synthetic_unseen(_folder: Path, seed: int) -> Split:
    normal, mixed, truth = _synthetic_lines(seed, "m")
    _, other, other_truth = _synthetic_lines(seed + 1000, "j")
    return Split(_sequence_records(mixed), _sequence_records(normal), _sequence_records(other), truth | other_truth)


def nova_halves(folder: Path, seed: int) -> Split:
    """Half of the instances to learn from without labels, the others to judge; the fault is the file.

    The mixed file repeats instances of the other two: these belong to the file of their fault, and are read from there
    alone.
    """
    data = NovaLogs.read(folder)
    truth = {instance: fault for fault in data.lines for instance in data.instances(fault)}  # the faults come last
    learnt = set(np.random.default_rng(seed).permutation(sorted(truth))[: len(truth) // 2].tolist())
    parts: tuple[list[str], list[str]] = ([], [])
    for fault in data.lines:
        own = {instance for instance, of_fault in truth.items() if of_fault == fault}
        for part, wanted in zip(parts, (own & learnt, own - learnt), strict=True):
            part.extend(data.of(fault, wanted))
    mixed, judged = (LogRecords.from_lines(part, session_key="instance") for part in parts)
    return Split(mixed, None, judged, {key: fault for key, fault in truth.items() if key not in learnt})


def service(_folder: Path, seed: int) -> Split:
    """A simulated order service, learnt from as it is and then judged itself."""
    records, truth = _service_log(seed)
    return Split(records, None, records, truth)


def service_unseen(_folder: Path, seed: int) -> Split:
    """The same, and another log of that service to judge."""
    records, _ = _service_log(seed)
    judged, truth = _service_log(seed + 1000)
    return Split(records, None, judged, truth)


def service_deploy(_folder: Path, seed: int) -> Split:
    """The same, and a longer log of that service, in the midst of which the next release takes over."""
    records, _ = _service_log(seed)
    judged, truth = _service_log(seed + 1000, n_records=120_000, deploy_at=DEPLOY_AT)
    return Split(records, None, judged, truth)


def _service_log(seed: int, **options: Any) -> tuple[LogRecords, dict[str, str]]:
    made = simulate(seed=seed, **options)
    return LogRecords.from_lines(made.lines, session_key="request"), {
        key: made.faults.get(key, "") for key in made.session_keys
    }
