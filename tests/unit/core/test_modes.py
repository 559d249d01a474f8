"""Every level of rearrangement against a slow reading of its formula, token by token and head by head."""

from collections.abc import Callable

import pytest
import torch
from diffusers.models.attention_processor import Attention

from core.injection import FeatureInjection, InjectedRegion, Injection, attend, injecting
from core.matching.correspondence import TokenMap
from core.models.models import Models
from core.models.unet import select_layers
from core.params.transfer import InjectionMode

TOKENS = 64
LATENT = (16, 16)


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
    models: Models, mode: InjectionMode, step: Injection, features: torch.Tensor, **knobs: float
) -> torch.Tensor:
    """What the layer makes of `features` with the injection at work, and that nothing of it stays."""
    name, attention = layer_of(models)
    injection = FeatureInjection([InjectedRegion(*masks(), strength=knobs.get("strength", 1.0))])
    injection.mode = step
    plain = attention(features)
    with injecting(models.unet, [name], [injection], mode, knobs.get("contrast", 1.0)):
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
@pytest.mark.parametrize("step", [Injection.MATCHED, Injection.STRUCTURE])
def test_injected_attention_reads_rearranged_features_where_the_mode_says(
    models64: Models, mode: InjectionMode, step: Injection
) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 3 if step is Injection.MATCHED else 2)
    own = features[0]
    edited = slow_rearrangement(own, features[1])
    if step is Injection.STRUCTURE:
        edited = own.clone()
        edited[at_tokens(masks()[0])] = features[1][at_tokens(masks()[0])]
    sources = {"feature": (edited, edited, edited), "kv": (own, edited, edited), "v": (own, own, edited)}[mode]
    result = through(models64, mode, step, features)
    torch.testing.assert_close(result[0], slow_attention(attention, *sources, list(range(TOKENS))), rtol=0, atol=1e-10)
    torch.testing.assert_close(result[1:], attention(features)[1:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("step", [Injection.MATCHED, Injection.STRUCTURE])
@pytest.mark.parametrize("contrast", [1.0, 1.67])
def test_cross_image_attention_reads_keys_and_values_of_the_other_row(
    models64: Models, step: Injection, contrast: float
) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 3 if step is Injection.MATCHED else 2)
    keys = at_tokens(masks()[1] if step is Injection.MATCHED else masks()[0])

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


def test_soft_statistics_give_every_token_the_moments_that_it_attends_to(models64: Models) -> None:
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
    result = through(models64, "soft_statistics", Injection.MATCHED, features)
    torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(result[1:], attention(features)[1:], rtol=0, atol=1e-10)


def test_block_output_rearranges_the_residual_stream_behind_the_block(models64: Models) -> None:
    name, attention = layer_of(models64)
    block = models64.unet.get_submodule(name.removesuffix(".attn1"))
    features = batch(attention, 3)
    text = torch.zeros(3, 16, 32, dtype=torch.float64)
    plain = block(features, encoder_hidden_states=text)
    injection = FeatureInjection([InjectedRegion(*masks())])
    injection.mode = Injection.MATCHED
    with injecting(models64.unet, [name], [injection], "block_output", 1.0):
        result = block(features, encoder_hidden_states=text)
    assert torch.equal(block(features, encoder_hidden_states=text), plain)
    assert torch.equal(result[0], slow_rearrangement(plain[0], plain[1]))
    assert torch.equal(result[1:], plain[1:])


@pytest.mark.parametrize("mode", ["feature", "kv", "v", "cross_image", "soft_statistics"])
def test_both_guidance_halves_are_injected_alike_and_strength_none_changes_nothing(
    models64: Models, mode: InjectionMode
) -> None:
    _, attention = layer_of(models64)
    half = batch(attention, 3)
    single = through(models64, mode, Injection.MATCHED, half)
    double = through(models64, mode, Injection.MATCHED, half.repeat(2, 1, 1))
    torch.testing.assert_close(double, single.repeat(2, 1, 1), rtol=0, atol=1e-10)
    untouched = through(models64, mode, Injection.MATCHED, half, strength=0.0)
    torch.testing.assert_close(untouched, attention(half), rtol=0, atol=1e-10)
    assert torch.equal(through(models64, mode, Injection.NONE, half), attention(half))


def test_attending_here_is_what_the_layers_own_processor_computes(models64: Models) -> None:
    _, attention = layer_of(models64)
    features = batch(attention, 2)
    torch.testing.assert_close(attend(attention, features, features, features), attention(features), rtol=0, atol=1e-12)


def test_a_given_map_serves_every_hard_mode(models64: Models) -> None:
    name, attention = layer_of(models64)
    features = batch(attention, 3)
    given = TokenMap((8, 8), torch.arange(TOKENS).flip(0), torch.ones(TOKENS))
    everywhere = torch.ones(LATENT, dtype=torch.float64)
    injection = FeatureInjection([InjectedRegion(everywhere, everywhere, given)])
    injection.mode = Injection.MATCHED
    with injecting(models64.unet, [name], [injection], "v", 1.0):
        result = attention(features)
    expected = slow_attention(attention, features[0], features[0], features[1].flip(0), list(range(TOKENS)))
    torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-10)
