# Needs python3 (3.10 to 3.13) and make; everything else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# A run that is repeated starts from the same place.
DEMO_RUN := runs/demo
DEMO_MODEL := phrasebook-en-fr

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version); Python 3.10 to 3.13 is needed: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

.PHONY: demo
demo: $(VENV)/.installed ## train the chapter's model on the bundled corpus, score, export and check it
	@BIN=$(BIN) RUN=$(DEMO_RUN) NAME=$(DEMO_MODEL) sh demo.sh

.PHONY: format
format: $(VENV)/.installed-dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(VENV)/.installed-dev ## style, types, and the one-way order of the modules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: lint ## lint, type check and all tests but the slow ones
	$(BIN)/python -m pytest

.PHONY: test-slow
test-slow: $(VENV)/.installed-dev ## the slow tests
	$(BIN)/python -m pytest -m slow

.PHONY: clean
clean: ## remove what make has made
	rm -rf $(VENV) $(DEMO_RUN) export/models/$(DEMO_MODEL)
