"""The looped transformer: the whole model but for its encodings and masks.

Shapes, everywhere below
    V  variants in the stack      L  tokens in a prompt, 2 n + 1
    B  prompts in a batch         R  rows (tokens) that a result is wanted for
    D  width                      H  attention heads
    d  dimension of x             T  loop iterations

Every weight has a leading variant axis, so a stack of V variants is one model of V independent
transformers.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icl_report.config import Config, Variant
from icl_report.encodings import ENCODINGS, MASKS
from icl_report.sampler import WEIGHTS, generator

Rows = slice | Tensor  # which tokens: a slice, or their places
ALL = slice(None)
X_TOKENS = slice(None, None, 2)
QUERY = slice(-1, None)
# The fused attention kernel of a CPU takes a quarter less time for 128 tokens than for 127.
ALIGNMENT = 4


class Linear(nn.Module):
    """x W + b, one (W, b) a variant; x: (V, …, in) -> (V, …, out)."""

    def __init__(self, n_variants: int, n_in: int, n_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_variants, n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_variants, 1, n_out))

    def forward(self, x: Tensor) -> Tensor:
        if (
            len(self.weight) == 1
            and x.device.type == "cpu"
            and torch.backends.mkldnn.is_available()
        ):
            return self._as_convolution(x)
        y = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return y.unflatten(1, x.shape[1:-1])

    def _as_convolution(self, x: Tensor) -> Tensor:
        """The same for one variant, x: (1, B, L, in), as a convolution of 1 × 1.

        On a CPU torch leaves that to oneDNN (mkldnn), which has AVX-512 kernels for AMD too; those
        of MKL, behind baddbmm, are for Intel alone and take twice the time on AMD.
        """
        images = x.contiguous().squeeze(0).unsqueeze(1).permute(0, 3, 1, 2)  # (B, in, 1, L)
        kernel = self.weight.squeeze(0).t().unsqueeze(-1).unsqueeze(-1)  # (out, in, 1, 1)
        return F.conv2d(images, kernel, self.bias.flatten()).permute(2, 0, 3, 1)


class LayerNorm(nn.Module):
    """(x - mean) / √(variance + 1e-5) · gain + bias over the last axis, for each variant."""

    def __init__(self, n_variants: int, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_variants, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(n_variants, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        if len(self.gain) == 1:  # the fused kernel knows one gain only
            return F.layer_norm(x, x.shape[-1:], self.gain.flatten(), self.bias.flatten())
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.gain)


class Scores(NamedTuple):
    """What encodings and masks do to the attention scores of all blocks.

    bias: (V B or 1, H or 1, L, L), added to them; -inf hides a token.
    rotation: (V B or 1, 1, L, D / 2H), complex, turns q and k; None turns nothing.
    """

    bias: Tensor
    rotation: Tensor | None = None


class Attention(nn.Module):
    """softmax(q kᵀ / √(D / H) + bias) v for the wanted rows (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, n_variants: int, width: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = Linear(n_variants, width, width)
        self.key_value = Linear(n_variants, width, 2 * width)
        self.out = Linear(n_variants, width, width)

    def forward(self, z: Tensor, scores: Scores, rows: Rows) -> Tensor:
        q, k, v = self._query_key_value(z, scores.rotation, rows)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=scores.bias[..., rows, :])
        return self.out(mixed.transpose(1, 2).flatten(2).unflatten(0, z.shape[:2]))

    def weights(self, z: Tensor, scores: Scores) -> Tensor:
        """The softmax itself, (V, B, H, L, L), written out: to look at, not to train with."""
        q, k, _ = self._query_key_value(z, scores.rotation, ALL)
        raw = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return (raw + scores.bias).softmax(dim=-1).unflatten(0, z.shape[:2])

    def _query_key_value(self, z: Tensor, rotation: Tensor | None, rows: Rows) -> list[Tensor]:
        """q: (V B, H, R, D / H); k, v: (V B, H, L, D / H)."""
        parts = self.query(z[:, :, rows]), *self.key_value(z).chunk(2, dim=-1)
        q, k, v = (p.flatten(0, 1).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for p in parts)
        if rotation is not None:
            q, k = rotate(q, rotation[..., rows, :]), rotate(k, rotation)
        return [q, k, v]


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Each pair of coordinates (2i, 2i + 1) of x, as a complex number, times its rotation."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2)


class Block(nn.Module):
    """GPT-2's: z + attention(LN(z)), then z + MLP(LN(z)), tanh-approximated GELU, no dropout."""

    def __init__(self, n_variants: int, config: Config):
        super().__init__()
        self.norm_1 = LayerNorm(n_variants, config.width)
        self.attention = Attention(n_variants, config.width, config.n_heads)
        self.norm_2 = LayerNorm(n_variants, config.width)
        self.mlp_in = Linear(n_variants, config.width, config.mlp_width)
        self.mlp_out = Linear(n_variants, config.mlp_width, config.width)

    def forward(self, z: Tensor, scores: Scores, rows: Rows = ALL) -> Tensor:
        z = z[:, :, rows] + self.attention(self.norm_1(z), scores, rows)
        return z + self.mlp_out(F.gelu(self.mlp_in(self.norm_2(z)), approximate="tanh"))


# Streams of initial weights; the learned table's is the one that the blocks were drawn from.
STREAMS = {"types": 1, "pairs": 2}
SMALL_READ_IN = 3


class LoopedTransformer(nn.Module):
    """z_0 = 0; z_{t+1} = LN(blocks(z_t + e + p)); ŷ_t = read_out(z_t), t = 1 … T.

    The embedded prompt e and the encoding p enter anew, and the final norm is applied, in every
    iteration (Yang et al., ICLR 2024, arXiv 2311.12424, §4; T = b there and here); a variant with
    injection "first" adds p in the first one only.

    All variants of the stack start from the same weights wherever they share parameters, drawn
    from (config.seed): in the blocks N(0, 0.02), residual projections N(0, 0.02 / √(2 layers)),
    learned encodings N(0, 0.02), read-in and read-out U(±1/√in) as nn.Linear, biases there too.
    A small read-in starts at N(0, 0.02) instead, its biases at 0. N(0, σ): σ is the standard
    deviation.
    """

    def __init__(self, config: Config, variants: tuple[Variant, ...]):
        super().__init__()
        n, self.b, self.variants = len(variants), config.b, variants
        self.read_in = Linear(n, config.d, config.width)
        self.blocks = nn.ModuleList(Block(n, config) for _ in range(config.n_layers))
        self.norm = LayerNorm(n, config.width)
        self.read_out = Linear(n, config.width, 1)
        self.encodings = nn.ModuleDict()
        for kind in sorted({variant.encoding for variant in variants}):
            users = sum(variant.encoding == kind for variant in variants)
            self.encodings[kind] = ENCODINGS[kind](users, config)
        self._initialise(config)

    @torch.no_grad()
    def _initialise(self, config: Config) -> None:
        seed, n_layers = config.seed, config.n_layers
        rng = generator(WEIGHTS, seed)

        def fill(parameter: Tensor, values: np.ndarray) -> None:
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))

        for layer in (self.read_in, self.read_out):
            bound = layer.weight.shape[1] ** -0.5
            fill(layer.weight, rng.uniform(-bound, bound, layer.weight.shape[1:]))
            fill(layer.bias, rng.uniform(-bound, bound, layer.bias.shape[1:]))
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("weight"):
                residual = name.endswith("out.weight")
                scale = 0.02 / math.sqrt(2 * n_layers) if residual else 0.02
                fill(parameter, scale * rng.standard_normal(parameter.shape[1:]))
        for encoding in self.encodings.values():
            for name, parameter in encoding.named_parameters():
                drawn = generator(WEIGHTS, seed, STREAMS[name]) if name in STREAMS else rng
                start = encoding.initial(config)
                if start is None:
                    fill(parameter, 0.02 * drawn.standard_normal(parameter.shape[1:]))
                else:
                    parameter.copy_(start)
        for v, variant in enumerate(self.variants):
            if variant.read_in == "small":
                drawn = generator(WEIGHTS, seed, SMALL_READ_IN)
                fill(self.read_in.weight[v], 0.02 * drawn.standard_normal((config.d, config.width)))
                self.read_in.bias[v] = 0

    def forward(
        self,
        tokens: Tensor,
        rows: Rows = X_TOKENS,
        loops: int | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Predictions (T, V, B, R) of every iteration at the wanted rows of tokens (B, L, d).

        loops: iterations, b of the config if None; hidden: the places of tokens that no token may
        look at. Raises IndexError past the end of a learned table.
        """
        loops = self.b if loops is None else loops
        n_prompts, n_tokens, _ = tokens.shape
        if isinstance(rows, slice):
            rows = slice(*rows.indices(n_tokens))
        padding = (0, 0, 0, -n_tokens % ALIGNMENT)  # behind the last token, where none looks
        embedded = self.read_in(F.pad(tokens, padding).expand(len(self.variants), -1, -1, -1))
        positions = F.pad(self.positions(n_tokens), padding)[:, None]
        injected = embedded + positions
        scores = self.scores(n_tokens, n_prompts)
        if hidden is not None:
            scores = scores._replace(bias=scores.bias.index_fill(-1, hidden, -math.inf))
        z, predictions = injected, []
        for t in range(loops):
            if t == 1 and any(variant.injection == "first" for variant in self.variants):
                every = [variant.injection == "every" for variant in self.variants]
                kept = torch.tensor(every, device=tokens.device).view(-1, 1, 1, 1)
                injected = embedded + kept * positions
            z = injected if t == 0 else z + injected
            for block in self.blocks[:-1]:
                z = block(z, scores)
            # Only the wanted rows of the very last block can reach a prediction.
            last = t == loops - 1
            z = self.norm(self.blocks[-1](z, scores, rows if last else ALL))
            predictions.append(self.read_out(z if last else z[:, :, rows]).squeeze(-1))
        return torch.stack(predictions)

    def positions(self, n_tokens: int) -> Tensor:
        """The encodings p: (V, L, D)."""
        device = self.read_in.weight.device
        rows = {kind: iter(e(n_tokens).to(device)) for kind, e in self.encodings.items()}
        return torch.stack([next(rows[variant.encoding]) for variant in self.variants])

    def scores(self, n_tokens: int, n_prompts: int) -> Scores:
        """What encodings and masks do to the scores, padding included."""
        padding, device = -n_tokens % ALIGNMENT, self.read_in.weight.device
        kinds = [(variant.encoding, variant.mask) for variant in self.variants]
        biases, turns, turned = {}, {}, False
        for encoding, mask in dict.fromkeys(kinds):
            bias = MASKS[mask](n_tokens) + self.encodings[encoding].score_bias(n_tokens)
            bias = F.pad(bias, (0, padding), value=-math.inf)  # hidden
            biases[encoding, mask] = F.pad(bias, (0, 0, 0, padding)).to(device)
            angle = F.pad(self.encodings[encoding].angles(n_tokens), (0, 0, 0, padding))
            turns[encoding, mask] = torch.polar(torch.ones_like(angle), angle)[None].to(device)
            turned |= bool(angle.any())

        def per_prompt(tables: dict) -> Tensor:
            """(V B, H or 1, L, …), or (1, H or 1, L, …) where all variants are alike."""
            if len(tables) == 1:
                return tables[kinds[0]][None]
            together = torch.stack(torch.broadcast_tensors(*(tables[kind] for kind in kinds)))
            return together.repeat_interleave(n_prompts, dim=0)

        return Scores(per_prompt(biases), per_prompt(turns) if turned else None)


def stack_weights(singles: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of one stack from those of its variants, in order."""
    names = {name: None for weights in singles for name in weights}
    return {name: torch.cat([w[name] for w in singles if name in w]) for name in names}


def variant_weights(
    weights: dict[str, Tensor], variants: tuple[Variant, ...], index: int
) -> dict[str, Tensor]:
    """The weights of the variant at index as a stack of one: the reverse of stack_weights."""
    kind = variants[index].encoding
    users = [variant.encoding for variant in variants[:index]].count(kind)
    own = {n: w[index : index + 1] for n, w in weights.items() if not n.startswith("encodings.")}
    tables = {n: w for n, w in weights.items() if n.startswith(f"encodings.{kind}.")}
    return own | {n: w[users : users + 1] for n, w in tables.items()}


def parameter_count(config: Config, variant: Variant) -> int:
    """The number of trained parameters of one variant."""
    return sum(p.numel() for p in LoopedTransformer(config, (variant,)).parameters())
