"""A figure to play with: the attention maps of recorded runs on one prompt.

Wherever a notebook is read, it is a still picture. The report's page (page/attention.js) finds the
maps themselves beside it and lets the reader choose among them.
"""

import base64
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG
from matplotlib.colors import PowerNorm

from icl_core import training
from icl_core.evaluation import attention_maps
from icl_core.records import Run
from icl_core.sampler import Prompts
from icl_report import report

MIME = "application/vnd.attention-maps+json"
SHOWN = 12  # examples with rows and columns of their own; more cannot be told apart on a telephone
LEVELS = 254  # of a quantised weight; the byte above them is nan
MARK = "#f07f1e"


def first_of_each_b(runs: Sequence[Run]) -> list[list[Run]]:
    """For each b the runs of the smallest seed that has every variant, in the variants' order.

    Raises ValueError if no b has them all.
    """
    variants = list(dict.fromkeys(run.config.variant for run in runs))
    by_place = {(run.config.b, run.config.seed, run.config.variant): run for run in runs}
    firsts = {}
    for b, seed in sorted({place[:2] for place in by_place}):
        if all((b, seed, variant) in by_place for variant in variants):
            firsts.setdefault(b, [by_place[b, seed, variant] for variant in variants])
    if not firsts:
        raise ValueError(f"no (b, seed) has a run of every variant: {', '.join(variants)}")
    return list(firsts.values())


def token_names(n_examples: int) -> tuple[list[str], list[str]]:
    """The names of the rows and of the columns of a condensed map, as x_1, y_1, …, x_q."""
    shown = [f"{kind}_{i + 1}" for i in range(min(SHOWN, n_examples)) for kind in "xy"]
    rest = ["…"] if n_examples > SHOWN else []
    return [*shown, "x_q"], [*shown, *rest, "x_q"]


def condense(maps: torch.Tensor) -> torch.Tensor:
    """(…, L, L) -> (…, R, C): the first examples and the query; in a column the sum of the others.

    Every row still sums to one. Where there are no other examples, there is no such column.
    """
    n_tokens = maps.shape[-1]
    shown = min(2 * SHOWN, n_tokens - 1)
    rows = torch.cat([maps[..., :shown, :], maps[..., -1:, :]], dim=-2)
    widths = [width for width in (shown, n_tokens - 1 - shown, 1) if width]
    first, *rest, query = rows.split(widths, dim=-1)
    return torch.cat([first, *(part.sum(-1, keepdim=True) for part in rest), query], dim=-1)


def quantise(weights: torch.Tensor) -> torch.Tensor:
    """round(254 √w) as bytes: fine steps for the small weights; 255 is nan, of a diverged model."""
    levels = (LEVELS * weights.clamp(0, 1).sqrt()).round()
    return levels.nan_to_num(LEVELS + 1).to(torch.uint8)


def maps_of(runs: Sequence[Run], prompt: Prompts) -> dict:
    """What the page needs of one (b, seed); runs has one of each variant, prompt is one prompt.

    maps: the quantised condensed maps, (T, layers, V, H, R, C) in C order, in base64.
    leak: the weight from x_i to its own y_i, mean over all examples of the prompt, as nested lists
    (T, layers, V, H); None for nan.
    """
    models = [training.recorded_model(run) for run in runs]
    own = [attention_maps(model, prompt.tokens)[:, :, 0] for model in models]
    maps = torch.stack(own, dim=2)
    leak = maps[..., :-1:2, 1::2].diagonal(dim1=-2, dim2=-1).mean(-1)
    return {
        "b": runs[0].config.b,
        "seed": runs[0].config.seed,
        "leak": _rounded(leak.tolist()),
        "maps": base64.b64encode(quantise(condense(maps)).numpy().tobytes()).decode("ascii"),
    }


def explorable(runs: Sequence[Run], prompt: Prompts) -> dict:
    """All that the page needs, as plain JSON: names, shapes and the maps_of each b.

    start: where the leak is largest at the first b, (variant, loop, layer, head) from 0.
    """
    chosen = first_of_each_b(runs)
    config = chosen[0][0].config
    rows, columns = token_names(config.n_examples)
    members = [maps_of(own, prompt) for own in chosen]
    variants = [run.config for run in chosen[0]]
    return {
        "variants": [{"name": own.variant, "causal": own.mask == "CM"} for own in variants],
        "layers": config.n_layers,
        "heads": config.n_heads,
        "tokens": config.n_tokens,
        "rows": rows,
        "columns": columns,
        "start": _strongest(members[0]["leak"]),
        "runs": members,
    }


class Explorable(SVG):
    """A still picture that carries the maps; a reader that does not know them shows the picture."""

    def __init__(self, svg: str, maps: dict):
        super().__init__(svg)
        self.maps = maps

    def _repr_mimebundle_(self, **kwargs):
        return {MIME: self.maps}


def explorer(
    name: str, runs: Sequence[Run], prompts: Prompts, ru: dict[str, str], en: dict[str, str]
) -> None:
    """Emits, in each language, a still picture and with it the maps of the first seed of each b.

    runs are of one setup, each of one variant; the first of the prompts is shown. ru and en hold
    the alt text and the caption, in which {runs} names the runs and {b}, {loop}, {layer} and {head}
    what the still picture shows. The same data give the same bytes.
    """
    data = explorable(runs, prompts.first(1))
    _, loop, layer, head = data["start"]
    maps = decoded(data, 0)[loop, layer, :, head]
    place = {"b": data["runs"][0]["b"], "loop": loop + 1, "layer": layer + 1, "head": head + 1}
    words = {}
    for language, own, seed in (("ru", ru, "зерно"), ("en", en, "seed")):
        listed = "; ".join(f"b = {run['b']}, {seed} {run['seed']}" for run in data["runs"])
        words[language] = {key: text.format(runs=listed, **place) for key, text in own.items()}

    def output(svg: str) -> Explorable:
        return Explorable(svg, data)

    report.figure(name, lambda t: draw_maps(maps, data, t), output=output, **words)


def decoded(data: dict, member: int) -> torch.Tensor:
    """The maps of one member of data["runs"] as the page reads them: (T, layers, V, H, R, C)."""
    raw = torch.frombuffer(
        bytearray(base64.b64decode(data["runs"][member]["maps"])), dtype=torch.uint8
    )
    shape = (data["layers"], len(data["variants"]), data["heads"])
    maps = raw.view(-1, *shape, len(data["rows"]), len(data["columns"])).float()
    return torch.where(maps > LEVELS, torch.nan, (maps / LEVELS) ** 2)


def draw_maps(maps: torch.Tensor, data: dict, t: Callable[[str, str], str]) -> plt.Figure:
    """The maps (V, R, C) of the variants side by side, x_i -> y_i marked."""
    across = min(3, len(maps))
    down = -(-len(maps) // across)
    figure, axes = plt.subplots(down, across, figsize=(4 * across, 3.8 * down), squeeze=False)
    for ax in axes.flat[len(maps) :]:
        ax.remove()
    own = range(0, len(data["rows"]) - 1, 2)
    frame = dict(s=60, marker="s", facecolors="none", edgecolors=MARK, linewidths=1.5)
    for ax, weights, variant in zip(axes.flat, maps.numpy(), data["variants"]):
        image = ax.imshow(weights, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        ax.scatter([i + 1 for i in own], own, **frame)
        ax.set_xticks(*_ticks(data["columns"]))
        ax.set_yticks(*_ticks(data["rows"]))
        ax.set_title(variant["name"])
    for ax in axes[-1]:
        ax.set_xlabel(t("на какой токен смотрит", "token looked at"))
    for ax in axes[:, 0]:
        ax.set_ylabel(t("какой токен смотрит", "token that looks"))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label=t("вес внимания", "attention weight"))
    levels = (0, 0.05, 0.25, 0.5, 1)
    bar.set_ticks(levels, labels=[report.number(w, t("ru", "en")) for w in levels])
    return figure


def _ticks(names: list[str]) -> tuple[list[int], list[str]]:
    """A tick at every third x, at the sum over other examples and, one line below, at the query."""
    last = len(names) - 1
    places = [i for i, name in enumerate(names) if name == "…" or (i % 6 == 0 and i < last)]
    labels = ["…" if names[i] == "…" else f"$x_{{{i // 2 + 1}}}$" for i in places]
    return [*places, last], [*labels, "\n$x_q$" if "…" in names else "$x_q$"]


def _strongest(own: list) -> list[int]:
    """[variant, loop, layer, head] of the largest leak; the first where there is none."""
    weights = np.nan_to_num(np.array(own, dtype=float), nan=-1)  # None is nan
    loop, layer, variant, head = np.unravel_index(weights.argmax(), weights.shape)
    return [int(place) for place in (variant, loop, layer, head)]


def _rounded(values):
    """Nested lists of numbers with four digits after the point, and None for nan."""
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return round(values, 4) if values == values else None
