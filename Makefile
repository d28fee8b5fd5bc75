# Every target works from a fresh clone: what is missing is installed first.
# `make demo` and `make test` are the two commands of the README.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
APT := libosmesa6 libegl1 libgl1-mesa-dri libgles2 libgl1 ffmpeg
# The tests set their own thread counts; these keep any other process from taking both cores twice.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help install system demo check test test-all test-suites heldout lavapipe bench docs nano trust ablations clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

install: $(STAMP) ## create .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first and by its exact pin: anything else may pull gigabytes of CUDA.
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@

# MuJoCo draws with OSMesa unless MUJOCO_GL says otherwise (egl, glfw); then nothing is installed.
HAS_GL = [ "$(MUJOCO_GL)" ] || [ "$$(uname)" != Linux ] || $(PYTHON) -c \
  "import ctypes.util, sys; sys.exit(not ctypes.util.find_library('OSMesa'))"

system: ## install the libraries that software rendering needs (Debian, when root)
	@if $(HAS_GL); then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(APT); \
	else \
	  echo "Software rendering is missing. Run this once, then make again:" >&2; \
	  echo "  sudo apt-get install -y --no-install-recommends $(APT)" >&2; \
	  exit 1; \
	fi

demo: $(STAMP) system ## a robot learns a task the model has never seen; writes a report
	$(BIN)/sole demo

# Training tasks on which agents look for what the first model gets wrong.
NEGATIVES := metaworld/push-back metaworld/plate-slide-side metaworld/button-press-topdown \
  metaworld/coffee-pull metaworld/plate-slide-back-side metaworld/button-press-topdown-wall \
  metaworld/reach-wall worlds/faucet-turn-left worlds/window-close worlds/drawer-close \
  worlds/door-close worlds/handle-press worlds/lever-pull worlds/button-press
# The second round's hard negatives, and what keeps the model from forgetting all else beside them.
SECOND_ROUND := data/metaworld data/metaworld-1 data/worlds-3 data/worlds-4 data/worlds-5 data/agents-2
nano: $(STAMP) system ## train a model from nothing the way of the shipped one (eight hours)
	$(BIN)/sole synth --suite metaworld --out data/metaworld
	$(BIN)/sole synth --suite worlds --episodes-per-task 46 --seed 1 --out data/worlds
	$(BIN)/sole sft --data data/metaworld data/worlds --run-dir runs/nano --question-share 0
	for task in $(NEGATIVES); do \
	  $(BIN)/sole rl --env $$task --reward runs/nano/model --episodes 96 --seed 7 \
	    --eval-episodes 8 --run-dir runs/negatives/$$(basename $$(dirname $$task))-$$(basename $$task) \
	    || exit 1; done
	$(BIN)/sole synth --from-runs runs/negatives/* --out data/agents
	$(BIN)/sole sft --data data/metaworld data/worlds data/agents --init runs/nano/model \
	  --run-dir runs/nano-2 --steps 400 --learning-rate 3e-4 --question-share 0
	$(BIN)/sole synth --suite worlds --episodes-per-task 105 --seed 2 --out data/worlds-2
	$(BIN)/sole sft --data data/metaworld data/worlds data/worlds-2 data/agents \
	  --init runs/nano-2/model --run-dir runs/nano-3 --steps 1600 --learning-rate 8e-4 \
	  --question-share 0
	$(BIN)/sole sft --data data/metaworld data/worlds data/worlds-2 data/agents \
	  --init runs/nano-3/model --run-dir runs/nano-4 --steps 1100 --learning-rate 8e-4 \
	  --optimizer muon --think-share 0.25 --question-share 0
	$(BIN)/sole synth --suite worlds --episodes-per-task 105 --seed 3 --out data/worlds-3
	$(BIN)/sole sft --data data/metaworld data/worlds-3 data/agents \
	  --init runs/nano-4/model --run-dir runs/nano-5 --steps 750 --learning-rate 6e-4 \
	  --optimizer muon --think-share 0.25 --question-share 0
	$(BIN)/sole synth --suite metaworld --limit-episodes 900 --seed 1 --out data/metaworld-1
	$(BIN)/sole synth --suite worlds --episodes-per-task 52 --seed 4 --out data/worlds-4
	$(BIN)/sole synth --suite worlds --episodes-per-task 28 --seed 5 --out data/worlds-5
	$(BIN)/sole synth --from-runs presets/nano-negatives.parquet --keep-divergent --out data/agents-2
	$(BIN)/sole sft --data $(SECOND_ROUND) --weights 0.19 0.19 0.10 0.22 0.12 0.18 \
	  --init runs/nano-5/model --run-dir runs/nano-6 --steps 600 --learning-rate 5e-4 \
	  --optimizer muon --think-share 0.25 --question-share 0 --seed 31
	rm -rf runs/nano-7  # seconds to make again; the two commands below refuse a folder with files in it
	$(BIN)/python -m sole.train.average runs/nano-5/model runs/nano-6/model --share 0.75 --out runs/nano-7/model
	$(BIN)/python -m sole.train.phrases --model runs/nano-7/model --data $(SECOND_ROUND)

# Everything that says how far nano can be trusted, into docs/figures.json and docs/results.md. The two
# small networks see the data sets that nano began with; they are trained once.
TRUST_DATA ?= data/metaworld data/worlds
CACHE ?= runs/eval-cache
trust: $(STAMP) system ## side by side on the test tasks, attacks, calibration; docs/results.md (hours)
	for kind in rewind classifier; do test -e runs/trust/$$kind/config.json || \
	  $(BIN)/sole fit $$kind --data $(TRUST_DATA) --episodes 1000 --out runs/trust/$$kind || exit 1; done
	$(BIN)/sole eval quality --split test --variants --calibration none --cache $(CACHE) \
	  --against rewind=runs/trust/rewind classifier=runs/trust/classifier \
	  --prefix trust --out runs/trust/side-by-side.json --figures docs/figures.json
	$(BIN)/sole calibrate --episodes-per-task 30 --check test --cache $(CACHE) \
	  --out runs/trust/calibration.json --figures docs/figures.json
	@echo "robustness without the calibration: its threshold refuses so much that nothing is left to turn"
	$(BIN)/sole eval robustness --split test --cache $(CACHE) --calibration none \
	  --out runs/trust/robustness.json --figures docs/figures.json
	$(BIN)/sole report quality runs/trust/side-by-side.json --png runs/trust/side-by-side.png
	$(BIN)/python -m sole.evals.trust_page docs/results.md

# Data of its own, an hour to make: the ablations do not wait for the data of make nano.
ablations: $(STAMP) system ## what each part of the recipe is worth (six hours of one core)
	$(BIN)/sole synth --suite metaworld --limit-episodes 900 --seed 1 --out data/metaworld-1
	$(BIN)/sole synth --suite worlds --episodes-per-task 28 --seed 5 --out data/worlds-5
	$(BIN)/sole synth --from-runs presets/nano-negatives.parquet --keep-divergent --out data/agents-2
	$(BIN)/sole ablate presets/ablation-full.toml presets/ablation-no_*.toml presets/ablation-families_*.toml --raw docs/raw/ablations.json --figures docs/figures.json --page docs/ablations.md

check: $(STAMP) ## lint, format, types, import directions, size of functions and files
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:cacheprovider tests/test_packaging.py -k "lines or constraints or pins"

test: $(STAMP) system ## the default tests (minutes, two cores, no GPU, no network)
	$(BIN)/pytest -q -p no:cacheprovider -n $(JOBS) --dist loadfile

test-all: $(STAMP) system ## the slow tests too (wheel, training, learning runs)
	$(BIN)/pytest -q -p no:cacheprovider -n $(JOBS) --dist loadfile -m "not gpu"

# Robosuite, ManiSkill and LIBERO live in a venv of their own: they bring 4 GB.
SUITES_VENV ?= .venv-suites
SUITES_STAMP := $(SUITES_VENV)/.installed
$(SUITES_STAMP): pyproject.toml constraints.txt constraints-suites.txt
	@test -x $(SUITES_VENV)/bin/python || $(PYTHON) -m venv $(SUITES_VENV)
	$(SUITES_VENV)/bin/python -m pip install -q torch==2.13.0
	$(SUITES_VENV)/bin/python -m pip install -q -c constraints.txt -c constraints-suites.txt \
	  -e ".[metaworld,robosuite,maniskill,libero,rl,report]" pytest pytest-timeout hypothesis
	@touch $@

# ManiSkill draws with Vulkan. Without a GPU that is Mesa's lavapipe 25; Debian 12 has 22.3, which fails. The
# newer driver lies beside the venv and nothing else uses it: installed, it would bring a new OSMesa for all.
LAVAPIPE := $(SUITES_VENV)/lavapipe
LAVAPIPE_DEB := mesa-vulkan-drivers_25.0.7-2~bpo12+1_amd64.deb
LAVAPIPE_SHA256 := 3899f1800424c60a05df5d6913076a526ca8fdbabec43672cd397563d1ca3263
ifneq ($(wildcard $(LAVAPIPE)/lvp.json),)
export VK_ICD_FILENAMES ?= $(abspath $(LAVAPIPE)/lvp.json)
endif

lavapipe: ## Mesa's Vulkan for a CPU, for ManiSkill on Debian 12 without a GPU (11 MB)
	mkdir -p $(LAVAPIPE)
	curl -fsSL -o $(LAVAPIPE)/$(LAVAPIPE_DEB) \
	  "https://deb.debian.org/debian/pool/main/m/mesa/$(LAVAPIPE_DEB)"
	echo "$(LAVAPIPE_SHA256)  $(LAVAPIPE)/$(LAVAPIPE_DEB)" | sha256sum --check --quiet
	dpkg -x $(LAVAPIPE)/$(LAVAPIPE_DEB) $(LAVAPIPE)
	printf '{"file_format_version": "1.0.0", "ICD": {"api_version": "1.4.305", "library_path": "%s"}}\n' \
	  "$(abspath $(LAVAPIPE))/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so" > $(LAVAPIPE)/lvp.json
	@echo "outside make: export VK_ICD_FILENAMES=$(abspath $(LAVAPIPE)/lvp.json)"

test-suites: $(SUITES_STAMP) system ## install robosuite, ManiSkill and LIBERO into one venv and test them
	$(SUITES_VENV)/bin/python -m pytest -q -p no:cacheprovider -W default -m suites tests/test_suite_*.py

# Suite and frames of an episode: robosuite's tasks take up to eight seconds. LIBERO has no experts and 130
# tasks; the six of the paper are looked at.
HELD_OUT := robosuite:61 maniskill:26 libero:26
LIBERO_SIX := $(addprefix libero/KITCHEN_SCENE,10_close_the_top_drawer_of_the_cabinet \
  1_open_the_bottom_drawer_of_the_cabinet 3_turn_on_the_stove 8_turn_off_the_stove \
  6_close_the_microwave 7_open_the_microwave)
heldout: $(SUITES_STAMP) system ## nano on the held-out tasks of these three suites (half an hour)
	for held in $(HELD_OUT); do suite=$${held%:*}; tasks=; \
	  test $$suite != libero || tasks="--tasks $(LIBERO_SIX)"; \
	  $(SUITES_VENV)/bin/sole eval quality --suite $$suite $$tasks --split test --n-frames $${held#*:} \
	    --episodes-per-task 8 --cache $(CACHE) --prefix heldout.$$suite --calibration none \
	    --out runs/heldout/$$suite.json --figures docs/figures.json || exit 1; done

bench: $(STAMP) system ## what a judgement costs on this machine
	$(BIN)/sole eval cost

docs: $(STAMP) ## check the links and the quoted figures of the documentation
	$(BIN)/pytest -q -p no:cacheprovider tests/test_figures.py tests/test_packaging.py -k "link or figure or quote"
	@echo "README.md, then docs/concepts.md; the rest is in docs/"

clean: ## remove what make and the tests leave behind, keep .venv
	rm -rf dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
