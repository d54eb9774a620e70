"""A figure to play with: recorded models that run in the page, on prompts the reader draws.

Wherever a notebook is read, it is a still picture. The report's page (page/model.js) finds the
models' weights beside it, computes predictions and attention from them, and lets the reader choose.
"""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgba_array

from icl_core import sampler, training
from icl_core.evaluation import attention_maps
from icl_core.records import Run
from icl_report import text

MIME = "application/vnd.icl.model+json"
# Neither JSON nor HTML escapes these 87. Two of them a weight, three in the small tensors (read-in,
# biases, norms), are as near to the recorded predictions as float16, in 3/4 of its base64's room.
DIGITS = "".join(c for c in map(chr, range(ord("#"), ord("~") + 1)) if c not in "&'<>\\")
OTHER, PAIRING, COPYING = "#0a2f8f", "#00856a", "#d55e00"  # as in page/model.css


def packed(weights: torch.Tensor) -> dict:
    """weight = scale · (a number of so many places - the middle one); no scale where one is nan."""
    places, largest = 2 if weights.numel() > 1000 else 3, float(weights.abs().max())
    middle = len(DIGITS) ** places // 2
    scale = max(largest, 1e-30) / middle if math.isfinite(largest) else None
    levels = (weights.double() / (scale or math.inf)).nan_to_num().round().long().flatten() + middle
    worth = len(DIGITS) ** np.arange(places)[::-1]
    digits = "".join(np.array(list(DIGITS))[levels.numpy()[:, None] // worth % len(DIGITS)].flat)
    return {"shape": list(weights.shape), "scale": scale, "places": places, "digits": digits}


def telling(maps: torch.Tensor) -> tuple[int, int]:
    """The layer and head of maps (layers, H, L, L) that give most to y_i → x_i or x_i → y_i."""
    mean = [maps.diagonal(below, -2, -1)[..., ::2].mean(-1) for below in (-1, 1)]
    return divmod(int(torch.stack(mean).amax(0).argmax()), maps.shape[1])


def model_of(run: Run, prompt: sampler.Prompts) -> dict:
    """What the page computes with, as plain JSON; rows is what the encoding adds to the prompt.

    start is the telling head. Raises ValueError for a model that the page cannot compute.
    """
    model, config = training.recorded_model(run), run.config
    scored = model.encoding.score_bias(2).any() or model.encoding.rotation(2) is not None
    other_block = config.attention_in_residual or config.final_norm or config.injection != "every"
    if scored or other_block or config.mask not in ("", "CM"):
        raise ValueError(f"{config.place}: the page knows the source's block, added rows and CM")
    tensors = run.tensors("weights.safetensors")
    tensors |= {name: tensors[name][:1] for name in ("read_out.weight", "read_out.bias")}
    tensors["rows"] = model.encoding(torch.zeros(1, config.n_tokens, config.width))[0].detach()
    return {
        "name": config.variant + (f", b = {config.b}" if config.b > 1 else ""),
        "causal": config.mask == "CM",
        **{name: getattr(config, name) for name in ("b", "seed", "n_layers", "n_heads")},
        "start": telling(attention_maps(model, prompt.tokens)[-1, :, 0]),
        "tensors": {n: packed(own) for n, own in tensors.items() if not n.startswith("encoding")},
    }


def explorer(name: str, runs: Sequence[Run]) -> None:
    """Emits a still picture of the runs on the first evaluation prompt, with it their models."""
    prompt = sampler.evaluation_prompts(runs[0].config).first(1)
    x, y = (own[0].double().round(decimals=6) for own in prompt)
    first = {"x": x[::2].tolist(), "y": y.tolist()}
    data = {"digits": DIGITS, "models": [model_of(run, prompt) for run in runs], "prompt": first}
    text.figure(name, still(runs, prompt), extra={MIME: data})


def still(runs: Sequence[Run], prompt: sampler.Prompts) -> plt.Figure:
    """A column a run: truth and prediction by example, and the map of its telling head."""
    size = dict(figsize=(2.7 * len(runs), 5.2), sharex="row", sharey="row", squeeze=False)
    figure, axes = plt.subplots(2, len(runs), **size)
    truth, i = prompt.answers[0].numpy(), np.arange(1, prompt.answers.shape[1] + 1)
    for run, (above, below) in zip(runs, axes.T):
        model = training.recorded_model(run)
        maps = attention_maps(model, prompt.tokens)[-1, :, 0]
        answers = model(prompt.tokens)[-1, 0].detach().numpy()
        _strokes(above, (i, i), (truth, answers), "0.6", 0.8)
        _strokes(above, (i - 0.5, i + 0.5), (truth, truth), "0.2", 1.5, "truth")
        _strokes(above, (i, i), (answers - 0.05, answers + 0.05), OTHER, 3, "model's answer")
        above.axvspan(i[-1] - 1, i[-1] + 1, color="0.9", zorder=0)
        above.set(title="{0}, seed {2}".format(*run.key), xlabel="example", ylabel="$y$")
        layer, head = telling(maps)
        below.imshow(_coloured(maps[layer, head].numpy()), interpolation="none")
        below.set(xticks=[], yticks=[], xlabel="token looked at")
        below.set_title(f"layer {layer + 1}, head {head + 1}")
    figure.legend(handles=above.lines[1:3], loc="outside lower left", ncols=2, handlelength=0.5)
    axes[1, 0].set_ylabel("token that looks")
    return figure


def _strokes(axes: plt.Axes, x: tuple, y: tuple, color: str, width: float, label="_") -> None:
    """Lines from (x[0], y[0]) to (x[1], y[1]): one path, a tenth of as many markers' SVG."""
    places = [np.stack([*own, own[0] * np.nan], axis=1).flat for own in (x, y)]
    axes.plot(*places, color=color, linewidth=width, label=label, solid_capstyle="round")


def _coloured(weights: np.ndarray) -> np.ndarray:
    """(L, L) -> RGBA: the root of a weight is how opaque it is; pairs have colours of their own."""
    row, column = np.indices(weights.shape)
    is_pair = (row // 2 == column // 2) & (row != column)
    colours = to_rgba_array([OTHER, PAIRING, COPYING])[is_pair * (1 + (row < column))]
    colours[..., 3] = np.round(20 * np.sqrt(np.nan_to_num(weights))) / 20  # fewer levels, less PNG
    return colours
