"""What each metric means in a few words, and which way is better; see docs/metrics.md."""

from __future__ import annotations

from typing import Literal

Better = Literal["up", "down", "0", ""]
#: How a table names the directions; the empty one belongs to numbers that know no truth.
BETTER_WORDS: dict[Better, str] = {
    "up": "more is better", "down": "less is better", "0": "0 is best", "": "",
}  # fmt: skip
#: Metric -> (which way is better, what it means).
MEANINGS: dict[str, tuple[Better, str]] = {
    "headline": ("up", "trust: tells success from failure, orders moments, falls and stands still"),
    "spearman": ("up", "rank correlation with true progress inside an episode"),
    "pearson": ("up", "linear correlation with true progress inside an episode"),
    "mae": ("down", "mean distance from true progress"),
    "voc_expert": ("up", "rank correlation with time on experts (a ramp has 1)"),
    "vroc_expert": ("down", "the same played backwards; -1 is right"),
    "auc": ("up", "a success is judged above a failure, all tasks together"),
    "auc_max": ("up", "the same by the highest judged value"),
    "auc_last": ("up", "the same by the last judged value"),
    "auc_task": ("up", "the same inside each task"),
    "falling_f1": ("up", "notices that progress falls"),
    "rising_f1": ("up", "notices that progress rises"),
    "bias_success": ("0", "judged minus true where the task is done"),
    "bias_failure": ("0", "judged minus true where it is not"),
    "voc_static": ("down", "rank correlation with time where nothing moves"),
    "static_drift": ("0", "last minus first value where nothing moves"),
    "static_rise": ("down", "highest minus first value where nothing moves"),
    "shuffled_spearman": ("up", "rank correlation with the truth of shuffled frames"),
    "tail_rise": ("down", "rise while one picture repeats at the end"),
    "rewind_kendall": ("up", "notices how far a video was rewound"),
    "speed_shift": ("down", "change of the last value at half and double speed"),
    "jitter_shift": ("down", "change of the last value when the camera shakes"),
    "paraphrase_shift": ("down", "change of the last value under other words for the task"),
    "wrong_instruction_drop": ("up", "points lost under another task's sentence"),
    "confusion_gap": ("up", "the same against four other sentences"),
    "kendall_last": ("up", "order of a task's episodes by the last value"),
    "kendall_mean": ("up", "order of a task's episodes by the mean value"),
    "ranking_accuracy": ("up", "pairs of a task's episodes in the right order"),
    "success_fail_gap": ("up", "judged success score of successes minus failures"),
    "auprc": ("up", "area under precision and recall, all tasks together"),
    "fpr_at_recall90": ("down", "failures taken for success where 90% of successes are found"),
    "prm_mp": ("", "highest value of the curve alone"),
    "prm_mc50": ("", "share of curves that reach a half"),
    "prm_ppl": ("", "last value squared over the path's length"),
    "prm_cra": ("", "mean distance below the best value so far"),
    "prm_str": ("", "share of steps under half a point"),
    "parse_rate": ("up", "share of replies with a readable number"),
    "hallucination": ("down", "share of checkable claims that are false"),
    "ms_per_frame": ("down", "milliseconds per judged frame"),
    "n_steps": ("", "judged frames"),
    "n_claims": ("", "claims that could be checked"),
    "n_episodes": ("", "episodes"),
    "n_success": ("", "episodes that truly succeed at some time"),
    "n_constant_truth": ("", "episodes whose true progress never changes"),
}
