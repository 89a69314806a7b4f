# SPDX-License-Identifier: MIT
#
# Runs heapctl check on the booted image and reports each check. Select it with
# TEST_SUITES:append = " dmaheap".

import json

from oeqa.core.case import OEPTestResultTestCase
from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage

# heapctl's exit codes that mean that it wrote a report.
REPORTED = (0, 1, 3)

# How oeqa calls what heapctl found. A warning is no failure; what could not be
# tested shows in the exit code.
RESULTS = {'PASS': 'PASSED', 'WARN': 'PASSED', 'FAIL': 'FAILED', 'SKIP': 'SKIPPED'}


class DmaheapTest(OERuntimeTestCase, OEPTestResultTestCase):

    @OETestDepends(['ssh.SSHTest.test_ssh'])
    @OEHasPackage(['heapctl'])
    def test_heapctl_check(self):
        command = 'heapctl check --full -o json'
        status, output = self.target.run(command)
        ended = '%s ended with %d\n%s' % (command, status, output)
        self.assertIn(status, REPORTED, msg=ended)
        # What heapctl says on standard error comes along: the report is from the
        # first brace on.
        self.assertIn('{', output, msg=ended)
        report, _ = json.JSONDecoder().raw_decode(output[output.index('{'):])
        self.assertEqual(report['format'], 'heapctl-report', msg=ended)
        self.assertTrue(report['results'], msg='no check was run\n' + ended)

        self.ptest_section('heapctl', exitcode=str(status), log=output)
        failures = []
        for result in report['results']:
            name = ' '.join(filter(None, [result['id'], result.get('heap')]))
            self.ptest_result('heapctl', name, RESULTS[result['status']])
            self.logger.info('%-4s %s: %s' % (result['status'], name, result.get('message', '')))
            if result['status'] == 'FAIL':
                failures.append('%s\n%s' % (name, self.explain(result)))
        if failures:
            self.fail('\n\n'.join(failures))
        self.assertEqual(status, 0, msg=ended)

    @staticmethod
    def explain(result):
        """Put what heapctl says of one check into lines, the way out last."""
        lines = ['  ' + result.get('title', result['id'])]
        for key in ('message', 'expected', 'found', 'evidence', 'advice'):
            if result.get(key):
                lines.append('  %s: %s' % (key, result[key]))
        return '\n'.join(lines)
