"""A run: train one variant, log, checkpoint, resume, record."""

import hashlib
import json
import logging
import os
import shutil
import time
import timeit
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from icl_core import captured, evaluation, kernels, objectives, records, sampler
from icl_core.config import Config
from icl_core.initial import initial_model
from icl_core.model import LoopedTransformer

logger = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 30  # whatever stops a run, the next call goes on from the last checkpoint


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds beside weights, moments and random numbers."""

    losses: Tensor  # (steps,), of each step; what is to come is not a number
    step: int = 0
    seconds: float = 0.0
    commit: str | None = None  # of the code that began it
    diverged: int | None = None  # the step that it was seen at
    tables: dict[str, list] = field(default_factory=dict)  # rows, as in records.COLUMNS

    over = property(lambda self: self.step == len(self.losses) or self.diverged is not None)

    def add(self, name: str, *rows: tuple) -> None:
        """Appends rows to a table, this step in front of each."""
        self.tables.setdefault(name, []).extend([self.step, *row] for row in rows)


def run(config: Config, out: str = ".") -> records.Run:
    """The run recorded in out's data/, which is trained first, or resumed, if it is not there.

    Raises RecordError if its place holds another configuration's, HeldError if others train it.
    """
    if finished := records.find_run(out, config):
        return finished
    folder = records.work_folder(out, config)
    with records.held(folder.with_suffix(".lock")), one_thread(config):
        # Who held the lock before may have recorded the run, and been killed while tidying up.
        recorded = records.find_run(out, config) or _train_and_record(config, out, folder)
        shutil.rmtree(folder, ignore_errors=True)
    return recorded


def _train_and_record(config: Config, out: str, folder: Path) -> records.Run:
    model, progress = train(config, folder / "checkpoint.safetensors")
    tables, prompts = progress.tables, sampler.evaluation_prompts(config)
    tables["errors.csv"] = evaluation.error_rows(model, prompts)
    if config.random_numbers == "torch":
        tables["tests.csv"] = evaluation.test_rows(model)
    weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    made_by = {
        **{"libraries": records.versions(), "kernel": kernels.name(config.device)},
        **{"commit": progress.commit, "diverged": progress.diverged},
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),  # of the job that recorded it
        "wall_seconds": round(progress.seconds, 1),
        "steps_per_second": round(progress.step / progress.seconds, 2),
    }
    losses = {"loss": progress.losses[: progress.step].cpu()}
    tensors = {"weights.safetensors": weights, "losses.safetensors": losses}
    return records.write_run(out, config, made_by, tables, tensors)


@contextmanager
def one_thread(config: Config):
    """One thread a run: it pays on a CPU (run two at a time), and it fixes the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if config.device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(config: Config, checkpoint: Path) -> tuple[LoopedTransformer, Progress]:
    """Trains, from the checkpoint if there is one, to config.steps or a loss that is not finite."""
    model, after_weights = initial_model(config)
    draws, optimiser = sampler.Draws(config, after_weights), adam(config, model)
    draws, take = captured.for_device(draws, update, descend)
    prompts = sampler.evaluation_prompts(config).first(config.curve_prompts)
    progress = Progress(torch.full([config.steps], torch.nan, device=config.device))
    if checkpoint.exists():
        load(checkpoint, model, optimiser, draws, progress)
        logger.info("%s: resumed at step %d of %d", config.place, progress.step, config.steps)
    else:
        progress.commit = records.commit()
        look(model, draws, prompts, progress)
    saved = time.monotonic()
    while not progress.over:
        progress.losses[progress.step] = take(config, model, optimiser, draws, progress.step)
        progress.step += 1
        if progress.step % config.log_every == 0 or progress.step == config.steps:
            log(model, prompts, progress)
        if progress.step % config.probe_every == 0:
            look(model, draws, prompts, progress)
        now = time.monotonic()
        if now - saved > CHECKPOINT_SECONDS or progress.over:
            progress.seconds, saved = progress.seconds + now - saved, now
            save(checkpoint, model, optimiser, draws, progress)
            left = (config.steps - progress.step) * progress.seconds / progress.step / 60
            rows = progress.tables.get("curves.csv", [])
            latest = f"loss {rows[-1][1]:.3g}, target error {rows[-1][2]:.3g}, " if rows else ""
            told = config.place, progress.step, config.steps, latest, left
            logger.info("%s: step %d of %d, %s%.0f minutes left", *told)
    return model, progress


def adam(config: Config, model: LoopedTransformer) -> torch.optim.Adam:
    """Adam at a constant rate, its update in one kernel, which a GPU's graph may hold."""
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=True, capturable=True)


def update(config: Config, model: LoopedTransformer, optimiser, draws, step: int) -> Tensor:
    """Trains on the batch of this step; the loss before the update."""
    return descend(config, model, optimiser, objectives.asked(draws.batch(step), config, step))


def descend(config: Config, model: LoopedTransformer, optimiser, asked) -> Tensor:
    """A step of Adam on these prompts; the loss before it."""
    predictions = model(asked.tokens, asked.rows, change=asked.change)
    loss = objectives.loss(predictions, asked.answers, config.d)
    optimiser.zero_grad(set_to_none=True)
    (loss if config.loss_over_d else loss * config.d).backward()
    optimiser.step()
    return loss.detach()


def log(model: LoopedTransformer, prompts, progress: Progress) -> None:
    """A row of the curves: the mean loss since the last one, and the target error."""
    config, step = model.config, progress.step
    errors = evaluation.target_errors(model, prompts, [config.n_examples]).mean(axis=(1, 2))
    since = (step - 1) // config.log_every * config.log_every
    loss = progress.losses[since:step].cpu().double().mean()
    progress.add("curves.csv", (float(loss), float(errors[-1]), float(errors.mean())))
    if not loss.isfinite():
        progress.diverged = step


def look(model: LoopedTransformer, draws, prompts, progress: Progress) -> None:
    """A row of the probes and, from the source's random numbers, of its checks."""
    errors, attention = evaluation.probe(model, prompts)
    progress.add("probes.csv", errors)
    progress.add("attention.csv", *attention)
    if model.config.random_numbers == "torch":
        progress.add("checks.csv", (evaluation.mean_iteration_error(model, draws.check()),))


def save(path: Path, model: LoopedTransformer, optimiser, draws, progress: Progress) -> None:
    """Replaces the checkpoint; raises OSError, and leaves the last good one, if it cannot."""
    tensors = {"random": draws.generator.get_state(), "loss": progress.losses[: progress.step]}
    for name, parameter in model.named_parameters():
        moments = optimiser.state[parameter]
        tensors[f"weights/{name}"] = parameter.detach().contiguous()
        tensors[f"mean/{name}"] = moments["exp_avg"].contiguous()
        tensors[f"square/{name}"] = moments["exp_avg_sq"].contiguous()
    state = {name: value for name, value in vars(progress).items() if name != "losses"}
    metadata = {"of": json.dumps(_identity(model.config)), "progress": json.dumps(state)}
    content = safetensors.torch.save(tensors, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write_whole(path, content + hashlib.sha256(content).digest())


def load(path: Path, model: LoopedTransformer, optimiser, draws, progress: Progress) -> None:
    """Puts a checkpoint into all of these; raises RecordError unless it fits."""
    try:
        content = (whole := path.read_bytes())[:-32]
        if hashlib.sha256(content).digest() != whole[-32:]:
            raise ValueError("its checksum is wrong: it is damaged, or an older version's")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata, tensors = header["__metadata__"], safetensors.torch.load(content)
        theirs, ours = json.loads(metadata["of"]), _identity(model.config)
        if theirs != ours:
            raise ValueError(f"it was made with {theirs}, and here is {ours}")
        vars(progress).update(json.loads(metadata["progress"]))
        progress.losses[: progress.step] = tensors["loss"]
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                optimiser.state[parameter] = {
                    "step": torch.full((), float(progress.step), device=parameter.device),
                    "exp_avg": tensors[f"mean/{name}"].to(parameter.device, copy=True),
                    "exp_avg_sq": tensors[f"square/{name}"].to(parameter.device, copy=True),
                }
        draws.generator.set_state(tensors["random"])
    except (ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        told = f"{path} cannot be resumed from: {error}. Remove it to train from the start."
        raise records.RecordError(told) from error


def _identity(config: Config) -> dict[str, str | None]:
    """What must be the same for the rest of a run to be what it would have been."""
    versions = {k: records.versions()[k] for k in ("torch", "numpy")}  # numpy draws the batches
    return {"configuration": config.digest(), **versions, "kernel": kernels.name(config.device)}


def minutes_ahead(config: Config, out: str = ".") -> float:
    """How long the run of config would train here, from three steps of it; 0 if it is recorded."""
    if records.run_folder(out, config).exists():
        return 0.0
    with one_thread(config):
        model, after_weights = initial_model(config)
        draws, optimiser = sampler.Draws(config, after_weights), adam(config, model)
        step = timeit.Timer(lambda: update(config, model, optimiser, draws, 1).item())
        seconds = min(step.repeat(4, number=1))  # the first is slower: it compiles, it allocates
    return seconds * config.steps / 60


def recorded_model(run: records.Run) -> LoopedTransformer:
    """The model of a recorded run, on the CPU."""
    model = LoopedTransformer(run.config)
    model.load_state_dict(run.tensors("weights.safetensors"))
    return model
