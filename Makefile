# Run `make` to see the targets. Any Python >= 3.10 will do: make PYTHON=/path/to/python3 test
PYTHON ?= python3

FUZZ_SECONDS ?= 60
# How many tests that failed beside others may be tried once more, alone.
SECOND_LOOK ?= 0

# Tests start Python many hundred times: what it has compiled once is kept.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
SHELL_FILES := .ci/run tests/prepare.sh $(wildcard templates/*/*.sh templates/local/hpcorch-local)

# Stamps: what they stand for is done again only when what is installed, or how, has changed.
INSTALLED := setup.cfg setup.py pyproject.toml $(wildcard hpcorch/module/src/*)
CREATED := $(VENV)/.created
FOR_USE := $(VENV)/.installed-for-use
FOR_TESTS := $(VENV)/.installed-for-tests
FOR_AI := $(VENV)/.installed-for-test-ai
FOR_BROWSER := $(VENV)/.installed-for-browser

.NOTPARALLEL:
.PHONY: help demo test test-ai bench asan fuzz soak cluster docs docs-check lint golden clean prepare

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(FOR_USE) ## set up .venv and run the example on this machine
	$(BIN)/hpcorch demo

# Many tests wait most of the time: four processes keep even two CPUs no more than busy.
test: prepare $(FOR_TESTS) ## set up what tests need, then run every check and every test
	@# While the checks keep one CPU busy, pytest compiles the tests, which each process would else do.
	@$(BIN)/pytest --collect-only -qq >/dev/null & $(MAKE) --no-print-directory lint && wait
	$(BIN)/pytest --numprocesses=4 --dist=loadscope || $(BIN)/python -m tests.second_look $$? $(SECOND_LOOK)

test-ai: prepare $(FOR_AI) ## install PyTorch and TensorFlow (2 GB) and run the tests that need them
	$(BIN)/pytest -m ai --timeout 600

bench: prepare $(FOR_TESTS) ## measure speed; prints ratios
	@set -e; for script in tests/bench/bench_*.py; do echo "== $$script"; $(BIN)/python -m tests.bench.$$(basename $$script .py); done

# Valkey loads modules with RTLD_DEEPBIND, which AddressSanitizer refuses. Servers live on when a
# damaged value wants more memory than there is, and so they must here. Redis 8.2 leaks by itself.
asan: $(FOR_TESTS) ## run the server module's tests with the sanitizers of gcc
	gcc -std=c11 -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	  -fPIC -shared -fvisibility=hidden -o $(VENV)/module-asan.so hpcorch/module/src/*.c
	HPCORCH_MODULE=$(CURDIR)/$(VENV)/module-asan.so SERVER_PRELOAD=$$(gcc -print-file-name=libasan.so) \
	  ASAN_OPTIONS=allocator_may_return_null=1 $(BIN)/pytest tests/module -k 'not valkey and not falkordb'

# Clang's own package leaves libFuzzer out, which is in libclang-rt-dev.
fuzz: $(FOR_TESTS) ## feed the server module's parsers for FUZZ_SECONDS (60) by libFuzzer; root gets clang installed
	bash tests/prepare.sh clang:clang clang:libclang-rt-dev
	mkdir -p $(VENV)/fuzz
	clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -Ihpcorch/module/src -o $(VENV)/fuzz-parsers tests/fuzz/parse_fuzz.c \
	  hpcorch/module/src/parse.c hpcorch/module/src/fingerprint.c
	$(VENV)/fuzz-parsers -max_total_time=$(FUZZ_SECONDS) -dict=tests/fuzz/words.dict $(VENV)/fuzz tests/fuzz/seeds

soak: prepare $(FOR_TESTS) ## 200 races of 64 processes for the server of their node
	$(BIN)/pytest -v tests/soak

cluster: prepare $(FOR_TESTS) ## bring up a Slurm cluster of four nodes on this machine to play with
	$(BIN)/python -m tests.testbed up

docs: $(FOR_TESTS) ## build the documentation into build/docs; a broken link or a page in no menu is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-check: prepare docs $(FOR_BROWSER) ## try the documentation in headless Chromium, which must be there (root gets it installed)
	bash tests/prepare.sh chromium:chromium
	$(BIN)/pytest tests/docs/browser.py

# SC2034, SC2153: a library shares its variables with the script that includes it.
lint: $(FOR_TESTS) ## ruff, mypy, import-linter, shellcheck and the C compiler's warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck --exclude=SC2034,SC2153 $(SHELL_FILES)
	$(CC) -std=c11 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror hpcorch/module/src/*.c

golden: $(FOR_TESTS) ## rewrite the expected scripts of tests/golden from what is rendered now
	$(BIN)/pytest --update-golden tests/golden

clean: ## remove everything that make has created
	rm -rf $(VENV) build dist *.egg-info hpcorch/module/*.so .coverage .coverage.* htmlcov
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find docs hpcorch tests -name __pycache__ -prune -exec rm -rf {} +

prepare:
	@bash tests/prepare.sh

$(FOR_USE): $(CREATED) $(INSTALLED)
	$(BIN)/pip install -q -e .
	@touch $@

$(FOR_TESTS): $(CREATED) $(INSTALLED)
	$(BIN)/pip install -q -e '.[test,docs]'
	@touch $@ $(FOR_USE)

$(FOR_AI): $(FOR_TESTS)
	$(BIN)/pip install -q -e '.[test,frameworks]'
	@touch $@

$(FOR_BROWSER): $(FOR_TESTS)
	$(BIN)/pip install -q -e '.[browser]'
	@touch $@

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "hpcorch needs Python 3.10 or newer: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	      apt-get install -qq -y --no-install-recommends python3-venv >/dev/null; \
	  else \
	    echo "Python's venv module is incomplete: install python3-venv" >&2; exit 1; \
	  fi; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
