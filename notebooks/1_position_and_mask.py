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
# # Позиционное кодирование и каузальная маска в обучении в контексте

# %% [markdown] tags=["en"]
# # Positional encoding and the causal mask in in-context learning

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Трансформер читает промпт: $n$ in-context примеров $(x_i, y_i)$, где $y_i = w^\top x_i$, и запрос
# $x_q$. Вектор $w$ в каждом промпте новый, и модель ни разу его не видит. Если она всё же
# предсказывает $y_q$, значит, она находит $w$ по примерам, на ходу и не меняя весов. Это и есть
# обучение в контексте (ICL).
#
# Для такой задачи порядок примеров не важен. Важно другое: токены $x_i$ и $y_i$ стоят рядом, и
# модель должна понять, какой ответ к какой координате относится. Подсказать ей это могут две вещи:
# **позиционное кодирование**, которое сообщает каждому токену его номер, и **каузальная маска**,
# которая позволяет смотреть только назад. Что из них нужно, что мешает и что меняется, если
# трансформер зациклить, то есть применить одни и те же слои $b$ раз?

# %% [markdown] tags=["en"]
# ## The question
#
# A transformer reads a prompt: $n$ in-context examples $(x_i, y_i)$ with $y_i = w^\top x_i$, and a
# query $x_q$. Every prompt has a new vector $w$, and the model never sees it. If it predicts $y_q$
# all the same, it must be finding $w$ from the examples, on the fly and with its weights fixed.
# That is in-context learning (ICL).
#
# The order of the examples does not matter for this task. What matters is that the tokens $x_i$
# and $y_i$ stand side by side, and the model has to work out which answer belongs to which
# coordinates. Two things can tell it: a **positional encoding**, which gives every token its
# number, and a **causal mask**, which lets it look backwards only. Which of them is needed, which
# one does harm, and what changes when the transformer is looped, that is, when the same layers are
# applied $b$ times?

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Вопрос поставлен в студенческой работе, которую мы здесь воспроизводим; дальше мы называем её
# *исходным текстом*. До запусков его автор ожидал вот чего:
#
# - информация о позиции важна: без кодирования станет хуже;
# - без каузальной маски тоже станет хуже;
# - без того и другого результат будет неудовлетворительным;
# - синусоидальное кодирование (SPE) может оказаться лучше обучаемого (LPE).
#
# После запусков он утверждает:
#
# 1. кодирование без маски в целевой задаче работает очень плохо;
# 2. с маской оно работает значительно лучше;
# 3. LPE с маской лучше, чем SPE с маской;
# 4. кодирование без маски даёт низкую функцию потерь на обучении и высокую ошибку в целевой задаче;
# 5. SPE с маской обучается намного менее стабильно, чем LPE с маской;
# 6. по сравнению с одной маской SPE почти ничего не даёт;
# 7. LPE добавляет примерно 8 % параметров.
#
# Восьмым пунктом пойдут сами ожидания. Каждый пункт мы проверим на записанных запусках, и каждый
# может не подтвердиться.
#
# Ближайшая опубликованная работа, [Xing et al. 2024](https://arxiv.org/abs/2402.00743), изучает тот же
# вопрос без циклов и находит, что двух слоёв с каузальной маской достаточно, чтобы учиться по
# промпту, а позиционное кодирование улучшает результат.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# The question comes from a student's experiment that we reproduce here; we call it the *source
# text*. Before the runs its author expected that
#
# - position is important: taking the encoding away will hurt;
# - taking the causal mask away will hurt too;
# - with both gone the result will be unsatisfactory;
# - the sinusoidal encoding (SPE) may do better than the learned one (LPE).
#
# After the runs the author claims that
#
# 1. an encoding without a mask does very badly at the target task;
# 2. with the mask it does much better;
# 3. LPE with the mask beats SPE with the mask;
# 4. an encoding without a mask gives a low training loss and a high target error;
# 5. SPE with the mask trains much less stably than LPE with the mask;
# 6. SPE gains next to nothing over the mask alone;
# 7. LPE adds about 8 % to the parameters.
#
# The expectations themselves are the eighth point. We test every point on recorded runs, and any
# of them may fail.
#
# The nearest published study, [Xing et al. 2024](https://arxiv.org/abs/2402.00743), asks the same
# without loops and finds that two layers with a causal mask are enough to learn from the prompt, and
# that a positional encoding improves on that.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Значения по умолчанию взяты из исходного текста, а там, где он молчит, выбраны нами: это отмечено
# в таблице ниже. Чтобы обучить другую ячейку сетки, достаточно поменять здесь `b` и `seed` или
# передать их через papermill.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The defaults are the source text's, or our choice where it is silent; the table below says which.
# To train another cell of the grid, change `b` and `seed` here or pass them through papermill.

# %%
import logging

import matplotlib.pyplot as plt
import pandas as pd

from icl_core import evaluation, model, records, report, sampler, training
from icl_core.config import Config, notebook_parameters
from icl_core.verdicts import instability, judge, last_rows, per_run

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
lr: float = 5e-4  # Adam's learning rate / шаг градиентного спуска в Adam
steps: int = 10_000  # training steps / число шагов обучения
log_every: int = 100  # steps between two points of a curve / шагов между точками кривой
curve_prompts: int = 512  # prompts behind a curve's target error / промптов для кривых ошибки
evaluation_prompts: int = 1280  # prompts of the final evaluation / промптов в итоговой оценке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data and figures, from the project's root / папка для data и figures

# %%
given = notebook_parameters(globals())
given.pop("out", None)
config = Config(ablation="1_position_and_mask", **given)
variants = list(config.variants)
FIGURES = records.root_folder(out) / "figures"

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Промпт состоит из токенов $x_1, y_1, \dots, x_n, y_n, x_q$; ответа $y_q$ в нём нет никогда, ни при
# обучении, ни при оценке. Модель делает предсказание в каждом токене $x$.
#
# - **Функция потерь на обучении**: средний квадрат ошибки по *всем* токенам $x$ промпта. Без маски
#   токен $x_i$ видит свой собственный ответ $y_i$, и это окажется важным.
# - **Ошибка в целевой задаче**: квадрат ошибки предсказания $y_q$. По ней мы и судим.
#
# Обе величины делим на $d$. Тогда предсказание «всегда ноль» получает 1, а метод наименьших
# квадратов при $k \ge d$ примерах получает 0.
#
# **Зацикленный трансформер**: $z_0 = 0$, $z_{t+1} = \mathrm{LN}(\mathrm{blocks}(z_t + e + p))$, где
# $e$ — токены после линейного слоя, $p$ — позиционное кодирование; и то и другое подаётся заново на
# каждой из $b$ итераций цикла. При $b = 1$ это обычный трансформер вроде GPT-2.

# %% [markdown] tags=["en"]
# ## Design
#
# A prompt is the tokens $x_1, y_1, \dots, x_n, y_n, x_q$; the answer $y_q$ is never in it, neither
# in training nor in evaluation. The model predicts at every $x$-token.
#
# - **Training loss**: the mean squared error over *all* $x$-tokens of the prompt. Without a mask
#   the token $x_i$ can see its own answer $y_i$, which will turn out to matter.
# - **Target error**: the squared error of the prediction of $y_q$. This is what we judge by.
#
# Both are divided by $d$. Then the prediction “always zero” scores 1, and least squares scores 0
# with $k \ge d$ examples.
#
# **The looped transformer**: $z_0 = 0$, $z_{t+1} = \mathrm{LN}(\mathrm{blocks}(z_t + e + p))$, where
# $e$ is the tokens after a linear read-in and $p$ the positional encoding; both enter anew in each
# of the $b$ loop iterations. With $b = 1$ this is an ordinary transformer like GPT-2.

# %% [markdown] tags=["ru"]
# Что взято из исходного текста, а что выбрали мы:

# %% [markdown] tags=["en"]
# What comes from the source text and what we chose:

# %%
names = {
    "n_layers": {"ru": "число слоёв", "en": "layers"},
    "n_heads": {"ru": "головы внимания", "en": "attention heads"},
    "width": {"ru": "скрытая размерность", "en": "hidden dimension"},
    "mlp_width": {"ru": "размерность слоя MLP", "en": "width of the MLP"},
    "n_examples": {"ru": "in-context примеры n", "en": "in-context examples n"},
    "batch_size": {"ru": "промпты в батче", "en": "prompts in a batch"},
    "lr": {"ru": "lr в Adam", "en": "Adam’s lr"},
    "d": {"ru": "размерность d", "en": "dimension d"},
    "steps": {"ru": "шаги обучения", "en": "training steps"},
    "evaluation_prompts": {"ru": "промпты для оценки", "en": "evaluation prompts"},
}
ours = {name for name in names if getattr(config, name) != Config.model_fields[name].default}
ours |= {"d", "steps", "evaluation_prompts"}
origins = {True: {"ru": "наш выбор", "en": "our choice"}}
origins[False] = {"ru": "исходный текст", "en": "source text"}
rows = [(names[name], getattr(config, name), origins[name in ours]) for name in names]
report.table(
    pd.DataFrame(rows, columns=["what", "value", "from"]),
    ru={"what": "параметр", "value": "значение", "from": "откуда"},
    en={"what": "parameter", "value": "value", "from": "from"},
)

# %% [markdown] tags=["ru"]
# Наши решения и их причины. Координаты и веса функций: $x, w \sim N(0, I_d)$, без шума, как у
# [Garg et al. 2022](https://arxiv.org/abs/2208.01066). Размерность $d = 5$ взята из ближайшей к нашей
# работы, [Xing et al. 2024](https://arxiv.org/abs/2402.00743). Ответ $y_i$ записан в первую координату
# токена, остальные координаты — нули. При $b > 1$ функция потерь усредняется по всем итерациям
# цикла, как у [Yang et al. 2024](https://arxiv.org/abs/2311.12424). Шаг Adam постоянный, без отсечения
# градиентов и без программы обучения от простого к сложному.
#
# Все варианты одного запуска начинают с одинаковых весов везде, где веса у них общие, и видят одни
# и те же батчи. Поэтому варианты сравниваются попарно, внутри запуска.

# %% [markdown] tags=["en"]
# Our choices and their reasons. Coordinates and function weights are $x, w \sim N(0, I_d)$ without
# noise, as in [Garg et al. 2022](https://arxiv.org/abs/2208.01066). The dimension $d = 5$ is that of
# the nearest study, [Xing et al. 2024](https://arxiv.org/abs/2402.00743). The answer $y_i$ is written
# in the first coordinate of its token, the others are zero. With $b > 1$ the loss is averaged over
# all loop iterations, as in [Yang et al. 2024](https://arxiv.org/abs/2311.12424). Adam’s learning rate
# is constant; there is no gradient clipping and no curriculum.
#
# All variants of a run start from the same weights wherever they have them in common, and see the
# same batches. So variants are compared in pairs, within a run.

# %% [markdown] tags=["ru"]
# ### Шесть вариантов
#
# Вариант — это кодирование (нет, синусоидальное, обучаемое) и маска (каузальная или нет). Слева
# на рисунке два кодирования в начале обучения, справа две маски.

# %% [markdown] tags=["en"]
# ### Six variants
#
# A variant is an encoding (none, sinusoidal, learned) and a mask (causal or none). On the left of
# the figure are the two encodings at the start of training, on the right the two masks.

# %%
counts = [(v.name, model.parameter_count(config, v)) for v in config.stack]
added = {name: count / dict(counts)["none"] - 1 for name, count in counts}
rows = [(name, count, 100 * added[name]) for name, count in counts]
report.table(
    pd.DataFrame(rows, columns=["variant", "count", "add"]),
    ru={"variant": "вариант", "count": "параметры", "add": "прибавка, %"},
    en={"variant": "variant", "count": "parameters", "add": "added, %"},
)


# %%
def draw_encodings_and_masks(t):
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), width_ratios=[3, 3, 2, 2])
    stack = model.LoopedTransformer(config, config.stack)
    tables = dict(zip(variants, stack.positions(config.n_tokens).detach()))
    for ax, name in zip(axes, ("SPE", "LPE")):
        image = ax.imshow(tables[name], aspect="auto", cmap="RdBu_r", interpolation="nearest")
        figure.colorbar(image, ax=ax, shrink=0.8)
        ax.set(title=name, xlabel=t("координата", "coordinate"), ylabel=t("позиция", "position"))
    titles = (t("каузальная маска", "causal mask"), t("без маски", "no mask"))
    for ax, kind, title in zip(axes[2:], ("causal", "none"), titles):
        ax.imshow(model.MASKS[kind](9).exp(), cmap="Greys", vmin=0, vmax=1.6)
        ax.set(
            title=title, xlabel=t("смотрит на токен", "looks at token"), ylabel=t("токен", "token")
        )
    return figure


# %%
report.figure(
    "encodings_and_masks",
    draw_encodings_and_masks,
    FIGURES,
    ru={
        "alt": "Синусоидальная и обучаемая таблицы кодирования, каузальная маска и её отсутствие",
        "caption": "Строка таблицы прибавляется к токену с этим номером. Строки SPE заданы формулой, "
        "строки LPE обучаются и начинают со случайных малых чисел: шкалы различаются. Маски "
        "показаны для первых девяти токенов: серая клетка — токен строки видит токен столбца.",
    },
    en={
        "alt": "The sinusoidal and the learned encoding table, the causal mask and no mask",
        "caption": "A row of a table is added to the token with that number. SPE’s rows are given "
        "by a formula, LPE’s are learned and start as small random numbers: mind the scales. Masks "
        "are shown for the first nine tokens: grey where the row’s token sees the column’s.",
    },
)

# %% [markdown] tags=["ru"]
# ### Один батч
#
# Батч однозначно определяется парой (зерно, шаг): каждый вариант при любом $b$ видит одни и те же
# промпты. Вот первый промпт первого шага: под каждым $x_i$ справа стоит столбец с ответом $y_i$.

# %% [markdown] tags=["en"]
# ### One batch
#
# A batch is a pure function of (seed, step): every variant, at any $b$, sees the same prompts. Here
# is the first prompt of the first step: to the right of every $x_i$ stands a column with $y_i$.


# %%
def draw_prompt(t):
    figure, ax = plt.subplots(figsize=(12, 2.4))
    first = sampler.batch(config, step=0).tokens[0, :24]
    image = ax.imshow(first.T, cmap="RdBu_r", vmin=-4, vmax=4, interpolation="nearest")
    names = [
        f"$x_{{{i // 2 + 1}}}$" if i % 2 == 0 else f"$y_{{{i // 2 + 1}}}$"
        for i in range(len(first))
    ]
    ax.set_xticks(range(len(first)), names)
    ax.set(yticks=range(config.d), ylabel=t("координата", "coordinate"), xlabel=t("токен", "token"))
    figure.colorbar(image, ax=ax, shrink=0.8)
    return figure


# %%
report.figure(
    "prompt",
    draw_prompt,
    FIGURES,
    ru={
        "alt": "Начало промпта: столбцы координат и ответов чередуются",
        "caption": "Начало одного промпта. Столбец — токен; у токенов y заполнена только первая "
        "координата. Цвет — значение координаты.",
    },
    en={
        "alt": "The beginning of a prompt: columns of coordinates and answers take turns",
        "caption": "The beginning of one prompt. A column is a token; y-tokens have only their first "
        "coordinate filled. The colour is the coordinate’s value.",
    },
)

# %% [markdown] tags=["ru"]
# ## Запуск
#
# Следующая ячейка обучает все варианты при заданных `b` и `seed`. Законченный запуск она просто
# читает из `data/`, прерванный продолжает с контрольной точки. На одном ядре обучение с параметрами
# по умолчанию занимает часы.

# %% [markdown] tags=["en"]
# ## The run
#
# The next cell trains all variants at the given `b` and `seed`. A finished run is simply read from
# `data/`, an interrupted one is resumed from its checkpoint. With the default parameters training
# takes hours on one core.

# %%
run = training.run(config, out)
close_up = records.tidy([run], "curves"), records.tidy([run], "errors")

# %%
made = run.provenance
report.say(
    ru="Запуск: $b$ = {b}, зерно {seed}, {steps} шагов; обучался {hours} ч на устройстве {device}, "
    "скорость — {speed} вариант-шагов в секунду. Разошлись: {diverged}.",
    en="The run: $b$ = {b}, seed {seed}, {steps} steps; trained for {hours} h on {device}, {speed} "
    "variant-steps a second. Diverged: {diverged}.",
    b=run.config.b,
    seed=run.config.seed,
    steps=run.config.steps,
    hours=made["wall_seconds"] / 3600,
    device=made["device"],
    speed=made["variant_steps_per_second"],
    diverged=", ".join(made["diverged"]) or "—",
)

# %% [markdown] tags=["ru"]
# ### Этот запуск вблизи
#
# Слева функция потерь на обучении, справа ошибка в целевой задаче. Модель без маски может
# выучиться одному и не выучиться другому.

# %% [markdown] tags=["en"]
# ### A close look at this run
#
# Training loss on the left, target error on the right. A model without a mask can learn the one and
# not the other.


# %%
def draw_losses(t, curves):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    titles = (
        t("функция потерь на обучении", "training loss"),
        t("ошибка в целевой задаче", "target error"),
    )
    for ax, column, title in zip(axes, ("training_loss", "target_error"), titles):
        report.draw_lines(ax, curves, "step", column, variants)
        ax.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=title, xlabel=t("шаг", "step"), yscale="log")
    axes[0].set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


# %%
report.figure(
    "close_up",
    lambda t: draw_losses(t, close_up[0]),
    FIGURES,
    ru={
        "alt": "Кривые обучения шести вариантов одного запуска",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}. Слева: средняя функция потерь на "
        f"обучении за {config.log_every} шагов; справа: ошибка в целевой задаче на "
        f"{config.curve_prompts} промптах. Пунктирные линии — варианты без маски, точечная "
        "горизонталь — предсказание «ноль».",
    },
    en={
        "alt": "Training curves of the six variants of one run",
        "caption": f"One run, b = {config.b}, seed {config.seed}. Left: training loss averaged over "
        f"{config.log_every} steps; right: target error on {config.curve_prompts} prompts. Dashed lines "
        "are variants without a mask, the dotted horizontal is the prediction “zero”.",
    },
)

# %% [markdown] tags=["ru"]
# Ошибка в целевой задаче этого запуска после обучения. Интервал — 95 %, бутстрэп по промптам: он
# говорит о точности измерения для *этих* весов, а не о том, что получилось бы с другим зерном.

# %% [markdown] tags=["en"]
# The target error of this run after training. The interval is 95 %, a bootstrap over prompts: it
# tells how precisely *these* weights were measured, not what another seed would have given.

# %%
final = close_up[1][close_up[1].k == config.n_examples]
loss = last_rows(close_up[0])[["variant", "training_loss"]]
report.table(
    final.merge(loss, on="variant", how="left"),
    ru={
        "variant": "вариант",
        "training_loss": "функция потерь на обучении",
        "error": "ошибка в целевой задаче",
        "low": "от",
        "high": "до",
    },
    en={
        "variant": "variant",
        "training_loss": "training loss",
        "error": "target error",
        "low": "from",
        "high": "to",
    },
)

# %% [markdown] tags=["ru"]
# ## Все записанные запуски
#
# Всё, что ниже, считается по всем записанным запускам с такими же параметрами, сколько бы их ни
# было.

# %% [markdown] tags=["en"]
# ## All recorded runs
#
# Everything below is computed from all recorded runs with the same parameters, however many there
# are.

# %%
runs = records.recorded_runs(out, config)
curves, errors = records.tidy(runs, "curves"), records.tidy(runs, "errors")
planned = records.planned_runs(out, config.ablation)
recorded = [(r.config.b, r.config.seed) for r in runs]
missing = [cell for cell in planned if cell not in recorded]
report.say(
    ru="Записано запусков: {n}; из {planned} запланированных не хватает {lacking}{list}.",
    en="Recorded runs: {n}; of the {planned} planned ones {lacking} are missing{list}.",
    n=len(recorded),
    planned=len(planned),
    lacking=len(missing),
    list=": " * bool(missing) + ", ".join(f"(b = {b}, seed = {s})" for b, s in missing),
)

# %% [markdown] tags=["ru"]
# ### Ошибка в целевой задаче
#
# Как и в исходном тексте, линия усредняет запуски и по $b$, и по зерну.

# %% [markdown] tags=["en"]
# ### Target error
#
# As in the source text, a line averages the runs over both $b$ and the seed.

# %%
prompts = sampler.evaluation_prompts(config)
solvers = evaluation.reference_errors(prompts, evaluation.all_ks(config))


def draw_performance(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[3, 2], sharey=True)
    lowest = errors.error.min() / 3
    report.draw_lines(axes[0], errors, "k", "error", variants)
    report.draw_solvers(axes[0], solvers[solvers.error > lowest], t)
    report.draw_points(axes[1], errors[errors.k == config.n_examples], "error", variants)
    axes[0].set(yscale="log", xlabel=t("in-context примеры k", "in-context examples k"))
    axes[0].set(ylim=(lowest, 4), ylabel=t("квадрат ошибки / d", "squared error / d"))
    axes[1].set_title(
        t(f"k = {config.n_examples}, по запускам", f"k = {config.n_examples}, by run")
    )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


# %%
report.figure(
    "performance",
    draw_performance,
    FIGURES,
    ru={
        "alt": "Ошибка в целевой задаче шести вариантов от числа примеров и по запускам",
        "caption": f"Слева: ошибка в целевой задаче от числа in-context примеров k, среднее по запускам "
        f"(всего запусков: {len(runs)}); полоса — от наименьшего до наибольшего запуска. Точечные "
        "серые линии — эталонные решатели. Справа: ошибка при полном промпте, точка — запуск; "
        "закрашенные точки — b = 1, пустые — b > 1.",
    },
    en={
        "alt": "Target error of the six variants against the number of examples, and by run",
        "caption": f"Left: target error against the number of in-context examples k, mean over runs "
        f"(runs: {len(runs)}); the band reaches from the least to the largest run. Dotted grey lines "
        "are reference solvers. Right: the error with the full prompt, a point a run; filled points "
        "are b = 1, open ones b > 1.",
    },
)

# %% [markdown] tags=["ru"]
# ### Функция потерь на обучении и ошибка в целевой задаче
#
# Утечка ответов видна как разрыв: слева линия идёт вниз, справа остаётся наверху.

# %% [markdown] tags=["en"]
# ### Training loss and target error
#
# Label leakage shows as a gap: the line goes down on the left and stays up on the right.

# %%
report.figure(
    "loss_comparison",
    lambda t: draw_losses(t, curves),
    FIGURES,
    ru={
        "alt": "Функция потерь на обучении и ошибка в целевой задаче шести вариантов по шагам",
        "caption": f"Среднее по запускам (всего запусков: {len(runs)}); полоса — от наименьшего до "
        "наибольшего запуска. Пунктирные линии — варианты без маски, точечная горизонталь — "
        "предсказание «ноль».",
    },
    en={
        "alt": "Training loss and target error of the six variants by step",
        "caption": f"Mean over runs (runs: {len(runs)}); the band reaches from the least to the "
        "largest run. Dashed lines are variants without a mask, the dotted horizontal is the "
        "prediction “zero”.",
    },
)

# %% [markdown] tags=["ru"]
# ### Отдельно для каждого b
#
# Среднее по запускам с одним $b$; число запусков указано в таблице. Последний столбец — **доля
# запроса**: ошибка в целевой задаче, делённая на сумму ошибок по всем $n + 1$ токенам $x$. Если модель
# списывает ответы $y_i$, ошибаться ей остаётся только на запросе, и доля близка к 1. Если не
# списывает, запрос с его полным набором примеров — самый лёгкий токен, и доля меньше $1 / (n + 1)$.

# %% [markdown] tags=["en"]
# ### Each b on its own
#
# The mean over the runs of one $b$; the table says how many there are. The last column is the **share
# of the query**: the target error divided by the sum of the errors over all $n + 1$ $x$-tokens. If a
# model copies the answers $y_i$, the query is the only token left to be wrong at, and the share is
# near 1. If it does not, the query, with all the examples before it, is the easiest token, and the
# share is below $1 / (n + 1)$.

# %%
full = errors[errors.k == config.n_examples].merge(last_rows(curves), on=["b", "seed", "variant"])
full["share"] = full.error / (config.n_examples + 1) / full.training_loss
columns = ["training_loss", "error", "share"]
by_b = full.groupby(["b", "variant"])[columns].mean().reset_index()
by_b["runs"] = by_b.merge(full.groupby("b").seed.nunique().rename("runs"), on="b").runs
report.table(
    by_b.sort_values(["b", "error"]),
    ru={
        "b": "b",
        "runs": "запуски",
        "variant": "вариант",
        "training_loss": "функция потерь на обучении",
        "error": "ошибка в целевой задаче",
        "share": "доля запроса",
    },
    en={
        "b": "b",
        "runs": "runs",
        "variant": "variant",
        "training_loss": "training loss",
        "error": "target error",
        "share": "share of the query",
    },
)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Слова «очень плохо» и «значительно лучше» нужно сначала определить. Определения и пороги в таблице
# наши; они записаны до того, как посчитаны вердикты. $E(v)$ — ошибка варианта $v$ в целевой задаче
# при полном промпте, $L(v)$ — его функция потерь на обучении за последние шаги, записанные в
# кривую.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | 1 | $E$ у SPE и у LPE | больше 0,5: не объяснена и половина разброса ответов |
# | 2 | $E$ с маской, делённое на $E$ без неё | меньше 0,5: ошибка упала хотя бы вдвое |
# | 3 | $E$ у LPE + CM, делённое на $E$ у SPE + CM | меньше 1 |
# | 4 | $L$, делённое на $E$, у SPE и у LPE | меньше 0,5; высока ли сама $E$, говорит пункт 1 |
# | 5 | нестабильность $N$ у SPE + CM минус нестабильность LPE + CM | больше 0 |
# | 6 | $E$ у SPE + CM, делённое на $E$ у CM | больше 0,8: выигрыш меньше пятой части |
# | 7 | прибавка параметров у LPE, % | от 7,5 до 8,5 |
# | 8 | ожидания автора до запусков | свой порог у каждого, в таблице результатов |
#
# **Нестабильность** $N$ показывает, насколько кривая ошибки одного запуска отходит от остальных
# запусков с тем же $b$. Это среднее по шагам от $|\log_{10} E - m|$, где $E$ — ошибка в целевой задаче
# на этом шаге, а $m$ — среднее от $\log_{10} E$ по запускам. Значение 0,3 — отклонение вдвое.
#
# Каждое число — среднее по запускам (для отношений — среднее геометрическое) с доверительным
# интервалом Стьюдента 95 %. Отношения берутся внутри запуска, то есть попарно. Пункт
# **подтверждён**, если весь интервал лежит по нужную сторону порога, **не подтверждён**, если весь
# лежит по другую, и **открыт**, если порог внутри интервала или запусков меньше двух.

# %% [markdown] tags=["en"]
# ## Verdicts
#
# Words like “very badly” and “much better” must be defined first. The definitions and thresholds in
# the table are ours, and were written before the verdicts were computed. $E(v)$ is the target error
# of variant $v$ with the full prompt, $L(v)$ its training loss over the last steps that its curve
# records.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | 1 | $E$ of SPE and of LPE | above 0.5: not even half the answers’ variance is explained |
# | 2 | $E$ with the mask divided by $E$ without | below 0.5: the error is at least halved |
# | 3 | $E$ of LPE + CM divided by $E$ of SPE + CM | below 1 |
# | 4 | $L$ divided by $E$, for SPE and for LPE | below 0.5; whether $E$ itself is high is point 1 |
# | 5 | the instability $N$ of SPE + CM minus that of LPE + CM | above 0 |
# | 6 | $E$ of SPE + CM divided by $E$ of CM | above 0.8: the gain is less than a fifth |
# | 7 | parameters that LPE adds, % | from 7.5 to 8.5 |
# | 8 | the author’s expectations before the runs | a threshold for each, in the table of results |
#
# The **instability** $N$ says how far the error curve of one run strays from the other runs with the
# same $b$. It is the mean over steps of $|\log_{10} E - m|$, where $E$ is the target error at that
# step and $m$ the mean of $\log_{10} E$ over the runs. A value of 0.3 is a factor of two.
#
# Every number is a mean over runs (geometric for ratios) with a 95 % Student-t confidence interval.
# Ratios are taken within a run, that is, in pairs. A point is **confirmed** if the whole interval
# lies on the claimed side of the threshold, **not confirmed** if all of it lies on the other, and
# **open** if the threshold is inside or there are fewer than two runs.


# %%
def error(variant):
    return per_run(errors[errors.k == config.n_examples], variant, "error")


def loss(variant):
    return per_run(last_rows(curves), variant, "training_loss")


unstable = {v: instability(curves, v) for v in ("SPE + CM", "LPE + CM")}


# %%
def claim(point, quantity, values, **side):
    verdict = judge(values, geometric=" / " in quantity, **side)
    (word, threshold), *_ = side.items()
    sign = {"above": ">", "below": "<"}[word]
    words = {language: f"{sign} {report.number(threshold, language)}" for language in ("ru", "en")}
    return point, quantity, words, *verdict


def fall(numerator, denominator):
    return error(numerator) / error(denominator)


# %%
claims = [
    claim("1", "E(SPE)", error("SPE"), above=0.5),
    claim("1", "E(LPE)", error("LPE"), above=0.5),
    claim("2", "E(SPE + CM) / E(SPE)", fall("SPE + CM", "SPE"), below=0.5),
    claim("2", "E(LPE + CM) / E(LPE)", fall("LPE + CM", "LPE"), below=0.5),
    claim("3", "E(LPE + CM) / E(SPE + CM)", fall("LPE + CM", "SPE + CM"), below=1),
    claim("4", "L(SPE) / E(SPE)", loss("SPE") / error("SPE"), below=0.5),
    claim("4", "L(LPE) / E(LPE)", loss("LPE") / error("LPE"), below=0.5),
    claim("5", "N(SPE + CM) − N(LPE + CM)", unstable["SPE + CM"] - unstable["LPE + CM"], above=0),
    claim("6", "E(SPE + CM) / E(CM)", fall("SPE + CM", "CM"), above=0.8),
    claim("8", "E(CM) / E(LPE + CM)", fall("CM", "LPE + CM"), above=1),
    claim("8", "E(CM) / E(SPE + CM)", fall("CM", "SPE + CM"), above=1),
    claim("8", "E(LPE) / E(LPE + CM)", fall("LPE", "LPE + CM"), above=1),
    claim("8", "E(SPE) / E(SPE + CM)", fall("SPE", "SPE + CM"), above=1),
    claim("8", "E(none)", error("none"), above=0.5),
    claim("8", "E(SPE + CM) / E(LPE + CM)", fall("SPE + CM", "LPE + CM"), below=1),
]

# %% [markdown] tags=["ru"]
# Число параметров (пункт 7) от запуска не зависит, интервал у него вырожден.

# %% [markdown] tags=["en"]
# The number of parameters (point 7) does not depend on the run: its interval is a point.

# %%
lpe = 100 * added["LPE"]
status = "confirmed" if 7.5 <= lpe <= 8.5 else "not confirmed"
words = {"ru": "от 7,5 до 8,5", "en": "7.5 to 8.5"}
claims.insert(
    9, ("7", {"ru": "прибавка LPE, %", "en": "added by LPE, %"}, words, lpe, lpe, lpe, "", status)
)
columns = ["point", "quantity", "when", "value", "low", "high", "runs", "status"]
results = pd.DataFrame(claims, columns=columns)
verdicts = results.assign(status=[{"ru": report.STATUSES[s], "en": s} for s in results.status])

# %%
report.table(
    verdicts,
    ru={
        "point": "пункт",
        "quantity": "величина",
        "when": "порог",
        "value": "среднее",
        "low": "от",
        "high": "до",
        "runs": "запуски",
        "status": "вердикт",
    },
    en={
        "point": "point",
        "quantity": "quantity",
        "when": "threshold",
        "value": "mean",
        "low": "from",
        "high": "to",
        "runs": "runs",
        "status": "verdict",
    },
)

# %%
means = full.groupby("variant").error.mean().sort_values()
statuses = list(results.status)
report.say(
    ru="Ошибка в целевой задаче при полном промпте, среднее по запускам (запусков: {runs} из {planned}; "
    "предсказание «ноль» получает 1): {errors}. Проверок: {n}; подтверждено: {yes}, не "
    "подтверждено: {no}, открыто: {open}.",
    en="Target error with the full prompt, mean over runs (runs: {runs} of {planned}; the prediction "
    "“zero” scores 1): {errors}. Tests: {n}; confirmed: {yes}, not confirmed: {no}, open: {open}.",
    role="headline",
    runs=len(runs),
    planned=len(planned),
    errors={
        language: "; ".join(f"{v} — {report.number(e, language)}" for v, e in means.items())
        for language in report.LANGUAGES
    },
    n=len(statuses),
    yes=statuses.count("confirmed"),
    no=statuses.count("not confirmed"),
    open=statuses.count("open"),
)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Сравнение кодирований — это и сравнение масштабов.** Строки SPE имеют норму $\sqrt{32}$, строки
#   LPE начинают с чисел порядка 0,02, а масштаб токенов задаёт линейный слой. От этого соотношения
#   зависит, сколько модель простоит на плато, и оно здесь не варьируется.
# - **Число шагов конечно.** Вариант, который за это время ничему не научился, мог бы научиться
#   позже; то же верно для утечки ответов.
# - **Одна задача и одна длина.** Линейные функции без шума, одна размерность, одна и та же длина
#   промпта при обучении и при оценке.
# - **Причина утечки не проверена.** Автор объясняет её тем, что функция потерь учитывает все
#   токены. Чтобы это проверить, нужно обучить те же варианты только на запросе.
# - **Мало запусков.** Интервал по нескольким запускам широк, и «открыто» в таблице часто значит
#   именно это.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Comparing encodings is also comparing scales.** SPE’s rows have norm $\sqrt{32}$, LPE’s rows
#   start from numbers near 0.02, and the read-in sets the tokens’ scale. How long a model sits on
#   its plateau depends on these ratios, and they are not varied here.
# - **The number of steps is finite.** A variant that learned nothing in that time might have learned
#   later; the same holds for label leakage.
# - **One task and one length.** Linear functions without noise, one dimension, one prompt length in
#   training and in evaluation.
# - **The cause of the leak is not tested.** The author puts it down to the loss, which counts all
#   tokens. To test that, the same variants must be trained on the query alone.
# - **Few runs.** An interval over a handful of runs is wide, and “open” in the table often means
#   just that.
