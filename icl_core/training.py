"""A run: train every variant on the same batches, log, checkpoint, resume, record."""

import json
import logging
import math
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from icl_core import evaluation, records, sampler
from icl_core.config import Config, Variant
from icl_core.model import QUERY, X_TOKENS, LoopedTransformer, stack_weights, variant_weights

logger = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 30
LEAK_PROMPTS = 32  # prompts behind leak.csv
CURVES = records.COLUMNS["curves.csv"]


class CheckpointError(RuntimeError):
    """A checkpoint file is not one of this run; says which and what to do."""


@dataclass
class Trained:
    """A stack's state after some steps: what a checkpoint holds."""

    step: int = 0
    seconds: float = 0.0
    commit: str | None = None  # of the code that began it
    curves: list[tuple] = field(default_factory=list)  # (variant, step, loss, target error)
    leaks: list[Tensor] = field(default_factory=list)  # (V, T, layers, H) at each step logged
    diverged: dict[str, int] = field(default_factory=dict)  # variant -> step it was seen at
    weights: dict[str, Tensor] = field(default_factory=dict)

    def is_over(self, config: Config, variants: tuple[Variant, ...]) -> bool:
        """All steps are taken, or every variant of the stack has diverged."""
        return self.step >= config.steps or len(self.diverged) == len(variants)


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
    if the run's place holds a run of another configuration.
    """
    finished = records.find_run(out, config)
    if finished:
        return finished
    folder = records.root_folder(out) / "build" / "checkpoints" / config.ablation
    folder = folder / f"{config.name}-{config.digest()[:12]}"
    taken = records.taken_over(out, config)
    stacks = stacks_of(config, [variant for variant in config.stack if variant.name not in taken])
    parts = {name: _recorded_part(theirs, name) for name, theirs in taken.items()}
    with one_thread(config):
        trained = [train(config, stack, folder / _file_name(stack)) for stack in stacks]
        for stack, state in zip(stacks, trained):
            parts |= _trained_parts(config, stack, state)
    ordered = [parts[name] for name in config.variants]
    recorded = records.write_run(
        out,
        config,
        records.provenance(
            config,
            sum(state.seconds for state in trained),
            trained[0].commit if trained else records.commit(),
            {name: parts[name].diverged for name in config.variants if parts[name].diverged},
            {name: f"{theirs.config.ablation}/{config.name}" for name, theirs in taken.items()},
        ),
        {name: pd.concat([part.tables[name] for part in ordered]) for name in records.COLUMNS},
        stack_weights([part.weights for part in ordered]),
    )
    shutil.rmtree(folder, ignore_errors=True)
    return recorded


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


def training_loss(predictions: Tensor, answers: Tensor) -> Tensor:
    """(V,): mean squared error over iterations, prompts and the x-tokens asked.

    predictions: (T, V, B, R); answers: (B, R).
    """
    return ((predictions - answers) ** 2).mean(dim=(0, 2, 3))


def train(config: Config, variants: tuple[Variant, ...], checkpoint: Path) -> Trained:
    """Trains a stack from its checkpoint, if there is one, to config.steps.

    A variant whose loss is no longer finite is stopped: it gets no further rows in the curves, and
    training ends once that is so for the whole stack. The others do not notice: nothing is shared.
    """
    model = LoopedTransformer(config, variants).to(config.device)
    optimiser = adam(config, model)
    state = _load(checkpoint, config, model, optimiser)
    prompts = sampler.evaluation_prompts(config).first(config.curve_prompts)
    label, saved_at, began = _label(variants), time.monotonic(), time.monotonic()
    losses = torch.zeros(len(variants), device=config.device)
    bar = tqdm(total=config.steps, initial=state.step, desc=label, mininterval=1, unit="step")
    while not state.is_over(config, variants):
        losses += update(config, model, optimiser, state.step)
        state.step += 1
        bar.update()
        if state.step % config.log_every:
            continue
        _log(config, model, prompts, losses / config.log_every / config.d, state)
        losses.zero_()
        bar.set_postfix_str(_latest(state, len(variants)))
        due = time.monotonic() - saved_at > CHECKPOINT_SECONDS
        if due or state.is_over(config, variants):
            state.seconds += time.monotonic() - began
            began = saved_at = time.monotonic()
            _save(checkpoint, config, model, optimiser, state)
            logger.info("%s, step %d: %s", label, state.step, _latest(state, len(variants)))
    bar.close()
    state.weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    return state


def adam(config: Config, model: LoopedTransformer) -> torch.optim.Adam:
    """Adam at a constant rate, its update in one kernel."""
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)


def update(config: Config, model: LoopedTransformer, optimiser, step: int) -> Tensor:
    """Trains on the batch of this step; the losses (V,) before the update."""
    (loss_of_all,) = {variant.loss for variant in model.variants}
    tokens, answers, rows = asked(config, loss_of_all, step)
    predictions = model(tokens.to(config.device), rows)
    loss = training_loss(predictions, answers.to(config.device))
    optimiser.zero_grad(set_to_none=True)
    loss.sum().backward()
    optimiser.step()
    return loss.detach()


def asked(config: Config, loss: str, step: int) -> tuple[Tensor, Tensor, slice]:
    """This step's tokens, the answers that a loss asks for, and the rows it asks for them.

    "all": every x-token of the prompt; "query": the query; "cut all" and "cut": the same of prompts
    cut to a random number of examples. A query's own answer is never among the tokens.
    """
    tokens, answers = sampler.batch(config, step)
    k = sampler.random_k(config, step) if "cut" in loss else config.n_examples
    tokens, answers = tokens[:, : 2 * k + 1], answers[:, : k + 1]
    return (tokens, answers, X_TOKENS) if "all" in loss else (tokens, answers[:, -1:], QUERY)


def _log(config: Config, model: LoopedTransformer, prompts, losses: Tensor, state: Trained):
    errors = evaluation.target_errors(model, prompts, [config.n_examples]).mean(axis=(1, 2))
    state.leaks.append(evaluation.leak(model, prompts.first(LEAK_PROMPTS)))
    for variant, loss, error in zip(model.variants, losses.tolist(), errors.tolist()):
        if variant.name in state.diverged:
            continue
        state.curves.append((variant.name, state.step, loss, error))
        if not math.isfinite(loss):
            state.diverged[variant.name] = state.step


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


def _save(path: Path, config: Config, model, optimiser, state: Trained) -> None:
    """Writes the checkpoint beside its place and renames it: the last good one is never lost."""
    tensors = {}
    for name, parameter in model.named_parameters():
        moments = optimiser.state[parameter]
        tensors[f"weights/{name}"] = parameter.detach().contiguous()
        tensors[f"mean/{name}"] = moments["exp_avg"].contiguous()
        tensors[f"square/{name}"] = moments["exp_avg_sq"].contiguous()
    tensors["leaks"] = torch.stack(state.leaks)
    metadata = {
        "config": config.digest(),
        "stack": _label(model.variants),
        "step": str(state.step),
        "commit": json.dumps(state.commit),
        "seconds": repr(state.seconds),
        "diverged": json.dumps(state.diverged),
        "curves": json.dumps(state.curves),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    safetensors.torch.save_file(tensors, temporary, metadata)
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _load(path: Path, config: Config, model, optimiser) -> Trained:
    """Puts the checkpoint, if there is one, into model and optimiser."""
    if not path.exists():
        return Trained(commit=records.commit())
    try:
        with safetensors.safe_open(path, "pt", device=config.device) as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["config"] != config.digest() or metadata["stack"] != _label(model.variants):
            raise ValueError("it is of another configuration")
        step = int(metadata["step"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(step), device=config.device),
                    "exp_avg": tensors[f"mean/{name}"].clone(),
                    "exp_avg_sq": tensors[f"square/{name}"].clone(),
                }
        return Trained(
            step=step,
            seconds=float(metadata["seconds"]),
            commit=json.loads(metadata["commit"]),
            curves=[tuple(row) for row in json.loads(metadata["curves"])],
            leaks=list(tensors["leaks"].cpu()),
            diverged=json.loads(metadata["diverged"]),
        )
    except (ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be resumed from: {error}. Remove it to train from the start."
        ) from error


def _latest(state: Trained, n_variants: int) -> str:
    rows = state.curves[-n_variants:]
    return ", ".join(f"loss {loss:.3g}, target error {error:.3g}" for *_, loss, error in rows)


def _label(variants: tuple[Variant, ...]) -> str:
    return ", ".join(variant.name for variant in variants)


def _file_name(variants: tuple[Variant, ...]) -> str:
    slugs = [re.sub(r"\W+", "-", variant.name.lower()).strip("-") for variant in variants]
    return "_".join(slugs) + ".safetensors"
