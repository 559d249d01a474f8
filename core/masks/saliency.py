"""Saliency: the thing in a picture, by the inputs of the sampler's own self-attention; no further weights.

What lies along the picture's border is taken for the background. Two things are computed for every token of an early
layer: how strange its features are among the border's (the RX detector, Reed and Yu 1990, a Mahalanobis distance), and
how little leads from the border to it over tokens alike in features and colour (graph-based manifold ranking, Yang et
al., CVPR 2013). Where both are high, it belongs to the thing.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.canvas import working_size
from core.images.geometry import resize, token_grid, token_places
from core.models.features import read_layers
from core.models.models import Models, encode_prompt
from core.models.noise import NoiseDraws
from core.models.unet import make_predictor, select_layers
from core.models.vae import encode_picture

NOISE_LEVEL = 0.15
MOST_TOKENS = 1024
"""Finer grids are averaged down to this many: the ranking solves for a matrix of tokens squared."""
BORDER_TOKENS = 2
"""Width of the border whose features are the background's, in tokens."""
COMPONENTS = 8
"""Principal components of the features in which strangeness is measured."""
LIKE_FEATURES, LIKE_COLOURS = 0.1, 0.15
"""Difference in cosine, and in colour (RGB, 0 to 1), that makes two tokens e times, and by 0.61, less alike."""
FINE_SIDE = 64
"""Side, of a square as large as the picture, in which its edges are looked for: every two places are compared."""
NEAR_PLACES, NEAR_COLOURS = 6.0, 0.1
"""How far apart (standard deviation), in these places and in colour, what shares one score may lie."""
REACH = 0.99
"""Share of the walk that goes on at each step, as in the source."""
RANK_SHARE = 0.5
"""Weight of the ranking in the geometric mean of the two."""
RAMP = 0.15
"""Half the width of the ramp around the threshold that parts the two, in units of the score, 0 to 1."""


@torch.no_grad()
def find_foreground(models: Models, picture: Float[Tensor, "3 height width"]) -> Float[Tensor, "height width"]:
    """Weights 0 to 1 of the picture's size, the same on every call; all 0 where nothing stands out from the border. One
    call of the UNet, with an empty prompt."""
    size = (picture.shape[1], picture.shape[2])
    height, width = working_size(*size, resolution=models.native_resolution, multiple=models.size_multiple)
    canvas = resize(picture, (height, width)).to(models.device)
    features, grid = _features(models, canvas)
    colours = F.adaptive_avg_pool2d(canvas[None], grid)[0].flatten(1).T.float()
    score = strangeness(features, grid) ** (1.0 - RANK_SHARE) * unreached(features, colours, grid) ** RANK_SHARE
    fine = working_size(*size, resolution=FINE_SIDE, multiple=1)
    along = along_edges(score.unflatten(0, grid), F.adaptive_avg_pool2d(canvas[None], fine)[0].float())
    weights = parted(along.flatten())
    soft = F.interpolate(weights.unflatten(0, fine)[None, None], size=size, mode="bilinear", align_corners=False)
    return soft[0, 0].to(picture.device)


def strangeness(features: Float[Tensor, "tokens channels"], grid: tuple[int, int]) -> Float[Tensor, " tokens"]:
    """How far every token lies from the border's, 0 to 1."""
    centred = features - features.mean(0)
    count = min(COMPONENTS, *centred.shape)
    main = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:count].T
    border = main[_border(grid, BORDER_TOKENS, features.device)]
    spread = torch.cov(border.T).reshape(count, count)
    spread = spread + 0.01 * main.var(0).mean().clamp(min=1e-12) * torch.eye(count, device=main.device)
    apart = main - border.mean(0)
    distance = (apart * torch.linalg.solve(spread, apart.T).T).sum(-1).clamp(min=0.0).sqrt()
    return _stretched(distance.clamp(max=float(distance.quantile(0.95))))


def unreached(
    features: Float[Tensor, "tokens channels"], colours: Float[Tensor, "tokens 3"], grid: tuple[int, int]
) -> Float[Tensor, " tokens"]:
    """0 where the picture's sides lead to, 1 where least. Each side ranks alone, and one that reaches a token makes it
    background."""
    unit = F.normalize(features - features.mean(0), dim=-1)
    apart = torch.cdist(colours, colours).square() / (2.0 * LIKE_COLOURS**2)
    alike = torch.exp((unit @ unit.T - 1.0) / LIKE_FEATURES - apart) + 1e-6
    index = torch.arange(len(features), device=features.device).unflatten(0, grid)
    sides = (index[0], index[-1], index[:, 0], index[:, -1])
    seeds = torch.zeros(len(features), len(sides), device=features.device)
    for column, side in enumerate(sides):
        seeds[side, column] = 1.0
    rank = torch.linalg.solve(torch.diag(alike.sum(-1)) - REACH * alike, seeds)
    rank = (rank - rank.amin(0)) / (rank.amax(0) - rank.amin(0)).clamp(min=1e-12)
    return _stretched((1.0 - rank).prod(-1))


def along_edges(
    score: Float[Tensor, "rows columns"], picture: Float[Tensor, "3 height width"]
) -> Float[Tensor, "height width"]:
    """The score at the picture's size, with its borders where the picture's colours have theirs: the mean over near
    places of like colour (joint bilateral upsampling, Kopf et al. 2007), three times over."""
    size = (picture.shape[1], picture.shape[2])
    fine: Tensor = F.interpolate(score[None, None], size=size, mode="bilinear", align_corners=False)[0, 0].flatten()
    places, colours = token_places(size, fine), picture.flatten(1).T
    apart = torch.cdist(places, places).square() / (2.0 * NEAR_PLACES**2)
    apart = apart + torch.cdist(colours, colours).square() / (2.0 * NEAR_COLOURS**2)
    share = torch.softmax(-apart, dim=-1)
    smooth: Tensor = (share @ (share @ (share @ fine))).unflatten(0, size)
    return smooth


def parted(score: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Weights with a short ramp around the threshold that best parts the scores in two (Otsu 1979); all 0 where there
    is nothing to part."""
    if float(score.max() - score.min()) < 1e-6:
        return torch.zeros_like(score)
    stretched = _stretched(score)
    ordered = stretched.sort().values.double()
    count = torch.arange(1, len(ordered), device=score.device)
    sums = ordered.cumsum(0)
    below, above = sums[:-1] / count, (sums[-1] - sums[:-1]) / (len(ordered) - count)
    best = int((count * (len(ordered) - count) * (above - below) ** 2).argmax())
    threshold = float(ordered[best] + ordered[best + 1]) / 2.0
    return ((stretched - threshold) / (2.0 * RAMP) + 0.5).clamp(0.0, 1.0)


def _features(
    models: Models, canvas: Float[Tensor, "3 height width"]
) -> tuple[Float[Tensor, "tokens channels"], tuple[int, int]]:
    """What the first of the backbone's ground layers is given, every channel without its mean, in float32."""
    clean = encode_picture(models.vae, canvas, models.trajectory_dtype)
    prompt = encode_prompt(models, "", height=canvas.shape[1], width=canvas.shape[2])
    predict = make_predictor(models.unet, prompt, None, 1.0)
    layer = select_layers(models.unet, [models.backbone.ground_layer])[0]
    read = read_layers(models, predict, clean, [layer], noise_level=NOISE_LEVEL, draws=1, noise=NoiseDraws(0, row=3))
    tokens = read[layer][0].float()
    rows, columns = token_grid((clean.shape[2], clean.shape[3]), len(tokens))
    shrink = max(1.0, (rows * columns / MOST_TOKENS) ** 0.5)
    coarse = (max(1, int(rows / shrink)), max(1, int(columns / shrink)))
    pooled = F.adaptive_avg_pool2d(tokens.T.unflatten(1, (rows, columns))[None], coarse)[0].flatten(1).T
    return pooled, coarse


def _border(grid: tuple[int, int], width: int, device: torch.device) -> Bool[Tensor, " tokens"]:
    places = token_places(grid, torch.zeros((), device=device))
    far = torch.tensor([grid[1], grid[0]], device=device) - width
    return ((places < width) | (places > far)).any(-1)


def _stretched(score: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    return (score - score.min()) / (score.max() - score.min()).clamp(min=1e-12)
