"""``sole sims sheet``: one picture of a suite, a small view of each task with its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import progress_bar, stderr
from sole.errors import ConfigError
from sole.sims.registry import SUITES, make_env, task_names

#: Nothing but evaluations may draw it (design section 10).
_NEVER_DRAWN = {"robosuite/Lift"}
_COLUMNS, _CAPTION_PX, _COLOURS = 10, 12, 160


class SheetConfig(Config):
    """Draw the first moment of each task of a suite into one PNG."""

    suite: str
    """Suite that is installed."""
    out: Path
    """The picture, .png."""
    most: int = Field(60, gt=0)
    """Tasks shown, spread over all of the suite."""
    size_px: int = Field(96, ge=32)
    """Height and width of each view."""
    seed: int = Field(0, ge=0)
    """Of layouts, colours and, in worlds, geometry."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole sims sheet``.

    Raises:
        ConfigError: If the suite is unknown or not installed, or the picture cannot be written.
    """
    config = parse_config(SheetConfig, argv, "sole sims sheet")
    if config.suite not in SUITES:
        raise ConfigError(f"no suite {config.suite!r}; choose from: {', '.join(SUITES)}")
    if not SUITES[config.suite].installed():
        raise ConfigError(f"suite {config.suite!r} is not installed; sole sims list says how")
    if config.out.suffix != ".png" or config.out.is_dir() or not config.out.parent.is_dir():
        raise ConfigError(f"--out {config.out}: expected a .png in a folder that exists")
    names = [n for n in task_names() if n.startswith(config.suite + "/")]
    names = _spread([n for n in names if n not in _NEVER_DRAWN], config.most)
    pictures = []
    with progress_bar("drawing", total=len(names)) as advance:
        for number, name in enumerate(names):
            pictures.append(_first_view(name, config, number))
            advance(1)
    sheet = contact_sheet([name.partition("/")[2] for name in names], pictures)
    _save(sheet, config.out)
    stderr.print(f"wrote {config.out}: {len(names)} tasks, {config.out.stat().st_size // 1000} kB")
    return 0


def _save(sheet: np.ndarray, out: Path) -> None:
    try:
        # A palette makes the file four times smaller, and nothing is measured on it.
        Image.fromarray(sheet).quantize(_COLOURS).save(out, optimize=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror or error})") from error


def contact_sheet(names: Sequence[str], pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Lay pictures out in rows of ten, each with its name below.

    Args:
        names: What stands under each picture; cut where it is too long.
        pictures: uint8 RGB ``(H, W, 3)``, all of one size.

    Example:
        >>> contact_sheet(["a", "b"], [np.zeros((20, 20, 3), np.uint8)] * 2).shape
        (32, 40, 3)
    """
    height, width = pictures[0].shape[:2]
    columns = min(_COLUMNS, len(pictures))
    n_rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, n_rows * (height + _CAPTION_PX)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=9)
    for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        row, column = divmod(number, columns)
        x, y = column * width, row * (height + _CAPTION_PX)
        sheet.paste(Image.fromarray(picture), (x, y))
        fitting = [k for k in range(len(name) + 1) if pen.textlength(name[:k], font) <= width - 2]
        pen.text((x + 1, y + height), name[: fitting[-1]], fill="black", font=font)
    return np.asarray(sheet)


def _spread(names: Sequence[str], most: int) -> list[str]:
    if len(names) <= most:
        return list(names)
    return [names[int(k)] for k in np.linspace(0, len(names) - 1, most).round()]


def _first_view(name: str, config: SheetConfig, number: int) -> np.ndarray:
    options: dict[str, object] = {}
    made = {"seed": config.seed + number} if name.startswith("worlds/") else {}
    if made:
        from sole.sims.worlds_arms import ARMS

        options["arm"] = ARMS[number % len(ARMS)]
    env = make_env(name, size_px=config.size_px, **made)
    env.reset(seed=config.seed + number, options=options)
    picture = env.views()["external"].copy()
    env.close()
    return picture
