"""`python -m lab.train`: trains the mini checkpoint from scratch, or exports what a run has so far.

python -m lab.train --out runs/mini                      # by steps
python -m lab.train --out runs/mini --until 23:50        # by the clock (UTC)
python -m lab.train --out runs/mini --export models/mini # writes the moving average of the newest state
python -m lab.train --out DIR --smoke                    # seconds: every part for a few steps
"""

import argparse
import os
from pathlib import Path

import torch

from lab.train.progress import next_time
from lab.train.run import Plan, export_run, train


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m lab.train", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a second start resumes there")
    parser.add_argument("--smoke", action="store_true", help="tiny networks, a few steps, export to OUT/pipeline")
    parser.add_argument("--scenes", type=int, default=24_000, help="scenes of the training set")
    parser.add_argument("--vae-steps", type=int, default=2_200)
    parser.add_argument("--steps", type=int, default=20_000, help="steps of UNet and text encoders")
    parser.add_argument("--until", help="end of the training, HH:MM in UTC; the schedule then follows the clock")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--export", type=Path, help="write the newest state as a checkpoint folder and stop")
    parser.add_argument("--start-from", type=Path, help="go on from this exported checkpoint")
    parser.add_argument("--batch-seed", type=int, default=1, help="which batches are drawn; change it to go on")
    parser.add_argument("--small-until", type=float, default=0.5, help="share of the run on half-size pictures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.export is not None:
        export_run(options.out, options.export, smoke=options.smoke)
        return
    plan = Plan(
        scenes=options.scenes,
        vae_steps=options.vae_steps,
        steps=options.steps,
        ends_at=None if options.until is None else next_time(options.until),
        threads=options.threads,
        start_from=options.start_from,
        batch_seed=options.batch_seed,
        small_until=options.small_until,
    )
    train(options.out, Plan.smoke() if options.smoke else plan, smoke=options.smoke)
    if options.smoke:
        export_run(options.out, options.out / "pipeline", smoke=True)


if __name__ == "__main__":
    main()
