"""Templates: bodies with their variable parts as `<*>`, grown by `learn`, looked up by `match`.

The miner keeps a set of templates and nothing else, and `learn` is a function of sets: neither the order of
lines nor how they were split over files or workers can change what comes out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.events import template_id
from enhanced_deeplog.logs.foreign_text import extract_groups
from enhanced_deeplog.logs.masks import DEFAULT_MASKS, WILDCARD, Mask, mask_bodies, normalise_bodies

__all__ = ["Template", "TemplateMiner", "parameters", "tokens_of"]

MAX_TOKENS = 128  # what follows is one last token, so that a body of nothing but short words costs no more
_WORTH_A_REGEX = 2000  # bodies of one template: setting a regex up takes 1.8 ms, a body by itself 1 us
_MAX_GROUPS = 30  # of a regular expression: with more, looking for literals one by one is as fast, or faster
_FIRST_TOKEN = 2  # times min_values make a first token vary: mostly it says what happened (so Drain assumes)
_FORMAT = 1  # of the JSON
_HIDDEN = re.compile("<hidden:[0-9a-f]{4}>")  # a token of which only a part of its hash may be stored

Tokens = tuple[str, ...]
Places = tuple[int, ...]


@dataclass(frozen=True)
class Template:
    """A body with its variable parts as `<*>`; a `<*>` that is a token of its own stands for any one token.

    Attributes:
        text: Tokens joined by one blank.
        aliases: Templates that this one replaced: what matches one of them still matches this template.
    """

    text: str
    aliases: tuple[str, ...] = ()

    @property
    def template_id(self) -> str:
        """The name of the template in every run: a hash of its text."""
        return template_id(self.text)


class TemplateMiner:
    """Grows templates from masked bodies, and looks them up.

    Args:
        min_values: A position becomes `<*>` once otherwise similar bodies hold this many different tokens
            there; fewer stay apart (opened, closed), for they may well be different events.
        similarity: Share of the tokens of a template that must be the same in all its bodies.
        masks: How bodies are masked: what is matched must be masked like what was learnt.

    Example:
        >>> miner = TemplateMiner(min_values=3)
        >>> miner.learn(["opened by amy", "opened by bob", "opened by cid", "closed by bob"])
        >>> [template.text for template in miner.templates]
        ['closed by bob', 'opened by <*>']
        >>> miner.match(["opened by zoe", "closed by zoe"])
        ['opened by <*>', None]
    """

    def __init__(self, *, min_values: int = 6, similarity: float = 0.5, masks: Sequence[Mask] = DEFAULT_MASKS) -> None:
        if min_values < 2:
            raise ConfigError(f"min_values must be 2 or more, for one value varies nothing; it is {min_values}.")
        if not 0 < similarity <= 1:
            raise ConfigError(f"similarity is a share of tokens, above 0 and up to 1; it is {similarity}.")
        self.min_values = min_values
        self.similarity = similarity
        self.masks = tuple(masks)
        self._store(())

    @property
    def templates(self) -> tuple[Template, ...]:
        """All templates, in the order of their text."""
        return self._templates

    def mask(self, bodies: pl.Series) -> pl.Series:
        """Mask bodies the way this miner's templates expect; String (N,) -> String (N,)."""
        return mask_bodies(bodies, self.masks)

    def match(self, masked: Iterable[str]) -> list[str | None]:
        """Look up the template of each masked body; changes nothing.

        Of the templates that fit, the most specific one is taken: most literal tokens, then first by text.

        Args:
            masked: Masked bodies (N,), best distinct ones.

        Returns:
            The template's text for each body (N,), None where no template fits.
        """
        return [self._match(body) for body in masked]

    def learn(self, masked: Iterable[str]) -> None:
        """Grow the templates until every body matches one.

        Bodies that match already change nothing. The others are grown together with the templates that begin
        like them; a template that a more general one replaces becomes its alias.

        Args:
            masked: Masked bodies; each distinct one counts once. Of a mapping, the keys.

        Source:
            Partition by number of tokens, then by the position of fewest values: Makanju et al., KDD 2009
            (IPLoM), section 3. The first token groups, a share of tokens stays: He et al., ICWS 2017 (Drain),
            section 3. Ours: bodies are split before anything is merged, so their order plays no part; a
            position that masks had a part of in every body varies, however few; first tokens merge last.
        """
        bodies = set(masked)
        new = {tokens_of(body) for body in bodies if self._match(body) is None}
        if not new:
            return
        beginnings = {_beginning(tokens) for tokens in new}
        old = {tokens_of(template.text): template for template in self.templates}
        beside = {tokens for tokens in old if _beginning(tokens) in beginnings}
        by_beginning = _grow(new | beside, _beginning, self.min_values, self.similarity)
        grown = set(by_beginning.values()) | (old.keys() - beside)
        by_rest = _grow(grown, _rest, _FIRST_TOKEN * self.min_values, self.similarity)

        aliases: dict[Tokens, set[str]] = {tokens: set() for tokens in by_rest.values()}
        for tokens, template in old.items():
            aliases[by_rest[by_beginning.get(tokens, tokens)]] |= {template.text, *template.aliases}
        self._store(
            Template(text, tuple(sorted(replaced - {text})))
            for text, replaced in ((" ".join(tokens), replaced) for tokens, replaced in aliases.items())
        )

    def keep(self, texts: Collection[str]) -> None:
        """Forget all templates but those with these texts; what only the others fitted may fit none afterwards."""
        if any(template.text not in texts for template in self._templates):
            self._store(template for template in self._templates if template.text in texts)

    def hide(self, shared: Collection[str]) -> None:
        """Store of every token that is not among these only what it can be recognised by: 16 bits of its hash.

        A word that few sessions have may be somebody's name or password. What matched before still matches.

        Args:
            shared: Tokens that may be stored as they are.

        Example:
            >>> miner = TemplateMiner()
            >>> miner.learn(["hunter2 logged in"])
            >>> miner.hide({"logged", "in"})
            >>> miner.match(["hunter2 logged in", "hunter3 logged in"])
            ['<hidden:f52f> logged in', None]
        """

        def hidden(text: str) -> str:
            return " ".join(t if t == WILDCARD or t in shared else _hidden(t) for t in tokens_of(text))

        aliases: dict[str, set[str]] = defaultdict(set)
        for template in self._templates:
            aliases[hidden(template.text)].update(map(hidden, template.aliases))
        taken = set(aliases)  # each text stands for one template
        merged = []
        for text, others in sorted(aliases.items()):
            merged.append(Template(text, tuple(sorted(others - taken))))
            taken |= others
        self._store(merged)

    def to_json(self) -> str:
        """The whole miner as indented JSON, the same text for the same templates; people may edit it."""
        content = {
            "format": _FORMAT,
            "min_values": self.min_values,
            "similarity": self.similarity,
            "masks": [asdict(mask) for mask in self.masks],
            "templates": [asdict(template) for template in self.templates],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text) + "\n"  # UTF-8 has none

    @classmethod
    def from_json(cls, text: str) -> TemplateMiner:
        """Rebuild a miner from `to_json`, perhaps edited by hand.

        Raises:
            ConfigError: If the text is no such JSON; the text says which part.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"The templates can't be read: they are not valid JSON ({error}).") from None
        keys = {"format", "min_values", "similarity", "masks", "templates"}
        _check(isinstance(content, dict) and content.keys() == keys, f"an object of {sorted(keys)}", content)
        _check(content["format"] == _FORMAT, f'"format": {_FORMAT}', content["format"])
        _check(type(content["min_values"]) is int, '"min_values": a whole number', content["min_values"])
        _check(type(content["similarity"]) in (int, float), '"similarity": a number', content["similarity"])
        for key in ("masks", "templates"):
            _check(isinstance(content[key], list), f'"{key}": a list', content[key])
        for mask in content["masks"]:
            _check(_has(mask, name=str, pattern=str), '{"name": text, "pattern": text} as a mask', mask)
        taken: set[str] = set()
        for template in content["templates"]:
            good = _has(template, text=str, aliases=list) and all(isinstance(a, str) for a in template["aliases"])
            _check(good, '{"text": text, "aliases": [text, ...]} as a template', template)
            for text in (template["text"], *template["aliases"]):
                _check(text not in taken, "each template and alias once", text)
                taken.add(text)
        miner = cls(
            min_values=content["min_values"],
            similarity=content["similarity"],
            masks=[Mask(**mask) for mask in content["masks"]],
        )
        miner._store(Template(one["text"], tuple(sorted(one["aliases"]))) for one in content["templates"])
        return miner

    def _store(self, templates: Iterable[Template]) -> None:
        self._templates = tuple(sorted(templates, key=lambda template: template.text))
        # Number of tokens -> literal positions, most of them first, and those of hidden tokens among them
        # -> literal tokens -> (pattern, template).
        index: dict[int, dict[tuple[Places, Places], dict[Tokens, tuple[str, str]]]] = defaultdict(dict)
        for template in self._templates:
            for pattern in (template.text, *template.aliases):
                tokens = tokens_of(pattern)
                literal = tuple(i for i, token in enumerate(tokens) if token != WILDCARD)
                hidden = tuple(i for i in literal if _HIDDEN.fullmatch(tokens[i]))
                of_positions = index[len(tokens)].setdefault((literal, hidden), {})
                of_positions[tuple(tokens[i] for i in literal)] = (pattern, template.text)
        self._index = {
            n: sorted(by_positions.items(), key=lambda item: -len(item[0][0])) for n, by_positions in index.items()
        }

    def _match(self, body: str) -> str | None:
        tokens = tokens_of(body)
        best: tuple[str, str] | None = None
        n_literal = 0
        hashed: dict[int, str] = {}  # of this body's tokens, each once
        for (positions, hidden), patterns in self._index.get(len(tokens), ()):
            if best and len(positions) < n_literal:
                break
            literal = tuple(map(tokens.__getitem__, positions))
            if hidden:
                for i in hidden:
                    if i not in hashed:
                        hashed[i] = _hidden(tokens[i])
                literal = tuple(hashed[i] if i in hidden else tokens[i] for i in positions)
            found = patterns.get(literal)
            if found and (best is None or found < best):
                best, n_literal = found, len(positions)
        return best[1] if best else None


def _grow(
    bodies: Iterable[Tokens], key: Callable[[Tokens], object], min_values: int, similarity: float
) -> dict[Tokens, Tokens]:
    """Template of each body; those with the same number of tokens and the same key are grown together."""
    groups: dict[object, list[Tokens]] = defaultdict(list)
    for tokens in bodies:
        groups[len(tokens), key(tokens)].append(tokens)
    return {
        tokens: template
        for group in groups.values()
        for template, part in _split(group, min_values, similarity)
        for tokens in part
    }


def _split(bodies: list[Tokens], min_values: int, similarity: float) -> Iterator[tuple[Tokens, list[Tokens]]]:
    """Split bodies of one length by their positions of few values, until each part is one template."""
    parts = [bodies]
    while parts:
        part = parts.pop()
        values = [set(column) for column in zip(*part, strict=True)]
        varying = {i for i, tokens in enumerate(values) if len(tokens) > 1}
        few = (i for i in sorted(varying) if len(values[i]) < min_values)
        split_by = [i for i in few if not _are_masked(values[i])]
        if not split_by:
            template = tuple(WILDCARD if i in varying else token for i, token in enumerate(part[0]))
            alike = len(template) - len(varying) >= similarity * len(template)
            if not varying or (alike and any(letter.isalpha() for token in template for letter in token)):
                yield template, part
                continue
            split_by = [min(varying, key=lambda i: (len(values[i]), i))]
        by_values: dict[Tokens, list[Tokens]] = defaultdict(list)
        for tokens in part:
            by_values[tuple(tokens[i] for i in split_by)].append(tokens)
        parts += by_values.values()


def parameters(bodies: pl.Series, templates: pl.Series) -> pl.Series:
    """Read what stands in a body for each `<*>` of its template.

    Each value is as short as it can be. A body that its template's literals don't fit, as one that was cut, gives
    nothing; nor does a template that hides a token.

    Args:
        bodies: Bodies as written, not masked, String (N,).
        templates: Their templates, String (N,), null for UNKNOWN.

    Returns:
        Values for each body, in the order of the `<*>`, List(String) (N,); a list of several ids is one value.

    Example:
        >>> bodies = pl.Series(["ask 10.0.0.7:1 to delete  blk_1 blk_2"])
        >>> parameters(bodies, pl.Series(["ask <*> to delete <*>"])).to_list()
        [['10.0.0.7:1', 'blk_1 blk_2']]
    """
    readable = templates.cast(pl.String).str.replace(f".*{_HIDDEN.pattern}.*", "")  # no body fits the empty text
    frame = pl.DataFrame({"body": normalise_bodies(bodies), "template": readable})
    frame = frame.with_row_index("row")
    has_many = pl.len().over("template") >= _WORTH_A_REGEX
    few, many = frame.filter(~has_many), frame.filter(has_many).partition_by("template", maintain_order=True)
    rows = pl.concat([few["row"], *(part["row"] for part in many)])
    values = [_values_one_by_one(few["body"], few["template"])]
    values += [_values_at_once(part["body"], part["template"][0]) for part in many]
    return pl.concat(values).gather(rows.arg_sort()).alias("parameters")


def _values_at_once(bodies: pl.Series, template: str | None) -> pl.Series:
    """The values of bodies of one template, List(String) (N,)."""
    literals = (template or "").split(WILDCARD)
    if len(literals) == 1:
        return _lists([[]] * len(bodies))
    if len(literals) > _MAX_GROUPS:
        return _lists([_shortest(body, literals) for body in bodies])
    # Values rarely hold blanks. Where there are none, what is found is the same without them, in half the time.
    groups = extract_groups(bodies, "^" + "([^ ]+?)".join(map(re.escape, literals)) + "$")
    fits = groups.to_series().is_not_null()
    values = groups.filter(fits).select(pl.concat_list(pl.all()).alias("")).to_series()
    rest, left = _lists([_shortest(body, literals) for body in bodies.filter(~fits)]), (~fits).arg_true()
    return pl.concat([values, rest]).gather(fits.arg_true().append(left).arg_sort())


def _values_one_by_one(bodies: pl.Series, templates: pl.Series) -> pl.Series:
    """The same for bodies of many templates, for each of which a regular expression would take longer to compile."""
    literals_of: dict[str | None, list[str]] = {t: (t or "").split(WILDCARD) for t in templates.unique()}
    return _lists([_shortest(body, literals_of[t]) for body, t in zip(bodies, templates, strict=True)])


def _shortest(body: str, literals: list[str]) -> list[str]:
    """The values between literals, each at the first place where it fits: if that leads to no end, nothing does."""
    if len(literals) == 1 or not body.startswith(literals[0]):
        return []
    values = []
    begin = len(literals[0])
    last = len(literals) - 1
    for i, literal in enumerate(literals[1:], 1):
        end = len(body) - len(literal) if i == last else body.find(literal, begin + 1)
        if end <= begin or not body.startswith(literal, end):
            return []
        values.append(body[begin:end])
        begin = end + len(literal)
    return values


def _lists(rows: list[list[str]]) -> pl.Series:
    """A column of lists; Polars would look at each list by itself, which takes ten times as long."""
    row = np.repeat(np.arange(len(rows)), [len(values) for values in rows])
    flat = pl.DataFrame({"row": row, "value": pl.Series([v for values in rows for v in values], dtype=pl.String)})
    lists = flat.group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": np.arange(len(rows))}).join(lists, on="row", how="left", maintain_order="left")
    return every.select(pl.col("value").fill_null(pl.lit([], pl.List(pl.String))).alias("")).to_series()


def tokens_of(body: str) -> Tokens:
    """The tokens of a masked body or a template; of a very long one, what follows is one last token."""
    return tuple(body.split(" ", MAX_TOKENS - 1))


def _hidden(token: str) -> str:
    """What is stored in place of a token; of one that is hidden, itself."""
    if _HIDDEN.fullmatch(token):
        return token
    return f"<hidden:{hashlib.sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()[:4]}>"


def _beginning(tokens: Tokens) -> str:
    return WILDCARD if WILDCARD in tokens[0] else tokens[0]


def _rest(tokens: Tokens) -> Tokens:
    return tokens[1:]


def _are_masked(tokens: set[str]) -> bool:
    """Whether masks found a part of every token and the whole of one, as in LOCAL(<*>) and <*>."""
    whole = any(token.strip("\"'()[]{}.,:;") == WILDCARD for token in tokens)
    return whole and all(WILDCARD in token for token in tokens)


def _has(value: object, **types: type) -> bool:
    """True for an object of exactly these keys, each of its type."""
    return (
        isinstance(value, dict)
        and value.keys() == types.keys()
        and all(isinstance(value[key], kind) for key, kind in types.items())
    )


def _check(good: bool, expected: str, came: object) -> None:
    if not good:
        raise ConfigError(f"The templates can't be read: expected {expected}; got {came!r:.200}.")
