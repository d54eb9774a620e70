"""The transformer block on a CPU with AVX-512, forward and backward: kernels.cpp, compiled on first
use by the machine's own compiler. Where that can't be, the log says why, once; torch does it then.
"""

import ctypes
import functools
import getpass
import hashlib
import logging
import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NAME, WIDTH, N_HEADS = "block-avx512-1", 64, 4
SOURCE = Path(__file__).with_suffix(".cpp")
FOLDER = SOURCE.parents[1] / "build" / "kernels"
# Nothing of -ffast-math: -inf hides a token, and sums keep their order.
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-ffp-contract=fast", "-w"]
log = logging.getLogger(__name__)


def name(device: str = "cpu") -> str | None:
    """What a run's provenance calls the kernel, or the GPU; None for plain torch on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return NAME if device == "cpu" and _library() else None


def fits(block: nn.Module, x: Tensor, bias: Tensor, rows: slice) -> bool:
    """Whether block(block, x, bias, rows) can take the kernel. Raises nothing."""
    weight, length = block.mlp_in.weight, x.shape[1]
    return (
        all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (x, bias, weight))
        and (block.attention.n_heads, weight.shape[1], len(weight) % 64) == (N_HEADS, WIDTH, 0)
        and block.norm_1.eps == block.norm_2.eps == 1e-5
        and bias.shape in ((1, length, length), (N_HEADS, length, length))
        and not bias.requires_grad
        and block.gelu in ("none", "tanh")
        and isinstance(rows, slice)
        and (rows.step or 1) > 0
        and len(x) > 0 < len(range(length)[rows])
        and name() is not None
    )


def block(block: nn.Module, x: Tensor, bias: Tensor, rows: slice) -> Tensor:
    """a + MLP(LN(x[rows] + attention(LN(x)))), where a is that sum (in_residual) or x[rows].

    x: (B, L, 64); bias: (4 or 1, L, L), added to the scores, no gradient -> (B, R, 64).
    What does not fit is not refused: ask fits first. Raises RuntimeError in a double backward.
    """
    first, stop, step = rows.indices(x.shape[1])
    n_rows, n_keys = len(range(first, stop, step)), -(-x.shape[1] // 8) * 8
    padding = (0, n_keys - x.shape[1], 0, -n_rows % 16)
    bias = F.pad(bias[:, rows], padding, value=-math.inf).unflatten(1, (-1, 16))
    seen = (bias > -math.inf).any(2) * torch.arange(1, n_keys + 1)  # (heads, blocks of rows, keys)
    a, down = block.attention, block.mlp_out.weight.unflatten(1, (-1, 64)).transpose(0, 1)
    tiles = torch.cat([a.qkv.weight, a.out.weight, block.mlp_in.weight, down.flatten(0, 1)])
    layers = a.qkv, a.out, block.mlp_in, block.mlp_out
    norms = [p for norm in (block.norm_1, block.norm_2) for p in (norm.weight, norm.bias)]
    vectors = torch.cat([*(layer.bias for layer in layers), *norms])
    sizes = *x.shape[:2], n_rows, first, step, n_keys, bias.shape[1], len(bias)
    choices = len(down), block.in_residual, block.gelu == "tanh"
    tables = (seen.amax(2) + 7) // 8 * 8, bias.mT.contiguous()
    return _Block.apply((*sizes, *choices), *tables, tiles.unflatten(0, (-1, 64)), vectors, x)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, sizes, ends: Tensor, bias: Tensor, tiles: Tensor, vectors: Tensor, x: Tensor):
        n_prompts, kept = sizes[0], any(ctx.needs_input_grad)
        each = _library().block_saves(_call(sizes))
        saved = x.new_empty(n_prompts if kept else 1, each)
        y = x.new_empty(n_prompts, sizes[2], WIDTH)
        inputs = ends, bias, tiles, tiles.mT.contiguous(), vectors, x.contiguous(), saved
        _library().block_forward(_call((*sizes, each if kept else 0), *inputs, y))
        if kept:
            ctx.sizes = *sizes, each
            ctx.save_for_backward(*inputs)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        _, _, tiles, _, vectors, x, _ = inputs = ctx.saved_tensors
        dx, dw, dvectors = torch.empty_like(x), torch.zeros_like(tiles), torch.zeros_like(vectors)
        dy, y = dy.contiguous(), x  # y is not looked at
        _library().block_backward(_call(ctx.sizes, *inputs, y, dy, dx, dw, dvectors))
        return None, None, None, dw, dvectors, dx


def _call(sizes: tuple[int, ...], *tensors: Tensor) -> ctypes.Array:
    """The struct Call of kernels.cpp; it holds addresses: the caller keeps the tensors alive."""
    return (ctypes.c_int64 * 24)(*sizes, *[0] * (12 - len(sizes)), *(t.data_ptr() for t in tensors))


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_compiled())
    except Exception as error:  # whatever it is: a run without the kernel is a run
        reason = str(getattr(error, "stderr", None) or error).strip().partition("\n")[0]
        log.info("no kernel, plain torch: %s", reason)
        return None
    library.block_saves.restype = ctypes.c_int64
    log.debug("kernel %s", NAME)
    return library


def _compiled() -> str:
    """The path of the library for this source, these flags and this processor. Raises if none."""
    if os.environ.get("ICL_KERNEL") == "0":
        raise RuntimeError("ICL_KERNEL=0")
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        raise RuntimeError("this CPU has no AVX-512")
    names = os.environ.get("CXX", ""), "c++", "g++", "clang++"
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    cpu = [line for line in cpu if line.startswith(("model", "flags"))]
    source = SOURCE.read_text(encoding="utf-8")
    key = hashlib.sha256("\n".join([source, *FLAGS, *cpu]).encode()).hexdigest()[:16]
    own = Path(tempfile.gettempdir()) / f"icl-kernels-{getpass.getuser()}"
    for folder in (FOLDER, own):
        path = folder / f"{key}.so"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{folder} is another user's")
            if path.exists():
                return str(path)
            with tempfile.TemporaryDirectory(dir=folder) as new:
                compiler = next(filter(None, map(shutil.which, filter(None, names))), None)
                if compiler is None:
                    raise RuntimeError("no C++ compiler")
                made = f"{new}/{key}.so"  # in a folder of its own: nobody loads a half
                command = [compiler, *FLAGS, "-shared", "-fPIC", str(SOURCE), "-o", made]
                subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
                os.replace(made, path)
                return str(path)
        except OSError as error:
            refused = error
    raise refused
