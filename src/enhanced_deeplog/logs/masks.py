r"""Masks: the variable parts of a body become `<*>`, for a whole column of bodies at once.

Every mask goes through one engine, Polars' Rust regex, on files and on streams alike, because Python's `re`
does not agree with it on `\w`, `\b`, `\s` and `$`. It is linear in time: no pattern and no line can hang it.

Masking twice is masking once. Three rules keep that true for the masks below; a mask of your own that breaks
them works, but templates are then less stable.

1. `<*>` itself is matched first and left alone, and no mask matches `<`, `>` or `*`.
2. A match that begins or ends with a word character has a word boundary there, so what is left beside it
   reads the same whether its neighbour is `5f3a9c` or `<*>`. (`suffix` begins in a word, after letters only.)
3. A match takes the path that hangs on it along (`10.1.1.1/rack`): no path must seem to begin after `<*>`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.logs.structured_bodies import spread_json, without_object_lists, without_sql_literals
from enhanced_deeplog.redaction import REDACTED
from enhanced_deeplog.rust_regex import matches_nothing, regex_error

__all__ = ["DEFAULT_MASKS", "MAX_BODY", "WILDCARD", "Mask", "choose_masks", "mask_bodies", "normalise_bodies"]

WILDCARD = "<*>"
MAX_BODY = 4096  # characters of a body that are looked at; the rest is cut, so that a line of 1 MB costs little
CUT_MARK = "<cut>"  # the last token of a body that was cut

# Rust's classes are Unicode's unless told otherwise; patterns here, and those of users, mean ASCII.
_ASCII = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
    "s": r"[\t\n\x0b\x0c\r ]",
    "S": r"[^\t\n\x0b\x0c\r ]",
    "b": r"(?-u:\b)",
    "B": r"(?-u:\B)",
}


def _ascii(pattern: str) -> str:
    return re.sub(r"(?s)\\(.)", lambda escape: _ASCII.get(escape[1], escape[0]), pattern)


@dataclass(frozen=True)
class Mask:
    r"""A named kind of variable part.

    Attributes:
        name: What the parts are, for the configuration: "uuid", "path".
        pattern: Rust regular expression: no look-around, no back-reference; `\w \d \s \b` are ASCII. What a
            group `(?P<keep>...)` at its beginning matched is left standing.

    Raises:
        ConfigError: If the pattern is invalid or matches the empty text.
    """

    name: str
    pattern: str

    def __post_init__(self) -> None:
        what = f"Mask {self.name!r}: the pattern {self.pattern!r}"
        if reason := regex_error(_ascii(self.pattern)):
            raise ConfigError(
                f"{what} is no valid Rust regular expression: {reason}. Look-around "
                r"and back-references don't exist there; describe the part itself, with \b around it."
            )
        if any(matches_nothing(_ascii(self.pattern), text) for text in ("", "a", "a 1")):
            raise ConfigError(
                f"{what} matches the empty text, so it would put {WILDCARD} between any two characters. "
                "Let it match one character at least, with + instead of *."
            )
        if re.search(r"\(\?P?<(?!keep>)", self.pattern):
            raise ConfigError(f"{what} names a group other than 'keep'; write (?:...) instead.")

    @property
    def regex(self) -> str:
        """The pattern as the engine gets it: a group of its own, its classes spelt out in ASCII."""
        return f"(?:{_ascii(self.pattern)})"

    @property
    def keeps(self) -> bool:
        """Whether a part of what it matches is left standing."""
        return "<keep>" in self.pattern


_HEX = "[0-9A-Fa-f]"
# One to four of them, with a digit among them.
_HEX_WITH_DIGIT = f"(?:[0-9]{_HEX}{{0,3}}|{_HEX}[0-9]{_HEX}{{0,2}}|{_HEX}{{2}}[0-9]{_HEX}?|{_HEX}{{3}}[0-9])"
_DAY, _MONTH = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_SIGN = r"(?:\B[-+])?"
_STEP = r"/[\w.@%+#~:-]*\w"  # of a path
_UNIT = "(?:[KMGTPE]i?B|[KMGTPE]|B|ns|us|ms|s)"
_WHICH = (
    "user|username|uname|usr|ruser|logname|login|account|owner|uid|gid|id|host|hostname|rhost|node|peer|client"
    "|server|addr|address|ip|tty|name|email|token|session|sid|file|path|url|uri"
)

# The first mask that fits at a place wins. ISO timestamps, dates, versions and ranges are numbers too.
DEFAULT_MASKS: tuple[Mask, ...] = (
    Mask("redacted", REDACTED),  # what stands in place of a secret; the one mask that matches < and >, after rule 1
    # Jul 01 08:16:53 | Fri Jul 01 08:16:53 PDT 2005 | 01-Jul-2005 08:16:53
    Mask(
        "timestamp",
        rf"\b(?:{_DAY},? )?(?:{_MONTH} \d{{1,2}}|\d{{1,2}}[ -]{_MONTH})(?:,?[ -]\d{{4}})?"
        rf"(?:[ :]\d{{1,2}}:\d{{2}}:\d{{2}}(?:[.,]\d+)?)?(?: [A-Z]{{3,4}})?(?: \d{{4}})?\b",
    ),
    Mask("url", r"\b[A-Za-z][\w+.-]{0,15}://[\w%/#&=~$+@?!.,;:\[\]-]*[\w/]"),
    Mask("email", r"\b\w[\w.+-]{0,63}@\w+(?:[.-]\w+)*\b"),
    # /a/b | /a/ | ./a | /a.html, and a query with it. One bare name is no path, or </b> would be one.
    Mask(
        "path",
        rf"\B(?:[.~]{{1,2}}{_STEP}|{_STEP}{_STEP}|{_STEP}/|/[\w%+-]+\.[\w.:-]*\w)(?:{_STEP})*"
        r"(?:/|\?[\w.@%+#~:&=-]*\w)?",
    ),
    Mask("windows_path", r"\b[A-Za-z]:\\[\w.@%+#~\\-]*[\w\\]"),
    Mask("uuid", rf"\b{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}\b"),
    Mask("mac", rf"\b{_HEX}{{2}}(?:[:-]{_HEX}{{2}}){{5,19}}\b"),
    # The first group must hold a digit: Face::add() is a name in a program, fe80::1 is an address.
    Mask(
        "ip",
        rf"\b{_HEX_WITH_DIGIT}(?::{_HEX}{{1,4}}){{7}}\b"
        rf"|\b{_HEX_WITH_DIGIT}(?::{_HEX}{{1,4}}){{0,6}}::(?:{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{0,6}}\b)?"
        r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b",
    ),
    Mask("hex", rf"{_SIGN}\b0[xX]{_HEX}+\b"),
    # 12ms | 3.2 KiB: the unit goes along, for it changes with the number.
    Mask("quantity", rf"{_SIGN}\b\d+(?:\.\d+)? ?{_UNIT}\b"),
    Mask("number", rf"{_SIGN}\b\d+(?:[.,:/-]+\d\w*)*\b"),
    # blk_-123 | task_200811_0001_m_000081_0 | part-00081 | req-5f3a9c | 5f3a9c | vm-7.example.org.
    # One short run of digits between letters is a name (log4j, jk2_init, i18n) and stays; eight hexadecimal digits
    # or more are an identifier even without a single 0 to 9 in them (req-fdcebefcfffe): hardly a word is spelt so.
    Mask(
        "identifier",
        r"\b(?:\w+-)*(?:\d\w*|[A-Za-z_]+\d+[A-Za-z_]+\d\w*|[A-Za-z_]+\d{3,}[A-Za-z_]\w*|\w*_-?\w*\d|\w+-\w*\d"
        r"|[0-9A-Fa-f]{8,})(?:-\w+)*(?:\.[a-z]+)*\b",
    ),
    # eth0 -> eth<*>: letters say what it is, digits which one.
    Mask("suffix", r"\d+\b"),
    # A value of letters stays if it says what happened (status=ok), and goes if it says which one (user=bob).
    Mask("key_value", rf"""(?P<keep>\b(?:\w+[_.-])?(?i-u:{_WHICH})=["']?)[A-Za-z_](?:[\w.@/:-]*\w)?"""),
)

_BLANK = r"(?:\x1b\[[0-9;]*[A-Za-z]|[\x00-\x20\x7f])"  # colour codes and control characters are blanks too
_BLANKS = rf"{_BLANK}{{2,}}|\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f]"  # what is not a single blank already
_HANGING_PATH = _ascii(rf"(?:[.~]{{0,2}}{_STEP})*")

# A list is one part, however long: wildcards with only punctuation between them, and three words or more that
# differ in their number alone (an<*> an<*> an<*>).
_BETWEEN = r"[-+ .,:;/#=@_&~]*"
_TAIL = rf"(?:{_BETWEEN}<\*>)*"
_WORDS = rf"(?:<\*>|\b[A-Za-z]+<\*>){_TAIL}(?:[ ,]+[A-Za-z]*<\*>{_TAIL}){{2,}}"
_LIST = _ascii(rf"(?:{_WORDS}|<\*>)(?:{_BETWEEN}(?:{_WORDS}|<\*>))*")


def choose_masks(*, extra: Mapping[str, str] | None = None, without: Iterable[str] = ()) -> tuple[Mask, ...]:
    """Adapt the default masks to a log.

    Args:
        extra: Own masks, name -> pattern; they are tried before the default ones.
        without: Names of default masks to leave out.

    Returns:
        The masks in the order in which they are tried.

    Raises:
        ConfigError: If a pattern is invalid, a name comes twice, or a name to leave out is no mask's.

    Example:
        >>> [mask.name for mask in choose_masks(extra={"order": "ORD[A-Z]+"}, without=["email", "url"])][:4]
        ['order', 'redacted', 'timestamp', 'path']
    """
    extra = extra or {}
    dropped = set(without)
    names = [mask.name for mask in DEFAULT_MASKS]
    for name in sorted(dropped.difference(names)):
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise ConfigError(f"No mask is called {name!r}; did you mean {nearest!r}? There are {', '.join(names)}.")
    for name in sorted(extra.keys() & (set(names) - dropped)):
        raise ConfigError(f"A mask {name!r} exists already: leave the default one out, or choose another name.")
    own = tuple(Mask(name, pattern) for name, pattern in extra.items())
    return own + tuple(mask for mask in DEFAULT_MASKS if mask.name not in dropped)


def normalise_bodies(bodies: pl.Series) -> pl.Series:
    r"""Write every body on one line, with single blanks, JSON with its keys in order, and cut what is too long.

    Args:
        bodies: String (N,); null reads as empty.

    Returns:
        String (N,), each of at most `MAX_BODY` characters.

    Example:
        >>> normalise_bodies(pl.Series(["  a\t\x1b[31mb\n", None])).to_list()
        ['a b', '']
    """
    bodies = bodies.cast(pl.String).fill_null("")
    bodies = _cut(bodies, pl.col("body").str.head(MAX_BODY - len(CUT_MARK) - 1) + f" {CUT_MARK}")
    return spread_json(bodies.str.replace_all(_BLANKS, " ").str.strip_chars(" "), longest=MAX_BODY)


def mask_bodies(bodies: pl.Series, masks: Sequence[Mask] = DEFAULT_MASKS) -> pl.Series:
    """Replace the variable parts of every body by `<*>`.

    Args:
        bodies: String (N,); null reads as empty.
        masks: Tried in this order at each place of a body; those that keep a part, after the others.

    Returns:
        String (N,), on one line, with single blanks; a list of any length is one `<*>`.

    Source:
        Masking before mining: He et al., ICWS 2017 (Drain), section 3.2. The masks and the lists are ours.

    Example:
        >>> bodies = ["ask 10.0.0.7:50010 to delete  blk_-1 blk_2 blk_3", "user=bob status=ok in 12ms"]
        >>> mask_bodies(pl.Series(bodies)).to_list()
        ['ask <*> to delete <*>', 'user=<*> status=ok in <*>']
    """
    bodies = without_object_lists(without_sql_literals(normalise_bodies(bodies), WILDCARD), WILDCARD)
    any_part = "|".join([r"<\*>", *(mask.regex for mask in masks if not mask.keeps)])
    bodies = bodies.str.replace_all(f"(?:{any_part}){_HANGING_PATH}", WILDCARD)
    for mask in masks:
        if mask.keeps:
            bodies = bodies.str.replace_all(mask.regex, f"${{keep}}{WILDCARD}")
    bodies = bodies.str.replace_all(_LIST, WILDCARD)
    # `<*>` can be longer than what it stands for. Whole tokens are cut, which leaves no half of a `<*>`.
    return _cut(bodies, pl.col("body").str.head(MAX_BODY - len(CUT_MARK)).str.replace("[^ ]*$", CUT_MARK))


def _cut(bodies: pl.Series, shortened: pl.Expr) -> pl.Series:
    if not (bodies.str.len_bytes() > MAX_BODY).any():  # a length in bytes is free, one in characters is not
        return bodies
    too_long = pl.col("body").str.len_chars() > MAX_BODY
    frame = bodies.alias("body").to_frame()
    return frame.select(pl.when(too_long).then(shortened).otherwise("body")).to_series().alias(bodies.name)
