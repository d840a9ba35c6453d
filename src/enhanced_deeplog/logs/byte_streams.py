"""Bytes to lines, in bounded memory: opening, decompressing, spooling, cutting, decoding.

Bytes become blocks of whole lines, blocks become columns of text; what is no UTF-8 or too long is mended and
counted. Never more than a few blocks are held.
"""

from __future__ import annotations

import codecs
import gzip
import importlib
import io
import lzma
import os
import re
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import polars as pl

from enhanced_deeplog.errors import InputError

__all__ = ["ByteStream", "Spool", "TextLines", "lines_of_list", "lines_of_stream", "open_stream"]

_HEAD_BYTES = 8192  # enough to know a binary file
_COPY_BYTES = 8 << 20  # at a time, when input is spooled
_GROWN_BYTES, _MOST_GROWTH = 64 << 20, 500  # what grows to more than the first, and more than so many times, is refused
_LIST_LINES = 100_000  # lines of a list that become one frame
_PIECE = re.compile(rb"[0-9T:.Z+-]{20,40} (?P<stream>stdout|stderr) (?P<tag>[PF])(?::[^ ]*)? ")  # of a line: containerd
_LONGEST_CHARACTER = 4  # bytes, in UTF-8

ByteStream: TypeAlias = "io.BufferedReader[Any] | gzip.GzipFile"  # has peek() and read1()

_TEXT_BYTES = bytes(b for b in range(256) if b >= 0x20 or b in b"\t\n\v\f\r\x1b")  # in any encoding of one byte
_MANY_CONTROLS = 20  # fewer in the head of a file may be stray ones
_XZ = b"\xfd7zXZ\x00"
_BINARIES = {
    b"\x7fELF": "a program (ELF)", b"MZ\x90\x00": "a program (Windows)", b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2", b"7z\xbc\xaf": "a 7z archive",
    b"\x89PNG": "an image (PNG)", b"\xff\xd8\xff": "an image (JPEG)", b"GIF8": "an image (GIF)",
    b"%PDF-": "a PDF", b"PAR1": "a Parquet file", b"SQLite format 3\x00": "an SQLite database",
    b"\x1f\x8b": "compressed twice (gzip)", b"\x28\xb5\x2f\xfd": "compressed twice (zstd)",
    _XZ: "compressed twice (xz)",
}  # fmt: skip


def open_stream(raw: Any, shown: str) -> ByteStream:
    """Decompress, by magic bytes and not by name; make UTF-8 of UTF-16 that is marked; refuse what is no text.

    Args:
        raw: An unbuffered binary file.
        shown: Its name, for errors.

    Raises:
        InputError: If it is a known binary, or compressed by zstd and the package for it isn't installed.
    """
    packed: io.BufferedReader[Any] = io.BufferedReader(raw, _HEAD_BYTES)
    stream: ByteStream = packed
    magic = packed.peek(len(_XZ))[: len(_XZ)]
    if magic.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=packed)
    elif magic.startswith(b"\x28\xb5\x2f\xfd"):
        stream = io.BufferedReader(_ZstdStream(packed, shown), _HEAD_BYTES)
    elif magic == _XZ:
        stream = io.BufferedReader(_XzFile(packed), _HEAD_BYTES)
    if stream is not packed:
        stream = io.BufferedReader(_NoBomb(stream, packed, shown), _HEAD_BYTES)
    if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        stream = io.BufferedReader(_Utf16Stream(stream), _HEAD_BYTES)
    _refuse_binary(stream.peek(_HEAD_BYTES)[:_HEAD_BYTES], shown)
    return stream


def _refuse_binary(head: bytes, shown: str) -> None:
    what = next((kind for magic, kind in _BINARIES.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        what = "a tar archive"
    n_controls = len(head.translate(None, _TEXT_BYTES))
    if what is None and head.count(0) * 100 > len(head):
        what = "binary (it holds many NUL bytes)"
    elif what is None and n_controls >= _MANY_CONTROLS and n_controls * 50 > len(head):
        what = "binary (it holds many control characters)"
    if what is not None:
        raise InputError(
            f"{shown}: expected a text log, plain or compressed by gzip, zstd or xz; this is {what}. "
            "Unpack or convert it."
        )


class _NoBomb(io.RawIOBase):
    """What was compressed, as long as it does not grow without measure."""

    def __init__(self, unpacked: ByteStream, packed: io.BufferedReader[Any], shown: str) -> None:
        self._unpacked, self._packed, self._shown = unpacked, packed, shown
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = self._unpacked.read1(len(target))
        target[: len(data)] = data
        self._n_bytes += len(data)
        if self._n_bytes > _GROWN_BYTES and self._n_bytes > _MOST_GROWTH * self._packed.tell():
            raise InputError(
                f"{self._shown}: expected a compressed log; {self._packed.tell():,} bytes of it become "
                f"{self._n_bytes:,} and more, over {_MOST_GROWTH} times as many: it may be made to fill a machine. "
                "If it is a log, decompress it yourself and read that."
            )
        return len(data)


class _XzFile(lzma.LZMAFile):
    """Keeps what it reads from when it is closed: that is closed by who has opened it."""

    def __init__(self, packed: io.BufferedReader[Any]) -> None:
        super().__init__(packed)
        self.packed = packed


class _Utf16Stream(io.RawIOBase):
    """UTF-16 with a mark as UTF-8; what is no character becomes U+FFFD."""

    def __init__(self, encoded: ByteStream) -> None:
        self._encoded, self._ready = encoded, b""
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        ended = False
        while not self._ready and not ended:
            data = self._encoded.read1(_HEAD_BYTES)
            ended = not data
            self._ready = self._decoder.decode(data, final=ended).encode("utf-8", "replace")
        n = min(len(target), len(self._ready))
        target[:n], self._ready = self._ready[:n], self._ready[n:]
        return n


class _ZstdStream(io.RawIOBase):
    """A zstd stream that knows when it is cut off: the reader of `zstandard` ends quietly then."""

    # A hostile frame grows up to 32,000-fold; what this much can become still fits memory.
    _INPUT_BYTES = 4096

    def __init__(self, compressed: io.BufferedReader[Any], shown: str) -> None:
        try:
            self._zstandard: Any = importlib.import_module("zstandard")
        except ImportError:
            raise InputError(
                f"{shown}: it is compressed by zstd, and Python's package zstandard is not installed. "
                f"Install it (pip install zstandard), or decompress the file: zstd -d {shown}"
            ) from None
        self._compressed, self._ready = compressed, b""
        self._frame: Any = None  # decompressor of a frame that has begun and not ended

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready and (data := self._compressed.read(self._INPUT_BYTES)):
            self._ready = self._decompress(data)
        if not self._ready and self._frame is not None:
            raise EOFError("the last zstd frame is not complete")
        n = min(len(target), len(self._ready))
        target[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def _decompress(self, data: bytes) -> bytes:
        pieces = []
        while data:
            self._frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
            try:
                pieces.append(self._frame.decompress(data))
            except self._zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(pieces)


class _SpooledStream(io.RawIOBase):
    """One reader of a spooled file: several can read it at once, each at its own place."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def readinto(self, target: Any) -> int:
        data = os.pread(self._file.fileno(), len(target), self._place)
        target[: len(data)] = data
        self._place += len(data)
        return len(data)


class Spool:
    """Input that comes only once, kept in an unlinked file (mode 0600) so that it can be read again."""

    def __init__(self, open_once: Callable[[], Any]) -> None:
        self._open_once = open_once
        self._spool: IO[bytes] | None = None

    def open(self) -> io.RawIOBase:
        """Read it all on the first call; each call gives a reader at the beginning."""
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(prefix="enhanced-deeplog-")  # noqa: SIM115  # kept for later reads
            weakref.finalize(self, self._spool.close)
            with self._open_once() as source:
                # One system call at a time (a raw file's `read` is that): a larger read misses a Ctrl-C inside it.
                read = getattr(source, "read1", source.read)
                while piece := read(_COPY_BYTES):
                    self._spool.write(piece)
            self._spool.flush()
        return _SpooledStream(self._spool)


def _chunks(stream: ByteStream, n_bytes: int) -> Iterator[bytes]:
    """Pieces of at least `n_bytes`, but the last. What came before a stream breaks off still comes."""
    pieces: list[bytes] = []
    n = 0
    try:
        while piece := stream.read1(n_bytes):
            pieces.append(piece)
            n += len(piece)
            if n >= n_bytes:
                yield b"".join(pieces)
                pieces, n = [], 0
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        yield b"".join(pieces)
        raise
    yield b"".join(pieces)


def _blocks(stream: ByteStream, block_bytes: int, max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    r"""Cut a stream behind newlines: each block comes with the offset of its first byte.

    A line that is too long comes alone, as much of it as shows that it is too long (two bytes more than
    allowed: one may be the \r of a line that is just not too long); the rest of it is skipped, never held.
    """
    offset, rest, skipping = 0, b"", False
    for chunk in _chunks(stream, block_bytes):
        if skipping:
            newline = chunk.find(b"\n")
            offset += len(chunk) if newline < 0 else newline + 1
            if newline < 0:
                continue
            chunk, skipping = chunk[newline + 1 :], False
        rest += chunk
        end = rest.rfind(b"\n") + 1
        if end:
            yield offset, rest[:end]
            offset, rest = offset + end, rest[end:]
        if len(rest) > max_line_bytes + 1:
            yield offset, rest[: max_line_bytes + 2]
            offset, rest, skipping = offset + len(rest), b"", True
    if rest:
        yield offset, rest


# --- Lines --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextLines:
    """Some lines in a row: a frame of `line`, `byte_offset`, `text`, and how many of them were mended."""

    frame: pl.DataFrame
    n_invalid_utf8: int
    n_overlong: int


def lines_of_stream(stream: ByteStream, block_bytes: int, max_line_bytes: int) -> Iterator[TextLines]:
    """Lines of a stream, a block at a time.

    Args:
        stream: What `open_stream` returned, at its beginning.
        block_bytes: Bytes to take at once, at least.
        max_line_bytes: Bytes of a line that are kept.
    """
    n_lines = 0
    for offset, block in _blocks(stream, block_bytes, max_line_bytes):
        if offset == 0 and block.startswith(codecs.BOM_UTF8):
            offset, block = len(codecs.BOM_UTF8), block[len(codecs.BOM_UTF8) :]
            if not block:
                continue
        lines = _lines_of_block(block, offset, n_lines, max_line_bytes)
        n_lines += len(lines.frame)
        yield lines


def _lines_of_block(block: bytes, offset: int, n_before: int, max_line_bytes: int) -> TextLines:
    """Split a block at \\n only, all lines at once if it is clean UTF-8 without overlong lines."""
    block = block.removesuffix(b"\n")
    try:
        texts = pl.Series("text", [block.decode()]).str.split("\n").explode()
    except UnicodeDecodeError:
        return _mended_lines(block.split(b"\n"), offset, n_before, max_line_bytes)
    n_bytes = texts.str.len_bytes()
    texts = texts.str.strip_suffix("\r")
    if int(texts.str.len_bytes().max() or 0) > max_line_bytes:  # type: ignore[arg-type]  # max() may be any type
        return _mended_lines(block.split(b"\n"), offset, n_before, max_line_bytes)
    return TextLines(_line_frame(texts, n_bytes, offset, n_before), 0, 0)


def _whole_characters(raw_lines: list[bytes]) -> list[bytes]:
    r"""Put characters together that a container runtime has cut: the beginning of one moves to the next piece.

    Example:
        >>> cut = [b"2024-03-01T08:00:00Z stdout P caf\xc3", b"2024-03-01T08:00:00Z stdout F \xa9s"]
        >>> [line.decode().split(" ", 3)[3] for line in _whole_characters(cut)]
        ['caf', 'és']
    """
    whole: list[bytes] = []
    begun: dict[bytes, tuple[int, bytes]] = {}  # by stream: in which line, and what there is of the character
    for number, raw in enumerate(raw_lines):
        header = _PIECE.match(raw)
        if header:
            _, begin = begun.pop(header["stream"], (number, b""))
            raw = raw[: header.end()] + begin + raw[header.end() :]
        if header and header["tag"] == b"P":
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            decoder.decode(raw[-_LONGEST_CHARACTER:])
            rest = decoder.getstate()[0]
            if rest:
                begun[header["stream"]] = number, rest
                raw = raw.removesuffix(rest)
        whole.append(raw)
    for number, rest in begun.values():  # the next piece isn't here
        whole[number] += rest
    return whole


def _mended_lines(raw_lines: list[bytes], offset: int, n_before: int, max_line_bytes: int) -> TextLines:
    """The same, line by line: bytes that are no UTF-8 become U+FFFD, what is too long is cut."""
    n_bytes = pl.Series([len(raw) for raw in raw_lines], dtype=pl.UInt32)
    texts: list[str] = []
    n_invalid = n_overlong = 0
    for raw in _whole_characters(raw_lines):
        raw = raw.removesuffix(b"\r")
        overlong = len(raw) > max_line_bytes
        kept = raw[:max_line_bytes]
        # An incremental decoder leaves away the half of a character that the cut may have left at the end.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(kept, final=not overlong)
        texts.append(text)
        n_overlong += overlong
        n_invalid += "\ufffd" in text and not _is_utf8(kept, final=not overlong)
    frame = _line_frame(pl.Series("text", texts, pl.String), n_bytes, offset, n_before)
    return TextLines(frame, n_invalid, n_overlong)


def _is_utf8(raw: bytes, *, final: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=final)
    except UnicodeDecodeError:
        return False
    return True


def _line_frame(texts: pl.Series, n_bytes: pl.Series, offset: int, n_before: int) -> pl.DataFrame:
    ends = (n_bytes.cast(pl.Int64) + 1).cum_sum() + offset
    return pl.DataFrame(
        {
            "line": pl.int_range(n_before + 1, n_before + 1 + len(texts), dtype=pl.Int64, eager=True),
            "byte_offset": ends.shift(1, fill_value=offset),
            "text": texts,
        }
    )


def lines_of_list(raw_lines: list[bytes], max_line_bytes: int) -> Iterator[TextLines]:
    """Lines that are already in memory, as if newlines stood between them; they may hold newlines, too."""
    offset = 0
    for start in range(0, len(raw_lines), _LIST_LINES):
        some = raw_lines[start : start + _LIST_LINES]
        yield _mended_lines(some, offset, start, max_line_bytes)
        offset += sum(map(len, some)) + len(some)
