# The two commands: `make` installs and runs the main job, `make test` installs and passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: run test lint audit check-reports profile-paper profile-laptop profile-relational profile-smoke clean

run: $(VENV)/.installed
	$(BIN)/python -m pipeline.flows.repair
	PATH=$(abspath $(BIN)):$$PATH dvc repro
	@echo "done: open reports/index.html; runs and curves: $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db"

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known holes in the installed packages, where their database can be reached.
audit: $(VENV)/.installed-dev
	$(BIN)/python .ci/audit.py

# Regenerate the tables and figures from the same evaluations and compare every byte.
check-reports: $(VENV)/.installed
	$(BIN)/neurop report current --check
	$(BIN)/neurop report paper --check

profile-paper profile-laptop profile-relational profile-smoke: profile-%:
	cp profiles/$*.yaml params.yaml

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .scratch logs
