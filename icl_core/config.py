"""One run, checked before anything is trained: a variant, in a setup, at one (b, seed).

Two runs with equal configs have equal weights, on one machine with one version of torch to the
last bit. A field's default is the source experiment's value; a setup is named by what it changes.
"""

import hashlib
import re
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from icl_core.encodings import VARIANTS

# Interventions in a run that asks every token: what is added to the scores y_i → x_{i - back} of so
# many heads of layer 1, in which steps.
HINTS = {
    "hint 200-500": {"heads": 1, "steps": range(200, 500)},
    "hint 1500-1800": {"heads": 1, "steps": range(1_500, 1_800)},
    "hint 1500-3000": {"heads": 1, "steps": range(1_500, 3_000)},
    "hint to all heads 1500-1800": {"heads": 4, "steps": range(1_500, 1_800)},
    "hint to all heads 1500-3000": {"heads": 4, "steps": range(1_500, 3_000)},
    "hint at the neighbour 200-500": {"heads": 1, "steps": range(200, 500), "back": 1},
    "hint at the neighbour 1500-3000": {"heads": 1, "steps": range(1_500, 3_000), "back": 1},
    "pair hidden": {"heads": 4, "steps": range(10_000_000), "added": -torch.inf},
}
OBJECTIVES = ("all", "query", "random k", "all, random k", "hidden", "queries", "query after 1000")
OBJECTIVES += tuple(HINTS)
FUNCTION_CLASSES = ("linear", "sparse", "network", "tree")
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}  # in refusals
_SHORT = {"n_examples": 20, "d": 4, "steps": 2_000, "lr": 1e-3, "log_every": 50, "probe_every": 400}
BASES = {
    "source": {},
    "gpt2": {  # the textbook's: task and training; block; initial weights and sinusoid; the rest
        **{"d": 5, "steps": 10_000, "log_every": 100, "probe_every": 2_000},
        **{"attention_in_residual": True, "final_norm": True, "gelu": "tanh"},
        **{"init": "gpt2", "table_std": 0.02, "sinusoid_base": 10_000.0},
        **{"scalar_read_out": True, "loss_over_d": False, "random_numbers": "numpy"},
    },
    "quick": _SHORT
    | {"steps": 1_500, "probe_every": 300, "curve_prompts": 256, "evaluation_prompts": 640},
    "smoke": {
        **{"n_examples": 3, "d": 2, "width": 8, "n_heads": 2, "mlp_width": 16, "batch_size": 4},
        **{"steps": 4, "log_every": 2, "probe_every": 2},
        **{"curve_prompts": 8, "evaluation_prompts": 16},
    },
}
CHOICES = {  # what a setup's name has behind a "+", each exchanged in its base
    "attention-in-residual": {"attention_in_residual": True},
    "final-norm": {"final_norm": True},
    "gpt2-init": {"init": "gpt2"},
    "d5": {"d": 5},
    "small-table": {"table_std": 0.02},
    "base-10000": {"sinusoid_base": 10_000.0},
    "small-read-in": {"small_read_in": True},
    "first-iteration": {"injection": "first"},
    **{re.sub(r"\W+", "-", name): {"objective": name} for name in OBJECTIVES[1:]},
    **{name: _SHORT | {"function_class": name} for name in FUNCTION_CLASSES},
}


class ConfigError(ValueError):
    """Names every bad parameter: its value, the accepted range and what to do."""


class Config(BaseModel):
    """One run. What is not given is the setup's. Raises :class:`ConfigError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    setup: str = "source"
    variant: Literal[tuple(VARIANTS)] = "none"
    b: int = Field(1, ge=1, le=100)  # loop iterations
    seed: int = Field(42, ge=0, le=2**32 - 1)
    # the task
    d: int = Field(8, ge=1, le=1000)  # dimension of x
    n_examples: int = Field(63, ge=1, le=10_000)
    function_class: Literal[FUNCTION_CLASSES] = "linear"
    objective: Literal[OBJECTIVES] = "all"  # what a step asks of its prompts
    # the model
    n_layers: int = Field(2, ge=1, le=100)
    n_heads: int = Field(4, ge=1, le=1_000_000)
    width: int = Field(64, ge=2, le=8192)  # hidden dimension
    mlp_width: int = Field(256, ge=1, le=1_000_000)
    attention_in_residual: bool = False  # does the block keep the attention's output?
    final_norm: bool = False  # a LayerNorm at the end of every iteration?
    gelu: Literal["exact", "tanh"] = "exact"
    injection: Literal["every", "first"] = "every"  # iterations that the encoding is added in
    sinusoid_base: float = Field(9.210340371976184, gt=0, le=1e6)  # ln 10000; meant is 10000
    scalar_read_out: bool = False  # one output, or d of which the first is read
    # initial weights
    init: Literal["pytorch", "gpt2"] = "pytorch"  # of the blocks
    table_std: float = Field(1.0, gt=0, le=1e6)  # of a learned encoding's rows
    small_read_in: bool = False  # N(0, 0.02) in place of PyTorch's default
    # training
    batch_size: int = Field(64, ge=1, le=1_000_000)  # prompts a step
    lr: float = Field(5e-4, gt=0, le=100)
    steps: int = Field(7_500, ge=1, le=10_000_000)
    loss_over_d: bool = True  # is the loss divided by d before its gradient? To Adam, nearly one
    random_numbers: Literal["torch", "numpy"] = "torch"  # drawn in the source's order; by step
    # what is recorded
    log_every: int = Field(75, ge=1, le=1_000_000)  # steps between two rows of curves.csv
    probe_every: int = Field(1_500, ge=1, le=1_000_000)  # steps between two looks inside
    curve_prompts: int = Field(512, ge=1, le=1_000_000)  # behind the error of curves.csv
    evaluation_prompts: int = Field(1280, ge=1, le=1_000_000)  # behind errors.csv
    device: str = "cpu"

    def __init__(self, *, setup: str = "source", **parameters):
        base, *choices = str(setup).split("+")
        if base not in BASES or set(choices) - CHOICES.keys():
            told = f"must be one of {', '.join(BASES)}; choices may be exchanged, each behind a +: "
            raise ConfigError(f"setup = {setup!r}: {told}{', '.join(CHOICES)}")
        settings = BASES[base] | {k: v for own in choices for k, v in CHOICES[own].items()}
        try:
            super().__init__(setup=setup, **settings | parameters)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    @field_validator("width", "evaluation_prompts", "random_numbers", "device")
    @classmethod
    def _is_possible(cls, value, info):  # with the fields before it, on this machine
        name, given = info.field_name, info.data
        pairs = 2 * given.get("n_heads", 1)  # of coordinates, in each head
        bent = given.get("function_class", "linear") != "linear"
        if name == "width" and value % pairs:
            raise ValueError(f"a multiple of 2 · n_heads = {pairs}")
        if name == "evaluation_prompts" and value < given.get("curve_prompts", 1):
            raise ValueError(f"at least curve_prompts = {given['curve_prompts']}")
        if name == "random_numbers" and value == "torch" and bent:
            raise ValueError("numpy where function_class is not linear")
        if name == "device":
            n_gpus = torch.cuda.device_count()
            there = ["cpu", *["cuda"][:n_gpus], *(f"cuda:{i}" for i in range(n_gpus))]
            if value not in there:
                raise ValueError(f"one of {', '.join(there)}, which are what this machine has")
        return value

    encoding = property(lambda self: VARIANTS[self.variant][0])  # short names, "" without one
    mask = property(lambda self: VARIANTS[self.variant][1])
    n_tokens = property(lambda self: 2 * self.n_examples + 1)  # x_1 y_1 … x_n y_n x_q

    @property
    def place(self) -> str:
        """The run's folder under data/: ``source/spe_cm/b1-seed42``."""
        variant = re.sub(r"\W+", "_", self.variant.lower())  # as in the author's names of files
        return f"{self.setup}/{variant}/b{self.b}-seed{self.seed}"

    def comparable(self) -> dict:
        """What all runs of a variant that are compared must share: not b, seed and device."""
        return self.model_dump(mode="json", exclude={"b", "seed", "device"})

    def digest(self) -> str:
        """SHA-256 of the parameters, to tell whether a checkpoint belongs to this run."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _explain(error: ValidationError) -> str:
    """How many parameters are bad, then a line each: its name, value and what is accepted."""
    lines, fields = [], Config.model_json_schema()["properties"]
    for problem in error.errors():
        name, value = problem["loc"][0], problem["input"]
        if not (own := fields.get(name)):
            lines.append(f"{name}: no such parameter; the parameters are {', '.join(fields)}")
            continue
        accepted = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        bounds = [f"{sign} {own[bound]}" for bound, sign in SIGNS.items() if bound in own]
        if bounds and problem["type"] != "value_error":
            kind = "an integer " if own["type"] == "integer" else "a number "
            accepted = kind + " and ".join(bounds)
            if isinstance(value, str):
                accepted += "; this is a text, write it as a number: in YAML 1.0e-3, not 1e-3"
        lines.append(f"{name} = {value!r}: must be {accepted}")
    count = f"{len(lines)} bad parameter{'s' if len(lines) > 1 else ''}"
    return "\n  ".join([f"{count}, nothing was trained:", *lines])
