"""Colour profiles that may travel with a picture: three primaries and three curves, written anew from their numbers.

What a client's file carries is a stranger's bytes, and a profile is read by more programs than any picture. So it is
read once, here, in the decoder's process, and of it only what defines an RGB space of matrix and curves is kept: the
tags `rXYZ`, `gXYZ`, `bXYZ`, `rTRC`, `gTRC`, `bTRC` of ICC.1:2022, sections 8.3.3 and 10. Profiles of tables, of grey
and of CMYK are not kept, nor is sRGB, which needs none.
"""

import struct
from collections.abc import Mapping

Primaries = tuple[tuple[float, float, float], ...]
"""Red, green and blue as XYZ relative to D50."""
LONGEST_CURVE = 4096
LARGEST_PROFILE = 32 * 1024
"""Bytes that `bare_rgb_profile` returns at most."""
_MOST_TAGS = 100
_COLORANTS, _CURVES = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")
_TABLES = frozenset({b"A2B0", b"A2B1", b"D2B0", b"D2B1"})
_PARAMETERS = (1, 3, 4, 5, 7)
"""Of a parametric curve, by its function type."""
_SRGB: Primaries = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
_NAMES: dict[str, Primaries] = {
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6923, 0.0419), (0.1571, 0.0666, 0.7841)),
    "Adobe RGB (1998)": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
    "ProPhoto RGB": ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)),
    "Rec. 2020": ((0.6735, 0.2790, -0.0019), (0.1657, 0.6753, 0.0300), (0.1251, 0.0456, 0.7969)),
}
_SAME_PRIMARIES, _SAME_CURVE = 0.003, 0.004
_D50 = struct.pack(">3i", 63190, 65536, 54061)


def bare_rgb_profile(profile: bytes) -> bytes | None:
    """The same RGB space as a version 4 profile that holds nothing else, of at most LARGEST_PROFILE bytes and equal for
    equal numbers; None for sRGB and for every other kind of profile."""
    tags = _tags(profile)
    if tags is None or _TABLES & set(tags):
        return None
    colorants = [_colorant(tags.get(name, b"")) for name in _COLORANTS]
    curves = [_curve(tags.get(name, b"")) for name in _CURVES]
    if not all(colorants) or not all(curves):
        return None
    primaries = tuple(_xyz(colorant) for colorant in colorants if colorant)
    kept = [curve for curve in curves if curve]
    if abs(_determinant(primaries)) < 1e-3 or _is_srgb(primaries, kept):
        return None
    body = dict(zip((*_COLORANTS, *_CURVES), [*filter(None, colorants), *kept], strict=True))
    return _composed(_name(primaries), body)


def _tags(profile: bytes) -> dict[bytes, bytes] | None:
    """The tags of an RGB profile whose connection space is XYZ; None for another, and for one that is damaged."""
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[16:24] != b"RGB XYZ ":
        return None
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > _MOST_TAGS or len(profile) < 132 + 12 * count:
        return None
    found = {}
    for number in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if start + length > len(profile):
            return None
        found[name] = profile[start : start + length]
    return found


def _colorant(tag: bytes) -> bytes | None:
    if len(tag) < 20 or tag[:8] != b"XYZ \0\0\0\0" or any(abs(value) > 2 for value in _xyz(tag)):
        return None
    return tag[:20]


def _xyz(tag: bytes) -> tuple[float, float, float]:
    x, y, z = struct.unpack_from(">3i", tag, 8)
    return x / 65536, y / 65536, z / 65536


def _curve(tag: bytes) -> bytes | None:
    """The bytes of a curve that rises and can be turned round."""
    if len(tag) < 12:
        return None
    kind = tag[:8]
    if kind == b"curv\0\0\0\0":
        (count,) = struct.unpack_from(">I", tag, 8)
        length = 12 + 2 * count
        if count > LONGEST_CURVE or len(tag) < length:
            return None
        values = struct.unpack_from(f">{count}H", tag, 12)
        if count == 1 and not 0.2 <= values[0] / 256 <= 8:
            return None
        if count > 1 and (list(values) != sorted(values) or values[0] == values[-1]):
            return None
        return tag[:length]
    if kind != b"para\0\0\0\0" or (function := tag[9] if tag[8] == 0 else 99) >= len(_PARAMETERS):
        return None
    length = 12 + 4 * _PARAMETERS[function]
    if len(tag) < length:
        return None
    bare = tag[:10] + b"\0\0" + tag[12:length]
    if not 0.2 <= _fixed(bare, 0) <= 8:
        return None
    levels = [_level(bare, step / 64) for step in range(65)]
    return bare if levels == sorted(levels) and levels[0] > -0.1 and 0.5 < levels[-1] < 2 else None


def _fixed(tag: bytes, number: int) -> float:
    return float(struct.unpack_from(">i", tag, 12 + 4 * number)[0]) / 65536


def _level(tag: bytes, x: float) -> float:
    """What the curve makes of a device value, both 0 to 1."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        values = struct.unpack_from(f">{count}H", tag, 12)
        if count == 1:
            return float(x ** (values[0] / 256))
        low = min(int(x * (count - 1)), count - 2)
        return float(values[low] + (values[low + 1] - values[low]) * (x * (count - 1) - low)) / 65535
    function = tag[9]
    gamma, *rest = (_fixed(tag, number) for number in range(_PARAMETERS[function]))
    a, b, c, d, e, f = [*rest, *([1.0, 0.0, 0.0, 0.0, 0.0, 0.0][len(rest) :])]
    if function == 0:
        return float(x**gamma)
    above = float(max(a * x + b, 0.0) ** gamma)
    if function in (1, 2):
        offset = c if function == 2 else 0.0
        return offset + (above if a * x + b >= 0 else 0.0)
    return above + e if x >= d else c * x + f


def _is_srgb(primaries: Primaries, curves: list[bytes]) -> bool:
    def meant(x: float) -> float:
        return x / 12.92 if x <= 0.04045 else float(((x + 0.055) / 1.055) ** 2.4)

    levels = [step / 16 for step in range(17)]
    return _near(primaries, _SRGB) and all(
        abs(_level(curve, x) - meant(x)) < _SAME_CURVE for curve in curves for x in levels
    )


def _near(some: Primaries, others: Primaries) -> bool:
    pairs = zip((value for row in some for value in row), (value for row in others for value in row), strict=True)
    return all(abs(one - other) < _SAME_PRIMARIES for one, other in pairs)


def _determinant(rows: Primaries) -> float:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _name(primaries: Primaries) -> str:
    return next((name for name, known in _NAMES.items() if _near(primaries, known)), "RGB")


def _text(words: str) -> bytes:
    """A multiLocalizedUnicode tag of one record, ASCII in two bytes each: a confined process cannot load a codec."""
    encoded = bytes(byte for letter in words.encode() for byte in (0, letter))
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _composed(name: str, body: Mapping[bytes, bytes]) -> bytes:
    """Tags that are equal lie there once."""
    tags = {b"desc": _text(name), b"cprt": _text("CC0"), b"wtpt": b"XYZ \0\0\0\0" + _D50, **body}
    places: dict[bytes, int] = {}
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        if value not in places:
            places[value] = start + len(data)
            data += value + b"\0" * (-len(value) % 4)
        table += struct.pack(">4sII", key, places[value], len(value))
    created = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header = struct.pack(">I4sI", start + len(data), b"", 0x04400000) + b"mntrRGB XYZ " + created + b"acsp"
    header = header.ljust(68, b"\0") + _D50
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data
