"""An order service that writes logs and has faults of known kinds. It knows nothing of those who read them.

Read it from top to bottom: what can be logged; a request; the parts of the service, and how each of them
fails; what the requests do; the traffic. The parts also misbehave harmlessly (a retry, a slow query, an old
answer, a wrong password), so that no level and no single retry tells an abnormal request from a normal one.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

__all__ = ["FAULT_KINDS", "Simulation", "simulate", "write_simulation"]

_FIRST_RECORD = np.datetime64("2024-03-01T08:00:00.000")  # UTC
_REQUESTS_PER_S = 5.0  # a request takes a second or two, so about ten are interleaved
_BACKGROUND_SHARE = 0.015  # of the records: what no request has caused
_FEWEST_RECORDS = 200  # room for the longest request
_LARGEST_FAULT_SHARE = 0.3  # beyond it, an incident would find no healthy requests to hit between

_T = TypeVar("_T")

# --- What can be logged -----------------------------------------------------------------------------------

# Component -> event -> level, usual wait before it in ms, message. What stands in braces comes from the
# request, else it is drawn afresh from _NUMBERS or _WORDS.
_COMPONENTS: dict[str, dict[str, tuple[str, float, str]]] = {
    "gateway": {
        "accepted": ("INFO", 2, "{method} {path} from {ip} handed to app-{host:02} worker {worker}"),
        "held_back": ("WARN", 150, "{ip} sends too fast, held back for {ms} ms"),
        "answered": ("INFO", 5, "{method} {path} answered {status} in {elapsed} ms, {size} bytes"),
    },
    "auth": {
        "token_checked": ("DEBUG", 8, "token of user {user} is valid for another {minutes} min"),
        "token_renewed": ("INFO", 25, "token of user {user} renewed, expires in {minutes} min"),
        "login_asked": ("INFO", 30, "login of {name} from {ip}"),
        "login_wrong": ("WARN", 90, "login of {name} refused: wrong password"),
        "login_unknown": ("WARN", 40, "login of {name} refused: no such user"),
        "login_done": ("INFO", 60, "login of {name} accepted as user {user}"),
        "second_factor": ("INFO", 900, "second factor of user {user} accepted after {ms} ms"),
        "reset_offered": ("INFO", 30, "password reset offered to {name}"),
        "locked": ("WARN", 10, "{ip} locked out for {seconds} s"),
        "admin_opened": ("INFO", 400, "user {user} opened /admin/{admin_page}"),
        "admin_refused": ("WARN", 300, "user {user} has no role for /admin/{admin_page}"),
    },
    "cache": {
        "cache_hit": ("DEBUG", 3, "hit {cache}:{entry}, age {seconds} s"),
        "cache_miss": ("DEBUG", 3, "miss {cache}:{entry}"),
    },
    "db.pool": {
        "sql_user": ("DEBUG", 18, "SELECT id, hash FROM users WHERE name = '{name}' took {ms} ms"),
        "sql_profile": ("DEBUG", 22, "SELECT * FROM profiles WHERE user_id = {user} took {ms} ms"),
        "sql_cart": ("DEBUG", 25, "SELECT sku FROM carts WHERE user_id = {user} took {ms} ms, {items} rows"),
        "sql_product": ("DEBUG", 28, "SELECT * FROM products WHERE sku = '{sku}' took {ms} ms"),
        "sql_order": ("DEBUG", 24, "SELECT * FROM orders WHERE id = {order} took {ms} ms"),
        "sql_insert": ("DEBUG", 35, "INSERT INTO orders (id, user_id) VALUES ({order}, {user}) took {ms} ms"),
        "sql_update": ("DEBUG", 30, "UPDATE orders SET status = '{state}' WHERE id = {order} took {ms} ms"),
        "query_slow": ("WARN", 450, "slow query, {ms} ms, plan {plan}"),
        "pool_busy": ("WARN", 120, "waited {ms} ms for a connection, {in_use} of 32 in use"),
        "pool_exhausted": ("WARN", 900, "no free connection, 32 of 32 in use, {waiting} waiting"),
        "query_timed_out": ("ERROR", 3000, "query cancelled after {ms} ms, connection {conn} dropped"),
        "reconnected": ("WARN", 200, "connection {conn} was reset, opened a new one in {ms} ms"),
        "breaker_open": ("WARN", 15, "circuit breaker opened for {seconds} s"),
    },
    "catalogue": {
        "searched": ("INFO", 45, "search '{word}' for user {user}: {hits} hits, page {page}"),
        "product_shown": ("INFO", 60, "product {sku} shown at {price} EUR"),
        "recommended": ("INFO", 70, "{hits} recommendations for user {user}"),
    },
    "orders.api": {
        "cart_loaded": ("INFO", 30, "cart of user {user} loaded, {items} items"),
        "order_created": ("INFO", 40, "order {order} created for user {user}, {items} items, {total} EUR"),
        "order_confirmed": ("INFO", 30, "order {order} confirmed, delivery in {days} days"),
        "order_missing": ("WARN", 15, "order {order} not found for user {user}"),
        "order_cancelled": ("INFO", 30, "order {order} cancelled"),
        "cancel_asked": ("INFO", 20, "user {user} asks to cancel order {order}"),
        "cancel_late": ("WARN", 20, "order {order} has left the warehouse, not cancelled"),
        "rolled_back": ("INFO", 50, "order {order} rolled back, {items} items dropped"),
        "request_failed": ("ERROR", 20, "{method} {path} given up after {elapsed} ms"),
    },
    "inventory": {
        "stock_checked": ("DEBUG", 30, "{sku}: {number} in stock at {city}"),
        "stock_short": ("WARN", 30, "{sku} out of stock, next delivery in {days} days"),
        "stock_reserved": ("INFO", 45, "reserved {pieces} x {sku} for order {order}"),
        "stock_released": ("INFO", 45, "released {pieces} x {sku} of order {order}"),
        "stock_conflict": ("WARN", 60, "update of {sku} collided, trying again"),
        "warehouse_asked": ("DEBUG", 15, "asking warehouse {city} for order {order}"),
        "warehouse_answered": ("DEBUG", 110, "warehouse {city} can ship order {order} in {days} days"),
    },
    "payment": {
        "risk_scored": ("INFO", 130, "risk of order {order} scored {percent}"),
        "charge_sent": ("INFO", 25, "charging {total} EUR for order {order} via {provider}"),
        "charge_done": ("INFO", 350, "payment {transaction} of {total} EUR captured for order {order}"),
        "refund_sent": ("INFO", 25, "refunding {total} EUR for order {order} via {provider}"),
        "refund_done": ("INFO", 300, "refund {transaction} of {total} EUR booked for order {order}"),
        "card_declined": ("WARN", 300, "card of user {user} declined by issuer, code {code}"),
        "provider_timeout": ("WARN", 700, "{provider} gave no answer within {ms} ms"),
        "provider_reset": ("WARN", 300, "{provider} closed the connection after {size} bytes"),
        "provider_busy": ("WARN", 200, "{provider} answered 503, busy"),
        "payment_retry": ("INFO", 200, "attempt {attempt} for order {order} after {ms} ms"),
        "payment_abandoned": ("ERROR", 20, "payment for order {order} abandoned after {elapsed} ms"),
    },
    "shipping": {
        "carrier_asked": ("INFO", 20, "asking {carrier} for parcel {parcel}"),
        "carrier_answered": ("INFO", 180, "{carrier} knows parcel {parcel}, {hits} scans"),
        "scanned": ("DEBUG", 12, "parcel {parcel} {scan} in {city}"),
        "arrival_estimated": ("INFO", 25, "parcel {parcel} arrives in {days} days"),
        "parcel_booked": ("INFO", 160, "parcel {parcel} for order {order} booked with {carrier}"),
    },
    "http.client": {
        "still_waiting": ("WARN", 1000, "no answer of {service} within {ms} ms, poll {attempt}"),
        "stale_used": ("WARN", 30, "no fresh answer of {service}, using one of {minutes} min ago"),
    },
    "storage.writer": {
        "file_opened": ("DEBUG", 10, "opened /data/{folder}/{order}.pdf"),
        "file_written": ("INFO", 60, "wrote {size} bytes to /data/{folder}/{order}.pdf in {ms} ms"),
        "write_slow": ("WARN", 700, "fsync of /data/{folder} took {ms} ms"),
        "write_short": ("WARN", 80, "short write, only {size} bytes of /data/{folder}/{order}.pdf"),
        "write_retry": ("INFO", 250, "writing /data/{folder}/{order}.pdf again, attempt {attempt}"),
        "volume_filling": ("WARN", 10, "volume /data is {fill} % full"),
        "no_space": ("ERROR", 40, "write to /data/{folder}/{order}.pdf: No space left on device"),
        "spooled": ("WARN", 40, "/data/{folder}/{order}.pdf kept in /var/spool/orders, {size} bytes"),
        "write_dropped": ("ERROR", 30, "/data/{folder}/{order}.pdf not stored, spool is full"),
    },
    "telemetry": {
        "trace_sampled": ("DEBUG", 1, "trace sampled on app-{host:02}, {hits} spans"),
        "flag_read": ("DEBUG", 1, "flag {flag} is on for user {user}"),
        "audit_stored": ("INFO", 1, "audit note {entry} on user {user} stored"),
    },
    "mail": {"mail_queued": ("INFO", 200, "mail on order {order} queued at position {number}")},
}
_EVENTS = {
    event: (level, component, usual_ms, message)
    for component, events in _COMPONENTS.items()
    for event, (level, usual_ms, message) in events.items()
}

# What no request has caused: lines from their level on.
_BACKGROUND = (
    "DEBUG | gateway | heartbeat of app-{host:02}, load {percent} %, {worker} workers busy",
    "INFO | runtime | GC pause {pause} ms on app-{host:02}, heap {number} MB",
    "DEBUG | db.pool | {in_use} of 32 connections in use, {hits} idle",
    "INFO | cache | statistics: {number} entries, hit ratio {percent} %, {hits} evicted",
    "INFO | cron | job {job} finished in {number} ms, {hits} rows",
    "DEBUG | storage.writer | volume /data is {fill} % full, {number} files",
    "WARN | runtime | clock of app-{host:02} is {pause} ms off, corrected",
)
_NUMBERS = {  # name -> least and largest
    "code": (1, 99), "conn": (1, 32), "days": (1, 9), "entry": (2, 4000), "fill": (81, 99), "hits": (1, 40),
    "host": (1, 6), "in_use": (24, 32), "minutes": (2, 59), "number": (2, 4000), "page": (1, 4),
    "pause": (3, 90), "percent": (3, 88), "pieces": (1, 3), "plan": (100, 999), "price": (2, 900),
    "seconds": (5, 900), "size": (180, 48_000), "waiting": (3, 60), "worker": (1, 16),
}  # fmt: skip
_FIRST_NAMES = ("anna", "ben", "carla", "deniz", "emil", "fatou", "gia", "hugo")
_LAST_NAMES = ("berg", "costa", "dupont", "eriksen", "fischer", "novak", "rossi", "silva")
_WORDS = {
    "admin_page": ("orders", "users", "rebates"),
    "city": ("Hamburg", "Leipzig", "Lyon", "Porto", "Gdansk", "Turin", "Graz"),
    "flag": ("new-search", "fast-checkout", "dark-mode"),
    "job": ("expire-carts", "rotate-logs", "sync-prices"),
    "name": tuple(f"{first}.{last}" for first in _FIRST_NAMES for last in _LAST_NAMES),
    "scan": ("received", "sorted", "loaded", "unloaded"),
    "word": ("lamp", "desk", "chair", "kettle", "shelf", "rug", "mirror", "clock", "vase", "stool"),
}

# --- A request --------------------------------------------------------------------------------------------


class _Values(dict[str, object]):
    """Values for the braces of a message; one that nobody gave is drawn afresh at each use."""

    def __init__(self, rng: np.random.Generator, **given: object) -> None:
        super().__init__(given)
        self.rng = rng

    def __missing__(self, name: str) -> object:
        if name in _WORDS:
            return _WORDS[name][int(self.rng.random() * len(_WORDS[name]))]
        least, largest = _NUMBERS[name]
        return least + int(self.rng.random() * (largest - least + 1))


class _Ended(Exception):  # noqa: N818 - that a request ends early need not be an error
    """The request ends here with this status, and no further step of it runs."""

    def __init__(self, status: int) -> None:
        self.status = status


class _Request:
    """A request being served: its clock, its values, its fault, and the records it has written so far."""

    def __init__(self, rng: np.random.Generator, key: str, *, order: int, start_ms: float, fault: str | None):
        self.rng, self.key, self.fault = rng, key, fault
        self.fault_shows = False
        self.start_ms = self.clock_ms = start_ms
        self.records: list[tuple[float, str]] = []  # time in ms; the line from its level on
        self.logged_ms: dict[str, float] = {}  # event -> when it was last logged
        self.skus = [f"SKU-{self.between(1000, 9999)}-{self.pick('ABCD')}" for _ in range(self.between(1, 5))]
        self.values = _Values(
            rng,
            order=order,
            user=self.between(1000, 9999),
            ip=f"{self.pick(('203.0.113', '198.51.100', '192.0.2'))}.{self.between(1, 254)}",
            items=len(self.skus),
            total=f"{self.between(500, 40_000) / 100:.2f}",
            host=self.between(1, 6),
            word=self.pick(_WORDS["word"]),
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
        level, component, usual_ms, message = _EVENTS[event]
        waited_ms = usual_ms * slowed * float(self.rng.lognormal(0.0, 0.4))
        self.clock_ms += waited_ms
        self.values.update(values, ms=max(1, round(waited_ms)), elapsed=round(self.clock_ms - self.start_ms))
        line = f"{level} | {component} | [{self.key}] {message.format_map(self.values)}"
        self.records.append((self.clock_ms, line))
        self.logged_ms[event] = self.clock_ms

    def maybe_log(self, odds: float, event: str) -> None:
        if self.chance(odds):
            self.log(event)

    def maybe_end(self, odds: float, event: str, *, status: int) -> None:
        """End for the customer's own reasons (card declined...); never where a fault has yet to show."""
        if self.fault is None and self.chance(odds):
            self.log(event)
            raise _Ended(status)

    def concurrently(self, *branches: _Script) -> None:
        """Start all branches now and go on when the slowest is done; their records interleave by time."""
        start_ms = end_ms = self.clock_ms
        try:
            for branch in branches:
                self.clock_ms = start_ms
                branch(self)
                end_ms = max(end_ms, self.clock_ms)
        finally:  # a branch that fails doesn't call the others back
            self.clock_ms = max(end_ms, self.clock_ms)


_Script = Callable[[_Request], None]

# --- The parts of the service, and how each of them fails -------------------------------------------------


@dataclass(frozen=True)
class _Part:
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


_DATABASE = _Part(
    hiccup_odds=0.01,
    hiccups=(("pool_busy",), ("pool_exhausted",), ("reconnected",), ("query_timed_out", "reconnected")),
    fault="database_timeout",
    rounds=(1, 6),
    trouble=(("pool_exhausted",), ("pool_busy",), ("pool_exhausted", "query_timed_out"), ("reconnected",)),
    at_last="query_timed_out",
    last_words=("breaker_open", "request_failed"),
    status=503,
)
_PAYMENT_PROVIDER = _Part(
    hiccup_odds=0.06,
    hiccups=tuple((f"provider_{how}", "payment_retry") for how in ("timeout", "reset", "busy")),
    fault="payment_retry_storm",
    rounds=(4, 14),
    trouble=tuple((f"provider_{how}", "payment_retry") for how in ("timeout", "reset", "busy")),
    at_last="provider_timeout",
    last_words=("payment_abandoned", "request_failed"),
    status=502,
)
_DISK = _Part(
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
_OTHER_SERVICE = _Part(
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


def _use(r: _Request, part: _Part, work: str, **values: object) -> None:
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
            raise _Ended(part.status)
    r.log(part.makeshift if part.makeshift and r.chance(0.75 if failing else 0.01) else work)


def _look_up(r: _Request, cache: str, query: str) -> None:
    if r.chance(0.7):
        r.log("cache_hit", cache=cache)
    else:
        r.log("cache_miss", cache=cache)
        _use(r, _DATABASE, query)
        r.maybe_log(0.01, "query_slow")


def _pay(r: _Request, direction: str) -> None:
    r.log(f"{direction}_sent")
    _use(r, _PAYMENT_PROVIDER, f"{direction}_done", transaction=f"tx-{r.between(10**8, 10**9 - 1)}")


def _store(r: _Request, folder: str) -> None:
    r.log("file_opened", folder=folder)
    _use(r, _DISK, "file_written", folder=folder)


def _set_state(r: _Request, state: str) -> None:
    _use(r, _DATABASE, "sql_update", state=state)
    r.log(f"order_{state}")


def _update_stock(r: _Request, change: str) -> None:
    for sku in r.skus:
        r.values["sku"] = sku
        r.maybe_log(0.01, "stock_conflict")
        r.log(f"stock_{change}")


def _in_order(r: _Request, *steps: _Script) -> None:
    """Run the steps of an order; in an inconsistent one, a step runs twice or at the wrong place."""
    plan = list(steps)
    if r.strikes("inconsistent_order"):
        step = r.between(0, len(plan) - 1)
        if r.chance(0.6):
            plan.insert(r.between(step + 1, len(plan)), plan[step])
        else:
            plan.insert((step + r.between(1, len(plan) - 1)) % len(plan), plan.pop(step))
    for run in plan:
        run(r)


def _try_password(r: _Request, name: str, outcome: str) -> None:
    r.log("login_asked", name=name)
    _use(r, _DATABASE, "sql_user")
    r.log(outcome)


def _sign_in(r: _Request) -> None:
    """A customer signs in, sometimes after a typo or two; a few have forgotten the password."""
    name = r.pick(_WORDS["name"])
    n_typos = r.chance(0.12) + r.chance(0.04) + r.chance(0.02)
    for _ in range(n_typos):
        _try_password(r, name, r.pick(("login_wrong", "login_wrong", "login_unknown")))
    r.maybe_end(0.1 * n_typos, r.pick(("reset_offered", "reset_offered", "locked")), status=401)
    _try_password(r, name, "login_done")
    r.maybe_log(0.25, "second_factor")
    r.maybe_log(0.03, r.pick(("admin_opened", "admin_opened", "admin_refused")))  # staff are customers, too


def _probe_logins(r: _Request) -> None:
    """An intruder tries many names, then is locked out, or leaves, or gets in and tries the admin pages."""
    for _ in range(r.between(4, 14)):
        _try_password(r, r.pick(_WORDS["name"]), r.pick(("login_wrong", "login_unknown")))
        r.maybe_log(0.1, "held_back")
    if r.chance(0.6):
        r.maybe_log(0.6, "locked")
        raise _Ended(401)
    _try_password(r, r.pick(_WORDS["name"]), "login_done")
    for _ in range(r.between(1, 3)):
        r.log(r.pick(("admin_opened", "admin_refused", "admin_refused")))


def _observe(r: _Request) -> None:
    """Add what is logged beside the request, at any moment of it."""
    first_ms, last_ms = r.records[0][0], r.clock_ms
    for event in _COMPONENTS["telemetry"]:
        if r.chance(0.12):
            r.clock_ms = first_ms + r.rng.random() * (last_ms - first_ms)
            r.log(event)


def _die_halfway(r: _Request) -> None:
    """Let the records stop with no word of error: the client is gone, or the worker was killed."""
    r.records = sorted(record for record in r.records if record[0] < r.logged_ms["answered"])
    calm = [n for n, (_, line) in enumerate(r.records, 1) if line.startswith(("INFO", "DEBUG"))]
    del r.records[r.pick([n for n in calm if n > len(r.records) // 4]) :]
    r.fault_shows = not any(line.startswith("ERROR") for _, line in r.records)


# --- What the requests do ---------------------------------------------------------------------------------


def _receive(r: _Request, method: str, path: str) -> None:
    r.log("accepted", method=method, path=path)
    r.maybe_log(0.01, "held_back")
    if path != "/login":
        r.log("token_renewed" if r.chance(0.08) else "token_checked")


def _browse(r: _Request) -> None:
    _receive(r, "GET", f"/catalogue?q={r.values['word']}")
    r.log("searched")
    for sku in r.skus:
        r.values["sku"] = sku
        _look_up(r, "product", "sql_product")
        r.log("product_shown")
    r.concurrently(lambda r: r.log("recommended"), lambda r: _look_up(r, "profile", "sql_profile"))
    r.log("answered", status=200)


def _place_order(r: _Request) -> None:
    _receive(r, "POST", "/orders")
    _look_up(r, "cart", "sql_cart")
    r.log("cart_loaded")
    for sku in r.skus:
        r.log("stock_checked", sku=sku)
    r.maybe_end(0.02, "stock_short", status=409)
    _use(r, _DATABASE, "sql_insert")
    r.log("order_created")
    r.concurrently(lambda r: r.log("risk_scored"), _ask_warehouse)
    r.maybe_end(0.03, "card_declined", status=402)
    _in_order(
        r,
        lambda r: _update_stock(r, "reserved"),
        lambda r: _pay(r, "charge"),
        lambda r: r.concurrently(lambda r: _store(r, "invoices"), _book_parcel),
        lambda r: _set_state(r, "confirmed"),
    )
    r.log("answered", status=201)
    r.maybe_log(0.85, "mail_queued")


def _ask_warehouse(r: _Request) -> None:
    r.log("warehouse_asked", city=r.pick(_WORDS["city"]))
    _use(r, _OTHER_SERVICE, "warehouse_answered", service="warehouse")


def _book_parcel(r: _Request) -> None:
    r.log("parcel_booked")
    _store(r, "labels")


def _find_order(r: _Request, method: str, path: str) -> None:
    r.values["order"] = r.between(20_000, 39_999)  # placed before the log begins
    _receive(r, method, f"/orders/{r.values['order']}{path}")
    _use(r, _DATABASE, "sql_order")
    r.maybe_end(0.02, "order_missing", status=404)


def _cancel_order(r: _Request) -> None:
    _find_order(r, "DELETE", "")
    r.log("cancel_asked")
    r.maybe_end(0.03, "cancel_late", status=409)
    _in_order(
        r,
        lambda r: _update_stock(r, "released"),
        lambda r: _pay(r, "refund"),
        lambda r: _store(r, "credit-notes"),
        lambda r: _set_state(r, "cancelled"),
    )
    r.log("answered", status=200)
    r.maybe_log(0.7, "mail_queued")


def _track_shipment(r: _Request) -> None:
    _find_order(r, "GET", "/shipment")
    if r.chance(0.3):
        r.log("cache_hit", cache="parcel")
    else:
        r.log("cache_miss", cache="parcel")
        r.log("carrier_asked")
        _use(r, _OTHER_SERVICE, "carrier_answered", service=r.values["carrier"])
    for _ in range(r.between(1, 5)):
        r.log("scanned")
    r.log("arrival_estimated")
    r.log("answered", status=200)


def _log_in(r: _Request) -> None:
    _receive(r, "POST", "/login")
    if r.strikes("login_probing"):
        _probe_logins(r)
    else:
        _sign_in(r)
    r.concurrently(lambda r: _look_up(r, "profile", "sql_profile"), lambda r: _look_up(r, "cart", "sql_cart"))
    r.log("answered", status=200)


# --- The traffic ------------------------------------------------------------------------------------------

_TRAFFIC: tuple[_Script, ...] = (
    *(_browse,) * 6,
    *(_place_order,) * 6,
    *(_track_shipment,) * 3,
    *(_log_in,) * 3,
    *(_cancel_order,) * 2,
)
_FAULTS: dict[str, tuple[_Script, ...]] = {  # kind -> the requests that it can hit
    "database_timeout": (_browse, _place_order, _cancel_order, _track_shipment, _log_in),
    "disk_full": (_place_order, _cancel_order),
    "halfway_death": (_browse, _place_order, _cancel_order, _track_shipment, _log_in),
    "inconsistent_order": (_place_order, _cancel_order),
    "login_probing": (_log_in,),
    "payment_retry_storm": (_place_order, _cancel_order),
    "slow_dependency": (_place_order, _track_shipment),
}
FAULT_KINDS: tuple[str, ...] = tuple(_FAULTS)


@dataclass(frozen=True)
class Simulation:
    """A simulated log and the truth about it.

    Attributes
    ----------
    lines
        Log lines in time order, without line ends.
    faults
        Request id -> fault kind, of the abnormal requests only, in order of arrival.
    session_keys
        All request ids as they stand in the lines, in order of arrival.
    """

    lines: list[str]
    faults: dict[str, str]
    session_keys: tuple[str, ...]


def simulate(*, n_records: int = 60_000, seed: int = 0, fault_share: float = 0.05) -> Simulation:
    """Write the log of an order service some of whose requests go wrong in known ways.

    Requests arrive at random and run interleaved; the log goes on until all of them are done. The fault kinds
    take turns, so a short log need not show every kind. A request has one fault at most.

    Parameters
    ----------
    n_records
        Number of log records, met exactly. About 1.5 % of them belong to no request.
    seed
        Same seed, same lines.
    fault_share
        Share of abnormal requests, met roughly; 0 gives a clean log.

    Returns
    -------
    Simulation
        The lines, and which requests went wrong in which way.

    Raises
    ------
    ValueError
        If an argument is of the wrong type or out of range.

    Examples
    --------
    >>> simulation = simulate(n_records=1_000, seed=7, fault_share=0.1)
    >>> len(simulation.lines), simulation.lines[0].count(" | ")
    (1000, 3)
    >>> set(simulation.faults) < set(simulation.session_keys)
    True
    >>> sorted(set(simulation.faults.values()) - set(FAULT_KINDS))
    []
    """
    _check_arguments(n_records, seed, fault_share)
    rng = np.random.default_rng(seed)
    records: list[tuple[float, str]] = []
    faults: dict[str, str | None] = {}
    arrival_ms, first_key = 0.0, int(rng.integers(2**48))
    for number, fault in enumerate(_plan_faults(rng, fault_share)):
        busy = 1 + 0.4 * math.sin(arrival_ms / 100_000)  # traffic swings over ten minutes
        arrival_ms += float(rng.exponential(1000 / (_REQUESTS_PER_S * busy)))
        # Steps of an odd size through 48 bits: the keys look random and can't meet.
        key = f"req-{(first_key + number * 0x9E3779B97F4B) % 2**48:012x}"
        served = _serve(rng, key, order=40_000 + number, start_ms=arrival_ms, fault=fault)
        if len(records) + len(served) > n_records * (1 - _BACKGROUND_SHARE):
            break
        records += served
        faults[key] = fault
    records += _background(rng, n_records - len(records), until_ms=max(records)[0])
    return Simulation(
        lines=_stamp(sorted(records)),
        faults={key: fault for key, fault in faults.items() if fault},
        session_keys=tuple(faults),
    )


def _plan_faults(rng: np.random.Generator, fault_share: float) -> Iterator[str | None]:
    """Say of each request in turn which fault it has: an incident hits several, or just one."""
    while fault_share > 0:
        for kind in rng.permutation(FAULT_KINDS).tolist():  # every kind once before any comes again
            n_hit = 1 if rng.random() < 0.5 else int(rng.integers(3, 9))
            n_healthy = round(n_hit * (1 / fault_share - 1) * rng.uniform(0.5, 1.5))
            n_before = int(rng.integers(n_healthy // 4, n_healthy // 2 + 1))
            gaps = rng.integers(0, 3, size=n_hit).tolist()  # an incident spares some of the requests
            yield from [None] * n_before
            for gap in gaps:
                yield kind
                yield from [None] * gap
            yield from [None] * (n_healthy - n_before - sum(gaps))
    while True:
        yield None


def _serve(
    rng: np.random.Generator, key: str, *, order: int, start_ms: float, fault: str | None
) -> list[tuple[float, str]]:
    """Let one request run to its end; one with a fault is drawn anew until the fault has shown."""
    scripts = [script for script in _TRAFFIC if fault is None or script in _FAULTS[fault]]
    while True:
        r = _Request(rng, key, order=order, start_ms=start_ms, fault=fault)
        try:
            r.pick(scripts)(r)
        except _Ended as end:
            if "order_created" in r.logged_ms:
                r.log("rolled_back")
            r.log("answered", status=end.status)
        _observe(r)
        if fault == "halfway_death":
            _die_halfway(r)
        if fault is None or r.fault_shows:
            return r.records


def _background(rng: np.random.Generator, n: int, *, until_ms: float) -> list[tuple[float, str]]:
    """Spread n records that no request has caused, about evenly."""
    values = _Values(rng)
    messages = (_BACKGROUND[int(rng.random() * len(_BACKGROUND))] for _ in range(n))
    return [((i + rng.random()) * until_ms / n, text.format_map(values)) for i, text in enumerate(messages)]


def _stamp(records: list[tuple[float, str]]) -> list[str]:
    times = _FIRST_RECORD + np.array([ms for ms, _ in records]).astype("timedelta64[ms]")
    stamps = np.datetime_as_string(times, unit="ms").tolist()
    return [f"{s[:10]} {s[11:19]},{s[20:]} | {line}" for s, (_, line) in zip(stamps, records, strict=True)]


def _check_arguments(n_records: object, seed: object, fault_share: object) -> None:
    if not isinstance(n_records, int) or isinstance(n_records, bool) or n_records < _FEWEST_RECORDS:
        raise ValueError(f"n_records must be an int of at least {_FEWEST_RECORDS}, but is {n_records!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an int of at least 0, but is {seed!r}.")
    is_number = isinstance(fault_share, int | float) and not isinstance(fault_share, bool)
    if not is_number or not 0 <= cast(float, fault_share) <= _LARGEST_FAULT_SHARE:
        raise ValueError(
            f"fault_share must be a number from 0 to {_LARGEST_FAULT_SHARE}, but is {fault_share!r}."
        )


def write_simulation(simulation: Simulation, directory: Path) -> tuple[Path, Path]:
    """Write the log, and beside it the truth about it; nobody ever meets a half-written file.

    Parameters
    ----------
    simulation
        What `simulate` returned.
    directory
        Where to; made if it is missing. Files of the same names are replaced.

    Returns
    -------
    tuple[Path, Path]
        `service.log`, the lines; `truth.json`, the pattern of the session keys, counts, and the fault kind of
        each abnormal session.

    Raises
    ------
    OSError
        If the files can't be written there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     log_path, truth_path = write_simulation(simulate(n_records=500), Path(directory))
    ...     len(log_path.read_text().splitlines()), json.loads(truth_path.read_text())["n_records"]
    (500, 500)
    """
    truth = {
        "session_key_pattern": "req-[0-9a-f]{12}",
        "n_records": len(simulation.lines),
        "n_sessions": len(simulation.session_keys),
        "kinds": dict(sorted(Counter(simulation.faults.values()).items())),
        "sessions": simulation.faults,
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    log_path, truth_path = directory / "service.log", directory / "truth.json"
    _write_beside_and_rename(log_path, "".join(f"{line}\n" for line in simulation.lines))
    _write_beside_and_rename(truth_path, json.dumps(truth, indent=2) + "\n")
    return log_path, truth_path


def _write_beside_and_rename(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
