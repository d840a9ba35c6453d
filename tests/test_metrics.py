"""Agreement of found labels with true ones, compared to scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, precision_recall_fscore_support

from enhanced_deeplog.learning.metrics import adjusted_rand_index, precision_recall_f1

label_pairs = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40)
verdict_pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(label_pairs)
def test_the_index_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, found = zip(*pairs, strict=True)
    assert adjusted_rand_index(truth, found) == pytest.approx(adjusted_rand_score(truth, found), abs=1e-12)


def test_the_index_is_that_of_scikit_learn_on_many_sessions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 8, size=200_000)
    found = np.where(rng.random(200_000) < 0.7, truth, rng.integers(0, 12, size=200_000))
    assert adjusted_rand_index(truth, found) == pytest.approx(adjusted_rand_score(truth, found), abs=1e-12)


def test_names_of_labels_do_not_matter() -> None:
    assert adjusted_rand_index(["normal", "disk", "disk", "login"], [0, 2, 2, -1]) == 1.0


def test_a_constant_answer_agrees_no_more_than_chance() -> None:
    assert adjusted_rand_index([0, 0, 1, 1, 2], [0, 0, 0, 0, 0]) == 0.0


def test_shuffled_labels_agree_no_more_than_chance() -> None:
    truth = np.repeat([0, 1, 2], 2000)
    assert abs(adjusted_rand_index(truth, np.random.default_rng(1).permutation(truth))) < 0.01


def test_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^adjusted_rand_index expects .*; got 2 true and 1 found\.$"):
        adjusted_rand_index([1, 2], [1])
    with pytest.raises(ValueError, match=r"^precision_recall_f1 expects .*; got 2 truths and 1 verdicts\.$"):
        precision_recall_f1([True, False], [True])


@given(verdict_pairs)
def test_precision_recall_and_f1_are_those_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    truth, found = zip(*pairs, strict=True)
    theirs = precision_recall_fscore_support(truth, found, average="binary", pos_label=True, zero_division=0)
    assert precision_recall_f1(truth, found) == pytest.approx(theirs[:3])
