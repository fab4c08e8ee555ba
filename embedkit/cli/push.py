"""The command `push`: a released model to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    model: Annotated[
        Path,
        typer.Argument(
            help="The folder of a released model, e.g. runs/quickstart/release.", show_default=False, metavar="MODEL"
        ),
    ],
    name: Annotated[str, typer.Argument(help="Where to on the hub.", show_default=False, metavar="ORG/NAME")],
    private: Annotated[bool, typer.Option("--private", help="Make it a private repository.")] = False,
) -> None:
    """Push a released model, with its card, to the Hugging Face hub."""
    from embedkit.report.push import push as push_model

    print(f"pushed to {push_model(name, model, private=private)}")
