"""Models that a worker may load beside the checkpoint, by name. The parameters of a job show which it needs."""

from typing import Literal, get_args

OptionalModel = Literal["segmenter", "text_segmenter", "correspondence", "part_finder"]
OPTIONAL_MODELS: tuple[OptionalModel, ...] = get_args(OptionalModel)
"""Each is a field of `core.models.models.Models` and, behind `PLUMAGE_`, a setting of the worker."""
_EXAMPLES: dict[OptionalModel, str] = {
    "segmenter": "facebook/sam2.1-hiera-small",
    "text_segmenter": "CIDAS/clipseg-rd64-refined",
    "correspondence": "facebook/dinov2-base",
    "part_finder": "openai/clip-vit-base-patch16",
}


def how_to_configure(model: OptionalModel) -> str:
    """One sentence for whoever meets a job that needs `model` where none is loaded."""
    setting = f"PLUMAGE_{model.upper()}"
    return (
        f"This needs a model that the worker does not hold: set {setting} to a folder or a hub id, such as "
        f"{_EXAMPLES[model]} with {setting}_REVISION"
    )
