"""The Triton kernel, in its interpreter: a process of its own, since the choice is made when it is defined."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from embedkit.losses.kernels import exponentials

CASES = """
import torch
from embedkit.losses import fused

def expected(logits):
    top = logits.amax(1).clamp(min=torch.finfo(torch.float32).min)
    weights = (logits - top[:, None]).exp()
    return logits.logsumexp(1), weights, weights.sum(1)

def cases(generator):
    yield torch.randn(3, 7, generator=generator)
    yield 100 * torch.randn(2, 40, generator=generator)  # more columns than one program reads at once
    holes = torch.randn(4, 33, generator=generator)
    holes[torch.rand(4, 33, generator=generator) < 0.5] = -torch.inf
    holes[2] = -torch.inf
    yield holes
    yield torch.randn(2, 50, generator=generator)[:, :21]  # rows that are apart
    yield torch.empty(0, 5)

fused.WIDTH = 16
checked = 0
for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 8e-3)):
    for logits in cases(torch.Generator().manual_seed(0)):
        wanted = expected(logits)
        found = fused.exponentials(logits.clone() if logits.is_contiguous() else logits, dtype)
        assert found[1].dtype == dtype
        for one, other in zip(found, wanted):
            torch.testing.assert_close(one.float(), other, rtol=tolerance, atol=1e-6)
        checked += 1
print(checked)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_fused_kernel_equals_torch_in_its_interpreter():
    result = subprocess.run(
        [sys.executable, "-c", CASES],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.stdout.strip() == "10", result.stderr


def test_rows_without_anything_sum_to_nothing():
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [-torch.inf] * 3])
    sums, weights, total = exponentials(logits, torch.float32)
    torch.testing.assert_close(sums, torch.tensor([1.3132617, -torch.inf]))
    assert weights[1].tolist() == [0, 0, 0]
    assert total[1] == 0


@pytest.mark.gpu
def test_the_fused_kernel_equals_torch_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    logits = 20 * torch.randn(64, 10_001, device="cuda")
    expected = exponentials(logits.cpu(), torch.float32)
    for one, other in zip(exponentials(logits, torch.float32), expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-6)
