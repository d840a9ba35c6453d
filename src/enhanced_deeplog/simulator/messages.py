"""What the order service can log: its components, their messages, and the words and numbers in those."""

from __future__ import annotations

import numpy as np

__all__ = ["BACKGROUND", "COMPONENTS", "EVENTS", "WORDS", "Values"]

# Component -> event -> level, usual wait before it in ms, message. What stands in braces comes from the
# request, else `Values` draws it afresh from _NUMBERS or WORDS.
COMPONENTS: dict[str, dict[str, tuple[str, float, str]]] = {
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
EVENTS = {
    event: (level, component, usual_ms, message)
    for component, events in COMPONENTS.items()
    for event, (level, usual_ms, message) in events.items()
}

# What no request has caused: lines from their level on.
BACKGROUND = (
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
WORDS = {
    "admin_page": ("orders", "users", "rebates"),
    "city": ("Hamburg", "Leipzig", "Lyon", "Porto", "Gdansk", "Turin", "Graz"),
    "flag": ("new-search", "fast-checkout", "dark-mode"),
    "job": ("expire-carts", "rotate-logs", "sync-prices"),
    "name": tuple(f"{first}.{last}" for first in _FIRST_NAMES for last in _LAST_NAMES),
    "scan": ("received", "sorted", "loaded", "unloaded"),
    "word": ("lamp", "desk", "chair", "kettle", "shelf", "rug", "mirror", "clock", "vase", "stool"),
}


class Values(dict[str, object]):
    """Values for the braces of a message; one that nobody gave is drawn afresh at each use."""

    def __init__(self, rng: np.random.Generator, **given: object) -> None:
        super().__init__(given)
        self.rng = rng

    def __missing__(self, name: str) -> object:
        if name in WORDS:
            return WORDS[name][int(self.rng.random() * len(WORDS[name]))]
        least, largest = _NUMBERS[name]
        return least + int(self.rng.random() * (largest - least + 1))
