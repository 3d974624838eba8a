# Requires python3 (3.10 to 3.13) and make; everything else is installed into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

DEMO_RUN := runs/demo
DEMO_MODEL := phrasebook-en-fr
DEMO_EXPORT = $$(ls -d export/models/$(DEMO_MODEL)/[0-9]* | sort -V | tail -n 1)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

define check-python
@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	{ echo "$(PYTHON) is $$($(PYTHON) --version); Python 3.10 to 3.13 is needed: make PYTHON=python3.12 …"; exit 2; }
endef

$(BIN)/python:
	$(check-python)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml setup.py | $(BIN)/python
	@echo 'Installing TensorFlow and other dependencies (2.3 GB) into $(VENV); pip prints nothing for a minute or more.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

# Empty if VENV already has the package, as in `make try-wheel`.
INSTALLED ?= $(VENV)/.installed

.PHONY: demo
demo: $(INSTALLED) ## train the chapter's model on the bundled corpus; translate, score, export, verify
	@echo '== Training: the chapter’s model on the bundled phrasebook; 5% of the sources are held out.'
	@$(BIN)/keras-s2s train phrasebook --preset chapter --min-freq 1 \
		--test-fraction 0.05 --split-seed 1 --run-dir $(DEMO_RUN) --overwrite
	@echo; echo '== Translations, with their log-probabilities:'
	@$(BIN)/keras-s2s translate $(DEMO_RUN) --with-scores \
		'Go.' 'Wow!' "I'm OK." 'I won!' 'Thank you very much.' "I don't understand."
	@echo; echo '== Scores on the training split …'
	@$(BIN)/keras-s2s evaluate $(DEMO_RUN) phrasebook --split train
	@echo; echo '== … and on the held-out split: a corpus this small is memorized, not generalized from.'
	@$(BIN)/keras-s2s evaluate $(DEMO_RUN) phrasebook --split test
	@echo; echo '== Export: a SavedModel, verified the way a server loads it.'
	@$(BIN)/keras-s2s export $(DEMO_RUN) --model-name $(DEMO_MODEL)
	@echo; echo '== Next:'
	@echo "  $(BIN)/keras-s2s translate $(DEMO_RUN)                  # one sentence per line, Ctrl-D to end"
	@echo "  $(BIN)/keras-s2s train pairs.tsv --preset small --run-dir runs/mine   # your own sentence<TAB>translation lines"
	@echo "  $(BIN)/saved_model_cli show --all --dir $(DEMO_EXPORT)"
	@echo "  $(BIN)/saved_model_cli run --tag_set serve --signature_def serving_default --input_exprs 'text=[\"Go.\",\"I won!\"]' --dir $(DEMO_EXPORT)"
	@echo "  . $(BIN)/activate                                    # puts keras-s2s on the path"
	@echo "  notebooks/01_seq2seq_chapter.ipynb                   # the chapter, step by step"
	@echo "  notebooks/02_your_own_data.ipynb                     # from your own sentences to an exported model, with attention"
	@echo "  notebooks/03_serving.ipynb                           # query the export by gRPC and REST, roll out a second version"
	@echo "  notebooks/04_beyond_translation.ipynb                # commands to fields: a task other than translation"

.PHONY: format
format: $(VENV)/.installed-dev ## ruff format and autofixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(VENV)/.installed-dev ## style, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Each process takes one to two gigabytes. A test file stays in one process, for its fixtures.
TEST_PROCESSES ?= 2
# The order of the files is that of tests/conftest.py.
TEST_OPTIONS := --dist loadfile --no-loadscope-reorder

.PHONY: test
test: lint ## lint, type check, and all tests except slow ones
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) $(TEST_OPTIONS)

.PHONY: test-slow
test-slow: $(VENV)/.installed-dev ## slow tests
	$(BIN)/python -m pytest -m slow

# TensorFlow versions that deployed servers are built from. Only their C++ libraries are used, which are
# independent of the wheel's Python version.
OLD_RUNTIMES := 2.19.1 2.20.0
CACHE := .cache/runtimes

$(CACHE)/%/tensorflow: | $(BIN)/python
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--only-binary :all: --python-version 3.11 --dest $(CACHE)/wheels tensorflow-cpu==$*
	rm -rf $(CACHE)/$*.part
	$(BIN)/python -m zipfile -e $(CACHE)/wheels/tensorflow_cpu-$*-*.whl $(CACHE)/$*.part
	mv $(CACHE)/$*.part $(CACHE)/$*
	rm -rf $(CACHE)/wheels

.PHONY: test-old-runtimes
test-old-runtimes: $(VENV)/.installed-dev $(OLD_RUNTIMES:%=$(CACHE)/%/tensorflow) ## run exports on older TensorFlow runtimes (downloads 2 x 250 MB)
	KERAS_S2S_OLD_RUNTIMES=$(CACHE) $(BIN)/python -m pytest -m slow tests/serving/test_old_runtimes.py

# Options of `make bench`: TASK=folder CORPUS=pairs.tsv ROUNDS=5 SECONDS_EACH=60
# PARTS="train growth" WITHOUT="JoeyNMT" THREADS=2 RESUME=1; see benchmarks/README.md.
CORPUS ?= fra-eng
BENCH_OPTIONS = --corpus $(CORPUS) $(if $(TASK),--task $(TASK)) $(if $(THREADS),--threads $(THREADS))

.PHONY: bench
bench: $(VENV)/.installed-dev ## compare with peers and the machine's limits (hours); writes benchmarks/RESULTS.md
	-$(BIN)/python -m benchmarks.environments
	$(BIN)/python -m benchmarks $(BENCH_OPTIONS) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS_EACH),--seconds $(SECONDS_EACH)) $(if $(PARTS),--parts $(PARTS)) \
		$(if $(WITHOUT),--without $(WITHOUT)) \
		$(if $(RESUME),--resume)

.PHONY: bench-short
bench-short: $(VENV)/.installed ## smoke test of the benchmarks in a minute, with the installed peers
	$(BIN)/python -m benchmarks --short $(BENCH_OPTIONS)

.PHONY: bench-serving
bench-serving: $(VENV)/.installed ## latency of the demo's export on a server's code path
	$(BIN)/python benchmarks/serving_latency.py $(DEMO_RUN) $(DEMO_EXPORT) phrasebook

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@

.PHONY: docs
docs: $(VENV)/.installed-docs ## build the documentation site, site/index.html; warnings are errors
	$(BIN)/python tools/build_docs.py

# An environment of its own: building needs nothing that .venv has.
BUILD := .cache/build

$(BUILD)/.installed:
	$(check-python)
	$(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/python -m pip install --quiet --disable-pip-version-check build twine
	@touch $@

# Remove the file list of an earlier build, which setuptools would reuse.
.PHONY: dist
dist: $(BUILD)/.installed ## build and check the wheel and the sdist in dist/
	rm -rf dist build keras_s2s.egg-info
	$(BUILD)/bin/python -m build --quiet
	$(BUILD)/bin/python -m twine check --strict dist/*

# Outside this folder, so that only the wheel can be imported; one folder per version of Python.
WHEEL_ENVS ?= $(or $(TMPDIR),/tmp)/keras-s2s-wheel
WHEEL_ENV = $(WHEEL_ENVS)/$(shell $(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
WHEEL_PYTHON = $(WHEEL_ENV)/env/bin/python
WHEEL_TESTS ?= tests --pyargs keras_s2s

.PHONY: try-wheel
try-wheel: export PYTHONPATH :=
try-wheel: dist ## install the wheel in an empty environment (PYTHON=python3.12) and run the demo
	$(check-python)
	rm -rf $(WHEEL_ENV)
	mkdir -p $(WHEEL_ENV)/demo
	$(PYTHON) -m venv $(WHEEL_ENV)/env
	$(WHEEL_PYTHON) -m pip install --quiet --disable-pip-version-check dist/*.whl
	$(WHEEL_PYTHON) -m pip check
	$(MAKE) --directory $(WHEEL_ENV)/demo --makefile $(CURDIR)/Makefile demo \
		VENV=$(WHEEL_ENV)/env INSTALLED=
	cd $(WHEEL_ENV)/demo && $(WHEEL_PYTHON) $(CURDIR)/tools/check_installed.py $(DEMO_RUN)

# Other files that tests read come from the sdist, which is thereby tested too. With `-o try-wheel` the
# environment may hold an earlier wheel of the same version, which pip would keep: force the reinstall.
.PHONY: test-wheel
test-wheel: export PYTHONPATH :=
test-wheel: try-wheel ## try-wheel, then the tests of the installed package
	rm -rf $(WHEEL_ENV)/source
	mkdir $(WHEEL_ENV)/source
	tar --extract --gzip --file dist/*.tar.gz --directory $(WHEEL_ENV)/source --strip-components 1
	rm -rf $(WHEEL_ENV)/source/keras_s2s
	$(WHEEL_PYTHON) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	$(WHEEL_PYTHON) -m pip install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[test]"
	cd $(WHEEL_ENV)/source && $(WHEEL_PYTHON) -m pytest -n $(TEST_PROCESSES) $(TEST_OPTIONS) \
		--ignore-glob '/*/keras_s2s/translation/beam_pipeline.py' $(WHEEL_TESTS)

# Check that all interpreters exist before starting; a failure with one does not stop the others.
PYTHONS ?= python3.10 python3.11 python3.12 python3.13

.PHONY: test-wheels
test-wheels: ## test-wheel with each of PYTHONS and one wheel; failures are listed at the end
	@for python in $(PYTHONS); do command -v $$python >/dev/null || \
		{ echo "there is no $$python; make test-wheels PYTHONS='…' names others"; exit 2; }; done
	$(MAKE) dist PYTHON=$(firstword $(PYTHONS))
	@failed=; for python in $(PYTHONS); do \
		$(MAKE) -o dist test-wheel PYTHON=$$python || failed="$$failed $$python"; done; \
	if [ "$$failed" ]; then echo "the wheel failed in:$$failed"; exit 1; fi

.PHONY: clean
clean: ## remove generated files and environments
	rm -rf $(VENV) $(BUILD) build dist site $(DEMO_RUN) export/models/$(DEMO_MODEL)
