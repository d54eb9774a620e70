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
# # Откуда утечка ответов

# %% [markdown] tags=["en"]
# # Where the label leakage comes from

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Автор исходной работы заметил, что с кодированием и без маски модель хорошо минимизирует функцию
# потерь, а целевую задачу решает плохо, и предположил, что дело в самой функции потерь: она
# учитывает все токены $x$, а не только запрос. Без маски токен $x_i$ видит свой ответ $y_i$; учиться
# тогда не нужно, достаточно списать. Ответа $y_q$ на запрос в промпте нет, и списать его неоткуда.
#
# Если автор прав, те же варианты без маски должны научиться решать задачу, стоит только считать
# ошибку по одному запросу. Это мы и проверяем.

# %% [markdown] tags=["en"]
# ## The question
#
# The author of the source text saw that with an encoding and without a mask the model minimises
# the loss well and does badly at the target task, and put it down to the loss itself: it counts all
# $x$-tokens rather than the query alone. Without a mask the token $x_i$ sees its answer $y_i$; there
# is no need to learn when one can copy. The answer $y_q$ to the query is not in the prompt, and there
# is nowhere to copy it from.
#
# If the author is right, the same variants without a mask should learn the task as soon as the error
# is counted at the query alone. This is what we test.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков.
#
# - **10** (автор): утечка происходит из-за функции потерь; если учитывать только запрос, варианты с
#   кодированием и без маски станут решать задачу намного лучше.
# - **A** (наша): и без сравнения с прежним они её решают: ошибка хотя бы вдвое меньше, чем у предсказания
#   «всегда ноль».
# - **B** (по [Ding et al. 2024](https://arxiv.org/abs/2308.06912)): **префиксная маска** (PM) лучше каузальной. С
#   ней примеры видят друг друга в обе стороны, запрос видит их все, а его не видит никто.
# - **C** (наша): без кодирования не поможет и функция потерь по запросу, ни без маски, ни с префиксной: такой
#   модели по-прежнему неоткуда узнать, какой ответ к каким координатам относится.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs.
#
# - **10** (the author’s): the leak comes from the loss; when it counts the query alone, variants with
#   an encoding and without a mask will do much better at the task.
# - **A** (ours): they solve it in their own right too: the error is at most half that of the prediction
#   “always zero”.
# - **B** (after [Ding et al. 2024](https://arxiv.org/abs/2308.06912)): a **prefix mask** (PM) beats the causal
#   mask. Under it the examples see each other both ways, the query sees all of them, and none sees it.
# - **C** (ours): without an encoding a loss on the query will not help, neither without a mask nor with
#   the prefix one: such a model still cannot know which answer belongs to which coordinates.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Те же, что в первом ноутбуке; там сказано, откуда взято каждое значение.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The same as in the first notebook, which says where each value comes from.

# %%
import logging

import matplotlib.pyplot as plt
import pandas as pd

from icl_core import encodings, evaluation, records, report, sampler, training
from icl_core.config import Config, notebook_parameters
from icl_core.verdicts import claim, last_rows, per_run

logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_core").setLevel("INFO")

# %% tags=["parameters"]
b: int = 1  # loop iterations / число итераций цикла
seed: int = 0  # seed of the weights and batches / зерно весов и батчей
n_layers: int = 2  # layers / число слоёв
n_heads: int = 4  # attention heads / головы внимания
width: int = 64  # hidden dimension / скрытая размерность
mlp_width: int = 256  # width of the MLP / размерность слоя MLP
n_examples: int = 63  # in-context examples / число in-context примеров
d: int = 5  # dimension of x / размерность x
batch_size: int = 64  # prompts in a batch / промптов в батче
lr: float = 5e-4  # Adam's learning rate / скорость обучения (lr) в Adam
steps: int = 10_000  # training steps / число шагов обучения
log_every: int = 100  # steps between two points of a curve / шагов между точками кривой
curve_prompts: int = 512  # prompts behind a curve's target error / промптов для кривых ошибки
evaluation_prompts: int = 1280  # prompts of the final evaluation / промптов в итоговой оценке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
given = notebook_parameters(globals())
given.pop("out", None)
config = Config(ablation="3_label_leakage", **given)
of_loss = {
    kind: [variant.name for variant in config.stack if variant.loss == kind]
    for kind in ("all", "query", "cut")
}

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Задача, модель и оценка те же, что в первом ноутбуке; промпты и начальные веса тоже. Различаются
# только маска и то, что учитывает функция потерь:
#
# - **все токены** (имя без скобок): средний квадрат ошибки по всем токенам $x$, как в исходной работе;
# - **(query)**: только запрос полного промпта. На каждом шаге это 64 ответа вместо $64 \cdot 64$;
# - **(random k)**: тоже только запрос, но промпты этого шага обрезаны до случайного числа примеров $k$, от 0
#   до $n$, так что модель учится при любой длине.
#
# LPE + CM с теми же функциями потерь показывает, сколько теряет от них модель, которой списывать
# неоткуда. Варианты со всеми токенами не обучаются заново, если их записал первый ноутбук.

# %% [markdown] tags=["en"]
# ## Design
#
# Task, model and evaluation are those of the first notebook, and so are prompts and initial weights.
# What differs is the mask and what the loss counts:
#
# - **all tokens** (a name without brackets): the mean squared error over all $x$-tokens, as in the
#   source text;
# - **(query)**: the query of the full prompt alone. That is 64 answers a step instead of $64 \cdot 64$;
# - **(random k)**: the query alone too, but the prompts of a step are cut to a random number of examples
#   $k$, from 0 to $n$, so that the model learns at every length.
#
# LPE + CM with the same losses shows what they cost a model that has nowhere to copy from. Variants
# with all tokens are not trained again where the first notebook has recorded them.


# %%
def draw_masks(t):
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
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
        "alt": "Три маски для промпта из девяти токенов; отмечены клетки, где x видит свой y",
        "caption": "Серая клетка — токен столбца виден токену строки; последний токен — запрос. Крестиком "
        "отмечены клетки, в которых x видит свой ответ y: где они серые, есть откуда списать.",
    },
    en={
        "alt": "Three masks for a prompt of nine tokens; cells where x sees its own y are marked",
        "caption": "Grey where the row’s token sees the column’s; the last token is the query. A cross "
        "marks the cells in which x sees its own answer y: where they are grey, it can be copied.",
    },
)

# %% [markdown] tags=["ru"]
# ## Запуск
#
# Законченный запуск читается из `data/`, прерванный продолжается, недостающий обучается.

# %% [markdown] tags=["en"]
# ## The run
#
# A finished run is read from `data/`, an interrupted one is resumed, a missing one is trained.

# %%
run = training.run(config, out)
run_curves = records.tidy([run], "curves")
made = run.provenance
taken = [f"{name} ({origin})" for name, origin in made["taken_over"].items()]
report.say(
    ru="Запуск: $b$ = {b}, зерно {seed}, шагов: {steps}. Обучение заняло {hours} ч на устройстве "
    "{device}. Взяты из других запусков: {taken}. Разошлись: {diverged}.",
    en="The run: $b$ = {b}, seed {seed}, {steps} steps. Training took {hours} h on {device}. Taken from "
    "other runs: {taken}. Diverged: {diverged}.",
    b=run.config.b,
    seed=run.config.seed,
    steps=run.config.steps,
    hours=made["wall_seconds"] / 3600,
    device=made["device"],
    taken=", ".join(taken) or "—",
    diverged=", ".join(made["diverged"]) or "—",
)

# %%
prompts = sampler.evaluation_prompts(config)
curve_answers = prompts.first(config.curve_prompts).answers[:, -1]
zero_on_curve = float(curve_answers.square().mean()) / config.d
losses = {
    "all": {"ru": "все токены", "en": "all tokens"},
    "query": {"ru": "запрос", "en": "query"},
    "cut": {"ru": "запрос, случайное k", "en": "query, random k"},
}


def draw_curves(curves, t):
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.5), sharey=True)
    for ax, (kind, names) in zip(axes, of_loss.items()):
        report.draw_lines(ax, curves, "step", "target_error", names)
        ax.axhline(zero_on_curve, color="grey", linewidth=0.8, linestyle=":")
        title = t(losses[kind]["ru"], losses[kind]["en"])
        ax.set(title=title, xlabel=t("шаг", "step"), yscale="log")
        ax.legend(fontsize="small", loc="lower left")
    axes[0].set_ylabel(t("ошибка в целевой задаче / d", "target error / d"))
    return figure


# %%
report.figure(
    "leak_close_up",
    lambda t: draw_curves(run_curves, t),
    ru={
        "alt": "Ошибка в целевой задаче по шагам при трёх функциях потерь, один запуск",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: ошибка в целевой задаче при полном "
        "промпте. Панель — функция потерь; горизонталь из точек — предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error by step under three losses, one run",
        "caption": f"One run, b = {config.b}, seed {config.seed}: target error with the full prompt. A "
        "panel is a loss; the dotted horizontal is the prediction “always zero”.",
    },
)

# %% [markdown] tags=["ru"]
# ### Утечка вблизи: внимание
#
# Если модель списывает, токен $x_i$ должен смотреть на свой $y_i$. Вот средний вес внимания от
# $x_i$ к $y_i$ по ходу обучения, для каждого слоя, головы и итерации цикла. При равномерном внимании он
# равен $1 / (2n + 1)$.

# %% [markdown] tags=["en"]
# ### The leak close up: attention
#
# If a model copies, the token $x_i$ must look at its own $y_i$. Here is the mean attention weight from
# $x_i$ to $y_i$ as training goes on, for each layer, head and loop iteration. Uniform attention would
# give $1 / (2n + 1)$.


# %%
def draw_leak(t):
    shown = [name for name in ("none", "SPE", "LPE") if name in set(run.leak.variant)]
    figure, axes = plt.subplots(1, max(1, len(shown)), figsize=(12, 4), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], shown):
        own = run.leak[run.leak.variant == name]
        for (layer, *_), weights in own.groupby(["layer", "loop", "head"]):
            colour = "#0173b2" if layer == 1 else "#d55e00"
            ax.plot(weights.step, weights.weight, color=colour, linewidth=0.8)
        ax.axhline(1 / config.n_tokens, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=name, xlabel=t("шаг", "step"), ylim=(0, 1))
    axes[0, 0].set_ylabel(t("вес внимания от x к своему y", "attention from x to its own y"))
    return figure


# %%
report.figure(
    "leak_attention",
    draw_leak,
    ru={
        "alt": "Вес внимания от x к своему ответу y по шагам обучения, варианты без маски",
        "caption": "Варианты без маски с функцией потерь по всем токенам, один запуск; линия — голова "
        "(и итерация цикла); синие линии — первый слой, оранжевые — следующие; горизонталь из точек — "
        "равномерное внимание. Панелей нет, если запуск записан без этих данных.",
    },
    en={
        "alt": "Attention weight from x to its own answer y by training step, unmasked variants",
        "caption": "Variants without a mask and with the loss on all tokens, one run; a line is a head "
        "(and a loop iteration); blue is the first layer, orange the later ones; the dotted horizontal is "
        "uniform attention. There are no panels if the run was recorded without these data.",
    },
)

# %% [markdown] tags=["ru"]
# ### Утечка вблизи: подложенный ответ
#
# Заменим в промпте один ответ $y_i$ числом из другого промпта. Модель, которая списывает,
# предскажет в токене $x_i$ подложенное число; той, что вычисляет ответ по другим примерам, замена
# мешает мало. В таблице — средний квадрат ошибки / $d$ в токене $x_i$ из середины промпта, в этом
# запуске, для вариантов, обученных по всем токенам.

# %% [markdown] tags=["en"]
# ### The leak close up: a planted answer
#
# Replace one answer $y_i$ in the prompt by a number from another prompt. A model that copies will
# predict the planted number at the token $x_i$; one that works the answer out from other examples will
# hardly be disturbed. The table has the mean squared error / $d$ at a token $x_i$ from the middle
# of the prompt, in this run, for the variants trained on all tokens.

# %%
trained = training.recorded_model(run)
planted = evaluation.planted_errors(trained, prompts.first(512), config.n_examples // 2)
rows = [
    (name, *own) for name, own in zip(config.variants, planted.tolist()) if name in of_loss["all"]
]
report.table(
    pd.DataFrame(rows, columns=["variant", "before", "true", "planted"]),
    ru={
        "variant": "вариант",
        "before": "без замены",
        "true": "с заменой, от верного ответа",
        "planted": "с заменой, от подложенного",
    },
    en={
        "variant": "variant",
        "before": "untouched",
        "true": "replaced, to the true answer",
        "planted": "replaced, to the planted one",
    },
)

# %% [markdown] tags=["ru"]
# ## Все записанные запуски

# %% [markdown] tags=["en"]
# ## All recorded runs

# %%
runs = records.recorded_runs(out, config)
curves, errors = records.tidy(runs, "curves"), records.tidy(runs, "errors")
planned = records.planned_runs(out, config.ablation)
recorded = [(r.config.b, r.config.seed) for r in runs]
missing = [f"({b}, {seed})" for b, seed in planned if (b, seed) not in recorded]
report.say(
    ru="Записано запусков: {n}. Из запланированных пар ($b$, зерно) не хватает: {missing}.",
    en="Recorded runs: {n}. Planned but missing pairs ($b$, seed): {missing}.",
    n=len(recorded),
    missing=", ".join(missing) or "—",
)

# %%
solvers = evaluation.reference_errors(prompts, range(config.n_examples + 1))


def draw_by_loss(t):
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.5), sharey=True)
    for ax, (kind, names) in zip(axes, of_loss.items()):
        report.draw_lines(ax, errors, "k", "error", names)
        title = t(losses[kind]["ru"], losses[kind]["en"])
        ax.set(title=title, xlabel=t("число in-context примеров k", "in-context examples k"))
        ax.set_yscale("log")
        ax.legend(fontsize="small", loc="lower left")
    axes[0].set_ylabel(t("ошибка в целевой задаче / d", "target error / d"))
    return figure


# %%
report.figure(
    "leak_performance",
    draw_by_loss,
    ru={
        "alt": "Ошибка в целевой задаче от числа примеров при трёх функциях потерь",
        "caption": "Ошибка в целевой задаче от числа in-context примеров, среднее по запускам (всего "
        f"запусков: {len(runs)}); полоса — от наименьшего значения до наибольшего. Панель — функция "
        "потерь. Без маски и с функцией потерь по запросу полного промпта модель обучалась только при "
        f"k = {config.n_examples}.",
    },
    en={
        "alt": "Target error against the number of examples under three losses",
        "caption": "Target error against the number of in-context examples, mean over runs (runs: "
        f"{len(runs)}); the band spans the smallest to the largest value. A panel is a loss. Without a "
        "mask, and with the loss on the query of the full prompt, a model was trained at "
        f"k = {config.n_examples} only.",
    },
)

# %%
middle = config.n_examples // 2
full = errors[errors.k == config.n_examples].merge(last_rows(curves), on=["b", "seed", "variant"])
many = errors[errors.k >= middle].groupby(["b", "seed", "variant"]).error
full = full.merge(many.agg(lambda own: own.mean(skipna=False)).rename("many").reset_index())

# %%
columns = ["training_loss", "error", "many"]
means = full.groupby(["b", "variant"])[columns].agg(lambda own: own.mean(skipna=False))
by_b = means.reset_index().sort_values(["b", "error"])
by_b["runs"] = by_b.b.map(full.groupby("b").seed.nunique())
report.table(
    by_b,
    ru={
        "b": "b",
        "runs": "запуски",
        "variant": "вариант",
        "training_loss": "функция потерь на обучении",
        "error": "ошибка в целевой задаче",
        "many": "она же в среднем по k ≥ n / 2",
    },
    en={
        "b": "b",
        "runs": "runs",
        "variant": "variant",
        "training_loss": "training loss",
        "error": "target error",
        "many": "the same, mean over k ≥ n / 2",
    },
)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Величины $E$ и $E(0)$, усреднение и интервалы определены в первом ноутбуке; пороги здесь тоже наши.
# $M(v)$ — ошибка в целевой задаче, средняя по $k \ge n / 2$: вариант, обученный при случайном $k$, должен
# решать задачу при любой длине, а не только при полной.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 10 | у SPE и LPE без маски: $E$ с функцией потерь (query) к $E$ со всеми токенами; то же для $M$ и (random k) | меньше 0,5 |
# | A | для тех же вариантов: $E$ или $M$, делённая на $E(0)$ | меньше 0,5 |
# | B | $E$ с PM к $E$ с CM, LPE, функция потерь (query); то же для $M$ и (random k) | меньше 1 |
# | C | $M$ у none и у PM (random k) к $E(0)$ | больше 0,5 |

# %% [markdown] tags=["en"]
# ## Verdicts
#
# The quantities $E$ and $E(0)$, the averaging and the intervals are defined in the first notebook;
# the thresholds are ours here too. $M(v)$ is the target error averaged over $k \ge n / 2$: a variant
# trained at random $k$ should solve the task at every length, not at the full one alone.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 10 | for SPE and LPE without a mask: $E$ with the loss (query) divided by $E$ with all tokens; the same for $M$ and (random k) | below 0.5 |
# | A | for the same variants: $E$ or $M$ divided by $E(0)$ | below 0.5 |
# | B | $E$ with PM divided by $E$ with CM, LPE, loss (query); the same for $M$ and (random k) | below 1 |
# | C | $M$ of none and of PM (random k) divided by $E(0)$ | above 0.5 |


# %%
def error(variant):
    return per_run(full, variant, "error")


def many_errors(variant):
    return per_run(full, variant, "many")


error_of_zero = solvers[(solvers.solver == "zero") & (solvers.k == config.n_examples)].error.item()

# %%
claims = []
for measure, sign, loss in ((error, "E", "query"), (many_errors, "M", "random k")):
    for name in ("SPE", "LPE"):
        own = f"{name} ({loss})"
        ratio, absolute = measure(own) / measure(name), measure(own) / error_of_zero
        claims.append(claim("10", f"{sign}({own}) / {sign}({name})", ratio, below=0.5))
        claims.append(claim("A", f"{sign}({own}) / E(0)", absolute, below=0.5))
    prefix, causal = (f"LPE + {mask} ({loss})" for mask in ("PM", "CM"))
    ratio = measure(prefix) / measure(causal)
    claims.append(claim("B", f"{sign}({prefix}) / {sign}({causal})", ratio, below=1))
for own in ("none (random k)", "PM (random k)"):
    claims.append(claim("C", f"M({own}) / E(0)", many_errors(own) / error_of_zero, above=0.5))
results = pd.DataFrame(claims).sort_values("point", kind="stable")
report.verdict_table(results)

# %%
report.figure(
    "leak_effects",
    lambda t: report.draw_effects(results, t),
    ru={
        "alt": "Отношения из таблицы вердиктов с интервалами и порогами, для каждого b отдельно",
        "caption": "Строка — отношение из таблицы вердиктов. Точка — среднее по зёрнам "
        "(геометрическое), отрезок — его 95-процентный доверительный интервал; если зерно одно, "
        "отрезка нет. Закрашенные точки — b = 1, полые — b > 1. Вертикальная черта — порог, стрелка "
        "указывает на ту сторону, где утверждение верно.",
    },
    en={
        "alt": "The ratios of the table of verdicts with intervals and thresholds, for each b",
        "caption": "A row is a ratio of the table of verdicts. A point is the (geometric) mean over "
        "seeds, a bar its 95% confidence interval; there is none for a single seed. Filled points are "
        "b = 1, open ones b > 1. The vertical line is the threshold, the arrow points to the side on "
        "which the claim is true.",
    },
)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Функция потерь по запросу слабее учит.** За шаг она даёт в десятки раз меньше ответов, так что вариант, который с ней
#   ничему не научился, мог просто не успеть. Это видно по LPE + CM с той же функцией потерь.
# - **Внимание — ещё не причина.** Большой вес от $x_i$ к $y_i$ показывает, что ответ доступен; что модель им
#   и пользуется, показывает подложенный ответ.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **A loss on the query teaches less.** It gives a small fraction of the answers in a step, so a variant
#   that learned nothing from it may simply have had too little time. LPE + CM with the same loss tells.
# - **Attention is not yet a cause.** A large weight from $x_i$ to $y_i$ shows that the answer is at hand;
#   that the model uses it is shown by the planted answer.
