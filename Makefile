# python3 (3.11 or newer) and make are all that these targets need.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
KDBATCH := $(BIN)/kdbatch
TOOLS := $(CURDIR)/.venv-lock
AXE := $(CURDIR)/.venv-axe
PROFILE := toy

# What the image is built on, see container/README.md: make image BASE=--debian, make image BASE='--on OLD.sif'
BASE := --docker python:3.11.11-slim-bookworm

.PHONY: demo study lint types quick newest lowest lock test test-slow test-rare test-learning test-simulation test-hostile test-cluster test-gpu axe check map reference image clean

# From raw toy videos to a report whose verdicts are known, in a few minutes on two cores; a second time only the report is made anew.
demo: $(VENV)/.made
	@$(KDBATCH) toy demo --size=demo --datasets=k400,ucf101
	@cd demo && $(KDBATCH) shard k400 --videos-per-shard=32 && $(KDBATCH) shard ucf101 --videos-per-shard=32
	@cd demo && $(KDBATCH) submit ../jobs/demo/known_answer.yaml --profile=demo --local
	@cd demo && $(KDBATCH) report --to=../report
	@echo "Open it: $(CURDIR)/report/index.html"

# The whole study, all six experiments. PROFILE=micro takes minutes and learns nothing. Fails where the report lacks anything.
STUDY := demo-$(PROFILE)
study: $(VENV)/.made
	@$(KDBATCH) toy $(STUDY) --size=$(if $(filter micro,$(PROFILE)),small,full)
	@cd $(STUDY) && for dataset in k400 ssv2 ucf101; do $(KDBATCH) shard $$dataset --videos-per-shard=32 || exit; done
	@cd $(STUDY) && $(KDBATCH) submit ../jobs/*.yaml --profile=$(PROFILE) --local
	@cd $(STUDY) && $(KDBATCH) report --to=../report --complete
	@echo "Open it: $(CURDIR)/report/index.html"

# Style of everything, and types of the files that changed since `make types` last passed: seconds.
lint: $(VENV)/.made $(VENV)/.types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@find kdbatch tests -name '*.py' -newer $(VENV)/.types -print0 | xargs -0 --no-run-if-empty $(BIN)/pyright

# Types of sources and tests as a whole: half a minute. A change of a signature is felt by its callers only here.
types: $(VENV)/.made
	@$(BIN)/pyright
	@touch $(VENV)/.types

$(VENV)/.types: | $(VENV)/.made
	@$(MAKE) --no-print-directory types

# For the inner loop: the rooms that need no torch, and the rules about the code itself.
QUICK := tests/base tests/vocab tests/plan tests/result tests/test_rooms.py tests/test_language.py tests/test_map.py
quick: $(VENV)/.made
	@$(BIN)/pytest -q -n 2 -m "not slow" $(QUICK)

# The ring above and the walks through README, GUIDE and OWN_STUDY, with the package installed in a venv of its own:
# with the newest packages that pip finds for the newest Python here, and with the oldest that pyproject.toml allows. What the oldest
# torch may lack is in the networks, the compiler and the benchmarks.
newest:
	@.ci/versions newest $(QUICK)
lowest:
	@.ci/versions lowest $(QUICK) tests/run/models tests/run/compilation tests/run/meters tests/bench

# Exact versions and hashes of all packages, for Linux on x86_64 and aarch64. Versions stay as long as they fit pyproject.toml; with
# UPGRADE=1 they become the newest ones that do. A new lock means a new .venv.
lock: $(TOOLS)/.made
	@PATH=$(TOOLS)/bin:$$PATH python container/lock.py $(if $(UPGRADE),--upgrade)

$(TOOLS)/.made:
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/pip install -q --disable-pip-version-check 'uv>=0.9,<1' 'packaging>=25'
	@touch $@

# What has a target of its own.
APART := learning or simulation or hostile or cluster or rare

test: $(VENV)/.made
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not slow and not ($(APART))"

# Those that start processes, kill them and wait for what they leave. The walks through README, GUIDE and OWN_STUDY are in newest and lowest.
test-slow: $(VENV)/.made
	@$(BIN)/pytest -n 2 --dist loadgroup --ignore=tests/cli/test_walkthrough.py --ignore=tests/cli/test_own_study.py -m "slow and not ($(APART))"

# What seldom breaks and takes minutes: the oldest packages, equal builds of the image, own code in it, odd locales and streams, speeds
# that a stored video tells, interruptions on a SLURM with
# accounting.
test-rare: $(VENV)/.made
	@$(BIN)/pytest -n 2 --dist loadgroup -m "rare and not cluster"
	@$(BIN)/pytest tests/cluster -m "cluster and rare"
	@$(MAKE) --no-print-directory lowest

# Does each pretext task learn? Minutes of training on toy videos, and the accuracies that came of it.
test-learning: $(VENV)/.made
	@$(BIN)/pytest -n 2 --dist loadgroup -m learning -rA

# Are intervals, verdicts and planned powers right? Hundreds of studies whose truth is known are drawn and judged.
# Does a large site run 2,082 runs once each? SEEDS=145 simulates 20,022, in 15 to 18 minutes of processor time; see docs/SCALE.md.
SEEDS := 15
test-simulation: $(VENV)/.made
	@KDBATCH_SIMULATED_SEEDS=$(SEEDS) $(BIN)/pytest -n 2 --dist loadgroup -m simulation

# Thousands of damaged files, mutated job files and odd answers of SLURM's commands, drawn from a seed. SEED=2 draws others.
SEED := 1
test-hostile: $(VENV)/.made
	@KDBATCH_HOSTILE_SEED=$(SEED) $(BIN)/pytest -n 2 --dist loadgroup -m hostile -rA

# On a real SLURM, which is started for it; this takes root on a Debian. Nothing is installed outside of one folder in /var/cache.
test-cluster: $(VENV)/.made
	@$(BIN)/pytest tests/cluster -m "cluster and not rare"

# On one GPU, in under three minutes. Without one a line says so; with KDBATCH_REQUIRE_GPU=1 that is a failure.
# KDBATCH_TEST_DEVICE=cpu tries on a CPU what can be tried there. PYTHON_GPU is a Python with the GPU build of torch.
PYTHON_GPU := $(BIN)/python
test-gpu:
	@$(if $(filter $(BIN)/python,$(PYTHON_GPU)),$(MAKE) --no-print-directory $(VENV)/.made)
	@$(PYTHON_GPU) -m pytest -q tests/gpu -m gpu

# As an ordinary user. The last line printed is the path of the image, for kdbatch.toml.
image:
	@container/build $(BASE)

# The checks of accessibility that tests of the report's page run; without them those tests are skipped.
axe: $(AXE)/.made
$(AXE)/.made: tests/support/axe.lock | $(VENV)/.made
	@rm -rf $(AXE)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes --target $(AXE) -r tests/support/axe.lock
	@touch $@

# Types first, or lint would check them a second time.
check: types
	@$(MAKE) --no-print-directory lint test test-slow

# Writes the map of the modules into docs/ARCHITECTURE.md; a test compares it with the code.
map: $(VENV)/.made
	@$(BIN)/python tests/support/module_map.py

# Writes docs/REFERENCE.md and the JSON schemas of jobs/schema/ from the types of all fields; a test compares them with the code.
reference: $(VENV)/.made
	@$(BIN)/python tests/support/field_reference.py

clean:
	rm -rf demo demo-*/ report

# The stamp is written last: an interrupted installation is done again.
$(VENV)/.made: container/development.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdbatch needs Python 3.11 or newer; say make PYTHON=python3.11")'
	@echo "installing the pinned packages into .venv (torch alone is several GB)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check --require-hashes -r container/development.lock
	@$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
