"""Uploads become frames: what a header promises is checked before anything is decoded."""

from __future__ import annotations

import io
import struct
import tempfile
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sole.data.video import fitted_size, read_video, video_size
from sole.errors import VideoError
from sole.serve.config import ServeConfig
from sole.serve.refusal import refusal

FORMATS = {"image/png": ("PNG",), "image/jpeg": ("JPEG",)}
VIDEO = "video/mp4"
# What FFmpeg calls the reader of MP4s. Its other readers are not for strangers' files: those of
# playlists open what a file names, itself for example, until no file can be opened any more.
_VIDEO_FORMATS = "mov,mp4"
#: Types of files whose sender does not know what they are; the first bytes say it.
UNDECLARED = ("", "application/octet-stream")
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# Pillow's readers raise all of these at damaged files, whatever its documentation says.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


@dataclass(frozen=True)
class Upload:
    """One file of a request: its view, the type it was declared with, and its bytes."""

    view: str
    content_type: str
    data: bytes = field(repr=False)


class PixelBudget:
    """What one request may still decode.

    Args:
        config: Its limits.
    """

    def __init__(self, config: ServeConfig):
        self._per_picture = config.max_picture_px
        self.left_px = config.max_request_px

    def spend(self, width_px: int, height_px: int, what: str, n_frames: int = 1) -> None:
        """Take pictures of this size off.

        Raises:
            HTTPException: 413 if one of them, or all together, are too large.
        """
        if width_px * height_px > self._per_picture:
            raise refusal(
                413,
                f"{what}: {width_px}x{height_px} px is too large; expected at most "
                f"{self._per_picture} pixels a picture",
            )
        self.left_px -= width_px * height_px * n_frames
        if self.left_px < 0:
            raise refusal(413, f"{what}: the request's pictures are too many pixels together")


def decode_moment(uploads: Sequence[Upload], config: ServeConfig) -> dict[str, np.ndarray]:
    """One picture for each view, uint8 RGB ``(H, W, 3)``.

    Raises:
        HTTPException: 413 if too large, 415 for another type, 422 if damaged or named twice.
    """
    if len({u.view for u in uploads}) < len(uploads):
        raise refusal(422, "step: expected one picture for each view, got several")
    budget = PixelBudget(config)
    return {upload.view: _decode_picture(upload, budget) for upload in uploads}


def by_part(uploads: Sequence[Upload]) -> dict[str, list[Upload]]:
    """The files of each part, in their order."""
    parts: dict[str, list[Upload]] = {}
    for upload in uploads:
        parts.setdefault(upload.view, []).append(upload)
    return parts


def decode_views(
    names: Mapping[str, str],
    parts: Mapping[str, Sequence[Upload]],
    config: ServeConfig,
    budget: PixelBudget,
) -> tuple[dict[str, np.ndarray], float | None]:
    """The views of one episode.

    Args:
        names: By view, the part that holds it.
        parts: What was sent.
        config: Limits.
        budget: What the request may still decode.

    Returns:
        Frames by view, uint8 RGB ``(T, H, W, 3)`` of equal T, and frames per second if films say.

    Raises:
        HTTPException: As :func:`decode_view`; 422 if a part is missing or lengths differ.
    """
    lacking = [part for part in names.values() if part not in parts]
    if lacking:
        raise refusal(422, f"no part {lacking[0]!r} in the request; there are {sorted(parts)}")
    decoded = {n: decode_view(parts[part], config, budget) for n, part in names.items()}
    lengths = {name: len(frames) for name, (frames, _) in decoded.items()}
    if len(set(lengths.values())) > 1:
        raise refusal(422, f"expected as many frames in every view, got {lengths}")
    rates = [fps for _, fps in decoded.values() if fps is not None]
    return {name: frames for name, (frames, _) in decoded.items()}, max(rates, default=None)


def decode_view(
    uploads: Sequence[Upload], config: ServeConfig, budget: PixelBudget
) -> tuple[np.ndarray, float | None]:
    """The frames of one view: one MP4, or pictures of one size in their order.

    Returns:
        uint8 RGB ``(T, H, W, 3)``, and frames per second, which only a film has.

    Raises:
        HTTPException: 413 if too many or too large, 415 for another type, 422 if damaged.
    """
    name = uploads[0].view
    if len(uploads) == 1 and _is_video(uploads[0]):
        return _decode_video(uploads[0], config, budget)
    if len(uploads) > config.max_frames:
        raise refusal(413, f"{name}: {len(uploads)} frames; expected at most {config.max_frames}")
    frames = [_decode_picture(upload, budget, f"or one {VIDEO}") for upload in uploads]
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise refusal(422, f"{name}: expected pictures of one size, got {sorted(sizes)[:3]}")
    return np.stack(frames), None


def _is_video(upload: Upload) -> bool:
    has_mark = upload.data[4:8] == b"ftyp"
    if upload.content_type == VIDEO and not has_mark:
        raise refusal(415, f"{upload.view}: expected {VIDEO}, but it is none")
    return has_mark and upload.content_type in (VIDEO, *UNDECLARED)


def _decode_picture(upload: Upload, budget: PixelBudget, or_else: str = "") -> np.ndarray:
    what = upload.view
    undeclared = upload.content_type in UNDECLARED
    kinds = ("PNG", "JPEG") if undeclared else FORMATS.get(upload.content_type)
    if kinds is None:
        expected = " ".join([", ".join(FORMATS), or_else]).strip()
        raise refusal(415, f"{what}: type {upload.content_type!r}; expected {expected}")
    try:
        # Pillow warns, then raises, at sizes far above our limit; both are that limit's business.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _checked_picture(upload.data, kinds, what, budget)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refusal(413, f"{what}: the picture is too large ({error})") from error
    except Image.UnidentifiedImageError as error:
        expected = f"a PNG or JPEG {or_else}".strip() if undeclared else upload.content_type
        raise refusal(415, f"{what}: expected {expected}, but it is none") from error
    except _DAMAGED as error:
        raise refusal(422, f"{what}: cut short or damaged picture ({error})") from error


def _checked_picture(
    data: bytes, kinds: tuple[str, ...], what: str, budget: PixelBudget
) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=kinds) as picture:  # reads the header only
        budget.spend(picture.width, picture.height, what)
        if picture.mode not in _EIGHT_BIT_MODES:
            raise refusal(422, f"{what}: mode {picture.mode}; expected 8-bit grey or colour")
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def _decode_video(
    upload: Upload, config: ServeConfig, budget: PixelBudget
) -> tuple[np.ndarray, float]:
    with tempfile.TemporaryDirectory(prefix="sole-serve-") as folder:
        path = Path(folder) / "upload.mp4"
        path.write_bytes(upload.data)
        try:
            return _read_film(path, upload.view, config, budget)
        except VideoError as error:
            message = str(error).replace(str(path), upload.view)
            raise refusal(422, message) from error


def _read_film(
    path: Path, name: str, config: ServeConfig, budget: PixelBudget
) -> tuple[np.ndarray, float]:
    width, height = video_size(path, formats=_VIDEO_FORMATS)
    budget.spend(width, height, name, n_frames=0)
    shown = fitted_size(width, height, config.max_side_px)
    affordable = budget.left_px // (shown[0] * shown[1])
    limit = min(config.max_frames, affordable)
    # One more than allowed shows that there are too many, and no more than that is decoded.
    frames, fps = read_video(
        path, limit + 1, max_side_px=config.max_side_px, formats=_VIDEO_FORMATS
    )
    if len(frames) > limit:
        raise refusal(
            413, f"{name}: more than {limit} frames of {shown[0]}x{shown[1]} px; send fewer"
        )
    budget.spend(shown[0], shown[1], name, n_frames=len(frames))
    return frames, fps
