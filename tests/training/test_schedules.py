import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import get_scheduler

from embedkit.core.errors import StageError
from embedkit.core.spec import Spec
from embedkit.training.schedules import WSD, AnySchedule, Constant, Cosine, Linear
from embedkit.training.stage import Train

STEPS = 40
ANY = TypeAdapter(AnySchedule)


def fractions(schedule, warmup, steps=STEPS):
    """What part of the learning rate each step is made with, by transformers."""
    chosen = schedule.chosen(steps, warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    found = get_scheduler(
        chosen.name,
        optimizer=optimizer,
        num_warmup_steps=chosen.warmup_steps,
        num_training_steps=steps,
        scheduler_specific_kwargs=chosen.arguments,
    )
    rates = []
    for _ in range(steps):
        rates.append(found.get_last_lr()[0])
        optimizer.step()
        found.step()
    return rates


def linear(t, warmup, **_):
    return t / warmup if t < warmup else (STEPS - t) / (STEPS - warmup)


def cosine(t, warmup, m=0.0):
    if t < warmup:
        return t / warmup
    return m + (1 - m) * 0.5 * (1 + math.cos(math.pi * (t - warmup) / (STEPS - warmup)))


def wsd(t, warmup, share=0.0, shape="1-sqrt", m=0.0):
    decay = math.ceil(share * STEPS)
    if t < warmup:
        return m + (1 - m) * t / warmup
    if t < STEPS - decay:
        return 1.0
    x = (t - (STEPS - decay)) / decay
    return m + (1 - m) * {"linear": 1 - x, "1-sqrt": 1 - x**0.5, "cosine": 0.5 * (1 + math.cos(math.pi * x))}[shape]


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (Linear(), linear),
        (Cosine(), cosine),
        (Cosine(minimum=0.1), lambda t, w: cosine(t, w, m=0.1)),
        (Constant(), lambda t, w: min(1.0, t / w)),
        (WSD(decay=0.25, shape="linear"), lambda t, w: wsd(t, w, 0.25, "linear")),
        (WSD(decay=0.5, shape="1-sqrt", minimum=0.1), lambda t, w: wsd(t, w, 0.5, "1-sqrt", 0.1)),
        (WSD(decay=0.3, shape="cosine"), lambda t, w: wsd(t, w, 0.3, "cosine")),
        (WSD(decay=0.0), lambda t, w: min(1.0, t / w)),
    ],
    ids=lambda value: str(value) if isinstance(value, Spec) else "",
)
def test_schedules_are_their_formulas(schedule, formula):
    assert fractions(schedule, 4) == pytest.approx([formula(t, 4) for t in range(STEPS)], abs=1e-12)


def test_a_decay_alone_continues_a_stable_part():
    """Two stages in a row: `decay: 0`, then `warmup: 0` and `decay: 1`, are one schedule of both their steps."""
    stable, decay = WSD(decay=0.0), WSD(decay=1.0)
    whole = fractions(WSD(decay=0.25), 4)
    assert fractions(stable, 4, 30) + fractions(decay, 0, 10) == pytest.approx(whole, abs=1e-12)


def test_parts_that_do_not_fit():
    with pytest.raises(StageError, match="5 steps of warm-up and 36 of decay are more than the 40 there are"):
        WSD(decay=0.9).chosen(40, 5)


def test_a_name_is_a_schedule_with_its_defaults():
    assert [ANY.validate_python(name) for name in ("linear", "cosine", "constant", "wsd")] == [
        *(Linear(), Cosine(), Constant(), WSD())
    ]
    assert ANY.validate_python({"kind": "wsd", "decay": 0.2}) == WSD(decay=0.2)
    names = ANY.json_schema()["anyOf"][0]["enum"]
    assert names == ["linear", "cosine", "constant", "wsd"]
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        ANY.validate_python("sawtooth")


def test_warm_up_as_a_share_or_as_steps():
    assert Train(model="m", pairs="p").rising(95) == 10
    assert Train(model="m", pairs="p", warmup=0.5).rising(95) == 48
    assert Train(model="m", pairs="p", warmup_steps=30).rising(95) == 30
    assert Train(model="m", pairs="p", warmup_steps=300).rising(95) == 95
    with pytest.raises(ValidationError, match="both warmup and warmup_steps"):
        Train(model="m", pairs="p", warmup=0.1, warmup_steps=3)
