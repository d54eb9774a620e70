"""The compiled block against a plain one in float64, and what is done where there is none."""

import copy
import math
import os
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from icl_core import kernels

needs_kernel = pytest.mark.skipif(
    kernels.name() is None, reason="no kernel on this machine (AVX-512 and a C++ compiler)"
)
EVERY_ROW = slice(None)


class Attention(nn.Module):
    def __init__(self, width, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)


class Block(nn.Module):
    """The block in plain torch, written out."""

    def __init__(self, in_residual=False, gelu="none", width=64, n_heads=4, mlp_width=256):
        super().__init__()
        self.in_residual, self.gelu = in_residual, gelu
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, n_heads)
        self.mlp_in, self.mlp_out = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        with torch.no_grad():
            for p in self.parameters():
                p += 0.1 * torch.randn_like(p)

    def forward(self, x, bias, rows):
        heads = self.attention.qkv(self.norm_1(x)).unflatten(-1, (3, self.attention.n_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        scores = q[:, :, rows] @ k.mT / math.sqrt(q.shape[-1]) + bias[:, rows]
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        attended = x[:, rows] + self.attention.out(mixed)
        mlp = self.mlp_out(F.gelu(self.mlp_in(self.norm_2(attended)), approximate=self.gelu))
        return (attended if self.in_residual else x[:, rows]) + mlp


def causal(length):
    return torch.full((1, length, length), -math.inf).triu(1)


BIASES = {
    "causal": causal,
    "unmasked": lambda length: torch.zeros(1, length, length),
    "per head": lambda length: causal(length) + torch.randn(4, length, length),
}
ROWS = {
    "all": lambda length: slice(None),
    "every second": lambda length: slice(0, length, 2),
    "last": lambda length: slice(length - 1, length, 1),
}


def result_and_gradients(function, block, x, bias, rows, dy):
    """All in float64: y, dx, and the gradients of the parameters."""
    x = x.clone().requires_grad_()
    y = function(block, x, bias, rows)
    y.backward(dy)
    return [t.detach().double() for t in (y, x.grad, *(p.grad for p in block.parameters()))]


def errors(found, expected):
    """The greatest error of each, as a part of the greatest value."""
    return [((f - e).abs().max() / e.abs().max()).item() for f, e in zip(found, expected)]


def test_on_a_gpu_its_name_stands_for_the_kernel(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, {device}")
    assert kernels.name("cuda:1") == "a GPU, cuda:1"
    assert kernels.name("meta") is None


@needs_kernel
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("in_residual, gelu", [(False, "none"), (True, "tanh"), (True, "none")])
def test_as_exact_as_plain_torch(in_residual, gelu, bias, rows):
    for length in (127, 33, 16):
        torch.manual_seed(length)
        block, x, at = Block(in_residual, gelu), torch.randn(3, length, 64), ROWS[rows](length)
        arguments = x, BIASES[bias](length), at, torch.randn_like(x[:, at])
        assert kernels.fits(block, *arguments[:3])
        double = [a if isinstance(a, slice) else a.double() for a in arguments]
        exact = result_and_gradients(Block.__call__, copy.deepcopy(block).double(), *double)
        plain = result_and_gradients(Block.__call__, copy.deepcopy(block), *arguments)
        ours = result_and_gradients(kernels.block, block, *arguments)
        for mine, usual in zip(errors(ours, exact), errors(plain, exact)):
            assert mine < 3 * max(usual, 2e-7)


@needs_kernel
@pytest.mark.parametrize("gelu", ["none", "tanh"])
def test_gelu_everywhere(gelu):
    """One unit at a time lets a number through to GELU: from -12 to 12."""
    block = Block(gelu=gelu, mlp_width=64).requires_grad_(False)
    for layer in (block.mlp_in, block.mlp_out, block.attention.out):
        layer.weight.zero_(), layer.bias.zero_()
    numbers = torch.linspace(-12, 12, 64)
    block.mlp_in.bias.copy_(numbers)
    block.mlp_out.weight.copy_(torch.eye(64))
    y = kernels.block(block, torch.zeros(1, 1, 64), torch.zeros(1, 1, 1), EVERY_ROW)
    expected = F.gelu(numbers.double(), approximate=gelu)
    assert (y[0, 0] - expected).abs().max() < 1e-6
    small = numbers.abs() < 4
    assert ((y[0, 0] - expected) / expected).abs()[small].max() < 2e-3
    assert (y[0, 0] - expected).abs()[small].max() < 3e-7


@needs_kernel
def test_hidden_tokens_have_no_gradient():
    x = torch.randn(2, 21, 64, requires_grad=True)
    kernels.block(Block(), x, causal(21), EVERY_ROW)[:, 9].sum().backward()
    assert x.grad[:, :10].abs().amin(-1).all() and not x.grad[:, 10:].any()


@needs_kernel
def test_nan_stays_nan_and_a_blind_row_is_survived():
    x, bias = torch.randn(2, 21, 64), causal(21)
    blind = bias.clone()
    blind[:, 3] = -math.inf
    seeing = kernels.block(block := Block(), x, bias, EVERY_ROW)
    y = kernels.block(block, x, blind, EVERY_ROW)
    others = torch.arange(21) != 3
    assert torch.equal(y[:, others], seeing[:, others])
    x[0, 5, 7] = math.nan
    y = kernels.block(block, x, bias, EVERY_ROW)
    assert y[0, 5:].isnan().all() and torch.equal(y[1], seeing[1])


@needs_kernel
def test_twenty_steps_of_adam():
    losses = {}
    for function in (Block.__call__, kernels.block):
        torch.manual_seed(0)
        blocks = nn.ModuleList([Block(), Block()])
        optimizer = torch.optim.Adam(blocks.parameters(), lr=1e-3)
        losses[function] = []
        for _ in range(20):
            x = torch.randn(8, 33, 64)
            z = function(blocks[0], x, causal(33), EVERY_ROW)
            z = function(blocks[1], z, causal(33), slice(0, 33, 2))
            loss = (z - x[:, ::2].roll(1, 1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[function].append(loss.item())
    plain, ours = losses.values()
    assert ours == pytest.approx(plain, rel=1e-5) and plain[-1] < plain[0]


@needs_kernel
def test_without_gradients():
    block, arguments = Block(), (torch.randn(2, 33, 64), causal(33), slice(0, 33, 2))
    expected = kernels.block(block, *arguments).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(kernels.block(block, *arguments), expected)


@needs_kernel
def test_x_alone_and_a_part_of_the_parameters():
    """x, dy: not contiguous, x without a gradient; of the parameters, only one is trained."""
    block, x = Block().requires_grad_(False), torch.randn(33, 2, 64).transpose(0, 1)
    block.norm_2.weight.requires_grad_()
    kernels.block(block, x, causal(33), EVERY_ROW).sum().backward()
    ours, block.norm_2.weight.grad = block.norm_2.weight.grad, None
    block(x, causal(33), EVERY_ROW).sum().backward()
    torch.testing.assert_close(ours, block.norm_2.weight.grad, rtol=1e-4, atol=1e-4)


@needs_kernel
def test_what_does_not_fit():
    block, x, bias = Block(), torch.randn(2, 16, 64), causal(16)
    assert kernels.fits(block, x, bias, EVERY_ROW)
    assert not kernels.fits(block, x.double(), bias, EVERY_ROW)
    assert not kernels.fits(block, x, bias[:, :-1], EVERY_ROW)
    assert not kernels.fits(block, x, bias.expand(2, -1, -1), EVERY_ROW)
    assert not kernels.fits(block, x, bias.clone().requires_grad_(), EVERY_ROW)
    assert not kernels.fits(block, x, bias, torch.tensor([3]))
    assert not kernels.fits(block, x, bias, slice(5, 5))
    assert not kernels.fits(Block(width=32), x[..., :32], bias, EVERY_ROW)
    assert not kernels.fits(Block(n_heads=2), x, bias, EVERY_ROW)
    assert not kernels.fits(Block(mlp_width=100), x, bias, EVERY_ROW)
    assert not kernels.fits(block, x.to("meta"), bias, EVERY_ROW)


@needs_kernel
def test_two_compile_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "FOLDER", tmp_path)
    monkeypatch.setattr(kernels, "FLAGS", ["-O0", *kernels.FLAGS[1:]])  # a second each, not four
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(kernels._compiled())) for _ in "ab"]
    [t.start() for t in threads], [t.join() for t in threads]
    assert len(paths) == 2 and [p.name for p in tmp_path.iterdir()] == [os.path.basename(paths[0])]


PROBE = """
import logging, pathlib, sys, torch
from icl_core import kernels
logging.basicConfig(level=logging.INFO, format="%(message)s")
kernels.FOLDER = pathlib.Path(sys.argv[1])  # where nothing is compiled yet
from test_kernels import Block
print(kernels.name(), kernels.fits(Block(), torch.ones(1, 4, 64), torch.ones(1, 4, 4), slice(4)))
"""


@pytest.mark.parametrize(
    "changed, reason",
    [({"ICL_KERNEL": "0"}, "ICL_KERNEL=0"), ({"PATH": "", "CXX": ""}, "no C++ compiler")],
)
def test_without_a_kernel(tmp_path, changed, reason):
    path = os.pathsep.join([os.path.dirname(__file__), str(kernels.SOURCE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path / "folder")],
        env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path)} | changed,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "None False\n", done.stderr
    assert done.stderr.count("no kernel") == 1
    assert reason in done.stderr or kernels.name() is None
