# Two commands matter: `make session` trades a simulated session, `make test` runs every test. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help session test test-long crash-test rehearsals machinery browser mutants pictures lint format bench bench-peers rl constraints clean

help:
	@sed -n 's/^# //p' Makefile | head -1
	@echo "make session | test | test-long | crash-test | rehearsals | machinery | browser | mutants | pictures | lint | format | bench | bench-peers | clean"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "openbell needs Python 3.11, 3.12 or 3.13; %s is %d.%d. Name another: make PYTHON=python3.11 ..." % (sys.executable, v[0], v[1]))'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.base

# What tests are and import is large, and nobody has compiled it in a new environment: done once here, by a process for each of two cores,
# and not by every process of tests at the same moment. What is wrong with a file the tests themselves will tell.
$(VENV)/.compiled: export PYTHONDONTWRITEBYTECODE =
$(VENV)/.compiled: $(VENV)/.dev
	@$(BIN)/python -m pytest --collect-only -q tests/trading tests/storage >/dev/null & \
	$(BIN)/python -m pytest --collect-only -q --ignore tests/trading --ignore tests/storage >/dev/null; wait
	@touch $@

session: $(VENV)/.base
	@$(BIN)/openbell session

# Hundreds of processes are started: what one of them compiles the others read, also where nothing is to be written usually.
test test-long crash-test rehearsals machinery: export PYTHONDONTWRITEBYTECODE =

# Four files of tests at a time, also on two cores: many tests wait for processes of their own. tests/conftest.py has the order.
TESTERS := 4
test: $(VENV)/.compiled
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder --durations 15

# The same with three times as many invented sessions, and more kills.
test-long: export OPENBELL_TESTS = long
test-long: test

# Sessions are killed and started again, hundreds of times: make crash-test KILLS=500 SEED=1 (CASE=kill-7 repeats one case).
KILLS := 500
crash-test: $(VENV)/.dev
	$(BIN)/python tests/crash --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case $(CASE))

# Whole sessions at the rehearsal gateway while things go wrong: make rehearsals RUNS=300 SEED=1 (CASE=run-7 repeats one case).
RUNS := 300
rehearsals: $(VENV)/.dev
	$(BIN)/python tests/rehearsals --runs $(RUNS) $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case $(CASE))

# A whole stack is hurt: every failure of docs/operations.md, those too that take their time (a reboot, a broker that is silent).
machinery: $(VENV)/.dev
	OPENBELL_TESTS=long $(BIN)/python -m pytest tests/machinery tests/deployments/stack/test_postgres.py --durations 30

# Chromium in the UI of a stack: a form, a run, its artifacts. apt-get install chromium, or name one in OPENBELL_CHROMIUM.
browser: $(VENV)/.dev
	OPENBELL_BROWSER=required $(BIN)/python -m pytest tests/browser --durations 5

# The pictures of the UI in docs/pictures, from a stack that trades two invented days for them (PICTURES="form report": those alone).
# It needs a Chromium, as the test of the UI does: apt-get install chromium, or OPENBELL_CHROMIUM.
pictures: $(VENV)/.dev
	$(BIN)/python tests/browser/pictures.py $(PICTURES)

MUTANTS := .venv-mutants

$(MUTANTS)/.installed: tests/mutation/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MUTANTS)
	$(MUTANTS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]" -r $<
	@touch $@

# Every rule of risk is made wrong in two thousand ways, one at a time, and a test has to notice: about ten minutes.
mutants: $(MUTANTS)/.installed
	$(MUTANTS)/bin/python tests/mutation/run.py $(if $(FRESH),--fresh) $(MODULES)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Reinforcement learning: only training needs it, and it is large.
rl: $(VENV)/.base
	$(PIP) -e ".[rl]"

# Figures go to .bench/results.json; nothing of this is part of `make test`.
bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks/bench_replay.py tests/benchmarks/bench_live_path.py tests/benchmarks/bench_session.py tests/benchmarks/bench_stack.py tests/benchmarks/bench_risk.py tests/benchmarks/bench_durability.py tests/benchmarks/bench_door.py tests/benchmarks/bench_reconciliation.py tests/benchmarks/bench_features.py tests/benchmarks/bench_models.py tests/benchmarks/bench_policies.py tests/benchmarks/bench_environment.py tests/benchmarks/bench_ib_feed.py tests/benchmarks/bench_ib_orders.py tests/benchmarks/bench_watching.py tests/benchmarks/bench_upkeep.py

PEERS := .venv-peers

$(PEERS)/.installed: tests/benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The same job done by others beside ours, each in an environment of its own.
bench-peers: $(VENV)/.dev $(PEERS)/.installed
	PEERS_PYTHON=$(PEERS)/bin/python $(BIN)/python -m pytest tests/benchmarks/bench_peers.py

constraints:
	rm -rf $(VENV)-constraints && $(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/pip install --quiet -e ".[dev]"
	@(sed -n '/^#/p' constraints.txt; $(VENV)-constraints/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' | sort -f) > constraints.new
	@mv constraints.new constraints.txt && rm -rf $(VENV)-constraints

clean:
	rm -rf $(VENV) $(VENV)-* .mutants .bench .pytest_cache .mypy_cache .ruff_cache *.egg-info build
