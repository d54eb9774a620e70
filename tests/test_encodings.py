"""Each encoding against its published formula, each mask against a small picture of it."""

import math

import numpy as np
import pytest
import torch

from icl_report import config as names
from icl_report import sampler
from icl_report.encodings import ENCODINGS, MASKS, NoEncoding, Rotary, Sinusoidal
from icl_report.model import X_TOKENS, rotate


@pytest.fixture(scope="module")
def built(tiny):
    """built(kind, width=64, …) -> an encoding of two variants, its tables filled."""

    def build(kind, **changes):
        encoding = ENCODINGS[kind](2, tiny(**changes))
        noise = torch.Generator().manual_seed(0)
        for parameter in encoding.parameters():
            torch.nn.init.normal_(parameter, generator=noise)
        return encoding.requires_grad_(False)

    return build


def test_every_name_of_the_configuration_is_there():
    assert ENCODINGS.keys() == names.ENCODINGS.keys()
    assert MASKS.keys() == names.MASKS.keys()


@pytest.mark.parametrize("kind", ENCODINGS)
def test_an_encoding_adds_rows_or_biases_scores_or_turns_and_does_one_of_these_only(built, kind):
    """The shapes that the model asks for, and zeros in all but one of them."""
    encoding = built(kind, width=16, n_heads=2)
    parts = encoding(11), encoding.score_bias(11), encoding.angles(11)
    heads = 2 if kind == "alibi" else 1
    assert [part.shape for part in parts] == [(2, 11, 16), (heads, 11, 11), (11, 4)]
    assert all(part.dtype == torch.float32 for part in parts)
    does = {"none": [], "alibi": [1], "rotary": [2]}.get(kind, [0])
    assert [i for i, part in enumerate(parts) if part.any()] == does


@torch.no_grad()
def test_whichever_encoding_has_angles_turns_queries_and_keys(tiny, perturbed, monkeypatch):
    """With RoPE's angles, the encoding that does nothing is RoPE."""
    config = tiny()
    tokens = sampler.batch(config, 0).tokens
    plain, rope = (
        perturbed(config, (names.VARIANTS[name],))(tokens, X_TOKENS) for name in ("CM", "RoPE + CM")
    )
    assert not torch.allclose(plain, rope)
    monkeypatch.setattr(NoEncoding, "angles", Rotary.angles)
    turned = perturbed(config, (names.VARIANTS["CM"],))(tokens, X_TOKENS)
    torch.testing.assert_close(turned, rope)


@pytest.mark.parametrize(("n_tokens", "width"), [(1, 2), (7, 6), (127, 64)])
def test_the_sinusoidal_table_is_its_formula(tiny, n_tokens, width):
    """p[t, 2i] = sin(t / 10000^(2i / D)), p[t, 2i + 1] = cos of the same."""
    expected = np.empty((n_tokens, width))
    for t in range(n_tokens):
        for i in range(width // 2):
            expected[t, 2 * i] = math.sin(t / 10_000 ** (2 * i / width))
            expected[t, 2 * i + 1] = math.cos(t / 10_000 ** (2 * i / width))
    rows = Sinusoidal(2, tiny(width=width, n_heads=1))(n_tokens)
    for table in rows:
        np.testing.assert_allclose(table, expected, atol=1e-6)


def test_learned_rows_are_the_tables_first(built):
    encoding = built("learned")
    assert torch.equal(encoding(11), encoding.table)
    assert torch.equal(encoding(5), encoding.table[:, :5])
    assert not torch.equal(encoding.table[0], encoding.table[1])  # each variant has its own


@pytest.mark.parametrize("n_tokens", [1, 4, 11, 127])
def test_type_rows_alternate(built, n_tokens):
    """x-tokens are at even positions, y-tokens at odd ones, at any length."""
    encoding = built("types")
    rows = encoding(n_tokens)
    for v in range(2):
        for t in range(n_tokens):
            assert torch.equal(rows[v, t], encoding.types[v, t % 2])


@pytest.mark.parametrize("n_tokens", [1, 4, 11])
def test_pair_rows_repeat(built, n_tokens):
    """x_i and y_i share a row, the query has one of its own, and no two pairs are alike."""
    encoding = built("pairs")
    assert encoding.pairs.shape == (2, 6, 16)  # 5 examples and the query
    rows = encoding(n_tokens)
    assert rows.shape == (2, n_tokens, 16)
    for v in range(2):
        for t in range(n_tokens):
            assert torch.equal(rows[v, t], encoding.pairs[v, t // 2])
        assert len(rows[v].unique(dim=0)) == (n_tokens + 1) // 2


@pytest.mark.parametrize("n_tokens", [1, 4, 11])
def test_pair_and_type_rows_are_the_sum(built, n_tokens):
    """Of those of the two encodings with the same tables."""
    both, pair, kind = (built(name) for name in ("pairs and types", "pairs", "types"))
    pair.pairs.copy_(both.pairs)
    kind.types.copy_(both.types)
    assert torch.equal(both(n_tokens), pair(n_tokens) + kind(n_tokens))
    assert both.state_dict().keys() == {"pairs", "types"}


@pytest.mark.parametrize("kind", ["learned", "pairs", "pairs and types"])
def test_a_learned_table_ends_where_it_was_trained(built, kind):
    """A loud error that names both lengths, one token past the last."""
    encoding = built(kind)
    assert encoding(11).shape == (2, 11, 16)
    with pytest.raises(IndexError, match=r"n_tokens = 12: the learned table ends at 11 tokens"):
        encoding(12)


def turned(encoding, x):
    """What the model does to q and k, x: (…, L, head size)."""
    angles = encoding.angles(x.shape[-2])
    return rotate(x, torch.polar(torch.ones_like(angles), angles))


@pytest.mark.parametrize(("width", "heads"), [(2, 1), (16, 2), (64, 4)])
def test_rope_is_its_rotation_matrices_written_out(built, width, heads):
    """Coordinates 2i and 2i + 1 at position t turn by t · 10000^(-2i / head size) (eq. 15)."""
    size = width // heads
    x = torch.randn(127, size, generator=torch.Generator().manual_seed(0))
    expected = np.empty((127, size))
    for t in range(127):
        for i in range(size // 2):
            angle = t * 10_000 ** (-2 * i / size)
            matrix = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            expected[t, 2 * i : 2 * i + 2] = np.array(matrix) @ x[t, 2 * i : 2 * i + 2].numpy()
    result = turned(built("rotary", width=width, n_heads=heads), x)
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert torch.equal(result[0], x[0])


def test_ropes_scores_depend_on_the_distance_only(built):
    """One q at every position s, one k at every t: q_s · k_t is constant along s - t, signed."""
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    encoding = built("rotary", width=64, n_heads=4)
    scores = turned(encoding, q.expand(127, -1)) @ turned(encoding, k.expand(127, -1)).T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(scores.diagonal(), (q @ k).expand(127), rtol=0, atol=1e-3)
    by_distance = torch.cat([scores[0].flip(0), scores[1:, 0]])  # s - t = -126 … 126
    assert by_distance.std() > 1
    assert (by_distance - by_distance.flip(0)).std() > 1  # before is not behind


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [(4, [1 / 4, 1 / 16, 1 / 64, 1 / 256]), (8, [2.0**-h for h in range(1, 9)])],
)
def test_alibi_subtracts_its_slopes_times_the_distance(built, heads, slopes):
    """The paper's slopes, head by head; 1/2 … 1/256 for 8 heads (§3)."""
    bias = built("alibi", width=64, n_heads=heads).score_bias(127)
    for head, slope in enumerate(slopes):
        expected = [[-slope * abs(s - t) for t in range(127)] for s in range(127)]
        np.testing.assert_allclose(bias[head], expected, rtol=1e-6)


PICTURES = {
    "none": """
        o o o o o
        o o o o o
        o o o o o
        o o o o o
        o o o o o""",
    "causal": """
        o . . . .
        o o . . .
        o o o . .
        o o o o .
        o o o o o""",
    "prefix": """
        o o o o .
        o o o o .
        o o o o .
        o o o o .
        o o o o o""",
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_its_picture(kind):
    """Row: who looks; column: who is seen (o) or hidden (.)."""
    rows = [line.split() for line in PICTURES[kind].strip().splitlines()]
    expected = [[0.0 if mark == "o" else -math.inf for mark in row] for row in rows]
    assert MASKS[kind](5).tolist() == expected


@pytest.mark.parametrize("kind", MASKS)
def test_a_query_without_examples_sees_itself(kind):
    """Or the softmax of its scores would be nan."""
    assert MASKS[kind](1).tolist() == [[0.0]]
