"""The order service at work: requests arrive, run interleaved, and leave a log and the truth about it."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from enhanced_deeplog.simulator.messages import BACKGROUND, Values
from enhanced_deeplog.simulator.releases import FIRST_RELEASE, next_release
from enhanced_deeplog.simulator.scenario import FAULT_KINDS, serve

__all__ = ["Simulation", "simulate", "write_simulation"]

_FIRST_RECORD = np.datetime64("2024-03-01T08:00:00.000")  # UTC
_REQUESTS_PER_S = 5.0  # a request takes a second or two, so about ten are interleaved
_BACKGROUND_SHARE = 0.015  # of the records: what no request has caused
_FEWEST_RECORDS = 200  # room for the longest request
_LARGEST_FAULT_SHARE = 0.3  # beyond it, an incident would find no healthy requests to hit between


@dataclass(frozen=True)
class Simulation:
    """A simulated log and the truth about it.

    Attributes:
        lines: Log lines in time order, without line ends.
        faults: Request id -> fault kind, of the abnormal requests only, in order of arrival.
        session_keys: All request ids as they stand in the lines, in order of arrival.
    """

    lines: list[str]
    faults: dict[str, str]
    session_keys: tuple[str, ...]


def simulate(
    *, n_records: int = 60_000, seed: int = 0, fault_share: float = 0.05, deploy_at: float = 1.0
) -> Simulation:
    """Write the log of an order service some of whose requests go wrong in known ways.

    Requests arrive at random and run interleaved; the log goes on until all of them are done. The fault kinds
    take turns, so a short log need not show every kind. A request has one fault at most.

    Args:
        n_records: Number of log records, met exactly. About 1.5 % of them belong to no request.
        seed: Same seed, same lines.
        fault_share: Share of abnormal requests, met roughly; 0 gives a clean log.
        deploy_at: When so large a share of the records is written, the next release takes over: a few messages are
            reworded, a few are new, and the service does what it did. 1: never.

    Returns:
        The lines, and which requests went wrong in which way.

    Raises:
        ValueError: If an argument is of the wrong type or out of range.

    Example:
        >>> simulation = simulate(n_records=1_000, seed=7, fault_share=0.1)
        >>> len(simulation.lines), simulation.lines[0].count(" | ")
        (1000, 3)
        >>> set(simulation.faults) < set(simulation.session_keys)
        True
        >>> sorted(set(simulation.faults.values()) - set(FAULT_KINDS))
        []
    """
    _check_arguments(n_records, seed, fault_share, deploy_at)
    rng = np.random.default_rng(seed)
    later = next_release(np.random.default_rng([seed, 1]))  # drawn apart: without a deploy, the log is what it was
    records: list[tuple[float, str]] = []
    faults: dict[str, str | None] = {}
    arrival_ms, first_key = 0.0, int(rng.integers(2**48))
    for number, fault in enumerate(_plan_faults(rng, fault_share)):
        busy = 1 + 0.4 * math.sin(arrival_ms / 100_000)  # traffic swings over ten minutes
        arrival_ms += float(rng.exponential(1000 / (_REQUESTS_PER_S * busy)))
        # Steps of an odd size through 48 bits: the keys look random and can't meet.
        key = f"req-{(first_key + number * 0x9E3779B97F4B) % 2**48:012x}"
        release = FIRST_RELEASE if len(records) < deploy_at * n_records else later
        served = serve(rng, key, order=40_000 + number, start_ms=arrival_ms, fault=fault, release=release)
        if len(records) + len(served) > n_records * (1 - _BACKGROUND_SHARE):
            break
        records += served
        faults[key] = fault
    records += _background(rng, n_records - len(records), until_ms=max(records)[0])
    return Simulation(
        lines=_stamp(sorted(records)),
        faults={key: fault for key, fault in faults.items() if fault},
        session_keys=tuple(faults),
    )


def _plan_faults(rng: np.random.Generator, fault_share: float) -> Iterator[str | None]:
    """Say of each request in turn which fault it has: an incident hits several, or just one."""
    while fault_share > 0:
        for kind in rng.permutation(FAULT_KINDS).tolist():  # every kind once before any comes again
            n_hit = 1 if rng.random() < 0.5 else int(rng.integers(3, 9))
            n_healthy = round(n_hit * (1 / fault_share - 1) * rng.uniform(0.5, 1.5))
            n_before = int(rng.integers(n_healthy // 4, n_healthy // 2 + 1))
            gaps = rng.integers(0, 3, size=n_hit).tolist()  # an incident spares some of the requests
            yield from [None] * n_before
            for gap in gaps:
                yield kind
                yield from [None] * gap
            yield from [None] * (n_healthy - n_before - sum(gaps))
    while True:
        yield None


def _background(rng: np.random.Generator, n: int, *, until_ms: float) -> list[tuple[float, str]]:
    """Spread n records that no request has caused, about evenly."""
    values = Values(rng)
    messages = (BACKGROUND[int(rng.random() * len(BACKGROUND))] for _ in range(n))
    return [((i + rng.random()) * until_ms / n, text.format_map(values)) for i, text in enumerate(messages)]


def _stamp(records: list[tuple[float, str]]) -> list[str]:
    times = _FIRST_RECORD + np.array([ms for ms, _ in records]).astype("timedelta64[ms]")
    stamps = np.datetime_as_string(times, unit="ms").tolist()
    return [f"{s[:10]} {s[11:19]},{s[20:]} | {line}" for s, (_, line) in zip(stamps, records, strict=True)]


def _check_arguments(n_records: object, seed: object, fault_share: object, deploy_at: object) -> None:
    if not isinstance(n_records, int) or isinstance(n_records, bool) or n_records < _FEWEST_RECORDS:
        raise ValueError(f"n_records must be an int of at least {_FEWEST_RECORDS}, but is {n_records!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an int of at least 0, but is {seed!r}.")
    is_number = isinstance(fault_share, int | float) and not isinstance(fault_share, bool)
    if not is_number or not 0 <= cast(float, fault_share) <= _LARGEST_FAULT_SHARE:
        raise ValueError(f"fault_share must be a number from 0 to {_LARGEST_FAULT_SHARE}, but is {fault_share!r}.")
    if not isinstance(deploy_at, int | float) or isinstance(deploy_at, bool) or not 0 <= deploy_at <= 1:
        raise ValueError(f"deploy_at must be a share of the records, from 0 to 1, but is {deploy_at!r}.")


def write_simulation(simulation: Simulation, directory: Path) -> tuple[Path, Path]:
    """Write the log, and beside it the truth about it; nobody ever meets a half-written file.

    Args:
        simulation: What `simulate` returned.
        directory: Where to; made if it is missing. Files of the same names are replaced.

    Returns:
        log_path: `service.log`, the lines.
        truth_path: `truth.json`, the pattern of the session keys, counts, and the fault kind of each abnormal
            session.

    Raises:
        OSError: If the files can't be written there.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     log_path, truth_path = write_simulation(simulate(n_records=500), Path(directory))
        ...     len(log_path.read_text().splitlines()), json.loads(truth_path.read_text())["n_records"]
        (500, 500)
    """
    truth = {
        "session_key_pattern": "req-[0-9a-f]{12}",
        "n_records": len(simulation.lines),
        "n_sessions": len(simulation.session_keys),
        "kinds": dict(sorted(Counter(simulation.faults.values()).items())),
        "sessions": simulation.faults,
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    log_path, truth_path = directory / "service.log", directory / "truth.json"
    _write_beside_and_rename(log_path, "".join(f"{line}\n" for line in simulation.lines))
    _write_beside_and_rename(truth_path, json.dumps(truth, indent=2) + "\n")
    return log_path, truth_path


def _write_beside_and_rename(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
