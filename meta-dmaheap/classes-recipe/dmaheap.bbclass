# SPDX-License-Identifier: MIT
#
# Compiles the board's heaps.yaml and hands out what comes of it: the overlay
# to boot loaders and FIT images, the device rules and the lock file to the
# image, the config fragment to the kernel. A layout that would be fatal at
# boot stops the build, with file, line and column.
#
# The variables are in conf/dmaheap/variables.inc.

require conf/dmaheap/variables.inc

SECTION ?= "bsp"
LICENSE ?= "MIT"
LIC_FILES_CHKSUM ?= "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit deploy features_check

# Heaps belong to a board, so the board has to ask for them.
REQUIRED_MACHINE_FEATURES = "dmaheap"

# heapctl needs neither dtc nor a C compiler. That leaves nothing that depends
# on the kernel, which is what lets the kernel depend on us.
INHIBIT_DEFAULT_DEPS = "1"
DEPENDS += "heapctl-native"
DEPENDS += "${@'dtc-native' if d.getVar('DMAHEAP_MERGE') == '1' else ''}"

PACKAGE_ARCH = "${MACHINE_ARCH}"

# As devicetree.bbclass does it: FIT images and EXTERNAL_KERNEL_DEVICETREE take
# what the preferred virtual/dtb has in /boot/devicetree.
PROVIDES += "${@'virtual/dtb' if d.getVar('PREFERRED_PROVIDER_virtual/dtb') == d.getVar('PN') else ''}"

S = "${DMAHEAP_UNPACKDIR}"
B = "${WORKDIR}/build"

# A config that is refused leaves the products of the last good one: bitbake
# still holds those for done when the config is put right again.
DMAHEAP_NEW = "${WORKDIR}/new"
do_compile[cleandirs] += "${DMAHEAP_NEW}"
do_compile[dirs] = "${DMAHEAP_NEW}"

# The user's own file is compiled, not a copy in the work directory, so that an
# editor finds the line that a message names.
def dmaheap_config_path(d):
    config = d.getVar('DMAHEAP_CONFIG') or ''
    if os.path.isabs(config):
        return config
    return bb.utils.which(d.getVar('BBPATH'), config) or config

DMAHEAP_CONFIG_PATH = "${@dmaheap_config_path(d)}"
DMAHEAP_CONFIG_PATH[vardepvalue] = "${DMAHEAP_NAME}"

# A rule with a group that the image does not have leaves the heap to root, and oe-core
# has no group render but with systemd. useradd wants them when the recipe is parsed,
# where no reader of YAML is at hand.
def dmaheap_groups(d):
    import re
    try:
        path = bb.parse.resolve_file(d.getVar('DMAHEAP_CONFIG') or '', d)
    except OSError:
        return []
    with open(path, errors='replace') as f:
        lines = [re.sub(r'(^|\s)#.*', '', line) for line in f]
    key = re.compile(r'''(?:^|[\s{,])["']?group["']?\s*:\s*["']?([A-Za-z_][\w.-]*)''')
    return sorted({group for line in lines for group in key.findall(line)})

inherit ${@'useradd' if dmaheap_groups(d) else ''}

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "${@'; '.join('-r ' + group for group in dmaheap_groups(d))}"

python () {
    # Up to walnascar the kernel's recipe makes the FIT image. bitbake would find a
    # circle of tasks and print all of them.
    if (dmaheap_base_is_kernels(d) and 'kernel-fitimage' in (d.getVar('KERNEL_CLASSES') or '').split()
            and d.getVar('PREFERRED_PROVIDER_virtual/dtb') == d.getVar('PN')):
        raise bb.parse.SkipRecipe('its overlay is to be in the FIT image that the kernel makes, so it cannot wait for a tree '
                                  'that the kernel makes: set DMAHEAP_BASE_DTB to a file and DMAHEAP_BASE_DTB_DEPENDS = ""')
    d.appendVarFlag('do_compile', 'file-checksums', ' ' + d.expand('${DMAHEAP_CONFIG_PATH}:True'))
    depends = d.getVar('DMAHEAP_BASE_DTB_DEPENDS')
    if depends:
        d.appendVarFlag('do_compile', 'depends', ' ' + depends)
    else:
        d.appendVarFlag('do_compile', 'file-checksums', ' ' + d.expand('${DMAHEAP_BASE_DTB}:True'))
    if dmaheap_base_is_kernels(d):
        d.appendVarFlag('do_compile', 'depends', ' virtual/kernel:do_shared_workdir')
}

do_configure[noexec] = "1"

do_compile() {
	if [ ! -e "${DMAHEAP_CONFIG_PATH}" ]; then
		bbfatal "DMAHEAP_CONFIG: there is no ${DMAHEAP_CONFIG}, neither as a path nor along BBPATH. Write one, or set DMAHEAP_CONFIG to yours."
	fi
	if [ ! -f "${DMAHEAP_BASE_DTB}" ]; then
		bbfatal "DMAHEAP_BASE_DTB: there is no ${DMAHEAP_BASE_DTB}. Set DMAHEAP_KERNEL_DTB to one of KERNEL_DEVICETREE, or DMAHEAP_BASE_DTB to the tree that the boot loader hands to the kernel."
	fi
	version="${DMAHEAP_KERNEL_VERSION}"
	if ${@'true' if dmaheap_base_is_kernels(d) else 'false'}; then
		version=$(cat ${STAGING_KERNEL_BUILDDIR}/kernel-abiversion)
	fi
	set -- --base "${DMAHEAP_BASE_DTB}" -o ${DMAHEAP_NEW}
	if [ -n "$version" ]; then
		set -- "$@" --kernel "$version"
	fi
	if [ "${DMAHEAP_STRICT}" = 1 ]; then
		set -- "$@" --strict
	fi
	# With plain bbfatal bitbake would not show the log, which has the findings.
	heapctl compile "${DMAHEAP_CONFIG_PATH}" "$@" || \
		bbfatal_log "heapctl compile refused ${DMAHEAP_CONFIG}; its findings are in the log"
	if [ "${DMAHEAP_MERGE}" = 1 ]; then
		fdtoverlay -i "${DMAHEAP_BASE_DTB}" -o ${DMAHEAP_NEW}/${DMAHEAP_NAME}.dtb ${DMAHEAP_NEW}/${DMAHEAP_NAME}.dtbo
	fi
	if ${@'true' if dmaheap_base_is_kernels(d) else 'false'}; then
		dmaheap_compare_config ${DMAHEAP_NEW}/${DMAHEAP_NAME}.config ${STAGING_KERNEL_BUILDDIR}/.config
	fi
	rm -rf ${B}
	mv ${DMAHEAP_NEW} ${B}
}

# dmaheap_compare_config FRAGMENT CONFIG stops at options that did not make it
# into the kernel: a heap would be missing on the board, without a word.
dmaheap_compare_config() {
	missing=$(grep '^CONFIG_' "$1" | grep -vxFf "$2" || true)
	if [ -n "$missing" ]; then
		bbfatal "the kernel was built without" $missing "which ${DMAHEAP_CONFIG} needs. Add a fragment with them to the kernel recipe."
	fi
}

do_install() {
	install -Dm 0644 ${B}/60-${DMAHEAP_NAME}.rules ${D}${nonarch_base_libdir}/udev/rules.d/60-${DMAHEAP_NAME}.rules
	install -Dm 0644 ${B}/${DMAHEAP_NAME}.lock.json ${D}${sysconfdir}/dmaheap/heaps.lock.json
	install -Dm 0644 ${B}/${DMAHEAP_NAME}.mdev.conf ${D}${sysconfdir}/dmaheap/mdev.conf
	install -Dm 0644 ${B}/${DMAHEAP_NAME}.dtbo ${D}/boot/devicetree/${DMAHEAP_NAME}.dtbo
	install -Dm 0644 ${B}/${DMAHEAP_NAME}.config ${D}${datadir}/dmaheap/heaps.cfg
}

do_deploy() {
	for f in ${DMAHEAP_NAME}.dtbo ${DMAHEAP_NAME}.lock.json ${DMAHEAP_NAME}.map.txt; do
		install -Dm 0644 ${B}/$f ${DEPLOYDIR}/devicetree/$f
	done
	if [ "${DMAHEAP_MERGE}" = 1 ]; then
		install -m 0644 ${B}/${DMAHEAP_NAME}.dtb ${DEPLOYDIR}/devicetree/
	fi
}
addtask deploy after do_compile before do_build

# The kernel takes its fragment from the sysroot, a FIT image the overlay.
SYSROOT_DIRS += "/boot/devicetree ${sysconfdir}/dmaheap ${nonarch_base_libdir}/udev/rules.d"

PACKAGES = "${PN} ${PN}-overlay ${PN}-dev"
SUMMARY:${PN}-overlay = "${SUMMARY} - device tree overlay in /boot"
FILES:${PN} = "${nonarch_base_libdir}/udev/rules.d ${sysconfdir}/dmaheap"
FILES:${PN}-overlay = "/boot/devicetree"
FILES:${PN}-dev = "${datadir}/dmaheap"
ALLOW_EMPTY:${PN}-dev = "1"
