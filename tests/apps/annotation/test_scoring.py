import pytest
import torch
from torch.nn.functional import cosine_similarity

from basicsr_m2trans.apps.annotation.scoring import EncoderScorer
from basicsr_m2trans.encoders import build_encoder


def test_scores_are_cosines_of_the_whole_image_and_each_caption(image):
    encoder = build_encoder("SeededCLIPEncoder")
    captions = ["a sharp image", "a blurred image", "a sharp image"]
    scores = EncoderScorer(encoder, torch.device("cpu"))(image, captions)
    pixels = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0) / 255
    expected = cosine_similarity(encoder.encode_image(pixels), encoder.encode_text(captions))
    assert scores == pytest.approx(expected.tolist(), abs=1e-6)
    assert scores[0] == scores[2] != scores[1]
