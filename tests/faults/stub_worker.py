"""A worker in which everything is real but `core.pipeline` and the checkpoint.

`python -m tests.faults.stub_worker …` takes the arguments of `python -m worker` and starts in a fraction of its time.
"""

import sys
from types import SimpleNamespace

from core.params.optional_models import OPTIONAL_MODELS
from tests.faults import stub_pipeline

sys.modules["core.pipeline"] = stub_pipeline

from worker.__main__ import main  # noqa: E402  (after the stand-in)


def load_stub() -> SimpleNamespace:
    identity = {"id": "stub", "revision": "0", "device": "cpu", "dtype": "float32"}
    return SimpleNamespace(models=None, optional_models=OPTIONAL_MODELS, **identity)


if __name__ == "__main__":
    sys.exit(main(load_models=load_stub))
