"""Loading pretrained models through transformers, with errors that say which stage lacks what."""

from typing import Any

import torch

from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import first_few


def choose_device(name: str) -> torch.device:
    """The device called `name`; 'auto' is the GPU where there is one.

    Raises:
        InputError: this machine has no such device.
    """
    try:
        gpu = torch.cuda.is_available()
        device = torch.device(name if name != "auto" else "cuda" if gpu else "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        raise InputError(
            f"device {name}: cannot be used here ({_first_line(error)}); give cpu or auto"
        ) from error
    return device


def load_pretrained(
    stage: str, name: str, model_class: Any, processor_class: Any
) -> tuple[Any, Any]:
    """A model in eval mode and its processor, from a folder or from the Hugging Face hub.

    Args:
        stage: what the model is for, as error messages call it.
        name: folder written by `save_pretrained`, or the model's name on the hub.
        model_class, processor_class: of transformers.

    Raises:
        InputError: the files are absent and the hub cannot be reached, they are damaged, they are
            of another model, or weights are missing from them.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
        # Auto classes have none.
        config_class = getattr(model_class, "config_class", None) or type(config)
        if not isinstance(config, config_class):
            raise InputError(
                f"the {stage} {name}: is a model of type {config.model_type}, not "
                f"{config_class.model_type}"
            )
        processor = processor_class.from_pretrained(name)
        model, report = model_class.from_pretrained(name, output_loading_info=True)
    except InputError:
        raise
    except Exception as error:  # each format of files has errors of its own
        raise InputError(
            f"the {stage} {name}: cannot be loaded ({_first_line(error)})\n"
            f"Give a folder with all its files, as `save_pretrained` or `hf download {name} "
            "--local-dir FOLDER` on a machine with internet leaves it,\nor the name of a model on "
            "huggingface.co that can be reached from here."
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would go on with random numbers in their place.
        raise InputError(
            f"the {stage} {name}: its file lacks the weights {first_few(missing)}; download it "
            f"again, or choose a model made for {model_class.__name__}"
        )
    return model.eval(), processor


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
