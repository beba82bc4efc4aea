"""`python -m tafukt`: the command."""

from tafukt.experiments.cli.app import main

main()
