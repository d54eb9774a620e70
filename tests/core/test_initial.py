"""Initial weights: the source's in its order, the textbook's scales, and who shares what."""

import numpy as np
import pytest
import torch
from torch import nn

from icl_core.config import Config
from icl_core.encodings import VARIANTS
from icl_core.initial import initial_model

TABLES = {"LPE": [127], "LPE large": [127], "TPE": [2], "pair": [64], "pair + TPE": [64, 2]}


def weights_of(**parameters):
    """Name -> initial weight."""
    return dict(initial_model(Config(**parameters))[0].named_parameters())


def source_by_hand(config):
    """Torch's defaults, layer after layer: weights in the order of making, and the state after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        made = [nn.Linear(config.d, 64)]
        made += [nn.Embedding(n_rows, 64) for n_rows in TABLES.get(config.encoding, [])]
        for _ in range(2):
            made += [nn.LayerNorm(64), nn.Linear(64, 192), nn.Linear(64, 64)]
            made += [nn.LayerNorm(64), nn.Linear(64, 256), nn.Linear(256, 64)]
        made += [nn.LayerNorm(64)] if config.final_norm else []
        made.append(nn.Linear(64, config.d))
        return [p for layer in made for p in layer.parameters()], torch.get_rng_state()


@pytest.mark.parametrize("seed", [42, 451])
@pytest.mark.parametrize("setup", ["source", "source+d5", "source+final-norm"])
@pytest.mark.parametrize("variant", ["none", "SPE + CM", "LPE", "TPE + CM", "pair + TPE", "RoPE"])
def test_the_source_s_weights_are_torch_s_defaults_in_the_order_of_making(setup, variant, seed):
    config = Config(setup=setup, variant=variant, seed=seed)
    expected, state = source_by_hand(config)
    model, after = initial_model(config)
    ours = list(model.parameters())
    assert [p.shape for p in ours] == [p.shape for p in expected]
    assert all(torch.equal(p, q) for p, q in zip(ours, expected))
    assert torch.equal(after.get_state(), state)


@pytest.mark.parametrize("setup", ["source", "gpt2"])
def test_torch_s_own_generator_is_left_as_it_was(setup):
    before = torch.get_rng_state()
    model, after = initial_model(Config(setup=setup, variant="LPE"))
    torch.rand(3, generator=after)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    again, _ = initial_model(Config(setup=setup, variant="LPE"))  # nor does it matter
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters()))
    torch.set_rng_state(before)


def same(ours, theirs):
    """Names of the weights that both have and that are equal."""
    return {name for name in ours.keys() & theirs.keys() if torch.equal(ours[name], theirs[name])}


@pytest.mark.parametrize("setup", ["source", "gpt2"])
def test_another_seed_starts_elsewhere(setup):
    """Three seeds with the same weights would be one run counted thrice."""
    one, other = (weights_of(setup=setup, variant="pair + TPE", seed=seed) for seed in (0, 1))
    constant = {name for name in one if "norm" in name}
    if setup == "gpt2":
        constant |= {name for name in one if "blocks" in name and name.endswith("bias")}
    assert same(one, other) == constant


@pytest.mark.parametrize("setup", ["source", "gpt2"])
@pytest.mark.parametrize("variant", ["CM", "LPE + CM"])
def test_the_number_of_iterations_does_not_move_the_start(setup, variant):
    one, five = (weights_of(setup=setup, variant=variant, b=b) for b in (1, 5))
    assert same(one, five) == one.keys()


def test_in_setup_gpt2_all_variants_of_a_seed_share_what_they_have_in_common():
    """The differences between variants are then paired; the large table starts elsewhere."""
    shared = weights_of(setup="gpt2", variant="LPE") | {
        name.replace("encoding.rows", "pairs"): weight
        for name, weight in weights_of(setup="gpt2", variant="pair + TPE").items()
        if name.startswith("encoding")
    }
    names = {"LPE": {"rows": "encoding.rows"}, "pair": {"rows": "pairs"}}
    names |= {"pair + TPE": names["pair"] | {"types": "encoding.types"}}
    names |= {"TPE": {"rows": "encoding.types"}, "LPE large": {}}
    for variant, (encoding, _) in VARIANTS.items():
        weights = weights_of(setup="gpt2", variant=variant)
        for name, weight in weights.items():
            if not name.startswith("encoding"):
                assert torch.equal(weight, shared[name]), (variant, name)
        for table, name in names.get(encoding, {}).items():
            assert torch.equal(weights[f"encoding.{table}.weight"], shared[f"{name}.weight"])


def encoding_of(variant):
    return VARIANTS[variant][0]


def test_in_setup_source_only_those_without_a_table_share_their_blocks():
    """The table is drawn before the blocks: EXPERIMENT.md's groups of paired variants."""
    names = ["none", "CM", "SPE", "SPE + CM", "LPE", "LPE + CM", "TPE"]
    of = {variant: weights_of(variant=variant) for variant in names}
    blocks = {n for n in of["none"] if n.startswith("blocks") and "norm" not in n}
    for one in names:
        for other in names:
            paired = TABLES.get(encoding_of(one)) == TABLES.get(encoding_of(other))
            assert (blocks <= same(of[one], of[other])) == paired
            assert {"read_in.weight", "read_in.bias"} <= same(of[one], of[other])


@pytest.mark.parametrize("variant", ["LPE + CM", "pair + TPE"])
def test_the_textbook_s_scales(variant):
    """GPT-2's inside the blocks, torch's outside: how long the plateau lasts hangs on them."""
    for name, parameter in weights_of(setup="gpt2", variant=variant).items():
        place, kind = name.rsplit(".", 1)
        values = parameter.detach()
        if "norm" in place:
            assert (values == (1 if kind == "weight" else 0)).all()
        elif place in ("read_in", "read_out"):
            bound = (5 if place == "read_in" else 64) ** -0.5
            assert values.abs().max() <= bound
            if values.numel() > 1:
                assert values.abs().max() > 0.9 * bound
                assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)
        elif kind == "bias":
            assert (values == 0).all()
        else:
            residual = place.endswith(("attention.out", "mlp_out"))
            expected = 0.01 if residual else 0.02  # 0.02 / √(2 · 2 layers)
            tolerance = max(0.05, 3 * values.numel() ** -0.5)  # types has 128 numbers only
            assert values.std().item() == pytest.approx(expected, rel=tolerance), name
            assert abs(values.mean()) < tolerance * expected


def test_residual_projections_shrink_with_depth():
    weights = weights_of(setup="gpt2", n_layers=8)
    assert weights["blocks.7.mlp_out.weight"].std().item() == pytest.approx(0.005, rel=0.05)


RECORDED = {  # the last number of weights that the first edition's runs of seed 0 began with
    "read_in.weight": 0.3734927475452423,
    "blocks.0.mlp_in.weight": 0.007319139316678047,
    "blocks.1.attention.qkv.weight": -0.006929765455424786,
    "read_out.bias": -0.08146069198846817,
}


@pytest.mark.parametrize(
    ("variant", "tables"),
    [
        ("LPE + CM", {"encoding.rows.weight": -0.006203718949109316}),
        ("TPE", {"encoding.rows.weight": 0.0011002406245097518}),
        ("pair + CM", {"encoding.rows.weight": 0.012770500965416431}),
    ],
)
def test_the_textbook_s_weights_go_on_with_the_series_that_is_recorded(variant, tables):
    expected = RECORDED | tables
    weights = weights_of(setup="gpt2", variant=variant, seed=0)
    assert {name: weights[name].flatten()[-1].item() for name in expected} == expected


def both(one, other):
    """The initial weights of two configs, and whether the same random numbers follow."""
    (ours, after), (theirs, after_too) = initial_model(one), initial_model(other)
    follow_alike = torch.equal(after.get_state(), after_too.get_state())
    return dict(ours.named_parameters()), dict(theirs.named_parameters()), follow_alike


@pytest.mark.parametrize("variant", ["LPE", "SPE + CM", "pair + TPE"])
def test_gpt2_s_blocks_in_the_source_s_setup_leave_prompts_and_other_weights(variant):
    mixed = Config(setup="source+gpt2-init", variant=variant)
    ours, theirs, follow_alike = both(mixed, Config(variant=variant))
    blocks = {name for name in ours if name.startswith("blocks") and "norm" not in name}
    assert same(ours, theirs) == ours.keys() - blocks and follow_alike
    assert not any(ours[name].any() for name in blocks if name.endswith("bias"))
    assert ours["blocks.0.mlp_in.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert ours["blocks.0.mlp_out.weight"].std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("variant", ["LPE", "LPE + CM", "TPE", "pair + TPE"])
def test_a_small_table_is_the_source_s_times_two_hundredths(variant):
    small = Config(setup="source+small-table", variant=variant)
    ours, theirs, follow_alike = both(small, Config(variant=variant))
    tables = {name for name in ours if name.startswith("encoding")}
    assert same(ours, theirs) == ours.keys() - tables and follow_alike
    for name in tables:
        torch.testing.assert_close(ours[name], 0.02 * theirs[name])
        assert theirs[name].std().item() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("setup", ["source", "gpt2"])
def test_the_large_table_starts_as_the_sinusoid_whatever_the_scale_of_others(setup):
    large = weights_of(setup=setup, variant="LPE large", table_std=0.5)["encoding.rows.weight"]
    spe = initial_model(Config(setup=setup, variant="SPE"))[0].encoding
    assert torch.equal(large, spe(torch.zeros(1, 127, 64))[0])


@pytest.mark.parametrize("setup", ["source", "gpt2"])
@pytest.mark.parametrize("variant", ["SPE", "LPE"])
def test_a_small_read_in_changes_the_start_of_the_read_in_alone(setup, variant):
    small = Config(setup=f"{setup}+small-read-in", variant=variant)
    ours, theirs, follow_alike = both(small, Config(setup=setup, variant=variant))
    assert same(ours, theirs) == ours.keys() - {"read_in.weight", "read_in.bias"} and follow_alike
    assert ours["read_in.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert not ours["read_in.bias"].any()


def test_no_two_tables_start_from_the_same_random_numbers():
    """Correlated starts would be an encoding that knows the weights it is read by."""
    drawn = [
        (weight if name.startswith("encoding") else weight.T).detach().flatten()[:128]
        for variant in ("LPE", "pair + TPE")
        for name, weight in weights_of(setup="gpt2+small-read-in", variant=variant).items()
        if name.startswith("encoding")
        or (variant == "LPE" and name.endswith("weight") and "norm" not in name)
    ]
    drawn = [values for values in drawn if len(values) == 128]  # the read-out has 64 numbers
    correlations = np.corrcoef(torch.stack(drawn))
    assert correlations.shape == (12, 12)
    assert np.abs(correlations - np.eye(12)).max() < 0.5
