# SPDX-License-Identifier: MIT
SUMMARY = "An initramfs that checks the heaps and says so on the console"
DESCRIPTION = "For a board without a root filesystem, or with one that must not \
be touched: put it beside the kernel or netboot it. It gives the heaps the names \
and permissions that udev would give them, runs heapctl check against the lock \
file of this build, prints HEAPCTL-EXIT and the exit code, and powers off."
HOMEPAGE = "https://github.com/dmaheap/dmaheap"
SECTION = "bsp"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

require conf/dmaheap/variables.inc

inherit deploy features_check nopackages
REQUIRED_MACHINE_FEATURES = "dmaheap"

INHIBIT_DEFAULT_DEPS = "1"
DEPENDS = "heapctl dmaheap-board"
PACKAGE_ARCH = "${MACHINE_ARCH}"

DMAHEAP_CHECK_ARGS[doc] = "Arguments of heapctl check in the verification initramfs. Default: a full run, which takes all memory of every heap for a moment; -o ktap, junit or lava for a lab."
DMAHEAP_CHECK_ARGS ?= "--full"

S = "${DMAHEAP_UNPACKDIR}"
B = "${WORKDIR}/build"

do_configure[noexec] = "1"
do_install[noexec] = "1"

def newc(entries):
    """Return a newc archive, which Linux unpacks as its first root filesystem.

    Each entry is (name, mode, data, device). No root is needed for the device
    nodes, and the same entries give the same bytes.
    """
    out = bytearray()
    for inode, (name, mode, data, (major, minor)) in enumerate(entries + [('TRAILER!!!', 0, b'', (0, 0))], 1):
        path = name.encode() + b'\0'
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(path), 0)
        out += b'070701' + b''.join(b'%08x' % f for f in fields) + path
        out += b'\0' * (-len(out) % 4)
        out += data
        out += b'\0' * (-len(out) % 4)
    return bytes(out)

python do_compile() {
    import glob, gzip, json, stat
    sysroot = d.getVar('RECIPE_SYSROOT')

    def read(name):
        with open(sysroot + d.expand(name), 'rb') as f:
            return f.read()

    lock = json.loads(read('${sysconfdir}/dmaheap/heaps.lock.json'))

    def accounts(key, line):
        # Whom the rules name must exist here; which numbers they have is of no
        # matter in a system of one program.
        names = sorted({heap[key] for heap in lock['heaps'] if heap.get(key)} - {'root'})
        return ''.join(line % pair for pair in [('root', 0)] + list(zip(names, range(900, 1000)))).encode()

    rules = '/etc/udev/60-dmaheap.rules'
    files = {
        'init': (0o755, read('${libexecdir}/dmaheap/init')),
        'bin/heapctl': (0o755, read('${bindir}/heapctl')),
        'etc/dmaheap/heaps.lock.json': (0o644, read('${sysconfdir}/dmaheap/heaps.lock.json')),
        rules[1:]: (0o644, read('${nonarch_base_libdir}/udev/rules.d/60-${DMAHEAP_NAME}.rules')),
        'etc/dmaheap/init.json': (0o644, json.dumps({
            'rules': rules,
            'run': [['/bin/heapctl', 'check'] + d.getVar('DMAHEAP_CHECK_ARGS').split()],
        }).encode()),
        'etc/passwd': (0o644, accounts('owner', '%s:x:%d:0::/:\n')),
        'etc/group': (0o644, accounts('group', '%s:x:%d:\n')),
    }
    dirs = sorted({'/'.join(n.split('/')[:i]) for n in list(files) + ['dev/x'] for i in range(1, n.count('/') + 1)})
    entries = [(n, stat.S_IFDIR | 0o755, b'', (0, 0)) for n in dirs]
    entries.append(('dev/console', stat.S_IFCHR | 0o600, b'', (5, 1)))
    entries.append(('dev/null', stat.S_IFCHR | 0o666, b'', (1, 3)))
    entries += [(n, stat.S_IFREG | mode, data, (0, 0)) for n, (mode, data) in sorted(files.items())]
    with open(d.expand('${B}/dmaheap-initramfs.cpio.gz'), 'wb') as f:
        f.write(gzip.compress(newc(entries), mtime=0))
}
do_compile[cleandirs] = "${B}"

do_deploy() {
	install -m 0644 ${B}/dmaheap-initramfs.cpio.gz ${DEPLOYDIR}/dmaheap-initramfs-${MACHINE}.cpio.gz
}
addtask deploy after do_compile before do_build
