"""Small tokenizers of the kinds real models use, as model folders."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tidemill.text import tokenizer as ours

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "grüße aus köln, добрый день, 你好世界, こんにちは 🎉🚀",
    "def main() -> None:\n    print('hello')\n",
    "numbers 1234567890 and    spaces",
] * 4

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3, Qwen and SmolLM have it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")])
    return backend


def byte_fallback() -> Tokenizer:
    """As Llama 2 and the first Mistral have it: sentencepiece's metaspace, bytes for what is not in the vocabulary."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", *"abcdefghijklmnopqrstuvwxyzäöü.,0123456789", "▁t", "he", "▁the", "qu", "▁▁"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("q", "u"), ("▁", "▁")]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<unk>", "<s>", "</s>")])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def metaspace() -> Tokenizer:
    """The Metaspace pre-tokenizer and decoder, without byte fallback."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], show_progress=False)
    )
    return backend


def word_piece() -> Tokenizer:
    """A decoder without a rule by token: the windowed path."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    )
    return backend


BUILDERS = {"byte_level": byte_level, "byte_fallback": byte_fallback, "metaspace": metaspace, "word_piece": word_piece}
CONFIGS = {
    "byte_level": {"eos_token": "<|im_end|>", "chat_template": CHATML},
    "byte_fallback": {
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
        "unk_token": "<unk>",
    },
    "metaspace": {"eos_token": "</s>"},
    "word_piece": {},
}


def write_folder(folder: Path, kind: str, **files: object) -> Path:
    """A model folder (without weights); `files` are more JSON files by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    BUILDERS[kind]().save(str(folder / "tokenizer.json"))
    for stem, content in ({"tokenizer_config": CONFIGS[kind]} | files).items():
        (folder / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder a kind."""
    root = tmp_path_factory.mktemp("models")
    return {kind: write_folder(root / kind, kind) for kind in BUILDERS}


@pytest.fixture(scope="session")
def tokenizers_by_kind(folders: dict[str, Path]) -> dict[str, ours.Tokenizer]:
    """One of our tokenizers a kind."""
    return {kind: ours.Tokenizer.load(folder) for kind, folder in folders.items()}
