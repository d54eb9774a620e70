"""A run: train one variant, log, checkpoint, resume, record."""

import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from icl_core import checkpoints, evaluation, locks, objectives, records, sampler
from icl_core.checkpoints import Progress
from icl_core.config import Config
from icl_core.initial import initial_model
from icl_core.model import LoopedTransformer

logger = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 30
LINE_SECONDS = 60  # between two lines of a log without a bar


def run(config: Config, out: str = ".") -> records.Run:
    """The recorded run of config: loaded if it is finished, else resumed or trained, and recorded.

    out is the folder, relative to the project's, whose data/ holds the record. Raises RecordError
    if the run's place holds a run of another configuration, HeldError if another process trains it.
    """
    finished = records.find_run(out, config)
    if finished:
        return finished
    folder = records.work_folder(out, config)
    with locks.held(folder.with_suffix(".lock")):
        # Who held the lock before may have recorded the run, and been killed while tidying up.
        recorded = records.find_run(out, config) or _train_and_record(config, out, folder)
        shutil.rmtree(folder, ignore_errors=True)
    return recorded


def _train_and_record(config: Config, out: str, folder: Path) -> records.Run:
    with one_thread(config):
        model, progress = train(config, folder / "checkpoint.safetensors")
        tables = {
            "curves.csv": progress.curves,
            "probes.csv": progress.probes,
            "attention.csv": progress.attention,
            "errors.csv": evaluation.errors_table(model, sampler.evaluation_prompts(config)),
        }
        if config.random_numbers == "torch":
            tables |= {"checks.csv": progress.checks, "tests.csv": evaluation.tests_table(model)}
    weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    return records.write_run(
        out,
        config,
        records.provenance(progress.commit, progress.seconds, progress.step, progress.diverged),
        {name: pd.DataFrame(rows, columns=records.COLUMNS[name]) for name, rows in tables.items()},
        {"weights.safetensors": weights, "losses.safetensors": {"loss": progress.all_losses()}},
    )


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


def train(config: Config, checkpoint: Path) -> tuple[LoopedTransformer, Progress]:
    """Trains from the checkpoint, if there is one, to config.steps.

    A run whose loss is no longer finite ends there. On SIGINT or SIGTERM the step is finished and
    saved, then the signal does what it always does.
    """
    model, after_weights = initial_model(config)
    optimiser = adam(config, model)
    draws = sampler.draws(config, after_weights)
    prompts = sampler.evaluation_prompts(config).first(config.curve_prompts)
    began = saved = said = time.monotonic()
    if checkpoint.exists():
        progress = checkpoints.load(checkpoint, config, model, optimiser, draws)
        logger.info("%s: resumed at step %d of %d", config.place, progress.step, config.steps)
    else:
        progress = Progress(commit=records.commit())
        look(config, model, draws, prompts, progress)
    bar = tqdm(total=config.steps, initial=progress.step, desc=config.place, mininterval=1)
    with between_steps() as signals, bar:
        ending = progress.is_over(config)
        while not ending:
            progress.losses.append(update(config, model, optimiser, draws, progress.step))
            progress.step += 1
            bar.update()
            if progress.step % config.log_every == 0 or progress.step == config.steps:
                log(config, model, prompts, progress)
                bar.set_postfix_str(progress.latest())
            if progress.step % config.probe_every == 0:
                look(config, model, draws, prompts, progress)
            ending = bool(signals) or progress.is_over(config)
            now = time.monotonic()
            if ending or now - saved > CHECKPOINT_SECONDS:
                progress.seconds, began, saved = progress.seconds + now - began, now, now
                checkpoints.save(checkpoint, config, model, optimiser, draws, progress)
            if bar.disable and (ending or now - said > LINE_SECONDS):
                said = now
                logger.info("%s: %s", config.place, progress.line(config, now - began))
    if signals:
        stopped = signal.Signals(signals[0])
        saved_at = f"{stopped.name}, saved at step {progress.step}; run it again to resume"
        logger.warning("%s: %s", config.place, saved_at)
        signal.raise_signal(stopped)
        raise KeyboardInterrupt(saved_at)  # whatever handled the signal, the run is not trained
    return model, progress


def adam(config: Config, model: LoopedTransformer) -> torch.optim.Adam:
    """Adam at a constant rate, its update in one kernel."""
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)


def update(config: Config, model: LoopedTransformer, optimiser, draws, step: int) -> Tensor:
    """Trains on the batch of this step; the loss before the update."""
    asked = objectives.asked(draws.batch(step), config, step)
    predictions = model(asked.tokens, asked.rows, change=asked.change)
    loss = objectives.loss(predictions, asked.answers, config.d)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach()


def log(config: Config, model: LoopedTransformer, prompts, progress: Progress) -> None:
    """A row of the curves: the losses since the last one, and the target error."""
    errors = evaluation.target_errors(model, prompts, [config.n_examples]).mean(axis=(1, 2))
    since = progress.curves[-1][0] if progress.curves else 0
    loss = float(progress.all_losses()[since:].double().mean())
    progress.curves.append((progress.step, loss, float(errors[-1]), float(errors.mean())))
    if not math.isfinite(loss):
        progress.diverged = progress.step


def look(config: Config, model: LoopedTransformer, draws, prompts, progress: Progress) -> None:
    """A row of the probes and, from the source's random numbers, of its checks."""
    errors, attention = evaluation.probe(model, prompts)
    progress.probes.append((progress.step, *errors))
    progress.attention += [(progress.step, *row) for row in attention]
    if config.random_numbers == "torch":
        error = evaluation.mean_iteration_error(model, draws.check())
        progress.checks.append((progress.step, error))


def recorded_model(run: records.Run) -> LoopedTransformer:
    """The model of a recorded run, on the CPU."""
    model = LoopedTransformer(run.config)
    model.load_state_dict(run.weights())
    return model
