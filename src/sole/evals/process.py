"""What a curve itself looks like, whatever the truth: PRM-as-a-Judge's process metrics.

Diagnostics of training, not of quality: a ramp has perfect ones. ``P`` is judged progress over 100.
"""

from __future__ import annotations

import numpy as np

from sole.evals.metrics import Values

#: A step smaller than this (share of the task) is no step.
STAGNANT = 0.005


def process_metrics(judged: Values) -> dict[str, float]:
    """Path length, regret, stagnation and milestones of one curve that starts at frame 0.

    ``prm_mp``: highest P. ``prm_mc50``: whether it ever reaches a half. ``prm_ppl``: P_N times
    P_N over the length of its path, 1 for a straight way to success. ``prm_cra``: mean distance
    below the best so far. ``prm_str``: share of steps with ``|dP| < 0.005``.

    Source: PRM-as-a-Judge (the definitions of its code, P_0 = 0).

    Args:
        judged: ``(T,)`` percent, T >= 2.

    Example:
        >>> found = process_metrics([0.0, 50.0, 25.0, 100.0])
        >>> found["prm_mp"], found["prm_mc50"], round(found["prm_ppl"], 3), found["prm_cra"]
        (1.0, 1.0, 0.667, 0.0625)
    """
    share = np.asarray(judged, float) / 100.0
    steps = np.abs(np.diff(share))
    path = float(steps.sum())
    last = float(share[-1])
    return {
        "prm_mp": float(share.max()),
        "prm_mc50": float(share.max() >= 0.5),
        "prm_ppl": last * last / path if path > 0 else 0.0,
        "prm_cra": float(np.mean(np.maximum.accumulate(share) - share)),
        "prm_str": float(np.mean(steps < STAGNANT)),
    }
