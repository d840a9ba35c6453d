"""Slow, obvious twins: what a fast function does, said step by step, to compare it to."""

from __future__ import annotations

import itertools
import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.events import END, PADDING
from enhanced_deeplog.logs.pause_limits import PauseLimits
from enhanced_deeplog.logs.sessions import SessionRules

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1)


# --- Sessions: record by record -----------------------------------------------------------------------------


@dataclass
class NaiveSession:
    """A session while it grows; a list of records for each of its parts."""

    stream: tuple[bool, str]
    cut: str
    parts: list[list[dict[str, Any]]] = field(default_factory=list)
    followed: bool = False

    @property
    def last(self) -> dict[str, Any]:
        return self.parts[-1][-1]

    @property
    def n_records(self) -> int:
        return sum(map(len, self.parts))


def naive_clocks(records: Sequence[Mapping[str, Any]]) -> tuple[list[int], str]:
    """The time of each record: the latest time of its source so far, else its number in its source."""
    sources = {record["source"] for record in records}
    timed = {record["source"] for record in records if record["timestamp"] is not None}
    clocks: list[int] = []
    if timed != sources:
        seen: dict[str, int] = {}
        for record in records:
            clocks.append(seen.get(record["source"], 0))
            seen[record["source"]] = clocks[-1] + 1
        return clocks, "records"
    first: dict[str, int] = {}
    for record in records:
        if record["timestamp"] is not None:
            first.setdefault(record["source"], nanoseconds(record["timestamp"]))
    latest = dict(first)
    for record in records:
        if record["timestamp"] is not None:
            latest[record["source"]] = max(latest[record["source"]], nanoseconds(record["timestamp"]))
        clocks.append(latest[record["source"]])
    return clocks, "ns"


def nanoseconds(time: datetime) -> int:
    past = time - EPOCH
    return (past.days * 86_400 + past.seconds) * NS + past.microseconds * 1000


def naive_sessions(
    records: Sequence[Mapping[str, Any]], rules: SessionRules, limits: Mapping[str, PauseLimits]
) -> list[dict[str, Any]]:
    """Open, close and split sessions one record after another; one row a session or part of one."""
    clocks, unit = naive_clocks(records)
    limit = limits.get(unit)
    any_key = rules.by == "key" and any(record["session_key"] is not None for record in records)
    newest: dict[tuple[bool, str], NaiveSession] = {}
    sessions: list[NaiveSession] = []
    for clock, record in zip(clocks, records, strict=True):
        record = {**record, "clock": clock}
        stream, cut = _stream_of(record, rules, cut_by_time=any_key and unit == "ns")
        session = newest.get(stream)
        if session is None or _begins_anew(session, record, rules, limit):
            if session is not None:
                session.followed = True
            session = newest[stream] = NaiveSession(stream, cut, [[]])
            sessions.append(session)
        part_length = rules.n_records if cut == "count" else rules.max_records
        if len(session.parts[-1]) == part_length:
            session.parts.append([])
        session.parts[-1].append(record)
    return [row for session in sessions for row in _rows(session, records, clocks, unit, rules, limit)]


def _stream_of(record: Mapping[str, Any], rules: SessionRules, *, cut_by_time: bool) -> tuple[tuple[bool, str], str]:
    if rules.by == "key" and record["session_key"] is not None:
        return (True, record["session_key"]), "key"
    if rules.by == "time_span":
        return (False, record["service"] or ""), "time_span"
    if rules.by == "idle_gap" or (rules.by == "key" and cut_by_time):
        origin = "/".join(record[name] or "" for name in ("service", "host", "process"))
        return (False, origin.strip("/")), "idle_gap"
    return (False, record["service"] or ""), "count"


def _begins_anew(
    session: NaiveSession, record: Mapping[str, Any], rules: SessionRules, limit: PauseLimits | None
) -> bool:
    pause = record["clock"] - session.last["clock"]
    if session.last["ends_session"]:
        return True
    if session.cut == "key":
        return limit is not None and pause > limit.closed_after
    if session.cut == "idle_gap":
        return pause > rules.idle_gap_s * NS
    if session.cut == "time_span":
        span = int(rules.time_span_s * NS)
        return record["clock"] // span != session.last["clock"] // span
    return False


def _rows(
    session: NaiveSession,
    records: Sequence[Mapping[str, Any]],
    clocks: list[int],
    unit: str,
    rules: SessionRules,
    limit: PauseLimits | None,
) -> list[dict[str, Any]]:
    last = session.last
    now = max(c for c, r in zip(clocks, records, strict=True) if unit == "ns" or r["source"] == last["source"])
    idle = now - last["clock"]
    waited = outlived = False
    if session.cut == "key" and limit is not None:
        waited, outlived = idle > int(limit.ended_after[last["event_id"]]), idle > limit.closed_after
    if session.cut == "idle_gap":
        waited = outlived = idle > rules.idle_gap_s * NS
    ended = last["ends_session"] or waited or (session.followed and session.cut in ("key", "idle_gap"))
    final = last["ends_session"] or session.followed or outlived
    rows = []
    for i, part in enumerate(session.parts):
        is_last = i == len(session.parts) - 1
        rows.append(
            {
                "session_key": session.stream[1],
                "keyed": session.stream[0],
                "part": i,
                "n_records": len(part),
                "ended": is_last and ended,
                "state": "final" if final or not is_last else "open",
                "context": sum(map(len, session.parts[:i])),
                "events": [r["event_id"] for r in part] + [END] * (is_last and ended),
                "lines": [r["line"] for r in part],
            }
        )
    return rows


def naive_windows(past: list[int], events: list[int], window_size: int) -> list[list[int]]:
    """The window before each event; `past` is what the session said in its parts before."""
    windows = []
    for t in range(len(events)):
        before = (past + events[:t])[-window_size:]
        windows.append([PADDING] * (window_size - len(before)) + before)
    return windows


# --- The anomaly score: by recursion, by all pairs ----------------------------------------------------------


def naive_accumulated(surprise: Sequence[float], drift: float) -> float:
    """The largest sum above `drift` of any stretch, the empty one included: all of them are tried."""
    n = len(surprise)
    stretches = ([s - drift for s in surprise[i:j]] for i in range(n) for j in range(i + 1, n + 1))
    return max([0.0, *(sum(stretch) for stretch in stretches)])


def naive_novelty(
    counts: Sequence[float],
    is_open: bool,
    known: Sequence[tuple[Sequence[float], bool]],
    scale: Sequence[float],
    n_alike: int,
) -> float:
    """Distance to the n-th nearest of the known sessions (counts, whether open) that may be compared to it."""
    distances = []
    for other, other_open in known:
        if is_open or not other_open:
            differences = [(a - b) * s for a, b, s in zip(counts, other, scale, strict=True)]
            distances.append(sum(max(d, 0.0) if is_open else abs(d) for d in differences))
    nearest = sorted(distances)[:n_alike]
    return nearest[-1] if nearest else sum(a * s for a, s in zip(counts, scale, strict=True))


# --- Anomaly classes: O(n^3) --------------------------------------------------------------------------------


def naive_hierarchy(points: Float64s, n_classes: int, linkage: str) -> tuple[Int64s, list[float]]:
    """Merge the two nearest clusters until `n_classes` are left; the class of each point, and the heights."""
    clusters = [[i] for i in range(len(points))]
    heights = []
    while len(clusters) > n_classes:
        pairs = [(i, j) for i in range(len(clusters)) for j in range(i + 1, len(clusters))]
        i, j = min(pairs, key=lambda pair: _height(points, clusters[pair[0]], clusters[pair[1]], linkage))
        heights.append(_height(points, clusters[i], clusters[j], linkage))
        clusters[i] += clusters.pop(j)
    labels = np.zeros(len(points), dtype=np.int64)
    for label, members in enumerate(clusters):
        labels[members] = label
    return labels, heights


def _height(points: Float64s, one: list[int], other: list[int], linkage: str) -> float:
    if linkage == "average":
        return float(np.mean([np.linalg.norm(points[i] - points[j]) for i in one for j in other]))
    # Ward: how much the squared distances to the centres grow.
    return _spread(points[one + other]) - _spread(points[one]) - _spread(points[other])


def _spread(points: Float64s) -> float:
    return float(((points - points.mean(axis=0)) ** 2).sum())


def naive_silhouette(points: Float64s, labels: Int64s) -> float:
    """Mean over points of (b - a) / max(a, b), a: to one's own class, b: to the nearest other one."""
    values = []
    for i in range(len(points)):
        distances: dict[int, list[float]] = {}
        for j in range(len(points)):
            if i != j:
                distances.setdefault(int(labels[j]), []).append(math.dist(points[i], points[j]))
        own = distances.pop(int(labels[i]), [])
        if not own:
            values.append(0.0)
            continue
        a, b = float(np.mean(own)), min(float(np.mean(d)) for d in distances.values())
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def naive_rare_surprise(sessions: list[list[tuple[int, float]]]) -> list[float]:
    """Of (event, surprise) in each session, every one compared with every other session."""

    def largest(session: list[tuple[int, float]], event: int) -> float:
        return max((surprise for e, surprise in session if e == event), default=-math.inf)

    found = []
    for session in sessions:
        total = 0.0
        for event in {event for event, _ in session}:
            own = largest(session, event)
            n_as_much = sum(largest(other, event) >= own - 0.05 for other in sessions)
            total += max(math.log(len(sessions) / n_as_much) - 3.0, 0.0)
        found.append(total)
    return found


# --- Pauses: step by step -----------------------------------------------------------------------------------


def naive_pauses(times: Sequence[datetime | None]) -> list[float]:
    """Time from each record of a session to the next, s; NaN where one of them has no time, and for the first."""
    pauses = [math.nan]
    for before, after in itertools.pairwise(times):
        known = before is not None and after is not None
        pauses.append((nanoseconds(after) - nanoseconds(before)) / NS if known else math.nan)
    return pauses[: len(times)]


def naive_lateness(
    normal: Sequence[tuple[int, int, float]], judged: Sequence[tuple[int, int, float]], *, resolution_s: float
) -> list[float]:
    """How rare it is that a step (event before, event, pause in s) takes so long, each step by itself."""
    return [_naive_lateness_of(normal, *one, resolution_s) for one in judged]


def _naive_lateness_of(
    normal: Sequence[tuple[int, int, float]], before: int, event: int, pause: float, resolution_s: float
) -> float:
    timed = [(b, e, max(p, 0.0)) for b, e, p in normal if not math.isnan(p)]
    of_step = Counter((b, e) for b, e, _ in timed)
    rare = [(b, e, p) for b, e, p in timed if of_step[b, e] < 100]
    of_event = Counter(e for _, e, _ in rare)
    pools = (
        [p for b, e, p in timed if (b, e) == (before, event)],
        [p for _, e, p in rare if e == event],
        [p for _, e, p in rare if of_event[e] < 100],
        [p for _, _, p in timed],
    )
    pool = next((sorted(one) for one in pools if len(one) >= 100), None)
    if pool is None or math.isnan(pause):
        return 0.0
    logs = [math.log(p + resolution_s) for p in pool]
    elapsed = math.log(max(pause - resolution_s, 0.0) + resolution_s)
    n = len(logs)
    kept = [logs[n - int(c)] for c in np.geomspace(n // 2, 5, 24).round()]
    shorter = [v for v in kept if v < elapsed]
    if not shorter:
        return 0.0
    below = math.log(n / sum(v >= shorter[-1] for v in logs))
    if len(shorter) == len(kept):
        n_tail = round(n * 0.1)
        scale = max(sum(v - logs[n - n_tail - 1] for v in logs[n - n_tail :]) / n_tail, 0.1)
        return below + (elapsed - shorter[-1]) / scale
    counted = math.log(n / sum(v >= kept[len(shorter)] for v in logs))
    return min(counted, below + (elapsed - shorter[-1]) / 0.1)


def naive_parameters(body: str, template: str) -> list[str]:
    """What stands for each `<*>`, each value as short as can be: all ways to fill them in, the shortest first."""
    first, *rest = template.split("<*>")
    if not body.startswith(first):
        return []

    def filled(begin: int, literals: list[str]) -> list[str] | None:
        if not literals:
            return [] if begin == len(body) else None
        for end in range(begin + 1, len(body) + 1):
            if body.startswith(literals[0], end):
                further = filled(end + len(literals[0]), literals[1:])
                if further is not None:
                    return [body[begin:end], *further]
        return None

    return filled(len(first), rest) or []


def naive_nth_nearest(distance: Sequence[float], n_known: Sequence[int], n_alike: int) -> int:
    """Go from the nearest to the farthest, the first of equals first, until `n_alike` sessions are passed (or all)."""
    passed = 0
    order = sorted(range(len(distance)), key=lambda i: (distance[i], i))
    for i in order:
        passed += n_known[i]
        if passed >= min(n_alike, sum(n_known)):
            return i
    return order[-1]


# --- Numbers of bodies: character by character --------------------------------------------------------------

_OPENS = " =([{<\"'&|;,"
_ENDS = " =()[]{}<>\"'&|;,"
_KEY = string.ascii_letters + "_.-"
_POWERS = {f"{letter}{rest}": 1024.0**p for p, letter in enumerate("KMGTPE", 1) for rest in ("", "B", "iB")}
_UNITS = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "s": 1.0, "B": 1.0, **_POWERS}


def naive_numbers(body: str) -> list[float]:
    """Look at each character for a word that begins with a digit; keep those words that are numbers."""
    found: list[float] = []
    at = 0
    while at <= len(body):
        begin = _begin_of_word(body, at)
        if begin is None:
            at += 1
            continue
        at = _end_of_word(body, begin)
        value = _value_of(body[begin:at])
        if value is not None and abs(value) < 1e300:
            found.append(value)
    return found[:4]


def _begin_of_word(body: str, at: int) -> int | None:
    """Where the digits (or their sign) stand that a word at this place begins with."""
    for begin in ([0] if at == 0 else []) + ([at + 1] if body[at : at + 1] and body[at] in _OPENS else []):
        key = begin
        while body[key : key + 1] and body[key] in _KEY:
            key += 1
        for digits in ([key + 1] if body[key : key + 1] == ":" else []) + [begin]:
            signed = digits + (body[digits : digits + 1] in ("+", "-"))
            if body[signed : signed + 1] and body[signed] in string.digits:
                return digits
    return None


def _end_of_word(body: str, begin: int) -> int:
    end = begin
    while end < len(body):
        comma_in_number = body[end] == "," and body[end + 1 : end + 2] in [*string.digits]
        if body[end] in _ENDS and not comma_in_number:
            break
        end += 1
    for unit in _UNITS:
        after = end + 1 + len(unit)
        word_goes_on = body[after : after + 1] in [*string.ascii_letters, *string.digits, "_"]
        if body.startswith(f" {unit}", end) and not word_goes_on:
            return after
    return end


def _value_of(word: str) -> float | None:
    """A number, perhaps a unit, perhaps marks, perhaps another unit that then belongs to nothing."""
    for other in ["", *(f" {unit}" for unit in _UNITS)]:
        if not word.endswith(other):
            continue
        marked = word.removesuffix(other).rstrip("%.:!?")
        for unit, factor in [(f"{gap}{unit}", factor) for gap in ("", " ") for unit, factor in _UNITS.items()] + [
            ("", 1.0)
        ]:
            number = marked.removesuffix(unit) if marked.endswith(unit) else ""
            if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+][0-9]+)?", number):
                return float(number) * factor
    return None


def naive_imbalance(
    row: Sequence[int], normal: Sequence[Sequence[int]], chosen_by: Sequence[Sequence[int]] | None = None
) -> float:
    """Each pair of events, one after another: is it broken, and by how few of the sessions that have either?

    Pairs are those that hold in 19 of 20 of `chosen_by` (the normal sessions themselves) and that 20 of them have.
    """
    rarest = 0.0
    for one, other in itertools.combinations(range(len(row)), 2):

        def rarity(sessions: Sequence[Sequence[int]], one: int = one, other: int = other) -> tuple[int, float]:
            having = [session for session in sessions if session[one] or session[other]]
            broken = sum(session[one] != session[other] for session in having)
            return len(having), -math.log((broken + 1) / (len(having) + 2))

        n_having, least = rarity(normal if chosen_by is None else chosen_by)
        if row[one] != row[other] and n_having >= 20 and least >= math.log(20):
            rarest = max(rarest, rarity(normal)[1])
    return rarest
