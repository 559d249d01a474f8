"""Full-size SDXL with random weights on a GPU: the layout, the precision policy and the memory are the real ones."""

import pytest
import torch

from benchmarks.full_size import measure

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize("name", ["default", "guided"])
def test_a_transfer_at_1024_pixels_in_bfloat16_is_finite_and_fits(name: str) -> None:
    row, result = measure(torch.device("cuda"), torch.bfloat16, name, runs=1)
    assert result.image.shape == (1024, 1024, 3)
    assert result.matches.positions.shape == (64, 64, 2)
    assert isinstance(row["peak_gib"], float)
    assert row["peak_gib"] < 24.0
