"""`python -m embedkit` is the `embedkit` command."""

from embedkit.cli import main

main()
