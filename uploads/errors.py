"""What can go wrong with an uploaded picture.

    UploadError
    ├── DecoderUnavailable      the picture could not be decoded here and now; another time it may
    └── InvalidImage            the picture is refused; has a stable `code`

Messages are fit for people outside: no addresses, no secrets, no tracebacks.
"""


class UploadError(Exception):
    """Base of all errors of this package. `code` is stable and machine-readable."""

    code = "upload_error"


class DecoderUnavailable(UploadError):
    code = "decoder_unavailable"


class InvalidImage(UploadError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
