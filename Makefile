# Makefile: builds, tests and runs ptrain. `make help` lists the targets; V=1 shows the commands.

.DEFAULT_GOAL := all
SHELL := /bin/bash
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
PREFIX ?= /usr/local
DESTDIR ?=
OPT ?= -O2
SANITIZE ?=
PKG_CONFIG ?= pkg-config

VERSION := $(shell sed -n 's/^\#define PTRAIN_VERSION *"\(.*\)"/\1/p' include/ptrain/version.h)

# -ffp-contract=off: fusing happens by intrinsic or fmaf only (the numeric contract).
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wdouble-promotion -Wundef -Wvla -Wcast-qual -Wwrite-strings -Werror
CFLAGS_OURS := -std=c17 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno $(OPT) -g -pthread $(WARNINGS) \
               $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
CPPFLAGS_OURS := -Iinclude -Isrc -I.
LIBS := -linih -ljansson -lmd -lcsv -lz -lm
LDFLAGS_OURS := -pthread -fopenmp $(if $(SANITIZE),-fsanitize=$(SANITIZE))

# One build folder per compiler and flags, so that variants never mix.
BUILD_ID := $(notdir $(CC))-$(shell echo '$(CC) $(CFLAGS_OURS) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)' | cksum | cut -d' ' -f1)
BUILD := build/$(BUILD_ID)

SIMD_SOURCES := $(wildcard simd/*.c)
LIB_SOURCES := $(SIMD_SOURCES) $(filter-out src/8_cli/%,$(wildcard src/*/*.c))
CLI_SOURCES := $(wildcard src/8_cli/*.c)
TEST_SOURCES := $(wildcard tests/*.c)
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
PLAIN_OBJECTS := $(TEST_SOURCES:%.c=$(BUILD)/plain/%.o)
CRITERION_OBJECTS := $(TEST_SOURCES:%.c=$(BUILD)/criterion/%.o)

# Only kernel files of an instruction set get its flags.
ISA_FLAGS = $(if $(findstring _avx512,$(1)),-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma,$(if $(findstring _avx2,$(1)),-mavx2 -mfma))

all: ptrain $(BUILD)/libptrain.a ## build ptrain and libptrain.a

$(BUILD)/%.o: %.c
	@mkdir -p $(dir $@)
	@$(if $(Q),echo "  CC   $<",:)
	$(Q)$(CC) $(CPPFLAGS_OURS) $(CPPFLAGS) $(CFLAGS_OURS) $(call ISA_FLAGS,$(notdir $<)) $(if $(findstring 4_train/workers,$<),-fopenmp) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/plain/tests/%.o: tests/%.c
	@mkdir -p $(dir $@)
	@$(if $(Q),echo "  CC   $<",:)
	$(Q)$(CC) $(CPPFLAGS_OURS) -Itests $(CPPFLAGS) $(CFLAGS_OURS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/criterion/tests/%.o: tests/%.c
	@mkdir -p $(dir $@)
	@$(if $(Q),echo "  CC   $< (Criterion)",:)
	$(Q)$(CC) $(CPPFLAGS_OURS) -Itests -DPT_CRITERION $(CPPFLAGS) $(CFLAGS_OURS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libptrain.a: $(LIB_OBJECTS)
	@$(if $(Q),echo "  AR   $@",:)
	$(Q)rm -f $@ && $(AR) rcsD $@ $^

$(BUILD)/ptrain: $(CLI_OBJECTS) $(BUILD)/libptrain.a
	@$(if $(Q),echo "  LD   $@",:)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

# ./ptrain is the program of the build asked for last.
ptrain: $(BUILD)/ptrain FORCE
	$(Q)cmp -s $< $@ || cp -f $< $@

$(BUILD)/tests-plain: $(PLAIN_OBJECTS) $(BUILD)/libptrain.a
	@$(if $(Q),echo "  LD   $@",:)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests-criterion: $(CRITERION_OBJECTS) $(BUILD)/libptrain.a
	@$(if $(Q),echo "  LD   $@",:)
	$(Q)$(CC) $(LDFLAGS_OURS) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -lcriterion -o $@

test: $(BUILD)/tests-criterion ptrain ## run the tests with Criterion
	$(Q)PT_BINARY=$(BUILD)/ptrain $(BUILD)/tests-criterion

test-plain: $(BUILD)/tests-plain $(BUILD)/ptrain ## run the tests with the plain driver
	$(Q)PT_BINARY=$(BUILD)/ptrain $(BUILD)/tests-plain

clean: ## remove everything built
	$(Q)rm -rf build ptrain

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

FORCE:
.PHONY: all test test-plain clean help FORCE

-include $(LIB_OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(PLAIN_OBJECTS:.o=.d) $(CRITERION_OBJECTS:.o=.d)
