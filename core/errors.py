"""What can go wrong in a transfer.

CoreError
├── EmptyMaskError        a mask selects nothing
├── ShapeError            a picture or mask has a size that cannot be worked with
├── ModelMissingError     the job needs an optional model that is not loaded
├── PictureMissingError   a region names a picture or mask that is not given
├── UnknownLayerError     a layer name fits no self-attention of the loaded UNet
├── NonFiniteError        the network produced NaN or infinity; no picture is made of it
└── TransferCanceled      raised by the caller's `on_step` to stop the run
"""

from typing import ClassVar

from core.params.optional_models import OptionalModel, how_to_configure


class CoreError(Exception):
    """Base class. `code` is stable and may be shown to users, and so may the message."""

    code: ClassVar[str] = "core_error"


class EmptyMaskError(CoreError):
    code = "empty_mask"


class ShapeError(CoreError):
    code = "unsupported_shape"


class PictureMissingError(CoreError):
    code = "picture_missing"


class ModelMissingError(CoreError):
    code = "model_not_configured"

    def __init__(self, model: OptionalModel) -> None:
        super().__init__(how_to_configure(model))


class UnknownLayerError(CoreError):
    code = "unknown_layer"


class NonFiniteError(CoreError):
    code = "non_finite"


class TransferCanceled(CoreError):
    code = "canceled"
