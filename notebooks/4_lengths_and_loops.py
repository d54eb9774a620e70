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
# # Другая длина, другое число итераций
#
# **Короче — можно всем, у кого есть маска; длиннее — одной маске и TPE; итераций лучше не добавлять.** Без маски модель,
# знающая номера токенов, ждёт запрос на одном-единственном месте. Таблица LPE кончается вместе с обучающей длиной, но
# это не беда: с 63 примерами LPE + CM точнее, чем все остальные со 127.

# %% [markdown] tags=["en"]
# # Another length, another number of iterations
#
# **Shorter is fine for all that have the mask; longer for the mask alone and for TPE; iterations are better not
# added.** Without the mask a model that knows the tokens’ numbers expects the query at one single place. LPE’s table
# ends with the trained length, but that is no harm: with 63 examples LPE + CM is more accurate than all others with 127.

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Модель обучали на промптах из 63 примеров с одним и тем же числом итераций цикла. Автор опасался, что на
# последовательностях другой длины LPE «может ухудшить результат»: таблица привязана к длине. Что будет, если примеров
# станет меньше или больше? А если прокрутить цикл ещё несколько раз? Модели не доучиваем: веса те же, меняем что-нибудь
# одно.

# %% [markdown] tags=["en"]
# ## The question
#
# The models were trained on prompts of 63 examples with one fixed number of loop iterations. The author feared that on
# sequences of another length LPE “may make the result worse”: the table is tied to the length. What happens with fewer
# examples, or with more? And if the loop is turned a few more times? Nothing is trained further: the weights stay, one
# thing at a time is changed.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# - Его: на другой длине может стать хуже, и дело в LPE.
# - Наша, записанная после первого запуска в постановке GPT-2: если итераций вдвое больше, чем при обучении, ошибка
#   вырастет.
#
# В литературе: без кодирования модели переносятся на большую длину лучше, чем с синусоидой или RoPE
# ([Kazemnejad et al. 2023](https://arxiv.org/abs/2305.19466), другие задачи); зацикленные модели, обученные с большим
# числом итераций, не портятся и при ещё большем ([Yang et al. 2024](https://arxiv.org/abs/2311.12424)).

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# - His: another length may hurt, and it is LPE that it hurts.
# - Ours, written down after the first run in the GPT-2 setup: with twice the trained number of iterations the error
#   will grow.
#
# In the literature: models without an encoding carry over to greater lengths better than those with a sinusoid or RoPE
# ([Kazemnejad et al. 2023](https://arxiv.org/abs/2305.19466), other tasks); looped models trained with many iterations
# stay good with even more ([Yang et al. 2024](https://arxiv.org/abs/2311.12424)).

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Они выбирают, чьи веса мы берём.

# %% [markdown] tags=["en"]
# ## Parameters
#
# They select whose weights we take.

# %%
import logging
import math

import matplotlib.pyplot as plt
import pandas as pd
import torch

from icl_core import evaluation, records, sampler, training
from icl_core.config import Config
from icl_core.sampler import Prompts
from icl_report import drawing, text
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
masked, unmasked = ["LPE + CM", "SPE + CM", "CM", "TPE + CM"], ["LPE", "SPE", "none", "TPE"]
given = {"setup": setup, "b": b, "seed": seed, "device": device} | (
    {"steps": steps} if steps else {}
)
configs = [Config(variant=variant, **given) for variant in masked + unmasked]
n = configs[0].n_examples

# %% [markdown] tags=["ru"]
# ## Что сравниваем
#
# - **Длина.** Перед запросом стоят $k$ примеров, от нуля до вдвое большего числа, чем при обучении. Запрос в каждом
#   промпте один и тот же при любом $k$ и стоит сразу за примерами, на месте $2k$ (места считаем с нуля).
# - **Место.** То же число примеров, но запрос остаётся на месте 126, где он стоял при обучении. Два токена каждого из
#   последних примеров спрятаны: смотреть на них не может никто, ни в одном слое. Остальные стоят на своих местах.
# - **Итерации.** Промпт полный, итераций от 1 до 20.
#
# Ошибка — квадрат ошибки на запросе, делённый на $d$, после последней итерации, по 256 новым промптам, $x \sim N(0, 1)$. 0 —
# идеально, 1 — модель, которая не знает ничего. У LPE за 63 примерами строк в таблице нет, и предсказания тоже нет.

# %% [markdown] tags=["en"]
# ## What is compared
#
# - **Length.** $k$ examples stand before the query, from none to twice as many as in training. The query of a prompt is
#   the same at every $k$ and follows the examples, at place $2k$ (places are counted from 0).
# - **Place.** As many examples, but the query stays at place 126, where it stood in training. The two tokens of each of
#   the last examples are hidden: nobody can look at them, in any layer. All others stand at their own places.
# - **Iterations.** The full prompt, 1 to 20 iterations.
#
# The error is the squared error of the answer to the query, divided by $d$, after the last iteration, over 256 new
# prompts, $x \sim N(0, 1)$. 0 is perfect, 1 is a model that knows nothing. Beyond 63 examples LPE’s table has no rows, and
# there is no prediction.


# %%
def new_prompts(config):
    """With twice the examples and one more; the last point is the query."""
    longer = config.model_copy(update={"n_examples": 2 * config.n_examples + 1})
    return sampler.prompts(sampler.generator(sampler.EVALUATION, 1), longer, 256)


def with_examples(prompts, k):
    """The first k examples, and the query right after them."""
    tokens = torch.cat([prompts.tokens[:, : 2 * k], prompts.tokens[:, -1:]], dim=1)
    return Prompts(tokens, torch.cat([prompts.answers[:, :k], prompts.answers[:, -1:]], dim=1))


# %%
def measure_lengths(run):
    """Rows (k, place, error): the query right after k examples; at its old place, some hidden."""
    model, n = training.recorded_model(run), run.config.n_examples
    prompts, rows = new_prompts(run.config), []
    ks = {*(2**i for i in range(6)), *range(n - 8, n + 3), n + 9, n + 17, n + 33, 2 * n + 1}
    for k in sorted(k for k in ks if 0 < k <= (n if model.encoding.ends else 2 * n + 1)):
        errors = evaluation.target_errors(model, with_examples(prompts, k), [k])[-1]
        rows.append((k, 2 * k, errors.mean()))
    for k in range(max(1, n - 8), n):
        hidden = torch.zeros(1, 1, 1, 1, 2 * n + 1)
        hidden[..., 2 * k : 2 * n] = -math.inf
        errors = evaluation.target_errors(model, with_examples(prompts, n), [n], change=hidden)[-1]
        rows.append((k, 2 * n, errors.mean()))
    return pd.DataFrame(rows, columns=["k", "place", "error"])


# %%
def measure_loops(run):
    """Rows (loops, error): the full prompt after each iteration, 20 or twice as many as trained."""
    n, many = run.config.n_examples, max(20, 2 * run.config.b)
    model, prompts = training.recorded_model(run), with_examples(new_prompts(run.config), n)
    errors = evaluation.target_errors(model, prompts, [n], loops=many)
    rows = [(loop + 1, own.mean()) for loop, own in enumerate(errors)]
    return pd.DataFrame(rows, columns=["loops", "error"])


def measure(runs, name, how):
    """What was measured on the weights of each run, or is now: one table of all."""
    for run in runs:
        records.measured(run, name, how)
    return records.tidy(runs, name) if runs else pd.DataFrame()


# %% [markdown] tags=["ru"]
# ## Запуск

# %% [markdown] tags=["en"]
# ## The run

# %%
logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_core.training").setLevel("INFO")
runs = [training.run(own, out) for own in configs]
own_lengths = measure(runs, "lengths.csv", measure_lengths)
own_loops = measure(runs, "loops.csv", measure_loops)

# %%
after = own_lengths[own_lengths.place == 2 * own_lengths.k]
ks = [k for k in (n - 1, n, n + 1, 2 * n + 1) if k]
wide = after.pivot(index="variant", columns="k", values="error")[ks]
wide.columns = [f"k = {k}" for k in wide]
wide["twice the iterations"] = own_loops[own_loops.loops == 2 * b].set_index("variant").error
text.table(wide.loc[masked + unmasked].reset_index(), digits=2)

# %% [markdown] tags=["ru"]
# ## Что видно по всем запускам

# %% [markdown] tags=["en"]
# ## What all runs show

# %%
n = Config().n_examples  # of both setups from here on
his_runs = [
    run
    for run in records.recorded_runs(out, [Config(variant=name) for name in masked + unmasked])
    if run.config.seed in sampler.TEST_ORDER
]
textbook = [Config(setup="gpt2", variant=name) for name in [*masked, "SPE"]]
textbook_runs = [
    run
    for run in records.recorded_runs(out, textbook)
    if run.config.b == 5 or run.config.variant == "SPE"
]

# %%
ONCE = "gpt2+first-iteration"  # the encoding is added in the first iteration only
told_once = records.recorded_runs(out, [Config(setup=ONCE, variant=v) for v in masked[:2]])
lengths = measure(his_runs + textbook_runs, "lengths.csv", measure_lengths)
loops = measure(his_runs + textbook_runs + told_once, "loops.csv", measure_loops)


def median(table, setup, variant, b, **where):
    """Of the error over runs, with k and place, or with loops, as given."""
    own = table[(table.setup == setup) & (table.variant == variant) & (table.b == b)]
    return short(own.loc[(own[list(where)] == pd.Series(where)).all(axis=1), "error"].median())


# %%
WHOSE = {"source": "the author’s setup", "gpt2": "the GPT-2 setup"}
there = {(run.config.setup, run.config.b, run.config.variant) for run in his_runs + textbook_runs}
places = [  # a panel each, once its runs are there
    (own_setup, own_b)
    for own_setup, own_b in (("source", 1), ("source", 5), ("gpt2", 5))
    if all((own_setup, own_b, name) in there for name in masked)
]


# %%
def draw_lines(axes, table, place, x):
    named, own = set(), table[(table.setup == place[0]) & (table.b == place[1])]
    for (variant, _), line in own[own.variant.isin(masked)].groupby(
        ["variant", "seed"], sort=False
    ):
        whole = line[x].max() == own[x].max()  # a table's line ends before the others
        label = variant if whole and variant not in named else None
        look = drawing.style(variant) | {"linewidth": 1.2, "alpha": 0.8}
        axes.plot(line[x], line.error, label=label, **look)
        named.add(variant)
    axes.set(title=f"{WHOSE[place[0]]}, b = {place[1]}", yscale="log")


# %% [markdown] tags=["ru"]
# ### Длина, если маска есть
#
# Под маской модель на каждом шаге обучения отвечала при любом числе примеров от нуля до 63, и на коротких промптах с ней
# ничего не случается: чем больше примеров, тем меньше ошибка. А за 63-м примером кодирования расходятся.

# %% [markdown] tags=["en"]
# ### Length, with the mask
#
# Under the mask the model answered in every training step after any number of examples from none to 63, and short
# prompts do it no harm: the more examples, the smaller the error. Beyond the 63rd example the encodings part.


# %%
def by_length(place, variant, *ks):
    return [median(lengths, place[0], variant, place[1], k=k, place=2 * k) for k in ks]


if ("source", 1) in places:
    cm, spe, tpe = (
        by_length(("source", 1), name, n, n + 2, 2 * n + 1)
        for name in ("CM", "SPE + CM", "TPE + CM")
    )

# %%
if ("source", 1) in places:
    text.say(
        ru="**Самые точные длины не переносят.** В постановке автора при $b = 1$ ошибка SPE + CM растёт с {spe} до {spe_2}, стоит "
        "добавить два примера. LPE + CM за 63 примерами не отвечает вовсе. Одна маска почти не замечает удвоения: {cm} "
        "и {cm_twice}; TPE + CM — {tpe} и {tpe_twice} (медианы).",
        en="**The most accurate do not bear length.** In the author’s setup at $b = 1$ SPE + CM’s error grows from {spe} to "
        "{spe_2} when two examples are added. LPE + CM does not answer at all beyond 63 examples. The mask alone hardly "
        "notices the doubling: {cm} and {cm_twice}; TPE + CM {tpe} and {tpe_twice} (medians).",
        holds=spe[1] > 3 * spe[0] and cm[2] < 1.2 * cm[0] and tpe[2] < 1.4 * tpe[0],
        **{"spe": spe[0], "spe_2": spe[1], "cm": cm[0], "cm_twice": cm[2]},
        **{"tpe": tpe[0], "tpe_twice": tpe[2]},
    )

# %%
if ("gpt2", 5) in places:
    tpe, spe, cm = (
        by_length(("gpt2", 5), name, n, 2 * n + 1) for name in ("TPE + CM", "SPE + CM", "CM")
    )
    text.say(
        ru="В постановке GPT-2 при $b = 5$ длину переносит и точная модель: TPE + CM ошибается на {tpe} при 63 примерах и на "
        "{tpe_twice} при 127. Одна маска — на {cm} и {cm_twice}, SPE + CM — на {spe} и {spe_twice} (медианы).",
        en="In the GPT-2 setup at $b = 5$ an accurate model bears length as well: TPE + CM has an error of {tpe} with 63 examples and "
        "of {tpe_twice} with 127. The mask alone has {cm} and {cm_twice}, SPE + CM {spe} and {spe_twice} (medians).",
        holds=tpe[1] < 1.4 * tpe[0]
        and spe[1] > 2 * spe[0]
        and 2 * cm[0] > cm[1] > 1.4 * cm[0] > 1.4 * tpe[0],
        **{"tpe": tpe[0], "tpe_twice": tpe[1], "spe": spe[0], "spe_twice": spe[1]},
        **{"cm": cm[0], "cm_twice": cm[1]},
    )

# %%
if places:
    figure, axes = plt.subplots(1, len(places), figsize=(4.4 * len(places), 3.6), squeeze=False)
    followed = lengths[lengths.place == 2 * lengths.k]
    for panel, place in zip(axes[0], places):
        draw_lines(panel, followed, place, "k")
        panel.axvline(n, color="grey", linewidth=0.8, linestyle=":")
        panel.set(xlabel="examples before the query k", ylabel="squared error / d")
        drawing.name_lines(panel)
        ends = followed[(followed.variant == "LPE + CM") & (followed.k == n)]
        end = ends.set_index(["setup", "b"]).error.loc[[place]].max()
        panel.text(n + 4, end, "the table ends", fontsize="small", va="center")
    text.figure("lengths", figure)

# %% [markdown] tags=["ru", "caption"]
# Ошибка на запросе при разном числе примеров перед ним; пунктир — обучающая длина, на ней кончается таблица LPE. Линия —
# запуск, все варианты с маской, 256 промптов.
# <!-- alt: Ошибка четырёх вариантов с маской по числу примеров от 1 до 127; за 63-м примером SPE + CM взмывает, CM и TPE + CM нет -->

# %% [markdown] tags=["en", "caption"]
# The target error with different numbers of examples before the query; dotted, the trained length, where LPE’s table
# ends. A line is a run, all variants with the mask, 256 prompts.
# <!-- alt: Error of four variants with the mask by the number of examples, 1 to 127; beyond the 63rd SPE + CM shoots up, CM and TPE + CM do not -->

# %% [markdown] tags=["ru"]
# ### Длина, если маски нет: важно место запроса
#
# Без маски модель, знающая номера, на обучении всегда видела запрос на месте 126, и только там ей не у кого списать. Она
# это место запомнила.

# %% [markdown] tags=["en"]
# ### Length, without the mask: it is the query’s place that matters
#
# Without the mask a model that knows the numbers always saw the query at place 126 in training, and only there it has
# nobody to copy from. It has learned that place by heart.


# %%
def at_place(table, setup, k, place):
    """The errors of a setup’s SPE and LPE runs, with k examples and the query at that place."""
    own = table[(table.setup == setup) & table.variant.isin(["SPE", "LPE"])]
    return own[(own.k == k) & (own.place == place)].set_index(["variant", "b", "seed"]).error


if textbook_runs:
    full, beside, kept = (
        at_place(lengths, "gpt2", *where)
        for where in ((n, 2 * n), (n - 1, 2 * n - 2), (n - 1, 2 * n))
    )
    solved = full.index[full < 2 / 3]

# %%
if textbook_runs and len(solved):
    text.say(
        ru="**Отнять один пример — и SPE не знает ничего, но виновато место.** В постановке GPT-2 SPE без маски решает задачу в {n} "
        "запусках из {all}: ошибка {full} при 63 примерах и {beside} при 62. Спрячем вместо этого последний пример, а запрос "
        "оставим на месте 126: ошибка {kept} (медианы).",
        en="**Take one example away and SPE knows nothing, but it is the place that does it.** In the GPT-2 setup SPE "
        "without the mask solves the task in {n} runs of {all}: an error of {full} with 63 examples and {beside} with 62. "
        "Hide the last example instead and leave the query at place 126: an error of {kept} (medians).",
        holds=beside[solved].min() > 0.8 and kept[solved].max() < 0.2,
        **{"n": len(solved), "all": len(full), "full": short(full[solved].median())},
        **{"beside": short(beside[solved].median()), "kept": short(kept[solved].median())},
    )

# %%
if ("source", 1) in places:
    his_full, his_beside, his_kept = (
        at_place(lengths, "source", *where).xs(1, level="b")
        for where in ((n, 2 * n), (n - 1, 2 * n - 2), (n - 1, 2 * n))
    )
    asked = with_examples(new_prompts(Config()), n).answers[:, -1]
    zero = float(asked.square().mean()) / Config().d

# %%
if ("source", 1) in places:
    text.say(
        ru="Модели автора на том же месте молчат. Ошибка SPE и LPE при $b = 1$ там {low}–{high}, как у того, кто всегда отвечает "
        "нулём ({zero}), и от спрятанного примера она не меняется. Стоит запросу сдвинуться, и они отвечают невпопад; это хуже "
        "молчания: {worse} при 62 примерах (медиана).",
        en="The author’s models keep silent at that place. There SPE and LPE at $b = 1$ have an error of {low} to {high}, like "
        "one who always answers zero ({zero}), and hiding an example does not change it. Once the query moves they answer at "
        "random, which is worse than silence: {worse} with 62 examples (median).",
        holds=abs(his_kept / zero - 1).max() < 0.03 and (his_beside > his_full).all(),
        **{"low": round(his_kept.min(), 2), "high": round(his_kept.max(), 2)},
        **{"zero": round(zero, 2), "worse": short(his_beside.median())},
    )


# %%
def draw_place(axes, setup, variant, b):
    colour = drawing.style(variant)["color"]
    own = lengths[(lengths.setup == setup) & (lengths.variant == variant) & (lengths.b == b)]
    for _, run in own[own.k.between(n - 8, n + 2)].groupby("seed"):
        followed, kept = run[run.place == 2 * run.k], run[run.place == 2 * n].sort_values("k")
        axes.plot(followed.k, followed.error, "-o", color=colour, linewidth=0.8, markersize=4)
        axes.plot(kept.k, kept.error, "--", color=colour, linewidth=0.8)
        axes.plot(kept.k, kept.error, "o", color=colour, markerfacecolor="white", markersize=6)


# %%
if textbook_runs and ("source", 1) in places:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True)
    draw_place(axes[0], "gpt2", "SPE", 1)
    for variant in ("SPE", "LPE"):
        draw_place(axes[1], "source", variant, 1)
    axes[0].set(title="SPE, the GPT-2 setup", ylim=(0, 1.8), ylabel="squared error / d")
    axes[1].set_title("SPE and LPE, the author’s setup")
    axes[0].annotate("the query stays\nat place 126", (n - 4, 0.11), (n - 8, 0.3), fontsize="small")
    axes[0].text(n - 8, 0.78, "has not learned", fontsize="small")
    axes[1].text(n - 8, 0.9, "silent: as if always zero", fontsize="small")
    axes[0].annotate("the query follows\nthe examples", (n - 8, 1.55), fontsize="small")
    for panel in axes:
        panel.axvline(n, color="grey", linewidth=0.8, linestyle=":")
        panel.set_xlabel("examples before the query k")
    text.figure("place", figure)

# %%
if textbook_runs and ("source", 1) in places:
    many = at_place(lengths, "gpt2", n - 8, 2 * n)[solved]
    text.say(
        role="caption",
        ru="Слева: пока запрос стоит на своём месте (кольца), SPE решает задачу и с меньшим числом примеров; стоит ему пойти за "
        "примерами (точки) — не знает ничего. Справа SPE и LPE автора: на своём месте молчат, на других отвечают хуже молчания. "
        "Линия — запуск при b = 1. С восемью спрятанными примерами держатся {still} запуска из {n} решающих (с b = 5). "
        "<!-- alt: Ошибка SPE и LPE без маски при 55–65 примерах: провал на 63-м -->",
        en="On the left: while the query stands at its place (rings), SPE solves the task with fewer examples too; once it "
        "follows the examples (dots), it knows nothing. On the right the author’s SPE and LPE: silent at their place, worse than "
        "silent elsewhere. A line is a run at b = 1. With eight examples hidden, {still} of {n} runs that solve it hold (b = 5 "
        "included). <!-- alt: Error of SPE and LPE without the mask with 55 to 65 examples: a dip at the 63rd -->",
        holds=sum(many < 0.2) == 2,
        **{"still": sum(many < 0.2), "n": len(many)},
    )

# %% [markdown] tags=["ru"]
# ### Итерации: больше, чем на обучении

# %% [markdown] tags=["en"]
# ### Iterations: more than in training


# %%
def by_loops(setup, variant, b, *counts):
    return [median(loops, setup, variant, b, loops=count) for count in counts]


if ("gpt2", 5) in places:
    more = {name: by_loops("gpt2", name, 5, 5, 10, 20) for name in masked}
    times = [ten / five for five, ten, _ in more.values()]

# %%
if ("gpt2", 5) in places:
    text.say(
        ru="**Лишние итерации портят.** В постановке GPT-2 модели с $b = 5$ после десяти итераций ошибаются в "
        "{low}–{high} раза сильнее, чем после пяти. После двадцати у LPE + CM {lpe} вместо {lpe_5}, у TPE + CM {tpe} вместо "
        "{tpe_5}, а у одной маски {cm} вместо {cm_5}.",
        en="**Extra iterations do harm.** In the GPT-2 setup the models with $b = 5$ have {low} to {high} "
        "times the error after ten iterations that they have after five. After twenty LPE + CM has {lpe} in place of {lpe_5}, "
        "TPE + CM {tpe} in place of {tpe_5}, and the mask alone {cm} in place of {cm_5}.",
        holds=min(times) > 1 and all(ten < twenty for _, ten, twenty in more.values()),
        **{"low": short(min(times)), "high": short(max(times))},
        **{"lpe": more["LPE + CM"][2], "lpe_5": more["LPE + CM"][0], "tpe": more["TPE + CM"][2]},
        **{"tpe_5": more["TPE + CM"][0], "cm": more["CM"][2], "cm_5": more["CM"][0]},
    )

# %%
if ("gpt2", 5) in places and {"LPE + CM", "SPE + CM"} <= {run.config.variant for run in told_once}:
    once = {name: by_loops(ONCE, name, 5, 5, 20) for name in ("LPE + CM", "SPE + CM")}
    text.say(
        ru="Похоже, цикл держат номера токенов. Меньше всего портятся LPE + CM и SPE + CM. Если же прибавлять кодирование только на первой "
        "итерации, то после пяти итераций LPE + CM почти так же точна, а после двадцати ошибка LPE + CM — {lpe}, SPE + CM — {spe}: они "
        "портятся, как варианты без номеров, одна маска и TPE + CM. По одному запуску.",
        en="It seems to be the tokens’ numbers that hold the loop. LPE + CM and SPE + CM go bad the least. But with the encoding added in the first "
        "iteration only, LPE + CM is almost as accurate after five iterations, and after twenty it has an error of {lpe} and SPE + CM of "
        "{spe}: they go bad as variants without numbers do, the mask alone and TPE + CM. One run each.",
        holds=all(own[1] > 10 * own[0] for own in once.values())
        and all(more[name][2] < 4 * more[name][0] for name in ("LPE + CM", "SPE + CM"))
        and all(more[name][2] > 8 * more[name][0] for name in ("CM", "TPE + CM"))
        and once["LPE + CM"][0] < 2 * more["LPE + CM"][0]
        and len(told_once) == 2,
        **{"lpe": once["LPE + CM"][1], "spe": once["SPE + CM"][1]},
    )

# %%
if ("source", 1) in places:
    own = loops[(loops.setup == "source") & (loops.b == 1) & loops.variant.isin(masked)]
    wide = own.pivot(index=["variant", "seed"], columns="loops", values="error")
    wide = wide[wide[1] < 2 / 3]  # those that have learned
    text.say(
        ru="Модель автора с $b = 1$ цикла не видела, и последней нормировки у неё нет. Уже вторая итерация доводит ошибку с "
        "{before}–{after} до {low}–{high}, а к двадцатой она больше единицы у всех {n} научившихся запусков.",
        en="The author’s model with $b = 1$ has never seen a loop, and it has no final norm. The second iteration already brings "
        "the error from {before}–{after} to {low}–{high}, and by the twentieth it is above one in all {n} runs that have learned.",
        holds=(wide[2] > 1.5 * wide[1]).all() and wide[20].min() > 1,
        **{"low": short(wide[2].min()), "high": short(wide[2].max()), "n": len(wide)},
        **{"before": short(wide[1].min()), "after": short(wide[1].max())},
    )

# %%
if places:
    figure, axes = plt.subplots(1, len(places), figsize=(4.4 * len(places), 3.6), squeeze=False)
    for panel, place in zip(axes[0], places):
        draw_lines(panel, loops, place, "loops")
        panel.axvline(place[1], color="grey", linewidth=0.8, linestyle=":")
        panel.set(xlabel="loop iteration", ylabel="squared error / d", xticks=[1, 5, 10, 15, 20])
        drawing.name_lines(panel)
        over = dict(transform=panel.get_xaxis_transform(), va="top", fontsize="small")
        panel.text(place[1] + 0.3, 1, "as in training", color="grey", **over)
    text.figure("loops", figure)

# %% [markdown] tags=["ru", "caption"]
# Ошибка на полном промпте после каждой итерации; пунктир — столько итераций было на обучении. Линия — запуск, все варианты с
# маской, 256 промптов.
# <!-- alt: Ошибка четырёх вариантов с маской после 1–20 итераций: при b = 1 взлетает сразу, при b = 5 убывает до пятой и медленно растёт -->

# %% [markdown] tags=["en", "caption"]
# The error with the full prompt after each iteration; dotted, as many iterations as in training. A line is a run, all
# variants with the mask, 256 prompts.
# <!-- alt: Error of four variants with the mask after 1 to 20 iterations: at b = 1 it shoots up at once, at b = 5 it falls until the fifth and slowly grows -->

# %% [markdown] tags=["ru"]
# ### Что даёт цикл на обучении и как это мерить

# %% [markdown] tags=["en"]
# ### What a loop gives in training, and how to measure it

# %%
looped = records.recorded_runs(out, [Config(setup="gpt2", variant=name) for name in masked])
both = pd.DataFrame()
if looped:
    ended = records.tidy(looped, "errors.csv").query("k == @n and loops == b")
    both = ended.pivot_table(index=["variant", "seed"], columns="b", values="error").dropna()
if {1, 5} <= {*both} and {*masked} <= {*both.reset_index().variant}:
    gain = (both[1] / both[5]).unstack()
    chance, gain = gain.loc["SPE + CM"], gain.drop("SPE + CM").stack()
    text.say(
        ru="Пять итераций на обучении точнее одной: в постановке GPT-2 ошибка CM, TPE + CM и LPE + CM при том же зерне меньше в "
        "{low}–{high} раз. С SPE + CM как повезёт: в {better} парах из {pairs} меньше, в остальных больше.",
        en="Five iterations in training are more accurate than one: in the GPT-2 setup the error of CM, TPE + CM and LPE + CM at the "
        "same seed is {low} to {high} times smaller. SPE + CM is luck: in {better} pairs of {pairs} smaller, in the rest larger.",
        holds=gain.min() > 3 and 0 < (chance > 1).sum() < len(chance),
        **{"better": int((chance > 1).sum()), "pairs": len(chance)},
        **{"low": short(gain.min()), "high": short(gain.max())},
    )

# %%
six = masked[:3] + unmasked[:3]
n_looped = sum(run.config.b == 5 and run.config.variant in six for run in his_runs)
if his_runs and n_looped < 3 * len(six):
    text.say(
        ru="В постановке автора при $b = 5$ записаны пока {n} запуска из {all}; остальные обучаются.",
        en="In the author’s setup at $b = 5$ {n} runs of {all} are recorded so far; the others are being trained.",
        n=n_looped,
        all=3 * len(six),
    )

# %% [markdown] tags=["ru"]
# Насколько хороша такая ошибка? Мерой служит градиентный спуск: начать с $w = 0$ и сделать на примерах промпта один или два
# шага, длина которых подобрана по самой ошибке. Метод наименьших квадратов даёт здесь 0: шума нет, а примеров больше, чем
# координат.

# %% [markdown] tags=["en"]
# How good is such an error? Gradient descent can serve as a measure: start at $w = 0$ and take one or two steps on the
# prompt’s examples, their lengths chosen by that very error. Least squares gives 0 here: there is no noise, and there are
# more examples than coordinates.


# %%
def descent(own_setup, steps):
    """The error of gradient descent with the best step sizes, on the prompts of loops.csv."""
    prompts = with_examples(new_prompts(Config(setup=own_setup)), n)
    rates = evaluation.best_rates(prompts, n, steps)
    wrong = evaluation.gradient_steps(prompts, n, rates) - prompts.answers[:, n]
    return float(wrong.square().mean()) / prompts.tokens.shape[-1]


DESCENT, solved = ("one step of descent", "two steps of descent"), pd.DataFrame()
if {("source", 5), ("gpt2", 5)} <= {own[:2] for own in there}:
    turned = loops[loops.setup.isin(WHOSE) & loops.variant.isin(masked) & (loops.loops <= loops.b)]
    last = turned.groupby(["setup", "variant", "b", "seed"]).error.transform("last")
    turned = turned.assign(last=last)
    solved = turned[last < 2 / 3]
    descents = {own_setup: [descent(own_setup, steps) for steps in (1, 2)] for own_setup in WHOSE}


# %%
def draw_iterations(axes, own, heights):
    middle = own[own.loops == 5].sort_values("error").groupby("variant").seed
    middle = middle.agg(lambda seeds: seeds.iloc[len(seeds) // 2])  # the run that has the name
    for (variant, own_b, seed), line in own.groupby(["variant", "b", "seed"]):
        look = drawing.style(variant) | {"marker": "o", "markersize": 4, "linewidth": 1.2}
        label = variant if own_b == 5 and seed == middle[variant] else None
        axes.plot(line.loops, line.error, **look, label=label, mfc="white" if own_b == 1 else None)
    axes.set(yscale="log", ylabel="squared error / d", xticks=range(1, 6))
    axes.set_ylim(bottom=min(own.error.min(), heights[1]) / 1.7)
    drawing.name_lines(axes)
    for height, words, side in zip(heights, DESCENT, ("bottom", "top")):
        axes.axhline(height, color="grey", linewidth=0.8, linestyle=":")
        axes.text(5, height, words, color="grey", fontsize=9, va=side, ha="right")


# %%
if len(solved):
    figure, axes = plt.subplots(2, 1, figsize=(drawing.WIDTH, 6), sharex=True)
    for panel, own_setup in zip(axes, WHOSE):
        draw_iterations(panel, solved[solved.setup == own_setup], descents[own_setup])
        panel.set_title(WHOSE[own_setup])
    axes[1].set_xlabel("loop iteration")
    text.figure("iterations", figure)

# %%
if len(solved):
    ends = solved[solved.loops == solved.b].set_index(["setup", "b", "variant"]).error.sort_index()
    his_1, his_5 = ends["source", 1, "LPE + CM"], ends["source", 5, "LPE + CM"]
    first = solved[(solved.b == 5) & (solved.loops == 1)].error
    text.say(
        role="caption",
        ru="**LPE + CM без цикла — как один шаг спуска, с циклом — как два, а в постановке GPT-2 и лучше двух.** Линия — запуск с $b = 5$ "
        "после каждой итерации, пустой кружок — запуск с $b = 1$; только обучившиеся. У автора она при $b = 1$ ошибается на {low}–{high}, "
        "один шаг спуска — на {one}; при $b = 5$ последняя ошибка {low5}–{high5}, два шага дают {two}. "
        "<!-- alt: Ошибка четырёх вариантов с маской по итерациям: падает от первой к пятой, пунктиром один и два шага спуска -->",
        en="**Without a loop LPE + CM is as good as one step of descent, with a loop as two, and in the GPT-2 setup better than two.** A line is a "
        "run with $b = 5$ after each iteration, a hollow circle a run with $b = 1$; only runs that learned. In the author’s setup it has, at $b = 1$, an "
        "error of {low} to {high}, one step of descent {one}; at $b = 5$ the last error is {low5} to {high5}, two steps give {two}. "
        "<!-- alt: Error of four masked variants by iteration: it falls from the first to the fifth; dotted, one and two steps of descent -->",
        holds=his_1.max() < 1.5 * descents["source"][0]
        and his_5.max() < 3 * descents["source"][1]
        and ends["gpt2", 5, "LPE + CM"].max() < descents["gpt2"][1],
        **{"low": short(his_1.min()), "high": short(his_1.max())},
        **{"low5": short(his_5.min()), "high5": short(his_5.max())},
        **{"one": short(descents["source"][0]), "two": short(descents["source"][1])},
    )

# %%
if len(solved):
    means = turned[turned.b == 5].groupby(["setup", "variant", "seed"]).error.agg(["mean", "last"])
    pair = [means.loc["gpt2", name].median() for name in ("TPE + CM", "LPE + CM")]
    text.say(
        ru="Автор усредняет ошибку по итерациям. Первая весит в этом среднем столько же, сколько последняя, а она ещё {low}–{high}, и "
        "пользу цикла среднее прячет. В постановке GPT-2 TPE + CM по среднему хуже LPE + CM в {by_mean} раза, по последней итерации — "
        "в {by_last}.",
        en="The author takes the mean of the error over the iterations. The first weighs as much in it as the last, and it is {low} to "
        "{high} still: the mean hides what the loop gives. In the GPT-2 setup TPE + CM is {by_mean} times worse than LPE + CM by the "
        "mean, and {by_last} times by the last iteration.",
        holds=pair[0]["mean"] / pair[1]["mean"] > 2 * pair[0]["last"] / pair[1]["last"],
        **{"low": short(first.min()), "high": short(first.max())},
        by_mean=short(pair[0]["mean"] / pair[1]["mean"]),
        by_last=short(pair[0]["last"] / pair[1]["last"]),
    )

# %% [markdown] tags=["ru"]
# ### Что взять, если длина меняется

# %% [markdown] tags=["en"]
# ### What to use when the length changes

# %%
his, textbooks = ("source", 1), ("gpt2", 5)
tables = {place: by_length(place, "LPE + CM", n)[0] for place in places}
best = {  # of those that are shown all
    place: min((by_length(place, name, 2 * n + 1)[0], name) for name in masked[1:])
    for place in places
}

# %%
if {his, textbooks} <= {*places}:
    text.say(
        ru="**Берите таблицу и показывайте ей 63 примера.** LPE + CM, которой лишних примеров не показали, точнее любого варианта, "
        "видевшего все 127: {lpe} против {other} ({name}) у автора при $b = 1$, {lpe_5} против {other_5} ({name_5}) в постановке GPT-2 "
        "при $b = 5$. Если показывать надо всё, у автора лучше всех одна маска, в постановке GPT-2 с циклом — TPE + CM.",
        en="**Take the table and show it 63 examples.** LPE + CM that was not shown the rest is more accurate than any variant "
        "that saw all 127: {lpe} against {other} ({name}) in the author’s setup at $b = 1$, {lpe_5} against {other_5} "
        "({name_5}) in GPT-2’s at $b = 5$. If all must be shown, the mask alone is best in his setup, TPE + CM in GPT-2’s with a loop.",
        holds=all(tables[place] < best[place][0] for place in places)
        and (best[his][1], best[textbooks][1]) == ("CM", "TPE + CM"),
        **{"lpe": tables[his], "other": best[his][0], "name": best[his][1]},
        **{"lpe_5": tables[textbooks], "other_5": best[textbooks][0], "name_5": best[textbooks][1]},
    )

# %% [markdown] tags=["ru"]
# В постановке GPT-2 при $b = 1$ другие длины измерены ещё у RoPE и ALiBi, а таблицу LPE мы пробовали продолжить нулями
# (медианы).

# %% [markdown] tags=["en"]
# In the GPT-2 setup other lengths were also measured for RoPE and ALiBi at $b = 1$, and LPE’s table was continued by
# zeros (medians).

# %%
others = ["RoPE + CM", "ALiBi + CM", "LPE + CM"]
other_runs = records.recorded_runs(out, [Config(setup="gpt2", variant=name) for name in others])
other_runs = [run for run in other_runs if run.config.b == 1]
at = {}
if {*others} <= {run.config.variant for run in other_runs}:
    elsewhere = records.tidy(other_runs, "elsewhere.csv")
    kept = (elsewhere.prompts == "as trained") & (elsewhere.loops == 1)
    kept &= elsewhere.extension != "interpolated"  # the table stretched: worse still
    at = elsewhere[kept].groupby(["variant", "k"]).error.median().map(short)

# %%
if len(at):
    rope, alibi, lpe = (at[name] for name in others)
    text.say(
        ru="RoPE + CM портится: {rope} при 63 примерах, {rope_2} при 126. ALiBi + CM одна становится точнее: {alibi} и "
        "{alibi_2}. Таблица с нулями теряет уже на первом лишнем примере: {lpe} при 63, {lpe_1} при 64, {lpe_2} при 126.",
        en="RoPE + CM goes bad: {rope} with 63 examples, {rope_2} with 126. ALiBi + CM alone grows more accurate: {alibi} and "
        "{alibi_2}. The table with zeros loses on the first extra example: {lpe} with 63, {lpe_1} with 64, {lpe_2} with 126.",
        holds=rope[126] > 3 * rope[63] and alibi[126] < alibi[63] and lpe[64] > 1.3 * lpe[63],
        **{"rope": rope[63], "rope_2": rope[126], "alibi": alibi[63], "alibi_2": alibi[126]},
        **{"lpe": lpe[63], "lpe_1": lpe[64], "lpe_2": lpe[126]},
    )

# %% [markdown] tags=["ru"]
# ## Что мы узнали
#
# Опасение автора верно буквально: за обучающей длиной таблицы нет. Но на короткой длине таблица не мешает, а на длинной
# лишние примеры можно просто не показывать. Гораздо хуже переносит длину синусоида. Без маски дело вообще не в длине: модель
# знает место, на котором её спросят. Итераций лучше делать столько, сколько было на обучении.

# %% [markdown] tags=["en"]
# ## What we learned
#
# The author’s fear is true to the letter: beyond the trained length there is no table. But at a shorter length the table
# does no harm, and at a longer one the extra examples need not be shown. The sinusoid bears length far worse. Without the
# mask it is not about length at all: the model knows the place at which it will be asked. As for iterations, as many as in
# training are best.

# %% [markdown] tags=["ru"]
# ## Чего этот опыт не показывает
#
# - **Доучивания.** Короткое обучение на длинных промптах могло бы продолжить таблицу.
# - **Обучения на разных длинах.** Оно в [главе 3](3_label_leakage.ipynb).
# - **Задач, где нужны все примеры.** Здесь ответы без шума, и восьми примеров достаточно, чтобы найти $w$; отбросить
#   лишние ничего не стоит. С шумом было бы иначе.

# %% [markdown] tags=["en"]
# ## What this does not show
#
# - **Further training.** A short training on long prompts might continue the table.
# - **Training on mixed lengths.** That is in [chapter 3](3_label_leakage.ipynb).
# - **Tasks that need every example.** Here the answers have no noise, and eight examples are enough to find $w$; leaving
#   the rest out costs nothing. With noise it would be different.
