"""The command line: wires the packages together and has no logic of its own.

Modules import what they need inside their commands, so that `plumage --help` is quick and `plumage serve` loads no
torch.
"""
