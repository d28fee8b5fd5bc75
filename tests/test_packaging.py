"""The repository keeps its promises: sizes, pins, documentation, and a wheel that works alone."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sole import cli, samples

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
DOCS = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
QUOTE = re.compile(r"<!--fig:([\w./@-]+)-->(.*?)<!--/fig-->", re.DOTALL)


def constraints():
    files = (ROOT / "constraints.txt", ROOT / "constraints-suites.txt")
    lines = [line for file in files for line in file.read_text().splitlines()]
    return {
        pin.name.lower().replace("_", "-"): pin
        for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def prose(path):
    """The text of a document without its fenced code."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_no_file_is_longer_than_400_lines():
    lengths = {str(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {p: n for p, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_60_lines():
    found = {
        f"{path.name}:{name}": n
        for path in SOURCES
        for name, n in functions(path)
        if n > MAX_FUNCTION_LINES
    }
    assert found == {}


def test_constraints_are_exact_and_public_versions():
    for pin in constraints().values():
        (spec,) = pin.specifier
        assert spec.operator == "==", pin
        assert "+" not in spec.version, f"{pin}: a local version cannot be had elsewhere"


def test_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {Requirement(line).name.lower().replace("_", "-") for line in lines}
    assert names - {"sole-rewards"} <= set(constraints())


def test_constraints_are_what_is_installed_here():
    wrong = {}
    for name, pin in constraints().items():
        try:
            version = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        if not pin.specifier.contains(version, prereleases=True):
            wrong[name] = version
    assert wrong == {}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(path):
    targets = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", prose(path))
    local = [a or b for a, b in targets if not (a or b).startswith(("http", "#", "mailto:"))]
    missing = [t for t in local if not (path.parent / t.split("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_quote_of_a_figure_is_whole(path):
    text = path.read_text()
    assert len(QUOTE.findall(text)) == text.count("<!--fig:") == text.count("<!--/fig-->")


def test_the_readme_names_only_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"(?:^|`|bin/)sole ([a-z]+)", text, re.MULTILINE)) <= set(cli.VERBS)


def test_the_first_screen_of_the_readme_gives_two_commands_and_a_picture():
    screen = (ROOT / "README.md").read_text().splitlines()[:40]
    commands = [line for line in screen if line.startswith(("make ", "$ ", "sole ", "pip "))]
    assert [line.split("#")[0].strip() for line in commands] == ["make demo", "make test"]
    assert any("docs/images/demo.png" in line for line in screen)


def test_agents_file_is_short():
    assert len((ROOT / "AGENTS.md").read_text().splitlines()) <= 60


def run(*command, env=None, cwd=None):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A venv that holds our wheel and nothing else; dependencies come in by PYTHONPATH."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    # Without isolation: hatchling is a dev dependency, so no package index is asked.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "-q", "--no-deps", wheel)
    # .pth files are not read from PYTHONPATH, so the editable install of this checkout stays out.
    env = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    return python, env, folder


@pytest.mark.slow
def test_the_wheel_alone_finds_its_code_and_its_clips(installed):
    python, env, folder = installed
    program = "import sole, sole.samples; print(sole.__file__); print(sole.samples.path())"
    for line in run(python, "-c", program, env=env, cwd=folder).splitlines():
        assert Path(line).is_relative_to(folder / "venv")
    assert run(folder / "venv/bin/sole", "--version", env=env, cwd=folder).strip()


@pytest.mark.slow
@pytest.mark.skipif(not samples.path().exists(), reason="no sample clip is shipped yet")
def test_the_wheel_alone_scores_a_clip_that_it_ships(installed):
    python, env, folder = installed
    program = "import sole.samples; print(sole.samples.path())"
    clip = run(python, "-c", program, env=env, cwd=folder).strip()
    sole = folder / "venv" / "bin" / "sole"
    flags = ["--layout", "side-by-side", "--task", samples.TASK, "--json"]
    out = run(sole, "score", clip, *flags, env=env, cwd=folder)
    assert "progress" in json.dumps(json.loads(out))
