"""Ablations: which episodes each trains on, how results become figures and a page, one tiny run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sole.ablate.command import QUESTION_SHARE, load_ablations, main, page
from sole.ablate.config import AblateConfig, AblationConfig
from sole.ablate.train import chosen
from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.errors import ConfigError, SoleError
from sole.evals.figures import check_quotes
from sole.train.sft import SftConfig

PRESETS = sorted((Path(__file__).parents[1] / "presets").glob("ablation-*.toml"))
ROWS = [
    [
        {"env_name": "worlds/drawer-open", "policy": "expert"},
        {"env_name": "worlds/drawer-close", "policy": "random"},
        {"env_name": "metaworld/door-open", "policy": "expert"},
    ],
    [{"env_name": "worlds/drawer-open", "policy": "agent"}],
]


def ablation(**changes) -> AblationConfig:
    return AblationConfig(name="one", about="one", **changes)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, [[0, 1, 2], [0]]),
        ({"policies": ("expert",)}, [[0, 2], []]),
        ({"families": ("drawer",)}, [[0, 1], [0]]),
        ({"families": ("drawer",), "policies": ("random",)}, [[1], []]),
    ],
)
def test_only_fitting_episodes_are_trained_on(changes, wanted):
    assert chosen(ROWS, ablation(negative_share=0.5, **changes), 0, tiny=False) == wanted


@pytest.mark.parametrize(("n_usual", "wanted"), [(200, (75, 25)), (30, (30, 10)), (0, None)])
def test_hard_negatives_have_one_share_however_few_other_episodes_there_are(n_usual, wanted):
    rows = [
        [{"env_name": "worlds/drawer-open", "policy": "expert"}] * n_usual,
        [{"env_name": "worlds/drawer-open", "policy": "agent"}] * 90,
    ]
    if wanted is None:
        with pytest.raises(ConfigError, match="no episode"):
            chosen(rows, ablation(n_episodes=100), 0, tiny=False)
        return
    drawn = chosen(rows, ablation(n_episodes=100), 0, tiny=False)
    assert tuple(map(len, drawn)) == wanted


def test_as_many_episodes_are_drawn_whatever_is_left_out_and_seeds_differ():
    rows = [[{"env_name": "worlds/drawer-open", "policy": "expert"}] * 40] * 2
    one, two = (chosen(rows, ablation(n_episodes=30), seed, tiny=False) for seed in (0, 1))
    assert [sum(map(len, drawn)) for drawn in (one, two)] == [30, 30]
    assert one != two
    assert one == chosen(rows, ablation(n_episodes=30), 0, tiny=False)


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(ConfigError, match="no episode"):
        chosen(ROWS, ablation(families=("lid",)), 0, tiny=False)


def test_the_presets_leave_out_one_part_each_and_nothing_else_but_what_replaces_it():
    found = {one.name: one for one in load_ablations(PRESETS)}
    whole = found.pop("full")
    assert whole == AblationConfig(name="full", about=whole.about)
    changed = {
        name: {k for k, v in one if v != getattr(whole, k)} - {"name", "about"}
        for name, one in found.items()
    }
    assert changed["no_reasoning"] == {"think_share"}
    assert changed["no_negatives"] == {"negatives"}
    assert changed["no_nonexpert"] == {"policies", "negatives"}
    assert changed["no_dropout"] == {"example_settings"}
    assert changed["no_rlvr"] == {"sft_steps", "rlvr_steps"}
    numbers = [len(found[f"families_{n}"].families) for n in (1, 3, 5, 7)]
    assert numbers == [1, 3, 5, 7]


def test_the_page_quotes_the_figures_and_says_what_was_not_measured():
    ablations = load_ablations(PRESETS)[-3:-1]  # of two seeds
    config = AblateConfig(presets=tuple(PRESETS))
    values = {"spearman": 0.519, "auc": 0.7, "hacked": None}
    figures = {
        f"ablation.{one.name}.{k}": {"value": v, "unit": "", "low": 0.41, "high": 0.61}
        for one in ablations
        for k, v in values.items()
    }
    text = page(config, ablations, figures)
    assert check_quotes(text, figures) == []
    assert [text.count(shown) for shown in (">0.52<", ">0.41<", ">0.61<")] == [2, 6, 6]
    single = page(config.model_copy(update={"seeds": 1}), ablations, figures)
    assert [single.count(shown) for shown in (">0.52<", ">0.41<", ">0.61<")] == [2, 0, 0]
    assert text.count("not measured") == 2
    assert all(one.about in text for one in ablations)


@pytest.mark.parametrize(
    ("line", "flags", "said"),
    [
        ("[example_settings]\nunstatd_share = 0.0", [], "no unstatd_share"),
        ("negatives = ['agnts']", [], "agnts"),
        ("families = ['lid']", [], "no episode"),
        ("", ["--rl-tasks", "metaworld/psh"], "no task 'metaworld/psh'"),
    ],
)
def test_what_a_later_ablation_would_stop_at_is_noticed_before_the_first(
    tmp_path, monkeypatch, line, flags, said
):
    def never(*_):
        raise AssertionError("a training began")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sole.ablate.train.train", never)
    with EpisodeWriter(tmp_path / "data", fps=10) as writer:
        episode = make_example_episode(6, 96)
        writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))
    for name, more in (("one", ""), ("two", line)):
        text = f"name = '{name}'\nabout = ''\ndata = ['data']\n"
        text += more if "negatives" in more else f"negatives = []\n{more}"
        Path(f"{name}.toml").write_text(text)
    with pytest.raises(SoleError, match=said):
        main(["one.toml", "two.toml", *flags])


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    """Two ablations whose trainings are only counted; the list of what was trained."""
    monkeypatch.chdir(tmp_path)
    with EpisodeWriter(tmp_path / "data", fps=10) as writer:
        episode = make_example_episode(6, 96)
        writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))
    for name in ("one", "two"):
        text = f"name = '{name}'\nabout = ''\ndata = ['data']\nnegatives = []\n"
        Path(f"{name}.toml").write_text(text)
    trained = []

    def train(config, ablation, seed, folder):
        assert folder.is_dir()
        trained.append((ablation.name, seed))
        return folder

    monkeypatch.setattr("sole.ablate.train.train", train)
    monkeypatch.setattr(
        "sole.ablate.train._quality", lambda *_: {"spearman": len(trained) / 10, "auc": 0.5}
    )
    monkeypatch.setattr("sole.ablate.train._hacked", lambda *_: 0.0)
    return trained


def test_kept_results_are_not_trained_again_where_their_folders_are_gone(tmp_path, trainings):
    flags = ["--raw", "raw/kept.json", "--seeds", "2", "--figures"]
    assert main(["one.toml", *flags, "one.json"]) == 0
    assert trainings == [("one", 0), ("one", 1)]
    shutil.rmtree("runs")
    Path("data").rename("gone")
    assert main(["one.toml", *flags, "again.json"]) == 0  # a finished one needs no data either
    Path("gone").rename("data")
    assert main(["one.toml", "two.toml", *flags, "both.json"]) == 0
    assert trainings == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    read = [json.loads(Path(f"{name}.json").read_text()) for name in ("one", "again", "both")]
    values = [{f["name"]: (f["value"], f["low"], f["high"]) for f in found} for found in read]
    assert values[0] == values[1]
    assert values[0].items() <= values[2].items()
    assert values[2]["ablation.two.spearman"] == pytest.approx((0.35, 0.3, 0.4))


def test_kept_results_of_other_settings_and_other_files_are_refused(trainings):
    assert main(["one.toml", "--raw", "kept.json", "--seeds", "1"]) == 0
    shutil.rmtree("runs")
    with pytest.raises(ConfigError, match=r"kept\.json: one, seed 0, .*choose another --raw"):
        main(["one.toml", "--raw", "kept.json", "--seeds", "1", "--rl-episodes", "3"])
    asked = json.loads(Path("kept.json").read_text())["one/seed0"]["asked"]
    half = json.dumps({"one/seed0": {"asked": asked, "result": {}}})
    for text in ("", "[]", '{"one": {}}', '{"one/seed0": 3}', half):
        Path("kept.json").write_text(text)
        with pytest.raises(SoleError, match=r"kept\.json: not a file of sole ablate --raw"):
            main(["one.toml", "--raw", "kept.json", "--seeds", "1"])
    assert trainings == [("one", 0)]


def test_a_kept_result_is_not_replaced_by_one_of_other_settings(trainings):
    flags = ["one.toml", "--seeds", "1"]
    assert main([*flags, "--raw", "kept.json"]) == 0
    before = Path("kept.json").read_bytes()
    assert main([*flags, "--out", "runs/tiny", "--tiny"]) == 0
    with pytest.raises(ConfigError, match="other settings"):
        main([*flags, "--out", "runs/tiny", "--tiny", "--raw", "kept.json"])
    assert Path("kept.json").read_bytes() == before


def test_kept_results_of_other_data_are_refused_and_a_newer_setting_had_its_default(trainings):
    flags = ["--raw", "kept.json", "--seeds", "1"]
    assert main(["one.toml", *flags]) == 0
    kept = json.loads(Path("kept.json").read_text())
    del kept["one/seed0"]["asked"]["ablation"]["rlvr_steps"]
    Path("kept.json").write_text(json.dumps(kept))
    shutil.rmtree("runs")
    assert main(["one.toml", *flags]) == 0
    assert trainings == [("one", 0)]
    grown(Path("data"))
    with pytest.raises(ConfigError, match=r"kept\.json: one/seed0 was trained on other data"):
        main(["two.toml", *flags])


def grown(folder: Path) -> None:
    with EpisodeWriter(folder, fps=10, resume=True) as writer:
        episode = make_example_episode(6, 96, seed=3)
        writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: Path("one.toml").write_text(Path("one.toml").read_text() + "sft_steps = 3\n"),
         "begun with other settings"),
        (lambda: grown(Path("data")), "begun with other data in data"),
    ],
)  # fmt: skip
def test_a_killed_training_is_not_continued_with_other_settings_or_data(
    trainings, monkeypatch, change, said
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sole.ablate.train._quality", killed)
        with pytest.raises(KeyboardInterrupt):
            main(["one.toml", "--seeds", "1"])
    assert trainings == [("one", 0)]
    before = Path("one.toml").read_text()
    change()
    with pytest.raises(ConfigError, match=said):
        main(["two.toml", "one.toml", "--seeds", "1"])  # said before the other one is trained
    assert trainings == [("one", 0)]
    if Path("one.toml").read_text() != before:
        Path("one.toml").write_text(before)
        assert main(["one.toml", "--seeds", "1"]) == 0
        assert trainings == [("one", 0)] * 2


def test_a_page_without_a_file_of_figures_has_the_numbers_too(trainings):
    assert main(["one.toml", "--seeds", "1", "--page", "new/page.md"]) == 0
    text = Path("new/page.md").read_text()
    assert ">0.10<" in text
    assert "?" not in text


@pytest.mark.parametrize("flag", ["--raw", "--figures", "--page", "--out"])
def test_a_place_that_cannot_be_written_to_is_named_before_the_first_training(trainings, flag):
    Path("file").write_text("")
    where = "file" if flag == "--out" else "file/it"
    with pytest.raises(ConfigError, match=r"file.*cannot be made"):
        main(["one.toml", flag, where])
    assert trainings == []


def test_the_page_says_which_rows_have_other_steps_and_what_the_shipped_model_had_not():
    ablations = load_ablations(PRESETS)
    text = page(AblateConfig(presets=tuple(PRESETS)), ablations, {})
    odd = [one for one in ablations if (one.sft_steps, one.rlvr_steps) != (250, 20)]
    assert [one.name for one in odd] == ["no_rlvr"]
    assert "Rows have 250 supervised steps and then 20 by verifiable rewards." in text
    assert f'"{odd[0].about}" has 360 and 0.' in text
    assert "the same in every row" not in text
    assert SftConfig.model_fields["question_share"].default == QUESTION_SHARE
    assert f"`question_share` {QUESTION_SHARE}" in text


@pytest.mark.slow
def test_a_tiny_ablation_is_trained_measured_recorded_and_not_done_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with EpisodeWriter(tmp_path / "data", fps=10) as writer:
        for seed in range(4):
            episode = make_example_episode(6, 96, seed=seed)
            writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))
    preset = tmp_path / "ablation-one.toml"
    preset.write_text('name = "one"\nabout = "one"\ndata = ["data"]\nnegatives = []\n')
    words = [str(preset), "--tiny", "--seeds", "1", "--tasks", "metaworld/push",
             "--episodes-per-task", "3", "--rl-tasks", "metaworld/push", "--rl-episodes", "2",
             "--figures", "figures.json", "--page", "page.md", "--threads", "1"]  # fmt: skip
    assert main(words) == 0
    found = {f["name"]: f["value"] for f in json.loads(Path("figures.json").read_text())}
    assert set(found) == {f"ablation.one.{m}" for m in ("spearman", "auc", "hacked")}
    assert found["ablation.one.hacked"] in (0.0, 1.0)
    assert "fig:ablation.one.auc" in Path("page.md").read_text()
    trained = Path("runs/ablations/one/seed0/rlvr/model/model.safetensors")
    before = trained.stat().st_mtime_ns
    assert main(words) == 0
    assert trained.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="other settings"):
        main([*words, "--episodes-per-task", "4"])
