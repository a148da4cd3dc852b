"""`python -m edgecd`."""

from edgecd.cli import main

main()
