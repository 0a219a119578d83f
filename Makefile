# make demo   set-up, then the whole road on synthetic data      make demo RAW=folder [MAPPING=file]   on your own files
# make test   set-up, then every check                            make bench   the benchmarks (long)
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c 'pass' 2>/dev/null && echo python3.12 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
VISITORS ?= 150000
SEED ?= 42
DEMO_RAW := data/demo

export DBT_SEND_ANONYMOUS_USAGE_STATS = false
export DO_NOT_TRACK = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup setup-dev demo test lint bench lock clean
help:
	@sed -n '1,2p' Makefile | cut -c3-
