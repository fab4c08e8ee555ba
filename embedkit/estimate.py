"""What a plan will take on this machine: rows, tokens, steps, peak memory and time per stage. Looks at inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedkit.core.estimate import Estimate, Size
from embedkit.core.store import Store
from embedkit.machine import speed
from embedkit.plan import Step

EFFICIENCY = 0.75  # share of the matrix-product speed that an encoder's passes reach (MiniLM on two cores: 0.6 to 0.9)


@dataclass(frozen=True)
class Forecast:
    """One step's forecast. `done` steps show what making them took, where that is known."""

    step: Step
    done: bool
    estimate: Estimate
    seconds: float
    memory: int  # bytes, peak


def forecast(steps: Sequence[Step], store: Store) -> list[Forecast]:
    """A forecast for every step. Sizes flow from stage to stage, so nothing needs to be made first."""
    sizes: dict[str, Size] = {}
    result = []
    base = 450 * 2**20  # bytes of a process with torch and transformers loaded
    for step in steps:
        estimate = step.stage.estimate(_sizes(step, sizes))
        sizes[step.key] = estimate.size
        made = store.manifest(step.key).made if store.find(step.key) else None
        if made is not None:
            seconds, memory = float(made.get("seconds", 0)), int(made.get("peak_memory", 0))
        else:
            seconds = estimate.overhead + (estimate.flops / (speed() * EFFICIENCY) if estimate.flops else 0.0)
            memory = base + estimate.memory
        result.append(Forecast(step, made is not None, estimate, seconds, memory))
    return result


def _sizes(step: Step, sizes: Mapping[str, Size]) -> dict[str, Size]:
    return {name: sizes[key] for name, key in step.inputs.items() if key in sizes}
