################################################################################
#
# dmaheap
#
################################################################################

# SPDX-License-Identifier: MIT

# No version and no source: all of it is made from the heaps.yaml of the board.
DMAHEAP_LICENSE = MIT
DMAHEAP_DEPENDENCIES = host-heapctl
DMAHEAP_INSTALL_IMAGES = YES

DMAHEAP_CONFIG = $(call qstrip,$(BR2_PACKAGE_DMAHEAP_CONFIG))
DMAHEAP_STEM = $(basename $(notdir $(DMAHEAP_CONFIG)))
DMAHEAP_KERNEL_PATCHES = $(BR2_EXTERNAL_DMAHEAP_PATH)/../kernel-patches

# The device tree to compile against, and its name as the kernel build has it.
DMAHEAP_BASE_FILE = $(call qstrip,$(BR2_PACKAGE_DMAHEAP_BASE_DTB))
DMAHEAP_DTB_NAME = $(firstword $(LINUX_DTS_NAME)).dtb
ifeq ($(DMAHEAP_BASE_FILE),)
DMAHEAP_BASE_DTB = $(LINUX_ARCH_PATH)/boot/dts/$(DMAHEAP_DTB_NAME)
else ifneq ($(filter %.dts,$(DMAHEAP_BASE_FILE)),)
DMAHEAP_DEPENDENCIES += host-dtc
DMAHEAP_BASE_DTB = $(BUILD_DIR)/.dmaheap-base.dtb
define DMAHEAP_MAKE_BASE_DTB
	$(HOST_DIR)/bin/dtc -q -I dts -O dtb -o $(DMAHEAP_BASE_DTB) $(DMAHEAP_BASE_FILE)
endef
else
DMAHEAP_BASE_DTB = $(DMAHEAP_BASE_FILE)
endif

DMAHEAP_COMPILE = \
	$(HOST_DIR)/bin/heapctl compile $(DMAHEAP_CONFIG) \
		--base $(DMAHEAP_BASE_DTB) \
		$(if $(BR2_PACKAGE_DMAHEAP_STRICT),--strict)

ifeq ($(BR2_LINUX_KERNEL),y)
DMAHEAP_DEPENDENCIES += linux

# The rules differ between kernels, so what counts is the kernel that is built,
# not the one heaps.yaml was written for.
DMAHEAP_LINUX_SERIES = \
	$$(sed -n -e 's/^VERSION = //p' $(LINUX_DIR)/Makefile).$$(sed -n -e 's/^PATCHLEVEL = //p' $(LINUX_DIR)/Makefile)
DMAHEAP_COMPILE += --kernel $(DMAHEAP_LINUX_SERIES)

define DMAHEAP_CHECK_KERNEL_CONFIG
	$(BR2_EXTERNAL_DMAHEAP_PATH)/support/check-kernel-config.sh \
		$(LINUX_DIR)/.config $(@D)/$(DMAHEAP_STEM).config
endef
endif

# The kernel's configuration is made before its device trees are. With a device
# tree of its own the package merges what the heaps need; without one it turns
# on the options of all kinds of heap, and DMAHEAP_CHECK_KERNEL_CONFIG sees to
# the rest when the device tree is there.
ifneq ($(DMAHEAP_BASE_FILE),)
define DMAHEAP_LINUX_CONFIG_FIXUPS
	$(DMAHEAP_MAKE_BASE_DTB)
	$(DMAHEAP_COMPILE) --quiet -o $(LINUX_DIR)/.dmaheap
	support/kconfig/merge_config.sh -m -O $(LINUX_DIR) \
		$(LINUX_DIR)/.config $(LINUX_DIR)/.dmaheap/$(DMAHEAP_STEM).config
endef
else
define DMAHEAP_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_SYNC_FILE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMABUF_HEAPS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMABUF_HEAPS_SYSTEM)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CMA)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMA_CMA)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMABUF_HEAPS_CMA)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMABUF_HEAPS_CMA_REGIONS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMABUF_HEAPS_CARVEOUT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DMABUF_HEAPS_CHUNK)
endef
endif

define DMAHEAP_BUILD_CMDS
	$(DMAHEAP_MAKE_BASE_DTB)
	$(DMAHEAP_COMPILE) -o $(@D)
	$(DMAHEAP_CHECK_KERNEL_CONFIG)
endef

DMAHEAP_PRODUCTS = \
	60-$(DMAHEAP_STEM).rules \
	$(DMAHEAP_STEM).config \
	$(DMAHEAP_STEM).lock.json \
	$(DMAHEAP_STEM).map.txt \
	$(DMAHEAP_STEM).mdev.conf

# The overlay lies beside the device tree; what is not for the boot medium goes
# into a directory of its own, since image scripts pick up *.dtb.
define DMAHEAP_INSTALL_IMAGES_CMDS
	$(INSTALL) -D -m 0644 $(@D)/$(DMAHEAP_STEM).dtbo \
		$(BINARIES_DIR)/$(DMAHEAP_STEM).dtbo
	$(INSTALL) -D -m 0644 $(DMAHEAP_BASE_DTB) \
		$(BINARIES_DIR)/dmaheap/base.dtb
	$(foreach product,$(DMAHEAP_PRODUCTS), \
		$(INSTALL) -D -m 0644 $(@D)/$(product) \
			$(BINARIES_DIR)/dmaheap/$(product)$(sep))
endef

# The lock file is where heapctl check looks for it by itself.
define DMAHEAP_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0644 $(DMAHEAP_CONFIG) \
		$(TARGET_DIR)/etc/dmaheap/heaps.yaml
	$(INSTALL) -D -m 0644 $(@D)/$(DMAHEAP_STEM).lock.json \
		$(TARGET_DIR)/etc/dmaheap/heaps.lock.json
	$(DMAHEAP_INSTALL_UDEV_RULES)
	$(DMAHEAP_INSTALL_OVERLAY)
endef

# A boot loader that takes the device tree from the root file system looks for
# overlays there too.
ifeq ($(BR2_LINUX_KERNEL_INSTALL_TARGET):$(BR2_PACKAGE_DMAHEAP_APPLY),y:)
define DMAHEAP_INSTALL_OVERLAY
	$(INSTALL) -D -m 0644 $(@D)/$(DMAHEAP_STEM).dtbo \
		$(TARGET_DIR)/boot/$(DMAHEAP_STEM).dtbo
endef
endif

ifeq ($(BR2_PACKAGE_HAS_UDEV),y)
define DMAHEAP_INSTALL_UDEV_RULES
	$(INSTALL) -D -m 0644 $(@D)/60-$(DMAHEAP_STEM).rules \
		$(TARGET_DIR)/usr/lib/udev/rules.d/60-$(DMAHEAP_STEM).rules
endef
endif

# mdev has one file for all, takes the first line that matches, and belongs to
# busybox. This runs at the end of every build, so it first takes away what it
# put there the last time.
ifeq ($(BR2_ROOTFS_DEVICE_CREATION_DYNAMIC_MDEV),y)
define DMAHEAP_INSTALL_MDEV_CONF
	{ \
		echo "# dmaheap: begin"; \
		cat $(DMAHEAP_DIR)/$(DMAHEAP_STEM).mdev.conf; \
		echo "# dmaheap: end"; \
		sed -e '/^# dmaheap: begin/,/^# dmaheap: end/d' $(TARGET_DIR)/etc/mdev.conf; \
	} >$(DMAHEAP_DIR)/mdev.conf.new
	$(INSTALL) -D -m 0644 $(DMAHEAP_DIR)/mdev.conf.new $(TARGET_DIR)/etc/mdev.conf
endef
DMAHEAP_TARGET_FINALIZE_HOOKS += DMAHEAP_INSTALL_MDEV_CONF
endif

# The groups that the rules name must exist, or mdev and udev ignore the line.
# They are known once the package is built, which is before this is expanded
# for the file system; the comment keeps it from being empty, and so dropped,
# when the Makefiles are read.
define DMAHEAP_USERS
	# groups of the DMA heaps
	$(foreach group,$(shell sed -n -e 's/.* GROUP="\([^"]*\)".*/\1/p' \
		$(DMAHEAP_DIR)/60-$(DMAHEAP_STEM).rules 2>/dev/null | sort -u), \
		- - $(group) -1 - - - - -$(sep))
endef

# At the end of every build for the same reason: linux-rebuild installs the
# device tree of the kernel again.
ifeq ($(BR2_PACKAGE_DMAHEAP_APPLY),y)
DMAHEAP_DEPENDENCIES += host-dtc
DMAHEAP_DTB_INSTALLED = $(if $(BR2_LINUX_KERNEL_DTB_KEEP_DIRNAME),$(DMAHEAP_DTB_NAME),$(notdir $(DMAHEAP_DTB_NAME)))
define DMAHEAP_APPLY_OVERLAY
	$(foreach dir,$(BINARIES_DIR) $(if $(BR2_LINUX_KERNEL_INSTALL_TARGET),$(TARGET_DIR)/boot), \
		$(HOST_DIR)/bin/fdtoverlay -i $(DMAHEAP_BASE_DTB) \
			-o $(dir)/$(DMAHEAP_DTB_INSTALLED) \
			$(DMAHEAP_DIR)/$(DMAHEAP_STEM).dtbo$(sep))
endef
DMAHEAP_TARGET_FINALIZE_HOOKS += DMAHEAP_APPLY_OVERLAY
endif

ifeq ($(BR2_PACKAGE_DMAHEAP_BOOT_CHECK),y)
define DMAHEAP_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(DMAHEAP_PKGDIR)/S95dmaheap-check \
		$(TARGET_DIR)/etc/init.d/S95dmaheap-check
endef
define DMAHEAP_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(DMAHEAP_PKGDIR)/dmaheap-check.service \
		$(TARGET_DIR)/usr/lib/systemd/system/dmaheap-check.service
endef
endif

# Errors that say what to do, but not while somebody is in menuconfig.
ifeq ($(BR2_PACKAGE_DMAHEAP)$(BR_BUILDING),yy)
ifeq ($(DMAHEAP_CONFIG),)
$(error BR2_PACKAGE_DMAHEAP_CONFIG is empty: set it to the heaps.yaml of the board)
endif
ifeq ($(wildcard $(DMAHEAP_CONFIG)),)
$(error BR2_PACKAGE_DMAHEAP_CONFIG: there is no file $(DMAHEAP_CONFIG))
endif
ifneq ($(DMAHEAP_BASE_FILE),)
ifeq ($(wildcard $(DMAHEAP_BASE_FILE)),)
$(error BR2_PACKAGE_DMAHEAP_BASE_DTB: there is no file $(DMAHEAP_BASE_FILE))
endif
else ifneq ($(BR2_LINUX_KERNEL_DTS_SUPPORT),y)
$(error dmaheap needs the device tree of the board: set BR2_PACKAGE_DMAHEAP_BASE_DTB, \
	or let the kernel build one with BR2_LINUX_KERNEL_DTS_SUPPORT)
endif
endif

$(eval $(generic-package))

# What is missing from the kernel's final configuration, by name and reason.
.PHONY: dmaheap-check-kernel-config
dmaheap-check-kernel-config: dmaheap-build
	$(BR2_EXTERNAL_DMAHEAP_PATH)/support/check-kernel-config.sh \
		$(LINUX_DIR)/.config $(DMAHEAP_DIR)/$(DMAHEAP_STEM).config
