# On a fresh machine: `make demo` runs the shipped model, `make app` the web page, `make test` the whole suite. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo app test cases check format notebooks docs clean

demo: $(VENV)/.installed-lite
	$(BIN)/deepfake-tf demo

app: $(VENV)/.installed-full
	$(BIN)/deepfake-tf app

test: $(VENV)/.installed-dev # each file's tests by one of two workers, which take about 4 GB each
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

cases: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m cases

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/.installed-dev
	$(BIN)/python notebooks/execute.py $(ARGUMENTS)

docs: $(VENV)/.installed-docs
	$(BIN)/python docs/figures.py
	$(BIN)/mkdocs build --quiet

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
