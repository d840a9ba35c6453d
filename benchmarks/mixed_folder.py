"""A folder of logs as found on a Kubernetes host, and the truth about each record in it.

It is written from how these systems write, and knows nothing of those who read it. A shop takes orders: nginx in a
container (`storefront`) gives each request an id of 32 hex digits, which `orders` (Java), `payments` (Node),
`fulfilment-controller` (Go) and the database (in a comment of the statement) write, too: that is the session key which
these services share. The host adds an nginx of its own and its syslog; neither knows the id.
"""

# ruff: noqa: S608 - the statements here are only logged

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypedDict, cast
from urllib.parse import quote

__all__ = ["SESSION_KEY", "TEMPLATES", "Truth", "make_folder", "truth_of"]

SESSION_KEY = r"\b[0-9a-f]{32}\b"  # nginx's $request_id, as all services of the shop write it

_MS, _S = 10**6, 10**9  # all times are in ns since the epoch
_START = int(datetime(2025, 3, 4, 23, 50, tzinfo=UTC).timestamp()) * _S  # soon the day changes
_BOOT = _START - 31_234 * _S  # of the host, and about then of its containers
_GAP = 90 * _MS  # mean time between the starts of two flows
_PIECE = 16_384  # bytes; containerd splits longer lines
_EVER = 1 << 63
_JSON = json.JSONEncoder(ensure_ascii=False).encode
_FLOWS_AT_ONCE = 2_000  # before what is old enough gets written


class Truth(TypedDict):
    """What is true of a record.

    Attributes:
        file: Its path relative to the folder.
        first: Number of its first line, from 1.
        last: Number of its last line. A blank line which ends a stack trace belongs to it.
        service: What a user would call it: the deployment, or the program in the syslog.
        time: When it happened, in microseconds since the epoch: the innermost date in the line, as exact as it is, and
            else when it was written.
        written: When the container runtime says it was written, in microseconds; none in plain files.
        severity: One of TRACE DEBUG INFO WARN ERROR FATAL; none where the line tells none.
        body: The message after time, level, thread, logger and process; further lines whole, without the runtime's
            prefix, joined by newlines.
        template: The message in the program which wrote it.
        request: The id of the request, if the record shows it.
    """

    file: str
    first: int
    last: int
    service: str
    time: int
    written: int | None
    severity: str | None
    body: str
    template: str
    request: str | None


class _Event(NamedTuple):
    """A message in a program. What stands in braces comes from the flow, else `_DRAW` draws it afresh."""

    level: str  # as the program writes it
    where: str  # logger, source line, user of the database or fields in JSON, as the format wants
    message: str


# ---------------------------------------------------------------------------------------------------------------------
# Stack traces
# ---------------------------------------------------------------------------------------------------------------------

_JARS = {
    "app": "app.jar!/:1.42.0",
    "jdk": "na:na",
    "tomcat": "tomcat-embed-core-10.1.36.jar!/:na",
    "servlet": "tomcat-embed-core-10.1.36.jar!/:6.0",
    "web": "spring-web-6.2.3.jar!/:6.2.3",
    "mvc": "spring-webmvc-6.2.3.jar!/:6.2.3",
    "tx": "spring-tx-6.2.3.jar!/:6.2.3",
    "orm": "spring-orm-6.2.3.jar!/:6.2.3",
    "aop": "spring-aop-6.2.3.jar!/:6.2.3",
    "hibernate": "hibernate-core-6.6.8.Final.jar!/:6.6.8.Final",
    "postgresql": "postgresql-42.7.5.jar!/:42.7.5",
    "hikari": "HikariCP-5.1.0.jar!/:na",
}
_ABBREVIATIONS = {
    "SHOP": "com.example.shop.orders",
    "SPRING": "org.springframework",
    "CATALINA": "org.apache.catalina.core",
    "PG": "org.postgresql",
    "HIBERNATE": "org.hibernate",
}


def _frames(text: str, jars: bool = True) -> str:
    """Frames as the JVM prints them; logback also tells the jar of each.

    Args:
        text: A frame a line: jar, class and method, line number.
        jars: Whether to tell the jars.
    """
    lines = []
    for jar, method, number in (line.split() for line in text.strip().splitlines()):
        for short, package in _ABBREVIATIONS.items():
            method = method.replace(f"{short}.", f"{package}.", 1)
        source = method.split("/")[-1].rsplit(".", 2)[-2].split("$")[0]
        place = {"generated": "<generated>", "unknown": "Unknown Source"}.get(number, f"{source}.java:{number}")
        lines.append(f"\tat {method}({place})" + (f" ~[{_JARS[jar]}]" if jars else ""))
    return "\n".join(lines)


_SERVED = """
jdk java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke 103
jdk java.base/java.lang.reflect.Method.invoke 580
web SPRING.web.method.support.InvocableHandlerMethod.doInvoke 258
web SPRING.web.method.support.InvocableHandlerMethod.invokeForRequest 191
mvc SPRING.web.servlet.mvc.method.annotation.ServletInvocableHandlerMethod.invokeAndHandle 118
mvc SPRING.web.servlet.mvc.method.annotation.RequestMappingHandlerAdapter.invokeHandlerMethod 986
mvc SPRING.web.servlet.mvc.method.annotation.RequestMappingHandlerAdapter.handleInternal 891
mvc SPRING.web.servlet.mvc.method.AbstractHandlerMethodAdapter.handle 87
mvc SPRING.web.servlet.DispatcherServlet.doDispatch 1088
mvc SPRING.web.servlet.DispatcherServlet.doService 978
mvc SPRING.web.servlet.FrameworkServlet.processRequest 1014
mvc SPRING.web.servlet.FrameworkServlet.doPost 914
servlet jakarta.servlet.http.HttpServlet.service 590
mvc SPRING.web.servlet.FrameworkServlet.service 885
servlet jakarta.servlet.http.HttpServlet.service 658
tomcat CATALINA.ApplicationFilterChain.internalDoFilter 195
tomcat CATALINA.ApplicationFilterChain.doFilter 140
web SPRING.web.filter.OncePerRequestFilter.doFilter 116
tomcat CATALINA.StandardWrapperValve.invoke 167
tomcat CATALINA.StandardContextValve.invoke 90
tomcat CATALINA.StandardHostValve.invoke 115
tomcat org.apache.catalina.connector.CoyoteAdapter.service 344
tomcat org.apache.coyote.http11.Http11Processor.service 397
tomcat org.apache.tomcat.util.net.NioEndpoint$SocketProcessor.doRun 1736
tomcat org.apache.tomcat.util.threads.ThreadPoolExecutor$Worker.run 659
jdk java.base/java.lang.Thread.run 1583
"""
_PLACED = f"""
app SHOP.checkout.CheckoutService.place 87
app SHOP.checkout.CheckoutService$$SpringCGLIB$$0.place generated
app SHOP.api.OrderController.create 64
{_SERVED.strip()}
"""
_SAVED = f"""
orm SPRING.orm.jpa.vendor.HibernateJpaDialect.convertHibernateAccessException 281
orm SPRING.orm.jpa.vendor.HibernateJpaDialect.translateExceptionIfPossible 256
tx SPRING.dao.support.PersistenceExceptionTranslationInterceptor.invoke 138
aop SPRING.aop.framework.JdkDynamicAopProxy.invoke 223
app jdk.proxy2/jdk.proxy2.$Proxy187.save unknown
{_PLACED.strip()}
"""
_QUERIED = """
postgresql PG.core.v3.QueryExecutorImpl.receiveErrorResponse 2733
postgresql PG.core.v3.QueryExecutorImpl.processResults 2420
postgresql PG.core.v3.QueryExecutorImpl.execute 372
postgresql PG.jdbc.PgStatement.executeInternal 518
postgresql PG.jdbc.PgPreparedStatement.executeWithFlags 196
postgresql PG.jdbc.PgPreparedStatement.executeUpdate 157
hikari com.zaxxer.hikari.pool.ProxyPreparedStatement.executeUpdate 61
hibernate HIBERNATE.engine.jdbc.internal.ResultSetReturnImpl.executeUpdate 194
"""
_CHARGED = """
web SPRING.web.client.DefaultRestClient$DefaultRequestBodyUriSpec.createResourceAccessException 591
web SPRING.web.client.DefaultRestClient$DefaultRequestBodyUriSpec.exchangeInternal 514
app SHOP.payment.PaymentClient.lambda$charge$2 58
app SHOP.payment.PaymentClient.charge 55
"""
_READ = """
jdk java.base/sun.nio.ch.NioSocketImpl.timedRead 278
jdk java.base/sun.nio.ch.NioSocketImpl.implRead 304
jdk java.base/java.net.Socket$SocketInputStream.read 1099
jdk java.base/sun.net.www.protocol.http.HttpURLConnection.getInputStream 1589
web SPRING.http.client.SimpleClientHttpResponse.getStatusCode 59
"""
_EXPORTED = """
app SHOP.export.CsvExporter.lambda$start$0 41
jdk java.base/java.util.concurrent.CompletableFuture$AsyncRun.run 1804
jdk java.base/java.util.concurrent.ThreadPoolExecutor.runWorker 1144
jdk java.base/java.util.concurrent.ThreadPoolExecutor$Worker.run 642
jdk java.base/java.lang.Thread.run 1583
"""
_OPENED = """
jdk java.base/sun.nio.fs.UnixException.translateToIOException 106
jdk java.base/sun.nio.fs.UnixFileSystemProvider.newByteChannel 261
jdk java.base/java.nio.file.Files.newBufferedWriter 3007
app SHOP.export.CsvExporter.write 63
"""
_HEAP = """
jdk java.base/java.nio.HeapByteBuffer.<init> 71
jdk java.base/java.nio.ByteBuffer.allocate 391
app org.apache.kafka.common.memory.MemoryPool$1.tryAllocate 30
app org.apache.kafka.clients.producer.internals.Sender.run 251
jdk java.base/java.lang.Thread.run 1583
"""

# ---------------------------------------------------------------------------------------------------------------------
# Messages
# ---------------------------------------------------------------------------------------------------------------------

_SHOP, _HIBERNATE = "c.e.shop.orders", "o.h.engine.jdbc.spi.SqlExceptionHelper"
_POOL, _SERVLET = "com.zaxxer.hikari.pool.HikariPool", "o.a.c.c.C.[.[.[/].[dispatcherServlet]"
_ORDERS = {  # level and logger of logback; without a logger it is something else that writes to stdout or stderr
    "received": ("INFO", f"{_SHOP}.api.OrderController", "Order {order} received from customer {user}, {pieces} items"),
    "reserved": ("DEBUG", f"{_SHOP}.stock.StockService", "Reserved {pieces} x {sku} in warehouse {city}"),
    "stock_low": ("WARN", f"{_SHOP}.stock.StockService", "Stock of {sku} in {city} is down to {n}, reorder at 20"),
    "product_read": ("DEBUG", f"{_SHOP}.catalog.ProductService", "Loaded product {sku} in {ms} ms (cache={hit})"),
    "searched": ("INFO", f"{_SHOP}.catalog.SearchService", 'Search for "{word}" found {n} products in {ms} ms'),
    "cart_changed": ("INFO", f"{_SHOP}.cart.CartController", "Cart {uuid}: quantity of {sku} set to {pieces}"),
    "charging": (
        "INFO",
        f"{_SHOP}.payment.PaymentClient",
        "POST http://payments.shop.svc.cluster.local:3000/charges for order {order}, {amount} EUR",
    ),
    "paid": ("INFO", f"{_SHOP}.payment.PaymentClient", "Order {order} paid, charge={charge}, took {ms} ms"),
    "declined": ("WARN", f"{_SHOP}.payment.PaymentClient", "Charge for order {order} declined: {reason}"),
    "placed": ("INFO", f"{_SHOP}.checkout.CheckoutService", "Order {order} placed, confirmation sent to {email}"),
    "order_read": ("DEBUG", f"{_SHOP}.api.OrderController", "Order {order} of customer {user}: status={state}"),
    "order_missing": ("WARN", f"{_SHOP}.api.OrderController", "Order {order} not found for customer {user}"),
    "cancelled": ("INFO", f"{_SHOP}.api.OrderController", "Order {order} cancelled by {name}, refund {amount} EUR"),
    "moved": ("INFO", f"{_SHOP}.customer.AddressService", "Customer {user} moved to '{street} {n}, {zip} {city}'"),
    "unreadable": (
        "WARN",
        ".w.s.m.s.DefaultHandlerExceptionResolver",  # Spring cuts names from the left
        "Resolved [org.springframework.http.converter.HttpMessageNotReadableException: JSON parse error: Unexpected "
        "character ('{char}' (code {code})): was expecting double-quote to start field name]",
    ),
    "charge_failed": (
        "ERROR",
        f"{_SHOP}.payment.PaymentClient",
        "Charge for order {order} failed after {attempt} attempts\n\n"
        "org.springframework.web.client.ResourceAccessException: I/O error on POST request for "
        '"http://payments.shop.svc.cluster.local:3000/charges": Read timed out\n'
        f"{_frames(_CHARGED + _PLACED.lstrip())}\n"
        "Caused by: java.net.SocketTimeoutException: Read timed out\n"
        f"{_frames(_READ)}\n\t... 31 common frames omitted\n",
    ),
    "not_saved": (
        "ERROR",
        _SERVLET,
        "Servlet.service() for servlet [dispatcherServlet] in context with path [] threw exception [Request processing "
        "failed: org.springframework.dao.CannotAcquireLockException: could not execute statement [ERROR: deadlock "
        "detected] [update stock set pieces=pieces-? where sku=?]] with root cause\n\n"
        "org.springframework.dao.CannotAcquireLockException: could not execute statement [ERROR: deadlock detected\n"
        "  Detail: Process {pid} waits for ShareLock on transaction {xid}; blocked by process {pid2}.\n"
        "  Hint: See server log for query details.] [update stock set pieces=pieces-? where sku=?]\n"
        f"{_frames(_SAVED)}\n"
        "Caused by: org.hibernate.exception.LockAcquisitionException: could not execute statement [ERROR: deadlock "
        "detected] [update stock set pieces=pieces-? where sku=?]\n"
        f"{_frames('hibernate HIBERNATE.exception.internal.SQLStateConversionDelegate.convert 128')}\n"
        "\t... 34 common frames omitted\n"
        "Caused by: org.postgresql.util.PSQLException: ERROR: deadlock detected\n"
        f"{_frames(_QUERIED)}\n\t... 52 common frames omitted\n",
    ),
    "sql_state": ("WARN", _HIBERNATE, "SQL Error: 0, SQLState: {sqlstate}"),
    "sql_error": ("ERROR", _HIBERNATE, "ERROR: canceling statement due to statement timeout"),
    "pool": ("DEBUG", _POOL, "HikariPool-1 - Pool stats (total=10, active={pieces}, idle=1, waiting={attempt})"),
    "clock": (
        "WARN",
        _POOL,
        "HikariPool-1 - Thread starvation or clock leap detected (housekeeper delta={s}s{n}ms{n}µs{n}ns).",
    ),
    "carts_expired": ("INFO", f"{_SHOP}.jobs.ExpiredCartJob", "Removed {n} expired carts in {ms} ms"),
    "batch": ("DEBUG", f"{_SHOP}.export.BatchClient", "Sending batch {uuid} to fulfilment: [{many}]"),
    "gc": ("info", "", "GC({n}) Pause Young (Normal) (G1 Evacuation Pause) {mb}M->{n}M(1024M) {ms}ms"),
    "heap": (
        "",
        "",
        'Exception in thread "kafka-producer-network-thread | orders-{attempt}" java.lang.OutOfMemoryError: '
        f"Java heap space\n{_frames(_HEAP, jars=False)}",
    ),
    "export_failed": (
        "",
        "",
        "java.util.concurrent.CompletionException: java.io.UncheckedIOException: export of {day} failed\n"
        f"{_frames(_EXPORTED, jars=False)}\n"
        "Caused by: java.nio.file.NoSuchFileException: /data/export/{day}/orders-{n}.csv\n"
        f"{_frames(_OPENED, jars=False)}\n\t... 4 more",
    ),
}


def _served(request: str, status: str = "{status}") -> tuple[str, str, str]:
    """An access line: no level, whom it was for, and all from the request on."""
    tail = '{bytes} "{referer}" "{agent}" 0.{took} {rid}'
    return "", "{ip} - -", f'"{request} HTTP/1.1" {status} {tail}'


_FROM = ', client: {ip}, server: shop.example.com, request: "'
_HOST = '", host: "shop.example.com"'
_UP = '", upstream: "http://{pod_ip}:8080'
_STOREFRONT = {
    "home": _served("GET /"),
    "script": _served("GET /static/js/{chunk}.{hex8}.js", "{cached}"),
    "image": _served("GET /static/img/{sku}/{n}.webp", "{cached}"),
    "product": _served("GET /api/products/{sku}"),
    "search": _served("GET /api/search?q={query}&page={page}"),
    "cart": _served("PUT /api/cart/items/{sku}"),
    "order": _served("POST /api/orders"),
    "order_shown": _served("GET /api/orders/{order}"),
    "order_cancel": _served("DELETE /api/orders/{order}"),
    "timeout": (
        "error",
        "*{conn} ",
        "upstream timed out (110: Operation timed out) while reading response header from upstream"
        + _FROM + "POST /api/orders HTTP/1.1" + _UP + "/api/orders" + _HOST,
    ),
    "refused": (
        "error",
        "*{conn} ",
        "connect() failed (111: Connection refused) while connecting to upstream"
        + _FROM + "GET /api/products/{sku} HTTP/1.1" + _UP + "/api/products/{sku}" + _HOST,
    ),
    "no_file": (
        "error",
        "*{conn} ",
        'open() "/usr/share/nginx/html/static/img/{sku}/{n}.webp" failed (2: No such file or directory)'
        + _FROM + "GET /static/img/{sku}/{n}.webp HTTP/1.1" + _HOST,
    ),
    "buffered": (
        "warn",
        "*{conn} ",
        "a client request body is buffered to a temporary file /var/cache/nginx/client_temp/{temp}"
        + _FROM + "POST /api/orders HTTP/1.1" + _HOST,
    ),
    "limited": (
        "error",
        "*{conn} ",
        'limiting requests, excess: {excess} by zone "api"' + _FROM + "GET /api/search?q={query} HTTP/1.1" + _HOST,
    ),
    "worker_exited": ("notice", "", "worker process {pid2} exited with code 0"),
    "signal": ("notice", "", "signal 17 (SIGCHLD) received from {pid2}"),
}  # fmt: skip

_EDGE = ', client: {scanner}, server: _, request: "'
_AT = '", host: "{host}"'
_NGINX = {
    "grafana": (
        "",
        "{office} - {admin}",
        '"POST /grafana/api/ds/query?ds_type=prometheus&requestId=Q{n} HTTP/2.0" 200 {bytes} '
        '"https://node-3.example.com/grafana/d/{chunk}?from=now-1h" "{agent}"',
    ),
    "manifest": (
        "",
        "10.42.0.1 - -",
        '"GET /v2/shop/{image}/manifests/{tag} HTTP/1.1" 200 {bytes} "-" "containerd/1.7.25"',
    ),
    "upload": (
        "",
        "{office} - ci",
        '"PATCH /v2/shop/{image}/blobs/uploads/{uuid} HTTP/1.1" 202 0 "-" "docker/27.5.1 go/go1.22.11"',
    ),
    "scan": ("", "{scanner} - -", '"GET /{hole} HTTP/1.1" 404 153 "-" "{agent}"'),
    "garbage": ("", "{scanner} - -", '"\\x16\\x03\\x01\\x00\\xEE\\x01\\x00\\xEA\\x03" 400 157 "-" "-"'),
    "redirect": ("", "{scanner} - -", '"GET / HTTP/1.1" 301 169 "-" "{agent}"'),
    "hole": (
        "error",
        "*{conn} ",
        'open() "/var/www/html/{hole}" failed (2: No such file or directory)' + _EDGE + "GET /{hole} HTTP/1.1" + _AT,
    ),
    "forbidden": ("error", "*{conn} ", "access forbidden by rule" + _EDGE + "GET /metrics HTTP/1.1" + _AT),
    "too_large": (
        "error",
        "*{conn} ",
        "client intended to send too large body: {size} bytes" + _EDGE + "PUT /v2/shop/{image} HTTP/1.1" + _AT,
    ),
    "closed": (
        "error",
        "*{conn} ",
        "upstream prematurely closed connection while reading response header from upstream"
        + _EDGE + 'POST /grafana/api/ds/query HTTP/2.0", upstream: "http://127.0.0.1:3000/grafana/api/ds/query' + _AT,
    ),
    "handshake": (
        "crit",
        "*{conn} ",
        "SSL_do_handshake() failed (SSL: error:0A00006C:SSL routines::bad key share) while SSL handshaking, "
        "client: {scanner}, server: 0.0.0.0:443",
    ),
    "no_certificate": (
        "warn",
        "",
        '"ssl_stapling" ignored, no OCSP responder URL in the certificate "/etc/ssl/{host}.pem"',
    ),
}  # fmt: skip

_BELONGING = ("DETAIL:", "HINT:", "CONTEXT:", "STATEMENT:")
_APP = "app@shop"
_BY_ORDERS = "/* orders request_id={rid} */"
_POSTGRES = {  # `where` is user and database
    "product": (
        "LOG",
        _APP,
        "duration: {sql_ms} ms  execute S_{n}: select p.sku, p.title, p.price\n"
        "from products p\nwhere p.sku = $1 " + _BY_ORDERS + "\nDETAIL:  Parameters: $1 = '{sku}'",
    ),
    "search": (
        "LOG",
        _APP,
        "duration: {sql_ms} ms  execute <unnamed>: select p.sku, ts_rank(p.words, q) as rank\n"
        "from products p,\n     plainto_tsquery('german', $1) q\nwhere p.words @@ q\n"
        "order by rank desc\nlimit 20 " + _BY_ORDERS + "\nDETAIL:  Parameters: $1 = '{word}'",
    ),
    "cart": (
        "LOG",
        _APP,
        "duration: {sql_ms} ms  execute S_{n}: update cart_items set pieces=$1 where cart=$2 and sku=$3 " + _BY_ORDERS
        + "\nDETAIL:  Parameters: $1 = '{pieces}', $2 = '{uuid}', $3 = '{sku}'",
    ),
    "order": (
        "LOG",
        _APP,
        "duration: {sql_ms} ms  execute S_{n}: insert into orders (id, customer, total, state)\n"
        "values ($1, $2, $3, $4) " + _BY_ORDERS
        + "\nDETAIL:  Parameters: $1 = '{order}', $2 = '{user}', $3 = '{amount}', $4 = 'new'",
    ),
    "charge": (
        "LOG",
        "payments@shop",
        "duration: {sql_ms} ms  statement: INSERT INTO charges (id, order_id, amount) "
        "VALUES ('{charge}', {order}, {amount}) /*app='payments',request_id='{rid}'*/",
    ),
    "report": (
        "LOG",
        "report@shop",
        "duration: {sql_ms} ms  statement: \n\tSELECT date_trunc('hour', placed_at) AS hour,\n"
        "\t       count(*), sum(total)\n\tFROM orders\n\tWHERE placed_at > now() - interval '{n} hours'\n"
        "\tGROUP BY 1\n\tORDER BY 1;",
    ),
    "temporary": (
        "LOG",
        "report@shop",
        'temporary file: path "base/pgsql_tmp/pgsql_tmp{pid2}.{n}", size {size}\n'
        "STATEMENT:  SELECT customer, sum(total) FROM orders GROUP BY customer ORDER BY 2 DESC",
    ),
    "duplicate": (
        "ERROR",
        "payments@shop",
        'duplicate key value violates unique constraint "charges_order_id_key"\n'
        "DETAIL:  Key (order_id)=({order}) already exists.\nSTATEMENT:  INSERT INTO charges (id, order_id, amount) "
        "VALUES ('{charge}', {order}, {amount}) /*app='payments',request_id='{rid}'*/",
    ),
    "deadlock": (
        "ERROR",
        _APP,
        "deadlock detected\n"
        "DETAIL:  Process {pid} waits for ShareLock on transaction {xid}; blocked by process {pid2}.\n"
        "Process {pid2} waits for ShareLock on transaction {xid2}; blocked by process {pid}.\n"
        "Process {pid}: update stock set pieces=pieces-$1 where sku=$2 " + _BY_ORDERS + "\n"
        "Process {pid2}: update stock set pieces=pieces-$1 where sku=$2\n"
        "HINT:  See server log for query details.\n"
        'CONTEXT:  while updating tuple ({n},{pieces}) in relation "stock"\n'
        "STATEMENT:  update stock set pieces=pieces-$1 where sku=$2 " + _BY_ORDERS,
    ),
    "cancelled": (
        "ERROR",
        _APP,
        "canceling statement due to statement timeout\nSTATEMENT:  select o.id, o.state, i.sku, i.pieces\n"
        "from orders o\njoin order_items i on i.order_id = o.id\nwhere o.id = $1 " + _BY_ORDERS,
    ),
    "received": ("LOG", "[unknown]@[unknown]", "connection received: host={pod_ip} port={port}"),
    "authorized": ("LOG", _APP, "connection authorized: user=app database=shop application_name={client}"),
    "disconnected": (
        "LOG",
        _APP,
        "disconnection: session time: 0:{minutes}:{seconds} user=app database=shop host={pod_ip} port={port}",
    ),
    "password": (
        "FATAL",
        "{login}@postgres",
        'password authentication failed for user "{login}"\n'
        'DETAIL:  Role "{login}" does not exist.\n'
        'Connection matched file "/etc/postgresql/16/main/pg_hba.conf" line 125: "host all all 10.0.0.0/8 '
        'scram-sha-256"',
    ),
    "checkpoint": ("LOG", "", "checkpoint starting: time"),
    "checkpointed": (
        "LOG",
        "",
        "checkpoint complete: wrote {size} buffers ({excess}%); 0 WAL file(s) added, 0 removed, {pieces} recycled; "
        "write={ms} s, sync=0.{n} s, total={ms} s; sync files={n}, longest=0.{n} s, average=0.001 s; "
        "distance={size} kB, estimate={size} kB",
    ),
    "vacuumed": (
        "LOG",
        "",
        'automatic vacuum of table "shop.public.{table}": index scans: {pieces}\n'
        "pages: 0 removed, {size} remain, {n} scanned ({excess}% of total)\n"
        "tuples: {n} removed, {size} remain, 0 are dead but not yet removable\n"
        "avg read rate: {ms} MB/s, avg write rate: {ms} MB/s\n"
        "system usage: CPU: user: 0.{n} s, system: 0.{n} s, elapsed: {ms} s",
    ),
}  # fmt: skip

_SHIPMENT = 'shipment="shop/ship-{order}" requestID="{rid}"'
_PANIC = """Observed a panic: "invalid memory address or nil pointer dereference" (runtime error: invalid address)
goroutine {code} [running]:
k8s.io/apimachinery/pkg/util/runtime.logPanic({{0x1a3f2c0, 0x{hex8}}})
\t/go/pkg/mod/k8s.io/apimachinery@v0.31.2/pkg/util/runtime/runtime.go:107 +0xbc
panic({{0x1a3f2c0?, 0x{hex8}?}})
\t/usr/local/go/src/runtime/panic.go:770 +0x132
shop.example.com/fulfilment/internal/carrier.(*Client).Book(0x0, {{0x1d0f5b8, 0xc000{hex8}}})
\t/src/internal/carrier/client.go:88 +0x2d
created by sigs.k8s.io/controller-runtime/pkg/internal/controller.(*Controller).Start.func2 in goroutine {n}
\t/go/pkg/mod/sigs.k8s.io/controller-runtime@v0.19.1/pkg/internal/controller/controller.go:220 +0x490"""
_FULFILMENT = {  # level and source line of klog
    "reconciling": ("I", "shipment_controller.go:71", '"Reconciling" ' + _SHIPMENT),
    "created": ("I", "shipment_controller.go:118", '"Created" object="shop/label-{hex8}" kind="Job" ' + _SHIPMENT),
    "label": ("I", "carrier.go:52", "Label {label} of {carrier} printed for request {rid}, {pieces} parcels"),
    "reconciled": ("I", "shipment_controller.go:164", '"Reconciled" ' + _SHIPMENT + ' duration="{ms}ms"'),
    "requeued": ("I", "shipment_controller.go:140", '"Requeueing" ' + _SHIPMENT + ' after="{s}s"'),
    "deleted": ("I", "shipment_controller.go:93", '"Deleted" ' + _SHIPMENT + " finalizers=[]"),
    "slow": ("W", "carrier.go:77", '"Carrier API is slow" carrier="{carrier}" latency="{s}.{n}s" requestID="{rid}"'),
    "conflict": (
        "E",
        "controller.go:316",
        '"Reconciler error" err="Operation cannot be fulfilled on shipments.shop.example.com \\"ship-{order}\\": '
        'the object has been modified; please apply your changes to the latest version and try again" ' + _SHIPMENT,
    ),
    "panic": ("E", "runtime.go:79", _PANIC),
    "watch": (
        "W",
        "reflector.go:561",
        "k8s.io/client-go/informers/factory.go:160: watch of *v1.{kind} ended with: too old resource version: "
        "{size} ({size})",
    ),
    "throttled": (
        "I",
        "request.go:700",
        "Waited for {s}.{n}s due to client-side throttling, not priority and fairness, "
        "request: GET:https://10.96.0.1:443/apis/{group}/v1?timeout=32s",
    ),
    "lock": (
        "E",
        "leaderelection.go:436",
        "error retrieving resource lock shop/fulfilment: Get "
        '"https://10.96.0.1:443/apis/coordination.k8s.io/v1/namespaces/shop/leases/fulfilment?timeout={s}s": '
        "context deadline exceeded",
    ),
    "lost": ("F", "main.go:131", "leaderelection lost"),
    "lease": ("I", "leaderelection.go:268", "successfully acquired lease shop/fulfilment"),
}

_REQ = (
    '"reqId":"{rid}","req":{{"method":"POST","url":"/charges","host":"payments.shop.svc.cluster.local:3000",'
    '"remoteAddress":"{pod_ip}","remotePort":{port}}},'
)
_STACK = (
    '"err":{{"type":"{error}","message":"{provider} did not answer","stack":"{error}: {provider} did not answer\\n'
    "    at Timeout._onTimeout (/app/dist/provider.js:112:21)\\n    at listOnTimeout (node:internal/timers:581:17)\\n"
    '    at process.processTimers (node:internal/timers:519:7)"}},'
)
_ID = '"reqId":"{rid}",'
_PAYMENTS = {  # pino's level, and what stands in the JSON before `msg`
    "incoming": ("30", _REQ, "incoming request"),
    "risk": ("20", _ID + '"rules":["velocity","country"],', "risk score {score} for order {order}"),
    "created": ("30", _ID, "charge {charge} of {amount} EUR created with {provider}"),
    "captured": ("30", _ID, "charge {charge} captured after {ms} ms"),
    "declined": ("40", _ID + '"code":"{reason}",', "card ending in {code} declined by {provider}"),
    "retry": ("40", _ID + '"attempt":{attempt},', "no answer from {provider} within {timeout} ms, trying again"),
    "failed": ("50", _ID + _STACK, "charge for order {order} failed"),
    "duplicate": ("50", _ID, 'charge for order {order} exists: "charges_order_id_key"'),
    "refunded": ("30", _ID, "refund of {amount} EUR for order {order} booked for {name}"),
    "completed": ("30", _ID + '"res":{{"statusCode":{status}}},"responseTime":{ms}{n},', "request completed"),
    "webhook": ("30", '"delivery":"{uuid}",', "webhook {hook} of {provider} verified"),
    "webhooks": ("20", '"events":[{many}],', "batch of webhooks from {provider}"),
    "cached": ("10", "", "rate {currency}/EUR read from cache, {s} s old"),
    "rates": ("30", "", "{n} exchange rates refreshed from {provider} in {ms} ms"),
    "lag": ("40", '"lag":{ms},', "event loop lagged by {ms} ms"),
    "uncaught": ("60", _STACK, "uncaught exception, exiting"),
    "listeners": (  # node itself, to stderr
        "Warning",
        "",
        "Possible EventEmitter memory leak detected. {n} close listeners added to [TLSSocket]. MaxListeners is 10. Use "
        "emitter.setMaxListeners() to increase limit",
    ),
}

_SSHD = {
    "accepted": ("", "", "Accepted publickey for {admin} from {office} port {port} ssh2: ED25519 SHA256:{sha}"),
    "opened": ("", "", "pam_unix(sshd:session): session opened for user {admin}(uid=1001) by (uid=0)"),
    "closed": ("", "", "pam_unix(sshd:session): session closed for user {admin}"),
    "disconnected": ("", "", "Received disconnect from {office} port {port}:11: disconnected by user"),
    "invalid": ("", "", "Invalid user {login} from {scanner} port {port}"),
    "failed": ("", "", "Failed password for invalid user {login} from {scanner} port {port} ssh2"),
    "repeated": (
        "",
        "",
        "message repeated {attempt} times: [ Failed password for root from {scanner} port {port} ssh2]",
    ),
}
_SYSTEMD = {
    "session": ("", "", "Started session-{session}.scope - Session {session} of User {admin}."),
    "starting": ("", "", "Starting {unit}.service - {does}..."),
    "finished": ("", "", "Finished {unit}.service - {does}."),
    "unmounted": ("", "", "run-containerd-runc-k8s.io-{hex64}-runc.{hex8}.mount: Deactivated successfully."),
    "exited": ("", "", "{unit}.service: Main process exited, code=exited, status={attempt}/FAILURE"),
}
_KERNEL = {
    "renamed": ("", "", "eth0: renamed from veth{hex8}"),
    "forwarding": ("", "", "cni0: port {n}(veth{hex8}) entered forwarding state"),
    "killed": (
        "",
        "",
        "Memory cgroup out of memory: Killed process {pid2} ({image}) total-vm:{size}kB, anon-rss:{size}kB, "
        "file-rss:{n}kB, shmem-rss:0kB, UID:1000 pgtables:{n}kB oom_score_adj:{code}",
    ),
    "blocked": (
        "",
        "",
        "[UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:ab:cd:ef:08:00 SRC={scanner} DST=192.168.7.13 LEN=40 "
        "TOS=0x00 PREC=0x00 TTL={n} ID={code} PROTO=TCP SPT={port} DPT={code} WINDOW=1024 RES=0x00 SYN URGP=0",
    ),
    "flooded": ("", "", "TCP: request_sock_TCP: Possible SYN flooding on port {code}. Sending cookies."),
}
_CRON = {
    "opened": ("", "", "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"),
    "command": ("", "", "(root) CMD ({script})"),
}
_DOCKERD = {  # `where` follows the message
    "deleted": (
        "info",
        ' container={hex64} module=libcontainerd namespace=moby topic=/tasks/delete type="*events.TaskDelete"',
        "ignoring event",
    ),
    "unpulled": (
        "error",
        "",
        'Not continuing with pull after error: manifest of shop/{image} with tag "{tag}" not found',
    ),
    "resolver": (
        "warning",
        ' error="read udp 172.17.0.{n}:{port}->10.96.0.10:53: i/o timeout"',
        "[resolver] failed to query external DNS server",
    ),
}

_MESSAGES: dict[str, dict[str, tuple[str, str, str]]] = {
    "orders": _ORDERS,
    "storefront": _STOREFRONT,
    "nginx": _NGINX,
    "postgresql": _POSTGRES,
    "fulfilment-controller": _FULFILMENT,
    "payments": _PAYMENTS,
    "sshd": _SSHD,
    "systemd": _SYSTEMD,
    "kernel": _KERNEL,
    "cron": _CRON,
    "dockerd": _DOCKERD,
}
_EVENTS = {
    f"{service}.{event}": _Event(*parts) for service, events in _MESSAGES.items() for event, parts in events.items()
}
TEMPLATES = {service: len(events) for service, events in _MESSAGES.items()}

_SEVERITY: dict[str, str | None] = {
    "": None, "TRACE": "TRACE", "DEBUG": "DEBUG", "INFO": "INFO", "WARN": "WARN", "ERROR": "ERROR", "FATAL": "FATAL",
    "LOG": "INFO",
    "I": "INFO", "W": "WARN", "E": "ERROR", "F": "FATAL",
    "10": "TRACE", "20": "DEBUG", "30": "INFO", "40": "WARN", "50": "ERROR", "60": "FATAL", "Warning": "WARN",
    "info": "INFO", "notice": "INFO", "warn": "WARN", "warning": "WARN", "error": "ERROR", "crit": "ERROR",
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------------------------
# Flows: what is written one after another, as "template wait odds": mean wait before it in ms, and how often it is
# written, if not always. An access line comes last, since nginx writes it when all is done.
# ---------------------------------------------------------------------------------------------------------------------

_CHARGE = """
    orders.received 3 | orders.reserved 6 | orders.reserved 4 60% | orders.stock_low 1 8% | orders.charging 2 |
    payments.incoming 2 | payments.risk 7 | payments.cached 1 30%
"""
_REQUESTS: dict[str, tuple[float, int, str]] = {  # how often, status, flow
    "home": (7, 200, "storefront.home 4"),
    "script": (12, 200, "storefront.script 1"),
    "image": (16, 200, "storefront.image 1"),
    "no image": (0.5, 404, "storefront.no_file 1"),
    "product": (15, 200, "orders.product_read 4 | postgresql.product 6 20% | storefront.product 3"),
    "search": (9, 200, "orders.searched 30 | postgresql.search 5 50% | storefront.search 3"),
    "cart": (7, 200, "orders.cart_changed 5 | orders.stock_low 2 4% | postgresql.cart 6 60% | storefront.cart 3"),
    "checkout": (
        7,
        201,
        f"""{_CHARGE} | payments.created 40 | postgresql.charge 8 50% | payments.captured 180 | payments.completed 3 |
        orders.paid 2 | postgresql.order 7 70% | orders.placed 4 | storefront.buffered 1 3% | storefront.order 3 |
        fulfilment-controller.reconciling 15 | fulfilment-controller.created 30 |
        fulfilment-controller.slow 900 4% | fulfilment-controller.label 120 |
        fulfilment-controller.conflict 9 4% | fulfilment-controller.requeued 1 8% |
        fulfilment-controller.reconciled 20""",
    ),
    "address": (1, 200, "orders.moved 9 | storefront.order_shown 2"),
    "order shown": (6, 200, "orders.order_read 6 | postgresql.order 9 10% | storefront.order_shown 3"),
    "order missing": (0.5, 404, "orders.order_missing 6 | storefront.order_shown 3"),
    "cancel": (
        1,
        204,
        """orders.order_read 5 | payments.incoming 4 | payments.refunded 160 | payments.completed 2 |
        orders.cancelled 3 | storefront.order_cancel 3 | fulfilment-controller.deleted 40""",
    ),
    "declined": (
        0.7,
        402,
        f"{_CHARGE} | payments.declined 250 | payments.completed 2 | orders.declined 2 | storefront.order 3",
    ),
    "provider down": (
        0.15,
        504,
        f"""{_CHARGE} | payments.retry 2000 | payments.retry 2000 80% | payments.failed 2000 |
        payments.completed 1 | orders.charge_failed 1 | storefront.timeout 2 50% | storefront.order 3""",
    ),
    "double": (
        0.1,
        409,
        f"""{_CHARGE} | postgresql.duplicate 9 | payments.duplicate 2 | payments.completed 1 |
        orders.declined 2 | storefront.order 3""",
    ),
    "deadlock": (
        0.15,
        500,
        "orders.received 3 | postgresql.deadlock 1000 | orders.not_saved 4 | storefront.order 3",
    ),
    "slow database": (
        0.12,
        500,
        "postgresql.cancelled 5000 | orders.sql_state 3 | orders.sql_error 1 | storefront.order_shown 3",
    ),
    "unreadable": (0.3, 400, "orders.unreadable 2 | storefront.order 1"),
    "limited": (0.3, 503, "storefront.limited 0 | storefront.search 0"),
    "refused": (0.1, 502, "storefront.refused 1 | storefront.product 0"),
}
_BACKGROUND: dict[str, tuple[float, str]] = {
    "gc": (3, "orders.gc 0"),
    "pool": (2, "orders.pool 0 | orders.clock 0 2%"),
    "carts": (0.3, "orders.carts_expired 0"),
    "batch": (0.05, "orders.batch 0"),
    "heap": (0.03, "orders.heap 0"),
    "export": (0.05, "orders.export_failed 0"),
    "worker": (0.05, "storefront.signal 0 | storefront.worker_exited 1"),
    "grafana": (5, "nginx.grafana 0 | nginx.closed 0 1%"),
    "pull": (1, "nginx.manifest 0 | dockerd.unpulled 5 5%"),
    "push": (0.3, "nginx.upload 0 | nginx.too_large 1 5%"),
    "scan": (1, "nginx.hole 0 | nginx.scan 0"),
    "probe": (0.4, "nginx.garbage 0 50% | nginx.handshake 0 30% | nginx.redirect 9 60% | nginx.forbidden 9 20%"),
    "reload": (0.02, "nginx.no_certificate 0"),
    "connection": (1, "postgresql.received 0 | postgresql.authorized 4 | postgresql.disconnected 40000"),
    "report": (0.1, "postgresql.report 0 | postgresql.temporary 30 60%"),
    "password": (0.1, "postgresql.password 0"),
    "checkpoint": (0.1, "postgresql.checkpoint 0 | postgresql.checkpointed 30000"),
    "vacuum": (0.1, "postgresql.vacuumed 0"),
    "watch": (0.4, "fulfilment-controller.watch 0 | fulfilment-controller.throttled 900 40%"),
    "lock": (0.05, "fulfilment-controller.lock 0 | fulfilment-controller.lost 9000 10%"),
    "lease": (0.02, "fulfilment-controller.lease 0"),
    "panic": (0.02, "fulfilment-controller.panic 0"),
    "webhook": (2, "payments.webhook 0"),
    "webhooks": (0.05, "payments.webhooks 0"),
    "rates": (0.3, "payments.rates 0"),
    "lag": (0.2, "payments.lag 0"),
    "crash": (0.02, "payments.uncaught 0"),
    "listeners": (0.03, "payments.listeners 0"),
    "login": (0.4, "sshd.accepted 0 | sshd.opened 9 | systemd.session 9 | sshd.disconnected 90000 | sshd.closed 1"),
    "guess": (1, "sshd.invalid 0 | sshd.failed 2000 | sshd.repeated 6000 20%"),
    "unit": (0.3, "systemd.starting 0 | systemd.exited 800 4% | systemd.finished 900"),
    "cron": (0.5, "cron.opened 0 | cron.command 2"),
    "probe run": (1, "systemd.unmounted 0"),
    "pod": (0.3, "kernel.renamed 0 | kernel.forwarding 4 | dockerd.deleted 900 50%"),
    "killed": (0.03, "kernel.killed 0"),
    "blocked": (1, "kernel.blocked 0"),
    "flooded": (0.03, "kernel.flooded 0"),
    "resolver": (0.1, "dockerd.resolver 0"),
}

_Flow = tuple[tuple[str, float, float], ...]  # template, mean wait in ns, odds


def _flow(text: str) -> _Flow:
    steps = (step.split() for step in text.split("|"))
    return tuple(
        (template, float(wait) * _MS, float(odds[0].rstrip("%")) / 100 if odds else 1)
        for template, wait, *odds in steps
    )


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------


_COMMON = {
    "admin", "amount", "charge", "city", "day", "does", "hole", "image", "ip", "login", "name", "office", "order",
    "pid", "pid2", "pod_ip", "port", "provider", "reason", "scanner", "session", "sku", "tag", "unit", "user", "word",
    "xid", "xid2",
}  # fmt: skip


class _Values(dict[str, object]):
    """What the records of a flow have in common; all else is drawn afresh each time."""

    __slots__ = ("bits", "random")

    def __init__(self, rng: random.Random, **common: object) -> None:
        super().__init__(common)
        self.random, self.bits = rng.random, rng.getrandbits

    def __missing__(self, name: str) -> object:
        value = _DRAW[name](self)
        if name in _COMMON:
            self[name] = value
        return value


_Draw = Callable[[_Values], object]


def _number(least: int, largest: int) -> _Draw:
    span = largest - least + 1
    return lambda v: least + int(v.random() * span)


def _word(*words: object) -> _Draw:
    n = len(words)
    return lambda v: words[int(v.random() * n)]


def _hex(digits: int) -> _Draw:
    return lambda v: f"{v.bits(4 * digits):0{digits}x}"


def _uuid(v: _Values) -> str:
    digits = f"{v.bits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _many(v: _Values) -> str:
    """So many objects that the line gets too long for containerd, mostly."""
    line = '{{"sku":"SKU-{code}","pieces":{pieces},"title":"{title}","price":{n}.99}}'
    return ",".join(line.format_map(v) for _ in range(200 + int(v.random() * 500)))


def _name(v: _Values) -> str:
    return f"{v['first_name']} {v['last_name']}"


def _email(v: _Values) -> str:
    return f"{v['mailbox']}{v['n']}@{v['mail_host']}"


_FIRST_NAMES = ("Jürgen", "Zoë", "Łukasz", "Anna", "Fatou", "Hugo", "Deniz", "Mei", "Carla", "Søren")
_LAST_NAMES = ("Groß", "Müller", "Costa", "Dupont", "Eriksen", "Novák", "O'Neill", "Rossi", "Silva", "Yıldız")  # noqa: RUF001
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "curl/8.5.0",
)
_UNITS = {
    "logrotate": "Rotate log files",
    "apt-daily": "Daily apt download activities",
    "motd-news": "Message of the Day",
    "fstrim": "Discard unused blocks on filesystems from /etc/fstab",
    "backup": "Nightly backup of /srv",
}
_DRAW: dict[str, _Draw] = {
    "admin": _word("deploy", "anna", "ops"),
    "agent": _word(*_AGENTS),
    "amount": lambda v: f"{5 + v.random() * 400:.2f}",
    "attempt": _number(2, 5),
    "bytes": lambda v: int(120 * 400 ** v.random()),
    "cached": _word(200, 200, 200, 304),
    "carrier": _word("dhl", "dpd", "ups", "gls", "hermes"),
    "char": _word("}", "n", "<", "'", "a"),
    "charge": lambda v: f"ch_{v.bits(72):018x}",
    "chunk": _word("main", "vendor", "cart", "checkout", "search"),
    "city": _word("Hamburg", "Köln", "Lyon", "Porto", "Gdańsk", "Turin", "Graz", "Zürich"),
    "client": _word("orders", "payments", "report", "psql"),
    "code": _number(100, 9999),
    "conn": _number(1000, 999_999),
    "currency": _word("USD", "GBP", "PLN", "CHF", "SEK"),
    "day": lambda v: f"2025-03-{1 + int(v.random() * 5):02}",
    "does": lambda v: _UNITS[str(v["unit"])],
    "email": _email,
    "error": _word("TimeoutError", "FetchError", "ProviderError"),
    "excess": lambda v: f"{v.random() * 60:.1f}",
    "first_name": _word(*_FIRST_NAMES),
    "group": _word("apps", "batch", "shop.example.com", "coordination.k8s.io", "networking.k8s.io"),
    "hex64": _hex(64),
    "hex8": _hex(8),
    "hit": _word("hit", "hit", "miss"),
    "hole": _word(".env", "wp-login.php", ".git/config", "phpmyadmin/index.php", "cgi-bin/luci", "actuator/env"),
    "hook": _word("charge.captured", "charge.refunded", "payout.paid", "dispute.created"),
    "host": _word("node-3.example.com", "198.51.100.7", "registry.example.com"),
    "image": _word("orders", "payments", "storefront", "fulfilment"),
    "ip": lambda v: f"{20 + int(v.random() * 180)}.{v.bits(8)}.{v.bits(8)}.{1 + int(v.random() * 254)}",
    "kind": _word("Pod", "Job", "ConfigMap", "Secret", "Lease"),
    "label": lambda v: f"{v.bits(40) % 10**12:012}",
    "last_name": _word(*_LAST_NAMES),
    "login": _word("admin", "test", "oracle", "ubuntu", "git", "postgres1", "ftpuser"),
    "mail_host": _word("example.com", "mail.example.org", "example.net"),
    "mailbox": _word("anna", "j.gross", "zoe", "lukasz", "info", "einkauf"),
    "many": _many,
    "mb": _number(400, 1000),
    "minutes": lambda v: f"{int(v.random() * 60):02}",
    "ms": lambda v: f"{0.4 * 2000 ** v.random():.1f}",
    "n": _number(1, 254),
    "name": _name,
    "office": lambda v: f"10.8.0.{2 + int(v.random() * 30)}",
    "order": _number(100_000, 9_999_999),
    "page": _number(1, 9),
    "pid": _number(1000, 99_999),
    "pid2": _number(1000, 99_999),
    "pieces": _number(1, 9),
    "pod_ip": lambda v: f"10.42.1.{2 + int(v.random() * 250)}",
    "port": _number(32_768, 60_999),
    "provider": _word("stripe", "adyen", "klarna"),
    "query": lambda v: quote(str(v["word"])),
    "reason": _word("insufficient_funds", "expired_card", "do_not_honor", "lost_card", "incorrect_cvc"),
    "referer": _word(
        "-", "-", "https://shop.example.com/", "https://shop.example.com/search", "https://www.google.com/"
    ),
    "s": _number(1, 59),
    "scanner": lambda v: f"{45 + int(v.random() * 150)}.{v.bits(8)}.{v.bits(8)}.{v.bits(8)}",
    "score": lambda v: f"{v.random():.3f}",
    "script": _word(
        "cd / && run-parts --report /etc/cron.hourly", "/usr/local/bin/backup --quick", "test -x /usr/sbin/x"
    ),
    "seconds": lambda v: f"{v.random() * 60:06.3f}",
    "session": _number(100, 9999),
    "sha": lambda v: b64encode(v.bits(256).to_bytes(32)).decode().rstrip("="),
    "size": lambda v: int(1000 * 9000 ** v.random()),
    "sku": lambda v: f"SKU-{1000 + int(v.random() * 9000)}-{'ABCD'[v.bits(2)]}",
    "sql_ms": lambda v: f"{50 * 60 ** v.random():.3f}",
    "sqlstate": _word("57014", "40P01", "08006"),
    "state": _word("new", "paid", "packed", "shipped", "cancelled"),
    "street": _word("Hauptstraße", "Rue de la Paix", "Via Roma", "Lindenallee", "Długa", "Rua Augusta"),
    "table": _word("orders", "stock", "cart_items", "charges"),
    "tag": lambda v: f"1.{int(v.random() * 60)}.{int(v.random() * 9)}",
    "temp": lambda v: f"{int(v.random() * 10**7):010}",
    "timeout": _word(1000, 2000, 5000),
    "took": _number(100, 999),
    "title": _word("Stehlampe groß", "Küchentisch", "Regal, weiß", "Office chair", "Vase", "Teppich 200x300"),
    "unit": _word(*_UNITS),
    "user": _number(1000, 99_999),
    "uuid": _uuid,
    "word": _word("lamp", "café table", "desk", "Stühle", "oak shelf", "rug 200x300", "vase", "kettle"),
    "xid": _number(700_000, 999_999),
    "xid2": _number(700_000, 999_999),
    "zip": _number(10_000, 99_999),
}

# ---------------------------------------------------------------------------------------------------------------------
# Formats
# ---------------------------------------------------------------------------------------------------------------------


class _Lines(NamedTuple):
    """A record as the program writes it."""

    time: int | None  # ns, as the text tells it
    text: str
    body: str


@lru_cache(maxsize=50_000)
def _clock(second: int, form: str) -> str:
    """A second as text."""
    time = datetime.fromtimestamp(second, UTC)
    return time.strftime(form.replace("%e", f"{time.day:2}"))


def _logback(event: _Event, at: int, values: _Values) -> _Lines:
    """Spring Boot's console format with the request's id, in a container whose time zone is Berlin's."""
    body = event.message.format_map(values)
    if not event.where:
        uptime = f"[{(at - _BOOT) / _S:.3f}s][info][gc] " if event.level else ""
        return _Lines(None, uptime + body, body)
    second, ns = divmod(at, _S)
    text = (
        f"{_clock(second + 3600, '%Y-%m-%dT%H:%M:%S')}.{ns // _MS:03}+01:00 {event.level:>5} 1 --- [orders] "
        f"[{values['thread']:>15}] [{values['rid']}] {event.where:<40} : {body}"
    )
    return _Lines(at - ns % _MS, text, body)


def _nginx(event: _Event, at: int, values: _Values) -> _Lines:
    """Combined access lines, and the error log."""
    second = at // _S
    if event.level:
        pid = 29 + int(values.random() * 4)
        body = event.message.format_map(values)
        where = event.where.format_map(values)
        text = f"{_clock(second, '%Y/%m/%d %H:%M:%S')} [{event.level}] {pid}#{pid}: {where}{body}"
        return _Lines(second * _S, text, body)
    body = event.message.format_map(values)
    who = event.where.format_map(values)
    return _Lines(second * _S, f"{who} [{_clock(second, '%d/%b/%Y:%H:%M:%S +0000')}] {body}", body)


def _postgres(event: _Event, at: int, values: _Values) -> _Lines:
    """Debian's `log_line_prefix`. What belongs to a message has lines of its own with the same prefix."""
    second, ns = divmod(at, _S)
    who = event.where.format_map(values)
    start = f"{_clock(second, '%Y-%m-%d %H:%M:%S')}.{ns // _MS:03} UTC [{values['pid']}] {who}{' ' if who else ''}"
    first, *more = event.message.format_map(values).split("\n")
    body = "\n".join([first, *((start if line.startswith(_BELONGING) else "\t") + line for line in more)])
    return _Lines(at - ns % _MS, f"{start}{event.level}:  {body}", body)


def _klog(event: _Event, at: int, values: _Values) -> _Lines:
    second, ns = divmod(at, _S)
    body = event.message.format_map(values)
    text = f"{event.level}{_clock(second, '%m%d %H:%M:%S')}.{ns // 1000:06}       1 {event.where}] {body}"
    return _Lines(at - ns % 1000, text, body)


def _pino(event: _Event, at: int, values: _Values) -> _Lines:
    body = event.message.format_map(values)
    if event.level == "Warning":
        return _Lines(None, f"(node:1) MaxListenersExceededWarning: {body}", body)
    text = (
        f'{{"level":{event.level},"time":{at // _MS},"pid":1,"hostname":"payments-84d6f7c9b5-hw4tj",'
        f'{event.where.format_map(values)}"msg":{_JSON(body)}}}'
    )
    return _Lines(at - at % _MS, text, body)


def _syslog(program: str) -> Callable[[_Event, int, _Values], _Lines]:
    """RFC 3164, as rsyslog writes it to a file."""

    def lines(event: _Event, at: int, values: _Values) -> _Lines:
        second, ns = divmod(at, _S)
        body = event.message.format_map(values)
        start = f"{_clock(second, '%b %e %H:%M:%S')} node-3 "
        if program == "kernel":
            return _Lines(second * _S, f"{start}kernel: [{(at - _BOOT) / _S:12.6f}] {body}", body)
        if program == "dockerd":
            inner = f"{_clock(second, '%Y-%m-%dT%H:%M:%S')}.{ns:09}Z"
            where = event.where.format_map(values)
            text = f'{start}dockerd[812]: time="{inner}" level={event.level} msg={_JSON(body)}{where}'
            return _Lines(at, text, body)
        pid = 1 if program == "systemd" else values["pid"]
        return _Lines(second * _S, f"{start}{'CRON' if program == 'cron' else program}[{pid}]: {body}", body)

    return lines


_FORMATS: dict[str, Callable[[_Event, int, _Values], _Lines]] = {
    "orders": _logback,
    "storefront": _nginx,
    "nginx": _nginx,
    "postgresql": _postgres,
    "fulfilment-controller": _klog,
    "payments": _pino,
    **{program: _syslog(program) for program in ("sshd", "systemd", "kernel", "cron", "dockerd")},
}

# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


class _Record(NamedTuple):
    """A record on its way to a file."""

    written: int  # ns; the order in the file
    stream: str
    service: str
    template: str
    severity: str | None
    request: str | None
    lines: _Lines


class _File:
    """A log file that grows, and the truth about it.

    Args:
        folder: Where the file is.
        path: Its path in there.
        truth: Where the truth about it goes.
        rng: Where chance comes from.
        wrapped: Whether a container runtime writes it.
    """

    def __init__(self, folder: Path, path: str, truth: Path, rng: random.Random, wrapped: bool) -> None:
        self.path, self.rng, self.wrapped = path, rng, wrapped
        self.place, self.truth_place = folder / path, truth
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.truth = self.place.open("wb"), truth.open("w", encoding="utf-8")
        self.pending: list[_Record] = []
        self.n_lines = 0
        self.clock = 0  # of the last line

    def write(self, until: int) -> None:
        """Write what has come until then."""
        self.pending.sort(key=attrgetter("written"))
        n_due = bisect_left(self.pending, until, key=attrgetter("written"))
        lines: list[bytes] = []
        truths = []
        for record in self.pending[:n_due]:
            first = self.n_lines + len(lines) + 1
            self.clock = written = max(self.clock + 1000, record.written)
            for line in record.lines.text.split("\n"):
                if self.wrapped:
                    self._wrap(line.encode(), record.stream, lines)
                else:
                    lines.append(line.encode() + b"\n")
            time = written if record.lines.time is None else record.lines.time
            truth = Truth(
                file=self.path,
                first=first,
                last=self.n_lines + len(lines),
                service=record.service,
                time=time // 1000,
                written=written // 1000 if self.wrapped else None,
                severity=record.severity,
                body=record.lines.body,
                template=record.template,
                request=record.request,
            )
            truths.append(_JSON(truth) + "\n")
        del self.pending[:n_due]
        self.n_lines += len(lines)
        self.log.writelines(lines)
        self.truth.writelines(truths)

    def _wrap(self, line: bytes, stream: str, lines: list[bytes]) -> None:
        """As containerd does: pieces of bytes, and times whose zeros at the end are left out."""
        for start in range(0, len(line) or 1, _PIECE):
            second, ns = divmod(self.clock, _S)
            time = f"{_clock(second, '%Y-%m-%dT%H:%M:%S')}.{ns:09}".rstrip("0").rstrip(".")
            kind = "P" if start + _PIECE < len(line) else "F"
            lines.append(f"{time}Z {stream} {kind} ".encode() + line[start : start + _PIECE] + b"\n")
            self.clock += 2000 + int(self.rng.random() * 30_000)

    def close(self) -> None:
        """Write the rest. The file is as old as its last line."""
        self.write(_EVER)
        self.log.close()
        self.truth.close()
        os.utime(self.place, ns=(self.clock, self.clock))


# ---------------------------------------------------------------------------------------------------------------------
# The host
# ---------------------------------------------------------------------------------------------------------------------

_ORDERS_PODS = ("orders-7d9f8b6c5-x2x9p", "orders-7d9f8b6c5-fk4tm")
_SYSLOG = ("sshd", "systemd", "kernel", "cron", "dockerd")
_LATE = {"orders", "fulfilment-controller"}  # where threads write so that times may go back a little


def _stream(service: str, event: _Event) -> str:
    """Where a program in a container writes a message."""
    to_stderr = {
        "orders": not event.level,
        "storefront": bool(event.level),
        "fulfilment-controller": True,
        "payments": event.level == "Warning",
    }
    return "stderr" if to_stderr.get(service) else "stdout"


_STREAMS = {template: _stream(template.split(".")[0], event) for template, event in _EVENTS.items()}


class _Host:
    """All files of the host, and what writes them."""

    def __init__(self, folder: Path, truths: Path, rng: random.Random) -> None:
        self.rng = rng
        draw = _Values(rng)
        paths = [
            *(f"containers/{pod}_shop_orders-{rng.getrandbits(256):064x}.log" for pod in _ORDERS_PODS),
            f"containers/storefront-5c8d7f9b64-q7k2m_shop_storefront-{rng.getrandbits(256):064x}.log",
            "nginx/access.log",
            "nginx/error.log",
            f"pods/shop_fulfilment-controller-6b9c8d7f54-zl8vw_{_uuid(draw)}/manager/0.log",
            f"pods/shop_payments-84d6f7c9b5-hw4tj_{_uuid(draw)}/payments/0.log",
            "postgresql/postgresql-16-main.log",
            "syslog",
        ]
        self.files = [
            _File(folder, path, truths / f"{i}", rng, wrapped=path.startswith(("containers/", "pods/")))
            for i, path in enumerate(paths)
        ]

    def run(self, flow: _Flow, values: _Values, at: int) -> int:
        """Write what a flow writes. Returns the number of records."""
        rng, n_records = self.rng, 0
        for template, wait, odds in flow:
            if odds < 1 and rng.random() >= odds:
                continue
            at += int(rng.expovariate(1) * wait)
            service = template.split(".")[0]
            event = _EVENTS[template]
            lines = _FORMATS[service](event, at, values)
            delay = 20_000 + rng.random() * 300_000
            if service in _LATE and rng.random() < 0.02:
                delay += rng.random() * 15 * _MS
            rid = str(values["rid"])
            request = rid if rid and rid in lines.text else None
            self._file(service, event, values).pending.append(
                _Record(at + int(delay), _STREAMS[template], service, template, _SEVERITY[event.level], request, lines)
            )
            n_records += 1
        return n_records

    def _file(self, service: str, event: _Event, values: _Values) -> _File:
        orders, orders2, storefront, access, error, fulfilment, payments, postgresql, syslog = self.files
        match service:
            case "orders":
                return (orders, orders2)[cast(int, values["pod"])]
            case "nginx":
                return error if event.level else access
        return {
            "storefront": storefront,
            "fulfilment-controller": fulfilment,
            "payments": payments,
            "postgresql": postgresql,
        }.get(service, syslog)


def make_folder(folder: Path, records: int, seed: int = 0) -> None:
    """Write the logs into a folder, and the truth beside it.

    Args:
        folder: Where they go.
        records: About how many, in all files together.
        seed: The same gives the same bytes.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    traffic = [*_REQUESTS.values(), *((weight, 0, text) for weight, text in _BACKGROUND.values())]
    flows = [(_flow(text), status) for _, status, text in traffic]
    weights = list(accumulate(weight for weight, _, _ in traffic))
    with tempfile.TemporaryDirectory(dir=folder.parent) as truths:
        host = _Host(folder, Path(truths), rng)
        now, n_made = _START, 0
        while n_made < records:
            for flow, status in rng.choices(flows, cum_weights=weights, k=_FLOWS_AT_ONCE):
                now += int(rng.expovariate(1) * _GAP)
                rid = f"{rng.getrandbits(128):032x}" if status else ""
                thread = f"nio-8080-exec-{1 + int(rng.random() * 10)}" if status else "scheduling-1"
                values = _Values(rng, rid=rid, status=status, thread=thread, pod=rng.getrandbits(1))
                n_made += host.run(flow, values, now)
                if n_made >= records:
                    break
            for file in host.files:
                file.write(until=now)
        with _truth_path(folder).open("wb") as all_truth:
            for file in host.files:
                file.close()
                with file.truth_place.open("rb") as truth:
                    shutil.copyfileobj(truth, all_truth)


def truth_of(folder: Path) -> Iterator[Truth]:
    """What is true of each record of a folder that `make_folder` wrote: file by file, in the order of the lines."""
    with _truth_path(folder).open(encoding="utf-8") as lines:
        for line in lines:
            yield cast(Truth, json.loads(line))


def _truth_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.truth.jsonl")


def main() -> None:
    """Write a folder as the command line says."""
    parser = argparse.ArgumentParser(description="Write a folder of mixed logs, and FOLDER.truth.jsonl beside it.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_folder(options.folder, options.records, options.seed)


if __name__ == "__main__":
    main()
