"""``sole rlvr --model NAME``: GRPO with verifiable rewards on any image-text-to-text model, by TRL.

Each question is asked with reasoning; the fast form cannot be opened for the model in TRL's loop,
so what supervised training taught of it is left alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from PIL import Image
from transformers import PrinterCallback, TrainerCallback

from sole.config import parse_config
from sole.console import stdout
from sole.errors import ConfigError
from sole.models.hf.network import Network
from sole.protocol.prompt import parse_reply
from sole.train.rlvr_log import CompletionLog, Shown
from sole.train.run_dir import check_run_dir, check_same_data, refuse_held_out_data
from sole.train.verify import (
    Known,
    RewardWeights,
    accuracy_reward,
    direction_reward,
    format_reward,
    judge_reply,
    truth_reward,
)
from sole.train.vlm_collate import Collator
from sole.train.vlm_config import VlmRlvrConfig, VlmSftConfig
from sole.train.vlm_examples import VlmExamples
from sole.train.vlm_joint import APART, joint_trainer
from sole.train.vlm_model import (
    accumulation,
    adapters,
    check_devices,
    check_same_weights,
    common_arguments,
    on_gpu,
    open_network,
    write_out,
)
from sole.train.vlm_sft import (
    RunLog,
    begin_together,
    load_examples,
    make_collator,
    need_trl,
    run_through,
)

#: Settings that may differ when a run is continued: they change no number of it.
FREE = {"run_dir", "export", "show_every", "checkpoint_every"}
_SHOWN_REPLIES = 8


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole rlvr`` where ``--model`` names another model than nano."""
    config = parse_config(VlmRlvrConfig, argv, "sole rlvr")
    out = train(config)
    if PartialState().is_main_process:
        stdout.print(f"wrote {out}: use it as --model {out}", markup=False, soft_wrap=True)
    return 0


def train(config: VlmRlvrConfig) -> Path:
    """Train, or continue, and return the folder of the finished model.

    Raises:
        ConfigError: If the folder holds another run, a task is held out, or settings do not fit.
        ModelError: If the model cannot be loaded, or its pictures and their tokens do not agree.
    """
    need_trl()
    check_run_dir(config.run_dir, config, "sole rlvr", FREE)
    check_same_weights(config)
    refuse_held_out_data(config.data)
    check_same_data(config.run_dir, config.data)
    state = PartialState(cpu=config.device == "cpu")
    check_devices(config, state.num_processes)
    asked = arguments(config, state.num_processes)
    network = open_network(config)  # before the data: they take longer than to notice a wrong name
    examples, n_moments, kept_px = load_examples(config, think_share=0.0, question_share=0.0)
    supervised = supervised_examples(config, examples) if config.sft_weight else examples
    collator = make_collator(config, network, supervised, kept_px)  # checks tokens and features
    run, checkpoint = begin_together(config, {"n_moments": n_moments, "steps": config.steps})
    log = CompletionLog(run.folder, rounds_done(config, checkpoint)) if run is not None else None
    steps_log = RunLog(run, config.steps * config.updates_per_step)
    trainer = _trainer_class(collator, config.sft_weight)(
        model=network.model,
        reward_funcs=reward_functions(network, config.reward_weights()),
        args=asked,
        train_dataset=questions(examples, config.steps * config.prompts_per_step),
        processing_class=network.processor,
        peft_config=adapters(config),
        callbacks=[steps_log],
    )
    trainer.add_callback(ShowReplies(trainer, log, examples, network, config))
    trainer.remove_callback(PrinterCallback)
    run_through(trainer, steps_log, checkpoint)
    return write_out(config, trainer, network)


def supervised_examples(config: VlmRlvrConfig, questions: VlmExamples) -> VlmExamples:
    """What ``--sft-weight`` trains on: the same sources, drawn as ``sole sft`` draws by default."""
    usual = VlmSftConfig.model_fields
    return questions.drawn_apart(
        config.seed + APART,
        think_share=usual["think_share"].default,
        question_share=usual["question_share"].default,
    )


def rounds_done(config: VlmRlvrConfig, checkpoint: Path | None) -> int:
    """Rounds of replies before a checkpoint, which is called by its optimiser steps."""
    steps = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    return steps // config.updates_per_step


def arguments(config: VlmRlvrConfig, n_devices: int) -> Any:
    """TRL's settings: one round of replies for each ``updates_per_step`` optimiser steps."""
    from trl.trainer.grpo_config import GRPOConfig

    parts = accumulation(
        config.prompts_per_step * config.group_size, config.device_batch, n_devices,
        "prompts_per_step x group_size",
    )  # fmt: skip
    weights = config.reward_weights()
    return GRPOConfig(
        **common_arguments(config, config.learning_rate),
        max_steps=config.steps * config.updates_per_step,
        gradient_accumulation_steps=parts,
        steps_per_generation=parts,
        num_iterations=config.updates_per_step,
        num_generations=config.group_size,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=config.kl_weight,
        # TRL opens the reference by the model's name, so it must be told the revision as well.
        model_init_kwargs={"revision": config.revision} if config.revision else None,
        epsilon=config.clip,
        loss_type="grpo",
        reward_weights=[1.0, 1.0, weights.truth, weights.direction],
        shuffle_dataset=False,  # an example's number is its only draw
        lr_scheduler_type="linear",
        logging_steps=1,
        save_steps=config.checkpoint_every * config.updates_per_step,
        # The second pass of a joint step must find the buffers as the first one left them.
        ddp_broadcast_buffers=False if config.sft_weight else None,
        use_vllm=uses_vllm(config),
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=config.vllm_memory,
    )


def uses_vllm(config: VlmRlvrConfig) -> bool:
    """Whether vLLM draws the replies.

    Raises:
        ConfigError: If it is asked for and not installed.
    """
    there = importlib.util.find_spec("vllm") is not None
    if config.vllm == "yes" and not there:
        raise ConfigError("vllm yes: vLLM is not installed here; pip install 'trl[vllm]'")
    return config.vllm == "yes" or (config.vllm == "auto" and there and on_gpu(config))


def questions(examples: VlmExamples, n: int) -> Any:
    """A data set of ``n`` questions, each made when it is asked for."""
    from datasets import Dataset

    def make(rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        made = [examples[index] for index in rows["index"]]
        return {
            "index": rows["index"],
            "prompt": [one.messages for one in made],
            "image": [Image.fromarray(one.picture) for one in made],
            "known": [one.known for one in made],
        }

    return Dataset.from_dict({"index": range(n)}).with_transform(make)


def reward_functions(network: Network, weights: RewardWeights) -> list[Callable[..., list]]:
    """The terms of :mod:`sole.train.verify` as TRL calls them; None where one does not apply."""

    def form(completion_ids: list[list[int]], index: list[int], **rest: Any) -> list[float]:
        rest["log_extra"]("index", index)  # by which logged replies find their pictures
        return [format_reward(text) for text in replies(network, completion_ids)]

    def accuracy(completion_ids: list[list[int]], known: list[Known], **_: Any) -> list[float]:
        said = [parse_reply(text).progress for text in replies(network, completion_ids)]
        return [
            accuracy_reward(one, truth.true_progress, weights.tau)
            for one, truth in zip(said, known, strict=True)
        ]

    def truth(completion_ids: list[list[int]], known: list[Known], **_: Any) -> list[float | None]:
        said = [parse_reply(text).reasoning for text in replies(network, completion_ids)]
        return [truth_reward(words, one.facts) for words, one in zip(said, known, strict=True)]

    def direction(
        completion_ids: list[list[int]], known: list[Known], **_: Any
    ) -> list[float | None]:
        said = [parse_reply(text).progress for text in replies(network, completion_ids)]
        return [direction_reward(one, truth) for one, truth in zip(said, known, strict=True)]

    return [form, accuracy, truth, direction]


def replies(network: Network, completion_ids: Sequence[Sequence[int]]) -> list[str]:
    """What was said, up to the end of each reply."""
    texts = []
    for ids in completion_ids:
        ended = next((k for k, token in enumerate(ids) if token in network.ends), len(ids))
        texts.append(
            network.tokenizer.decode(
                list(ids[:ended]), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )
    return texts


def _trainer_class(collator: Collator, sft_weight: float) -> Any:
    from trl.trainer.grpo_trainer import GRPOTrainer

    class Trainer(GRPOTrainer):
        """TRL's, silent."""

        def _send_telemetry(self) -> None:
            """Nobody is told of a training."""

    return joint_trainer(Trainer, collator, sft_weight) if sft_weight else Trainer


class ShowReplies(TrainerCallback):
    """Logs some rounds' replies beside their pictures; the trainer keeps the newest round."""

    def __init__(
        self,
        trainer: Any,
        log: CompletionLog | None,
        examples: VlmExamples,
        network: Network,
        config: VlmRlvrConfig,
    ):
        self._trainer, self._log, self._examples = trainer, log, examples
        self._network, self._config = network, config

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the first round, every ``show_every``-th, and the last."""
        step, rest = divmod(state.global_step, self._config.updates_per_step)
        due = step % self._config.show_every == 0 or step in (1, self._config.steps)
        if self._log is not None and not rest and due:
            self._log.add(step, self._shown())

    def _shown(self) -> list[Shown]:
        kept = self._trainer._logs
        said: dict[int, list[str]] = {}
        for index, completion in zip(kept["extra"]["index"], kept["completion"], strict=True):
            said.setdefault(index, []).append(completion[0]["content"])
        return [self._one(index, texts[:_SHOWN_REPLIES]) for index, texts in said.items()]

    def _one(self, index: int, texts: list[str]) -> Shown:
        example = self._examples[index]
        verdicts = [judge_reply(t, example.known, self._config.reward_weights()) for t in texts]
        return Shown(example.task, example.picture, example.known, texts, verdicts)
