"""A benchmark whose kinds of anomaly are known, made from a seed (design.md, section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "SyntheticBenchmark", "make_benchmark"]

Int64s = npt.NDArray[np.int64]

KINDS = ("normal", "intrusion", "repetition", "break")
_PATTERNS = ((10, 11, 12, 13, 14, 15), (1, 2, 3, 1, 4, 5, 1, 6))


@dataclass(frozen=True)
class SyntheticBenchmark:
    """Sessions of known kind, as event ids of an already parsed log.

    Attributes:
        normal: Normal sessions to learn from.
        mixed: Other normal sessions and all abnormal ones, shuffled.
        kinds: Index into `KINDS` of each mixed session, int64 (S,).
    """

    normal: list[Int64s]
    mixed: list[Int64s]
    kinds: Int64s

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write `normal.txt` and `mixed.txt` in the format `sequences`, keys `n0...` and `m0...`."""
        paths = (directory / "normal.txt", directory / "mixed.txt")
        for path, sessions in zip(paths, (self.normal, self.mixed), strict=True):
            lines = (f"{path.stem[0]}{i},{' '.join(map(str, s))}\n" for i, s in enumerate(sessions))
            path.write_text("".join(lines), encoding="utf-8")
        return paths


def make_benchmark(*, n_normal: int = 4000, n_abnormal: int = 1000, seed: int = 0) -> SyntheticBenchmark:
    """Make normal sessions and the three kinds of anomaly.

    Args:
        n_normal: Number of normal sessions; half of them go to `normal`.
        n_abnormal: Number of sessions of each kind of anomaly.
        seed: Same seed, same sessions.

    Returns:
        The benchmark.

    Example:
        >>> benchmark = make_benchmark(n_normal=10, n_abnormal=2, seed=1)
        >>> len(benchmark.normal), len(benchmark.mixed), sorted(set(benchmark.kinds.tolist()))
        (5, 11, [0, 1, 2, 3])
    """
    rng = np.random.default_rng(seed)
    normal = [_normal(rng) for _ in range(n_normal)]
    damaged = [damage(_normal(rng), rng) for damage in (_intrude, _repeat, _break) for _ in range(n_abnormal)]
    mixed = normal[n_normal // 2 :] + damaged
    kinds = np.repeat(np.arange(4), [n_normal - n_normal // 2, n_abnormal, n_abnormal, n_abnormal])
    order = rng.permutation(len(mixed))
    return SyntheticBenchmark(normal[: n_normal // 2], [mixed[i] for i in order], kinds[order])


def _normal(rng: np.random.Generator) -> Int64s:
    """A base pattern repeated to a length of 15 to 50, then 5 % of the positions overwritten."""
    session = np.resize(np.array(_PATTERNS[rng.integers(2)]), rng.integers(15, 51)).astype(np.int64)
    noisy = rng.random(len(session)) < 0.05
    session[noisy] = rng.integers(1, 21, noisy.sum())
    return session


def _place(session: Int64s, low: float, high: float, rng: np.random.Generator) -> int:
    return int(len(session) * rng.uniform(low, high))


def _intrude(session: Int64s, rng: np.random.Generator) -> Int64s:
    """One to three rare events inserted between 20 % and 80 % of the session."""
    for _ in range(rng.integers(1, 4)):
        session = np.insert(session, _place(session, 0.2, 0.8, rng), rng.integers(80, 100))
    return session


def _repeat(session: Int64s, rng: np.random.Generator) -> Int64s:
    """One event written over 5 to 10 positions in a row."""
    begin = _place(session, 0.2, 0.8, rng)
    session = session.copy()
    session[begin : begin + rng.integers(5, 11)] = rng.integers(1, 21)
    return session


def _break(session: Int64s, rng: np.random.Generator) -> Int64s:
    """From some point on nothing but random events."""
    begin = _place(session, 0.4, 0.7, rng)
    session = session.copy()
    session[begin:] = rng.integers(21, 80, len(session) - begin)
    return session
