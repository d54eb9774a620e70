"""The experiment's table and its variants, checked before anything is trained.

Everything a run depends on is a field of :class:`Config`; two runs with equal configs have equal
weights, on one machine with one version of torch to the last bit. The values given as defaults are
the source experiment's, or ours where it is silent.
"""

import ast
import hashlib
from itertools import product
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

ENCODINGS = {
    "none": "",
    "sinusoidal": "SPE",
    "small sinusoidal": "SPE small",
    "learned": "LPE",
    "learned from sinusoidal": "LPE large",
    "types": "TPE",
    "pairs": "pair",
    "pairs and types": "pair + TPE",
    "rotary": "RoPE",
    "alibi": "ALiBi",
}
MASKS = {"none": "", "causal": "CM", "prefix": "PM"}
LOSSES = {
    "all": "",
    "query": " (query)",
    "random k": " (random k)",
    "all, random k": " (all, random k)",
    "hidden": " (hidden)",
}
READ_INS = {"default": "", "small": " (small read-in)"}
FUNCTION_CLASSES = ("linear", "sparse", "network", "tree")
INJECTIONS = {"every": "", "first": " (first iteration)"}  # where the encoding is added


class ConfigError(ValueError):
    """Names every bad parameter: its value, the accepted range and what to do."""


class Variant(NamedTuple):
    """An encoding × a mask; the rest is as in the source experiment unless it is named."""

    encoding: str
    mask: str
    loss: str = "all"
    read_in: str = "default"
    injection: str = "every"

    @property
    def name(self) -> str:
        """The variant's name everywhere: ``SPE + CM``, ``LPE (query)``, …, ``none``."""
        parts = (ENCODINGS[self.encoding], MASKS[self.mask])
        name = " + ".join(part for part in parts if part) or "none"
        return name + LOSSES[self.loss] + READ_INS[self.read_in] + INJECTIONS[self.injection]


CHANGES = [
    *({"loss": loss} for loss in LOSSES),
    *({"read_in": "small"}, {"injection": "first"}),
]
VARIANTS = {
    variant.name: variant
    for variant in (Variant(e, m, **c) for e, m, c in product(ENCODINGS, MASKS, CHANGES))
}
SIX = ("SPE + CM", "LPE + CM", "CM", "SPE", "LPE", "none")  # the source text's
ABLATIONS = {
    "1_position_and_mask": SIX,
    "2_two_token_encoding": (
        *("TPE + CM", "TPE", "CM", "SPE + CM", "LPE + CM"),
        *("pair + CM", "pair", "pair + TPE + CM", "pair + TPE"),
        *("RoPE + CM", "ALiBi + CM"),
    ),
    "3_label_leakage": (
        *("none", "SPE", "LPE", "LPE + CM"),
        *("SPE (all, random k)", "LPE (all, random k)"),
        *("none (query)", "SPE (query)", "LPE (query)", "LPE + CM (query)"),
        *("none (random k)", "SPE (random k)", "LPE (random k)", "LPE + CM (random k)"),
        *("PM (query)", "SPE + PM (query)", "LPE + PM (query)"),
        *("PM (random k)", "SPE + PM (random k)", "LPE + PM (random k)"),
    ),
    "5_scales": (
        *("SPE + CM", "LPE + CM", "CM", "SPE", "LPE"),
        *("SPE small + CM", "LPE large + CM", "SPE small", "LPE large"),
        *("SPE + CM (small read-in)", "LPE + CM (small read-in)", "CM (small read-in)"),
        *("SPE (small read-in)", "LPE (small read-in)"),
    ),
    "6_function_classes": SIX,
    "7_hidden_answers": (
        *("SPE + CM", "LPE + CM", "SPE", "LPE"),
        *("SPE + CM (hidden)", "LPE + CM (hidden)", "SPE (hidden)", "LPE (hidden)"),
    ),
    "8_loop": (
        *("CM", "SPE + CM", "LPE + CM", "TPE + CM"),
        *("SPE + CM (first iteration)", "LPE + CM (first iteration)"),
        *("SPE (all, random k)", "SPE (random k)", "LPE + CM (random k)"),
    ),
}
# Function classes are tried on a smaller scale.
FULL_SIZE = tuple(name for name in ABLATIONS if name != "6_function_classes")

Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Config(BaseModel):
    """One run: every variant of an ablation at one (b, seed). Raises :class:`ConfigError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    ablation: Literal[tuple(ABLATIONS)] = "1_position_and_mask"
    b: Annotated[int, Field(strict=True, ge=1, le=100)] = 1  # loop iterations
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0
    variants: tuple[str, ...] = Field((), validate_default=True)  # () is all of the ablation's
    n_layers: Annotated[int, Field(strict=True, ge=1, le=100)] = 2
    n_heads: Count = 4
    width: Annotated[int, Field(strict=True, ge=2, le=8192)] = 64  # hidden dimension
    mlp_width: Count = 256
    d: Annotated[int, Field(strict=True, ge=1, le=1000)] = 5  # dimension of x
    function_class: Literal[FUNCTION_CLASSES] = "linear"
    n_examples: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 63
    batch_size: Count = 64  # prompts a step
    lr: Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)] = 5e-4
    steps: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 10_000
    log_every: Count = 100  # steps between two rows of curves.csv
    curve_prompts: Count = 512  # prompts behind the target error of curves.csv
    evaluation_prompts: Count = 1280  # prompts behind errors.csv
    device: str = "cpu"

    def __init__(self, **parameters):
        try:
            super().__init__(**parameters)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    @field_validator("variants", mode="before")
    @classmethod
    def _known_variants(cls, names, info):
        of_ablation = ABLATIONS.get(info.data.get("ablation"), ())
        if not isinstance(names, list | tuple):
            raise ValueError(f"a list of names, each of {', '.join(of_ablation)} at most once")
        names = tuple(names) or of_ablation
        unknown = [name for name in names if name not in of_ablation]
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"each of {', '.join(of_ablation)} at most once; unknown: {unknown}")
        return names

    @field_validator("width")
    @classmethod
    def _pairs_of_coordinates_in_each_head(cls, width, info):
        heads = info.data.get("n_heads", 1)
        if width % (2 * heads):
            raise ValueError(f"a multiple of 2 · n_heads = {2 * heads}")
        return width

    @field_validator("steps", "log_every")
    @classmethod
    def _log_every_divides_steps(cls, value, info):
        if info.field_name == "log_every" and info.data.get("steps", value) % value:
            raise ValueError(f"a divisor of steps = {info.data['steps']}")
        return value

    @field_validator("curve_prompts", "evaluation_prompts")
    @classmethod
    def _curve_prompts_are_evaluation_prompts(cls, value, info):
        if info.field_name == "evaluation_prompts" and value < info.data.get("curve_prompts", 1):
            raise ValueError(f"at least curve_prompts = {info.data['curve_prompts']}")
        return value

    @field_validator("device")
    @classmethod
    def _device_is_there(cls, device):
        if device == "cpu":
            return device
        import torch  # takes seconds, and icl_report.status has no use for it

        there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        if device not in there and not (device == "cuda" and len(there) > 1):
            raise ValueError(f"one of {', '.join(there)}, which are what this machine has")
        return device

    @property
    def stack(self) -> tuple[Variant, ...]:
        """The variants, in order."""
        return tuple(VARIANTS[name] for name in self.variants)

    @property
    def n_tokens(self) -> int:
        """Tokens in a prompt: x_1 y_1 … x_n y_n x_q."""
        return 2 * self.n_examples + 1

    @property
    def name(self) -> str:
        """The run's name among those of its ablation."""
        other = "" if self.function_class == "linear" else f"-{self.function_class}"
        return f"b{self.b}-seed{self.seed}{other}"

    def comparable(self) -> dict:
        """What all runs that are compared must share: all but b, the seed and the device."""
        return self.model_dump(mode="json", exclude={"b", "seed", "device"})

    def digest(self) -> str:
        """SHA-256 of the parameters, to tell whether a checkpoint belongs to this run."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _explain(error: ValidationError) -> str:
    """One line a problem: the parameter, its value, what is accepted."""
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            fields = ", ".join(Config.model_fields)
            lines.append(f"{name}: no such parameter; the parameters are {fields}")
        else:
            accepted = problem["msg"].removeprefix("Value error, ")
            accepted = accepted.removeprefix("Input should be ")
            own = problem["type"] == "value_error"  # a validator below knows better than the range
            accepted = accepted if own else _range(name) or accepted
            lines.append(f"{name} = {problem['input']!r}: must be {accepted}")
    return _refusal(lines)


def _refusal(lines: list[str]) -> str:
    """How many parameters are bad, then a line each."""
    count = f"{len(lines)} bad parameter{'s' if len(lines) > 1 else ''}"
    return f"{count}, nothing was trained:\n  " + "\n  ".join(lines)


def _assigns_a_plain_value(node: ast.stmt) -> bool:
    """True of ``b = 5``, ``b: int = 5`` and papermill's ``lr = float('nan')``."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return ast.unparse(node.value).startswith("float(")
    return True


def _range(name: str) -> str:
    """The declared range of a numeric field, in words; '' where there is none to name."""
    field = Config.model_fields.get(name)
    bounds = {}
    for meta in field.metadata if field else ():
        for key, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if getattr(meta, key, None) is not None:
                bounds[sign] = getattr(meta, key)
    kind = "an integer" if field and field.annotation is int else "a finite number"
    return " ".join([kind, " and ".join(f"{s} {v}" for s, v in bounds.items())]) if bounds else ""


def notebook_parameters(namespace: dict, own: tuple[str, ...] = ("ablation",)) -> dict:
    """The run's parameters that a notebook's namespace holds, misspelt ones included; not `out`.

    Raises ConfigError where one of own is among them, which the notebook gives itself. A parameters
    cell is one that only assigns plain values. Those right before the running cell (the notebook's
    own, then the one that papermill injects) say which names were meant as parameters, so that
    ``sed = 3`` is refused rather than ignored.
    """
    meant = set()
    for source in reversed(namespace["In"][:-1]):
        try:
            body = ast.parse(source).body
        except SyntaxError:
            break
        if not body or not all(_assigns_a_plain_value(node) for node in body):
            break
        names = [n for node in body for n in ast.walk(node) if isinstance(n, ast.Name)]
        meant |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    known = set(Config.model_fields) & namespace.keys()
    given = {name: namespace[name] for name in sorted(meant | known) if name != "out"}
    if twice := [
        f"{name} = {given[name]!r}: this notebook gives it itself; leave it out, or run the "
        "notebook that is made for it"
        for name in own
        if name in given
    ]:
        raise ConfigError(_refusal(twice))
    return given
