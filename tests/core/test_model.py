"""The model against its formulas: masks by gradients, loops by hand, blocks by GPT-2."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from icl_core.config import Config
from icl_core.encodings import ENCODINGS, VARIANTS
from icl_core.model import ALL, QUERY, X_TOKENS, Linear, LoopedTransformer

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
SMALL = {"setup": "smoke", "n_examples": 5, "width": 16, "mlp_width": 32}  # 11 tokens, 2 heads
GPT2_BLOCK = {"attention_in_residual": True, "final_norm": True, "gelu": "tanh"}
each_variant = pytest.mark.parametrize("variant", VARIANTS)
each_block = pytest.mark.parametrize("block", [{}, GPT2_BLOCK], ids=["source", "gpt2"])


def tokens_of(config, n_prompts=3, seed=0):
    """Prompts of nobody's distribution: every coordinate of every token is a random number."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n_prompts, config.n_tokens, config.d, generator=random)


def visible(mask, n_tokens):
    """Row: who looks; column: who may be seen."""
    seen = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    if mask == "CM":
        return seen.tril()
    if mask == "PM":
        seen[:-1, -1] = False
    return seen


# The model written out.


def sinusoid(config, n_tokens):
    """The rows of SPE, coordinate by coordinate."""
    return torch.tensor(
        [
            [
                (math.sin, math.cos)[i % 2](t * config.sinusoid_base ** (-(i // 2 * 2) / 16))
                for i in range(16)
            ]
            for t in range(n_tokens)
        ]
    )


def turned(x):
    """RoPE of a head; x: (…, L, head size)."""
    n_tokens, size = x.shape[-2:]
    angle = torch.tensor(
        [[t / 10_000 ** (2 * i / size) for i in range(size // 2)] for t in range(n_tokens)]
    )
    one, two = x[..., 0::2], x[..., 1::2]
    result = torch.empty_like(x)
    result[..., 0::2] = one * angle.cos() - two * angle.sin()
    result[..., 1::2] = one * angle.sin() + two * angle.cos()
    return result


def attention_by_hand(attention, z, config, change):
    """Head for head; z: (B, L, D), change: (heads, L, L)."""
    n_tokens, size = z.shape[1], config.width // config.n_heads
    query, key, value = (z @ attention.qkv.weight.T + attention.qkv.bias).split(config.width, -1)
    turn = turned if config.encoding == "RoPE" else lambda x: x
    distance = torch.tensor([[abs(s - t) for t in range(n_tokens)] for s in range(n_tokens)])
    mixed = []
    for h in range(config.n_heads):
        head = slice(h * size, (h + 1) * size)
        scores = turn(query[..., head]) @ turn(key[..., head]).mT / math.sqrt(size)
        if config.encoding == "ALiBi":
            scores = scores - distance * 2.0 ** (-8 * (h + 1) / config.n_heads)
        scores = (scores + change[h]).masked_fill(~visible(config.mask, n_tokens), -math.inf)
        weights = scores.exp()
        mixed.append(weights / weights.sum(-1, keepdim=True) @ value[..., head])
    return torch.cat(mixed, dim=-1) @ attention.out.weight.T + attention.out.bias


def gelu_by_hand(x, kind):
    if kind == "exact":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def norm_by_hand(norm, x):
    x = x - x.mean(-1, keepdim=True)
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5) * norm.weight + norm.bias


def by_hand(model, tokens, change=None):
    """(b, B, L): the prediction at every token, without any shortcut.

    z_0 = 0; z ← z + e + p; in each block a = z + attention(LN(z)), then z ← (a or z) + MLP(LN(a));
    z ← LN(z) or z; ŷ = the first coordinate of the read-out. change: (b, layers, heads, L, L).
    """
    config, n_tokens = model.config, tokens.shape[1]
    if change is None:
        change = torch.zeros(config.b, config.n_layers, config.n_heads, n_tokens, n_tokens)
    e = tokens @ model.read_in.weight.T + model.read_in.bias
    p = torch.zeros(n_tokens, config.width)
    if config.encoding in ("SPE", "SPE small"):
        p = sinusoid(config, n_tokens) * (0.02 * 2**0.5 if "small" in config.encoding else 1)
    for name, table in model.encoding.named_parameters():
        every = {"TPE": 1, "pair": 2, "pair + TPE": 2}.get(config.encoding, 1)
        alternating = config.encoding == "TPE" or name == "types.weight"
        p = p + torch.stack([table[t % 2 if alternating else t // every] for t in range(n_tokens)])
    z, predictions = torch.zeros_like(e), []
    for t in range(config.b):
        z = z + e + (p if t == 0 or config.injection == "every" else 0)
        for layer, block in enumerate(model.blocks):
            attended = z + attention_by_hand(
                block.attention, norm_by_hand(block.norm_1, z), config, change[t, layer]
            )
            hidden = norm_by_hand(block.norm_2, attended) @ block.mlp_in.weight.T
            hidden = gelu_by_hand(hidden + block.mlp_in.bias, config.gelu)
            mlp = hidden @ block.mlp_out.weight.T + block.mlp_out.bias
            z = (attended if config.attention_in_residual else z) + mlp
        z = norm_by_hand(model.norm, z) if config.final_norm else z
        predictions.append((z @ model.read_out.weight.T + model.read_out.bias)[..., 0])
    return torch.stack(predictions)


@torch.no_grad()
@each_variant
@each_block
def test_the_loop_is_its_recurrence_written_out(perturbed, variant, block):
    config = Config(**SMALL, **block, variant=variant, b=3)
    model, tokens = perturbed(config), tokens_of(config)
    predictions = model(tokens)
    assert predictions.shape == (3, 3, 6)
    torch.testing.assert_close(predictions, by_hand(model, tokens)[..., ::2], **CLOSE)
    changes = (predictions[1:] - predictions[:-1]).abs().amax(dim=(1, 2))
    assert (changes > 1e-3).all()  # or the number of iterations would not be tested


CHOICES = {
    "attention_in_residual": (False, True),
    "final_norm": (False, True),
    "gelu": ("exact", "tanh"),
    "injection": ("every", "first"),
}
SIZES = [{}, {"width": 64, "n_heads": 4, "mlp_width": 128}]  # a compiled block may take the second
each_size = pytest.mark.parametrize("sizes", SIZES, ids=["small", "as wide as the source's"])


@torch.no_grad()
@each_size
@pytest.mark.parametrize("choices", [*product(*CHOICES.values())], ids=str)
def test_every_choice_with_every_other_is_written_out_too(perturbed, choices, sizes):
    config = Config(**SMALL | sizes | dict(zip(CHOICES, choices)), variant="LPE + CM", b=2)
    model, tokens = perturbed(config, scale=0.1), tokens_of(config)
    torch.testing.assert_close(model(tokens, ALL), by_hand(model, tokens), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("name", CHOICES)
def test_each_choice_is_seen_in_the_predictions(perturbed, name):
    """By far more than the comparison above overlooks."""
    one, other = (
        Config(**SMALL, **{name: value}, variant="LPE + CM", b=2) for value in CHOICES[name]
    )
    ours, theirs = perturbed(one, scale=0.4), LoopedTransformer(other)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    difference = (ours(tokens_of(one)) - theirs(tokens_of(one))).abs().max()
    assert difference > 1e-3


@torch.no_grad()
def test_the_first_of_d_outputs_is_the_prediction(perturbed):
    """Of the source's read-out; the textbook's has this one alone."""
    config = Config(**SMALL, d=3)
    model, tokens = perturbed(config), tokens_of(Config(**SMALL, d=3))
    alone = LoopedTransformer(config.model_copy(update={"scalar_read_out": True}))
    first = {name: model.state_dict()[name][:1] for name in ("read_out.weight", "read_out.bias")}
    alone.load_state_dict(model.state_dict() | first)
    torch.testing.assert_close(alone(tokens), model(tokens))
    assert model.read_out.out_features == 3


@torch.no_grad()
@pytest.mark.parametrize("variant", ["LPE + CM", "SPE", "none", "RoPE + CM", "ALiBi + PM"])
@each_block
def test_the_t_th_prediction_is_that_of_a_model_with_t_iterations(perturbed, variant, block):
    """Iterations share the weights and do not depend on how many more will follow."""
    config = Config(**SMALL, **block, variant=variant, b=5)
    looped, tokens = perturbed(config), tokens_of(config)
    predictions = looped(tokens)
    for t in range(1, 6):
        shorter = LoopedTransformer(config.model_copy(update={"b": t}))
        shorter.load_state_dict(looped.state_dict())
        torch.testing.assert_close(shorter(tokens), predictions[:t], **CLOSE)
        torch.testing.assert_close(looped(tokens, loops=t), predictions[:t], **CLOSE)


@torch.no_grad()
def test_one_iteration_of_setup_gpt2_with_learned_rows_and_the_mask_is_gpt2(perturbed):
    """Somebody else's code, given the same weights: order of norms, GELU, scaling, epsilon."""
    from transformers import GPT2Config, GPT2Model

    sizes = {"n_positions": 127, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 256}
    gpt2 = GPT2Model(GPT2Config(**sizes, activation_function="gelu_new")).eval()
    config = Config(setup="gpt2", variant="LPE + CM")
    model, tokens = perturbed(config), tokens_of(config, 2)
    gpt2.wpe.weight.copy_(model.encoding.rows.weight)
    for theirs, ours in zip(gpt2.h, model.blocks):
        for linear, one in (
            (theirs.attn.c_attn, ours.attention.qkv),
            (theirs.attn.c_proj, ours.attention.out),
            (theirs.mlp.c_fc, ours.mlp_in),
            (theirs.mlp.c_proj, ours.mlp_out),
        ):
            linear.weight.copy_(one.weight.T)
            linear.bias.copy_(one.bias)
        for norm, one in ((theirs.ln_1, ours.norm_1), (theirs.ln_2, ours.norm_2)):
            norm.load_state_dict(one.state_dict())
    gpt2.ln_f.load_state_dict(model.norm.state_dict())
    z = gpt2(inputs_embeds=F.linear(tokens, *model.read_in.parameters())).last_hidden_state
    expected = F.linear(z, *model.read_out.parameters())[:, ::2, 0]
    assert expected.std() > 0.1
    torch.testing.assert_close(model(tokens)[0], expected, rtol=1e-4, atol=2e-5)


# Who sees whom.


@each_variant
@each_block
def test_a_token_sees_those_that_the_mask_shows_it_and_no_others(perturbed, variant, block):
    """The gradient of the prediction at i by token j, which no tolerance can blur.

    Causal: none sees a later one. Prefix: the examples see each other both ways, the query sees
    all, none of the examples sees the query. No mask: all see all.
    """
    config = Config(**SMALL, **block, variant=variant, b=2)
    model, tokens = perturbed(config), tokens_of(config, 2).requires_grad_()
    predictions = model(tokens, ALL)[-1]
    seen = torch.zeros(11, 11, dtype=torch.bool)  # row: prediction; column: token
    for i in range(11):
        (gradient,) = torch.autograd.grad(predictions[:, i].sum(), tokens, retain_graph=True)
        seen[i] = (gradient != 0).any(dim=-1).all(dim=0)
        assert torch.equal(seen[i], (gradient != 0).any(dim=-1).any(dim=0))  # no prompt differs
    assert torch.equal(seen, visible(config.mask, 11))


@torch.no_grad()
def change_of_the_answer(model, tokens, order):
    """How far the prediction at the query moves when tokens come in another order."""
    return float((model(tokens[:, order], QUERY)[-1] - model(tokens, QUERY)[-1]).abs().max())


@each_variant
@each_block
def test_the_order_of_examples_is_invisible_only_where_no_position_enters(
    perturbed, variant, block
):
    """A mask by position, or an encoding of it, tells examples apart.

    The prefix mask knows the query only, and TPE an x from a y only.
    """
    config = Config(**SMALL, **block, variant=variant, b=2)
    order = [6, 7, 0, 1, 8, 9, 2, 3, 4, 5, 10]
    change = change_of_the_answer(perturbed(config), tokens_of(config), order)
    invisible = config.encoding in ("", "TPE") and config.mask != "CM"
    assert change < 1e-5 if invisible else change > 1e-3


@each_variant
def test_without_positions_nothing_says_which_y_belongs_to_which_x(perturbed, variant):
    """Permuting single tokens is invisible too: TPE cannot pair x with y either.

    It tells x from y, which pair, that knows the examples, does not: their content has to.
    """
    config = Config(**SMALL, variant=variant)
    model, tokens = perturbed(config), tokens_of(config)
    unpaired = change_of_the_answer(model, tokens, [2, 1, 0, *range(3, 11)])  # x_1 and x_2
    swapped = change_of_the_answer(model, tokens, [1, 0, *range(2, 11)])  # x_1 and y_1
    unmasked = config.mask != "CM"
    assert (unpaired < 1e-5) == (unmasked and config.encoding in ("", "TPE"))
    assert (swapped < 1e-5) == (unmasked and config.encoding in ("", "pair"))


@torch.no_grad()
@each_variant
def test_a_prompt_of_another_length_is_taken_unless_a_learned_table_ends(perturbed, variant):
    """Under the causal mask, and under no other, a longer prompt begins as it did alone."""
    config = Config(**SMALL, variant=variant, b=2)
    model, longer = perturbed(config), torch.randn(2, 33, 2)
    alone = model(longer[:, :11])
    assert model(longer[:, :3]).shape == (2, 2, 2) and model(longer[:, :1]).shape == (2, 2, 1)
    assert torch.equal(model(longer[:, :11]), alone)  # whatever lengths came in between
    if ENCODINGS[config.encoding].ends:
        with pytest.raises(IndexError, match=r"n_tokens = 33: the learned table ends at 11;"):
            model(longer)
    else:
        predictions = model(longer)
        assert predictions.shape == (2, 2, 17) and predictions.isfinite().all()
        begins_alike = torch.allclose(predictions[..., :6], alone, **CLOSE)
        assert begins_alike == (config.mask == "CM")


# What forward can be asked.


@torch.no_grad()
@each_variant
@each_size
def test_a_choice_of_rows_changes_nothing_but_the_rows(perturbed, variant, sizes):
    """The last block computes the wanted rows only; the numbers in them are the same."""
    config = Config(**SMALL | sizes, variant=variant, b=2)
    model, tokens = perturbed(config), tokens_of(config)
    everything = model(tokens, ALL)
    assert everything.shape == (2, 3, 11)
    places = torch.tensor([7, 2, 10])
    for rows, chosen in (
        (X_TOKENS, everything[..., 0::2]),
        (QUERY, everything[..., -1:]),
        (slice(3, -2), everything[..., 3:9]),
        (places, everything[..., places]),
    ):
        torch.testing.assert_close(model(tokens, rows), chosen, **CLOSE)


CHANGES = {  # shape -> the shape that it stands for, (b, layers, heads, L, L)
    "a column, everywhere": (1, 1, 1, 1, 11),
    "a layer": (1, 2, 1, 11, 11),
    "an iteration": (3, 1, 1, 11, 11),
    "a head": (1, 1, 2, 11, 11),
    "all of it": (3, 2, 2, 11, 11),
}


@torch.no_grad()
@pytest.mark.parametrize("shape", CHANGES)
@pytest.mark.parametrize("variant", ["SPE", "LPE + CM", "ALiBi + PM", "RoPE"])
@pytest.mark.parametrize("rows", [ALL, X_TOKENS, torch.tensor([3, 10])], ids=str)
def test_what_is_added_to_the_scores_is_added_where_it_says(perturbed, shape, variant, rows):
    config = Config(**SMALL, variant=variant, b=3)
    model, tokens = perturbed(config), tokens_of(config)
    random = torch.Generator().manual_seed(1)
    change = 2 * torch.randn(CHANGES[shape], generator=random)
    change[torch.rand(change.shape, generator=random) < 0.2] = -math.inf
    change[..., 0] = 0  # somebody must be seen
    expected = by_hand(model, tokens, change.expand(3, 2, 2, 11, 11))[..., rows]
    torch.testing.assert_close(model(tokens, rows, change=change), expected, **CLOSE)
    assert (model(tokens, rows) - expected).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("variant", ["SPE", "LPE + CM", "none"])
def test_a_hidden_token_reaches_no_prediction_but_its_own(perturbed, variant):
    """Whatever stands there, to the bit."""
    config = Config(**SMALL, variant=variant, b=2)
    model, tokens = perturbed(config), tokens_of(config)
    change = torch.zeros(1, 1, 1, 1, 11)
    change[..., [3, 7]] = -math.inf
    other = tokens.clone()
    other[:, [3, 7]] += 1
    others = [t for t in range(11) if t not in (3, 7)]
    before, after = (model(given, ALL, change=change)[..., others] for given in (tokens, other))
    assert torch.equal(before, after)
    assert not torch.equal(model(tokens, ALL)[..., others], model(other, ALL)[..., others])


# What it is made of.


@pytest.mark.parametrize("shape", [(3, 11, 6), (1, 1, 6), (4, 127, 6)])
def test_a_linear_layer_is_torch_s(shape):
    """Values and every gradient, of a convolution here and of what a slice leaves behind."""
    ours, theirs = Linear(6, 5), nn.Linear(6, 5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(*shape[:-1], 2 * shape[-1])
    results = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        y = layer(given[..., ::2])
        assert y.shape == (*shape[:-1], 5)
        (y.sin()).sum().backward()
        results.append([y, given.grad, layer.weight.grad, layer.bias.grad])
    for mine, usual in zip(*results):
        torch.testing.assert_close(mine, usual, **CLOSE)


ROWS = {"LPE": 127, "LPE large": 127, "TPE": 2, "pair": 64, "pair + TPE": 66}


@each_variant
@pytest.mark.parametrize(("setup", "without"), [("source", 101_064), ("gpt2", 100_545)])
def test_the_number_of_parameters(setup, without, variant):
    """LPE adds 8 128, the source text's 8 %."""
    config = Config(setup=setup, variant=variant)
    model = LoopedTransformer(config)
    found = sum(p.numel() for p in model.parameters())
    assert found == without + 64 * ROWS.get(config.encoding, 0)
    assert not list(model.buffers())  # the weights are all there is to record


@each_variant
def test_encodings_and_masks_follow_the_weights_to_their_device(variant):
    """The meta device stands in for a GPU."""
    config = Config(**SMALL, variant=variant, b=2)
    model = LoopedTransformer(config)
    model(tokens_of(config))  # what is made once a length is made once a device, too
    assert model.to("meta")(tokens_of(config).to("meta")).device.type == "meta"
