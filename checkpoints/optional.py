"""The optional models beside the main checkpoint: segmenters, the correspondence model, CLIP for part names, and the
network that finds the thing in a photograph.

Each but the last is a network of transformers; all are in float32, from a folder or a hub id at a pinned revision.
Every loader raises the errors of `checkpoints.errors`, whose messages name its setting.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPModel,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    PreTrainedModel,
    Sam2Model,
    SamHQModel,
    SamModel,
)
from transformers.image_processing_base import ImageProcessingMixin

from checkpoints.errors import CheckpointUnsupported
from checkpoints.hub import local_folder, pinned
from core.models.models import VisionModel
from core.models.part_classifier import PartFinder
from core.models.preprocessing import (
    ClipProcessor,
    ClipSegProcessor,
    FloatResize,
    Sam2Processor,
    SamProcessor,
    prepare,
)
from core.models.salient import SalientFinder, SalientNetwork
from core.models.segmenters import Segmenter, TextSegmenter

# Classes by the `model_type` of the configuration.
_SAM = {"sam": SamModel, "sam_hq": SamHQModel, "sam2": Sam2Model, "sam2_video": Sam2Model}
"""The published SAM 2.1 files call themselves `sam2_video` and contain both."""
_CLIPSEG = {"clipseg": CLIPSegForImageSegmentation}
_DINO = dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), AutoModel)
"""Tokens: class token, registers if any, then patches in reading order."""
_CLIP = {"clip": CLIPModel}
SALIENT_TYPE = "plumage_salient"
"""Of `config.json`."""


def load_segmenter(source: str, revision: str | None, device: torch.device) -> Segmenter:
    """SAM, SAM-HQ or SAM 2 of PLUMAGE_SEGMENTER."""
    commit = pinned(source, revision, "PLUMAGE_SEGMENTER_REVISION")
    with _loading("PLUMAGE_SEGMENTER", source):
        model = load_network(source, commit, _SAM, device)
        kind = Sam2Processor if isinstance(model, Sam2Model) else SamProcessor
        return Segmenter(model, load_processor(kind, source, commit))


def load_text_segmenter(source: str, revision: str | None, device: torch.device) -> TextSegmenter:
    """CLIPSeg of PLUMAGE_TEXT_SEGMENTER."""
    commit = pinned(source, revision, "PLUMAGE_TEXT_SEGMENTER_REVISION")
    with _loading("PLUMAGE_TEXT_SEGMENTER", source):
        model = load_network(source, commit, _CLIPSEG, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        return TextSegmenter(model, tokenizer, load_processor(ClipSegProcessor, source, commit))


def load_correspondence(source: str, revision: str | None, device: torch.device) -> VisionModel:
    """DINOv2 (with registers or without) or DINOv3 of PLUMAGE_CORRESPONDENCE.

    Its pictures have the side of `crop_size`, else `size`, of `preprocessor_config.json`, and at least 16 patches a
    side. `fusion_weight` of `config.json`, 1 where it is absent, is the weight of its cosines beside the UNet's.
    """
    commit = pinned(source, revision, "PLUMAGE_CORRESPONDENCE_REVISION")
    with _loading("PLUMAGE_CORRESPONDENCE", source):
        network = load_network(source, commit, _DINO, device)
        config = read_config(source, commit)
        mean, std = tuple(config["image_mean"]), tuple(config["image_std"])
        weight = float(getattr(network.config, "fusion_weight", 1.0))
        if not 0.0 < weight < math.inf:
            raise ValueError(f"fusion_weight in config.json is {weight}, not a finite number over 0")
        side = max(_side_of(config), 16 * int(network.config.patch_size))
        return VisionModel(network, mean, std, side, weight)


def load_part_finder(source: str, revision: str | None, device: torch.device) -> PartFinder:
    """CLIP of PLUMAGE_PART_FINDER, its picture half and its text half."""
    commit = pinned(source, revision, "PLUMAGE_PART_FINDER_REVISION")
    with _loading("PLUMAGE_PART_FINDER", source):
        model = load_network(source, commit, _CLIP, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        side = _side_of(read_config(source, commit))
        size = {"height": side, "width": side}
        processor = load_processor(ClipProcessor, source, commit, size=size, do_center_crop=False)
        return PartFinder(model, tokenizer, processor, side)


def load_salient(source: str, revision: str | None, device: torch.device) -> SalientFinder:
    """The network of PLUMAGE_SALIENT, whose weights `python -m lab.train.salient` writes."""
    folder = local_folder(source, pinned(source, revision, "PLUMAGE_SALIENT_REVISION"))
    with _loading("PLUMAGE_SALIENT", source):
        if folder is None:
            raise OSError("it has not been downloaded")
        config = json.loads((folder / "config.json").read_text())
        if config.get("model_type") != SALIENT_TYPE:
            raise ValueError(f"its model_type is {config.get('model_type')!r}, not {SALIENT_TYPE!r}")
        network = SalientNetwork()
        try:
            network.load_state_dict(load_file(folder / "model.safetensors"))
        except (RuntimeError, SafetensorError) as error:
            raise ValueError(f"model.safetensors: {str(error).splitlines()[0]}") from error
        return SalientFinder(network.float().requires_grad_(False).eval().to(device), int(config["side_px"]))


@contextmanager
def _loading(setting: str, source: str) -> Iterator[None]:
    """Turns the errors of files that are missing, damaged or of another model into CheckpointUnsupported."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointUnsupported(f"{setting}={source}: cannot be loaded: {error}") from error


def load_network(source: str, commit: str | None, kinds: Mapping[str, Any], device: torch.device) -> Any:
    """A frozen network in float32, of the class in `kinds` for its configuration's `model_type`.

    Raises ValueError for another type, and OSError for files that are missing or not safetensors.
    """
    kind = AutoConfig.from_pretrained(source, revision=commit).model_type
    if kind not in kinds:
        raise ValueError(f"its model_type is {kind!r}; one of {', '.join(kinds)} is needed")
    model: PreTrainedModel = kinds[kind].from_pretrained(
        source, revision=commit, use_safetensors=True, dtype=torch.float32
    )
    return model.requires_grad_(False).eval().to(device)


P = TypeVar("P", bound=FloatResize)


def load_processor(kind: type[P], source: str, commit: str | None, **options: Any) -> P:
    """The processor of a checkpoint's pictures, from its `preprocessor_config.json`, tried on a black square.

    `options` as for `prepare`. Raises OSError without such a file, and ValueError for values that are not supported.
    """
    processor: P = kind.from_pretrained(source, revision=commit)
    try:
        prepare(processor, torch.zeros(3, 8, 8), **options)
    except AttributeError as error:  # raised by transformers' own message about the keys of `size`
        raise ValueError(f"size {processor.size} in preprocessor_config.json is not supported") from error
    return processor


def read_config(source: str, commit: str | None) -> dict[str, Any]:
    """The values of `preprocessor_config.json` or `processor_config.json`. Raises OSError without such a file."""
    config, _ = ImageProcessingMixin.get_image_processor_dict(source, revision=commit)
    return dict(config)


def picture_side(config: Mapping[str, Any]) -> int | None:
    """Side in pixels of the square to which a `preprocessor_config.json` crops or resizes; None where it names none."""
    for name in ("crop_size", "size"):
        size = config.get(name)
        if isinstance(size, int):
            return size
        if isinstance(size, dict) and size.keys() & {"height", "shortest_edge"}:
            return int(size.get("height") or size["shortest_edge"])
    return None


def _side_of(config: Mapping[str, Any]) -> int:
    side = picture_side(config)
    if side is None:
        raise ValueError("its preprocessor_config.json names no size")
    return side
