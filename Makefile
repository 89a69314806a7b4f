# SPDX-License-Identifier: MIT
#
# What a person types. Each target installs what it needs first.

# A kernel line, an architecture and a kernel tree may come from the command line or the
# environment; scripts read them from there.
export V ARCH KERNEL_SRC DMAHEAP_PATCHES
ifeq ($(strip $(V)),)
unexport V
endif
ifeq ($(strip $(ARCH)),)
unexport ARCH
endif
ifeq ($(strip $(KERNEL_SRC)),)
unexport KERNEL_SRC
endif
ifeq ($(strip $(DMAHEAP_PATCHES)),)
unexport DMAHEAP_PATCHES
endif

# make turns whatever exit code a recipe ends with into 2. In question mode,
# and only there, it hands a 1 through, and lines with a + are run all the
# same. So `make demo` ends with 1 when a check or a rule failed, as heapctl
# does, and with 2 for the rest. Other goals beside it would not be run.
ifeq ($(MAKECMDGOALS),demo)
MAKEFLAGS += --question
endif

.PHONY: help
help: ## this list
	@echo "usage: make TARGET [V=6.12] [ARCH=arm64|arm|riscv64] [KERNEL_SRC=/path/to/linux] [CONFIG=heaps.yaml] [MEM=512]"
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo
	@echo "kernels are cached in $${XDG_CACHE_HOME:-~/.cache}/dmaheap"

.PHONY: demo
demo: ## from heaps.yaml to a verified boot: compile CONFIG, boot it in QEMU, check it
	+@test/setup.sh --arch $(or $(ARCH),arm64) boot kernel
	+@go build -o build/bin/demo ./test/demo
	+@MAKEFLAGS= build/bin/demo $(if $(CONFIG),-config '$(CONFIG)') $(if $(MEM),-mem '$(MEM)')

.NOTPARALLEL:

# Where the program goes: GOARCH=arm64 makes one for the board beside it.
HEAPCTL := build/bin/$(if $(GOARCH),linux-$(GOARCH)/)heapctl

.PHONY: heapctl
heapctl: ## build the program: build/bin/heapctl, or with GOARCH=arm64 one for the board
	@$(if $(GOARCH),GOOS=linux) release/build.sh $(HEAPCTL)
	@echo $(HEAPCTL)

PREFIX ?= /usr/local

.PHONY: install
install: heapctl ## install it with manual pages and shell completion; PREFIX=/usr/local DESTDIR=
	@DESTDIR='$(DESTDIR)' release/install.sh $(HEAPCTL) '$(PREFIX)'

.PHONY: dist
dist: ## a release in build/dist: tarball with the Go modules, programs, SBOM, checksums
	@release/dist.sh

# The lines whose source Debian has, see kernel-patches/source.sh, and the line
# that is also run with the kernel's own checkers. test/kernels finds the tests
# that boot machines by itself.
KERNELS ?= 5.10 6.1 6.12 7.3
DEBUG_KERNEL ?= 6.12

.PHONY: test
test: check corpus short-fuzz ## all tests: make check, then those in virtual machines on all kernels
	@test/setup.sh boot kernel labs uboot
	@test/setup.sh --arch amd64 boot
	@kernel-patches/check.sh style
	@MAKEFLAGS= go run ./test/kernels $(DEBUG_KERNEL)-debug $(KERNELS)
	@$(MAKE) --no-print-directory test-arch

.PHONY: short-fuzz
short-fuzz:
	@test/fuzz.sh 4s

.PHONY: check
check: ## the fast checks: format, vet, staticcheck, unit tests
	@test/setup.sh check boot
	@test/check.sh

# The kernels whose boards are read. Their trees are built once, in a minute or
# two; the rest takes seconds.
CORPUS ?= 6.12 7.3

.PHONY: corpus
corpus: ## hold the rules against every arm and arm64 board of the kernels in CORPUS
	@test/setup.sh corpus
	@for v in $(CORPUS); do \
		boards=$$(test/corpus.sh $$v) && \
		DTB_CORPUS=$$boards go test -count=1 -v -run '^(TestCorpus|TestMergeTime)$$' ./heapcfg/emit || exit 1; \
	done
	@KERNEL_SOURCES='$(CORPUS)' go test -count=1 -run '^Test(Boards|LinuxConfig|PatchesApply)$$' ./test/buildroot

.PHONY: test-kernels
test-kernels: ## the tests in virtual machines on each kernel of KERNELS
	@test/setup.sh boot kernel labs uboot
	@test/setup.sh --arch amd64 boot
	@MAKEFLAGS= go run ./test/kernels $(KERNELS)

.PHONY: test-kernel
test-kernel: ## the same on one kernel: V=6.1, or KERNEL_SRC=/path/to/linux
	@test/setup.sh boot kernel labs uboot
	@test/setup.sh --arch amd64 boot
	@MAKEFLAGS= go run ./test/kernels

# What QEMU has beside arm64; each takes a kernel of its own.
.PHONY: test-arch
test-arch: ## the demo and the programme of test/vm on 32-bit arm and on riscv64
	@failed=; for a in arm riscv64; do \
		echo "== $$a"; \
		$(MAKE) --no-print-directory demo ARCH=$$a || failed="$$failed $$a"; \
		MAKEFLAGS= ARCH=$$a DMAHEAP_VM=require go test -count=1 -timeout 0 -run '^TestProgramme$$' ./test/vm || \
			failed="$$failed $$a-programme"; \
	done; [ -z "$$failed" ] || { echo "failed on:$$failed"; exit 1; }

.PHONY: test-debug
test-debug: ## make test-kernel with KASAN, lockdep, kmemleak and injected faults: V=6.1
	@test/setup.sh boot kernel
	@MAKEFLAGS= DMAHEAP_VM_DEBUG=1 go run ./test/kernels

DURATION ?= 2m

.PHONY: abuse
abuse: ## attack the heaps of a kernel for DURATION; SEED= repeats a run, DEBUG=1 takes the debug kernel
	@test/setup.sh boot kernel
	@MAKEFLAGS= DMAHEAP_VM=require ABUSE_DURATION='$(DURATION)' ABUSE_SEED='$(SEED)' DMAHEAP_VM_DEBUG='$(DEBUG)' \
		go test -count=1 -v -timeout 0 -run TestAbuse ./test/abuse

COUNT ?= 200

.PHONY: boot-abuse
boot-abuse: ## boot COUNT device trees, good and broken, from SEED on, and compare with the rules
	@test/setup.sh boot kernel
	@MAKEFLAGS= DMAHEAP_VM=require BOOT_ABUSE_COUNT='$(COUNT)' BOOT_ABUSE_SEED='$(SEED)' \
		go test -count=1 -v -timeout 0 -run TestBootAbuse ./test/bootabuse

FUZZTIME ?= 10s

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@test/fuzz.sh '$(FUZZTIME)'

# Only the default kernel's figures are those of the documentation.
.PHONY: bench
bench: ## measure the heaps side by side and renew docs/performance.md (BENCH=-quick)
	@test/setup.sh boot kernel corpus
	@MAKEFLAGS= go run ./test/perf $(BENCH) $(if $(V)$(KERNEL_SRC)$(BENCH),,-docs docs)

.PHONY: kernel
kernel: ## build the kernel for the virtual machines and print where it is
	@test/kernel.sh

.PHONY: kernel-tree
kernel-tree: ## a git tree of kernel V with the series applied, for work on it
	@kernel-patches/tree.sh $(or $(V),$(shell test/kernel.sh line))

.PHONY: kernel-export
kernel-export: ## write that tree's commits back to kernel-patches/V
	@kernel-patches/export.sh $(or $(V),$(shell test/kernel.sh line))

.PHONY: test-yocto
test-yocto: ## what only Yocto can tell of meta-dmaheap; POKY_DIR=/path
	@test/yocto/run.sh

include test/buildroot/targets.mk

.PHONY: clean
clean: ## remove build/; the kernel cache stays
	rm -rf build
