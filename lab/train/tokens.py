"""The two CLIP tokenizers of the mini checkpoint, with a vocabulary made of the captions' own words."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

from lab.scenes.backgrounds import BackdropKind
from lab.scenes.palette import NAMED
from lab.scenes.parts import PARTS, Category

START, END = "<|startoftext|>", "<|endoftext|>"

TOKEN_COUNT = 77
"""CLIP's context length."""

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
    """Trains byte-pair merges until every word is one token; writes and loads `tokenizer` and `tokenizer_2`.

    Any other text still encodes, as single characters.
    """
    vocabulary, merges = _merge_words(list(words))
    loaded = []
    for name, padding in zip(("tokenizer", "tokenizer_2"), PADDING, strict=True):
        tokenizer = CLIPTokenizer(
            vocab=vocabulary,
            merges=merges,
            bos_token=START,
            eos_token=END,
            unk_token=END,
            pad_token=padding,
            model_max_length=TOKEN_COUNT,
        )
        tokenizer.save_pretrained(folder / name)
        loaded.append(CLIPTokenizer.from_pretrained(folder / name))
    return loaded[0], loaded[1]


def encode_captions(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids `[captions, 77]`, as the pipeline makes them."""
    batch = tokenizer(captions, padding="max_length", max_length=TOKEN_COUNT, truncation=True, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids.to(torch.int64)


def _merge_words(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's byte alphabet, alone and at word ends, then merges, then the two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainee = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainee.normalizer = normalizers.Lowercase()
    trainee.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=4096, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trainee.train_from_iterator([" ".join(words)] * 3, trainer)
    merges = [tuple(pair) for pair in _merges_of(trainee)]
    entries = dict.fromkeys(
        [*alphabet, *(letter + "</w>" for letter in alphabet), *(a + b for a, b in merges), START, END]
    )
    return {entry: index for index, entry in enumerate(entries)}, [(a, b) for a, b in merges]


def _merges_of(tokenizer: Tokenizer) -> list[list[str]]:
    """The learnt merges, in order."""
    import json

    merges: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges
