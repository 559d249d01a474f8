"""Training on photographs: which pictures may be used, views with exact truth, and the loss between them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.images.geometry import CROP_FILL, extent, token_places
from lab.scenes import PART_ID, Domain, render, sample_scene
from lab.train.dataset import SceneSet
from lab.train.photographic import bilinear_shares, kept_tokens, pair_loss
from lab.train.photographs.looks import photograph, recolour
from lab.train.photographs.motion import sample_motion
from lab.train.photographs.pool import Pool, open_pool
from lab.train.photographs.resources import read_resources
from lab.train.photographs.shades import open_shades
from lab.train.photographs.sources import PACKAGES, gather
from lab.train.photographs.views import PairBatch, Views
from lab.train.placed import TOKENS

EVERY = TOKENS[0] * TOKENS[1]


def collection(files: dict[str, bytes]) -> bytes:
    """A Qt resource collection of the first version: one folder `in` with the files in it, all compressed."""
    names, at = b"", {}
    for name in ("", "in", *files):
        at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    tree = struct.pack(">IHII", 0, 2, 1, 1) + struct.pack(">IHII", at["in"], 2, len(files), 2)
    data = b""
    for name, content in files.items():
        tree += struct.pack(">IHHHI", at[name], 1, 0, 0, len(data))
        packed = struct.pack(">I", len(content)) + zlib.compress(content)
        data += struct.pack(">I", len(packed)) + packed
    start = 20
    offsets = (1, start, start + len(tree), start + len(tree) + len(data))
    return b"qres" + struct.pack(">4I", *offsets) + tree + data + names


def test_files_of_a_resource_collection_are_read(tmp_path: Path) -> None:
    files = {"one.txt": b"first", "two.txt": b"second" * 99}
    (tmp_path / "a.rcc").write_bytes(collection(files))
    assert dict(read_resources(tmp_path / "a.rcc")) == {f"in/{name}": content for name, content in files.items()}
    (tmp_path / "b.rcc").write_bytes(b"something else")
    with pytest.raises(ValueError, match="no Qt resource collection"):
        list(read_resources(tmp_path / "b.rcc"))


def test_only_pictures_with_a_permissive_licence_are_gathered(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package / "usr/share/doc" / package).mkdir(parents=True)
        (tmp_path / package / "usr/share/doc" / package / "copyright").write_text(
            "Files: *\nCopyright: 2001, Somebody\nLicense: GPL-3+\n\n"
            "Files: free.jpg\n other/share.png\nCopyright: 2002, Another\n 2003, A Third\n"
            "License: CC-BY-SA-4.0\n text\n"
        )
    shown = tmp_path / PACKAGES[1] / "usr/share/backgrounds"
    shown.mkdir()
    for name in ("free.jpg", "share.png", "closed.jpg"):
        Image.new("RGB", (200, 150), "red").save(shown / name)
    found = gather(tmp_path, tmp_path / "out")
    assert sorted((source.path, source.licence) for source in found) == [
        ("free.jpg", "CC-BY-SA-4.0"),
        ("share.png", "CC-BY-SA-4.0"),
    ]
    assert found[0].holder == "2002, Another 2003, A Third"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sources.json", *(one.file for one in found)}


def test_motions_are_exact_both_ways_and_frame_the_figure() -> None:
    rng = np.random.default_rng(3)
    figures = [torch.from_numpy(rng.uniform(0.2, 0.8, (200, 2))).float() for _ in range(8)]
    motion = sample_motion([1.0] * 8, rng).framed(figures, rng)
    places = torch.stack(figures)
    seen = motion.inverse(places)
    torch.testing.assert_close(motion(seen), places, atol=1e-4, rtol=0)
    longer = (seen.amax(1) - seen.amin(1)).amax(1)
    assert float(longer.median()) == pytest.approx(CROP_FILL, abs=0.2)
    assert float((seen.amax(1) + seen.amin(1)).sub(1.0).abs().max()) < 0.25, "the figure is in the middle"


def test_looks_change_by_their_strength_and_stay_within_range() -> None:
    rng = np.random.default_rng(0)
    pictures = torch.rand(3, 3, 32, 32)
    same, other, _ = recolour(pictures, [0.0, 1.0, 0.5], rng)
    torch.testing.assert_close(same, pictures[0], atol=1e-5, rtol=0)
    assert float((other - pictures[1]).abs().mean()) > 0.05
    seen = photograph(pictures, rng)
    assert seen.shape == pictures.shape
    assert float(seen.min()) >= 0.0
    assert float(seen.max()) <= 1.0


def test_shades_are_light_without_colours(tmp_path: Path) -> None:
    shades = open_shades(tmp_path, 2, 64)
    again = open_shades(tmp_path, 2, 64)
    assert np.array_equal(shades, again)
    figure = render(sample_scene(Domain.TRAINING, 1), 64).part > 0
    assert shades.shape == (2, 64, 64)
    assert float(shades[1][figure].mean()) > 120


@pytest.fixture(scope="module")
def views() -> Views:
    """Of windows whose colours tell the place, and of scenes that show a disc."""
    y, x = np.mgrid[:160, :160]
    window = np.stack([x, y, np.full_like(x, 128)], axis=-1).astype(np.uint8)
    outline = (255 * (np.hypot(x - 80, y - 80) < 60)).astype(np.uint8)
    pool = Pool(np.stack([window] * 2), np.zeros((0, 160, 160, 4), np.uint8), outline[None])
    small = np.mgrid[:128, :128]
    disc = np.hypot(small[1] - 64, small[0] - 64) < 40
    parts = np.where(disc, PART_ID["body"], 0).astype(np.uint8)
    uv = np.stack([small[1] - 64, small[0] - 64], axis=-1).astype(np.int8)
    image = np.full((128, 128, 3), 200, np.uint8)
    scenes = SceneSet(image[None], parts[None], uv[None], ["a photo of a bird"])
    return Views(pool, scenes, np.full((1, 128, 128), 230, np.uint8))


def test_counterparts_lead_there_and_back(views: Views) -> None:
    pairs = views.pairs(np.random.default_rng(5), 6)
    again = views.pairs(np.random.default_rng(5), 6)
    assert torch.equal(pairs.pictures, again.pictures), "a generator's batch is always the same"
    assert pairs.pictures.shape == (12, 3, 128, 128)
    middles = token_places(TOKENS, torch.zeros(1)) / extent(TOKENS, torch.zeros(1))
    there, back = pairs.counterparts[:6], pairs.counterparts[6:]
    for number in range(6):
        counted = pairs.figure[number] & (there[number] > 0.05).all(1) & (there[number] < 0.95).all(1)
        column, row = (there[number][counted] * 16).long().unbind(-1)
        returned = back[number][row * 16 + column]
        assert int(counted.sum()) > 20
        assert float((returned - middles[counted]).norm(dim=1).median()) < 0.08, "to within a token"
        assert float(pairs.figure[6 + number][row * 16 + column].float().mean()) > 0.8, "figures lie on figures"


def test_dressed_figures_keep_their_places(views: Views) -> None:
    batch = views.dressed(np.random.default_rng(1), 4)
    assert batch.pictures.shape == (4, 3, 128, 128)
    assert {int(part) for part in batch.parts.unique()} == {0, PART_ID["body"]}
    inside = batch.parts > 0
    assert float(inside.float().mean(1).min()) > 0.1
    assert float(batch.uv[inside].norm(dim=-1).max()) < 0.45, "places of the disc"


def test_tokens_share_places_bilinearly() -> None:
    places = torch.rand(1, 50, 2) * 0.9 + 0.05
    shares = bilinear_shares(places)
    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 50))
    middles = token_places(TOKENS, places) / extent(TOKENS, places)
    torch.testing.assert_close(shares @ middles, places)


def test_figures_are_kept_before_backgrounds() -> None:
    figure = torch.zeros(2, EVERY, dtype=torch.bool)
    figure[:, 40:90] = True
    kept = kept_tokens(figure, 80, torch.Generator().manual_seed(0))
    assert kept.shape == (2, 80)
    assert bool(figure.gather(1, kept).sum(1).eq(50).all())
    assert bool((kept.diff(dim=1) > 0).all())


def test_the_loss_between_views_asks_for_true_counterparts() -> None:
    figure = torch.zeros(2, EVERY, dtype=torch.bool)
    figure[:, 64:192] = True
    middles = token_places(TOKENS, torch.zeros(1)) / extent(TOKENS, torch.zeros(1))
    mirror = torch.tensor([1.0, 0.0]) + middles * torch.tensor([-1.0, 1.0])
    batch = PairBatch(torch.zeros(2, 3, 128, 128), figure, torch.stack([mirror, mirror]))
    kept = torch.arange(EVERY).expand(2, -1)
    tokens = torch.nn.functional.normalize(torch.randn(EVERY, 64), dim=-1)
    flipped = tokens.unflatten(0, TOKENS).flip(1).flatten(0, 1)
    right, found = pair_loss(torch.stack([tokens, flipped]), batch, kept)
    wrong, missed = pair_loss(torch.stack([tokens, tokens]), batch, kept)
    assert found == {"pck_0.1": 1.0, "pck_0.05": 1.0}
    assert missed["pck_0.05"] < 0.2
    assert float(right) < 0.2 < float(wrong)


def test_pools_hold_windows_and_the_largest_piece_of_cut_outs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), np.uint8)).save(tmp_path / f"{number:03}.png")
    two = np.zeros((60, 150, 4), np.uint8)
    two[10:50, 10:90], two[20:30, 110:140] = 255, 255
    Image.fromarray(two).save(tmp_path / "002.png")
    pool = open_pool(tmp_path, 5, 0)
    assert pool.windows.shape == (5, 160, 160, 3)
    assert len(pool.cutouts) == 1
    covered = pool.cutouts[0, ..., 3] > 128
    assert covered.any(0).all(), "as wide as may be"
    assert covered.mean() == pytest.approx(0.5, abs=0.02)
    assert len(open_pool(tmp_path, 5, 0, held_out=True).cutouts) == 0
