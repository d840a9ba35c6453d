"""`classes`: what kinds of anomaly a bundle knows."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer

from enhanced_deeplog.cli.options import Bundle, Json
from enhanced_deeplog.cli.terminal import write_lines, write_screen
from enhanced_deeplog.errors import UsageError

__all__ = ["classes"]


def classes(
    *,
    bundle: Bundle,
    show: Annotated[int | None, typer.Option(metavar="N", help="All about the class with this number.")] = None,
    json: Json = False,
) -> None:
    """List the kinds of anomaly that a bundle knows, or show one of them."""
    from enhanced_deeplog.bundle import load_bundle

    known = load_bundle(bundle).classes
    chosen = [one for one in known if show in (None, one.id)]
    if show is not None and not chosen:
        ids = ", ".join(str(one.id) for one in known) or "none"
        raise UsageError(f"--show {show}: expected the number of a class of this bundle; it has {ids}.")
    if json:
        write_lines(json_format.dumps(one.to_json()) for one in chosen)
        return
    from enhanced_deeplog.cli.learnt import class_screen, classes_screen

    write_screen(*(classes_screen(known) if show is None else class_screen(chosen[0])))
