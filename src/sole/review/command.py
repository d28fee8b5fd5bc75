"""``sole report``: the first word chooses what is shown."""

from __future__ import annotations

from collections.abc import Sequence

from sole.config import run_word

_USAGE = (
    "usage: sole report quality RESULT.json [flags]\n"
    "       sole report compare A.json B.json [flags]\n"
    "       sole report robustness RESULT.json [flags]\n"
    "       sole report calibration CALIBRATION.json [flags]\n"
    "       sole report clips RESULT.json [flags]\n"
    "       sole report run RUN_DIR [flags]\n\n"
    "  quality      a page of a result of sole eval quality: metrics, plots, worst cases as clips\n"
    "  compare      two results on the same episodes, metric by metric\n"
    "  robustness   a page of a result of sole eval robustness, turned failures as clips\n"
    "  calibration  a page of what sole calibrate saved, with reliability diagrams\n"
    "  clips        a page of a result of sole eval clips, the worst ones to look at\n"
    "  run          a page of a run of sole rl: judged and true success, films with words\n\n"
    "sole report quality --help shows the flags.\n"
)
_WORDS = {
    "quality": "sole.review.quality:run_quality_report",
    "compare": "sole.review.compare:run_compare",
    "robustness": "sole.review.robustness:run_robustness_report",
    "calibration": "sole.review.calibration:run_calibration_report",
    "clips": "sole.review.recorded:run_clips_report",
    "run": "sole.review.training_run:run_run_report",
}


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole report``."""
    return run_word(argv, _WORDS, "sole report", _USAGE)
