# SPDX-License-Identifier: MIT
"""The heaps of a board under labgrid.

On a board that runs its image, with heapctl and the lock file in it:

    pytest --lg-env board.yaml --junit-xml=heaps.xml test_heaps.py

On a board that netboots, or in QEMU as qemu.yaml has it, the archive of
"heapctl initramfs heaps.lock.json -- --full -o json" gives the same verdict
over the serial console:

    pytest --lg-env qemu.yaml --junit-xml=heaps.xml test_heaps.py
"""

import json
import re
import warnings

import pytest
from labgrid.protocol import CommandProtocol, ConsoleProtocol, PowerProtocol

# heapctl's exit codes: 0 ok, 1 a check failed, 2 usage, 3 could not test,
# 4 the kernel has no heaps.
TIMEOUT = 300


def from_shell(target):
    """Runs heapctl in the image of the board."""
    command = target.get_driver(CommandProtocol)
    out, err, code = command.run("heapctl check --full -o json", timeout=TIMEOUT)
    assert code in (0, 1, 3, 4), "\n".join(err)
    return json.loads("\n".join(out))


def from_initramfs(target):
    """Boots the archive and reads its report from the console."""
    console = target.get_driver(ConsoleProtocol, activate=False)
    target.activate(console)
    target.get_driver(PowerProtocol).cycle()
    console.expect(r"HEAPCTL-RUN 0 [^\n]*\n", timeout=TIMEOUT)
    _, before, _, _ = console.expect(r"HEAPCTL-DONE 0 \d+", timeout=TIMEOUT)
    text = before.decode(errors="replace").replace("\r", "")
    # Lines of the kernel may stand between those of the report.
    lines = [line for line in text.split("\n") if not re.match(r"\[ *\d+\.\d+\]", line)]
    text = "\n".join(lines)
    return json.JSONDecoder().raw_decode(text[text.index("{"):])[0]


@pytest.fixture(scope="session")
def report(target):
    try:
        target.get_driver(CommandProtocol, activate=False)
    except Exception:  # the environment has no shell on the board
        return from_initramfs(target)
    return from_shell(target)


def told(result):
    lines = [f"{result['id']} {result.get('heap', 'board')}: {result['message']}"]
    for key in ("expected", "found", "evidence", "advice"):
        if result.get(key):
            lines.append(f"  {key}: {result[key]}")
    return "\n".join(lines)


def with_status(report, *statuses):
    return [r for r in report["results"] if r["status"] in statuses]


def test_no_check_fails(report):
    failed = with_status(report, "FAIL")
    assert not failed, "\n".join(told(r) for r in failed)


def test_nothing_is_kept_from_being_tested(report):
    """A skip is no pass: rights or memory were missing."""
    blocked = [r for r in with_status(report, "SKIP") if r.get("blocked")]
    assert not blocked, "\n".join(told(r) for r in blocked)


def test_heaps_were_tested(report):
    assert any(r["id"] == "alloc-largest" and r["status"] == "PASS" for r in report["results"])


def test_warnings(report):
    """Warnings do not fail; pytest lists them at its end."""
    for r in with_status(report, "WARN"):
        warnings.warn(told(r))
