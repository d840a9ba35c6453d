"""The report: everything a person on call wants, from a file, and nothing that a stranger wrote can act on it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli_logs import SMALL, fitted_once, service_lines, write_log
from enhanced_deeplog import LogRecords, load_bundle, read_records
from enhanced_deeplog.cli import app
from enhanced_deeplog.cli.verdict_screens import explanation_screen
from enhanced_deeplog.courses import Course, KeptCourses, UnequalCounts, unequal_in_words
from enhanced_deeplog.findings import Finding
from enhanced_deeplog.report.charts import _session_axis
from enhanced_deeplog.report.findings_report import Reported, findings_page

HOSTILE = (
    "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\"> \x1b[31m \u202e \u2028"
    " </script><style>body{display:none}</style> ]]> &lt;b&gt; http://evil.example/x.png"
)


@pytest.fixture(scope="module")
def reported() -> Reported:
    model, records = load_bundle(fitted_once().bundle), read_records(fitted_once().log)
    courses = KeptCourses()
    findings = model.classify(records, courses=courses)
    return Reported(
        findings,
        model.classes,
        courses=courses.courses(),
        summary=model.summary,
        n_sessions=courses.n_sessions,
        source="service.log",
    )


@pytest.fixture(scope="module")
def page(reported: Reported) -> str:
    return findings_page(reported)


class Shown(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag not in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._in_script:
            self.text += data


def plots_of(page: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_the_summary_says_how_much_what_is_worst_and_what_to_do(page: str, reported: Reported) -> None:
    text = Shown(page).text
    assert f"{len(reported.findings)} of {reported.n_sessions} sessions are abnormal, of 2 kinds." in text
    assert re.search(r"The worst: .+ \(high, \d+ sessions\), as in session req-00abc[0-9a-f]+ \(line [\d,]+ of ", text)
    assert "Look there first: " in text


def test_every_kind_has_a_card_with_its_lines_causes_advice_and_normal_session(page: str, reported: Reported) -> None:
    assert page.count('<div class="card"') == 2
    text = Shown(page).text
    for one in reported.classes:
        assert one.name[:150] in text
        assert one.key in text
        assert one.usual
    assert text.count("what to do") >= 2
    assert "likely causes" in text
    assert "Its typical session beside the normal one most like it" in text


def test_a_session_is_shown_line_by_line_with_what_surprised_marked(page: str, reported: Reported) -> None:
    assert 5 <= len(reported.courses) <= 14
    text = Shown(page).text
    for course in reported.courses:
        assert course.finding.session_key in text
    course = reported.courses[0]
    marked = re.findall(r'class="marked">(.*?)</td>', page)
    assert len(marked) >= len(course.finding.evidence)
    assert "expected: " in marked[0]


def test_a_course_has_all_records_of_a_session_in_their_order(reported: Reported) -> None:
    for course in reported.courses:
        here = [step for step in course.steps if step.where in ("", "only here") and step.line is not None]
        numbers = [step.line for step in here]
        assert len(numbers) == course.finding.n_records
        assert numbers == sorted(numbers)
        assert (numbers[0], numbers[-1]) == (course.finding.first_line, course.finding.last_line)
        assert [step.position for step in here] == list(range(len(here)))
        assert here[0].text.endswith(here[0].template[-8:])
        assert course.has_usual


def test_what_usually_comes_equally_often_and_did_not_is_told(reported: Reported, page: str) -> None:
    (refused, *_) = [course for course in reported.courses if "login failed" in course.finding.class_name]
    assert [one.template.split()[1] for one in refused.unequal] == ["answered", "cart", "order"]
    assert all((one.n, one.other, one.n_other) == (0, "<END>", 1) for one in refused.unequal)
    assert all(one.n_having - 5 <= one.n_equal < one.n_having for one in refused.unequal)
    in_words = unequal_in_words(refused.unequal[0])
    assert in_words.startswith('"<*> answered <*>" 0 times, the end once: of ')
    assert in_words in Shown(page).text
    console = Console(record=True, width=300, file=io.StringIO())
    console.print(*explanation_screen([refused]))
    assert in_words in console.export_text()


def test_of_a_long_session_the_steps_near_evidence_are_shown_and_nothing_is_called_missing_that_was_there() -> None:
    model = load_bundle(fitted_once().bundle)
    lines = [f"2024-03-01 08:00:{i // 20:02}.000 | INFO | api | req-00abc001 token checked" for i in range(800)]
    lines[400] = lines[400].replace("INFO | api", "ERROR | api").replace("token checked", "query cancelled after 3 ms")
    courses = KeptCourses()
    model.classify(LogRecords.from_lines(lines), courses=courses)
    (course,) = courses.courses()
    assert len(course.steps) <= 160
    told = {line.position for line in course.finding.evidence}
    assert told <= {step.position for step in course.steps}
    assert sum(step.where == "left out" for step in course.steps) >= 1
    checked = [step for step in course.steps if step.where == "only there" and step.template.endswith("token checked")]
    assert checked == []


def test_what_somebody_expects_takes_no_place_among_the_worst(reported: Reported) -> None:
    model, records = load_bundle(fitted_once().bundle), read_records(fitted_once().log)
    worst = reported.courses[0].finding.anomaly_class
    courses = KeptCourses(as_shown=lambda finding: None if finding.anomaly_class == worst else finding)
    model.classify(records, courses=courses)
    assert len(courses.courses()) == 10
    assert {course.finding.anomaly_class for course in courses.courses()} == {3 - worst}


def test_of_many_findings_the_worst_and_some_of_each_kind_are_kept() -> None:
    model, records = load_bundle(fitted_once().bundle), read_records(fitted_once().log)
    few, many = KeptCourses(n_worst=2, n_of_kind=1), KeptCourses(n_worst=1000)
    model.classify(records, courses=few)
    findings = model.classify(records, courses=many, workers=3)
    assert {c.finding.id for c in many.courses()} == {f.id for f in findings}
    kept = [course.finding for course in few.courses()]
    assert 2 <= len(kept) <= 4
    assert {f.anomaly_class for f in kept} == {f.anomaly_class for f in findings}
    assert kept[0].score == max(f.score for f in findings if f.severity == kept[0].severity)


def test_what_fit_learnt_is_drawn(page: str) -> None:
    titles = re.findall(r'aria-label="([^"]+)"', page)
    assert {"When it happened", "What is alike", "How sure the kinds are", "Learning normal behaviour"} <= set(titles)
    assert "Does it work on this log" in titles
    assert len(plots_of(page)) == len(titles)


def test_with_truth_the_page_compares(reported: Reported) -> None:
    model, records = load_bundle(fitted_once().bundle), read_records(fitted_once().log)
    verdicts = model.classify(records, every_session=True)
    truth = {f.session_key: "fault" if f.is_anomaly else "" for f in verdicts}
    made = findings_page(replace(reported, findings=verdicts, truth=truth))
    assert "Found kinds against true ones" in made
    (heat,) = [one for figure in plots_of(made) for one in figure["data"] if one["type"] == "heatmap"]
    assert sum(int(n.replace(",", "") or 0) for row in heat["text"] for n in row) == len(verdicts)


def test_what_is_hidden_is_counted_even_if_that_is_all(reported: Reported) -> None:
    text = Shown(findings_page(replace(reported, findings=[], courses=[], n_hidden=7))).text
    assert "No other session of 260 is abnormal. 7 more are hidden, for somebody expects them." in text


def test_one_of_many_sessions_and_the_only_one_are_told_in_their_number(reported: Reported) -> None:
    (one, *_) = (finding for finding in reported.findings if finding.is_anomaly)
    said = {n: findings_page(replace(reported, findings=[one], n_sessions=n)) for n in (102, 1, None)}
    assert "1 of 102 sessions is abnormal" in said[102]
    assert "1 of 1 session is abnormal" in said[1]
    assert "1 session is abnormal" in said[None]


def test_nothing_abnormal_makes_a_short_page(reported: Reported) -> None:
    made = findings_page(replace(reported, findings=[], courses=[]))
    assert "No session of 260 is abnormal." in Shown(made).text
    assert '<div class="card"' not in made


def hostile_finding(finding: Finding) -> Finding:
    evidence = tuple(
        replace(line, text=HOSTILE, template=HOSTILE, source=HOSTILE,
                expected=tuple(replace(one, template=HOSTILE) for one in line.expected))
        for line in finding.evidence
    )  # fmt: skip
    cause = finding.cause and replace(finding.cause, matched=HOSTILE, source=HOSTILE)
    return replace(
        finding, evidence=evidence, cause=cause, session_key=HOSTILE, class_name=HOSTILE, source=HOSTILE,
        runbook="javascript:alert(1)", owner=HOSTILE, advice=HOSTILE,
    )  # fmt: skip


def hostile_course(course: Course) -> Course:
    steps = tuple(replace(step, text=step.text and HOSTILE, template=HOSTILE) for step in course.steps)
    unequal = UnequalCounts(HOSTILE, 0, HOSTILE, 1, 100, 99)
    return Course(hostile_finding(course.finding), steps, has_usual=True, unequal=(unequal,))


@pytest.fixture(scope="module")
def hostile(reported: Reported) -> str:
    classes = [
        replace(one, name=HOSTILE, templates=((HOSTILE, 0.5),), typical=(HOSTILE,), usual=(HOSTILE,), key=HOSTILE)
        for one in reported.classes
    ]
    return findings_page(
        replace(
            reported,
            findings=[hostile_finding(finding) for finding in reported.findings],
            classes=classes,
            courses=[hostile_course(course) for course in reported.courses],
            source=HOSTILE,
            summary={**reported.summary, "notes": [HOSTILE], "session_key_reason": HOSTILE},
        )
    )


def test_hostile_text_makes_no_tag_no_attribute_and_no_link(page: str, hostile: str) -> None:
    def shape(made: str) -> list[tuple[str, frozenset[str]]]:
        return sorted({(tag, frozenset(attrs)) for tag, attrs in Shown(made).tags}, key=str)

    assert set(shape(hostile)) <= set(shape(page))
    assert "javascript:alert" not in "".join(str(attrs) for _, attrs in Shown(hostile).tags)
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile


def test_the_page_allows_no_script_but_its_own_and_no_request(page: str) -> None:
    (policy,) = [attrs["content"] for tag, attrs in Shown(page).tags if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert not [attrs for _, attrs in Shown(page).tags if "src" in attrs]


def test_ten_thousand_findings_fit_into_six_megabytes(reported: Reported) -> None:
    many = [replace(f, id=f"{i:016x}") for i in range(10_000) for f in [reported.findings[i % len(reported.findings)]]]
    made = findings_page(replace(reported, findings=many))
    assert len(made.encode()) <= 6 * 1024 * 1024
    assert "9,700 more are not listed here; --output FILE has all." in Shown(made).text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_draws_every_chart_of_a_hostile_log_and_runs_nothing_of_it(
    hostile: str, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(hostile, encoding="utf-8")
    browser = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000", "--dump-dom",
         "--enable-logging=stderr", "--virtual-time-budget=10000", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<title>taken" not in browser.stdout
    assert browser.stdout.count('class="main-svg"') >= hostile.count('<div class="plot"')
    assert len(re.findall(r'class="plot js-plotly-plot"', browser.stdout)) == hostile.count('<div class="plot"')
    assert re.findall(r".*CONSOLE.*", browser.stderr) == []


def test_analyze_and_classify_write_the_page(tmp_path: Path) -> None:
    log = write_log(tmp_path / "service.log", service_lines(detail=f" {HOSTILE}"))
    report, bundle = tmp_path / "out" / "report.html", tmp_path / "b"
    run = CliRunner().invoke(app, ["analyze", str(log), *SMALL, "--report", str(report), "--bundle", str(bundle)])
    assert run.exit_code == 0, run.stderr
    assert f"Report: {report}" in run.stderr
    first = Shown(report.read_text("utf-8"))
    assert "sessions are abnormal" in first.text
    words = ["classify", str(log), "--bundle", str(bundle), "--report", str(report), "--evidence", "none"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert "| ERROR | api |" in first.text
    assert "| ERROR | api |" not in Shown(report.read_text("utf-8")).text
    words[-1] = "redacted"
    words[words.index(str(report))] = str(tmp_path / "x.txt")
    assert CliRunner().invoke(app, words).exit_code == 2


def test_an_axis_of_few_sessions_has_a_tick_for_each_and_none_between() -> None:
    assert _session_axis(1)["dtick"] == _session_axis(5)["dtick"] == 1
    assert "dtick" not in _session_axis(6)
