"""``sole VERB``: finds the stage a verb belongs to and imports nothing else."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO, cast

from sole import __version__
from sole.errors import SoleError

VERBS = {
    "score": ("sole.report.score", "judge the progress in a video"),
    "synth": ("sole.synth.build", "simulate episodes and write a training set"),
    "data": ("sole.report.dataset", "look into a data set, or make one of recordings"),
    "sims": ("sole.sims.listing", "list the simulated tasks, their splits and what is installed"),
    "sft": ("sole.train.sft", "train a reward model on a training set"),
    "fit": ("sole.train.fit", "train a small reward model on own videos, in minutes"),
    "rlvr": ("sole.train.rlvr", "train a reward model on by rewards that the truth can check"),
    "rl": ("sole.rl.train", "train a policy on a reward model's judgement alone"),
    "refine": ("sole.refine.command", "clone an expert, then improve by judged rewards alone"),
    "bench": ("sole.bench.command", "train with several reward models and compare them"),
    "eval": ("sole.evals.quality", "measure a reward model against the truth"),
    "ablate": ("sole.ablate.command", "train nano without one part of the recipe after the other"),
    "report": ("sole.review.command", "a page of what was measured; how two results differ"),
    "redteam": ("sole.redteam.command", "search for episodes that a reward model overrates"),
    "calibrate": ("sole.evals.calibration", "make a reward model's numbers mean what they say"),
    "models": ("sole.rewarders.listing", "list the reward models, their needs and costs"),
    "annotate": ("sole.annotate", "judge a LeRobot dataset: progress, success, sample weights"),
    "serve": ("sole.serve.command", "let other machines ask a reward model, over HTTP"),
    "demo": ("sole.demo", "a robot learns an unseen task; writes report.html"),
    "check": ("sole.check.command", "measure what the training data rest on"),
    "doctor": ("sole.doctor", "say what works on this machine and how to mend the rest"),
}

#: Which extra brings a package that a verb needs; what is not here comes with ``local``.
_EXTRA_OF = {
    "gymnasium": "metaworld", "mujoco": "metaworld", "metaworld": "metaworld",
    "stable_baselines3": "rl", "tensorboard": "rl",
    "trl": "train", "peft": "train", "accelerate": "train",
    "fastapi": "serve", "uvicorn": "serve", "httpx": "client",
    "matplotlib": "report", "h5py": "hdf5", "ray": "ray",
}  # fmt: skip


def usage() -> str:
    """The text of ``sole --help``."""
    lines = [f"sole {__version__}: video-language reasoning as the reward for robot learning", ""]
    lines += ["usage: sole VERB [PRESET.toml] [--flag value ...]", "", "verbs:"]
    lines += [f"  {verb:<9} {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join([*lines, "", "sole VERB --help shows the flags of one."])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit code (0 done, 1 failed, 2 bad input)."""
    code, out = 0, cast("TextIO | None", sys.stdout)  # None where it was closed: `>&-`
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
        if out is not None:
            out.flush()  # not at exit, where Python tells of a reader that has gone
    except BrokenPipeError:  # `sole score --help | head`: the reader has gone, nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        _write(sys.stdout, usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        _write(sys.stdout, __version__)
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        _write(sys.stderr, f"sole: no verb {verb!r}; choose from: {', '.join(VERBS)}")
        return 2
    # OpenMP's threads wait for each other by spinning; on a machine that does something else too,
    # that made two threads up to five times slower than one. Must be set before torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        return importlib.import_module(VERBS[verb][0]).main(rest)
    except SoleError as error:
        _write(sys.stderr, f"sole {verb}: {error}")
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "sole":
            raise
        # sole-rewards[client] alone brings the library, not what the verbs need.
        needs = f"pip install 'sole-rewards[{_EXTRA_OF.get(package, 'local')}]'"
        _write(sys.stderr, f"sole {verb}: the package {package} is not installed: {needs}")
        return 1
    except KeyboardInterrupt:
        _write(sys.stderr, f"sole {verb}: stopped")
        return 130


def _write(stream, text: str) -> None:  # noqa: ANN001
    stream.write(text + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
