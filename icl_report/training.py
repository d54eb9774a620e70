"""A run: train every variant on the same batches, log, checkpoint, resume, record."""

import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from icl_report import checkpoints, evaluation, locks, places, records, sampler
from icl_report.checkpoints import Trained
from icl_report.config import Config, Variant
from icl_report.model import (
    QUERY,
    X_TOKENS,
    LoopedTransformer,
    Rows,
    stack_weights,
    variant_weights,
)

logger = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 30
LINE_SECONDS = 60  # between two lines of a log without a bar
LEAK_PROMPTS = 32  # prompts behind leak.csv
CURVES = records.COLUMNS["curves.csv"]


class Part(NamedTuple):
    """One variant of a run: its rows of each table, its weights, when it was seen to diverge."""

    tables: dict[str, pd.DataFrame]
    weights: dict[str, Tensor]
    diverged: int | None


def run(config: Config, out: str = ".") -> records.Run:
    """The recorded run of config: loaded if it is finished, else resumed or trained, and recorded.

    A variant that another ablation has recorded with the same parameters is taken from there: its
    weights and batches would be the same.

    out is the folder, relative to the project's, whose data/ holds the record. Raises RecordError
    if the run's place holds a run of another configuration, HeldError if another process trains it.
    """
    finished = records.find_run(out, config)
    folder, lock = places.checkpoint_folder(out, config), places.lock_file(out, config)
    if finished and not lock.exists():
        return finished
    taken = records.taken_over(out, config)
    with locks.held(lock, variants=[name for name in config.variants if name not in taken]):
        # Who held the lock before may have recorded the run, and been killed while tidying up.
        finished = records.find_run(out, config)
        recorded = finished or _train_and_record(config, out, folder, taken)
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
    return recorded


def _train_and_record(
    config: Config, out: str, folder: Path, taken: dict[str, records.Run]
) -> records.Run:
    stacks = stacks_of(config, [variant for variant in config.stack if variant.name not in taken])
    parts = {name: _recorded_part(theirs, name) for name, theirs in taken.items()}
    with one_thread(config):
        files = [folder / checkpoints.file_name(stack) for stack in stacks]
        trained = [train(config, stack, file) for stack, file in zip(stacks, files)]
        for stack, state in zip(stacks, trained):
            parts |= _trained_parts(config, stack, state)
    ordered = [parts[name] for name in config.variants]
    return records.write_run(
        out,
        config,
        records.provenance(
            sum(len(stack) * state.step for stack, state in zip(stacks, trained)),
            sum(state.seconds for state in trained),
            trained[0].commit if trained else records.commit(),
            {name: parts[name].diverged for name in config.variants if parts[name].diverged},
            {name: f"{theirs.config.ablation}/{config.name}" for name, theirs in taken.items()},
        ),
        {name: pd.concat([part.tables[name] for part in ordered]) for name in records.COLUMNS},
        stack_weights([part.weights for part in ordered]),
    )


def stacks_of(config: Config, variants: list[Variant]) -> list[tuple[Variant, ...]]:
    """What trains as one model: a CPU's caches want single variants, a GPU all of one loss."""
    if config.device == "cpu":
        return [(variant,) for variant in variants]
    losses = dict.fromkeys(variant.loss for variant in variants)
    return [tuple(v for v in variants if v.loss == loss) for loss in losses]


@contextmanager
def one_thread(config: Config):
    """One thread a run: it pays on a CPU (run two at a time), and it fixes the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if config.device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def between_steps() -> Iterator[list[int]]:
    """SIGINT and SIGTERM (Ctrl-C, a scheduler's time limit) are noted in the list that it yields.

    An ignored one stays ignored. Only the main thread gets signals: in another nothing changes.
    """
    noted, before = [], {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def training_loss(predictions: Tensor, answers: Tensor) -> Tensor:
    """(V,): mean squared error over iterations, prompts and the x-tokens asked.

    predictions: (T, V, B, R); answers: (B, R).
    """
    return ((predictions - answers) ** 2).mean(dim=(0, 2, 3))


def train(config: Config, variants: tuple[Variant, ...], checkpoint: Path) -> Trained:
    """Trains a stack from its checkpoint, if there is one, to config.steps.

    A variant whose loss is no longer finite is stopped: it gets no further rows in the curves, and
    training ends once that is so for the whole stack. The others do not notice: nothing is shared.
    On SIGINT or SIGTERM the step is finished and saved, then the signal does what it always does.
    """
    model = LoopedTransformer(config, variants).to(config.device)
    optimiser = adam(config, model)
    if checkpoint.exists():
        state = checkpoints.load(checkpoint, config, model, optimiser)
    else:
        losses = torch.zeros(len(variants), device=config.device)
        state = Trained(losses, commit=records.commit())
    prompts = sampler.evaluation_prompts(config).first(config.curve_prompts)
    name = f"{config.ablation}/{config.name}, {checkpoints.label(variants)}"
    began = saved = said = time.monotonic()
    bar = tqdm(total=config.steps, initial=state.step, desc=name, mininterval=1, unit="step")
    if state.step and not state.is_over(config, variants):
        logger.info("%s: resumed at step %d of %d", name, state.step, config.steps)
    with between_steps() as signals, bar:
        ending = state.is_over(config, variants)
        while not ending:
            state.losses += update(config, model, optimiser, state.step)
            state.step += 1
            bar.update()
            if state.step % config.log_every == 0:
                _log(config, model, prompts, state)
                bar.set_postfix_str(_latest(state, len(variants)))
            ending = bool(signals) or state.is_over(config, variants)
            now = time.monotonic()
            if ending or now - saved > CHECKPOINT_SECONDS:
                state.seconds, began, saved = state.seconds + now - began, now, now
                checkpoints.save(checkpoint, config, model, optimiser, state)
            if bar.disable and (ending or now - said > LINE_SECONDS):
                said = now
                logger.info("%s: %s", name, _progress(config, state, now - began))
    if signals:
        stopped = signal.Signals(signals[0])
        saved_at = f"{stopped.name}, saved at step {state.step}; run it again to resume"
        logger.warning("%s: %s", name, saved_at)
        signal.raise_signal(stopped)
        raise KeyboardInterrupt(saved_at)  # whatever handled the signal, this stack is not trained
    state.weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    return state


def adam(config: Config, model: LoopedTransformer) -> torch.optim.Adam:
    """Adam at a constant rate, its update in one kernel."""
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)


def update(config: Config, model: LoopedTransformer, optimiser, step: int) -> Tensor:
    """Trains on the batch of this step; the losses (V,) before the update."""
    (loss_of_all,) = {variant.loss for variant in model.variants}
    task = asked(config, loss_of_all, step)
    predictions = model(task.tokens, task.rows, hidden=task.hidden)
    loss = training_loss(predictions, task.answers)
    optimiser.zero_grad(set_to_none=True)
    loss.sum().backward()
    optimiser.step()
    return loss.detach()


class Asked(NamedTuple):
    """A step's prompts as a loss sees them.

    tokens: (B, L, d); answers: (B, R), those asked for; rows: the R tokens that they are asked of;
    hidden: the places of tokens that none may look at.
    """

    tokens: Tensor
    answers: Tensor
    rows: Rows
    hidden: Tensor | None = None


def asked(config: Config, loss: str, step: int) -> Asked:
    """This step's prompts, and what a loss asks for.

    "all": every x-token of the prompt; "query": the query; "all, random k" and "random k": the same
    of prompts cut to a random number of examples; "hidden": the query, and the examples whose
    answers are hidden in this step. A query's own answer is never among the tokens.
    """
    tokens, answers = (part.to(config.device) for part in sampler.batch(config, step))
    if loss == "hidden":
        examples = sampler.hidden_examples(config, step).to(config.device)
        points = F.pad(examples, (0, 1), value=config.n_examples)  # and the query
        return Asked(tokens, answers[:, points], 2 * points, hidden=2 * examples + 1)
    k = sampler.random_k(config, step) if "random k" in loss else config.n_examples
    tokens, answers = tokens[:, : 2 * k + 1], answers[:, : k + 1]
    return (
        Asked(tokens, answers, X_TOKENS) if "all" in loss else Asked(tokens, answers[:, -1:], QUERY)
    )


def _log(config: Config, model: LoopedTransformer, prompts, state: Trained):
    errors = evaluation.target_errors(model, prompts, [config.n_examples]).mean(axis=(1, 2))
    state.leaks.append(evaluation.leak(model, prompts.first(LEAK_PROMPTS)))
    losses = state.losses / config.log_every / config.d
    for variant, loss, error in zip(model.variants, losses.tolist(), errors.tolist()):
        if variant.name in state.diverged:
            continue
        state.curves.append((variant.name, state.step, loss, error))
        if not math.isfinite(loss):
            state.diverged[variant.name] = state.step
    state.losses.zero_()


def _trained_parts(
    config: Config, variants: tuple[Variant, ...], trained: Trained
) -> dict[str, Part]:
    """A trained stack, evaluated, as its variants."""
    model = LoopedTransformer(config, variants).to(config.device)
    model.load_state_dict(trained.weights)
    prompts, ks = sampler.evaluation_prompts(config), range(config.n_examples + 1)
    tables = {
        "curves.csv": pd.DataFrame(trained.curves, columns=CURVES),
        "errors.csv": evaluation.errors_table(model, prompts, ks, config.b),
        "leak.csv": _leak_table(config, variants, trained),
    }
    return {
        variant.name: Part(
            _rows_of(tables, variant.name),
            variant_weights(trained.weights, variants, i),
            trained.diverged.get(variant.name),
        )
        for i, variant in enumerate(variants)
    }


def _recorded_part(run: records.Run, name: str) -> Part:
    tables = {"curves.csv": run.curves, "errors.csv": run.errors, "leak.csv": run.leak}
    weights = variant_weights(run.weights(), run.config.stack, run.config.variants.index(name))
    return Part(_rows_of(tables, name), weights, run.provenance["diverged"].get(name))


def _rows_of(tables: dict[str, pd.DataFrame], variant: str) -> dict[str, pd.DataFrame]:
    return {name: table[table.variant == variant] for name, table in tables.items()}


def _leak_table(config: Config, variants: tuple[Variant, ...], trained: Trained) -> pd.DataFrame:
    """Rows (variant, step, loop, layer, head, weight) of the variants in which x_i can see y_i."""
    rows = []
    for v, variant in enumerate(variants):
        if variant.mask == "causal":
            continue
        for i, leaks in enumerate(trained.leaks):
            step = (i + 1) * config.log_every
            if step > trained.diverged.get(variant.name, step):
                break
            for (t, layer, head), weight in np.ndenumerate(leaks[v].numpy()):
                rows.append(
                    (variant.name, step, t + 1, layer + 1, head + 1, round(float(weight), 6))
                )
    return pd.DataFrame(rows, columns=records.COLUMNS["leak.csv"])


def recorded_model(run: records.Run, names: tuple[str, ...] = ()) -> LoopedTransformer:
    """The stack of a recorded run, or of those variants of it, on the CPU."""
    places = [run.config.variants.index(name) for name in names or run.config.variants]
    weights = run.weights()
    model = LoopedTransformer(run.config, tuple(run.config.stack[i] for i in places))
    singles = [variant_weights(weights, run.config.stack, i) for i in places]
    model.load_state_dict(stack_weights(singles))
    return model


def _latest(state: Trained, n_variants: int) -> str:
    rows = state.curves[-n_variants:]
    return ", ".join(f"loss {loss:.3g}, target error {error:.3g}" for *_, loss, error in rows)


def _progress(config: Config, state: Trained, since_saved: float) -> str:
    """A log's line: where it is, the latest row of the curves, how long the stack has yet to go."""
    seconds = state.seconds + since_saved
    left = tqdm.format_interval((config.steps - state.step) * seconds / state.step)
    latest = _latest(state, len(state.losses)) or "no row yet"
    return f"step {state.step} of {config.steps}, {latest}, {left} left"
