# SPDX-License-Identifier: MIT
"""Resolve a configuration with kconfiglib.

usage: kconfig.py KCONFIG [SYMBOL=VALUE | DEFCONFIG]...

Prints every symbol that has a value other than n or empty, one a line, and
each warning of kconfiglib, which includes undefined symbols, to stderr. Of a
defconfig only the symbols that KCONFIG defines are taken. Exit 1 on warnings.
"""
import os
import sys

import kconfiglib

os.environ["KCONFIG_WARN_UNDEF"] = "y"
kconf = kconfiglib.Kconfig(sys.argv[1], warn_to_stderr=True)
for arg in sys.argv[2:]:
    lines = [arg]
    if os.path.exists(arg):
        with open(arg) as f:
            lines = f.read().splitlines()
    for line in lines:
        name, sep, value = line.partition("=")
        if not sep or name.startswith("#"):
            continue
        sym = kconf.syms.get(name)
        if sym is None or not sym.nodes:
            if arg == line:
                sys.exit("no symbol " + name)
            continue
        if not sym.set_value(value.strip('"')):
            sys.exit("cannot set " + line)
for sym in kconf.unique_defined_syms:
    if sym.str_value not in ("n", ""):
        print("%s=%s" % (sym.name, sym.str_value))
sys.exit(1 if kconf.warnings else 0)
