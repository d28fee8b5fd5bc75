"""A LeRobot v2.1 dataset, written without lerobot."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from sole.data.video import write_video


def write_v2(folder, episodes):
    """A LeRobot v2.1 dataset as its own tools lay it out."""
    for name in ("meta", "data/chunk-000", "videos/chunk-000/observation.images.top"):
        (folder / name).mkdir(parents=True)
    features = {
        "observation.images.top": {"dtype": "video", "shape": [32, 32, 3]},
        "action": {"dtype": "float32", "shape": [4]},
    }
    info = {
        "codebase_version": "v2.1", "fps": 10, "total_episodes": len(episodes), "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path":
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }  # fmt: skip
    (folder / "meta/info.json").write_text(json.dumps(info))
    lines = []
    for k, episode in enumerate(episodes):
        row = {"episode_index": k, "tasks": [episode.task], "length": episode.n_frames}
        lines.append(json.dumps(row))
        table = pa.table({"action": episode.actions.tolist()})
        pq.write_table(table, folder / f"data/chunk-000/episode_{k:06d}.parquet")
        film = folder / f"videos/chunk-000/observation.images.top/episode_{k:06d}.mp4"
        write_video(film, episode.views["external"], 10.0)
    (folder / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    return folder
