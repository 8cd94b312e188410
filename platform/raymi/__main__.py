"""`python -m raymi` is the command line."""

from raymi.cli.main import main

main()
