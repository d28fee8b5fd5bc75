"""Episodes to supervised examples, in TRL's conversational image-text format.

One example is one question of the protocol: a composite picture, the prompt of a
:class:`~sole.protocol.prompt.PromptPreset`, and the reply that a model should give, whose every
claim was checked against the facts. ``datasets.load_dataset("parquet", data_files=...)`` gives
``images`` (PIL), ``prompt`` and ``completion`` as ``SFTTrainer`` takes them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from sole.data.episode import Episode, Facts
from sole.protocol.composite import Geometry, compose
from sole.protocol.prompt import PromptPreset, write_messages, write_reply
from sole.synth.claims import judge_text
from sole.synth.reasoning import write_reasoning

#: Share of questions without a previous moment.
FROM_ZERO_SHARE = 0.3
#: Share of stated numbers that are wrong, and by how much: nothing may be anchored on them.
PERTURBED_SHARE, PERTURBATION_POINTS = 0.5, 15.0
MAX_GAP = 4
_JPEG_QUALITY = 90

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("images", pa.list_(_PICTURE)),
        ("prompt", pa.list_(_MESSAGE)),
        ("completion", pa.list_(_MESSAGE)),
        ("kind", pa.string()),
        ("suite", pa.string()),
        ("env_name", pa.string()),
        ("policy", pa.string()),
        ("episode_index", pa.int64()),
        ("frames", pa.list_(pa.int32())),
        ("true_progress", pa.float32()),
        ("stated_progress", pa.int32()),
        ("text_by", pa.string()),
        ("claims", pa.string()),
    ],
    metadata={
        # So that the datasets library decodes the pictures.
        "huggingface": json.dumps(
            {"info": {"features": {"images": {"feature": {"_type": "Image"}, "_type": "List"}}}}
        )
    },
)


@dataclass(frozen=True)
class Moment:
    """One question about an episode, before it is put into words and pictures.

    Attributes:
        previous: Frame shown in the middle; None in a from-zero read.
        now: Frame that is judged.
        stated: Progress that the prompt states for ``previous``, None in a from-zero read.
        draft: Reasoning from the facts.
    """

    previous: int | None
    now: int
    stated: int | None
    draft: str


def draw_moments(episode: Episode, n_moments: int, rng: np.random.Generator) -> list[Moment]:
    """Draw different frames of an episode and write the reasoning for each.

    Args:
        episode: With truth and facts.
        n_moments: At most; an episode has one less than its frames.
        rng: Source of the draw and of the wording.

    Raises:
        ValueError: If there are no facts to speak of.
    """
    truth = episode.truth
    if truth is None or not truth.facts:
        raise ValueError(f"examples: {episode.env_name} has no facts")
    frames = 1 + rng.permutation(episode.n_frames - 1)[:n_moments]
    moments = []
    for now in sorted(int(t) for t in frames):
        previous = None
        if rng.random() >= FROM_ZERO_SHARE:
            previous = max(now - int(rng.integers(1, MAX_GAP + 1)), 0)
        before = None if previous is None else float(truth.true_progress[previous])
        draft = write_reasoning(
            episode.task, truth.facts[0], None if previous is None else truth.facts[previous],
            truth.facts[now], before, float(truth.true_progress[now]), rng,
        )  # fmt: skip
        moments.append(Moment(previous, now, _stated(before, rng), draft))
    return moments


def _stated(before: float | None, rng: np.random.Generator) -> int | None:
    if before is None:
        return None
    if rng.random() < PERTURBED_SHARE:
        before += rng.uniform(-PERTURBATION_POINTS, PERTURBATION_POINTS)
    return int(np.clip(round(before), -100, 100))


def picture_of(episode: Episode, moment: Moment, geometry: Geometry) -> np.ndarray:
    """The composite of a question: first, previous (if any) and current frame by view."""
    first, now = _views(episode, 0), _views(episode, moment.now)
    previous = None if moment.previous is None else _views(episode, moment.previous)
    return compose(first, previous, now, geometry)


def seen(episode: Episode, moment: Moment) -> tuple[Facts, Facts | None, Facts]:
    """Facts of the first, the previous (if any) and the current frame."""
    assert episode.truth is not None
    facts = episode.truth.facts
    previous = None if moment.previous is None else facts[moment.previous]
    return facts[0], previous, facts[moment.now]


def progress_row(
    episode: Episode,
    moment: Moment,
    preset: PromptPreset,
    geometry: Geometry,
    *,
    rewritten: str | None = None,
) -> dict[str, Any]:
    """One example as a row of :data:`SCHEMA`; ``rewritten`` replaces the draft's words."""
    assert episode.truth is not None
    text = moment.draft if rewritten is None else rewritten
    progress = float(episode.truth.true_progress[moment.now])
    first, previous, now = seen(episode, moment)
    claims = [
        {
            "kind": claim.kind,
            "value": claim.value,
            "true": None if verdict is None else bool(verdict),
        }
        for claim, verdict in judge_text(text, previous, now, first)
    ]
    messages = write_messages(preset, episode.task, list(episode.views), moment.stated)
    frames = [0, moment.now] if moment.previous is None else [0, moment.previous, moment.now]
    return row(
        episode, [picture_of(episode, moment, geometry)], [plain(m) for m in messages],
        write_reply(text, round(progress)),
        kind="progress", frames=frames, true_progress=progress, stated_progress=moment.stated,
        text_by="facts" if rewritten is None else "annotator", claims=json.dumps(claims),
    )  # fmt: skip


def plain(message: dict[str, Any]) -> dict[str, str]:
    """A message whose content is one string; TRL puts the pictures before the user's words."""
    content = message["content"]
    words = content if isinstance(content, str) else content[-1]["text"]
    return {"role": message["role"], "content": words}


def row(
    episode: Episode,
    pictures: Sequence[np.ndarray],
    prompt: Sequence[dict[str, str]],
    reply: str,
    **about: Any,
) -> dict[str, Any]:
    """A row of :data:`SCHEMA`; ``episode_index`` is added when the episode has its number."""
    return {
        "images": [{"bytes": jpeg(picture), "path": None} for picture in pictures],
        "prompt": list(prompt),
        "completion": [{"role": "assistant", "content": reply}],
        "suite": episode.suite,
        "env_name": episode.env_name,
        "policy": episode.policy,
        "true_progress": None,
        "stated_progress": None,
        "text_by": "facts",
        "claims": "[]",
        **about,
    }


def jpeg(picture: np.ndarray) -> bytes:
    """Compress a picture, uint8 RGB; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def table_of(rows: Sequence[dict[str, Any]], episode_index: int) -> pa.Table:
    """The rows of one episode as a table."""
    numbered = [{**one, "episode_index": episode_index} for one in rows]
    return pa.Table.from_pylist(numbered, schema=SCHEMA)


def _views(episode: Episode, frame: int) -> dict[str, np.ndarray]:
    return {name: frames[frame] for name, frames in episode.views.items()}
