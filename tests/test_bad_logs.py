"""Logs with which something is wrong: what can be learnt from them is, and what can't is said."""

from __future__ import annotations

import gzip
import io
import random
import re
import tarfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cli_logs import N_FAULTS, N_SESSIONS, SMALL_SETTINGS, service_lines, session_key, write_log
from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords, read_records
from enhanced_deeplog.errors import InputError, SessionError

_FORM = "%Y-%m-%d %H:%M:%S.%f"
_FAULTY = {session_key(i) for i in range(N_SESSIONS - N_FAULTS, N_SESSIONS)}


def fitted(lines: list[str], **settings: object) -> EnhancedDeepLog:
    config = Config().with_settings({name: str(value) for name, value in {**SMALL_SETTINGS, **settings}.items()})
    return EnhancedDeepLog(config).fit(LogRecords.from_lines(lines))


def with_times(lines: list[str], change: Callable[[int, datetime], datetime]) -> list[str]:
    changed = []
    for i, line in enumerate(lines):
        time, rest = datetime.strptime(line[:23], _FORM), line[23:]
        changed.append(change(i, time).strftime(_FORM)[:23] + rest)
    return changed


_HALF = len(service_lines()) // 2
_CLOCKS: dict[str, tuple[Callable[[int, datetime], datetime], float]] = {
    "jumps an hour ahead": (lambda i, time: time + timedelta(hours=1) * (i > _HALF), 1.0),
    "falls back a minute": (lambda i, time: time - timedelta(minutes=1) * (i > _HALF), 1.0),
    # Until the clock is where it was, no session is known to have ended: half of the faults are ends that come early.
    "falls back an hour": (lambda i, time: time - timedelta(hours=1) * (i > _HALF), 0.5),
    "runs backwards": (lambda _, time: time - 2 * (time - datetime(2024, 3, 1, 8)), 0.5),
}


@pytest.mark.parametrize("clock", _CLOCKS)
def test_a_wrong_clock_tears_no_session_apart_and_raises_no_alarm(clock: str) -> None:
    change, share_found = _CLOCKS[clock]
    lines = with_times(service_lines(seed=1), change)
    model = fitted(lines)
    verdicts = model.classify(LogRecords.from_lines(lines), every_session=True)
    assert sorted(v.session_key for v in verdicts) == [session_key(i) for i in range(N_SESSIONS)]
    found = {v.session_key for v in verdicts if v.is_anomaly}
    assert len(found & _FAULTY) >= share_found * N_FAULTS
    assert len(found - _FAULTY) <= 0.02 * N_SESSIONS
    notes = " ".join(model.summary["notes"])
    assert ("newest first" in notes) == (clock == "runs backwards")


def test_one_session_is_too_few_to_learn_from() -> None:
    lines = [line for line in service_lines() if session_key(1) in line]
    with pytest.raises(SessionError, match=r"session"):
        fitted(lines, **{"sessions.key": "req-[0-9a-f]+"})


def test_sessions_of_one_record_raise_a_doubt_about_the_key() -> None:
    lines = [line for line in service_lines() if "accepted" in line or "refused" in line]
    notes = " ".join(fitted(lines, **{"sessions.key": "req-[0-9a-f]+"}).summary["notes"])
    assert re.search(r"\d+% of the sessions have one record only: the session key may be the wrong one", notes)


def test_lines_that_are_all_different_are_learnt_from_as_far_as_that_goes() -> None:
    rng = random.Random(0)

    def word() -> str:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=8))

    lines = [f"{line} {word()}{' ' + word() if i % 3 else ''}" for i, line in enumerate(service_lines())]
    lines += [f"2024-03-01 09:00:00.000 | INFO | api | {' '.join(word() for _ in range(i % 40))}" for i in range(2000)]
    model = fitted(lines, **{"templates.most_per_service": 50, "sessions.key": "req-[0-9a-f]+"})
    assert len(model.vocabulary.templates) <= 50
    note = next(note for note in model.summary["notes"] if "grow with the log" in note)
    assert re.search(
        r"There are [0-9,]+ templates for 3,\d+ records: they grow with the log\. .* The 50 most frequent were kept, "
        r"which \d+\.\d% of the records fit; the others are UNKNOWN \(templates\.most_per_service\)\.",
        note,
    )
    found = {finding.session_key for finding in model.classify(LogRecords.from_lines(lines))}
    assert len(found & _FAULTY) >= 0.5 * N_FAULTS


def test_a_file_that_grows_while_it_is_read_is_read_as_far_as_it_was_whole(tmp_path: Path) -> None:
    path = write_log(tmp_path / "service.log", service_lines())
    records = read_records(path, batch_size=100)
    seen = []
    for batch in records:
        seen.append(batch)
        if len(seen) < 50:
            with path.open("a") as file:
                file.write("2024-03-01 09:00:00.000 | INFO | api | req-00abcdef accepted\n")
    texts = [text for batch in seen for text in batch["text"]]
    assert texts[: len(service_lines())] == service_lines()
    assert set(texts[len(service_lines()) :]) <= {"2024-03-01 09:00:00.000 | INFO | api | req-00abcdef accepted"}


def test_a_file_that_vanishes_between_two_looks_is_told_of(tmp_path: Path) -> None:
    path = write_log(tmp_path / "service.log", service_lines())
    records = read_records(path)
    path.unlink()
    with pytest.raises(InputError) as caught:
        list(records)
    assert (
        str(caught.value)
        == f"{path}: expected a log file, there is none any more: it was removed or renamed. Read a copy."
    )


def test_an_archive_in_an_archive_is_refused_by_name(tmp_path: Path) -> None:
    text = "\n".join(service_lines()).encode()
    twice = tmp_path / "twice.log.gz"
    twice.write_bytes(gzip.compress(gzip.compress(text)))
    with pytest.raises(InputError, match=r"this is compressed twice \(gzip\)\. Unpack or convert it\."):
        list(read_records(twice))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("service.log")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    folder = tmp_path / "logs.tar.gz"
    folder.write_bytes(packed.getvalue())
    with pytest.raises(InputError, match=r"this is a tar archive\. Unpack or convert it\."):
        list(read_records(folder))
