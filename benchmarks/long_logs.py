"""Logs of any length for benchmarks: the same on every machine, written once and never kept in git."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

__all__ = ["KINDS", "long_log"]

_STRETCH = timedelta(days=2)  # HDFS_2percent spans 39 hours
_WORDS = 40_000  # of the log whose bodies are nearly all distinct
_N_TEMPLATES = 5_000
_PART = 200_000  # lines written at once


def long_log(kind: str, n_lines: int, folder: Path, data: Path) -> Path:
    """Path of a log of so many lines; it is written if it isn't there yet.

    Args:
        kind: One of `KINDS`.
        n_lines: How long.
        folder: Where it is kept.
        data: The folder of public data sets; without HDFS in it, the log of the simulated service is repeated instead.
    """
    path = folder / f"{kind}-{n_lines}.log"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("w", encoding="utf-8") as file:
            left = n_lines
            for lines in KINDS[kind](data):
                file.writelines(f"{line}\n" for line in lines[:left])
                left -= min(left, len(lines))
                if not left:
                    break
        unfinished.rename(path)
    return path


def repeated(data: Path) -> Iterator[list[str]]:
    """Real lines, one stretch of time after another, each with block ids and addresses of its own."""
    source = data / "hdfs" / "HDFS_2percent.log.gz"
    if not source.exists():
        yield from _repeated_service()
        return
    lines = pl.read_csv(source, has_header=False, separator="\x01", quote_char=None, new_columns=["line"])["line"]
    time = lines.str.head(13).str.to_datetime("%y%m%d %H%M%S")
    rest = lines.str.slice(13)
    stretch = 0
    while True:
        moved = (time + stretch * _STRETCH).dt.strftime("%y%m%d %H%M%S")
        fresh = rest.str.replace_all(r"blk_(-?\d+)", f"blk_${{1}}{stretch:03}").str.replace_all(
            r"\b10\.(\d+)\.", f"{10 + stretch % 200}.$1."
        )
        yield (moved + fresh).to_list()
        stretch += 1


def _repeated_service() -> Iterator[list[str]]:
    from enhanced_deeplog.simulator import simulate

    seed = 0
    while True:
        yield simulate(n_records=_PART, seed=seed).lines
        seed += 1


def distinct(_data: Path) -> Iterator[list[str]]:
    """Lines whose bodies are nearly all distinct: random words, and JSON payloads."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 10))) for _ in range(_WORDS)]
    n = 0
    while True:
        lines = []
        for _ in range(_PART):
            n += 1
            said = " ".join(rng.choices(words, k=6))
            payload = f'{{"id": {rng.randrange(10**9)}, "{rng.choice(words)}": "{rng.choice(words)}", "ok": true}}'
            body = f"note {said}" if n % 2 else f"payload {payload}"
            lines.append(_line(n, body, f"req-{n // 10:08x}"))
        yield lines


def templates(_data: Path) -> Iterator[list[str]]:
    """Lines of 5,000 templates, some frequent and most rare."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 9))) for _ in range(_WORDS)]
    shapes = [
        " ".join(["{}" if rng.random() < 0.2 else w for w in rng.choices(words, k=8)]) for _ in range(_N_TEMPLATES)
    ]
    weights = [1.0 / (rank + 10) for rank in range(_N_TEMPLATES)]
    n = 0
    while True:
        lines = []
        for shape in rng.choices(shapes, weights, k=_PART):
            n += 1
            body = f"{words[hash_of(shape)]} " + shape.format(*(rng.randrange(10**6) for _ in range(8)))
            lines.append(_line(n, body, f"req-{n // 10:08x}"))
        yield lines


def hash_of(text: str) -> int:
    """A number below `_WORDS`, the same in every process."""
    return sum(i * ord(letter) for i, letter in enumerate(text, 1)) % _WORDS


def _line(n: int, body: str, key: str) -> str:
    time = datetime(2026, 1, 1) + timedelta(milliseconds=20 * n)
    return f"{time.isoformat(sep=' ', timespec='milliseconds')} INFO app.{n % 7} [{key}] {body}"


KINDS: dict[str, Callable[[Path], Iterator[list[str]]]] = {
    "repeated": repeated,
    "distinct": distinct,
    "templates": templates,
}
