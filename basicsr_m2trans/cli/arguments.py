"""Arguments that several verbs have."""

import argparse


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
