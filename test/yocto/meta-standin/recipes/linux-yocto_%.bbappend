# SPDX-License-Identifier: MIT
#
# The recipe of the release with a kernel source at hand in the place of
# linux-yocto.git, and a small configuration in the place of yocto-kernel-cache.
# STANDIN_LINUX is a tarball; STANDIN_LINUX_VERSION is what its Makefile says.

FILESEXTRAPATHS:prepend := "${STANDIN_LAYERDIR}/recipes/files:"

LINUX_VERSION = "${STANDIN_LINUX_VERSION}"
PV = "${LINUX_VERSION}"
STANDIN_UNPACKDIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
SRC_URI = "file://${STANDIN_LINUX};subdir=linux;striplevel=1 file://defconfig file://standin.cfg"
S = "${STANDIN_UNPACKDIR}/linux"
LIC_FILES_CHKSUM = "file://COPYING;md5=6bc538ed5bd9a7fc9398086aedcd7e46"

KCONFIG_MODE = "allnoconfig"
KMETA = ""
KERNEL_VERSION_SANITY_SKIP = "1"
SRCREV_machine:forcevariable = ""
SRCREV_meta = ""

# What is in a folder is in yocto-kernel-cache.
python () {
    d.setVar('KERNEL_FEATURES', ' '.join(f for f in d.getVar('KERNEL_FEATURES').split() if '/' not in f))
}
