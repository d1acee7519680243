# Everything a developer calls. Each target prepares what it needs; nothing has to be installed by hand first
# but git, make, gcc and Python 3.11 or newer.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.k1ctl-installed
# For two cores: for a good part of their time tests wait for processes and devices.
JOBS   ?= 3
ARGS   ?=
PYTEST := $(BIN)/python -m pytest

.PHONY: help test lint check demo soak bench docs recording probe-mac tools system clean

help:
	@echo "make test    set up everything, check the style and types, run the suite"
	@echo "make demo    set up everything and run k1ctl demo (ARGS='--agents 4')"
	@echo "make lint    ruff and mypy only"
	@echo "make check   the suite only (ARGS='tests/plugins -k init')"
	@echo "make soak    the long kill storms, the long rounds of simultaneous builds"
	@echo "make bench   the measurements against peers"
	@echo "make docs    write the hook and command references and the completions anew"
	@echo "make recording  record the demo for the README"
	@echo "make probe-mac  on a Mac: record what it answers, for the tests of its half"
	@echo "make clean   remove what the other targets made here"

test: system tools lint check

$(STAMP): pyproject.toml scripts/prepare
	@sh scripts/prepare venv $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade pip  # an old pip writes a console script that imports re: 5 ms a start
	@$(BIN)/python -m pip install -qq --editable '.[test,lint]'
	@touch $@

system: $(STAMP)
	@sh scripts/prepare system

tools: $(STAMP)
	@$(BIN)/k1ctl tools install

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check: $(STAMP)
	@$(PYTEST) -q -n $(JOBS) --dist worksteal $(ARGS)

demo: $(STAMP) tools
	@$(BIN)/k1ctl demo $(ARGS)

soak: $(STAMP) tools
	@$(PYTEST) -m soak --timeout 3600 $(ARGS)

bench: $(STAMP) system tools
	@set -e; for program in $$(grep -l __main__ bench/*.py); do echo "== $$program"; $(BIN)/python "$$program" $(ARGS); done

docs: $(STAMP)
	@$(BIN)/python docs/generate.py

recording: $(STAMP) tools
	@$(BIN)/python -m pip install -qq --editable '.[docs]'
	@$(BIN)/python docs/record.py $(ARGS)

probe-mac: $(STAMP)
	@$(BIN)/python scripts/probe-mac $(ARGS)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
