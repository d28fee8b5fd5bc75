"""``sole report``: the first word chooses what is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from sole.errors import ConfigError

_USAGE = (
    "usage: sole report quality RESULT.json [flags]\n"
    "       sole report compare A.json B.json [flags]\n"
    "       sole report robustness RESULT.json [flags]\n"
    "       sole report calibration CALIBRATION.json [flags]\n"
    "       sole report clips RESULT.json [flags]\n\n"
    "  quality      a page of a result of sole eval quality: metrics, plots, worst cases as clips\n"
    "  compare      two results on the same episodes, metric by metric\n"
    "  robustness   a page of a result of sole eval robustness, turned failures as clips\n"
    "  calibration  a page of what sole calibrate saved, with reliability diagrams\n"
    "  clips        a page of a result of sole eval clips, the worst ones to look at\n\n"
    "sole report quality --help shows the flags.\n"
)


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole report``."""
    verbs: dict[str, Callable[[Sequence[str]], int]] = {
        "quality": _quality, "compare": _compare, "robustness": _robustness,
        "calibration": _calibration, "clips": _clips,
    }  # fmt: skip
    if argv and argv[0] in {"-h", "--help"}:
        sys.stdout.write(_USAGE)
        return 0
    if not argv or argv[0] not in verbs:
        raise ConfigError(f"expected one of {', '.join(verbs)}, got {' '.join(argv[:1])!r}")
    return verbs[argv[0]](argv[1:])


def _quality(argv: Sequence[str]) -> int:
    from sole.review.quality import run_quality_report

    return run_quality_report(argv)


def _compare(argv: Sequence[str]) -> int:
    from sole.review.compare import run_compare

    return run_compare(argv)


def _robustness(argv: Sequence[str]) -> int:
    from sole.review.robustness import run_robustness_report

    return run_robustness_report(argv)


def _calibration(argv: Sequence[str]) -> int:
    from sole.review.calibration import run_calibration_report

    return run_calibration_report(argv)


def _clips(argv: Sequence[str]) -> int:
    from sole.review.recorded import run_clips_report

    return run_clips_report(argv)
