"""The parts of a page: text made harmless, tables, plots, and the page that holds them and needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence

from enhanced_deeplog.logs.foreign_text import printable
from enhanced_deeplog.report.figure_parts import DARK, MIDDLE, PALE, Plot

__all__ = ["as_html", "page", "paragraph", "plot", "side_by_side", "table"]

# Rests on no escaping: only the two scripts of the page run, told by their digests, and nothing is fetched.
_POLICY = "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:"

_STYLE = """
:root { color-scheme: light dark; --text: #222; --page: white; --faint: #666; --line: #ddd; --panel: #f6f7f8;
  --link: #1f66b0; --mark: #fff1c2; --only: #fbdedb; --usual: #e4efe4; --good: #23733b; --bad: #b3261e;
  --dark: #444444; --middle: #7a7a7a; --pale: #bdbdbd; }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --page: #16181c; --faint: #a2a6ad; --line: #383c43;
  --panel: #1f2227; --link: #7db4ea; --mark: #4d4115; --only: #552723; --usual: #22382a; --good: #6fc48a;
  --bad: #f2857c; --dark: #c4c4c4; --middle: #9a9a9a; --pale: #6b6b6b; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto; padding: 16px;
  max-width: 1160px; }
h1 { font-size: 26px; line-height: 1.25; margin: 8px 0; }
h2 { font-size: 21px; margin: 48px 0 8px; padding-bottom: 4px; border-bottom: 1px solid var(--line); }
h3 { font-size: 17px; margin: 32px 0 4px; overflow-wrap: anywhere; }
h4 { font-size: 15px; margin: 16px 0 2px; }
p { margin: 4px 0 12px; max-width: 80ch; overflow-wrap: anywhere; }
nav a { margin-right: 16px; white-space: nowrap; }
a { color: var(--link); }
.note { color: var(--faint); }
.scroll { overflow-x: auto; margin: 8px 0 16px; }
table { border-collapse: collapse; font-size: 14px; line-height: 1.35; }
th, td { padding: 4px 14px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--faint); vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.spread { display: block; color: var(--faint); font-size: 12px; }
.ours td { font-weight: 600; } .ours .spread { font-weight: 400; }
.met, .missed { white-space: nowrap; color: var(--good); } .missed { color: var(--bad); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 8px 32px; }
.plots > div, .wide > div { min-width: 0; } .wide { display: grid; grid-template-columns: minmax(0, 1fr); }
.key { list-style: none; margin: 0 0 16px; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; }
.key li { display: flex; overflow-wrap: anywhere; } .key span { flex: none; min-width: 20px; }
.key div { min-width: 0; }
.summary { font-size: 18px; }
.card { border: 1px solid var(--line); border-left: 6px solid var(--line); border-radius: 6px; padding: 4px 16px 8px;
  margin: 16px 0; }
.card h3 { margin: 8px 0 4px; }
.severity { font-weight: 600; } .critical, .high { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 16px; margin: 8px 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
dd ul { margin: 0; padding-left: 18px; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--link); overflow-wrap: anywhere; }
.course { font: 13px/1.45 ui-monospace, monospace; border-collapse: collapse; width: 100%; table-layout: fixed; }
.course td { border: 0; padding: 1px 8px 1px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.course .line { width: 9ch; text-align: right; color: var(--faint); }
.course .usual { width: 36%; color: var(--faint); }
.course .marked { background: var(--mark); } .course .only { background: var(--only); }
.course .missing .usual { background: var(--usual); }
.course .why { color: var(--faint); font-size: 12px; }
@media (max-width: 640px) { dl { grid-template-columns: 1fr; } dt { margin-top: 6px; } .course .usual { width: 40%; } }
"""

# Figures lie on the page as JSON and are drawn from there: no text of a log ever stands in a script. Where the page is
# dark, the colours of paper and ink are exchanged; those of data are seen on both.
_DRAW = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const exchanged = {"white": "#16181c", "#222222": "#dddddd", "#e9e9e9": "#33373d", "#999999": "#777777",
  "#444444": "#c4c4c4", "#7a7a7a": "#9a9a9a", "#bdbdbd": "#6b6b6b"};
const recoloured = value =>
  Array.isArray(value) ? value.map(recoloured)
  : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, recoloured(v)]))
  : Object.hasOwn(exchanged, value) ? exchanged[value] : value;
const draw = () => {
  for (const div of document.querySelectorAll(".plot")) {
    const figure = JSON.parse(div.nextElementSibling.textContent);
    const shown = dark.matches ? recoloured(figure) : figure;
    Plotly.react(div, shown.data, shown.layout, {responsive: true, displayModeBar: false});
  }
};
dark.addEventListener("change", draw);
draw();
"""

# Greys of keys, as the page has them in light and in dark.
_GREYS = {DARK: "var(--dark)", MIDDLE: "var(--middle)", PALE: "var(--pale)"}


def as_html(text: str, limit: int = 200) -> str:
    """Foreign text as text of a page.

    Example:
        >>> as_html("<b> & co")
        '&lt;b&gt; &amp; co'
    """
    return html.escape(printable(text, limit))


def paragraph(text: str, *, of_class: str = "") -> str:
    """A paragraph; `text` is escaped here."""
    shown = f' class="{of_class}"' if of_class else ""
    return f"<p{shown}>{as_html(text, 2000)}</p>"


def table(header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], *, n_texts: int = 1) -> str:
    """A table that scrolls by itself where the screen is narrow.

    Args:
        header: Of each column; escaped here.
        rows: The class of each row, and its cells as HTML.
        n_texts: So many columns hold texts; those after them hold numbers.
    """

    def cells(tag: str, texts: Iterable[str]) -> str:
        kinds = ("" if i < n_texts else ' class="number"' for i in range(len(header)))
        return "".join(f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, texts, strict=True))

    head = f"<thead><tr>{cells('th', map(as_html, header))}</tr></thead>"
    body = "".join(f'<tr class="{of_class}">{cells("td", row)}</tr>' for of_class, row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def plot(made: Plot) -> str:
    """A plot with its title, how to read it, and its key."""
    entries = "".join(
        f'<li><span style="color: {_GREYS.get(one.colour, one.colour)}">{one.mark}</span>'
        f"<div>{as_html(one.text, 80)}</div></li>"
        for one in made.key
    )
    # The three characters that could end the script or begin another one; JSON says them otherwise.
    figure = json.dumps(made.figure, allow_nan=False)
    for character in "<>&":
        figure = figure.replace(character, f"\\u{ord(character):04x}")
    return (
        f"<div><h4>{as_html(made.title)}</h4>{paragraph(made.how_to_read)}"
        f'<div class="plot" style="height: {made.height}px" role="img" aria-label="{as_html(made.title)}"></div>'
        f'<script type="application/json">{figure}</script>'
        f'<ul class="key">{entries}</ul></div>'
    )


def side_by_side(plots: Iterable[Plot]) -> str:
    """Plots beside one another, or below one another where the screen is narrow."""
    made = "".join(plot(one) for one in plots)
    return f'<div class="plots">{made}</div>' if made else ""


def page(title: str, introduction: str, sections: Sequence[tuple[str, str]]) -> str:
    """The page.

    Args:
        title: Escaped here.
        introduction: HTML.
        sections: The heading of each, escaped here, and its HTML; those without any are left out.
    """
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), _DRAW]
    policy = _POLICY.format(scripts=" ".join(map(_digest, scripts)))
    running = "\n".join(f"<script>{script}</script>" for script in scripts)
    shown = [(f"s{i}", heading, body) for i, (heading, body) in enumerate(sections, 1) if body]
    links = "".join(f'<a href="#{name}">{as_html(heading)}</a> ' for name, heading, _ in shown)
    bodies = "\n".join(f'<h2 id="{name}">{as_html(heading)}</h2>\n{body}' for name, heading, body in shown)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{as_html(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{as_html(title)}</h1>
{introduction}
<nav>{links}</nav>
<noscript><p>The plots need JavaScript, which is part of this page; tables don't.</p></noscript>
{bodies}
{running}
</body>
</html>
"""


def _digest(script: str) -> str:
    """As a content security policy names a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
