"""Rows beside every measured model that look at nothing, or know the truth.

A metric that one of the first three wins measures nothing; see :mod:`sole.rewarders.controls`.
"""

from __future__ import annotations

from sole.console import stderr

#: Time alone, and chance. They cost no network, and a table without them invites wrong readings.
ALWAYS = ("ramp", "random")


def control_rows(every: tuple[str, ...], asked: bool) -> tuple[str, ...]:
    """The rows of a table, by model name: all of them, or those that no table is without.

    Args:
        every: All that the verb has.
        asked: What ``--controls`` says.

    Example:
        >>> control_rows(("ramp", "random", "oracle"), False)
        ('ramp', 'random')
    """
    return every if asked else tuple(name for name in every if name in ALWAYS)


def say_left_out(every: tuple[str, ...], asked: bool) -> None:
    """One line on stderr about what ``--no-controls`` takes out of a table."""
    left_out = [name for name in every if name not in control_rows(every, asked)]
    if left_out:
        stderr.print(
            f"--no-controls: without {' and '.join(left_out)}; {' and '.join(ALWAYS)} stay, since "
            "no number means anything without them",
            markup=False,
            soft_wrap=True,
        )
