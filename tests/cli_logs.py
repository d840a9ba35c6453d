"""A small service's log with two kinds of fault, and settings with which a fit takes a second or two."""

from __future__ import annotations

import functools
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from enhanced_deeplog.cli import app

SMALL_SETTINGS = {
    "learning.hidden_size": 16,
    "learning.num_layers": 1,
    "learning.dropout": 0,
    "learning.learning_rate": 0.03,
    "learning.epochs": 4,
    "learning.draws_per_epoch": 4096,
    "detection.n_folds": 2,
    "detection.alarm_rate": 0.01,
    "classifier.epochs": 4,
}
SMALL = [word for name, value in SMALL_SETTINGS.items() for word in ("--set", f"{name}={value}")]

STEPS = ("accepted", "token checked", "cart loaded", "order stored", "answered 200")
N_SESSIONS, N_FAULTS = 260, 20


def service_lines(*, detail: str = "", seed: int = 0) -> list[str]:
    """Lines of interleaved requests; the last `N_FAULTS` go wrong, every other one by a cancelled query.

    Args:
        detail: Stands at the end of the lines of a cancelled query.
        seed: Same seed, same lines.
    """
    rng = random.Random(seed)
    timed: list[tuple[float, str]] = []
    for i in range(N_SESSIONS):
        steps = [("INFO", step) for step in STEPS]
        if i >= N_SESSIONS - N_FAULTS and i % 2:
            cancelled = ("ERROR", f"query cancelled after {rng.randint(2000, 9000)} ms{detail}")
            steps[3:3] = [cancelled] * rng.randint(4, 6)
        elif i >= N_SESSIONS - N_FAULTS:
            steps[2:] = [("WARN", "login refused: wrong password"), ("WARN", f"locked out for {i} s")]
        at = i * 2.0 + rng.random()
        for level, step in steps:
            timed.append((at, f"| {level} | api | {session_key(i)} {step}"))
            at += rng.random()
    return [f"2024-03-01 08:{int(at) // 60:02}:{at % 60:06.3f} {text}" for at, text in sorted(timed)]


def session_key(number: int) -> str:
    return f"req-{0xABC000 + number:08x}"


def write_log(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Fitted:
    """What `fit` left and said."""

    log: Path
    bundle: Path
    result: Result
    folder: tempfile.TemporaryDirectory[str]  # removed with this


@functools.cache
def fitted_once() -> Fitted:
    """A bundle for all tests of a process."""
    folder = tempfile.TemporaryDirectory()
    log, bundle = write_log(Path(folder.name) / "service.log", service_lines()), Path(folder.name) / "bundle"
    result = CliRunner().invoke(app, ["fit", str(log), "--bundle", str(bundle), *SMALL])
    assert result.exit_code == 0, result.stderr
    return Fitted(log, bundle, result, folder)
