# `make demo` and `make test` set everything up: they create .venv and reuse it until the pinned packages change.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := dlink_hf tests tools examples benchmarks setup.py
# python3.11 is what the pinned packages are tested with; a later one is taken, with a word, where it is missing
PYTHON ?=
# processes that share out the files of the tests
WORKERS ?= 2
# more words for pytest, of `make test-slow`
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow style quality docs clean

help:
	@echo "make demo       distil a student from synthetic EEG: scores, checkpoint, card and plots in outputs/demo"
	@echo "make test       the tests (slow ones left out)"
	@echo "make test-slow  the slow tests: builds the wheel and installs it into a fresh environment"
	@echo "make style      format the code and fix what can be fixed"
	@echo "make quality    check format, lint, spelling, the order of the rooms and types; change nothing"
	@echo "make docs       build the documentation into build/docs; a warning is an error"
	@echo "make clean      remove what was built; recordings, outputs and .venv stay"

$(STAMP): setup.py pyproject.toml constraints.txt tools/fix_torchaudio.py
	@set -eu; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  python="$(PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    for candidate in python3.11 python3.12 python3.13 python3; do \
	      if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        python="$$candidate"; break; \
	      fi; \
	    done; \
	  fi; \
	  if [ -z "$$python" ]; then \
	    echo "No Python 3.11 or later with venv was found. Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	  fi; \
	  version="$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; \
	  if [ "$$version" != 3.11 ]; then \
	    echo "Note: no python3.11 here, taking Python $$version; the pinned packages are tested with 3.11."; \
	  fi; \
	  echo "Creating $(VENV) with Python $$version"; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[teachers,demo,dev,docs]"
	$(BIN)/python tools/fix_torchaudio.py
	@touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/dlink demo --output_dir outputs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

style: $(STAMP)
	$(BIN)/ruff check --fix $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

quality: $(STAMP)
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/codespell $(wildcard $(SOURCES) docs *.md *.toml *.cff .github .ci model_cards)
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open build/docs/index.html"

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find dlink_hf tests tools examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
