"""Templates grow from sets of bodies, are looked up by what they say, and survive being saved."""

import csv
import gzip
import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.events import template_id
from enhanced_deeplog.logs.masks import WILDCARD, choose_masks, mask_bodies, normalise_bodies
from enhanced_deeplog.logs.templates import MAX_TOKENS, Template, TemplateMiner, parameters
from naive import naive_parameters

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# Few words, so that bodies resemble one another and templates form; and some that no masking leaves behind.
tokens = st.sampled_from(["a", "b", "c", "d", "e", "f", "<*>", "blk_<*>", "(<*>)", "<", "-", "", "é", "\0", "\ud800"])
bodies_of_words = st.lists(st.lists(tokens, max_size=5).map(" ".join), max_size=60)
any_bodies = st.one_of(bodies_of_words, st.lists(st.text(max_size=12), max_size=30))


def grown(bodies: Sequence[str], **options: float) -> TemplateMiner:
    miner = TemplateMiner(**options)  # type: ignore[arg-type]
    miner.learn(bodies)
    return miner


def texts(miner: TemplateMiner) -> list[str]:
    return [template.text for template in miner.templates]


def naive_match(miner: TemplateMiner, body: str) -> str | None:
    """The slow, obvious twin of `match`: try every template, take the most specific."""
    fitting = []
    for template in miner.templates:
        for pattern in (template.text, *template.aliases):
            ours, theirs = pattern.split(" ", MAX_TOKENS - 1), body.split(" ", MAX_TOKENS - 1)
            if len(ours) == len(theirs) and all(a in (WILDCARD, b) for a, b in zip(ours, theirs, strict=True)):
                fitting.append((sum(token == WILDCARD for token in ours), pattern, template.text))
    return min(fitting)[2] if fitting else None


# Growing


def test_a_position_of_many_values_varies_and_one_of_few_does_not() -> None:
    users = ["amy", "bob", "cid", "dot", "eve", "fay"]
    bodies = [f"session {verb} for {user}" for verb in ("opened", "closed") for user in users]
    assert texts(grown(bodies)) == ["session closed for <*>", "session opened for <*>"]
    assert texts(grown(bodies[:5])) == sorted(bodies[:5])


def test_several_positions_can_vary_together() -> None:
    bodies = [f"copy of {x} from {x * 2} to {x * 3} done" for x in "abcdef"]
    assert texts(grown(bodies)) == ["copy of <*> from <*> to <*> done"]


def test_a_first_token_needs_twice_the_evidence() -> None:
    bodies = [f"{name} logged in" for name in "abcdefghijkl"]
    assert len(grown(bodies[:11]).templates) == 11
    assert texts(grown(bodies)) == ["<*> logged in"]


def test_what_masks_found_in_every_body_varies_however_few_there_are() -> None:
    assert texts(grown(["synchronized to <*>,", "synchronized to LOCAL(<*>),"])) == ["synchronized to <*>"]
    for bodies in (["found <*> errors", "found no errors"], ["read blk_<*> again", "read job_<*> again"]):
        assert texts(grown(bodies)) == bodies


def test_bodies_that_share_too_little_stay_apart() -> None:
    bodies = [f"{x} {x} {x} end" for x in "abcdefghijkl"]
    assert texts(grown(bodies)) == sorted(bodies)
    assert texts(grown(bodies, similarity=0.25)) == sorted(bodies), "the first token groups before anything else"


def test_no_template_is_of_wildcards_and_punctuation_alone() -> None:
    bodies = [f"-- {x}" for x in "abcdefghij"]
    assert texts(grown(bodies)) == sorted(bodies)
    assert len(grown("abcdefghijklmnopqrst").templates) == 20


def test_odd_bodies_are_learnt_as_they_are() -> None:
    odd = ["", " ", "  ", "<*>", "<*> <*>", "...", "\0", "\ud800", "a" * 5000, "\u2028", "x<*>y <"]
    miner = grown(odd)
    assert miner.match(odd) == odd
    assert texts(miner) == sorted(odd)


def test_a_body_of_thousands_of_tokens_counts_its_tail_as_one() -> None:
    bodies = ["word " * 2000 + x for x in "abcdef"]
    (template,) = grown(bodies).templates
    assert template.text == "word " * (MAX_TOKENS - 1) + WILDCARD


@given(bodies_of_words)
def test_every_learnt_body_matches(bodies: list[str]) -> None:
    assert None not in grown(bodies, min_values=2).match(bodies)
    assert None not in grown(bodies, min_values=3).match(bodies)


@given(any_bodies.flatmap(lambda bodies: st.tuples(st.just(bodies), st.permutations(bodies))))
def test_order_and_repetition_of_bodies_never_matter(both: tuple[list[str], list[str]]) -> None:
    bodies, shuffled = both
    expected = grown(bodies, min_values=3).to_json()
    assert grown(shuffled + shuffled[:3], min_values=3).to_json() == expected
    assert grown(dict.fromkeys(shuffled, 7), min_values=3).to_json() == expected  # type: ignore[arg-type]


@given(bodies_of_words, bodies_of_words)
def test_more_learning_keeps_what_was_known(first: list[str], second: list[str]) -> None:
    miner = grown(first, min_values=3)
    before = texts(miner)
    miner.learn(second)
    assert None not in miner.match(first + second)
    known = {text for template in miner.templates for text in (template.text, *template.aliases)}
    assert known.issuperset(before), "a replaced template lives on as an alias"
    assert len(known) == sum(1 + len(template.aliases) for template in miner.templates)


@given(bodies_of_words)
def test_learning_the_same_again_changes_nothing(bodies: list[str]) -> None:
    miner = grown(bodies, min_values=3)
    before = miner.to_json()
    miner.learn(bodies)
    miner.learn([])
    assert miner.to_json() == before


def test_a_replaced_template_becomes_an_alias_of_its_successor() -> None:
    miner = grown(["session for amy", "session for bob"])
    miner.learn([f"session for {user}" for user in ("cid", "dot", "eve", "fay")])
    assert miner.templates == (Template("session for <*>", aliases=("session for amy", "session for bob")),)
    assert miner.match(["session for amy", "session for zoe"]) == ["session for <*>"] * 2
    assert miner.templates[0].template_id == template_id("session for <*>")


# Matching


@given(bodies_of_words, bodies_of_words, st.integers(2, 4))
def test_match_is_the_linear_scan_only_faster(learnt: list[str], asked: list[str], min_values: int) -> None:
    miner = grown(learnt[: len(learnt) // 2], min_values=min_values)
    miner.learn(learnt)
    asked += learnt
    assert miner.match(asked) == [naive_match(miner, body) for body in asked]


@given(any_bodies, any_bodies)
def test_match_never_learns(learnt: list[str], asked: list[str]) -> None:
    miner = grown(learnt, min_values=3)
    before = miner.to_json()
    miner.match(asked)
    assert miner.to_json() == before
    assert TemplateMiner().match(asked) == [None] * len(asked)


def test_the_most_specific_template_wins_then_the_first_by_text() -> None:
    miner = edited(*({"text": text} for text in ("a <*> <*>", "a b <*>", "x <*> c", "x b <*>", "x b d")))
    asked = ["a b c", "a x x", "x b c", "x b d", "x b e", "a b"]
    assert miner.match(asked) == ["a b <*>", "a <*> <*>", "x <*> c", "x b d", "x b <*>", None]


# Saving and editing


def edited(*templates: dict[str, object]) -> TemplateMiner:
    content = json.loads(TemplateMiner().to_json())
    content["templates"] = [{"aliases": [], **template} for template in templates]
    return TemplateMiner.from_json(json.dumps(content))


@given(any_bodies, any_bodies)
def test_a_loaded_miner_is_the_saved_one(learnt: list[str], asked: list[str]) -> None:
    miner = grown(learnt, min_values=3)
    text = miner.to_json()
    loaded = TemplateMiner.from_json(text.encode().decode())
    assert loaded.to_json() == text
    assert loaded.match(asked + learnt) == miner.match(asked + learnt)
    for both in (miner, loaded):
        both.learn(asked)
    assert loaded.to_json() == miner.to_json()


def test_the_masks_are_saved_too() -> None:
    miner = TemplateMiner(masks=choose_masks(extra={"order": "ORD[A-Z]+"}, without=["suffix"]))
    loaded = TemplateMiner.from_json(miner.to_json())
    assert loaded.mask(pl.Series(["ORDX eth0"])).to_list() == ["<*> eth0"]


def test_the_saved_text_can_be_read_and_edited_by_people() -> None:
    miner = TemplateMiner(masks=())
    miner.learn(["übung b", "a <*>"])
    assert miner.to_json() == (
        '{\n  "format": 1,\n  "min_values": 6,\n  "similarity": 0.5,\n  "masks": [],\n  "templates": [\n'
        '    {\n      "text": "a <*>",\n      "aliases": []\n    },\n'
        '    {\n      "text": "übung b",\n      "aliases": []\n    }\n  ]\n}\n'
    )
    merged = edited({"text": "VM <*>", "aliases": ["VM stopped early", "VM halted"]})
    assert merged.match(["VM stopped early", "VM up", "VM stopped late"]) == ["VM <*>", "VM <*>", None]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("{", "", "they are not valid JSON (Extra data: line 2 column 11 (char 11))."),
        ('"format": 1', '"format": 2', 'expected "format": 1; got 2.'),
        ('"min_values": 6', '"min_values": true', 'expected "min_values": a whole number; got True.'),
        ('"similarity": 0.5', '"similarity": "x"', "expected \"similarity\": a number; got 'x'."),
        ('"masks": []', '"masks": {}', 'expected "masks": a list; got {}.'),
        ('"masks": []', '"masks": [1]', 'expected {"name": text, "pattern": text} as a mask; got 1.'),
        (
            '"aliases": []',
            '"aliases": [1]',
            "expected {\"text\": text, \"aliases\": [text, ...]} as a template; got {'text': 'a', 'aliases': [1]}.",
        ),
        ('"aliases": []', '"aliases": ["a"]', "expected each template and alias once; got 'a'."),
        (
            '"masks"',
            '"mask"',
            "expected an object of ['format', 'masks', 'min_values', 'similarity', 'templates']; got "
            "{'format': 1, 'min_values': 6, 'similarity': 0.5, 'mask': [], "
            "'templates': [{'text': 'a', 'aliases': []}]}.",
        ),
    ],
)
def test_damaged_text_is_refused_with_the_reason(old: str, new: str, reason: str) -> None:
    miner = TemplateMiner(masks=())
    miner.learn(["a"])
    with pytest.raises(ConfigError) as error:
        TemplateMiner.from_json(miner.to_json().replace(old, new, 1))
    assert str(error.value).removeprefix("The templates can't be read: ") == reason


@pytest.mark.parametrize("text", ["", "null", "[]", "[" * 100_000, '{"format": NaN}', "\0"])
def test_text_that_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^The templates can't be read: "):
        TemplateMiner.from_json(text)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^min_values must be 2 or more, for one value varies nothing; it is 1\.$"):
        TemplateMiner(min_values=1)
    with pytest.raises(ConfigError, match=r"^similarity is a share of tokens, above 0 and up to 1; it is 0\.0\.$"):
        TemplateMiner(similarity=0.0)


# Parameters


@pytest.mark.parametrize(
    ("body", "template", "values"),
    [
        ("took 5 ms  for amy", "took <*> for <*>", ["5 ms", "amy"]),
        ("10.0.0.1:50010:Got it", "<*>:Got it", ["10.0.0.1:50010"]),
        ("eth0 up", "eth<*> up", ["0"]),
        ("delete blk_1 blk_2", "delete <*>", ["blk_1 blk_2"]),
        ("no values", "no values", []),
        ("something else", "took <*> for <*>", []),
        ("took  for", "took <*> for", []),
        ("aXbXb", "a<*>b", ["XbX"]),
        ("a <*> b", "a <*> b", ["<*>"]),
        ("(.*)+$ x", "(.*)+$ <*>", ["x"]),
        ("", "<*>", []),
        ("unknown", None, []),
    ],
)
def test_parameters_are_what_stands_for_the_wildcards(body: str, template: str | None, values: list[str]) -> None:
    assert parameters(pl.Series([body]), pl.Series([template])).to_list() == [values]
    many = [body] * 2000
    assert parameters(pl.Series(many), pl.Series([template] * 2000)).to_list() == [values] * 2000


@given(
    st.lists(
        st.tuples(st.sampled_from(["opened", "closed"]), st.from_regex("[a-z]{1,9}", fullmatch=True)),
        min_size=1,
    )
)
def test_parameters_put_back_into_the_template_give_the_body(parts: list[tuple[str, str]]) -> None:
    bodies = [f"session {verb} for user {user} on eth{len(user)}" for verb, user in parts]
    masked = mask_bodies(pl.Series(bodies)).to_list()
    templates = grown(masked, min_values=2).match(masked)
    for body, template, values in zip(
        bodies, templates, parameters(pl.Series(bodies), pl.Series(templates)), strict=True
    ):
        assert template is not None
        literals = template.split(WILDCARD)
        assert "".join(a + b for a, b in zip(literals, [*values, ""], strict=True)) == body


bodies_and_literals = st.tuples(
    st.text("ab ", max_size=7), st.lists(st.text("ab ", max_size=2), min_size=1, max_size=4)
)


@given(st.lists(bodies_and_literals, max_size=3), st.sampled_from([1, 2000]))
def test_parameters_are_the_shortest_ways_to_fill_a_template_in(pairs: list[tuple[str, list[str]]], times: int) -> None:
    bodies = normalise_bodies(pl.Series([body for body, _ in pairs], dtype=pl.String)).to_list()
    templates = [WILDCARD.join(literals) for _, literals in pairs]
    schema = {"body": pl.String, "template": pl.String}
    many = pl.DataFrame({"body": bodies * times, "template": templates * times}, schema=schema)
    found = parameters(many["body"], many["template"]).to_list()
    assert found == [naive_parameters(*one) for one in zip(bodies, templates, strict=True)] * times


def test_a_template_of_hundreds_of_wildcards_costs_little() -> None:
    body = "k=" + ";".join(f"v{i}" for i in range(500)) + " end"
    template = "k=" + ";".join([WILDCARD] * 500) + " end"
    values = parameters(pl.Series([body] * 2000), pl.Series([template] * 2000)).to_list()
    assert values == [[f"v{i}" for i in range(500)]] * 2000  # by one regular expression it would take minutes


# Speed, hostile sets, and drain3 as the oracle


def test_hostile_sets_of_bodies_cost_little() -> None:
    n = MAX_TOKENS
    chain = [" ".join("a" if j < i else f"{(i * j + k) % 7}x" for j in range(n)) for i in range(n) for k in range(7)]
    words = [f"{i % 97}q {i % 89}r {i % 83}s {i % 79}t" for i in range(20_000)]
    begin = time.perf_counter()
    miner = grown([*chain, *words])
    assert None not in miner.match([*chain, *words])
    assert time.perf_counter() - begin < 10


def drain3_groups(masked: Sequence[str], similarity: float) -> list[int]:
    drain3 = pytest.importorskip("drain3")
    from drain3.template_miner_config import TemplateMinerConfig

    logging.getLogger("drain3").setLevel(logging.ERROR)
    config = TemplateMinerConfig()
    config.drain_sim_th = similarity
    miner = drain3.TemplateMiner(config=config)
    return [miner.add_log_message(body)["cluster_id"] for body in masked]


def agreement(truth: Sequence[object], found: Sequence[object]) -> tuple[float, float]:
    """Grouping accuracy and its F1 over templates: lines in groups that are exactly right; such groups."""
    groups: list[dict[object, set[int]]] = [defaultdict(set), defaultdict(set)]
    for by_name, names in zip(groups, (truth, found), strict=True):
        for line, name in enumerate(names):
            by_name[name].add(line)
    in_truth, in_found = ({frozenset(lines) for lines in by_name.values()} for by_name in groups)
    right = in_truth & in_found
    return sum(map(len, right)) / len(truth), 2 * len(right) / (len(groups[0]) + len(groups[1]))


def test_simple_bodies_are_grouped_as_by_drain3() -> None:
    users = ["amy", "bob", "cid", "dot", "eve", "fay", "gil", "hal"]
    bodies = [f"user {user} logged in from <*> port <*>" for user in users]
    bodies += [f"removing file {user} of user {user} now" for user in users]
    bodies += ["disk full", "disk <*> is full of old files", "Connection reset by peer", "shutting down"]
    assert agreement(drain3_groups(bodies, 0.5), grown(bodies).match(bodies)) == (1.0, 1.0)


@pytest.mark.needs_shared_data
@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real logs in ../shared/data are absent")
def test_ten_systems_are_parsed_better_than_by_drain3() -> None:
    ours, theirs = [], []
    for path in sorted((SHARED_DATA / "loghub_2k").glob("*_structured.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        truth = [row["EventId"] for row in rows]
        masked = mask_bodies(pl.Series([row["Content"] for row in rows])).to_list()
        ours.append(agreement(truth, grown(masked).match(masked)))
        theirs.append(agreement(truth, drain3_groups(masked, 0.4)))
    assert len(ours) == 10
    mean = [sum(column) / len(ours) for column in zip(*ours, strict=True)]
    assert mean > [sum(column) / len(theirs) for column in zip(*theirs, strict=True)]
    assert mean[0] > 0.95
    assert mean[1] > 0.95


@pytest.mark.needs_shared_data
@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real logs in ../shared/data are absent")
def test_hdfs_has_a_few_dozen_templates() -> None:
    with gzip.open(SHARED_DATA / "hdfs" / "HDFS_2percent.log.gz", "rt") as file:
        lines = pl.Series(file.read().splitlines())
    masked = mask_bodies(lines.str.replace(r"^(?:\S+ ){4}\S+: ", "")).unique().to_list()
    assert 20 <= len(grown(masked).templates) <= 46


@settings(max_examples=6)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=4).map(" ".join), max_size=40))
def test_every_template_is_supported_by_a_learnt_body(bodies: list[str]) -> None:
    miner = grown(bodies, min_values=3)
    for text in texts(miner):
        assert any(naive_match(edited({"text": text}), body) for body in bodies), text
