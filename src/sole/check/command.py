"""``sole check WHAT``: measures what the training data rest on."""

from __future__ import annotations

from collections.abc import Sequence

from sole.config import run_word

CHECKS = {
    "reasoning": "false claims planted in generated reasoning: how many are caught",
    "labels": "is progress 100 exactly where a suite says success, over many episodes",
    "worlds": "families, arms, sentences and the success of the experts of our own scenes",
    "render": "pictures a second, against the simulator's own settings",
    "synth": "examples an hour of a recipe, and the hours and gigabytes of all of it",
}


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check``; the first word chooses what is measured."""
    lines = [f"  {name:<10} {text}\n" for name, text in CHECKS.items()]
    usage = f"usage: sole check WHAT [flags]\n\n{''.join(lines)}\n"
    usage += "sole check WHAT --help shows the flags.\n"
    words = {name: f"sole.check.{name}:main" for name in CHECKS}
    return run_word(argv, words, "sole check", usage)
