# SPDX-License-Identifier: MIT
#
# gomod:// in SRC_URI for releases whose bitbake has no such fetcher (scarthgap):
# the same files, checksums and names in DL_DIR, fetched over https from the
# proxy that GO_MOD_PROXY or, without it, GOPROXY names. Where the fetcher is
# there, this class does nothing.

def dmaheap_lacks_gomod():
    import importlib.util
    return importlib.util.find_spec('bb.fetch2.gomod') is None

def dmaheap_gomod_proxy(d):
    proxy = d.getVar('GO_MOD_PROXY') or (d.getVar('GOPROXY') or '').split(',')[0]
    return proxy.split('://')[-1].rstrip('/')

def dmaheap_gomod_escape(path):
    """Write capital letters as the module proxy protocol wants them."""
    import re
    return re.sub(r'[A-Z]', lambda m: '!' + m.group(0).lower(), path)

def dmaheap_gomod_modules(d):
    """Yield module, version, extension and checksum of each gomod:// in SRC_URI."""
    for uri in (d.getVar('DMAHEAP_GOMOD_URIS') or '').split():
        _, host, path, _, _, parm = bb.fetch2.decodeurl(uri)
        module = host + path.rstrip('/')
        yield module, parm['version'], '.mod' if parm.get('mod') == '1' else '.zip', parm['sha256sum']

python () {
    if not dmaheap_lacks_gomod():
        return
    uris = (d.getVar('SRC_URI') or '').split()
    mods = [u for u in uris if u.startswith('gomod://')]
    if not mods:
        return
    d.setVar('DMAHEAP_GOMOD_URIS', ' '.join(mods))
    uris = [u for u in uris if u not in mods]
    proxy = dmaheap_gomod_proxy(d)
    if not proxy or proxy in ('direct', 'off'):
        raise bb.parse.SkipRecipe('Go modules are fetched from a module proxy, and GOPROXY names none first; set GO_MOD_PROXY')
    for module, version, ext, sha256 in dmaheap_gomod_modules(d):
        name = '%s@%s%s' % (module.replace('/', '.'), version, ext)
        path = dmaheap_gomod_escape('%s/@v/%s%s' % (module, version, ext))
        uris.append('https://%s/%s;downloadfilename=%s;unpack=0;subdir=gomod;name=%s' % (proxy, path, name, name))
        d.setVarFlag('SRC_URI', name + '.sha256sum', sha256)
    d.setVar('SRC_URI', ' '.join(uris))
    d.appendVarFlag('do_unpack', 'postfuncs', ' dmaheap_gomod_cache')
}

# Lays the files into the module cache as the go command would have done.
python dmaheap_gomod_cache() {
    import shutil, zipfile
    for module, version, ext, _ in dmaheap_gomod_modules(d):
        name = '%s@%s%s' % (module.replace('/', '.'), version, ext)
        fetched = os.path.join(d.getVar('DMAHEAP_UNPACKDIR'), 'gomod', name)
        place = os.path.join(d.getVar('GOMODCACHE'), 'cache/download', dmaheap_gomod_escape(module), '@v')
        bb.utils.mkdirhier(place)
        base = os.path.join(place, dmaheap_gomod_escape(version))
        shutil.copyfile(fetched, base + ext)
        if ext == '.zip':
            with zipfile.ZipFile(fetched) as zf:
                try:
                    text = zf.read('%s@%s/go.mod' % (module, version))
                except KeyError:
                    text = ('module %s\n' % module).encode()
            with open(base + '.mod', 'wb') as f:
                f.write(text)
}
