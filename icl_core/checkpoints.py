"""A run's checkpoint: a safetensors file and its sum, whole and this run's, or refused."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from icl_core import kernels, records
from icl_core.config import Config
from icl_core.model import LoopedTransformer


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds beside weights, moments and random numbers."""

    step: int = 0
    seconds: float = 0.0
    commit: str | None = None  # of the code that began it
    diverged: int | None = None  # the step that it was seen at
    tables: dict[str, list] = field(default_factory=dict)  # rows, as in records.COLUMNS
    losses: list[Tensor] = field(default_factory=list)  # parts of (step,), one behind the other

    def is_over(self, config: Config) -> bool:
        """All steps are taken, or the run has diverged."""
        return self.step >= config.steps or self.diverged is not None

    def add(self, name: str, *rows: tuple) -> None:
        """Appends rows to a table."""
        self.tables.setdefault(name, []).extend(list(row) for row in rows)

    def loss(self) -> Tensor:
        """(step,): the loss of every step, on the CPU."""
        self.losses = [torch.cat([part.flatten() for part in self.losses] or [torch.empty(0)])]
        return self.losses[0].cpu()


def save(path: Path, model: LoopedTransformer, optimiser, draws, progress: Progress) -> None:
    """Replaces the checkpoint; raises OSError, and leaves the last good one, if it cannot."""
    tensors = {"random": draws.generator.get_state(), "loss": progress.loss()}
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


def load(path: Path, model: LoopedTransformer, optimiser, draws) -> Progress:
    """Puts a checkpoint into model, optimiser and draws; raises RecordError unless all fits."""
    try:
        content, checksum = (whole := path.read_bytes())[:-32], whole[-32:]
        if hashlib.sha256(content).digest() != checksum:
            raise ValueError("its checksum is wrong: it is damaged, or an older version's")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata, tensors = header["__metadata__"], safetensors.torch.load(content)
        theirs, ours = json.loads(metadata["of"]), _identity(model.config)
        if theirs != ours:
            raise ValueError(f"it was made with {theirs}, and here is {ours}")
        device = model.config.device
        progress = Progress(**json.loads(metadata["progress"]), losses=[tensors["loss"].to(device)])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(progress.step), device=device),
                    "exp_avg": tensors[f"mean/{name}"].to(device, copy=True),
                    "exp_avg_sq": tensors[f"square/{name}"].to(device, copy=True),
                }
        draws.generator.set_state(tensors["random"])
        return progress
    except (ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise records.RecordError(
            f"{path} cannot be resumed from: {error}. Remove it to train from the start."
        ) from error


def _identity(config: Config) -> dict[str, str | None]:
    """What must be the same for the rest of a run to be what it would have been."""
    versions = records.versions()  # numpy draws batches: another version may draw others
    made_with = {"torch": versions["torch"], "numpy": versions["numpy"], "kernel": kernels.name()}
    return {"configuration": config.digest(), **made_with}
