"""The command line as a process of its own: what it loads, how it ends, who else is at the terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import enhanced_deeplog
from cli_logs import SMALL, fitted_once, service_lines, write_log

SOURCES = Path(enhanced_deeplog.__file__).parents[1]
COMMAND = [sys.executable, "-m", "enhanced_deeplog.cli"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "EDL_DEBUG", "COLUMNS")},
    **{"PYTHONPATH": str(SOURCES), "TERM": "xterm-256color"},
}
HEAVY = ("torch", "sklearn", "scipy", "polars", "rich", "numpy", "onnxruntime")


def run(*words: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *(str(word) for word in words)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def loaded_by(*commands: list[object]) -> list[str]:
    """Which of the heavy packages some commands load, one after another in one process."""
    lines = [
        "import sys",
        "from enhanced_deeplog.cli import app",
        f"for words in {[[str(word) for word in words] for words in commands]!r}:",
        "    code = app(words, standalone_mode=False)",
        "    assert not code, code",
        f"print('loaded', *(name for name in {HEAVY!r} if name in sys.modules))",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()[-1].split()[1:]


@pytest.fixture(scope="session")
def log() -> Path:
    return fitted_once().log


@pytest.fixture(scope="session")
def bundle() -> Path:
    return fitted_once().bundle


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by(["--help"], ["classify", "--help"]) == []


def test_reading_and_judging_need_neither_torch_nor_scikit_learn(log: Path, bundle: Path, tmp_path: Path) -> None:
    judged = loaded_by(
        ["inspect", log],
        ["parse", log, "--output", tmp_path / "x.csv"],
        ["classify", log, "--bundle", bundle],
        ["explain", log, "--bundle", bundle, "--session", "req-00abc001"],
        ["classes", "list", "--bundle", bundle],
    )
    assert set(judged).isdisjoint({"torch", "sklearn", "scipy"})


def test_a_log_comes_through_a_pipe(log: Path, bundle: Path) -> None:
    from_file = run("classify", log, "--bundle", bundle, "--json", "--source-name", "orders")
    piped = run("classify", "-", "--bundle", bundle, "--json", "--source-name", "orders", input=log.read_bytes())
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert piped.stdout == from_file.stdout != b""


def test_exit_codes_reach_the_shell(log: Path, bundle: Path, tmp_path: Path) -> None:
    assert run("classify", log, "--bundle", bundle, "--fail-on", "--json").returncode == 3
    assert run("inspect", tmp_path / "absent.log").returncode == 4
    broken = run("classify", log, "--bundle", tmp_path)
    assert (broken.returncode, broken.stdout) == (5, b"")
    assert b"Traceback" not in broken.stderr


@contextlib.contextmanager
def started(*words: object, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs on; whatever the test does, it doesn't outlive it."""
    command = [*COMMAND, *(str(word) for word in words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=stdin, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


ENOUGH = [(["parse"], 0), (["classify", "--json", "--all", "--fail-on"], 3)]


@pytest.mark.parametrize(("words", "exit_code"), ENOUGH)
def test_a_reader_that_has_seen_enough_is_no_error(
    log: Path, bundle: Path, tmp_path: Path, words: list[str], exit_code: int
) -> None:
    many = write_log(tmp_path / "many.log", service_lines() * 3)
    with started(*words, many, "--bundle", bundle) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.wait(30) == exit_code
        assert process.stderr.read() == b""


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    old = tmp_path / "x.csv"
    old.write_text("old")
    with started("parse", "-", "--output", old, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # More than a pipe holds: once it is written, the command is reading, and waits for the rest.
        process.stdin.write("".join(f"{line}\n" for line in service_lines() * 5).encode())
        process.stdin.flush()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b"Interrupted.\n"
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_ctrl_c_ends_a_long_fit_and_leaves_no_bundle(log: Path, tmp_path: Path) -> None:
    endless = ["--set", "learning.epochs=100000", "--set", "learning.early_stopping_patience=100000"]
    with started("fit", log, "--bundle", tmp_path / "b", *SMALL, *endless) as process:
        assert process.stderr is not None
        time.sleep(3)  # it trains by now; earlier, it ends as well
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b"Interrupted.\n"
    assert list(tmp_path.iterdir()) == []


def spooled(pid: int, folder: Path) -> bool:
    """Whether a process has a file there that has no name."""
    for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208  # names alone: a file may be closed at any moment
        with contextlib.suppress(FileNotFoundError):
            if str(folder) in os.readlink(f"/proc/{pid}/fd/{fd}"):  # noqa: PTH115  # likewise
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_service_manager_that_ends_it_leaves_no_temporary_file(
    bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    lines = service_lines()
    log = write_log(tmp_path / "long.log", lines * (1_000_000 // len(lines)))
    command = [*COMMAND, "classify", str(log), "--bundle", str(bundle)]
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        while not spooled(process.pid, temporary) and time.monotonic() < until:  # until records lie on disk
            time.sleep(0.01)
        assert spooled(process.pid, temporary)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert list(temporary.iterdir()) == []


def test_nohup_is_respected(bundle: Path) -> None:
    command = ["nohup", *COMMAND, "classify", "-", "--bundle", str(bundle)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write("".join(f"{line}\n" for line in service_lines() * 5).encode())
        process.stdin.flush()
        time.sleep(1.0)
        process.send_signal(signal.SIGHUP)
        process.stdin.close()
        assert process.wait(30) == 0


def test_nothing_of_the_runtime_calls_home(log: Path, bundle: Path, tmp_path: Path) -> None:
    """ONNX Runtime sends events to its maker, except in a CI; where it does, it begins with a file of its own."""
    unlike_ci = {name: value for name, value in ENVIRONMENT.items() if "CI" not in name and "BUILD" not in name}
    environment = {**unlike_ci, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    words = ["classify", str(log), "--bundle", str(bundle)]
    subprocess.run([*COMMAND, *words], env=environment, capture_output=True, timeout=60, check=True)
    assert list(tmp_path.iterdir()) == []


def at_a_terminal(*words: object, **environment: str) -> bytes:
    """What a command writes when stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, *(str(word) for word in words)]
    with subprocess.Popen(
        command, env={**ENVIRONMENT, **environment}, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                written += os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
        assert process.wait(30) == 0
    os.close(ours)
    return written


def test_colour_is_for_terminals_that_want_it(log: Path, bundle: Path) -> None:
    in_colour = at_a_terminal("classify", log, "--bundle", bundle)
    assert b"\x1b[31mhigh" in in_colour
    plain = at_a_terminal("classify", log, "--bundle", bundle, NO_COLOR="1")
    assert b"\x1b[31m" not in plain
    assert b"high" in plain
    assert b"\x1b" not in run("classify", log, "--bundle", bundle).stdout


def test_a_terminal_without_utf8_stops_nothing(log: Path, bundle: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "classify", str(log), "--bundle", str(bundle)],
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
