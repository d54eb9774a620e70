"""A stack's checkpoint: a safetensors file that is whole, undamaged and this run's, or refused."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from icl_report.config import Config, Variant
from icl_report.files import write_whole
from icl_report.model import LoopedTransformer

UNSIGNED = "0" * 64  # stands in the place of the checksum while that is taken


class CheckpointError(RuntimeError):
    """A checkpoint file is not one of this run; says which and what to do."""


@dataclass
class Trained:
    """A stack's state after some steps: what a checkpoint holds."""

    losses: Tensor  # (V,), summed since the last row of the curves
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


def save(path: Path, config: Config, model: LoopedTransformer, optimiser, state: Trained) -> None:
    """Replaces the checkpoint; raises OSError, and leaves the last good one, if it cannot."""
    tensors = {"losses": state.losses}
    if state.leaks:
        tensors["leaks"] = torch.stack(state.leaks)
    for name, parameter in model.named_parameters():
        moments = optimiser.state[parameter]
        tensors[f"weights/{name}"] = parameter.detach().contiguous()
        tensors[f"mean/{name}"] = moments["exp_avg"].contiguous()
        tensors[f"square/{name}"] = moments["exp_avg_sq"].contiguous()
    metadata = {
        "sha256": UNSIGNED,
        "config": config.digest(),
        "torch": torch.__version__,
        "stack": _names(model.variants),
        "step": str(state.step),
        "commit": json.dumps(state.commit),
        "seconds": repr(state.seconds),
        "diverged": json.dumps(state.diverged),
        "curves": json.dumps(state.curves),
    }
    content = safetensors.torch.save(tensors, metadata)
    checksum = hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.replace(UNSIGNED.encode(), checksum.encode(), 1))


def load(path: Path, config: Config, model: LoopedTransformer, optimiser) -> Trained:
    """Puts a checkpoint into model and optimiser; raises CheckpointError unless all of it fits."""
    try:
        metadata, tensors = _read(path)
        if metadata["torch"] != torch.__version__:
            theirs = metadata["torch"]
            raise ValueError(f"torch {theirs} wrote it, and torch {torch.__version__} is here")
        if metadata["config"] != config.digest() or metadata["stack"] != _names(model.variants):
            raise ValueError("it is of another configuration")
        step = int(metadata["step"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(step), device=config.device),
                    "exp_avg": tensors[f"mean/{name}"].to(config.device, copy=True),
                    "exp_avg_sq": tensors[f"square/{name}"].to(config.device, copy=True),
                }
        return Trained(
            losses=tensors["losses"].to(config.device, copy=True),
            step=step,
            seconds=float(metadata["seconds"]),
            commit=json.loads(metadata["commit"]),
            curves=[tuple(row) for row in json.loads(metadata["curves"])],
            leaks=list(tensors["leaks"].clone()) if "leaks" in tensors else [],
            diverged=json.loads(metadata["diverged"]),
        )
    except (ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be resumed from: {error}. Remove it to train from the start."
        ) from error


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


def _names(variants: tuple[Variant, ...]) -> str:
    return json.dumps([variant.name for variant in variants])


def label(variants: tuple[Variant, ...]) -> str:
    """The stack's name in words."""
    return ", ".join(variant.name for variant in variants)


def file_name(variants: tuple[Variant, ...]) -> str:
    """The stack's name as that of a file."""
    slugs = [re.sub(r"\W+", "-", variant.name.lower()).strip("-") for variant in variants]
    return "_".join(slugs) + ".safetensors"
