"""Measures of evaluation, against scikit-learn and against slow, obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, normalized_mutual_info_score

from enhanced_deeplog.evaluation.measures import (
    bootstrap_interval,
    confidence_measures,
    detection_measures,
    grouping_measures,
    kind_measures,
    oracle_f1,
    paired_test,
)

judged = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=2, max_size=40)


@given(judged)
def test_detection_measures_are_those_of_scikit_learn(rows: list[tuple[bool, bool, int]]) -> None:
    truth, found, scores = (np.array(column) for column in zip(*rows, strict=True))
    told = detection_measures(truth, found, scores.astype(float))
    assert told["accuracy"] == accuracy_score(truth, found)
    assert told["f1"] == pytest.approx(f1_score(truth, found, zero_division=0))
    macro = f1_score(truth, found, average="macro", labels=[False, True], zero_division=0)
    assert told["macro_f1"] == pytest.approx(macro)
    assert told["weighted_f1"] == pytest.approx(f1_score(truth, found, average="weighted", zero_division=0))
    assert told["abnormal"]["support"] + told["normal"]["support"] == len(rows)


@given(judged)
def test_the_oracle_is_the_best_of_all_thresholds(rows: list[tuple[bool, bool, int]]) -> None:
    truth, _, scores = (np.array(column) for column in zip(*rows, strict=True))
    best = max(f1_score(truth, scores >= threshold, zero_division=0) for threshold in np.unique(scores))
    assert oracle_f1(truth, scores.astype(float)) == pytest.approx(best)


def test_figures_that_need_both_kinds_of_session_are_left_open_without_them() -> None:
    told = detection_measures(np.zeros(3, bool), np.array([True, False, False]), np.zeros(3))
    assert told["pr_auc"] is None
    assert told["false_alarms_per_10_000"] == pytest.approx(10_000 / 3)


def test_a_constant_and_a_shuffled_answer_tell_no_kinds() -> None:
    types = np.repeat(["disk", "login", "retry"], 300)
    shuffled = np.random.default_rng(0).permutation(np.repeat([1, 2, 3], 300))
    for classes in (np.ones(900, dtype=np.int64), shuffled):
        told = kind_measures(types, classes)
        assert abs(told["ari"]) < 0.02
        assert told["nmi"] < 0.02
        assert told["macro_f1"] < 0.45


def test_kinds_say_what_became_of_each_type() -> None:
    told = kind_measures(["a", "a", "b", "b"], np.array([1, 1, 0, -1]))
    assert told["recall"] == {"a": 1.0, "b": 0.5}
    assert (told["called_normal"], told["called_unknown"], told["n_classes"]) == (0.25, 0.25, 1)
    assert told["nmi"] == pytest.approx(normalized_mutual_info_score([0, 0, 1, 1], [1, 1, 0, -1]))


def test_to_miss_a_kind_is_no_way_to_name_it() -> None:
    told = kind_measures(["a"] * 50 + ["b"] * 50, np.array([1] * 50 + [0] * 50))
    assert told["macro_f1"] == told["purity"] == 0.5
    normal_among_them = kind_measures([""] * 50 + ["b"] * 50, np.array([0] * 50 + [1] * 50))
    assert normal_among_them["macro_f1"] == normal_among_them["purity"] == 1.0


def test_a_class_stands_for_one_type_only() -> None:
    # One class for two types: it can be matched to one of them.
    assert kind_measures(["a", "a", "b", "b"], np.array([1, 1, 1, 1]))["macro_f1"] == pytest.approx((2 / 3) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_grouping_accuracy_counts_lines_of_groups_that_are_exactly_right(pairs: list[tuple[int, int]]) -> None:
    truth, found = zip(*pairs, strict=True)

    def group(labels: tuple[int, ...], i: int) -> list[int]:
        return [j for j, label in enumerate(labels) if label == labels[i]]

    right = [group(truth, i) == group(found, i) for i in range(len(pairs))]
    assert grouping_measures(truth, found)["ga"] == pytest.approx(np.mean(right))


def test_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 50_000)
    honest = confidence_measures(confidence, rng.random(50_000) < confidence)
    boastful = confidence_measures(np.full(50_000, 0.99), rng.random(50_000) < confidence)
    assert honest["ece"] < 0.02
    assert boastful["ece"] > 0.2
    assert sum(n for _, _, n in honest["bins"]) == 50_000


def test_the_interval_holds_the_measure_and_narrows_with_more_sessions() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(50) < 0.3, rng.random(5000) < 0.3
    spans = [bootstrap_interval(lambda rows, x=x: float(x[rows].mean()), len(x), n_draws=200) for x in (few, many)]
    assert all(low < 0.3 < high for low, high in spans)
    assert spans[1][1] - spans[1][0] < spans[0][1] - spans[0][0]


def test_systems_that_agree_do_not_differ() -> None:
    truth = np.array([True, False, True])
    assert paired_test(truth, truth, truth)["p_value"] == 1.0
