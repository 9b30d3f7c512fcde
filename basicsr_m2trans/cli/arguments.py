"""Arguments that several verbs have."""

import argparse
from pathlib import Path


def add_number(
    parser: argparse._ActionsContainer,
    option: str,
    default: int | float,
    text: str,
    metavar: str = "N",
) -> None:
    """Declare an option that takes a number of the default's type; its help names the default."""
    parser.add_argument(
        option,
        type=type(default),
        default=default,
        metavar=metavar,
        help=f"{text} (default: {default:g})",
    )


def add_architecture(group: argparse._ActionsContainer, scale: bool = True) -> None:
    """Declare --arch, --opt and perhaps --scale: what a network is whose file does not say it."""
    if scale:
        group.add_argument("--scale", type=int, metavar="S", help="how many times it upscales")
    group.add_argument("--arch", metavar="NAME", help="e.g. M2Trans; with its default settings")
    group.add_argument(
        "--opt", type=Path, metavar="FILE", help="its option file, with the section network_g"
    )
