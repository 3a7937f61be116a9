# `make train` and `make test` install everything on a fresh machine; the next time they start at once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EVENTS ?= 1000
JOBS ?= 2

.PHONY: train test physics faults benchmarks docs lint clean

# Train on the fast simulator, then validate the recommended design in Geant4.
train: $(VENV)/.installed
	$(BIN)/rl-detector train experiment=calorimeter
	$(BIN)/rl-detector validate latest --simulator geant4 --events $(EVENTS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist worksteal

# Tests physics with many events; takes minutes.
physics: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

# Causes crashes, hangs, kills, full disks and lost servers; takes minutes and writes tests/faults/results.md.
faults: $(VENV)/.installed-dev
	$(BIN)/python tests/faults/campaign.py

# Measures speeds as ratios within one run; a person reads them, no test checks them.
benchmarks: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/fast_throughput.py
	$(BIN)/python tests/benchmarks/study_overhead.py
	$(BIN)/python tests/benchmarks/agent_time.py
	$(BIN)/python tests/benchmarks/geant4_overhead.py
	$(BIN)/python tests/benchmarks/ledger_scale.py
	$(BIN)/python tests/benchmarks/evaluator_overhead.py

# Builds docs/_build/html and runs the tutorials; warnings are errors. Takes a minute or two.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -b html -W --keep-going -n -q -j $(JOBS) docs docs/_build/html

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit("rl_detector needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check 'torch>=2.6,<2.14'
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[geant4]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[geant4,dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@
