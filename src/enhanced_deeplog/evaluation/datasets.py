"""The public data sets that figures are measured on: what they are, and their truth. None of them comes with us."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from enhanced_deeplog.errors import InputError

__all__ = ["DATASETS", "Dataset", "DatasetFile", "HdfsBlocks", "HdfsSequences", "NovaLogs", "ParsedLog"]


@dataclass(frozen=True)
class DatasetFile:
    """One file of a data set.

    Attributes:
        path: Under the data folder.
        sha256: Of the file that published figures of ours were measured on.
        url: Where the file can be fetched as it is, or "".
    """

    path: str
    sha256: str
    url: str = ""


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    Attributes:
        name: On the command line.
        about: What it is and how large.
        licence: On what terms.
        citation: What to cite where a figure is shown.
        files: What it is read from.
    """

    name: str
    about: str
    licence: str
    citation: str
    files: tuple[DatasetFile, ...] = field(repr=False)

    def missing(self, folder: Path) -> list[DatasetFile]:
        """Files that are not in the data folder."""
        return [file for file in self.files if not (folder / file.path).is_file()]

    def check(self, folder: Path) -> list[str]:
        """Make sure that all files are there.

        Returns:
            Paths of files that differ from those our figures were measured on.

        Raises:
            InputError: If a file is missing.
        """
        if missing := self.missing(folder):
            raise InputError(
                f"The data set {self.name} needs {', '.join(file.path for file in missing[:3])}"
                f"{' and more' if len(missing) > 3 else ''} in {folder}; not there. "
                f"--data says where the folder is{', --download fetches them' if all(f.url for f in missing) else ''}. "
                f"It is: {self.about} ({self.citation})."
            )
        return [file.path for file in self.files if sha256_of(folder / file.path) != file.sha256]

    def download(self, folder: Path, *, on_file: Callable[[str], None] = lambda _: None) -> None:
        """Fetch the files that are missing, each written beside and renamed once its digest is right.

        Raises:
            InputError: If a file has no address of its own, can't be fetched, or is another one than expected.
        """
        for file in self.missing(folder):
            if not file.url:
                raise InputError(
                    f"{file.path} can't be fetched: it is published as part of something larger, or derived. "
                    f"Put it in {folder} by hand. It belongs to: {self.about} ({self.citation})."
                )
            on_file(file.path)
            _fetch(file, folder)


def sha256_of(path: Path) -> str:
    """Digest of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(file: DatasetFile, folder: Path) -> None:
    import urllib.error
    import urllib.request

    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        response = urllib.request.urlopen(file.url, timeout=60)  # noqa: S310  # addresses of this file alone
        with response, part.open("wb") as out:
            while block := response.read(1 << 20):
                out.write(block)
        if sha256_of(part) != file.sha256:
            raise InputError(f"{file.url} is not the file that was expected (its SHA-256 differs); nothing was kept.")
        part.replace(target)
    except (urllib.error.URLError, OSError) as error:
        raise InputError(f"{file.url} can't be fetched: {error}. Put the file at {target} by hand.") from None
    finally:
        part.unlink(missing_ok=True)


# --- HDFS -------------------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"blk_-?\d+")


@dataclass(frozen=True)
class HdfsBlocks:
    """Raw HDFS lines in the order of time.

    Attributes:
        lines: The lines.
        blocks: Block of each line.
        is_abnormal: Of each block, blocks in the order of their first line.
    """

    lines: list[str]
    blocks: list[str]
    is_abnormal: dict[str, bool]

    @classmethod
    def read(cls, folder: Path) -> HdfsBlocks:
        """Read the 2 % sample and its labels."""
        with gzip.open(folder / "hdfs" / "HDFS_2percent.log.gz", "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
        labels = {row["BlockId"]: row["Label"] != "Normal" for row in _rows(folder / "hdfs" / "anomaly_label.csv")}
        found = [_BLOCK.search(line) for line in lines]
        blocks = [match.group() for match in found if match is not None]
        if len(blocks) != len(lines):
            raise InputError(f"{folder}/hdfs/HDFS_2percent.log.gz: expected a block id on every line; some have none.")
        return cls(lines, blocks, {block: labels[block] for block in dict.fromkeys(blocks)})

    def of(self, wanted: set[str], *, first: int = 0, until: int | None = None) -> list[str]:
        """The lines of these blocks, of a stretch of the lines."""
        stretch = slice(first, until)
        pairs = zip(self.lines[stretch], self.blocks[stretch], strict=True)
        return [line for line, block in pairs if block in wanted]


@dataclass(frozen=True)
class HdfsSequences:
    """HDFS blocks as event ids, lines of the format `sequences`.

    Attributes:
        normal: Normal ones.
        abnormal: All abnormal blocks of HDFS_v1.
        types: Type of each abnormal block whose type is sure (confidence A or B).
    """

    normal: list[str]
    abnormal: list[str]
    types: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> HdfsSequences:
        """Read the sequences and the types."""
        normal, abnormal = (
            (folder / "hdfs" / f"sequences_{kind}.txt").read_text(encoding="utf-8").splitlines()
            for kind in ("normal", "abnormal")
        )
        rows = _rows(folder / "hdfs" / "anomaly_type.csv")
        return cls(normal, abnormal, {row["BlockId"]: row["Type"] for row in rows if row["Confidence"] in ("A", "B")})


# --- OpenStack ----------------------------------------------------------------------------------------------------

_INSTANCE = re.compile(r"\[instance: ([0-9a-f-]{36})\]")


@dataclass(frozen=True)
class NovaLogs:
    """OpenStack nova logs; the fault is the file.

    Attributes:
        lines: Of each file, by the name of its fault (`sample` for the mixed one).
    """

    lines: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path) -> NovaLogs:
        """Read the three files."""
        lines = {}
        for fault, name in _NOVA_FILES.items():
            with gzip.open(folder / "openstack_nova" / name, "rt", encoding="utf-8", errors="replace") as file:
                lines[fault] = [line for line in file.read().split("\n") if line]
        return cls(lines)

    def instances(self, fault: str) -> list[str]:
        """Instances of a file, in the order of their first line."""
        found = (_INSTANCE.search(line) for line in self.lines[fault])
        return list(dict.fromkeys(match.group(1) for match in found if match))

    def of(self, fault: str, wanted: set[str]) -> list[str]:
        """Lines of these instances of a file."""
        pairs = ((line, _INSTANCE.search(line)) for line in self.lines[fault])
        return [line for line, match in pairs if match and match.group(1) in wanted]


_NOVA_FILES = {
    "sample": "openstack-nova-sample.log.gz",
    "dhcp_off": "openstack-nova-dhcpoff.log.gz",
    "destroyed": "openstack-vm-destroy-immediately-after-create.log.gz",
}


# --- Parsing ------------------------------------------------------------------------------------------------------

_SYSTEMS = ("Apache", "BGL", "HDFS", "HPC", "Hadoop", "Mac", "OpenStack", "Spark", "Thunderbird", "Windows")


@dataclass(frozen=True)
class ParsedLog:
    """2,000 log messages of one system, and the true template of each."""

    system: str
    bodies: list[str]
    templates: list[str]

    @classmethod
    def read_all(cls, folder: Path) -> Iterator[ParsedLog]:
        """One system after another."""
        for system in _SYSTEMS:
            rows = list(_rows(folder / "loghub_2k" / f"{system}_2k.log_structured.csv"))
            yield cls(system, [row["Content"] for row in rows], [row["EventId"] for row in rows])


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


# --- What they are --------------------------------------------------------------------------------------------------

_LOGHUB = "https://raw.githubusercontent.com/logpai/loghub/master"
_PARSING_SHA256 = {
    "Apache": "54331d12eedf513f2127f4d89f0284c8b15fddfa5471103abf9db2c73d737778",
    "BGL": "3fe74103c0b02a28514534e2a47257a3f770135ca61afd425bbd3b9d6a31fe26",
    "HDFS": "729df59774e3dde934044028546d2a55d5e3d4370b9d12fcebbe4c087b2bf7b4",
    "HPC": "0787df9cfab7e9495669548315ea8a9a51b02029c0dcfa28944707ad755a8c86",
    "Hadoop": "e88e5bf99d7f23f482517cc79290ad75b90d914af5d6114176e8bbf0f8ae0fad",
    "Mac": "c8d5d74e0dcd923675ee944ea592abaf0eae91ef492435330694ce5008267c8d",
    "OpenStack": "ecc88e7909777181824260e9bdacd1469bd24d55131d6fc14e9c8c17edc49ff0",
    "Spark": "d7df75f6839b6bcf98ff020b6b0b6e2ee89d8cc53ee3d08d441bd42fd84a2cb5",
    "Thunderbird": "c62196d8a3449de765501bbf58c2093452e9d1add439053301d29fdad8a06809",
    "Windows": "caa98dd6c1291ba0470d5c171df8514616b35669d724652bd7aa973df0dee881",
}

_LOGHUB_TERMS = "free for research with citation"
_LOGHUB_PAPER = "Zhu et al., LogHub, ISSRE 2023"

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "hdfs",
            "raw HDFS_v1 lines, a sample of 2 % of the blocks: 222,579 lines, 11,501 blocks, 350 of them abnormal",
            _LOGHUB_TERMS,
            f"Xu et al., SOSP 2009; {_LOGHUB_PAPER}",
            (
                DatasetFile(
                    "hdfs/HDFS_2percent.log.gz", "638a142e51c04b430226cb3c9e3aed962bc82ccf0d0d330ede9054b15f637c79"
                ),
                DatasetFile(
                    "hdfs/anomaly_label.csv", "80c0b3e5ef629396b714b0c67ea2dd337cf6c9e41a06287d21c5f63cf289e2d4"
                ),
            ),
        ),
        Dataset(
            "hdfs-sequences",
            "parsed HDFS_v1 blocks: all 16,838 abnormal ones with their types, and 19,746 normal ones",
            "GPL-3.0",
            "Landauer et al., FSE 2024; types after Xu et al., SOSP 2009",
            (
                DatasetFile(
                    "hdfs/sequences_normal.txt", "8949de0c8c556a1a1c5769ff451acacec820c7b4a0c69433e6741b9810c15c16"
                ),
                DatasetFile(
                    "hdfs/sequences_abnormal.txt", "963a86dba3a0fc3e9e937d6b397fff236ee2323fc49e9369ee0c69130e26b8ec"
                ),
                DatasetFile(
                    "hdfs/anomaly_type.csv", "e0c073dd857f823f1ae6eca50a2ac34b57536df1c5177840bd6a7b520fae320a"
                ),
            ),
        ),
        Dataset(
            "openstack-nova",
            "43,776 raw nova lines without timestamps in three files: mixed, DHCP off, destroyed at once",
            "GPL-3.0",
            "Kalaki et al., 2023",
            (
                DatasetFile(
                    "openstack_nova/openstack-nova-sample.log.gz",
                    "e956887cb787487b01c17a4bccaa1ba6971053d6d6165cdf21517188dc388459",
                ),
                DatasetFile(
                    "openstack_nova/openstack-nova-dhcpoff.log.gz",
                    "def96cc5854286b9cb53f3f96c346b4ad67069db0fae249e5c68b7b81a366a96",
                ),
                DatasetFile(
                    "openstack_nova/openstack-vm-destroy-immediately-after-create.log.gz",
                    "66b4211c12825041a340a6630b97fb3be34b9dc40510b7b69b9ec3e6d2493b73",
                ),
            ),
        ),
        Dataset("synthetic", "sessions of three known kinds of anomaly, made from a seed", "MIT", "this project", ()),
        Dataset("service", "logs of a simulated order service with known faults", "MIT", "this project", ()),
        Dataset(
            "parsing",
            "LogHub-2k: 2,000 messages of each of ten systems with their true templates",
            _LOGHUB_TERMS,
            _LOGHUB_PAPER,
            tuple(
                DatasetFile(
                    f"loghub_2k/{system}_2k.log_structured.csv",
                    _PARSING_SHA256[system],
                    f"{_LOGHUB}/{system}/{system}_2k.log_structured.csv",
                )
                for system in _SYSTEMS
            ),
        ),
    )
}
