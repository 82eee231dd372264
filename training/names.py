"""Made-up names of people and places, and the fixed line between those seen in training and those held out.

A name belongs to one side for ever: the side is a checksum of the name, so no list has to be kept.
"""

import zlib
from random import Random

from training.vocabulary import CITIES, FIRST_NAMES, FOODS, GOODS, HOBBIES, OUTSIDE, REVIEWED, SPOTS, THINGS

ONSETS = (
    "B",
    "Br",
    "C",
    "D",
    "Dr",
    "F",
    "G",
    "H",
    "J",
    "K",
    "L",
    "M",
    "N",
    "P",
    "R",
    "S",
    "St",
    "T",
    "Tr",
    "V",
    "W",
    "Z",
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ia")
MIDDLES = ("b", "d", "dr", "l", "ll", "ld", "m", "n", "nd", "nn", "r", "rr", "rv", "s", "st", "t", "th", "v", "k", "z")
PERSON_ENDS = (
    "a",
    "an",
    "en",
    "ia",
    "in",
    "is",
    "o",
    "on",
    "or",
    "us",
    "e",
    "el",
    "ina",
    "ara",
    "eth",
    "ick",
    "y",
    "una",
)
SURNAME_ENDS = ("er", "son", "man", "ley", "well", "ard", "ow", "ings", "ett", "ins", "wood", "more")
PLACE_ENDS = (
    "ford",
    "ham",
    "ton",
    "by",
    "bury",
    "mouth",
    "haven",
    "field",
    "wick",
    "stead",
    "bridge",
    "port",
    "dale",
    "vale",
    "burg",
    "mere",
    "land",
    "cliff",
)
WILD_CONSONANTS = (
    *"bcdfghjklmnpqrstvwxyz",
    "th",
    "sh",
    "ch",
    "ck",
    "ph",
    "qu",
    "gh",
    "rt",
    "lk",
    "mp",
    "nt",
    "sk",
    "sp",
    "pp",
    "cc",
    "ff",
    "gg",
    "rm",
    "rk",
    "ns",
)
WILD_VOWELS = (*"aeiouy", "ee", "oo", "ou", "ie", "au", "uo", "oa", "ue", "ei", "eo")
SCRAPS = tuple(
    word for listed in (FOODS, GOODS, HOBBIES, OUTSIDE, REVIEWED, SPOTS, THINGS) for word in " ".join(listed).split()
)
HELD_OUT_EVERY = 8
COMMON_SHARE = 0.25
NAME_SCRAP_SHARE = 0.5


def is_held_out(name: str) -> bool:
    """Whether `name` is kept away from training; one name in `HELD_OUT_EVERY` is."""
    return zlib.crc32(name.encode()) % HELD_OUT_EVERY == 0


def _stem(rng: Random) -> str:
    return rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(MIDDLES)


def _invent(rng: Random, ends: tuple[str, ...], common: tuple[str, ...], held_out: bool) -> str:
    while True:
        name = rng.choice(common) if common and rng.random() < COMMON_SHARE else _stem(rng) + rng.choice(ends)
        if is_held_out(name) == held_out:
            return name


def wild_name(rng: Random, held_out: bool) -> str:
    """A name of any letters, from the wanted side of the line: copying must not lean on names that look familiar."""
    while True:
        parts = [rng.choice(WILD_CONSONANTS) + rng.choice(WILD_VOWELS) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.5:
            parts.append(rng.choice(WILD_CONSONANTS))
        if rng.random() < 0.25:
            parts.insert(0, rng.choice(WILD_VOWELS))
        name = "".join(parts).capitalize()
        if is_held_out(name) == held_out:
            return name


def patched_name(rng: Random, held_out: bool) -> str:
    """A name of scraps of plain words and of other names ("Canthoff", "Bobren"), from the wanted side of the line.

    Real names have such letters, and every token of a name must have been written before to be written right.
    """
    while True:
        parts: list[str] = []
        for _ in range(rng.randint(2, 3)):
            length = rng.randint(1, 4)
            if rng.random() < NAME_SCRAP_SHARE:
                word = rng.choice(FIRST_NAMES + CITIES).lower()
                parts.append(word[:length] if rng.random() < 0.5 else word[-length:])
            else:
                word = rng.choice(SCRAPS).lower()
                start = rng.randint(0, max(0, len(word) - 2))
                parts.append(word[start : start + length])
        name = "".join(letter for letter in "".join(parts) if letter.isalpha()).capitalize()
        if len(name) > 2 and is_held_out(name) == held_out:
            return name


def person_name(rng: Random, held_out: bool) -> str:
    """A first name from the wanted side of the line."""
    return _invent(rng, PERSON_ENDS, FIRST_NAMES, held_out)


def surname(rng: Random, held_out: bool) -> str:
    """A family name from the wanted side of the line."""
    return _invent(rng, SURNAME_ENDS, (), held_out)


def place_name(rng: Random, held_out: bool) -> str:
    """A town's name from the wanted side of the line."""
    return _invent(rng, PLACE_ENDS, CITIES, held_out)
