"""Vision-language models of transformers: the question, the read-out, presets, loading, errors."""

import json
from dataclasses import replace
from pathlib import Path

import httpx
import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from tiny_vlm import (
    TEMPLATE,
    make_tiny_llava,
    make_tiny_qwen2_5,
    make_tiny_qwen3,
    make_tokenizer,
)
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from sole.data.episode import make_example_episode
from sole.errors import ConfigError, ModelError
from sole.models.base import Question
from sole.models.hf import loading
from sole.models.hf.names import ModelName, parse_name
from sole.models.hf.numbers import grow_tree
from sole.models.hf.reader import TransformersReader
from sole.models.hf.sampling import SeededDraw
from sole.protocol.composite import Geometry
from sole.protocol.readout import PROGRESS_VALUES, read_expectation
from sole.rewarders.check import check_reward_model
from sole.rewarders.load import load_reward_model
from sole.rewarders.sole import Decoding, SoleRewardModel

FAST = "<think></think><answer>"
SMALL = Geometry(tile_px=28, separator_px=0, resize_factor=28)
MAKERS = {"qwen3": make_tiny_qwen3, "qwen2_5": make_tiny_qwen2_5, "llava": make_tiny_llava}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def small(folder, preset="robust", **settings) -> TransformersReader:
    """A reader whose pictures and replies are short, for speed; all else is the preset's."""
    reader = TransformersReader(str(folder), preset=preset, device="cpu", **settings)
    reader.preset = replace(reader.preset, geometry=SMALL, max_new_tokens=6)
    return reader


@pytest.fixture(scope="module")
def readers(folders):
    return {name: small(folder) for name, folder in folders.items()}


def moment(seed: int, views=("external", "wrist")) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (40, 48, 3), dtype=np.uint8) for name in views}


def questions(reader) -> list[Question]:
    seen = reader.see([moment(i) for i in range(4)])
    return [
        Question("push", seen[0], seen[1]),
        Question("push the puck to the goal", seen[0], seen[2], seen[1], 40),
        Question("push the puck to the goal", seen[0], seen[3], seen[2], 41),
        Question("push", seen[0], seen[3], seen[2], -100),
    ]


def says(reader, monkeypatch, reply: str) -> None:
    """Make the model write ``reply``, whatever it is asked."""
    ids = reader.tokenizer(reply + "<|im_end|>", add_special_tokens=False)["input_ids"]

    def generate(input_ids, **_):
        return torch.cat([input_ids, torch.tensor([ids] * len(input_ids))], dim=1)

    monkeypatch.setattr(reader.model, "generate", generate)


@torch.inference_mode()
def brute_force(reader, question: Question, reply: str) -> np.ndarray:
    """Log-probability of each answer up to where it is told apart, each read whole, no cache."""
    asked = reader._write(question)
    texts = [f"{reply}{n}%</answer>" for n in PROGRESS_VALUES]
    answers = [reader.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    counted = [
        next(k for k in range(1, 40) if sum(other[:k] == answer[:k] for other in answers) == 1)
        for answer in answers
    ]
    found, start = np.zeros(201), asked.inputs["input_ids"].shape[1]
    for length in {len(answer) for answer in answers}:  # No padding.
        group = [i for i, answer in enumerate(answers) if len(answer) == length]
        inputs = reader._network.batch([asked.inputs] * len(group), [answers[i] for i in group])
        for i, row in zip(group, reader.model(**inputs).logits.log_softmax(-1), strict=True):
            found[i] = sum(float(row[start + k - 1, answers[i][k]]) for k in range(counted[i]))
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_fast_read_equals_brute_force(readers, name):
    reader = readers[name]
    question = questions(reader)[1]
    scores = brute_force(reader, question, FAST)
    mean, spread = read_expectation(scores)
    answer = reader.ask([question], think=False)[0]
    assert answer.progress == pytest.approx(mean, abs=1e-3)
    assert answer.spread == pytest.approx(spread, abs=1e-3)
    shares = np.exp(scores) / np.exp(scores).sum()
    assert answer.success_probability == pytest.approx(shares[-3:].sum(), abs=1e-5)
    assert answer.reply == f"{FAST}{round(float(mean))}%</answer>"


@pytest.mark.parametrize("name", ["qwen3", "llava"])
def test_thinking_read_equals_brute_force_after_the_words(readers, name, monkeypatch):
    reader = readers[name]
    says(reader, monkeypatch, "<think>it moved.</think> <answer>-40%</answer>")
    question = questions(reader)[1]
    answer = reader.ask([question], think=True)[0]
    scores = brute_force(reader, question, "<think>it moved.</think> <answer>")
    assert answer.progress == pytest.approx(read_expectation(scores)[0], abs=1e-3)
    assert answer.reply == "<think>it moved.</think> <answer>-40%</answer>"
    assert answer.n_tokens == len(reader.tokenizer(answer.reply)["input_ids"]) + 1


def test_words_before_the_answer_change_what_is_read(readers, monkeypatch):
    reader = readers["qwen3"]
    question, read = questions(reader)[1], []
    for words in ("it moved.", "zzz"):
        says(reader, monkeypatch, f"<think>{words}</think><answer>1%</answer>")
        read.append(reader.ask([question], think=True)[0].progress)
    assert abs(read[0] - read[1]) > 1e-3


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_batched_answers_equal_single_ones(readers, name, think):
    reader = readers[name]
    asked = questions(reader)
    together = reader.ask(asked, think=think)
    alone = [reader.ask([q], think=think)[0] for q in asked]
    assert [a.reply for a in together] == [a.reply for a in alone]
    assert [a.n_tokens for a in together] == [a.n_tokens for a in alone]
    if not think:
        numbers = [[a.progress for a in answers] for answers in (together, alone)]
        np.testing.assert_allclose(*numbers, atol=1e-3)
        assert len({round(n, 4) for n in numbers[0]}) == len(asked)


def test_little_memory_changes_no_number(folders, readers):
    frugal = small(folders["qwen3"], max_batch=2, max_rows=6)
    rows, forward = [], frugal.model.forward

    def counting(input_ids, **inputs):
        rows.append(len(input_ids))
        return forward(input_ids=input_ids, **inputs)

    frugal.model.forward = counting
    assert frugal.ask([], think=False) == []
    a, b = (r.ask(questions(r), think=False) for r in (frugal, readers["qwen3"]))
    np.testing.assert_allclose([x.progress for x in a], [x.progress for x in b], atol=1e-3)
    assert max(rows) == 6


def test_thinking_batch_keeps_replies_of_different_lengths_apart(readers, monkeypatch):
    reader = readers["qwen3"]
    replies = [("<think>it moved.</think><answer>3%</answer>", 9), ("no answer", 2)] * 2
    monkeypatch.setattr(reader, "_generate", lambda asked: replies[: len(asked)])
    answers = reader.ask(questions(reader), think=True)
    assert [a.progress is None for a in answers] == [False, True, False, True]
    assert [a.reply for a in answers] == [text for text, _ in replies]


@pytest.mark.parametrize("name", MAKERS)
def test_reward_model_keeps_the_contract(readers, name):
    episodes = [make_example_episode(n, 40, seed=n, truth=False) for n in (3, 4)]
    check_reward_model(SoleRewardModel(readers[name]), episodes)


def test_sampled_reward_model_keeps_the_contract(folders, monkeypatch):
    reader = small(folders["llava"], preset="published", max_batch=2)
    model = SoleRewardModel(reader, Decoding(think=True, from_zero_weight=0.0))
    check_reward_model(model, [make_example_episode(n, 40, seed=n, truth=False) for n in (2, 3)])
    assert model.costs.generated_tokens > model.costs.model_calls
    says(reader, monkeypatch, "<think>it moved.</think><answer>40%</answer>")
    step = model.score([make_example_episode(2, 40, truth=False)])[0].steps[1]
    assert (step.progress, step.reasoning) == (40.0, "it moved.")
    assert step.uncertainty is None
    assert step.success_probability is None


def test_sampling_follows_the_seed_and_not_the_batch(folders):
    replies = []
    for seed in (0, 0, 1):
        reader = small(folders["qwen3"], preset="published", seed=seed)
        replies.append([a.reply for a in reader.ask(questions(reader), think=True)])
    turned = [a.reply for a in reader.ask(questions(reader)[::-1], think=True)][::-1]
    assert replies[0] == replies[1] != replies[2]
    assert turned == replies[2]


def test_draws_follow_the_softmax():
    scores = torch.tensor([0.5, 0.3, 0.2, 0.0]).log()
    n = 4000
    drawn = SeededDraw(range(n))(torch.zeros(n, 1), scores.repeat(n, 1)).argmax(-1)
    shares = torch.bincount(drawn, minlength=4) / n
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2, 0.0], atol=0.03)
    assert shares[3] == 0


@pytest.mark.parametrize(
    ("name", "views", "patches"),
    [
        # 1176 x 784 as Qwen2.5-VL sees it, and 1184 x 768 of what Qwen3-VL's factor 32 makes of it.
        ("qwen2_5", ("external", "wrist"), [1, 784 // 14, 1176 // 14]),
        ("qwen3", ("external", "wrist"), [1, 768 // 16, 1184 // 16]),
        ("qwen2_5", ("external",), [1, 392 // 14, 1176 // 14]),
    ],
)
def test_published_picture_has_the_released_size(folders, name, views, patches):
    reader = TransformersReader(str(folders[name]), preset="published", device="cpu")
    seen = reader.see([moment(i, views) for i in range(3)])
    inputs = reader._write(Question("push", seen[0], seen[2], seen[1], 5)).inputs
    assert inputs["image_grid_thw"].tolist() == [patches]
    image_token = reader.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert int((inputs["input_ids"] == image_token).sum()) == patches[1] * patches[2] // 4
    if name == "qwen3":
        assert patches[1] * patches[2] // 4 == 888  # research/sole_r1.md a.2


def test_published_question_has_the_released_words_and_sampling(folders):
    reader = TransformersReader(str(folders["qwen3"]), preset="published", device="cpu")
    question = questions(reader)[1]
    prompt = reader._prompt(question, ("external", "wrist"))
    assert prompt.startswith("<|im_start|>system\nYou are an expert roboticist with the goal of ")
    assert "<answer>[current task progress]%</answer><|im_end|>\n<|im_start|>user\n" in prompt
    assert "<|vision_end|>Here is an image containing multiple camera views" in prompt
    assert "The task progress for the previous timestep is 40%. Predict" in prompt
    assert prompt.endswith("<|im_start|>assistant\n")
    sampling = reader.preset.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (1.0, 50, 0.9)
    assert reader.preset.max_new_tokens == 200
    assert reader.model.generation_config.do_sample is False
    assert reader.model.generation_config.temperature is None


@pytest.mark.parametrize("digits", [1, 3])
@pytest.mark.parametrize("reply", [FAST, "<think>x.</think>\n<answer> ", "<ANSWER>"])
def test_a_tree_spells_every_answer(digits, reply):
    tokenizer = make_tokenizer(TEMPLATE, digits)
    tree = grow_tree(tokenizer, reply)
    spelt = set()
    for value, steps in zip(PROGRESS_VALUES, tree.steps, strict=True):
        tokens = [*tree.shared, *(token for _, _, token in steps)]
        whole = tokenizer(f"{reply}{value}%</answer>", add_special_tokens=False)["input_ids"]
        assert whole[: len(tokens)] == tokens
        for row, depth, _ in steps:
            before = tree.branches[row][:depth] if tree.branches else ()
            assert list(before) == tokens[len(tree.shared) : len(tree.shared) + depth]
        spelt.add(tuple(tokens))
    assert len(spelt) == 201


def test_a_tokenizer_that_writes_numbers_alike_is_refused():
    def blind(texts, **_):
        return {"input_ids": [[1, 2, 3] for _ in texts]}

    with pytest.raises(ModelError, match=r"writes -100% and -99% alike.*:published"):
        grow_tree(blind, FAST)


def test_a_template_that_drops_the_system_message_is_refused(folders):
    reader = small(folders["qwen3"])
    reader.processor.chat_template = TEMPLATE.replace(
        "{% for m in messages %}", "{% for m in messages if m.role == 'user' %}"
    )
    with pytest.raises(ModelError, match="leaves out part of the question"):
        reader.ask(questions(reader), think=False)


def test_a_template_that_refuses_is_one_line(folders):
    reader = small(folders["qwen3"])
    reader.processor.chat_template = "{{ raise_exception('no system messages') }}"
    with pytest.raises(ModelError, match=r"chat template refuses \(no system messages\)"):
        reader.ask(questions(reader), think=False)


def test_wrong_number_of_image_tokens_is_one_line(folders):
    reader = small(folders["qwen3"])
    reader.processor.image_processor.merge_size = 4
    with pytest.raises(ModelError, match="Image features and image tokens do not match"):
        reader.ask(questions(reader)[:1], think=False)


def test_published_does_not_answer_without_thinking(folders):
    reader = small(folders["llava"], preset="published")
    with pytest.raises(ModelError, match="always thinks"):
        reader.ask(questions(reader), think=False)


def test_identity_names_the_weights_and_the_preset(folders, tmp_path):
    one, same = (small(folders["llava"]).model_id for _ in range(2))
    other = small(make_tiny_llava(tmp_path / folders["llava"].name, seed=1)).model_id
    sampled = small(folders["llava"], preset="published", seed=3).model_id
    assert one == same != other
    assert one.endswith("/robust")
    assert sampled == one.replace("/robust", "/published/s3")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"preset": "best"}, "robust, published"),
        ({"dtype": "int4"}, "auto, bfloat16"),
        ({"device": "gpu"}, "auto, cpu, cuda or mps"),
        ({"max_batch": 0}, ">= 1"),
        ({"revision": "main"}, "no revisions"),
    ],
)
def test_a_wrong_setting_is_refused(folders, settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TransformersReader(str(folders["llava"]), **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_refused(folders):
    with pytest.raises(ConfigError, match="this machine has none"):
        TransformersReader(str(folders["llava"]), device="cuda")


def test_one_door_opens_a_folder_by_its_model_type(folders):
    model = load_reward_model(str(folders["llava"]), device="cpu", from_zero_weight=0.5, every=2)
    assert isinstance(model.reader, TransformersReader)
    assert model.model_id.endswith("/robust/fast/z0.5/e2")
    model = load_reward_model(f"{folders['llava']}:published", think="always", seed=4)
    assert model.model_id.endswith("/published/s4/think/z0/e1")


@pytest.mark.parametrize(
    "options", [{"think": "fast"}, {"think": "always", "from_zero_weight": 0.25}]
)
def test_published_refuses_to_be_read_in_another_way(folders, options):
    with pytest.raises(ConfigError, match=r"add --think .*--from-zero-weight 0"):
        load_reward_model(f"{folders['llava']}:published", **options)


def test_an_unknown_preset_is_refused(folders):
    with pytest.raises(ConfigError, match=r"no preset 'best'; expected :robust or :published"):
        load_reward_model(f"{folders['llava']}:best")


def test_a_name_is_taken_apart(tmp_path):
    assert parse_name("a/b@v1.2:robust") == ModelName("a/b", "v1.2", "robust")
    assert parse_name("a/b:published") == ModelName("a/b", None, "published")
    odd = tmp_path / "run@3:best"
    odd.mkdir()
    assert parse_name(str(odd)) == ModelName(str(odd))


def test_a_model_without_pictures_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="a llama does not answer questions about pictures"):
        load_reward_model(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [("{", "cannot be read"), ("[]", "names no model_type"), ("{}", "names no model_type")],
)
def test_a_broken_configuration_is_refused(tmp_path, config, complaint):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigError, match=complaint):
        load_reward_model(str(tmp_path))


def test_an_unknown_architecture_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "martian_vl"}')
    with pytest.raises(ModelError, match="martian_vl") as caught:
        load_reward_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_weights_is_refused(folders, tmp_path):
    for path in folders["llava"].iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=r"no file named model\.safetensors") as caught:
        load_reward_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_picture_processor_is_refused(folders, tmp_path):
    for path in folders["qwen3"].iterdir():
        if path.name != "preprocessor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=r"preprocessor_config\.json|image processor") as caught:
        load_reward_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def answering(error):
    def download(*_, **__):
        raise error

    return download


def refused(kind, status=404):
    request = httpx.Request("GET", "https://huggingface.co/no/such")
    return kind("said so", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "expected", "complaint"),
    [
        (refused(RepositoryNotFoundError), ConfigError, "no such folder, and Hugging Face has no"),
        (refused(GatedRepoError, 403), ModelError, "access by request"),
        (LocalEntryNotFoundError("x"), ModelError, "cannot be reached to download"),
        (httpx.ConnectError("x"), ModelError, r"cannot be reached \(ConnectError\)"),
    ],
)
def test_a_name_that_cannot_be_had_is_one_line(monkeypatch, error, expected, complaint):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answering(error))
    with pytest.raises(expected, match=complaint) as caught:
        load_reward_model("no/such")
    assert type(caught.value) is expected
    assert str(caught.value).startswith("model no/such: ")
    assert "\n" not in str(caught.value)


def test_a_processor_that_needs_torchvision_says_how_to_get_it(folders, monkeypatch):
    def needs(*_, **__):
        raise ImportError("\nFooVideoProcessor requires the Torchvision library but it was not")

    monkeypatch.setattr(loading, "_open_processor", needs)
    with pytest.raises(ModelError, match=r"needs the package torchvision.*none for the CPU build"):
        load_reward_model(str(folders["llava"]))


def test_published_commit_is_part_of_the_identity(folders, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "models--lab--judge"
    snapshot = cache / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    for path in folders["llava"].iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model = load_reward_model("lab/judge", device="cpu")
    assert model.model_id.startswith("lab/judge@0123456789/robust/")
    assert json.loads((snapshot / "config.json").read_text())["model_type"] == "llava"


QWEN3_VL = {  # Published shapes: width, layers, MLP, heads, tied embeddings, vision.
    "2B": (2048, 28, 6144, 16, True, (24, 1024, 4096)),
    "4B": (2560, 36, 9728, 32, True, (24, 1024, 4096)),
    "8B": (4096, 36, 12288, 32, False, (27, 1152, 4304)),
}


@pytest.mark.parametrize("size", QWEN3_VL)
def test_the_memory_table_is_what_the_shapes_say(size):
    width, layers, mlp, heads, tied, (depth, vision_width, vision_mlp) = QWEN3_VL[size]
    config = Qwen3VLConfig(
        text_config={
            "hidden_size": width, "num_hidden_layers": layers, "intermediate_size": mlp,
            "num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936, "tie_word_embeddings": tied,
        },
        vision_config={
            "depth": depth, "hidden_size": vision_width, "intermediate_size": vision_mlp,
            "out_hidden_size": width,
        },
        tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.device("meta"):
        n = sum(p.numel() for p in Qwen3VLForConditionalGeneration(config).parameters())
    cache_mb = 2 * layers * 8 * 128 * 2 / 1e6
    row = f"{n / 1e9:.2f} billion | {n * 2 / 1e9:.1f} GB | {n * 4 / 1e9:.1f} GB | {cache_mb:.3f} MB"
    table = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    assert row in next(line for line in table.splitlines() if f"| Qwen3-VL-{size}" in line)
