# Mailroom's everyday commands. `make` alone lists them; each one installs what it needs into .venv first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help install pipeline status follow test lint format docs bench bench-bus crash sharedfs mcp-servers serve-check clean

CPU_WHEELS := https://download.pytorch.org/whl/cpu
PIP := .venv/bin/python -m pip --disable-pip-version-check install --quiet
# Suffix-less commands of bin/; mypy takes files by name only. It would take bin/mcp for the package of that name.
COMMANDS := $(filter-out bin/_% bin/%.py bin/mcp,$(wildcard bin/*)) bin/_mcp_serve.py
ROOMS := bus agents training benchmarks

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r name what; do
	printf '  make %-11s %s\n' "$$name" "$$what"
	done

install: .venv/installed ## install Mailroom into .venv (again after an interruption: the same command)

pipeline: .venv/installed ## run a goal, or go on with it: GOAL=goals/gpu-ops.md [ROUNDS=2 | ROUNDS=forever]
	@if [ -z "$${GOAL:-}" ]; then echo "make pipeline: which goal? try GOAL=goals/gpu-ops.md" >&2; exit 2; fi
	exec .venv/bin/python bin/pipeline "$$GOAL" $${ROUNDS:+--rounds "$$ROUNDS"}

status: .venv/installed ## say what each step of a run holds and cost: RUN=runs/gpu-ops
	@if [ -z "$${RUN:-}" ]; then echo "make status: which run? try: make status RUN=runs/gpu-ops" >&2; exit 2; fi
	exec .venv/bin/python bin/status "$$RUN"

follow: .venv/installed ## show all logs of a run as they grow: RUN=runs/gpu-ops
	@if [ -z "$${RUN:-}" ]; then echo "make follow: which run? try: make follow RUN=runs/gpu-ops" >&2; exit 2; fi
	exec .venv/bin/python bin/follow "$$RUN"

test: .venv/installed-dev ## run the tests
	@.venv/bin/python -m pytest -n 2 --dist worksteal

lint: .venv/installed-dev ## check formatting, lint and types
	@.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy $(ROOMS) $(COMMANDS)

format: .venv/installed-dev ## format the code and sort the imports
	@.venv/bin/ruff check --fix-only --quiet
	.venv/bin/ruff format

docs: .venv/installed ## write the commands' own help texts into the README
	@exec .venv/bin/python tests/readme_commands.py

bench: .venv/installed ## measure what the README states, beside the field's figures
	@exec .venv/bin/python -m benchmarks

bench-bus: .venv/installed-bench ## measure the bus beside other file queues, which it installs
	@exec .venv/bin/python -m benchmarks.bus

crash: .venv/installed-dev ## try to break the bus, some minutes: [SEED=7]
	@exec .venv/bin/python -m tests.crash --seed "$${SEED:-1}"

sharedfs: .venv/installed ## try the bus on shared file systems, which it installs (as root, on Debian)
	@exec .venv/bin/python -m tests.sharedfs

mcp-servers: .venv/installed ## try the MCP client and bin/mcp with servers that others wrote, which it installs elsewhere
	@exec .venv/bin/python -m tests.foreign

serve-check: .venv/installed-dev .venv/installed-serve ## ask `transformers serve`, which it installs, through the llm agent
	@exec .venv/bin/python -m pytest tests/test_serve.py

clean: ## remove caches (never runs/, models/ or .venv)
	@find . -path ./.venv -prune -o -path ./runs -prune -o -name __pycache__ -type d -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A package that was half unpacked can look installed. So a .venv that we make is marked until it is whole, and one
# found marked is made anew (pip's cache keeps the downloads). One made by hand, say with a ROCm torch, is kept.
.venv/installed: requirements.txt
	@say() { echo "make install: $$*"; }
	torch=$$(grep -o '^torch==[^ ]*' requirements.txt)
	if [ -e .venv/unfinished ]; then
	say "the last installation was interrupted; beginning again"
	rm -rf .venv
	fi
	if [ ! -x .venv/bin/python ]; then
	for python in python3 python3.14 python3.13 python3.12 python3.11 none; do
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
	done
	if [ "$$python" = none ]; then say "no Python 3.11 or newer on the PATH; install one, then try again" >&2; exit 2; fi
	say "making .venv with $$("$$python" --version)"
	mkdir -p .venv
	touch .venv/unfinished
	if ! "$$python" -m venv .venv >.venv/venv.log; then
	say "$$python cannot make a .venv (see .venv/venv.log); on Debian: apt install python3-venv" >&2; exit 1
	fi
	fi
	if [ -e /dev/nvidia0 ] || [ -e /dev/kfd ] || nvidia-smi -L >/dev/null 2>&1; then
	say "there is a GPU: $$torch as the default index has it (some GB)"
	$(PIP) "$$torch" -c requirements.txt
	else
	say "no GPU here: $$torch for the CPU (about 200 MB) from $(CPU_WHEELS)"
	# --no-deps: that index lacks some of the exact versions, which requirements.txt brings below.
	if ! $(PIP) "$$torch" --no-deps --index-url $(CPU_WHEELS) --timeout 5 --retries 0 2>.venv/cpu-wheels.log; then
	say "that index does not answer (see .venv/cpu-wheels.log); $$torch from the default index (perhaps its CUDA build, some GB)"
	$(PIP) "$$torch" -c requirements.txt
	fi
	fi
	say "everything else of requirements.txt"
	$(PIP) -r requirements.txt
	rm -f .venv/unfinished
	touch .venv/installed
	say "done in $$SECONDS s; see what you can do: make"

.venv/installed-bench: .venv/installed requirements-bench.txt
	@echo "make install: the peers of requirements-bench.txt"
	$(PIP) -r requirements-bench.txt
	touch .venv/installed-bench

.venv/installed-serve: .venv/installed requirements-serve.txt
	@echo "make install: what transformers serve needs, of requirements-serve.txt"
	$(PIP) -r requirements-serve.txt
	touch .venv/installed-serve

.venv/installed-dev: .venv/installed requirements-dev.txt
	@echo "make install: tools for tests and lint, of requirements-dev.txt"
	$(PIP) -r requirements-dev.txt
	touch .venv/installed-dev
