import pytest
import torch

from basicsr_m2trans.apps.annotation.refinement import LocalRefiner, instructions, tidy
from basicsr_m2trans.apps.annotation.stages import LanguageControls

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ({"length": 12}, "12 words at most"),
        ({"language": "Spanish"}, "Write in Spanish"),
        ({"imagination": True}, "You may add impressions"),
        ({"imagination": False}, "Add no impressions"),
        ({"factuality": True}, "Name no organ"),
        ({"factuality": False}, "You may name the organ"),
    ],
)
def test_each_control_reaches_the_model(controls, expected):
    assert expected in instructions(LanguageControls(**controls))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('  "A clear\n image." ', "A clear image."),
        ("\u201cA clear image\u201d", "A clear image"),
        ("one two three four five", "one two three four five"),
        ("one two. three four five six", "one two."),
        ("one. two. three four five six", "one. two."),
        ("one two three four five six", "one two three four five"),
        (' \n "" ', ""),
    ],
)
def test_answers_are_tidied(answer, expected):
    assert tidy(answer, length=5) == expected


def test_a_local_model_answers_within_the_length(llm_folder):
    refine = LocalRefiner(str(llm_folder), CPU)
    answer = refine("a grey picture", LanguageControls(length=7))
    assert 0 < len(answer.split()) <= 7
    assert "Caption" not in answer  # the prompt is not part of the answer
    assert refine("a grey picture", LanguageControls(length=7)) == answer


def test_a_chat_template_is_used_where_there_is_one(llm_folder):
    refine = LocalRefiner(str(llm_folder), CPU)
    plain = refine._prompt("a grey picture", LanguageControls())
    assert plain.endswith("\nCaption: a grey picture\nDescription:")
    refine.tokenizer.chat_template = (
        "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    prompt = refine._prompt("a grey picture", LanguageControls())
    assert prompt == f"<user>{instructions(LanguageControls())}\nCaption: a grey picture<assistant>"
    assert refine("a grey picture", LanguageControls(length=3))


def test_special_tokens_come_from_the_chat_template_or_else_from_the_tokeniser(
    llm_folder, monkeypatch
):
    refine, seen = LocalRefiner(str(llm_folder), CPU), []
    generate = refine.model.generate
    monkeypatch.setattr(
        refine.model,
        "generate",
        lambda **given: seen.append(given["input_ids"]) or generate(**given),
    )
    refine("a grey picture", LanguageControls(length=1))
    refine.tokenizer.chat_template = (
        "{% for message in messages %}{{ message.content }}{% endfor %}"
    )
    refine("a grey picture", LanguageControls(length=1))
    first = refine.tokenizer.cls_token_id
    assert [int(tokens[0, 0] == first) for tokens in seen] == [1, 0]
