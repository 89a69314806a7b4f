# SPDX-License-Identifier: MIT
#
# As much of Buildroot's infrastructure as it takes to read the Makefiles of
# the external tree, in the order Buildroot reads them: the linux extension
# first, the packages last. `make print` shows the variables named in VARS.

qstrip = $(strip $(subst ",,$(1)))
KCONFIG_ENABLE_OPT = enable $(strip $(1))
APPLY_PATCHES = apply-patches.sh
INSTALL = install
define sep


endef

HOST_DIR = /host
TARGET_DIR = /target
BINARIES_DIR = /images
BUILD_DIR = /build
LINUX_DIR = /build/linux-custom
LINUX_ARCH_PATH = $(LINUX_DIR)/arch/arm64

# What was declared, in order. Buildroot sets some variables of a package itself,
# and overwrites what the package put there without a word.
OF_BUILDROOT = TYPE NAME RAWNAME PKGDIR BASENAME DIR SRCDIR BUILDDIR DL_DIR TARGET_BUILD TARGET_CONFIGURE FINAL_DEPENDENCIES
pkgname = $(lastword $(subst /, ,$(dir $(lastword $(MAKEFILE_LIST)))))
upper = $(subst heapctl,HEAPCTL,$(subst dmaheap,DMAHEAP,$(subst host-,HOST_,$(1))))
declare = $(foreach v,$(OF_BUILDROOT),\
	$(if $(filter undefined,$(origin $(call upper,$(2))_$(v))),,$(error $(call upper,$(2))_$(v) is a variable of Buildroot)))\
	$(eval PACKAGES += $(1):$(patsubst host-%,%,$(2)))
golang-package = $(call declare,golang,$(pkgname))
host-golang-package = $(call declare,host-golang,host-$(pkgname))
generic-package = $(call declare,generic,$(pkgname))

include $(wildcard $(BR2_EXTERNAL_DMAHEAP_PATH)/linux/linux-ext-*.mk)
include $(BR2_EXTERNAL_DMAHEAP_PATH)/external.mk

.PHONY: print
.DEFAULT_GOAL = print
print:
	$(foreach v,$(VARS),$(info $(v)=$(strip $(subst $(sep), ; ,$($(v))))))@:

# What a kernel goes through before its own patches.
.PHONY: prepare-kernel
prepare-kernel:
	@$(DMAHEAP_PREPARE_KERNEL)
