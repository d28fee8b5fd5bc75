"""``sole score``: judge the progress in a video, moment by moment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import progress_bar, stderr, stdout
from sole.data.episode import EXTERNAL, VIEW_NAMES, WRIST, Episode, EpisodeScore
from sole.data.readers import read_episode
from sole.data.scores import write_scores
from sole.errors import ConfigError, VideoError
from sole.protocol.chain import scored_frames, spread_score
from sole.protocol.prompt import clean_task
from sole.report.outputs import OutputFiles, check_output
from sole.report.table import Scored, as_json, show
from sole.rewarders.base import RewardModel, close_session
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically

_SMALL_PX = 32


class ScoreConfig(Config):
    """Judge the progress in a video, moment by moment, from its pictures and one sentence."""

    video: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO [WRIST]")
    ] = ()
    """What a fixed camera saw, and a camera on the wrist, if any: a video, a folder of numbered
    pictures, or an array file (.npy, .npz, .hdf5)."""
    task: str | None = None
    """What the robot shall do, one sentence: "open the drawer"."""
    external: str | None = None
    """The fixed camera's video, instead of VIDEO."""
    wrist: str | None = None
    """The wrist camera's video, instead of WRIST."""
    layout: Literal["separate", "side-by-side"] = "separate"
    """side-by-side: VIDEO holds both views, external on the left, wrist on the right."""
    model: str = "nano"
    """nano, a folder, a model on Hugging Face, METHOD:MODEL, an address, or a control such as ramp:
    sole models list names them all."""
    think: bool = True
    """Write the reasoning of every scored frame; --no-think only reads numbers, much faster."""
    every: Annotated[int, Field(ge=1)] = 1
    """Score every this many of the frames looked at, and the last; the rest is interpolated."""
    max_frames: Annotated[int, Field(ge=2)] = 64
    """Look at this many frames at most, evenly spread over the video."""
    max_side_px: Annotated[int, Field(ge=16)] = 384
    """Shrink larger pictures to this longest side while reading."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Frames per second, where the file does not say or is wrong."""
    seed: int = Field(0, ge=0)
    """Of the random control."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model with these settings (--no-think, or not). none:
    the model as it is; not given: what lies beside the model."""
    device: str = "auto"
    """cpu, cuda or mps; auto: nano on the cpu, other models on a GPU when there is one."""
    out: Path | None = None
    """Write the scores: .parquet (one row per frame of the video) or .json."""
    overlay: Path | None = None
    """Write an .mp4 with the curve and the words drawn in."""
    html: Path | None = None
    """Write a page (.html) with pictures, curve and words that needs nothing beside it."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table."""

    def sources(self) -> dict[str, str]:
        """The files to read, by the argument of ``read_episode`` that takes them.

        Raises:
            ConfigError: If they are missing, too many, or named twice.
        """
        if self.layout == "side-by-side":
            named = self.external is not None or self.wrist is not None
            if named or len(self.video) != 1:
                raise ConfigError("--layout side-by-side: expected exactly one VIDEO and no views")
            return {"both": self.video[0]}
        if len(self.video) > 2:
            raise ConfigError(f"expected at most VIDEO and WRIST, got {len(self.video)} files")
        found: dict[str, str] = dict(zip(VIEW_NAMES, self.video, strict=False))
        for name, path in ((EXTERNAL, self.external), (WRIST, self.wrist)):
            if path is not None and name in found:
                raise ConfigError(f"--{name}: {found[name]} is already the {name} view")
            if path is not None:
                found[name] = path
        if not found:
            raise ConfigError('no video given: sole score VIDEO --task "open the drawer"')
        return found


def main(argv: Sequence[str]) -> int:
    """Run ``sole score``; return 0, or 1 when the model gave no readable answer at all."""
    config = parse_config(ScoreConfig, argv, "sole score")
    _check_outputs(config)
    _check_inputs(config)
    model = load_reward_model(  # before the video: reading takes longer than to notice a wrong name
        config.model,
        think=config.think,
        every=config.every,
        seed=config.seed,
        calibration=config.calibration,
        **_device(config),
    )
    episode = _read(config)
    _warn_about(episode)
    frames = _spread(episode.n_frames, config.max_frames)
    scored = _score(model, episode, frames, config.every)
    _write_outputs(config, scored)
    if config.print_json:
        stdout.out(json.dumps(as_json(scored), indent=2), highlight=False)
    else:
        show(scored, stdout)
    if scored.all_failed:
        _warn("the model gave no readable answer at any frame")
    return int(scored.all_failed)


def _check_outputs(config: ScoreConfig) -> None:
    inputs = [Path(path) for path in config.sources().values()]
    wanted: dict[str, tuple[Path | None, tuple[str, ...]]] = {
        "--out": (config.out, (".parquet", ".json")),
        "--overlay": (config.overlay, (".mp4",)),
        "--html": (config.html, (".html", ".htm")),
    }
    for flag, (path, suffixes) in wanted.items():
        if path is not None:
            check_output(flag, path, suffixes, inputs)


def _check_inputs(config: ScoreConfig) -> None:
    """What is wrong at first sight is said before a model is loaded."""
    if config.model == "oracle":
        raise ConfigError("--model oracle: copies a simulator's truth, and a video holds none")
    files = [path.partition("::")[0] for path in config.sources().values()]
    if not (config.task or "").strip() or not all(os.path.exists(file) for file in files):
        _read(config)  # says what is wrong
    clean_task(config.task or "")


def _read(config: ScoreConfig) -> Episode:
    try:
        sources = config.sources()
        return read_episode(
            config.task,
            external=sources.get(EXTERNAL),
            wrist=sources.get(WRIST),
            both=sources.get("both"),
            fps=config.fps,
            max_side_px=config.max_side_px,
        )
    except OSError as error:  # no right to enter a folder, a name that is too long
        raise VideoError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _device(config: ScoreConfig) -> dict[str, str]:
    return {} if config.device == "auto" else {"device": config.device}


def _spread(n_frames: int, max_frames: int) -> np.ndarray:
    """Which frames to look at: all, or ``max_frames`` of them, the first and last included."""
    if n_frames <= max_frames:
        return np.arange(n_frames)
    _warn(
        f"{n_frames} frames: looking at {max_frames} of them, evenly spread "
        "(--max-frames N for more)"
    )
    return np.unique(np.linspace(0, n_frames - 1, max_frames).round().astype(int))


def _warn_about(episode: Episode) -> None:
    if episode.n_frames == 1:
        _warn("one frame only: its progress is 0 by definition; a video says more")
    for name, frames in episode.views.items():
        height, width = frames.shape[1:3]
        if min(height, width) < _SMALL_PX:
            _warn(f"{name} view: {width}x{height} px is very small; expect poor judgement")
        if len(frames) > 1 and all(np.array_equal(frames[0], f) for f in frames[1:]):
            _warn(f"{name} view: nothing changes in it; all {len(frames)} frames are the same")


def _warn(text: str) -> None:
    stderr.print(f"warning: {text}", markup=False, soft_wrap=True)


def _score(model: RewardModel, episode: Episode, frames: np.ndarray, every: int) -> Scored:
    lacking = [name for name in model.views if name not in episode.views]
    if lacking:
        raise ConfigError(
            f"model {model.model_id}: needs the view {lacking[0]}; give --{lacking[0]} VIDEO"
        )
    looked_at = episode.subset(frames)
    if len(frames) > 1:
        fps = episode.fps * (len(frames) - 1) / float(frames[-1] - frames[0])
        looked_at = replace(looked_at, fps=fps)
    began = time.perf_counter()
    whole = getattr(model, "needs_whole_episode", False)  # gvl knows no running episode
    if whole or isinstance(model, Ramp | Constant | RandomWalk | Oracle):
        score = model.score([looked_at])[0]
    else:
        score = _step_through(model, looked_at, every)
    seconds = time.perf_counter() - began
    return Scored(looked_at, score, frames, episode.n_frames, episode.fps, seconds)


def _step_through(model: RewardModel, episode: Episode, every: int) -> EpisodeScore:
    """Score frame by frame, because a session can show how far it is and ``score`` cannot."""
    asked = scored_frames(episode.n_frames, every)
    session = model.start(episode.task)
    steps = []
    try:
        with progress_bar("scoring", total=len(asked)) as advance:
            for t in asked:
                steps.append(session.step({name: v[t] for name, v in episode.views.items()}))
                advance(1)
    finally:
        close_session(session)
    return spread_score(
        EpisodeScore(tuple(steps), model.model_id, episode.task), asked, episode.n_frames
    )


def _write_outputs(config: ScoreConfig, scored: Scored) -> None:
    with OutputFiles() as files:
        if config.out is not None:
            _write_scores(files.temporary(config.out), scored)
        if config.overlay is not None:
            from sole.report.overlay import write_overlay

            with stderr.status("drawing the overlay"):
                write_overlay(files.temporary(config.overlay), scored.episode, scored.score)
        if config.html is not None:
            from sole.report.page import write_score_page

            path = files.temporary(config.html)
            write_score_page(path, [scored.episode], [scored.score], scored.episode.task)
    for path in (config.out, config.overlay, config.html):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)


def _write_scores(path: Path, scored: Scored) -> None:
    if path.suffix.lower() == ".json":
        write_atomically(path, json.dumps(as_json(scored), indent=2) + "\n")
    else:
        write_scores(path, [spread_score(scored.score, scored.frames, scored.n_frames)])
