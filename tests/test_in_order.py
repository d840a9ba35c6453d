"""Batches are worked on side by side, and come in their order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from enhanced_deeplog.logs.in_order import in_order


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    def work(i: int) -> int:
        time.sleep(0.01 * (i % 3 == 0))
        return i * i

    assert list(in_order(work, range(20))) == [i * i for i in range(20)]


def test_an_error_comes_where_its_result_would_have_come() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise ValueError(str(i))
        return i

    results = in_order(work, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)


def test_an_error_of_the_items_themselves_comes_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken off")

    results = in_order(lambda i: i, items())
    assert next(results) == 1
    with pytest.raises(ValueError, match="broken off"):
        next(results)


def test_no_more_is_taken_than_is_worked_on() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield i

    results = in_order(lambda i: i, items())
    next(results)
    assert taken < 20


def test_what_the_items_hold_is_let_go_when_the_work_fails() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def fails(_: int) -> int:
        raise ValueError("no")

    results = in_order(fails, items())
    with pytest.raises(ValueError, match="no"):
        next(results)
    assert closed


def test_who_stops_asking_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = in_order(lambda i: i, range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before
