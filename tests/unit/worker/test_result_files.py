"""The finished picture as a file: its mark, its colours, its bytes."""

import io
import struct
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.images.canvas import to_pil
from jobs.schema import Output
from tests.pictures import DISPLAY_P3, SIZE, decoded, encoded, gradient, pixel
from uploads.images import PictureLimits, check_picture
from worker.color import to_space_of, to_srgb
from worker.marking import SOURCE_TYPE
from worker.pictures import ImageWriting, decode_picture, encode_image

FORMATS: dict[str, dict[str, Any]] = {"png": {}, "webp": {"quality": 100}, "jpeg": {"quality": 95}}
EXT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
STORED = check_picture(encoded(gradient(), icc_profile=DISPLAY_P3), PictureLimits(), keep_profile=True).png


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def xmp_of(image: Image.Image) -> bytes:
    found = image.info.get("xmp", image.info.get("XML:com.adobe.xmp", b""))
    return found.encode() if isinstance(found, str) else bytes(found)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_says_that_a_model_had_a_part_in_it(kind: str) -> None:
    output = Output.model_validate({"format": kind, **FORMATS[kind]})
    data = encode_image(gradient(), ImageWriting(output))
    image = opened(data)
    (described,) = ET.fromstring(xmp_of(image)).iter(f"{EXT}DigitalSourceType")
    assert described.text == SOURCE_TYPE
    assert b"<xmp:CreatorTool>Plumage</xmp:CreatorTool>" in xmp_of(image)
    assert encode_image(gradient(), ImageWriting(output)) == data
    plain = encode_image(gradient(), ImageWriting(output, mark=False))
    assert xmp_of(opened(plain)) == b""
    assert opened(plain).tobytes() == image.tobytes()


def test_the_packet_lies_where_the_standards_have_it() -> None:
    png = encode_image(gradient(), ImageWriting(Output()))
    assert b"iTXtXML:com.adobe.xmp\0\0\0\0\0<?xpacket" in png
    jpeg = encode_image(gradient(), ImageWriting(Output(format="jpeg")))
    assert b"http://ns.adobe.com/xap/1.0/\0<?xpacket" in jpeg
    webp = encode_image(gradient(), ImageWriting(Output(format="webp")))
    at = webp.index(b"XMP ")
    assert webp[at + 8 :].startswith(b"<?xpacket")
    assert struct.unpack_from("<I", webp, at + 4)[0] >= 300


def test_inputs_are_computed_with_in_srgb() -> None:
    """Red of Display P3 lies outside sRGB; a mixed colour is another number there."""
    image = decoded(STORED)
    assert pixel(image, 4, 4) == (220, 30, 30)
    seen = np.asarray(decode_picture(STORED))[:, 4, 4].astype(int)
    assert abs(seen[0] - 238) <= 3
    assert seen[1] <= 2
    assert np.asarray(decode_picture(encoded(gradient())))[:, 4, 4].tolist() == [220, 30, 30]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_result_in_the_targets_own_space(kind: str) -> None:
    result = to_pil(decode_picture(STORED).permute(1, 2, 0))
    result.paste((10, 120, 200), (0, 0, 10, 10))
    output = Output.model_validate({"format": kind, "color_profile": "target", **FORMATS[kind]})
    image = opened(encode_image(result, ImageWriting(output, target=STORED)))
    name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])))
    assert name.strip() == "Display P3"
    if kind == "png":
        pixels, before = np.array(image), np.array(decoded(STORED))
        assert (pixels[10:] == before[10:]).all()
        assert (pixels[:, 10:] == before[:, 10:]).all()
    painted = to_srgb(image)
    tolerance = 2 if kind == "png" else 12
    assert max(abs(a - b) for a, b in zip(pixel(painted, 4, 4), (10, 120, 200), strict=True)) <= tolerance


def test_transparency_and_background_in_the_targets_own_space() -> None:
    source = gradient("RGBA")
    source.putalpha(Image.linear_gradient("L").resize(SIZE))
    stored = check_picture(encoded(source, icc_profile=DISPLAY_P3), PictureLimits(), keep_profile=True).png
    result = to_srgb(decoded(stored))
    output = Output(color_profile="target")
    kept = opened(encode_image(result, ImageWriting(output, target=stored)))
    assert kept.tobytes() == source.tobytes()
    flat = output.model_copy(update={"background": "#ff0000"})
    above = opened(encode_image(result, ImageWriting(flat, target=stored)))
    assert above.mode == "RGB"
    red, green, blue = pixel(above, 24, 0)
    assert max(abs(red - 234), abs(green - 51), abs(blue - 35)) <= 6


def test_a_target_without_a_profile_gives_srgb() -> None:
    output = Output(color_profile="target")
    writing = ImageWriting(output, target=encoded(gradient()))
    assert not writing.keeps_profile
    image = opened(encode_image(gradient(), writing))
    assert "icc_profile" not in image.info
    assert image.tobytes() == gradient().tobytes()


def test_only_unchanged_pixels_are_the_targets() -> None:
    target = decoded(STORED)
    result = to_srgb(target)
    result.putpixel((3, 3), (0, 0, 0))
    there = to_space_of(target, result)
    assert pixel(there, 3, 3) == (0, 0, 0)
    assert pixel(there, 4, 4) == pixel(target, 4, 4)
