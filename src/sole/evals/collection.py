"""The episodes a reward model is measured on: fixed seeds, many kinds of policies, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sole.console import progress_bar
from sole.data.cache import episode_made_once
from sole.data.episode import Episode
from sole.errors import ConfigError
from sole.run import make_folder
from sole.synth import policies as synth_policies
from sole.synth.collect import close_simulators, collect_episode
from sole.synth.plan import has_expert

#: Policies of the evaluation, in turn: two experts in ten, the rest goes wrong in different ways.
POLICIES = (
    "expert", "noisy", "expert_then_random", "undo", "near_miss",
    "expert", "stop_short", "random", "perturb_and_recover", "push_away",
)  # fmt: skip


def collect(
    env_names: Sequence[str],
    per_task: int,
    seed: int,
    cache: Path,
    n_frames: int = 26,
    *,
    policies: Sequence[str] = POLICIES,
) -> list[Episode]:
    """Simulate (or read back) ``per_task`` episodes of each task, policies in turn.

    Episode k of every task has seed ``seed + k``. Dev and test tasks are in no training set; on
    training tasks a layout could in principle have been trained on, since training seeds are drawn
    at random from the same 2**31 numbers. The cache knows nothing of the simulators' code: delete
    it when that has changed. Of a task without a scripted expert only those policies are filmed
    that need none.

    Raises:
        ConfigError: If a policy is unknown, none can be filmed without an expert, or the cache
            cannot be made.
        DataError: If a cached episode is damaged.
    """
    known = synth_policies.POLICIES | synth_policies.NAMED_POLICIES
    if unknown := sorted(set(policies) - set(known)):
        raise ConfigError(f"no policy {', '.join(unknown)}; choose from: {', '.join(known)}")
    if not policies:
        raise ConfigError("policies: expected at least one, got none")
    possible = {name: _possible(name, policies) for name in env_names}
    make_folder(cache)
    episodes = []
    with progress_bar("collecting", total=len(possible) * per_task) as advance:
        for env_name, chosen in possible.items():
            close_simulators(keep=env_name)
            for k in range(per_task):
                policy = chosen[k % len(chosen)]
                name = f"{env_name.replace('/', '-')}-{policy}-{seed + k}-{n_frames}.npz"
                episodes.append(_episode(cache / name, env_name, policy, seed + k, n_frames))
                advance(1)
    return episodes


def _possible(env_name: str, policies: Sequence[str]) -> list[str]:
    """Those of the policies that can be filmed in this task."""
    if has_expert(env_name):
        return list(policies)
    found = [name for name in policies if name in synth_policies.WITHOUT_EXPERT]
    if not found:
        raise ConfigError(
            f"{env_name} has no scripted expert, which {', '.join(policies)} need; add one of "
            f"--policies {' '.join(synth_policies.WITHOUT_EXPERT)}"
        )
    return found


def _episode(path: Path, env_name: str, policy: str, seed: int, n_frames: int) -> Episode:
    return episode_made_once(
        path, lambda: collect_episode(env_name, policy, seed, n_frames=n_frames)
    )
