# One door: `make demo` shows the whole main job, `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := models cluster workloads tune serve

.DEFAULT_GOAL := help
BUNDLE ?= runs/demo/bundle
PORT ?= 8000
JOBS ?= 2
UI_PORT ?= 5000
.PHONY: help demo demo-isolated demo-slt demo-tune ui serve test test-cluster check bench clean format

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"signray needs Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11 ...") if v < (3, 11) else None'
	@echo "creating the environment in $(VENV) (1-3 minutes) ..." && began=$$(date +%s) && \
	{ test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && \
	touch $@ && echo "the environment is ready after $$(($$(date +%s) - began)) s"

demo: $(VENV)/ready  ## the whole main job on generated signing: shards, training, evaluation, registry
	@$(BIN)/python workloads/demo.py

demo-isolated: $(VENV)/ready  ## four streams of isolated signs and their ensemble on generated signing
	@$(BIN)/python workloads/demo_isolated.py

demo-slt: $(VENV)/ready  ## translation on generated signing: language model, recogniser, gloss-to-text, joint training; BLEU
	@$(BIN)/python workloads/demo_slt.py

serve: $(VENV)/ready  ## HTTP service of BUNDLE (default: the demo's) at PORT (8000), until ^C
	@$(BIN)/python serve/run.py --bundle $(BUNDLE) --port $(PORT)

demo-tune: $(VENV)/ready  ## a sweep of loss weights, then ensembles of systems, of heads, of streams, on generated signing
	@$(BIN)/python tune/demo.py

ui: $(VENV)/ready  ## MLflow in a browser: runs, plots, comparisons, the model registry; at UI_PORT (5000), until ^C
	@$(BIN)/python -m cluster.ui --port $(UI_PORT)

check: $(VENV)/ready  ## format, lint, types, import contract
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: check  ## check, then the tests that need no GPU; those of clusters that break: make test-cluster
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder --durations 40

test-cluster: $(VENV)/ready  ## what a cluster does to a run: hosts, heads, databases and networks that fail; one at a time, three quarters of an hour
	@$(BIN)/python -m pytest -m cluster -n 0 --durations 40 tests/integration

bench: $(VENV)/ready  ## measure speed; writes tests/benchmarks/RESULTS.md
	@$(BIN)/python tests/benchmarks/run.py

format: $(VENV)/ready  ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove the environment, caches, and runs and data of the demos; runs/mlflow.db and runs/artifacts stay: they hold other runs, too
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info .import_linter_cache runs/demo runs/demo[-_]* data/demo data/demo[-_]*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
