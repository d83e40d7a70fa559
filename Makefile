# Everything a contributor or a CI machine runs. Needs Python 3.11, git and make; the rest is installed into .venv.

.DEFAULT_GOAL := help
.PHONY: help install lock demo test test-all fuzz check docs bench clean

BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST := $(BIN)/python -m pytest -n 2
QUICK := "not slow and not servers"
# What core says of signed statements is tried with real signatures.
CORE_TESTS := tests/unit/core tests/unit/adapters/signing tests/unit/prediction_log
FUZZ_SECONDS ?= 60
# Debian packages that tests marked `servers` need.
DEBIAN_PACKAGES := buildah docker-registry graphviz podman runc skopeo git-lfs prometheus redis-server rsync

help:  ## Show this.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

$(INSTALLED): requirements/dev.txt requirements/uv.txt pyproject.toml scripts/install
	scripts/install
	@touch $@

install: $(INSTALLED)  ## Make .venv from the locked, hashed requirements.

lock: $(INSTALLED)  ## Compile requirements/*.txt anew from pyproject.toml.
	scripts/lock

demo: $(INSTALLED)  ## A good model promoted and four bad ones rolled back, on real data and live traffic.
	$(BIN)/python examples/flights/demo.py

test: $(INSTALLED)  ## Everything that needs only pip and takes seconds; 95 % branch coverage of core/.
	$(PYTEST) $(CORE_TESTS) -m $(QUICK) --cov=softlaunch.core --cov-report=
	$(BIN)/coverage report --include='*/softlaunch/core/*' --fail-under=95 --skip-covered
	$(PYTEST) tests $(addprefix --ignore=,$(CORE_TESTS)) -m $(QUICK)

test-all: $(INSTALLED)  ## Every test, slow ones and those with servers too.
	@if [ -n "$(DEBIAN_PACKAGES)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get install --yes --no-install-recommends $(DEBIAN_PACKAGES); fi
	scripts/tools
	$(PYTEST) tests $(TESTS)

fuzz: $(INSTALLED)  ## Fuzz all that reads clients' bytes, FUZZ_SECONDS=60; atheris gets a venv of its own.
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .fuzz/venv
	$(BIN)/uv pip install --quiet --python .fuzz/venv/bin/python atheris granian msgspec numpy protobuf
	cd .fuzz && PYTHONPATH=../src venv/bin/python ../fuzz/codecs.py corpus -max_total_time=$(FUZZ_SECONDS)

check: $(INSTALLED)  ## Lint, format, types, layers, spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: $(INSTALLED)  ## Links, error codes, commands and examples of the documentation.
	$(BIN)/python -m pytest -q tests/unit/repository

bench: $(INSTALLED)  ## Measure every bar anew into benchmarks/results/; takes hours on two cores.
	scripts/bench

clean:  ## Remove .venv and everything tools left here.
	rm -rf .venv .fuzz .tools .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
