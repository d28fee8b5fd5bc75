"""sole doctor: each fault is found, named and comes with the command that mends it."""

import io
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from sole import doctor
from sole.doctor import Finding

ROOT = Path(__file__).parents[1]
HEALTHY = Finding("torch", "works", "2.13.0", core=True)
BROKEN = Finding("video codec", "broken", "no H.264", "mend --it", core=True)
ABSENT = Finding("extra rl", "missing", "without tensorboard", "pip install tensorboard")


def without(monkeypatch, *modules):
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: None if name in modules else real(name)
    )


def answering(monkeypatch, answers):
    """Replace the process runner: OpenGL backend (or "") -> (exit code, output)."""
    monkeypatch.setattr(
        doctor, "_run_python", lambda program, limit_s, env: answers[env.get("MUJOCO_GL", "")]
    )


def report(monkeypatch, capsys, findings, *flags):
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    return doctor.main(list(flags)), capsys.readouterr().out


def test_extras_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for told_elsewhere in ("dev", "local"):
        extras.pop(told_elsewhere)
    theirs = {
        name: {line for line in lines if not line.startswith("sole-rewards")}
        for name, lines in extras.items()
    }
    assert theirs == {name: set(needs.values()) for name, needs in doctor.EXTRAS.items()}


def test_core_libraries_are_those_of_pyproject_but_for_the_pin_of_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = set(doctor.CORE_LIBRARIES.values()) - {"torch==2.13.0"}
    assert ours <= set(project["optional-dependencies"]["local"])


def test_apt_packages_are_those_of_the_makefile():
    (line,) = re.findall(r"^APT := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert tuple(line.split()) == doctor.APT_PACKAGES


def test_a_healthy_machine_exits_with_0(monkeypatch, capsys):
    assert report(monkeypatch, capsys, [HEALTHY])[0] == 0


def test_a_broken_core_part_exits_with_1_and_shows_the_mend_on_one_line(monkeypatch, capsys):
    code, out = report(monkeypatch, capsys, [HEALTHY, BROKEN])
    assert code == 1
    assert "  mend --it\n" in out


def test_a_missing_extra_is_shown_but_no_failure(monkeypatch, capsys):
    code, out = report(monkeypatch, capsys, [HEALTHY, ABSENT])
    assert code == 0
    assert "pip install tensorboard" in out


def test_json_says_the_same_for_machines(monkeypatch, capsys):
    code, out = report(monkeypatch, capsys, [HEALTHY, BROKEN], "--json")
    told = json.loads(out)
    assert code == 1
    assert told["healthy"] is False
    assert [f["mend"] for f in told["findings"]] == ["", "mend --it"]


def test_square_brackets_in_a_detail_are_shown_as_they_are():
    stream = io.StringIO()
    doctor.show([Finding("x", "works", "array [red] of 3")], Console(file=stream, width=80))
    assert "array [red] of 3" in stream.getvalue()


def test_this_machine_renders_a_picture():
    found = doctor.find_rendering()
    assert found.state == "works", found
    assert re.match(r"(osmesa|egl|glfw) \(", found.detail)


def test_without_mujoco_rendering_is_missing_and_pip_mends_it(monkeypatch):
    without(monkeypatch, "mujoco")
    found = doctor.find_rendering()
    assert (found.state, found.core) == ("missing", False)
    assert '"mujoco==3.3.0"' in found.mend


def test_when_only_the_other_backend_draws_the_mend_selects_it(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    answering(monkeypatch, {"osmesa": (1, "no libOSMesa"), "egl": (0, "egl 1.0")})
    found = doctor.find_rendering()
    assert (found.state, found.mend) == ("broken", "export MUJOCO_GL=egl")


@pytest.mark.parametrize(
    ("user", "start"), [(0, "apt-get install"), (1000, "sudo apt-get install")]
)
def test_when_nothing_draws_the_mend_is_the_apt_command(monkeypatch, user, start):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.os, "geteuid", lambda: user)
    answering(monkeypatch, {"osmesa": (1, "Traceback\nImportError: gone"), "egl": (1, "no")})
    found = doctor.find_rendering()
    assert found.detail == "osmesa: ImportError: gone"
    assert found.mend.startswith(start)
    assert "libosmesa6" in found.mend


def test_a_program_that_hangs_is_stopped_and_reported():
    code, out = doctor._run_python("import time; time.sleep(60)", 0.5, {})
    assert code != 0
    assert "no answer" in out


def test_a_program_that_crashes_is_reported_not_raised():
    assert doctor._run_python("import os; os.abort()", 30.0, {})[0] != 0


def test_the_codec_of_this_machine_keeps_four_frames():
    assert doctor.find_codec().state == "works"


def test_a_codec_that_loses_frames_is_broken(monkeypatch):
    monkeypatch.setattr(
        "sole.data.video.read_video", lambda path: (np.zeros((3, 64, 64, 3), np.uint8), 10.0)
    )
    found = doctor.find_codec()
    assert (found.state, found.core) == ("broken", True)
    assert "got (3, 64, 64, 3)" in found.detail


def test_missing_weights_are_a_core_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path / "model.safetensors")
    found = doctor.find_weights()
    assert (found.state, found.core) == ("missing", True)
    assert found.mend.startswith("git checkout")


def test_weights_that_cannot_be_opened_are_broken(monkeypatch, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    monkeypatch.setattr(doctor, "WEIGHTS", path)
    assert doctor.find_weights().state == "broken"


def test_weights_that_open_work(monkeypatch, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path)
    monkeypatch.setattr(doctor, "WEIGHTS", path)
    assert doctor.find_weights().detail.endswith("1 tensors")


def test_an_extra_that_lacks_a_package_asks_for_just_that_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no checkout
    without(monkeypatch, "tensorboard")
    found = doctor.find_extra("rl", doctor.EXTRAS["rl"])
    assert found.state == "missing"
    assert found.mend.endswith("-m pip install tensorboard")


def test_an_extra_whose_import_fails_is_broken_with_the_reason(monkeypatch):
    answering(monkeypatch, {"": (1, "Traceback ...\nImportError: numpy 2 needed")})
    found = doctor.find_extra("hdf5", doctor.EXTRAS["hdf5"])
    assert (found.state, found.detail) == ("broken", "ImportError: numpy 2 needed")


def test_a_core_library_that_is_absent_is_a_core_fault_with_the_exact_pin(monkeypatch):
    without(monkeypatch, "torch")
    found = doctor.find_library("torch")
    assert (found.state, found.core) == ("missing", True)
    assert '"torch==2.13.0"' in found.mend


def test_a_core_library_that_cannot_load_is_broken(monkeypatch):
    def fail(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    assert doctor.find_library("torch").detail.startswith("libgomp")


def test_device_and_machine_are_described():
    assert doctor.find_device().detail.startswith(("cpu", "cuda", "mps"))
    assert re.match(r"\d+ cores", doctor.find_memory().detail)


def test_examine_covers_every_part_once(monkeypatch):
    answering(monkeypatch, {"osmesa": (0, "osmesa 1.0"), "egl": (0, "egl 1.0"), "": (0, "")})
    parts = [finding.part for finding in doctor.examine()]
    assert len(parts) == len(set(parts))
    assert {"python", "torch", "video codec", "nano weights", "rendering"} <= set(parts)
    assert {f"extra {name}" for name in doctor.EXTRAS} <= set(parts)


def test_suites_are_installed_with_the_tested_versions_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    missing = {"no_such_module": "robosuite==1.4.0"}
    assert " -c " not in doctor.find_extra("robosuite", missing).mend
    for name in ("constraints.txt", "constraints-suites.txt"):
        (tmp_path / name).touch()
    mend = doctor.find_extra("robosuite", missing).mend
    assert '-c constraints.txt -c constraints-suites.txt "robosuite==1.4.0"' in mend
    assert "constraints-suites.txt" not in doctor.find_extra("ray", missing).mend


@pytest.mark.parametrize("error", ["RuntimeError('no operator nms')", "AttributeError('no _C')"])
def test_a_torch_that_breaks_when_imported_is_a_finding(error, monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for found in (doctor.find_library("torch"), doctor.find_device()):
        assert (found.state, found.detail[:2]) == ("broken", "no")
        assert '"torch==2.13.0"' in found.mend
