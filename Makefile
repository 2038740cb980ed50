# Makefile: builds, tests, checks and runs ptrain. `make help` lists the targets; V=1 shows the
# commands. Nothing here needs more than a bare system until a recipe runs: `make run` and
# `make test` install what is missing first.

.DEFAULT_GOAL := all
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = @$(if $(Q),printf '  %-5s %s\n' '$(1)' '$(2)',:)

# --- what a user may set: make CC=clang OPT=-O3 PREFIX=/opt/ptrain ---
ifeq ($(origin CC),default)
CC := gcc
endif
OPT ?= -O2
SANITIZE ?=
PREFIX ?= /usr/local
DESTDIR ?=
PKG_CONFIG ?= pkg-config
INSTALL ?= install
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
CPPCHECK ?= cppcheck
MNIST_DIR ?= data/mnist

VERSION := $(shell sed -n 's/.*PTRAIN_VERSION *"\(.*\)"/\1/p' include/ptrain/version.h)

# -ffp-contract=off: products and sums are fused by intrinsic or fmaf only (the numeric contract).
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wdouble-promotion -Wundef -Wvla -Wcast-qual -Wwrite-strings -Werror
STANDARD := -std=c17 -D_GNU_SOURCE
# gcc would clear small structures by `rep stos`, which takes as long as a small matrix product. Other
# compilers don't know the option, nor need it.
COMMA := ,
CLEARING := -mmemset-strategy=unrolled_loop:512:noalign$(COMMA)libcall:-1:noalign
CLEARING := $(shell $(CC) $(CLEARING) -x c -c /dev/null -o /dev/null 2>/dev/null && echo '$(CLEARING)')
CPPFLAGS_OURS := -Iinclude -Isrc -I. $(if $(filter thread,$(SANITIZE)),-DPT_SCALAR_ONLY)
CFLAGS_OURS := $(STANDARD) -ffp-contract=off -fno-math-errno $(CLEARING) $(OPT) -g -pthread $(WARNINGS) \
               $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
LDFLAGS_OURS := -pthread -fopenmp $(if $(SANITIZE),-fsanitize=$(SANITIZE))

# Libraries: from pkg-config where it knows them; libcsv has no file for it.
PACKAGES := inih libmd zlib
LIBS := $(or $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null),-linih -lmd -lz) -lcsv -lm
TEST_LIBS := $(or $(shell $(PKG_CONFIG) --libs jansson 2>/dev/null),-ljansson)

# Only files of an instruction set get its flags; only one file knows OpenMP. Kernels read no files:
# instrumenting them for the fuzzers would take minutes. -g1: following every variable through the
# unrolled kernels is a third of the time that they take to compile. Functions begin at cache lines,
# or the speed of one would change by a twentieth with the length of those before it.
# -mprfchw: what will be written is asked for as such, or a store would wait until another core has
# given the line up; processors with AVX2 but without the instruction take it for none.
flags_of = $(if $(findstring _vbmi2,$(1)),-mavx512vbmi2) \
           $(if $(findstring _avx512,$(1)),-mavx512f -mavx512bw -mavx512dq -mavx512vl) \
           $(if $(findstring _avx,$(1)),-mavx2 -mfma -mbmi -mbmi2 -mpopcnt -mprfchw -g1 -falign-functions=64 \
                                        $(SANITIZE_VECTOR)) \
           $(if $(findstring 4_train/workers,$(1)),-fopenmp) \
           $(if $(findstring fuzzer,$(SANITIZE)),$(if $(filter simd/%,$(1)),-fno-sanitize=all))

# A check inline at every access of the unrolled kernels takes minutes to compile. ASan's are calls
# there; UBSan leaves out those of arrays' bounds, which ASan has too; TSan runs the scalar kernels only.
SANITIZE_VECTOR_address := $(if $(findstring clang,$(CC)),-mllvm -asan-instrumentation-with-call-threshold=0, \
                             --param asan-instrumentation-with-call-threshold=0)
SANITIZE_VECTOR_undefined := -fno-sanitize=bounds,object-size
SANITIZE_VECTOR_thread := -fno-sanitize=thread
SANITIZE_VECTOR := $(SANITIZE_VECTOR_$(SANITIZE))

# One build folder per compiler and flags, so that objects of different builds never mix.
FLAGS_HASH := $(shell echo '$(CC) $(CFLAGS_OURS) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS_OURS) $(LDFLAGS)' \
                      '$(CPPFLAGS_OURS) $(SANITIZE_VECTOR) $(value flags_of)' \
                      | cksum | cut -d' ' -f1)
BUILD := build/$(notdir $(firstword $(CC)))-$(FLAGS_HASH)

# --- sources: found by name, so a new file needs no line here ---
LIB_SOURCES := $(wildcard simd/*.c) $(filter-out src/8_cli/%,$(wildcard src/*/*.c))
CLI_SOURCES := $(wildcard src/8_cli/*.c)
TEST_SOURCES := $(filter-out tests/example_api.c,$(wildcard tests/*.c))
BENCH_SOURCES := $(wildcard bench/*.c)
TEST_SCRIPTS := $(wildcard tests/test_*.sh)
TORTURE_SOURCES := $(filter-out %/shim.c,$(wildcard tests/torture/*.c))
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
HEADERS := $(wildcard include/ptrain/*.h)
FORMATTED := $(wildcard include/ptrain/*.h simd/*.[ch] src/*/*.[ch] tests/*.[ch] \
             tests/torture/*.[ch] tests/fuzz/*.[ch] bench/*.[ch] bench/peers/*.c)
# The analysers cannot follow intrinsics: the tests hold those kernels against the scalar ones.
LINTED := $(filter-out %_avx2.c %_avx512.c %_vbmi2.c,$(LIB_SOURCES) $(CLI_SOURCES))

LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
TORTURE_OBJECTS := $(TORTURE_SOURCES:%.c=$(BUILD)/%.o)
FUZZ_OBJECTS := $(FUZZ_SOURCES:%.c=$(BUILD)/%.o)
FUZZERS := $(FUZZ_SOURCES:tests/%.c=$(BUILD)/%)
BENCH_OBJECTS := $(BENCH_SOURCES:%.c=$(BUILD)/%.o)
PLAIN_OBJECTS := $(TEST_SOURCES:%.c=$(BUILD)/plain/%.o)
CRITERION_OBJECTS := $(TEST_SOURCES:%.c=$(BUILD)/criterion/%.o)

# A make started from a recipe uses all cores, unless the user said -jN.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))
AGAIN = +$(Q)$(MAKE) --no-print-directory $(JOBS)
DEPS := CC='$(CC)' scripts/install-deps.sh $(if $(findstring clang,$(CC)),--sanitize)

all: ptrain $(BUILD)/libptrain.a ## build ptrain and libptrain.a

run: ## install what is missing, fetch MNIST, build, train configs/mnist.ini
	$(Q)$(DEPS) --data
	$(Q)scripts/fetch-mnist.sh $(MNIST_DIR)
	$(AGAIN) all
	$(Q)./ptrain configs/mnist.ini

test: ## install what is missing, fetch MNIST, build, run all tests (Criterion, then the scripts)
	$(Q)$(DEPS) --test --locale --data
	$(Q)scripts/fetch-mnist.sh $(MNIST_DIR)
	$(AGAIN) run-tests

mnist: ## fetch MNIST into data/mnist
	$(Q)$(DEPS) --data
	$(Q)scripts/fetch-mnist.sh $(MNIST_DIR)

# --- building ---

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS_OURS) $(CPPFLAGS) $(CFLAGS_OURS) $(call flags_of,$<) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/plain/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS_OURS) -Itests $(CPPFLAGS) $(CFLAGS_OURS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/criterion/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$< (Criterion))
	$(Q)$(CC) $(CPPFLAGS_OURS) -Itests -DPT_CRITERION $(CPPFLAGS) $(CFLAGS_OURS) $(CFLAGS) -MMD -MP -c $< -o $@

# The list of members, so that a source file that goes takes its object out of the library.
$(BUILD)/libptrain.list: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJECTS)' | cmp -s - $@ || echo '$(LIB_OBJECTS)' >$@

$(BUILD)/libptrain.a: $(LIB_OBJECTS) $(BUILD)/libptrain.list
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)$(AR) qcsD $@ $(LIB_OBJECTS)

$(BUILD)/ptrain: $(CLI_OBJECTS) $(BUILD)/libptrain.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

# ./ptrain is the program of the build asked for last.
ptrain: $(BUILD)/ptrain FORCE
	@cmp -s $< $@ || cp -f $< $@

# --- tests ---

$(BUILD)/tests-plain: $(PLAIN_OBJECTS) $(BUILD)/libptrain.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) $(TEST_LIBS) -o $@

$(BUILD)/tests-criterion: $(CRITERION_OBJECTS) $(BUILD)/libptrain.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) $(TEST_LIBS) -lcriterion -o $@

# Tests run side by side: threads that wait must not spin.
TEST_ENVIRONMENT := OMP_WAIT_POLICY=passive PT_BINARY=$(BUILD)/ptrain PT_BUILD=$(BUILD) \
                    LOCPATH='$(CURDIR)/build/locales'

# Locales with a decimal comma and a dotless i, for the tests only; until their sources are installed it
# is tried again, and the tests do without.
build/locales/made:
	@mkdir -p $(dir $@)
	$(Q)if (for name in de_DE tr_TR; do \
	    localedef --no-archive -i $$name -f UTF-8 $(dir $@)$$name.UTF-8 || exit 1; done) >/dev/null 2>&1; \
	then touch $@; fi

run-tests: build/locales/made $(BUILD)/tests-criterion $(BUILD)/libptrain.a ptrain
	$(Q)export $(TEST_ENVIRONMENT) CC='$(CC)' MAKE='$(MAKE)'; unset MAKEFLAGS MFLAGS; failed=; \
	$(BUILD)/tests-criterion || failed=Criterion; \
	for script in $(TEST_SCRIPTS); do \
	    echo "  SH    $$script"; bash "$$script" || failed="$$failed $$script"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED: $$failed"; exit 1; fi; \
	echo "All tests passed: Criterion's and $(words $(TEST_SCRIPTS)) scripts."

test-plain: ## run the tests of C code by the small driver, without Criterion
	$(Q)$(DEPS) --test --locale
	$(AGAIN) run-plain

run-plain: build/locales/made $(BUILD)/tests-plain $(BUILD)/ptrain
	$(Q)$(TEST_ENVIRONMENT) $(BUILD)/tests-plain

# -O1 keeps reports readable; fewer cases keep the time short. gcc's OpenMP runtime makes
# ThreadSanitizer see races that are none; clang's has Archer, which tells it of the barriers. It
# is blind to vector accesses of more than 16 bytes, so under it only the scalar kernels run.
asan: ## run the tests under AddressSanitizer and LeakSanitizer
	$(Q)$(DEPS) --test --locale
	$(AGAIN) run-sanitized SANITIZE=address OPT=-O1

ubsan: ## run the tests under UndefinedBehaviorSanitizer
	$(Q)$(DEPS) --test --locale
	$(AGAIN) run-sanitized SANITIZE=undefined OPT=-O1

tsan: ## run the tests under ThreadSanitizer (clang)
	$(Q)scripts/install-deps.sh --test --locale --sanitize
	$(AGAIN) run-sanitized SANITIZE=thread OPT=-O1 $(if $(findstring clang,$(CC)),,CC=clang)

run-sanitized: build/locales/made $(BUILD)/tests-plain $(BUILD)/ptrain
	$(Q)$(TEST_ENVIRONMENT) CC='$(CC)' scripts/run-sanitized.sh $(SANITIZE) $(BUILD)/tests-plain

# --- torture and fuzzing ---

torture: ## kill, starve, interrupt and damage trainings; all must end alike (KILLS=2000)
	$(Q)$(DEPS) --test --locale
	$(AGAIN) run-torture

$(BUILD)/shim.so: tests/torture/shim.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(STANDARD) $(OPT) -g -fPIC -shared $(WARNINGS) $< -o $@ -ldl

$(BUILD)/torture: $(TORTURE_OBJECTS) $(BUILD)/libptrain.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

run-torture: $(BUILD)/torture $(BUILD)/shim.so $(BUILD)/ptrain
	$(Q)tests/torture/check-shim.sh $(BUILD)/ptrain '$(CURDIR)/$(BUILD)/shim.so'
	$(Q)$(BUILD)/torture $(BUILD)/ptrain '$(CURDIR)/$(BUILD)/shim.so'

# libFuzzer is clang's. The library is compiled so that it sees which branches an input takes.
FUZZ_SECONDS ?= 60

fuzz: ## fuzz every reader of files under ASan and UBSan, FUZZ_SECONDS (60) each
	$(Q)scripts/install-deps.sh --test --sanitize
	$(AGAIN) run-fuzz CC=clang SANITIZE=fuzzer-no-link,address,undefined OPT=-O1 \
	    FUZZ_SECONDS='$(FUZZ_SECONDS)'

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libptrain.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_OURS) -fsanitize=fuzzer $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

run-fuzz: $(FUZZERS)
	$(Q)tests/fuzz/run.sh '$(FUZZ_SECONDS)' $(FUZZERS)

# --- benchmarks ---

$(BUILD)/bench/bench: $(BENCH_OBJECTS) $(BUILD)/libptrain.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -ldl -o $@

bench: ## time every kernel beside its peers; tables, JSON and chart also in build/bench/
	$(Q)$(DEPS)
	$(Q)scripts/install-deps.sh --bench || true
	$(AGAIN) run-bench

# libxsmm is a static library without a shared one: wrapped where it is there.
$(BUILD)/bench/bench-xsmm.so: bench/peers/xsmm.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(OPT) -fPIC -shared $< -lxsmm -lxsmmnoblas -lm -ldl -lpthread -o $@ || rm -f $@

bench-build: $(BUILD)/bench/bench \
             $(if $(wildcard /usr/include/libxsmm.h),$(BUILD)/bench/bench-xsmm.so)

# make bench BENCH='--family sparse --isa avx2' chooses.
run-bench: bench-build
	@mkdir -p build/bench
	$(Q)$(BUILD)/bench/bench $(BENCH) | tee build/bench/bench.txt

# The chart wants gnuplot and the comparison its peers: both go on without what cannot be had.
scaling: ## time threads and schedules, predict more cores; tables, charts in build/scaling/
	$(Q)$(DEPS) --data
	$(Q)scripts/install-deps.sh --bench || true
	$(Q)scripts/fetch-mnist.sh $(MNIST_DIR)
	$(AGAIN) ptrain
	$(Q)./ptrain scale configs/mnist.ini
	$(Q)./ptrain scale configs/mnist-wide.ini

compare: ## ptrain beside NumPy, PyTorch and Eigen; tables also in build/bench/compare.json
	$(Q)$(DEPS) --data
	$(Q)scripts/fetch-mnist.sh $(MNIST_DIR)
	$(AGAIN) ptrain
	$(Q)bench/compare.py $(COMPARE)

# --- style and static analysis ---

format: ## format all C files in place
	$(Q)$(CLANG_FORMAT) -i $(FORMATTED)

format-check: ## fail when a C file is not formatted
	$(Q)$(CLANG_FORMAT) --dry-run --Werror $(FORMATTED)

lint: ## clang-tidy (.clang-tidy), cppcheck and shellcheck, without a finding
	$(Q)scripts/install-deps.sh --test --lint
	$(AGAIN) run-lint

LINT_CPPFLAGS := $(CPPFLAGS_OURS) $(STANDARD)

run-lint: $(LINTED:%.c=build/lint/%.tidy) build/lint/cppcheck build/lint/shellcheck
	@echo "lint: no findings"

build/lint/%.tidy: %.c .clang-tidy $(wildcard simd/*.h src/*/*.h) $(HEADERS)
	@mkdir -p $(@D)
	$(call say,TIDY,$<)
	$(Q)$(CLANG_TIDY) --quiet --warnings-as-errors='*' $< -- $(LINT_CPPFLAGS) $(call flags_of,$<) \
	    2> >(grep -Ev 'warnings? generated|^Suppressed' >&2)
	@touch $@

build/lint/cppcheck: $(FORMATTED) .cppcheck-suppressions
	@mkdir -p $(@D)
	$(call say,CHECK,cppcheck)
	$(Q)$(CPPCHECK) --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	    --suppressions-list=.cppcheck-suppressions --error-exitcode=1 -D__x86_64__ -D_GNU_SOURCE \
	    $(CPPFLAGS_OURS) $(LINTED)
	@touch $@

build/lint/shellcheck: $(wildcard scripts/*.sh bench/*.sh tests/*/*.sh) $(TEST_SCRIPTS) .ci/run
	@mkdir -p $(@D)
	$(call say,CHECK,shellcheck)
	$(Q)shellcheck $^
	@touch $@

# --- installing ---

prefix := $(DESTDIR)$(PREFIX)
# The OpenMP runtime that the library was compiled for.
OPENMP_LIB := $(if $(findstring clang,$(CC)),-lomp,-lgomp)

install: all ## install program, library, headers, pkg-config file, manual page (PREFIX, DESTDIR)
	$(Q)$(INSTALL) -d $(prefix)/bin $(prefix)/lib/pkgconfig $(prefix)/include/ptrain $(prefix)/share/man/man1
	$(Q)$(INSTALL) -m 755 $(BUILD)/ptrain $(prefix)/bin/ptrain
	$(Q)$(INSTALL) -m 644 $(BUILD)/libptrain.a $(prefix)/lib/libptrain.a
	$(Q)$(INSTALL) -m 644 $(HEADERS) $(prefix)/include/ptrain/
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@OPENMP@|$(OPENMP_LIB)|' \
	    packaging/ptrain.pc.in >$(prefix)/lib/pkgconfig/ptrain.pc
	$(Q)sed -e 's|@VERSION@|$(VERSION)|' packaging/ptrain.1.in >$(prefix)/share/man/man1/ptrain.1

uninstall: ## remove what install has put there
	$(Q)rm -f $(prefix)/bin/ptrain $(prefix)/lib/libptrain.a $(prefix)/lib/pkgconfig/ptrain.pc \
	    $(prefix)/share/man/man1/ptrain.1 $(HEADERS:include/%=$(prefix)/include/%)
	$(Q)rmdir $(prefix)/include/ptrain 2>/dev/null || true

clean: ## remove everything built (data and runs stay)
	$(Q)rm -rf build ptrain

help: ## list the targets
	@echo 'Targets (make TARGET):'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'Variables: CC=gcc|clang OPT=-O2 PREFIX=/usr/local DESTDIR= V=1 (show the commands)'

FORCE:
.PHONY: all run test mnist run-tests test-plain run-plain asan ubsan tsan run-sanitized torture \
        run-torture fuzz run-fuzz bench bench-build run-bench scaling compare \
        format format-check lint run-lint install uninstall clean help FORCE
.SECONDARY: $(BENCH_OBJECTS) $(FUZZ_OBJECTS)

-include $(LIB_OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(PLAIN_OBJECTS:.o=.d) $(CRITERION_OBJECTS:.o=.d) \
         $(BENCH_OBJECTS:.o=.d) $(TORTURE_OBJECTS:.o=.d) $(FUZZ_OBJECTS:.o=.d)
