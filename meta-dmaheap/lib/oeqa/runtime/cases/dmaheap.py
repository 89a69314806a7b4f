# SPDX-License-Identifier: MIT
#
# Runs heapctl check on the booted image and reports each check. Select it with
# TEST_SUITES:append = " dmaheap".

import json

from oeqa.runtime.case import OERuntimeTestCase
from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.decorator.package import OEHasPackage

# heapctl's exit codes that mean that it wrote a report.
REPORTED = (0, 1, 3)


class DmaheapTest(OERuntimeTestCase):

    @OETestDepends(['ssh.SSHTest.test_ssh'])
    @OEHasPackage(['heapctl'])
    def test_heapctl_check(self):
        command = 'heapctl check --full -o json'
        status, output = self.target.run(command)
        self.assertIn(status, REPORTED, msg='%s ended with %d\n%s' % (command, status, output))
        report = json.loads(output)
        self.assertEqual(report['format'], 'heapctl-report', msg=output)
        self.assertTrue(report['results'], msg='no check was run\n%s' % output)

        for result in report['results']:
            name = ' '.join(filter(None, [result['id'], result.get('heap')]))
            self.logger.info('%-4s %s: %s' % (result['status'], name, result.get('message', '')))
            with self.subTest(check=name):
                self.assertNotEqual(result['status'], 'FAIL', msg=self.explain(result))
                if result['status'] == 'SKIP':
                    self.skipTest(result.get('message', 'no reason was given'))
        self.assertEqual(status, 0, msg='%s ended with %d\n%s' % (command, status, output))

    @staticmethod
    def explain(result):
        """Put what heapctl says of one check into lines, the way out last."""
        lines = [result.get('title', result['id'])]
        for key in ('message', 'expected', 'found', 'evidence', 'advice'):
            if result.get(key):
                lines.append('%s: %s' % (key, result[key]))
        return '\n'.join(lines)
