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
# # Что меняет цикл

# %% [markdown] tags=["en"]
# # What a loop changes

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Во втором и третьем ноутбуках модель обучается при $b = 1$, то есть без цикла. Цикл применяет одни и те же
# слои $b$ раз, и выводы могут стать другими. Поэтому здесь при $b > 1$ обучаются те варианты, от которых
# зависят два утверждения автора, 10 и 11.
#
# Есть и вопрос, которого при $b = 1$ не задать. Обычно кодирование прибавляется к токенам на каждой итерации
# цикла. В вариантах **(first iteration)** оно прибавляется только на первой: дальше модель должна помнить
# порядок токенов сама.

# %% [markdown] tags=["en"]
# ## The question
#
# The second and the third notebook train at $b = 1$, without a loop. A loop applies the same layers $b$
# times, and the conclusions may change. So here the variants on which two of the author’s claims depend,
# 10 and 11, are trained at $b > 1$.
#
# There is also a question that cannot be asked at $b = 1$. Normally the encoding is added to the tokens in
# every loop iteration. In the variants **(first iteration)** it is added in the first one only: from then
# on the model has to remember the order of the tokens by itself.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков с новыми вариантами. Чем кончились запуски второго и третьего ноутбуков при $b = 1$ и
# запуск первого при $b = 5$ с зерном 0, мы уже знали.
#
# - **10** (автор): утечка происходит из-за функции потерь; если учитывать только запрос, SPE без маски
#   станет решать задачу намного лучше.
# - **11** (автор): с каузальной маской TPE может оказаться лучше всех остальных кодирований.
# - **A** (наша): прибавлять кодирование только на первой итерации хуже, чем на каждой.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs of the new variants. How the runs of the second and third notebooks at $b = 1$ had
# ended, and the first one’s run at $b = 5$ with seed 0, was known by then.
#
# - **10** (the author’s): the leak comes from the loss; when it counts the query alone, SPE without a mask
#   will do much better at the task.
# - **11** (the author’s): with the causal mask TPE may turn out better than every other encoding.
# - **A** (ours): adding the encoding in the first iteration only is worse than adding it in every one.

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

from icl_report import drawing, evaluation, generalisation, records, report, sampler, training
from icl_report.config import VARIANTS, Config, notebook_parameters
from icl_report.verdicts import claim, outcomes, per_run, withhold

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
config = Config(ablation="8_loop", **notebook_parameters(globals()))
once = [name for name in config.variants if name.endswith("(first iteration)")]
cut = [name for name in config.variants if name.endswith("random k)")]
usual = [name for name in config.variants if name not in once + cut]

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Задача, модель, промпты, начальные веса и оценка те же, что в [первом
# ноутбуке](1_position_and_mask.ipynb#Design). CM, SPE + CM и LPE + CM не обучаются заново, если он уже
# записал запуск с теми же $b$ и зерном. TPE описано во [втором](2_two_token_encoding.ipynb#The-question).
#
# Обучение с пометками (random k) и (all, random k) описано в [третьем
# ноутбуке](3_label_leakage.ipynb#Design): все промпты одного шага обрезаны до случайного числа примеров, а
# функция потерь учитывает только запрос или все токены $x$. У SPE взяты оба способа, они отличаются только
# функцией потерь. LPE + CM (random k) — контроль: списывать ему неоткуда.
#
# При $b = 1$ вариант (first iteration) ничем не отличается от обычного.

# %% [markdown] tags=["en"]
# ## Design
#
# Task, model, prompts, initial weights and evaluation are those of the [first
# notebook](1_position_and_mask.ipynb#Design). CM, SPE + CM and LPE + CM are not trained again if it has
# already recorded a run with the same $b$ and seed. TPE is described in the
# [second](2_two_token_encoding.ipynb#The-question).
#
# Training marked (random k) and (all, random k) is described in the [third
# notebook](3_label_leakage.ipynb#Design): all prompts of one step are cut to a random number of examples,
# and the loss counts the query alone or all $x$-tokens. SPE is trained both ways, which differ in the loss
# alone. LPE + CM (random k) is the control: it has nothing to copy.
#
# At $b = 1$ a variant (first iteration) is no different from the usual one.

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


def draw_curves(t):
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.5), sharey=True)
    titles = (
        t("кодирование на каждой итерации", "encoding in every iteration"),
        t("только на первой", "in the first one only"),
        t("обрезанные промпты", "cut prompts"),
    )
    for ax, names, title in zip(axes, (usual, once, cut), titles):
        drawing.draw_lines(ax, run_curves, "step", "target_error", names)
        ax.axhline(zero_on_curve, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=title, yscale="log", xlabel=t("шаг", "step"))
    axes[0].set_ylabel(t("ошибка в целевой задаче", "target error"))
    for ax in axes:  # now that all have their common scale
        drawing.name_lines(ax)
    return figure


# %%
report.figure(
    "loop_close_up",
    draw_curves,
    ru={
        "alt": "Ошибка в целевой задаче по шагам у всех вариантов одного запуска",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: ошибка в целевой задаче при полном "
        "промпте. Слева кодирование прибавляется на каждой итерации, посередине — только на первой; справа "
        "варианты обучены на промптах, обрезанных до случайного k. Штриховые линии — варианты без маски, "
        "горизонтальный пунктир — предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error by step of all variants of one run",
        "caption": f"One run, b = {config.b}, seed {config.seed}: target error with the full prompt. On the left "
        "the encoding is added in every iteration, in the middle in the first one only; on the right the variants "
        "were trained on prompts cut to a random k. Dashed lines are variants without a mask, the dotted "
        "horizontal is the prediction “always zero”.",
    },
)

# %% [markdown] tags=["ru"]
# ### Утечка по итерациям цикла
#
# Модель с циклом могла бы смотреть на ответ $y_i$ один раз и помнить его дальше. На рисунке — вес внимания от
# $x_i$ к своему $y_i$, как в [третьем ноутбуке](3_label_leakage.ipynb#The-leak-close-up:-attention), но на
# каждой итерации отдельно, у двух вариантов без маски.

# %% [markdown] tags=["en"]
# ### The leak by loop iteration
#
# A looped model could look at the answer $y_i$ once and remember it from then on. The figure has the attention
# weight from $x_i$ to its own $y_i$, as in the [third
# notebook](3_label_leakage.ipynb#The-leak-close-up:-attention), but for each iteration apart, in the two
# variants without a mask.

# %%
unmasked = [name for name in cut if VARIANTS[name].mask == "none"]
leak = run.leak[run.leak.step % (2 * config.log_every) == 0]  # every other point will do


def draw_leaks(t):
    size, shape = (2.5 * config.b + 1, 2.5 * len(unmasked)), (len(unmasked), config.b)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, name in zip(axes, unmasked):
        row[0].set_ylabel(f"{name}\n{t('вес внимания', 'attention weight')}")
        for loop, ax in enumerate(row, 1):
            own = leak[(leak.variant == name) & (leak.loop == loop)]
            drawing.draw_leak(ax, own, config.n_tokens)
    for loop in range(1, config.b + 1):
        axes[0, loop - 1].set_title(t(f"итерация {loop}", f"iteration {loop}"))
        axes[-1, loop - 1].set_xlabel(t("шаг", "step"))
    return figure


# %%
report.figure(
    "loop_leak",
    draw_leaks,
    ru={
        "alt": "Вес внимания от x к своему ответу y по шагам обучения, для каждой итерации цикла",
        "caption": "Тот же запуск: вес внимания от x к своему y у вариантов без маски. Столбец — итерация цикла, "
        "линия — голова; синие линии — первый слой, оранжевые — следующие; горизонтальный пунктир — равномерное "
        "внимание.",
    },
    en={
        "alt": "Attention weight from x to its own answer y by training step, for each loop iteration",
        "caption": "The same run: attention weight from x to its own y in the variants without a mask. A column "
        "is a loop iteration, a line a head; blue is the first layer, orange the later ones; the dotted horizontal "
        "is uniform attention.",
    },
)

# %%
planted = generalisation.planted_answers(run).set_index("variant").planted
for name in unmasked:
    own = run.leak[(run.leak.variant == name) & (run.leak.step == run.leak.step.max())]
    weights = own.groupby("loop").weight.max()
    report.say(
        ru="{name}: наибольший по головам вес в конце обучения на итерациях от первой до последней — {weights}. Ошибка "
        "относительно подложенного ответа — {planted}; меньше 0,5 значит, что модель списывает.",
        en="{name}: the largest weight of a head at the end of training, from the first iteration to the last, is "
        "{weights}. The error against a planted answer is {planted}; below 0.5 means that the model copies.",
        name=name,
        weights={
            language: "; ".join(report.number(weight, language) for weight in weights)
            for language in report.LANGUAGES
        },
        planted=planted[name],
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
full = outcomes(errors, curves)
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
# ### Парами на одних и тех же промптах
#
# Как в [первом ноутбуке](1_position_and_mask.ipynb#In-pairs,-on-the-same-prompts): ошибка в
# целевой задаче при полном промпте у одного варианта, делённая на ошибку другого, и интервал (95 %) парного
# бутстрэпа по промптам. Интервал относится к весам одного запуска; насколько разойдутся запуски с другими
# зёрнами, он не говорит. Таблица добавлена после запусков и на вердикты не влияет.

# %% [markdown] tags=["en"]
# ### In pairs, on the same prompts
#
# As in the [first notebook](1_position_and_mask.ipynb#In-pairs,-on-the-same-prompts): one variant’s
# target error with the full prompt divided by another’s, and the 95% interval of a paired bootstrap over
# prompts. The interval is about the weights of one run; how far runs with other seeds would differ it does not
# say. The table was added after the runs and has no part in the verdicts.

# %%
pairs = [("TPE + CM", other) for other in ("CM", "SPE + CM", "LPE + CM")]
pairs += [(f"{name} (first iteration)", name) for name in ("SPE + CM", "LPE + CM")]
report.paired(generalisation.paired_ratios(runs, pairs))

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Величина $E$, усреднение и интервалы — как в [первом ноутбуке](1_position_and_mask.ipynb#Verdicts), $M$ и
# $M(0)$ — как в [третьем](3_label_leakage.ipynb#Verdicts); пороги наши. Считаются только запуски с $b > 1$.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 10 | отношение $M$ у SPE (random k) к $M$ у SPE (all, random k) | меньше 0,5 |
# | 11 | отношение $E$ у TPE + CM к $E$ у CM, SPE + CM и LPE + CM | меньше 1 |
# | A | SPE + CM и LPE + CM: отношение $E$ с (first iteration) к $E$ без этой пометки | больше 1 |
#
# Если контроль хотя бы в одном запуске не решает задачу (его $M / M(0)$ не меньше 0,5), вместо «не
# подтверждено» в пункте 10 стоит «открыто».

# %% [markdown] tags=["en"]
# ## Verdicts
#
# $E$, the averaging and the intervals are those of the [first
# notebook](1_position_and_mask.ipynb#Verdicts), $M$ and $M(0)$ those of the
# [third](3_label_leakage.ipynb#Verdicts); the thresholds are ours. Only runs with $b > 1$ count.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 10 | $M$ of SPE (random k) divided by $M$ of SPE (all, random k) | below 0.5 |
# | 11 | $E$ of TPE + CM divided by $E$ of CM, of SPE + CM and of LPE + CM | below 1 |
# | A | SPE + CM and LPE + CM: $E$ with (first iteration) divided by $E$ without it | above 1 |
#
# If the control does not solve the task in some run (its $M / M(0)$ is not below 0.5), “not confirmed” in
# point 10 is replaced by “open”.

# %%
looped = full[full.b > 1]
longer_half = range((config.n_examples + 1) // 2, config.n_examples + 1)
zero = evaluation.reference_errors(prompts, longer_half, {"zero": evaluation.zero}).error.mean()


def against(point, variant, other, column="error", **side):
    sign = {"error": "E", "many": "M"}[column]
    values = per_run(looped, variant, column) / per_run(looped, other, column)
    return claim(point, f"{sign}({variant}) / {sign}({other})", values, **side)


# %%
claims = [against("10", "SPE (random k)", "SPE (all, random k)", "many", below=0.5)]
for other in ("CM", "SPE + CM", "LPE + CM"):
    claims.append(against("11", "TPE + CM", other, below=1))
for name in ("SPE + CM", "LPE + CM"):
    claims.append(against("A", f"{name} (first iteration)", name, above=1))
results = pd.DataFrame(claims)

# %%
control = per_run(looped, "LPE + CM (random k)", "many").max(skipna=False) / zero
refuted = (results.point == "10") & (results.status == "not confirmed")
results = withhold(results, refuted & (not control < 0.5))
report.say(
    ru="В худшем запуске с $b > 1$ у контроля $M / M(0)$ равно {control}.",
    en="In its worst run with $b > 1$ the control has $M / M(0)$ = {control}.",
    control=control,
)

# %%
statements = {
    "10": (
        "Утечка ответов вызвана функцией потерь: с циклом ошибка SPE без маски уменьшится хотя бы вдвое, если "
        "учитывать только запрос",
        "The leak comes from the loss: with a loop, counting the query alone at least halves the error of SPE "
        "without a mask",
    ),
    "11": (
        "С циклом TPE + CM лучше, чем CM, SPE + CM и LPE + CM",
        "With a loop TPE + CM beats CM, SPE + CM and LPE + CM",
    ),
    "A": (
        "Прибавлять кодирование только на первой итерации цикла хуже, чем на каждой",
        "Adding the encoding in the first loop iteration only is worse than in every one",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("loop_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Вариантов взято немного.** Например, pair + TPE + CM и RoPE + CM с циклом не обучались; второй ноутбук
#   при $b > 1$ обучит и их, но это намного дольше.
# - **Шагов столько же, сколько при $b = 1$.** Вариант, который ничему не научился за эти шаги, мог бы
#   научиться позже.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Only a few variants were taken.** pair + TPE + CM and RoPE + CM, for example, were not trained with a
#   loop; the second notebook trains them too at $b > 1$, which takes much longer.
# - **As many steps as at $b = 1$.** A variant that learned nothing in these steps might have learned later.
