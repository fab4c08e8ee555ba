"""The command `push`: a released model to the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.core.errors import RecipeError

if TYPE_CHECKING:
    from embedkit.recipe import Recipe


def push(
    model: Annotated[
        Path,
        typer.Argument(
            help="The folder of a released model, e.g. runs/quickstart/model.", show_default=False, metavar="MODEL"
        ),
    ],
    name: Annotated[str, typer.Argument(help="Where to on the hub.", show_default=False, metavar="ORG/NAME")],
    private: Annotated[bool, typer.Option("--private", help="Make it a private repository.")] = False,
) -> None:
    """Push a released model, with its card, to the Hugging Face hub."""
    from embedkit.report.push import push as push_model

    print(f"pushed to {push_model(name, model, private=private)}")


def stage_to_push(recipe: "Recipe", name: str, *, until: str | None = None) -> str:
    """The recipe's one stage that makes a released model. Raises an `EmbedkitError` where there is none, there are
    several, the run ends with another (`until`), or nothing can be pushed."""
    from embedkit.retrieval.hub import check_online

    stages = [stage for stage, spec in recipe.stages.items() if spec.kind == "package"]
    if len(stages) != 1:
        found = f"has {', '.join(stages)}" if stages else "has none"
        raise RecipeError(
            f"--push-to-hub: the recipe should have one `package` stage, and {found}; "
            + ("push one of them with `embedkit push`" if stages else "add one, which writes the model's card")
        )
    if until is not None and until != stages[0]:
        raise RecipeError(f"--push-to-hub: pushes what {stages[0]!r} makes, but --until is {until}; leave that out")
    check_online(name)
    return stages[0]
