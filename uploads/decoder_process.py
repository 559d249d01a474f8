"""`python -m uploads.decoder_process FD MEMORY`: the process that decodes strangers' pictures, and nothing else.

It reads a request (JSON, then the file's bytes) from FD and writes a response (JSON, then the PNG's bytes), until FD
ends. All modules that decoding needs are loaded by a rehearsal; then it confines itself to MEMORY more bytes and to FD.
"""

import io
import json
import os
import signal
import sys
import warnings
from base64 import b85decode
from multiprocessing.connection import Connection
from typing import Any

from PIL import Image, ImageCms

from uploads.errors import InvalidImage
from uploads.formats import HAS_HEIF
from uploads.images import CheckedPicture, PictureLimits, check_mask, check_picture
from uploads.sandbox import confine

READY = b"ready"
TINY_AVIF = (
    "0000WW^{RQVRmU|00000VRmU|ZE0pPZE0a<O+hh20002%ZDn*}000000000XXk=`10000000000aA{+700000000000000000000"
    "4sdC7Z2$lO000310016oY;R)#0000)000310RR910RR926951JCIA2cC~0YKW&i*H00031000_kZf0cy000000RRADb}%tRZ)|UJ"
    "00000YH4tCZ~y=ROKEUpZvX%Q6lrsCWdHyG000005C8xG5C8xG5O8UDX#fBK00RgJ2mk;83}JRLLxBJc000006Ju{|a&BX6cmM$a"
    "4FCp!0000NX>e^}0000000001009I60)qqq001s+WMOm?0162h4FB37A)wHJG8Y=hhlSzHFv9|X004D;T?%wmpgRbJ&;"
)
TINY_HEIC = (
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004eZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=I"
    "V*mgE07O6l0RRC200001pa1~?00000001li001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002|"
    "X>f9I0002oX>en20001WXm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDDMA4O"
    "18@KU0|1Z!00RI30{|YNAb|yz>aLpR;31&EfB*mtfB*mk0EA)y0RRR>0l{;@i2wiq6Ju{|a&BX6cmM$a4FCp!0000KX>)L800000"
    "0000$0000$0000eV{Bn?0000G000010000G00001|NsBc00002|NsBc000020000GaA|mH000000|*ER0000OX>e^}0000000001"
    "009Mo0s{qv0000qZDe6|0000eC;_ih6D1(#0esL{!7P?q>XIy=qNMG=mi)b|r$CmueSDCN7AR+c"
)
"""Of 16 x 16 pixels, in base 85: neither can be written without an encoder that only this would need."""


def main(descriptor: int, memory_bytes: int) -> None:
    pipe: Connection[Any, Any] = Connection(descriptor)
    warnings.simplefilter("ignore", UserWarning)  # Pillow's, about damaged metadata
    rehearse()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a picture shall not write into our log
    confine(memory_bytes)
    pipe.send_bytes(READY)
    while True:
        try:
            request, data = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        # Past its time the kernel ends this process; the parent knows the signal.
        signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
        described, png = respond(request, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(json.dumps(described).encode())
        pipe.send_bytes(png)


def respond(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The picture's description and its PNG; of one that is refused, its code and no bytes."""
    limits = PictureLimits(**request["limits"])
    try:
        if request["size"] is None:
            checked = check_picture(data, limits, keep_profile=request["keep_profile"])
        else:
            size, scaled_from = (value and (value[0], value[1]) for value in (request["size"], request["scaled_from"]))
            checked = check_mask(data, limits, size, scaled_from)
    except InvalidImage as error:
        return {"code": error.code, "message": str(error)}, b""
    except MemoryError:
        return {"code": "image_unreadable", "message": "the picture needs too much memory to decode"}, b""
    return _described(checked), checked.png


def _described(checked: CheckedPicture) -> dict[str, Any]:
    return {
        "width": checked.width,
        "height": checked.height,
        "has_alpha": checked.has_alpha,
        "scaled_from": checked.scaled_from,
    }


def rehearse() -> None:
    """Decodes one small picture of each kind, because Pillow imports on first use."""
    for data in (TINY_AVIF, *([TINY_HEIC] if HAS_HEIF else [])):
        check_picture(b85decode(data), PictureLimits())
    limits = PictureLimits()
    image = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        file = io.BytesIO()
        image.save(file, kind, exif=exif, icc_profile=profile)
        check_picture(file.getvalue(), limits)
        check_mask(file.getvalue(), limits, (16, 16))
    file = io.BytesIO()
    image.save(file, "MPO", save_all=True, append_images=[image])
    check_picture(file.getvalue(), limits)
    check_picture(file.getvalue(), PictureLimits(max_pixels=100, min_side_px=4), keep_profile=True)
    try:
        check_picture(file.getvalue()[:200], limits)
    except InvalidImage:
        pass
    else:
        raise AssertionError("a picture that was cut short has been decoded")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
