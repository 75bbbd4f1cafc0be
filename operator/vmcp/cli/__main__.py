"""`python -m vmcp.cli`."""

from vmcp.cli.main import main

main()
