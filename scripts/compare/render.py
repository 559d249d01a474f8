"""Renders the twelve transfers with the `core` and `checkpoints` that PYTHONPATH leads to, whatever their layout.

    PYTHONPATH=CHECKOUT python scripts/compare/render.py CHECKOUT OUT

writes OUT/NUMBER.npz for each, or OUT/NUMBER.txt with the reason why there is none. Modules have moved and signatures
have changed between the commits that are compared; so this looks where things are.
"""

import ast
import sys
import traceback
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from renames import flatten
from transfers import TRANSFERS, Pictures, Transfer, pictures_of

MATCHES = ("positions", "similarity", "inside", "confidence", "region")
"""What a result says of its matches, as in the file that the service hands out."""
Arrays = dict[str, npt.NDArray[Any]]


@cache
def definitions() -> dict[str, list[str]]:
    """Modules of `core` by the names of the functions and classes that they define."""
    root = Path(str(import_module("core").__file__)).parent
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        module = ".".join((root.name, *path.relative_to(root).with_suffix("").parts))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.setdefault(node.name, []).append(module)
    return found


def find(name: str) -> Any:
    """The function or class that `core` has by this name. Raises LookupError when it has none, or several."""
    modules = definitions().get(name, [])
    if len(modules) != 1:
        raise LookupError(f"core defines {name} in {len(modules)} modules: {modules}")
    return getattr(import_module(modules[0]), name)


def load_models() -> Any:
    """The checkpoint that comes with the code."""
    import_module("diffusers.utils.logging").disable_progress_bar()
    return import_module("checkpoints.load").load(import_module("checkpoints.settings").ModelSettings()).models


def prepare(models: Any, transfer: Transfer) -> Callable[..., list[Any]]:
    """Everything but the call of `transfer_variants`, which takes `on_step` and returns one result for each seed."""
    model = find("TransferParams")
    grouped = "matching" in model.model_fields
    params = model.model_validate(transfer.params if grouped else flatten(transfer.params))
    inputs = inputs_of(pictures_of(transfer), transfer)
    if "TransferInputs" in definitions():
        return partial(
            find("transfer_variants"), models, find("TransferInputs")(**inputs), params, seeds=transfer.seeds
        )
    pair = inputs.pop("target"), inputs.pop("reference")
    return partial(find("transfer_variants"), models, *pair, params, seeds=transfer.seeds, **inputs)


def inputs_of(pictures: Pictures, transfer: Transfer) -> dict[str, Any]:
    """What a transfer starts from, by the names that `core` has for it."""
    from_pil = find("from_pil")

    def mask(image: Any) -> Any:
        return None if image is None else from_pil(image)[0]

    return {
        "target": from_pil(pictures.target),
        "reference": from_pil(pictures.reference),
        "masks": find("Masks")(mask(pictures.target_mask), mask(pictures.reference_mask)),
        "named": find("Named")(
            {name: from_pil(image) for name, image in pictures.named_pictures.items()},
            {name: mask(image) for name, image in pictures.named_masks.items()},
        ),
        "prompt": transfer.prompt,
        "negative_prompt": transfer.negative_prompt,
    }


def render(models: Any, transfer: Transfer) -> Arrays:
    """All that a user sees of a transfer: pictures, previews, the masks that were used, matches."""
    previews: list[Any] = []
    results = prepare(models, transfer)(on_step=lambda step, steps, preview: previews.append(preview().cpu().numpy()))
    found = {"previews": np.stack(previews), "pictures": np.stack([result.image.numpy() for result in results])}
    for role in ("target", "reference"):
        mask = getattr(results[0].masks, role)
        found[f"{role}_mask"] = np.zeros(0) if mask is None else mask.cpu().numpy()
    for name in MATCHES:
        found[name] = np.stack([getattr(result.matches, name).numpy() for result in results])
    return found


def loaded_from_elsewhere(checkout: Path) -> list[str]:
    """Files of this repository's packages that were loaded, and do not lie in the checkout."""
    packages = {path.parent.name for path in checkout.glob("*/__init__.py")}
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
    files = [Path(str(module.__file__)).resolve() for module in modules if getattr(module, "__file__", None)]
    return sorted(str(file) for file in files if not file.is_relative_to(checkout))


def main(checkout: Path, out: Path) -> None:
    models = load_models()
    for number, transfer in enumerate(TRANSFERS, start=1):
        try:
            np.savez(out / f"{number}.npz", allow_pickle=False, **render(models, transfer))
        except Exception:
            (out / f"{number}.txt").write_text(traceback.format_exc())
    if strangers := loaded_from_elsewhere(checkout):
        sys.exit(f"modules were loaded from elsewhere than {checkout}: {strangers}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
