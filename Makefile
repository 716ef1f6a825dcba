# `make demo` and `make test` are all a newcomer needs; everything below `.venv` is made on demand, with the newest Python
# from 3.11 up that has venv, or with PYTHON=….
PYTHON ?=
VENV   ?= .venv
# Two more than there are cores: tests wait for the servers that they drive, and use the cores for two thirds of the time.
JOBS   ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
BIN    := $(VENV)/bin
# What is run at a release, apart from what lightwell is installed with.
RELEASE := .venv-release
RUNTIME := .venv-runtime
# Work stealing: a process that has run out of tests takes half of what another still has, so that one long file at the end
# does not hold up the run.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The tests start lightwell a thousand times; without compiled files each of those processes compiles it anew, which is a
# third of a server's start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve console test suite test-fast test-unit test-bytes test-endurance test-encrypted check bench docs lock sbom licences audit fuzz fuzz-http clean system venv venv-test venv-release

venv:
	@tools/venv $(VENV) demo $(PYTHON)

venv-test:
	@tools/venv $(VENV) test $(PYTHON)

venv-release:
	@tools/venv $(RELEASE) release $(PYTHON)

demo: venv  ## start lightwell, import sample studies, print a snippet that works
	@$(BIN)/lightwell demo $(ARGS)

serve: venv  ## start lightwell on ./lightwell-data
	@$(BIN)/lightwell serve $(ARGS)

console:  ## build the console that is committed with the source; needs Node and npm
	cd console && npm ci --ignore-scripts --no-audit --no-fund && npm run build

system:  ## Debian packages that the tests need
	tools/system-packages

test: check suite  ## everything but runs of many minutes, against real components

# Apart from `check`, since CI runs them side by side.
suite: system venv-test
	$(PYTEST) -m 'not endurance' $(ARGS)

ENCRYPTED := $(addprefix tests/,lifecycle faults stores backup dicomweb imports many)
test-encrypted: venv-test system  ## what stores, serves, damages and brings back, with every data store encrypted
	LIGHTWELL_TEST_ENCRYPTION=always $(PYTEST) -m 'not endurance' $(or $(ARGS),$(ENCRYPTED))

# With ARGS it is some of the long runs that are wanted.
test-endurance: venv-test system $(if $(ARGS),,test-encrypted)  ## 20,000 files under kills, long walks of several servers, Ceph where it is installed
	$(PYTEST) -n 0 -m endurance $(ARGS)

test-fast: venv-test  ## without the long runs
	$(PYTEST) -m 'not slow and not long and not endurance' $(ARGS)

test-unit: venv-test  ## what starts no server
	$(PYTEST) -m 'not slow and not long and not endurance' tests/unit tests/fuzz tests/architecture tests/repository $(ARGS)

# What asks about jobs, workers that die, rights and rows reads the same bytes on every Python, and on either database.
NO_BYTES := tests/dicomweb/auth $(addprefix tests/dicomweb/test_,delete.py headers.py postgresql.py s3_cache.py search.py \
  settings.py storage_away.py viewers.py) $(addprefix tests/imports/test_,cancelling.py concurrent_jobs.py job_list.py \
  listing.py nodes.py outages.py queue.py roles.py sets.py slow_storage.py) tests/imports/audit tests/imports/dispatch \
  $(addprefix tests/imports/codec_pool/test_,far_workers.py forged.py places.py requests.py) \
  $(addprefix tests/imports/collector/test_,collector.py interleavings.py page_runs.py row_repair.py verify_runs.py) \
  $(addprefix tests/imports/operations/test_,accesses.py client_tokens.py events.py identity.py job_reports.py quotas.py \
  uploads.py version_diff.py)
# So do these of files whose other tests are about bytes.
NO_BYTES_EITHER := $(addprefix tests/cli/test_export.py::,test_exports_what_meets_the_conditions \
  test_leaves_no_file_of_an_older_version) $(addprefix tests/cli/test_import_export.py::, \
  test_counts_files_that_are_not_dicom_apart test_fails_for_damaged_dicom_and_where_nothing_is_dicom \
  test_refuses_an_unknown_data_store_and_image_set_at_export test_reports_repeated_files_as_already_stored) \
  tests/imports/test_directories.py::test_continues_however_reading_a_dicomdir_ends

test-bytes: venv-test system  ## bytes, pixels and C libraries; CI also runs it on the oldest Python
	$(PYTEST) -m 'not slow and not endurance' -k 'not postgresql' tests/unit tests/fuzz tests/stores/objects \
	  tests/imports tests/dicomweb tests/cli/test_import_export.py tests/cli/test_export.py $(addprefix --ignore=,$(NO_BYTES)) \
	  $(addprefix --deselect=,$(NO_BYTES_EITHER)) $(ARGS)

check: venv-test  ## ruff, and mypy --strict over sources, tests and benchmarks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv-test  ## measure against Orthanc and nginx; writes docs/performance.md
	$(BIN)/python -m bench.run $(ARGS)

docs: venv-test  ## generate the reference pages from the code
	$(BIN)/python tools/reference.py

lock: venv-release  ## write constraints/, for all Pythons; ARGS=--upgrade or ARGS=NAME takes newer versions
	$(RELEASE)/bin/python tools/lock.py $(ARGS)

sbom: venv-release  ## what a release consists of, as CycloneDX in dist/: packages, the console's, C libraries inside wheels
	@tools/venv $(RUNTIME) runtime $(PYTHON)
	$(RELEASE)/bin/python -m tools.sbom $(RUNTIME)/bin/python

licences: venv-test  ## packages that lightwell and the console are made of, with their licences; fails on one not allowed
	@$(BIN)/python -m tools.licences

audit: venv-test venv-release  ## ask the databases of known vulnerabilities about all that is pinned; needs the network
	$(BIN)/python -m tools.advisories
	# Without --strict a package that the database cannot be asked about would count as harmless.
	$(RELEASE)/bin/pip-audit --strict --disable-pip --require-hashes $(patsubst %,--requirement %,$(wildcard constraints/*.txt))
	cd console && npm audit --package-lock-only
	for folder in tests/browser tests/js tests/js/openid-provider; do (cd $$folder && npm audit --package-lock-only) || exit 1; done

SECONDS ?= 60
fuzz:  ## run the fuzz targets for so many SECONDS each; tests/fuzz/run.py says what ARGS there are
	@tools/venv $(VENV) fuzz $(PYTHON)
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(ARGS)

REQUESTS ?= 100000
fuzz-http: venv-test  ## send so many REQUESTS of all kinds to one server
	LIGHTWELL_HTTP_EXAMPLES=$(REQUESTS) $(BIN)/python -m pytest -n 0 -s -o timeout=0 tests/api/http/test_hypothesis.py

clean:
	rm -rf $(VENV) $(RELEASE) $(RUNTIME) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz
