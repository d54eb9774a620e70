"""The looped transformer of one variant: the whole model but for its encodings and masks.

Shapes, everywhere below
    B  prompts in a batch         L  tokens in a prompt, 2 n + 1
    D  width                      R  rows (tokens) that a result is wanted for
    H  attention heads            T  loop iterations
    d  dimension of x
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icl_core import kernels
from icl_core.config import Config
from icl_core.encodings import ENCODINGS, MASKS

Rows = slice | Tensor  # which tokens: a slice, or their places
ALL, X_TOKENS, QUERY = slice(None), slice(None, None, 2), slice(-1, None)


class Linear(nn.Linear):
    """x Wᵀ + b, (B, L, in) -> (B, L, out), on a CPU as a convolution of 1 × 1.

    That is oneDNN's, which knows AMD's AVX-512; MKL's, behind nn.Linear, takes twice as long there.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return super().forward(x)
        images = x.contiguous().unsqueeze(1).permute(0, 3, 1, 2)  # (B, in, 1, L)
        return F.conv2d(images, self.weight[..., None, None], self.bias)[:, :, 0].transpose(1, 2)


class Attention(nn.Module):
    """softmax(q kᵀ / √(D / H) + bias) v for the wanted rows (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, config: Config):
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)

    def forward(self, x: Tensor, bias: Tensor, rotation: Tensor | None, rows: Rows) -> Tensor:
        q, k, v = self.query_key_value(x, rotation)
        mixed = F.scaled_dot_product_attention(q[:, :, rows], k, v, attn_mask=bias[:, rows])
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, bias: Tensor, rotation: Tensor | None) -> Tensor:
        """The softmax itself, (B, H, L, L), written out: to look at, not to train with."""
        q, k, _ = self.query_key_value(x, rotation)
        return (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(dim=-1)

    def query_key_value(self, x: Tensor, rotation: Tensor | None) -> list[Tensor]:
        """Three times (B, H, L, D / H)."""
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in parts)
        return [q, k, v] if rotation is None else [rotate(q, rotation), rotate(k, rotation), v]


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Each pair of coordinates (2i, 2i + 1) of x, as a complex number, times its rotation."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2)


class Block(nn.Module):
    """a = x + attention(LN(x)); GPT-2's gives a + MLP(LN(a)), the source's x + MLP(LN(a))."""

    def __init__(self, config: Config):
        super().__init__()
        self.in_residual = config.attention_in_residual
        self.gelu = "none" if config.gelu == "exact" else "tanh"
        self.norm_1 = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.norm_2 = nn.LayerNorm(config.width)
        self.mlp_in = Linear(config.width, config.mlp_width)
        self.mlp_out = Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor, bias: Tensor, rotation: Tensor | None, rows: Rows) -> Tensor:
        if rotation is None and kernels.fits(self, x, bias, rows):
            return kernels.block(self, x, bias, rows)
        attended = x[:, rows] + self.attention(self.norm_1(x), bias, rotation, rows)
        mlp = self.mlp_out(F.gelu(self.mlp_in(self.norm_2(attended)), approximate=self.gelu))
        return (attended if self.in_residual else x[:, rows]) + mlp


class LoopedTransformer(nn.Module):
    """z_0 = 0; z_{t+1} = norm(blocks(z_t + e + p)); ŷ_t = read_out(z_t), t = 1 … T.

    The embedded prompt e and the encoding p enter every iteration anew (Yang et al., ICLR 2024,
    arXiv 2311.12424, §4; T = b there), p the first alone where injection says so; setup source has
    no norm. Modules are made in the order of the source's random numbers.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.read_in = Linear(config.d, config.width)
        self.encoding = ENCODINGS[config.encoding](config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.width) if config.final_norm else nn.Identity()
        self.read_out = Linear(config.width, 1 if config.scalar_read_out else config.d)
        self._scores = {}

    def forward(
        self, tokens: Tensor, rows=X_TOKENS, loops: int | None = None, change: Tensor | None = None
    ) -> Tensor:
        """Predictions (T, B, R) of every iteration at the wanted rows of tokens (B, L, d).

        loops: iterations, b of the config if None. change is added to the attention scores:
        (T or 1, layers or 1, H or 1, L or 1, L), -inf hides. Raises IndexError past a table's end.
        """
        loops = loops or self.config.b
        bias, rotation = self.scores(tokens.shape[1], tokens.device)
        if change is not None:
            change = change.expand(loops, len(self.blocks), *change.shape[2:])
        embedded = self.read_in(tokens)
        injected = self.encoding(embedded)
        z, predictions = torch.zeros_like(injected), []
        for t in range(loops):
            z = z + (injected if t == 0 or self.config.injection == "every" else embedded)
            for layer, block in enumerate(self.blocks):
                # Only the wanted rows of the very last block can reach a prediction.
                wanted = rows if (t, layer) == (loops - 1, len(self.blocks) - 1) else ALL
                changed = bias if change is None else bias + change[t, layer]
                z = block(z, changed, rotation, wanted)
            z = self.norm(z)
            predictions.append(self.read_out(z if t == loops - 1 else z[:, rows])[..., 0])
        return torch.stack(predictions)

    def scores(self, n_tokens: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Made once a length: bias of scores, (H or 1, L, L); rotation of q and k, (L, D / 2H)."""
        if (n_tokens, device) not in self._scores:
            with device:
                bias = MASKS[self.config.mask](n_tokens) + self.encoding.score_bias(n_tokens)
                self._scores[n_tokens, device] = bias, self.encoding.rotation(n_tokens)
        return self._scores[n_tokens, device]
