"""Output files that appear together, when all of them are whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from sole.errors import BadInputError, ConfigError


def check_output(flag: str, path: Path, suffixes: Sequence[str], inputs: Iterable[Path]) -> None:
    """Refuse an output that could not be written, before any work is done for it.

    Args:
        flag: How the user named it, for the message.
        path: Where it shall go.
        suffixes: Accepted endings of the name.
        inputs: Files that it must not replace.

    Raises:
        ConfigError: For another ending, a missing or read-only folder, a folder's own name, or an
            input's.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{flag} {path}: expected a name ending in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ConfigError(f"{flag} {path}: is a folder; expected a file name")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"{flag} {path}: no folder {folder}; make it first (mkdir -p)")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{flag} {path}: the folder {folder} cannot be written to")
    if path.resolve() in {source.resolve() for source in inputs}:
        raise ConfigError(f"{flag} {path}: would overwrite the video that is to be scored")


class OutputFiles:
    """Temporary names beside the final ones; leaving the block normally renames all of them.

    Use as a context manager. An exception, Ctrl-C included, removes what was written and leaves
    older files of the same names as they were.
    """

    def __init__(self) -> None:
        self._names: dict[Path, Path] = {}

    def temporary(self, final: Path) -> Path:
        """Return the name to write to; it has the same ending as ``final``."""
        return self._names.setdefault(final, final.with_name(f".part-{os.getpid()}-{final.name}"))

    def __enter__(self) -> OutputFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as stack:
            for temporary in self._names.values():
                stack.callback(temporary.unlink, missing_ok=True)
            if kind is None:
                _rename(self._names)


def _rename(names: Mapping[Path, Path]) -> None:
    for final, temporary in names.items():
        try:
            os.replace(temporary, final)
        except OSError as error:
            raise BadInputError(f"{final}: cannot be written ({error.strerror})") from error
