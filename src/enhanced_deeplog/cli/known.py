"""What people say about classes, as commands that judge use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enhanced_deeplog.cli.terminal import message
from enhanced_deeplog.errors import UsageError

if TYPE_CHECKING:
    from enhanced_deeplog.findings import AnomalyClass, Finding
    from enhanced_deeplog.knowledge import Knowledge

__all__ = ["Known", "ShowExpected"]

ShowExpected = Annotated[bool, typer.Option("--show-expected", help="Show also what somebody expects.")]


@dataclass
class Known:
    """What people say about classes, and how many findings that hides."""

    knowledge: Knowledge
    show_expected: bool
    n_hidden: int = 0
    classes: Sequence[AnomalyClass] = ()
    _seen: Callable[[Finding], Finding] = lambda finding: finding

    @classmethod
    def read(cls, bundle: Path | None, path: Path | None, *, show_expected: bool) -> Known:
        """What lies beside the bundle, or in the file that was named; nothing where there is neither.

        Raises:
            UsageError: If a file was named, and there is none.
        """
        from enhanced_deeplog.knowledge import Knowledge, knowledge_path

        if path is not None and not path.is_file():
            raise UsageError(f"--knowledge {path}: expected a file that 'classes' commands wrote; there is none.")
        place = path or (knowledge_path(bundle) if bundle is not None else None)
        return cls(Knowledge() if place is None else Knowledge.read(place), show_expected)

    def open(self, classes: Sequence[AnomalyClass]) -> None:
        """Look up what is said about these classes."""
        self.classes = [self.knowledge.described(one) for one in classes]
        self._seen = self.knowledge.viewer(classes)
        self.n_hidden = 0

    def view(self, finding: Finding) -> Finding | None:
        """A finding as people want to see it; None where they expect it."""
        seen = self._seen(finding)
        return seen if self.show_expected or not seen.expected else None

    def of(self, findings: Iterable[Finding]) -> list[Finding]:
        """Findings as people want to see them, without those that are to be expected, which are counted."""
        seen = list(map(self.view, findings))
        self.n_hidden += seen.count(None)
        return [finding for finding in seen if finding is not None]

    def tell(self) -> None:
        """Say on stderr how many are not shown."""
        if self.n_hidden:
            of = "1 finding is" if self.n_hidden == 1 else f"{self.n_hidden:,} findings are"
            message(f"{of} hidden, for somebody expects them (classes log). --show-expected shows them.")
