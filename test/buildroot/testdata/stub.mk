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

# What was declared, in order.
golang-package = $(eval PACKAGES += golang:$(lastword $(subst /, ,$(dir $(lastword $(MAKEFILE_LIST))))))
host-golang-package = $(eval PACKAGES += host-golang:$(lastword $(subst /, ,$(dir $(lastword $(MAKEFILE_LIST))))))
generic-package = $(eval PACKAGES += generic:$(lastword $(subst /, ,$(dir $(lastword $(MAKEFILE_LIST))))))

include $(wildcard $(BR2_EXTERNAL_DMAHEAP_PATH)/linux/linux-ext-*.mk)
include $(BR2_EXTERNAL_DMAHEAP_PATH)/external.mk

.PHONY: print
.DEFAULT_GOAL = print
print:
	$(foreach v,$(VARS),$(info $(v)=$(strip $(subst $(sep), ; ,$($(v))))))@:
