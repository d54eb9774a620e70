"""The step on a GPU, as far as a CPU can tell: the same bits, and only the batch is copied."""

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from icl_core import captured, records, sampler, training
from icl_core.config import Config
from icl_core.initial import initial_model

STEPS = 10
TINY = {"setup": "smoke", "steps": STEPS, "log_every": 4, "probe_every": 6, "variant": "LPE + CM"}
ENCODED = ["SPE", "LPE", "TPE", "pair + TPE", "RoPE", "ALiBi"]
OBJECTIVES = ["all", "query", "random k", "hidden", "pair hidden"]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
each_kind = pytest.mark.parametrize("kind", ["torch", "numpy"])


def tiny(kind="numpy", **changes):
    return Config(**TINY | {"random_numbers": kind} | changes)


@pytest.fixture(autouse=True)
def quickly(monkeypatch, few_prompts):
    """A checkpoint at every step; blocks that end amid a tiny run; the capture switched on."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(captured, "BLOCK", 4)
    monkeypatch.delenv("ICL_CAPTURE", raising=False)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """From here on a CPU's runs take the GPU's path; steps -> "captured", "replayed" or "eager"."""
    did = {}

    class Step(captured.Step):
        def __call__(self, config, model, optimiser, draws, step):
            before = self.graph
            loss = super().__call__(config, model, optimiser, draws, step)
            fresh = "replayed" if self.graph is before else "captured"
            did[step] = fresh if self.graph else "eager"
            return loss

    def for_device(draws, update, descend):
        return captured.Ahead(draws), Step(descend)

    monkeypatch.setattr(captured, "for_device", for_device)
    # Captured, a step is not done; a graph does it by doing it again.
    monkeypatch.setattr(captured, "capture", lambda body, config: SimpleNamespace(replay=body))
    return did


# The same bits as the plain loop.


@each_kind
@pytest.mark.parametrize(("b", "objective"), [(1, "all"), *((2, own) for own in OBJECTIVES)])
def test_a_run_on_the_gpu_s_path_is_the_plain_one_to_the_byte(
    tmp_path, request, kind, b, objective
):
    config = tiny(kind, b=b, objective=objective)
    plain, progress = training.train(config, tmp_path / "plain")
    did = request.getfixturevalue("as_on_a_gpu")
    ours, own_progress = training.train(config, tmp_path / "captured")
    assert torch.equal(own_progress.losses, progress.losses)
    assert own_progress.tables == progress.tables
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters()):
        assert torch.equal(mine, theirs), name
    assert sorted(did) == [*range(STEPS)]


@each_kind
@pytest.mark.parametrize("at", [1, 4, 6, 7, 9])
def test_a_checkpoint_holds_nothing_that_was_drawn_ahead(tmp_path, request, kind, at):
    """Begun by either path, a run is resumed by the other: at, after and between checks."""
    config, update = tiny(kind), training.update

    def stopping(config, model, optimiser, draws, step):
        if step == at:
            raise KeyboardInterrupt
        return update(config, model, optimiser, draws, step)

    plain, _ = training.train(config, tmp_path / "plain")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "update", stopping)
        training.train(config, tmp_path / "begun plainly")
    request.getfixturevalue("as_on_a_gpu")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(captured.Step, "__call__", _stop_at(at))
        training.train(config, tmp_path / "begun ahead")
    states = [_random_state(tmp_path / name) for name in ("begun plainly", "begun ahead")]
    assert torch.equal(*states)
    for name in ("begun plainly", "begun ahead"):
        resumed, _ = training.train(config, tmp_path / name)
        for mine, theirs in zip(resumed.parameters(), plain.parameters()):
            assert torch.equal(mine, theirs)


def _stop_at(at):
    original = captured.Step.__call__

    def stopping(self, config, model, optimiser, draws, step):
        if step == at:
            raise KeyboardInterrupt
        return original(self, config, model, optimiser, draws, step)

    return stopping


def _random_state(path):
    return training.safetensors.torch.load(path.read_bytes()[:-32])["random"]


@each_kind
def test_batches_drawn_ahead_are_the_plain_ones_with_the_checks_in_between(kind):
    """Whatever the block; each in turn, from whatever step the run goes on."""
    config = tiny(kind, steps=23, probe_every=5)
    plain, ahead = (sampler.Draws(config, initial_model(config)[1]) for _ in range(2))
    ahead = captured.Ahead(ahead)
    for step in range(config.steps):
        if step % config.probe_every == 0:
            for mine, theirs in zip(ahead.check(), plain.check()):
                assert torch.equal(mine, theirs)
        for mine, theirs in zip(ahead.batch(step), plain.batch(step)):
            assert torch.equal(mine, theirs), step
        assert torch.equal(ahead.generator.get_state(), plain.generator.get_state()), step


def test_blocks_end_at_their_size_at_a_check_and_with_the_run(monkeypatch):
    config, drawn = tiny("torch", steps=14, probe_every=6), []
    draws = captured.Ahead(sampler.Draws(config, initial_model(config)[1]))
    for step in range(config.steps):
        draws.batch(step)
        drawn.append((draws.steps.start, draws.steps.stop))
    assert sorted(set(drawn)) == [(0, 4), (4, 6), (6, 10), (10, 12), (12, 14)]


# When a graph is captured, and when it is let go.


def test_a_graph_is_captured_after_three_steps_and_then_replayed(tmp_path, as_on_a_gpu):
    training.train(tiny("torch"), tmp_path / "checkpoint")
    assert list(as_on_a_gpu.values()) == ["eager"] * 3 + ["captured"] + ["replayed"] * 6


def test_another_change_of_the_scores_is_captured_anew(tmp_path, as_on_a_gpu, monkeypatch):
    """The very tensor counts: a graph reads it where it lies. Without one it is no other case."""
    changes = {step: torch.zeros(1, 1, 1, 1, 7) for step in range(6, 12)}
    window = torch.zeros(1, 1, 1, 1, 7)
    changes |= {step: window for step in range(12, 18)}
    asked = captured.objectives.asked

    def changed(prompts, config, step):
        return asked(prompts, config, step)._replace(change=changes.get(step))

    monkeypatch.setattr(captured.objectives, "asked", changed)
    training.train(tiny(steps=24), tmp_path / "checkpoint")
    one = ["eager"] * 3 + ["captured"] + ["replayed"] * 2
    assert list(as_on_a_gpu.values()) == [*one, *["eager"] * 6, *one, *one]


@pytest.mark.parametrize("objective", ["random k", "hidden", "queries"])
def test_what_differs_from_step_to_step_is_never_captured(tmp_path, as_on_a_gpu, objective):
    training.train(tiny(objective=objective, n_examples=30), tmp_path / "checkpoint")
    assert set(as_on_a_gpu.values()) == {"eager"}


def test_a_window_s_change_is_one_tensor(tmp_path):
    """Else no step of a run with a hint would be captured."""
    config = tiny(objective="pair hidden")
    batch = sampler.Draws(config, torch.Generator()).batch(0)
    first, second = (captured.objectives.asked(batch, config, step) for step in range(2))
    assert first.change is second.change is not None


def test_a_cpu_keeps_the_plain_loop():
    draws = sampler.Draws(tiny(), torch.Generator())
    assert captured.for_device(draws, 1, 2) == (draws, 1)
    assert captured.capture(pytest.fail, tiny()) is None


@pytest.mark.parametrize("fails", [True, False])
def test_a_capture_that_fails_is_told_and_done_without(monkeypatch, caplog, fails):
    """What cuda says of an operation that it can't capture is a RuntimeError."""

    class Graph:
        def __init__(self, graph, capture_error_mode):
            assert capture_error_mode == "thread_local"  # the thread beside goes on

        def __enter__(self):
            if fails:
                raise RuntimeError("operation not permitted when stream is capturing\nmore")

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "current_stream", int)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "graph", Graph)
    config, done = tiny().model_copy(update={"device": "cuda"}), []
    graph = captured.capture(lambda: done.append(1), config)
    assert (graph is None, done) == ((True, []) if fails else (False, [1]))
    assert ("not captured" in caplog.text) == fails
    monkeypatch.setenv("ICL_CAPTURE", "0")
    assert captured.capture(pytest.fail, config) is None


# A device that is none: its tensors say that they lie on "meta", and are computed here.


class There(torch.Tensor):
    """A tensor on the pretended device, and the one that it is."""

    @staticmethod
    def __new__(cls, here):
        like = {"dtype": here.dtype, "device": "meta", "requires_grad": here.requires_grad}
        sizes = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, here.size(), **like, **sizes)

    def __init__(self, here):
        self.here = here

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, *call):
        raise AssertionError("a tensor of the device was used without it")


class Device(TorchDispatchMode):
    """Computes what is asked of the device, refuses what mixes it with the CPU, counts copies."""

    def __init__(self):
        super().__init__()
        self.copies = Counter()  # what crossed -> how often

    def __torch_dispatch__(self, function, types, given=(), named=None):
        named = dict(named or {})
        flat = torch.utils._pytree.tree_leaves((given, named))
        there = [own for own in flat if isinstance(own, There)]
        here = [own for own in flat if isinstance(own, torch.Tensor) and type(own) is not There]
        assert all(own.device.type == "cpu" for own in here), f"{function}: made behind our back"
        goes = named.get("device")
        to_device = goes is not None and torch.device(goes).type == "meta"
        name = function._schema.name
        if name in ("aten::_to_copy", "aten::copy_"):
            ends_there = to_device or (name == "aten::copy_" and isinstance(given[0], There))
            ends_there |= goes is None and name == "aten::_to_copy" and bool(there)
            source = given[1] if name == "aten::copy_" else given[0]
            if isinstance(source, There) != ends_there:
                self.copies["to device" if ends_there else "to host", tuple(source.shape)] += 1
        elif name == "aten::_local_scalar_dense":
            ends_there = False
            if there:
                self.copies["to host", "a number"] += 1
        else:
            ends_there = to_device or bool(there)
            mixed = [own for own in here if own.dim()] if ends_there else []
            if mixed and "index" in name:  # CUDA takes indices from the host: it copies them
                self.copies["to device", "indices"] += 1
            else:
                assert not mixed, f"{name} mixes devices: {[tuple(own.shape) for own in mixed]}"
        if to_device or (goes is not None and torch.device(goes).type == "cpu"):
            named["device"] = torch.device("cpu")
        inner = tree_map(lambda own: own.here if isinstance(own, There) else own, (given, named))
        result = function(*inner[0], **inner[1])
        if name.endswith("_") and isinstance(given[0], There):
            return given[0]
        if not ends_there:
            return result
        known = {id(own.here): own for own in there}

        def label(own):
            if not isinstance(own, torch.Tensor):
                return own
            return known[id(own)] if id(own) in known else There(own)

        return tree_map(label, result)


def device_adam(config, model):
    """The fused one is not for a device that is none."""
    return torch.optim.Adam(model.parameters(), lr=config.lr, foreach=False)


@pytest.fixture
def device(monkeypatch):
    """The pretended device; configs of it are made by there(…)."""

    monkeypatch.setattr(training, "adam", device_adam)
    with Device() as device:
        yield device


def there(*arguments, **changes):
    return tiny(*arguments, **changes).model_copy(update={"device": "meta"})


def test_the_pretended_device_refuses_to_mix(device):
    own = torch.ones(2).to("meta")
    assert (own + own).cpu().tolist() == [2, 2] and (own * 2).sum().item() == 4
    with pytest.raises(AssertionError, match="mixes devices"):
        own + torch.ones(2)
    assert device.copies["to device", (2,)] == 1


@pytest.mark.parametrize(
    "variant",
    [*(f"{name} + CM" for name in ENCODED), "PM"]
    + [pytest.param(name, marks=pytest.mark.long) for name in (*ENCODED, "CM")],
)
def test_nothing_but_the_batch_is_copied_in_a_step(device, variant):
    """A block of batches at a time, in two pieces; masks, rows and losses stay where they are."""
    config = there(variant=variant, b=2, steps=12, probe_every=100)
    model, after_weights = initial_model(config)
    draws = captured.Ahead(sampler.Draws(config, after_weights))
    step, optimiser = captured.Step(training.descend), training.adam(config, model)
    losses = torch.full([config.steps], torch.nan, device=config.device)
    for at in range(config.steps):
        if at == 4:
            device.copies.clear()
        losses[at] = step(config, model, optimiser, draws, at)
    sizes = (4, config.batch_size, config.n_tokens, config.d), (4, config.batch_size, 4)
    assert device.copies == {("to device", size): 2 for size in sizes}
    assert losses.cpu().isfinite().all()


@pytest.mark.parametrize(
    ("kind", "variant", "objective"),
    [
        ("torch", "LPE + CM", "all"),
        ("torch", "RoPE", "query"),
        ("numpy", "SPE + CM", "hidden"),
        ("numpy", "ALiBi", "pair hidden"),
        pytest.param("numpy", "TPE", "random k", marks=pytest.mark.long),
    ],
)
def test_a_run_on_the_device_is_that_of_the_cpu(tmp_path, monkeypatch, kind, variant, objective):
    """Training, looks inside, checks, tests and errors, a stop and what resumes from it."""
    config = tiny(kind, variant=variant, objective=objective, b=2)
    expected = training.run(config, str(tmp_path / "cpu"))
    out = str(tmp_path / "there")
    monkeypatch.setattr(training, "adam", device_adam)
    monkeypatch.setattr(records, "read_run", lambda folder, config=None: folder)
    with Device():
        own = there(kind, variant=variant, objective=objective, b=2)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(captured.Step, "__call__", _stop_at(7))
            training.run(own, out)
        folder = training.run(own, out)
    for name in (path.name for path in expected.folder.glob("*.csv")):
        ours, theirs = pd.read_csv(folder / name), expected.table(name)
        pd.testing.assert_frame_equal(ours, theirs, rtol=5e-3, atol=1e-4, obj=name)
    losses = training.safetensors.torch.load_file(folder / "losses.safetensors")["loss"]
    torch.testing.assert_close(
        losses, expected.tensors("losses.safetensors")["loss"], rtol=2e-3, atol=1e-4
    )


@needs_gpu
@pytest.mark.parametrize("variant", ["LPE + CM", "SPE", "RoPE + CM"])
@pytest.mark.parametrize("objective", ["all", "random k"])
def test_a_gpu_s_losses_are_a_cpu_s(tmp_path, caplog, variant, objective):
    config = tiny("torch", variant=variant, objective=objective, b=2)
    _, expected = training.train(config, tmp_path / "cpu")
    on_gpu = tiny("torch", variant=variant, objective=objective, b=2, device="cuda")
    _, ours = training.train(on_gpu, tmp_path / "gpu")
    torch.testing.assert_close(ours.losses.cpu(), expected.losses, rtol=1e-4, atol=1e-6)
    assert "not captured" not in caplog.text
