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
# # Откуда берётся утечка ответов

# %% [markdown] tags=["en"]
# # Where the label leakage comes from

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Автор исходной работы заметил, что с кодированием, но без маски модель успешно минимизирует функцию
# потерь, но плохо решает целевую задачу, и предположил, что виновата сама функция потерь: она
# учитывает все токены $x$, а не только запрос. Без маски токен $x_i$ видит свой ответ $y_i$; учиться
# тогда незачем, достаточно списать. Ответа $y_q$ на запрос в промпте нет, и списать его неоткуда.
#
# Если автор прав, те же варианты без маски научатся решать задачу, если считать ошибку только на
# запросе. Это мы и проверяем.

# %% [markdown] tags=["en"]
# ## The question
#
# The author of the source text saw that with an encoding and without a mask the model minimises the
# loss successfully but does badly at the target task, and blamed the loss itself: it counts
# all $x$-tokens rather than the query alone. Without a mask the token $x_i$ sees its own answer $y_i$;
# there is no need to learn when one can copy. The answer $y_q$ to the query is not in the prompt, and
# there is nowhere to copy it from.
#
# If the author is right, the same variants without a mask will learn the task once the error is counted
# at the query alone. This is what we test.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков с новыми функциями потерь и масками; первый запуск первого ноутбука уже был выполнен.
#
# - **10** (автор): утечка происходит из-за функции потерь; если учитывать только запрос, варианты с
#   кодированием, но без маски станут решать задачу намного лучше.
# - **A** (наша): их ошибка будет мала и сама по себе: меньше половины ошибки предсказания «всегда ноль».
# - **B** (вслед за [Ding et al. 2024](https://arxiv.org/abs/2308.06912)): **префиксная маска** (PM)
#   лучше каузальной и, добавим от себя, лучше, чем отсутствие маски. С префиксной маской примеры видят
#   друг друга в обе стороны, запрос видит все примеры, а его самого не видит никто.
# - **C** (наша): без кодирования функция потерь на запросе не поможет ни без маски, ни с префиксной:
#   такой модели по-прежнему не сообщают, какой ответ к каким координатам относится.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs with new losses and masks; the first notebook’s first run was there already.
#
# - **10** (the author’s): the leak comes from the loss; when it counts the query alone, variants with
#   an encoding and without a mask will do much better at the task.
# - **A** (ours): and not only compared with before: their error will be less than half that of the
#   prediction “always zero”.
# - **B** (after [Ding et al. 2024](https://arxiv.org/abs/2308.06912)): a **prefix mask** (PM) beats the
#   causal mask and, we add, beats having none. Under it the examples see each other both ways, the
#   query sees all of them, and none of them sees the query.
# - **C** (ours): without an encoding a loss on the query will help neither without a mask nor with the
#   prefix one: such a model is still not told which answer belongs to which coordinates.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Parameters); там сказано, откуда взято каждое
# значение.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The same as in the [first notebook](1_position_and_mask.ipynb#Parameters), which says where each value
# comes from.

# %%
import logging

import matplotlib.pyplot as plt
import pandas as pd

from icl_report import (
    drawing,
    encodings,
    evaluation,
    generalisation,
    records,
    report,
    sampler,
    training,
)
from icl_report.config import Config, notebook_parameters
from icl_report.verdicts import claim, outcomes, overall, per_run, withhold

logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_report").setLevel("INFO")

# %% tags=["parameters"]
b: int = 1  # loop iterations / число итераций цикла
seed: int = 0  # seed of the weights and batches / зерно весов и батчей
n_layers: int = 2  # layers / число слоёв
n_heads: int = 4  # attention heads / головы внимания
width: int = 64  # hidden dimension / скрытая размерность
mlp_width: int = 256  # width of the MLP / размерность слоя MLP
n_examples: int = 63  # in-context examples / число in-context примеров
d: int = 5  # dimension of x / размерность x
function_class: str = "linear"  # linear, sparse, network or tree / класс функций
batch_size: int = 64  # prompts in a batch / промптов в батче
lr: float = 5e-4  # Adam's learning rate / скорость обучения (lr) в Adam
steps: int = 10_000  # training steps / число шагов обучения
log_every: int = 100  # steps between two points of a curve / шагов между точками кривой
curve_prompts: int = 512  # prompts behind a curve's target error / промптов для кривых ошибки
evaluation_prompts: int = 1280  # prompts of the final evaluation / промптов в итоговой оценке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
config = Config(ablation="3_label_leakage", **notebook_parameters(globals()))
of_loss = {
    kind: [variant.name for variant in config.stack if variant.loss == kind]
    for kind in ("all", "all, random k", "query", "random k")
}

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Задача, модель, промпты, начальные веса и оценка те же, что в [первом
# ноутбуке](1_position_and_mask.ipynb#Design); кодирования тоже: SPE, LPE или никакого. Новое здесь —
# префиксная маска и то, на чём модель обучается:
#
# - **все токены** (имя без скобок): средний квадрат ошибки по всем токенам $x$, как в исходной работе;
# - **(query)**: только запрос полного промпта. При значениях по умолчанию это 64 ответа за шаг вместо
#   $64 \cdot 64$;
# - **(random k)**: тоже только запрос, но все промпты одного шага обрезаны до случайного числа примеров
#   $k$, от 0 до $n$, так что модель учится при любой длине;
# - **(all, random k)**: все токены таких же обрезанных промптов. От (random k) этот вариант отличается
#   только функцией потерь, от исходного — только длиной промптов.
#
# Значения функции потерь на обучении можно сравнивать только у вариантов, обученных одинаково. По LPE + CM с (query) и (random k) видно, сколько теряет от такой функции потерь модель,
# которой списывать неоткуда. Варианты, обученные с функцией потерь по всем токенам полного промпта, не
# обучаются заново, если их уже записал первый ноутбук с теми же параметрами.

# %% [markdown] tags=["en"]
# ## Design
#
# Task, model, prompts, initial weights and evaluation are those of the [first
# notebook](1_position_and_mask.ipynb#Design), and so are the encodings: SPE, LPE or none. New here are
# the prefix mask and what a model is trained on:
#
# - **all tokens** (a name without brackets): the mean squared error over all $x$-tokens, as in the
#   source text;
# - **(query)**: the query of the full prompt alone. With the default values that is 64 answers a step
#   instead of $64 \cdot 64$;
# - **(random k)**: the query alone too, but all prompts of one step are cut to a random number of
#   examples $k$, from 0 to $n$, so that the model learns at every length;
# - **(all, random k)**: all tokens of the same cut prompts. It differs from (random k) in the loss
#   alone, and from the source text’s in the length of the prompts alone.
#
# Training losses can be compared only between variants trained in the same way. LPE +
# CM with (query) and (random k) shows what such a loss costs a model that cannot copy. Variants trained
# on all tokens of the full prompt are not trained again if the first notebook has already recorded them
# with the same parameters.


# %%
def draw_masks(t):
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.6))
    titles = (t("без маски", "no mask"), t("каузальная", "causal"), t("префиксная", "prefix"))
    for ax, kind, title in zip(axes, ("none", "causal", "prefix"), titles):
        ax.imshow(encodings.MASKS[kind](9).exp(), cmap="Greys", vmin=0, vmax=1.6)
        for i in range(4):
            ax.plot(2 * i + 1, 2 * i, "x", color="#d55e00")
        ax.set(title=title, xlabel=t("смотрит на токен", "looks at token"))
    axes[0].set_ylabel(t("токен", "token"))
    return figure


# %%
report.figure(
    "leak_masks",
    draw_masks,
    ru={
        "alt": "Три маски для промпта из девяти токенов; отмечены клетки «от x к своему y»",
        "caption": "Серая клетка — токен столбца виден токену строки; последний токен — запрос. Крестиком "
        "отмечены клетки в строке x и столбце его ответа y: где они серые, ответ можно списать.",
    },
    en={
        "alt": "Three masks for a prompt of nine tokens; the cells from x to its own y are marked",
        "caption": "Grey where the row’s token sees the column’s; the last token is the query. Crosses "
        "mark the cells in the row of an x and the column of its answer y: where they are grey, the "
        "answer can be copied.",
    },
)

# %% [markdown] tags=["ru"]
# ## Запуск
#
# Законченный запуск читается из `data/`, прерванный продолжается, недостающий выполняется.

# %% [markdown] tags=["en"]
# ## The run
#
# A finished run is read from `data/`, an interrupted one is resumed, a missing one is trained.

# %%
run = training.run(config, out)
run_curves = records.tidy([run], "curves")
report.tell_run(run)

# %%
prompts = sampler.evaluation_prompts(config)
zero_on_curve = evaluation.zero_error(prompts.first(config.curve_prompts))
losses = {
    "all": {"ru": "все токены", "en": "all tokens"},
    "all, random k": {"ru": "все токены, случайное k", "en": "all tokens, random k"},
    "query": {"ru": "запрос", "en": "query"},
    "random k": {"ru": "запрос, случайное k", "en": "query, random k"},
}


def draw_curves(curves, t):
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), sharex=True, sharey=True)
    for ax, (kind, names) in zip(axes.flat, of_loss.items()):
        drawing.draw_lines(ax, curves, "step", "target_error", names)
        ax.axhline(zero_on_curve, color="grey", linewidth=0.8, linestyle=":")
        title = t(losses[kind]["ru"], losses[kind]["en"])
        ax.set(title=title, yscale="log")
        ax.legend(fontsize="small", loc="lower left")
    for ax in axes[:, 0]:
        ax.set_ylabel(t("ошибка в целевой задаче", "target error"))
    for ax in axes[1]:
        ax.set_xlabel(t("шаг", "step"))
    return figure


# %%
report.figure(
    "leak_close_up",
    lambda t: draw_curves(run_curves, t),
    ru={
        "alt": "Ошибка в целевой задаче по шагам при четырёх способах обучения, один запуск",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: ошибка в целевой задаче при полном "
        "промпте. Каждая панель — свой способ обучения. Штриховые линии — варианты без маски, "
        "штрихпунктирные — с префиксной, горизонтальный пунктир — предсказание «всегда ноль». Из "
        "совпавших линий видна одна.",
    },
    en={
        "alt": "Target error by step under four ways of training, one run",
        "caption": f"One run, b = {config.b}, seed {config.seed}: target error with the full prompt. Each "
        "panel is one way of training. Dashed lines are variants without a mask, dash-dotted ones those "
        "with the prefix mask, the dotted horizontal is the prediction “always zero”. Where "
        "lines coincide, only one is visible.",
    },
)

# %% [markdown] tags=["ru"]
# ### Утечка подробно: внимание
#
# Проще всего списать, если токен $x_i$ смотрит прямо на свой $y_i$. На рисунке — средний вес внимания
# от $x_i$ к $y_i$ по ходу обучения для каждого слоя, головы и итерации цикла. При равномерном внимании
# он равен $1 / (2n + 1)$. Показан первый запуск, в котором внимание записывалось; это может быть не тот
# запуск, что выше.

# %% [markdown] tags=["en"]
# ### The leak close up: attention
#
# The easiest way to copy is for the token $x_i$ to look straight at its own $y_i$. The figure has the
# mean attention weight from $x_i$ to $y_i$ as training goes on, for each layer, head and loop
# iteration. With uniform attention it is $1 / (2n + 1)$. Shown is the first run whose attention was logged,
# which may not be the run above.


# %%
logged = [r for r in [run, *records.recorded_runs(out, config)] if "SPE" in set(r.leak.variant)]


def draw_leak(leak, t):
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True)
    for ax, name in zip(axes, ("none", "SPE", "LPE")):
        drawing.draw_leak(ax, leak[leak.variant == name], config.n_tokens)
        ax.set(title=name, xlabel=t("шаг", "step"))
    axes[0].set_ylabel(t("вес внимания от x к своему y", "attention from x to its own y"))
    return figure


# %%
if logged:
    shown = logged[0].config
    report.figure(
        "leak_attention",
        lambda t: draw_leak(logged[0].leak, t),
        ru={
            "alt": "Вес внимания от x к своему ответу y по шагам обучения у вариантов без маски",
            "caption": f"Один запуск, b = {shown.b}, зерно {shown.seed}: "
            "варианты без маски с функцией потерь по всем токенам. Линия — голова (и итерация цикла); синие линии — первый слой, оранжевые — "
            "следующие; горизонтальный пунктир — равномерное внимание.",
        },
        en={
            "alt": "Attention weight from x to its own answer y by training step, unmasked variants",
            "caption": f"One run, b = {shown.b}, seed {shown.seed}: "
            "variants without a mask and with the loss on all tokens. A line is a head (and a loop iteration); blue is the first layer, orange the "
            "later ones; the dotted horizontal is uniform attention.",
        },
    )

# %% [markdown] tags=["ru"]
# ### Утечка подробно: подложенный ответ
#
# Заменим в промпте один ответ $y_i$ ответом из другого промпта. Модель, которая списывает, предскажет
# в токене $x_i$ подложенное число; той, что вычисляет ответ по другим примерам, замена почти не
# помешает. В таблице — средний квадрат ошибки / $d$ в токене $x_i$ из середины промпта в запуске,
# названном в разделе «Запуск», для вариантов, обученных с функцией потерь по всем токенам.

# %% [markdown] tags=["en"]
# ### The leak close up: a planted answer
#
# Replace one answer $y_i$ in the prompt by an answer from another prompt. A model that copies will
# predict the planted number at the token $x_i$; one that works the answer out from the other examples
# will hardly be disturbed. The table has the mean squared error / $d$ at a token $x_i$ from the middle
# of the prompt in the run named under “The run”, for the variants trained on all tokens.

# %%
planted = generalisation.planted_answers(run)
report.table(
    planted[planted.variant.isin(of_loss["all"] + of_loss["all, random k"])],
    ru={
        "variant": "вариант",
        "before": "без замены",
        "true": "с заменой, относительно верного ответа",
        "planted": "с заменой, относительно подложенного",
    },
    en={
        "variant": "variant",
        "before": "untouched",
        "true": "replaced, against the true answer",
        "planted": "replaced, against the planted one",
    },
)

# %% [markdown] tags=["ru"]
# ## Все записанные запуски

# %% [markdown] tags=["en"]
# ## All recorded runs

# %%
runs = records.recorded_runs(out, config)
curves, errors = records.tidy(runs, "curves"), records.tidy(runs, "errors")
report.tell_recorded(runs, records.planned_runs(out, config.ablation))

# %%
solvers = evaluation.reference_errors(prompts, range(config.n_examples + 1))


def draw_by_loss(t):
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), sharex=True, sharey=True)
    for ax, (kind, names) in zip(axes.flat, of_loss.items()):
        drawing.draw_lines(ax, errors, "k", "error", names)
        title = t(losses[kind]["ru"], losses[kind]["en"])
        ax.set(title=title, yscale="log")
        ax.legend(fontsize="small", loc="lower left")
    for ax in axes[:, 0]:
        ax.set_ylabel(t("ошибка в целевой задаче", "target error"))
    for ax in axes[1]:
        ax.set_xlabel(t("число in-context примеров k", "in-context examples k"))
    return figure


# %%
report.figure(
    "leak_performance",
    draw_by_loss,
    ru={
        "alt": "Ошибка в целевой задаче в зависимости от числа примеров при четырёх способах обучения",
        "caption": "Ошибка в целевой задаче в зависимости от числа in-context примеров, среднее "
        "геометрическое по запускам (всего "
        f"запусков: {len(runs)}); полоса — от наименьшего значения до наибольшего. Каждая панель — свой "
        "способ обучения. На панели «запрос» все варианты, а на панели «все токены» варианты без маски "
        f"(штриховые линии) видели при обучении только k = {config.n_examples}. Из совпавших линий видна "
        "одна.",
    },
    en={
        "alt": "Target error against the number of examples under four ways of training",
        "caption": "Target error against the number of in-context examples, geometric mean over runs (runs: "
        f"{len(runs)}); the band spans the smallest to the largest value. Each panel is one way of training. "
        "In the panel “query” all variants, and in the panel “all tokens” those without a "
        f"mask (dashed lines), saw only k = {config.n_examples} in training. Where lines coincide, only one "
        "is visible.",
    },
)

# %%
full = outcomes(errors, curves)

# %%
by_b = report.means_by_b(
    full,
    ru={
        "training_loss": "функция потерь на обучении",
        "error": "ошибка в целевой задаче",
        "many": "ошибка, средняя по k ≥ n / 2",
    },
    en={
        "training_loss": "training loss",
        "error": "target error",
        "many": "target error, mean over k ≥ n / 2",
    },
)

# %% [markdown] tags=["ru"]
# ### Списывать и учиться
#
# Мешает ли списывание учиться? Вариант (all, random k) может списывать так же, как вариант с полными
# промптами, но длина промпта у него на каждом шаге обучения выбирается заново. Списывание проверяется
# подложенным ответом во всех запусках: считаем, что модель списывает, если ошибка относительно подложенного
# ответа меньше 0,5 (порог наш; если ответ на предсказание не влияет, она в среднем не меньше 1).

# %% [markdown] tags=["en"]
# ### Copying and learning
#
# Does copying keep a model from learning? The variant (all, random k) can copy just as the one with full
# prompts can, but the length of its prompts is drawn anew in every training step. Copying is tested by a
# planted answer in all runs: we say that a model copies if its error against the planted answer is below 0.5
# (our threshold; where that answer has no influence on the prediction, it is 1 or more on average).


# %%
def error(variant):
    return per_run(full, variant, "error")


def many_errors(variant):
    return per_run(full, variant, "many")


zero = solvers[(solvers.solver == "zero") & (solvers.k >= (config.n_examples + 1) // 2)]
zeros = {"E": zero[zero.k == config.n_examples].error.item(), "M": zero.error.mean()}
copying = generalisation.copying(runs)

# %%
trained_on_all = [*of_loss["all"], *of_loss["all, random k"]]
rows = [
    {
        "variant": name,
        "copies": f"{per_run(copying, name, 'copies').sum()} / {len(runs)}",
        "full": f"{(error(name) < 0.5 * zeros['E']).sum()} / {len(runs)}",
        "many": f"{(many_errors(name) < 0.5 * zeros['M']).sum()} / {len(runs)}",
    }
    for name in trained_on_all
]
report.table(
    pd.DataFrame(rows),
    ru={
        "variant": "вариант",
        "copies": "списывает, запусков",
        "full": "E / E(0) < 0,5, запусков",
        "many": "M / M(0) < 0,5, запусков",
    },
    en={
        "variant": "variant",
        "copies": "copies, runs",
        "full": "E / E(0) < 0.5, runs",
        "many": "M / M(0) < 0.5, runs",
    },
)

# %%
both = {
    name: (per_run(copying, name, "copies") & (error(name) < 0.5 * zeros["E"])).sum()
    for name in ("SPE", "SPE (all, random k)")
}
report.say(
    ru="Число запусков, в которых вариант и списывает, и решает задачу при полном промпте: SPE — {full}, SPE (all, "
    "random k) — {cut}; всего запусков: {runs}.",
    en="Runs in which a variant both copies and solves the task with the full prompt: SPE {full}, SPE (all, random "
    "k) {cut}; runs in all: {runs}.",
    full=both["SPE"],
    cut=both["SPE (all, random k)"],
    runs=len(runs),
)

# %% [markdown] tags=["ru"]
# Здесь $E$ — ошибка в целевой задаче при полном промпте, $M$ — она же, средняя по $k \ge n / 2$; $E(0)$ и
# $M(0)$ — то же у предсказания «всегда ноль».

# %% [markdown] tags=["en"]
# Here $E$ is the target error with the full prompt, $M$ its mean over $k \ge n / 2$; $E(0)$ and $M(0)$ are
# the same for the prediction “always zero”.

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Величины $E$ и $E(0)$, усреднение и интервалы — как в [первом
# ноутбуке](1_position_and_mask.ipynb#Verdicts); пороги и здесь наши. $M(v)$ — ошибка в целевой задаче,
# средняя по $k \ge n / 2$: вариант, обученный при случайном $k$, должен решать задачу при любой длине, а
# не только при полной. $M(0)$ — то же у предсказания «всегда ноль».
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 10 | SPE и LPE без маски: отношение $E$ с (query) к $E$ со всеми токенами | меньше 0,5 |
# | 10 | они же: отношение $M$ с (random k) к $M$ с (all, random k) | меньше 0,5 |
# | A | они же: отношение $E$ с (query) к $E(0)$ и $M$ с (random k) к $M(0)$ | меньше 0,5 |
# | B | LPE с (query): отношение $E$ с PM к $E$ с CM; то же для $M$ с (random k) | меньше 1 |
# | B | SPE и LPE с (query): отношение $E$ с PM к $E$ без маски; то же для $M$ с (random k) | меньше 1 |
# | C | none и PM: отношение $E$ с (query) к $E(0)$ и $M$ с (random k) к $M(0)$ | больше 0,5 |
#
# По пункту 10 мы судим о тех вариантах, которые списывают хотя бы в одном запуске (если таких нет — об
# обоих): у остальных нет и утечки.
#
# **Контроль** — LPE + CM: списывать ему неоткуда, и если он с функцией потерь на запросе не обучается, дело
# не в утечке. Если с (query) или с (random k) он хотя бы в одном запуске не решает задачу (его $E / E(0)$
# или $M / M(0)$ не меньше 0,5), то и неудача других с той же функцией потерь ничего об утечке не говорит.
# Тогда вместо «не подтверждено» в пунктах 10, A и B и вместо «подтверждено» в пункте C стоит «открыто».
# Оба правила добавлены после запусков.

# %% [markdown] tags=["en"]
# ## Verdicts
#
# The quantities $E$ and $E(0)$, the averaging and the intervals are those of the [first
# notebook](1_position_and_mask.ipynb#Verdicts); the thresholds are ours here too. $M(v)$ is the target
# error averaged over $k \ge n / 2$: a variant trained at random $k$ should solve the task at every
# length, not at the full one alone. $M(0)$ is the same for the prediction “always zero”.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 10 | SPE and LPE without a mask: $E$ with (query) divided by $E$ with all tokens | below 0.5 |
# | 10 | the same variants: $M$ with (random k) divided by $M$ with (all, random k) | below 0.5 |
# | A | the same variants: $E$ with (query) divided by $E(0)$, $M$ with (random k) divided by $M(0)$ | below 0.5 |
# | B | LPE with (query): $E$ with PM divided by $E$ with CM; the same for $M$ with (random k) | below 1 |
# | B | SPE and LPE with (query): $E$ with PM divided by $E$ without a mask; the same for $M$ with (random k) | below 1 |
# | C | none and PM: $E$ with (query) divided by $E(0)$, $M$ with (random k) divided by $M(0)$ | above 0.5 |
#
# Point 10 is judged by the variants that copy in at least one run (by both if none does): the others have
# no leak.
#
# **The control** is LPE + CM: it has nothing to copy, and if it does not learn with a loss on the query,
# the leak is not the reason. If with (query) or with (random k) it does not solve the task in some run (its
# $E / E(0)$ or $M / M(0)$ is not below 0.5), then that others fail with the same loss tells nothing about
# the leak either. “Not confirmed” in points 10, A and B and “confirmed” in point C are then replaced by
# “open”. Both rules were added after the runs.


# %%
measures = {"query": ("E", error), "random k": ("M", many_errors)}


def against(point, variant, other, loss, **side):
    sign, measure = measures[loss]
    divisor = zeros[sign] if other == "0" else measure(other)
    return claim(point, f"{sign}({variant}) / {sign}({other})", measure(variant) / divisor, **side)


# %%
leaky = [name for name in ("SPE", "LPE") if per_run(copying, name, "copies").any()]
leaky = leaky or ["SPE", "LPE"]
claims = []
for loss, all_tokens in (("query", ""), ("random k", " (all, random k)")):
    own = f" ({loss})"
    for name in ("SPE", "LPE"):
        if name in leaky:
            claims.append(against("10", name + own, name + all_tokens, loss, below=0.5))
        claims.append(against("A", name + own, "0", loss, below=0.5))
        claims.append(against("B", f"{name} + PM{own}", name + own, loss, below=1))
    claims.append(against("B", f"LPE + PM{own}", f"LPE + CM{own}", loss, below=1))
    for name in ("none", "PM"):
        claims.append(against("C", name + own, "0", loss, above=0.5))
results = pd.DataFrame(claims).sort_values("point", kind="stable")
without_control = overall(results)

# %%
controls = {  # in its worst run
    loss: measure(f"LPE + CM ({loss})").max(skipna=False) / zeros[sign]
    for loss, (sign, measure) in measures.items()
}
failed = [f"({loss})" for loss, control in controls.items() if not control < 0.5]
failure = {"10": "not confirmed", "A": "not confirmed", "B": "not confirmed", "C": "confirmed"}
same_loss = results.quantity.map(lambda quantity: any(loss in quantity for loss in failed))
results = withhold(results, same_loss & (results.status == results.point.map(failure)))

# %%
report.say(
    ru="В худшем запуске у LPE + CM отношение $E / E(0)$ с (query) равно {query}, отношение $M / M(0)$ с (random k) — "
    "{cut}, а с функцией потерь по всем токенам $E / E(0)$ равно {all}. Функции потерь на запросе, с которыми "
    "контроль не решает задачу: {failed}. Без правила о контроле вердикты были бы такие: {otherwise}.",
    en="In its worst run LPE + CM has $E / E(0)$ = {query} with (query), $M / M(0)$ = {cut} with (random k), and "
    "with the loss on all tokens $E / E(0)$ = {all}. Losses on the query with which the control does not solve the task: "
    "{failed}. Without the rule on the control the verdicts would be: {otherwise}.",
    query=controls["query"],
    cut=controls["random k"],
    all=error("LPE + CM").max(skipna=False) / zeros["E"],
    failed=", ".join(failed) or report.NONE,
    otherwise=report.listed(without_control),
)

# %%
statements = {
    "10": (
        "Если учитывать только запрос, ошибка у списывающих вариантов уменьшится хотя бы вдвое (к этому ведёт "
        "объяснение автора)",
        "With the query alone counted, variants that copy at least halve their error (the author’s "
        "explanation predicts this)",
    ),
    "A": (
        "С функцией потерь на запросе SPE и LPE без маски ошибаются хотя бы вдвое меньше, чем «всегда ноль»",
        "With a loss on the query SPE and LPE without a mask at least halve the error of “always zero”",
    ),
    "B": (
        "Префиксная маска лучше каузальной (у LPE) и лучше, чем отсутствие маски",
        "The prefix mask beats the causal one (for LPE), and beats having none",
    ),
    "C": (
        "Без кодирования функция потерь на запросе не помогает",
        "Without an encoding a loss on the query does not help",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("leak_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Функции потерь на запросе достаётся меньше ответов.** На полных промптах она учитывает один ответ там,
#   где обычная — $n + 1$, так что вариант, который ничему не научился, мог просто не успеть; для того и нужен
#   контроль.
# - **Списывает не каждый.** У варианта, который за отведённые шаги списывать не начал, нет и утечки, которую
#   можно было бы убрать; какие варианты списывают, показывает подложенный ответ.
# - **Префиксная маска сравнивается с каузальной только у LPE.** SPE + CM с функцией потерь на запросе
#   не обучали.
# - **Внимание само по себе ничего не доказывает.** Большой вес внимания от $x_i$ к $y_i$ показывает, что ответ доступен;
#   пользуется ли им модель, показывает подложенный ответ.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **A loss on the query has fewer answers to learn from.** On full prompts it counts one answer where the
#   usual loss counts $n + 1$, so a variant that learned nothing from it may simply have run out of time; the
#   control is there for that.
# - **Not every variant copies.** One that has not begun to copy within its steps has no leak to lose; the
#   planted answer shows which variants copy.
# - **The prefix mask is compared with the causal one for LPE only.** SPE + CM was not trained with a
#   loss on the query.
# - **Attention alone proves nothing.** A large attention weight from $x_i$ to $y_i$ shows that the
#   answer is at hand; whether the model uses it is shown by the planted answer.
