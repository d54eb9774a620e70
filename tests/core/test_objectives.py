"""What a step asks: each objective its own tokens, and of a hidden answer nobody knows anything."""

import math

import numpy as np
import pytest
import torch

from icl_core import objectives, sampler
from icl_core.config import HINTS, OBJECTIVES, Config
from icl_core.model import ALL, LoopedTransformer
from icl_core.objectives import asked

SMALL = {"setup": "smoke", "n_examples": 5, "width": 16, "batch_size": 8}


def config_of(objective, **changes):
    return Config(**SMALL | changes, objective=objective)


@pytest.fixture
def prompts():
    """Of five examples."""
    return sampler.source_prompts(torch.Generator().manual_seed(0), config_of("all"), 8)


def test_the_objectives_are_those_of_the_configuration():
    assert list(objectives.BY_NAME) == list(OBJECTIVES)


@pytest.mark.parametrize("step", [0, 7])
def test_all_asks_of_every_x_token(prompts, step):
    tokens, answers, rows, change = asked(prompts, config_of("all"), step)
    assert torch.equal(tokens, prompts.tokens) and torch.equal(answers, prompts.answers)
    assert torch.equal(tokens[:, rows], prompts.tokens[:, [0, 2, 4, 6, 8, 10]]) and change is None


@pytest.mark.parametrize("step", [0, 7])
def test_query_asks_of_the_last_token_alone(prompts, step):
    tokens, answers, rows, change = asked(prompts, config_of("query"), step)
    assert torch.equal(tokens, prompts.tokens) and torch.equal(answers, prompts.answers[:, [5]])
    assert torch.equal(tokens[:, rows], prompts.tokens[:, [10]]) and change is None


def test_random_k_cuts_the_prompt_after_any_number_of_examples(prompts):
    """0 … n, each about as often; the answer asked for is not among the tokens that are left."""
    cuts = []
    for step in range(300):
        query, all_of_them = (asked(prompts, config_of(o), step) for o in OBJECTIVES[2:4])
        k = query.tokens.shape[1] // 2
        cuts.append(k)
        for own in (query, all_of_them):
            assert torch.equal(own.tokens, prompts.tokens[:, : 2 * k + 1]) and own.change is None
        assert torch.equal(query.answers, prompts.answers[:, [k]])
        assert torch.equal(query.tokens[:, query.rows], prompts.tokens[:, [2 * k]])
        assert torch.equal(all_of_them.answers, prompts.answers[:, : k + 1])
        seen = prompts.tokens[:, 0 : 2 * k + 1 : 2]
        assert torch.equal(all_of_them.tokens[:, all_of_them.rows], seen)
    counts = np.bincount(cuts, minlength=6)
    assert len(counts) == 6 and counts.min() > 25 and counts.max() < 80  # 50 ± 4 deviations


def test_hidden_asks_of_the_hidden_examples_and_the_query(prompts):
    """Any number of them, each about as often, and any set."""
    sizes, sets, examples = [], set(), np.zeros(5)
    for step in range(300):
        tokens, answers, rows, change = asked(prompts, config_of("hidden"), step)
        assert torch.equal(tokens, prompts.tokens)
        assert change.shape == (1, 1, 1, 1, 11) and set(change.unique().tolist()) <= {0, -math.inf}
        hidden = change[0, 0, 0, 0].isinf().nonzero().flatten().tolist()
        assert set(hidden) <= {1, 3, 5, 7, 9}
        assert rows.tolist() == [place - 1 for place in hidden] + [10]
        assert torch.equal(answers[:, :-1], prompts.tokens[:, hidden, 0])
        assert torch.equal(answers[:, -1], prompts.answers[:, -1])
        sizes.append(len(hidden))
        sets.add(tuple(hidden))
        examples[[place // 2 for place in hidden]] += 1
    counts = np.bincount(sizes, minlength=6)
    assert len(counts) == 6 and counts.min() > 25 and counts.max() < 80
    assert len(sets) > 25 and examples.min() > 100 and examples.max() < 200


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_asked_depends_on_seed_and_step_alone(prompts, objective):
    """Or a resumed run would not be the one that was interrupted; each step and seed its own."""

    def several(**changes):
        config = config_of(objective, **changes)
        parts = [asked(prompts, config, step) for step in range(20)]
        return [
            (p.tokens.shape, p.rows if isinstance(p.rows, slice) else tuple(p.rows)) for p in parts
        ]

    first = several()
    torch.manual_seed(1)
    np.random.seed(1)
    assert several(variant="LPE", b=3, lr=1e-3) == first
    random = objective in ("random k", "all, random k", "hidden", "queries")
    assert (several(seed=1) != first) == random
    assert (len({repr(own) for own in first}) > 3) == random


@torch.no_grad()
@pytest.mark.parametrize("variant", ["SPE", "LPE", "LPE + CM"])
def test_a_query_s_prediction_is_that_of_a_prompt_without_the_others(perturbed, prompts, variant):
    """Of k examples and itself alone, at the same place: no later token has a part in it."""
    config = config_of("queries", variant=variant, b=2)
    model = perturbed(config)
    for step in range(8):
        tokens, answers, rows, change = asked(prompts, config, step)
        assert torch.equal(tokens, prompts.tokens)
        places = range(11)[rows]
        k = places[0] // 2
        assert torch.equal(answers, prompts.answers[:, k:]) and list(places) == [
            *range(2 * k, 11, 2)
        ]
        before = model(tokens, rows, change=change)
        for i, place in enumerate(places):
            other = tokens.clone()
            other[:, [t for t in range(2 * k, 11) if t != place]] += 1
            torch.testing.assert_close(model(other, rows, change=change)[..., i], before[..., i])
    assert not torch.allclose(model(tokens + 1, rows, change=change), before)


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_is_given_to_some_heads_of_layer_1_in_some_steps(prompts, name):
    """Score by score; nothing else of the step is another, and before and after nothing is."""
    config, own = config_of(name, n_heads=4), HINTS[name]
    steps, back = own["steps"], own.get("back", 0)
    without = asked(prompts, config_of("all"), 0)
    for step in (steps.start - 1, steps.stop):
        assert asked(prompts, config, step).change is None
    for step in (steps.start, steps.stop - 1):
        parts = asked(prompts, config, step)
        assert parts.tokens is without.tokens and parts.rows == without.rows
        assert torch.equal(parts.answers, without.answers)
        assert parts.change is asked(prompts, config, steps.start).change  # made once
        assert parts.change.shape == (1, config.n_layers, 4, 11, 11)
        for layer, head, row, column in np.ndindex(*parts.change.shape[1:]):
            led = row % 2 and column == row - 1 - 2 * back and layer == 0 and head < own["heads"]
            expected = own.get("added", 5.0) if led else 0.0
            assert parts.change[0, layer, head, row, column] == expected


def test_the_query_is_asked_for_alone_after_a_thousand_steps(prompts):
    """As in the objectives that it is made of."""
    config = config_of("query after 1000")
    for step, name in ((0, "all"), (999, "all"), (1000, "query"), (7000, "query")):
        parts, expected = asked(prompts, config, step), asked(prompts, config_of(name), step)
        assert parts.rows == expected.rows and torch.equal(parts.answers, expected.answers)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["SPE", "LPE + CM", "LPE + PM"])
def test_a_hidden_answer_changes_no_prediction_that_is_asked_for(perturbed, prompts, variant):
    """Neither its own example's nor another's; one that is not hidden changes some."""
    config = config_of("hidden", variant=variant, b=2)
    model = perturbed(config)
    tokens, _, rows, change = asked(prompts, config, 3)
    hidden = [place + 1 for place in rows.tolist()[:-1]]
    shown = [place for place in range(1, 10, 2) if place not in hidden]
    assert hidden and shown
    before = model(tokens, rows, change=change)

    def after(places, change):
        other = tokens.clone()
        other[:, places] += 1
        return model(other, rows, change=change)

    assert torch.equal(after(hidden, change), before)
    assert not torch.equal(after(shown, change), before)
    assert not torch.equal(after(hidden, None), model(tokens, rows))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_other_token_has_a_part_in_the_loss(perturbed, prompts, objective):
    """Its gradient by the predictions of all tokens: of those asked, and of no others."""
    config = config_of(objective, variant="SPE", b=2)
    model = perturbed(config)
    tokens, answers, rows, change = asked(prompts, config, 5)
    predictions = model(tokens, ALL, change=change).detach().requires_grad_()
    objectives.loss(predictions[:, :, rows], answers, config.d).backward()
    places = torch.arange(tokens.shape[1])[rows]
    assert (predictions.grad[:, :, places] != 0).all()
    predictions.grad[:, :, places] = 0
    assert not predictions.grad.any()


def test_the_loss_is_the_mean_over_iterations_prompts_and_tokens_of_the_squared_error_over_d():
    """Written out as sums."""
    rng = np.random.default_rng(0)
    predictions, answers = rng.normal(size=(3, 4, 6)), rng.normal(size=(4, 6))
    total = 0.0
    for t in range(3):
        for i in range(4):
            for j in range(6):
                total += (predictions[t, i, j] - answers[i, j]) ** 2
    loss = objectives.loss(torch.from_numpy(predictions), torch.from_numpy(answers), 5)
    assert loss.item() == pytest.approx(total / (3 * 4 * 6) / 5)


def test_a_step_s_prompts_go_to_the_device(prompts):
    """The meta device stands in for a GPU."""
    for objective in OBJECTIVES:
        config = config_of(objective).model_copy(update={"device": "meta"})
        parts = asked(prompts, config, 1)
        assert all(part.device.type == "meta" for part in parts if isinstance(part, torch.Tensor))
        model = LoopedTransformer(config).to("meta")
        predictions = model(parts.tokens, parts.rows, change=parts.change)
        assert objectives.loss(predictions, parts.answers, 2).device.type == "meta"
