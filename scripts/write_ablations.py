"""Writes options/ablations/: copies of options/train_M2Trans_x{2,3,4}.yml with a few keys changed.

    python scripts/write_ablations.py

Comments and order of the main files stay. Those files hold the paper's own choice, beta = 0.01 of
Table V and K = 3 of Table VI, which therefore has no ablation of its own.
"""

from pathlib import Path
from typing import Any

OPTIONS = Path(__file__).resolve().parents[1] / "options"
ALL_SCALES = (2, 3, 4)
# Name: (what the first line says, scales, changed keys as in --force_yml; None removes a key).
ABLATIONS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "without_wavelets": (
        "without wavelets and with 256 features (Table III, Version 1)",
        ALL_SCALES,
        {"network_g:num_feat": 256, "network_g:wavelet": "none"},
    ),
    "wavelet_db2": (
        "with Daubechies' wavelet db2 in place of Haar's",
        (2,),
        {"network_g:wavelet": "db2"},
    ),
    "without_semantic_loss": (
        "trained on L1 alone (Table III, Version 2)",
        ALL_SCALES,
        {"train:semantic_opt": None},
    ),
    "random_encoder": (
        "with an encoder of random weights (docs/semantic-loss.md)",
        ALL_SCALES,
        {
            "train:semantic_opt:encoder:type": "SeededCLIPEncoder",
            "train:semantic_opt:encoder:checkpoint": None,
        },
    ),
    "quality_prior": (
        "with the embedded prior as encoder (docs/semantic-loss.md)",
        ALL_SCALES,
        {
            "train:semantic_opt:encoder:type": "QualityCLIPEncoder",
            "train:semantic_opt:encoder:checkpoint": None,
        },
    ),
    **{
        f"beta_{beta}": (
            f"with beta = {beta} (Table V)",
            ALL_SCALES,
            {"train:semantic_opt:loss_weight": beta},
        )
        for beta in (0.001, 0.005, 0.1, 1.0)
    },
    **{
        f"patches_{number}": (
            f"with K = {number} patches (Table VI)",
            (2,),
            {"train:semantic_opt:num_patches": number},
        )
        for number in (1, 2, 4)
    },
}


def files() -> dict[Path, str]:
    """Every ablation's file and its content."""
    return {
        OPTIONS / f"ablations/train_M2Trans_{name}_x{scale}.yml": content(name, scale)
        for name, (_, scales, _) in ABLATIONS.items()
        for scale in scales
    }


def content(name: str, scale: int) -> str:
    """One ablation's option file."""
    description, _, changes = ABLATIONS[name]
    main = f"train_M2Trans_x{scale}"
    text = (OPTIONS / f"{main}.yml").read_text(encoding="utf-8")
    body = text[text.index("\nname: ") :].splitlines()
    for key, value in {"name": f"train_M2Trans_{name}_x{scale}", **changes}.items():
        change(body, key.split(":"), value)
    header = [
        f"# M2Trans x{scale} {description}.",
        f"# All else as in options/{main}.yml; written by scripts/write_ablations.py.",
        "# docs/options.md explains every key.",
        "#",
        f"#   python basicsr/train.py -opt options/ablations/train_M2Trans_{name}_x{scale}.yml",
    ]
    return "\n".join(header + body) + "\n"


def change(lines: list[str], keys: list[str], value: Any) -> None:
    """Set the value of one key of a YAML file's lines, or remove the key with all below it."""
    line = 0
    for depth, key in enumerate(keys):
        start = f"{'  ' * depth}{key}:"
        line = next(i for i in range(line, len(lines)) if lines[i].startswith(start))
    if value is not None:
        lines[line] = f"{start} {value}"
        return
    end = line + 1
    while lines[end].startswith("  " * len(keys)):
        end += 1
    del lines[line - 1 if not lines[line - 1] else line : end]


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
