"""Maps that are given, made anew at every step, or held against named parts; and what a run tells of one place."""

from dataclasses import replace

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from core.errors import EmptyMaskError, ModelMissingError
from core.explain import explain
from core.images.canvas import fit_canvas
from core.masks.regions import Masks, Named
from core.matching.one_shot import given_map
from core.matching.solver import match_consistently
from core.models.models import Models
from core.models.noise import make_steps
from core.models.part_classifier import PROMPT, PartFinder, disagreement
from core.params.transfer import TransferParams
from core.pipeline import match, transfer
from tests.tiny import TEXT_CHANNELS, tiny_tokenizer

Pictures = tuple[torch.Tensor, torch.Tensor]
FAST = {
    "num_steps": 3,
    "match_smoothness": 0.0,
    "strength": 1.0,
    "match_draws": 1,
    "injection_range": (1.0, 0.0),
    "reinjection_every": 0,
}


def params(**knobs: object) -> TransferParams:
    return TransferParams.model_validate({**FAST, **knobs})


def tiny_part_finder() -> PartFinder:
    """Patches of 8 px, 4 x 4 of them."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = tiny_tokenizer()
    text = {
        **sizes,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TEXT_CHANNELS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    config = CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=12)
    model = CLIPModel(config).requires_grad_(False).eval()
    return PartFinder(model, tokenizer, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), side_px=32)


def test_a_given_map_is_the_one_that_is_used(models: Models, pictures: Pictures) -> None:
    """The map that a result reports is used again, and a mirrored one is followed."""
    own = transfer(models, *pictures, params(), seed=1)
    places = [[tuple(place) for place in row] for row in own.matches.positions.tolist()]
    again = transfer(models, *pictures, params(match_source="given", match_map=places), seed=1)
    assert (again.matches.positions - own.matches.positions).abs().max() < 1e-5
    flipped = params(match_source="given", match_map=[row[::-1] for row in places])
    other = transfer(models, *pictures, flipped, seed=1)
    assert (other.matches.positions - own.matches.positions.flip(1)).abs().max() < 1e-5
    assert not torch.equal(other.image, again.image)


def test_a_given_map_is_followed_between_its_places_too() -> None:
    """Turned and shrunk about the middle: so is what lies between the given places."""
    turn = torch.tensor([[0.6, -0.5], [0.5, 0.6]])
    centres = (torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="xy"), dim=-1) + 0.5) / 8 - 0.5
    places = ((centres @ turn.T) + 0.5).tolist()
    reference = fit_canvas(torch.rand(3, 8, 8), None, (8, 8))
    found = given_map([[tuple(place) for place in row] for row in places], reference, (8, 8), torch.device("cpu"))
    torch.testing.assert_close(found.positions().flatten(), torch.tensor(places).flatten())
    torch.testing.assert_close(found.local_maps.slopes, turn.expand(64, 2, 2), rtol=0, atol=1e-2)


def test_tokens_within_a_cell_of_a_given_map_keep_their_places() -> None:
    """Two cells, each two tokens wide and high: around (1/4, 1/4), and around (3/4, 3/4), where the lower ones would
    leave the picture."""
    reference = fit_canvas(torch.rand(3, 8, 8), None, (8, 8))
    found = given_map([[(0.25, 0.25), (0.75, 0.75)]], reference, (2, 4), torch.device("cpu"))
    assert found.index.tolist() == [0, 1, 6, 7, 4, 5, 6, 7]


@pytest.mark.parametrize("source", ["layer", "step"])
def test_maps_made_while_sampling_follow_the_steps(models: Models, pictures: Pictures, source: str) -> None:
    every, once = (
        transfer(
            models, *pictures, params(match_source=source, match_every=n, injection_layers=["up_blocks.1"]), seed=0
        )
        for n in (1, 200)
    )
    assert not torch.equal(every.matches.positions, once.matches.positions)
    assert every.matches.inside.all()


@pytest.mark.parametrize("source", ["auto", "layer", "step"])
def test_an_explanation_has_every_layer_and_step(models: Models, pictures: Pictures, source: str) -> None:
    asked = params(match_source=source)
    found = explain(models, *pictures, asked, (0.3, 0.6), seed=0)
    steps = make_steps(models.alphas_cumprod, num_steps=3, strength=1.0)
    assert found.noise_levels == tuple(step.timestep / 1000 for step in steps)
    assert len(found.layers) == 6
    assert found.places.shape == (6, 3, 2)
    assert found.similarity.shape == (6, 3)
    assert found.places.min() >= 0.0
    assert found.places.max() <= 1.0
    used = match(models, *pictures, asked, seed=0).matches.positions[int(0.6 * 14), int(0.3 * 20)]
    if source == "auto":
        assert found.used == tuple(used.tolist())


def test_what_a_layer_is_said_to_have_matched_is_what_it_matched(models: Models, pictures: Pictures) -> None:
    asked = params(match_source="layer", injection_layers=["up_blocks.1"])
    found = explain(models, *pictures, asked, (0.3, 0.6), seed=0)
    assert found.used == pytest.approx(tuple(found.places[-1, -1].tolist()), abs=1e-6)


def test_an_explanation_is_of_the_region_that_holds_the_place(models: Models, pictures: Pictures) -> None:
    left = torch.zeros(60, 88)
    left[:, :44] = 1.0
    named = Named({"other": pictures[1].flip(0)}, {"left": left, "right": 1.0 - left})
    regions = [{"target_mask": "left"}, {"target_mask": "right", "reference": "other"}]
    found = explain(models, *pictures, params(regions=regions), (0.9, 0.5), named=named, seed=0)
    assert found.region == 1
    with pytest.raises(EmptyMaskError, match=r"0\.9"):
        explain(models, *pictures, params(), (0.9, 0.5), masks=Masks(target=left), seed=0)


def test_parts_are_told_apart_by_clip(pictures: Pictures) -> None:
    finder = tiny_part_finder()
    square = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    shares = finder.shares(square, ["wing", "head", "tail"], (4, 4))
    assert shares.shape == (16, 3)
    torch.testing.assert_close(shares.sum(-1), torch.ones(16))
    # By hand: the last layer without its attention, in the space of words.
    model = finder.model
    vision = model.vision_model
    states = vision(pixel_values=(square[None] - 0.5) / 0.5, output_hidden_states=True).hidden_states[-2]
    layer = vision.encoder.layers[-1]
    mixed = states + layer.self_attn.out_proj(layer.self_attn.v_proj(layer.layer_norm1(states)))
    mixed = mixed + layer.mlp(layer.layer_norm2(mixed))
    places = model.visual_projection(vision.post_layernorm(mixed))[0, 1:]
    words = [
        model.get_text_features(**finder.tokenizer(PROMPT.format(name), return_tensors="pt")).pooler_output[0]
        for name in ("wing", "head", "tail")
    ]
    cosine = torch.stack([torch.nn.functional.cosine_similarity(places, word[None]) for word in words], dim=-1)
    torch.testing.assert_close(shares, torch.softmax(model.logit_scale.exp() * cosine, -1), rtol=0, atol=1e-5)
    assert finder.shares(pictures[0], ["wing", "head"], (14, 20)).shape == (280, 2)


def test_confusable_parts_are_kept_apart_by_their_names() -> None:
    """Two places of the reference look alike; the one of the right part is taken as soon as parts have a say."""
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    reference = torch.tensor([[1.0, 0.1], [1.0, 0.0]])  # the second looks most like token 0, but is of the other part
    everywhere = torch.ones(2, dtype=torch.bool)
    parts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    apart = disagreement(parts, parts)
    assert apart.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    found = [
        match_consistently(
            target, reference, (1, 2), everywhere, everywhere, smoothness=0.0, penalty=weight * apart
        ).index[0]
        for weight in (0.0, 0.5)
    ]
    assert found == [1, 0]
    undecided = torch.full((2, 2), 0.5)
    assert disagreement(undecided, parts).unique().tolist() == [0.5]


def test_part_names_change_the_map_and_need_their_model(models: Models, pictures: Pictures) -> None:
    asked = params(part_names=["wing", "head"], part_weight=4.0)
    assert "part_finder" in asked.needed_models
    with pytest.raises(ModelMissingError, match="PLUMAGE_PART_FINDER"):
        match(models, *pictures, asked, seed=0)
    holding = replace(models, part_finder=tiny_part_finder())
    plain, by_parts = (match(holding, *pictures, one, seed=0).matches.positions for one in (params(), asked))
    assert not torch.equal(plain, by_parts)
    weightless = match(holding, *pictures, asked.model_copy(update={"part_weight": 0.0}), seed=0)
    assert torch.equal(weightless.matches.positions, plain)
