"""Finding, checking and opening a model of transformers, each fault one line that says what to do.

Files come only through huggingface_hub and transformers: from a local folder, from their cache, or
downloaded. No code of a repository is executed (``trust_remote_code`` stays off).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils.import_utils import is_torchvision_available

from sole.errors import ConfigError, ModelError

# A configuration with wrong or missing fields is met wherever they are used.
_WHEN_LOADING = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)
_SAMPLE_BYTES = 65_536
_N_SAMPLES = 16


@dataclass(frozen=True)
class Opened:
    """A model and what turns questions into its inputs.

    Attributes:
        model: In evaluation mode, on its device.
        processor: Of pictures and text; its tokenizer is ``processor.tokenizer``.
        identity: Name and version: a commit of the hub, or a fingerprint of the folder's weights.
    """

    model: Any
    processor: Any
    identity: str


@dataclass(frozen=True)
class Described:
    """What is known of a model before its weights are read.

    Attributes:
        name: As the user called it.
        config: Of transformers.
        processor: Of pictures and text.
        commit: Of the hub, which all files are taken from; None for a folder.
    """

    name: str
    config: PreTrainedConfig
    processor: Any
    commit: str | None

    @property
    def identity(self) -> str:
        """Name and version: a commit of the hub, or a fingerprint of the folder's weights.

        Raises:
            ConfigError: If a folder holds no weights.
        """
        if self.commit:
            return f"{self.name}@{self.commit[:10]}"
        return f"{Path(self.name).resolve().name}@{fingerprint(Path(self.name))}"


def describe_model(name: str, revision: str | None) -> Described:
    """Find a model and open its processor, without its weights.

    Args:
        name: ``ORGANISATION/MODEL`` or a folder that ``save_pretrained`` wrote.
        revision: Branch, tag or commit on the hub; None for its main branch.

    Raises:
        ConfigError: If there is no such model or revision, or it does not answer questions about
            pictures.
        ModelError: If it cannot be downloaded or opened, or a package is missing.
    """
    local = Path(name).is_dir()
    if local and revision:
        raise ConfigError(
            f"model {name}@{revision}: a folder has no revisions; leave out @{revision}"
        )
    config_path = Path(name) / "config.json" if local else fetch_config(name, revision)
    # The commit that the configuration came from, so that all files are of one version.
    commit = None if local else config_path.parent.name
    with explained(name, _WHEN_LOADING):
        config = AutoConfig.from_pretrained(name, revision=commit or "main")
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise ConfigError(
                f"model {name}: a {config.model_type} does not answer questions about pictures; "
                "expected an image-text-to-text model, such as Qwen/Qwen3-VL-2B-Instruct"
            )
    with explained(f"{name} (a {config.model_type})", _WHEN_LOADING):
        processor = _open_processor(name, config, commit)
    return Described(name, config, processor, commit)


def open_model(name: str, revision: str | None, device: str, dtype: str) -> Opened:
    """Open a model by its name on Hugging Face or its folder.

    Args:
        name: ``ORGANISATION/MODEL`` or a folder that ``save_pretrained`` wrote.
        revision: Branch, tag or commit on the hub; None for its main branch.
        device: ``auto`` (cuda, else mps, else cpu), or one that torch knows.
        dtype: ``auto`` (bfloat16 on a GPU, float32 on the CPU), ``bfloat16``, ``float16`` or
            ``float32``.

    Raises:
        ConfigError: If there is no such model or revision, it does not answer questions about
            pictures, or the device or dtype is none.
        ModelError: If it cannot be downloaded or loaded, or a package is missing.
    """
    where, kind = choose_device(device), _choose_dtype(device, dtype)
    found = describe_model(name, revision)
    with explained(name, _WHEN_LOADING):
        if found.commit is None:  # A download of gigabytes shows how far it is.
            transformers.utils.logging.disable_progress_bar()
        model = AutoModelForImageTextToText.from_pretrained(
            name,
            config=found.config,
            revision=found.commit or "main",
            dtype=kind,
            use_safetensors=True,
        )
        model.eval()
        model.to(where)  # type: ignore[arg-type]
    return Opened(model, found.processor, found.identity)


def fingerprint(folder: Path) -> str:
    """Ten hexadecimal digits that change when the configuration or the weights do.

    Small files are read whole. Of each large file the size and sixteen evenly spaced pieces of
    64 KiB are: training changes all of a file's numbers, and reading 16 GB takes a minute.

    Raises:
        ConfigError: If the folder holds no weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ConfigError(
            f"model {folder}: no .safetensors file in this folder; expected what save_pretrained "
            "writes (weights in pickle files are not opened, because they can execute code)"
        )
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weights:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            if size <= _N_SAMPLES * _SAMPLE_BYTES:
                digest.update(file.read())
                continue
            for k in range(_N_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * k // (_N_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:10]


@contextmanager
def explained(
    name: str, faults: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError)
) -> Iterator[None]:
    """Turn what transformers raises about a model into one line.

    Raises:
        ModelError: Instead of ``faults``, a missing package, or a full GPU.
    """
    try:
        yield
    except ImportError as error:
        raise ModelError(_needs(name, str(error))) from error
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            f"model {name}: the GPU's memory is full; docs/models.md says what a model needs"
        ) from error
    except faults as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {name}: {reason}") from error


def _needs(name: str, said: str) -> str:
    package = next((p for p in ("torchvision", "num2words", "timm") if p in said.lower()), None)
    if package == "torchvision":
        return (
            f"model {name}: its processor needs the package torchvision, of the release that "
            "belongs to your torch; there is none for the CPU build of torch that we pin, so use "
            "a machine with the CUDA build (pip install torchvision), or a Qwen-VL or LLaVA model"
        )
    if package:
        return f"model {name}: needs the package {package}: pip install {package}"
    return f"model {name}: {(said.strip().splitlines() or ['a package is missing'])[0]}"


def choose_device(device: str) -> torch.device:
    """The device of this name; ``auto`` is cuda, else mps, else the cpu.

    Raises:
        ConfigError: If there is none of this name, or not on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device}: expected auto, cpu, cuda or mps") from error
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(chosen.type, True):
        raise ConfigError(f"device {device}: this machine has none, or torch was built without it")
    return chosen


def _choose_dtype(device: str, dtype: str) -> torch.dtype:
    on_cpu = choose_device(device).type == "cpu"
    kinds = {
        "auto": torch.float32 if on_cpu else torch.bfloat16,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "float32": torch.float32,
    }
    if dtype not in kinds:
        raise ConfigError(f"dtype {dtype}: expected one of {', '.join(kinds)}")
    return kinds[dtype]


def fetch_config(name: str, revision: str | None) -> Path:
    """Download the configuration, or find it in the cache; its folder is named by its commit.

    Raises:
        ConfigError: If there is no such model or revision.
        ModelError: If it cannot be had.
    """
    from httpx import HTTPError
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    full = f"model {name}@{revision}" if revision else f"model {name}"
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # Its retries; what comes of them is said below.
    try:
        return Path(hf_hub_download(name, "config.json", revision=revision))
    except hub.GatedRepoError as error:
        raise ModelError(
            f"{full}: its owner grants access by request: ask on its page, then `hf auth login`"
        ) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError) as error:
        raise ConfigError(
            f"{full}: there is no such folder, and Hugging Face has no such model or revision (or "
            "it is private: `hf auth login`)"
        ) from error
    except (hub.EntryNotFoundError, hub.HFValidationError) as error:
        raise _absent(full, error) from error
    except (OSError, HTTPError) as error:
        raise ModelError(
            f"{full}: Hugging Face cannot be reached ({type(error).__name__})"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def _absent(full: str, error: Exception) -> ConfigError | ModelError:
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError):
        return ModelError(
            f"{full}: there is no such folder, and Hugging Face cannot be reached to download it; "
            "go online once, or copy the model's folder here and give its path"
        )
    return ConfigError(f"{full}: has no config.json that transformers could open")


def _open_processor(name: str, config: PreTrainedConfig, commit: str | None) -> Any:
    known = PROCESSOR_MAPPING.get(type(config), None)
    opener: Any = AutoProcessor
    needs_video = known is not None and "video_processor" in known.get_attributes()
    if needs_video and not is_torchvision_available():
        opener = _pictures_only(known)
    processor = opener.from_pretrained(name, revision=commit or "main")
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ConfigError(
            f"model {name}: has no processor of pictures beside its tokenizer; the files "
            "preprocessor_config.json and tokenizer.json must lie with the weights"
        )
    return processor


def _pictures_only(base: Any) -> Any:
    """The processor without its part for videos, which needs torchvision; we ask one picture."""

    class PicturesOnly(base):
        #: SmolVLM's template looks up how many frames a video would have.
        video_processor = SimpleNamespace(num_frames=0, fps=0)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in base.get_attributes() if name != "video_processor"]

        @classmethod
        def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **more: Any) -> Any:
            # SmolVLM's asks for the part even so, and a file may describe one.
            without = {**processor_dict, "video_processor": None}
            return super().from_args_and_dict(args, without, **more)

    # What save_pretrained writes, and other machines look up.
    PicturesOnly.__name__ = base.__name__
    return PicturesOnly
