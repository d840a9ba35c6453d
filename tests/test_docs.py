"""The documents say what the program does: commands, settings, examples and links are checked against it.

`python tests/test_docs.py` writes what is generated: docs/cli.md, and the table of settings in docs/configuration.md.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import io
import json
import re
import shlex
import tokenize
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer

import enhanced_deeplog
from enhanced_deeplog import config as settings_module
from enhanced_deeplog.causes import CauseRules
from enhanced_deeplog.cli import app
from enhanced_deeplog.cli.options import Reading, Settings
from enhanced_deeplog.config import Block, Config
from enhanced_deeplog.knowledge import Knowledge

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CLI, CONFIGURATION = DOCS / "cli.md", DOCS / "configuration.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TRANSLATED = [
    (ROOT / "README.md", ROOT / "README.zh-CN.md"),
    (DOCS / "getting-started.md", DOCS / "getting-started.zh-CN.md"),
]
SETTINGS_MARKS = ("<!-- settings:begin -->", "<!-- settings:end -->")
CHINESE = re.compile("[\u3000-\u9fff\uff00-\uffef]")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- What stands in a page ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fence:
    """A block of code in a page."""

    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of ours in it."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        shown = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        lines = shown or (joined.splitlines() if self.language in ("bash", "") else [])
        found = []
        for line in lines:
            if re.match(r"(enhanced-deeplog|edl)\s", line):
                words = shlex.split(line, comments=True)
                ends = [i for i, word in enumerate(words) if word in ("|", ">", ">>", "2>", "&&", ";", "<")]
                found.append(words[1 : ends[0] if ends else None])
        return found


def fences(page: Path) -> list[Fence]:
    found = re.findall(r"^```([a-z]*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [Fence(language, text) for language, text in found]


def without_fences(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", without_fences(page), re.MULTILINE)]


def anchors(page: Path) -> set[str]:
    """As the usual renderers make them of headings."""
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "") for _, text in headings(page))
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in plain}


# --- The reference of commands --------------------------------------------------------------------------------------


def commands(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its full name, those of `classes` too."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        yield f"{before}{name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")


GROUPS = {
    "How logs are read": [f"--{field.name.replace('_', '-')}" for field in fields(Reading)],
    "Settings of a fit": [f"--{field.name.replace('_', '-')}" for field in fields(Settings)],
}


def cli_reference() -> str:
    """docs/cli.md."""
    parts = [
        "# Commands",
        "Made from the commands themselves by `python tests/test_docs.py`; a test proves that nothing is missing. "
        "`enhanced-deeplog COMMAND --help` shows the same. `edl` is the same command, shorter.",
        "Results go to stdout, messages and progress to stderr. Exit codes: [output.md](output.md#exit-codes).",
        "\n".join(f"- [{name}](#{name.replace(' ', '-')}): {_first(command.help)}" for name, command in commands()),
        "`enhanced-deeplog --version` shows the version.",
    ]
    of_fit = {param.opts[0]: param for param in dict(commands())["fit"].params}
    for title, options in GROUPS.items():
        parts += [f"## {title}", "Options that several commands share.", _table([of_fit[option] for option in options])]
    parts += [part for name, command in commands() for part in _section(name, command)]
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: Any) -> Iterator[str]:
    yield f"{'##' if ' ' not in name else '###'} {name}"
    yield re.sub(r"(?<!\n)\n(?!\n)", " ", _in_cells(command.help).strip())
    if hasattr(command, "commands"):
        yield "Its commands: " + ", ".join(f"[{one}](#{name}-{one})" for one in command.commands) + "."
        return
    shown = [param for param in command.params if param.name != "help"]
    given = [_word(param) for param in shown if not param.opts[0].startswith("-")]
    needed = [f"{param.opts[0]} {param.metavar}" for param in shown if param.opts[0].startswith("-") and param.required]
    yield f"```\nenhanced-deeplog {' '.join([name, *given, *needed, '[OPTIONS]'])}\n```"
    options = {param.opts[0] for param in shown}
    shared = [title for title, of_group in GROUPS.items() if set(of_group) <= options]
    own = [param for param in shown if not any(param.opts[0] in GROUPS[title] for title in shared)]
    if own:
        yield _table(own)
    if shared:
        links = " and ".join(f"[{title}](#{title.lower().replace(' ', '-')})" for title in shared)
        yield f"And the options of {links}."


def _word(param: Any) -> str:
    word = param.metavar or param.name.upper()
    word += "..." if param.nargs == -1 else ""
    return word if param.required else f"[{word}]"


def _table(params: list[Any]) -> str:
    rows = [f"| {_option(param)} | {_in_cells(param.help or '')} | {_default(param)} |" for param in params]
    return "\n".join(["| option | what it does | if left away |", "|---|---|---|", *rows])


def _option(param: Any) -> str:
    if not param.opts[0].startswith("-"):
        return f"`{_word(param)}`"
    names = ", ".join(f"`{option}`" for option in [*param.opts, *param.secondary_opts])
    kind = getattr(param, "is_flag", False)
    choices = "\\|".join(param.default.__class__) if hasattr(param.default.__class__, "__members__") else ""
    metavar = param.metavar or choices
    return names if kind or not metavar else f"{names} `{metavar}`"


def _default(param: Any) -> str:
    if param.required:
        return "must be given"
    if param.default is None or param.default == () or getattr(param, "is_flag", False):
        return ""
    return f"`{param.default}`"


def _first(text: str) -> str:
    return _in_cells(re.split(r"\n\n", text)[0].replace("\n", " ").strip())


def _in_cells(text: str) -> str:
    return re.sub(r"<(?=[A-Za-z])", r"\\<", text).replace("|", "\\|")


def test_the_reference_of_commands_is_what_the_commands_say() -> None:
    assert CLI.read_text("utf-8") == cli_reference(), "run: python tests/test_docs.py"


def test_the_reference_has_every_command_and_every_option() -> None:
    text = CLI.read_text("utf-8")
    for name, command in commands():
        assert re.search(rf"^##+ {name}$", text, re.MULTILINE), name
        for param in command.params:
            if param.name != "help":
                assert _option(param) in text, (name, param.opts)


# --- The settings ---------------------------------------------------------------------------------------------------


def comments_of(source: str) -> dict[tuple[str, str], str]:
    """The comment of each field of each class: behind it, or in the lines before it."""
    by_line = {
        token.start[0]: (token.string.lstrip("# "), token.line.strip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    of_lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
                    own = next((by_line[line][0] for line in of_lines if line in by_line), "")
                    above, alone = by_line.get(field.lineno - 1, ("", False))
                    found[node.name, field.target.id] = own or (above if alone else "")
    return found


def blocks_of(source: str) -> dict[str, str]:
    return dict(re.findall(r'^    "(\w+)",  # (.+)$', source, re.MULTILINE))


def settings_tables() -> str:
    """Every section and setting, with its values, its default and its comment."""
    source = Path(settings_module.__file__).read_text("utf-8")
    comments = comments_of(source)
    parts = []
    for name, field in Config.model_fields.items():
        if name == "seed":
            rows = [_setting_row("seed", field, comments["Config", "seed"])]
            parts.append("### Of the whole fit\n\n" + _settings_table(rows))
    for section, field in Config.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and hasattr(model, "model_fields")):
            continue
        rows = [
            _setting_row(f"{section}.{name}", one, comments[model.__name__, name])
            for name, one in model.model_fields.items()
        ]
        parts.append(f"### {section}\n\n{(model.__doc__ or '').strip()}\n\n{_settings_table(rows)}")
    blocks = blocks_of(source)
    table = "\n".join(f"| `{name}` | {blocks[name]} |" for name in typing.get_args(Block))
    parts.append(f"### Blocks of features\n\n| block | which question it answers |\n|---|---|\n{table}")
    return "\n\n".join(parts)


def _settings_table(rows: list[str]) -> str:
    return "\n".join(["| setting | default | values | what it is |", "|---|---|---|---|", *rows])


def _setting_row(key: str, field: Any, comment: str) -> str:
    default = field.get_default()
    shown = "none" if default is None else f"`{json.dumps(default)}`"
    return f"| `{key}` | {shown} | {_values(field)} | {_in_cells(comment)} |"


def _values(field: Any) -> str:
    choices = typing.get_args(field.annotation)
    if typing.get_origin(field.annotation) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in choices)
    if field.annotation is bool:
        return "`true`, `false`"
    limits = []
    for one in field.metadata:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            value = getattr(one, name, None)
            if value is not None:
                limits.append(f"{sign} {value if value < 1 else format(int(value), ',')}")
    kinds = {int: "whole number", float: "number", str: "text"}
    plain = [kinds[kind] for kind in (field.annotation, *choices) if kind in kinds]
    if typing.get_origin(field.annotation) is tuple:
        plain = ["list"]
    none = ", or none" if type(None) in choices else ""
    return f"{plain[0]}{', ' if limits else ''}{', '.join(limits)}{none}"


def test_the_table_of_settings_is_what_the_models_say() -> None:
    text = CONFIGURATION.read_text("utf-8")
    begin, end = (text.index(mark) for mark in SETTINGS_MARKS)
    assert text[begin + len(SETTINGS_MARKS[0]) : end].strip() == settings_tables(), "run: python tests/test_docs.py"


def test_the_page_has_every_setting_and_says_what_it_is() -> None:
    text = CONFIGURATION.read_text("utf-8")
    data = Config().model_dump()
    keys = [f"{section}.{name}" for section, value in data.items() if isinstance(value, dict) for name in value]
    assert len(keys) > 40
    assert [key for key in ("seed", *keys) if f"| `{key}` |" not in text] == []
    begin, end = (text.index(mark) for mark in SETTINGS_MARKS)
    told = text[:begin] + text[end:]
    bare = re.findall(r"^\| `([\w.]+)` \|[^|]*\|[^|]*\| *\|$", text, re.MULTILINE)
    assert [key for key in bare if f"`{key}`" not in told] == []  # what has no comment is told of elsewhere on the page


# --- Examples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    by_name = dict(commands())
    for fence in fences(page):
        for words in fence.commands:
            if words and words[0] in ("--help", "--version", "COMMAND"):
                continue
            n_words = 2 if words[0] == "classes" else 1
            name = " ".join(words[:n_words])
            assert name in by_name, f"{name_of(page)}: {name} is no command"
            rest = words[n_words:]
            if "[OPTIONS]" in rest or any(word == "..." for word in rest):
                continue
            by_name[name].make_context(name, rest)  # says what it can't make out


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_pages_import_is_there(page: Path) -> None:
    for fence in fences(page):
        if fence.language == "python" and ">>>" not in fence.text:
            for node in ast.walk(ast.parse(fence.text)):
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(node.module or "")
                    missing = [one.name for one in node.names if not hasattr(module, one.name)]
                    assert missing == [], f"{name_of(page)}: {node.module} has no {missing}"


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text("utf-8")], ids=name_of)
def test_the_examples_of_a_page_print_what_it_says(page: Path) -> None:
    globs: dict[str, Any] = {"enhanced_deeplog": enhanced_deeplog}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for fence in fences(page):
        if ">>>" in fence.text:
            test = doctest.DocTestParser().get_doctest(fence.text, globs, name_of(page), str(page), 0)
            said = io.StringIO()
            assert runner.run(test, out=said.write, clear_globs=False).failed == 0, said.getvalue()
            globs = test.globs


def test_the_files_that_pages_show_can_be_read(tmp_path: Path) -> None:
    rules_file = tmp_path / "rules.toml"
    for name in ("causes.md", "knowledge.md", "configuration.md", "secrets.md"):
        shown = [fence.text for fence in fences(DOCS / name) if fence.language == "toml"]
        assert shown, name
        for text in shown:
            if name == "causes.md":
                rules_file.write_text(text, "utf-8")
                rules = CauseRules.read(rules_file)
                rule = rules.rules[0]
                lines = [*rule.matches, *rule.near_misses]
                said = [match is not None and match.rule == rule for match in rules.look_at(lines)]
                assert said == [True] * len(rule.matches) + [False] * len(rule.near_misses)
            elif name == "knowledge.md":
                assert Knowledge.from_toml(text, name).statements
            else:
                Config.of(tomllib.loads(text), where=name)


def test_pages_say_how_many_rules_there_are() -> None:
    n_rules = len(CauseRules.shipped().rules)
    for page in (ROOT / "README.md", ROOT / "README.zh-CN.md", DOCS / "causes.md"):
        assert re.findall(r"(\d+) (?:rules|条规则)", page.read_text("utf-8")) == [str(n_rules)], name_of(page)


# --- Links, and both languages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)}: {target}"


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=lambda page: page.name)
def test_both_languages_say_the_same(english: Path, chinese: Path) -> None:
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    ours, theirs = fences(english), fences(chinese)
    assert len(ours) == len(theirs)
    assert [one.commands for one in ours] == [one.commands for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.language == other.language
        if not CHINESE.search(other.text):
            assert one.text == other.text
        elif other.language in ("python", "bash"):
            assert without_comments(one.text) == without_comments(other.text)


def without_comments(code: str) -> list[str]:
    return [re.sub(r"\s*#.*$", "", line) for line in code.splitlines()]


def test_every_picture_is_shown_and_small() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text("utf-8"))
    }
    pictures = {*DOCS.glob("*.png"), *DOCS.glob("*.svg")}
    assert {name_of(picture) for picture in pictures - shown} == set()
    assert [name_of(picture) for picture in pictures if picture.stat().st_size > 400_000] == []


def test_every_page_is_reached_from_the_first_ones() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md", ROOT / "README.zh-CN.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_fences(page))
            waiting += [(page.parent / target).resolve() for target in targets if not re.match(r"[a-z]+:", target)]
    assert [name_of(page) for page in PAGES if page not in reached] == []


def write_generated() -> None:
    """Write what is generated."""
    CLI.write_text(cli_reference(), "utf-8")
    text = CONFIGURATION.read_text("utf-8")
    begin, end = (text.index(mark) for mark in SETTINGS_MARKS)
    text = f"{text[:begin]}{SETTINGS_MARKS[0]}\n{settings_tables()}\n{text[end:]}"
    CONFIGURATION.write_text(text, "utf-8")


if __name__ == "__main__":
    write_generated()
