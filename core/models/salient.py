"""The network that tells the thing in a photograph from its surroundings: ImageNet features, and a decoder trained on
composites and photographs (`lab/train/salient`).

A U-shaped decoder as in salient object detection (U2-Net, arXiv 2005.09007; F3Net, arXiv 1911.11445) at a small size,
on a frozen EfficientNet-Lite0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.models.efficientnet_lite import CHANNELS, EfficientNetLite

WIDTHS = (96, 64, 48, 32)
"""Channels of the decoder at 1/32, 1/16, 1/8 and 1/4 of the picture."""
LATERAL = (64, 48, 24)
"""Channels that each of the three finer levels takes from the encoder."""
LAST_WIDTH = 16
READ_SIDE_PX = 320
"""Side of the square picture that the network reads; other shapes get the same area."""


class Decoder(nn.Module):
    """Features of the encoder to logits at half the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        _, quarter, eighth, sixteenth, deepest = CHANNELS
        self.whole = nn.Conv2d(deepest, WIDTHS[0], 1)
        self.enter = convolve(deepest, WIDTHS[0], 1)
        self.context = convolve(WIDTHS[0], WIDTHS[0])
        self.lateral = nn.ModuleList(
            convolve(channels, width, 1) for channels, width in zip((sixteenth, eighth, quarter), LATERAL, strict=True)
        )
        self.levels = nn.ModuleList(
            nn.Sequential(convolve(before + beside, width), convolve(width, width))
            for before, beside, width in zip(WIDTHS, LATERAL, WIDTHS[1:], strict=False)
        )
        self.coarse = nn.Conv2d(WIDTHS[2], 1, 1)
        self.last = nn.Sequential(convolve(WIDTHS[3] + 3, LAST_WIDTH), nn.Conv2d(LAST_WIDTH, 1, 3, padding=1))

    def forward(
        self, features: Sequence[Tensor], half: Float[Tensor, "pictures 3 rows columns"]
    ) -> tuple[Tensor, Tensor]:
        """Logits at 1/2 and 1/8 of the pictures' size, `[pictures, 1, rows, columns]`, from the features at 1/4, 1/8,
        1/16 and 1/32 and the pictures, 0 to 1, at half their size."""
        within = self.eighth(features)
        coarse = self.coarse(within)
        within = self._finer(2, within, features[0])
        return self.last(torch.cat([_enlarge(within, half), half - 0.5], dim=1)), coarse

    def eighth(self, features: Sequence[Tensor]) -> Tensor:
        """The decoder's own features at 1/8 of the pictures' size, of which the coarse logits are made."""
        _, eighth, sixteenth, deepest = features
        within = self.context(self.enter(deepest) + self.whole(deepest.mean((2, 3), keepdim=True)))
        return self._finer(1, self._finer(0, within, sixteenth), eighth)

    def _finer(self, level: int, within: Tensor, entering: Tensor) -> Tensor:
        finer: Tensor = self.levels[level](
            torch.cat([_enlarge(within, entering), self.lateral[level](entering)], dim=1)
        )
        return finer


class SalientNetwork(nn.Module):
    """The encoder, and the decoder on its features."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite()
        self.decoder = Decoder()

    def forward(self, pictures: Float[Tensor, "pictures 3 height width"]) -> Float[Tensor, "pictures 1 rows columns"]:
        """Probabilities at half the size of pictures 0 to 1, whose sides are multiples of STRIDE."""
        return torch.sigmoid(self.decoder(self.encoder(pictures)[1:], halve(pictures))[0])


@dataclass(frozen=True, eq=False)
class SalientFinder:
    """A frozen network, and the size of its pictures."""

    network: SalientNetwork
    side_px: int = READ_SIDE_PX
    """Side of the square picture that it reads best; other shapes get the same area."""

    @property
    def device(self) -> torch.device:
        return self.network.decoder.coarse.weight.device

    @torch.no_grad()
    def read(
        self, picture: Float[Tensor, "3 height width"]
    ) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "channels feature_rows feature_columns"]]:
        """Of a picture, 0 to 1, whose sides are multiples of 32: how likely each place belongs to the thing, at half
        its size, and the encoder's last features. Both are means of the picture and its mirror image."""
        both = torch.stack([picture, picture.flip(2)])
        features = self.network.encoder(both)
        chances = torch.sigmoid(self.network.decoder(features[1:], halve(both))[0])[:, 0]
        deepest = features[-1]
        return (chances[0] + chances[1].flip(1)) / 2.0, (deepest[0] + deepest[1].flip(2)) / 2.0


def halve(pictures: Float[Tensor, "pictures 3 height width"]) -> Float[Tensor, "pictures 3 rows columns"]:
    """At half the size, by means of four pixels."""
    return F.avg_pool2d(pictures, 2)


def convolve(entering: int, leaving: int, kernel: int = 3) -> nn.Sequential:
    """A convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(entering, leaving, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(leaving), nn.ReLU(True)
    )


def _enlarge(coarse: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(coarse, size=like.shape[2:], mode="bilinear", align_corners=False)
