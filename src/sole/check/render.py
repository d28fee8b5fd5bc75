"""``sole check render``: pictures a second of our own scenes, against MuJoCo's own settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from sole.check.output import CheckConfig, Measured, counted
from sole.config import parse_config
from sole.sims.worlds import WorldEnv, build_scene, make_world
from sole.sims.worlds_look import CAMERA
from sole.sims.worlds_scene import Scene


class RenderConfig(CheckConfig):
    """Measure how fast views are drawn, per second of CPU time (others change little)."""

    task: str = "drawer-open"
    """Task of `worlds`, without the suite."""
    size_px: int = Field(96, ge=32, le=480)
    """Height and width of each view; 480 is all that MuJoCo draws by its own settings."""
    rounds: int = Field(5, gt=0)
    """Rounds of both ways in turn; the fastest of each counts."""
    pictures: int = Field(60, gt=1)
    """Pictures a round, half of each view."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check render``."""
    return counted("render", parse_config(RenderConfig, argv, "sole check render"), check, argv)


def check(config: RenderConfig) -> tuple[list[Measured], dict[str, Any]]:
    """Draw the same scene both ways, in turn, in the same process.

    The simulator's own way is ``mujoco.Renderer`` on the same scene with the arm's meshes as
    Meta-World ships them and every setting as MuJoCo sets it.
    """
    env = make_world(config.task, config.seed, config.size_px)
    env.reset(seed=config.seed)
    env.views()
    slow_way, close = _stock_way(config, env)
    ours, stock = [], []
    for _ in range(config.rounds):
        ours.append(_fps(env.views, config.pictures))
        stock.append(_fps(slow_way, config.pictures))
    env.close()
    close()
    return [
        Measured("synth.render_fps", max(ours), unit="pictures per CPU second"),
        Measured("synth.render_speedup", max(ours) / max(stock), unit="times"),
    ], {"stock_fps": round(max(stock), 1), "size_px": config.size_px}


def _stock_way(
    config: RenderConfig, env: WorldEnv
) -> tuple[Callable[[], object], Callable[[], None]]:
    """A function that draws both views as MuJoCo does by itself, and one that ends it."""
    # Not at the top: it is the package sims that says how MuJoCo draws, before it is loaded.
    import mujoco

    scene = Scene(thinned=False)
    build_scene(env.env_name, scene, config.seed)
    model = scene.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, config.size_px, config.size_px)

    def draw() -> None:
        for camera in (CAMERA, "gripperPOV"):
            renderer.update_scene(data, camera=camera)
            renderer.render()

    return draw, renderer.close


def _fps(draw_both: Callable[[], object], n_pictures: int) -> float:
    began = time.process_time()
    for _ in range(n_pictures // 2):
        draw_both()
    return 2 * (n_pictures // 2) / (time.process_time() - began)
