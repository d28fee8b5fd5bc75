"""Data sets to and from the real LeRobot package (its own environment has it).

``LEROBOT_VENV/bin/python -m pytest -m slow tests/test_lerobot_datasets.py`` in a venv with
``lerobot[dataset]>=0.6``, ``av<16`` and ``sole-rewards[client]``.
"""

import pytest

pytest.importorskip(
    "lerobot.datasets", reason="needs lerobot>=0.6 (Python 3.12), see docs/data-format.md"
)

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter, open_dataset, read_episodes

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
FPS, SIDE = 10, 64
TOP, WRIST = "observation.images.top", "observation.images.wrist"
FEATURES = {
    TOP: {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]},
    WRIST: {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]},
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
    "action": {"dtype": "float32", "shape": (4,), "names": ["x", "y", "z", "grip"]},
}


def picture(episode: int, t: int, shade: int) -> np.ndarray:
    """A smooth picture that says which moment it is; sharp ones do not survive a video."""
    ramp = np.linspace(0, 80, SIDE)
    plane = ramp[:, None] + ramp[None]
    return np.stack([plane * 0 + 40 * episode, plane, plane * 0 + shade + 10 * t], -1).astype("u1")


def test_lerobot_opens_what_we_write(tmp_path):
    episodes = [make_example_episode(n_frames=n, seed=n) for n in (5, 7)]
    with EpisodeWriter(tmp_path / "ours", FPS) as writer:
        for episode in episodes:
            writer.add(episode)
    dataset = LeRobotDataset("sole/ours", root=tmp_path / "ours", video_backend="pyav")
    assert (dataset.num_episodes, len(dataset), dataset.fps) == (2, 12, FPS)
    ours = list(read_episodes(tmp_path / "ours"))
    for index in (0, 4, 5, 11):
        episode, t = (ours[0], index) if index < 5 else (ours[1], index - 5)
        item = dataset[index]
        assert item["task"] == episode.task
        np.testing.assert_allclose(item["action"], episode.actions[t], atol=1e-6)
        for name, frames in episode.views.items():
            seen = (item[f"observation.images.{name}"] * 255).round().to(torch.uint8)
            theirs = seen.permute(1, 2, 0).numpy().astype(int)
            assert np.abs(theirs - frames[t]).max() <= 2, (index, name)


def test_we_open_what_lerobot_writes(tmp_path):
    dataset = LeRobotDataset.create(
        "sole/theirs", fps=FPS, features=FEATURES, root=tmp_path / "theirs", use_videos=True
    )
    lengths, tasks = (6, 4), ("open the drawer", "push the cup")
    for k, (length, task) in enumerate(zip(lengths, tasks, strict=True)):
        for t in range(length):
            dataset.add_frame(
                {
                    TOP: picture(k, t, 60), WRIST: picture(k, t, 140), "task": task,
                    "observation.state": np.full(3, t, np.float32),
                    "action": np.full(4, k + t / 10, np.float32),
                }
            )  # fmt: skip
        dataset.save_episode()
    dataset.finalize()
    assert open_dataset(tmp_path / "theirs").n_episodes == 2
    cameras = {"external": TOP, "wrist": WRIST}
    episodes = list(read_episodes(tmp_path / "theirs", cameras=cameras))
    assert tuple(e.task for e in episodes) == tasks
    assert tuple(e.n_frames for e in episodes) == lengths
    for k, episode in enumerate(episodes):
        np.testing.assert_allclose(episode.actions[:, 0], k + np.arange(lengths[k]) / 10, atol=1e-6)
        np.testing.assert_allclose(episode.proprio[:, 0], np.arange(lengths[k]))
        for t in range(lengths[k]):
            for name, shade in (("external", 60), ("wrist", 140)):
                apart = episode.views[name][t].astype(int) - picture(k, t, shade)
                assert np.abs(apart).mean() < 6, (k, t, name)
