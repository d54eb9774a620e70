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
# # Шесть вариантов: эксперимент автора, до последней цифры

# %% [markdown] tags=["en"]
# # Six variants: the author’s experiment, to the last digit

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Трансформер читает промпт: $n$ примеров $(x_i, y_i)$, где $y_i = w^\top x_i$, и запрос $x_q$. Вектор $w$ в
# каждом промпте новый. Чтобы предсказать $y_q$, модель должна найти $w$ по примерам, не меняя весов: это и
# есть обучение в контексте (ICL). Порядок примеров не важен, но надо понять, какой ответ к какой точке
# относится. Подсказать это могут **позиционное кодирование**, которое сообщает токену его номер, и **каузальная
# маска**, которая разрешает смотреть только назад. Что из них помогает, а что мешает? И что изменится, если одни
# и те же слои применить $b$ раз?
#
# Так спросил студент в работе «Эксперимент №3» (репозиторий DaniilLaptev/TBankFoundations, август 2024 года,
# коммит 167da65): шесть вариантов, $b = 1$ и $5$, три зерна. Его числа опубликованы, и по ним видно, какие
# случайные числа брала его программа. Поэтому здесь мы не пересказываем его опыт, а повторяем: те же начальные
# веса, те же промпты, те же шаги.

# %% [markdown] tags=["en"]
# ## The question
#
# A transformer reads a prompt: $n$ examples $(x_i, y_i)$ with $y_i = w^\top x_i$, and a query $x_q$. Every prompt
# has a new $w$. To predict $y_q$ the model must find $w$ from the examples, with its weights fixed: that is
# in-context learning (ICL). The order of the examples does not matter, but it must work out which answer
# belongs to which point. Two things can tell it: a **positional encoding**, which tells a token its number, and a
# **causal mask**, which lets it look backwards only. Which of them helps, which does harm? And what changes when
# the same layers are applied $b$ times?
#
# A student asked this in “Experiment 3” (repository DaniilLaptev/TBankFoundations, August 2024, commit 167da65):
# six variants, $b = 1$ and $5$, three seeds. His numbers are published, and they show which random numbers his
# program drew. So we do not retell his experiment here, we repeat it: the same initial weights, the same
# prompts, the same steps.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Что он ожидал до запусков: позиция важна, и без кодирования станет хуже; без маски тоже; без того и другого
# результат будет неудовлетворительным; SPE может оказаться лучше LPE. Что утверждает после них: кодирование без
# маски «работает очень плохо», с маской — «значительно» лучше; LPE лучше SPE; без маски «происходит значительное
# переобучение»; SPE с маской обучается «гораздо более нестабильно» и «не даёт практически никакого выигрыша» по
# сравнению с одной маской; LPE добавляет примерно 8 % параметров.
#
# Наша гипотеза к этой главе одна, и записана она до запусков: если мы верно поняли его программу, все 36 запусков
# повторятся — отличия в ошибках меньше одной тысячной.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# What he expected beforehand: position matters, and it will be worse without an encoding; without the mask too;
# without either the result will be unsatisfactory; SPE may beat LPE. What he claims afterwards: an encoding
# without a mask “works very badly”, with the mask it works “considerably” better; LPE beats SPE; without a mask
# there is “considerable overfitting”; SPE with the mask trains “much less stably” and gives “practically no gain”
# over the mask alone; LPE adds about 8% to the parameters.
#
# We have one hypothesis for this chapter, written down before the runs: if we have understood his program, all
# 36 runs come out again, with differences below one part in a thousand.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# По умолчанию — эксперимент автора (setup `source`); `setup = "gpt2"` — тот же вопрос в обстановке из учебника:
# блок, начальные веса и синусоида как в GPT-2. Запуск — один вариант при одних `b` и `seed`.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The defaults are the author’s experiment (setup `source`); `setup = "gpt2"` asks the same question in the
# textbook’s setting: GPT-2’s block, initial weights and sinusoid. A run is one variant at one `b` and `seed`.

# %%
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from icl_core import records, sampler, training
from icl_core.config import Config
from icl_core.encodings import MASKS
from icl_core.initial import initial_model
from icl_report import drawing, report
from icl_report.attention_figure import explorer
from icl_report.execute import refuse_unknown

logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_core.training").setLevel("INFO")

# %% tags=["parameters"]
b: int = 1  # loop iterations / число итераций цикла
seed: int = 42  # seed of weights and prompts / зерно весов и промптов
setup: str = "source"  # source, gpt2, quick, smoke: icl_core/config.py / обстановка
steps: int = 0  # training steps, 0: as many as the setup has / шаги, 0: сколько в обстановке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
refuse_unknown(In, ["b", "seed", "setup", "steps", "device", "out"])
variants = ["none", "CM", "SPE", "LPE", "SPE + CM", "LPE + CM"]
given = {"setup": setup, "b": b, "seed": seed, "device": device} | (
    {"steps": steps} if steps else {}
)
configs = [Config(variant=variant, **given) for variant in variants]
config = configs[0]

# %% [markdown] tags=["ru"]
# ## Что сравниваем
#
# Вариант — кодирование (синусоидальное SPE, обучаемое LPE или никакого) и маска (каузальная CM или никакой).
# none — ни того, ни другого. Ответа $y_q$ в промпте нет никогда.
#
# - **Ошибка на обучении** — средний квадрат ошибки по *всем* токенам $x$ промпта. Без маски токен $x_i$ видит свой
#   ответ $y_i$ и может его списать.
# - **Ошибка на запросе** — квадрат ошибки предсказания $y_q$. О модели судим по ней.
#
# Обе делятся на $d$: 0 — идеально, 1 — модель, которая не знает ничего. При $b > 1$ автор усредняет ошибки по
# итерациям цикла; мы рядом приводим последнюю.
#
# **Модель автора**: $h = 0$; на каждой итерации $h \leftarrow h + e + p$, затем оба блока. Блок:
# $h \leftarrow h + \mathrm{MLP}(\mathrm{LN}(h + \mathrm{attention}(\mathrm{LN}(h))))$ — выход внимания в остаточном
# потоке не остаётся, остаётся лишь то, что сделал из него MLP. Последней нормировки нет. У SPE основание не
# 10000, а $\ln 10000 \approx 9{,}2$ — похоже, описка в формуле; обучаемая таблица LPE начинается с $N(0, 1)$, а не
# с 0,02, как в GPT-2. Всё это мы берём как есть.

# %% [markdown] tags=["en"]
# ## What is compared
#
# A variant is an encoding (sinusoidal SPE, learned LPE or none) and a mask (causal CM or none); “none” has
# neither. The answer $y_q$ is never in the prompt.
#
# - **Training loss**: the mean squared error over *all* $x$-tokens of the prompt. Without a mask the token $x_i$
#   sees its own answer $y_i$ and can copy it.
# - **Target error**: the squared error of the prediction of $y_q$. This is what a model is judged by.
#
# Both are divided by $d$: 0 is perfect, 1 is a model that knows nothing. At $b > 1$ the author averages errors
# over the loop iterations; we give the last one beside it.
#
# **The author’s model**: $h = 0$; in each iteration $h \leftarrow h + e + p$, then both blocks. A block is
# $h \leftarrow h + \mathrm{MLP}(\mathrm{LN}(h + \mathrm{attention}(\mathrm{LN}(h))))$: the attention’s output does
# not stay in the residual stream, only what the MLP makes of it does. There is no final norm. SPE’s base is not
# 10000 but $\ln 10000 \approx 9.2$, a slip of the formula it seems; LPE’s table starts from $N(0, 1)$, where GPT-2
# has 0.02. All of this we take as it is.

# %%
shown = {
    "d": ("размерность d", "dimension d"),
    "n_examples": ("примеров в промпте n", "examples in a prompt n"),
    "n_layers": ("слоёв", "layers"),
    "n_heads": ("голов внимания", "attention heads"),
    "width": ("скрытая размерность", "hidden dimension"),
    "mlp_width": ("ширина MLP", "width of the MLP"),
    "batch_size": ("промптов в батче", "prompts in a batch"),
    "lr": ("скорость обучения в Adam", "Adam’s learning rate"),
    "steps": ("шагов", "steps"),
}
rows = [({"ru": ru, "en": en}, getattr(config, name)) for name, (ru, en) in shown.items()]
table = pd.DataFrame(rows, columns=["what", "value"])
report.table(
    table, ru={"what": "параметр", "value": "значение"}, en={"what": "parameter", "value": "value"}
)

# %%
models = {own.variant: initial_model(own)[0] for own in configs}
counts = {name: sum(p.numel() for p in own.parameters()) for name, own in models.items()}
report.say(
    ru="Параметров у модели без кодирования и с SPE {plain}, с LPE {learned}: прибавка {added} %, как и "
    "говорит автор.",
    en="The model without an encoding or with SPE has {plain} parameters, with LPE {learned}: {added}% more, as "
    "the author says.",
    holds=setup != "source" or round(100 * (counts["LPE"] / counts["none"] - 1)) == 8,
    plain=counts["SPE"],
    learned=counts["LPE"],
    added=100 * (counts["LPE"] / counts["none"] - 1),
)


# %%
def draw_encodings_and_masks(t):
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), width_ratios=[3, 3, 2, 2])
    zeros = models["SPE"].read_in.weight.new_zeros(1, config.n_tokens, config.width)
    for ax, name in zip(axes, ("SPE", "LPE")):
        image = ax.imshow(
            models[name].encoding(zeros)[0].detach().cpu(), aspect="auto", cmap="RdBu_r"
        )
        figure.colorbar(image, ax=ax, shrink=0.8)
        ax.set(title=name, xlabel=t("координата", "coordinate"), ylabel=t("токен", "token"))
    for ax, mask, title in zip(
        axes[2:], ("CM", ""), (t("каузальная маска", "causal mask"), t("без маски", "no mask"))
    ):
        ax.imshow(MASKS[mask](9).exp(), cmap="Greys", vmin=0, vmax=1.6)
        ax.set(
            title=title, xlabel=t("смотрит на токен", "looks at token"), ylabel=t("токен", "token")
        )
    return figure


# %%
report.figure(
    "encodings_and_masks",
    draw_encodings_and_masks,
    ru={
        "alt": "Таблицы двух кодирований до обучения, каузальная маска и её отсутствие",
        "caption": "Что прибавляется к токенам и кто кого видит. Слева строки двух кодирований до обучения, справа "
        "маски для первых девяти токенов: серая клетка — токен строки видит токен столбца.",
    },
    en={
        "alt": "The tables of the two encodings before training, the causal mask and no mask",
        "caption": "What is added to the tokens, and who sees whom. On the left the rows of the two encodings before "
        "training, on the right the masks of the first nine tokens: grey where the row’s token sees the column’s.",
    },
)

# %% [markdown] tags=["ru"]
# ## Запуск
#
# Записанные запуски читаются, прерванные продолжаются, недостающие обучаются по одному. Если такие есть, сначала
# сказано, сколько времени на это уйдёт.

# %% [markdown] tags=["en"]
# ## The run
#
# Recorded runs are loaded, interrupted ones resumed, missing ones trained one by one. If there are any, how long that
# will take is said first.

# %%
minutes = [training.minutes_ahead(own, out) for own in configs]
if any(minutes):
    report.say(
        ru="Вариантов, которых ещё нет: {missing} из {all}. Их обучение займёт на этой машине примерно {minutes} мин.",
        en="Variants that are not there yet: {missing} of {all}. Training them here will take about {minutes} minutes.",
        missing=sum(time > 0 for time in minutes),
        all=len(variants),
        minutes=round(sum(minutes)),
    )

# %%
own_runs = [training.run(own, out) for own in configs]

# %% [markdown] tags=["ru"]
# Чем кончился этот запуск: ошибка на обучении на последних шагах и ошибка на запросе, на 1 280 новых промптах,
# после последней итерации и в среднем по итерациям, как считает автор.

# %% [markdown] tags=["en"]
# How this run ended: the training loss over the last steps, and the target error on 1,280 new prompts, after the last
# iteration and as the mean over iterations, which is the author’s way.

# %%
curves = records.tidy(own_runs, "curves.csv")
full = records.tidy(own_runs, "errors.csv").query("k == @config.n_examples")
ended = (
    pd.DataFrame(
        {
            "loss": curves.groupby("variant").training_loss.last(),
            "error": full[full.loops == b].set_index("variant").error,
            "mean": full.groupby("variant").error.mean(),
        }
    )
    .loc[variants]
    .reset_index()
)
report.table(
    ended,
    ru={
        "variant": "вариант",
        "loss": "на обучении",
        "error": "на запросе",
        "mean": "среднее по итерациям",
    },
    en={
        "variant": "variant",
        "loss": "training loss",
        "error": "target error",
        "mean": "mean over iterations",
    },
    digits=2,
)


# %%
def draw_curves(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
    titles = (t("ошибка на обучении", "training loss"), t("ошибка на запросе", "target error"))
    for ax, column, title in zip(axes, ("training_loss", "target_error"), titles):
        for variant, own in curves.groupby("variant", sort=False):
            ax.plot(own.step, own[column], label=variant, **drawing.style(variant))
        ax.set(title=title, xlabel=t("шаг", "step"), yscale="log")
        drawing.name_lines(ax)
    axes[0].set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    return figure


# %%
report.figure(
    "close_up",
    draw_curves,
    ru={
        "alt": "Ошибка на обучении и на запросе по шагам, шесть вариантов одного запуска",
        "caption": f"Малая ошибка на обучении ещё не значит, что модель ответит на запрос. "
        f"b = {b}, зерно {seed}; слева среднее по {config.log_every} шагам, справа {config.curve_prompts} новых промптов.",
    },
    en={
        "alt": "Training loss and target error by step, six variants of one run",
        "caption": f"A low training loss does not mean that the model can answer the query. b = {b}, "
        f"seed {seed}; on the left means over {config.log_every} steps, on the right {config.curve_prompts} new prompts.",
    },
)

# %% [markdown] tags=["ru"]
# ## До последней цифры
#
# Его числа опубликованы: ошибка на обучении на 16 шагах, шесть проверок по ходу обучения и десять тестов каждого из
# 36 запусков. Строка таблицы — один запуск: наибольшее относительное отличие нашего числа от его числа.

# %% [markdown] tags=["en"]
# ## To the last digit
#
# His numbers are published: the training loss at 16 steps, six checks during training and ten tests of each of the 36
# runs. A row of the table is one run: the largest relative difference of our number from his.

# %%
PUBLISHED = records.PROJECT / "data" / "source" / "published"
his_runs, his_tests = (pd.read_csv(PUBLISHED / name) for name in ("runs.csv", "tests.csv"))
his_runs = his_runs.set_index(["variant", "b", "seed"])
PUBLISHED_STEPS = [
    int(name[5:]) for name in his_runs if name.startswith("loss_") and name[5:].isdigit()
]
recorded = records.recorded_runs(out, configs)
repeated = [run for run in recorded if run.config.setup == "source" and run.key in his_runs.index]


# %%
def difference(ours, his):
    """The largest relative difference."""
    return float(np.max(np.abs(np.asarray(ours, float) / np.asarray(his, float) - 1)))


def agreement(run):
    """One run beside his: losses at the published steps, checks, tests, the step where they part."""
    variant, b, seed = run.key
    his, loss = his_runs.loc[run.key], run.tensors("losses.safetensors")["loss"].double().numpy()
    apart = {step: difference(loss[step - 1], his[f"loss_{step}"]) for step in PUBLISHED_STEPS}
    checks, tests = run.table("checks.csv"), run.table("tests.csv")
    return {
        **{"variant": variant, "b": b, "seed": seed},
        "losses": max(apart.values()),
        "checks": difference(checks.error, [his[f"eval_{step}"] for step in checks.step]),
        "tests": difference(tests.error, his_tests.query("seed == @seed")[f"{variant}, b = {b}"]),
        "apart": min((step for step in apart if apart[step] > 1e-3), default=np.nan),
        "end": loss[-100:].mean(),
        "his_end": his.loss_last_100,
    }


# %%
agreements = pd.DataFrame([agreement(run) for run in repeated])
if len(agreements):
    report.table(
        agreements,
        ru={
            "variant": "вариант",
            "b": "b",
            "seed": "зерно",
            "losses": "16 шагов",
            "checks": "6 проверок",
            "tests": "10 тестов",
            "apart": "расходятся с шага",
            "end": "в конце у нас",
            "his_end": "у него",
        },
        en={
            "variant": "variant",
            "b": "b",
            "seed": "seed",
            "losses": "16 steps",
            "checks": "6 checks",
            "tests": "10 tests",
            "apart": "part at step",
            "end": "our end",
            "his_end": "his end",
        },
        digits=2,
    )

# %%
if len(agreements):
    exact = agreements[["losses", "checks"]].max(axis=1) < 1e-3
    report.say(
        ru="Повторено запусков: {n} из 36. У {exact} из них ошибки на обучении и проверки отличаются от опубликованных "
        "меньше чем на одну тысячную, в худшем из этих запусков на {worst}. Тесты отличаются сильнее, на величину до "
        "{tests}: там, где разброс x мал, мала и сама ошибка.",
        en="Runs repeated: {n} of 36. In {exact} of them training losses and checks differ from the published ones by "
        "less than one part in a thousand, in the worst of these by {worst}. Tests differ more, by up to {tests}: where "
        "the spread of x is small, so is the error itself.",
        n=len(agreements),
        exact=int(exact.sum()),
        worst=agreements[exact][["losses", "checks"]].max(axis=None),
        tests=agreements[exact].tests.max(),
    )

# %%
if len(agreements) and not exact.all():
    parted = agreements[~exact]
    end = 100 * float((parted.end / parted.his_end - 1).abs().max())
    report.say(
        ru="Остальные ({n}) расходятся с его запусками поздно, не раньше шага {step}: ошибки округления растут, как в "
        "любой нелинейной системе. Кончаются они там же: ошибка на обучении на последних ста шагах отличается не больше "
        "чем на {end} %.",
        en="The others ({n}) part from his runs late, not before step {step}: rounding errors grow, as in any nonlinear "
        "system. They end in the same place: the training loss over the last hundred steps differs by no more than "
        "{end}%.",
        holds=bool(parted.apart.min() >= 3000 and end < 5),
        n=len(parted),
        step=parted.apart.min(),
        end=end,
    )

# %% [markdown] tags=["ru"]
# ## Его первый рисунок
#
# `performance`: для каждого варианта и $b$ ящик по 30 тестам. В каждом тесте у координат $x$ своё стандартное
# отклонение, случайное, от 0 до 2, а ошибка на него не делится.

# %% [markdown] tags=["en"]
# ## His first figure
#
# `performance`: a box over 30 tests for each variant and $b$. In each test the coordinates $x$ have a standard
# deviation of their own, drawn at random between 0 and 2, and the error is not divided by it.

# %%
ours = records.tidy(repeated, "tests.csv") if repeated else pd.DataFrame()
columns = [f"{variant}, b = {k}" for variant in variants for k in (1, 5)]
his = his_tests.melt(["seed", "launch", "std"], columns, "column", "error")
his[["variant", "b"]] = his.column.str.split(", b = ", expand=True)
his["b"] = his.b.astype(int)


def draw_performance(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
    titles = (t("его тесты", "his tests"), t("наши тесты его моделей", "our tests of his models"))
    for ax, tests, title in zip(axes, (his, ours), titles):
        look = {"palette": {1: "C0", 5: "C1"}, "hue_order": [1, 5], "dodge": True, "gap": 0.1}
        sns.boxplot(tests, x="variant", y="error", hue="b", order=variants, ax=ax, **look)
        ax.set(title=title, xlabel="", ylabel=t("ошибка на запросе / d", "target error / d"))
        ax.legend(title="b")
    return figure


# %%
if repeated:
    report.figure(
        "performance",
        draw_performance,
        ru={
            "alt": "Ящики ошибок на запросе в тестах: шесть вариантов, b = 1 и 5, опубликованные и наши",
            "caption": "Тот же рисунок дважды: слева его опубликованные тесты, справа наши тесты повторённых запусков. "
            "В ящике по 10 тестов на каждый запуск. В легенде его рисунка цвета двух b перепутаны; здесь они на местах.",
        },
        en={
            "alt": "Boxes of the target error in the tests: six variants, b = 1 and 5, published and ours",
            "caption": "The same figure twice: on the left his published tests, on the right our tests of the repeated "
            "runs. A box holds 10 tests for each run. The legend of his figure has the colours of the two b exchanged; here they "
            "are put right.",
        },
    )

# %% [markdown] tags=["ru"]
# Высота ящика — это в основном разброс масштаба $x$. Если поделить ошибку на дисперсию $x$, он исчезает: у модели
# без кодирования и без маски во всех тестах выходит почти единица, то есть она не знает ничего.

# %% [markdown] tags=["en"]
# The height of a box is mostly the spread of the scale of $x$. Divide the error by the variance of $x$ and it is
# gone: the model with neither encoding nor mask is near one in all tests, which is to say that it knows nothing.


# %%
def draw_divided(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
    for ax, k in zip(axes, (1, 5)):
        for variant in variants:
            own = his[(his.variant == variant) & (his.b == k) & (his["std"] > 0.3)].sort_values(
                "std"
            )
            look = drawing.style(variant)
            ax.plot(
                own["std"],
                own.error / own["std"] ** 2,
                "o",
                ms=4,
                color=look["color"],
                mfc=look["color"] if look["linestyle"] == "-" else "white",
                label=variant,
            )
        ax.set(
            title=f"b = {k}",
            xlabel=t("стандартное отклонение x", "standard deviation of x"),
            yscale="log",
        )
    axes[0].set_ylabel(
        t("ошибка на запросе / (d · дисперсия x)", "target error / (d · variance of x)")
    )
    axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


# %%
report.figure(
    "divided",
    draw_divided,
    ru={
        "alt": "Опубликованные тесты: ошибка на запросе, делённая на дисперсию x, против стандартного отклонения x",
        "caption": "Когда масштаб поделён, видно, чему модели научились: с маской и при b = 5 ошибка меньше. Точка — "
        "один из его опубликованных тестов, закрашена при маске. Тесты, где стандартное отклонение x меньше 0,3, "
        "опущены: там ничтожная ошибка в сотни раз больше самого ответа.",
    },
    en={
        "alt": "Published tests: the target error divided by the variance of x against the standard deviation of x",
        "caption": "With the scale divided out one sees what the models have learned: the error is lower with the mask, "
        "and at b = 5. A dot is one of his published tests, filled where there is a mask. Tests with x’s standard "
        "deviation below 0.3 are left out: there a negligible error is hundreds of times the answer itself.",
    },
)

# %%
wide = his[his["std"] > 0.3]
divided = wide.error / wide["std"] ** 2
nothing = divided[wide.variant == "none"]
by_b = wide.assign(divided=divided).groupby(["variant", "b"]).divided.median().unstack()
report.say(
    ru="В его тестах у none отношение лежит между {low} и {high}. Больше итераций помогает всем трём вариантам с "
    "маской: медиана отношения у CM падает с {cm_1} до {cm_5}, у SPE + CM с {spe_1} до {spe_5}, у LPE + CM с {lpe_1} "
    "до {lpe_5}.",
    en="In his tests the ratio of “none” lies between {low} and {high}. More iterations help all three variants with "
    "a mask: the median ratio falls from {cm_1} to {cm_5} for CM, from {spe_1} to {spe_5} for SPE + CM, and from "
    "{lpe_1} to {lpe_5} for LPE + CM.",
    holds=bool(
        (by_b[5] < by_b[1])[["CM", "SPE + CM", "LPE + CM"]].all()
        and nothing.min() > 0.8
        and nothing.max() < 1.1
    ),
    low=nothing.min(),
    high=nothing.max(),
    **{
        f"{name}_{k}": by_b.loc[variant, k]
        for name, variant in (("cm", "CM"), ("spe", "SPE + CM"), ("lpe", "LPE + CM"))
        for k in (1, 5)
    },
)

# %% [markdown] tags=["ru"]
# ## Его второй рисунок
#
# `loss comparison`: ошибка на обучении, среднее и разброс по запускам (три зерна, $b = 1$ и $5$ вместе), каждый
# 75-й шаг. Рядом — то, чего у него нет: ошибка на запросе.

# %% [markdown] tags=["en"]
# ## His second figure
#
# `loss comparison`: the training loss, mean and spread over the runs (three seeds, $b = 1$ and $5$ together), every
# 75th step. Beside it is what he does not have: the target error.

# %%
of_all = records.tidy(repeated, "curves.csv") if repeated else pd.DataFrame()
in_common = his_runs.loc[[run.key for run in repeated]]
his_losses = in_common[[f"loss_{step}" for step in PUBLISHED_STEPS]].groupby("variant").mean()


def draw_losses(t):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), sharey=True)
    titles = (t("ошибка на обучении", "training loss"), t("ошибка на запросе", "target error"))
    for ax, column, title in zip(axes, ("training_loss", "target_error"), titles):
        for variant in variants:
            look, own = drawing.style(variant), of_all[of_all.variant == variant]
            over = own.groupby("step")[column].agg(["mean", "std"]).fillna(0)
            ax.plot(over.index, over["mean"], label=variant, **look)
            ax.fill_between(
                over.index,
                over["mean"] - over["std"],
                over["mean"] + over["std"],
                color=look["color"],
                alpha=0.15,
                lw=0,
            )
        ax.set(title=title, xlabel=t("шаг", "step"), ylim=(0, 1.3))
        drawing.name_lines(ax)
    for variant in his_losses.index:
        axes[0].plot(
            PUBLISHED_STEPS,
            his_losses.loc[variant],
            "o",
            ms=5,
            mfc="none",
            color=drawing.style(variant)["color"],
        )
    axes[0].set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    return figure


# %%
if repeated:
    report.figure(
        "loss_comparison",
        draw_losses,
        ru={
            "alt": "Ошибка на обучении и на запросе по шагам, шесть вариантов, среднее и разброс по запускам",
            "caption": "Это не переобучение, а списывание: SPE и LPE без маски на обучении почти не ошибаются, а на "
            f"запросе ошибаются, как модель, которая не знает ничего. Линии и полосы — среднее и стандартное отклонение по повторённым запускам (их {len(repeated)} из 36), "
            "кружки — среднее его опубликованных ошибок в тех же запусках на отдельных шагах: они лежат на наших линиях, "
            "насколько один батч позволяет сравнить себя со средним по 75.",
        },
        en={
            "alt": "Training loss and target error by step, six variants, mean and spread over the runs",
            "caption": "This is copying, not overfitting: SPE and LPE without a mask hardly err in training, and on the "
            f"query err like a model that knows nothing. Lines and bands are means and standard deviations over the repeated runs ({len(repeated)} of 36), rings the means "
            "of his published losses of the same runs at single steps: they lie on our lines, as far as one batch can be "
            "compared with the mean of 75.",
        },
    )

# %% [markdown] tags=["ru"]
# Переобучиться здесь не на чем: каждый батч новый, и ни один промпт не встречается дважды. Что модель списывает,
# видно прямо: подменим в промпте ответ $y_i$ среднего примера ответом из другого промпта и спросим, чему равно
# предсказание в $x_i$. Ошибка относительно *подложенного* ответа близка к нулю только у того, кто списывает.

# %% [markdown] tags=["en"]
# There is nothing to overfit on: every batch is new, and no prompt is met twice. That a model copies can be seen
# directly: replace the answer $y_i$ of the middle example by another prompt’s, and ask for the prediction at $x_i$.
# Its error against the *planted* answer is near zero only in a model that copies.

# %%
if repeated:
    probes = records.tidy(repeated, "probes.csv")
    ends = probes[probes.step == probes.step.max()]
    planted = (
        ends.groupby("variant").planted.agg(["min", "max", "size"]).loc[variants].reset_index()
    )
    report.table(
        planted,
        ru={
            "variant": "вариант",
            "size": "запусков",
            "min": "от подложенного ответа: от",
            "max": "до",
        },
        en={
            "variant": "variant",
            "size": "runs",
            "min": "against the planted answer: from",
            "max": "to",
        },
        digits=2,
    )

# %% [markdown] tags=["ru"]
# ## Куда смотрит модель
#
# Карта внимания на одном новом промпте: выберите вариант, слой и голову.

# %% [markdown] tags=["en"]
# ## Where the model looks
#
# The attention on one new prompt: choose a variant, a layer and a head.

# %%
explorer(
    "attention",
    own_runs,
    sampler.evaluation_prompts(config),
    ru={
        "alt": "Карты внимания шести вариантов на одном промпте; рамками отмечены клетки от x_i к y_i",
        "caption": "Рамкой обведены клетки от x_i к его ответу y_i: туда смотрит голова, которая списывает. Внимание "
        "записанных запусков ({runs}) на одном промпте; столбец «…» — сумма по остальным примерам, цвет — квадратный корень "
        "из веса. На неподвижном рисунке b = {b}, итерация {loop}, слой {layer}, голова {head}.",
    },
    en={
        "alt": "Attention maps of the six variants on one prompt; frames mark the cells from x_i to y_i",
        "caption": "Frames mark the cells from x_i to its answer y_i: a head that copies looks there. "
        "Attention of recorded runs ({runs}) on one prompt; the column “…” is the sum over the other examples, "
        "the colour the square root of the weight. The still picture is b = {b}, iteration {loop}, layer {layer}, head {head}.",
    },
)

# %% [markdown] tags=["ru"]
# ## Что мы узнали
#
# Его опыт повторяется число в число, значит, модели у нас — те самые, и дальше можно смотреть, что у них внутри.
# То, что он назвал переобучением, — списывание ответа из соседнего токена. Высота ящиков на его первом рисунке — разброс
# масштаба $x$. Цвета $b$ в легенде перепутаны: итерации помогают.

# %% [markdown] tags=["en"]
# ## What we learned
#
# His experiment comes out again number by number, so the models we hold are his, and one can go on and look inside them.
# What he called overfitting is copying the answer from the neighbouring token. The height of the boxes in his
# first figure is the spread of the scale of $x$. The colours of $b$ in its legend are exchanged: iterations help.

# %% [markdown] tags=["ru"]
# ## Чего эта глава не показывает
#
# - Почему SPE с маской то учится, то нет, и что именно находят те, кто учится: об этом следующие главы.
# - Три зерна — это три зерна. Больше зёрен и проверки гипотез впереди.
# - Повторение не делает его обстановку обычной: у блока, у синусоиды и у таблицы свои особенности, и какие выводы
#   держатся на них, здесь не видно.

# %% [markdown] tags=["en"]
# ## What this chapter does not show
#
# - Why SPE with the mask sometimes learns and sometimes does not, and what those that learn have found: that is for the
#   chapters to come.
# - Three seeds are three seeds. More seeds and the tests of hypotheses are still ahead.
# - To repeat a setting does not make it an ordinary one: the block, the sinusoid and the table have peculiarities, and
#   which conclusions hang on them cannot be seen here.
