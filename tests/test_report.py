"""`evaluate --report`: one page made of rows, in which nothing that a log or a file says is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import sequences_of
from enhanced_deeplog import EnhancedDeepLog
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.evaluation import measuring, plotted
from enhanced_deeplog.evaluation.kind_plots import class_map_plot, confusion_plot
from enhanced_deeplog.evaluation.plots import left_out_plot, loss_plot, parsing_plot, pr_plot, reliability_plot
from enhanced_deeplog.evaluation.report import report_page
from enhanced_deeplog.evaluation.rows import read_rows
from enhanced_deeplog.evaluation.splits import Split
from enhanced_deeplog.evaluation.synthetic import KINDS, SyntheticBenchmark
from enhanced_deeplog.learning.metrics import precision_recall_f1
from enhanced_deeplog.report.figure_parts import Plot
from enhanced_deeplog.report.page import plot
from test_cli import run, said

OURS = "enhanced-deeplog"
IMAGE = "<img src=x onerror=alert(1)>"
HOSTILE = (
    IMAGE,
    "</script><script>alert(1)</script>",
    "<b>&amp; &lt;</b>",
    '" onload="alert(1)',
    "\u202eend\x1b[31m",
    "",
)
ROWS_FILE = Path(__file__).parents[1] / "benchmarks" / "results" / "evaluation.jsonl"


def _detection(protocol: str, seed: int, system: str, recall: float, **more: Any) -> dict[str, Any]:
    measures = {"precision": 0.9, "recall": recall, "f1": 0.8, "pr_auc": None, "false_alarms_per_10_000": 3.0}
    row = {"protocol": protocol, "seed": seed, "system": system, "run": "2026", "config": {}, "detection": measures}
    return {**row, "detection_distinct": measures, **more}


def _kinds(name: str, seed: int = 0) -> dict[str, Any]:
    return {
        "protocol": f"kinds of {name}",
        "seed": seed,
        "system": OURS,
        "run": "2026",
        "config": {},
        "kinds": {"ari": 0.9, "nmi": -0.0001},
        "kinds_distinct": {},
        "fit_s": 1.0,
        "loss": {"training": [2.0, 1.0, 0.5], "held_out": [1.5, 1.0, 0.9]},
        "confusion": {"types": ["", name], "classes": ["normal", name, "unknown"], "counts": [[9, 1, 0], [0, 6, 2]]},
        "class_map": {"x": [0.5, 1.0], "y": [0.0, -1.0], "class": [1, 2], "type": [1, 0], "spread": [0.5, 0.25]},
    }


def _left_out(name: str, unknown: float, seed: int = 0) -> dict[str, Any]:
    row = {"protocol": "hdfs-sequences/unseen", "seed": seed, "system": OURS, "left_out": name}
    return {**row, "left_out_unknown": unknown, "left_out_normal": 0.25, "known_unknown": 0.01}


def _all_rows(name: str) -> list[dict[str, Any]]:
    """Rows of every kind; `name` stands wherever a log or a file has a say."""
    return [
        _detection("hdfs/random", 0, OURS, 0.9, pr_curve=[[0.5, 1.0], [1.0, 0.03]], data_differs=[name], commit=name),
        _detection("hdfs/random", 0, name or "unnamed", 0.5),
        _kinds(name),
        {
            "protocol": "hdfs-sequences/unseen",
            "seed": 0,
            "system": OURS,
            "confidence": {"ece": 0.00001, "bins": [[0.9, 0.85, 10], [0.99, 1.0, 10]]},
        },
        _left_out(name, 0.5),
        {"protocol": "parsing", "seed": 0, "system": OURS, "log": name or "unnamed", "ga": 1.0, "fga": 0.5},
    ]


class _Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.figures: list[dict[str, Any]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag == "script" and attributes.get("type") == "application/json" and data.strip():
            self.figures.append(json.loads(data))
        elif tag != "script" and tag != "style":
            self.texts.append(data)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without the four megabytes that draw its plots."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* plotly.js */")


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


# --- Hostile names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_more_than_text(name: str, short: None) -> None:
    told, harmless = (_Page(report_page(_all_rows(one))) for one in (name, "x"))
    assert [tag for tag, _ in told.tags] == [tag for tag, _ in harmless.tags]
    assert [sorted(attributes) for _, attributes in told.tags] == [
        sorted(attributes) for _, attributes in harmless.tags
    ]
    assert len(told.figures) == len(harmless.figures) == 7
    for text in _texts(told.figures):
        assert set(re.findall(r"<[^>]*>", text)) <= {"<br>", "<extra>", "</extra>"}, text
        assert "&" not in re.sub(r"&(amp|lt|gt);", "", text)
    assert not {"\x1b", "\u202e"} & set("".join(told.texts) + "".join(_texts(told.figures)))


def test_a_hostile_name_can_still_be_read(short: None) -> None:
    page = _Page(report_page(_all_rows(IMAGE)))
    assert sum(IMAGE in text for text in "".join(page.texts).split("\n")) > 0
    assert sum("&lt;img src=x onerror=alert(1)&gt;" in text for text in _texts(page.figures)) >= 6


def test_no_name_ends_the_script_that_holds_a_figure() -> None:
    made = Plot("title", "", {"data": [{"text": "</script><!--<script>&\u2028"}], "layout": {}}, 100)
    (inside,) = re.findall(r'<script type="application/json">(.*?)</script>', plot(made), re.DOTALL)
    assert not set("<>&\u2028") & set(inside)
    assert json.loads(inside) == made.figure


def test_names_never_stand_in_a_template_that_plotly_fills_in(short: None) -> None:
    name = "%{x} $y$"
    for figure in _Page(report_page(_all_rows(name))).figures:
        for trace in figure["data"]:
            assert name not in trace.get("hovertemplate", "") + trace.get("texttemplate", "")


# --- The page -------------------------------------------------------------------------------------------------------


def test_the_page_holds_all_it_needs_and_may_fetch_nothing() -> None:
    page = report_page(_all_rows("x"))
    head = page[: page.index("<body>")]
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = f"script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}';"
    assert f"default-src 'none'; {allowed} style-src 'unsafe-inline'; img-src data: blob:" in head
    assert page.count("plotly.js v") == 1
    without_plotly = _Page(re.sub(r"<script>/\*\*?\n\* plotly.js v.*?</script>", "", page, flags=re.DOTALL))
    assert not [attributes for _, attributes in without_plotly.tags if {"src", "srcset", "data"} & set(attributes)]
    links = [attributes["href"] for tag, attributes in without_plotly.tags if tag == "a"]
    assert links == [f"#s{i}" for i in range(1, 7)]
    assert not [tag for tag, _ in without_plotly.tags if tag in {"link", "img", "iframe", "object"}]


def test_every_figure_is_one_that_plotly_knows(short: None) -> None:
    from plotly.graph_objects import Figure

    for figure in _Page(report_page(_all_rows("x"))).figures:
        Figure(figure)  # raises for what it doesn't know


def test_sections_come_in_the_order_of_the_method(short: None) -> None:
    page = report_page(_all_rows("x"))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["Figures aimed at", "Detection", "Kinds", "Kinds that were never seen", "Parsing", "Learning"]


def test_figures_say_whether_they_are_met(short: None) -> None:
    page = report_page(_all_rows("x"))
    assert '<td>LogHub 2k, ten systems: grouping accuracy</td><td><span class="met">met</span></td>' in page
    assert '<td>LogHub 2k, ten systems: F1 of groups</td><td><span class="missed">not met</span></td>' in page
    assert "&lt;0.0001" in page  # the calibration error
    assert "-0.000" not in page


def test_spread_over_seeds_stands_below_the_mean(short: None) -> None:
    rows = [_detection("hdfs/random", seed, "PCA", recall) for seed, recall in ((0, 0.5), (1, 0.75))]
    assert '0.625<span class="spread">0.500 … 0.750</span>' in report_page(rows)
    assert "spread" not in report_page(rows[:1]).partition("<body>")[2]


def test_rows_measured_before_there_were_plots_make_a_page_that_says_so(short: None) -> None:
    new = {"pr_curve", "loss", "confusion", "class_map"}
    page = report_page([{name: row[name] for name in row if name not in new} for row in read_rows(ROWS_FILE)])
    before = "these rows were measured before rows held what it needs."
    assert f"Left out: precision-recall curve; {before}" in page
    assert f"Left out: confusion matrix and map of classes; {before}" in page
    assert re.search(rf"No loss by epoch of [^<]*hdfs/random[^<]*: {before}", page)


def test_where_nothing_was_found_there_is_nothing_to_show(short: None) -> None:
    assert "there was nothing to show in it." in report_page([{**_kinds("x"), "class_map": None}])
    assert "there was nothing to show in it." in report_page([_detection("hdfs/random", 0, OURS, 0.0, pr_curve=[])])


# --- Plots against rows ----------------------------------------------------------------------------------------------


def test_peers_stand_at_their_mean_and_ours_at_every_seed() -> None:
    curve = [[0.5, 1.0], [1.0, 0.03]]
    rows = [_detection("p", seed, OURS, 0.9 + seed / 100, pr_curve=curve) for seed in (0, 1)]
    rows += [_detection("p", seed, "PCA", recall) for seed, recall in ((0, 0.5), (1, 0.75))]
    made = pr_plot(rows)
    assert made is not None
    *lines, peer, ours = made.figure["data"]
    assert [list(map(list, zip(line["x"], line["y"], strict=True))) for line in lines] == [curve, curve]
    assert (peer["x"], peer["y"], peer["text"]) == ([0.625], [0.9], ["PCA"])
    assert ours["x"] == [0.9, 0.91]
    assert [one.text for one in made.key] == ["ours, one line a seed", "ours, threshold chosen", "PCA"]


def test_the_matrix_shows_shares_of_each_type_and_counts_on_hover() -> None:
    (heatmap,) = confusion_plot(_kinds("x")["confusion"]).figure["data"]
    assert heatmap["z"] == [[0.9, 0.1, 0.0], [0.0, 0.75, 0.25]]
    assert heatmap["text"] == [["90", "10", ""], ["", "75", "25"]]
    assert heatmap["customdata"][1][2] == [2, 8, "x", "unknown"]


def test_the_map_has_a_colour_for_each_class_and_a_mark_for_each_type() -> None:
    row = _kinds("x")
    made = class_map_plot(row["class_map"], row["confusion"])
    assert [trace["x"] for trace in made.figure["data"]] == [[0.5], [1.0]]
    assert [trace["text"] for trace in made.figure["data"]] == [["x"], ["normal"]]
    assert [trace["customdata"] for trace in made.figure["data"]] == [["class 1: x"], ["unknown"]]
    marks = [trace["marker"]["symbol"] for trace in made.figure["data"]]
    assert marks[0] != marks[1]
    assert [one.text for one in made.key] == ["class 1: x", "unknown", "true type normal", "true type x"]


def test_bars_of_a_type_that_was_left_out_fill_its_row() -> None:
    made = left_out_plot([_left_out("a", 0.5), _left_out("a", 0.7, seed=1), _left_out("b", 0.75)])
    assert made is not None
    unknown, other, normal = (trace["x"] for trace in made.figure["data"])
    assert (unknown, other, normal) == ([0.6, 0.75], [0.15, 0.0], [0.25, 0.25])


def test_the_reliability_diagram_shows_the_bins_of_the_rows() -> None:
    made = reliability_plot(_all_rows("x"))
    assert made is not None
    diagonal, line = made.figure["data"]
    assert (line["x"], line["y"], line["customdata"]) == ([0.9, 0.99], [0.85, 1.0], [10, 10])
    assert diagonal["x"] == diagonal["y"] == [0.8, 1.0]


def test_parsing_and_loss_are_those_of_the_rows() -> None:
    made = parsing_plot(_all_rows("Apache"))
    assert made is not None
    assert [trace["x"] for trace in made.figure["data"]] == [[1.0], [0.5]]
    held_out, training = loss_plot("p", 0, _kinds("x")["loss"]).figure["data"]
    assert (held_out["x"], held_out["y"], training["y"]) == ([1, 2, 3], [1.5, 1.0, 0.9], [2.0, 1.0, 0.5])


def test_what_no_row_tells_is_no_plot() -> None:
    assert [made([]) for made in (pr_plot, left_out_plot, reliability_plot, parsing_plot)] == [None] * 4


# --- What rows hold for plots ----------------------------------------------------------------------------------------

judged = st.lists(st.tuples(st.booleans(), st.integers(0, 100)), min_size=2, max_size=100)


@settings(deadline=None, max_examples=50)
@given(judged)
def test_points_of_the_curve_are_true_thresholds_the_first_and_the_last_among_them(
    rows: list[tuple[bool, int]],
) -> None:
    truth, scores = (np.array(column) for column in zip(*rows, strict=True))
    curve = plotted.pr_curve(truth, scores.astype(float))
    if truth.all() or not truth.any():
        assert curve == []
        return
    every = [precision_recall_f1(truth, scores >= threshold) for threshold in np.unique(scores)[::-1]]
    points = [[round(one.recall, 5), round(one.precision, 5)] for one in every]
    assert len(curve) <= 60
    assert [curve[0], curve[-1]] == [points[0], points[-1]]
    assert all(point in points for point in curve)


def test_a_long_curve_keeps_its_bends() -> None:
    truth = np.arange(20_000) < 100  # all that matters happens at the first 100 of 20,000 thresholds
    curve = plotted.pr_curve(truth, -np.arange(20_000.0))
    assert [1.0, 1.0] in curve
    assert sum(recall < 1.0 for recall, _ in curve) > 20


def test_counts_and_map_speak_of_the_sessions_that_were_judged(
    fitted: EnhancedDeepLog, mixed_lines: list[str], benchmark: SyntheticBenchmark
) -> None:
    sessions = fitted.read_sessions(sequences_of(mixed_lines))
    verdicts = fitted.judge(sessions)
    truth = {f"m{i}": "" if kind == 0 else KINDS[kind] for i, kind in enumerate(benchmark.kinds.tolist())}
    told = plotted.kinds_shown(fitted, sessions, verdicts, truth)
    counted, placed = told["confusion"], told["class_map"]
    assert counted["types"] == ["", "break", "intrusion", "repetition"]
    assert counted["classes"] == ["normal", *(c.name for c in fitted.classes), "unknown"]
    counts = np.array(counted["counts"])
    assert counts.sum(axis=1).tolist() == [150, 60, 60, 60]
    assert counts[:, 0].sum() == (verdicts.classes == 0).sum()
    n_found = int((verdicts.classes != 0).sum())
    assert {len(placed[name]) for name in ("x", "y", "class", "type")} == {n_found}
    pairs = np.zeros_like(counts)
    np.add.at(pairs, (placed["type"], placed["class"]), 1)
    assert pairs[:, 1:].tolist() == counts[:, 1:].tolist()
    assert 1.0 >= placed["spread"][0] >= placed["spread"][1] >= 0.0
    json.dumps([told, plotted.loss_by_epoch(fitted)], allow_nan=False)
    assert told == plotted.kinds_shown(fitted, sessions, verdicts, truth)


def test_rows_of_kinds_hold_what_their_plots_need(
    fitted: EnhancedDeepLog, mixed_lines: list[str], benchmark: SyntheticBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_fit", lambda *_: (fitted, 1.0))
    records = sequences_of(mixed_lines)
    truth = {f"m{i}": "" if kind == 0 else KINDS[kind] for i, kind in enumerate(benchmark.kinds.tolist())}
    ours, *others = measuring.measure_kinds(Split(records, None, records, truth), fitted.config, lambda *_: None)
    assert {"confusion", "class_map", "loss"} <= set(ours)
    assert not any({"confusion", "class_map", "loss"} & set(row) for row in others)
    assert len(json.dumps(ours)) < 20_000


# --- The command ----------------------------------------------------------------------------------------------------


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_page_is_made_of_rows_that_were_measured_earlier(tmp_path: Path) -> None:
    rows = _write(tmp_path / "rows.jsonl", *(json.dumps(row) for row in _all_rows(IMAGE)), "")
    result = run("evaluate", "--rows", rows, "--report", tmp_path / "new" / "x.html")
    assert result.exit_code == 0, result.stderr
    assert "LogHub 2k, ten systems: grouping accuracy" in result.stdout
    page = (tmp_path / "new" / "x.html").read_text(encoding="utf-8")
    assert "plotly.js v" in page
    assert "x.html written" in result.stderr
    run("evaluate", "parsing", "--rows", rows, "--report", tmp_path / "y.html", "--json")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", (tmp_path / "y.html").read_text()) == ["Figures aimed at", "Parsing"]


def test_of_a_file_of_several_runs_the_last_one_counts(tmp_path: Path) -> None:
    old, new = _detection("hdfs/random", 0, OURS, 0.1), {**_detection("hdfs/random", 0, OURS, 0.9), "run": "2027"}
    rows = _write(tmp_path / "rows.jsonl", *(json.dumps(row) for row in (old, new)))
    result = run("evaluate", "--rows", rows, "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [new]
    assert "1 of 2 rows count: the last run of each protocol and seed" in result.stderr
    assert "expected rows of hdfs/time at default settings" in said(run("evaluate", "hdfs/time", "--rows", rows), 4)


ROW = '{"protocol": "p", "seed": 0, "system": "s"%s}'


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("[1]", "no JSON object: [1]"),
        ('{"kept": true}', "protocol: Field required"),
        ('{"protocol": "p", ', "Expecting property name"),
        ("[" * 100_000, "recursion"),
        (ROW % ', "detection": {"f1": NaN}', "the number NaN, which JSON doesn't have"),
        (ROW % ', "detection": {"f1": 1e999}', "detection.f1: Input should be a finite number"),
        (ROW % ', "detection": {"f1": "0.5"}', "detection.f1: Input should be a valid number"),
        (ROW % ', "detection": null', "detection: Input should be a valid dictionary"),
        (ROW % ', "loss": {"training": [1]}', "loss.held_out: Field required"),
        (
            ROW % ', "confusion": {"types": ["a"], "classes": ["normal", "unknown"], "counts": [[1]]}',
            "counts must have a row for each type and a column for each class",
        ),
        (
            ROW % ', "class_map": {"x": [1], "y": [1], "class": [0], "type": [0], "spread": [1, 0]}',
            "class_map has a class or type that confusion has not",
        ),
        (ROW % ', "\\u001b[31m": 1, "seed": "\\u001b[31m"', "seed: Input should be a valid integer"),
    ],
)
def test_a_line_that_is_no_row_is_told_with_its_number(line: str, got: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.jsonl", ROW % "", line)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    text = str(caught.value)
    assert text.startswith(f"{path}, line 2: expected a row that 'enhanced-deeplog evaluate --output' wrote")
    assert got in text
    assert text.endswith("Take the line out, or give --rows another file.")
    assert text.isprintable()


def test_a_file_that_holds_no_rows_is_refused(tmp_path: Path) -> None:
    stderr = said(run("evaluate", "--rows", tmp_path / "none.jsonl", "--report", tmp_path / "x.html"), 4)
    assert "the file can't be read: No such file or directory. Give --rows a file of such rows." in stderr
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    assert "it is no UTF-8 text" in said(run("evaluate", "--rows", tmp_path / "binary.jsonl"), 4)
    assert "there is none in it" in said(run("evaluate", "--rows", _write(tmp_path / "empty.jsonl", "")), 4)


def test_a_page_that_can_not_be_made_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "no data here"  # measuring would fail on this
    words = ("evaluate", "hdfs", "--data", nothing)
    assert "expected a name that ends in .html" in said(run(*words, "--report", tmp_path / "x.pdf"), 2)
    (tmp_path / "taken.html").mkdir()
    assert "expected a file to write to" in said(run(*words, "--report", tmp_path / "taken.html"), 2)
    below_a_file = _write(tmp_path / "file", "x") / "x.html"
    assert "expected to be able to write there" in said(run(*words, "--report", below_a_file), 2)
    export = said(run(*words, "--report", tmp_path / "x.html", "--export-splits", tmp_path), 2)
    assert "--export-splits measures nothing, so there is nothing to --report" in export
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    stderr = said(run(*words, "--report", tmp_path / "x.html"), 2)
    assert "--report needs plotly, which can't be found. Install it: pip install 'enhanced-deeplog[report]'." in stderr
    assert not (tmp_path / "x.html").exists()


def test_rows_go_with_nothing_that_needs_measuring(tmp_path: Path) -> None:
    rows = _write(tmp_path / "rows.html", *(json.dumps(row) for row in _all_rows("x")))
    stderr = said(run("evaluate", "--rows", rows, "--output", tmp_path / "x.jsonl"), 2)
    assert "--rows measures nothing, so --output has nothing to do. Leave one of them out." in stderr
    assert "is the file of --rows" in said(run("evaluate", "--rows", rows, "--report", rows), 2)
    assert "evaluate needs to know what to measure: hdfs," in said(run("evaluate"), 2)
