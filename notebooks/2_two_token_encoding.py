# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["ru"]
# # Два вектора вместо таблицы
#
# **В постановке автора два вектора ничего не прибавляют к маске — ни без цикла, ни с ним.** При $b = 1$ TPE с маской в
# двух запусках из трёх кончает там же, где одна маска, в третьем не учится; при $b = 5$ решает задачу, но взлетает
# позже и не точнее. Без маски TPE не решает задачу и даже не списывает. В постановке GPT-2 два вектора без цикла лучше одной маски, но хуже
# таблицы из 127 строк; с циклом их запуски перекрываются с теми и другими.

# %% [markdown] tags=["en"]
# # Two vectors instead of a table
#
# **In the author’s setup two vectors add nothing to the mask, without a loop or with one.** At $b = 1$ TPE with the
# mask ends where the mask alone does in two runs of three, and does not learn in the third; at $b = 5$ it solves the
# task, but takes off later and is no more accurate.
# Without the mask it neither solves the task nor even copies. In the GPT-2 setup without a loop two vectors beat the mask
# alone but not a table of 127 rows; with one their runs overlap with both.

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Таблица LPE сообщает токену его номер. Из номера следуют две вещи: *что* в токене записано, точка или ответ, и *к
# какому* примеру он относится. Автор предположил, что хватит первой: «для данной задачи может лучше всего подойти
# такое обучаемое позиционное кодирование, в котором обучается всего два токена — один соответствует координатам,
# другой — значениям функции». Проверить он не успел: «дедлайн уже подходил к концу».
#
# Проверяем мы. **Кодирование типа токена** (TPE) прибавляет ко всем $x$ один обучаемый вектор, ко всем $y$ другой. Это
# $2 \cdot 64 = 128$ чисел, и от длины промпта они не зависят.

# %% [markdown] tags=["en"]
# ## The question
#
# LPE’s table tells a token its number. Two things follow from the number: *what* the token holds, a point or an
# answer, and *which* example it belongs to. The author supposed that the first is enough: “for this task the best
# may be a learned positional encoding in which only two tokens are learned, one for the coordinates, the other for
# the values of the function”. He had no time to test it: “the deadline was near”.
#
# We test it. A **two-vector type encoding** (TPE) adds one learned vector to every $x$ and another to every $y$.
# These are $2 \cdot 64 = 128$ numbers, and they do not depend on the length of the prompt.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Его: с маской TPE может оказаться лучше всех кодирований.
#
# Наши записаны до запусков в постановке GPT-2:
#
# - без маски TPE не решит задачу и не спишет: такая модель не знает, какой ответ к какой точке относится;
# - с маской тип и номер примера вместе лучше, чем каждый из них отдельно;
# - RoPE и ALiBi лучше одной маски: они показывают, какие токены стоят рядом;
# - сообщать номер только на первой итерации цикла хуже, чем на каждой.
#
# Об постановке автора мы ничего не предсказывали: пробные запуски TPE + CM к тому времени уже были.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# His: with the mask TPE may turn out the best of all encodings.
#
# Ours were written down before the runs in the GPT-2 setup:
#
# - without the mask TPE will neither solve the task nor copy: such a model does not know which answer belongs to
#   which point;
# - with the mask the type and the number of the example together beat either of them alone;
# - RoPE and ALiBi beat the mask alone: they show which tokens stand side by side;
# - telling the number in the first loop iteration only is worse than telling it in every one.
#
# About the author’s setup we predicted nothing: there were pilot runs of TPE + CM by then.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Главный опыт идёт в постановке автора. Остальные постановки выбирает `setup`.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The main experiment is run in the author’s setup. `setup` selects another.

# %%
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from icl_core import evaluation, records, sampler, training
from icl_core.config import Config
from icl_core.model import QUERY, LoopedTransformer
from icl_report import claims, drawing, text
from icl_report.execute import refuse_unknown
from icl_report.text import short

drawing.use_theme()

# %% tags=["parameters"]
b: int = 1  # loop iterations / число итераций цикла
seed: int = 42  # seed of weights and prompts / зерно весов и промптов
setup: str = "source"  # source, gpt2, quick, smoke: icl_core/config.py / постановка
steps: int = 0  # training steps, 0: as many as the setup has / шаги, 0: сколько в постановке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
refuse_unknown(In, ["b", "seed", "setup", "steps", "device", "out"])
variants = ["LPE + CM", "SPE + CM", "CM", "TPE + CM", "TPE"]
given = {"setup": setup, "b": b, "seed": seed, "device": device} | (
    {"steps": steps} if steps else {}
)
configs = [Config(variant=variant, **given) for variant in variants]
config = configs[0]

# %% [markdown] tags=["ru"]
# ## Что сравниваем
#
# Кодирования различаются тем, что они сообщают токену, и тем, сколько чисел для этого надо выучить.

# %% [markdown] tags=["en"]
# ## What is compared
#
# Encodings differ in what they tell a token, and in how many numbers have to be learned for that.

# %%
tells = {
    "TPE": "its type: a point or an answer",
    "pair": "its example",
    "pair + TPE": "its example and its type",
    "SPE": "its number",
    "LPE": "its number",
    "RoPE": "how far another token is",
    "ALiBi": "how far another token is",
}


# %%
def added_numbers(variant, setup):
    models = [LoopedTransformer(Config(variant=name, setup=setup)) for name in (variant, "none")]
    with_it, without = (sum(p.numel() for p in model.parameters()) for model in models)
    return with_it - without


rows = [(name, what, added_numbers(name, setup)) for name, what in tells.items()]
text.table(pd.DataFrame(rows, columns=["encoding", "what it tells a token", "numbers added"]))

# %% [markdown] tags=["ru"]
# SPE берёт номер из синусоиды, LPE учит строку на каждый номер, pair («номер примера») — строку на каждый пример, общую
# для $x_i$ и $y_i$. RoPE поворачивает запросы и ключи внимания ([Su et al. 2021](https://arxiv.org/abs/2104.09864)),
# ALiBi штрафует дальние токены ([Press et al. 2022](https://arxiv.org/abs/2108.12409)); учить там нечего.
#
# Судим по **ошибке на запросе**: квадрат ошибки, делённый на $d$; 0 — идеально, 1 — модель, которая не знает ничего.
# **Взлёт** — первый записанный шаг, на котором она меньше двух третей ошибки ответа «ноль».

# %% [markdown] tags=["en"]
# SPE takes the number from a sinusoid, LPE learns a row for every number, pair (“the number of the example”) a row
# for every example, which $x_i$ and $y_i$ share. RoPE turns the attention’s queries and keys
# ([Su et al. 2021](https://arxiv.org/abs/2104.09864)), ALiBi puts a penalty on distant tokens
# ([Press et al. 2022](https://arxiv.org/abs/2108.12409)); there is nothing to learn in either.
#
# We judge by the **target error**: the squared error of the answer to the query, divided by $d$; 0 is perfect, 1 is
# a model that knows nothing. **Take-off** is the first logged step at which it is below two thirds of what answering zero errs.

# %% [markdown] tags=["ru"]
# ## Запуск
#
# Пять вариантов при одних `b` и `seed`.

# %% [markdown] tags=["en"]
# ## The run
#
# Five variants at one `b` and `seed`.

# %%
logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_core.training").setLevel("INFO")
runs = [training.run(own, out) for own in configs]
shown = claims.outcomes(runs)[["variant", "take_off", "at_n"]]
shown.columns = ["variant", "take-off, step", "target error"]
text.table(shown, digits=2)

# %% [markdown] tags=["ru"]
# ## Что видно по всем запускам
#
# ### Два вектора и таблица

# %% [markdown] tags=["en"]
# ## What all runs show
#
# ### Two vectors and a table

# %%
every_run = records.recorded_runs(out, configs)
seeds = {run.config.seed for run in every_run if run.config.variant == "TPE + CM"}
every_run = [run for run in every_run if run.config.seed in seeds]
full = claims.outcomes(every_run)


def of(table, variant, b):
    return table[(table.variant == variant) & (table.b == b)]


def median(table, variant, b):
    return short(of(table, variant, b).at_n.median())


# %%
tpe = of(full, "TPE + CM", 1)
taken, stuck = tpe[tpe.take_off.notna()], tpe[tpe.take_off.isna()]
cm, lpe = (median(full, name, 1) for name in ("CM", "LPE + CM"))
if setup == "source" and b == 1 and len(taken):
    text.say(
        ru="**Два вектора ничего не прибавляют к маске.** TPE + CM взлетает в {took} запусках из {n} и приходит к "
        "ошибке {low}–{high}. Одна маска приходит к {cm}, таблица LPE + CM — к {lpe} (медианы).",
        en="**Two vectors add nothing to the mask.** TPE + CM takes off in {took} runs of {n} and ends at an error "
        "of {low} to {high}. The mask alone ends at {cm}, the table of LPE + CM at {lpe} (medians).",
        holds=taken.at_n.min() > 0.95 * cm and lpe < 0.6 * cm and 0 < len(stuck) < len(tpe),
        **{"took": len(taken), "n": len(tpe), "cm": cm, "lpe": lpe},
        **{"low": short(taken.at_n.min()), "high": short(taken.at_n.max())},
    )


# %%
def draw_curves(axes):
    """A line a run; the middle one has the variant's name, and one with the mask that is stuck."""
    for variant, own in full[full.b == b].groupby("variant", sort=False):
        middle = own.at_n.sort_values().index[len(own) // 2]
        for run in own.itertuples():
            curve, stuck = every_run[run.Index].table("curves.csv"), np.isnan(run.take_off)
            label = variant if run.Index == middle else None
            label = f"{variant}, did not learn" if stuck and run.mask else label
            look = drawing.style(variant) | {"linewidth": 1.2}
            axes.plot(curve.step, curve.target_error, label=label, **look)
    axes.axhline(2 / 3 * claims.zero(setup), color="grey", linewidth=0.8, linestyle=":")
    axes.text(0, 0.58, "threshold", color="0.4", fontsize=9, va="top")
    axes.text(0, 0.06, "solid: with the mask\ndashed: without it", fontsize=9)
    axes.set(xlabel="step", ylabel="squared error / d", title=f"target error, b = {b}")
    drawing.name_lines(axes)


# %%
def draw_runs(axes, table):
    for own in table.itertuples():
        colour = drawing.style(own.variant)["color"]
        face = "white" if np.isnan(own.take_off) else colour
        row = variants.index(own.variant) + (own.b > 1) * 0.3 + 0.1 * (own.Index % 3 - 1)
        marker = "D" if own.b > 1 else "o"
        axes.plot(own.at_n, row, marker, ms=5, color=colour, markerfacecolor=face)
    axes.set_yticks(range(len(variants)), variants)
    axes.set(xlabel="target error after training, every run", ylim=(len(variants) - 0.4, -0.6))


# %%
figure, axes = plt.subplots(2, 1, figsize=(drawing.WIDTH, 5.2), height_ratios=[3, 2])
axes[0].set_ylim(0, min(2, max(1.1, 1.05 * full.at_n.max())))
draw_curves(axes[0])
axes[0].set_xlim(min(0, axes[0].get_xlim()[0]))  # where its words begin
draw_runs(axes[1], full[full.b.isin(full[full.variant == "TPE + CM"].b)])
axes[1].set_xscale("log")
axes[1].set_xlim(right=max(1.3, 1.2 * full.at_n.max()))
text.figure("type_runs", figure)

# %%
if setup == "source" and b == 1:
    text.say(
        role="caption",
        ru="С двумя векторами модель взлетает позже и приходит туда же, куда и с одной маской. Сверху ошибка на запросе по "
        "ходу обучения, линия — запуск; снизу она же после обучения, точка — запуск (кружок $b = 1$, ромб $b = 5$), пустая, если он не взлетел. "
        "<!-- alt: Кривые ошибки на запросе пяти вариантов и точки всех запусков: TPE + CM рядом с CM, LPE + CM ниже -->",
        en="With two vectors the model takes off later and ends where it does with the mask alone. Above the target "
        "error during training, a line a run; below the same after training, a dot a run (circles $b = 1$, diamonds $b = 5$), hollow if it has not taken off. "
        "<!-- alt: Curves of the target error of five variants and dots of all runs: TPE + CM beside CM, LPE + CM below -->",
        holds=taken.take_off.min() > of(full, "CM", 1).take_off.max(),
    )
else:
    text.say(
        role="caption",
        ru="Сверху ошибка на запросе по ходу обучения, линия — запуск; снизу она же после обучения, точка — запуск. "
        "<!-- alt: Кривые ошибки на запросе пяти вариантов и точки всех запусков -->",
        en="Above the target error during training, a line a run; below the same after training, a dot a run. "
        "<!-- alt: Curves of the target error of five variants and dots of all runs -->",
    )

# %%
looped_tpe, looped_cm = (of(full, name, 5) for name in ("TPE + CM", "CM"))
if setup == "source" and len(looped_tpe):
    text.say(
        ru="**С циклом то же самое.** При $b = 5$ TPE + CM взлетает во всех запусках ({n}), но не раньше шага {late}, а одна "
        "маска — не позже шага {soon}. Ошибка после обучения: {tpe} у TPE + CM, {cm} у одной маски, {lpe} у LPE + CM "
        "(медианы). Без маски TPE не взлетает и с циклом (запусков {blind}).",
        en="**With a loop it is the same.** At $b = 5$ TPE + CM takes off in all {n} runs, but at step {late} at the "
        "soonest, the mask alone at step {soon} at the latest. The error after training: {tpe} with TPE + CM, {cm} with "
        "the mask alone, {lpe} with LPE + CM (medians). Without the mask TPE does not take off with a loop either ({blind} runs).",
        holds=0 < looped_cm.take_off.max() < looped_tpe.take_off.min()
        and looped_tpe.take_off.notna().all()
        and looped_tpe.at_n.median() > looped_cm.at_n.median() > looped_tpe.at_n.median() / 2
        and looped_cm.take_off.notna().all()
        and of(full, "TPE", 5).take_off.isna().all(),
        blind=len(of(full, "TPE", 5)),
        **{"late": int(looped_tpe.take_off.min()), "soon": int(looped_cm.take_off.max())},
        **{name: median(full, f"{name.upper()} + CM", 5) for name in ("tpe", "lpe")},
        **{"n": len(looped_tpe), "cm": median(full, "CM", 5)},
    )

# %% [markdown] tags=["ru"]
# ### Без маски ответы можно перемешать, и TPE не заметит
#
# Без маски модель с двумя векторами видит множество точек и множество ответов, а какой ответ стоит рядом с какой
# точкой, не видит вовсе. Это следует из её устройства, и это можно проверить: перемешаем ответы между примерами.

# %% [markdown] tags=["en"]
# ### Without the mask the answers can be shuffled, and TPE will not notice
#
# Without the mask a model with two vectors sees a set of points and a set of answers; which answer stands beside
# which point it does not see at all. That follows from how it is built, and it can be checked: let us shuffle the
# answers among the examples.

# %%
prompts = sampler.evaluation_prompts(config).first(256)
order = np.random.default_rng(0).permutation(config.n_examples)
shuffled = prompts.tokens.clone()
shuffled[:, 1::2] = prompts.tokens[:, 1::2][:, order]
models = {run.config.variant: training.recorded_model(run) for run in runs}
with torch.no_grad():
    answers = {
        name: [models[name](tokens, QUERY)[-1, :, 0] for tokens in (prompts.tokens, shuffled)]
        for name in ("TPE", "TPE + CM")
    }

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharex=True, sharey=True)
for panel, (name, (before, after)) in zip(axes, answers.items()):
    colour = drawing.style(name)["color"]
    panel.axline((0, 0), slope=1, color="grey", linewidth=0.8, linestyle=":")
    panel.plot(before, after, "o", markersize=3, alpha=0.5, color=colour)
    panel.set(title=name, xlabel="prediction, answers in place")
axes[0].set_ylabel("prediction, answers shuffled")
axes[0].annotate("nothing changes", (0.05, 0.88), xycoords="axes fraction")
axes[1].annotate("another prediction", (0.05, 0.88), xycoords="axes fraction")
text.figure("type_shuffled", figure)

# %%
apart = {name: float((after - before).abs().max()) for name, (before, after) in answers.items()}
text.say(
    role="caption",
    ru="Без маски предсказания TPE не меняются, если перемешать ответы: наибольшее отличие {apart}. С маской меняются. "
    "Точка — промпт (их {n}), по осям предсказание $y_q$ до и после; b = {b}, зерно {seed}. "
    "<!-- alt: Слева точки TPE лежат на диагонали, справа точки TPE + CM рассыпаны -->",
    en="Without the mask TPE’s predictions do not change when the answers are shuffled: the largest difference is "
    "{apart}. With the mask they do. A dot is a prompt ({n} of them), the axes are the prediction of $y_q$ before and "
    "after; b = {b}, seed {seed}. "
    "<!-- alt: On the left TPE’s dots lie on the diagonal, on the right those of TPE + CM are scattered -->",
    holds=apart["TPE"] < 1e-3 and apart["TPE + CM"] > 10 * apart["TPE"],
    **{"apart": float(f"{apart['TPE']:.1g}"), "n": len(shuffled), "b": b, "seed": str(seed)},
)

# %%
blind = of(full, "TPE", 1)
if setup == "source" and len(blind):
    text.say(
        ru="Поэтому TPE без маски не решает задачу: ошибка {low}–{high} в {n} запусках. И не списывает: ошибка против "
        "подложенного ответа — не меньше {planted}, а у того, кто списывает, она равна 0.",
        en="So TPE without the mask does not solve the task: an error of {low} to {high} in {n} runs. Nor does it copy: "
        "its error against a planted answer is {planted} or more, where a model that copies has 0.",
        holds=blind.at_n.min() > 0.8 and not claims.copies(blind.planted).any(),
        **{"low": short(blind.at_n.min()), "high": short(blind.at_n.max())},
        **{"n": len(blind), "planted": short(blind.planted.min())},
    )

# %% [markdown] tags=["ru"]
# ### В постановке GPT-2: пример важнее типа

# %% [markdown] tags=["en"]
# ### In the GPT-2 setup: the example matters more than the type

# %%
masked = [f"{name} + CM" for name in (*tells, "SPE small", "LPE large")] + ["CM"]
textbook_runs = records.recorded_runs(
    out, [Config(setup="gpt2", variant=variant) for variant in masked]
)
textbook = claims.outcomes(textbook_runs)
once_b = textbook[textbook.b == 1]
ordered = once_b.groupby("variant").at_n.median().sort_values(ascending=False).index.to_list()
at_1, at_5 = ({name: median(textbook, name, own) for name in ordered} for own in (1, 5))
complete = {"TPE + CM", "pair + CM", "pair + TPE + CM", "LPE + CM", "RoPE + CM"} <= {*ordered}
looped = complete and all(at_5[name] > 0 for name in ("TPE + CM", "LPE + CM", "CM", "SPE + CM"))

# %%
if complete:
    text.say(
        ru="**Знать пример важнее, чем знать тип.** При $b = 1$ медиана ошибки у TPE + CM — {tpe}, это лучше одной маски "
        "({cm}). Номер примера даёт {pair}, вместе с типом — {both}: не хуже таблицы LPE + CM ({lpe}), а чисел вдвое "
        "меньше. У RoPE + CM учить нечего, а ошибка {rope}.",
        en="**Knowing the example matters more than knowing the type.** At $b = 1$ TPE + CM has a median error of {tpe}, "
        "better than the mask alone ({cm}). The number of the example gives {pair}, together with the type {both}: no "
        "worse than LPE + CM’s table ({lpe}), with half the numbers. RoPE + CM has nothing to learn, and its error is {rope}.",
        holds=at_1["pair + TPE + CM"] < 1.2 * at_1["LPE + CM"] < 0.7 * at_1["pair + CM"]
        and 3 * at_1["pair + CM"] < at_1["TPE + CM"] < 0.8 * at_1["CM"],
        **{"tpe": at_1["TPE + CM"], "cm": at_1["CM"], "pair": at_1["pair + CM"]},
        **{"both": at_1["pair + TPE + CM"], "lpe": at_1["LPE + CM"], "rope": at_1["RoPE + CM"]},
    )

# %%
if looped:
    beat = claims.compare(textbook[textbook.b == 5], "TPE + CM", "CM")
    text.say(
        ru="**С циклом два вектора — между маской и таблицей.** При $b = 5$ медиана ошибки TPE + CM — {tpe}, таблицы — {lpe}, одной маски — "
        "{cm}, SPE + CM — {spe}. Одну маску два вектора обгоняют при {wins} зёрнах из {n}. Два вектора — это {two} чисел, таблица — {table}.",
        en="**With a loop two vectors lie between the mask and the table.** At $b = 5$ TPE + CM has a median error of {tpe}, the table {lpe}, "
        "the mask alone {cm}, SPE + CM {spe}. Two vectors beat the mask alone at {wins} seeds of {n}. Two vectors are {two} numbers, the table {table}.",
        holds=at_5["LPE + CM"] < at_5["TPE + CM"] < at_5["CM"] and 0 < beat["wins"] < beat["n"],
        **{"tpe": at_5["TPE + CM"], "lpe": at_5["LPE + CM"], "cm": at_5["CM"]},
        **{"spe": at_5["SPE + CM"], "wins": beat["wins"], "n": beat["n"]},
        **{"two": added_numbers("TPE", "gpt2"), "table": added_numbers("LPE", "gpt2")},
    )


# %%
def draw_encodings(axes):
    for place, name in enumerate(ordered):
        colour, own = drawing.style(name)["color"], textbook[textbook.variant == name]
        for own_b, marker, face in ((1, "o", colour), (5, "D", "white")):
            at = own[own.b == own_b].at_n
            axes.plot(at, [place] * len(at), marker, color=colour, markerfacecolor=face)
    added = [added_numbers(name, "gpt2") for name in ordered]
    counts = axes.secondary_yaxis("right")
    counts.set_yticks(range(len(ordered)), [str(number) for number in added])
    counts.set_ylabel("numbers added")
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set(xscale="log", xlabel="target error, squared error / d")


# %%
if looped:
    figure, axes = plt.subplots(figsize=(9, 4.6))
    draw_encodings(axes)
    row, ends = ordered.index("TPE + CM"), [median(textbook, "TPE + CM", own) for own in (1, 5)]
    arrow = dict(arrowstyle="->", color=drawing.style("TPE + CM")["color"], shrinkA=8, shrinkB=8)
    axes.annotate("", (ends[1], row), (ends[0], row), arrowprops=arrow)
    axes.text(np.sqrt(ends[0] * ends[1]), row + 0.15, "five iterations", ha="center")
    axes.plot([], [], "o", color="grey", label="b = 1")
    axes.plot([], [], "D", color="grey", markerfacecolor="white", label="b = 5")
    axes.legend(loc="lower left")
    text.figure("type_encodings", figure)

# %%
if looped:
    text.say(
        role="caption",
        ru="Без цикла два вектора далеко от таблицы, с циклом ближе к ней. Постановка GPT-2, все варианты с маской, "
        "точка — запуск; порядок — по медиане при b = 1. «SPE малое» — синусоида того же размера, что таблица LPE в "
        "начале обучения; «LPE из синусоиды» — таблица, которая с неё начинает; у них по одному запуску. Всего запусков "
        "{n}. <!-- alt: Ошибка на запросе десяти вариантов с маской; TPE + CM при b = 5 ближе к LPE + CM -->",
        en="Without a loop two vectors are far from the table, with a loop they are nearer to it. The GPT-2 setup, all "
        "variants with the mask, a dot a run; ordered by the median at b = 1. “SPE small” is a sinusoid as large as LPE’s "
        "table is before training, “LPE large” a table that starts from the sinusoid; they have one run each. {n} runs in "
        "all. <!-- alt: Target error of ten variants with the mask; TPE + CM at b = 5 stands nearer to LPE + CM -->",
        holds=ends[0] > 5 * median(textbook, "LPE + CM", 1)
        and ends[1] < 3 * median(textbook, "LPE + CM", 5),
        n=len(textbook),
    )

# %% [markdown] tags=["ru"]
# ### Почему: ответу надо найти свою точку
#
# Чтобы решить задачу, ответ $y_i$ должен узнать свою точку $x_i$. Номер подсказывает её в первом же слое. Тип — нет: ответ
# видит $i$ точек, и все они для него на одно лицо. Остаётся угадывать, и на свою точку приходится $1/i$ внимания.

# %% [markdown] tags=["en"]
# ### Why: an answer has to find its own point
#
# To solve the task an answer $y_i$ has to learn which point $x_i$ is its own. The number tells it in the very first
# layer. The type does not: the answer sees $i$ points, and they all look alike to it. All that is left is to guess,
# and its own point gets $1/i$ of the attention.

# %%
guess = float((1 / np.arange(1, Config().n_examples + 1)).mean())


def on_own_point(runs, variant, b):
    """(runs, iterations, layers): the weight of y_i → x_i in the head where it is largest."""
    weights = []
    for run in [run for run in runs if (run.config.variant, run.config.b) == (variant, b)]:
        prompts = sampler.evaluation_prompts(run.config).first(evaluation.ATTENTION_PROMPTS)
        maps = evaluation.attention_maps(training.recorded_model(run), prompts.tokens)
        own = maps[..., 1::2, :-1:2].diagonal(dim1=-2, dim2=-1).mean(dim=(2, 4))
        weights.append(own.amax(dim=2).numpy())
    return np.array(weights)


# %%
if setup == "source" and len(taken):
    types, table = (on_own_point(every_run, name, 1)[:, 0, 0] for name in ("TPE + CM", "LPE + CM"))
    text.say(
        ru="Так и выходит. В постановке автора самая внимательная голова первого слоя отдаёт своей точке не больше {types} у "
        "TPE + CM, то есть не больше, чем даёт догадка ({guess}), и {table} у LPE + CM.",
        en="So it turns out. In the author’s setup the most attentive head of the first layer gives its own point at most "
        "{types} with TPE + CM, no more than a guess does ({guess}), and {table} with LPE + CM.",
        holds=types.max() < 1.1 * guess and np.median(table) > 5 * guess,
        types=round(float(types.max()), 3),
        **{"guess": short(guess), "table": round(float(np.median(table)), 2)},
    )

# %% [markdown] tags=["ru"]
# Маска выдаёт номер и сама, но на слой позже. После первого слоя токены уже не на одно лицо: каждый собрал своё из того,
# что стоит до него. Поэтому во втором слое ответ может найти свою точку и без таблицы. Воспользоваться этим модель
# успеет только на следующей итерации, а без цикла её нет.

# %% [markdown] tags=["en"]
# The mask gives the number away by itself, but a layer later. After the first layer the tokens no longer look alike:
# each has gathered something from what stands before it. So in the second layer an answer can find its own point
# without a table. The model can only make use of that in the next iteration, and without a loop there is none.

# %%
found = {name: on_own_point(textbook_runs, name, 5) for name in ("TPE + CM", "LPE + CM")}
by_iteration = {"TPE + CM": [], "LPE + CM": [], "CM": []}
for run in textbook_runs:
    if run.config.variant in by_iteration and run.config.b == 5:
        prompts = sampler.evaluation_prompts(run.config).first(run.config.curve_prompts)
        model, ks = training.recorded_model(run), [run.config.n_examples]
        errors = evaluation.target_errors(model, prompts, ks).mean(axis=(1, 2))
        by_iteration[run.config.variant].append(errors)


# %%
def draw_pairs(axes):
    """A line a run: the weight in the layer where it ends larger; the error."""
    for name, own in found.items():
        for i, weights in enumerate(own):
            label, weight = None if i else name, weights[:, weights[-1].argmax()]
            axes[0].plot(range(1, 6), weight, marker="o", ms=4, label=label, **drawing.style(name))
    axes[0].axhline(guess, color="grey", linewidth=0.8, linestyle=":")
    axes[0].text(1.3, guess + 0.02, "a guess", color="grey", fontsize="small")
    axes[0].set(ylim=(0, 1), ylabel="attention weight", title="an answer looks at its own point")
    for name, own in by_iteration.items():
        for i, errors in enumerate(own):
            label, look = None if i else name, drawing.style(name) | {"marker": "o", "ms": 4}
            axes[1].plot(range(1, 6), errors, label=label, **look)
    axes[1].set(yscale="log", ylabel="squared error / d", title="target error")


# %%
if looped:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8))
    draw_pairs(axes)
    for panel in axes:
        panel.set_xlabel("loop iteration")
        panel.set_xticks(range(1, 6))
        drawing.name_lines(panel)
    text.figure("type_pairs", figure)

# %%
if looped:
    weights = found["TPE + CM"][:, -1].max(axis=1)
    last = pd.Series([errors[-1] for errors in by_iteration["TPE + CM"]])
    paired = weights > 0.5
    text.say(
        role="caption",
        ru="**Свою точку находит один запуск из трёх, но цикл помогает и остальным.** Из {n} запусков TPE + CM пары нашёл {pairs}: внимание к своей точке "
        "{weight}, ошибка {best}. У остальных внимание — не больше догадки, а ошибка всё же {low}–{high}. Слева вес $y_i \\to x_i$ в голове, где он "
        "больше всего, справа ошибка после каждой итерации. Линия — запуск, постановка GPT-2, b = 5. "
        "<!-- alt: У одного запуска TPE + CM вес своей точки растёт до 0,9, у двух остаётся догадкой; ошибка всех падает по итерациям -->",
        en="**One run of three finds its own point, but a loop helps the others, too.** Of {n} runs of TPE + CM {pairs} found the pairs: an attention to the own "
        "point of {weight}, an error of {best}. With the others the attention is no more than a guess, and yet the error is {low} to {high}. On the left "
        "the weight $y_i \\to x_i$ in the head where it is largest, on the right the error after each iteration. A line is a run, the GPT-2 "
        "setup, b = 5. <!-- alt: In one run of TPE + CM the weight of the own point grows to 0.9, in two it stays a guess; every error falls by iteration -->",
        holds=paired.sum() == 1
        and len(paired) == 3
        and weights[~paired].max() < 1.1 * guess
        and last[paired].max() < last[~paired].min(),
        **{"n": len(last), "pairs": int(paired.sum()), "weight": round(float(weights.max()), 2)},
        **{"best": short(last.min()), "low": short(last[~paired].min()), "high": short(last.max())},
    )


# %%
if setup == "source" and len(looped_tpe):
    begin, *_, end = on_own_point(every_run, "CM", 5).max(axis=2).T
    types = on_own_point(every_run, "TPE + CM", 5)[:, -1].max(axis=1)
    types = pd.DataFrame({"weight": types, "error": [*looped_tpe.at_n]}).sort_values("weight")
    text.say(
        ru="**У автора с циклом пары находит сама маска.** При $b = 5$ в самой внимательной голове вес своей точки у CM на "
        "первой итерации не больше {begin}, на последней не меньше {end}. У TPE + CM пары нашлись во всех запусках, кроме "
        "одного: там вес {lost}, и ошибка больше, чем у остальных, — {worst}.",
        en="**In his setup the mask finds the pairs by itself once there is a loop.** At $b = 5$ the own point’s weight in CM’s "
        "most attentive head is at most {begin} in the first iteration and at least {end} in the last. TPE + CM found the "
        "pairs in all runs but one: there the weight is {lost}, and the error, {worst}, is the largest.",
        holds=begin.max() < 0.3 < 0.6 < end.min()
        and types.weight.iloc[0] < 0.15 < 0.6 < types.weight.iloc[1]
        and types.error.iloc[0] == types.error.max() > 2 * types.error.iloc[1:].max(),
        **{"begin": round(float(begin.max()), 2), "end": round(float(end.min()), 2)},
        **{"lost": round(float(types.weight.iloc[0]), 2), "worst": short(types.error.max())},
    )

# %% [markdown] tags=["ru"]
# ### Назвать номер один раз

# %% [markdown] tags=["en"]
# ### Telling the number once

# %%
named, of_once = ("LPE + CM", "SPE + CM"), "gpt2+first-iteration"
told = claims.outcomes(
    records.recorded_runs(out, [Config(setup=of_once, variant=name) for name in named])
)
same = textbook[textbook.seed.isin(told.seed)]
once, every = ([median(table, name, 5) for name in named] for table in (told, same))

# %%
if looped and {*named} <= {*told.variant}:
    text.say(
        ru="Обычно кодирование прибавляется на каждой итерации. Если прибавить его только на первой, ошибка LPE + CM — "
        "{lpe} вместо {lpe_every}, а SPE + CM — {spe} вместо {spe_every}. Мы ждали, что станет хуже; таблице и стало, "
        "а синусоиде — намного лучше. Зерно здесь одно.",
        en="Normally the encoding is added in every iteration. Added in the first one only, LPE + CM has an error of {lpe} "
        "in place of {lpe_every}, and SPE + CM {spe} in place of {spe_every}. We expected it to be worse; for the table it "
        "was, for the sinusoid it was far better. There is one seed here.",
        holds=every[0] < once[0] < 2 * every[0] and once[1] < every[1] / 10 and len(told) == 2,
        **{"lpe": once[0], "lpe_every": every[0], "spe": once[1], "spe_every": every[1]},
    )

# %% [markdown] tags=["ru"]
# ## Что мы узнали
#
# Идея автора в его постановке не сработала, и видно почему: тип не говорит ответу, какая точка его. С циклом пары
# находит сама маска, и два вектора ей там не нужны. В постановке GPT-2 они маске помогают, но меньше, чем таблица.
# Если цикла нет, стоит сообщать и тип, и пример: для этого хватает половины таблицы.

# %% [markdown] tags=["en"]
# ## What we learned
#
# In his setup the author’s idea did not work, and one can see why: the type does not tell an answer which point is its
# own. With a loop the mask finds the pairs by itself, and has no need of two vectors there. In the GPT-2 setup they
# help the mask, but less than the table does. Where there is no loop, it pays to tell both the type and the
# example: half of the table will do for that.

# %% [markdown] tags=["ru"]
# ## Чего этот опыт не показывает
#
# - **Как TPE + CM решает задачу без цикла.** Пар в первом слое у неё нет, а ошибка всё же вдвое меньше единицы. Чем она
#   пользуется, мы не выяснили.
# - **Почему в постановке автора два вектора не помогли даже маске.** В постановке GPT-2 помогли; какой из выборов
#   тому причиной, неизвестно.
# - **Одинаковы ли шансы.** Векторы TPE и строки LPE в начале обучения малы (в постановке GPT-2) или велики (у автора), синусоида
#   велика всегда. Часть различий может объясняться этим.
# - **Другую длину.** Она в [главе о длине и цикле](4_lengths_and_loops.ipynb).

# %% [markdown] tags=["en"]
# ## What this does not show
#
# - **How TPE + CM solves the task without a loop.** It has no pairs in the first layer, and yet its error is half of
#   that of a model that knows nothing. What it goes by we have not found out.
# - **Why in the author’s setup two vectors did not even help the mask.** In GPT-2’s they did; which of the choices
#   is the reason is not known.
# - **Whether the chances were equal.** TPE’s vectors and LPE’s rows are small before training (in the GPT-2 setup) or large
#   (in his setup), the sinusoid is always large. Part of the differences may be due to that.
# - **Another length.** That is in the [chapter on lengths and loops](4_lengths_and_loops.ipynb).
