# Two commands for a fresh machine with Python 3.11+, gcc and make:
#   make demo   environment, then the adder suite measured: the table and a validated report
#   make test   environment, then all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
REPORT ?= tpf-report.json

# Where it is set, every one of the many interpreters that the tests start would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-served test test-servers test-fleet stress fuzz lint types check bench known-joules models docs clean
.DELETE_ON_ERROR:

$(VENV)/.demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pytest-tpf needs Python 3.11 or newer; try: make PYTHON=python3.12 demo")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[transformers]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,lint]'
	@touch $@

# This machine's peaks, so that the binding constraint can be told; kept in the user's cache.
$(VENV)/.calibrated: $(VENV)/.demo
	$(BIN)/tpf calibrate
	@touch $@

# The main job on the embedded example: measure, print the table, write the report, validate it. (`=`, because pytest takes a file that is
# named apart and exists already for one more place to look for its settings.)
demo: $(VENV)/.calibrated
	$(BIN)/python -m pytest examples/adder --tpf-report=$(REPORT)
	$(BIN)/tpf validate $(REPORT)

# The same of a served model: the official openai client against a `transformers serve` that the suite starts.
$(VENV)/.served: $(VENV)/.demo
	$(PIP) install --quiet --constraint constraints.txt --editable '.[openai,transformers]' 'transformers[serving]'
	@touch $@

demo-served: $(VENV)/.served
	$(BIN)/python -m pytest examples/served --tpf-report=$(REPORT)
	$(BIN)/tpf validate $(REPORT)

# What holds figures against the clock has the machine for itself. What measures, too, but waits most of its time, goes two at a time, and
# the rest three at a time with a thread each.
plugin = $(patsubst %,tests/plugin/test_%.py,$(1))
ALONE := tests/measure tests/meters/test_prometheus.py tests/benchmarks/test_coverage.py \
	$(call plugin,baseline boards compare fail fit load prometheus replay sensors steady)
IN_PAIRS := tests/faults tests/standin $(filter-out $(ALONE),$(wildcard tests/meters/test_*.py tests/test_*.py)) \
	$(call plugin,fixture marker_only neighbours progress reruns scale servers xdist zeus)
APART := tests $(patsubst %,--ignore=%,$(ALONE) $(IN_PAIRS)) -n 3 --dist loadfile
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(APART)
	$(BIN)/python -m pytest $(IN_PAIRS) -n 2 --dist loadfile
	$(BIN)/python -m pytest $(ALONE)

# A real llama_cpp.server, and llama-cpp-python in this process: apart from `make test`, because pip compiles it (with g++; five minutes on
# two quiet cores).
$(VENV)/.servers: $(VENV)/.test
	$(PIP) install --quiet --constraint constraints.txt --editable '.[servers]'
	@touch $@

test-servers: $(VENV)/.servers
	$(BIN)/python -m pytest tests/servers tests/engines/test_llama_cpp.py

# The meter `ray` on real clusters of several nodes on this machine (about four minutes; one test needs root, for a clock of its own).
$(VENV)/.fleet: $(VENV)/.test
	$(PIP) install --quiet --constraint constraints.txt --editable '.[ray]'
	@touch $@

test-fleet: $(VENV)/.fleet
	$(BIN)/python -m pytest tests/fleet

# The long variants: minutes and gigabytes, so apart from `make test`.
stress: $(VENV)/.test
	$(BIN)/python -m pytest tests -m stress
	EXAMPLES=new OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(APART)
	EXAMPLES=new $(BIN)/python -m pytest tests/measure

# Bytes that break a reader of reports, calibrations, profiles, logs or answers are looked for; coverage-guided where atheris installs.
fuzz: $(VENV)/.test
	-$(PIP) install --quiet atheris
	nice -n 19 $(BIN)/python -m tests.fuzz

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

check: lint types test

# Retrain the example's models (about two minutes on two cores).
models: $(VENV)/.demo
	$(BIN)/python examples/adder/train.py

# Everything docs/benchmarks.md reports; the peer it is measured beside gets an environment of its own.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# Every tool on boards whose joules are known: docs/known-joules.md and docs/results (about ten minutes on two quiet cores).
known-joules: $(VENV)/.test
	$(BIN)/python -m benchmarks.known_joules --write

# The reference pages that are generated from the code.
docs: $(VENV)/.test
	$(BIN)/python -m docs.generate

clean:
	rm -rf $(VENV) build dist *.egg-info
