"""Trains minnow's byte-level BPE on the first conversations of the recipe; knows the special tokens.

A capitalised word never takes the space before it, and every digit stands alone: a name or a number is then made of
the same tokens wherever it occurs, in a sentence and between JSON quotes, which makes copying it easy to learn.
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.mixture import draw_sample
from training.sample import BEGIN, CALL_CLOSE, CALL_OPEN, END, PAD, ROLE_MARKERS, render
from training.world import Split

VOCABULARY_SIZE = 4096
TRAINING_CONVERSATIONS = 60_000
SPECIAL = (PAD, BEGIN, END, *ROLE_MARKERS.values())
PATTERN = r" ?\p{Ll}+|\p{Lu}+(?!\p{Ll})|\p{Lu}\p{Ll}*|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s|."
MARKERS = re.compile("|".join(re.escape(marker) for marker in (*SPECIAL, CALL_OPEN, CALL_CLOSE)))
TEMPLATE_FILE = Path(__file__).parent / "chat_template.jinja"


def _texts(seed: int, count: int) -> Iterator[str]:
    for index in range(count):
        for text, _ in render(draw_sample(seed, Split.TRAIN, index)):
            yield MARKERS.sub("", text)


def train_tokenizer(seed: int, conversations: int = TRAINING_CONVERSATIONS) -> Tokenizer:
    """The tokenizer learnt from so many conversations; deterministic."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    size = VOCABULARY_SIZE - len((CALL_OPEN, CALL_CLOSE))
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, conversations), trainer)
    tokenizer.add_tokens([AddedToken(CALL_OPEN, normalized=False), AddedToken(CALL_CLOSE, normalized=False)])
    return tokenizer


def tokenizer_config() -> dict[str, object]:
    """What `transformers` wants to know about the tokenizer."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "extra_special_tokens": list(ROLE_MARKERS.values()),
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """`tokenizer.json`, its config and the chat template, as `transformers` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(), indent=2) + "\n")
    shutil.copyfile(TEMPLATE_FILE, folder / "chat_template.jinja")


def main() -> None:
    """Train the tokenizer and write its files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write_tokenizer(train_tokenizer(arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
