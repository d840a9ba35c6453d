"""A request being served: its clock, its values, its fault, and the records it has written so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from enhanced_deeplog.simulator.messages import WORDS, Values
from enhanced_deeplog.simulator.releases import Release

__all__ = ["Ended", "Request", "Script"]

_T = TypeVar("_T")


class Ended(Exception):  # noqa: N818 - that a request ends early need not be an error
    """The request ends here with this status, and no further step of it runs."""

    def __init__(self, status: int) -> None:
        self.status = status


class Request:
    """A request being served: its clock, its values, its fault, and the records it has written so far."""

    def __init__(
        self,
        rng: np.random.Generator,
        key: str,
        *,
        order: int,
        start_ms: float,
        fault: str | None,
        release: Release,
    ):
        self.rng, self.key, self.fault, self.release = rng, key, fault, release
        self.fault_shows = False
        self.start_ms = self.clock_ms = start_ms
        self.records: list[tuple[float, str]] = []  # time in ms; the line from its level on
        self.logged_ms: dict[str, float] = {}  # event -> when it was last logged
        self.skus = [f"SKU-{self.between(1000, 9999)}-{self.pick('ABCD')}" for _ in range(self.between(1, 5))]
        self.values = Values(
            rng,
            order=order,
            user=self.between(1000, 9999),
            ip=f"{self.pick(('203.0.113', '198.51.100', '192.0.2'))}.{self.between(1, 254)}",
            items=len(self.skus),
            total=f"{self.between(500, 40_000) / 100:.2f}",
            host=self.between(1, 6),
            word=self.pick(WORDS["word"]),
            parcel=self.between(10**9, 10**10 - 1),
            carrier=self.pick(("DHL", "GLS", "UPS")),
            provider=self.pick(("cardpay", "eurobank", "paylink")),
        )

    def between(self, least: int, largest: int) -> int:
        return least + int(self.rng.random() * (largest - least + 1))

    def chance(self, odds: float) -> bool:
        return self.rng.random() < odds

    def pick(self, options: Sequence[_T]) -> _T:
        return options[int(self.rng.random() * len(options))]

    def strikes(self, fault: str, *, odds: float = 1.0) -> bool:
        """Whether the fault of this request shows here; once it has begun, it goes on."""
        if fault == self.fault and (self.fault_shows or self.chance(odds)):
            self.fault_shows = True
            return True
        return False

    def log(self, event: str, *, slowed: float = 1.0, **values: object) -> None:
        """Wait as long as the step takes, more or less, and write its record."""
        level, component, usual_ms, message = self.release.events[event]
        waited_ms = usual_ms * slowed * float(self.rng.lognormal(0.0, 0.4))
        self.clock_ms += waited_ms
        self.values.update(values, ms=max(1, round(waited_ms)), elapsed=round(self.clock_ms - self.start_ms))
        line = f"{level} | {component} | [{self.key}] {message.format_map(self.values)}"
        self.records.append((self.clock_ms, line))
        self.logged_ms[event] = self.clock_ms
        if event in self.release.added:
            self.log(self.release.added[event])

    def maybe_log(self, odds: float, event: str) -> None:
        if self.chance(odds):
            self.log(event)

    def maybe_end(self, odds: float, event: str, *, status: int) -> None:
        """End for the customer's own reasons (card declined...); never where a fault has yet to show."""
        if self.fault is None and self.chance(odds):
            self.log(event)
            raise Ended(status)

    def concurrently(self, *branches: Script) -> None:
        """Start all branches now and go on when the slowest is done; their records interleave by time."""
        start_ms = end_ms = self.clock_ms
        try:
            for branch in branches:
                self.clock_ms = start_ms
                branch(self)
                end_ms = max(end_ms, self.clock_ms)
        finally:  # a branch that fails doesn't call the others back
            self.clock_ms = max(end_ms, self.clock_ms)


Script = Callable[[Request], None]
