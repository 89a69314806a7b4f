# SPDX-License-Identifier: MIT
#
# What testimage says to QEMU: one command after the other, in lines of JSON over
# a socket. It stands in for the module qmp.legacy that QEMU's own sources have and
# Debian's packages do not.

import json
import socket


class QMPError(Exception):
    pass


class QEMUMonitorProtocol:

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.lines = self.socket.makefile('r')

    def settimeout(self, seconds):
        self.socket.settimeout(seconds)

    def connect(self):
        self.socket.connect(self.address)
        if 'QMP' not in self.receive():
            raise QMPError('QEMU sent no greeting')
        if 'return' not in self.cmd_raw('qmp_capabilities'):
            raise QMPError('QEMU takes no commands')

    def cmd_raw(self, name, args=None):
        command = {'execute': name}
        if args:
            command['arguments'] = args
        self.socket.sendall(json.dumps(command).encode())
        while True:
            message = self.receive()
            if 'event' not in message:
                return message

    def receive(self):
        line = self.lines.readline()
        if not line:
            raise QMPError('QEMU closed the connection')
        return json.loads(line)

    def close(self):
        self.lines.close()
        self.socket.close()
