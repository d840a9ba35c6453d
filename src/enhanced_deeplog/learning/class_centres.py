"""Where the anomaly classes lie, and whether a session is like one of them or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.learning.known_counts import nth_nearest

__all__ = ["ClassCentres"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_MAX_MEMBERS = 10_000  # distinct members kept; beyond, the most frequent ones
_REACH = 0.99  # share of the members that have enough others within reach
_LEAST_REACH = 0.1  # of a class of equal sessions; a tenth of a block's weight is still the same kind
_SAME = 1e-3  # members are rounded, and features differ in their last bits
_ROWS = 512  # compared with all members at once


@dataclass(frozen=True)
class ClassCentres:
    """Where the classes lie, so that a new session can be placed, or called unknown.

    Attributes:
        centres: float64 (C, D); row i is class i + 1.
        radii: Distance within which nearly all members lie, float64 (C,).
        members: Distinct members of all classes, float32 (M, D).
        n_members: How many sessions each of them stands for, int64 (M,).
        n_alike: So many members must be near a session of a known kind.
        reach: How near: so far off have .99 of the members themselves so many others.
    """

    centres: Float64s
    radii: Float64s
    members: npt.NDArray[np.float32]
    n_members: Int64s
    n_alike: int
    reach: float

    @classmethod
    def of(cls, features: npt.NDArray[np.float32], classes: Int64s, n_alike: int) -> ClassCentres:
        """Remember the members of the classes; sessions of class -1 are members of none.

        Args:
            features: float32 (S, D).
            classes: Class of each session, int64 (S,).
            n_alike: See the attribute.
        """
        by_class = [features[classes == c].astype(np.float64) for c in range(1, int(classes.max(initial=0)) + 1)]
        if not by_class:
            nothing = np.zeros((0, features.shape[1]))
            return cls(nothing, np.zeros(0), nothing.astype(np.float32), np.zeros(0, np.int64), n_alike, _LEAST_REACH)
        centres = np.stack([m.mean(axis=0) for m in by_class])
        radii = [np.quantile(np.linalg.norm(m - c, axis=1), 0.99) for m, c in zip(by_class, centres, strict=True)]
        members, n_members = np.unique(np.round(features[classes > 0], 5), axis=0, return_counts=True)
        kept = np.sort(np.argsort(-n_members, kind="stable")[:_MAX_MEMBERS])
        members, n_members = members[kept], n_members[kept].astype(np.int64)
        own = _near(members, _Members(members, n_members), n_alike, skip_itself=True)
        reach = float(np.quantile(np.repeat(own, n_members), _REACH, method="higher"))
        least = np.maximum(np.array(radii), _LEAST_REACH)
        return cls(centres, least, members, n_members, n_alike, max(reach, _LEAST_REACH))

    def distances(self, features: npt.NDArray[Any]) -> Float64s:
        """Distance to each centre in radii of its class, float64 (S, C)."""
        differences = features[:, None, :].astype(np.float64) - self.centres[None]
        return np.asarray(np.sqrt((differences**2).sum(axis=2)) / self.radii)

    def is_unknown(self, features: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Whether a session has fewer than `n_alike` members of the classes within reach, bool (S,).

        One that is the same as a member that was kept is known, however far off the others are: `fit` put it there.
        A radius about a centre would not do: a class of many shapes is wide, and what is like none of its members may
        lie in the midst of them.
        """
        if not len(self.members):
            return np.ones(len(features), dtype=np.bool_)
        rows, inverse = np.unique(np.asarray(features, dtype=np.float32), axis=0, return_inverse=True)
        near = _near(rows, self._known, self.n_alike, skip_itself=False)
        # A little more: the last bit of a distance must not decide.
        unknown = near > self.reach * (1.0 + 1e-5)
        unknown[unknown] = _near(rows[unknown], self._known, 1, skip_itself=False) > _SAME
        return np.asarray(unknown)[inverse.ravel()]

    @cached_property
    def _known(self) -> _Members:
        return _Members(self.members, self.n_members)


class _Members:
    """Members as they are compared with.

    Args:
        members: Distinct, float32 (M, D).
        n_members: How many sessions each stands for, int64 (M,).
    """

    def __init__(self, members: npt.NDArray[np.float32], n_members: Int64s) -> None:
        self.members, self.n_members = members, n_members
        self.transposed = np.ascontiguousarray(members.T.astype(np.float64))  # (D, M)
        self.squares = (self.transposed**2).sum(axis=0)  # (M,)


def _near(rows: npt.NDArray[np.float32], known: _Members, n_alike: int, *, skip_itself: bool) -> Float64s:
    """Distance of each row within which `n_alike` members lie (all, where there are fewer), float64 (N,).

    Args:
        rows: float32 (N, D).
        known: The members.
        n_alike: How many must be near.
        skip_itself: The rows are the members, and a session is no neighbour of its own.
    """
    n_nearest = min(n_alike + 1, len(known.members))  # each stands for one session at least, itself not counted
    found = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS].astype(np.float64)
        nearest = np.argpartition(known.squares - 2.0 * some @ known.transposed, n_nearest - 1, axis=1)
        nearest = nearest[:, :n_nearest]
        distance = np.linalg.norm(some[:, None, :] - known.members[nearest], axis=2)  # (B, n_nearest)
        others = known.n_members[nearest].copy()
        if skip_itself:
            others -= nearest == np.arange(start, start + len(some))[:, None]
        nth = nth_nearest(distance, others, n_alike)
        found[start : start + len(some)] = distance[np.arange(len(some)), nth]
    return found
