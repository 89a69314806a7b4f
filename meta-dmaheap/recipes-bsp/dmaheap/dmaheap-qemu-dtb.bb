# SPDX-License-Identifier: MIT
SUMMARY = "The device tree of QEMU's arm64 virt machine"
DESCRIPTION = "QEMU makes this tree itself when it starts. To have heaps in it, \
it must be known at build time and be handed to QEMU with the heaps in it."
HOMEPAGE = "https://github.com/dmaheap/dmaheap"
SECTION = "bsp"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

require conf/dmaheap/variables.inc

inherit deploy features_check
REQUIRED_MACHINE_FEATURES = "dmaheap"
COMPATIBLE_MACHINE = "^qemuarm64$"

INHIBIT_DEFAULT_DEPS = "1"
DEPENDS = "dtc-native"
PACKAGE_ARCH = "${MACHINE_ARCH}"

SRC_URI = "file://qemu-virt.dts"
S = "${DMAHEAP_UNPACKDIR}"
B = "${WORKDIR}/build"

inherit nopackages

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
	dtc -q -I dts -O dtb -o ${B}/qemu-virt.dtb ${DMAHEAP_UNPACKDIR}/qemu-virt.dts
}

do_deploy() {
	install -Dm 0644 ${B}/qemu-virt.dtb ${DEPLOYDIR}/devicetree/qemu-virt.dtb
}
addtask deploy after do_compile before do_build
