# SPDX-License-Identifier: MIT
SUMMARY = "An initramfs that checks the heaps and says so on the console"
DESCRIPTION = "For a board without a root filesystem, or with one that must not \
be touched: put it beside the kernel or netboot it. heapctl is its init. It gives \
the heaps the names and permissions that udev would give them, checks them \
against the lock file of this build, prints HEAPCTL-EXIT and the exit code, and \
powers off."
HOMEPAGE = "https://github.com/dmaheap/dmaheap"
SECTION = "bsp"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

require conf/dmaheap/variables.inc

inherit deploy features_check nopackages
REQUIRED_MACHINE_FEATURES = "dmaheap"

INHIBIT_DEFAULT_DEPS = "1"
DEPENDS = "heapctl heapctl-native dmaheap-board"
PACKAGE_ARCH = "${MACHINE_ARCH}"

DMAHEAP_CHECK_ARGS[doc] = "Arguments of heapctl check in the verification initramfs. Default: a full run, which takes all memory of every heap for a moment; -o ktap, junit or lava for a lab."
DMAHEAP_CHECK_ARGS ?= "--full"

DMAHEAP_THEN[doc] = "What comes after the check in the verification initramfs: poweroff, reboot, shell, or init for the root filesystem. Default: poweroff."
DMAHEAP_THEN ?= "poweroff"

S = "${DMAHEAP_UNPACKDIR}"
B = "${WORKDIR}/build"

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
	heapctl initramfs ${RECIPE_SYSROOT}${sysconfdir}/dmaheap/heaps.lock.json \
		--program ${RECIPE_SYSROOT}${bindir}/heapctl --then ${DMAHEAP_THEN} \
		-o ${B}/dmaheap-initramfs.cpio -- ${DMAHEAP_CHECK_ARGS}
	gzip -9nf ${B}/dmaheap-initramfs.cpio
}
do_compile[cleandirs] = "${B}"

do_deploy() {
	install -m 0644 ${B}/dmaheap-initramfs.cpio.gz ${DEPLOYDIR}/dmaheap-initramfs-${MACHINE}.cpio.gz
}
addtask deploy after do_compile before do_build
