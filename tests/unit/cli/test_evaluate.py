"""`plumage evaluate` as a command: from weights in a folder to a report, a sheet and a table."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

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
    report, sheet, page = tmp_path / "new" / "report.json", tmp_path / "sheet.png", tmp_path / "page.html"
    fast = ("--param", "num_inference_steps=3", "--param", "matching.ensemble_size=1", "--methods", "warp,truth")
    done = plumage("--pairs", 1, "--seed", 4, "--json", report, "--sheet", sheet, "--html", page, *fast, model=weights)
    assert done.exit_code == 0, done.output
    assert "truth" in done.stdout
    found = json.loads(report.read_text())
    assert found["run"]["domain"] == "evaluation"
    assert found["run"]["first_seed"] == 4
    assert found["run"]["params"]["num_inference_steps"] == 3
    assert list(found["methods"]) == ["warp", "truth"]
    with Image.open(sheet) as picture:
        assert picture.size == (8 * 64, 64 + 20)
    assert "data:image/jpeg;base64," in page.read_text()
    other = plumage("--pairs", 1, "--seed", 4, "--json", report, "--methods", "truth", model=weights)
    assert other.exit_code == 2
    assert "another" in other.stderr or "other" in other.stderr


def test_an_unknown_method_is_refused_with_the_ones_there_are(weights: Path, tmp_path: Path) -> None:
    refused = plumage("--methods", "magic", "--json", tmp_path / "r.json", model=weights)
    assert refused.exit_code == 2
    assert "no magic" in refused.stderr
    assert "warp" in refused.stderr
    assert not (tmp_path / "r.json").exists()


def test_settings_of_a_search_are_used_under_those_of_the_command_line(weights: Path, tmp_path: Path) -> None:
    report, tuned = tmp_path / "report.json", tmp_path / "tuning.json"
    chosen = {
        "ours": {"num_inference_steps": 9, "matching.ensemble_size": 1},
        "adain": {"latent.adain_range": [0.3, 0.0]},
    }
    tuned.write_text(json.dumps({"chosen": chosen}))
    options = (
        "--pairs",
        1,
        "--json",
        report,
        "--methods",
        "truth",
        "--param",
        "num_inference_steps=3",
        "--tuned",
        tuned,
    )
    done = plumage(*options, model=weights)
    assert done.exit_code == 0, done.output
    run = json.loads(report.read_text())["run"]
    assert (run["params"]["num_inference_steps"], run["params"]["matching"]["ensemble_size"]) == (3, 1)
    assert run["overrides"] == {"adain": {"latent.adain_range": [0.3, 0.0]}}
    tuned.write_text(json.dumps({"chosen": {"adain": {"latent.adain_rage": 1}}}))
    refused = plumage("--json", report, "--tuned", tuned, model=weights)
    assert refused.exit_code == 2
    assert "adain_rage" in refused.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--photographs", "."), "go together"),
        (("--feature-model", "x"), "go together"),
        (("--photographs", ".", "--feature-model", "x", "--pairs", 2), "--pairs is for rendered pairs"),
        (("--html", "page.pdf"), ".html"),
    ],
)
def test_options_that_do_not_fit_are_refused(weights: Path, options: tuple[object, ...], reason: str) -> None:
    refused = plumage(*options, model=weights)
    assert refused.exit_code == 2
    assert reason in refused.stderr


def test_photographs_are_measured_with_the_model_that_the_user_names(weights: Path, tmp_path: Path) -> None:
    vit, report = tmp_path / "vit", tmp_path / "report.json"
    Dinov2Model(
        Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4)
    ).save_pretrained(vit)
    for role in ("target", "reference"):
        Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 90).convert("RGB").save(tmp_path / f"one-{role}.png")
    options = ("--photographs", tmp_path, "--feature-model", vit, "--methods", "identity", "--json", report)
    done = plumage(*options, model=weights)
    assert done.exit_code == 0, done.output
    assert "self_similarity" in done.stdout
    found = json.loads(report.read_text())
    assert found["methods"]["identity"]["dino_i"]["mean"] == pytest.approx(1.0)
    refused = plumage(*options[:-4], "--methods", "truth", "--json", report, model=weights)
    assert refused.exit_code == 2
    assert "no truth" in refused.stderr
