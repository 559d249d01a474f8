"""What is injected: rows against a slow reading, and every mode against a slow reading of its formula, token by token
and head by head."""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from diffusers.models.attention_processor import Attention

from core.images.geometry import token_mask
from core.injection import FeatureInjection, Injected, InjectionCall, InjectionStep, Maps, attend, injecting
from core.matching.correspondence import Correspondence
from core.models.models import SD15, Models, encode_prompt
from core.models.unet import BatchLayout, make_predictor, recorded, select_layers
from core.params.transfer import InjectionMode, InjectionParams
from core.types import EncodedRegion
from tests.tiny import tiny_sd15_models
from tests.unit.core.matching.solving import OFF
from tests.unit.core.scenes import make_region

TOKENS = 64
LATENT = (16, 16)
NO_MAPS: tuple[Maps, ...] = ((None,),)
MATCHED = InjectionStep(Injected.MATCHED, BatchLayout(seeds=1, references=1), NO_MAPS)
STRUCTURE = InjectionStep(Injected.STRUCTURE, BatchLayout(seeds=1, references=0), NO_MAPS)
"""Of one seed and one region; layers match for themselves."""


def injection_into(regions: Sequence[EncodedRegion], *, scale: float = 1.0) -> FeatureInjection:
    """Every layer matches for itself, as the paper has it."""
    mask = regions[0].target_latent_mask
    return FeatureInjection(regions, (mask.shape[0], mask.shape[1]), scale, OFF)


def layer_of(models: Models) -> tuple[str, Attention]:
    name = select_layers(models.unet, ["up_blocks.0"])[0]
    attention = models.unet.get_submodule(name)
    assert isinstance(attention, Attention)
    return name, attention


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    target, reference = torch.zeros(2, *LATENT, dtype=torch.float64)
    target[2:14, 4:14] = 1.0
    reference[:10, 2:] = 1.0
    return target, reference


def at_tokens(mask: torch.Tensor) -> list[int]:
    return [p for p in range(TOKENS) if mask[2 * (p // 8), 2 * (p % 8)] > 0]


def batch(attention: Attention, rows: int, halves: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    channels = attention.to_q.in_features
    return torch.randn(halves * rows, TOKENS, channels, generator=generator, dtype=torch.float64)


def through(
    models: Models,
    mode: InjectionMode,
    injected: Injected,
    features: torch.Tensor,
    *,
    scale: float = 1.0,
    contrast: float = 1.0,
) -> torch.Tensor:
    """What the layer makes of `features` with the injection at work, and that nothing of it stays."""
    name, attention = layer_of(models)
    injection = injection_into([make_region(*masks(), scale=scale)])
    step = InjectionStep(injected, BatchLayout(1, int(injected is Injected.MATCHED)), NO_MAPS)
    params = InjectionParams(mode=mode, contrast_strength=contrast)
    plain = attention(features)
    with injecting(models.unet, [name], injection, step, params):
        output: torch.Tensor = attention(features)
    assert torch.equal(attention(features), plain)
    return output


def slow_attention(
    attention: Attention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: list[int],
    adjust: Callable[[torch.Tensor], torch.Tensor] = lambda weights: weights,
) -> torch.Tensor:
    """One row `[tokens, channels]`: every token and head for itself, over `keys` only."""
    width = attention.to_q.out_features // attention.heads
    q, k, v = attention.to_q(query), attention.to_k(key)[keys], attention.to_v(value)[keys]
    columns = []
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        rows = [adjust(torch.softmax(k[:, part] @ q[p, part] / width**0.5, 0)) @ v[:, part] for p in range(len(q))]
        columns.append(torch.stack(rows))
    output: torch.Tensor = attention.to_out[0](torch.cat(columns, dim=-1))
    return output


def slow_rearrangement(output: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    target_mask, reference_mask = masks()
    edited = output.clone()
    for p in at_tokens(target_mask):
        cosine = torch.nn.functional.cosine_similarity(output[p][None], reference)
        edited[p] = reference[max(at_tokens(reference_mask), key=lambda q: float(cosine[q]))]
    return edited


@pytest.mark.parametrize("mode", ["feature", "kv", "v"])
@pytest.mark.parametrize("step", [Injected.MATCHED, Injected.STRUCTURE])
def test_injected_attention_reads_rearranged_features_where_the_mode_says(
    models64: Models, mode: InjectionMode, step: Injected
) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 3 if step is Injected.MATCHED else 2)
    own = features[0]
    edited = slow_rearrangement(own, features[1])
    if step is Injected.STRUCTURE:
        edited = own.clone()
        edited[at_tokens(masks()[0])] = features[1][at_tokens(masks()[0])]
    sources = {"feature": (edited, edited, edited), "kv": (own, edited, edited), "v": (own, own, edited)}[mode]
    result = through(models64, mode, step, features)
    torch.testing.assert_close(result[0], slow_attention(attention, *sources, list(range(TOKENS))), rtol=0, atol=1e-10)
    torch.testing.assert_close(result[1:], attention(features)[1:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("step", [Injected.MATCHED, Injected.STRUCTURE])
@pytest.mark.parametrize("contrast", [1.0, 1.67])
def test_cross_image_attention_reads_keys_and_values_of_the_other_row(
    models64: Models, step: Injected, contrast: float
) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 3 if step is Injected.MATCHED else 2)
    keys = at_tokens(masks()[1] if step is Injected.MATCHED else masks()[0])

    def enhance(weights: torch.Tensor) -> torch.Tensor:
        return ((weights - weights.mean()) * contrast + weights.mean()).clip(0.0, 1.0)

    swapped = slow_attention(attention, features[0], features[1], features[1], keys, enhance)
    plain = attention(features)
    inside = at_tokens(masks()[0])
    expected = plain[0].clone()
    expected[inside] = swapped[inside]
    result = through(models64, "cross_image", step, features, contrast=contrast)
    torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(result[1:], plain[1:], rtol=0, atol=1e-10)


def test_ctrl_x_give_every_token_the_moments_that_it_attends_to(models64: Models) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 3)
    inside, there = (at_tokens(mask) for mask in masks())

    def normalised(row: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        return (row - row[tokens].mean(0)) / row[tokens].std(0, correction=0)

    own, other = normalised(features[0], inside), normalised(features[1], there)
    q, k = attention.to_q(own), attention.to_k(other)
    width = q.shape[-1] // attention.heads
    edited = features[0].clone()
    for p in inside:
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            weights = torch.softmax(k[there][:, part] @ q[p, part] / width**0.5, 0)
            mean = (weights[:, None] * features[1][there][:, part]).sum(0)
            variance = (weights[:, None] * (features[1][there][:, part] - mean) ** 2).sum(0)
            edited[p, part] = variance.sqrt() * own[p, part] + mean
    expected = slow_attention(attention, edited, edited, edited, list(range(TOKENS)))
    result = through(models64, "ctrl_x", Injected.MATCHED, features)
    torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(result[1:], attention(features)[1:], rtol=0, atol=1e-10)


def test_block_output_rearranges_the_residual_stream_behind_the_block(models64: Models) -> None:
    name, attention = layer_of(models64)
    block = models64.unet.get_submodule(name.removesuffix(".attn1"))
    features = batch(attention, 3)
    text = torch.zeros(3, 16, 32, dtype=torch.float64)
    plain = block(features, encoder_hidden_states=text)
    injection = injection_into([make_region(*masks())])
    with injecting(models64.unet, [name], injection, MATCHED, InjectionParams(mode="block_output")):
        result = block(features, encoder_hidden_states=text)
    assert torch.equal(block(features, encoder_hidden_states=text), plain)
    assert torch.equal(result[0], slow_rearrangement(plain[0], plain[1]))
    assert torch.equal(result[1:], plain[1:])


@pytest.mark.parametrize("mode", ["feature", "kv", "v", "cross_image", "ctrl_x"])
def test_both_guidance_halves_are_injected_alike_and_scale_0_changes_nothing(
    models64: Models, mode: InjectionMode
) -> None:
    _, attention = layer_of(models64)
    half = batch(attention, 3)
    single = through(models64, mode, Injected.MATCHED, half)
    double = through(models64, mode, Injected.MATCHED, half.repeat(2, 1, 1))
    torch.testing.assert_close(double, single.repeat(2, 1, 1), rtol=0, atol=1e-10)
    untouched = through(models64, mode, Injected.MATCHED, half, scale=0.0)
    torch.testing.assert_close(untouched, attention(half), rtol=0, atol=1e-10)
    assert torch.equal(through(models64, mode, Injected.NOTHING, half), attention(half))


def test_attending_here_is_what_the_layers_own_processor_computes(models64: Models) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 2)
    torch.testing.assert_close(attend(attention, features, features, features), attention(features), rtol=0, atol=1e-12)


def test_a_given_map_serves_every_hard_mode(models64: Models) -> None:
    name, attention = layer_of(models64)
    features = batch(attention, 3)
    given = Correspondence((8, 8), torch.arange(TOKENS).flip(0), torch.ones(TOKENS))
    everywhere = torch.ones(LATENT, dtype=torch.float64)
    injection = injection_into([make_region(everywhere, everywhere)])
    step = replace(MATCHED, maps=((given,),))
    with injecting(models64.unet, [name], injection, step, InjectionParams(mode="v")):
        result = attention(features)
    expected = slow_attention(attention, features[0], features[0], features[1].flip(0), list(range(TOKENS)))
    torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("halves", [1, 2])
def test_one_map_from_the_conditional_half_serves_every_half(halves: int) -> None:
    generator = torch.Generator().manual_seed(0)
    output, reference, structure = torch.randn(3, halves, 16, 5, generator=generator)
    permutation = torch.randperm(16, generator=generator)
    reference[-1] = output[-1][permutation]
    features = torch.stack([output, reference, structure], dim=1).flatten(0, 1)
    mask = torch.ones(8, 8)
    call = InjectionCall(injection_into([make_region(mask, mask)]), MATCHED)
    edited = call.edit(features).unflatten(0, (halves, 3))
    where = torch.argsort(permutation)
    for half in range(halves):
        assert torch.equal(edited[half, 0], reference[half][where])
        assert torch.equal(edited[half, 1], reference[half])
        assert torch.equal(edited[half, 2], structure[half])
    assert list(call.found) == [(0, 0)]
    assert torch.equal(call.found[0, 0].index, where)


def test_tokens_outside_the_target_mask_keep_their_own_features() -> None:
    target_mask = torch.zeros(8, 8)
    target_mask[:4] = 1.0
    injection = injection_into([make_region(target_mask, torch.ones(8, 8))])
    for step, rows in ((MATCHED, 3), (STRUCTURE, 2)):
        features = torch.randn(rows, 16, 5)
        edited = InjectionCall(injection, step).edit(features)
        assert torch.equal(edited[0, 8:], features[0, 8:])
        assert not torch.equal(edited[0, :8], features[0, :8])
        assert torch.equal(edited[1:], features[1:])


def test_a_fixed_map_is_used_on_every_grid() -> None:
    fixed = Correspondence((2, 2), torch.tensor([3, 3, 3, 3]), torch.ones(4))
    everywhere = torch.ones(8, 8)
    call = InjectionCall(injection_into([make_region(everywhere, everywhere)]), replace(MATCHED, maps=((fixed,),)))
    features = torch.randn(3, 16, 5)
    edited = call.edit(features)
    assert torch.equal(edited[0], features[1][fixed.resized((4, 4)).index])
    assert call.found == {}


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.25, 0.5)])
def test_every_region_takes_its_own_references_tokens(scales: tuple[float, float]) -> None:
    """Token by token, against a slow reading."""
    generator = torch.Generator().manual_seed(0)
    output, first, second, structure = torch.randn(4, 1, 16, 5, generator=generator)
    masks = torch.zeros(3, 4, 4)
    masks[0, :2], masks[1, 2:, :3], masks[2, :, 1:] = 1.0, 1.0, 1.0
    everywhere = torch.ones(4, 4)
    regions = [
        make_region(masks[0], everywhere, scale=scales[0]),
        make_region(masks[1], masks[2], scale=scales[1]),
    ]
    step = InjectionStep(Injected.MATCHED, BatchLayout(seeds=1, references=2), ((None, None),))
    call = InjectionCall(injection_into(regions), step)
    edited = call.edit(torch.stack([output, first, second, structure], dim=1).flatten(0, 1))
    expected = output[0].clone()
    for p in range(16):
        if not masks[:2, p // 4, p % 4].any():
            continue
        region = int(masks[1, p // 4, p % 4])
        reference = (first, second)[region][0]
        allowed = [q for q in range(16) if region == 0 or masks[2, q // 4, q % 4]]
        cosine = torch.nn.functional.cosine_similarity(output[0, p][None], reference)
        best = max(allowed, key=lambda q: float(cosine[q]))
        expected[p] = torch.lerp(output[0, p], reference[best], scales[region])
    torch.testing.assert_close(edited[0], expected, rtol=0, atol=1e-6)
    assert torch.equal(edited[1:], torch.stack([first[0], second[0], structure[0]]))


def test_several_seeds_in_one_batch_are_edited_as_each_alone() -> None:
    """And several halves; each seed by its own map where it has one."""
    generator = torch.Generator().manual_seed(6)
    features = torch.randn(2, 3, 4, 16, 5, generator=generator)  # halves, seeds, rows
    masks = (torch.zeros(2, 4, 4), torch.ones(2, 4, 4))
    masks[0][0, :2], masks[0][1, 2:] = 1.0, 1.0
    injection = injection_into([make_region(*pair, scale=0.7) for pair in zip(*masks, strict=True)], scale=0.9)
    fixed = Correspondence((4, 4), torch.randperm(16, generator=generator), torch.ones(16))
    maps: tuple[Maps, ...] = ((None, None), (fixed, None), (fixed, fixed))
    together = InjectionCall(injection, InjectionStep(Injected.MATCHED, BatchLayout(3, 2), maps))
    edited = together.edit(features.flatten(0, 2)).unflatten(0, (2, 3, 4))
    for seed in range(3):
        alone = InjectionCall(injection, InjectionStep(Injected.MATCHED, BatchLayout(1, 2), maps[seed : seed + 1]))
        assert torch.equal(alone.edit(features[:, seed].flatten(0, 1)).unflatten(0, (2, 4)), edited[:, seed])
    assert set(together.found) == {(0, 0), (0, 1), (1, 1)}


def test_of_several_layers_the_map_of_the_finest_and_last_is_kept() -> None:
    everywhere = torch.ones(8, 8)
    call = InjectionCall(injection_into([make_region(everywhere, everywhere)]), MATCHED)
    for tokens in (16, 64, 64, 16):
        call.edit(torch.randn(3, tokens, 5))
        if tokens == 64:
            last = call.found[0, 0]
    assert call.found[0, 0] is last
    assert last.grid == (8, 8)


def test_without_a_map_and_a_way_to_match_nothing_is_taken() -> None:
    everywhere = torch.ones(8, 8)
    injection = replace(injection_into([make_region(everywhere, everywhere)]), matching=None)
    call, features = InjectionCall(injection, MATCHED), torch.randn(3, 16, 5)
    assert torch.equal(call.edit(features), features)
    assert call.found == {}


def test_what_a_call_injects_cannot_be_changed() -> None:
    for name in ("injected", "layout", "maps"):
        with pytest.raises(FrozenInstanceError):
            setattr(MATCHED, name, None)
    with pytest.raises(FrozenInstanceError):
        MATCHED.layout.seeds = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        injection_into([make_region(torch.ones(8, 8), torch.ones(8, 8))]).scale = 0.5  # type: ignore[misc]


def test_on_sd15_matches_and_rearrangement_are_the_papers_to_the_token() -> None:
    """`c(p) = argmax_q cos(F_out(p), F_ref(q))` and `F'(p) = F_ref(c(p))` in every injected layer, one token after the
    other, on what the network really puts in there; the mask of the reference and of the target as the paper has
    them."""
    models = tiny_sd15_models(dtype=torch.float64)
    conditional = encode_prompt(models, "a bird", height=64, width=64)
    unconditional = encode_prompt(models, "", height=64, width=64, negative=True)
    predict = make_predictor(models.unet, conditional, unconditional, 2.5)
    rows = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layers = select_layers(models.unet, SD15.injection_layers)
    masks = torch.zeros(2, 16, 16, dtype=torch.float64)
    masks[0, 2:12, 2:14], masks[1, 4:16, :10] = 1.0, 1.0
    call = InjectionCall(injection_into([make_region(masks[0], masks[1])]), MATCHED)
    with recorded(models.unet, layers) as seen:
        predict(rows, 400)
    for name in layers:
        features = seen[name]
        side = int(features.shape[1] ** 0.5)
        edited = call.edit(features).unflatten(0, (2, 3))
        given = features.unflatten(0, (2, 3))
        inside, there = (token_mask(mask, (side, side)) for mask in masks)
        for p in range(side * side):
            if not inside[p]:
                assert torch.equal(edited[:, 0, p], given[:, 0, p])
                continue
            best, best_cosine = -1, -2.0
            for q in range(side * side):
                if there[q]:
                    a, b = given[1, 0, p], given[1, 1, q]
                    cosine = float(a @ b / (a.norm() * b.norm()))
                    if cosine > best_cosine:
                        best, best_cosine = q, cosine
            assert torch.equal(edited[:, 0, p], given[:, 1, best])
        assert torch.equal(edited[:, 1:], given[:, 1:])
