"""``sole data``: look into a data set, or make a new one of recorded episodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field
from rich.table import Table
from rich.text import Text

from sole.config import Config, parse_config, run_word
from sole.console import progress_bar, stderr, stdout
from sole.data import layout
from sole.data.episode import VIEW_NAMES
from sole.data.lerobot import DatasetInfo, open_dataset, read_episodes
from sole.data.summary import read_labels, summary
from sole.report.dataset_page import (
    MOST_ROWS,
    Example,
    claim_lines,
    dataset_page,
    headline,
    mixtures,
    percent,
    quality_lines,
)
from sole.report.outputs import OutputFiles, check_output
from sole.synth.spot_check import check_claims, explain_moments, spread_moments

_USAGE = (
    "usage: sole data inspect|augment [flags]\n\n"
    "  inspect  what a data set is made of, and whether its labels keep the rules\n"
    "  augment  a new data set of recorded episodes: reversed, rewound, under a wrong sentence\n\n"
    "sole data inspect --help shows the flags.\n"
)
#: Moments of an example that are shown and explained.
N_MOMENTS = 8


class InspectConfig(Config):
    """Say what a data set is made of, check its labels, and show examples with checked claims."""

    dataset: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """A LeRobot v3 dataset."""
    html: Path | None = None
    """Write a page (.html) that needs nothing beside it: mixture, histogram, examples."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of tables."""
    examples: int = Field(12, ge=0)
    """Random episodes on the page, of different policies as far as there are."""
    claims_of: int = Field(100, ge=0)
    """Random episodes whose generated reasoning is checked against the facts."""
    seed: int = Field(0, ge=0)
    """Of the random choices."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole data``; the first word chooses what is done."""
    words = {"inspect": f"{__name__}:inspect", "augment": "sole.synth.augment:main"}
    return run_word(argv, words, "sole data", _USAGE)


def inspect(argv: Sequence[str]) -> int:
    """Run ``sole data inspect``; 0 whatever the labels are like, because they are the result."""
    config = parse_config(InspectConfig, argv, "sole data inspect")
    if config.html is not None:
        check_output("--html", config.html, (".html", ".htm"), [])
    info = open_dataset(config.dataset)
    found = summary(info, read_labels(info))
    found["claims"] = check_claims(info, config.claims_of, config.seed)
    if config.html is not None:
        page = dataset_page(found, choose_examples(info, config.examples, config.seed))
        with OutputFiles() as files:
            files.temporary(config.html).write_text(page)
        stderr.print(f"wrote {config.html}", markup=False, soft_wrap=True)
    if config.print_json:
        stdout.out(json.dumps(found, indent=2), highlight=False)
    else:
        show(found)
    return 0


def choose_examples(info: DatasetInfo, n_examples: int, seed: int) -> list[Example]:
    """Draw episodes, of as many kinds of policy as there are, and explain moments of each."""
    rng = np.random.default_rng(seed)
    chosen = _different(info, n_examples, rng)
    if not chosen:
        return []
    examples = []
    with progress_bar("decoding examples", total=len(chosen)) as advance:
        for number, episode in zip(
            chosen, read_episodes(info.folder, chosen, cameras=_cameras(info)), strict=True
        ):
            moments = spread_moments(episode.n_frames, N_MOMENTS)
            told = []
            if episode.truth is not None and episode.truth.facts:
                told = explain_moments(episode.task, episode.truth, moments, rng)
            examples.append(Example(number, episode, tuple(moments), tuple(told)))
            advance(1)
    return examples


def _different(info: DatasetInfo, n_examples: int, rng: np.random.Generator) -> list[int]:
    """Random episodes: one of each policy before a second one of any."""
    seen: Counter[str] = Counter()
    ranked = []
    for index in rng.permutation(info.n_episodes).tolist():
        policy = str(info.episodes[index].get("policy") or "")
        ranked.append((seen[policy], len(ranked), index))
        seen[policy] += 1
    return [index for _, _, index in sorted(ranked)[:n_examples]]


def _cameras(info: DatasetInfo) -> dict[str, str] | None:
    """None for our own names; a data set of others shows its first two cameras."""
    own = {layout.IMAGE_PREFIX + name for name in VIEW_NAMES}
    return None if own & set(info.cameras) else dict(zip(VIEW_NAMES, info.cameras, strict=False))


def show(found: Mapping[str, Any]) -> None:
    """Print the tables."""
    stdout.print(headline(found), markup=False, soft_wrap=True)
    for title, shares in mixtures(found).items():
        stdout.print(_mixture_table(title, shares))
    stdout.print(_pairs_table("labels", quality_lines(found["label_quality"])))
    if drops := [row for row in found["expert_drops"] if row[2] > 0]:
        stdout.print(_drops_table(drops))
    stdout.print(_pairs_table("generated reasoning", claim_lines(found["claims"])))


def _mixture_table(title: str, shares: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title, title_justify="left")
    for name in ("episodes", "frames", "succeed"):
        table.add_column(name, justify="right")
    for share in shares[:MOST_ROWS]:
        table.add_row(
            Text(share["name"]), str(share["n_episodes"]), str(share["n_frames"]),
            percent(share["success_share"]),
        )  # fmt: skip
    if len(shares) > MOST_ROWS:
        table.add_row(f"and {len(shares) - MOST_ROWS} more (--json or --html)", "", "", "")
    return table


def _pairs_table(title: str, lines: Sequence[tuple[str, str, bool]]) -> Table:
    table = Table(title, "")
    for words, value, good in lines:
        table.add_row(words, Text(value, "" if good else "bold red"))
    return table


def _drops_table(drops: Sequence[Sequence[Any]]) -> Table:
    table = Table("experts whose progress falls", "experts", "steps", "largest fall")
    for name, n_experts, share, largest in drops[:MOST_ROWS]:
        table.add_row(Text(name), str(n_experts), percent(share), f"{largest:.0f} points")
    return table
