# make demo    set-up, then the whole road on a synthetic shop; make demo RAW=folder [MAPPING=file] takes your own files;
#              make demo TARGET=mysql works on the MySQL or MariaDB server of the environment or of .env (docs/mysql.md)
#              make demo TARGET=spark loads and builds on Spark, in a virtual environment of its own (docs/spark.md; Java 17)
#              make demo DBT=latest works with the newest dbt, in a virtual environment of its own (no MySQL there)
# make live    start the live service on the demo's warehouse and send it the last day, to see decisions come in
# make docs    dbt's documentation with the metrics of the last training, and the gate's Data Docs, under results/docs
# make check   set-up, then lint, types, SQL lint and the fast tests: no server, browser, whole shop or statistics
# make test    set-up, then every check; on Spark with the smallest shop, where Spark is set up (make setup-spark)
# make test-spark   all shops on a Spark cluster, and its faults (docs/spark.md)
# make fuzz    hostile files, mappings, vars and settings, ROUNDS=20 times as many as the tests (long)
# make soak    kill commands at random, send whole shops to the live service (long)
# make bench   the benchmarks (long)      make lock   pin the dependencies anew (needs uv)      make clean
DBT ?=
TARGET ?=
ifeq ($(DBT),latest)
VENV := .venv-latest-dbt
LOCK := requirements-latest-dbt.lock
else ifeq ($(TARGET),spark)
VENV := .venv-spark
LOCK := requirements-spark.lock
else
VENV := .venv
LOCK := requirements.lock
endif
BIN := $(VENV)/bin
RAW ?=
MAPPING ?=
VISITORS ?= 150000
SEED ?= 42
DEMO_RAW ?= data/demo

# The first of these that runs: 3.11 or 3.12 are what the locked packages were resolved for.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& { echo $$python; break; }; done)

# The demo as it comes must match the figures in seeds/eda_baseline.csv; any other data set is recognised or not.
ifeq ($(RAW)$(VISITORS)/$(SEED),150000/42)
EDA_DATASET := synthetic_demo
else
EDA_DATASET := auto
endif

# One answer for every command of a run, whatever the shell around it has set.
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export DO_NOT_TRACK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# An empty TARGET leaves the choice to the environment.
ifneq ($(TARGET),)
export FUNNELIFT_TARGET := $(TARGET)
endif
ifeq ($(FUNNELIFT_TARGET),mysql)
# Read by the shell, as the documentation does by hand: make would trip over a $$ in a password. What the environment has
# already set wins.
WITH_ENV := if [ -f .env ]; then before=$$(export -p); set -a; . ./.env; eval "$$before"; set +a; fi;
endif

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
# One line a package while it is fetched, then the errors if any. Python compiles what is used, when it is used first.
PIP_INSTALL = $(BIN)/python -m pip install --require-hashes --no-deps --no-compile --progress-bar off -r $< 2>&1 \
	| { grep --line-buffered -E '^ *(Collecting|Installing|ERROR|error)' || true; } | cut -c1-160

.PHONY: help setup setup-dev setup-spark java demo live docs check fast test test-spark soak fuzz lint bench lock clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev
setup-spark:
	@$(MAKE) --no-print-directory setup TARGET=spark

$(VENV)/.installed: $(LOCK) $(if $(filter spark,$(TARGET)),| java)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed; none was found. Install it, or say PYTHON=/path/to/python3.11."; exit 1; }
	@echo "Set-up: virtual environment with $(PYTHON), packages pinned in $< (a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@test -z "$(DBT)" || { echo "The test and lint tools are locked beside dbt 1.7: leave DBT=$(DBT) out."; exit 1; }
	@test "$(TARGET)" != spark || { echo "The test and lint tools have an environment without Spark: leave TARGET=spark out."; exit 1; }
	@echo "Set-up: test and lint tools, pinned in $< ..."
	@$(PIP_INSTALL)
	@touch $@

JAVA := $(if $(JAVA_HOME),$(JAVA_HOME)/bin/java,java)

java:
	@version=$$("$(JAVA)" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p'); [[ "$$version" == 17 ]] || { \
		echo "Spark 3.5 needs Java 17; $(JAVA) is $${version:-missing}. Install it (Debian: apt-get install openjdk-17-jre-headless), or name its folder by JAVA_HOME."; exit 1; }

demo: setup $(if $(filter spark,$(TARGET)),java)
ifeq ($(FUNNELIFT_TARGET),mysql)
	@echo "0/4 The server"
	@$(WITH_ENV) $(BIN)/python -m ops check
endif
ifeq ($(RAW),)
	@echo "1/4 Synthetic shop of $(VISITORS) visitors (seed $(SEED)) into $(DEMO_RAW)"
	@$(BIN)/python -m ingest synth --out $(DEMO_RAW) --visitors $(VISITORS) --seed $(SEED)
endif
	@echo "2/4 Load"
	@$(WITH_ENV) $(BIN)/python -m ingest load --replace-synthetic --raw "$(or $(RAW),$(DEMO_RAW))" $(if $(MAPPING),--mapping "$(MAPPING)")
	@echo "3/4 dbt build: models and their tests$(if $(filter spark,$(TARGET)), (some minutes on Spark however small the shop))"
	@$(WITH_ENV) $(BIN)/dbt --quiet build --vars '{eda_dataset: $(EDA_DATASET)}'
	@echo "4/4 Train, evaluate, write predictions"
	@$(WITH_ENV) $(BIN)/python -m ml.train

live: setup
	@$(WITH_ENV) $(BIN)/python -m live replay

docs: setup
	@$(WITH_ENV) $(BIN)/python -m ops docs

# Files in the order of tests/python/conftest.py: the long ones first.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup-dev
	@$(MAKE) --no-print-directory --output-sync -j 2 lint fast

fast: setup-dev
	@$(PYTEST) -m "not server and not browser and not spark and not end_to_end and not statistics"

test: lint
	@$(PYTEST) --durations=10 -rs -m "not long"

lint: setup-dev
	@$(BIN)/pre-commit run --all-files

soak: setup-dev
	@SOAK_DUCKDB=$(or $(KILLS),200) SOAK_MYSQL=$(or $(KILLS_MYSQL),50) $(BIN)/python -m pytest -s tests/python/ops/test_soak.py
	@SOAK_LIVE=$(or $(KILLS_LIVE),50) $(BIN)/python -m pytest -s tests/python/live/test_service.py -k kill_9
	@REPLAYED_SHOPS=nasty,demo $(BIN)/python -m pytest -s tests/python/live/test_replay.py

test-spark: setup-dev setup-spark
	@$(BIN)/python -m pytest --durations=10 -m spark

fuzz: setup-dev
	@FUZZ_ROUNDS=$(or $(ROUNDS),20) $(BIN)/python -m pytest tests/python/test_fuzz.py
	@FUZZ_ROUNDS=$(or $(ROUNDS),20) $(BIN)/python -m pytest tests/python/live/test_service.py -k hostile

bench: setup
	@$(BIN)/python -m benchmarks.run

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header

lock:
	$(COMPILE) --extra mysql -o requirements.lock
	$(COMPILE) --extra mysql --group dev -o requirements-dev.lock
	$(COMPILE) --extra latest-dbt -o requirements-latest-dbt.lock
	$(COMPILE) --extra mysql --extra spark -o requirements-spark.lock

clean:
	rm -rf .venv .venv-latest-dbt .venv-spark target logs .pytest_cache .mypy_cache .ruff_cache .hypothesis
