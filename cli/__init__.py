"""The command line: wires the packages together and has no logic of its own.

`cli.main` imports a command when it is run. Commands import torch, and what needs it, in the functions that compute:
`--help` is quick, and what is wrong with the arguments is reported before half a minute of imports.
"""
