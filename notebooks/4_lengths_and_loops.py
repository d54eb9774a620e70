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
# # Другая длина, другое число итераций, другие промпты

# %% [markdown] tags=["en"]
# # Other lengths, other numbers of iterations, other prompts

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Все модели обучались на промптах одной длины, с одним и тем же числом итераций цикла и с координатами
# из одного распределения. Что с ними будет в других условиях? Здесь ничего не обучается: мы берём
# записанные веса и меняем что-нибудь одно.

# %% [markdown] tags=["en"]
# ## The question
#
# All models were trained on prompts of one length, with one number of loop iterations and with
# coordinates from one distribution. What becomes of them elsewhere? Nothing is trained here: we take
# the recorded weights and change one thing at a time.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Гипотеза автора записана до всех запусков. Наши мы сформулировали, увидев один запуск ($b = 1$,
# зерно 0) на 64 промптах, так что для него они не предсказания.
#
# - **9** (автор): на другой длине результат может ухудшиться, и больше всего у LPE.
# - **A** (наша): если на оценке итераций цикла вдвое больше, чем при обучении, ошибка вырастет.
# - **B** (наша): если координаты $x$ втрое больше обычных, ошибка относительно предсказания «всегда
#   ноль» вырастет, хотя задача не стала труднее.
#
# Для сравнения: [Kazemnejad et al. 2023](https://arxiv.org/abs/2305.19466) нашли, что модели без
# позиционного кодирования переносятся на большую длину лучше других, а
# [Yang et al. 2024](https://arxiv.org/abs/2311.12424) — что зацикленные модели, обученные на многих
# итерациях, сходятся и при большем их числе.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# The author’s was written before any run. We stated ours after seeing one run ($b = 1$, seed 0) on 64
# prompts, so for that run they are no predictions.
#
# - **9** (the author’s): another length may hurt, LPE most of all.
# - **A** (ours): with twice as many loop iterations at evaluation as in training the error will grow.
# - **B** (ours): with coordinates $x$ three times as large the error relative to the prediction “always
#   zero” will grow, though the task is no harder.
#
# For comparison: [Kazemnejad et al. 2023](https://arxiv.org/abs/2305.19466) found that models
# without a positional encoding carry over to longer inputs better than others, and
# [Yang et al. 2024](https://arxiv.org/abs/2311.12424) that looped models trained with many iterations
# converge with more of them too.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Те же, что в первом ноутбуке: они определяют, чьи записанные веса мы берём. Если запуска первого
# ноутбука с такими $b$ и зерном ещё нет, он будет обучен.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The same as in the first notebook: they say whose recorded weights are taken. If there is no run of the
# first notebook with this $b$ and seed yet, it will be trained.

# %%
import logging

import matplotlib.pyplot as plt
import pandas as pd

from icl_core import generalisation, records, report, training
from icl_core.config import ABLATIONS, Config, notebook_parameters
from icl_core.verdicts import claim, per_run

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
config = Config(**given)
n, six = config.n_examples, list(config.variants)

# %% [markdown] tags=["ru"]
# ## Что и как меняется
#
# - **Длина**: от 0 до примерно $4n$ примеров. Таблица LPE кончается на обученной длине, и дальше такая модель
#   ничего не предсказывает: её линия обрывается. Два способа продолжить таблицу показаны отдельно:
#   **zeros** — дальше идут нулевые строки, **interpolated** — таблица линейно растянута на всю новую длину.
# - **Итерации цикла**: от 1 до 20 при полном промпте.
# - **Распределение**: $x$ или $w$ в три раза меньше и больше; $x$ со случайной ковариацией, собственные
#   числа которой убывают как $1 / i^2$; шум с отклонением 0,1 и 0,5 в ответах $y_i$ (запрос спрашивает
#   об ответе без шума). Так же проверяют свои модели [Garg et al. 2022](https://arxiv.org/abs/2208.01066).
#
# Квадрат ошибки делим на $d$ и на масштаб ответов этого распределения, так что предсказание «всегда
# ноль» везде получает в среднем 1. Промптов 256, все из одних и тех же случайных чисел.

# %% [markdown] tags=["en"]
# ## What is changed and how
#
# - **Length**: from 0 to about $4n$ examples. LPE’s table ends at the trained length, and beyond it such a
#   model predicts nothing: its line ends. Two ways to go on with the table are shown on their own:
#   **zeros**, rows of zeros beyond, and **interpolated**, the table stretched linearly over the new length.
# - **Loop iterations**: from 1 to 20 with the full prompt.
# - **Distribution**: $x$ or $w$ three times smaller and larger; $x$ with a random covariance whose
#   eigenvalues fall as $1 / i^2$; noise of deviation 0.1 and 0.5 in the answers $y_i$ (the query asks for
#   the answer without noise). [Garg et al. 2022](https://arxiv.org/abs/2208.01066) test their models so too.
#
# Squared errors are divided by $d$ and by the scale that the distribution gives to answers, so that the
# prediction “always zero” scores 1 on average everywhere. There are 256 prompts, all from the same
# random numbers.

# %% [markdown] tags=["ru"]
# ## Измерение
#
# Для каждого записанного запуска измерения делаются один раз и тоже записываются в `data/`.

# %% [markdown] tags=["en"]
# ## The measurement
#
# For each recorded run the measurements are made once, and recorded in `data/` as well.

# %%
run = training.run(config, out)
sources = [Config(ablation=ablation, **given) for ablation in ABLATIONS]
runs = {
    ablation: records.recorded_runs(out, source) for ablation, source in zip(ABLATIONS, sources)
}
measured = pd.concat(
    [
        generalisation.measured(out, r).assign(b=r.config.b, seed=r.config.seed)
        for recorded in runs.values()
        for r in recorded
    ]
).drop_duplicates(["b", "seed", *generalisation.COLUMNS[:5]])
report.say(
    ru="Измерено запусков первого ноутбука: {first}; второго и третьего: {others}.",
    en="Measured runs of the first notebook: {first}; of the second and third: {others}.",
    first=len(runs[config.ablation]),
    others=sum(len(recorded) for recorded in runs.values()) - len(runs[config.ablation]),
)

# %% [markdown] tags=["ru"]
# ### Один запуск: число итераций цикла

# %% [markdown] tags=["en"]
# ### One run: the number of loop iterations

# %%
by_loops = measured[(measured.prompts == "as trained") & (measured.k == n)]
by_loops = by_loops[by_loops.extension == ""]


def draw_loops(frame, t):
    shown = sorted(frame.b.unique())
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 4), sharey=True, squeeze=False)
    for ax, own_b in zip(axes[0], shown):
        report.draw_lines(ax, frame[frame.b == own_b], "loops", "error", six)
        ax.axvline(own_b, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=f"b = {own_b}", yscale="log", xlabel=t("итераций цикла", "loop iterations"))
    axes[0, 0].set_ylabel(t("ошибка в целевой задаче / d", "target error / d"))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


# %%
report.figure(
    "elsewhere_close_up",
    lambda t: draw_loops(by_loops[(by_loops.b == config.b) & (by_loops.seed == config.seed)], t),
    ru={
        "alt": "Ошибка шести вариантов одного запуска от числа итераций цикла",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: ошибка в целевой задаче при полном "
        "промпте от числа итераций цикла на оценке. Вертикаль — число итераций при обучении.",
    },
    en={
        "alt": "Target error of six variants of one run against the number of loop iterations",
        "caption": f"One run, b = {config.b}, seed {config.seed}: target error with the full prompt against "
        "the number of loop iterations at evaluation. The vertical is their number in training.",
    },
)

# %% [markdown] tags=["ru"]
# ## Все записанные запуски
#
# ### Длина

# %% [markdown] tags=["en"]
# ## All recorded runs
#
# ### Length

# %%
by_length = measured[(measured.prompts == "as trained") & (measured.loops == measured.b)]
LINES = {"": "-", "zeros": ":", "interpolated": "-."}


def draw_lengths(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
    for name in six:
        ax = axes[0] if name.endswith("CM") else axes[1]
        for extension, own in by_length[by_length.variant == name].groupby("extension"):
            mean = own.groupby("k").error.mean()
            look = report.style(name) | {"linestyle": LINES[extension]}
            ax.plot(mean.index, mean, label=f"{name} {extension}", markersize=4, **look)
    for ax, title in zip(axes, (t("с маской", "with the mask"), t("без маски", "without a mask"))):
        ax.axvline(n, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=title, xlabel=t("число in-context примеров k", "in-context examples k"))
        ax.legend(fontsize="small")
        ax.set_yscale("log")
    axes[0].set_ylabel(t("ошибка в целевой задаче / d", "target error / d"))
    return figure


# %%
n_runs = len(runs[config.ablation])
report.figure(
    "elsewhere_lengths",
    draw_lengths,
    ru={
        "alt": "Ошибка в целевой задаче от числа примеров, от нуля до четырёх обученных длин",
        "caption": "Ошибка в целевой задаче от числа in-context примеров на оценке, среднее по запускам "
        f"(всего запусков: {n_runs}). Вертикаль — длина промпта при обучении. Линия LPE за ней обрывается; "
        "точечная и штрихпунктирная линии — таблица, продолженная нулями или растянутая.",
    },
    en={
        "alt": "Target error against the number of examples, up to four times the trained length",
        "caption": "Target error against the number of in-context examples at evaluation, mean over runs "
        f"(runs: {n_runs}). The vertical is the prompt length of the training. LPE’s line ends there; the "
        "dotted and dash-dotted lines are its table continued by zeros or stretched.",
    },
)

# %% [markdown] tags=["ru"]
# ### Число итераций цикла

# %% [markdown] tags=["en"]
# ### The number of loop iterations

# %%
report.figure(
    "elsewhere_loops",
    lambda t: draw_loops(by_loops, t),
    ru={
        "alt": "Ошибка шести вариантов от числа итераций цикла, отдельно для каждого b",
        "caption": "Ошибка в целевой задаче при полном промпте от числа итераций цикла на оценке, среднее "
        "по запускам с одним b; полоса — от наименьшего значения до наибольшего. Вертикаль — "
        "число итераций при обучении.",
    },
    en={
        "alt": "Target error of six variants against the number of loop iterations, for each b",
        "caption": "Target error with the full prompt against the number of loop iterations at evaluation, "
        "mean over the runs of one b; the band spans the smallest to the largest value. The vertical is "
        "their number in training.",
    },
)

# %% [markdown] tags=["ru"]
# ### Распределение промптов
#
# Среднее по запускам. Столбец «as trained» — те же промпты без изменений.

# %% [markdown] tags=["en"]
# ### The distribution of prompts
#
# The mean over runs. The column “as trained” has the same prompts unchanged.

# %%
own_loops = measured[(measured.k == n) & (measured.loops == measured.b)]
own_loops = own_loops[own_loops.extension == ""]
shifted = own_loops.pivot_table(index=["b", "variant"], columns="prompts", values="error")
shifted = shifted[list(generalisation.SCALES)].reset_index()
names = {name: name for name in generalisation.SCALES}
report.table(
    shifted[shifted.variant.isin(six)],
    ru={"b": "b", "variant": "вариант", **names},
    en={"b": "b", "variant": "variant", **names},
)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# $E_k$ — ошибка в целевой задаче при $k$ примерах, $E^t$ — после $t$ итераций цикла, $E^{3x}$ — на
# промптах с $x$ втрое больше. Усреднение и интервалы определены в первом ноутбуке, пороги наши.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 9 | рост $E_{2n} / E_n$ у вариантов с маской; у LPE — с продолженной таблицей | больше 1 |
# | 9 | рост у LPE + CM (zeros), делённый на рост у CM и у SPE + CM | больше 1 |
# | A | $E^{2b} / E^b$ у вариантов с маской | больше 1 |
# | B | $E^{3x} / E$ у вариантов с маской | больше 1 |

# %% [markdown] tags=["en"]
# ## Verdicts
#
# $E_k$ is the target error with $k$ examples, $E^t$ after $t$ loop iterations, $E^{3x}$ on prompts with
# $x$ three times as large. Averaging and intervals are defined in the first notebook; thresholds are ours.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 9 | the growth $E_{2n} / E_n$ of the variants with the mask; LPE’s with its table continued | above 1 |
# | 9 | the growth of LPE + CM (zeros) divided by that of CM and of SPE + CM | above 1 |
# | A | $E^{2b} / E^b$ of the variants with the mask | above 1 |
# | B | $E^{3x} / E$ of the variants with the mask | above 1 |


# %%
longer = min(k for k in by_length.k.unique() if k >= 2 * n)


def growth(variant, extension=""):
    at = {k: by_length[by_length.k == k] for k in (n, longer)}
    far = at[longer][at[longer].extension == extension]
    return per_run(far, variant, "error") / per_run(at[n], variant, "error")


def shift(variant, prompts):
    changed = own_loops[own_loops.prompts == prompts]
    same = own_loops[own_loops.prompts == "as trained"]
    return per_run(changed, variant, "error") / per_run(same, variant, "error")


def more_loops(variant):
    twice = by_loops[by_loops.loops == 2 * by_loops.b]
    trained = by_loops[by_loops.loops == by_loops.b]
    return per_run(twice, variant, "error") / per_run(trained, variant, "error")


# %%
masked = ("LPE + CM", "SPE + CM", "CM")
zeros, stretched = growth("LPE + CM", "zeros"), growth("LPE + CM", "interpolated")
claims = [
    claim("9", "CM: E(2n) / E(n)", growth("CM"), above=1),
    claim("9", "SPE + CM: E(2n) / E(n)", growth("SPE + CM"), above=1),
    claim("9", "LPE + CM, zeros: E(2n) / E(n)", zeros, above=1),
    claim("9", "LPE + CM, interpolated: E(2n) / E(n)", stretched, above=1),
    claim("9", "LPE + CM, zeros : CM", zeros / growth("CM"), above=1),
    claim("9", "LPE + CM, zeros : SPE + CM", zeros / growth("SPE + CM"), above=1),
    *(claim("A", f"{v}: E(2b) / E(b)", more_loops(v), above=1) for v in masked),
    *(claim("B", f"{v}: E(3x) / E", shift(v, "3 x"), above=1) for v in masked),
]
results = pd.DataFrame(claims)
report.verdict_table(results)

# %%
report.figure(
    "elsewhere_effects",
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
# - **Рост — это отношение.** Если вариант плох уже при обученной длине, расти его ошибке почти некуда; на саму ошибку надо
#   смотреть по рисункам.
# - **Два способа продолжить таблицу — не единственные.** Дообучение на более длинных промптах здесь не
#   пробовали.
# - **Один масштаб за раз.** Сочетания изменений не проверялись.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Growth is a ratio.** The error of a variant that is bad at the trained length already has hardly room
#   to grow; see the figures for the errors themselves.
# - **The two ways to continue a table are not the only ones.** Fine-tuning on longer prompts was not
#   tried.
# - **One change at a time.** Combinations were not tested.
