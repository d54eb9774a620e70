"""Each encoding against its published formula, each mask against a small picture of it."""

import math

import numpy as np
import pytest
import torch

from icl_core import encodings
from icl_core.config import Config
from icl_core.encodings import ENCODINGS, MASKS, VARIANTS, Encoding
from icl_core.model import LoopedTransformer, rotate

ENDING = ("LPE", "LPE large", "pair", "pair + TPE")


def built(name, **changes):
    """An encoding of 11 tokens, 2 heads and width 16 unless changed."""
    sizes = {"n_examples": 5, "n_heads": 2, "width": 16} | changes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ENCODINGS[name](Config(setup="smoke", **sizes)).requires_grad_(False)


def rows(encoding, n_tokens, width=16):
    """(L, D): what the encoding adds."""
    return encoding(torch.zeros(1, n_tokens, width))[0]


def test_the_variants_are_every_encoding_with_every_mask():
    names = ["", "SPE", "SPE small", "LPE", "LPE large", "TPE", "pair", "pair + TPE", "RoPE"]
    assert list(ENCODINGS) == [*names, "ALiBi"]
    assert len(VARIANTS) == len(ENCODINGS) * len(MASKS) == 30
    assert VARIANTS["none"] == ("", "") and VARIANTS["CM"] == ("", "CM")
    assert VARIANTS["pair + TPE + PM"] == ("pair + TPE", "PM")


def test_every_encoding_and_mask_can_be_told_apart_in_a_figure():
    colours = [kind.colour for kind in ENCODINGS.values()]
    assert len(set(colours)) == len(colours)
    assert encodings.DASHES.keys() == MASKS.keys()
    assert len(set(encodings.DASHES.values())) == len(MASKS)


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoding_adds_rows_or_biases_scores_or_turns_and_does_one_of_these_only(name):
    encoding = built(name)
    added, bias, rotation = rows(encoding, 11), encoding.score_bias(11), encoding.rotation(11)
    assert bias.shape == (2 if name == "ALiBi" else 1, 11, 11)
    done = [added.any(), bias.any(), rotation is not None]
    assert [bool(part) for part in done] == {
        **{"": [False, False, False], "ALiBi": [False, True, False]},
        **{"RoPE": [False, False, True]},
    }.get(name, [True, False, False])


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_is_added_depends_on_nothing_but_position(name):
    """x + p, for each prompt and whatever x is."""
    encoding = built(name)
    x = torch.randn(3, 11, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoding(x), x + rows(encoding, 11))


@pytest.mark.parametrize("setup", ["source", "gpt2"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_builds_runs_and_learns(setup, variant):
    """Finite predictions, and a gradient for every parameter."""
    block = Config(setup=setup).model_dump(include={"attention_in_residual", "final_norm", "gelu"})
    config = Config(setup="smoke", variant=variant, b=2, **block)
    model = LoopedTransformer(config)
    predictions = model(torch.randn(2, config.n_tokens, config.d))
    assert predictions.shape == (2, 2, 4) and predictions.isfinite().all()
    predictions.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("base", [math.log(10_000), 10_000.0])
@pytest.mark.parametrize(("n_tokens", "width"), [(1, 2), (7, 6), (127, 64)])
@pytest.mark.parametrize(("name", "scale"), [("SPE", 1), ("SPE small", 0.02 * 2**0.5)])
def test_sinusoidal_rows_are_their_formula(name, scale, n_tokens, width, base):
    """p[t, 2i] = sin(t ω_i), p[t, 2i + 1] = cos(t ω_i), ω_i = base^(-2i / D)."""
    expected = np.empty((n_tokens, width))
    for t in range(n_tokens):
        for i in range(width // 2):
            expected[t, 2 * i] = scale * math.sin(t * base ** (-2 * i / width))
            expected[t, 2 * i + 1] = scale * math.cos(t * base ** (-2 * i / width))
    encoding = built(name, width=width, n_heads=1, sinusoid_base=base)
    np.testing.assert_allclose(rows(encoding, n_tokens, width), expected, atol=1e-6)


def test_small_sinusoidal_rows_are_as_long_as_small_learned_ones():
    lengths = rows(built("SPE small", width=64, n_heads=4), 127, 64).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((127,), 0.02 * 64**0.5))


@pytest.mark.parametrize("base", [math.log(10_000), 10_000.0])
def test_large_learned_rows_start_as_the_sinusoidal_ones(base):
    learned, fixed = (built(name, sinusoid_base=base) for name in ("LPE large", "SPE"))
    assert torch.equal(rows(learned, 11), rows(fixed, 11))
    learned.rows.weight += 1  # a copy: nobody else's rows move
    assert not torch.equal(rows(learned, 11), rows(built("SPE", sinusoid_base=base), 11))


# Position -> which learned rows are summed there, by name.
INDICES = {
    "LPE": lambda t: {"rows": t},
    "LPE large": lambda t: {"rows": t},
    "TPE": lambda t: {"rows": t % 2},
    "pair": lambda t: {"rows": t // 2},
    "pair + TPE": lambda t: {"rows": t // 2, "types": t % 2},
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("n_tokens", [1, 4, 11])
def test_learned_rows_stand_at_their_positions(name, n_tokens):
    """TPE tells x from y; pair gives x_i and y_i one row, and the query one of its own."""
    encoding, found = built(name), INDICES[name]
    added, tables = rows(encoding, n_tokens), dict(encoding.named_parameters())
    assert tables.keys() == {f"{table}.weight" for table in found(0)}
    for t in range(n_tokens):
        expected = sum(tables[f"{table}.weight"][row] for table, row in found(t).items())
        assert torch.equal(added[t], expected)
    used = {table: max(found(t)[table] for t in range(11)) + 1 for table in found(0)}
    assert {table: len(tables[f"{table}.weight"]) for table in used} == used  # no row too many


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_learned_table_ends_loudly_and_other_encodings_do_not(name):
    encoding = built(name)
    assert rows(encoding, 11).shape == (11, 16)
    if name in ENDING:
        with pytest.raises(IndexError, match=r"n_tokens = 12: the learned table ends at 11;"):
            rows(encoding, 12)
    else:
        assert rows(encoding, 301).isfinite().all()
    assert ENCODINGS[name].ends == (name in ENDING)


@pytest.mark.parametrize(("width", "heads"), [(2, 1), (16, 2), (64, 4)])
def test_rope_is_its_rotation_matrices_written_out(width, heads):
    """Coordinates 2i and 2i + 1 at position t turn by t · 10000^(-2i / head size) (eq. 15)."""
    size = width // heads
    x = torch.randn(127, size, generator=torch.Generator().manual_seed(0))
    expected = np.empty((127, size))
    for t in range(127):
        for i in range(size // 2):
            angle = t * 10_000 ** (-2 * i / size)
            matrix = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            expected[t, 2 * i : 2 * i + 2] = np.array(matrix) @ x[t, 2 * i : 2 * i + 2].numpy()
    turned = rotate(x, built("RoPE", width=width, n_heads=heads).rotation(127))
    np.testing.assert_allclose(turned, expected, atol=1e-4)


def test_rope_s_scores_depend_on_the_difference_of_positions_only():
    """One q at every position s, one k at every t: q_s · k_t is constant along s - t, signed."""
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    turn = built("RoPE", width=64, n_heads=4).rotation(127)
    scores = rotate(q.expand(127, -1), turn) @ rotate(k.expand(127, -1), turn).T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(scores.diagonal(), (q @ k).expand(127), rtol=0, atol=1e-3)
    by_difference = torch.cat([scores[0].flip(0), scores[1:, 0]])  # s - t = -126 … 126
    assert by_difference.std() > 1
    assert (by_difference - by_difference.flip(0)).std() > 1  # before is not behind


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [(4, [1 / 4, 1 / 16, 1 / 64, 1 / 256]), (8, [2.0**-h for h in range(1, 9)])],
)
def test_alibi_subtracts_its_slopes_times_the_distance(heads, slopes):
    """The paper's slopes, head by head; 1/2 … 1/256 for 8 heads (§3)."""
    bias = built("ALiBi", width=64, n_heads=heads).score_bias(127)
    for head, slope in enumerate(slopes):
        expected = [[-slope * abs(s - t) for t in range(127)] for s in range(127)]
        np.testing.assert_allclose(bias[head], expected, rtol=1e-6)


PICTURES = {
    "": """
        o o o o o
        o o o o o
        o o o o o
        o o o o o
        o o o o o""",
    "CM": """
        o . . . .
        o o . . .
        o o o . .
        o o o o .
        o o o o o""",
    "PM": """
        o o o o .
        o o o o .
        o o o o .
        o o o o .
        o o o o o""",
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_is_its_picture(mask):
    """Row: who looks; column: who is seen (o) or hidden (.)."""
    lines = [line.split() for line in PICTURES[mask].strip().splitlines()]
    expected = [[0.0 if mark == "o" else -math.inf for mark in line] for line in lines]
    assert MASKS[mask](5).tolist() == expected
    assert MASKS[mask](1).tolist() == [[0.0]]  # or a query without examples would be nan


@pytest.fixture
def registers():
    """ENCODINGS and VARIANTS, put back afterwards."""
    before = dict(ENCODINGS), dict(VARIANTS)
    yield
    for register, old in zip((ENCODINGS, VARIANTS), before):
        register.clear()
        register.update(old)


def test_a_further_encoding_is_one_class(registers):
    class Reversed(Encoding):
        """The sinusoid from behind."""

        name, colour = "REV", "#123456"

        def forward(self, x):
            return x + encodings.sinusoid(*x.shape[1:], 10.0, x.device).flip(0)

    assert ENCODINGS["REV"] is Reversed
    VARIANTS["REV + CM"] = ("REV", "CM")  # what the module's last lines do with its own
    config = Config(setup="smoke").model_copy(update={"variant": "REV + CM"})
    assert config.place == "smoke/rev_cm/b1-seed42"
    model, tokens = LoopedTransformer(config), torch.randn(2, 7, 2)
    assert isinstance(model.encoding, Reversed)
    without = LoopedTransformer(Config(setup="smoke", variant="CM"))
    without.load_state_dict(model.state_dict())
    assert not torch.allclose(model(tokens), without(tokens))
