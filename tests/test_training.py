"""A run: it learns, it can be killed at any time, and it is trained once."""

import itertools
import math
import random
import shutil
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from icl_report import evaluation, records, sampler, training
from icl_report.checkpoints import CheckpointError
from icl_report.config import VARIANTS
from icl_report.model import LoopedTransformer, stack_weights, variant_weights
from icl_report.training import run, train

CM = (VARIANTS["CM"],)


@pytest.fixture(autouse=True)
def checkpoint_at_every_step(monkeypatch):
    """Tiny runs would be over before the first checkpoint."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)


def kill_at(monkeypatch, step):
    """Stops training before this step's update, as an error would; undone with monkeypatch."""
    update = training.update

    def killed(config, model, optimiser, at):
        if at == step:
            raise KeyboardInterrupt
        return update(config, model, optimiser, at)

    monkeypatch.setattr(training, "update", killed)


def watch(monkeypatch):
    """The steps that are trained from here on."""
    update, steps = training.update, []

    def watched(config, model, optimiser, at):
        steps.append(at)
        return update(config, model, optimiser, at)

    monkeypatch.setattr(training, "update", watched)
    return steps


def assert_same(ours, theirs):
    """Two dictionaries of weights, bit for bit."""
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


def assert_same_run(ours, theirs):
    """Two recorded runs: weights and tables, to the last digit."""
    assert_same(ours.weights(), theirs.weights())
    for name in ("curves.csv", "errors.csv", "leak.csv", "weights.safetensors"):
        assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes()


@pytest.mark.parametrize("killed_at", [0, 9, 10, 25, 39])
def test_a_stack_killed_and_resumed_ends_as_if_it_had_not_been(
    tiny, tmp_path, monkeypatch, killed_at
):
    """Bit for bit: weights, optimiser and curves all come back, and the batches go on."""
    config = tiny(b=2)
    undisturbed = train(config, config.stack, tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at)
        with pytest.raises(KeyboardInterrupt):
            train(config, config.stack, tmp_path / "killed")
    steps = watch(monkeypatch)
    resumed = train(config, config.stack, tmp_path / "killed")
    assert steps == list(range(killed_at, 40))  # from the checkpoint, not from 0
    assert_same(resumed.weights, undisturbed.weights)
    assert resumed.curves == undisturbed.curves
    torch.testing.assert_close(resumed.leaks, undisturbed.leaks, rtol=0, atol=0)
    assert [row[:2] for row in resumed.curves] == [
        (name, step) for step in (10, 20, 30, 40) for name in ("CM", "LPE")
    ]
    start = LoopedTransformer(config, config.stack).state_dict()
    assert all(not torch.equal(start[name], resumed.weights[name]) for name in start)


def test_a_run_killed_in_its_second_variant_does_not_train_the_first_anew(
    tiny, tmp_path, monkeypatch
):
    """The whole run, record included, is the undisturbed one's to the byte."""
    undisturbed = run(tiny(), str(tmp_path / "undisturbed"))
    update = training.update

    def killed(config, model, optimiser, at):
        if model.variants[0].name == "LPE" and at == 15:
            raise KeyboardInterrupt
        return update(config, model, optimiser, at)

    with monkeypatch.context() as patch:
        patch.setattr(training, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny(), str(tmp_path / "killed"))
    assert not (tmp_path / "killed" / "data").exists()
    steps = watch(monkeypatch)
    resumed = run(tiny(), str(tmp_path / "killed"))
    assert steps == list(range(15, 40))
    assert_same_run(resumed, undisturbed)


def files(folder):
    """Every file below: its bytes and when it was written."""
    below = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in below}


def test_a_finished_run_is_loaded_not_trained(tiny, tmp_path, monkeypatch):
    """What makes opening a notebook on a fresh clone take seconds."""
    first = run(tiny(), str(tmp_path))
    before = files(tmp_path)

    def no_training(*_):
        raise AssertionError("a finished run is being trained")

    monkeypatch.setattr(training, "train", no_training)
    again = run(tiny(), str(tmp_path))
    assert files(tmp_path) == before
    assert again.config == first.config and again.provenance == first.provenance
    pd.testing.assert_frame_equal(again.curves, first.curves)
    pd.testing.assert_frame_equal(again.errors, first.errors)
    with pytest.raises(records.RecordError, match=r"lr = 0.0005 there, 0.001 here"):
        run(tiny(lr=1e-3), str(tmp_path))
    assert files(tmp_path) == before
    with pytest.raises(AssertionError, match="being trained"):
        run(tiny(seed=1), str(tmp_path))


def test_a_run_whose_record_was_removed_is_trained_anew(tiny, tmp_path, monkeypatch):
    """As the refusal to overwrite says: not taken from what the old training left behind."""
    config = tiny(variants=("CM",))
    first = run(config, str(tmp_path))
    shutil.rmtree(first.folder)
    steps = watch(monkeypatch)
    run(config, str(tmp_path))
    assert steps == list(range(40))


def test_a_run_records_every_variant_and_how_it_was_made(tiny, tmp_path):
    """All variants × all k, in order; every log point; libraries, speed and divergence."""
    config = tiny(b=2, variants=("SPE", "CM", "LPE"))
    made = run(config, str(tmp_path))
    assert list(made.errors[["variant", "loops", "k"]].itertuples(index=False, name=None)) == [
        (name, 2, k) for name in config.variants for k in range(6)
    ]
    assert list(made.curves[["variant", "step"]].itertuples(index=False, name=None)) == [
        (name, step) for name in config.variants for step in (10, 20, 30, 40)
    ]
    assert made.provenance["diverged"] == {}
    assert made.provenance["libraries"]["torch"] == torch.__version__
    assert made.provenance["wall_seconds"] >= 0
    assert made.provenance["variant_steps_per_second"] > 0


@pytest.fixture
def half(tiny, tmp_path, monkeypatch):
    """A config and the checkpoint of its first 20 steps."""
    checkpoint = tmp_path / "checkpoints" / "cm.safetensors"
    with monkeypatch.context() as patch:
        kill_at(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), CM, checkpoint)
    return tiny(), checkpoint


def refused(config, checkpoint, variants=CM):
    """The message with which a checkpoint is refused; no step is made, the file is left alone.

    A step with tensors of other shapes would take the process down: fused Adam checks nothing.
    """

    def no_step(*_):
        raise AssertionError("the checkpoint is being trained from")

    before = checkpoint.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "update", no_step)
        with pytest.raises(CheckpointError) as raised:
            train(config, variants, checkpoint)
    assert checkpoint.read_bytes() == before
    message = str(raised.value)
    assert str(checkpoint) in message
    assert "Remove it to train from the start" in message
    return message


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_checkpoint_that_is_cut_short_is_refused(half, length):
    """Empty, in the header's length, in the header, and in the last tensor."""
    config, checkpoint = half
    checkpoint.write_bytes(checkpoint.read_bytes()[:length])
    refused(config, checkpoint)


def test_garbage_is_no_checkpoint(half):
    """Random bytes, text, and a safetensors file of something else."""
    config, checkpoint = half
    for content in (random.Random(0).randbytes(5000), b"not a checkpoint\n" * 50):
        checkpoint.write_bytes(content)
        refused(config, checkpoint)
    safetensors.torch.save_file({"x": torch.zeros(3)}, checkpoint)
    refused(config, checkpoint)


@pytest.mark.parametrize("part", ["weights/", "mean/blocks.0", "square/read_in", "metadata step"])
def test_a_checkpoint_that_lacks_something_is_refused(half, part):
    """Every tensor and every entry is needed to go on bit for bit."""
    config, checkpoint = half
    with safetensors.safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(part)}
    metadata.pop(part.removeprefix("metadata "), None)
    safetensors.torch.save_file(kept, checkpoint, metadata)
    refused(config, checkpoint)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"lr": 1e-3}, {"batch_size": 9}, {"width": 32}])
def test_a_checkpoint_of_another_configuration_is_refused(tiny, half, changes):
    """Even where every tensor fits."""
    assert "another configuration" in refused(tiny(**changes), half[1])


@pytest.mark.parametrize("variants", [(VARIANTS["none"],), (VARIANTS["CM"], VARIANTS["SPE"])])
def test_a_checkpoint_of_another_stack_is_refused(half, variants):
    """Every tensor of CM fits one without mask, and is broadcast to a stack of two."""
    config, checkpoint = half
    refused(config, checkpoint, variants)


def diverge(monkeypatch, index, step):
    """From this step on, the loss of the stack's variant at index is not finite."""
    loss_of, calls = training.training_loss, []

    def diverging(predictions, answers):
        calls.append(None)
        factor = torch.ones(predictions.shape[1])
        factor[index] = math.inf if len(calls) > step else 1
        return loss_of(predictions, answers) * factor

    monkeypatch.setattr(training, "training_loss", diverging)


@pytest.mark.parametrize("index", [0, 1])
def test_a_variant_that_diverges_is_stopped_and_the_others_do_not_notice(
    tiny, tmp_path, monkeypatch, index
):
    """In a stack, where one nan could spread: the other's weights are equal bit for bit."""
    config = tiny()
    undisturbed = train(config, config.stack, tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        diverge(patch, index, 15)
        disturbed = train(config, config.stack, tmp_path / "disturbed")
    bad, good = config.variants[index], config.variants[1 - index]
    assert disturbed.diverged == {bad: 20} and undisturbed.diverged == {}
    rows = [row for row in disturbed.curves if row[0] == bad]
    assert [row[1] for row in rows] == [10, 20]
    assert math.isfinite(rows[0][2]) and not math.isfinite(rows[1][2])
    both = (undisturbed, disturbed)
    ours, theirs = ([row for row in t.curves if row[0] == good] for t in both)
    assert ours == theirs and len(ours) == 4
    assert_same(*(variant_weights(t.weights, config.stack, 1 - index) for t in both))


def test_divergence_survives_a_kill(tiny, tmp_path, monkeypatch):
    """Resumed, the variant stays stopped: no row of nan a log point."""
    config = tiny()
    with monkeypatch.context() as patch:
        diverge(patch, 0, 5)
        kill_at(patch, 25)
        with pytest.raises(KeyboardInterrupt):
            train(config, config.stack, tmp_path / "killed")
    resumed = train(config, config.stack, tmp_path / "killed")
    assert resumed.diverged == {"CM": 10}
    assert [row[1] for row in resumed.curves if row[0] == "CM"] == [10]
    assert [row[1] for row in resumed.curves if row[0] == "LPE"] == [10, 20, 30, 40]


def poison(monkeypatch, *names):
    """From step 12 on, the weights of these variants are nan."""
    update = training.update

    def poisoned(config, model, optimiser, at):
        if at == 12 and model.variants[0].name in names:
            with torch.no_grad():
                model.read_in.weight.fill_(math.nan)
        return update(config, model, optimiser, at)

    monkeypatch.setattr(training, "update", poisoned)


def test_the_leak_is_logged_where_x_can_see_y(tiny, tmp_path):
    """A row a step, iteration, layer and head; none of a masked variant; it moves."""
    leak = run(tiny(b=2, variants=("CM", "SPE", "none")), str(tmp_path)).leak
    assert list(leak.variant.unique()) == ["SPE", "none"]
    keys = leak[leak.variant == "SPE"].drop(columns=["variant", "weight"])
    expected = itertools.product((10, 20, 30, 40), (1, 2), (1, 2), (1, 2))
    assert [*map(tuple, keys.values.tolist())] == [*expected]
    assert leak.weight.between(0, 1).all() and leak.weight.nunique() > 20


def test_a_run_with_a_diverged_variant_is_recorded_as_one(tiny, tmp_path, monkeypatch):
    """The step is in the provenance, the errors are nan, the other variant's files unchanged."""
    undisturbed = run(tiny(), str(tmp_path / "undisturbed"))
    with monkeypatch.context() as patch:
        poison(patch, "CM")
        recorded = run(tiny(), str(tmp_path / "disturbed"))
    assert recorded.provenance["diverged"] == {"CM": 20}
    assert recorded.errors[recorded.errors.variant == "CM"].error.isna().all()
    for table in ("curves", "errors"):
        ours, theirs = (getattr(r, table) for r in (recorded, undisturbed))
        ours, theirs = (t[t.variant == "LPE"].reset_index(drop=True) for t in (ours, theirs))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    stack = recorded.config.stack
    assert_same(*(variant_weights(r.weights(), stack, 1) for r in (recorded, undisturbed)))


def test_a_run_whose_every_variant_diverges_is_recorded_too(tiny, tmp_path, monkeypatch):
    """A result to report like any other, however soon it comes."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 30)
    poison(monkeypatch, "CM", "LPE")
    provenance = mock.Mock(wraps=records.provenance)
    monkeypatch.setattr(records, "provenance", provenance)
    recorded = run(tiny(), str(tmp_path))
    assert provenance.call_args.args[0] == 2 * 20  # variant-steps: the speed is of those taken
    assert recorded.provenance["diverged"] == {"CM": 20, "LPE": 20}
    assert recorded.errors.error.isna().all() and list(recorded.curves.step) == [10, 20, 10, 20]


def test_training_loss_is_the_mean_over_iterations_prompts_and_x_tokens():
    """Written out as sums, a variant at a time."""
    rng = np.random.default_rng(0)
    predictions, answers = rng.normal(size=(3, 2, 4, 6)), rng.normal(size=(4, 6))
    losses = training.training_loss(torch.from_numpy(predictions), torch.from_numpy(answers))
    assert losses.shape == (2,)
    for v in range(2):
        total = 0.0
        for t in range(3):
            for i in range(4):
                for j in range(6):
                    total += (predictions[t, v, i, j] - answers[i, j]) ** 2
        assert losses[v].item() == pytest.approx(total / (3 * 4 * 6))


def test_what_each_loss_asks_for(tiny):
    """The answers asked for belong to their rows, and a query's answer is not among the tokens."""
    config, ks = tiny(), set()
    for step in range(60):
        tokens, answers = sampler.batch(config, step)
        every = training.asked(config, "all", step)
        assert torch.equal(every.tokens, tokens) and torch.equal(every.answers, answers)
        assert every.tokens[:, every.rows].shape[1] == answers.shape[1]
        query = training.asked(config, "query", step)
        assert torch.equal(query.tokens, tokens) and torch.equal(query.answers, answers[:, -1:])
        assert torch.equal(query.tokens[:, query.rows], tokens[:, -1:])
        cut = training.asked(config, "random k", step)
        k = cut.tokens.shape[1] // 2
        assert torch.equal(cut.tokens, tokens[:, : 2 * k + 1])
        assert torch.equal(cut.answers[:, 0], answers[:, k])
        assert torch.equal(cut.tokens[:, cut.rows], tokens[:, [2 * k]])
        cut_too = training.asked(config, "all, random k", step)
        assert torch.equal(cut_too.tokens, cut.tokens)
        assert torch.equal(cut_too.answers, answers[:, : k + 1])
        assert cut_too.tokens[:, cut_too.rows].shape[1] == k + 1
        assert all(task.hidden is None for task in (every, query, cut, cut_too))
        ks.add(k)
    assert ks == set(range(6))


def test_hidden_answers_are_asked_for_and_no_others(tiny):
    """Those of the examples drawn and the query's, any number of them and any example."""
    config, sizes, seen = tiny(), set(), set()
    for step in range(100):
        tokens, answers = sampler.batch(config, step)
        task = training.asked(config, "hidden", step)
        places = task.hidden.tolist()
        assert places == sorted(set(places)) and set(places) <= {1, 3, 5, 7, 9}
        assert torch.equal(task.tokens, tokens)
        assert task.rows.tolist() == [place - 1 for place in places] + [10]
        assert torch.equal(task.answers[:, :-1], tokens[:, task.hidden, 0])
        assert torch.equal(task.answers[:, -1], answers[:, -1])
        sizes.add(len(places))
        seen.add(tuple(places))
    assert sizes == set(range(6)) and len(seen) > 20


@pytest.mark.parametrize("name", ["SPE", "LPE + CM", "LPE + PM"])
def test_a_hidden_answer_changes_no_prediction(tiny, name):
    """Neither its own example's nor another's; one that is not hidden changes some."""
    config = tiny()
    model = LoopedTransformer(config, (VARIANTS[name],))
    tokens, _, rows, hidden = training.asked(config, "hidden", 3)
    assert 0 < len(hidden) < 5
    before = model(tokens, rows, hidden=hidden)
    changed = tokens.clone()
    changed[:, hidden] += 1
    assert torch.equal(model(changed, rows, hidden=hidden), before)
    assert not torch.equal(model(changed, rows), model(tokens, rows))
    shown = [place for place in range(1, 10, 2) if place not in hidden]
    changed = tokens.clone()
    changed[:, shown] += 1
    assert not torch.equal(model(changed, rows, hidden=hidden), before)


@pytest.mark.parametrize("name", ["SPE (query)", "SPE (random k)", "LPE + PM (query)"])
def test_a_loss_on_the_query_gives_no_other_token_a_gradient(tiny, name):
    """The update is the one of a loss written out by hand on the last prediction alone."""
    config = tiny(ablation="3_label_leakage", variants=(name,))
    ours, theirs = (LoopedTransformer(config, config.stack) for _ in range(2))
    training.update(config, ours, training.adam(config, ours), 7)
    k = sampler.random_k(config, 7) if "random" in name else 5
    tokens, answers = sampler.batch(config, 7)
    predictions = theirs(tokens[:, : 2 * k + 1], slice(None))[-1, 0, :, -1]
    optimiser = training.adam(config, theirs)
    ((predictions - answers[:, k]) ** 2).mean().backward()
    optimiser.step()
    assert_near(ours.state_dict(), theirs.state_dict())


def test_a_variant_recorded_by_another_ablation_is_taken_over(tiny, tmp_path, monkeypatch):
    """It is what training it here would give, to the bit; what differs is trained."""
    first = run(tiny(variants=()), str(tmp_path))
    shared = {"ablation": "2_two_token_encoding", "variants": ("TPE", "CM", "LPE + CM")}
    alone = run(tiny(**shared), str(tmp_path / "alone"))
    assert alone.provenance["taken_over"] == {}
    monkeypatch.setattr(training, "train", only(training.train, "TPE"))
    taken = run(tiny(**shared), str(tmp_path))
    origin = f"{first.config.ablation}/b1-seed0"
    assert taken.provenance["taken_over"] == {"CM": origin, "LPE + CM": origin}
    for table in ("curves", "errors", "leak"):
        ours, theirs = (getattr(r, table) for r in (taken, alone))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert_same(taken.weights(), alone.weights())
    other = tiny(**shared, seed=1)
    assert records.taken_over(str(tmp_path), other) == {}
    assert records.taken_over(str(tmp_path), tiny(**shared, lr=1e-3)) == {}


def only(train, name):
    """train, which refuses every other variant."""

    def checked(config, variants, checkpoint):
        assert [variant.name for variant in variants] == [name]
        return train(config, variants, checkpoint)

    return checked


def test_the_curves_hold_the_loss_before_and_the_target_error_after_an_update(tiny, tmp_path):
    """Every x-token, the query included, of every iteration; in units of d, as the error is."""
    config = tiny(b=3, d=4, steps=1, log_every=1)
    trained = train(config, config.stack, tmp_path / "checkpoint")
    tokens, answers = sampler.batch(config, 0)
    start = LoopedTransformer(config, config.stack)
    with torch.no_grad():
        squared = (start(tokens) - answers) ** 2
    assert squared.shape == (3, 2, 8, 6)
    end = LoopedTransformer(config, config.stack)
    end.load_state_dict(trained.weights)
    prompts = sampler.Prompts(*(part[:16] for part in sampler.evaluation_prompts(config)))
    errors = evaluation.target_errors(end, prompts, [5]).mean(axis=(1, 2))
    for v, (name, step, loss, error) in enumerate(trained.curves):
        assert (name, step) == (config.variants[v], 1)
        assert loss == pytest.approx(squared[:, v].mean().item() / 4, rel=1e-5)
        assert error == pytest.approx(errors[v], rel=1e-5)


def test_a_row_of_the_curves_is_the_mean_loss_since_the_row_before(tiny, tmp_path):
    """Not that of the last batch alone, whose noise would hide the plateau."""
    fine = train(tiny(log_every=1), CM, tmp_path / "fine").curves
    coarse = train(tiny(log_every=20), CM, tmp_path / "coarse").curves
    losses = np.array([loss for _, _, loss, _ in fine])
    expected = [losses[:20].mean(), losses[20:].mean()]
    assert [loss for _, _, loss, _ in coarse] == pytest.approx(expected, rel=1e-5)
    assert [error for *_, error in coarse] == pytest.approx([fine[19][3], fine[39][3]], rel=1e-6)


def assert_near(ours, theirs):
    """Weights after some dozen steps, to rounding.

    All but the keys' biases: they shift a row of scores by a constant, which softmax does not see.
    Their gradient is zero but for rounding, and Adam makes a full step of whatever is left.
    """
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        if name.endswith("key_value.bias"):
            values = weight.shape[-1] // 2
            torch.testing.assert_close(
                weight[..., values:], theirs[name][..., values:], atol=1e-3, rtol=0
            )
        else:
            torch.testing.assert_close(weight, theirs[name], atol=1e-3, rtol=0)


def test_the_update_is_adam_with_a_constant_rate(tiny, tmp_path):
    """Against torch's plain Adam on the same batches: no decay, no clipping, no schedule."""
    config = tiny(steps=30, lr=3e-3)
    model = LoopedTransformer(config, CM)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=False, foreach=False)
    for step in range(30):
        tokens, answers = sampler.batch(config, step)
        optimiser.zero_grad()
        ((model(tokens)[0, 0] - answers) ** 2).mean().backward()
        optimiser.step()
    trained = train(config, CM, tmp_path / "checkpoint")
    assert_near(trained.weights, model.state_dict())


def test_a_stack_trained_as_one_agrees_with_its_variants_trained_alone(tiny, tmp_path):
    """A CPU and a GPU divide a run differently; the experiment is the same."""
    names = ("LPE + CM", "SPE", "LPE", "CM")
    config = tiny(b=2, variants=names)
    together = train(config, config.stack, tmp_path / "together")
    alone = [train(config, (v,), tmp_path / f"alone {v.name}") for v in config.stack]
    stacked = stack_weights([trained.weights for trained in alone])
    assert_near(together.weights, stacked)
    for trained in alone:
        expected = [row for row in together.curves if row[0] == trained.curves[0][0]]
        for ours, theirs in zip(trained.curves, expected, strict=True):
            assert ours[:2] == theirs[:2]
            assert ours[2:] == pytest.approx(theirs[2:], rel=1e-3)


def test_a_cpu_trains_single_variants_and_another_device_all_of_one_loss(tiny):
    """Variants with different losses ask for different rows, so they cannot be one model."""
    config = tiny(ablation="3_label_leakage", variants=())
    gpu = config.model_copy(update={"device": "cuda"})
    assert training.stacks_of(config, config.stack) == [(variant,) for variant in config.stack]
    stacks = training.stacks_of(gpu, config.stack)
    losses = [{variant.loss for variant in stack} for stack in stacks]
    assert losses == [{"all"}, {"all, random k"}, {"query"}, {"random k"}]
    assert sorted(sum(stacks, ())) == sorted(config.stack)
    assert training.stacks_of(gpu, CM) == [CM]


def test_one_thread_a_run_and_the_old_number_afterwards(tiny):
    """The order of sums, and so the last bit, hangs on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt), training.one_thread(tiny()):
            assert torch.get_num_threads() == 1
            raise KeyboardInterrupt
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_tiny_model_learns_in_context(tiny, tmp_path, monkeypatch):
    """d = 1 with the causal mask: it must use the examples, not only shrink its answers."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 30)
    sizes = {"d": 1, "n_examples": 8, "batch_size": 64, "evaluation_prompts": 512}
    config = tiny(lr=1e-2, steps=500, log_every=100, variants=("LPE + CM",), **sizes)
    trained = train(config, config.stack, tmp_path / "checkpoint")
    losses = [loss for _, _, loss, _ in trained.curves]
    assert losses[-1] < 0.5 * losses[0]
    model = LoopedTransformer(config, config.stack)
    model.load_state_dict(trained.weights)
    errors = evaluation.target_errors(model, sampler.evaluation_prompts(config), [0, 8])[0]
    no_examples, all_examples = errors.mean(axis=-1)
    assert all_examples < 0.3  # the zero predictor scores 1; three seeds gave 0.11 to 0.13
    assert no_examples > 0.8  # nothing can be known without examples
