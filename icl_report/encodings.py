"""Positional encodings and attention masks: what tells tokens apart, and who sees whom.

Shapes as in model.py: V variants, L tokens, D width, H heads. A further encoding is one class and
one line in ENCODINGS; a further mask one line in MASKS; both get their name in config.py. A table
starts from random numbers of its own if model.STREAMS has a line for its name.
"""

import math

import torch
from torch import Tensor, nn

from icl_report.config import Config


class NoEncoding(nn.Module):
    """p = 0, and nothing is done to the scores: what an encoding is unless it says otherwise."""

    ends = False  # with a table, at the trained length

    def __init__(self, n_variants: int, config: Config):
        super().__init__()
        self.n_variants, self.width, self.n_heads = n_variants, config.width, config.n_heads

    def forward(self, n_tokens: int) -> Tensor:
        """The rows p to be added to the tokens: (V, L, D)."""
        return torch.zeros(self.n_variants, n_tokens, self.width)

    def initial(self, config: Config) -> Tensor | None:
        """What a table starts as, without the variant axis; None: drawn from N(0, 0.02)."""
        return None

    def score_bias(self, n_tokens: int) -> Tensor:
        """What is added to the scores: (H or 1, L, L)."""
        return torch.zeros(1, n_tokens, n_tokens)

    def angles(self, n_tokens: int) -> Tensor:
        """By how much pairs of coordinates of q and k are turned: (L, D / 2H), in radians."""
        return torch.zeros(n_tokens, self.width // self.n_heads // 2)


class Sinusoidal(NoEncoding):
    """p[t, 2i] = sin(t / 10000^(2i / D)), p[t, 2i + 1] = cos(…) (Vaswani et al. 2017, §3.5)."""

    def forward(self, n_tokens: int) -> Tensor:
        angle = angles(n_tokens, self.width)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()
        return table.expand(self.n_variants, -1, -1)


class SmallSinusoidal(Sinusoidal):
    """Sinusoidal rows times 0.02 √2: as long as learned ones are at the start, 0.02 √D."""

    def forward(self, n_tokens: int) -> Tensor:
        return 0.02 * math.sqrt(2) * super().forward(n_tokens)


class Learned(NoEncoding):
    """p[t] = a learned row a position, as in GPT-2; raises IndexError past the trained length."""

    ends = True

    def __init__(self, n_variants: int, config: Config):
        super().__init__(n_variants, config)
        self.table = nn.Parameter(torch.empty(n_variants, config.n_tokens, config.width))

    def forward(self, n_tokens: int) -> Tensor:
        return rows_of(self.table, n_tokens)


class LearnedFromSinusoidal(Learned):
    """Learned rows that start as the sinusoidal ones."""

    def initial(self, config: Config) -> Tensor:
        return Sinusoidal(1, config)(config.n_tokens)[0]


class Types(NoEncoding):
    """p[2i] = a, p[2i + 1] = b: one learned vector for coordinates, one for values."""

    def __init__(self, n_variants: int, config: Config):
        super().__init__(n_variants, config)
        self.types = nn.Parameter(torch.empty(n_variants, 2, config.width))

    def forward(self, n_tokens: int) -> Tensor:
        return self.types.repeat(1, n_tokens // 2 + 1, 1)[:, :n_tokens]


class Pairs(NoEncoding):
    """p[2i] = p[2i + 1] = a learned row an example; raises IndexError past the trained length."""

    ends = True

    def __init__(self, n_variants: int, config: Config):
        super().__init__(n_variants, config)
        self.pairs = nn.Parameter(torch.empty(n_variants, config.n_examples + 1, config.width))

    def forward(self, n_tokens: int) -> Tensor:
        return rows_of(self.pairs.repeat_interleave(2, dim=1)[:, :-1], n_tokens)


class PairsAndTypes(Pairs):
    """The sum of :class:`Pairs` and :class:`Types`."""

    def __init__(self, n_variants: int, config: Config):
        super().__init__(n_variants, config)
        self.types = nn.Parameter(torch.empty(n_variants, 2, config.width))

    def forward(self, n_tokens: int) -> Tensor:
        return super().forward(n_tokens) + Types.forward(self, n_tokens)


class Rotary(NoEncoding):
    """q and k turned by t / 10000^(2i H / D) (RoPE; Su et al. 2021, arXiv 2104.09864, eq. 15)."""

    def angles(self, n_tokens: int) -> Tensor:
        return angles(n_tokens, self.width // self.n_heads).float()


class ALiBi(NoEncoding):
    """-2^(-8h / H) |s - t| on head h's scores, h = 1 … H (Press et al., arXiv 2108.12409, §3)."""

    def score_bias(self, n_tokens: int) -> Tensor:
        slopes = 2.0 ** (-8 / self.n_heads * torch.arange(1, self.n_heads + 1))
        position = torch.arange(n_tokens)
        return -slopes[:, None, None] * (position[:, None] - position).abs()


def angles(n_tokens: int, width: int) -> Tensor:
    """(L, width / 2): t / 10000^(2i / width) in float64."""
    position = torch.arange(n_tokens, dtype=torch.float64)[:, None]
    return position * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def rows_of(table: Tensor, n_tokens: int) -> Tensor:
    """The first rows of a learned table (V, trained length, D); IndexError if it has too few."""
    if n_tokens > table.shape[1]:
        raise IndexError(
            f"n_tokens = {n_tokens}: the learned table ends at {table.shape[1]} tokens; "
            "give at most that many, or continue it (generalisation.extended)"
        )
    return table[:, :n_tokens]


def no_mask(n_tokens: int) -> Tensor:
    """(L, L): zeros; every token sees every other."""
    return torch.zeros(n_tokens, n_tokens)


def causal_mask(n_tokens: int) -> Tensor:
    """(L, L): 0 on and below the diagonal, -inf above it, to be added to the scores."""
    return torch.full((n_tokens, n_tokens), -math.inf).triu(1)


def prefix_mask(n_tokens: int) -> Tensor:
    """(L, L): the examples see each other, the query sees all, and none of them sees the query."""
    mask = no_mask(n_tokens)
    mask[:-1, -1] = -math.inf
    return mask


ENCODINGS = {
    "none": NoEncoding,
    "sinusoidal": Sinusoidal,
    "small sinusoidal": SmallSinusoidal,
    "learned": Learned,
    "learned from sinusoidal": LearnedFromSinusoidal,
    "types": Types,
    "pairs": Pairs,
    "pairs and types": PairsAndTypes,
    "rotary": Rotary,
    "alibi": ALiBi,
}
MASKS = {"none": no_mask, "causal": causal_mask, "prefix": prefix_mask}
