# Vireo: make [MODE=rel|dbg|asan|tsan|cov] [CC=gcc|clang] [V=1]
#
#   make run      build, and boot a Linux guest to a shell on this terminal
#   make check    build and run the tests
#   make bench    compare with QEMU TCG and native execution
#   make help     everything else
MODE ?= rel
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(MODE),rel)
B := build
else
B := build/$(MODE)
endif
O := $B/obj

rel_CFLAGS  := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong
dbg_CFLAGS  := -Og
asan_CFLAGS := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
tsan_CFLAGS := -O1 -fsanitize=thread -Wno-tsan
cov_CFLAGS  := -O0 --coverage

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wundef -Wwrite-strings -Wpointer-arith \
	-Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough -Wformat=2
CFLAGS := -std=gnu17 -D_GNU_SOURCE -g -fno-strict-aliasing -fno-common -fwrapv -fPIE -pthread \
	  -Isrc -MMD -MP $(WARN) $($(MODE)_CFLAGS)
LDFLAGS := -pie -pthread -Wl,-z,relro,-z,now $($(MODE)_CFLAGS)

LIBS_vireo     := -luring -ljansson -lext2fs -lcom_err -lzstd -lz -lgcrypt -lfuse3
LIBS_vireo-vm  := -luring -ljansson -lz -lzstd -lgcrypt -lgpg-error
# Nothing to load when a machine starts (docs/decisions/0101); the sanitizers need shared libraries.
LINK_vireo-vm  := $(if $(filter rel dbg,$(MODE)),-static-pie)
LIBS_vireo-net := -lslirp
LIBS_unit      := -luring -ljansson -lslirp -lz -lZydis -lext2fs -lcom_err -lzstd -lgcrypt

SRCS := $(filter-out %_test.c %/test_main.c src/cmd/% src/guest/%,\
	  $(wildcard src/*/*.c src/*/*/*.c src/*/*/*.S))
OBJS := $(patsubst src/%,$O/%.o,$(SRCS))
CMDS := $(patsubst src/cmd/%.c,%,$(wildcard src/cmd/vireo*.c))
PROGS := $(addprefix $B/,$(CMDS))
TSTS := $(wildcard src/*/*_test.c src/*/*/*_test.c) src/base/test_main.c
HDRS := $(wildcard src/*/*.h src/*/*/*.h)

Q := $(if $(V),,@)
say = @printf '  %-6s %s\n' '$1' '$(patsubst $B/%,%,$@)'

# A job for each core, unless the command line says how many.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc))

all: deps
	$(Q)$(MAKE) --no-print-directory $(JOBS) progs

progs: $(PROGS) $B/guest/vireo-init

$O/disk/mount.c.o: CFLAGS += -isystem /usr/include/fuse3

# The engine may not touch vector registers: they hold the guest's (cpu/soft/vcpu.h). Its inline
# assembly may push: no red zone.
$O/cpu/soft/%.c.o: CFLAGS += -mgeneral-regs-only -include src/cpu/soft/freestanding.h -mno-red-zone -fno-stack-protector
$O/cpu/cpuid.c.o $O/cpu/tsc.c.o: CFLAGS += -mgeneral-regs-only
$O/cpu/soft/%_test.c.o: CFLAGS := $(filter-out -mgeneral-regs-only -include src/cpu/soft/freestanding.h,$(CFLAGS))

# One archive of everything but main(): each program links what it uses.
$O/libvireo.a: $(OBJS)
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $^

$(PROGS): $B/%: $O/cmd/%.c.o $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $(LINK_$*) -o $@ $< $O/libvireo.a $(LIBS_$*)

# The guest's process 1: static, and always plain (it runs in the guest, not here).
$B/guest/vireo-init: src/guest/vireo-init.c
	$(call say,GUEST)
	$(Q)mkdir -p $(@D)
	$(Q)gcc -std=gnu17 -D_GNU_SOURCE -Os -static -s $(WARN) -o $@ $<

# Bare-metal test guests: nothing of the host's in them.
GUESTS := $(patsubst tests/guest/claims/%.c,build/guests/%,$(wildcard tests/guest/claims/*.c))
GUEST_CFLAGS := -std=gnu17 -O2 -ffreestanding -fno-stack-protector -fpie -fvisibility=hidden -mno-red-zone \
		-mgeneral-regs-only -fcf-protection=none -fno-asynchronous-unwind-tables -Wall -Wextra -Werror
GUEST_LDFLAGS := -nostdlib -static -no-pie -Wl,-T,tests/guest/lib/guest.ld,--build-id=none,-z,noexecstack \
		 -Wl,--no-warn-rwx-segments

guests: $(GUESTS)
build/guests/%: tests/guest/claims/%.c $(wildcard tests/guest/lib/*)
	$(call say,GUEST)
	$(Q)mkdir -p $(@D)
	$(Q)gcc $(GUEST_CFLAGS) $(GUEST_LDFLAGS) -o $@ $< $(wildcard tests/guest/lib/*.[cS])

# ioctl() goes through src/cpu/kvm/kvm_test.c, which has a KVM of its own.
$B/unit: $(patsubst src/%,$O/%.o,$(TSTS)) $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -Wl,--wrap=ioctl -o $@ $^ $(LIBS_unit)

# Test programs of their own: tests/<dir>/<name>.c -> build/<name with dashes>
$B/decode-zydis: tests/decode/decode_zydis.c $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -MF $O/$(@F).d -o $@ $< $O/libvireo.a $(LIBS_unit)

# The native differential tester: several files, objects under $O/tests.
ND_OBJS := $(patsubst %.c,$O/%.c.o,$(wildcard tests/nd/*.c))
$B/nd: $(ND_OBJS) $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(ND_OBJS) $O/libvireo.a $(LIBS_unit)

# Interpreter and translated code, side by side over a Linux boot.
LOCKSTEP_OBJS := $(patsubst %.c,$O/%.c.o,$(wildcard tests/lockstep/*.c))
$B/lockstep: $(LOCKSTEP_OBJS) $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(LOCKSTEP_OBJS) $O/libvireo.a $(LIBS_unit)

# A guest saved and loaded, and hostile snapshots.
SNAP_OBJS := $(patsubst %.c,$O/%.c.o,$(wildcard tests/snap/*.c))
$B/snap-test: $(SNAP_OBJS) $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(SNAP_OBJS) $O/libvireo.a $(LIBS_unit)

$O/tests/%.c.o: tests/%.c
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$B/jail-attack: tests/jail/attack.c $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -MF $O/$(@F).d -o $@ $< $O/libvireo.a $(LIBS_unit)

# The fuzz targets as plain programs, which replay and bend inputs (tests/fuzz/target.h).
FUZZ_parse-fuzz := parse_fuzz target
FUZZ_peer-fuzz  := peer_fuzz peer_nbd peer_agent peer_vsock peer_mmds peer_vhost peer_opener peer_share rig \
		   fake_disk target
FUZZ_state-fuzz := state_fuzz no_engine target
FUZZ_disk-fuzz  := disk_fuzz mem_file
FUZZ_dev-fuzz   := dev_fuzz fake_disk
FUZZ_api-fuzz   := api_fuzz no_engine
REPLAY_PROGS := $(addprefix $B/,parse-fuzz peer-fuzz state-fuzz disk-fuzz dev-fuzz api-fuzz)

.SECONDEXPANSION:
$(REPLAY_PROGS): $B/%: $$(addprefix $O/tests/fuzz/,$$(addsuffix .c.o,$$(FUZZ_$$*))) $O/libvireo.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_unit)

$O/%.c.o: src/%.c
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$O/%.S.o: src/%.S
	$(call say,AS)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

deps:
	$(Q)tools/deps build

# What the suites run besides the programs.
TEST_PROGS := $(addprefix $B/, \
	unit \
	decode-zydis \
	nd \
	lockstep \
	api-fuzz \
	dev-fuzz \
	disk-fuzz \
	jail-attack \
	parse-fuzz \
	peer-fuzz \
	snap-test \
	state-fuzz \
)

check: deps
	$(Q)tools/deps check
	$(Q)$(MAKE) --no-print-directory $(JOBS) progs guests $(TEST_PROGS)
	$(Q)tests/run

# What .ci/run does: check, and a minute of every fuzz target as one more suite.
check-all: deps
	$(Q)tools/deps check && tools/deps fuzz
	$(Q)$(MAKE) --no-print-directory $(JOBS) progs guests $(TEST_PROGS) fuzz-progs
	$(Q)tests/run --fuzz

# The differential tester over every class and tier, ten million instructions and more.
nd-long: $B/nd
	$(Q)ND_COUNT=$(or $(COUNT),2500000) ND_SEED=$(or $(SEED),7000000000) ND_KEEP=1 ND_CLASSES=1 \
		tests/suites/nd

# A million mutated requests to the API.
api-fuzz-long: $B/api-fuzz
	$(Q)$B/api-fuzz --seed $(or $(SEED),1000000) --count $(or $(COUNT),1000000)

# Under a minute: what every commit must pass.
check-quick: progs $B/unit check-layers check-headers check-vector-free
	$(Q)$B/unit

check-layers:
	$(Q)tools/check-layers

# The engine's code never touches the registers that hold the guest's vectors.
check-vector-free: $O/libvireo.a
	$(Q)case "$(MODE)" in rel | dbg) tools/check-vector-free $O/cpu/soft ;; esac

check-headers: $(HDRS:src/%.h=$O/%.h.ok)	# every header compiles alone
$O/%.h.ok: src/%.h
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -MMD -MP,$(CFLAGS)) -Wno-unused -fsyntax-only -x c $< && touch $@

run: all
	$(Q)$B/vireo run

# -- coverage-guided fuzzing with clang's libFuzzer: tests/fuzz/run knows the targets -------------
#
# The same sources, compiled once more; the engine of translated code is left out (what a guest
# does to it is the differential tester's and the guests').
FUZZ := build/fuzz
FUZZ_CFLAGS := $(filter-out -Werror -D_FORTIFY_SOURCE=2 -fstack-protector-strong,$(CFLAGS)) -w -O2 \
	       -fsanitize=address,undefined -fno-sanitize-recover=all \
	       -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -DLIBFUZZER
# Coverage of what is tested, not of what serves the tests.
FUZZ_COVERAGE := -fsanitize=fuzzer-no-link
FUZZ_RIG := disk_fuzz fake_disk mem_file no_engine target
FUZZ_OBJS := $(patsubst src/%,$(FUZZ)/obj/%.o,$(filter-out src/cpu/soft/%,$(filter %.c,$(SRCS))))
FUZZ_PROGS := $(addprefix $(FUZZ)/,parse-fuzz peer-fuzz state-fuzz disk-fuzz dev-fuzz api-fuzz)

$(FUZZ)/obj/disk/mount.c.o: FUZZ_CFLAGS += -isystem /usr/include/fuse3
$(FUZZ)/obj/%.c.o: src/%.c
	$(call say,FUZZ)
	$(Q)mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS) $(FUZZ_COVERAGE) -c -o $@ $<

$(FUZZ_RIG:%=$(FUZZ)/obj/tests/%.c.o): FUZZ_COVERAGE :=
$(FUZZ)/obj/tests/%.c.o: tests/fuzz/%.c
	$(call say,FUZZ)
	$(Q)mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS) $(FUZZ_COVERAGE) -c -o $@ $<

$(FUZZ)/libvireo.a: $(FUZZ_OBJS)
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $^

$(FUZZ_PROGS): $(FUZZ)/%: $$(addprefix $(FUZZ)/obj/tests/,$$(addsuffix .c.o,$$(FUZZ_$$*))) $(FUZZ)/libvireo.a
	$(call say,LINK)
	$(Q)clang -pie -pthread -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS_unit)

fuzz-progs: $(FUZZ_PROGS) $B/disk-fuzz # which makes seeds

# Every target, or those in T, for TIME seconds each: make fuzz [TIME=60] [T="qcow2 mmds"]
fuzz:
	$(Q)tools/deps build && tools/deps fuzz
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) fuzz-progs
	$(Q)tests/fuzz/run --time $(or $(TIME),60) $(T)

# The same as a suite, for a machine that checks every change: a minute for each target.
check-fuzz:
	$(Q)$(MAKE) --no-print-directory fuzz TIME=$(or $(TIME),60)

# Options by ARGS, such as make bench ARGS="--quick --only user" (tests/bench/run --help)
bench: deps
	$(Q)tools/deps bench
	$(Q)$(MAKE) --no-print-directory progs
	$(Q)tests/bench/run $(ARGS)

# The nested lab: our build on KVM, inside QEMU (see tests/lab/run). MODE=asan WORDS=fuzz: with sanitizers.
lab: deps
	$(Q)tools/deps lab
	$(Q)$(MAKE) --no-print-directory progs guests
	$(Q)BUILD=$B tests/lab/run $(WORDS)

# Guests' faults are taken on stacks of the engine's own.
asan tsan: export ASAN_OPTIONS := use_sigaltstack=0
asan tsan: export TSAN_OPTIONS := suppressions=$(CURDIR)/tests/tsan.supp
asan tsan:
	$(Q)$(MAKE) MODE=$@ check-quick

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile
	@echo "targets: all run check check-all lab check-quick nd-long bench asan tsan lint fuzz clean"

clean:
	rm -rf build

.PHONY: guests nd-long all bench fuzz fuzz-progs check-fuzz progs deps check check-all check-quick check-vector-free check-layers check-headers run asan tsan help clean
.SECONDARY:
-include $(wildcard $O/cmd/*.d $O/tests/fuzz/*.d) $(wildcard $(FUZZ)/obj/*/*.d $(FUZZ)/obj/*/*/*.d) $(OBJS:.o=.d) $(ND_OBJS:.o=.d) $(LOCKSTEP_OBJS:.o=.d) $(SNAP_OBJS:.o=.d) $(patsubst src/%,$O/%.d,$(TSTS))
