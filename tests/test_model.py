"""The model against its formulas: masks by gradients, loops by hand, blocks by GPT-2."""

import math

import numpy as np
import pytest
import torch
from conftest import single_weights

from icl_core import sampler
from icl_core.config import VARIANTS, Config
from icl_core.model import (
    ALL,
    QUERY,
    X_TOKENS,
    LoopedTransformer,
    parameter_count,
    sinusoidal_table,
    stack_weights,
)

SIX = tuple(VARIANTS.values())
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
each_variant = pytest.mark.parametrize("variant", SIX, ids=list(VARIANTS))


@each_variant
@pytest.mark.parametrize("b", [1, 2])
def test_no_token_sees_a_later_one_under_the_mask_and_every_one_does_without(
    tiny, perturbed, variant, b
):
    """The gradient of the prediction at i by token j, which no tolerance can blur."""
    model = perturbed(tiny(b=b), (variant,))
    tokens = sampler.batch(tiny(), 0).tokens[:2].clone().requires_grad_()
    n_tokens = tokens.shape[1]
    predictions = model(tokens, ALL)[-1, 0]
    seen = torch.zeros(n_tokens, n_tokens, dtype=torch.bool)  # row: prediction; column: token
    for i in range(n_tokens):
        (gradient,) = torch.autograd.grad(predictions[:, i].sum(), tokens, retain_graph=True)
        seen[i] = (gradient != 0).all(dim=0).any(dim=-1)
    everything = torch.ones_like(seen)
    expected = everything.tril() if variant.mask == "causal" else everything
    assert torch.equal(seen, expected)


@each_variant
@pytest.mark.parametrize("b", [1, 3])
def test_only_without_encoding_and_mask_the_order_of_examples_is_invisible(
    tiny, perturbed, variant, b
):
    """The reason for the ablation: an encoding or a mask is what tells positions apart."""
    model = perturbed(tiny(b=b), (variant,))
    tokens = sampler.batch(tiny(), 0).tokens
    order = torch.tensor([3, 0, 4, 1, 2])
    examples = tokens[:, :-1].unflatten(1, (5, 2))[:, order].flatten(1, 2)
    permuted = torch.cat([examples, tokens[:, -1:]], dim=1)
    with torch.no_grad():
        change = (model(permuted, QUERY)[-1] - model(tokens, QUERY)[-1]).abs().max()
    if variant == VARIANTS["none"]:
        assert change < 1e-5
    else:
        assert change > 1e-3


@each_variant
def test_without_encoding_nor_mask_x_and_y_tokens_are_told_apart_by_content_only(
    tiny, perturbed, variant
):
    """Permuting single tokens, not pairs, is invisible too: such a model cannot pair x with y."""
    model = perturbed(tiny(), (variant,))
    tokens = sampler.batch(tiny(), 0).tokens
    unpaired = tokens[:, [2, 1, 0, 3, 4, 5, 6, 7, 8, 9, 10]]  # x_1 and x_2 change places
    with torch.no_grad():
        change = (model(unpaired, QUERY)[-1] - model(tokens, QUERY)[-1]).abs().max()
    assert (change < 1e-5) == (variant == VARIANTS["none"])


@each_variant
def test_the_loop_is_its_recurrence_written_out(tiny, perturbed, variant):
    """z_0 = 0; z_{t+1} = LN(blocks(z_t + e + p)); ŷ_t = read_out(z_t), without any shortcut."""
    model = perturbed(tiny(b=4), (variant,))
    tokens = sampler.batch(tiny(), 0).tokens
    bias = torch.zeros(11, 11)
    if variant.mask == "causal":
        for i in range(11):
            bias[i, i + 1 :] = -math.inf
    with torch.no_grad():
        e = (tokens @ model.read_in.weight[0] + model.read_in.bias[0])[None]
        p = {
            "none": lambda: torch.zeros(11, 16),
            "sinusoidal": lambda: sinusoidal_table(11, 16),
            "learned": lambda: model.encodings["learned"].table[0],
        }[variant.encoding]()
        z, by_hand = torch.zeros_like(e), []
        for _ in range(4):
            z = z + e + p
            for block in model.blocks:
                z = block(z, bias)
            z = model.norm(z)
            by_hand.append((z[0] @ model.read_out.weight[0] + model.read_out.bias[0])[:, ::2, 0])
        predictions = model(tokens)
    assert predictions.shape == (4, 1, 8, 6)
    torch.testing.assert_close(predictions[:, 0], torch.stack(by_hand), **CLOSE)
    changes = (predictions[1:] - predictions[:-1]).abs().amax(dim=(1, 2, 3))
    assert (changes > 1e-3).all()  # or the number of iterations would not be tested


@pytest.mark.parametrize("variant", ["LPE + CM", "SPE", "none"])
def test_the_t_th_prediction_is_that_of_a_model_with_t_iterations(tiny, perturbed, variant):
    """Iterations share the weights and do not depend on how many more will follow."""
    config = tiny(b=5, variants=(variant,))
    looped, tokens = perturbed(config), sampler.batch(config, 0).tokens
    with torch.no_grad():
        predictions = looped(tokens)
        for t in range(1, 6):
            shorter = LoopedTransformer(tiny(b=t, variants=(variant,)), config.stack)
            shorter.load_state_dict(looped.state_dict())
            torch.testing.assert_close(shorter(tokens), predictions[:t], **CLOSE)
            torch.testing.assert_close(looped(tokens, loops=t), predictions[:t], **CLOSE)


def test_one_iteration_with_a_learned_encoding_and_the_mask_is_gpt2(perturbed):
    """Somebody else's code, given the same weights: order of norms, GELU, scaling, epsilon."""
    from transformers import GPT2Config, GPT2Model

    sizes = {"n_positions": 127, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 256}
    gpt2 = GPT2Model(GPT2Config(**sizes, activation_function="gelu_new")).eval()
    config = Config(variants=("LPE + CM",), batch_size=2)
    model = perturbed(config)
    with torch.no_grad():
        gpt2.wpe.weight.copy_(model.encodings["learned"].table[0])
        for theirs, ours in zip(gpt2.h, model.blocks):
            query, key_value = ours.attention.query, ours.attention.key_value
            qkv = theirs.attn.c_attn
            qkv.weight.copy_(torch.cat([query.weight[0], key_value.weight[0]], dim=1))
            qkv.bias.copy_(torch.cat([query.bias[0, 0], key_value.bias[0, 0]]))
            for linear, one in (
                (theirs.attn.c_proj, ours.attention.out),
                (theirs.mlp.c_fc, ours.mlp_in),
                (theirs.mlp.c_proj, ours.mlp_out),
            ):
                linear.weight.copy_(one.weight[0])
                linear.bias.copy_(one.bias[0, 0])
            for norm, one in ((theirs.ln_1, ours.norm_1), (theirs.ln_2, ours.norm_2)):
                norm.weight.copy_(one.gain.flatten())
                norm.bias.copy_(one.bias.flatten())
        gpt2.ln_f.weight.copy_(model.norm.gain.flatten())
        gpt2.ln_f.bias.copy_(model.norm.bias.flatten())
        tokens = sampler.batch(config, 0).tokens
        embedded = tokens @ model.read_in.weight[0] + model.read_in.bias[0]
        z = gpt2(inputs_embeds=embedded).last_hidden_state
        expected = (z @ model.read_out.weight[0] + model.read_out.bias[0])[:, ::2, 0]
        predictions = model(tokens)[0, 0]
    assert expected.std() > 0.1
    torch.testing.assert_close(predictions, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("names", [tuple(VARIANTS), ("LPE", "SPE + CM", "LPE + CM"), ("SPE", "CM")])
def test_a_stack_is_its_variants_one_by_one(tiny, perturbed, names):
    """Outputs and gradients of V transformers in one: nothing leaks from one to another."""
    config = tiny(b=2, variants=names)
    stack, tokens = perturbed(config), sampler.batch(config, 0).tokens
    target = torch.randn(6, generator=torch.Generator().manual_seed(0))
    together = stack(tokens)
    (together - target).pow(2).sum().backward()
    gradients = {name: p.grad for name, p in stack.named_parameters()}
    singles = []
    for i, variant in enumerate(config.stack):
        single = LoopedTransformer(config, (variant,))
        singles.append(single_weights(stack.state_dict(), config.stack, i))
        single.load_state_dict(singles[-1])
        alone = single(tokens)
        torch.testing.assert_close(alone[:, 0], together[:, i], **CLOSE)
        (alone - target).pow(2).sum().backward()
        expected = single_weights(gradients, config.stack, i)
        assert expected.keys() == dict(single.named_parameters()).keys()
        for name, parameter in single.named_parameters():
            scale = float(expected[name].abs().max()) + 1e-6
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5 * scale)
    assert (together[0, 0] - together[0, 1]).abs().max() > 1e-3  # the variants do differ
    restacked = stack_weights(singles)
    assert restacked.keys() == stack.state_dict().keys()
    assert all(torch.equal(w, restacked[name]) for name, w in stack.state_dict().items())


@pytest.mark.parametrize("names", [(name,) for name in VARIANTS] + [tuple(VARIANTS)], ids=str)
def test_a_choice_of_rows_changes_nothing_but_the_rows(tiny, perturbed, names):
    """The last block computes the wanted rows only; the numbers in them are the same."""
    config = tiny(b=2, variants=names)
    model, tokens = perturbed(config), sampler.batch(config, 0).tokens
    with torch.no_grad():
        everything = model(tokens, ALL)
        assert everything.shape == (2, len(names), 8, 11)
        torch.testing.assert_close(model(tokens, X_TOKENS), everything[..., 0::2], **CLOSE)
        torch.testing.assert_close(model(tokens, QUERY), everything[..., -1:], **CLOSE)


@pytest.mark.parametrize(("n_tokens", "width"), [(1, 2), (7, 6), (127, 64)])
def test_the_sinusoidal_table_is_its_formula(n_tokens, width):
    """p[t, 2i] = sin(t / 10000^(2i / D)), p[t, 2i + 1] = cos of the same."""
    expected = np.empty((n_tokens, width))
    for t in range(n_tokens):
        for i in range(width // 2):
            expected[t, 2 * i] = math.sin(t / 10_000 ** (2 * i / width))
            expected[t, 2 * i + 1] = math.cos(t / 10_000 ** (2 * i / width))
    np.testing.assert_allclose(sinusoidal_table(n_tokens, width), expected, atol=1e-6)


def test_parameters_at_the_sources_table():
    """100 545 without an encoding; the learned table adds 8 128, the source text's 8 %."""
    count = {name: parameter_count(Config(), variant) for name, variant in VARIANTS.items()}
    assert count["none"] == count["CM"] == count["SPE"] == count["SPE + CM"] == 100_545
    assert count["LPE"] == count["LPE + CM"] == 100_545 + 8_128
    assert round(100 * 8_128 / 100_545, 1) == 8.1


@pytest.mark.parametrize("seed", [0, 1])
def test_variants_of_a_run_start_alike_wherever_they_share_parameters(tiny, seed):
    """Alone or in a stack, at any b: the differences between variants are then paired."""
    config = tiny(seed=seed, variants=tuple(VARIANTS))
    stack = LoopedTransformer(config, config.stack).state_dict()
    shared = LoopedTransformer(tiny(seed=seed, b=5), (VARIANTS["LPE"],)).state_dict()
    for i, variant in enumerate(config.stack):
        alone = LoopedTransformer(config, (variant,)).state_dict()
        in_stack = single_weights(stack, config.stack, i)
        assert alone.keys() == in_stack.keys()
        has_table = variant.encoding == "learned"
        assert shared.keys() - alone.keys() == (set() if has_table else {"encodings.learned.table"})
        for name, weight in alone.items():
            assert torch.equal(weight, in_stack[name])
            assert torch.equal(weight, shared[name])


def test_another_seed_starts_elsewhere(tiny):
    """Three seeds with the same weights would be one run counted thrice."""
    one, other = (LoopedTransformer(tiny(seed=seed), SIX).state_dict() for seed in (0, 1))
    for name in one:
        constant = "norm" in name or ("blocks" in name and name.endswith("bias"))
        assert torch.equal(one[name], other[name]) == constant


def test_initial_scales():
    """GPT-2's inside the blocks, nn.Linear's outside: how long the plateau lasts hangs on them."""
    model = LoopedTransformer(Config(), (VARIANTS["LPE + CM"],))
    for name, parameter in model.named_parameters():
        kind, values = name.rsplit(".", 1)[1], parameter.detach()
        if kind == "gain":
            assert (values == 1).all()
        elif name.startswith(("read_in", "read_out")):
            bound = (5 if name.startswith("read_in") else 64) ** -0.5
            assert values.abs().max() <= bound
            if values.numel() > 1:
                assert values.abs().max() > 0.9 * bound
                assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)
        elif kind == "bias":
            assert (values == 0).all()
        else:
            residual = name.endswith(("attention.out.weight", "mlp_out.weight"))
            expected = 0.01 if residual else 0.02  # 0.02 / √(2 · 2 layers)
            assert values.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(values.mean()) < 0.05 * expected
    weights = [p.flatten()[:64] for n, p in model.blocks.named_parameters() if n.endswith("weight")]
    assert len({w.numpy(force=True).tobytes() for w in weights}) == len(weights) == 10


@pytest.mark.parametrize("name", ["LPE", "LPE + CM"])
def test_the_learned_table_ends_where_it_was_trained(tiny, name):
    """A loud error that names the length, instead of a wrong row or a message about shapes."""
    config = tiny(variants=(name,))
    model, longer = LoopedTransformer(config, config.stack), torch.zeros(2, 13, 2)
    with pytest.raises(IndexError, match=r"n_tokens = 13: the learned table ends at 11 tokens"):
        model(longer)
    assert model(longer[:, :11]).shape == (1, 1, 2, 6)
    assert model(longer[:, :3]).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("name", ["SPE", "SPE + CM", "CM", "none"])
def test_other_encodings_take_any_length(tiny, name):
    """The extrapolation to other lengths needs no other model."""
    config = tiny(variants=(name,))
    predictions = LoopedTransformer(config, config.stack)(torch.randn(2, 33, 2))
    assert predictions.shape == (1, 1, 2, 17) and predictions.isfinite().all()


def test_a_stack_lives_on_one_device(tiny):
    """Encodings and masks follow the weights; the meta device stands in for a GPU."""
    config = tiny()
    model = LoopedTransformer(config, config.stack).to("meta")
    tokens = torch.empty(3, config.n_tokens, config.d, device="meta")
    assert model(tokens).device.type == "meta"
