"""Prompts of a wanted number of tokens for a server whose tokenizer is not known: the words they are made of."""

import random
from dataclasses import dataclass

_WORDS = """
able about above across act add after again age air all along also animal answer apple area arm ask autumn away
back bank base bear begin below best bird black blue board boat body book bread bridge bright brother build busy
call care carry centre change child city clean clear close cloud cold colour come common cook corner country cover
cross dark day deep door draw dream drive early earth east easy eight evening every eye face fact family far farm
fast father field fill find fire first fish floor flower follow food foot forest form friend front full garden
gate give glass gold good grass great green ground grow half hand happy hard head hear heart heavy help high hill
history hold home horse hour house hundred idea island join jump keep kind king lake land language large last late
laugh lead learn leave left letter light line list listen
"""
VOCABULARY = tuple(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a server's tokenizer makes of the words: a prompt of n words has `overhead + n * tokens_per_word` tokens.

    `overhead_tokens` is what the chat template and special tokens add. The figure is exact for whole rounds of the
    vocabulary, and a mean otherwise.
    """

    tokens_per_word: float
    overhead_tokens: float

    def num_words(self, num_tokens: int) -> int:
        """How many words make a prompt of about `num_tokens`; at least one."""
        return max(1, round((num_tokens - self.overhead_tokens) / self.tokens_per_word))


def draw_words(rng: random.Random, num_words: int) -> list[str]:
    """Words in a random order, each as often as any other but for the last round, so that token counts vary little."""
    words: list[str] = []
    while len(words) < num_words:
        words += rng.sample(VOCABULARY, min(len(VOCABULARY), num_words - len(words)))
    return words
