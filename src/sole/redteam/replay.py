"""``sole redteam replay``: saved exploits as regression tests of a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from sole.config import parse_config
from sole.console import stdout
from sole.redteam.config import JudgeConfig, ReplayConfig
from sole.redteam.exploit import Finding, Rule
from sole.redteam.harvest import fooled
from sole.redteam.saved import Saved, read_exploits
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import own_threshold


def run_replay(argv: Sequence[str]) -> int:
    """Entry point of ``sole redteam replay``."""
    config = parse_config(ReplayConfig, argv, "sole redteam replay")
    saved = read_exploits(config.folder)
    model = load_judge(config)
    findings = replay(saved, model, config.batch, config.judged_success_at)
    result = _as_dict(config, model, saved, findings)
    if config.print_json:
        sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    else:
        stdout.print(_table(result))
    return 0 if result["share"] <= config.max_share else 1


def load_judge(config: JudgeConfig) -> RewardModel:
    """The model as the settings want it read."""
    import torch

    from sole.rewarders.load import load_reward_model

    torch.set_num_threads(config.threads)
    return load_reward_model(
        config.model,
        think="always" if config.think else "fast",
        from_zero_weight=config.from_zero_weight,
        calibration=config.calibration,
    )


def replay(
    saved: Sequence[Saved], model: RewardModel, batch: int, judged_success_at: float | None = None
) -> list[Finding | None]:
    """Judge saved exploits; each finding says how the model is still fooled, or None.

    Args:
        saved: The exploits.
        model: The model.
        batch: How many are judged together.
        judged_success_at: Success probability that counts. None: what the search was told; else a
            calibrated model calls success what its calibration does, and others go by the rule.
    """
    from sole.evals.labelled import judge

    scores = judge(model, [s.episode for s in saved], batch, "replaying")
    return [
        fooled(one.episode, score, _rule(one, model, judged_success_at))
        for one, score in zip(saved, scores, strict=True)
    ]


def _rule(saved: Saved, model: RewardModel, chosen: float | None) -> Rule:
    """What somebody chose comes first, then the model's calibration, then what was found by."""
    told = saved.judged_success_at if chosen is None else chosen
    told = own_threshold(model) if told is None else told
    return saved.rule if told is None else replace(saved.rule, success_at=told)


def _as_dict(
    config: ReplayConfig, model: RewardModel, saved: Sequence[Saved],
    findings: Sequence[Finding | None],
) -> dict[str, Any]:  # fmt: skip
    n_fooled = sum(f is not None for f in findings)
    return {
        "model_id": model.model_id,
        "folder": str(config.folder),
        "n_exploits": len(saved),
        "n_fooled": n_fooled,
        "share": n_fooled / len(saved),
        "max_share": config.max_share,
        "exploits": [
            {
                "folder": str(one.folder), "env": one.about["env"],
                "found_on": one.about["model_id"], "was": one.about["finding"],
                "finding": None if finding is None else asdict(finding),
            }
            for one, finding in zip(saved, findings, strict=True)
        ],
    }  # fmt: skip


def _table(result: dict[str, Any]) -> Table:
    caption = (
        f"{result['n_fooled']} of {result['n_exploits']} still fool it "
        f"({result['share']:.0%}; at most {result['max_share']:.0%} may)"
    )
    table = Table(title=result["model_id"], caption=caption)
    table.add_column("exploit", overflow="fold")
    for name in ("true", "was judged", "now"):
        table.add_column(name, justify="right")
    for row in result["exploits"]:
        was, now = row["was"], row["finding"]
        said = "not fooled" if now is None else f"{now['judged']:.0f}%{_done(now)}"
        table.add_row(
            _below(row["folder"], result["folder"]),
            f"{was['true']:.0f}%",
            f"{was['judged']:.0f}%{_done(was)}",
            said,
        )
    return table


def _below(path: str, folder: str) -> str:
    inside = Path(path).relative_to(folder)
    return Path(path).name if inside == Path() else str(inside)


def _done(finding: dict[str, Any]) -> str:
    return " done" if finding["claims_success"] else ""
