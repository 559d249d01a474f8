"""The network of salient objects, and its encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.models.efficientnet_lite import (
    BATCH_NORM_EPSILON,
    CHANNELS,
    STAGES,
    STEM_CHANNELS,
    EfficientNetLite,
    SameConv,
    fold_published,
)
from core.models.salient import SalientFinder, SalientNetwork


def published(seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the published names."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def add(convolution: str, normalisation: str, *shape: int) -> None:
        state[f"{convolution}.weight"] = torch.randn(*shape, generator=generator) * 0.2
        for name in ("weight", "running_var"):
            state[f"{normalisation}.{name}"] = torch.rand(shape[0], generator=generator) + 0.5
        for name in ("bias", "running_mean"):
            state[f"{normalisation}.{name}"] = torch.randn(shape[0], generator=generator) * 0.1

    add("_conv_stem", "_bn0", STEM_CHANNELS, 3, 3, 3)
    number, entering = 0, STEM_CHANNELS
    for stage in STAGES:
        for _ in range(stage.blocks):
            here, wide = f"_blocks.{number}", entering * stage.expansion
            if stage.expansion > 1:
                add(f"{here}._expand_conv", f"{here}._bn0", wide, entering, 1, 1)
            add(f"{here}._depthwise_conv", f"{here}._bn1", wide, 1, stage.kernel, stage.kernel)
            add(f"{here}._project_conv", f"{here}._bn2", stage.channels, wide, 1, 1)
            number, entering = number + 1, stage.channels
    return state


def test_strides_pad_as_tensorflow_does() -> None:
    """'Same' padding of a stride of two: nothing before the first pixel, one behind the last, for kernels of three."""
    layer = SameConv(1, 1, 3, 2)
    picture = torch.rand(1, 1, 8, 8)
    expected = F.conv2d(F.pad(picture, (0, 1, 0, 1)), layer.weight, layer.bias, 2)
    torch.testing.assert_close(layer(picture), expected)


def test_batch_normalisation_is_folded() -> None:
    state = published()
    encoder = EfficientNetLite()
    encoder.load_state_dict(fold_published(state))
    picture = torch.rand(1, 3, 32, 32)
    stem = F.conv2d(F.pad((picture - 127 / 255) / (128 / 255), (0, 1, 0, 1)), state["_conv_stem.weight"], None, 2)
    mean, spread, weight, bias = (state[f"_bn0.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    normal = F.batch_norm(stem, mean, spread, weight, bias, eps=BATCH_NORM_EPSILON)
    torch.testing.assert_close(encoder.stem((picture - 127 / 255) / (128 / 255)), normal, rtol=1e-4, atol=1e-4)
    read = encoder(picture)
    assert [(level.shape[1], level.shape[2]) for level in read] == list(zip(CHANNELS, (16, 8, 4, 2, 1), strict=True))


def test_a_finder_reads_a_picture_and_its_mirror_image_alike() -> None:
    torch.manual_seed(0)
    finder = SalientFinder(SalientNetwork().eval(), 64)
    picture = torch.rand(3, 64, 96)
    chances, features = finder.read(picture)
    assert (chances.shape, features.shape) == ((32, 48), (CHANNELS[-1], 2, 3))
    assert 0.0 <= float(chances.min()) <= float(chances.max()) <= 1.0
    mirrored, _ = finder.read(picture.flip(2))
    torch.testing.assert_close(mirrored.flip(1), chances)
