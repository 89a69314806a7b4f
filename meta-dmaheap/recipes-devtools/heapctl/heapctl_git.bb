# SPDX-License-Identifier: MIT
SUMMARY = "DMA memory for a board, from heaps.yaml to a verified boot"
DESCRIPTION = "heapctl compiles heaps.yaml into a device tree overlay, a kernel \
config fragment and device rules, and checks the heaps of the booted board."
HOMEPAGE = "https://github.com/dmaheap/dmaheap"
SECTION = "devel"

require conf/dmaheap/variables.inc
require heapctl-licenses.inc

GO_IMPORT = "github.com/dmaheap/dmaheap"
PV = "${@dmaheap_release_version(d) or '0.1+git'}"
S = "${DMAHEAP_UNPACKDIR}/${BP}"

# The sources are those of the repository that the layer is in, each with a
# checksum, so that tool, patches and layer are of one version and an edit
# rebuilds. A release tarball is unpacked into the same place.
FILESEXTRAPATHS:prepend := "${DMAHEAP_REPO_DIR}:"
DMAHEAP_SOURCES = "LICENSE go.mod go.sum cmd dmaheap docs/man heapcfg internal"
SRC_URI = "${@dmaheap_source_uri(d)}"
require ${@'' if d.getVar('DMAHEAP_RELEASE') else 'heapctl-go-mods.inc'}

def dmaheap_release_version(d):
    import re
    m = re.search(r'/dmaheap-(\d[^/;]*?)\.tar\.', d.getVar('DMAHEAP_RELEASE') or '')
    return m.group(1) if m else ''

def dmaheap_source_uri(d):
    place = d.expand('${BP}/src/${GO_IMPORT}')
    release = d.getVar('DMAHEAP_RELEASE')
    if release:
        # The tarball has one folder at its top, which is not ours to name.
        return release + ';subdir=%s;striplevel=1' % place
    return ' '.join('file://%s;subdir=%s' % (name, place) for name in d.getVar('DMAHEAP_SOURCES').split())

# A release tarball has the modules, and with them their licences, in vendor/.
python () {
    if d.getVar('DMAHEAP_RELEASE'):
        import re
        files = d.getVar('LIC_FILES_CHKSUM')
        vendor = d.expand('file://src/${GO_IMPORT}/vendor/')
        d.setVar('LIC_FILES_CHKSUM', re.sub(r'file://pkg/mod/([^@]+)@[^/]+/', vendor + r'\1/', files))
}

inherit go-mod dmaheap-gomod bash-completion

# Modules are unpacked at one place on every release, so that the licences of
# the linked ones are found there. They are known before anything is compiled.
export GOMODCACHE = "${S}/pkg/mod"
GO_MOD_CACHE_DIR = "${@os.path.relpath(d.getVar('GOMODCACHE'), d.getVar('DMAHEAP_UNPACKDIR'))}"
do_unpack[cleandirs] += "${GOMODCACHE}"
addtask do_compile before do_populate_lic

# One static program: it runs in an initramfs and beside any C library.
CGO_ENABLED = "0"
GO_LINKSHARED = ""

# The classes would build for GOPATH, dynamically, and look for newer modules.
do_compile() {
	cd ${S}/src/${GO_IMPORT}
	# go.bbclass has it print every hash, which buries what went wrong.
	unset GODEBUG
	export TMPDIR="${GOTMPDIR}" GOFLAGS="-buildvcs=false -modcacherw" GOPROXY=off GOSUMDB=off GOTOOLCHAIN=local
	${GO} build ${GO_PARALLEL_BUILD} -trimpath \
		-ldflags "-X ${GO_IMPORT}/internal/cli.linkedVersion=${PV}" -o ${B}/bin/heapctl ./cmd/heapctl
}

# A program for the target does not run here, so that of the workstation prints
# the completion.
DEPENDS:append:class-target = " heapctl-native"
DEPENDS:append:class-nativesdk = " heapctl-native"
HEAPCTL_HERE = "heapctl"
HEAPCTL_HERE:class-native = "${B}/bin/heapctl"

do_install() {
	install -Dm 0755 ${B}/bin/heapctl ${D}${bindir}/heapctl
	install -d ${D}${mandir}/man1 ${D}${mandir}/man5 ${D}${datadir}/bash-completion/completions
	install -m 0644 ${S}/src/${GO_IMPORT}/docs/man/*.1 ${D}${mandir}/man1/
	install -m 0644 ${S}/src/${GO_IMPORT}/docs/man/*.5 ${D}${mandir}/man5/
	${HEAPCTL_HERE} completion bash > ${D}${datadir}/bash-completion/completions/heapctl
}

# The initramfs of the verification takes it from the sysroot.
SYSROOT_DIRS:append:class-target = " ${bindir}"

BBCLASSEXTEND = "native nativesdk"
