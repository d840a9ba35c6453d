"""What becomes `<*>`, what stays, and that hostile lines change neither."""

import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.logs.masks import (
    CUT_MARK,
    DEFAULT_MASKS,
    MAX_BODY,
    Mask,
    choose_masks,
    mask_bodies,
    normalise_bodies,
)


def masked(body: str, **options: object) -> str:
    return mask_bodies(pl.Series([body]), **options)[0]  # type: ignore[arg-type]


# Pieces of which bodies that try to break the masks are made.
PIECES = [
    *(
        "<*>",
        "<",
        "*",
        ">",
        "a",
        "b",
        "x",
        "user",
        "id",
        "=",
        "1",
        "23",
        "456",
        "0x1f",
        "_",
        "-",
        "+",
        ".",
        "/",
        ":",
    ),
    *(
        ";",
        ",",
        "~",
        "#",
        "@",
        "?",
        "&",
        "%",
        "(",
        ")",
        "[",
        "]",
        "{",
        "|",
        "'",
        '"',
        "\\",
        "$",
        "^",
        "!",
        "GET",
    ),
    *(
        "Jul",
        "Fri",
        "PDT",
        "2005",
        "08:16:53",
        "ms",
        "KB",
        "s",
        "://",
        "http",
        "blk_",
        "C:",
        "de",
        "ad",
        "::",
        "fe80",
    ),
    *("é", "µ", "日", "K", " ", "  ", "\t", "\n", "\0", "\x1b[31m", "\u00a0", "\u2028", "\u0661"),
]
hostile_bodies = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), min_size=1, max_size=40)


@pytest.mark.parametrize(
    "part",
    [
        "42",
        "-42",
        "+1.5e3x",
        "1,024,000",
        "3.14",
        "12ms",
        "3.5s",
        "64MB",
        "3.2 KiB",
        "10.250.19.102",
        "10.250.19.102:54106",
        "/10.250.19.102:54106",
        "2001:db8:85a3:8d3:1319:8a2e:370:7348",
        "fe80::1",
        "00:1A:2b:3c:4D:5e",
        "123e4567-e89b-12d3-a456-426614174000",
        "abcdefab-cdef-abcd-efab-abcdefabcdef",
        "0xDEADBEEF",
        "-0x1f",
        "5f3a9cd2e1",
        "req-5f3a9c",
        "req-fdce5efcfffe",
        "req-fdcebefcfffe",
        "deadbeef",
        "req-abcdef1a-cdef-4bcd-9fab-abcdefabcdef",
        "blk_-1608999687919862906",
        "blk_1608999687919862906",
        "task_200811092030_0001_m_000590_0",
        "part-00081",
        "vm-7.example.org",
        "ann.other@example.org",
        "https://example.org/a?b=c#d",
        "hdfs://10.0.0.1:9000/x",
        "/user/root/part-00590",
        "/v2/servers/detail?all=True&host=x",
        "~/notes",
        "./run.sh",
        "/index.html",
        "C:\\Windows\\System32\\x.dll",
        "2017-05-16",
        "2017-05-16T05:00:00.123Z",
        "2017-05-16 05:00:00,123",
        "08:16:53",
        "Jul 01 08:16:53",
        "Fri Jul 01 08:16:53 PDT 2005",
        "01-Jul-2005 08:16:53",
        "blk_1 blk_2 blk_3",
        "an14 an15 an16, an17",
        "1, 2, 3 and-4",
    ],
)
def test_a_variable_part_becomes_one_wildcard(part: str) -> None:
    assert masked(f"before {part} after") == "before <*> after"
    assert masked(f"before ({part}), after.") == "before (<*>), after."


@pytest.mark.parametrize(
    "body",
    [
        "Connection closed by peer",
        "log4j and jk2_init() and Slf4jLogger started",
        "added facade, effaced it",
        "status=ok result=failed",
        "either and/or both",
        "<b>bold</b> <br/>",
        "std::vector Face::add()",
        "java.io.IOException: broken pipe",
        "well-known pre-existing",
        "*** ------ ===",
        "BLOCK* NameSystem.delete:",
    ],
)
def test_words_stay(body: str) -> None:
    assert masked(body) == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("eth0 is up", "eth<*> is up"),
        ("user=bob uid=root status=ok", "user=<*> uid=<*> status=ok"),
        ("user='bob' User=Bob container_name=web", "user='<*>' User=<*> container_name=<*>"),
        ("file=src/main.c mac='fa:16:3e:2e:11:cc'", "file=<*> mac='<*>'"),
        ("ip=10.0.0.1 v=9 t=4", "ip=<*> v=<*> t=<*>"),
        ("10.1.1.1:50010:Got exception", "<*>:Got exception"),
        ("took 5 ms for 3 files", "took <*> for <*> files"),
        ("12/rack and 5/sec", "<*> and <*>"),
        ("ask 10.1.1.1:50010 to delete blk_1 blk_2", "ask <*> to delete <*>"),
        ("ask 10.1.1.1:50010 to delete blk_1 blk_2 blk_3 blk_-4", "ask <*> to delete <*>"),
        ("温度42度", "温度<*>度"),
        ("é5", "é<*>"),
    ],
)
def test_what_says_which_kind_stays_beside_what_says_which_one(body: str, expected: str) -> None:
    assert masked(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", ""),
        (None, ""),
        ("   \t ", ""),
        ("\0", ""),
        ("a\0b\x1b[31mred\x1b[0m\r\n", "a b red"),
        (" a \t b\n\n  c ", "a b c"),
        ("...", "..."),
        ("5", "<*>"),
        ("<*>", "<*>"),
        ("<*> <*>, <*>", "<*>"),
        ("x<*>y", "x<*>y"),
        ("\u0661\u0662", "\u0661\u0662"),  # digits of other scripts are no ASCII digits
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_odd_bodies_are_bodies_too(body: str | None, expected: str) -> None:
    assert mask_bodies(pl.Series([body], dtype=pl.String)).to_list() == [expected]


def test_no_bodies_give_no_bodies() -> None:
    assert mask_bodies(pl.Series("body", [], dtype=pl.String)).to_list() == []
    assert mask_bodies(pl.Series("body", [None, None])).to_list() == ["", ""]
    assert mask_bodies(pl.Series("body", ["a"])).name == "body"


@given(hostile_bodies)
def test_masking_twice_is_masking_once(bodies: list[str]) -> None:
    once = mask_bodies(pl.Series(bodies))
    assert mask_bodies(once).to_list() == once.to_list()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_masking_twice_is_masking_once_for_any_text(bodies: list[str]) -> None:
    once = mask_bodies(pl.Series(bodies, dtype=pl.String))
    assert mask_bodies(once).to_list() == once.to_list()


@given(hostile_bodies)
def test_a_body_is_masked_alike_alone_and_in_company(bodies: list[str]) -> None:
    assert mask_bodies(pl.Series(bodies)).to_list() == [masked(body) for body in bodies]


@given(hostile_bodies)
def test_masked_bodies_are_on_one_line_with_single_blanks(bodies: list[str]) -> None:
    for body in mask_bodies(pl.Series(bodies)):
        assert body == body.strip(" ")
        assert "  " not in body
        assert not any(letter < " " for letter in body)


def test_a_long_body_is_cut_between_two_tokens_and_says_so() -> None:
    once = masked("(1) " * MAX_BODY)
    assert once.endswith(f" (<*>) {CUT_MARK}")
    assert len(once) <= MAX_BODY
    assert masked(once) == once
    assert masked("x" * 2 * MAX_BODY) == "x" * (MAX_BODY - len(CUT_MARK) - 1) + f" {CUT_MARK}"
    assert normalise_bodies(pl.Series(["é" * MAX_BODY]))[0] == "é" * MAX_BODY


PUMPS = [
    "a.",
    "1.",
    "a1-",
    "/a",
    "./",
    "<*> ",
    "an<*>, ",
    "1 ",
    "x=",
    "user=a ",
    "fe8:",
    "a@",
    "a://",
    "\0",
    "Jul 1 ",
]


@pytest.mark.parametrize("pump", PUMPS)
def test_no_line_costs_much(pump: str) -> None:
    bodies = pl.Series([pump * (MAX_BODY // len(pump)), pump * (1_000_000 // len(pump))] * 10)
    begin = time.perf_counter()
    once = mask_bodies(bodies)
    assert time.perf_counter() - begin < 2, "20 lines, ten of them of 1 MB"
    assert mask_bodies(once).to_list() == once.to_list()


def test_own_masks_come_first_and_default_ones_can_be_left_out() -> None:
    masks = choose_masks(extra={"order": r"\bORD[A-Z]+\b", "colour": "(?i)red|blue"}, without=["suffix"])
    assert [mask.name for mask in masks[:2]] == ["order", "colour"]
    assert masked("ORDXY RED or Blue on eth0", masks=masks) == "<*> or <*> on eth0"
    assert masked("user=bob", masks=choose_masks(without=["key_value"])) == "user=bob"
    assert masked("in 5 ms", masks=()) == "in 5 ms"
    assert choose_masks() == DEFAULT_MASKS


def test_a_mask_can_keep_what_says_which_part_it_is() -> None:
    masks = choose_masks(extra={"job": r"(?P<keep>\bjob )\w+"})
    assert masked("the job nightly failed", masks=masks) == "the job <*> failed"


def test_classes_of_a_pattern_are_ascii() -> None:
    masks = (Mask("number", r"[\d.]+"), Mask("word", r"\bw\w+\b"), Mask("gap", r"#\s\S\D\W"))
    assert masked("1.5 \u0663 was wé # a-- x", masks=masks) == "<*> \u0663 <*> wé <*> x"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (
            "(?<=id )x",
            " is no valid Rust regular expression: look-around, including look-ahead and look-behind, "
            "is not supported. Look-around and back-references don't exist there; describe the part itself, "
            r"with \b around it.",
        ),
        (
            "(a",
            " is no valid Rust regular expression: unclosed group. Look-around and back-references "
            r"don't exist there; describe the part itself, with \b around it.",
        ),
        (
            "a*",
            " matches the empty text, so it would put <*> between any two characters. Let it match one "
            "character at least, with + instead of *.",
        ),
        ("(?P<x>a)", " names a group other than 'keep'; write (?:...) instead."),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_with_the_reason(pattern: str, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose_masks(extra={"mine": pattern})
    assert str(error.value) == f"Mask 'mine': the pattern {pattern!r}{text}"


@pytest.mark.parametrize("pattern", [r"(a)\1", "a{1000000}", r"\p{Zork}", "", r"\b", "(?x) a # (", "a)|(b", "\x00("])
def test_no_pattern_gets_past_the_check_and_fails_later(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"^Mask 'mine': "):
        Mask("mine", pattern)


def test_wrong_names_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"^No mask is called 'uud'; did you mean 'uuid'\? There are redacted, ti"):
        choose_masks(without=["uud"])
    with pytest.raises(ConfigError, match=r"^A mask 'url' exists already: leave the default one out, or choose "):
        choose_masks(extra={"url": "x"})
    assert choose_masks(extra={"url": "x"}, without=["url"])[0] == Mask("url", "x")


def test_json_bodies_are_a_structure_of_keys_in_order_with_their_values_masked() -> None:
    bodies = pl.Series(
        [
            'paid {"total":17,"by":"card","to":{"id":"a1b2c3","ok":true}}',
            'paid {"by":"card","to":{"ok":true,"id":"f00e1"},"total":3}',
        ]
    )
    assert set(mask_bodies(bodies)) == {'paid {"by": "card", "to": {"id": "<*>", "ok": true}, "total": <*>}'}
    assert mask_bodies(pl.Series(['{"a":1', "{'a': 1}", '{"a": }'])).to_list() == ['{"a":<*>', "{'a': <*>}", '{"a": }']


def test_sql_is_a_fingerprint_without_literals() -> None:
    bodies = [
        "select id from orders where name = 'O''Hara' and day in ('Mon', 'Tue')",
        "INSERT INTO t VALUES ('a b', 7)",
    ]
    assert mask_bodies(pl.Series(bodies)).to_list() == [
        "select id from orders where name = <*> and day in (<*>)",
        "INSERT INTO t VALUES (<*>)",
    ]
    english = [
        "can't select node 'a' from pool",
        "can't execute 'ls' on host 'a'",
        "can't update file 'x': limit is set",
    ]
    assert mask_bodies(pl.Series(english)).to_list() == english


def test_json_that_would_lose_something_stays_as_it_is() -> None:
    bodies = ['{"a":1,"a":2}', '{"a": "\\ud83d"}', '{"a":1.10}', '{"a":"\\u007f"}', '{"b":NaN}']
    assert normalise_bodies(pl.Series(bodies)).to_list() == bodies
