"""What was worked out before, so that what comes again is not worked out again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

__all__ = ["Remembered"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key. Threads may share it: at worst, two of them work out the same value.

    Args:
        most: Values, beyond which those that were there are forgotten.

    Example:
        >>> lengths = Remembered[str, int](most=100)
        >>> lengths.of(["a", "bb"], lambda new: [len(word) for word in new])
        [1, 2]
        >>> lengths.of(["bb", "ccc"], lambda new: print(new) or [len(word) for word in new])
        ['ccc']
        [2, 3]
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[K, V] = {}

    def of(self, keys: Sequence[K], work_out: Callable[[list[K]], Sequence[V]]) -> list[V]:
        """The value of each key; those that are not remembered are worked out, all at once.

        Args:
            keys: Distinct.
            work_out: Their values, in the same order.
        """
        known = self._values  # this very one: another thread may begin anew meanwhile
        found = {key: known[key] for key in keys if key in known}
        new = [key for key in keys if key not in found]
        if new:
            found |= zip(new, work_out(new), strict=True)
            if len(known) + len(new) > self._most:
                self._values = {}
            self._values.update((key, found[key]) for key in new)
        return [found[key] for key in keys]
