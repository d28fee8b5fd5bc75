"""Settings of ``sole sft`` and ``sole rlvr`` for vision-language models of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sole.config import Config, load_preset
from sole.errors import ConfigError
from sole.models.hf.names import model_type
from sole.models.opening import NANO_TYPE
from sole.train.verify import RewardWeights

NANO_NAME = "nano"


class VlmConfig(Config):
    """What both stages share."""

    model: str
    """ORGANISATION/MODEL on Hugging Face, or a folder of save_pretrained; nano has flags of its
    own, shown without --model."""
    data: tuple[Path, ...]
    """Folders of episodes (LeRobot datasets with true progress and facts)."""
    run_dir: Path
    """Where checkpoints and metrics go; an interrupted run there is continued."""
    weights: tuple[float, ...] = ()
    """How often each folder of --data is drawn from, in its order; default: by its episodes."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    lora_rank: int = Field(0, ge=0)
    """0 trains every number; above, only adapters of this rank."""
    lora_alpha: float = Field(32.0, gt=0)
    """Scale of the adapters' output, over their rank."""
    lora_target: str = "all-linear"
    """Which layers get adapters: all-linear, or a regular expression on their names."""
    train_vision: bool = True
    """Whether the part that sees learns too (without adapters only)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """In which the weights lie in memory: auto is bfloat16 beside adapters on a GPU, else
    float32."""
    bf16: Literal["auto", "yes", "no"] = "auto"
    """Compute in bfloat16 autocast: auto is yes on a GPU."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them."""
    device_batch: int = Field(1, gt=0)
    """Examples, or replies, that one device takes at a time; the rest is accumulated."""
    geometry: Literal["sole_r1_8b", "nano"] = "sole_r1_8b"
    """Of the picture. `sole eval` and all readers ask at sole_r1_8b; nano is for small trials."""
    from_zero_share: float = Field(0.3, ge=0, le=1)
    """Share of the questions about progress that show no previous moment."""
    unstated_share: float = Field(0.15, ge=0, le=1)
    """Of those that show one, the share that does not state its progress."""
    perturbed_share: float = Field(0.5, ge=0, le=1)
    """Of those that state it and are not drawn by --wild-share, the share whose number is wrong by
    up to --perturbation."""
    perturbation: float = Field(15.0, ge=0)
    """Points."""
    wild_share: float = Field(0.1, ge=0, le=1)
    """Of those that state it, the share whose number is any."""
    device: Literal["auto", "cpu"] = "auto"
    """cpu keeps a GPU out of it."""
    seed: int = Field(0, ge=0)
    """Seeds the examples, the adapters and the replies."""
    export: Path | None = None
    """Where the finished model goes; default: RUN_DIR/model."""

    @property
    def out(self) -> Path:
        """Where the finished model goes."""
        return self.export or self.run_dir / "model"


class VlmSftConfig(VlmConfig):
    """Train a vision-language model on episodes that `sole synth` wrote (TRL's SFTTrainer)."""

    epochs: float = Field(1.0, gt=0)
    """Passes; one shows as many questions as the data have moments after a first frame."""
    steps: int | None = Field(None, gt=0)
    """Optimiser steps, instead of --epochs."""
    batch_size: int = Field(48, gt=0)
    """Examples in one optimiser step, over all devices."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak of a cosine that ends at zero; adapters take ten times as much."""
    warm_up: float = Field(0.03, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    think_share: float = Field(0.5, ge=0, le=1)
    """Share of examples with reasoning."""
    question_share: float = Field(0.15, ge=0, le=1)
    """Share of those that ask about space and time instead of progress."""
    max_tokens: int | None = Field(None, gt=0)
    """Refuse a longer example; none is ever cut."""
    workers: int = Field(0, ge=0)
    """Processes that make examples ahead."""
    checkpoint_every: int = Field(500, gt=0)
    """Steps between checkpoints."""
    log_every: int = Field(10, gt=0)
    """Steps between lines of metrics."""


class VlmRlvrConfig(VlmConfig):
    """Train a supervised vision-language model on by verifiable rewards (TRL's GRPOTrainer)."""

    steps: int = Field(300, gt=0)
    """Rounds of drawing replies and learning from them."""
    learning_rate: float = Field(1e-6, gt=0)
    """Falls in a line to zero; adapters take ten times as much."""
    prompts_per_step: int = Field(8, gt=0)
    """Questions in one round, over all devices."""
    group_size: int = Field(8, gt=1)
    """Replies to one question, which are compared with each other."""
    updates_per_step: int = Field(1, gt=0)
    """Optimiser steps on the same replies; from the second on the clip range matters."""
    temperature: float = Field(1.0, gt=0)
    """At which replies are drawn."""
    max_new_tokens: int = Field(256, gt=0)
    """Longest reply."""
    clip: float = Field(0.2, gt=0)
    """Largest relative change of a token's probability that still pays within one round."""
    kl_weight: float = Field(0.04, ge=0)
    """Weight of the divergence from the model that training began with."""
    tau: float = Field(10.0, gt=0)
    """Points of error after which the reward for accuracy has fallen to a third."""
    truth_weight: float = Field(0.5, ge=0)
    """Reward of a reasoning whose checkable claims are all true."""
    direction_weight: float = Field(0.25, ge=0)
    """Reward of a change told in the right direction; 0 leaves it out."""
    sft_weight: float = Field(0.0, ge=0)
    """Above 0, each optimiser step also takes this much of the supervised loss, on as many examples
    as replies."""
    vllm: Literal["auto", "yes", "no"] = "auto"
    """Draw replies with vLLM: auto is yes where it is installed and there is a GPU."""
    vllm_memory: float = Field(0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM takes beside the training."""
    checkpoint_every: int = Field(50, gt=0)
    """Rounds between checkpoints."""
    show_every: int = Field(50, gt=0)
    """Rounds between logged replies with their pictures."""

    def reward_weights(self) -> RewardWeights:
        """How the rewards are mixed."""
        return RewardWeights(self.tau, self.truth_weight, self.direction_weight)


def asked_model(argv: Sequence[str]) -> str:
    """The model that flags or a preset name, before it is known whose flags the others are.

    Raises:
        ConfigError: If it is the folder of a nano, which is trained on by --init.

    Example:
        >>> asked_model(["--data", "d", "--model", "Qwen/Qwen3-VL-2B-Instruct"])
        'Qwen/Qwen3-VL-2B-Instruct'
        >>> asked_model(["--steps", "3"])
        'nano'
    """
    model = _named(argv)
    folder = Path(model)
    found = model != NANO_NAME and (folder / "config.json").is_file()
    if found and model_type(folder) == NANO_TYPE:
        raise ConfigError(f"model {model}: is a nano; go on from it with --init {model}")
    return model


def _named(argv: Sequence[str]) -> str:
    for place, word in enumerate(argv):
        if word.startswith("--model="):
            return word.removeprefix("--model=")
        if word == "--model" and place + 1 < len(argv):
            return argv[place + 1]
    preset = Path(argv[0]) if argv else Path()
    if preset.suffix in {".toml", ".json"}:
        return str(load_preset(preset).get("model", NANO_NAME))
    return NANO_NAME
