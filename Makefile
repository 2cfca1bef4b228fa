# The targets install packages into .venv* and node_modules, and keep data in .data. `make help` lists the targets.
# Paths are relative and programs run as modules, so that the folder's name may have spaces and the folder may be moved.

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

dev: .venv/dev ## serve on port 4000 with a PostgreSQL server of its own (RELOAD=1: restart after each change)
	@$(RUN) service dev $(if $(RELOAD),--reload) $(if $(MIGRATE),--migrate)

psql: .venv/dev ## open psql on the database of `make dev` (ARGS="-c 'table tasks'": run one statement)
	@$(RUN) service psql $(ARGS)

seed: .venv/dev ## add example tasks to the database of `make dev` (YES=1: to the database of DATABASE_URL)
	@$(RUN) service seed $(if $(YES),--yes)

report: .venv/dev ## report costs, plans and sizes in the database of `make dev` or DATABASE_URL (ARGS=--html: as a page)
	@$(RUN) service report $(ARGS)

frontend: .venv/made examples/node_modules ## serve the example page on port 8080 while `make dev` runs (ARGS="--port 8081": on that port; needs Node 20+)
	@npm --prefix examples run --silent build
	@$(RUN) examples.frontend.serve $(ARGS)

serve: .venv/run ## serve as in production, with settings from the environment only
	@$(RUN) service serve

# The tests start Python about a hundred times. Without bytecode files, each start would compile every module.
test: .venv/test ## run the tests on a PostgreSQL server of their own (ARGS="-k NAME": only tests with NAME in their name)
	@PYTHONDONTWRITEBYTECODE= $(RUN) pytest --numprocesses 4 --dist worksteal $(ARGS)

bench: .venv/dev .venv-bench/made ## measure processor time per request, and compare other implementations (ARGS=--help)
	@$(RUN) bench $(ARGS)

scale: .venv/dev ## measure each statement on ten million tasks, in about 15 minutes (ARGS="--tasks 400000": fewer tasks)
	@$(RUN) bench.scale $(ARGS)

load: .venv/dev .venv-load/made ## locust: 50 users for one minute; fails on errors or a slow p95 (ARGS=--help)
	@$(RUN) load $(ARGS)

load-check: .venv/test .venv-load/made ## test load/locustfile.py with the real locust
	@$(RUN) pytest tests/load/locust $(ARGS)

soak: .venv/dev .venv-load/made ## locust: 50 users for ten minutes; fails when memory, connections or open files grow
	@$(RUN) load --shape soak $(ARGS)

faults: .venv/test ## inject faults and check the service's promises (ARGS=crash_restart: only that fault)
	@$(RUN) tests.faults $(ARGS)

hostile: .venv/test ## send every known hostile input; print the expected and the actual status
	@$(RUN) tests.hostile

fuzz: .venv/test ## send 20,000 generated inputs, in a few minutes (ARGS="--seed 1": repeat a run)
	@$(RUN) tests.fuzz $(ARGS)

compat: .venv/check .venv-load/made ## run the tests with the oldest and newest allowed releases, and on each Python (ARGS=python-3.12: only that)
	@$(RUN) tests.compat $(ARGS)

issuer: .venv/test tests/issuer/node_modules ## test the operations with tokens of better-auth (needs Node 20+)
	@$(RUN) pytest tests/issuer $(ARGS)

browser: .venv/browser examples/node_modules tests/browser/node_modules ## test the pages in Chromium (needs Chromium and Node 20+)
	@npm --prefix examples run --silent build
	@$(RUN) pytest tests/browser $(ARGS)

check: .venv/check ## check the format, style, types and imports of Python, and the SQL
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy service tests load $(wildcard bench)
	$(RUN) sqlfluff lint sql migrations
	.venv/bin/squawk migrations/*.sql
	$(RUN) pytest --quiet tests/test_imports.py

docs-assets: tests/browser/node_modules ## copy the release of Swagger UI in tests/browser/package.json into the service
	cp $(addprefix tests/browser/node_modules/swagger-ui-dist/,$(notdir $(wildcard service/api/openapi/swagger_ui/*))) service/api/openapi/swagger_ui/

client: .venv/dev examples/node_modules ## write the API's types for TypeScript, and compile the examples with them (needs Node 20+)
	@$(RUN) service openapi | npm --prefix examples run --silent types
	@npm --prefix examples run --silent check

client-check: .venv/test .venv-client/made examples/node_modules tests/client/node_modules ## test the clients with a running service, and lint its OpenAPI document (needs Node 20+)
	@npm --prefix examples run --silent build
	@$(RUN) tests.client

proxies: .venv/browser examples/node_modules ## test edits through proxies that compress (needs Debian, Chromium and Node 20+)
	@npm --prefix examples run --silent build
	@$(RUN) tests.proxies

deploy-check: .venv/test .venv-deploy/made ## check each file of deploy/ with its tool, and run the proxies and Prometheus (needs Debian)
	@.venv-deploy/bin/python -m tests.deploy.check
	@$(RUN) pytest tests/deploy -rP $(ARGS)

migrate: .venv/run ## apply the missing migrations to the database of DATABASE_URL
	@$(RUN) service migrate

rollback: .venv/run ## undo the last migration of the database of DATABASE_URL
	@$(RUN) service rollback

lock: .venv/check ## lock the packages of pyproject.toml by hash (ARGS=--upgrade: the newest releases)
	$(LOCK) $(ARGS) --group check --output-file requirements/check.txt
	$(LOCK) --constraints requirements/check.txt --output-file requirements/run.txt
	for group in dev test browser; do \
		$(LOCK) --constraints requirements/check.txt --group $$group --output-file requirements/$$group.txt || exit; \
	done
	for group in bench client deploy load; do \
		$(COMPILE) --constraints requirements/check.txt --group $$group --output-file requirements/$$group.txt || exit; \
	done

# .venv/dev is a stamp: the packages of requirements/dev.txt are installed. Each of the groups run, dev, test, browser and
# check includes the groups before it, so installing one touches the stamps of all before it.
# The umask lets other users read the packages: if root runs make, PostgreSQL's programs run as another user.
.venv/%: requirements/%.txt .venv/made
	@echo "Installing $< into .venv ..."
	@umask 022 && $(RUN) pip install -qq --disable-pip-version-check --require-hashes -r $<
	@for group in run dev test browser check; do touch .venv/$$group; [ $$group = $* ] && break; done

%/node_modules: %/package-lock.json
	@command -v npm >/dev/null || { \
		echo "Node 20 or later is needed, with npm. On Debian 13 or later: apt-get install nodejs npm" >&2; exit 1; }
	@echo "Installing $< into $@ ..."
	@npm --prefix $* ci --no-audit --no-fund --loglevel=error && touch $@

# The benchmarks, the load tests and the client and deployment checks have environments of their own, so that their
# packages cannot change the service's.
.venv-%/made: requirements/%.txt .venv/made
	@echo "Installing $< into $(@D) ..."
	@umask 022 && $(RUN) venv --clear $(@D) && \
		$(@D)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $< && touch $@

# Use the first Python of at least 3.11. On Debian, the module venv needs a separate package.
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
