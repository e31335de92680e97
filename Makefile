# Everything there is to know: make help.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PORT   ?= 50051

.DEFAULT_GOAL := help
.PHONY: help demo serve test .test-parity .test-others check audit format protos retrain install install-dev clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.runtime ## install the server, the client and `beamstep evaluate`
install-dev: $(VENV)/.dev ## install everything, training and tests included

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,evaluate,demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime ## translate, caption a photo and find a hull on the shipped bundles
	$(BIN)/python -m benchmarks.demo

serve: $(VENV)/.runtime ## serve the shipped bundles on port $(PORT)
	$(BIN)/beamstep serve --models models --prefer translation-en-de --port $(PORT)

test: $(VENV)/.dev ## run every test, in two processes: one traces and compares graphs, the other does the rest
	@$(MAKE) --no-print-directory --jobs 2 --output-sync .test-parity .test-others

.test-parity: $(VENV)/.dev
	$(BIN)/python -m pytest tests/parity

.test-others: $(VENV)/.dev
	$(BIN)/python -m pytest --ignore tests/parity

check: $(VENV)/.dev ## ruff, mypy --strict, import-linter, buf lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint

# Of its own, so that what audits is none of what is audited. Strict: what cannot be looked up is no clean bill.
AUDIT := $(VENV)-audit
$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet pip-audit==2.10.1

audit: $(AUDIT)/bin/pip-audit ## look up what constraints.txt pins among known vulnerabilities; needs pypi.org
	$< --requirement constraints.txt --no-deps --disable-pip --strict

format: $(VENV)/.dev ## reformat and fix what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(VENV)/.dev ## regenerate beamstep/v1 and serving/kserve/v2 from protos/
	$(BIN)/python protos/generate.py

retrain: $(VENV)/.dev ## train MODEL and the stages before it from the data folder DATA, into RUNS/bundles (hours)
	@$(MAKE) --no-print-directory -f training/retrain.mk bundle BIN=$(BIN)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) $(AUDIT) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
