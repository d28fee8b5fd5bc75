"""``sole check WHAT``: measures what the training data rest on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from sole.errors import ConfigError

CHECKS = {
    "reasoning": "false claims planted in generated reasoning: how many are caught",
    "labels": "is progress 100 exactly where a suite says success, over many episodes",
    "worlds": "families, arms, sentences and the success of the experts of our own scenes",
    "render": "pictures a second, against the simulator's own settings",
    "synth": "examples an hour of a recipe, and the hours and gigabytes of all of it",
}


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check``; the first word chooses what is measured."""
    if argv and argv[0] in {"-h", "--help"}:
        lines = [f"  {name:<10} {text}" for name, text in CHECKS.items()]
        sys.stdout.write("usage: sole check WHAT [flags]\n\n" + "\n".join(lines))
        sys.stdout.write("\n\nsole check WHAT --help shows the flags.\n")
        return 0
    if not argv or argv[0] not in CHECKS:
        raise ConfigError(f"expected one of {', '.join(CHECKS)}, got {' '.join(argv[:1])!r}")
    module = importlib.import_module(f"sole.check.{argv[0]}")
    return module.main(list(argv[1:]))
