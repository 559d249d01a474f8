import pytest
import torch

from core.models.models import Models
from tests.tiny import tiny_models


@pytest.fixture(scope="session")
def models() -> Models:
    return tiny_models()


@pytest.fixture(scope="session")
def models64() -> Models:
    return tiny_models(dtype=torch.float64)


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """A target of 88 x 60 pixels and a reference of another shape."""
    generator = torch.Generator().manual_seed(7)
    return torch.rand(3, 60, 88, generator=generator), torch.rand(3, 72, 50, generator=generator)
