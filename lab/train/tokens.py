"""The two CLIP tokenizers of the mini checkpoint, with a vocabulary made of the captions' own words."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import CLIPTokenizer

from lab.scenes.backgrounds import BackdropKind
from lab.scenes.palette import NAMED
from lab.scenes.parts import PARTS, Category

START, END = "<|startoftext|>", "<|endoftext|>"

TOKEN_COUNT = 77
"""CLIP's context length."""

TOKENIZERS = ("tokenizer", "tokenizer_2")
PADDING = (END, "!")
"""What the first and the second tokenizer of SDXL pad with."""


def caption_words() -> list[str]:
    """Every word that a caption can hold, and common words of prompts."""
    words = {"a", "photo", "picture", "of", "with", "and", "on", "background", "the", "in", ",", "."}
    words |= {"shaded", "striped", "dotted", "checked", "marbled", "plain"}
    for phrase in (*Category, *NAMED, *BackdropKind, *(kind.group for kind in PARTS)):
        words |= set(phrase.split())
    return sorted(words)


def write_tokenizers(folder: Path, words: Iterable[str]) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Writes `tokenizer` and `tokenizer_2` where they are not there yet, and loads them: what a network has learnt to
    read stays what it was."""
    given = list(words)
    first, second = (
        write_tokenizer(folder / name, given, padding) for name, padding in zip(TOKENIZERS, PADDING, strict=True)
    )
    return first, second


def write_tokenizer(folder: Path, words: Iterable[str], padding: str = END) -> CLIPTokenizer:
    """Learns byte-pair merges until every word is one token; any other text still encodes, as single characters."""
    if (folder / "tokenizer.json").exists():
        return CLIPTokenizer.from_pretrained(folder)
    vocabulary, merges = _merge_words(list(words))
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=padding,
        model_max_length=TOKEN_COUNT,
    )
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def encode_captions(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids `[captions, 77]`, as the pipeline makes them."""
    batch = tokenizer(captions, padding="max_length", max_length=TOKEN_COUNT, truncation=True, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids.to(torch.int64)


def _merge_words(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's byte alphabet, alone and at word ends, then merges, then the two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges(words)
    entries = dict.fromkeys(
        [*alphabet, *(letter + "</w>" for letter in alphabet), *(a + b for a, b in merges), START, END]
    )
    return {entry: index for index, entry in enumerate(entries)}, merges


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges (Sennrich et al. 2016, arXiv 1508.07909) until every word is one token, in an order that the
    words alone decide. The trainer of `tokenizers` breaks ties between equally frequent pairs differently each time,
    and a token then means another word to networks that were trained before."""
    split = [[*word[:-1], word[-1] + "</w>"] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while any(len(pieces) > 1 for pieces in split):
        counts = Counter(pair for pieces in split for pair in pairwise(pieces))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        split = [_merged(pieces, best) for pieces in split]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """With every occurrence of the pair made one piece, from the left."""
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] += piece
        else:
            found.append(piece)
    return found
