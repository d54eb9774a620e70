"""The model against its formulas: masks by gradients, loops by hand, blocks by GPT-2."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from icl_report import sampler
from icl_report.config import ABLATIONS, VARIANTS, Config, Variant
from icl_report.model import (
    ALL,
    QUERY,
    X_TOKENS,
    LoopedTransformer,
    parameter_count,
    stack_weights,
    variant_weights,
)

SIX = tuple(VARIANTS[name] for name in ABLATIONS["1_position_and_mask"])
EVERY = tuple(v for v in VARIANTS.values() if v == Variant(v.encoding, v.mask))
ENDING = ("learned", "learned from sinusoidal", "pairs", "pairs and types")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
each_variant = pytest.mark.parametrize("variant", EVERY, ids=lambda variant: variant.name)


def named(*names):
    """The variants of these names."""
    return tuple(VARIANTS[name] for name in names)


def visible(mask, n_tokens):
    """Row: who looks; column: who may be seen."""
    seen = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    if mask == "causal":
        return seen.tril()
    if mask == "prefix":
        seen[:-1, -1] = False
    return seen


@each_variant
@pytest.mark.parametrize("b", [1, 2])
def test_a_token_sees_those_that_the_mask_shows_it_and_no_others(tiny, perturbed, variant, b):
    """The gradient of the prediction at i by token j, which no tolerance can blur.

    Causal: none sees a later one. Prefix: the examples see each other both ways, the query sees
    all, none of the examples sees the query. No mask: all see all.
    """
    model = perturbed(tiny(b=b), (variant,))
    tokens = sampler.batch(tiny(), 0).tokens[:2].clone().requires_grad_()
    n_tokens = tokens.shape[1]
    predictions = model(tokens, ALL)[-1, 0]
    seen = torch.zeros(n_tokens, n_tokens, dtype=torch.bool)  # row: prediction; column: token
    for i in range(n_tokens):
        (gradient,) = torch.autograd.grad(predictions[:, i].sum(), tokens, retain_graph=True)
        seen[i] = (gradient != 0).all(dim=0).any(dim=-1)
        hidden = (gradient == 0).all(dim=0).all(dim=-1)
        assert torch.equal(seen[i], ~hidden)
    assert torch.equal(seen, visible(variant.mask, n_tokens))


def change_of_the_answer(model, tokens, order):
    """How far the prediction at the query moves when tokens come in another order."""
    with torch.no_grad():
        return (model(tokens[:, order], QUERY)[-1] - model(tokens, QUERY)[-1]).abs().max()


@each_variant
@pytest.mark.parametrize("b", [1, 3])
def test_the_order_of_examples_is_invisible_only_where_no_position_enters(
    tiny, perturbed, variant, b
):
    """The reason for the ablations: a mask by position, or an encoding of it, tells examples apart.

    The prefix mask knows the query only, and TPE an x from a y only.
    """
    model, tokens = perturbed(tiny(b=b), (variant,)), sampler.batch(tiny(), 0).tokens
    change = change_of_the_answer(model, tokens, [6, 7, 0, 1, 8, 9, 2, 3, 4, 5, 10])
    if variant.encoding in ("none", "types") and variant.mask != "causal":
        assert change < 1e-5
    else:
        assert change > 1e-3


@each_variant
def test_without_positions_nothing_says_which_y_belongs_to_which_x(tiny, perturbed, variant):
    """Permuting single tokens, not pairs, is invisible too: TPE cannot pair x with y either.

    It tells x from y, which pair, that knows the examples, does not: their content has to.
    """
    model, tokens = perturbed(tiny(), (variant,)), sampler.batch(tiny(), 0).tokens
    unpaired = change_of_the_answer(model, tokens, [2, 1, 0, *range(3, 11)])  # x_1 and x_2
    swapped = change_of_the_answer(model, tokens, [1, 0, *range(2, 11)])  # x_1 and y_1
    unmasked = variant.mask != "causal"
    assert (unpaired < 1e-5) == (unmasked and variant.encoding in ("none", "types"))
    assert (swapped < 1e-5) == (unmasked and variant.encoding in ("none", "pairs"))


def sinusoid(t, i):
    """Row t, coordinate i of the table of width 16."""
    return (math.sin, math.cos)[i % 2](t / 10_000 ** (2 * (i // 2) / 16))


# The rows p of 11 tokens of width 16, from an encoding's tables.
ROWS = {
    "sinusoidal": lambda e: torch.tensor([[sinusoid(t, i) for i in range(16)] for t in range(11)]),
    "small sinusoidal": lambda e: ROWS["sinusoidal"](e) / 50 * 2**0.5,
    "learned": lambda e: e.table[0],
    "learned from sinusoidal": lambda e: e.table[0],
    "types": lambda e: e.types[0, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]],
    "pairs": lambda e: e.pairs[0, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]],
    "pairs and types": lambda e: ROWS["pairs"](e) + ROWS["types"](e),
}


def bias_by_hand(variant):
    """(2, 11, 11): what both heads' scores are biased by."""
    bias = torch.zeros(2, 11, 11)
    if variant.encoding == "alibi":
        distance = torch.tensor([[abs(s - t) for t in range(11)] for s in range(11)])
        bias = torch.stack([-distance / 2**4, -distance / 2**8])
    return bias.masked_fill(~visible(variant.mask, 11), -math.inf)


def turned_by_hand(x):
    """RoPE of a head of 8 coordinates; x: (…, 11, 8)."""
    angle = torch.tensor([[t / 10_000 ** (i / 4) for i in range(4)] for t in range(11)])
    one, two = x[..., 0::2], x[..., 1::2]
    turned = torch.empty_like(x)
    turned[..., 0::2] = one * angle.cos() - two * angle.sin()
    turned[..., 1::2] = one * angle.sin() + two * angle.cos()
    return turned


def attention_by_hand(attention, z, variant):
    """A stack of one's, head for head; z: (1, B, 11, 16)."""
    query, (key, value) = attention.query(z), attention.key_value(z).split(16, dim=-1)
    turn = turned_by_hand if variant.encoding == "rotary" else lambda x: x
    mixed = []
    for head, bias in zip((slice(0, 8), slice(8, 16)), bias_by_hand(variant)):
        q, k = turn(query[..., head]), turn(key[..., head])
        weights = (q @ k.transpose(-1, -2) / 8**0.5 + bias).exp()
        mixed.append(weights / weights.sum(-1, keepdim=True) @ value[..., head])
    return attention.out(torch.cat(mixed, dim=-1))


@each_variant
def test_the_loop_is_its_recurrence_written_out(tiny, perturbed, variant):
    """z_0 = 0; z_{t+1} = LN(blocks(z_t + e + p)); ŷ_t = read_out(z_t), without any shortcut."""
    model = perturbed(tiny(b=4), (variant,))
    tokens = sampler.batch(tiny(), 0).tokens
    with torch.no_grad():
        e = (tokens @ model.read_in.weight[0] + model.read_in.bias[0])[None]
        p = ROWS.get(variant.encoding, lambda _: 0)(model.encodings[variant.encoding])
        z, by_hand = torch.zeros_like(e), []
        for _ in range(4):
            z = z + e + p
            for block in model.blocks:
                z = z + attention_by_hand(block.attention, block.norm_1(z), variant)
                z = z + block.mlp_out(F.gelu(block.mlp_in(block.norm_2(z)), approximate="tanh"))
            z = model.norm(z)
            by_hand.append((z[0] @ model.read_out.weight[0] + model.read_out.bias[0])[:, ::2, 0])
        predictions = model(tokens)
    assert predictions.shape == (4, 1, 8, 6)
    torch.testing.assert_close(predictions[:, 0], torch.stack(by_hand), **CLOSE)
    changes = (predictions[1:] - predictions[:-1]).abs().amax(dim=(1, 2, 3))
    assert (changes > 1e-3).all()  # or the number of iterations would not be tested


@pytest.mark.parametrize("name", ["LPE + CM", "SPE", "none", "RoPE + CM", "ALiBi + PM"])
def test_the_t_th_prediction_is_that_of_a_model_with_t_iterations(tiny, perturbed, name):
    """Iterations share the weights and do not depend on how many more will follow."""
    looped, tokens = perturbed(tiny(b=5), named(name)), sampler.batch(tiny(), 0).tokens
    with torch.no_grad():
        predictions = looped(tokens)
        for t in range(1, 6):
            shorter = LoopedTransformer(tiny(b=t), named(name))
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


STACKS = [
    SIX,
    named(*ABLATIONS["2_two_token_encoding"]),
    named(*ABLATIONS["3_label_leakage"]),
    named("RoPE + CM", "ALiBi", "pair + TPE + PM", "TPE", "LPE + CM", "SPE"),
    named("LPE", "SPE + CM", "LPE + CM"),
    named("SPE", "CM"),
    named("RoPE", "ALiBi + CM", "RoPE + PM", "pair", "pair + TPE", "pair + CM"),
    named("ALiBi", "ALiBi (query)"),  # one bias for both, and one rotation for these:
    named("RoPE + CM", "RoPE + CM (random k)"),
]


@pytest.mark.parametrize("variants", STACKS, ids=lambda stack: ", ".join(v.name for v in stack))
def test_a_stack_is_its_variants_one_by_one(tiny, perturbed, variants):
    """Outputs and gradients of V transformers in one: nothing leaks from one to another."""
    config = tiny(b=2)
    stack, tokens = perturbed(config, variants), sampler.batch(config, 0).tokens
    target = torch.randn(6, generator=torch.Generator().manual_seed(0))
    together = stack(tokens)
    (together - target).pow(2).sum().backward()
    gradients = {name: p.grad for name, p in stack.named_parameters()}
    singles = []
    for i, variant in enumerate(variants):
        single = LoopedTransformer(config, (variant,))
        singles.append(variant_weights(stack.state_dict(), variants, i))
        single.load_state_dict(singles[-1])
        alone = single(tokens)
        torch.testing.assert_close(alone[:, 0], together[:, i], **CLOSE)
        (alone - target).pow(2).sum().backward()
        expected = variant_weights(gradients, variants, i)
        assert expected.keys() == dict(single.named_parameters()).keys()
        for name, parameter in single.named_parameters():
            scale = float(expected[name].abs().max()) + 1e-6
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5 * scale)
    assert (together[0, 0] - together[0, 1]).abs().max() > 1e-3  # the variants do differ
    restacked = stack_weights(singles)
    assert restacked.keys() == stack.state_dict().keys()
    assert all(torch.equal(w, restacked[name]) for name, w in stack.state_dict().items())


@pytest.mark.parametrize("variants", [*((v,) for v in EVERY), EVERY], ids=lambda vs: vs[-1].name)
def test_a_choice_of_rows_changes_nothing_but_the_rows(tiny, perturbed, variants):
    """The last block computes the wanted rows only; the numbers in them are the same."""
    model, tokens = perturbed(tiny(b=2), variants), sampler.batch(tiny(), 0).tokens
    with torch.no_grad():
        everything = model(tokens, ALL)
        assert everything.shape == (2, len(variants), 8, 11)
        torch.testing.assert_close(model(tokens, X_TOKENS), everything[..., 0::2], **CLOSE)
        torch.testing.assert_close(model(tokens, QUERY), everything[..., -1:], **CLOSE)


PADDED = [
    *((variant,) for variant in named("LPE + CM", "none", "PM", "ALiBi + PM", "RoPE")),
    named("RoPE + CM", "ALiBi", "pair + TPE + PM", "TPE", "LPE + CM", "SPE"),
]


@pytest.mark.parametrize("variants", PADDED, ids=lambda stack: ", ".join(v.name for v in stack))
@pytest.mark.parametrize("n_tokens", [1, 11, 15])
def test_padding_is_seen_by_no_prediction_and_no_gradient(
    tiny, perturbed, monkeypatch, variants, n_tokens
):
    """All rows, all weights and the tokens, against prompts that are not padded at all."""
    config = tiny(b=2, n_examples=7)
    model, prompts = perturbed(config, variants), sampler.batch(config, 0).tokens

    def results(alignment):
        monkeypatch.setattr("icl_report.model.ALIGNMENT", alignment)
        model.zero_grad()
        tokens = prompts[:, :n_tokens].clone().requires_grad_()
        bias = model.scores(n_tokens, 1).bias
        predictions = model(tokens, ALL)
        (predictions - 1).pow(2).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        return bias.shape[-1], predictions, gradients | {"tokens": tokens.grad}

    length, predictions, gradients = results(16)
    bare_length, expected, expected_gradients = results(1)
    assert (length, bare_length) == (16, n_tokens)
    assert predictions.shape == (2, len(variants), 8, n_tokens)
    torch.testing.assert_close(predictions, expected, **CLOSE)
    for name, gradient in expected_gradients.items():
        atol = 1e-5 * float(gradient.abs().max()) + 1e-5
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=atol)


def test_parameters_at_the_sources_table():
    """100 545 without an encoding; the learned table adds 8 128, the source text's 8 %."""
    added = {
        "learned": 8_128,
        "learned from sinusoidal": 8_128,
        "types": 128,
        "pairs": 64 * 64,
        "pairs and types": 64 * 64 + 128,
        **dict.fromkeys(["none", "sinusoidal", "small sinusoidal", "rotary", "alibi"], 0),
    }
    for variant in EVERY:
        assert parameter_count(Config(), variant) == 100_545 + added[variant.encoding], variant


TABLES = {
    "learned": {"table"},
    "types": {"types"},
    "pairs": {"pairs"},
    "pairs and types": {"pairs", "types"},
}


def by_role(weights):
    """Weights by name, a learned table's the same in whichever encoding it is."""
    return {n.rpartition(".")[2] if n.startswith("encodings") else n: w for n, w in weights.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_variants_of_a_run_start_alike_wherever_they_share_parameters(tiny, seed):
    """Alone or in a stack, at any b: the differences between variants are then paired."""
    stack = LoopedTransformer(tiny(seed=seed), EVERY).state_dict()
    shared = {}
    for variant in named("LPE", "pair + TPE"):
        shared |= by_role(LoopedTransformer(tiny(seed=seed, b=5), (variant,)).state_dict())
    for i, variant in enumerate(EVERY):
        if variant.encoding == "learned from sinusoidal":
            continue  # its table starts elsewhere, see below
        alone = LoopedTransformer(tiny(seed=seed), (variant,)).state_dict()
        in_stack = variant_weights(stack, EVERY, i)
        assert alone.keys() == in_stack.keys()
        assert all(torch.equal(weight, in_stack[name]) for name, weight in alone.items())
        foreign = {"table", "types", "pairs"} - TABLES.get(variant.encoding, set())
        assert shared.keys() - by_role(alone).keys() == foreign
        assert all(torch.equal(weight, shared[name]) for name, weight in by_role(alone).items())


def test_the_scales_that_are_compared(tiny):
    """A small sinusoid is as long as a learned row, a large learned row starts as a sinusoid."""
    stack = LoopedTransformer(Config(), named("SPE", "SPE small", "LPE", "LPE large"))
    spe, small, lpe, large = stack.positions(127).detach()
    assert torch.equal(large, spe)
    torch.testing.assert_close(small.norm(dim=1), torch.full((127,), 0.02 * 8))
    assert lpe.norm(dim=1).mean().item() == pytest.approx(0.02 * 8, rel=0.02)
    torch.testing.assert_close(spe.norm(dim=1), torch.full((127,), 32**0.5))


def test_a_small_read_in_changes_the_start_of_the_read_in_alone():
    """In a stack too: its neighbours keep theirs."""
    names = ("SPE", "SPE (small read-in)", "LPE (small read-in)", "LPE")
    weights = LoopedTransformer(Config(), named(*names)).state_dict()
    for name, weight in weights.items():
        if not name.startswith(("read_in", "encodings")):
            assert all(torch.equal(own, weight[0]) for own in weight)
    read_in, bias = weights["read_in.weight"], weights["read_in.bias"]
    assert torch.equal(read_in[0], read_in[3]) and torch.equal(read_in[1], read_in[2])
    assert read_in[1].std().item() == pytest.approx(0.02, rel=0.1)
    assert not bias[1:3].any() and bias[0].any() and torch.equal(bias[0], bias[3])


@pytest.mark.parametrize("name", ["SPE + CM", "LPE"])
def test_an_encoding_of_the_first_iteration_is_not_added_again(tiny, perturbed, name):
    """z_1 as ever, z_2 = LN(blocks(z_1 + e)); alone and beside a variant that adds it always."""
    names = (f"{name} (first iteration)", name)
    both, tokens = perturbed(tiny(b=3), named(*names)), sampler.batch(tiny(), 0).tokens
    once = LoopedTransformer(tiny(b=3), named(names[0]))
    once.load_state_dict(variant_weights(both.state_dict(), named(*names), 0))
    with torch.no_grad():
        e = (tokens @ once.read_in.weight[0] + once.read_in.bias[0])[None]
        z, by_hand = e + once.positions(11)[:, None], []
        for _ in range(3):
            for block in once.blocks:
                z = z + attention_by_hand(block.attention, block.norm_1(z), VARIANTS[name])
                z = z + block.mlp_out(F.gelu(block.mlp_in(block.norm_2(z)), approximate="tanh"))
            z = once.norm(z)
            by_hand.append((z[0] @ once.read_out.weight[0] + once.read_out.bias[0])[:, ::2, 0])
            z = z + e
        predictions = both(tokens)
        torch.testing.assert_close(predictions[:, 0], torch.stack(by_hand), **CLOSE)
        torch.testing.assert_close(once(tokens)[:, 0], predictions[:, 0], **CLOSE)
        always = LoopedTransformer(tiny(b=3), named(name))
        always.load_state_dict(variant_weights(both.state_dict(), named(*names), 1))
        torch.testing.assert_close(always(tokens)[:, 0], predictions[:, 1], **CLOSE)


def test_another_seed_starts_elsewhere(tiny):
    """Three seeds with the same weights would be one run counted thrice."""
    one, other = (LoopedTransformer(tiny(seed=seed), EVERY).state_dict() for seed in (0, 1))
    for name in one:
        constant = "norm" in name or ("blocks" in name and name.endswith("bias"))
        constant |= "from sinusoidal" in name
        assert torch.equal(one[name], other[name]) == constant


@pytest.mark.parametrize("name", ["LPE + CM", "pair + TPE"])
def test_initial_scales(name):
    """GPT-2's inside the blocks, nn.Linear's outside: how long the plateau lasts hangs on them."""
    model = LoopedTransformer(Config(), named(name))
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
            tolerance = max(0.05, 3 * values.numel() ** -0.5)  # types has 128 numbers only
            assert values.std().item() == pytest.approx(expected, rel=tolerance), name
            assert abs(values.mean()) < tolerance * expected


def test_no_two_tables_start_from_the_same_random_numbers():
    """Correlated starts would be an encoding that knows the weights it is read by."""
    drawn = [
        weight.flatten()[:128]
        for variant in named("LPE", "pair + TPE")
        for name, weight in by_role(LoopedTransformer(Config(), (variant,)).state_dict()).items()
        if name in ("table", "types", "pairs")
        or (variant.encoding == "learned" and "blocks" in name and name.endswith("weight"))
    ]
    correlations = np.corrcoef(torch.stack(drawn))
    assert correlations.shape == (13, 13)
    assert np.abs(correlations - np.eye(13)).max() < 0.5


@pytest.mark.parametrize("encoding", ["LPE", "LPE large", "pair", "pair + TPE"])
@pytest.mark.parametrize("mask", ["", " + CM", " + PM"])
def test_a_learned_table_ends_where_it_was_trained(tiny, encoding, mask):
    """A loud error that names the length, instead of a wrong row or a message about shapes."""
    model = LoopedTransformer(tiny(), named(encoding + mask))
    longer = torch.zeros(2, 13, 2)
    with pytest.raises(IndexError, match=r"n_tokens = 13: the learned table ends at 11 tokens"):
        model(longer)
    assert model(longer[:, :11]).shape == (1, 1, 2, 6)
    assert model(longer[:, :3]).shape == (1, 1, 2, 2)


UNENDING = [v for v in EVERY if v.encoding not in ENDING]


@pytest.mark.parametrize("variant", UNENDING, ids=lambda variant: variant.name)
def test_other_encodings_take_any_length(tiny, perturbed, variant):
    """The extrapolation to other lengths needs no other model; a prompt begins as it did alone."""
    model = perturbed(tiny(), (variant,))
    tokens = torch.randn(2, 33, 2, generator=torch.Generator().manual_seed(0))
    predictions = model(tokens)
    assert predictions.shape == (1, 1, 2, 17) and predictions.isfinite().all()
    alike = torch.allclose(predictions[..., :6], model(tokens[:, :11]), **CLOSE)
    assert alike == (variant.mask == "causal")


@pytest.mark.parametrize("variants", [SIX, EVERY, named("RoPE + CM"), named("ALiBi")], ids=str)
def test_a_stack_lives_on_one_device(tiny, variants):
    """Encodings and masks follow the weights; the meta device stands in for a GPU."""
    config = tiny()
    model = LoopedTransformer(config, variants).to("meta")
    tokens = torch.empty(3, config.n_tokens, config.d, device="meta")
    assert model(tokens).device.type == "meta"
