# make demo   installs all it needs into .venv, runs the main job, shows what happened; KEEP=1 leaves it all up
# make test   passes the tests
.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

VENV := .venv
# Programs run as modules: a script's first line can't name an interpreter whose path has a space.
BIN := $(VENV)/bin/python -m
PYTHON ?=
ONLY ?=
KEEP ?=
export KEEP
STAMP := $(VENV)/.installed

.PHONY: help install demo up down test test-slow test-long lint docs audit bench lock clean

help:
	@sed -n 's/^# make /make /p' Makefile
	@echo 'also: demo MARQUEZ=1, install, up, down, test-slow, test-long, lint, docs, audit, bench (ONLY=GROUP), lock, clean'

install: $(STAMP)

$(STAMP): pyproject.toml requirements/lock-py3.11.txt requirements/lock-py3.12.txt requirements/lock-py3.13.txt requirements/without-dependencies.txt scripts/install.sh
	@PYTHON='$(PYTHON)' VENV='$(VENV)' sh scripts/install.sh
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN) sandbox.demo

# docker-compose.yaml on a Docker engine: docs/howto/compose.md
up down: $(STAMP)
	@$(BIN) sandbox.compose $@

test: $(STAMP)
	@$(BIN) pytest -q -m 'not long and not slow'

test-slow: $(STAMP)
	@$(BIN) pytest -q -m 'slow and not long'

test-long: $(STAMP)
	@$(BIN) pytest -q

lint: $(STAMP)
	@$(BIN) ruff check .
	@$(BIN) ruff format --check .
	@$(BIN) mypy
	@$(VENV)/bin/python -c 'from importlinter.cli import lint_imports_command as lint; lint()' >$(VENV)/lint-imports.log 2>&1 \
	  || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo 'import layers: kept'

# Not with -q, which would take the warnings away that stop a strict build. The pages of docs/, and the reference out of docstrings, in site/. NO_MKDOCS_2_WARNING: an advertisement of the theme's.
docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN) mkdocs build

audit: $(STAMP)
	@VENV='$(VENV)' sh scripts/audit.sh

bench: $(STAMP)
	@$(BIN) benchmarks $(ONLY)

# The locks: one for each supported Python, with hashes and without an index address.
lock: $(STAMP)
	@for version in 3.11 3.12 3.13; do \
	  $(BIN) uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	    --python-version $$version --python-platform x86_64-manylinux_2_34 --extra dev pyproject.toml \
	    -o requirements/lock-py$$version.txt || exit 1; \
	done

clean:
	rm -rf '$(VENV)' site .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
