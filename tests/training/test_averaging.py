import math

import pytest
import torch
from torch import nn

from embedkit.core.errors import StageError
from embedkit.training.averaging import NAME, Average, Averager, averaged


def made(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[1].requires_grad_(False)
    loss = nn.Module()
    loss.model = model
    loss.add_module(NAME, Averager(model, Average(**options)))
    return model, loss


def walk(model, loss, steps, *, start=0, stop=None):
    """Random steps; the weights after each."""
    seen = []
    for step in range(start + 1, (stop or steps) + 1):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        loss.average.update(model, step=step, steps=steps)
        seen.append(model[0].weight.detach().clone().double())
    return seen


@pytest.mark.parametrize(
    "options",
    [
        {"decay": 0.9, "ramp": False},
        {"decay": 0.9},
        {"decay": 0.3},
        {"decay": None},
        {"decay": 0.5, "every": 3},
        {"decay": None, "start": 0.5},
        {"decay": 0.8, "start": 0.25, "every": 2},
    ],
    ids=str,
)
def test_the_average_is_its_formula(options):
    model, loss = made(**options)
    seen = walk(model, loss, 10)
    every, first = options.get("every", 1), math.ceil(options.get("start", 0.0) * 10)
    used = [w for t, w in enumerate(seen, start=1) if t > first and ((t - first) % every == 0 or t == 10)]
    expected = used[0]
    for n, weights in enumerate(used[1:], start=1):
        ramp = (1 + n) / (10 + n) if options.get("ramp", True) else 1.0
        keep = n / (n + 1) if options["decay"] is None else min(options["decay"], ramp)
        expected = keep * expected + (1 - keep) * weights
    loss.average.put_into(model)
    torch.testing.assert_close(model[0].weight.double(), expected, rtol=1e-6, atol=1e-6)
    if options == {"decay": None}:
        torch.testing.assert_close(expected, torch.stack(seen).mean(0))


def test_it_is_what_torch_computes():
    """With swa_utils of PyTorch, whose first average is the model as it is made."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model, loss = made(decay=0.9, ramp=False)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(1, 8):
        walk(model, loss, 7, start=step - 1, stop=step)
        theirs.update_parameters(model)
    loss.average.put_into(model)
    torch.testing.assert_close(model[0].weight, theirs.module[0].weight)


def test_only_what_learns_is_averaged():
    model, loss = made(decay=0.9)
    assert {name for name, _ in loss.average.named_buffers()} == {"updates", "0/weight", "0/bias"}
    walk(model, loss, 3)
    frozen = model[1].weight.clone()
    loss.average.put_into(model)
    assert torch.equal(model[1].weight, frozen)


def test_weights_are_swapped_in_and_out():
    model, loss = made(decay=0.9)
    before = model[0].weight.clone()
    with averaged(loss, model):
        assert torch.equal(model[0].weight, before)  # nothing averaged yet
    walk(model, loss, 5)
    training = {name: value.clone() for name, value in model.state_dict().items()}
    with averaged(loss, model):
        assert torch.equal(model[0].weight, loss.average.get_buffer("0/weight"))
        assert not torch.equal(model[0].weight, training["0.weight"])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in training.items())
    with pytest.raises(RuntimeError, match="evaluation failed"), averaged(loss, model):
        raise RuntimeError("evaluation failed")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in training.items())
    with averaged(nn.Module(), model):
        assert torch.equal(model[0].weight, training["0.weight"])


def test_the_state_goes_on_where_it_was():
    whole_model, whole = made(decay=0.9)
    walk(whole_model, whole, 8)
    model, loss = made(decay=0.9)
    walk(model, loss, 8, stop=5)
    again_model, again = made(decay=0.9)
    again.load_state_dict(loss.state_dict())
    walk(again_model, again, 8, start=5)
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), again.buffers(), strict=True))


def test_a_parameter_that_is_gone():
    model, loss = made(decay=0.9)
    with pytest.raises(StageError, match=r"no parameter '0\.\w+' any more"):
        loss.average.update(model[1], step=1, steps=2)
