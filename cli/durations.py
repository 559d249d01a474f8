"""Durations as people write them."""

from cli.errors import BadInput

UNITS_S = {"h": 3600, "d": 86_400}


def read_seconds(text: str) -> int:
    """`12h` or `90d`. Raises BadInput for anything else."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal() and unit in UNITS_S):
        raise BadInput(f"{text!r} is no lifetime; 12h or 90d would be", "bad_lifetime")
    return int(number) * UNITS_S[unit]
