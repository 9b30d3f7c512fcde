"""Captions of flawed images: plain opposites of the paper's quality words, graded by severity."""

import math

from numpy.random import Generator

from basicsr_m2trans.data.captions import ATTRIBUTES, TEMPLATES
from basicsr_m2trans.encoders.quality_clip import split_words

REFERENCE_CAPTION = "a clean, clear, sharp ultrasound image"

# The words of each of `degradations.FLAWS`.
FLAW_WORDS = {
    "blur": ("blurred", "blurry"),
    "resolution": ("low-resolution", "coarse", "pixelated"),
    "noise": ("noisy", "grainy"),
    "speckle": ("speckled", "mottled"),
    "compression": ("compressed", "blocky"),
    "high gain": ("bright", "glaring"),
    "low gain": ("dark", "dim"),
    "flat curve": ("flat", "washed-out"),
    "steep curve": ("harsh", "hard"),
    "banding": ("banded", "striped"),
}
# Opposites that fit any flaw; they only follow one of its own words.
GENERAL_WORDS = ("poor", "bad", "unclear", "dirty", "dull", "ugly")
# For severities up to 1/3, 2/3 and 1. A plain word says the middle grade.
GRADES = (
    ("slightly", "mildly", "faintly"),
    ("", "fairly", "moderately"),
    ("very", "heavily", "severely"),
)


def make_flaw_caption(flaw: str, severity: float, rng: Generator) -> str:
    """One of the paper's templates (Sec. IV) with a graded word of the flaw, severity in (0, 1].

    Half have a general word too: `a picture of a very noisy, poor ultrasound image`.
    """
    grade = rng.choice(GRADES[math.ceil(severity * len(GRADES)) - 1])
    attributes = [f"{grade} {rng.choice(FLAW_WORDS[flaw])}".strip()]
    if rng.random() < 0.5:
        attributes.append(str(rng.choice(GENERAL_WORDS)))
    return str(rng.choice(TEMPLATES)).format(attr=", ".join(attributes))


def plain_caption(flaw: str) -> str:
    """The caption of the middle grade that the evaluation uses: `a noisy ultrasound image`."""
    return f"a {FLAW_WORDS[flaw][0]} ultrasound image"


def known_words() -> list[str]:
    """All words of the captions of good and flawed images, sorted."""
    flaw_words = [word for words in FLAW_WORDS.values() for word in words]
    grades = [word for words in GRADES for word in words]
    template_words = [
        word for template in TEMPLATES for word in split_words(template.format(attr=""))
    ]
    return sorted({*template_words, *ATTRIBUTES, *flaw_words, *GENERAL_WORDS, *grades} - {""})
