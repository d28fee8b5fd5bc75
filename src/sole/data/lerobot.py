"""Episodes on disk as a LeRobot v3 dataset (parquet, mp4 and json), and what goes with them.

The one place to import from: writing, reading, the manifest, and the scores of reward models.
"""

from sole.data.lerobot_reader import DatasetInfo, open_dataset, read_episodes
from sole.data.lerobot_writer import EpisodeWriter
from sole.data.manifest import Manifest, load_manifest, save_manifest
from sole.data.scores import read_scores, write_scores

__all__ = [
    "DatasetInfo",
    "EpisodeWriter",
    "Manifest",
    "load_manifest",
    "open_dataset",
    "read_episodes",
    "read_scores",
    "save_manifest",
    "write_scores",
]
