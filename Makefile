# python3 (3.11 or newer) and make are all that these targets need.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
KDBATCH := $(BIN)/kdbatch
PROFILE := toy

.PHONY: demo test test-learning check clean

# From raw toy videos to a report, in a few minutes on two cores; a second time only the report is made anew.
demo: $(VENV)/.made
	@$(KDBATCH) toy demo
	@cd demo && $(KDBATCH) shard k400 --videos-per-shard=32 && $(KDBATCH) shard ucf101 --videos-per-shard=32
	@cd demo && $(KDBATCH) submit ../jobs/subset_size.yaml --profile=$(PROFILE) --local
	@cd demo && $(KDBATCH) report --to=../report
	@echo "Open it: $(CURDIR)/report/index.html"

test: $(VENV)/.made
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not learning"

# Does each pretext task learn? Minutes of training on toy videos, and the accuracies that came of it.
test-learning: $(VENV)/.made
	@$(BIN)/pytest -n 2 --dist loadgroup -m learning -rA

check: $(VENV)/.made
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(MAKE) --no-print-directory test

clean:
	rm -rf demo report

# The stamp is written last: an interrupted installation is done again.
$(VENV)/.made: container/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdbatch needs Python 3.11 or newer; say make PYTHON=python3.11")'
	@echo "installing the pinned packages into .venv (torch alone is several GB)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=$(CURDIR)/container/requirements.lock $(BIN)/pip install --disable-pip-version-check -e '.[worker,dev]'
	@touch $@
