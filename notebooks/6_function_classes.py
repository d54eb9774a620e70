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
# # Другие классы функций

# %% [markdown] tags=["en"]
# # Other function classes

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# До сих пор функции были линейными. Сохранится ли порядок вариантов на других классах функций из
# [Garg et al. 2022](https://arxiv.org/abs/2208.01066)? Здесь мы обучаем шесть вариантов первого ноутбука
# на каждом из четырёх классов, но эксперимент уменьшен: промпты короче, шагов меньше. Поэтому с числами
# из других глав эти числа сравнивать нельзя.
#
# - **linear**: линейные функции, как раньше, но в уменьшенном эксперименте;
# - **sparse**: линейные функции, у которых отличны от нуля лишь немногие координаты $w$;
# - **network**: случайные двухслойные сети с ReLU;
# - **tree**: случайные решающие деревья.

# %% [markdown] tags=["en"]
# ## The question
#
# So far the functions were linear. Does the order of the variants carry over to other function classes of
# [Garg et al. 2022](https://arxiv.org/abs/2208.01066)? Here we train the six variants of the first notebook
# on each of four classes, but in a smaller experiment: shorter prompts and fewer steps. So these numbers
# cannot be compared with those of the other chapters.
#
# - **linear**: linear functions as before, but in the smaller experiment;
# - **sparse**: sparse linear functions: only a few coordinates of $w$ differ from zero;
# - **network**: random two-layer ReLU networks;
# - **tree**: random decision trees.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков этой главы; все наши. Запуски первого ноутбука при $b = 1$ уже были выполнены.
#
# - **A**: в каждом классе LPE с маской лучше, чем одна маска.
# - **B**: в каждом классе LPE с маской лучше, чем SPE с маской.
# - **C**: в каждом классе маска уменьшает ошибку LPE хотя бы вдвое.
# - **D**: в каждом классе порядок вариантов почти тот же, что у линейных функций.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs of this chapter; all are ours. The first notebook’s runs at $b = 1$ were there
# already.
#
# - **A**: in every class LPE with the mask beats the mask alone.
# - **B**: in every class LPE with the mask beats SPE with the mask.
# - **C**: in every class the mask at least halves LPE’s error.
# - **D**: in every class the order of the variants is nearly that for linear functions.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Значения ниже — из первого ноутбука; уменьшенные задаёт `grids/full.yaml`, и papermill подставляет их в
# следующей ячейке.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The values below are the first notebook’s; `grids/full.yaml` sets the smaller ones, and papermill puts
# them into the next cell.

# %%
import logging

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from icl_report import drawing, evaluation, records, report, sampler, training
from icl_report.config import FUNCTION_CLASSES, Config, notebook_parameters
from icl_report.verdicts import claim, per_run, typical

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
batch_size: int = 64  # prompts in a batch / промптов в батче
lr: float = 5e-4  # Adam's learning rate / скорость обучения (lr) в Adam
steps: int = 10_000  # training steps / число шагов обучения
log_every: int = 100  # steps between two points of a curve / шагов между точками кривой
curve_prompts: int = 512  # prompts behind a curve's target error / промптов для кривых ошибки
evaluation_prompts: int = 1280  # prompts of the final evaluation / промптов в итоговой оценке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
given = notebook_parameters(globals(), own=("ablation", "function_class"))
configs = {
    name: Config(ablation="6_function_classes", function_class=name, **given)
    for name in FUNCTION_CLASSES
}
config = configs["linear"]
variants, n = list(config.variants), config.n_examples

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Модель, обучение и оценка те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Design); координаты
# $x$ во всех классах одни и те же. Ответы в каждом классе приведены к такому масштабу, что ошибка
# предсказания «всегда ноль» в среднем равна 1. Размер этих запусков:

# %% [markdown] tags=["en"]
# ## Design
#
# Model, training and evaluation are those of the [first notebook](1_position_and_mask.ipynb#Design); the
# coordinates $x$ are the same in all classes. In each class answers are scaled so that the prediction
# “always zero” has an error of 1 on average. The size of these runs:

# %%
sizes = {
    "d": {"ru": "размерность d", "en": "dimension d"},
    "n_examples": {"ru": "число in-context примеров n", "en": "in-context examples n"},
    "steps": {"ru": "число шагов обучения", "en": "training steps"},
    "lr": {"ru": "скорость обучения (lr) в Adam", "en": "Adam’s learning rate (lr)"},
}
report.table(
    pd.DataFrame(
        [(words, getattr(config, name)) for name, words in sizes.items()],
        columns=["what", "value"],
    ),
    ru={"what": "параметр", "value": "значение"},
    en={"what": "parameter", "value": "value"},
)

# %% [markdown] tags=["ru"]
# ## Запуск
#
# На каждый класс — один запуск. Законченный запуск читается из `data/`, прерванный продолжается,
# недостающий выполняется.

# %% [markdown] tags=["en"]
# ## The run
#
# One run for each class. A finished run is read from `data/`, an interrupted one is resumed, a missing
# one is trained.

# %%
for name in FUNCTION_CLASSES:
    report.tell_run(training.run(configs[name], out))

# %% [markdown] tags=["ru"]
# ## Все записанные запуски

# %% [markdown] tags=["en"]
# ## All recorded runs

# %%
runs = {name: records.recorded_runs(out, configs[name]) for name in FUNCTION_CLASSES}
of_all = [run for recorded in runs.values() for run in recorded]
report.tell_recorded(of_all, records.planned_runs(out, config.ablation))
errors = pd.concat(
    [records.tidy(runs[name], "errors").assign(of=name) for name in FUNCTION_CLASSES]
)

# %% [markdown] tags=["ru"]
# К эталонным решателям первого ноутбука мы добавили по одному для каждого нового класса: лассо для
# разреженных функций, градиентный спуск по весам такой же сети для сетей, жадное дерево для деревьев.
# Новые решатели медленные, поэтому считаем их ошибку по меньшему числу промптов и лишь для некоторых длин.

# %% [markdown] tags=["en"]
# To the reference solvers of the first notebook we add one for each new class: lasso for sparse functions,
# gradient descent on the weights of a network of the same kind for networks, a greedy tree for trees. The
# new solvers are slow, so their error is computed on fewer prompts and at some lengths only.

# %%
solvers = {}
for name, own in configs.items():
    prompts = sampler.evaluation_prompts(own)
    usual = evaluation.reference_errors(prompts, range(n + 1))
    fitting = evaluation.FITTING_SOLVERS.get(name, {})
    some = sorted({0, min(own.d, n), n // 2, n})
    solvers[name] = pd.concat(
        [usual, evaluation.reference_errors(prompts.first(128), some, fitting)]
    )


# %%
def draw_classes(t):
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), sharex=True, sharey=True)
    finite = [1, *errors.error[errors.error < float("inf")]]  # 1 if every variant has diverged
    limits = (min(finite) / 3, max(4, 1.3 * max(finite)))
    for ax, name in zip(axes.flat, FUNCTION_CLASSES):
        drawing.draw_lines(ax, errors[errors.of == name], "k", "error", variants)
        own = solvers[name]
        drawing.draw_solvers(ax, own[own.error > limits[0]], t)
        ax.set(title=name, yscale="log", ylim=limits)
    for ax in axes[1]:
        ax.set_xlabel(t("число in-context примеров k", "in-context examples k"))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[:, 0]:
        ax.set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    handles = {}
    for ax in axes.flat:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1]))
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure


# %%
report.figure(
    "function_classes",
    draw_classes,
    ru={
        "alt": "Ошибка шести вариантов в целевой задаче в зависимости от числа примеров, четыре класса функций",
        "caption": "Ошибка в целевой задаче в зависимости от числа in-context примеров k для четырёх классов "
        "функций, "
        "среднее геометрическое по запускам; полоса — от наименьшего значения до наибольшего. Штриховые "
        "цветные линии — "
        "варианты без маски, тонкие серые — эталонные решатели; линия, уходящая за край, обрывается.",
    },
    en={
        "alt": "Target error of six variants against the number of examples, four function classes",
        "caption": "Target error against the number of in-context examples k for four function classes, "
        "geometric mean over runs; the band spans the smallest to the largest value. Dashed coloured lines are "
        "variants without a mask, thin grey ones reference solvers; a line that leaves the panel is cut off.",
    },
)

# %%
full = errors[errors.k == n]
wide = full.groupby(["b", "variant", "of"]).error.agg(typical).unstack()
wide = wide[list(FUNCTION_CLASSES)].reset_index().sort_values(["b", "linear"])
columns = {name: name for name in ("b", "variant", *FUNCTION_CLASSES)}
report.table(wide, ru=columns | {"variant": "вариант"}, en=columns)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# $E(v)$ — ошибка в целевой задаче у варианта $v$ при полном промпте. Усреднение и интервалы — как в
# [первом ноутбуке](1_position_and_mask.ipynb#Verdicts); пороги здесь тоже наши. $\rho$ — ранговая
# корреляция Спирмена между ошибками шести вариантов в этом классе и на линейных функциях, в запусках с
# одними и теми же $b$ и зерном: 1, если порядок тот же, −1, если обратный.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | A | отношение $E$ у LPE + CM к $E$ у CM | меньше 1 |
# | B | отношение $E$ у LPE + CM к $E$ у SPE + CM | меньше 1 |
# | C | отношение $E$ у LPE + CM к $E$ у LPE | меньше 0,5 |
# | D | корреляция $\rho$, для каждого нового класса | больше 0,7 |

# %% [markdown] tags=["en"]
# ## Verdicts
#
# $E(v)$ is the target error of variant $v$ with the full prompt. The averaging and the intervals are
# those of the [first notebook](1_position_and_mask.ipynb#Verdicts); the thresholds are ours here too.
# $\rho$ is Spearman’s rank correlation between the errors of the six variants in this class and on
# linear functions, in runs with the same $b$ and seed: 1 if the order is the same, −1 if it is reversed.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | A | $E$ of LPE + CM divided by $E$ of CM | below 1 |
# | B | $E$ of LPE + CM divided by $E$ of SPE + CM | below 1 |
# | C | $E$ of LPE + CM divided by $E$ of LPE | below 0.5 |
# | D | the correlation $\rho$, for each new class | above 0.7 |


# %%
def fall(numerator, denominator, name):
    own = full[full.of == name]
    return per_run(own, numerator, "error") / per_run(own, denominator, "error")


def same_order(name):
    """Spearman's correlation with the linear class, by (b, seed)."""
    ranks = full.pivot(index=["b", "seed", "variant"], columns="of", values="error")
    ranks = ranks.groupby(["b", "seed"]).rank()
    return ranks.groupby(["b", "seed"]).apply(lambda own: own["linear"].corr(own[name]))


# %%
claims = []
for name in FUNCTION_CLASSES:
    for point, other, threshold in (("A", "CM", 1), ("B", "SPE + CM", 1), ("C", "LPE", 0.5)):
        quantity = f"{name}: E(LPE + CM) / E({other})"
        claims.append(claim(point, quantity, fall("LPE + CM", other, name), below=threshold))
    if name != "linear":
        claims.append(claim("D", f"{name}: ρ", same_order(name), geometric=False, above=0.7))
results = pd.DataFrame(claims).sort_values("point", kind="stable")

# %%
statements = {
    "A": (
        "В каждом классе LPE + CM лучше, чем одна маска",
        "In every class LPE + CM beats the mask alone",
    ),
    "B": (
        "В каждом классе LPE + CM лучше, чем SPE + CM",
        "In every class LPE + CM beats SPE + CM",
    ),
    "C": (
        "В каждом классе маска уменьшает ошибку LPE хотя бы вдвое",
        "In every class the mask at least halves LPE’s error",
    ),
    "D": (
        "В каждом классе порядок вариантов почти тот же, что у линейных функций",
        "In every class the order of the variants is nearly that for linear functions",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("classes_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Эксперимент уменьшен.** Вариант, который за эти шаги ничему не научился, мог бы научиться позже; в
#   полном размере мы на этих классах эксперимент не проводили.
# - **Классы трудны по-разному.** Например, дерево по столь немногим примерам в точности не восстановить.
#   Поэтому сравнивать имеет смысл не ошибки в разных классах, а порядок вариантов.
# - **За рангом не видно расстояния.** Где варианты почти не различаются, их порядок — в основном шум; а
#   уже само деление на варианты с маской и без неё даёт $\rho$, равное в среднем 0,77, больше нашего порога.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **The experiment is small.** A variant that learned nothing in these steps might have learned later; we
#   did not try these classes at full size.
# - **Classes differ in difficulty.** A tree, for one, cannot be recovered exactly from so few examples. So
#   what makes sense to compare is not the errors in different classes but the order of the variants.
# - **A rank hides the distance.** Where the variants hardly differ, their order is mostly noise; and the
#   split into masked and unmasked ones alone gives a $\rho$ of 0.77 on average, above our threshold.
