"""The machine a result belongs to, and a random Llama-shaped checkpoint to measure on."""

import json
import os
import platform
import sysconfig
import time
from pathlib import Path
from typing import Any

SHAPES = {
    "115M": {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
    },
    "1B": {
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
    },
}


def describe() -> dict[str, Any]:
    """Processor, cores, memory and the versions that decide the speed."""
    import numba
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": cpu or platform.processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def busy_cores(seconds: float) -> float:
    """Cores that others keep busy: what a measurement should see close to 0 before it begins."""

    def spent() -> tuple[int, int]:
        numbers = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    whole, idle = spent()
    time.sleep(seconds)
    whole_after, idle_after = spent()
    share = 1 - (idle_after - idle) / max(1, whole_after - whole)
    return round(share * len(os.sched_getaffinity(0)), 2)


def write(result: dict[str, Any], out: Path | None) -> None:
    """Print the result, and keep it if asked to."""
    print(json.dumps(result, indent=2))
    if out:
        keep(result, out)


def keep(result: dict[str, Any], out: Path) -> None:
    """The result as a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")


def make_checkpoint(folder: Path, shape: str) -> Path:
    """A bf16 checkpoint with random weights and a byte-level BPE trained on Python's own library; made once."""
    target = folder / f"tidemill-{shape}"
    if (target / "model.safetensors").exists():
        return target
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    sources = [str(p) for p in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:150]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|bos|>", "<|eos|>"]
    bpe.train(sources, trainers.BpeTrainer(vocab_size=16000, special_tokens=specials, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|bos|>", eos_token="<|eos|>")
    tokenizer.save_pretrained(target)
    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPES[shape], head_dim=64, vocab_size=16000, max_position_embeddings=8192, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, rope_theta=500000.0,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
    return target
