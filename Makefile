# On a fresh machine: `make demo` runs the shipped model, `make app` the web page, `make test` the whole suite. Each sets up what it needs.
# The demo needs a few small packages where the shipped model has its .tflite, TensorFlow where it has not.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_EXTRA := $(if $(wildcard saved_model/deepfake.tflite),lite,full)

.PHONY: demo app test check format notebooks clean

demo: $(VENV)/.installed-$(DEMO_EXTRA)
	$(BIN)/deepfake-tf demo

app: $(VENV)/.installed-full
	$(BIN)/deepfake-tf app

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(VENV)/.installed-dev # runs both and stores what they print; ARGUMENTS="--set WEIGHTS=file" where there is no network
	$(BIN)/python notebooks/execute.py $(ARGUMENTS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
