################################################################################
#
# Patch the linux kernel with the DMA heaps
#
################################################################################

# SPDX-License-Identifier: MIT

# Not by LINUX_EXTENSIONS: that makes the kernel depend on the package dmaheap,
# which depends on the kernel.
ifeq ($(BR2_LINUX_KERNEL_EXT_DMAHEAP),y)
# check-package TypoInPackageVariable
LINUX_PRE_PATCH_HOOKS += DMAHEAP_PREPARE_KERNEL
endif

# The configuration of the kernel takes what heapctl says the heaps need. This
# is the last place where the kernel's dependencies can still be added to.
ifeq ($(BR2_PACKAGE_DMAHEAP),y)
# check-package TypoInPackageVariable
LINUX_KCONFIG_DEPENDENCIES += \
	host-heapctl \
	$(if $(filter %.dts,$(call qstrip,$(BR2_PACKAGE_DMAHEAP_BASE_DTB))),host-dtc)
endif

# By the kernel's own Makefile, since a tree from git or a tarball of one's own
# has no version that Buildroot would know.
define DMAHEAP_PREPARE_KERNEL
	series=$(DMAHEAP_LINUX_SERIES); \
	if [ ! -e $(DMAHEAP_KERNEL_PATCHES)/$${series}/series ]; then \
		echo "ERROR: dmaheap has no patches for Linux $${series}, only for:"; \
		cd $(DMAHEAP_KERNEL_PATCHES) && ls -d [0-9]*; \
		echo "Choose one of these kernels, or turn BR2_LINUX_KERNEL_EXT_DMAHEAP off."; \
		exit 1; \
	fi; \
	$(APPLY_PATCHES) $(LINUX_DIR) $(DMAHEAP_KERNEL_PATCHES)/$${series} \*.patch
endef
