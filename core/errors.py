"""What can go wrong in a transfer.

CoreError
├── EmptyMaskError        a mask selects nothing
├── ShapeError            a picture or mask has a size that cannot be worked with
├── UnknownLayerError     a layer name fits no self-attention of the loaded UNet
├── NonFiniteError        the network produced NaN or infinity; no picture is made of it
└── TransferCanceled      raised by the caller's `on_step` to stop the run
"""

from typing import ClassVar


class CoreError(Exception):
    """Base class. `code` is stable and may be shown to users, and so may the message."""

    code: ClassVar[str] = "core_error"


class EmptyMaskError(CoreError):
    code = "empty_mask"


class ShapeError(CoreError):
    code = "unsupported_shape"


class UnknownLayerError(CoreError):
    code = "unknown_layer"


class NonFiniteError(CoreError):
    code = "non_finite"


class TransferCanceled(CoreError):
    code = "canceled"
