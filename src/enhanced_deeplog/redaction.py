"""Secrets stay out: what must not be stored or shown is replaced before anything is learnt from a line.

Like masks, patterns go through Polars' Rust regex, which is linear in time. A column is looked at once by one cheap
pattern; only texts that look suspicious are looked at for each kind of secret. What check digits decide is found by
Python's `re`, with patterns of bounded length.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.rust_regex import matches_nothing, regex_error

__all__ = ["IP_ADDRESS", "REDACTED", "SECRETS", "Redactor", "Secret", "choose_secrets"]

REDACTED = r"<redacted:[A-Za-z0-9_]+>"  # what stands in place of a secret; names its kind
_SPARED = "\ue000"  # stands before a value that is no secret while others are replaced; for private use in Unicode
_BEFORE = "${keep}${q1}${q2}${q3}"


@dataclass(frozen=True)
class Secret:
    """A named kind of secret.

    Attributes:
        name: What is replaced, as people are told: "email".
        pattern: Rust regular expression. What its groups `keep`, `q1`, `q2` and `q3` matched is left standing
            before what replaces the rest, what `after` matched behind it. With `part`, one of Python's.
        suspect: A cheaper pattern: where it is not found, there is none.
        harmless: What the pattern matches, too, and is left alone: `value` after `keep`.
        part: Decides about each match by more than its shape, such as a check digit: how many of its first characters
            are the secret, 0 if it is none. None: each match is one.
    """

    name: str
    pattern: str
    suspect: str
    harmless: str | None = None
    part: Callable[[str], int] | None = None


_BEGIN = _END = r"(?-u:\b)"
_QUOTE = r"""\\*["']"""
_OPEN = r"(?:[A-Za-z]{0,12}[\[({]+)?"  # of a list or a call: ["x"], Some("x")
# password=x | "api_key": "x" | token is x | secret => x
_IS = rf"(?:{_QUOTE})?[ \t]*(?:=>|:=|=+|:|[ \t](?:is|was)[ \t])[ \t]*{_OPEN}"
# What is quoted goes to the closing quote; what isn't, to a blank.
_QUOTED = (
    rf"""(?P<q1>\\+["'])(?:[^"'\\{_SPARED}]|\\[^"'])+|(?P<q2>[bru]?")(?:[^"\\{_SPARED}]|\\.)+"""
    rf"""|(?P<q3>[bru]?')[^'{_SPARED}]+"""
)
_BARE = rf"""[^\s"'=\[({{\\{_SPARED}][^\s"'<]+"""
_KEYWORD = r"(?i-u:passwords?|passwd|passphrases?|passcode|pwd)"
_NAME = (
    rf"(?:{_KEYWORD}|(?i-u:secret|cvv2?|credentials?|token|jsessionid|phpsessid|asp\.net_sessionid|connect\.sid"
    r"|(?:api|access|secret|private|account|auth|encryption|signing|master|license)[_ .-]?key(?:[_-]?id)?"
    r"|x-amz-(?:security-token|signature))(?:_[A-Z0-9_]{1,20})?)"
)
_UPPER_NAME = rf"{_KEYWORD}(?:_[A-Z0-9_]{{1,20}})?"  # DB_KEYWORD_PROD
_SHORT_NAME = r"(?i-u:(?:\b|_)(?:pass|otp))"  # too short to be told from other words but by what follows
# What is said of a secret, not the secret itself: "password: incorrect".
_WORDS = (
    r"(?i-u:null|none|nil|true|false|undefined|missing|invalid|incorrect|expired|wrong|required|empty|unset|unknown"
    r"|not|no|yes|ok|has|was|is|are|must|can|cannot|could|failed|failure|denied|granted|accepted|rejected|refused|revoked"
    r"|renewed|refreshed|changed|updated|created|deleted|removed|stored|checked|verified|valid|reset|length"
    r"|used|reused|replayed|issued|found|rotated|loaded|cached|returned|exchanged|generated|validated|malformed|already"
    r"|authentication|auth|and|or|for|from|of|in|at|to|by|with|the|too|error)"
)
_HARMLESS = rf"""(?P<value>{_QUOTE}{_WORDS}{_QUOTE}|{_WORDS}(?:[\s,;)\]}}\\]|[.:!](?:\s|$)|$)|{REDACTED}|<\*>)"""
_WELL_KNOWN = (  # tokens that say by their beginning what they are
    r"(?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{20,}"  # GitHub
    r"|gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[A-Za-z0-9_-]{16,}"  # GitLab
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"  # Google
    r"|[spr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"  # Stripe
    r"|sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}"
    r"|dop_v1_[a-f0-9]{40,}|shpat_[A-Fa-f0-9]{30,}|hv[sb]\.[A-Za-z0-9_-]{20,}"
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|(?:SK|AC)[a-f0-9]{32}"  # SendGrid, Twilio
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*"  # JSON web tokens
    r"|[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}"  # Telegram
)
_HASHES = r"\$(?:2[abxy]|5|6|y|argon2(?:id|i|d))\$[A-Za-z0-9./$=,+-]{20,}"  # of passwords
_AUTHORIZATION = rf"(?i-u:authorization)(?:{_QUOTE})?[ \t]*[:=][ \t]*{_OPEN}(?:{_QUOTE})?"
_SCHEME = r"(?i-u:basic|bearer|negotiate|ntlm|token|api-?key|key)"
_SCHEME_OF_PARTS = r"(?i-u:digest|oauth|hawk|signature|aws4[0-9a-z-]*)"  # followed by name=value, name=value
_KEY_BEGIN = "-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
_ISSUER = "(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|3[0-9]{3}|6[0-9]{3})[ -]?[0-9]{4}"  # a card's first digits
_ENOUGH = 400  # characters that tell whether a text is random


def _card(match: str) -> int:
    """The longest beginning of as many digits as a card has, the last the check digit of the others (ISO/IEC 7812)."""
    ends = [end for end in range(len(match), 0, -1) if match[end - 1].isdigit()]
    return next((end for end in ends if _luhn(match[:end])), 0)


def _luhn(number: str) -> bool:
    digits = [int(c) for c in number if c.isdigit()]
    doubled = (sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(reversed(digits)))
    lengths = {3: (14, 15), 4: (13, 16)}.get(digits[0], (16,))
    return len(digits) in lengths and sum(doubled) % 10 == 0


def _iban(match: str) -> int:
    """The longest beginning, up to a blank, that is an account number: its check digits are right (ISO 13616)."""
    ends = [len(match), *(i for i in range(len(match) - 1, 0, -1) if match[i] == " ")]
    return next((end for end in ends if _has_check_digits(match[:end].replace(" ", ""))), 0)


def _has_check_digits(number: str) -> bool:
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def _random_text(match: str) -> int:
    """All of it, if capitals, small letters and digits follow one another as only chance has it."""
    kinds = ["A" if c.isupper() else "a" if c.islower() else "1" if c.isdigit() else "/" for c in match[:_ENOUGH]]
    n_changes = sum(a != b for a, b in pairwise(kinds))
    is_random = {"A", "a", "1"} <= set(kinds) and n_changes >= 0.4 * len(kinds)  # in base 64 .62 are expected
    return len(match) if is_random else 0


_NAMED = (  # how a text looks in which there may be a name of a secret
    r"(?i-u:passw|passphrase|passcode|pwd|secret|cvv|credential|token|sessid|net_sessionid|connect\.sid"
    r"|[a-z][_ .-]?key(?:[_-]?id)?\b|x-amz|(?:\b|_)(?:pass|otp)[ \t]*=)"
)

# In this order; what one kind has replaced, the next doesn't see.
SECRETS: tuple[Secret, ...] = (
    Secret(
        "private_key",
        rf"(?P<keep>{_KEY_BEGIN})(?s:[^-{_SPARED}].*?)(?:-----END [A-Z ]*-----|$)",
        suspect="PRIVATE KEY",
        harmless=f"(?P<keep>{_KEY_BEGIN})(?P<value>{REDACTED})",
    ),
    # https://user:password@host
    Secret("password", r"""(?P<keep>://[^\s/:@"'<>]*:)[^\s/?#"'<>]+(?P<after>@)""", suspect="@"),
    Secret(
        "token",
        rf"""(?P<keep>{_AUTHORIZATION}{_SCHEME_OF_PARTS}[ \t]+)[^\r\n{_SPARED}]+"""
        rf"""|(?P<q1>{_AUTHORIZATION}(?:{_SCHEME}[ \t]+)?)[^\s"'<>\\,\[({{{_SPARED}][^\s"'<>\\,\])}}]*""",
        suspect="(?i-u:authorization)",
        harmless=rf"(?P<keep>{_AUTHORIZATION})"
        rf"""(?P<value>[0-9A-Za-z-]+[ \t]+{REDACTED}|{_WORDS}(?:[\s,;."']|$)|{REDACTED})""",
    ),
    Secret(
        "token",
        rf"(?P<keep>{_BEGIN}(?i-u:bearer)[ \t]+)[A-Za-z0-9+/._~-]{{12,}}=*"
        rf"|(?P<q1>{_BEGIN}(?i-u:basic)[ \t]+)[A-Za-z0-9+/]{{6,}}={{1,2}}",
        suspect=r"(?i-u:\b(?:bearer|basic)[ \t])",
    ),
    # Cookies follow one another by semicolons; what follows a blank is no cookie.
    Secret(
        "cookie",
        rf"""(?P<keep>(?i-u:cookie2?)(?:{_QUOTE})?[ \t]*[:=][ \t]*{_OPEN}(?:{_QUOTE})?)"""
        r"""[^\s"'\\;\[({]+(?:;[ \t]*[^\s"'\\;]+)*""",
        suspect="(?i-u:cookie)",
    ),
    Secret(
        "token",
        rf"{_BEGIN}(?:{_WELL_KNOWN})|{_HASHES}",
        suspect=r"A[A-Z3][A-Z]{2}[A-Z0-9]{16}|gh[pousr]_|github_pat_|gl[a-z]{2,5}-[A-Za-z0-9_-]{16}|xox[a-z]-|xapp-|AIza"
        r"|ya29|GOCSPX|[spr]k_(?:live|test)_|whsec_|(?-u:\b)sk-[A-Za-z0-9_-]{20}|hf_|npm_|pypi-|dop_|shpat_|hv[sb]\."
        r"|SG\.|SK[a-f0-9]{32}|AC[a-f0-9]{32}|eyJ|[0-9]{8,10}:AA|\$[0-9a-z]+\$",
    ),
    # ?token=x&page=1: what follows in an address is another name.
    Secret(
        "secret",
        rf"""(?P<keep>[?&](?:[0-9A-Za-z_.-]*(?:{_NAME}|{_SHORT_NAME})|(?i-u:sig|pass|otp))=)[^\s"'<>&{_SPARED}]+""",
        suspect=r"[?&][0-9A-Za-z_.-]+=",
        harmless=rf"(?P<keep>[?&][0-9A-Za-z_.-]+=)(?P<value>{REDACTED})",
    ),
    Secret(
        "secret",
        rf"(?P<keep>{_NAME}{_IS}|{_UPPER_NAME}{_IS}|{_SHORT_NAME}[ \t]*=[ \t]*|<[0-9A-Za-z_.-]*{_NAME}>)"
        rf"(?:{_QUOTED}|{_BARE})",
        suspect=_NAMED,
        # PWD is also where a shell stands.
        harmless=rf"(?P<keep>(?:{_NAME}|{_UPPER_NAME}){_IS})(?:{_HARMLESS})"
        r"|(?P<keep2>(?-u:\b)PWD=)(?P<value2>/[0-9A-Za-z_.-]*(?:/[0-9A-Za-z_.-]*)*(?:[\s;,]|$))",
    ),
    # with password x | --password x
    Secret(
        "secret",
        rf"(?P<keep>(?:{_BEGIN}(?i-u:with|using)[ \t]+(?:the[ \t]+)?|--){_NAME}[ \t]+)(?:{_QUOTED}|{_BARE})",
        suspect=_NAMED,
        harmless=rf"(?P<keep>(?:{_BEGIN}(?i-u:with|using)[ \t]+(?:the[ \t]+)?|--){_NAME}[ \t]+)(?:{_HARMLESS})",
    ),
    # password "x" | IDENTIFIED BY 'x'
    Secret(
        "secret",
        rf"(?P<keep>(?:{_KEYWORD}|(?i-u:identified[ \t]+by))[ \t]+)(?:{_QUOTED})",
        suspect=rf"{_NAMED}|(?i-u:identified[ \t]+by)",
        harmless=rf"(?P<keep>{_KEYWORD}[ \t]+)(?P<value>{_QUOTE}(?:{_WORDS}|{REDACTED}){_QUOTE})",
    ),
    Secret("email", r"[\pL\pN_.+%-]+@(?:[\pL\pN-]+\.)+[\pL]{2,}", suspect="@"),
    Secret(
        "card",
        rf"(?<![0-9A-Za-z_.-]){_ISSUER}(?:[ -]?[0-9]){{5,8}}(?![0-9A-Za-z_-])",
        suspect=rf"(?:^|[^0-9A-Za-z_.-]){_ISSUER}[ -]?[0-9]",
        part=_card,
    ),
    Secret(
        "iban",
        r"(?<![0-9A-Za-z_])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![0-9A-Za-z_])",
        suspect=rf"{_BEGIN}[A-Z]{{2}}[0-9]{{2}} ?[A-Z0-9]{{4}} ?[A-Z0-9]{{4}}",
        part=_iban,
    ),
    Secret(
        "social_security_number",
        rf"{_BEGIN}(?:00[1-9]|0[1-9][0-9]|[1-8][0-9]{{2}})-[0-9]{{2}}-[0-9]{{4}}{_END}",
        suspect=rf"{_BEGIN}[0-8][0-9]{{2}}-[0-9]{{2}}-[0-9]{{4}}{_END}",
    ),
    # The lines of a key that is written line by line, and keys without a word before them. No path is so long without
    # a step.
    Secret(
        "key",
        r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}=*",
        suspect="[A-Za-z0-9+]{14}[A-Za-z0-9+/]{26}|[A-Za-z0-9+/]{26}[A-Za-z0-9+]{14}",
        part=_random_text,
    ),
)
IP_ADDRESS = Secret(
    "ip",
    rf"{_BEGIN}[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}{_END}"
    rf"|{_BEGIN}(?:(?:[0-9A-Fa-f]{{1,4}}:){{7}}|(?:[0-9A-Fa-f]{{1,4}}:){{1,6}}:(?:[0-9A-Fa-f]{{1,4}}:){{0,5}})"
    rf"[0-9A-Fa-f]{{1,4}}{_END}",
    suspect=r"[0-9]\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]::|(?:[0-9A-Fa-f]{1,4}:){7}",
)


def choose_secrets(
    *, extra: Mapping[str, str] | None = None, without: Iterable[str] = (), ip: bool = False
) -> tuple[Secret, ...]:
    """Adapt the kinds of secret to a log.

    Args:
        extra: Own kinds, name -> Rust regular expression of what is to be replaced; they come first.
        without: Names of kinds to leave out.
        ip: Whether addresses are secrets, too.

    Raises:
        ConfigError: If a pattern is invalid, or a name to leave out is no kind's.
    """
    known = (*SECRETS, IP_ADDRESS)
    names = sorted({secret.name for secret in known})
    for name in without:
        if name not in names:
            raise ConfigError(f"No kind of secret is called {name!r}. There are {', '.join(names)}.")
    own = tuple(_own(name, pattern) for name, pattern in (extra or {}).items())
    chosen = known if ip else SECRETS
    return own + tuple(secret for secret in chosen if secret.name not in set(without))


def _own(name: str, pattern: str) -> Secret:
    if not re.fullmatch("[A-Za-z0-9_]+", name):
        raise ConfigError(f"A kind of secret is named by letters, digits and _; got {name!r}.")
    what = f"Secret {name!r}: the pattern {pattern!r}"
    if reason := regex_error(pattern):
        raise ConfigError(f"{what} is no valid Rust regular expression: {reason}")
    if re.search(r"\(\?P?<", pattern):
        raise ConfigError(f"{what} names a group; write (?:...) instead.")
    if any(matches_nothing(pattern, text) for text in ("", "a", "a 1")):
        raise ConfigError(f"{what} matches the empty text. Let it match one character at least, with + instead of *.")
    if pl.Series([f"<redacted:{name}>"]).str.contains(pattern)[0]:
        raise ConfigError(f"{what} matches <redacted:{name}>, what would stand in its place. Choose another name.")
    return Secret(name, f"(?:{pattern})", suspect=pattern)


class Redactor:
    """Replaces secrets by what names their kind.

    Args:
        secrets: What is replaced, see `choose_secrets`.

    Example:
        >>> Redactor().redact(pl.Series(["login of ann@example.org, password=hunter2", "up"])).to_list()
        ['login of <redacted:email>, password=<redacted:secret>', 'up']
    """

    def __init__(self, secrets: Iterable[Secret] = SECRETS) -> None:
        self.secrets = tuple(secrets)
        self._suspect = "|".join(
            f"(?:{suspect})" for suspect in dict.fromkeys([*(s.suspect for s in self.secrets), _ESCAPE.pattern])
        )

    def suspects(self, texts: pl.Series) -> pl.Series:
        """Which texts may hold a secret, Boolean (N,)."""
        if not self.secrets:
            return pl.repeat(value=False, n=len(texts), dtype=pl.Boolean, eager=True)
        return texts.str.contains(self._suspect).fill_null(value=False)

    def redact(self, texts: pl.Series) -> pl.Series:
        """The same texts, String (N,), without secrets. Doing it twice is doing it once."""
        suspicious = self.suspects(texts)
        if not suspicious.any():
            return texts
        some = _unescaped(texts.filter(suspicious))
        for secret in self.secrets:
            some = _replace(secret, some)
        return texts.clone().scatter(suspicious.arg_true(), some)

    def redact_columns(
        self, frame: pl.DataFrame, *, by: Sequence[str], columns: Iterable[str], text: str, key: str
    ) -> pl.DataFrame:
        """A frame whose rows hold no secrets in some columns.

        Args:
            frame: With these columns, all of them String.
            by: Where none of these columns looks suspicious, no other does.
            columns: To be redacted.
            text: The line that a row comes from; it is redacted only if it is one of the columns.
            key: Of session keys, which stay as distinct as they were.
        """
        suspicious = self.suspects(frame[by[0]])
        for name in by[1:]:
            suspicious = suspicious | self.suspects(frame[name])
        if not suspicious.any():
            return frame
        rows, some = suspicious.arg_true(), frame.filter(suspicious)
        redacted = self.redact(some[text])
        return frame.with_columns(
            *(frame[c].clone().scatter(rows, redacted if c == text else self.redact(some[c])) for c in columns),
            frame[key].clone().scatter(rows, self._keys(some[key], some[text], redacted)),
        )

    def _keys(self, keys: pl.Series, texts: pl.Series, redacted: pl.Series) -> pl.Series:
        """Session keys without secrets; one that was found in a line, but isn't there any more, is a secret."""
        frame = pl.DataFrame({"key": keys, "text": texts, "redacted": redacted})
        was_there = pl.col("text").str.contains(pl.col("key"), literal=True)
        is_there = pl.col("redacted").str.contains(pl.col("key"), literal=True)
        gone = frame.select((was_there & ~is_there).fill_null(value=False)).to_series()
        return _marked(keys, self.redact(keys), gone)

    def redact_text(self, text: str) -> str:
        """One text without secrets."""
        return str(self.redact(pl.Series([text]))[0])

    def redact_keys(self, keys: pl.Series) -> pl.Series:
        """Session keys, String (N,), without secrets, yet as distinct as they were.

        Of each that holds a secret, a part of its hash stays.
        """
        return _marked(keys, self.redact(keys), pl.repeat(value=False, n=len(keys), dtype=pl.Boolean, eager=True))


def _marked(keys: pl.Series, redacted: pl.Series, gone: pl.Series) -> pl.Series:
    """In place of keys that are or hold secrets: what names the kind, and a part of the hash."""
    changed = ((redacted != keys) | gone).fill_null(value=False)
    if not changed.any():
        return keys
    names = pl.select(pl.when(redacted == keys).then(pl.lit("<redacted:key>")).otherwise(redacted)).to_series()
    marks = [hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8] for key in keys.filter(changed)]
    return keys.clone().scatter(changed.arg_true(), names.filter(changed) + "-" + pl.Series(marks))


_ESCAPE = re.compile(r"\\u00([2-7][0-9a-fA-F])")


def _unescaped(texts: pl.Series) -> pl.Series:
    """JSON may write any character as an escape, and some libraries write `=` so; quotes and backslashes stay."""
    rows = texts.str.contains(_ESCAPE.pattern).arg_true()
    if not len(rows):
        return texts

    def character(escape: re.Match[str]) -> str:
        written = chr(int(escape[1], 16))
        return escape[0] if written in '"\\\x7f' else written

    return texts.clone().scatter(rows, [_ESCAPE.sub(character, text) for text in texts.gather(rows)])


def _replace(secret: Secret, texts: pl.Series) -> pl.Series:
    rows = texts.str.contains(secret.suspect).arg_true()
    if not len(rows):
        return texts
    some, mark = texts.gather(rows), f"<redacted:{secret.name}>"
    if secret.part is not None:
        find = re.compile(secret.pattern).search
        some = pl.Series([_replace_parts(text, find, mark, secret.part) for text in some], dtype=pl.String)
    elif secret.harmless is None:
        some = some.str.replace_all(secret.pattern, f"{_BEFORE}{mark}${{after}}")
    else:
        some = some.str.replace_all(_SPARED, "\ufffd", literal=True)
        some = some.str.replace_all(secret.harmless, f"${{keep}}${{keep2}}{_SPARED}${{value}}${{value2}}")
        some = some.str.replace_all(secret.pattern, f"{_BEFORE}{mark}").str.replace_all(_SPARED, "", literal=True)
    return texts.clone().scatter(rows, some)


def _replace_parts(
    text: str, find: Callable[[str, int], re.Match[str] | None], mark: str, part: Callable[[str], int]
) -> str:
    parts, done, at = [], 0, 0
    while (match := find(text, at)) is not None:
        n = part(match[0])
        if n:
            parts += [text[done : match.start()], mark]
            done = at = match.start() + n
        else:  # one may begin in the midst of what looked like one; a long text is looked at once
            at = match.end() if len(match[0]) > 64 else match.start() + 1
    return "".join([*parts, text[done:]])
