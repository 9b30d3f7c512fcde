from numpy.random import default_rng

from basicsr_m2trans.apps.prior.degradations import FLAWS
from basicsr_m2trans.apps.prior.flaw_captions import (
    FLAW_WORDS,
    GRADES,
    REFERENCE_CAPTION,
    known_words,
    make_flaw_caption,
    plain_caption,
)
from basicsr_m2trans.data.captions import make_caption
from basicsr_m2trans.encoders.quality_clip import split_words


def test_captions_name_the_flaw_and_its_grade():
    rng = default_rng(0)
    for flaw in FLAWS:
        for severity, grade in ((0.05, 0), (1 / 3, 0), (0.34, 1), (2 / 3, 1), (0.67, 2), (1.0, 2)):
            words = set(split_words(make_flaw_caption(flaw, severity, rng)))
            assert words & set(FLAW_WORDS[flaw])
            graded = [index for index, adverbs in enumerate(GRADES) if words & set(adverbs)]
            assert graded in ([grade], [] if grade == 1 else [grade])


def test_no_word_names_two_flaws():
    words = [word for words in FLAW_WORDS.values() for word in words]
    assert len(set(words)) == len(words)
    assert list(FLAW_WORDS) == list(FLAWS)


def test_every_word_of_every_caption_is_known():
    rng = default_rng(0)
    captions = [REFERENCE_CAPTION, *(plain_caption(flaw) for flaw in FLAWS)]
    captions += [make_caption(str(number)) for number in range(100)]
    captions += [make_flaw_caption(flaw, rng.random(), rng) for flaw in FLAWS for _ in range(30)]
    assert {word for caption in captions for word in split_words(caption)} <= set(known_words())
    assert plain_caption("resolution") == "a low-resolution ultrasound image"
