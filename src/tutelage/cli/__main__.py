"""`python -m tutelage.cli`: the command line."""

from tutelage.cli import main

main()
