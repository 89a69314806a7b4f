# SPDX-License-Identifier: MIT
#
# No SDK is made of the image here. Without this bitbake would look for all that
# one consists of.
python () {
    for task in d.getVar('__BBTASKS', False) or []:
        if 'sdk' in task:
            for flag in ('depends', 'deptask', 'rdepends', 'rdeptask', 'recrdeptask'):
                d.delVarFlag(task, flag)
}
