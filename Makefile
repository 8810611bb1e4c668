# Two commands: `make train` and `make test`. Both need Python 3.11 or newer and nothing else:
# they install pinned dependencies into .venv, which belongs to this file and may be recreated.
PYTHON ?= python3
# Flags for pytest: a process per core, at most eight of them.
PYTEST_FLAGS ?= --numprocesses=auto --maxprocesses=8 --dist=worksteal
# `make constraints UPGRADE=--upgrade` moves every pin to the newest version.
UPGRADE ?=

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help train test test-all test-parity lint format typecheck constraints clean

help:
	@echo 'make train        train a small NFNet on handwritten digits, into runs/quickstart'
	@echo 'make test         lint, then the tests that are not slow'
	@echo 'make test-all     lint, types, then every test'
	@echo 'make test-parity  install PyTorch and timm, and compare our networks with theirs'
	@echo 'make lint         check style and formatting'
	@echo 'make format       repair what lint can repair'
	@echo 'make typecheck    check the type annotations'
	@echo 'make constraints  resolve constraints.txt from setup.py'
	@echo 'make clean        remove .venv, caches and build files; data and runs stay'
	@echo 'PYTHON=python3.12 on the command line picks the interpreter of .venv'

train: $(VENV)/train.installed
	$(VENV_PYTHON) scripts/prepare.py digits --data_dir=data
	$(VENV_PYTHON) scripts/train.py --config=configs/quickstart.py --workdir=runs/quickstart

test: lint
	$(VENV_PYTHON) -m pytest -m 'not slow' $(PYTEST_FLAGS)

test-all: lint typecheck
	$(VENV_PYTHON) -m pytest $(PYTEST_FLAGS)

# torch and timm stay out of constraints.txt, which would take CUDA's libraries with them.
test-parity: $(VENV)/dev.installed
	$(VENV_PYTHON) -m pip install --no-input --constraint constraints.txt torch==2.13.0
	$(VENV_PYTHON) -m pip install --no-input --no-deps torchvision==0.28.0 timm==1.0.31
	$(VENV_PYTHON) -m pip install --no-input --constraint constraints.txt tensorflow-cpu
	$(VENV_PYTHON) -m pytest tests/parity $(PYTEST_FLAGS)

lint: $(VENV)/dev.installed
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: $(VENV)/dev.installed
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

typecheck: $(VENV)/dev.installed
	$(VENV_PYTHON) -m pyright

constraints: $(VENV)/created
	$(VENV_PYTHON) -m pip install uv
	$(VENV_PYTHON) -m uv pip compile --universal --python-version 3.11 --all-extras $(UPGRADE) \
	  --no-annotate --custom-compile-command 'make constraints' \
	  --output-file constraints.txt setup.py

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# While pip works, `created` is set aside: an install cut short is begun anew, never taken for whole.
$(VENV)/%.installed: $(VENV)/created setup.py constraints.txt
	@mv $(VENV)/created $(VENV)/installing
	$(VENV_PYTHON) -m pip install --no-input --constraint constraints.txt --editable '.[$*]'
	@mv $(VENV)/installing $(VENV)/created
	@touch $@

$(VENV)/created:
	@command -v '$(PYTHON)' >/dev/null || \
	  { echo 'nfnets needs Python 3.11 or newer: $(PYTHON) was not found.' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and \
	  "nfnets needs Python 3.11 or newer: $(PYTHON) is %d.%d; name another: PYTHON=..." % v)'
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) has no venv module: install it (Debian: apt install python3-venv).' >&2; \
	  exit 1; }
	'$(PYTHON)' -m venv --clear $(VENV)
	@touch $@
