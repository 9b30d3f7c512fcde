"""Refinement of raw descriptions by a language model (Sec. IV, Eq. 18)."""

import torch

from basicsr_m2trans.apps.annotation.loading import load_pretrained
from basicsr_m2trans.apps.annotation.stages import LanguageControls

# Languages differ in how many tokens a word takes; a longer answer is cut by `tidy` anyway.
TOKENS_PER_WORD = 6


def instructions(controls: LanguageControls) -> str:
    """What a language model is told before it gets a raw description."""
    sentences = [
        "You are given a caption that an image captioning model wrote about a part of a medical "
        "ultrasound image.",
        "Rewrite it as a description of the ultrasound image that says what is visible and how "
        "good the image is.",
        f"Write in {controls.language}, in plain sentences, with {controls.length} words at most.",
        "You may add impressions and comparisons that make it vivid."
        if controls.imagination
        else "Add no impressions and no comparisons.",
        "Name no organ, finding, measurement or diagnosis that the caption does not name."
        if controls.factuality
        else "You may name the organ and the structures that are probably shown.",
        "Answer with the description alone.",
    ]
    return " ".join(sentences)


def tidy(answer: str, length: int) -> str:
    """An answer on one line, without quotation marks around it, and with `length` words at most.

    A longer one ends with the last full sentence that fits, or after `length` words if none does.
    """
    words = answer.strip().strip("\"'\u201c\u201d").split()
    if len(words) > length:
        words = words[:length]
        ends = [index for index, word in enumerate(words) if word.endswith((".", "!", "?"))]
        words = words[: ends[-1] + 1] if ends else words
    return " ".join(words)


class LocalRefiner:
    """A causal language model on this machine (Eq. 18); it always takes the likeliest token.

    Models tuned for conversations get their own chat template, others plain text.

    Args:
        name: folder or hub name of a model for transformers' `AutoModelForCausalLM`.
        device: where it runs.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model, self.tokenizer = load_pretrained(
            "language model", name, AutoModelForCausalLM, AutoTokenizer
        )
        self.model = model.to(device)

    @torch.inference_mode()
    def __call__(self, description: str, controls: LanguageControls) -> str:
        """The refined description; see `stages.Refiner`."""
        # A chat template holds its special tokens; other models need their first one in front.
        plain = self.tokenizer.chat_template is None
        tokens = self.tokenizer(
            self._prompt(description, controls), add_special_tokens=plain, return_tensors="pt"
        )
        output = self.model.generate(
            input_ids=tokens["input_ids"].to(self.model.device),
            attention_mask=tokens["attention_mask"].to(self.model.device),
            do_sample=False,
            max_new_tokens=TOKENS_PER_WORD * controls.length,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        answer = output[0, tokens["input_ids"].shape[1] :]
        return tidy(self.tokenizer.decode(answer, skip_special_tokens=True), controls.length)

    def _prompt(self, description: str, controls: LanguageControls) -> str:
        if self.tokenizer.chat_template is None:
            return f"{instructions(controls)}\nCaption: {description}\nDescription:"
        # In one message, because not every template knows a system role.
        message = {"role": "user", "content": f"{instructions(controls)}\nCaption: {description}"}
        return self.tokenizer.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True
        )
