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
# Шесть вариантов первого ноутбука обучались на промптах одной длины, с одним и тем же числом итераций
# цикла и с координатами из одного распределения. Что будет с ними в других условиях? Здесь мы их не
# доучиваем: берём записанные веса и меняем что-нибудь одно.

# %% [markdown] tags=["en"]
# ## The question
#
# The six variants of the first notebook were trained on prompts of one length, with one number of loop
# iterations and with coordinates from one distribution. What becomes of them in other conditions? They
# are not trained any further here: we take the recorded weights and change one thing at a time.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Гипотеза автора записана до наших запусков. Наши мы сформулировали, увидев один запуск ($b = 1$,
# зерно 0), поэтому в вердиктах по ним он не участвует.
#
# - **9** (автор): на другой длине результат может ухудшиться, и больше всего у LPE.
# - **A** (наша): если сделать вдвое больше итераций цикла, чем при обучении, ошибка вырастет.
# - **B** (наша): если координаты $x$ втрое больше обычных, отношение ошибки к ошибке предсказания
#   «всегда ноль» вырастет, хотя задача не стала труднее.
#
# Для сравнения: [Kazemnejad et al. 2023](https://arxiv.org/abs/2305.19466) обнаружили, что на других
# задачах модели без позиционного кодирования переносятся на большую длину лучше остальных, а
# [Yang et al. 2024](https://arxiv.org/abs/2311.12424) — что модели, обученные с большим числом итераций цикла,
# сходятся и при ещё большем.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# The author’s was written before any run of ours. We stated ours after seeing one run ($b = 1$, seed 0), so it
# has no part in the verdicts on them.
#
# - **9** (the author’s): another length may hurt, LPE most of all.
# - **A** (ours): with twice as many loop iterations as in training the error will grow.
# - **B** (ours): with coordinates $x$ three times as large as usual the error relative to the prediction
#   “always zero” will grow, though the task is no harder.
#
# For comparison: [Kazemnejad et al. 2023](https://arxiv.org/abs/2305.19466) found that, on other tasks,
# models without a positional encoding carry over to greater lengths better than the rest, and
# [Yang et al. 2024](https://arxiv.org/abs/2311.12424) that looped models trained with many iterations
# converge with even more of them too.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Parameters): они определяют, какие записанные
# веса мы берём. Если в первом ноутбуке запуска с такими $b$ и зерном ещё не было, он будет выполнен.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The same as in the [first notebook](1_position_and_mask.ipynb#Parameters): they determine which
# recorded weights we take. If the first notebook has no run with this $b$ and seed yet, one will be
# trained.

# %%
import logging

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from icl_report import drawing, evaluation, generalisation, records, report, training
from icl_report.config import FULL_SIZE, VARIANTS, Config, notebook_parameters
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
given = notebook_parameters(globals())
config = Config(**given)
n, six = config.n_examples, list(config.variants)

# %% [markdown] tags=["ru"]
# ## Что и как меняется
#
# - **Длина**: от 0 до $4n + 3$ примеров. Таблица LPE кончается на той длине, при которой модель
#   обучалась, и дальше такая модель ничего не предсказывает: её линия обрывается. Два способа продолжить
#   таблицу показаны отдельно: **zeros** — дальше идут нулевые строки, **interpolated** — таблица линейно
#   растянута на всю новую длину.
# - **Итерации цикла**: от 1 до 20 (или до $2b$, если это больше) при полном промпте.
# - **Распределение**: $x$ или $w$ в три раза меньше и в три раза больше; $x$ с зависимыми координатами,
#   то есть со случайной, своей в каждом промпте ковариацией, собственные числа которой убывают как
#   $1 / i^2$; гауссовский шум со стандартным отклонением 0,1 и 0,5 в ответах $y_i$ (верный ответ на
#   запрос — без шума). Похожие проверки есть у [Garg et al. 2022](https://arxiv.org/abs/2208.01066).
#
# Квадрат ошибки делим на $d$ и на квадрат множителя при $x$ или $w$, поэтому у предсказания «всегда ноль»
# ошибка везде в среднем равна 1. Считаем её не более чем по 256 промптам; запрос в каждом один и тот
# же при любой длине, а все распределения получены из одних и тех же случайных чисел.

# %% [markdown] tags=["en"]
# ## What is changed and how
#
# - **Length**: from 0 to $4n + 3$ examples. LPE’s table ends at the trained length, and beyond it such a
#   model predicts nothing: its line ends. Two ways to continue the table are shown separately:
#   **zeros**, where rows of zeros follow, and **interpolated**, where the table is stretched linearly
#   over the whole new length.
# - **Loop iterations**: from 1 to 20 (or to $2b$ if that is more) with the full prompt.
# - **Distribution**: $x$ or $w$ three times smaller and three times larger; $x$ with dependent
#   coordinates, that is, with a random covariance, one for each prompt, whose eigenvalues fall as
#   $1 / i^2$; Gaussian noise with a standard deviation of 0.1 and 0.5 in the answers $y_i$ (the true
#   answer to the query is free of noise). There are similar tests in
#   [Garg et al. 2022](https://arxiv.org/abs/2208.01066).
#
# Squared errors are divided by $d$ and by the square of the factor at $x$ or $w$, so the prediction
# “always zero” scores 1 on average everywhere. There are at most 256 prompts; the query of each is the
# same at every length, and all distributions are made from the same random numbers.

# %% [markdown] tags=["ru"]
# ## Измерение
#
# Измерения делаются один раз и записываются рядом с запуском, в `elsewhere.csv`.

# %% [markdown] tags=["en"]
# ## The measurement
#
# The measurements are made once and recorded beside the run, in `elsewhere.csv`.

# %%
run = training.run(config, out)
runs = {name: records.recorded_runs(out, Config(ablation=name, **given)) for name in FULL_SIZE}
measured = generalisation.measured_in([run for recorded in runs.values() for run in recorded])
report.say(
    ru="Измерено запусков первого ноутбука: {first}; остальных ноутбуков: {others}.",
    en="Measured runs of the first notebook: {first}; of the other notebooks: {others}.",
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
        drawing.draw_lines(ax, frame[frame.b == own_b], "loops", "error", six)
        ax.axvline(own_b, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=f"b = {own_b}", yscale="log", xlabel=t("итераций цикла", "loop iterations"))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[0]:  # now that all have their common scale
        drawing.name_lines(ax)
    axes[0, 0].set_ylabel(t("ошибка в целевой задаче", "target error"))
    return figure


# %%
report.figure(
    "elsewhere_close_up",
    lambda t: draw_loops(by_loops[(by_loops.b == config.b) & (by_loops.seed == config.seed)], t),
    ru={
        "alt": "Ошибка шести вариантов в зависимости от числа итераций цикла, один запуск",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: ошибка в целевой задаче при полном "
        "промпте в зависимости от числа итераций цикла при оценке. Штриховые линии — варианты без маски, вертикальный "
        "пунктир — число итераций при обучении.",
    },
    en={
        "alt": "Target error of six variants against the number of loop iterations, one run",
        "caption": f"One run, b = {config.b}, seed {config.seed}: target error with the full prompt against "
        "the number of loop iterations at evaluation. Dashed lines are variants without a mask, the "
        "dotted vertical is the number of iterations in training.",
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
main_b = int(by_length.drop_duplicates(["b", "seed"]).b.mode().min())  # with the most recorded
of_main = by_length[by_length.b == main_b]
LINES = {"": "-", "zeros": ":", "interpolated": "-."}


def draw_lengths(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
    for name in six:
        ax = axes[0] if name.endswith("CM") else axes[1]
        for extension, own in of_main[of_main.variant == name].groupby("extension"):
            mean = own.groupby("k").error.agg(typical)
            look = drawing.style(name) | {"linestyle": LINES[extension]}
            ax.plot(mean.index, mean, label=f"{name} {extension}", markersize=4, **look)
    for ax, title in zip(axes, (t("с маской", "with the mask"), t("без маски", "without a mask"))):
        ax.axvline(n, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=title, xlabel=t("число in-context примеров k", "in-context examples k"))
        ax.legend(fontsize="small")
        ax.set_yscale("log")
    axes[0].set_ylabel(t("ошибка в целевой задаче", "target error"))
    return figure


# %%
n_runs = sum(run.config.b == main_b for run in runs[config.ablation])
report.figure(
    "elsewhere_lengths",
    draw_lengths,
    ru={
        "alt": "Ошибка в целевой задаче в зависимости от числа примеров, примерно до вчетверо большего, чем "
        "при обучении",
        "caption": "Ошибка в целевой задаче в зависимости от числа in-context примеров при оценке, среднее "
        "геометрическое по запускам "
        f"с b = {main_b} (запусков: {n_runs}). Вертикальный пунктир — число примеров при обучении. Линия LPE на нём "
        "обрывается; дальше линия из точек — таблица, продолженная нулями (zeros), штрихпунктирная — "
        "растянутая (interpolated).",
    },
    en={
        "alt": "Target error against the number of examples, up to about four times the trained length",
        "caption": "Target error against the number of in-context examples at evaluation, geometric mean "
        "over runs "
        f"with b = {main_b} (runs: {n_runs}). The dotted vertical is the number of examples in training. LPE’s line ends at "
        "it; beyond, the dotted line is the table continued by zeros (zeros), the dash-dotted one the "
        "table stretched (interpolated).",
    },
)

# %%
n_prompts = min(generalisation.N_PROMPTS, config.evaluation_prompts)
shown = generalisation.drawn("as trained", n_prompts, 4 * n + 3, config.d).prompts(n)
report.say(
    ru="Те же числа для всех вариантов, обученных с функцией потерь по всем токенам, в том числе из других "
    "ноутбуков: ошибка в целевой задаче при той же длине, что при обучении, при вдвое и примерно вчетверо большей. "
    "Промпты здесь другие, чем в первом ноутбуке, и их меньше ({prompts}), поэтому и числа в столбце $n$ другие; у "
    "предсказания «всегда ноль» на этих промптах ошибка {zero}.",
    en="The same numbers for all variants trained on all tokens, those of the other notebooks included: the "
    "target error at the trained length, at twice and at about four times that. The prompts are others than in "
    "the first notebook, and fewer ({prompts}), so the numbers in the column $n$ differ from there; on these prompts "
    "the prediction “always zero” has an error of {zero}.",
    prompts=n_prompts,
    zero=evaluation.zero_error(shown),
)

# %%
alike = [name for name, variant in VARIANTS.items() if variant.loss == "all"]
lengths = {n: "n", 2 * n: "2n", 4 * n + 3: "4n + 3"}
rows = by_length[by_length.k.isin(lengths) & by_length.variant.isin(alike)]
wide = rows.groupby(["b", "variant", "extension", "k"]).error.agg(typical).unstack()
wide["runs"] = rows.groupby(["b", "variant", "extension"]).seed.nunique()
wide = wide.rename(columns=lengths).reset_index()
columns = {name: name for name in ("b", "runs", "variant", "extension", *lengths.values())}
report.table(
    wide.sort_values(["b", "n", "2n"]),
    ru=columns | {"runs": "запуски", "variant": "вариант", "extension": "продолжение таблицы"},
    en=columns | {"extension": "table continued by"},
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
        "alt": "Ошибка шести вариантов в зависимости от числа итераций цикла, для каждого b",
        "caption": "Ошибка в целевой задаче при полном промпте в зависимости от числа итераций цикла при оценке, среднее "
        "геометрическое по запускам с одним и тем же b; полоса — от наименьшего значения до наибольшего. "
        "Штриховые линии — "
        "варианты без маски, вертикальный пунктир — число итераций при обучении.",
    },
    en={
        "alt": "Target error of six variants against the number of loop iterations, for each b",
        "caption": "Target error with the full prompt against the number of loop iterations at evaluation, "
        "geometric mean over the runs of one b; the band spans the smallest to the largest value. Dashed "
        "lines are "
        "variants without a mask, the dotted vertical is the number of iterations in training.",
    },
)

# %% [markdown] tags=["ru"]
# ### Распределение промптов
#
# Ошибка в целевой задаче при полном промпте, среднее геометрическое по запускам с одним и тем же $b$.
# Столбец «как при обучении» — те же промпты без изменений.

# %% [markdown] tags=["en"]
# ### The distribution of prompts
#
# The target error with the full prompt, geometric mean over the runs of one $b$. The column “as trained”
# has the same prompts unchanged.

# %%
own_loops = measured[(measured.k == n) & (measured.loops == measured.b)]
own_loops = own_loops[own_loops.extension == ""]
shifted = own_loops.groupby(["b", "variant", "prompts"]).error.agg(typical).unstack()
shifted = shifted[list(generalisation.SCALES)].reset_index()
russian = [
    "как при обучении",
    "x / 3",
    "3 x",
    "зависимые x",
    "w / 3",
    "3 w",
    "шум 0,1",
    "шум 0,5",
]
names = {"b": "b", "variant": "variant"} | {name: name for name in generalisation.SCALES}
report.table(
    shifted[shifted.variant.isin(six)],
    ru={"b": "b", "variant": "вариант"} | dict(zip(generalisation.SCALES, russian, strict=True)),
    en=names | {"skewed x": "dependent x"},
)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# $E(n)$ и $E(2n)$ — ошибка в целевой задаче при $n$ и $2n$ примерах, $E(b)$ и $E(2b)$ — после $b$ и $2b$
# итераций цикла, $E(3x)$ — на промптах с $x$ втрое больше, $E$ — без изменений. Усреднение и интервалы
# — как в [первом ноутбуке](1_position_and_mask.ipynb#Verdicts); пороги наши.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 9 | рост $E(2n) / E(n)$ у вариантов с маской; у LPE — с каждым из двух продолжений таблицы | больше 1 |
# | 9 | прибавка $\Delta E = E(2n) - E(n)$ у LPE + CM с каждым из продолжений минус $\Delta E$ у CM и у SPE + CM | больше 0 |
# | A | отношение $E(2b) / E(b)$ у вариантов с маской | больше 1 |
# | B | отношение $E(3x) / E$ у вариантов с маской | больше 1 |
#
# Автор говорит, что результат может ухудшиться; мы проверяем, ухудшается ли он. После первых трёх запусков
# сравнение вариантов в пункте 9 изменено: вместо отношения ростов взята разность прибавок и добавлено второе
# продолжение таблицы.
#
# Запуск, по которому сформулированы A и B, в их строках не учтён. Если из-за этого у $b = 1$ не
# хватает зерна, которое есть у другого $b$, вердикт по A и B выносится без $b = 1$: см. столбец b.

# %% [markdown] tags=["en"]
# ## Verdicts
#
# $E(n)$ and $E(2n)$ are the target error with $n$ and $2n$ examples, $E(b)$ and $E(2b)$ after $b$ and
# $2b$ loop iterations, $E(3x)$ on prompts with $x$ three times as large, $E$ without any change. The
# averaging and the intervals are those of the [first notebook](1_position_and_mask.ipynb#Verdicts); the
# thresholds are ours.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 9 | the growth $E(2n) / E(n)$ of the variants with the mask; LPE’s with each of the two continuations of its table | above 1 |
# | 9 | the increase $\Delta E = E(2n) - E(n)$ of LPE + CM with each of the continuations minus $\Delta E$ of CM and of SPE + CM | above 0 |
# | A | the ratio $E(2b) / E(b)$ of the variants with the mask | above 1 |
# | B | the ratio $E(3x) / E$ of the variants with the mask | above 1 |
#
# The author says that it may hurt; we test whether it does. After the first three runs the comparison of
# variants in point 9 was changed: from a ratio of growths to a difference of increases, with the second
# continuation of the table added.
#
# The run that we had seen when we stated A and B does not count in their rows. If $b = 1$ then lacks a seed
# that another $b$ has, the verdict on A and B is given without $b = 1$: see the column b.


# %%
def at_length(variant, k, extension=""):
    rows = by_length[(by_length.k == k) & (by_length.extension == extension)]
    return per_run(rows, variant, "error")


def growth(variant, extension=""):
    return at_length(variant, 2 * n, extension) / at_length(variant, n)


def increase(variant, extension=""):
    return at_length(variant, 2 * n, extension) - at_length(variant, n)


def shift(variant, prompts):
    changed = own_loops[own_loops.prompts == prompts]
    same = own_loops[own_loops.prompts == "as trained"]
    return per_run(changed, variant, "error") / per_run(same, variant, "error")


def more_loops(variant):
    twice = by_loops[by_loops.loops == 2 * by_loops.b]
    trained = by_loops[by_loops.loops == by_loops.b]
    return per_run(twice, variant, "error") / per_run(trained, variant, "error")


# %%
full_grid = config.comparable() == Config().comparable()


def unseen(values):
    """Without the run that A and B were stated after."""
    return values.drop((1, 0), errors="ignore") if full_grid else values


masked, ways = ("LPE + CM", "SPE + CM", "CM"), ("zeros", "interpolated")
claims = [
    claim("9", "CM: E(2n) / E(n)", growth("CM"), above=1),
    claim("9", "SPE + CM: E(2n) / E(n)", growth("SPE + CM"), above=1),
]
for way in ways:
    name = f"LPE + CM, {way}"
    claims.append(claim("9", f"{name}: E(2n) / E(n)", growth("LPE + CM", way), above=1))
    for other in ("CM", "SPE + CM"):
        more = increase("LPE + CM", way) - increase(other)
        claims.append(claim("9", f"ΔE({name}) − ΔE({other})", more, geometric=False, above=0))
for v in masked:
    claims.append(claim("A", f"{v}: E(2b) / E(b)", unseen(more_loops(v)), above=1))
    claims.append(claim("B", f"{v}: E(3x) / E", unseen(shift(v, "3 x")), above=1))
results = pd.DataFrame(claims).sort_values("point", kind="stable")

# %%
statements = {
    "9": (
        "При вдвое большей длине ошибка растёт, и больше всего у LPE",
        "At twice the length the error grows, LPE’s most of all",
    ),
    "A": (
        "При вдвое большем числе итераций цикла ошибка растёт",
        "With twice as many loop iterations the error grows",
    ),
    "B": (
        "При втрое больших $x$ отношение ошибки к ошибке предсказания «всегда ноль» растёт",
        "With $x$ three times as large the error relative to the prediction “always zero” grows",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("elsewhere_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Рост — это отношение.** У варианта, который плох уже при той же длине, что при обучении, рост может
#   быть мал только поэтому, а у самого точного он велик и при малой прибавке. Поэтому между собой
#   варианты мы сравниваем по прибавке.
# - **При $b = 1$ цикла в обучении не было.** Вторая итерация подаёт модели её собственный выход, которого
#   она никогда не видела; зацикливание проверяют только запуски с $b > 1$. Пока в столбце b у A стоит 1,
#   этот вердикт — об обычном трансформере; отношения при других $b$ показаны на рисунке под вердиктами.
# - **Есть и другие способы продолжить таблицу.** Дообучить её на более длинных промптах мы не пробовали.
# - **Промпты у всех запусков одни и те же.** Доверительный интервал по зёрнам не говорит о том, что
#   получилось бы на других промптах.
# - **Каждый раз менялось что-то одно.** Сочетания не проверялись.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Growth is a ratio.** In a variant that is bad at the trained length already it may be small for
#   that reason alone, while in the most precise one it is large even for a small increase. That is why
#   variants are compared with each other by their increase.
# - **With $b = 1$ nothing was looped in training.** A second iteration then feeds the model its own output,
#   which it has never seen; only runs with $b > 1$ test looping. While the column b of A says 1, its verdict
#   is about the ordinary transformer; the figure below the verdicts has the ratios at other $b$.
# - **There are other ways to continue the table.** We did not try fine-tuning it on longer prompts.
# - **The prompts are the same for all runs.** The confidence interval over seeds does not tell what
#   other prompts would have given.
# - **One change at a time.** Combinations were not tested.
