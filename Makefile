# make            kvstored, libkvworker, examples      make deps    install what it needs
# make test       every test; installs what is missing (TEST=test_map for one, TEST=test_m% some)
# make demo       train a model on this machine, then again while servers are killed
# make asan tsan  the tests under sanitizers           make check   format, layers, sizes, tidy
# make bench      speed against a raw yardstick        make mutants bugs that kvsim must find
# make fuzz       parsers, FUZZ_SECONDS=60 each (FUZZ=frame for one)
# make clean      remove build/
# make install    PREFIX=/usr/local LIBDIR=$(PREFIX)/lib DESTDIR=
#
# BUILD=build/x elsewhere; SIDES=server, SIDES=worker or SIDES= leave the others out; WERROR=1
# stops at warnings; V=1 shows commands. Nothing is ever written outside $(BUILD).

VERSION := 0.1.0
SONAME  := libkvworker.so.0
BUILD   ?= build/release
SIDES   ?= server worker
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
TEST    ?= %
E2E     ?= 1
# Seconds for one test program; BENCH and SIM_ARGS are for kvbench and kvsim.
TIMEOUT ?= 900
# Test programs at a time.
JOBS    ?= $(shell nproc)
FUZZ         ?= %
FUZZ_SECONDS ?= 60

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += -r
all: # The default.

# --- Dependencies: `make` says what to do, `make test` does it -------------------

DEPS   := libuv libprotobuf-c libcrypto libisal
GOALS  := $(or $(MAKECMDGOALS),all)
TESTED := $(filter test demo asan tsan mutants check bench fuzz $(BUILD)/tests/%,$(GOALS))
TOOLS  := $(firstword $(CC)) protoc protoc-gen-c $(if $(TESTED),python3) $(if $(filter test,$(GOALS)),$(if $(filter 1,$(E2E)),bible)) \
          $(if $(filter check fuzz,$(GOALS)),clang) $(if $(filter check,$(GOALS)),clang-format clang-tidy)
have    = $(shell pkg-config --exists $(DEPS) $(if $(TESTED),cmocka) 2>/dev/null && for t in $(TOOLS); do command -v $$t; done | \
          awk 'END { if (NR == $(words $(TOOLS))) print "yes" }')

ifneq ($(filter-out deps clean help,$(GOALS)),)
ifneq ($(have),yes)
ifneq ($(TESTED),)
INSTALLED := $(shell scripts/install-deps >&2)
endif
ifneq ($(have),yes)
$(error Something needed is not installed ($(DEPS) $(if $(TESTED),cmocka) $(TOOLS)): run "make deps")
endif
endif
endif

# --- Flags: taste before the user's CFLAGS, meaning after -------------------------

WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           $(if $(WERROR),-Werror)
CFLAGS  ?= -O2 -g
HARDEN  := $(if $(SAN),,-fstack-protector-strong -fstack-clash-protection $(if $(findstring clang,$(CC)),,-ftrivial-auto-var-init=zero) \
           $(if $(filter x86_64,$(shell uname -m)),-fcf-protection) \
           $(if $(filter -O1 -O2 -O3 -Os,$(CFLAGS)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3))
KV_CPP  := -I. -I$(BUILD)/gen -D_GNU_SOURCE $(CPPFLAGS)
KV_C    := -std=c11 $(WARN) -fPIC -fvisibility=hidden $(HARDEN) $(SAN) $(shell pkg-config --cflags $(DEPS) 2>/dev/null)
KV_LD   := $(if $(SAN),$(SAN),-Wl,-z,defs) -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
KV_LIBS := $(shell pkg-config --libs $(DEPS) 2>/dev/null) -lm
EXACT   := -O3 -fno-fast-math -ffp-contract=off -fno-math-errno -fno-trapping-math
MEANT    = # Per file; nothing the user passes may undo it.
compile  = $(CC) $(KV_CPP) -MMD -MP $(KV_C)

# --- Sources: a file's folder says what it is part of ------------------------------

has      = $(filter $(1),$(SIDES))
both     = $(and $(call has,server),$(call has,worker))
OBJ      = $(patsubst %,$(BUILD)/%.o,$(1))
RULES   := $(wildcard common/optim/rules/*.c)
CODECS  := $(wildcard common/codec/codecs/*.c)
MATH    := $(RULES) $(CODECS) $(wildcard common/compute/*.c)
COMMON  := $(call OBJ,$(wildcard common/*/*.c proto/*.c) $(RULES) $(CODECS)) $(RULES:%.c=$(BUILD)/%.f64.o) $(BUILD)/gen/kv.pb-c.o
SERVER  := $(call OBJ,$(filter-out server/main.c,$(wildcard server/*.c server/policies/*.c)))
WORKER  := $(call OBJ,$(wildcard worker/*.c worker/kinds/*.c))
LIBS    := $(SIDES:%=$(BUILD)/libkv%.a) $(BUILD)/libkvcommon.a
SOLIB   := $(BUILD)/libkvworker.so.$(VERSION)

EXAMPLES := $(patsubst worker/examples/%.c,$(BUILD)/examples/%,$(wildcard worker/examples/*.c))
E2E_BINS := $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/e2e/*.c))
E2E_RUNS := $(filter-out tests/e2e/lib%,$(wildcard tests/e2e/*.sh))
SIM      := $(if $(wildcard tests/sim/*.c),$(BUILD)/kvsim)
BENCHED  := $(if $(wildcard tests/bench/*.c),$(BUILD)/kvbench)
# A test needs the sides whose headers it, or its fixture, includes; without them it is not built.
MINE     := $(wildcard tests/unit/test_*.c tests/integration/test_*.c tests/fuzz/fuzz_*.c)
SKIPPED  := $(filter-out $(SIDES),server worker)
includers = $(if $(1),$(shell grep -lE '^.include "($(subst $() ,|,$(strip $(1))))' $(wildcard tests/*/*.[ch])))
DIRECT   := $(call includers,$(SKIPPED:%=%/))
ALIEN    := $(DIRECT) $(call includers,$(filter %.h,$(DIRECT)))
ALL_BINS := $(patsubst %.c,$(BUILD)/%,$(MINE))
TESTS    := $(patsubst %.c,$(BUILD)/%,$(filter-out $(ALIEN),$(MINE)))

all: $(BUILD)/libkvcommon.a $(if $(call has,server),$(if $(wildcard server/main.c),$(BUILD)/kvstored)) \
     $(if $(call has,worker),$(BUILD)/libkvworker.a $(SOLIB) $(EXAMPLES))

$(BUILD)/kvstored: $(BUILD)/server/main.c.o $(BUILD)/libkvserver.a $(BUILD)/libkvcommon.a
$(BUILD)/kvsim: $(call OBJ,$(wildcard tests/sim/*.c)) $(LIBS)
# Where the simulation lets a server die: tests/sim/sim_crash.c.
$(BUILD)/kvsim: SEAMS := $(foreach f,arena_store arena_alloc arena_keep arena_release arena_redo shard_held,-Wl,--wrap=$(f))
$(BUILD)/kvbench: $(call OBJ,$(wildcard tests/bench/*.c)) $(LIBS)
$(E2E_BINS): $(BUILD)/%: $(BUILD)/tests/%.c.o $(BUILD)/libkvworker.a
$(BUILD)/kvstored $(BUILD)/kvsim $(BUILD)/kvbench $(E2E_BINS):
	$(say) LINK; $(CC) -pie $(KV_LD) $(SEAMS) -o $@ $^ $(KV_LIBS)

$(BUILD)/libkvcommon.a: $(COMMON)
$(BUILD)/libkvserver.a: $(SERVER)
$(BUILD)/libkvworker.a: $(WORKER) $(COMMON)
$(BUILD)/libkvcommon.a $(BUILD)/libkvserver.a $(BUILD)/libkvworker.a:
	$(say) AR; rm -f $@; $(AR) rcs $@ $^

$(SOLIB): $(WORKER) $(COMMON) worker/kvworker.map
	$(say) LINK; $(CC) -shared $(KV_LD) -Wl,-soname,$(SONAME) -Wl,--version-script=worker/kvworker.map \
	    -o $@ $(filter %.o,$^) $(KV_LIBS) && ln -sf $(@F) $(@D)/$(SONAME) && ln -sf $(SONAME) $(@D)/libkvworker.so

$(BUILD)/examples/%: $(BUILD)/worker/examples/%.c.o $(SOLIB)
	$(say) LINK; $(CC) -pie $(KV_LD) -o $@ $< -L$(BUILD) -lkvworker -lm -Wl,-rpath,'$$ORIGIN/..'

# --- Objects: the flags file changes when the flags do ------------------------------

keep = @mkdir -p $(@D); $(1) | cmp -s - $@ || $(1) > $@
$(BUILD)/flags: FORCE
	$(call keep,printf '%s\n' '$(CC) $(KV_CPP) $(KV_C) $(CFLAGS) $(EXACT) $(KV_LD) $(KV_LIBS)')

$(BUILD)/%.c.o: %.c $(BUILD)/flags | generated
	$(say) CC; $(compile) $(CFLAGS) $(MEANT) -c -o $@ $<

# Each rule again, for f64.
$(BUILD)/%.f64.o: %.c $(BUILD)/flags | generated
	$(say) CC; $(compile) $(CFLAGS) $(EXACT) -DKV_RULE_F64 -c -o $@ $<

# And the loop that they are measured against.
$(call OBJ,$(MATH) tests/bench/bench_stream.c): MEANT = $(EXACT)
# Examples include <kvworker.h>, as a user's program does.
$(call OBJ,$(wildcard worker/examples/*.c tests/e2e/*.c)): MEANT = -Iworker

# --- Generated: plug-ins (the folder is the registry) and messages -------------------

generated: $(patsubst %,$(BUILD)/gen/%,optimizers.inc codecs.inc policies.inc kinds.inc version.h kv.pb-c.h)

names = $(sort $(notdir $(basename $(wildcard $(1)/*.c))))
list  = $(call keep,printf '$(if $(call names,$(1)),X(%s)\n)' $(call names,$(1)))
$(BUILD)/gen/optimizers.inc: FORCE ; $(call list,common/optim/rules)
$(BUILD)/gen/codecs.inc: FORCE ; $(call list,common/codec/codecs)
$(BUILD)/gen/policies.inc: FORCE ; $(call list,server/policies)
$(BUILD)/gen/kinds.inc: FORCE ; $(call list,worker/kinds)
$(BUILD)/gen/version.h: FORCE ; $(call keep,printf '#define KV_VERSION "%s"\n' $(VERSION))

$(BUILD)/gen/kv.pb-c.h $(BUILD)/gen/kv.pb-c.c &: proto/kv.proto
	$(say) PROTO; protoc --c_out=$(@D) --proto_path=proto $<

$(BUILD)/gen/kv.pb-c.o: $(BUILD)/gen/kv.pb-c.c $(BUILD)/flags # Not our code: no warnings.
	$(say) CC; $(compile) -w $(CFLAGS) -c -o $@ $<

$(BUILD)/gen/golden.h: tests/unit/golden.json tests/unit/golden.py
	$(say) TABLE; tests/unit/golden.py $< > $@
$(call OBJ,$(wildcard tests/unit/test_*golden.c) tests/unit/test_optim_norms.c): $(BUILD)/gen/golden.h

# --- Tests: one program a file, with the fakes whose headers it includes ---------------

fakes = $(call OBJ,$(wildcard $(shell sed -n 's|^.include "\(tests/fakes/.*\)\.h"|\1.c|p' $(1))))
# Who calls a fuzz target: replay.c, or in `make fuzz`, where FUZZER is set, libFuzzer.
driver = $(if $(filter tests/fuzz/%,$(1)),$(if $(FUZZER),,$(BUILD)/tests/fuzz/replay.c.o))
.SECONDEXPANSION:
$(ALL_BINS): $(BUILD)/%: $(BUILD)/%.c.o $$(call fakes,$$*.c) $$(call driver,$$*) $(LIBS)
	$(say) LINK; $(CC) -pie $(KV_LD) $(FUZZER) -o $@ $^ $(KV_LIBS) -lcmocka

# TSan has nothing to see in the simulation, which has one thread.
PROGRAMS := $(TESTS) $(if $(both),$(if $(findstring =thread,$(SAN)),,$(SIM)))
SCRIPTS  := $(if $(both),$(if $(filter 1,$(E2E)),$(E2E_RUNS)))
LONG     := $(SIM) $(E2E_RUNS)
CHOSEN   := $(foreach t,$(PROGRAMS) $(SCRIPTS),$(if $(filter $(TEST),$(basename $(notdir $(t)))),$(t)))
test: $(filter $(PROGRAMS),$(CHOSEN)) $(if $(both),all $(BENCHED) $(if $(filter $(SCRIPTS),$(CHOSEN)),$(E2E_BINS)))
	@export BUILD='$(abspath $(BUILD))'; $(if $(strip $(CHOSEN)),,echo 'no test is called $(TEST)'; exit 1;) \
	SIM_ARGS='$(SIM_ARGS)' tests/run -j $(JOBS) -t $(TIMEOUT) $(sort $(filter $(LONG),$(CHOSEN))) $(filter-out $(LONG),$(CHOSEN))

asan: export QUICK ?= 1
asan: SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
tsan: SAN_FLAGS := -fsanitize=thread
tsan: SAN_E2E := 0
asan tsan: export UBSAN_OPTIONS ?= print_stacktrace=1
asan tsan: export TSAN_OPTIONS ?= second_deadlock_stack=1
asan tsan: # The path of the build is the variant's name.
	@$(MAKE) --no-print-directory test BUILD=build/$@ CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	    SAN='$(SAN_FLAGS)' E2E=$(or $(SAN_E2E),$(E2E))

# Planted one after the other; MUTANTS names some.
mutants: $(BUILD)/kvsim
	tests/sim/mutations --build $(BUILD) $(MUTANTS)

# With clang, which has libFuzzer, and coverage in all of the code.
FUZZERS := $(filter $(BUILD)/tests/fuzz/fuzz_$(FUZZ),$(TESTS))
fuzz:
	@[ -e "$$(clang -print-file-name=libclang_rt.fuzzer-$$(uname -m).a)" ] || scripts/install-deps
	@$(MAKE) --no-print-directory fuzzers BUILD=build/fuzz CC=clang CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	    SAN='-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all' FUZZER=-fsanitize=fuzzer
	tests/fuzz/run --seconds $(FUZZ_SECONDS) $(patsubst $(BUILD)/%,build/fuzz/%,$(FUZZERS))
fuzzers: $(FUZZERS)

bench: all $(BENCHED)
	$(BUILD)/kvbench $(BENCH)

demo: all
	BUILD=$(BUILD) scripts/demo

# --- Habits: a rule that no tool checks is only a wish --------------------------------

ours   = $(shell git ls-files -co --exclude-standard $(1) | grep -vE '^($(subst $() ,|,$(or $(strip $(SKIPPED)),-))/)')
CHECKED = $(filter-out $(ALIEN) $(if $(both),,tests/sim/% tests/bench/% tests/e2e/%),$(wildcard $(call ours,'*.[ch]')))
SELFISH = $(shell grep -L 'a template' $(filter %.h,$(CHECKED)))
check: generated $(BUILD)/gen/golden.h
	scripts/check-layers
	scripts/check-size
	scripts/check-tree
	tests/sim/mutations --places
	@echo clang-format; clang-format --dry-run -Werror $(CHECKED)
	@echo 'each header compiles alone'; printf '%s\n' $(SELFISH) | xargs -P2 -I{} sh -c \
	    'echo "extern int alone;" | $(CC) $(KV_CPP) $(KV_C) -x c -fsyntax-only -include ./{} - || exit 255'
	$(if $(wildcard worker/kvworker.h),clang -Wall -Wextra -Werror -Wno-unused-function -x c++ -fsyntax-only worker/kvworker.h)
	@echo clang-tidy; printf '%s\n' $(filter %.c,$(CHECKED)) | xargs -P2 -n4 sh -c \
	    'out=$$(clang-tidy --quiet "$$@" -- $(KV_CPP) -Iworker -std=c11 2>&1) || { printf "%s\n" "$$out"; exit 1; }' tidy

# --- Install --------------------------------------------------------------------------

to = install -D -m $(1) $(2) '$(DESTDIR)$(3)'
install: all
	$(call to,755,$(BUILD)/kvstored,$(PREFIX)/bin/kvstored)
	$(call to,755,scripts/kvlaunch,$(PREFIX)/bin/kvlaunch)
	$(call to,755,$(SOLIB),$(LIBDIR)/$(notdir $(SOLIB)))
	ln -sf $(notdir $(SOLIB)) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libkvworker.so'
	$(call to,644,$(BUILD)/libkvworker.a,$(LIBDIR)/libkvworker.a)
	$(call to,644,worker/kvworker.h,$(PREFIX)/include/kvworker.h)
	$(call to,644,worker/kvworker_types.h,$(PREFIX)/include/kvworker_types.h)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(PREFIX)/include|' \
	    -e 's|@VERSION@|$(VERSION)|; s|@PRIVATE@|$(KV_LIBS)|' worker/kvworker.pc.in > $(BUILD)/gen/kvworker.pc
	$(call to,644,$(BUILD)/gen/kvworker.pc,$(LIBDIR)/pkgconfig/kvworker.pc)
	$(call to,644,server/kvstored.8,$(PREFIX)/share/man/man8/kvstored.8)
	$(if $(wildcard worker/kvworker.3),$(call to,644,worker/kvworker.3,$(PREFIX)/share/man/man3/kvworker.3))

deps:
	scripts/install-deps

clean:
	rm -rf build

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

say = @mkdir -p $(@D); say() { printf '%-5s %s\n' $$1 $(@:$(BUILD)/%=%); $(if $(V),set -x;) }; say

.PRECIOUS: $(BUILD)/%.o
.PHONY: all deps test asan tsan mutants fuzz fuzzers check bench demo install clean help generated FORCE
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
