"""Lets `python -m sum_assets` run the command line."""

from sum_assets.cli.main import main

main()
