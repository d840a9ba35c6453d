"""The simulated order service: its log, its faults, its files."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enhanced_deeplog.simulator import FAULT_KINDS, N_CHANGES, Simulation, simulate, write_simulation
from enhanced_deeplog.simulator.messages import EVENTS
from enhanced_deeplog.simulator.releases import next_release

KEY = re.compile(r"req-[0-9a-f]{12}")
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| (DEBUG|INFO|WARN|ERROR) \| [a-z.]+ \| "
    r"(\[req-[0-9a-f]{12}\] )?[^|]+"
)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate()


@pytest.fixture(scope="module")
def sessions(simulation: Simulation) -> dict[str, list[str]]:
    return lines_by_session(simulation)


def lines_by_session(simulation: Simulation) -> dict[str, list[str]]:
    sessions: dict[str, list[str]] = {}
    for line in simulation.lines:
        if found := KEY.search(line):
            sessions.setdefault(found[0], []).append(line)
    return sessions


def normal_sessions(simulation: Simulation, sessions: dict[str, list[str]]) -> list[list[str]]:
    return [lines for key, lines in sessions.items() if key not in simulation.faults]


def levels(lines: list[str]) -> set[str]:
    return {line.split(" | ")[1] for line in lines}


def shape(lines: list[str]) -> tuple[str, ...]:
    """What remains of a session without numbers, names, paths and quoted words."""
    bodies = (KEY.sub("", line.split(" | ", 2)[2]) for line in lines)
    return tuple(" ".join(re.findall(r"(?<![\w./='-])[a-z]+(?![\w./'-])", body)) for body in bodies)


# --- One seed, one log ---


def test_the_same_seed_gives_the_same_simulation() -> None:
    assert simulate(n_records=1_000, seed=3) == simulate(n_records=1_000, seed=3)


def test_other_seeds_give_other_logs_and_other_keys() -> None:
    one, other = simulate(n_records=1_000, seed=3), simulate(n_records=1_000, seed=4)
    assert one.lines != other.lines
    assert not set(one.session_keys) & set(other.session_keys)


# --- The log ---


@pytest.mark.parametrize("n_records", [200, 1_234, 60_000])
def test_the_log_has_the_number_of_records_asked_for(n_records: int) -> None:
    assert len(simulate(n_records=n_records, seed=1).lines) == n_records


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_log_works_with_the_most_faults(seed: int) -> None:
    assert len(simulate(n_records=200, seed=seed, fault_share=0.3).lines) == 200


def test_every_line_has_the_layout_of_the_format(simulation: Simulation) -> None:
    assert [line for line in simulation.lines if not LINE.fullmatch(line)] == []


def test_lines_stand_in_time_order(simulation: Simulation) -> None:
    stamps = [line[:23] for line in simulation.lines]
    assert stamps == sorted(stamps)
    assert datetime.strptime(stamps[0], "%Y-%m-%d %H:%M:%S,%f").date() == datetime(2024, 3, 1).date()


def test_the_keys_are_exactly_those_in_the_lines(simulation: Simulation, sessions: dict[str, list[str]]) -> None:
    assert len(set(simulation.session_keys)) == len(simulation.session_keys)
    assert set(simulation.session_keys) == set(sessions)
    assert 3_000 < len(simulation.session_keys) < 5_000


def test_requests_are_interleaved(simulation: Simulation) -> None:
    keys = [found[0] if (found := KEY.search(line)) else None for line in simulation.lines]
    same_as_before = sum(a == b for a, b in pairwise(keys))
    assert same_as_before < 0.5 * len(keys)


def test_one_or_two_records_in_a_hundred_belong_to_no_request(simulation: Simulation) -> None:
    background = [line for line in simulation.lines if not KEY.search(line)]
    assert 0.01 < len(background) / len(simulation.lines) < 0.02


def test_many_components_write(simulation: Simulation) -> None:
    components = {line.split(" | ")[2] for line in simulation.lines}
    assert {"gateway", "auth", "orders.api", "inventory", "payment", "db.pool", "shipping"} < components


# --- Normal requests ---


def test_every_normal_request_gets_its_answer(simulation: Simulation, sessions: dict[str, list[str]]) -> None:
    for lines in normal_sessions(simulation, sessions):
        assert sum(" answered " in line and "| gateway |" in line for line in lines) == 1


def test_a_warning_or_an_error_is_no_proof_of_a_fault(simulation: Simulation, sessions: dict[str, list[str]]) -> None:
    normal = normal_sessions(simulation, sessions)
    assert 0.05 < sum("WARN" in levels(lines) for lines in normal) / len(normal) < 0.3
    assert any("ERROR" in levels(lines) for lines in normal)


def test_neither_a_retry_nor_a_wrong_password_is_proof_of_a_fault(
    simulation: Simulation, sessions: dict[str, list[str]]
) -> None:
    normal = [line for lines in normal_sessions(simulation, sessions) for line in lines]
    for benign in (r"attempt 1 for order", "wrong password", "no such user", "no answer of", "/var/spool"):
        assert any(re.search(benign, line) for line in normal), benign


def test_a_clean_log_has_no_fault() -> None:
    clean = simulate(n_records=5_000, fault_share=0)
    assert clean.faults == {}
    assert not any("No space left" in line or "given up" in line for line in clean.lines)


# --- Faults ---


def test_about_one_request_in_twenty_is_abnormal(simulation: Simulation) -> None:
    assert 0.04 < len(simulation.faults) / len(simulation.session_keys) < 0.06


@pytest.mark.parametrize("fault_share", [0.05, 0.15, 0.3])
def test_the_share_of_faults_is_about_the_one_asked_for(fault_share: float) -> None:
    simulation = simulate(n_records=30_000, seed=2, fault_share=fault_share)
    assert len(simulation.faults) / len(simulation.session_keys) == pytest.approx(fault_share, rel=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_fault_occurs(seed: int) -> None:
    kinds = Counter(simulate(seed=seed).faults.values())
    assert set(kinds) == set(FAULT_KINDS)
    assert min(kinds.values()) >= 4


def test_faults_come_bunched(simulation: Simulation) -> None:
    kinds = [simulation.faults.get(key) for key in simulation.session_keys]
    followed = [kind in kinds[i + 1 : i + 4] for i, kind in enumerate(kinds) if kind]
    assert 0.4 < sum(followed) / len(followed) < 0.95


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_kind_of_fault_looks_different_each_time(
    kind: str, simulation: Simulation, sessions: dict[str, list[str]]
) -> None:
    shapes = [shape(sessions[key]) for key, fault in simulation.faults.items() if fault == kind]
    assert len(set(shapes)) > 0.6 * len(shapes)


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_no_line_names_its_fault(kind: str, simulation: Simulation) -> None:
    assert not any(kind in line or kind.replace("_", " ") in line for line in simulation.lines)


def test_a_half_way_death_ends_without_answer_error_or_warning(
    simulation: Simulation, sessions: dict[str, list[str]]
) -> None:
    deaths = [sessions[key] for key, kind in simulation.faults.items() if kind == "halfway_death"]
    for lines in deaths:
        assert "ERROR" not in levels(lines)
        assert levels(lines[-1:]) <= {"INFO", "DEBUG"}
        assert not any(" answered " in line and "| gateway |" in line for line in lines)


def test_an_inconsistent_order_goes_wrong_without_an_error(
    simulation: Simulation, sessions: dict[str, list[str]]
) -> None:
    inconsistent = [sessions[key] for key, kind in simulation.faults.items() if kind == "inconsistent_order"]
    assert sum(levels(lines) <= {"INFO", "DEBUG"} for lines in inconsistent) > 0.4 * len(inconsistent)


def test_inconsistent_orders_are_charged_twice_or_confirmed_before_the_charge() -> None:
    simulation = simulate(n_records=20_000, seed=2, fault_share=0.3)
    sessions = lines_by_session(simulation)
    events = [
        re.findall(r"captured|confirmed,", "\n".join(sessions[key]))
        for key, kind in simulation.faults.items()
        if kind == "inconsistent_order"
    ]
    assert ["captured", "captured", "confirmed,"] in events
    assert ["confirmed,", "captured"] in events


def test_an_intruder_tries_many_names_from_one_address(simulation: Simulation, sessions: dict[str, list[str]]) -> None:
    for key, kind in simulation.faults.items():
        if kind == "login_probing":
            tries = [found for line in sessions[key] if (found := re.search(r"login of (\S+) from (\S+)", line))]
            assert len({found[1] for found in tries}) > 2
            assert len({found[2] for found in tries}) == 1


# --- Files ---


def test_the_log_and_the_truth_are_written_and_read_back(tmp_path: Path) -> None:
    simulation = simulate(n_records=2_000, fault_share=0.2)
    log_path, truth_path = write_simulation(simulation, tmp_path / "new" / "folder")
    assert (log_path.name, truth_path.name) == ("service.log", "truth.json")
    assert log_path.read_bytes().decode().split("\n") == [*simulation.lines, ""]
    truth = json.loads(truth_path.read_text())
    assert truth == {
        "session_key_pattern": "req-[0-9a-f]{12}",
        "n_records": 2_000,
        "n_sessions": len(simulation.session_keys),
        "kinds": dict(Counter(simulation.faults.values())),
        "sessions": simulation.faults,
    }


def test_writing_replaces_old_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_simulation(simulate(n_records=1_000, seed=1), tmp_path)
    write_simulation(simulate(n_records=500, seed=2), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["service.log", "truth.json"]
    assert len((tmp_path / "service.log").read_text().splitlines()) == 500


def test_a_failed_write_keeps_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_simulation(simulate(n_records=500, seed=1), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail_after_a_part(path: Path, text: str, **_: object) -> int:
        path.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail_after_a_part)
    with pytest.raises(OSError, match="No space left on device"):
        write_simulation(simulate(n_records=500, seed=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- Hostile arguments ---


@pytest.mark.parametrize("n_records", [199, 0, -5, 1e4, "60000", None, True])
def test_a_wrong_number_of_records_is_refused(n_records: object) -> None:
    with pytest.raises(ValueError) as refused:
        simulate(n_records=n_records)  # type: ignore[arg-type]
    assert str(refused.value) == f"n_records must be an int of at least 200, but is {n_records!r}."


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, False])
def test_a_wrong_seed_is_refused(seed: object) -> None:
    with pytest.raises(ValueError) as refused:
        simulate(seed=seed)  # type: ignore[arg-type]
    assert str(refused.value) == f"seed must be an int of at least 0, but is {seed!r}."


@pytest.mark.parametrize("fault_share", [-0.1, 0.31, 5, math.nan, math.inf, "0.1", None, True])
def test_a_wrong_share_of_faults_is_refused(fault_share: object) -> None:
    with pytest.raises(ValueError) as refused:
        simulate(fault_share=fault_share)  # type: ignore[arg-type]
    assert str(refused.value) == f"fault_share must be a number from 0 to 0.3, but is {fault_share!r}."


def test_a_deploy_rewords_some_messages_and_adds_some_from_some_moment_on() -> None:
    whole, deployed = simulate(n_records=20_000, seed=3), simulate(n_records=20_000, seed=3, deploy_at=0.5)
    later = next_release(np.random.default_rng([3, 1]))
    changed = [event for event, told in EVENTS.items() if later.events[event] != told] + list(later.added.values())
    assert len(changed) == N_CHANGES
    firsts = []
    for level, component, _, message in (later.events[event] for event in changed):
        told = re.compile(rf"{level} \| {re.escape(component)} \| \[req-\w+\] " + _as_pattern(message))
        lines = [i for i, line in enumerate(deployed.lines) if told.search(line)]
        assert len(lines) > 5
        assert not any(told.search(line) for line in whole.lines)
        firsts.append(lines[0])
    assert 9_000 < min(firsts) < 11_000
    assert max(firsts) < 14_000


def _as_pattern(message: str) -> str:
    return ".+?".join(re.escape(part) for part in re.split(r"\{[^}]*\}", message)) + "$"


@pytest.mark.parametrize("deploy_at", [-0.1, 1.1, float("nan"), True, "half"])
def test_a_deploy_outside_of_the_log_is_refused(deploy_at: Any) -> None:
    with pytest.raises(ValueError, match="deploy_at must be a share of the records, from 0 to 1"):
        simulate(n_records=300, deploy_at=deploy_at)
