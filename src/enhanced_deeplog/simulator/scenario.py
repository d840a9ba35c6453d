"""What the requests do, step by step; how often each kind comes; which faults can hit it."""

from __future__ import annotations

import numpy as np

from enhanced_deeplog.simulator.messages import COMPONENTS, WORDS
from enhanced_deeplog.simulator.parts import DATABASE, OTHER_SERVICE, look_up, pay, store, use
from enhanced_deeplog.simulator.releases import FIRST_RELEASE, Release
from enhanced_deeplog.simulator.requests import Ended, Request, Script

__all__ = ["FAULT_KINDS", "serve"]

# --- Browsing and tracking -------------------------------------------------------------------------------


def _receive(r: Request, method: str, path: str) -> None:
    r.log("accepted", method=method, path=path)
    r.maybe_log(0.01, "held_back")
    if path != "/login":
        r.log("token_renewed" if r.chance(0.08) else "token_checked")


def _browse(r: Request) -> None:
    _receive(r, "GET", f"/catalogue?q={r.values['word']}")
    r.log("searched")
    for sku in r.skus:
        r.values["sku"] = sku
        look_up(r, "product", "sql_product")
        r.log("product_shown")
    r.concurrently(lambda r: r.log("recommended"), lambda r: look_up(r, "profile", "sql_profile"))
    r.log("answered", status=200)


def _find_order(r: Request, method: str, path: str) -> None:
    r.values["order"] = r.between(20_000, 39_999)  # placed before the log begins
    _receive(r, method, f"/orders/{r.values['order']}{path}")
    use(r, DATABASE, "sql_order")
    r.maybe_end(0.08, "order_missing", status=404)


def _track_shipment(r: Request) -> None:
    _find_order(r, "GET", "/shipment")
    if r.chance(0.3):
        r.log("cache_hit", cache="parcel")
    else:
        r.log("cache_miss", cache="parcel")
        r.log("carrier_asked")
        use(r, OTHER_SERVICE, "carrier_answered", service=r.values["carrier"])
    for _ in range(r.between(1, 5)):
        r.log("scanned")
    r.log("arrival_estimated")
    r.log("answered", status=200)


# --- Orders ----------------------------------------------------------------------------------------------


def _place_order(r: Request) -> None:
    _receive(r, "POST", "/orders")
    look_up(r, "cart", "sql_cart")
    r.log("cart_loaded")
    for sku in r.skus:
        r.log("stock_checked", sku=sku)
    r.maybe_end(0.06, "stock_short", status=409)
    use(r, DATABASE, "sql_insert")
    r.log("order_created")
    r.concurrently(lambda r: r.log("risk_scored"), _ask_warehouse)
    r.maybe_end(0.08, "card_declined", status=402)
    _in_order(
        r,
        lambda r: _update_stock(r, "reserved"),
        lambda r: pay(r, "charge"),
        lambda r: r.concurrently(lambda r: store(r, "invoices"), _book_parcel),
        lambda r: _set_state(r, "confirmed"),
    )
    r.log("answered", status=201)
    r.maybe_log(0.85, "mail_queued")


def _cancel_order(r: Request) -> None:
    _find_order(r, "DELETE", "")
    r.log("cancel_asked")
    r.maybe_end(0.12, "cancel_late", status=409)
    _in_order(
        r,
        lambda r: _update_stock(r, "released"),
        lambda r: pay(r, "refund"),
        lambda r: store(r, "credit-notes"),
        lambda r: _set_state(r, "cancelled"),
    )
    r.log("answered", status=200)
    r.maybe_log(0.7, "mail_queued")


def _set_state(r: Request, state: str) -> None:
    use(r, DATABASE, "sql_update", state=state)
    r.log(f"order_{state}")


def _update_stock(r: Request, change: str) -> None:
    for sku in r.skus:
        r.values["sku"] = sku
        r.maybe_log(0.01, "stock_conflict")
        r.log(f"stock_{change}")


def _in_order(r: Request, *steps: Script) -> None:
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


def _ask_warehouse(r: Request) -> None:
    r.log("warehouse_asked", city=r.pick(WORDS["city"]))
    use(r, OTHER_SERVICE, "warehouse_answered", service="warehouse")


def _book_parcel(r: Request) -> None:
    r.log("parcel_booked")
    store(r, "labels")


# --- Logins ----------------------------------------------------------------------------------------------


def _log_in(r: Request) -> None:
    _receive(r, "POST", "/login")
    if r.strikes("login_probing"):
        _probe_logins(r)
    else:
        _sign_in(r)
    r.concurrently(lambda r: look_up(r, "profile", "sql_profile"), lambda r: look_up(r, "cart", "sql_cart"))
    r.log("answered", status=200)


def _try_password(r: Request, name: str, outcome: str) -> None:
    r.log("login_asked", name=name)
    use(r, DATABASE, "sql_user")
    r.log(outcome)


def _sign_in(r: Request) -> None:
    """A customer signs in, sometimes after a typo or two; a few have forgotten the password."""
    name = r.pick(WORDS["name"])
    n_typos = r.chance(0.2) + r.chance(0.08) + r.chance(0.03)
    for _ in range(n_typos):
        _try_password(r, name, r.pick(("login_wrong", "login_wrong", "login_unknown")))
    r.maybe_end(0.25 * n_typos, r.pick(("reset_offered", "reset_offered", "locked")), status=401)
    _try_password(r, name, "login_done")
    r.maybe_log(0.25, "second_factor")
    r.maybe_log(0.15, r.pick(("admin_opened", "admin_opened", "admin_refused")))  # staff are customers, too


def _probe_logins(r: Request) -> None:
    """An intruder tries many names, then is locked out, or leaves, or gets in and tries the admin pages."""
    for _ in range(r.between(4, 14)):
        _try_password(r, r.pick(WORDS["name"]), r.pick(("login_wrong", "login_unknown")))
        r.maybe_log(0.1, "held_back")
    if r.chance(0.6):
        r.maybe_log(0.6, "locked")
        raise Ended(401)
    _try_password(r, r.pick(WORDS["name"]), "login_done")
    for _ in range(r.between(1, 3)):
        r.log(r.pick(("admin_opened", "admin_refused", "admin_refused")))


# --- The traffic -----------------------------------------------------------------------------------------

_TRAFFIC: tuple[Script, ...] = (
    *(_browse,) * 6,
    *(_place_order,) * 6,
    *(_track_shipment,) * 3,
    *(_log_in,) * 3,
    *(_cancel_order,) * 2,
)
_FAULTS: dict[str, tuple[Script, ...]] = {  # kind -> the requests that it can hit
    "database_timeout": (_browse, _place_order, _cancel_order, _track_shipment, _log_in),
    "disk_full": (_place_order, _cancel_order),
    "halfway_death": (_browse, _place_order, _cancel_order, _track_shipment, _log_in),
    "inconsistent_order": (_place_order, _cancel_order),
    "login_probing": (_log_in,),
    "payment_retry_storm": (_place_order, _cancel_order),
    "slow_dependency": (_place_order, _track_shipment),
}
FAULT_KINDS: tuple[str, ...] = tuple(_FAULTS)


def serve(
    rng: np.random.Generator,
    key: str,
    *,
    order: int,
    start_ms: float,
    fault: str | None,
    release: Release = FIRST_RELEASE,
) -> list[tuple[float, str]]:
    """Let one request run to its end; one with a fault is drawn anew until the fault has shown."""
    scripts = [script for script in _TRAFFIC if fault is None or script in _FAULTS[fault]]
    while True:
        r = Request(rng, key, order=order, start_ms=start_ms, fault=fault, release=release)
        try:
            r.pick(scripts)(r)
        except Ended as end:
            if "order_created" in r.logged_ms:
                r.log("rolled_back")
            r.log("answered", status=end.status)
        _observe(r)
        if fault == "halfway_death":
            _die_halfway(r)
        if fault is None or r.fault_shows:
            return r.records


def _observe(r: Request) -> None:
    """Add what is logged beside the request, at any moment of it."""
    first_ms, last_ms = r.records[0][0], r.clock_ms
    for event in COMPONENTS["telemetry"]:
        if r.chance(0.12):
            r.clock_ms = first_ms + r.rng.random() * (last_ms - first_ms)
            r.log(event)


def _die_halfway(r: Request) -> None:
    """Let the records stop with no word of error: the client is gone, or the worker was killed."""
    r.records = sorted(record for record in r.records if record[0] < r.logged_ms["answered"])
    calm = [n for n, (_, line) in enumerate(r.records, 1) if line.startswith(("INFO", "DEBUG"))]
    del r.records[r.pick([n for n in calm if n > len(r.records) // 4]) :]
    r.fault_shows = not any(line.startswith("ERROR") for _, line in r.records)
