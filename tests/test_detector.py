"""The method end to end: what it finds, what can't matter to it, and what a bundle may not say."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from cli_logs import N_FAULTS, N_SESSIONS, SMALL_SETTINGS, service_lines, session_key
from conftest import sequence_lines, sequences_of, small_config
from enhanced_deeplog import (
    Config,
    EnhancedDeepLog,
    Finding,
    LogRecords,
    load_bundle,
    read_records,
    save_bundle,
)
from enhanced_deeplog.detector import ModelParts
from enhanced_deeplog.errors import (
    BundleError,
    OutputError,
    SessionError,
    TooFewSessionsError,
    UsageError,
)
from enhanced_deeplog.evaluation.synthetic import SyntheticBenchmark
from enhanced_deeplog.learning.metrics import adjusted_rand_index
from enhanced_deeplog.stage_files import STAGE_FILES
from enhanced_deeplog.summary import _doubts

FIELDS_IN_ORDER = (
    *(
        "schema_version",
        "id",
        "bundle_id",
        "source",
        "service",
        "session_key",
        "is_anomaly",
        "state",
        "complete",
    ),
    *("score", "threshold", "anomaly_class", "class_key", "class_name", "confidence", "class_probabilities"),
    *("pattern", "severity", "reasons", "n_records", "first_line", "last_line", "first_timestamp"),
    *("last_timestamp", "evidence", "advice", "cause", "template_ids", "expected", "owner", "runbook"),
)
EVIDENCE_IN_ORDER = (
    *("source", "line", "byte_offset", "timestamp", "severity", "template_id", "template", "event_id"),
    *("position", "expected", "surprise", "text"),
)


def told(findings: list[Finding], *, digits: int = 6) -> list[tuple[Any, ...]]:
    """What must be the same on every path, in the order of the ids."""
    return sorted(
        (
            *(f.id, f.session_key, f.is_anomaly, f.state, f.anomaly_class, f.n_records),
            round(f.score, digits),
            tuple((e.template, e.event_id, e.position, e.text) for e in f.evidence),
        )
        for f in findings
    )


def plain(parts: ModelParts) -> tuple[Any, ...]:
    """Everything that a model knows, as bytes and text."""
    arrays = {
        (group, name): (array.dtype.str, array.shape, array.tobytes())
        for group, tensors in parts.tensors.items()
        for name, array in tensors.items()
    }
    return json.dumps(parts.documents, sort_keys=True), arrays, parts.networks


@pytest.fixture(scope="module")
def findings(fitted: EnhancedDeepLog, mixed_lines: list[str]) -> list[Finding]:
    return fitted.classify(sequences_of(mixed_lines), every_session=True)


@pytest.fixture(scope="module")
def service() -> EnhancedDeepLog:
    """Fitted to a service's log of unknown content."""
    config = Config().with_settings({k: str(v) for k, v in SMALL_SETTINGS.items()})
    return EnhancedDeepLog(config).fit(LogRecords.from_lines(service_lines()), workers=1)


# --- What is found ------------------------------------------------------------------------------------------


def check_kinds(benchmark: SyntheticBenchmark, answer: list[int]) -> None:
    """The check that a constant or a shuffled answer must fail."""
    assert adjusted_rand_index(benchmark.kinds, answer) > 0.7
    detected = np.array(answer) != 0
    abnormal = benchmark.kinds != 0
    assert detected[abnormal].mean() > 0.85
    assert detected[~abnormal].mean() < 0.06


def test_the_kinds_of_a_log_without_labels_are_found(benchmark: SyntheticBenchmark, findings: list[Finding]) -> None:
    check_kinds(benchmark, [finding.anomaly_class for finding in findings])


@pytest.mark.parametrize("answer", ["constant", "shuffled", "all unknown"])
def test_an_answer_that_knows_nothing_fails_the_same_check(
    benchmark: SyntheticBenchmark, findings: list[Finding], answer: str
) -> None:
    found = [finding.anomaly_class for finding in findings]
    random.Random(0).shuffle(found)
    answers = {"constant": [0] * len(found), "shuffled": found, "all unknown": [-1] * len(found)}
    with pytest.raises(AssertionError):
        check_kinds(benchmark, answers[answer])


def test_each_kind_is_described_by_what_it_is(fitted: EnhancedDeepLog, benchmark: SyntheticBenchmark) -> None:
    patterns = {c.pattern for c in fitted.classes}
    assert {"severe_break", "rare_event", "repetition"} <= patterns
    assert [c.id for c in fitted.classes] == list(range(1, len(fitted.classes) + 1))
    sizes = [c.n_findings for c in fitted.classes]
    assert sizes == sorted(sizes, reverse=True)
    assert all(0 < c.mean_confidence <= 1 and c.examples for c in fitted.classes)
    assert len({c.key for c in fitted.classes}) == len(fitted.classes)


def test_the_number_of_classes_can_be_given(mixed_lines: list[str], normal_lines: list[str]) -> None:
    config = small_config(clustering={"n_classes": 2})
    model = EnhancedDeepLog(config).fit(sequences_of(mixed_lines), normal=sequences_of(normal_lines))
    assert len(model.classes) == 2


def test_a_mixed_log_alone_is_enough(service: EnhancedDeepLog) -> None:
    found = service.classify(LogRecords.from_lines(service_lines(seed=1)))
    faults = {session_key(i): i % 2 for i in range(N_SESSIONS - N_FAULTS, N_SESSIONS)}
    assert {f.session_key for f in found} >= faults.keys()
    assert len(found) <= N_FAULTS + 5
    one, other = ({f.anomaly_class for f in found if faults.get(f.session_key) == kind} - {-1} for kind in (0, 1))
    assert one
    assert other
    assert not one & other
    assert service.summary["normal_from"].startswith("presumed")


def test_normal_logs_alone_are_enough_to_detect(mixed_lines: list[str], normal_lines: list[str]) -> None:
    model = EnhancedDeepLog(small_config()).fit(normal=sequences_of(normal_lines))
    assert model.classes == ()
    assert model.summary["notes"] == [
        "Only normal logs were given: no kinds of anomaly were looked for; every anomaly will be unknown."
    ]
    found = model.classify(sequences_of(mixed_lines))
    assert len(found) > 120
    assert {(f.anomaly_class, f.class_name, f.class_key) for f in found} == {(-1, "unknown", "unknown")}
    assert all(set(f.class_probabilities) == {"0", "-1"} for f in found)


def test_a_fit_says_which_window_size_would_predict_better() -> None:
    # What ends a session is what began it, four events before: too far back for a window of two.
    lines = [f"s{i},{'1 3 3 3 1' if i % 2 else '2 3 3 3 2'}" for i in range(200)]
    config = small_config(learning={"window_size": 2, "compare_window_sizes": [1, 6], "epochs": 25})
    summary = EnhancedDeepLog(config).fit(normal=sequences_of(lines)).summary
    assert list(summary["loss_by_window"]) == ["1", "2", "6"]
    assert summary["loss_by_window"]["6"] < 0.8 * summary["loss_by_window"]["2"]
    assert any("A window of 6 events predicts held-out sessions better than one of 2" in n for n in summary["notes"])


def test_where_next_to_nothing_is_lost_no_other_window_size_is_worth_a_word(normal_lines: list[str]) -> None:
    model = EnhancedDeepLog(small_config(learning={"epochs": 1})).fit(normal=sequences_of(normal_lines))
    for other, is_told in ((0.0001, False), (0.5, True)):
        model.detection = replace(model.detection, loss_by_window={10: other + 0.001 if not is_told else 1.0, 5: other})
        notes = _doubts(model, model.read_sessions(sequences_of(normal_lines)), None)
        assert any("predicts held-out sessions better" in note for note in notes) == is_told


def test_a_fit_warns_of_kinds_that_are_one_session(normal_lines: list[str]) -> None:
    config = small_config(clustering={"min_class_size": 1, "n_classes": 3})
    odd = ["odd0,90 91 92 90 91 92", "odd1," + "1 " * 60, "odd2,10 11 12"]
    model = EnhancedDeepLog(config).fit(sequences_of(odd), normal=sequences_of(normal_lines))
    single = sum(one.n_findings == 1 for one in model.classes)
    assert single
    assert model.summary["notes"][-1].startswith(f"{single} of {len(model.classes)} kinds have one session only")


def test_where_fit_sees_no_anomaly_it_says_so_and_still_detects(
    benchmark: SyntheticBenchmark, normal_lines: list[str]
) -> None:
    usual = [line for line in normal_lines if int(line[1 : line.index(",")]) % 2]
    model = EnhancedDeepLog(small_config(detection={"alarm_rate": 1e-9}))
    model.fit(sequences_of(usual), normal=sequences_of(normal_lines))
    assert model.classes == ()
    assert model.summary["notes"] == [
        "No session deviates: stages 3 and 4 had nothing to learn from. Anomalies will still be detected, as unknown."
    ]
    broken = [s for s, kind in zip(benchmark.mixed, benchmark.kinds, strict=True) if kind == 3]
    found = model.classify(sequences_of(sequence_lines("b", broken)))
    assert len(found) > 50
    assert {f.anomaly_class for f in found} == {-1}
    assert plain(EnhancedDeepLog.from_parts(model.to_parts(), bundle_id="").to_parts()) == plain(model.to_parts())


def test_too_few_anomalies_to_make_a_kind_stay_unknown(normal_lines: list[str]) -> None:
    odd = [f"odd{i},{'77 ' * 12}" for i in range(3)]
    model = EnhancedDeepLog(small_config())
    model.fit(sequences_of(normal_lines[:50] + odd), normal=sequences_of(normal_lines))
    assert model.classes == ()
    assert re.match(r"\d+ sessions deviate, too few alike to make a kind \(at least 5\)", model.summary["notes"][0])
    found = {f.session_key: f.anomaly_class for f in model.classify(sequences_of(odd))}
    assert found == {"odd0": -1, "odd1": -1, "odd2": -1}


@pytest.mark.parametrize(("n_odd", "seed"), [(5, 0), (5, 1), (8, 0)])
def test_a_kind_of_very_few_sessions_can_be_learnt(normal_lines: list[str], n_odd: int, seed: int) -> None:
    """However few are held out to stop the classifier by."""
    odd = [f"odd{i},{'77 78 ' * 6}" for i in range(n_odd)]
    model = EnhancedDeepLog(Config.of({**small_config().model_dump(), "seed": seed}))
    model.fit(sequences_of(normal_lines[:30] + odd), normal=sequences_of(normal_lines[:60]))
    assert {f.anomaly_class for f in model.classify(sequences_of(odd))} <= {1, -1}


# --- What is refused ----------------------------------------------------------------------------------------


def test_too_few_sessions_are_counted() -> None:
    with pytest.raises(TooFewSessionsError) as caught:
        EnhancedDeepLog(small_config()).fit(normal=sequences_of([f"s{i},1 2 3" for i in range(7)]))
    assert str(caught.value) == (
        "Learning normal behaviour needs at least 20 normal sessions; 7 came. Give a longer log, or check "
        "the session key: 'enhanced-deeplog inspect' shows how the log is cut into sessions."
    )


def test_a_session_key_that_matches_nothing_is_refused_in_fit_and_in_classify(
    service: EnhancedDeepLog,
) -> None:
    lines = service_lines()[:100]
    config = Config.of({"sessions": {"key": r"order-\d+"}})
    text = (
        r"The session key 'order-\\d+' matches none of 100 records; the first one is "
        f"{lines[0]!r}. Give --session-key a pattern that occurs in the lines, or leave it out."
    )
    with pytest.raises(SessionError) as caught:
        EnhancedDeepLog(config).fit(LogRecords.from_lines(lines))
    assert str(caught.value) == text
    without = [line.replace("req-", "") for line in lines]
    with pytest.raises(SessionError, match="The session key 'request' matches none of 100 records"):
        service.classify(LogRecords.from_lines(without))


def test_a_model_that_learnt_nothing_says_so(tmp_path: Path) -> None:
    records = sequences_of(["a,1 2"])
    with pytest.raises(UsageError, match="fit needs logs"):
        EnhancedDeepLog().fit()
    unfitted: list[Callable[[EnhancedDeepLog], object]] = [
        lambda model: model.classify(records),
        lambda model: model.classify_sequence([3]),
        lambda model: model.explain(records, "a"),
        lambda model: model.to_parts(),
        lambda model: model.save_stages(tmp_path / "stages"),
        lambda model: model.classes,
    ]
    for call in unfitted:
        with pytest.raises(UsageError) as caught:
            call(EnhancedDeepLog())
        assert str(caught.value) == "This model has learnt nothing yet: call fit(), or load a bundle."


# --- What can't matter --------------------------------------------------------------------------------------


def test_judging_never_changes_the_model(fitted: EnhancedDeepLog, mixed_lines: list[str]) -> None:
    before = plain(fitted.to_parts())
    fitted.classify(sequences_of([*mixed_lines[:20], "new,never seen before", "z,1 2 3"]), workers=2)
    fitted.explain(sequences_of(mixed_lines), "m0")
    fitted.classify_sequence([3, 4, 5])
    assert plain(fitted.to_parts()) == before


@pytest.mark.parametrize("batch_size", [1, 7, 100_000])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_batches_do_not_matter(
    fitted: EnhancedDeepLog, findings: list[Finding], mixed_lines: list[str], workers: int, batch_size: int
) -> None:
    some = mixed_lines[:60]
    records = sequences_of(some, batch_size=batch_size)
    again = fitted.classify(records, every_session=True, workers=workers)
    keys = {f.session_key for f in again}
    assert len(keys) == 60
    assert told(again) == told([f for f in findings if f.session_key in keys])
    assert [f.score for f in again] == [f.score for f in findings if f.session_key in keys]


def test_a_session_is_judged_alike_whatever_lies_beside_it(
    fitted: EnhancedDeepLog, findings: list[Finding], mixed_lines: list[str]
) -> None:
    lines = mixed_lines[:80]
    random.Random(1).shuffle(lines)
    for some in (lines, lines[:40], lines[:1]):
        again = fitted.classify(sequences_of(some), every_session=True)
        keys = {f.session_key for f in again}
        assert told(again) == told([f for f in findings if f.session_key in keys])


def test_what_is_said_of_sessions_that_are_alike_is_what_is_said_of_each_alone(
    fitted: EnhancedDeepLog, mixed_lines: list[str]
) -> None:
    abnormal = {f.session_key for f in fitted.classify(sequences_of(mixed_lines))}
    odd = [line for line in mixed_lines if line.split(",")[0] in abnormal][:15]
    twins = [f"again-{line}" for line in odd]
    together = fitted.classify(sequences_of(odd + twins), every_session=True)
    alone = [fitted.classify(sequences_of([line]), every_session=True)[0] for line in odd + twins]

    def without_its_place(finding: Finding) -> Finding:
        evidence = tuple(replace(line, line=0, byte_offset=0) for line in finding.evidence)
        return replace(finding, first_line=0, last_line=0, evidence=evidence)

    assert [without_its_place(finding) for finding in together] == [without_its_place(finding) for finding in alone]
    assert all(finding.is_anomaly and finding.evidence for finding in together)


def test_the_order_of_files_does_not_matter(service: EnhancedDeepLog, tmp_path: Path) -> None:
    lines = service_lines(seed=1)
    times = sorted({line.split("|")[0] for line in lines})
    place = {time: i % 2 for i, time in enumerate(times)}  # equal times would go by the name of their file
    found = []
    for names in (("1.log", "2.log"), ("2.log", "1.log")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for i, name in enumerate(names):
            own = (line for line in lines if place[line.split("|")[0]] == i)
            (folder / name).write_text("".join(f"{line}\n" for line in own))
        for order in (names, names[::-1]):
            found.append(told(service.classify(read_records(*(folder / name for name in order)))))
    assert len(found[0]) >= N_FAULTS
    assert found == [told(service.classify(LogRecords.from_lines(lines)))] * 4


def test_the_logical_source_names_findings_and_paths_do_not(
    fitted: EnhancedDeepLog, mixed_lines: list[str], tmp_path: Path
) -> None:
    ids = []
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n".join(mixed_lines[:30]))
        records = read_records(tmp_path / name, format="sequences")
        ids.append([f.id for f in fitted.classify(records, every_session=True)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 30
    named = fitted.classify(sequences_of(mixed_lines[:30]), every_session=True, source_name="orders")
    assert not {f.id for f in named} & set(ids[0])


def test_the_same_seed_gives_the_same_model_bit_for_bit_with_any_number_of_workers(
    mixed_lines: list[str], normal_lines: list[str]
) -> None:
    config = small_config(learning={"num_layers": 2, "dropout": 0.2, "epochs": 2})
    models = []
    threads = torch.get_num_threads()
    try:
        for workers, n_threads in ((1, 1), (2, 2)):
            torch.set_num_threads(n_threads)
            model = EnhancedDeepLog(config)
            model.fit(sequences_of(mixed_lines), normal=sequences_of(normal_lines), workers=workers)
            models.append(plain(model.to_parts()))
    finally:
        torch.set_num_threads(threads)
    assert models[0] == models[1]


def test_another_seed_gives_another_model(mixed_lines: list[str], normal_lines: list[str]) -> None:
    networks = []
    for seed in (0, 1):
        config = Config.of({**small_config(learning={"epochs": 1}).model_dump(), "seed": seed})
        model = EnhancedDeepLog(config).fit(normal=sequences_of(normal_lines))
        networks.append(model.to_parts().networks["base_model"])
    assert networks[0] != networks[1]


# --- One sequence, one session ------------------------------------------------------------------------------


def test_a_bare_sequence_is_judged_like_its_line(
    fitted: EnhancedDeepLog, benchmark: SyntheticBenchmark, findings: list[Finding]
) -> None:
    ids = fitted.vocabulary.event_ids
    for session, finding in list(zip(benchmark.mixed, findings, strict=True))[:25]:
        verdict = fitted.classify_sequence([ids[str(event)] for event in session])
        assert verdict.is_anomaly == finding.is_anomaly
        assert (verdict.anomaly_class, verdict.class_name) == (finding.anomaly_class, finding.class_name)
        assert (verdict.score, verdict.threshold) == (finding.score, finding.threshold)
        assert verdict.confidence == finding.confidence
        assert {str(c): p for c, p in verdict.class_probabilities.items()} == finding.class_probabilities


@pytest.mark.parametrize("events", [[], [0], [10_000], [-1]])
def test_a_bare_sequence_has_events_of_the_fit(fitted: EnhancedDeepLog, events: list[int]) -> None:
    with pytest.raises(SessionError) as caught:
        fitted.classify_sequence(events)
    n_events = len(fitted.vocabulary)
    assert str(caught.value) == f"Expected event ids from 1 to {n_events - 1}, at least one; got {events}."


def test_an_unknown_event_makes_a_bare_sequence_abnormal(
    fitted: EnhancedDeepLog, benchmark: SyntheticBenchmark
) -> None:
    session = [fitted.vocabulary.event_ids[str(event)] for event in benchmark.normal[0]]
    usual, odd = (fitted.classify_sequence(s) for s in (session, [*session[:9], 1, 1, *session[9:]]))
    assert odd.score > usual.score
    assert odd.is_anomaly


def test_a_normal_session_can_be_explained_too(
    fitted: EnhancedDeepLog, mixed_lines: list[str], findings: list[Finding]
) -> None:
    usual = next(f for f in findings if not f.is_anomaly)
    assert usual.evidence == ()
    (explained,) = (course.finding for course in fitted.explain(sequences_of(mixed_lines), usual.session_key))
    assert (explained.id, explained.score, explained.is_anomaly) == (usual.id, usual.score, False)
    assert len(explained.evidence) >= 3
    assert explained.pattern is explained.severity is None
    assert all(e.surprise >= 0 for e in explained.evidence)
    assert [e.position for e in explained.evidence] == sorted(e.position for e in explained.evidence)


def test_a_key_that_is_not_there_is_answered_with_some_that_are(
    fitted: EnhancedDeepLog, mixed_lines: list[str]
) -> None:
    with pytest.raises(SessionError) as caught:
        fitted.explain(sequences_of(mixed_lines), "m9999")
    assert str(caught.value) == ("No session has the key 'm9999' in this input. Some that there are: m0, m1, m2.")


# --- What a finding says ------------------------------------------------------------------------------------


def test_a_finding_has_the_fields_of_the_contract_in_their_order(findings: list[Finding]) -> None:
    assert tuple(field.name for field in fields(Finding)) == FIELDS_IN_ORDER
    finding = next(f for f in findings if f.is_anomaly).to_json()
    assert tuple(finding) == FIELDS_IN_ORDER
    assert tuple(finding["evidence"][0]) == EVIDENCE_IN_ORDER
    assert tuple(finding["evidence"][0]["expected"][0]) == ("template", "probability")
    assert tuple(finding["reasons"]) == ("new_template", "sequence", "counts", "early_end", "timing")
    json.dumps(finding, allow_nan=False)


def test_what_a_finding_says_is_consistent(findings: list[Finding], mixed_lines: list[str]) -> None:
    for line, f in enumerate(findings, 1):
        assert f.is_anomaly == (f.anomaly_class != 0) == (f.score > f.threshold) == bool(f.evidence)
        assert (f.first_line, f.last_line, f.state, f.complete) == (line, line, "final", True)
        assert sum(f.class_probabilities.values()) == pytest.approx(1.0)
        assert f.confidence == f.class_probabilities.get(str(f.anomaly_class), 0.0)
        assert bool(f.advice) == bool(f.pattern) == bool(f.severity) == f.is_anomaly
        assert f.first_timestamp is None
        assert re.fullmatch("[0-9a-f]{16}", f.id)
        for e in f.evidence:
            assert e.text == mixed_lines[line - 1]
            assert 0 <= e.position <= f.n_records


def test_the_evidence_of_an_intrusion_is_the_intruder(benchmark: SyntheticBenchmark, findings: list[Finding]) -> None:
    for kind, session, f in zip(benchmark.kinds, benchmark.mixed, findings, strict=True):
        if kind == 1:
            intruders = [i for i, event in enumerate(session) if event >= 80]
            shown = {e.position: e for e in f.evidence}
            assert set(intruders) <= set(shown)
            assert all(shown[i].template == str(session[i]) for i in intruders)
            assert all(len(shown[i].expected) == 3 for i in intruders)


def test_lines_and_times_of_a_log_go_with_its_findings(service: EnhancedDeepLog, tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    lines = service_lines(seed=1)
    path.write_text("".join(f"{line}\n" for line in lines))
    data = path.read_bytes()
    for f in service.classify(read_records(path)):
        own = [n for n, line in enumerate(lines, 1) if f.session_key in line]
        assert (f.first_line, f.last_line, f.n_records) == (own[0], own[-1], len(own))
        assert f.first_timestamp is not None
        assert f.first_timestamp.startswith("2024-03-01T08:0")
        for e in f.evidence:
            assert e.text == lines[e.line - 1]
            assert e.byte_offset is not None
            assert data[e.byte_offset :].startswith(e.text.encode())


# --- Other settings -----------------------------------------------------------------------------------------


def test_with_top_k_a_session_is_abnormal_if_one_event_is_no_likely_one(
    mixed_lines: list[str], normal_lines: list[str], benchmark: SyntheticBenchmark
) -> None:
    config = small_config(detection={"mode": "top_k", "top_k": 20})
    model = EnhancedDeepLog(config).fit(sequences_of(mixed_lines), normal=sequences_of(normal_lines))
    found = model.classify(sequences_of(mixed_lines), every_session=True)
    assert {f.threshold for f in found} == {20.0}
    assert all(f.score == int(f.score) >= 1 for f in found)
    assert all(f.is_anomaly == (f.score > 20) for f in found)
    intruded = [f.is_anomaly for f, kind in zip(found, benchmark.kinds, strict=True) if kind == 1]
    assert np.mean(intruded) > 0.95


@pytest.mark.parametrize("window_size", [1, 25])
def test_any_window_size_will_do(
    mixed_lines: list[str], normal_lines: list[str], benchmark: SyntheticBenchmark, window_size: int
) -> None:
    config = small_config(learning={"window_size": window_size, "epochs": 4})
    model = EnhancedDeepLog(config).fit(sequences_of(mixed_lines), normal=sequences_of(normal_lines))
    found = np.array([f.is_anomaly for f in model.classify(sequences_of(mixed_lines), every_session=True)])
    assert found[benchmark.kinds == 1].mean() > 0.9
    assert found[benchmark.kinds == 0].mean() < 0.1


def test_every_block_of_features_and_further_window_sizes_can_be_asked_for(
    mixed_lines: list[str], normal_lines: list[str], tmp_path: Path
) -> None:
    blocks = ["event_counts", "transitions", "hidden_state", "statistics", "surprise_profile"]
    config = small_config(
        learning={"epochs": 2},
        features={
            "clustering_blocks": blocks,
            "classifier_blocks": ["perturbation"],
            "window_sizes": [5, 15],
        },
    )
    model = EnhancedDeepLog(config).fit(sequences_of(mixed_lines), normal=sequences_of(normal_lines))
    found = told(model.classify(sequences_of(mixed_lines)))
    assert set(model.to_parts().networks) == {"base_model", "base_model_5", "base_model_15", "classifier"}
    save_bundle(model, tmp_path / "bundle")
    assert told(load_bundle(tmp_path / "bundle").classify(sequences_of(mixed_lines))) == found


# --- Saved and loaded ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(fitted: EnhancedDeepLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "bundle"
    save_bundle(fitted, path)
    return path


def test_a_loaded_model_says_the_same(
    fitted: EnhancedDeepLog, bundle: Path, findings: list[Finding], mixed_lines: list[str]
) -> None:
    loaded = load_bundle(bundle)
    again = loaded.classify(sequences_of(mixed_lines), every_session=True)
    assert told(again) == told(findings)
    assert [f.score for f in again] == [f.score for f in findings]
    assert [f.class_probabilities for f in again] == [f.class_probabilities for f in findings]
    assert {f.bundle_id for f in again} == {loaded.bundle_id}
    assert [c.key for c in loaded.classes] == [c.key for c in fitted.classes]
    assert [c.examples for c in loaded.classes] == [()] * len(loaded.classes)


def test_a_loaded_model_saved_again_is_the_same_bundle(bundle: Path, tmp_path: Path) -> None:
    loaded = load_bundle(bundle)
    assert save_bundle(loaded, tmp_path / "again") == loaded.bundle_id
    names = sorted(path.name for path in bundle.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        if name != "provenance.json":
            assert (bundle / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_bundle_holds_no_raw_line_and_no_path(bundle: Path, mixed_lines: list[str]) -> None:
    for path in bundle.iterdir():
        data = path.read_bytes()
        assert mixed_lines[0].encode() not in data
        assert str(Path.home()).encode() not in data
        assert b"/work" not in data


def test_a_model_of_a_real_log_survives_being_saved(service: EnhancedDeepLog, tmp_path: Path) -> None:
    save_bundle(service, tmp_path / "bundle")
    fresh = service_lines(seed=2)
    loaded = load_bundle(tmp_path / "bundle")
    found = told(service.classify(LogRecords.from_lines(fresh)))
    assert len(found) >= N_FAULTS
    assert told(loaded.classify(LogRecords.from_lines(fresh))) == found


JUDGE = """
import sys
from enhanced_deeplog import LogRecords, load_bundle
model = load_bundle(sys.argv[1])
lines = open(sys.argv[2]).read().splitlines()
found = model.classify(LogRecords.from_lines(lines, format="sequences"))
print(len(found), *sorted({"torch", "sklearn", "scipy"} & set(sys.modules)))
"""


def test_judging_needs_neither_torch_nor_scikit_learn(
    bundle: Path, mixed_lines: list[str], findings: list[Finding], tmp_path: Path
) -> None:
    (tmp_path / "log.txt").write_text("\n".join(mixed_lines))
    command = [sys.executable, "-c", JUDGE, str(bundle), str(tmp_path / "log.txt")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(sum(f.is_anomaly for f in findings))]


# --- The output of the stages -------------------------------------------------------------------------------


def test_each_stage_leaves_its_output(fitted: EnhancedDeepLog, tmp_path: Path) -> None:
    fitted.save_stages(tmp_path / "stages")
    assert tuple(sorted(path.name for path in (tmp_path / "stages").iterdir())) == STAGE_FILES
    features = np.load(tmp_path / "stages" / "features.npy", allow_pickle=False)
    labels = np.load(tmp_path / "stages" / "final_labels.npy", allow_pickle=False)
    assert (features.dtype, labels.dtype) == (np.float32, np.int64)
    assert features.shape[0] == labels.shape[0] == fitted.summary["n_abnormal"]
    assert labels.max() == len(fitted.classes)
    for name, state in (("base_model", fitted.detection.state), ("multiclass_model", fitted.kinds.state)):
        saved = safetensors.numpy.load_file(tmp_path / "stages" / f"{name}.safetensors")
        assert {k: v.tobytes() for k, v in saved.items()} == {k: v.tobytes() for k, v in state.items()}


def test_a_stage_that_was_not_fitted_leaves_nothing(bundle: Path, fitted: EnhancedDeepLog, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    fitted.save_stages(tmp_path)
    load_bundle(bundle).save_stages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt",
        "base_model.safetensors",
        "multiclass_model.safetensors",
    }


def test_a_directory_that_can_not_be_written_is_named(fitted: EnhancedDeepLog, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        fitted.save_stages(tmp_path / "file" / "stages")
    assert str(caught.value) == (
        f"Expected to write the output of the stages in {tmp_path / 'file' / 'stages'}: Not a directory. "
        "Choose another directory, or mend its permissions."
    )


# --- What a bundle may not say ------------------------------------------------------------------------------

Change = Callable[[ModelParts], object]


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def changed(parts: ModelParts) -> None:
        statistics = parts.tensors["statistics"]
        statistics[name] = change(statistics[name].copy())

    return changed


def document(name: str, *path: str | int, to: object) -> Change:
    def changed(parts: ModelParts) -> None:
        place = parts.documents[name]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return changed


def with_nan(values: np.ndarray) -> np.ndarray:
    values.flat[0] = np.nan
    return values


FLOATS = (
    *("known_whole", "known_any", "known_scale", "usual_surprise", "normal_state", "centres", "radii"),
    *("space.shift.deviation", "space.scale.surprise_profile", "space.shift.hidden_state"),
)
REFUSED: dict[str, tuple[Change, str]] = {
    **{f"{n} with NaN": (array(n, with_nan), f"In the bundle, {n} must be finite; it holds NaN") for n in FLOATS},
    **{
        f"{n} as float32": (
            array(n, lambda a: a.astype(np.float32)),
            f"In the bundle, {n} must have the shape ",
        )
        for n in FLOATS
    },
    **{
        f"{n} too short": (array(n, lambda a: a[..., :-1]), f"In the bundle, {n} must have the shape ")
        for n in FLOATS
        if n != "radii"
    },
    "no radii": (lambda parts: parts.tensors["statistics"].pop("radii"), "In the bundle, radii is missing."),
    "members of no session": (
        array("n_members", lambda a: a * 0),
        "In the bundle, members and n_members must be of a session each at least",
    ),
    "no reach": (lambda parts: parts.documents["score"].pop("reach"), "In the bundle, "),
    "losses that are no numbers": (
        document("summary", "losses", to=[["a", "b", "c"]]),
        "In the bundle, summary.losses must be rows of 3 numbers",
    ),
    "reliability that is no rows": (
        document("summary", "reliability", to=5),
        "In the bundle, summary.reliability must be rows of 3 numbers",
    ),
    "radii of 0": (array("radii", lambda a: a * 0), "In the bundle, radii must be above 0; got "),
    "known events as numbers": (
        array("known_events", lambda a: a.astype(np.int64)),
        "In the bundle, known_events must have the shape ",
    ),
    "pairs of no events": (
        array("balanced.pairs", lambda _: np.array([[3, 10**6]])),
        "In the bundle, balanced.pairs must be events from 0 to ",
    ),
    "pairs of no session": (
        array("balanced.n_having", lambda _: np.array([30])),
        "In the bundle, balanced.n_having must have the shape ",
    ),
    "no known session": (
        array("known_whole", lambda a: a[:0]),
        "In the bundle, known_whole and known_any must be of one session at least",
    ),
    "counts that no session had": (
        array("n_known_whole", lambda a: a * 0),
        "In the bundle, n_known_whole and n_known_any must be above 0",
    ),
    "too few counts of known sessions": (
        array("n_known_any", lambda a: a[:-1]),
        "In the bundle, n_known_any must have the shape ",
    ),
    "no session that must be alike": (
        document("score", "n_alike", to=0),
        "In the bundle, n_alike must be a number from 1 to inf; got 0.",
    ),
    "scales of 0": (
        array("space.scale.deviation", lambda a: a * 0),
        "In the bundle, space.scale.deviation must be above 0",
    ),
    "transitions of no event": (
        array("space.transitions", lambda a: a + 10_000),
        "In the bundle, space.transitions must be event ids",
    ),
    "weights of text": (
        lambda parts: parts.tensors["base_model"].update({"output.bias": np.full(3, np.inf, np.float32)}),
        "In the bundle, output.bias must be finite",
    ),
    "a rule out of range": (
        document("sessions", "rules", "max_records", to=0),
        "In the bundle, sessions.rules can't be used: ",
    ),
    "a rule of the wrong type": (
        document("sessions", "rules", "idle_gap_s", to="60"),
        "In the bundle, sessions.rules can't be used: ",
    ),
    "an unknown rule": (
        document("sessions", "rules", "more", to=1),
        "In the bundle, sessions.rules can't be used: ",
    ),
    "a key that is no pattern": (
        document("sessions", "rules", "key", to="("),
        "In the bundle, sessions.rules can't be used: ",
    ),
    "a pause that is no whole number": (
        document("sessions", "pauses", "records", "closed_after", to=1.5),
        "In the bundle, sessions.pauses.records.closed_after must be whole numbers from 0; got ",
    ),
    "pauses of another vocabulary": (
        document("sessions", "pauses", "records", "ended_after", to=[1, 2]),
        "In the bundle, sessions.pauses.records must have the shape ",
    ),
    "a unit that is none": (
        document("sessions", "pauses", "records", "unit", to="days"),
        'In the bundle, sessions.pauses.records must be of the unit "ns" or "records"; got days.',
    ),
    "too few quantiles": (
        document("score", "calibration", "keyed", "combined", "quantiles", to=[1.0, 2.0]),
        "In the bundle, score.combined must have the shape (257,)",
    ),
    "quantiles that fall": (
        document("score", "calibration", "keyed", "tails", "counts", "quantiles", to=[*range(257, 0, -1)]),
        "In the bundle, score.counts must be ascending quantiles",
    ),
    "a quantile that is nothing": (
        document("score", "calibration", "keyed", "tails", "counts", "quantiles", 0, to=None),
        "In the bundle, score.counts must be finite",
    ),
    "a scale of 0": (
        document("score", "calibration", "keyed", "combined", "scale", to=0.0),
        "In the bundle, scale must be a number from 0.0 to inf; got 0.0.",
    ),
    "a temperature of text": (
        document("score", "temperature", to="1"),
        "In the bundle, temperature must be a number from 0.0 to inf; got 1.",
    ),
    "smoothing that is more than all": (
        document("score", "smoothing", to=1.5),
        "In the bundle, smoothing must be a number from 0.0 to 1.0; got 1.5.",
    ),
    "no calibration": (document("score", "calibration", to={}), "In the bundle, score.calibration must be "),
    "classes that are numbered otherwise": (
        document("classes", 0, "id", to=7),
        "In the bundle, classes must be numbered from 1; got [7, ",
    ),
    "a vocabulary of numbers": (
        document("vocabulary", 0, to=7),
        "In the bundle, vocabulary must be a list of texts",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bundle_may_not_hold(fitted: EnhancedDeepLog, what: str) -> None:
    change, text = REFUSED[what]
    parts = fitted.to_parts()
    parts = ModelParts(copy.deepcopy(parts.documents), {k: dict(v) for k, v in parts.tensors.items()}, parts.networks)
    change(parts)
    with pytest.raises(BundleError) as caught:
        EnhancedDeepLog.from_parts(parts, bundle_id="")
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 500


def test_networks_of_another_vocabulary_are_refused(fitted: EnhancedDeepLog, service: EnhancedDeepLog) -> None:
    parts, other = fitted.to_parts(), service.to_parts()
    mixed = ModelParts(parts.documents, parts.tensors, {**parts.networks, "base_model": other.networks["base_model"]})
    with pytest.raises(BundleError, match="the prediction of a base model must have the shape"):
        EnhancedDeepLog.from_parts(mixed, bundle_id="")


# --- Known faults: each marker goes with the fault ----------------------------------------------------------


def test_the_summary_counts_every_record_once(service: EnhancedDeepLog) -> None:
    assert service.summary["n_sessions"] == N_SESSIONS


def test_a_model_of_logs_without_keys_judges_bare_sequences() -> None:
    steps = ["open file", "read block", "write block", "close file"] * 1000
    model = EnhancedDeepLog(small_config(sessions={"n_records": 20}))
    model.fit(normal=LogRecords.from_lines(steps, format="plain"))
    assert model.classify_sequence([1] * 30).is_anomaly


def test_a_bare_sequence_is_judged_to_its_end(benchmark: SyntheticBenchmark, normal_lines: list[str]) -> None:
    model = EnhancedDeepLog(small_config(sessions={"max_records": 100}))
    model.fit(normal=sequences_of(normal_lines))
    usual = [model.vocabulary.event_ids[e] for e in ["10", "11", "12", "13", "14", "15"]] * 20
    assert model.classify_sequence([*usual[:101], *[1] * 30]).score > model.classify_sequence(usual[:101]).score


def test_a_key_seen_again_has_a_finding_of_its_own(fitted: EnhancedDeepLog, mixed_lines: list[str]) -> None:
    found = fitted.classify(sequences_of([mixed_lines[0]] * 2), every_session=True)
    assert len({f.id for f in found}) == 2


def test_a_bundle_of_a_version_without_balanced_pairs_can_still_be_loaded(
    fitted: EnhancedDeepLog, mixed_lines: list[str]
) -> None:
    parts = fitted.to_parts()
    statistics = {name: array for name, array in parts.tensors["statistics"].items() if "balanced" not in name}
    older = replace(parts, tensors={**parts.tensors, "statistics": statistics})
    model = EnhancedDeepLog.from_parts(older, bundle_id="")
    assert not len(model.detection.calibration.balanced.pairs)
    assert model.classify(sequences_of(mixed_lines))
