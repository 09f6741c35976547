"""`python -m tutelage`: the command line, where the command `tutelage` is not on the path."""

from tutelage.cli import main

main()
