r"""Masks: the variable parts of a body become `<*>`, for a whole column of bodies at once.

Every mask goes through one engine, Polars' Rust regex, on files and on streams alike, because Python's `re` does
not agree with it on `\w`, `\b`, `\s` and `$`. It runs in linear time, so no pattern and no line can hang it.

Masking twice is masking once: `mask_bodies(mask_bodies(x)) == mask_bodies(x)`. Three rules keep that true for the
masks below; a mask of your own that breaks them still works, but templates are then less stable.

1. `<*>` itself is matched first and left alone, and no mask matches `<`, `>` or `*`.
2. A match that begins or ends with a word character has a word boundary there, so what is left beside it reads the
   same whether its neighbour is `5f3a9c` or `<*>`. (`suffix` may begin inside a word: only letters stand before it.)
3. A match takes a path that hangs on it along (`10.1.1.1/rack`), so that no path seems to begin after `<*>`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.errors import ConfigError

__all__ = ["DEFAULT_MASKS", "MAX_BODY", "WILDCARD", "Mask", "choose_masks", "mask_bodies", "normalise_bodies"]

WILDCARD = "<*>"
MAX_BODY = 4096  # characters of a body that are looked at; the rest is cut, so that a line of 1 MB costs little
CUT_MARK = "<cut>"  # stands at the end of a body that was cut

# Rust's classes are Unicode's unless told otherwise; these are what a pattern of ours or of a user means by them.
_ASCII = {
    "d": "[0-9]", "D": "[^0-9]",
    "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]",
    "s": r"[\t\n\x0b\x0c\r ]", "S": r"[^\t\n\x0b\x0c\r ]",
    "b": r"(?-u:\b)", "B": r"(?-u:\B)",
}  # fmt: skip


def _ascii(pattern: str) -> str:
    return re.sub(r"(?s)\\(.)", lambda escape: _ASCII.get(escape[1], escape[0]), pattern)


@dataclass(frozen=True)
class Mask:
    r"""A named kind of variable part.

    Attributes:
        name: What the parts are, for the configuration: "uuid", "path".
        pattern: Rust regular expression: no look-around, no back-reference; `\w \d \s \b` are ASCII.

    Raises:
        ConfigError: If the pattern is invalid or matches the empty text.
    """

    name: str
    pattern: str

    def __post_init__(self) -> None:
        try:
            found = pl.Series(["", "a", "a 1"]).str.extract_all(self.regex).explode()
        except pl.exceptions.PolarsError as error:
            why = [line for line in str(error).splitlines() if "error:" in line or "size limit" in line]
            raise ConfigError(
                f"Mask {self.name!r}: the pattern {self.pattern!r} is not a valid Rust regular expression "
                f"({why[-1].strip() if why else error}). Look-around and back-references don't exist there; "
                "describe the variable part itself, with \\b at its ends."
            ) from None
        if (found == "").any():
            raise ConfigError(
                f"Mask {self.name!r}: the pattern {self.pattern!r} matches the empty text, so it would put {WILDCARD} "
                "between any two characters. Let it match one character at least: + instead of *."
            )

    @property
    def regex(self) -> str:
        """The pattern as the engine gets it, its classes spelt out in ASCII."""
        return _ascii(self.pattern)


_HEX = "[0-9A-Fa-f]"
_HEX_GROUP = f"(?:[0-9]{_HEX}{{0,3}}|{_HEX}[0-9]{_HEX}{{0,2}}|{_HEX}{{2}}[0-9]{_HEX}?|{_HEX}{{3}}[0-9])"  # has a digit
_DAY, _MONTH = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_SIGN = r"(?:\B[-+])?"
_UNIT = "(?:[KMGTPE]i?B|[KMGTPE]|B|ns|us|ms|s)"

# Order matters: the first mask that fits at a place wins. ISO timestamps, dates, versions and ranges are numbers too.
DEFAULT_MASKS: tuple[Mask, ...] = (
    # Jul 01 08:16:53 | Fri Jul 01 08:16:53 PDT 2005 | 01-Jul-2005 08:16:53
    Mask(
        "timestamp",
        rf"\b(?:{_DAY},? )?(?:{_MONTH} \d{{1,2}}|\d{{1,2}}[ -]{_MONTH})(?:,?[ -]\d{{4}})?"
        rf"(?:[ :]\d{{1,2}}:\d{{2}}:\d{{2}}(?:[.,]\d+)?)?(?: [A-Z]{{3,4}})?(?: \d{{4}})?\b",
    ),
    Mask("url", r"\b[A-Za-z][\w+.-]{0,15}://[\w%/#&=~$+@?!.,;:\[\]-]*[\w/]"),
    Mask("email", r"\b\w[\w.+-]{0,63}@\w+(?:[.-]\w+)*\b"),
    Mask("path", r"\B[.~]{0,2}(?:/[\w.@%+#~:-]*\w)+(?:/|\?[\w.@%+#~:&=-]*\w)?"),
    Mask("windows_path", r"\b[A-Za-z]:\\[\w.@%+#~\\-]*[\w\\]"),
    Mask("uuid", rf"\b{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}\b"),
    Mask("mac", rf"\b{_HEX}{{2}}(?:[:-]{_HEX}{{2}}){{5,19}}\b"),
    # The first group must hold a digit: Face::add() is a name in a program, fe80::1 is an address.
    Mask(
        "ip",
        rf"\b{_HEX_GROUP}(?::{_HEX}{{1,4}}){{7}}\b"
        rf"|\b{_HEX_GROUP}(?::{_HEX}{{1,4}}){{0,6}}::(?:{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{0,6}}\b)?"
        r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b",
    ),
    Mask("hex", rf"{_SIGN}\b0[xX]{_HEX}+\b"),
    # 12ms | 3.2 KiB: the unit goes along, for it changes with the number.
    Mask("quantity", rf"{_SIGN}\b\d+(?:\.\d+)? ?{_UNIT}\b"),
    Mask("number", rf"{_SIGN}\b\d+(?:[.,:/-]+\d\w*)*\b"),
    # blk_-123 | task_200811_0001_m_000081_0 | part-00081 | req-5f3a9c | 5f3a9c: a word with digits that is no name.
    # One short run of digits between letters is a name (log4j, jk2_init, i18n) and stays.
    Mask(
        "identifier",
        r"\b(?:[A-Za-z_]+-)*(?:\d\w*|[A-Za-z_]+\d+[A-Za-z_]+\d\w*|[A-Za-z_]+\d{3,}[A-Za-z_]\w*"
        r"|\w*_-?\d+|[A-Za-z_]+-\w*\d)(?:-\w+)*(?:\.[a-z]+)*\b",
    ),
    # eth0 -> eth<*>: letters say what it is, digits which one.
    Mask("suffix", r"\d+\b"),
)

# key=value: a value of letters stays when it says WHAT happened (status=ok), and goes when it says WHICH one (user=bob).
_WHICH = (
    "user|username|uname|usr|ruser|logname|login|account|owner|uid|gid|id|host|hostname|rhost|node|peer|client|server"
    "|addr|address|ip|tty|name|email|token|session|sid|file|path|url|uri"
)
_KEY_VALUE = _ascii(rf"""(\b(?:\w+[_.-])?(?i-u:{_WHICH})=["']?)[A-Za-z_](?:[\w.@-]*\w)?""")

_BLANKS = r"(?:\x1b\[[0-9;]*[A-Za-z]|[\x00-\x20\x7f]){2,}|\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f]"
_HANGING_PATH = _ascii(r"(?:/[\w.@%+~:-]*\w)*")
# A list is one part, however long: `<*>, <*>:<*>`, and from three items on also `an<*> an<*> an<*>`.
_LIST = _ascii(r"<\*>(?:[-+ .,:;/#=@_&~]*<\*>)+|(?:<\*>|\b[A-Za-z]+<\*>)(?:[ ,]+[A-Za-z]*<\*>){2,}")


def choose_masks(*, extra: Mapping[str, str] | None = None, without: Iterable[str] = ()) -> tuple[Mask, ...]:
    """Adapt the default masks to a log.

    Args:
        extra: Own masks, name -> pattern; they are tried before the default ones.
        without: Names of default masks to leave out.

    Returns:
        The masks in the order in which they are tried.

    Raises:
        ConfigError: If a pattern is invalid, a name comes twice, or a name to leave out is none of the masks'.

    Example:
        >>> [mask.name for mask in choose_masks(extra={"order": "ORD[A-Z]+"}, without=["email", "url"])][:3]
        ['order', 'timestamp', 'path']
    """
    names = [mask.name for mask in DEFAULT_MASKS]
    dropped = set(without)
    for name in sorted(dropped.difference(names)):
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise ConfigError(f"There is no mask {name!r} to leave out; did you mean {nearest!r}? All: {', '.join(names)}.")
    own = tuple(Mask(name, pattern) for name, pattern in (extra or {}).items())
    for mask in own:
        if mask.name in names and mask.name not in dropped:
            raise ConfigError(f"Mask {mask.name!r} exists already; leave the default one out, or choose another name.")
    return own + tuple(mask for mask in DEFAULT_MASKS if mask.name not in dropped)


def normalise_bodies(bodies: pl.Series) -> pl.Series:
    r"""Write every body on one line: blanks, control characters and colour codes as one blank, cut at `MAX_BODY`.

    Args:
        bodies: String (N,); null reads as empty.

    Returns:
        String (N,), each of at most `MAX_BODY` characters and the mark of the cut.

    Example:
        >>> normalise_bodies(pl.Series(["  a\t\x1b[31mb\n", None])).to_list()
        ['a b', '']
    """
    bodies = bodies.fill_null("")
    if (bodies.str.len_bytes() > MAX_BODY).any():  # a length in bytes costs nothing, one in characters a look at each
        head = pl.col("body").str.head(MAX_BODY - len(CUT_MARK) - 1) + f" {CUT_MARK}"
        too_long = pl.col("body").str.len_chars() > MAX_BODY
        bodies = _column(bodies, pl.when(too_long).then(head).otherwise("body"))
    return bodies.str.replace_all(_BLANKS, " ").str.strip_chars(" ")


def mask_bodies(bodies: pl.Series, masks: Sequence[Mask] = DEFAULT_MASKS) -> pl.Series:
    """Replace the variable parts of every body by `<*>`.

    Args:
        bodies: String (N,); null reads as empty.
        masks: Tried in this order at each place of a body.

    Returns:
        String (N,), on one line, blanks single; lists of any length are one `<*>`.

    Source:
        Masking before mining: He et al., ICWS 2017 (Drain), section 3.2. The masks and lists are ours.

    Example:
        >>> bodies = pl.Series(["ask 10.0.0.7:50010 to delete  blk_-1 blk_2 blk_3", "user=bob status=ok in 12ms"])
        >>> mask_bodies(bodies).to_list()
        ['ask <*> to delete <*>', 'user=<*> status=ok in <*>']
    """
    bodies = normalise_bodies(bodies)
    if bodies.str.contains("=", literal=True).any():
        bodies = bodies.str.replace_all(_KEY_VALUE, "${1}" + WILDCARD)
    any_part = "|".join([r"<\*>", *(mask.regex for mask in masks)])
    bodies = bodies.str.replace_all(f"(?:{any_part}){_HANGING_PATH}", WILDCARD).str.replace_all(_LIST, WILDCARD)
    if (bodies.str.len_bytes() > MAX_BODY).any():  # `<*>` can be longer than what it stands for
        whole_tokens = pl.col("body").str.head(MAX_BODY - len(CUT_MARK)).str.replace("[^ ]*$", CUT_MARK)
        too_long = pl.col("body").str.len_chars() > MAX_BODY
        bodies = _column(bodies, pl.when(too_long).then(whole_tokens).otherwise("body"))
    return bodies


def _column(bodies: pl.Series, expression: pl.Expr) -> pl.Series:
    return bodies.alias("body").to_frame().select(body=expression).to_series().alias(bodies.name)
