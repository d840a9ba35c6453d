"""Make the pictures of a report that README.md and docs/report.md show, with a browser that nobody sees.

enhanced-deeplog demo
python benchmarks/pictures.py demo-output/report.html

Look at each of them afterwards: a test can't tell whether a page is good to look at.
"""

from __future__ import annotations

import argparse
import html
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES = 400_000
DARK, LIGHT = 0, 1  # as the browser numbers what a page asks for by prefers-color-scheme


@dataclass(frozen=True)
class Picture:
    """What a picture shows.

    Attributes:
        name: Of its file, without the ending.
        width: Of the screen, CSS pixels.
        height: Of the screen, CSS pixels; the page is cut there.
        scheme: DARK or LIGHT.
    """

    name: str
    width: int
    height: int
    scheme: int


PICTURES = (
    Picture("report-wide", 1200, 1500, LIGHT),
    Picture("report-dark", 1200, 1500, DARK),
    Picture("report-narrow", 400, 1500, LIGHT),
    Picture("report-narrow-dark", 400, 1500, DARK),
)


# The page in a frame: the window of a browser that nobody sees is never narrower than 500 pixels, a frame may be.
FRAME = """<!DOCTYPE html>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<style>body {{ margin: 0; }} iframe {{ border: 0; display: block; width: {width}px; height: {height}px; }}</style>
<iframe src="{address}"></iframe>
"""


def take(picture: Picture, page: Path, file: Path, browser: str) -> None:
    """Take one picture of the top of a page.

    Raises:
        subprocess.CalledProcessError: If the browser fails.
    """
    with tempfile.TemporaryDirectory() as profile:
        frame = Path(profile) / "frame.html"
        address = html.escape(page.resolve().as_uri())
        frame.write_text(FRAME.format(width=picture.width, height=picture.height, address=address), "utf-8")
        options = [
            "--headless",
            "--no-sandbox",  # in a container it can't make one; the page is our own and fetches nothing
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={picture.width},{picture.height}",
            "--virtual-time-budget=8000",  # ms for the plots
            f"--blink-settings=preferredColorScheme={picture.scheme}",
            f"--screenshot={file}",
        ]
        subprocess.run([browser, *options, frame.as_uri()], check=True, capture_output=True, timeout=300)


def main() -> int:
    """Take all of them; 1 if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="a report: demo-output/report.html, or of analyze --report")
    parser.add_argument("--output-dir", type=Path, default=DOCS, help="where the pictures go; docs/ if left away")
    given = parser.parse_args()
    browser = next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)
    if browser is None:
        parser.error(f"expected one of {', '.join(BROWSERS)} to be installed; none was found")
    if not given.page.is_file():
        parser.error(f"expected a report at {given.page}; there is none")
    too_large = 0
    for picture in PICTURES:
        file = given.output_dir / f"{picture.name}.png"
        take(picture, given.page, file.resolve(), browser)
        size = file.stat().st_size
        too_large += size > MOST_BYTES
        print(f"{file}: {size:,} bytes{', too large' if size > MOST_BYTES else ''}")
    return int(too_large > 0)


if __name__ == "__main__":
    sys.exit(main())
