"""`python -m cli` is `plumage`, and how `cli.stack.children` starts it."""

import os

from cli.main import main
from cli.stack.children import PARENT_VARIABLE
from jobs.lifeline import die_with_parent

if parent := os.environ.pop(PARENT_VARIABLE, None):
    die_with_parent(int(parent))
main(prog_name="plumage")
