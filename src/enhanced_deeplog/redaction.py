"""Secrets stay out: what must not be stored or shown is replaced before anything is learnt from a line.

Like masks, everything goes through Polars' Rust regex, which is linear in time. A column is looked at once by one
cheap pattern; only the few texts that look suspicious are looked at for each kind of secret.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from enhanced_deeplog.errors import ConfigError

__all__ = ["IP_ADDRESS", "REDACTED", "SECRETS", "Redactor", "Secret", "choose_secrets"]

REDACTED = r"<redacted:[A-Za-z0-9_]+>"  # what stands in place of a secret; names its kind
_SPARED = "\ue000"  # stands before a value that is no secret while others are replaced; for private use in Unicode
_BEFORE = "${keep}${q1}${q2}${q3}"
_AROUND = string.whitespace + string.punctuation  # what may stand around a match that is checked


@dataclass(frozen=True)
class Secret:
    """A named kind of secret.

    Attributes:
        name: What is replaced, as people are told: "email".
        pattern: Rust regular expression. What its groups `keep`, `q1`, `q2` and `q3` matched is left standing
            before what replaces the rest, what `after` matched behind it.
        suspect: A cheaper pattern: where it is not found, there is none.
        harmless: What the pattern matches, too, and is left alone: `value` after `keep`.
        is_one: Decides about each match by more than its shape, such as a check digit; None: each is one.
    """

    name: str
    pattern: str
    suspect: str
    harmless: str | None = None
    is_one: Callable[[str], bool] | None = None


_BEGIN = _END = r"(?-u:\b)"
_QUOTE = r"""\\?["']"""
# password=x | "api_key": "x" | token is x | secret => x
_IS = rf"(?:{_QUOTE})?[ \t]*(?:=>|:=|==?|:|[ \t](?:is|was)[ \t])[ \t]*"
_VALUE = (
    rf"""(?:(?P<q1>\\["'])(?:[^"'\\{_SPARED}]|\\[^"'])+|(?P<q2>")(?:[^"\\{_SPARED}]|\\.)+|(?P<q3>')[^'{_SPARED}]+"""
    rf"""|[^\s"'<>&\\{_SPARED}][^\s"'<>&]*)"""
)
_NAME = (
    r"(?:(?i-u:passwords?|passwd|passphrases?|passcode|pwd|secret|cvv2?|credentials?|token|sessionid|phpsessid"
    r"|connect\.sid|(?:\b|_)(?:pass|otp)"
    r"|(?:api|access|secret|private|account|auth|encryption|signing|master|license)[_ .-]?key(?:[_-]?id)?"
    r"|x-amz-(?:security-token|signature)|[?&]sig))"
)
# What is said of a secret, not the secret itself: "password: incorrect".
_HARMLESS = (
    r"(?i-u:null|none|nil|true|false|undefined|missing|invalid|incorrect|expired|wrong|required|empty|unset|unknown"
    r"|not|no|yes|ok|has|was|is|are|must|can|cannot|failed|failure|denied|accepted|rejected|changed|updated|reset"
    r"|length|authentication|auth|and|or|for|from|of|in|at|to|by|with|the|too|error)"
    r"""(?:[\s"',;)\]}\\]|[.:!](?:\s|$)|$)"""
)
_WELL_KNOWN = (  # tokens that say by their beginning what they are
    r"(?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{20,}|gl[a-z]{2,4}-[A-Za-z0-9_-]{16,}"  # GitHub, GitLab
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
_AUTHORIZATION = rf"(?i-u:authorization)(?:{_QUOTE})?[ \t]*[:=][ \t]*(?:{_QUOTE})?"
_KEY_BEGIN = "-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
_CARD_BEGIN = r"(?:^|[^0-9A-Za-z_.-])(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|3[0-9]{3}|6[0-9]{3})[ -]?[0-9]{4}"


def _luhn(match: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812), and cards have so many."""
    digits = [int(c) for c in match if c in "0123456789"]
    doubled = (sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(reversed(digits)))
    lengths = {3: (14, 15), 4: (13, 16)}.get(digits[0], (16,))
    return len(digits) in lengths and sum(doubled) % 10 == 0


def _iban(match: str) -> bool:
    """Whether the check digits of an account number are right (ISO 13616)."""
    number = match.replace(" ", "")
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


_ENOUGH = 400  # characters that tell whether a text is random


def _is_random(match: str) -> bool:
    """Whether capitals, small letters and digits follow one another as only chance has it."""
    kinds = ["A" if c.isupper() else "a" if c.islower() else "1" if c.isdigit() else "/" for c in match[:_ENOUGH]]
    n_changes = sum(a != b for a, b in pairwise(kinds))
    return {"A", "a", "1"} <= set(kinds) and n_changes >= 0.4 * len(kinds)  # in base 64 .62 are expected


# In this order; what one kind has replaced, the next doesn't see.
SECRETS: tuple[Secret, ...] = (
    Secret(
        "private_key",
        rf"(?P<keep>{_KEY_BEGIN})(?s:[^-{_SPARED}].*?)(?:-----END [A-Z ]*-----|$)",
        suspect="PRIVATE KEY",
        harmless=f"(?P<keep>{_KEY_BEGIN})(?P<value>{REDACTED})",
    ),
    # https://user:password@host
    Secret("password", r"""(?P<keep>://[^\s/:@"'<>]*:)[^\s/"'<>]+(?P<after>@)""", suspect="@"),
    Secret(
        "token",
        rf"""(?P<keep>{_AUTHORIZATION}(?:[A-Za-z]+[ \t]+)?)[^\s"'<>\\,{_SPARED}]+""",
        suspect="(?i-u:authorization)",
        harmless=rf"(?P<keep>{_AUTHORIZATION})(?P<value>[A-Za-z]+[ \t]+{REDACTED})",
    ),
    Secret(
        "token",
        rf"(?P<keep>{_BEGIN}(?i-u:bearer)[ \t]+)[A-Za-z0-9+/._~-]{{12,}}=*"
        rf"|(?P<q1>{_BEGIN}(?i-u:basic)[ \t]+)[A-Za-z0-9+/]{{6,}}={{1,2}}",
        suspect="(?i-u:bearer|basic )",
    ),
    Secret(
        "cookie",
        rf"""(?P<keep>(?i-u:cookie2?)(?:{_QUOTE})?[ \t]*[:=][ \t]*(?:{_QUOTE})?)[^"'\\\r\n]+""",
        suspect="(?i-u:cookie)",
    ),
    Secret(
        "token",
        rf"{_BEGIN}(?:{_WELL_KNOWN})|{_HASHES}",
        suspect=r"A[A-Z3][A-Z]{2}[A-Z0-9]{16}|gh[pousr]_|github_pat_|gl[a-z]{2,4}-|xox[a-z]-|xapp-|AIza|ya29|GOCSPX"
        r"|[spr]k_(?:live|test)_|whsec_|sk-|hf_|npm_|pypi-|dop_|shpat_|hv[sb]\.|SG\.|SK[a-f0-9]{4}|AC[a-f0-9]{4}|eyJ"
        r"|[0-9]{8,10}:AA|\$[0-9a-z]+\$",
    ),
    Secret(
        "secret",
        rf"(?P<keep>{_NAME}{_IS}|<[0-9A-Za-z_.-]*{_NAME}>){_VALUE}",
        suspect=r"(?i-u:passw|passphrase|passcode|pwd|(?:\b|_)pass\b|secret|cvv|(?:\b|_)otp|credential|token|sessionid"
        r"|phpsessid|connect\.sid|[_ .-]?key\b|[_ .-]?key[_-]?id|x-amz)",
        harmless=rf"(?P<keep>{_NAME}{_IS}(?:{_QUOTE})?)(?P<value>{_HARMLESS})",
    ),
    # with password x | --password x
    Secret(
        "secret",
        rf"(?P<keep>(?:{_BEGIN}(?i-u:with|using)[ \t]+(?:the[ \t]+)?|--){_NAME}[ \t]+){_VALUE}",
        suspect=r"(?i-u:with|using|--)",
        harmless=rf"(?P<keep>(?:{_BEGIN}(?i-u:with|using)[ \t]+(?:the[ \t]+)?|--){_NAME}[ \t]+(?:{_QUOTE})?)"
        rf"(?P<value>{_HARMLESS})",
    ),
    # password "x"
    Secret(
        "secret",
        rf"""(?P<keep>{_NAME}[ \t]+)(?:(?P<q1>\\["'])[^"'\\{_SPARED}]+|(?P<q2>")[^"{_SPARED}]+"""
        rf"""|(?P<q3>')[^'{_SPARED}]+)""",
        suspect=r"""[ \t]\\?["']""",
        harmless=rf"(?P<keep>{_NAME}[ \t]+{_QUOTE})(?P<value>{_HARMLESS})",
    ),
    Secret("email", r"[\pL\pN_.+%-]+@(?:[\pL\pN-]+\.)+[\pL]{2,}", suspect="@"),
    Secret(
        "card",
        rf"{_CARD_BEGIN}(?:[ -]?[0-9]){{5,8}}(?:[^0-9A-Za-z_-]|$)",
        suspect=f"{_CARD_BEGIN}[ -]?[0-9]",
        is_one=_luhn,
    ),
    Secret(
        "iban",
        rf"{_BEGIN}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{_END}",
        suspect=rf"{_BEGIN}[A-Z]{{2}}[0-9]{{2}} ?[A-Z0-9]{{4}} ?[A-Z0-9]{{4}}",
        is_one=_iban,
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
        r"[A-Za-z0-9+/]{40,}=*",
        suspect="[A-Za-z0-9+]{14}[A-Za-z0-9+/]{26}|[A-Za-z0-9+/]{26}[A-Za-z0-9+]{14}",
        is_one=_is_random,
    ),
)
IP_ADDRESS = Secret(
    "ip",
    rf"{_BEGIN}[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}{_END}"
    rf"|{_BEGIN}(?:(?:[0-9A-Fa-f]{{1,4}}:){{7}}|(?:[0-9A-Fa-f]{{1,4}}:){{1,6}}:(?:[0-9A-Fa-f]{{1,4}}:){{0,5}})[0-9A-Fa-f]{{1,4}}{_END}",
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
    try:
        matches_empty = bool(pl.Series([""]).str.contains(pattern).any())
    except pl.exceptions.PolarsError as error:
        reason = next((line for line in str(error).splitlines() if line.startswith("error:")), str(error))
        raise ConfigError(
            f"Secret {name!r}: the pattern {pattern!r} is no valid Rust regular expression: {reason}"
        ) from None
    if matches_empty:
        raise ConfigError(f"Secret {name!r}: the pattern {pattern!r} matches the empty text. Use + instead of *.")
    return Secret(name, pattern, suspect=pattern)


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
        self._suspect = "|".join(f"(?:{suspect})" for suspect in dict.fromkeys(s.suspect for s in self.secrets))

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
        some = texts.filter(suspicious)
        for secret in self.secrets:
            some = _replace(secret, some)
        return texts.clone().scatter(suspicious.arg_true(), some)

    def redact_columns(
        self, frame: pl.DataFrame, *, by: tuple[str, str], columns: Iterable[str], key: str
    ) -> pl.DataFrame:
        """A frame whose rows hold no secrets in some columns.

        Args:
            frame: With these columns, all of them String.
            by: The columns that a row's texts come from: where neither is suspicious, none of them is.
            columns: To be redacted.
            key: Of session keys, which stay as distinct as they were.
        """
        suspicious = self.suspects(frame[by[0]]) | self.suspects(frame[by[1]])
        if not suspicious.any():
            return frame
        rows, some = suspicious.arg_true(), frame.filter(suspicious)
        return frame.with_columns(
            *(frame[name].clone().scatter(rows, self.redact(some[name])) for name in columns),
            frame[key].clone().scatter(rows, self.redact_keys(some[key])),
        )

    def redact_text(self, text: str) -> str:
        """One text without secrets."""
        return str(self.redact(pl.Series([text]))[0])

    def redact_keys(self, keys: pl.Series) -> pl.Series:
        """Session keys, String (N,), without secrets, yet as distinct as they were.

        Of each that holds a secret, a part of its hash stays.
        """
        redacted = self.redact(keys)
        changed = (redacted != keys).fill_null(value=False)
        if not changed.any():
            return keys
        marks = [hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8] for key in keys.filter(changed)]
        return redacted.clone().scatter(changed.arg_true(), redacted.filter(changed) + "-" + pl.Series(marks))


def _replace(secret: Secret, texts: pl.Series) -> pl.Series:
    rows = texts.str.contains(secret.suspect).arg_true()
    if not len(rows):
        return texts
    some, mark = texts.gather(rows), f"<redacted:{secret.name}>"
    if secret.is_one is not None:
        for _ in range(2):  # what stands between two of them belongs to the first match alone
            some = _replace_checked(some, secret.pattern, mark, secret.is_one)
    elif secret.harmless is None:
        some = some.str.replace_all(secret.pattern, f"{_BEFORE}{mark}${{after}}")
    else:
        some = some.str.replace_all(_SPARED, "\ufffd", literal=True)
        some = some.str.replace_all(secret.harmless, f"${{keep}}{_SPARED}${{value}}")
        some = some.str.replace_all(secret.pattern, f"{_BEFORE}{mark}").str.replace_all(_SPARED, "", literal=True)
    return texts.clone().scatter(rows, some)


def _replace_checked(texts: pl.Series, pattern: str, mark: str, is_one: Callable[[str], bool]) -> pl.Series:
    mended = []
    for text, matches in zip(texts, texts.str.extract_all(pattern), strict=True):
        parts, end = [], 0
        for match in matches:
            core = match.strip(_AROUND)
            if is_one(core):
                begin = text.index(core, end)
                parts += [text[end:begin], mark]
                end = begin + len(core)
        mended.append("".join([*parts, text[end:]]))
    return pl.Series(mended, dtype=pl.String)
