# make demo: train on handwritten digits and open the report. make test: all tests. `make help` lists the rest.
BIN := .venv/bin
.PHONY: help setup dev demo test check bench notebooks clean

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup:  ## install what running needs into .venv
	@./setup.sh

dev:
	@./setup.sh dev

demo: setup  ## train on handwritten digits, about a minute, and write a report
	@$(BIN)/noisette demo

test: dev  ## all tests
	@$(BIN)/pytest -n 2

check: dev  ## lint, types, the floors, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell README.md ARCHITECTURE.md CHANGELOG.md LOG.md docs src tests benchmarks setup.sh Makefile

bench:  ## measure training and sampling against other projects, 2 to 3 hours (ARGS="--only throughput")
	@./setup.sh bench
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip -q
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r benchmarks/without-deps.txt
	@$(BIN)/python benchmarks/run.py $(ARGS)

clean:  ## remove the environment and caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

notebooks: dev  ## the .ipynb of notebooks/*.py, without outputs
	@$(BIN)/jupytext --quiet --update --to ipynb notebooks/*.py
