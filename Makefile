# `make help` says what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env demo docs test gpu lint clean

VENV := .venv
STAMP := $(VENV)/installed
SHELL_FILES := $(filter-out local/site.sh,$(wildcard utils/*.sh local/*.sh egs/*/*.sh)) .ci/run
PYTEST_ARGS ?=
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

env: $(STAMP) ## install everything into .venv (Python 3.11 or later, about 6 GB with torch, some minutes)

$(STAMP): setup.py pyproject.toml constraints.txt
	@if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then \
	  for python in python3.11 python3 none; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	  done; \
	  if [[ $$python == none ]]; then \
	    echo "make env: neither python3.11 nor a python3 of 3.11 or later is on the PATH; install one" >&2; exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV) || { \
	    echo "make env: $$python cannot make $(VENV); its venv module must be there (Debian: python3-venv)" >&2; \
	    exit 1; }; \
	fi
	@echo "Installing into $(VENV): torch with its libraries is the long part"
	@PYTHONUNBUFFERED=1 $(VENV)/bin/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e '.[dev]' \
	  | { grep --line-buffered -E '^ *(Downloading|Building|Installing|Successfully)' || true; }
	@touch $@

demo: env ## the whole pipeline on the mini model and corpus: synthesise, prune, decode, print the table
	egs/mini_sir/run.sh

docs: env ## the site into site/, strictly: pages, Python, gallery, and the page of the demo, which runs if it did not
	@[[ -f egs/mini_sir/exp/mini/test/report.html ]] || egs/mini_sir/run.sh
	NO_MKDOCS_2_WARNING=1 mkdocs build

test: env lint ## all checks; PYTEST_ARGS="-k shell" for some of the tests
	OMP_NUM_THREADS=1 pytest -n auto --dist loadfile $(PYTEST_ARGS)

gpu: ## what only a GPU can tell, in ten minutes: needs torch and transformers alone, of .venv or of python3
	python3 -m speechprune.bench.gpu --page docs/performance.md --json docs/gpu.json

lint: env ## ruff, shellcheck, hadolint, the house (who imports whom) and the types
	ruff check
	ruff format --check
	shellcheck -x $(SHELL_FILES)
	hadolint Dockerfile
	lint-imports --no-logo
	mypy

clean: ## remove caches and build outputs; .venv, data and results stay
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
