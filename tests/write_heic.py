"""`python -m tests.write_heic` writes the HEIC files in `tests/heic`, of pictures made here."""

import io
from typing import Any

import pillow_heif
from PIL import Image

from tests.pictures import DISPLAY_P3, HEIC, SIZE, SWAPPED_RGB, encoded, gradient, lying, oriented

EXACT: dict[str, Any] = {"quality": -1, "chroma": 444}


def files() -> dict[str, bytes]:
    """Their content by name."""
    pillow_heif.register_heif_opener()
    transparent = gradient("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(SIZE))
    large, upside_down = gradient(size=(160, 120)), gradient().transpose(Image.Transpose.ROTATE_180)
    several = {"save_all": True, "append_images": [gradient()], "primary_index": 1}
    deep = io.BytesIO()
    pillow_heif.from_bytes(mode="RGB;16", size=(64, 48), data=b"\x00\x80\x00\x40\x00\xc0" * 64 * 48).save(deep, **EXACT)
    return {
        "rgb": encoded(gradient(), "HEIF", **EXACT),
        "rgba": encoded(transparent, "HEIF", **EXACT),
        "l": encoded(gradient("L"), "HEIF", **EXACT),
        **{f"orientation-{way}": encoded(lying(way), "HEIF", exif=oriented(way), **EXACT) for way in (1, 2, 3, 6, 8)},
        "swapped-rgb": encoded(Image.new("RGB", SIZE, (255, 0, 0)), "HEIF", icc_profile=SWAPPED_RGB, **EXACT),
        "display-p3": encoded(gradient(), "HEIF", icc_profile=DISPLAY_P3),
        "ten-bits": deep.getvalue(),
        "second-is-primary": encoded(upside_down, "HEIF", **several, **EXACT),
        "160x120": encoded(large, "HEIF"),
        "160x120-rgba": encoded(large.convert("RGBA"), "HEIF"),
        "200x101": encoded(gradient(size=(200, 101)), "HEIF"),
    }


if __name__ == "__main__":
    HEIC.mkdir(exist_ok=True)
    for name, data in files().items():
        (HEIC / f"{name}.heic").write_bytes(data)
