"""Features of pictures by a vision model and by the UNet."""

from dataclasses import replace

import pytest
import torch

from core.errors import ModelMissingError
from core.models.features import describe_by_unet, describe_by_vision_model, place_features
from core.models.models import Models, encode_prompt
from core.models.unet import make_predictor, select_layers
from core.params.transfer import MatchingParams, TransferParams
from core.pipeline import TransferInputs, match, transfer
from tests.tiny_vision import tiny_vision


@pytest.mark.parametrize("registers", [0, 3])
def test_at_its_own_grid_the_features_are_the_patch_tokens(registers: int) -> None:
    vision = tiny_vision(registers)
    pictures = torch.rand(2, 3, 32, 32)
    whole = vision.network(pixel_values=(pictures - 0.5) / 0.5).last_hidden_state
    assert whole.shape[1] == 1 + registers + 64
    torch.testing.assert_close(place_features(vision, pictures, (8, 8)), whole[:, 1 + registers :])


def test_a_finer_grid_is_read_between_the_patches() -> None:
    """Odd and even tokens are the readings of the picture moved by half a patch: one of each is computed by hand."""
    vision = tiny_vision()
    picture = torch.rand(1, 3, 32, 32)
    fine = place_features(vision, picture, (16, 16)).unflatten(1, (16, 16))
    normal = torch.nn.functional.pad((picture - 0.5) / 0.5, (2, 2, 2, 2), mode="replicate")
    before = vision.network(pixel_values=normal[..., 1:33, 1:33]).last_hidden_state[:, 1:].unflatten(1, (8, 8))
    after = vision.network(pixel_values=normal[..., 3:35, 3:35]).last_hidden_state[:, 1:].unflatten(1, (8, 8))
    # A quarter of a patch either way, 1 px.
    torch.testing.assert_close(fine[:, 0::2, 0::2], before)
    torch.testing.assert_close(fine[:, 1::2, 1::2], after)


@pytest.mark.parametrize("grid", [(16, 24), (9, 7), (5, 12)])
def test_any_grid_can_be_asked_for(grid: tuple[int, int]) -> None:
    features = place_features(tiny_vision(), torch.rand(2, 3, 48, 64), grid)
    assert features.shape == (2, grid[0] * grid[1], 16)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("source", ["vision", "fused", "auto"])
def test_a_transfer_by_the_correspondence_model(
    models: Models, pictures: tuple[torch.Tensor, torch.Tensor], source: str
) -> None:
    params, plain = (
        TransferParams.model_validate({"num_inference_steps": 3, "matching": {"source": one}})
        for one in (source, "unet")
    )
    with_model, inputs = replace(models, correspondence=tiny_vision()), TransferInputs(*pictures)
    by_unet = transfer(models, inputs, plain, seed=1)
    result = transfer(with_model, inputs, params, seed=1)
    assert result.matches.positions.shape == by_unet.matches.positions.shape
    assert not torch.equal(result.matches.positions, by_unet.matches.positions)
    assert torch.equal(result.matches.positions, match(with_model, inputs, params, seed=1).matches.positions)


def test_a_network_has_the_same_weight_however_many_layers_are_read_of_it(models: Models) -> None:
    with_model = replace(models, correspondence=tiny_vision())
    predict = make_predictor(models.unet, encode_prompt(models, "", height=64, width=64), None, 1.0)
    names = select_layers(models.unet, models.backbone.match_layers)
    assert len(names) > 1
    for layers in (names, names[:1]):
        read = describe_by_unet(models, predict, torch.randn(2, 4, 32, 32), layers, noise_level=0.2, draws=1, seed=1)
        assert len(read) == len(layers)
        assert sum(one.weight for one in read) == 1.0
    assert describe_by_vision_model(with_model, torch.rand(2, 3, 64, 64), (8, 8)).weight == 3.0


def test_without_the_model_the_setting_is_named(models: Models, pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    params, inputs = TransferParams(matching=MatchingParams(source="vision")), TransferInputs(*pictures)
    assert params.needed_models == {"correspondence"}
    with pytest.raises(ModelMissingError, match="PLUMAGE_CORRESPONDENCE"):
        transfer(models, inputs, params, seed=1)
    transfer(models, inputs, TransferParams(num_inference_steps=2), seed=1)
