"""Write the table and the picture of docs/performance.md from the rows that throughput.py left.

python benchmarks/speed.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from figures import put, table

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "benchmarks" / "results" / "throughput.jsonl"
DOCS = ROOT / "docs"
Row = dict[str, Any]

WIDTH, HEIGHT, MARGIN = 360, 240, 48
COLOURS = {"parse": "#2563eb", "classify": "#c2410c"}


def main() -> None:
    rows = latest([json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()])
    put(DOCS / "performance.md", "speed", table(("what", "log", "lines", "s", "lines/s", "peak MiB"), whole(rows)))
    put(DOCS / "performance.md", "ratios", table(("", ""), ratios(rows)))
    put(DOCS / "performance.md", "stages", table(("stage", "s", "share"), stages(rows)))
    (DOCS / "performance.svg").write_text(picture(rows), encoding="utf-8")


def latest(rows: Sequence[Row]) -> list[Row]:
    """The newest row of each kind."""
    return list({(r["what"], r.get("log"), r.get("lines"), r.get("cache")): r for r in rows}.values())


def whole(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Whole processes, from start to end."""
    order = ("fit", "parse", "classify")
    chosen = [row for row in rows if row["what"] in order and row.get("cache", "warm") == "warm" and row.get("log")]
    for row in sorted(chosen, key=lambda row: (order.index(row["what"]), row["log"], row["lines"])):
        per_s = row["lines"] / row["wall_s"]
        yield (
            *(f"`{row['what']}`", row["log"], f"{row['lines']:,}", f"{row['wall_s']:.1f}"),
            *(f"{per_s:,.0f}", str(row["peak_mib"])),
        )


def ratios(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Against others, in the same run."""
    drain = {(row["log"], row["lines"]): row["lines_per_s"] for row in rows if row["what"] == "drain3"}
    for row in rows:
        key = (row.get("log"), row.get("lines"))
        if row["what"] == "parse" and row["cache"] == "warm" and key in drain:
            times = row["lines"] / row["wall_s"] / drain[key]
            yield f"`parse`, {key[0]}, {key[1]:,} lines, against Drain3 alone ({drain[key]:,} lines/s)", f"{times:.1f}"
    (scoring,) = (row for row in rows if row["what"] == "scoring")
    onnx = scoring["onnx_per_s"]
    yield f"scoring ({onnx:,} windows/s) against torch in batches", f"{onnx / scoring['torch_batches_per_s']:.2f}"
    yield "scoring against torch, one window at a time", f"{onnx / scoring['torch_one_at_a_time_per_s']:.0f}"
    yield "largest difference of a probability between the two", f"{scoring['largest_difference']:.1e}"
    (stream,) = (row for row in rows if row["what"] == "stream")
    yield "a stream, one process, micro-batches of 512: records/s", f"{stream['records_per_s']:,}"
    yield "a micro-batch of it: half of them within, 99 % within", f"{stream['p50_ms']:g} ms, {stream['p99_ms']:g} ms"


def stages(rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    """Of the longest log: time of the threads in each stage of `classify`."""
    row = max((row for row in rows if row["what"] == "stages"), key=lambda row: row["lines"])
    spent: dict[str, float] = row["spent_s"]
    for stage, s in spent.items():
        yield stage, f"{s:.2f}", f"{s / sum(spent.values()):.0%}"


def picture(rows: Sequence[Row]) -> str:
    """Time and memory against lines, both on logarithmic scales."""
    plots = [
        plot(rows, "wall_s", "s", [1, 10, 100, 1000], 0),
        plot(rows, "peak_mib", "MiB", [250, 500, 1000, 2000], WIDTH),
    ]
    legend = "".join(
        f'<circle cx="{60 + 90 * i}" cy="14" r="4" fill="{colour}"/><text x="{70 + 90 * i}" y="18">{name}</text>'
        for i, (name, colour) in enumerate(COLOURS.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="#262626"><rect width="100%" height="100%" fill="white"/>{legend}{"".join(plots)}</svg>\n'
    )


def plot(rows: Sequence[Row], column: str, unit: str, ticks: Sequence[float], left: float) -> str:
    chosen = [r for r in rows if r["what"] in COLOURS and r["log"] == "repeated" and r["cache"] == "warm"]
    lines = sorted({row["lines"] for row in chosen})

    def x(value: float) -> float:
        return left + MARGIN + place(value, lines[0], lines[-1]) * (WIDTH - 1.5 * MARGIN)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - place(value, ticks[0], ticks[-1]) * (HEIGHT - 2 * MARGIN)

    parts = []
    for value in ticks:
        end = left + WIDTH - MARGIN / 2
        parts.append(f'<line x1="{left + MARGIN}" x2="{end}" y1="{y(value)}" y2="{y(value)}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{left + MARGIN - 6}" y="{y(value) + 4}" text-anchor="end">{value:,}</text>')
    for value in lines:
        named = f"{value / 1e6:g} M"
        parts.append(f'<text x="{x(value)}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{named}</text>')
    parts.append(f'<text x="{left + MARGIN}" y="{HEIGHT - 10}">{unit} against lines</text>')
    for what, colour in COLOURS.items():
        points = [(x(row["lines"]), y(row[column])) for row in sorted(chosen, key=lambda row: row["lines"])
                  if row["what"] == what]  # fmt: skip
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
    return "".join(parts)


def place(value: float, low: float, high: float) -> float:
    """Where a value lies between two others on a logarithmic scale, [0, 1]."""
    return math.log(value / low) / math.log(high / low)


if __name__ == "__main__":
    main()
