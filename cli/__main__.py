"""`python -m cli` is `plumage`."""

from cli.main import main

main(prog_name="plumage")
