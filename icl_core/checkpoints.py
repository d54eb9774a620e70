"""A run's checkpoint: a safetensors file that is whole, undamaged and this run's, or refused."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from icl_core import kernels, records
from icl_core.config import Config
from icl_core.files import write_whole
from icl_core.model import LoopedTransformer

UNSIGNED = "0" * 64  # stands in the place of the checksum while that is taken
MADE_WITH = ("torch", "numpy")  # numpy draws batches: another version may draw others


class CheckpointError(RuntimeError):
    """A checkpoint file is not one of this run; says which and what to do."""


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds beside weights, moments and random numbers."""

    step: int = 0
    seconds: float = 0.0
    commit: str | None = None  # of the code that began it
    diverged: int | None = None  # the step that it was seen at
    curves: list[tuple] = field(default_factory=list)  # rows, as in records.COLUMNS
    checks: list[tuple] = field(default_factory=list)
    probes: list[tuple] = field(default_factory=list)
    attention: list[tuple] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)  # (…,) parts, one behind the other

    def is_over(self, config: Config) -> bool:
        """All steps are taken, or the run has diverged."""
        return self.step >= config.steps or self.diverged is not None

    def all_losses(self) -> Tensor:
        """(step,): the loss of every step, on the CPU."""
        if self.losses:
            self.losses = [torch.cat([part.flatten() for part in self.losses])]
        return self.losses[0].cpu() if self.losses else torch.empty(0)

    def latest(self) -> str:
        """The last row of the curves, in words."""
        if not self.curves:
            return "no row yet"
        _, loss, error, _ = self.curves[-1]
        return f"loss {loss:.3g}, target error {error:.3g}"

    def line(self, config: Config, since_saved: float) -> str:
        """A log's line: where it is, the latest row of the curves, how long it has yet to go."""
        seconds = self.seconds + since_saved
        left = tqdm.format_interval((config.steps - self.step) * seconds / max(self.step, 1))
        return f"step {self.step} of {config.steps}, {self.latest()}, {left} left"


def save(
    path: Path, config: Config, model: LoopedTransformer, optimiser, draws, progress: Progress
) -> None:
    """Replaces the checkpoint; raises OSError, and leaves the last good one, if it cannot."""
    tensors = {"random": draws.state, "losses": progress.all_losses()}
    for name, parameter in model.named_parameters():
        moments = optimiser.state[parameter]
        tensors[f"weights/{name}"] = parameter.detach().contiguous()
        tensors[f"mean/{name}"] = moments["exp_avg"].contiguous()
        tensors[f"square/{name}"] = moments["exp_avg_sq"].contiguous()
    own = {name: value for name, value in vars(progress).items() if name != "losses"}
    metadata = {
        "sha256": UNSIGNED,
        "config": config.digest(),
        "made with": json.dumps(_made_with()),
        "progress": json.dumps(own),
    }
    content = safetensors.torch.save(tensors, metadata)
    checksum = hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.replace(UNSIGNED.encode(), checksum.encode(), 1))


def load(path: Path, config: Config, model: LoopedTransformer, optimiser, draws) -> Progress:
    """Puts a checkpoint into model, optimiser and draws.

    Raises CheckpointError unless all of it fits.
    """
    try:
        metadata, tensors = _read(path)
        theirs, ours = json.loads(metadata["made with"]), _made_with()
        if theirs != ours:
            raise ValueError(f"{theirs} made it, and {ours} is here")
        if metadata["config"] != config.digest():
            raise ValueError("it is of another configuration")
        progress = Progress(**json.loads(metadata["progress"]), losses=[tensors["losses"]])
        for name in ("curves", "checks", "probes", "attention"):
            setattr(progress, name, [tuple(row) for row in getattr(progress, name)])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(progress.step), device=config.device),
                    "exp_avg": tensors[f"mean/{name}"].to(config.device, copy=True),
                    "exp_avg_sq": tensors[f"square/{name}"].to(config.device, copy=True),
                }
        draws.state = tensors["random"]
        progress.losses = [progress.losses[0].to(config.device)]
        return progress
    except (ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be resumed from: {error}. Remove it to train from the start."
        ) from error


def _made_with() -> dict[str, str | None]:
    versions = records.versions()
    return {name: versions[name] for name in MADE_WITH} | {"kernel": kernels.name()}


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors; raises ValueError or KeyError if a single byte is not as written."""
    content = path.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    try:
        metadata = json.loads(header)["__metadata__"]
        checksum = metadata["sha256"].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("it has no checksum: it is damaged, or an older version's") from None
    unsigned = content.replace(checksum, UNSIGNED.encode(), 1)
    if hashlib.sha256(unsigned).hexdigest().encode() != checksum:
        raise ValueError("its checksum is wrong: it is damaged")
    return metadata, safetensors.torch.load(content)
