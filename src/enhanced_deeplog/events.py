"""Event ids: the small integers that stand for templates inside one fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

__all__ = ["END", "END_TEXT", "FIRST_TEMPLATE", "PADDING", "UNKNOWN", "EventVocabulary", "template_id"]

PADDING = 0  # fills the places before the first event of a session
UNKNOWN = 1  # an event whose template `fit` never saw
END = 2  # follows the last event of a session that has ended
FIRST_TEMPLATE = 3  # the event id of the first template

END_TEXT = "<END>"  # the template of END
_RESERVED_TEXT = ("<PADDING>", "<UNKNOWN>", END_TEXT)


def template_id(template: str) -> str:
    """Name a template so that every run, machine and bundle gives it the same name.

    Args:
        template: Text of the template.

    Returns:
        12 hexadecimal digits of the SHA-256 of the text.

    Example:
        >>> template_id("Served block <*> to <*>")
        'ccdef1b725b7'
    """
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class EventVocabulary:
    """The two-way table between event ids and templates of one fit.

    An event id is a name, not a quantity: embed it, never compute with it.

    Attributes:
        templates: Distinct template texts; `templates[i]` has the event id `i + FIRST_TEMPLATE`.

    Example:
        >>> vocabulary = EventVocabulary(("opened <*>", "closed <*>"))
        >>> len(vocabulary), vocabulary.template(4), vocabulary.template(END)
        (5, 'closed <*>', '<END>')
    """

    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.templates)) != len(self.templates):
            raise ValueError("EventVocabulary expects distinct templates; the same text came twice.")

    @classmethod
    def of(cls, templates: Iterable[str]) -> EventVocabulary:
        """Number templates in the order of their text, so that the order of files can't matter."""
        return cls(tuple(sorted(set(templates))))

    def __len__(self) -> int:
        """Number of event ids, the three reserved ones included (V)."""
        return len(self.templates) + FIRST_TEMPLATE

    @cached_property
    def event_ids(self) -> dict[str, int]:
        """Template text -> event id."""
        return {template: i for i, template in enumerate(self.templates, FIRST_TEMPLATE)}

    @cached_property
    def template_ids(self) -> tuple[str, ...]:
        """The template id of each template, in their order."""
        return tuple(map(template_id, self.templates))

    def template(self, event_id: int) -> str:
        """Text of an event id; the reserved ids read `<PADDING>`, `<UNKNOWN>` and `<END>`."""
        return _RESERVED_TEXT[event_id] if event_id < FIRST_TEMPLATE else self.templates[event_id - FIRST_TEMPLATE]
