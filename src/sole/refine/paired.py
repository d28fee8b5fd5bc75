"""Is after better than before? A paired test that assumes no distribution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

#: Up to so many pairs every assignment of signs is looked at; beyond, so many are drawn.
_EXACT_PAIRS, _DRAWS = 14, 20_000


def sign_flip_p_value(gains: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value of a paired permutation test on the mean gain (Fisher's sign flips).

    If before and after were the same, each pair's gain could as well have had the other sign. The
    value is the share of all assignments of signs whose mean is at least as far from zero. With n
    pairs it cannot be below ``2 / 2**n``.

    Args:
        gains: After minus before, one for each pair.
        seed: Of the draws, which are taken for more than 14 pairs.

    Raises:
        ValueError: If there is no pair, or a gain is not finite.

    Example:
        >>> sign_flip_p_value([0.2, 0.1, 0.3]), sign_flip_p_value([0.0, 0.0])
        (0.25, 1.0)
    """
    values = np.asarray(gains, float)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"paired test: expected finite gains (n,), got {values.tolist()}")
    n = len(values)
    if n <= _EXACT_PAIRS:
        signs = np.array(list(product((-1.0, 1.0), repeat=n)))
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), (_DRAWS, n))
        signs[0] = 1.0  # what was seen is one of them, so that the value is never 0
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= abs(values.sum()) - 1e-12))
