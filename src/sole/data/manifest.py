"""The manifest of a dataset: where its episodes come from, what they are, hashes of its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sole.data.episode import RECORD_VERSION
from sole.data.layout import read_json
from sole.data.lerobot_reader import open_dataset
from sole.errors import DataError
from sole.run import write_atomically

MANIFEST_PATH = "manifest.json"
_BLOCK_BYTES = 1 << 20
_PARTS = ("meta", "data", "videos", "examples")


@dataclass(frozen=True)
class Manifest:
    """What a dataset is made of.

    Attributes:
        sources: Whatever the maker says about its sources and settings; JSON-able.
        seeds: Every episode's seed that occurs, sorted.
        tasks: Episodes per sentence.
        counts: Episodes and frames in all, and episodes per suite, environment and policy.
        sha256: Hash of every file of the dataset by its path inside the folder.
        record_version: Version of the records.
    """

    sources: Mapping[str, Any]
    seeds: tuple[int, ...] = ()
    tasks: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    record_version: int = RECORD_VERSION


def save_manifest(folder: Path | str, sources: Mapping[str, Any]) -> Manifest:
    """Count and hash a finished dataset and write ``manifest.json`` beside it.

    Raises:
        DataError: If the folder holds no dataset.
    """
    folder = Path(folder)
    rows = open_dataset(folder).episodes
    counts: dict[str, Any] = {"episodes": len(rows), "frames": sum(r["length"] for r in rows)}
    for key in ("suite", "env_name", "policy"):
        counts[key] = dict(sorted(Counter(str(row.get(key, "")) for row in rows).items()))
    manifest = Manifest(
        sources=dict(sources),
        seeds=tuple(sorted({int(row.get("seed", 0)) for row in rows})),
        tasks=dict(sorted(Counter(row["tasks"][0] for row in rows).items())),
        counts=counts,
        sha256=_hashes(folder),
    )
    write_atomically(folder / MANIFEST_PATH, json.dumps(dataclasses.asdict(manifest), indent=2))
    return manifest


def load_manifest(folder: Path | str, *, verify: bool = False) -> Manifest:
    """Read a dataset's manifest.

    Args:
        folder: The dataset.
        verify: Hash the files again and compare.

    Raises:
        DataError: If it is missing, garbled, of another version, or a file has changed.
    """
    folder = Path(folder)
    found = read_json(folder / MANIFEST_PATH)
    if found.get("record_version") != RECORD_VERSION:
        raise DataError(
            f"{folder}: manifest of record version {found.get('record_version')}, "
            f"expected {RECORD_VERSION}"
        )
    try:
        manifest = Manifest(**{**found, "seeds": tuple(found.get("seeds", ()))})
    except TypeError as error:
        raise DataError(f"{folder / MANIFEST_PATH}: {error}") from error
    if verify:
        _verify(folder, manifest)
    return manifest


def dataset_hash(manifest: Manifest) -> str:
    """One SHA-256 of all files and their names; the same for the same data wherever it was made.

    Example:
        >>> here, there = (Manifest({"by": by}, sha256={"a": "1"}) for by in ("us", "ray"))
        >>> dataset_hash(here) == dataset_hash(there)
        True
    """
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(manifest.sha256.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _verify(folder: Path, manifest: Manifest) -> None:
    now = _hashes(folder)
    changed = sorted(p for p in {*now, *manifest.sha256} if now.get(p) != manifest.sha256.get(p))
    if changed:
        raise DataError(
            f"{folder}: {len(changed)} files differ from the manifest, first {changed[0]}"
        )


def _hashes(folder: Path) -> dict[str, str]:
    paths = [p for part in _PARTS for p in (folder / part).rglob("*")]
    files = sorted(p for p in paths if p.is_file() and not p.name.endswith(".tmp"))
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
