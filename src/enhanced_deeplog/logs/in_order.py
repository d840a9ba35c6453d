"""Work on batches side by side, results in the order of the batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")
R = TypeVar("R")

_WORKERS = min(os.cpu_count() or 1, 8)  # more would hold more batches in memory at once


def in_order(function: Callable[[T], R], items: Iterable[T], *, workers: int = _WORKERS) -> Iterator[R]:
    """Apply a function to each item, some of them at the same time.

    Threads are enough where Polars does the work: it leaves Python to others meanwhile. Few more items are taken than
    are worked on. An error comes where its result would have come.

    Example:
        >>> list(in_order(len, ["a", "bb", "ccc"]))
        [1, 2, 3]
    """
    workers = min(workers, _WORKERS)
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[R]] = deque()
    remaining, broken_off = iter(items), None
    try:
        while True:
            try:
                waiting.append(pool.submit(function, next(remaining)))
            except StopIteration:
                break
            except Exception as error:  # raised below: what came before it still comes
                broken_off = error
                break
            while waiting and (len(waiting) > workers or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if broken_off is not None:
            raise broken_off
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(remaining, Generator):
            remaining.close()  # it may hold a file, and threads of its own
