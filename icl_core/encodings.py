"""Positional encodings and attention masks: what tells tokens apart, and who sees whom.

Shapes as in model.py: B prompts, L tokens, D width, H heads. A further encoding is one class here,
a further mask one line of MASKS; the variants' names are made of theirs.
"""

from functools import lru_cache
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn


class Encoding(nn.Module):
    """p = 0, and nothing is done to the scores: what an encoding is unless it says otherwise."""

    name = ""  # in a variant's name
    colour = "#029e73"  # in every figure
    ends = False  # with a table, at the trained length
    # Learned rows -> the random stream that setup gpt2 draws them from; None: the blocks'.
    streams: ClassVar[dict[str, int | None]] = {}

    def __init_subclass__(cls):
        ENCODINGS[cls.name] = cls

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """x + p, both (B, L, D)."""
        return x

    def score_bias(self, n_tokens: int) -> Tensor:
        """What is added to the scores: (H or 1, L, L)."""
        return torch.zeros(1, n_tokens, n_tokens)

    def rotation(self, n_tokens: int) -> Tensor | None:
        """By what pairs of coordinates of q and k are turned: (L, D / 2H), complex; None: not."""
        return None


ENCODINGS = {"": Encoding}  # short name -> class, in the order of this file


class Sinusoidal(Encoding):
    """p[t, 2i] = sin(t ω_i), p[t, 2i + 1] = cos(t ω_i), ω_i = base^(-2i / D).

    Vaswani et al. 2017, §3.5, have base 10000; the source has ln 10000.
    """

    name, colour, scale = "SPE", "#de8f05", 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * sinusoid(*x.shape[1:], self.config.sinusoid_base, x.device)


class SmallSinusoidal(Sinusoidal):
    """Sinusoidal rows times 0.02 √2: as long as learned ones of scale 0.02 are, 0.02 √D."""

    name, colour, scale = "SPE small", "#e8a33d", 0.02 * 2**0.5


class Learned(Encoding):
    """p[t] = a learned row a position, as in GPT-2; raises IndexError past the trained length."""

    name, colour, ends, streams = "LPE", "#0173b2", True, {"rows": None}
    index: ClassVar = {"rows": lambda t: t}  # table -> position -> row; p is the sum over tables

    def __init__(self, config):
        super().__init__(config)
        for table, index in self.index.items():
            last = index(torch.arange(config.n_tokens)).max()
            self.add_module(table, nn.Embedding(int(last) + 1, config.width))

    def forward(self, x: Tensor) -> Tensor:
        n, most = x.shape[1], self.config.n_tokens
        if self.ends and n > most:
            raise IndexError(f"n_tokens = {n}: the learned table ends at {most}; give no more")
        for table, index in self.index.items():
            x = x + self.get_submodule(table)(index(torch.arange(n, device=x.device)))
        return x


class LearnedFromSinusoidal(Learned):
    """Learned rows that start as the sinusoidal ones."""

    name, colour, streams = "LPE large", "#1f4e8c", {}  # nothing is drawn

    def __init__(self, config):
        super().__init__(config)
        weight = self.rows.weight.data
        weight.copy_(sinusoid(*weight.shape, config.sinusoid_base, weight.device))


class Types(Learned):
    """TPE: p[2i] = a, p[2i + 1] = b: one learned vector for coordinates, one for values."""

    name, colour, ends, streams = "TPE", "#cc78bc", False, {"rows": 1}
    index: ClassVar = {"rows": lambda t: t % 2}


class Pairs(Learned):
    """p[2i] = p[2i + 1] = a learned row an example; raises IndexError past the trained length."""

    name, colour, streams, index = "pair", "#ca9161", {"rows": 2}, {"rows": lambda t: t // 2}


class PairsAndTypes(Learned):
    """The sum of :class:`Pairs` and :class:`Types`."""

    name, colour, streams = "pair + TPE", "#5b3a8c", {"rows": 2, "types": 1}
    index: ClassVar = {"rows": lambda t: t // 2, "types": lambda t: t % 2}


class Rotary(Encoding):
    """q and k turned by t / 10000^(2i H / D) (RoPE; Su et al. 2021, arXiv 2104.09864, eq. 15)."""

    name, colour = "RoPE", "#000000"

    def rotation(self, n_tokens: int) -> Tensor:
        angle = angles(n_tokens, self.config.width // self.config.n_heads, 10_000.0).float()
        return torch.polar(torch.ones_like(angle), angle)


class ALiBi(Encoding):
    """-2^(-8h / H) |s - t| on head h's scores, h = 1 … H (Press et al., arXiv 2108.12409, §3)."""

    name, colour = "ALiBi", "#949494"

    def score_bias(self, n_tokens: int) -> Tensor:
        slopes = 2.0 ** (-8 / self.config.n_heads * torch.arange(1, self.config.n_heads + 1))
        position = torch.arange(n_tokens)
        return -slopes[:, None, None] * (position[:, None] - position).abs()


def angles(n_tokens: int, width: int, base: float) -> Tensor:
    """(L, width / 2): t base^(-2i / width) in float64."""
    position = torch.arange(n_tokens, dtype=torch.float64)[:, None]
    return position * base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


@lru_cache
def sinusoid(n_tokens: int, width: int, base: float, device: torch.device) -> Tensor:
    """(L, D): the rows of :class:`Sinusoidal`, made once a length."""
    angle = angles(n_tokens, width, base)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float().to(device)


MASKS = {  # n tokens -> (L, L), added to the scores: -inf where a token may not look
    "": lambda n: torch.zeros(n, n),  # every token sees every other
    "CM": lambda n: torch.full((n, n), -torch.inf).triu(1),  # none sees a later one
    # The examples see each other, the query sees all, and none of them sees the query.
    "PM": lambda n: nn.functional.pad(torch.full((n - 1, 1), -torch.inf), (n - 1, 0, 0, 1)),
}
DASHES = {"": "--", "CM": "-", "PM": "-."}  # in every figure
# Variant -> its encoding and mask: ``SPE + CM``, ``LPE``, …, ``none``.
VARIANTS = {" + ".join(filter(None, both)) or "none": both for both in product(ENCODINGS, MASKS)}
