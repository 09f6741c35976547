"""`python -m tutelage`: the command line, where the command `tutelage` is not on the path."""

import os
import sys

if sys.path[0] == os.getcwd():  # noqa: PTH109 - as Python puts it there
    # Behind all packages, so that a file of the working folder is not imported in place of one.
    sys.path.append(sys.path.pop(0))

from tutelage.cli import main

main()
