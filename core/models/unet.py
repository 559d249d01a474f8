"""The UNet: which rows one call of it holds, guidance, and reversible hooks into its attention layers.

One call holds the rows of all seeds; `BatchLayout` alone knows where each of them lies.

diffusers' transformer block normalises the residual stream and hands the result to `attn1`, whose processor computes
Q, K and V from it. A processor that edits its `hidden_states` therefore sits exactly between LayerNorm and Q/K/V and
never touches the residual stream. What the whole transformer block adds up to, the residual stream behind it, is edited
by a hook instead. Every hook is a `with` block, and on leaving it, also by an exception, the UNet is as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

from core.errors import UnknownLayerError
from core.params.transfer import FreeUParams
from core.types import AttentionInput, Conditioning, Rows

NoisePredictor = Callable[[Rows, int], Rows]
"""Takes noisy rows and their timestep, returns what the UNet predicts for each."""


@dataclass(frozen=True)
class SeedRows:
    """The rows of one seed, each of shape `[halves, ...]`: once per guidance half, the conditional one last."""

    output: Tensor
    """Becomes the result."""
    references: tuple[Tensor, ...]
    """The noised appearance picture of every region; none in a call that needs none."""
    structure: Tensor
    """The noised target."""


@dataclass(frozen=True)
class BatchLayout:
    """Where rows lie in one call of the UNet: guidance halves of seeds of output, references, structure."""

    seeds: int
    references: int
    """Reference rows of each seed."""

    def split(self, batch: Float[Tensor, "batch ..."]) -> list[SeedRows]:
        """The rows of every seed, of latents as of the features of a layer."""
        seeds = batch.unflatten(0, (-1, self.seeds, self.references + 2)).unbind(1)
        return [SeedRows(rows[:, 0], rows[:, 1:-1].unbind(1), rows[:, -1]) for rows in seeds]

    def join(self, seeds: Sequence[SeedRows]) -> Float[Tensor, "batch ..."]:
        """The batch that `split` gives these rows of."""
        rows = [torch.stack([one.output, *one.references, one.structure], dim=1) for one in seeds]
        return torch.stack(rows, dim=1).flatten(0, 2)


def conditional_half(features: AttentionInput, rows: int) -> Float[Tensor, "rows tokens channels"]:
    """The last of the guidance halves of a batch that holds `rows` rows in each."""
    return features[-rows:]


def make_predictor(
    unet: UNet2DConditionModel,
    conditional: Conditioning,
    unconditional: Conditioning | None,
    guidance_scale: float,
) -> NoisePredictor:
    """Classifier-free guidance (arXiv 2207.12598) over all rows alike; without an unconditional half, none.

    With guidance the batch is the unconditional half followed by the conditional one, each with all rows in the same
    order, so that an edit of attention inputs finds every row in both halves. Every row sees the same prompts, the
    same scale and the same sizes: that is what makes the structure row reconstruct its picture.
    """
    halves = [conditional] if unconditional is None else [unconditional, conditional]
    tokens = torch.cat([half.tokens for half in halves])
    pooled = [half.pooled for half in halves if half.pooled is not None]
    beside = (
        {"text_embeds": torch.cat(pooled), "time_ids": torch.cat([half.sizes for half in halves])} if pooled else {}
    )

    @torch.no_grad()
    def predict(rows: Rows, timestep: int) -> Rows:
        count = len(rows)
        output: Tensor = unet(
            rows.to(unet.dtype).repeat(len(halves), 1, 1, 1),
            torch.tensor(timestep, device=rows.device),
            encoder_hidden_states=tokens.repeat_interleave(count, dim=0),
            added_cond_kwargs={name: value.repeat_interleave(count, dim=0) for name, value in beside.items()},
        ).sample
        output = output.to(rows.dtype)
        if unconditional is None:
            return output
        without, with_prompt = output.chunk(2)
        return without + guidance_scale * (with_prompt - without)

    return predict


def falling_guidance(start: float, done: int, total: int) -> float:
    """Appearance guidance at the step after `done` of `total`: from `start` evenly to its half, not below 1
    (Cross-Image Attention, arXiv 2311.03335, section 4.3; end value as in its authors' code)."""
    stop = max(start / 2.0, 1.0)
    return start + (stop - start) * done / max(total - 1, 1)


Edit = Callable[[str, AttentionInput], AttentionInput]
"""Takes the layer's name and its normalised input, returns what Q, K and V are computed from."""


@dataclass(frozen=True)
class Layer:
    """A self-attention layer in the middle of a call of the UNet."""

    name: str
    attention: Attention
    _compute: Callable[[Tensor, Tensor | None], Tensor]

    def attend(self, features: AttentionInput, context: AttentionInput | None = None) -> AttentionInput:
        """The layer's own output for `features`: Q from them, K and V from `context` or from them too."""
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
    """Collect the inputs of `layers`: the dictionary holds, by layer, the whole batch of the last call of the UNet."""
    seen: dict[str, AttentionInput] = {}

    def keep(name: str, features: AttentionInput) -> AttentionInput:
        seen[name] = features
        return features

    with patched(unet, layers, keep):
        yield seen


@contextmanager
def freeu(unet: UNet2DConditionModel, factors: FreeUParams | None) -> Iterator[None]:
    """FreeU for the length of a `with` block (Si et al., arXiv 2309.11497). Every row alike runs through the scaled
    blocks, so the structure row still reconstructs its picture."""
    if factors is None or factors == FreeUParams():
        yield
        return
    unet.enable_freeu(s1=factors.s1, s2=factors.s2, b1=factors.b1, b2=factors.b2)
    try:
        yield
    finally:
        unet.disable_freeu()
