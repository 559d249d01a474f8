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
from multiprocessing.connection import Connection
from typing import Any

from PIL import Image, ImageCms

from uploads.errors import InvalidImage
from uploads.images import CheckedPicture, PictureLimits, check_mask, check_picture
from uploads.sandbox import confine

READY = b"ready"


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
            checked = check_picture(data, limits)
        else:
            width, height = request["size"]
            checked = check_mask(data, limits, (width, height))
    except InvalidImage as error:
        return {"code": error.code, "message": str(error)}, b""
    except MemoryError:
        return {"code": "image_unreadable", "message": "the picture needs too much memory to decode"}, b""
    return _described(checked), checked.png


def _described(checked: CheckedPicture) -> dict[str, Any]:
    return {"width": checked.width, "height": checked.height, "has_alpha": checked.has_alpha}


def rehearse() -> None:
    """Decodes one small picture of each kind, because Pillow imports on first use."""
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
    try:
        check_picture(file.getvalue()[:200], limits)
    except InvalidImage:
        pass
    else:
        raise AssertionError("a picture that was cut short has been decoded")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
