"""Editing what enters chosen self-attention layers, for the length of a `with` block.

diffusers' transformer block normalises the residual stream and hands the result to `attn1`, whose processor computes
Q, K and V from it. A processor that edits its `hidden_states` therefore sits exactly between LayerNorm and Q/K/V and
never touches the residual stream.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

from core.errors import UnknownLayerError

AttentionInput = Float[Tensor, "batch tokens channels"]
Edit = Callable[[str, AttentionInput], AttentionInput]
"""Takes the layer's name and its normalised input, returns what Q, K and V are computed from."""


class EditingProcessor:
    """An attention processor that edits its input and leaves the attention itself to the one it stands for."""

    def __init__(self, name: str, original: Any, edit: Edit) -> None:
        self._name = name
        self._original = original
        self._edit = edit

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        edited = self._edit(self._name, hidden_states)
        output: Tensor = self._original(
            attn, edited, encoder_hidden_states=encoder_hidden_states, attention_mask=attention_mask, **kwargs
        )
        return output


def select_layers(unet: UNet2DConditionModel, names: Sequence[str]) -> list[str]:
    """Full names of the self-attention layers that `names` mean, each a layer or a block above it, in the order of
    the network. `up_blocks.1` means all of its layers, `up_blocks.1.attentions.0` those of its first transformer.

    Raises UnknownLayerError when a name fits no layer of this UNet.
    """
    layers = [
        name for name, module in unet.named_modules() if name.endswith(".attn1") and isinstance(module, Attention)
    ]
    for name in names:
        if not any(_belongs(layer, name) for layer in layers):
            blocks = sorted({".".join(layer.split(".")[:2]).removesuffix(".attentions") for layer in layers})
            raise UnknownLayerError(
                f"no self-attention layer is named {name!r}; this UNet has some in {', '.join(blocks)}"
            )
    return [layer for layer in layers if any(_belongs(layer, name) for name in names)]


def _belongs(layer: str, name: str) -> bool:
    return layer == name or layer.startswith(f"{name}.")


@contextmanager
def patched(unet: UNet2DConditionModel, layers: Sequence[str], edit: Edit) -> Iterator[None]:
    """Route the input of `layers` through `edit`. On leaving, also by an exception, every layer has its own
    processor object back."""
    originals: dict[str, Any] = {}
    try:
        for name in layers:
            attention = unet.get_submodule(name)
            assert isinstance(attention, Attention)
            originals[name] = attention.processor
            attention.set_processor(EditingProcessor(name, attention.processor, edit))
        yield
    finally:
        for name, processor in originals.items():
            attention = unet.get_submodule(name)
            assert isinstance(attention, Attention)
            attention.set_processor(processor)


@contextmanager
def recorded(unet: UNet2DConditionModel, layers: Sequence[str]) -> Iterator[dict[str, AttentionInput]]:
    """Collect the inputs of `layers`: the dictionary holds, by layer, what the last call of the UNet put in."""
    seen: dict[str, AttentionInput] = {}

    def keep(name: str, features: AttentionInput) -> AttentionInput:
        seen[name] = features
        return features

    with patched(unet, layers, keep):
        yield seen
