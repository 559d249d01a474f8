"""One running service for the tests of all clients."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Live, running_service
from tests.pictures import encoded, gradient


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if sys.platform != "linux":
        pytest.skip("the service's processes end with the test by means of Linux")
    with running_service(tmp_path_factory.mktemp("live")) as service:
        yield service


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Files of a target and a reference."""
    paths = tmp_path / "A.png", tmp_path / "B.jpg"
    paths[0].write_bytes(encoded(gradient()))
    paths[1].write_bytes(encoded(gradient().rotate(180), "JPEG"))
    return paths
