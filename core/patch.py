"""Taking part in chosen self-attention layers, for the length of a `with` block.

diffusers' transformer block normalises the residual stream and hands the result to `attn1`, whose processor computes
Q, K and V from it. A processor that edits its `hidden_states` therefore sits exactly between LayerNorm and Q/K/V and
never touches the residual stream. What the whole transformer block adds up to, the residual stream behind it, is edited
by a hook instead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

from core.errors import UnknownLayerError

AttentionInput = Float[Tensor, "batch tokens channels"]
Edit = Callable[[str, AttentionInput], AttentionInput]
"""Takes the layer's name and its normalised input, returns what Q, K and V are computed from."""


@dataclass(frozen=True)
class Layer:
    """A self-attention layer in the middle of a call of the UNet."""

    name: str
    attention: Attention
    _compute: Callable[[Tensor, Tensor | None], Tensor]

    def attend(self, features: AttentionInput, context: AttentionInput | None = None) -> AttentionInput:
        """What the layer itself makes of `features`: Q from them, K and V from `context` or from them too."""
        return self._compute(features, context)


Route = Callable[[Layer, AttentionInput], AttentionInput]
"""Takes a layer and its normalised input, returns the output of the layer."""


class RoutingProcessor:
    """An attention processor that lets a route decide what the one it stands for computes."""

    def __init__(self, name: str, original: Any, route: Route) -> None:
        self._name = name
        self._original = original
        self._route = route

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        def compute(features: Tensor, context: Tensor | None) -> Tensor:
            output: Tensor = self._original(
                attn, features, encoder_hidden_states=context, attention_mask=attention_mask, **kwargs
            )
            return output

        return self._route(Layer(self._name, attn, compute), hidden_states)


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
def routed(unet: UNet2DConditionModel, layers: Sequence[str], route: Route) -> Iterator[None]:
    """Let `route` stand for `layers`. On leaving, also by an exception, every layer has its own processor object
    back."""
    originals: dict[str, Any] = {}
    try:
        for name in layers:
            attention = unet.get_submodule(name)
            assert isinstance(attention, Attention)
            originals[name] = attention.processor
            attention.set_processor(RoutingProcessor(name, attention.processor, route))
        yield
    finally:
        for name, processor in originals.items():
            attention = unet.get_submodule(name)
            assert isinstance(attention, Attention)
            attention.set_processor(processor)


@contextmanager
def patched(unet: UNet2DConditionModel, layers: Sequence[str], edit: Edit) -> Iterator[None]:
    """Route the input of `layers` through `edit`."""
    with routed(unet, layers, lambda layer, features: layer.attend(edit(layer.name, features))):
        yield


@contextmanager
def patched_blocks(unet: UNet2DConditionModel, layers: Sequence[str], edit: Edit) -> Iterator[None]:
    """Route the residual stream behind the transformer blocks that `layers` belong to through `edit`. On leaving, also
    by an exception, no hook is left."""
    hooks = []
    try:
        for name in layers:
            block = unet.get_submodule(name.removesuffix(".attn1"))
            hooks.append(block.register_forward_hook(lambda _, given, output, name=name: edit(name, output)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def recorded(unet: UNet2DConditionModel, layers: Sequence[str]) -> Iterator[dict[str, AttentionInput]]:
    """Collect the inputs of `layers`: the dictionary holds, by layer, what the last call of the UNet put in."""
    seen: dict[str, AttentionInput] = {}

    def keep(name: str, features: AttentionInput) -> AttentionInput:
        seen[name] = features
        return features

    with patched(unet, layers, keep):
        yield seen
