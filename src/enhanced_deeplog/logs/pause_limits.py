"""How long a session may pause before it has ended, and before its key opens another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["FAR", "PauseLimits"]

Int64s = npt.NDArray[np.int64]

FAR = np.iinfo(np.int64).max // 4  # a pause no input reaches, and safe to add to any clock


@dataclass(frozen=True)
class PauseLimits:
    """How long a session may pause, learnt in `fit` from the pauses inside sessions.

    Attributes:
        unit: "ns" of time, or "records" of the source where it has no timestamps.
        ended_after: Longest usual pause after each kind of event (.999 quantile), int64 (V,).
        closed_after: Twice the longest pause seen; a key seen again later than that is a new session.
    """

    unit: Literal["ns", "records"]
    ended_after: Int64s
    closed_after: int

    @classmethod
    def learn(
        cls,
        clock: Int64s,
        streams: Int64s,
        event_ids: Int64s,
        *,
        n_events: int,
        unit: Literal["ns", "records"],
    ) -> PauseLimits:
        """Measure the pauses of keyed records.

        Args:
            clock: Time of each record, int64 (R,), records of one stream adjacent and in order.
            streams: Which key each record has, int64 (R,).
            event_ids: Event of each record, int64 (R,).
            n_events: Size of the vocabulary (V).
            unit: What `clock` counts.

        Returns:
            The limits. An event whose pauses were never seen gets the limit over all events; without a single
            pause nothing ever ends by waiting.

        Source:
            `design.md`, section 2: one idle limit for all kinds of event is useless on HDFS, where usual sessions
            pause for up to 12.9 hours before they are deleted.
        """
        same = streams[1:] == streams[:-1]
        pauses, after = (clock[1:] - clock[:-1])[same], event_ids[:-1][same]
        if not len(pauses):
            return cls(unit, np.full(n_events, FAR), FAR)
        ended_after = np.full(n_events, _quantile(pauses))
        order = np.argsort(after, kind="stable")
        kinds, starts = np.unique(after[order], return_index=True)
        for kind, of_kind in zip(kinds, np.split(pauses[order], starts[1:]), strict=True):
            ended_after[kind] = _quantile(of_kind)
        return cls(unit, ended_after, 2 * int(pauses.max()))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the bundle."""
        return {
            "unit": self.unit,
            "closed_after": self.closed_after,
            "ended_after": self.ended_after.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PauseLimits:
        """The inverse of `to_json`."""
        return cls(data["unit"], np.asarray(data["ended_after"], dtype=np.int64), int(data["closed_after"]))


def _quantile(pauses: Int64s) -> int:
    # "higher" is a pause that was really seen, so one observation is its own limit.
    return int(np.quantile(pauses, 0.999, method="higher"))
