# The two commands of the README are `make demo` and `make test`; both make .venv when it is not there.
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# A process on each core; a file stays in one, as its tests share what they made.
SPREAD ?= --numprocesses auto --dist loadfile --no-loadscope-reorder
# XGBoost's threads spin while they wait, which costs a factor of 30 on busy cores.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test quick check lint types layers bandit audit pages docs install bench

demo: $(VENV)/ready
	$(BIN)/triher demo --out $(OUT)

# The processes fill the cores; further threads in each would wait for each other.
test quick: export OMP_NUM_THREADS = 1

test: $(VENV)/ready
	$(BIN)/pytest $(SPREAD)

quick: $(VENV)/ready
	$(BIN)/pytest $(SPREAD) -m "not slow"

check: lint types layers bandit docs test

lint: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/ready
	$(BIN)/mypy

layers: $(VENV)/ready
	$(BIN)/lint-imports

bandit: $(VENV)/ready
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive triher extract classify analysis

# Asks a public database, so it needs a network; --strict fails where a package could not be asked about.
audit: bandit
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

# About an hour; prints one table and writes it into the README. ONLY=load measures one part again.
bench: $(VENV)/ready
	$(BIN)/python -P benchmarks/bench.py $(if $(ONLY),--only $(ONLY))

# What docs/ repeats of the code: the codes, the catalogue of faults.
pages: $(VENV)/ready
	$(BIN)/python docs/make/pages.py

# The site, in site/; `python -m http.server -b 127.0.0.1 -d site` shows it. Its search works from a server alone.
docs: $(VENV)/docs
	$(BIN)/python docs/make/website.py

$(VENV)/docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

install: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "making $(VENV), about 4 GB; pip prints nothing for 3 to 10 minutes"
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[extract,weights,finetune,explain,view,dicom,dev]'
	touch $@
