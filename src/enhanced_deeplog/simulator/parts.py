"""The parts of the service that requests use, and how each of them fails."""

from __future__ import annotations

from dataclasses import dataclass

from enhanced_deeplog.simulator.requests import Ended, Request

__all__ = ["DATABASE", "DISK", "OTHER_SERVICE", "PAYMENT_PROVIDER", "Part", "look_up", "pay", "store", "use"]


@dataclass(frozen=True)
class Part:
    """A part that requests use. It nearly always works, sometimes has a hiccup, and can really fail."""

    hiccup_odds: float  # that a healthy part has a hiccup; a second one is five times rarer still
    hiccups: tuple[tuple[str, ...], ...]  # what a hiccup logs: one of these
    fault: str  # the kind of fault of a request in which this part really fails
    rounds: tuple[int, int]  # least and largest number of rounds of trouble at each use, when it fails
    trouble: tuple[tuple[str, ...], ...]  # what a round of trouble logs: one of these, drawn for each round
    at_last: str  # how the trouble ends
    last_words: tuple[str, ...]  # what is mostly logged if the request then gives up...
    status: int  # ...and what it answers
    makeshift: str | None = None  # what may be done in place of the work if the request goes on


DATABASE = Part(
    hiccup_odds=0.01,
    hiccups=(("pool_busy",), ("pool_exhausted",), ("reconnected",), ("query_timed_out", "reconnected")),
    fault="database_timeout",
    rounds=(1, 6),
    trouble=(("pool_exhausted",), ("pool_busy",), ("pool_exhausted", "query_timed_out"), ("reconnected",)),
    at_last="query_timed_out",
    last_words=("breaker_open", "request_failed"),
    status=503,
)
PAYMENT_PROVIDER = Part(
    hiccup_odds=0.06,
    hiccups=tuple((f"provider_{how}", "payment_retry") for how in ("timeout", "reset", "busy")),
    fault="payment_retry_storm",
    rounds=(4, 14),
    trouble=tuple((f"provider_{how}", "payment_retry") for how in ("timeout", "reset", "busy")),
    at_last="provider_timeout",
    last_words=("payment_abandoned", "request_failed"),
    status=502,
)
DISK = Part(
    hiccup_odds=0.03,
    hiccups=(("volume_filling",), ("write_slow",), ("write_short", "write_retry")),
    fault="disk_full",
    rounds=(0, 4),
    trouble=(("volume_filling",), ("write_slow",), ("write_short",), ("no_space", "write_retry")),
    at_last="no_space",
    last_words=("write_dropped", "request_failed"),
    status=507,
    makeshift="spooled",
)
OTHER_SERVICE = Part(
    hiccup_odds=0.05,
    hiccups=(("still_waiting",),),
    fault="slow_dependency",
    rounds=(3, 9),
    trouble=(("still_waiting",),),
    at_last="still_waiting",
    last_words=("request_failed",),
    status=504,
    makeshift="stale_used",
)


def use(r: Request, part: Part, work: str, **values: object) -> None:
    """Have a part do its work, with the hiccups of a healthy part or the troubles of one that fails."""
    r.values.update(values)
    failing = r.strikes(part.fault, odds=0.5)
    n_hiccups = r.chance(part.hiccup_odds) + r.chance(part.hiccup_odds / 5)
    n_rounds = r.between(*part.rounds) if failing else n_hiccups
    for attempt in range(1, n_rounds + 1):
        for event in r.pick(part.trouble if failing else part.hiccups):
            r.log(event, attempt=attempt, slowed=1.2 ** (attempt - 1))  # backing off
    if failing:
        r.log(part.at_last, attempt=n_rounds + 1)
        if r.chance(0.4):
            for event in part.last_words:
                r.maybe_log(0.7, event)
            raise Ended(part.status)
    r.log(part.makeshift if part.makeshift and r.chance(0.75 if failing else 0.01) else work)


def look_up(r: Request, cache: str, query: str) -> None:
    """Ask the cache first, then the database."""
    if r.chance(0.7):
        r.log("cache_hit", cache=cache)
    else:
        r.log("cache_miss", cache=cache)
        use(r, DATABASE, query)
        r.maybe_log(0.01, "query_slow")


def pay(r: Request, direction: str) -> None:
    """Charge or refund the sum of the order through the payment provider."""
    r.log(f"{direction}_sent")
    use(r, PAYMENT_PROVIDER, f"{direction}_done", transaction=f"tx-{r.between(10**8, 10**9 - 1)}")


def store(r: Request, folder: str) -> None:
    """Write a file of the order to the disk."""
    r.log("file_opened", folder=folder)
    use(r, DISK, "file_written", folder=folder)
