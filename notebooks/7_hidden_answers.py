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
# # Скрытые ответы: нужна ли маска, когда списывать нечего

# %% [markdown] tags=["en"]
# # Hidden answers: is the mask needed when there is nothing to copy?

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Каузальная маска не только скрывает от токена $x_i$ его ответ $y_i$, так что списать его нельзя. Она ещё и
# вообще запрещает смотреть вперёд: что бы ни сообщили следующие примеры, на предыдущих это не скажется. Нужно ли модели второе, или маска лишь мешает списывать?
#
# Разделить их можно, если маску убрать, а ответы скрыть. На каждом шаге обучения мы выбираем случайные
# примеры, скрываем их ответы от всех токенов и считаем ошибку только там, где ответ скрыт, и на запросе.
# Списать такой ответ неоткуда ни с маской, ни без неё. Заодно это ещё одна проверка утверждения 10. В
# [третьем ноутбуке](3_label_leakage.ipynb#The-question) функция потерь учитывает только запрос, то есть на
# промпт приходится один вопрос; здесь вопросов в среднем $n / 2 + 1$.

# %% [markdown] tags=["en"]
# ## The question
#
# The causal mask does more than hide from the token $x_i$ its answer $y_i$, so that there is no copying. It
# also forbids looking ahead at all: whatever the later examples tell, the earlier ones do not learn of it. Does the model need the second, or is the mask there only to prevent copying?
#
# The two come apart if the mask is taken away and answers are hidden instead. In every training step we
# pick examples at random, hide their answers from all tokens, and count the error only where the answer
# is hidden, and at the query. Such an answer cannot be copied, mask or no mask. This is one more test of
# claim 10 as well. In the [third notebook](3_label_leakage.ipynb#The-question) the loss counts the query
# alone and asks the model one question a prompt; here there are $n / 2 + 1$ questions on average.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков, но после первого запуска третьего ноутбука: за отведённые там шаги с функцией потерь
# на запросе задачу не научился решать ни один вариант, даже LPE + CM, которому списывать неоткуда.
#
# - **10** (автор): утечка происходит из-за функции потерь; если считать ошибку только там, где ответа не
#   видно, варианты с кодированием, но без маски станут решать задачу намного лучше.
# - **A** (наша): их ошибка будет мала и сама по себе: меньше половины ошибки предсказания «всегда ноль».
# - **B** (наша): когда списывать нечего, маска только мешает: без неё ошибка меньше.
# - **C** (наша): вариантам с маской скрытые ответы вредят: вопросов за шаг становится вдвое меньше, а
#   взамен они ничего не получают.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs, but after the first run of the third notebook: within its steps a loss on the
# query taught nobody to solve the task, not even LPE + CM, which cannot copy.
#
# - **10** (the author’s): the leak comes from the loss; when the error is counted only where the answer
#   cannot be seen, variants with an encoding and without a mask will do much better at the task.
# - **A** (ours): and not only compared with before: their error will be less than half that of the
#   prediction “always zero”.
# - **B** (ours): when there is nothing to copy, the mask only gets in the way: without it the error is
#   lower.
# - **C** (ours): hidden answers harm the variants with the mask: they are asked half as many questions a
#   step and get nothing in return.

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
import itertools
import logging
import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from icl_report import drawing, encodings, evaluation, records, report, sampler, training
from icl_report.config import Config, notebook_parameters
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
config = Config(ablation="7_hidden_answers", **notebook_parameters(globals()))
of_loss = {
    kind: [variant.name for variant in config.stack if variant.loss == kind]
    for kind in ("all", "hidden")
}

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Задача, модель, промпты, начальные веса и оценка те же, что в [первом
# ноутбуке](1_position_and_mask.ipynb#Design). Новое здесь — **(hidden)**, обучение со скрытыми ответами:
#
# - сколько примеров лишится ответов, от 0 до $n$, и какие это примеры, решает случай, заново на каждом
#   шаге и одинаково для всех промптов шага и всех вариантов;
# - токен скрытого ответа остаётся на своём месте, но смотреть на него не может никто;
# - функция потерь — средний квадрат ошибки в токенах $x$ этих примеров и на запросе.
#
# При оценке не скрыто ничего. Для сравнения взяты те же варианты с функцией потерь по всем токенам; они
# не обучаются заново, если их уже записал первый ноутбук с теми же параметрами. На рисунке видно, какие
# токены видны при обучении на одном из шагов.

# %% [markdown] tags=["en"]
# ## Design
#
# Task, model, prompts, initial weights and evaluation are those of the [first
# notebook](1_position_and_mask.ipynb#Design). New here is **(hidden)**, training with hidden answers:
#
# - how many examples lose their answers, 0 to $n$, and which ones, is left to chance, anew in every
#   step, and alike for all prompts of the step and all variants;
# - the token of a hidden answer stays in its place, but no token can look at it;
# - the loss is the mean squared error at the $x$-tokens of these examples and at the query.
#
# Nothing is hidden in the evaluation. To compare with, there are the same variants with the loss on all
# tokens; they are not trained again if the first notebook has already recorded them with the same
# parameters. The figure shows which tokens can be seen in one training step.


# %%
few = Config(n_examples=8, seed=config.seed)
asked = (training.asked(few, "hidden", step) for step in itertools.count())
shown = next(own for own in asked if len(own.hidden) == few.n_examples // 2)


def draw_hidden(t):
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4))
    titles = (t("без маски", "no mask"), t("каузальная маска", "causal mask"))
    for ax, kind, title in zip(axes, ("none", "causal"), titles):
        bias = encodings.MASKS[kind](few.n_tokens).index_fill(-1, shown.hidden, -math.inf)
        ax.imshow(bias.exp(), cmap="Greys", vmin=0, vmax=1.6)
        places = shown.rows[:-1].tolist()
        ax.plot([place + 1 for place in places], places, "x", color="#d55e00", linestyle="none")
        ax.set(title=title, xlabel=t("смотрит на токен", "looks at token"))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel(t("токен", "token"))
    return figure


# %%
report.figure(
    "hidden_masks",
    draw_hidden,
    ru={
        "alt": "Кто на кого смотрит в промпте из 17 токенов, половина ответов которого скрыта",
        "caption": "Первый шаг обучения, на котором скрыта половина ответов. Серая клетка — токен столбца виден "
        "токену строки; последний токен — запрос. Белые столбцы — скрытые ответы. Крестиком отмечены клетки в строке x, ответ для которого нужно "
        "предсказать, и столбце этого ответа; предсказывается и ответ на запрос.",
    },
    en={
        "alt": "Which token sees which in a prompt of 17 tokens, half of its answers hidden",
        "caption": "The first training step in which half of the answers are hidden. Grey where the row’s token "
        "sees the column’s; the last token is the query. White columns are the hidden answers. Crosses mark the cells in the row of an x that is asked for "
        "its answer and the column of that answer; the query is asked too.",
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


def draw_by_loss(frame, x, y, level, across, t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    titles = {"all": t("все токены", "all tokens"), "hidden": t("скрытые ответы", "hidden answers")}
    for ax, (kind, names) in zip(axes, of_loss.items()):
        drawing.draw_lines(ax, frame, x, y, names)
        ax.axhline(level, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=titles[kind], xlabel=across, yscale="log")
    axes[0].set_ylabel(t("ошибка в целевой задаче", "target error"))
    for ax in axes:  # now that both have their common scale
        drawing.name_lines(ax)
    return figure


# %%
report.figure(
    "hidden_close_up",
    lambda t: draw_by_loss(run_curves, "step", "target_error", zero_on_curve, t("шаг", "step"), t),
    ru={
        "alt": "Ошибка в целевой задаче по шагам при обучении на всех токенах и на скрытых ответах",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: ошибка в целевой задаче при полном "
        "промпте. Слева варианты обучены с функцией потерь по всем токенам, справа — на скрытых ответах. "
        "Штриховые линии — варианты без маски, горизонтальный пунктир — предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error by step, trained on all tokens and on hidden answers",
        "caption": f"One run, b = {config.b}, seed {config.seed}: target error with the full prompt. On the "
        "left the variants were trained with the loss on all tokens, on the right on hidden answers. Dashed "
        "lines are variants without a mask, the dotted horizontal is the prediction “always zero”.",
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
zero = evaluation.zero_error(prompts)
across = ("число in-context примеров k", "in-context examples k")
report.figure(
    "hidden_performance",
    lambda t: draw_by_loss(errors, "k", "error", zero, t(*across), t),
    ru={
        "alt": "Ошибка в целевой задаче по числу примеров при двух способах обучения",
        "caption": "Ошибка в целевой задаче в зависимости от числа in-context примеров, среднее "
        f"геометрическое по запускам (всего запусков: {len(runs)}); полоса — от наименьшего значения до "
        "наибольшего. Слева варианты без маски (штриховые линии) видели при обучении только "
        f"k = {config.n_examples}. Горизонтальный пунктир — предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error against the number of examples under two ways of training",
        "caption": "Target error against the number of in-context examples, geometric mean over runs (runs: "
        f"{len(runs)}); the band spans the smallest to the largest value. On the left the variants without a "
        f"mask (dashed lines) saw only k = {config.n_examples} in training. The dotted horizontal is the "
        "prediction “always zero”.",
    },
)

# %%
full = outcomes(errors, curves)
by_b = report.means_by_b(
    full,
    ru={"training_loss": "функция потерь на обучении", "error": "ошибка в целевой задаче"},
    en={"training_loss": "training loss", "error": "target error"},
)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Величины $E$ и $E(0)$, усреднение и интервалы — как в [первом
# ноутбуке](1_position_and_mask.ipynb#Verdicts); пороги и здесь наши.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 10 | SPE и LPE без маски: отношение $E$ с (hidden) к $E$ со всеми токенами | меньше 0,5 |
# | A | они же: отношение $E$ с (hidden) к $E(0)$ | меньше 0,5 |
# | B | SPE и LPE с (hidden): отношение $E$ без маски к $E$ с CM | меньше 1 |
# | C | SPE + CM и LPE + CM: отношение $E$ с (hidden) к $E$ со всеми токенами | больше 1 |
#
# **Контроль** для каждого кодирования — оно же с маской: списывать ему неоткуда. Если с (hidden) оно хотя бы
# в одном запуске не решает задачу (отношение $E$ к $E(0)$ не меньше 0,5), то и неудача без маски ничего об
# утечке не говорит: вместо «не подтверждено» в пунктах 10 и A для этого кодирования стоит «открыто».

# %% [markdown] tags=["en"]
# ## Verdicts
#
# The quantities $E$ and $E(0)$, the averaging and the intervals are those of the [first
# notebook](1_position_and_mask.ipynb#Verdicts); the thresholds are ours here too.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 10 | SPE and LPE without a mask: $E$ with (hidden) divided by $E$ with all tokens | below 0.5 |
# | A | the same variants: $E$ with (hidden) divided by $E(0)$ | below 0.5 |
# | B | SPE and LPE with (hidden): $E$ without a mask divided by $E$ with CM | below 1 |
# | C | SPE + CM and LPE + CM: $E$ with (hidden) divided by $E$ with all tokens | above 1 |
#
# **The control** for each encoding is the same with the mask: it has nothing to copy. If with (hidden) it
# does not solve the task in some run ($E$ divided by $E(0)$ is not below 0.5), then a failure without the
# mask tells nothing about the leak either: “not confirmed” in points 10 and A is replaced by “open” for
# that encoding.


# %%
def against(point, variant, other, **side):
    own = per_run(full, variant, "error")
    divisor = zero if other == "0" else per_run(full, other, "error")
    return claim(point, f"E({variant}) / E({other})", own / divisor, **side)


# %%
claims = []
for name in ("SPE", "LPE"):
    own, masked = f"{name} (hidden)", f"{name} + CM (hidden)"
    claims.append(against("10", own, name, below=0.5))
    claims.append(against("A", own, "0", below=0.5))
    claims.append(against("B", own, masked, below=1))
    claims.append(against("C", masked, f"{name} + CM", above=1))
results = pd.DataFrame(claims).sort_values("point", kind="stable")

# %%
failed = [
    f"E({name} (hidden))"
    for name in ("SPE", "LPE")
    if not per_run(full, f"{name} + CM (hidden)", "error").max(skipna=False) / zero < 0.5
]
refuted = results.point.isin(["10", "A"]) & (results.status == "not confirmed")
results = withhold(results, refuted & results.quantity.str.startswith(tuple(failed)))

# %%
statements = {
    "10": (
        "Утечка ответов вызвана функцией потерь: если спрашивать только скрытые ответы, ошибка без маски "
        "уменьшится хотя бы вдвое",
        "The leak comes from the loss: asking for hidden answers alone at least halves the error without a "
        "mask",
    ),
    "A": (
        "Обученные на скрытых ответах, SPE и LPE без маски ошибаются хотя бы вдвое меньше, чем «всегда ноль»",
        "Trained on hidden answers, SPE and LPE without a mask at least halve the error of “always zero”",
    ),
    "B": (
        "Когда списывать нечего, без маски лучше, чем с ней",
        "When there is nothing to copy, no mask beats the causal one",
    ),
    "C": (
        "Вариантам с маской скрытые ответы вредят",
        "Hidden answers harm the variants with the mask",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("hidden_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Скрытые ответы меняют не только утечку.** Модель учится при любом числе ответов, а не только при
#   полном промпте, и вопросов за шаг у неё меньше, чем с функцией потерь по всем токенам. Поэтому о маске
#   мы судим по вариантам, обученным одинаково (пункт B).
# - **Зацикливание не проверялось:** полная сетка для этого ноутбука состоит из запусков с $b = 1$.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Hidden answers change more than the leak.** The model learns at every number of answers rather than
#   at the full prompt alone, and is asked fewer questions a step than by the loss on all tokens. So what
#   we say of the mask comes from variants trained alike (point B).
# - **Looping was not tried:** the full grid of this notebook consists of runs with $b = 1$.
