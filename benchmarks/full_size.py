"""Speed and memory of one transfer at SDXL's full size: `python -m benchmarks.full_size --out runs/full_size`.

One row per setting, every switch a column, the picture kept beside the row. The first run is the warm-up and is not
counted; the device is synchronised before the clock is read.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch

from benchmarks.random_sdxl import random_sdxl
from core.images.canvas import to_pil
from core.params.transfer import LatentParams, MatchingParams, TransferParams, dotted
from core.pipeline import TransferInputs, TransferResult, transfer

SETTINGS = {
    "default": TransferParams(),
    "guided": TransferParams(guidance_scale=5.0),
    "paper": TransferParams(
        num_inference_steps=100,
        strength=0.68,
        matching=MatchingParams(source="per_layer"),
        latent=LatentParams(warp_strength=0.0),
    ),
}


def measure(device: torch.device, dtype: torch.dtype, name: str, runs: int) -> tuple[dict[str, object], TransferResult]:
    """The row of one setting at 1024 x 1024 pixels, and the last picture."""
    params = SETTINGS[name]
    models = random_sdxl(device, dtype)
    target, reference = torch.rand(2, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    inputs = TransferInputs(target, reference)
    transfer(models, inputs, params, seed=0)
    torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for seed in range(runs):
        started = time.perf_counter()
        result = transfer(models, inputs, params, seed=seed)
        seconds.append(time.perf_counter() - started)
    row: dict[str, object] = {
        "setting": name,
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "dtype": str(dtype),
        "pixels": 1024,
        "runs": runs,
        "seconds_median": round(statistics.median(seconds), 3),
        "seconds_min": round(min(seconds), 3),
        "seconds_max": round(max(seconds), 3),
        "peak_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2),
        **{f"ms_{phase}": value for phase, value in result.timings.items()},
        **dotted(params.model_dump(mode="json")),
    }
    return row, result


def main() -> None:
    """Measures every setting on the CUDA device and writes the table and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in SETTINGS:
        row, result = measure(torch.device("cuda"), getattr(torch, arguments.dtype), name, arguments.runs)
        to_pil(result.image).save(arguments.out / f"{name}.png")
        rows.append(row)
    with (arguments.out / "full_size.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
