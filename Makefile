# make run: set up and stream.  make test: set up and test.  make help: the rest.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The distribution's Python where there is one: other users, and so the tests of an
# unprivileged probe, cannot execute one that lives in somebody's home.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
BIN := .venv/bin
ARGS ?=
SOAK ?=
FUZZ ?=
EVAL ?=
ARCH ?=

# What Debian and Ubuntu call the programs that the targets need, and the program to search for.
RUN_PROGRAMS := $(PYTHON):python3
TEST_PROGRAMS := tmux nft:nftables ip:iproute2 unshare:util-linux setpriv:util-linux \
	nginx:nginx-light redis-server:redis-server redis-cli:redis-tools pg_ctlcluster:postgresql \
	sshd:openssh-server ssh:openssh-client dnsmasq:dnsmasq-base \
	clang-14:clang-14 llvm-strip-14:llvm-14 clang-format-14:clang-format-14 bpftool:bpftool \
	/usr/include/bpf/bpf_core_read.h:libbpf-dev \
	bwrap:bubblewrap skopeo:skopeo systemd-analyze:systemd \
	prometheus:prometheus prometheus-node-exporter:prometheus-node-exporter \
	/usr/lib/*/rsyslog/omkafka.so:rsyslog-kafka kcat:kcat mosquitto:mosquitto \
	mosquitto_pub:mosquitto-clients mariadbd:mariadb-server-core mariadb:mariadb-client-core \
	curl:curl openssl:openssl

# nginx and redis are left to you: Debian starts them as services when it installs them.
BENCH_PROGRAMS := wrk:wrk iperf3:iperf3 redis-benchmark:redis-tools bpftrace:bpftrace \
	nethogs:nethogs cc:gcc clang-14:clang-14 unshare:util-linux setpriv:util-linux ip:iproute2

# What is evaluated besides the tests' servers.
EVAL_PROGRAMS := mpirun:openmpi-bin tc:iproute2 openssl:openssl etcd:etcd-server \
	/usr/lib/python3/dist-packages/torch:python3-torch \
	/usr/lib/python3/dist-packages/mpi4py:python3-mpi4py \
	/usr/lib/python3/dist-packages/psycopg2:python3-psycopg2

# What builds the Debian package.
DEB_PROGRAMS := dh:debhelper dh_python3:dh-python dpkg-buildpackage:dpkg-dev

# Clean root file systems of their own need nothing of .venv.
FRESH_PROGRAMS := debootstrap:debootstrap unshare:util-linux

.PHONY: help run test pytest test-unit test-integration test-ebpf test-vm lint bpf bpf-check \
	test-fresh test-oldest test-packages test-packages-arm64 test-service test-kernels bench bench-vm bench-fleet fuzz soak eval image \
	docs pictures wheel pyz deb release release-clean lock clean
help:  ## what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: .venv/run  ## set up and stream; options in ARGS, as in make run ARGS="--interval 0.5"
	@exec $(BIN)/xctl-probe-network $(ARGS)

# Tests mostly wait: three at a time keep two cores busy.
PARALLEL := -n 3 --dist worksteal

test: lint bpf-check pytest  ## set up, check and test everything that runs on this kernel: a quarter of an hour

pytest: .venv/dev  ## tests alone; what to run in PYTEST, as in make pytest PYTEST="tests/unit -k stall"
	$(BIN)/pytest -q $(PARALLEL) $(PYTEST)

# The durations are those of two cores.
test-unit: .venv/dev  ## the unit tests, without privileges or traffic: under a minute
	$(BIN)/pytest -q $(PARALLEL) tests/unit tests/vm/host $(PYTEST)

test-integration: .venv/dev .venv/programs  ## the installed probe on loopback traffic, every source: about 10 minutes
	$(BIN)/pytest -q $(PARALLEL) tests/integration tests/tui tests/apps tests/attacks tests/container $(PYTEST)

test-ebpf: .venv/dev .venv/programs  ## the kernel source on this kernel, as root: about 2 minutes
	$(BIN)/pytest -q $(PARALLEL) tests/ebpf $(PYTEST)

test-vm: test-kernels  ## another name of test-kernels: an hour with ARGS=--core, else several

lint: .venv/dev .venv/programs  ## ruff, mypy --strict, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) -s -C bpf format-check

bpf: .venv/programs  ## compile the kernel programs again
	$(MAKE) -C bpf

bpf-check: .venv/programs
	$(MAKE) -C bpf check

test-fresh: .venv/run  ## both of README's commands where nothing is installed; SUITES=trixie narrows
	@./.ci/programs $(FRESH_PROGRAMS)
	PYTHONPATH=tests $(BIN)/python -m fresh $(SUITES)

test-packages: deb pyz  ## install each package where nothing is, and stream; SUITES=bookworm narrows
	@./.ci/programs $(FRESH_PROGRAMS) systemd-nspawn:systemd-container
	PYTHONPATH=tests $(BIN)/python -m packages $(SUITES)

test-packages-arm64: deb pyz .venv/kernels  ## the package and the single file in an emulated guest of arm64: ten minutes
	PYTHONPATH=tests $(BIN)/python -m packages.foreign

test-service: deb .venv/kernels  ## the service with its limits, under systemd in an emulated guest: ten minutes
	@./.ci/programs $(FRESH_PROGRAMS)
	PYTHONPATH=tests $(BIN)/python -m packages.guest

test-oldest: .venv/programs  ## the unit tests with the oldest dependencies that pyproject.toml allows
	@mkdir -p build && $(PYTHON) .ci/oldest dev >build/oldest.txt
	@$(PYTHON) -m venv --clear build/oldest
	@build/oldest/bin/pip install -q --disable-pip-version-check -c build/oldest.txt -e '.[dev]'
	build/oldest/bin/pytest tests/unit tests/integration/test_bad_input.py

test-kernels: .venv/kernels  ## boot real kernels under emulation and test in them; KERNELS=6.1 narrows
	$(BIN)/python -m tests.vm $(ARGS)

bench: .venv/bench  ## what the probe costs, measured here: half an hour; ARGS=--quick to try it
	$(BIN)/python -m bench $(ARGS)

bench-vm: .venv/bench .venv/kernels  ## the same in a virtual machine, where there are kprobes
	@./.ci/programs tcptop-bpfcc:bpfcc-tools
	$(BIN)/python -m bench --vm --rounds 2 $(ARGS)
	$(BIN)/python -m bench --parts render

bench-fleet: .venv/dev  ## blame FILE... on ten million generated records of 256 hosts: about ten minutes, 600 MB of disk
	$(BIN)/python -m bench.fleet $(ARGS)

fuzz: .venv/fuzz  ## hostile bytes to everything that reads bytes; FUZZ="--minutes 60" for long
	$(BIN)/python -m tests.fuzz $(FUZZ)

soak: .venv/dev .venv/programs  ## churn and soak on this kernel; SOAK="--minutes 30 --mixes mix" for long
	$(BIN)/python -m tests.soak $(SOAK)

eval: .venv/dev .venv/programs build/evaluation/venv  ## both sources on real programs with injected faults: an hour or more; EVAL="--programs gloo" narrows
	$(BIN)/python -m tests.evaluation $(EVAL)

image: .venv/run  ## an OCI archive of the probe for containers, in build/image: half a minute; ARCH=arm64 for another machine
	@./.ci/programs apt-get:apt dpkg-deb:dpkg
	@$(BIN)/python packaging/container/image.py build/image $(ARCH)

wheel: build/wheels  ## dist/*.whl: needs no compiler
	@packaging/build-wheel

pyz: wheel  ## dist/*.pyz: one file that python3 runs
	@packaging/build-pyz

deb: wheel  ## dist/*.deb: for Debian 12, 13 and Ubuntu 24.04, x86-64 and arm64
	@./.ci/programs $(DEB_PROGRAMS)
	@packaging/build-deb

release: | release-clean wheel pyz deb  ## all of dist/, with checksums and a bill of materials
	@packaging/release

release-clean: .venv/run
	@packaging/check-clean

lock: .venv/run  ## pin the newest versions of what the packages contain
	@packaging/lock

docs: .venv/dev  ## write the man page and the shells' completions again
	$(BIN)/python docs/generate.py

pictures: .venv/dev .venv/programs  ## take the pictures of top and why again
	$(BIN)/python docs/screenshots.py

clean:  ## remove what was made, but not downloaded kernels
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/run: pyproject.toml
	@./.ci/programs $(RUN_PROGRAMS) venv:python3-venv
	@echo "setting up .venv: the probe and what it needs ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/dev: .venv/run
	@echo "setting up .venv: what the tests need ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,manifests]'
	@touch $@

.venv/fuzz: .venv/dev
	@echo "setting up .venv: what guides the fuzzing ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,fuzz]'
	@touch $@

.venv/kernels: .venv/dev
	@echo "setting up .venv: what boots kernels ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,kernels]'
	@touch $@

.venv/bench: .venv/dev
	@./.ci/programs $(BENCH_PROGRAMS)
	@echo "setting up .venv: what draws the pictures ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,bench]'
	@touch $@

build/wheels: packaging/requirements.txt packaging/download | .venv/run
	@echo "downloading what the packages contain ..."
	@packaging/download

# The distribution's packages beside PyPI's: PyTorch, MPI and PostgreSQL's client are Debian's.
build/evaluation/venv: tests/evaluation/libraries.txt
	@./.ci/programs $(EVAL_PROGRAMS)
	@echo "setting up build/evaluation/venv: the libraries that are evaluated ..."
	@$(PYTHON) -m venv --system-site-packages $@
	@$@/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

.venv/programs: .venv/run
	@./.ci/programs $(TEST_PROGRAMS)
	@touch $@
