# The front door. Each target first sets up what it needs: .venv, from python3 and the network.
PYTHON ?= python3
CORES ?= all
GRID ?=
PROFILE ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A grid has notebooks; grids/records.yaml is another kind of list.
GRIDS = $(patsubst grids/%.yaml,%,$(sort $(shell grep -ls '^notebooks:' grids/*.yaml)))
ifneq ($(filter-out $(GRIDS),$(GRID)),)
$(error GRID=$(GRID): no such grid; there are $(GRIDS), and grids/NAME.yaml makes another)
endif

# Not everybody may write into a home, nor is every home's IPython and Matplotlib set as others are.
HERE = PYTHONUTF8=1 XDG_CACHE_HOME="$(CURDIR)/build/cache" \
	IPYTHONDIR="$(CURDIR)/build/cache/ipython" MPLCONFIGDIR="$(CURDIR)/build/cache/matplotlib"
SNAKEMAKE = $(HERE) .venv/bin/python -m snakemake --configfile grids/$(or $(GRID),full).yaml \
	$(if $(PROFILE),--profile $(PROFILE),--cores $(CORES))

# As the Snakefile has it: without it an eighth of a step goes into page faults.
KEEP_MEMORY = MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=8589934592

# There already, or Debian's with the fonts that the pages ask for first, where one may install it.
CHROMIUM = command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get -qq update; \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	chromium fonts-dejavu-core fonts-paratype >/dev/null; }; }

.DEFAULT_GOAL := help
.PHONY: help setup report grid status lab test test-all test-slurm bench unlock clean

help:    ## this list
	@awk -F ': *## ' '/^[a-z-]+: *## / {printf "  make %-11s  %s\n", $$1, $$2}' Makefile
	@echo
	@echo "GRID is the name of a file in grids/: full, quick (15 minutes) or smoke (a few minutes)."
	@echo "CORES = $(CORES) runs at a time; PYTHON = $(PYTHON) makes .venv on first use."
	@echo "PROFILE=profiles/slurm sends the runs of a grid to SLURM; edit that profile first."

setup:   ## .venv with all that the project needs; the other targets call it themselves
setup: .venv/ready
	@echo ".venv is ready"

report:  ## the report from what data/ holds; with GRID=…, that grid and its report
report: .venv/ready
	@$(SNAKEMAKE) -- $(if $(GRID),report,recorded)

grid:    ## trains the runs of GRID (full) that are not recorded yet and executes each
grid: .venv/ready
	@$(SNAKEMAKE) -- grid

status:  ## how many runs of grids/records.yaml are recorded; which are running or interrupted
status: .venv/ready
	@.venv/bin/python -m icl_report.status grids/records.yaml

lab:     ## opens the notebooks in JupyterLab
lab: .venv/ready
	@.venv/bin/jupyter-lab $$([ "$$(id -u)" = 0 ] && echo --allow-root) notebooks

test:    ## style and tests
test: .venv/ready
	@$(CHROMIUM) || echo "no chromium: the pages will not be tested in a browser"
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --check --quiet
	@.venv/bin/pytest

test-all: ## the tests that take longer, too
test-all: test
	@.venv/bin/pytest -m long

test-slurm: ## a grid on a real SLURM on this machine, killed and resumed (root, Debian)
test-slurm: .venv/ready
	@.venv/bin/pytest -m slurm -rs -s tests/test_slurm.py

bench:   ## measures training against plain torch, GPT2Model and the machine's matrix product
bench: .venv/ready
	@$(KEEP_MEMORY) .venv/bin/python benchmarks/throughput.py

unlock:  ## lets GRID go on after it was killed (make sure first that it no longer runs)
unlock: .venv/ready
	@$(SNAKEMAKE) --unlock

clean:   ## removes build/ (small grids and checkpoints), never data/
	@rm -rf build

# An environment knows its place by heart: in a checkout that was moved or renamed it is made anew.
ifneq ($(shell cat .venv/ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/ready
endif
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(\
	f"Python 3.11 or newer is needed, $(PYTHON) is {v}: make PYTHON=/path/to/a/newer/python")'
	@echo "setting up .venv (once, a few minutes) …"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/pip install --quiet -c constraints.txt -e '.[test]'
	@echo "$(CURDIR)" > $@
