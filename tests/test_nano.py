"""nano: tokenizer, network, processor and reader, with a random tiny model."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXTS, make_tiny_nano
from transformers import AutoConfig, AutoModelForImageTextToText

from sole.data.episode import make_example_episode
from sole.errors import BadInputError, ModelError
from sole.models.base import Question
from sole.models.nano import SoleNanoImageProcessor, SoleNanoProcessor
from sole.models.nano.encoder import TileEncoder, load_imagenet
from sole.models.nano.reader import WEIGHTS, NanoReader, prompt_text, question_text
from sole.models.nano.tokenizer import NUMBERS, SPECIAL_TOKENS, train_tokenizer
from sole.protocol.composite import NANO, compose
from sole.rewarders.check import check_reward_model
from sole.rewarders.sole import Decoding, SoleRewardModel

TOKENIZER = train_tokenizer(TEXTS * 3, 600)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> NanoReader:
    return NanoReader(make_tiny_nano(tmp_path_factory.mktemp("tiny")))


def moment(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for name in ("external", "wrist")
    }


@given(st.integers(-100, 100))
def test_every_integer_is_one_token_whatever_stands_around_it(n):
    ids = TOKENIZER.encode(f"<answer>{n}%</answer>", add_special_tokens=False)
    assert TOKENIZER.convert_ids_to_tokens(ids) == ["<answer>", str(n), "%", "</answer>"]


def test_number_tokens_are_contiguous():
    ids = TOKENIZER.convert_tokens_to_ids(list(NUMBERS))
    assert ids == list(range(ids[0], ids[0] + 201))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_survives_encoding(text):
    if "<" not in text:
        assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


def test_checkpoint_opens_through_the_auto_classes(tmp_path):
    folder = make_tiny_nano(tmp_path)
    assert AutoConfig.from_pretrained(folder).model_type == "sole_nano"
    assert type(AutoModelForImageTextToText.from_pretrained(folder)).__name__.startswith("SoleNano")


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_no_task_holds_a_token_of_nano(reader, token):
    with pytest.raises(BadInputError, match="control token"):
        prompt_text(reader.tokenizer, f"pick the {token.upper()} cube", 10, 4)


def test_only_the_templates_own_placeholder_is_a_picture(reader):
    text = question_text(reader.tokenizer, "is the <image> red?", 4)
    assert text == "<s>" + "<image>" * 4 + "is the <image> red?"


def test_composite_picture_and_cached_tiles_give_the_same_logits(reader):
    first, previous, current = (moment(i) for i in range(3))
    picture = compose(first, previous, current, NANO)
    processor = SoleNanoProcessor(SoleNanoImageProcessor(), reader.tokenizer)
    text = prompt_text(reader.tokenizer, "push the puck", 10, 1)
    inputs = processor(images=[picture], text=text)
    with torch.inference_mode():
        by_picture = reader.model(**inputs).logits[:, -1]
    seen = reader.see([first, previous, current])
    question = Question("push the puck", seen[0], seen[2], seen[1], 10)
    with torch.inference_mode():
        by_tiles = reader.model(**reader._inputs([question], "")).logits[:, -1]
    torch.testing.assert_close(by_picture, by_tiles, atol=1e-4, rtol=1e-4)


def test_from_zero_picture_marks_the_middle_column_absent():
    picture = compose(moment(0), None, moment(1), NANO)
    out = SoleNanoImageProcessor()(picture)
    assert out["tile_mask"][0].tolist() == [True, False, True, True, False, True]


def test_picture_of_another_geometry_is_refused():
    with pytest.raises(ValueError, match="composite"):
        SoleNanoImageProcessor()(np.zeros((100, 300, 3), np.uint8))


def test_batched_answers_equal_single_ones(reader):
    seen = reader.see([moment(i) for i in range(4)])
    questions = [
        Question("push", seen[0], seen[1]),
        Question("push the puck to the goal", seen[0], seen[2], seen[1], 40),
        Question("push", seen[0], seen[3], seen[2], -3),
    ]
    together = reader.ask(questions, think=False)
    alone = [reader.ask([q], think=False)[0] for q in questions]
    for a, b in zip(together, alone, strict=True):
        assert a.progress == pytest.approx(b.progress, abs=1e-3)


def test_placeholder_mismatch_is_an_error(reader):
    with pytest.raises(ValueError, match="placeholders"):
        reader.model(
            input_ids=torch.tensor([[1, 3, 3]]),
            pixel_values=torch.zeros(1, 6, 3, 96, 96, dtype=torch.uint8),
        )


def test_thinking_reply_of_a_random_model_is_an_error_not_a_number(reader):
    model = SoleRewardModel(reader, Decoding(think=True))
    score = model.score([make_example_episode(3, 96)])[0]
    assert len(score.steps) == 3
    assert score.n_errors == model.costs.parse_failures


def test_reward_model_keeps_the_contract(reader):
    episodes = [make_example_episode(n, 96, seed=n, truth=False) for n in (3, 5, 4)]
    check_reward_model(SoleRewardModel(reader), episodes)


def test_session_equals_whole_episode(reader):
    model, episode = SoleRewardModel(reader), make_example_episode(5, 96, truth=False)
    session = model.start(episode.task)
    stepped = [session.step({k: v[t] for k, v in episode.views.items()}).progress for t in range(5)]
    np.testing.assert_allclose(stepped, model.score([episode])[0].judged_progress, atol=1e-3)


def test_skipped_frames_are_interpolated_and_marked(reader):
    model = SoleRewardModel(reader, Decoding(every=2))
    steps = model.score([make_example_episode(5, 96, truth=False)])[0].steps
    assert [s.scored for s in steps] == [True, False, True, False, True]
    assert steps[1].progress == pytest.approx((steps[0].progress + steps[2].progress) / 2)


def test_the_model_card_has_the_hash_of_the_weights_that_ship():
    card = (Path(__file__).parents[1] / "docs" / "nano.md").read_text()
    assert hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest() in card


def test_missing_weights_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(ModelError, match="no nano weights"):
        NanoReader(tmp_path)


def test_imagenet_weights_make_the_encoder_see():
    torch.manual_seed(0)
    encoder = TileEncoder()
    load_imagenet(encoder)
    picture = torch.zeros(1, 3, 96, 96)
    picture[..., 48:] = 255.0
    with torch.inference_mode():
        out = encoder(picture)
    assert torch.isfinite(out).all()
    assert out.std() > 0.1


def test_frozen_blocks_do_not_learn():
    encoder = TileEncoder()
    encoder.freeze_first(3)
    frozen = {
        n.split(".")[0] + n.split(".")[1]
        for n, p in encoder.named_parameters()
        if not p.requires_grad
    }
    assert frozen == {"stemweight", "stembias", "blocks0", "blocks1", "blocks2"}


def test_frozen_blocks_change_neither_the_maps_nor_the_other_gradients():
    """What needs no gradient goes through the eye some pictures at a time; nobody may notice."""
    torch.manual_seed(0)
    encoder = TileEncoder()
    load_imagenet(encoder)  # random weights hardly tell pictures apart
    tiles = torch.randint(0, 256, (18, 3, 96, 96), dtype=torch.uint8)  # more than one piece
    tiles[::2] //= 4
    whole = encoder(tiles)
    assert (whole[0] - whole[17]).abs().max() > 0.1
    whole.square().mean().backward()
    wanted = [p.grad for p in encoder.blocks[3:].parameters()]
    encoder.zero_grad(set_to_none=True)
    encoder.freeze_first(3)
    pieces = encoder(tiles)
    pieces.square().mean().backward()
    assert torch.allclose(pieces, whole, atol=1e-4)
    for parameter, gradient in zip(encoder.blocks[3:].parameters(), wanted, strict=True):
        assert gradient.norm() > 0
        assert (parameter.grad - gradient).norm() < 1e-3 * gradient.norm()
    with torch.no_grad():
        assert torch.allclose(encoder(tiles), whole, atol=1e-4)
        assert encoder(tiles[:0]).shape == (0, *whole.shape[1:])


def test_pictures_that_ask_for_a_gradient_get_one():
    encoder = TileEncoder()
    encoder.freeze_first(len(encoder.blocks))
    tiles = torch.full((1, 3, 96, 96), 100.0, requires_grad=True)
    encoder(tiles).sum().backward()
    assert tiles.grad is not None
    assert tiles.grad.abs().sum() > 0
