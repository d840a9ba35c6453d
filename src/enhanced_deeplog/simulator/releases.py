"""What the service logs in its first release, and how the next one changes that: some messages reworded, some added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from enhanced_deeplog.simulator.messages import EVENTS

__all__ = ["FIRST_RELEASE", "N_CHANGES", "Release", "next_release"]

_N_REWORDED = round(0.05 * len(EVENTS))
_N_ADDED = 3
N_CHANGES = _N_REWORDED + _N_ADDED

_REWORDINGS = {
    "token_checked": "user {user} has a valid token, expires in {minutes} min",
    "sql_cart": "SELECT sku, pieces FROM carts WHERE user_id = {user} returned {items} rows in {ms} ms",
    "searched": "user {user} searched for '{word}': {hits} hits, shown from page {page}",
    "product_shown": "showing product {sku} for {price} EUR",
    "cart_loaded": "cart of user {user}: {items} items loaded",
    "order_created": "new order {order} of user {user}, {items} items for {total} EUR",
    "order_confirmed": "order {order} is confirmed and will be delivered in {days} days",
    "stock_checked": "stock of {sku} at {city}: {number}",
    "stock_reserved": "order {order}: {pieces} x {sku} reserved",
    "charge_done": "captured payment {transaction} for order {order}, {total} EUR",
    "carrier_answered": "parcel {parcel} has {hits} scans at {carrier}",
    "file_written": "/data/{folder}/{order}.pdf written, {size} bytes in {ms} ms",
}
# What comes after which event.
_ADDITIONS = {
    "accepted": ("DEBUG", "gateway", 1.0, "rate limit of {ip}: {percent} % used"),
    "searched": ("INFO", "catalogue", 12.0, "ranked {hits} hits with model v{page}"),
    "cart_loaded": ("DEBUG", "orders.api", 4.0, "rebates of user {user} looked up, {hits} apply"),
    "order_created": ("INFO", "orders.api", 6.0, "order {order} is known to fulfilment as batch {number}"),
    "risk_scored": ("DEBUG", "payment", 9.0, "device of user {user} seen {hits} times before"),
    "carrier_asked": ("DEBUG", "shipping", 2.0, "route of parcel {parcel} goes by {city}"),
}


@dataclass(frozen=True)
class Release:
    """What the service logs.

    Attributes:
        events: Level, component, usual wait in ms and message of each event.
        added: The event that is logged right after another one.
    """

    events: Mapping[str, tuple[str, str, float, str]]
    added: Mapping[str, str]


FIRST_RELEASE = Release(EVENTS, {})


def next_release(rng: np.random.Generator) -> Release:
    """One message in twenty is reworded, three are new; what the service does is the same."""
    reworded = rng.permutation(sorted(_REWORDINGS))[:_N_REWORDED].tolist()
    after = rng.permutation(sorted(_ADDITIONS))[:_N_ADDED].tolist()
    events = {**EVENTS, **{event: (*EVENTS[event][:3], _REWORDINGS[event]) for event in reworded}}
    added = {event: f"{event}, added" for event in after}
    return Release({**events, **{added[event]: _ADDITIONS[event] for event in after}}, added)
