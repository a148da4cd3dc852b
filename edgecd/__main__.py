"""`python -m edgecd`."""

import os
import sys

# `python -m` searches the working directory first, which may be anybody's (see own_code_only), and
# pathlib would be searched there, too.
_HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120
if sys.path[0] == os.getcwd() != _HOME:  # noqa: PTH109
    del sys.path[0]

from edgecd.cli import main  # noqa: E402 (only now)

main()
