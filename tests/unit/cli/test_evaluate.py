"""`plumage evaluate` as a command: from weights in a folder to a report, a sheet and a table."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_pipeline().save_pretrained(folder)
    return folder


def plumage(*arguments: object, model: Path) -> Result:
    environment = {"PLUMAGE_MODEL": str(model), "PLUMAGE_DEVICE": "cpu"}
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], env=environment)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_the_command_writes_report_and_sheet_and_shows_the_table(weights: Path, tmp_path: Path) -> None:
    report, sheet = tmp_path / "new" / "report.json", tmp_path / "sheet.png"
    fast = ("--param", "num_steps=3", "--param", "match_draws=1", "--methods", "warp,truth")
    done = plumage("--pairs", 1, "--seed", 4, "--json", report, "--sheet", sheet, *fast, model=weights)
    assert done.exit_code == 0, done.output
    assert "truth" in done.stdout
    found = json.loads(report.read_text())
    assert found["run"]["domain"] == "evaluation"
    assert found["run"]["first_seed"] == 4
    assert found["run"]["params"]["num_steps"] == 3
    assert list(found["methods"]) == ["warp", "truth"]
    with Image.open(sheet) as picture:
        assert picture.size == (5 * 64, 64 + 20)
    other = plumage("--pairs", 1, "--seed", 4, "--json", report, "--methods", "truth", model=weights)
    assert other.exit_code == 2
    assert "another" in other.stderr or "other" in other.stderr


def test_an_unknown_method_is_refused_with_the_ones_there_are(weights: Path, tmp_path: Path) -> None:
    refused = plumage("--methods", "magic", "--json", tmp_path / "r.json", model=weights)
    assert refused.exit_code == 2
    assert "no magic" in refused.stderr
    assert "warp" in refused.stderr
    assert not (tmp_path / "r.json").exists()
