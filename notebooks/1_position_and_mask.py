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
# # Шесть вариантов: эксперимент автора, число в число

# %% [markdown] tags=["en"]
# # Six variants: the author’s experiment, number by number

# %% [markdown] tags=["ru"]
# **Все 36 его запусков повторены: 31 число в число, остальные до ошибок округления.** Значит, модели у нас — те самые, и можно смотреть, что у них внутри. То, что
# он назвал переобучением, — списывание ответа из соседнего токена. Высота ящиков на его первом рисунке — разброс
# масштаба $x$, а цвета двух $b$ в легенде перепутаны: итерации помогают.

# %% [markdown] tags=["en"]
# **All 36 of his runs are repeated: 31 number by number, the others up to rounding errors.** So the models we hold are his, and one can look inside them. What
# he called overfitting is copying the answer from the neighbouring token. The height of the boxes in his first figure is
# the spread of the scale of $x$, and the colours of the two $b$ in its legend are exchanged: iterations help.

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
# По умолчанию — эксперимент автора (setup `source`); `setup = "gpt2"` — тот же вопрос в постановке GPT-2:
# блок, начальные веса и синусоида как в GPT-2. Запуск — один вариант при одних `b` и `seed`.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The defaults are the author’s experiment (setup `source`); `setup = "gpt2"` asks the same question in the
# GPT-2 setup: its block, initial weights and sinusoid. A run is one variant at one `b` and `seed`.

# %%
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from icl_core import records, training
from icl_core.config import Config
from icl_core.encodings import MASKS
from icl_core.initial import initial_model
from icl_report import claims, drawing, text
from icl_report.execute import refuse_unknown

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
variants = ["none", "CM", "SPE", "LPE", "SPE + CM", "LPE + CM"]
given = {"setup": setup, "b": b, "seed": seed, "device": device}
given |= {"steps": steps} if steps else {}
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
# 10000, а $\ln 10000$, то есть 9,2, — похоже, описка в формуле; обучаемая таблица LPE начинается с $N(0, 1)$, а не
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
# 10000 but $\ln 10000$, that is 9.2, a slip of the formula it seems; LPE’s table starts from $N(0, 1)$, where GPT-2
# has 0.02. All of this we take as it is.

# %%
models = {own.variant: initial_model(own)[0] for own in configs}
counts = {name: sum(p.numel() for p in own.parameters()) for name, own in models.items()}
text.say(
    ru="Примеров в промпте {n_examples}, размерность $x$ {d}. Слоёв {n_layers}, голов внимания {n_heads}, скрытая размерность "
    "{width}, в MLP {mlp_width}. Adam, {steps} шагов по {batch_size} промпта, скорость обучения {lr}.",
    en="A prompt has {n_examples} examples, $x$ has dimension {d}. There are {n_layers} layers with {n_heads} attention heads, "
    "hidden dimension {width}, {mlp_width} in the MLP. Adam, {steps} steps of {batch_size} prompts, learning rate {lr}.",
    **config.model_dump(),
)

# %%
added = 100 * (counts["LPE"] / counts["none"] - 1)
text.say(
    ru="У модели без кодирования и с SPE {plain} параметров, с LPE {learned}: на {added} % больше, как автор и говорит.",
    en="Without an encoding or with SPE the model has {plain} parameters, with LPE {learned}: {added}% more, as the author "
    "says.",
    holds=setup != "source" or round(added) == 8,
    plain=counts["SPE"],
    learned=counts["LPE"],
    added=round(added, 1),
)

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), width_ratios=[3, 3, 2, 2])
zeros = models["SPE"].read_in.weight.new_zeros(1, config.n_tokens, config.width)
for ax, name in zip(axes, ("SPE", "LPE")):
    rows = models[name].encoding(zeros)[0].detach().cpu()
    shown = ax.imshow(rows, aspect="auto", cmap="RdBu_r", interpolation="none")
    figure.colorbar(shown, ax=ax, shrink=0.8)
    ax.set(title=name, xlabel="coordinate", ylabel="token")
for ax, mask, title in zip(axes[2:], ("CM", ""), ("causal mask", "no mask")):
    ax.imshow(MASKS[mask](9).exp(), cmap="Greys", vmin=0, vmax=1.6, interpolation="none")
    ax.set(title=title, xlabel="looks at token", ylabel="token")
text.figure("encodings_and_masks", figure)

# %% [markdown] tags=["ru", "caption"]
# Что прибавляется к токенам и кто кого видит. Слева строки двух кодирований до обучения, справа маски для первых девяти
# токенов: серая клетка — токен строки видит токен столбца.
# <!-- alt: Таблицы двух кодирований до обучения, каузальная маска и её отсутствие -->

# %% [markdown] tags=["en", "caption"]
# What is added to the tokens, and who sees whom. On the left the rows of the two encodings before training, on the right
# the masks of the first nine tokens: grey where the row’s token sees the column’s.
# <!-- alt: The tables of the two encodings before training, the causal mask and no mask -->

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
    text.say(
        ru="Вариантов, которых ещё нет: {missing} из {all}. Их обучение займёт на этой машине примерно {minutes} мин.",
        en="Variants that are not there yet: {missing} of {all}. Training them here will take about {minutes} minutes.",
        missing=sum(time > 0 for time in minutes),
        all=len(variants),
        minutes=round(sum(minutes)),
    )

# %%
logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_core.training").setLevel("INFO")
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
ended = {
    "training loss": curves.groupby("variant").training_loss.last(),
    "target error": full[full.loops == b].set_index("variant").error,
    "mean over iterations": full.groupby("variant").error.mean(),
}
text.table(pd.DataFrame(ended).loc[variants].reset_index(names="variant"), digits=2)

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
for ax, column in zip(axes, ("training_loss", "target_error")):
    for variant, own in curves.groupby("variant", sort=False):
        ax.plot(own.step, own[column], label=variant, **drawing.style(variant))
    ax.set(title=column.replace("_", " "), xlabel="step", yscale="log")
    drawing.name_lines(ax)
axes[0].set_ylabel("squared error / d")
text.figure("close_up", figure)

# %%
text.say(
    role="caption",
    ru="Ошибка на обучении и на запросе по шагам при b = {b} и зерне {seed}: малая первая ещё не значит, что мала вторая. "
    "Слева среднее по {log_every} шагам, справа {curve_prompts} новых промптов. "
    "<!-- alt: Ошибка на обучении и на запросе по шагам, шесть вариантов одного запуска -->",
    en="Training loss and target error by step at b = {b} and seed {seed}: that the first is low does not yet mean that the "
    "second is. On the left means over {log_every} steps, on the right {curve_prompts} new prompts. "
    "<!-- alt: Training loss and target error by step, six variants of one run -->",
    **config.model_dump(),
)

# %% [markdown] tags=["ru"]
# ## Число в число
#
# Его числа опубликованы: ошибка на обучении на 16 шагах, шесть проверок по ходу обучения и десять тестов каждого из
# 36 запусков. Мы сравниваем с ними свои.

# %% [markdown] tags=["en"]
# ## Number by number
#
# His numbers are published: the training loss at 16 steps, six checks during training and ten tests of each of the 36
# runs. We compare ours with them.

# %%
published = records.PROJECT / "data" / "source" / "published"
his_runs, his_tests = (pd.read_csv(published / name) for name in ("runs.csv", "tests.csv"))
his_runs = his_runs.set_index(["variant", "b", "seed"])
his_losses = his_runs.filter(regex=r"^loss_\d+$").rename(columns=lambda name: int(name[5:]))
recorded = records.recorded_runs(out, configs)
repeated = [run for run in recorded if run.config.setup == "source" and run.key in his_runs.index]


# %%
def relative(ours, his):
    """How far our numbers are from his, in parts of his."""
    return np.abs(np.asarray(ours, float) / np.asarray(his, float) - 1)


def losses_apart(run):
    """Published step -> the relative difference of the training loss."""
    loss = run.tensors("losses.safetensors")["loss"].double().numpy()
    his = his_losses.loc[run.key]
    return pd.Series(relative(loss[his.index - 1], his), index=his.index)


# %%
def agreement(run):
    """One run beside his: losses, checks, tests, and both ends."""
    checks, tests, loss = run.table("checks.csv"), run.table("tests.csv"), losses_apart(run)
    his, (variant, b, seed) = his_runs.loc[run.key], run.key
    his_own = his_tests[his_tests.seed == seed][f"{variant}, b = {b}"]
    end = run.tensors("losses.safetensors")["loss"][-100:].double().mean()
    his_checks = his[[f"eval_{step}" for step in checks.step]]
    apart = [relative(checks.error, his_checks).max(), relative(tests.error, his_own).max()]
    parted = loss.index[loss > 1e-3].min()
    return [*run.key, loss.max(), *apart, parted, float(end), his.loss_last_100]


# %%
columns = ["variant", "b", "seed", "16 losses", "6 checks", "10 tests"]
columns += ["part at step", "our end", "his end"]
agreements = pd.DataFrame([agreement(run) for run in repeated], columns=columns)
if len(agreements):
    text.table(agreements.astype({"seed": str}), digits=2)

# %% [markdown] tags=["ru"]
# Строка таблицы — один запуск: наибольшее относительное отличие нашего числа от его числа, шаг, с которого ошибки на
# обучении расходятся больше чем на одну тысячную, и средняя ошибка на последних ста шагах у нас и у него.

# %% [markdown] tags=["en"]
# A row of the table is one run: the largest relative difference of our number from his, the step from which the training
# losses are more than one part in a thousand apart, and the mean loss over the last hundred steps, ours and his.


# %%
def draw_agreement(ax):
    """A dot a run: its largest difference at the 16 steps; the band is float32's last digit."""
    last_digit = 2.0**-23
    ax.axvspan(last_digit / 4, last_digit, color="0.9")
    ax.axvline(1e-3, color="grey", lw=0.8, ls=":")
    for own in agreements.assign(seed=agreements.seed.rank(method="dense")).to_dict("records"):
        marker, later = ("o", -0.38) if own["b"] == 1 else ("D", 0.04)
        row = grouped.index(own["variant"]) + 0.08 * own["seed"] + later
        apart = max(own["16 losses"], last_digit / 2)
        ax.plot(apart, row, marker, color=drawing.style(own["variant"])["color"], ms=5)
    ax.text(last_digit / 3.5, 5.8, "the band: equal in float32", fontsize=9, color="0.4")
    ax.text(1.2e-3, 5.8, "one part in a thousand", fontsize=9, color="0.4", ha="center")
    ax.set_yticks(range(6), grouped)
    ax.set(xscale="log", xlim=(last_digit / 4, 0.03), ylim=(6, -0.6))
    ax.set_xlabel("largest relative difference from his loss")


# %%
grouped = ["none", "SPE", "LPE", "CM", "SPE + CM", "LPE + CM"]
if len(agreements):
    figure, ax = plt.subplots(figsize=(drawing.WIDTH, 3.2))
    draw_agreement(ax)
    for variant, own in agreements[agreements["16 losses"] > 1e-3].groupby("variant"):
        step = int(own["part at step"].min())
        line = grouped.index(variant) + 0.65
        ax.text(0.03, line, f"parts at step {step}", ha="right", fontsize=9)
    ax.plot([], [], "o", color="grey", ms=5, label="b = 1")
    ax.plot([], [], "D", color="grey", ms=5, label="b = 5")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    text.figure("agreement", figure)

# %%
if len(agreements):
    exact = agreements[["16 losses", "6 checks"]].max(axis=1) < 1e-3
    lent = np.array([run.provenance["device"] != "cpu" for run in repeated])
    text.say(
        role="caption",
        ru="Насколько наша ошибка на обучении отличается от его опубликованной: точка — запуск ({n}), по оси наибольшее относительное "
        "отличие на 16 опубликованных шагах. В серой полосе числа одинаковы до последней цифры; больше одной тысячной отличаются "
        "только {apart}, и только под конец. "
        "<!-- alt: По строке точек на вариант: почти все левее одной стотысячной, правее одной тысячной несколько запусков SPE и один CM -->",
        en="How far our training loss is from his published one: a dot is a run ({n}), the axis has the largest relative difference "
        "at the 16 published steps. In the grey band the numbers are the same to the last digit; only {apart} differ by more than one "
        "part in a thousand, and only towards the end. "
        "<!-- alt: A row of dots a variant: nearly all lie left of 1e-5, and right of 0.001 there are a few runs of SPE and one of CM -->",
        holds={*agreements[~exact].variant} == {"SPE", "CM"},
        n=len(agreements),
        apart=int((~exact).sum()),
    )

# %%
if len(agreements):
    text.say(
        ru="Повторено запусков: {n} из 36. В {exact} из них и ошибки на обучении, и проверки отличаются от опубликованных "
        "не больше чем на {worst}. Тесты отличаются сильнее, до {tests}: где разброс $x$ мал, мала и сама ошибка.",
        en="Runs repeated: {n} of 36. In {exact} of them both training losses and checks differ from the published ones by "
        "no more than {worst}. Tests differ more, by up to {tests}: where the spread of $x$ is small, so is the error.",
        n=len(agreements),
        exact=int(exact.sum()),
        worst=float(f"{agreements[exact][['16 losses', '6 checks']].max(axis=None):.1e}"),
        tests=float(f"{agreements[exact]['10 tests'].max():.1e}"),
    )

# %%
if len(agreements) and not exact.all():
    parted = agreements[~exact]
    end = 100 * float((parted["our end"] / parted["his end"] - 1).abs().max())
    text.say(
        ru="Остальные ({n}) расходятся с его запусками поздно, не раньше шага {step}: ошибки округления растут, как в любой "
        "нелинейной системе. Кончаются они там же: последние сто шагов отличаются в среднем не больше чем на {end} %.",
        en="The others ({n}) part from his runs late, not before step {step}: rounding errors grow, as in any nonlinear "
        "system. They end in the same place: the means of the last hundred steps differ by no more than {end}%.",
        holds=bool(parted["part at step"].min() >= 3000 and end < 5),
        n=len(parted),
        step=parted["part at step"].min(),
        end=round(end, 1),
    )

# %%
if len(agreements) and lent.any():
    worst = (
        agreements.groupby(lent)[["16 losses", "6 checks"]].max().map(lambda x: float(f"{x:.1e}"))
    )
    text.say(
        ru="{cpu} запусков обучены на процессоре, {gpu} на видеокарте (H100), и складывают они в разном порядке. Но от опубликованных "
        "чисел те и другие отличаются примерно одинаково, в худшем случае ошибка на обучении на {loss_cpu} и {loss_gpu}, проверки на "
        "{check_cpu} и {check_gpu}.",
        en="{cpu} runs were trained on a CPU, {gpu} on a GPU (H100), and these add in different orders. Yet both differ from the "
        "published numbers by about as much: at worst the training loss by {loss_cpu} and {loss_gpu}, the checks by {check_cpu} and "
        "{check_gpu}.",
        holds=bool((worst.loc[True] / worst.loc[False]).between(0.1, 10).all()),
        **{"cpu": int((~lent).sum()), "gpu": int(lent.sum())},
        **{"loss_cpu": worst["16 losses"][False], "loss_gpu": worst["16 losses"][True]},
        **{"check_cpu": worst["6 checks"][False], "check_gpu": worst["6 checks"][True]},
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
columns = [name for name in his_tests if ", b = " in name]
his = his_tests.melt(["seed", "launch", "std"], columns, "column", "error")
his[["variant", "b"]] = his.column.str.split(", b = ", expand=True)
his["b"] = his.b.astype(int)

# %%
seeds = ours.groupby(["variant", "b"]).seed.nunique() if repeated else pd.Series()
whole = [key for key, count in seeds.items() if count == 3]


def draw_boxes(ax, tests, title):
    """His boxes: a light one for b = 1, a dark one for b = 5."""
    look = {"palette": {1: "0.88", 5: "0.55"}, "hue_order": [1, 5], "order": grouped}
    look |= {"gap": 0.1, "fliersize": 3}
    sns.boxplot(tests, x="variant", y="error", hue="b", dodge=True, ax=ax, **look)
    ax.set_title(title, weight="bold")
    ax.set(xlabel="", ylabel="target error")
    ax.legend(title="b", loc="upper right", ncols=2, handlelength=1, columnspacing=1)
    ax.tick_params(axis="x", labelsize=9)


# %%
if repeated:
    figure, axes = plt.subplots(2, 1, figsize=(drawing.WIDTH, 5.2), sharey=True)
    draw_boxes(axes[0], his, "his published tests")
    ours_whole = ours[[key in whole for key in zip(ours.variant, ours.b)]]
    draw_boxes(axes[1], ours_whole, "our repetition of the same runs")
    for variant in [name for name in grouped if (name, 5) not in whole]:
        axes[1].text(grouped.index(variant) + 0.2, 0, "…", ha="center", weight="bold")
    if len(whole) < 12:
        axes[1].set_xlabel("… not all three seeds are repeated yet", fontsize=9)
    axes[1].get_legend().remove()
    text.figure("performance", figure)

# %%
if repeated:
    medians = [tests.groupby(["variant", "b"]).error.median() for tests in (his, ours)]
    text.say(
        role="caption",
        ru="Сверху его рисунок, снизу он же из наших повторений: ящики те же. В каждом по 10 тестов на каждое из трёх зёрен. "
        "<!-- alt: Ящики ошибок на запросе в тестах: шесть вариантов, b = 1 и 5, сверху опубликованные, снизу наши -->",
        en="Above his figure, below the same from our repetitions: the boxes are the same. Each has 10 tests for each of three seeds. "
        "<!-- alt: Boxes of the target error in the tests: six variants, b = 1 and 5, published above, ours below -->",
        holds=bool((medians[0] - medians[1])[whole].abs().max() < 0.01),
    )

# %% [markdown] tags=["ru"]
# Высота ящика — это в основном разброс масштаба $x$. Если поделить ошибку на дисперсию $x$, он исчезает: у модели
# без кодирования и без маски во всех тестах выходит почти единица, то есть она не знает ничего.

# %% [markdown] tags=["en"]
# The height of a box is mostly the spread of the scale of $x$. Divide the error by the variance of $x$ and it is
# gone: the model with neither encoding nor mask is near one in all tests, which is to say that it knows nothing.

# %%
wide = his[his["std"] > 0.3].assign(divided=lambda own: own.error / own["std"] ** 2)
middle = wide.groupby(["variant", "b"]).divided.median().unstack()
masked = middle.loc[["CM", "SPE + CM", "LPE + CM"]]


def draw_tests(ax, variant, b, own):
    """A column of dots: from left to right x's standard deviation grows; hollow: did not learn."""
    centre, colour = grouped.index(variant) + 0.1 * b - 0.3, drawing.style(variant)["color"]
    for _, tests in own.groupby("seed"):
        face = colour if tests.divided.median() < 2 / 3 else "white"
        places = centre + 0.17 * (tests["std"] - 1.15)
        ax.plot(places, tests.divided, "o", ms=3.5, color=colour, mfc=face, mew=0.8)
    ax.hlines(own.divided.median(), centre - 0.19, centre + 0.19, color="black", lw=1.8, zorder=3)


# %%
figure, ax = plt.subplots(figsize=(drawing.WIDTH, 4))
for (variant, own_b), own in wide.groupby(["variant", "b"]):
    draw_tests(ax, variant, own_b, own)
ax.axvspan(2.5, 5.5, color="0.95", zorder=0)
ax.set(yscale="log", ylim=(0.03, 2.2), xlim=(-0.5, 5.5), ylabel="target error / variance of x")
ax.set_xticks(range(6), [f"b = 1  5\n{name}" for name in grouped], fontsize=9)
ax.tick_params(axis="x", length=0)
ax.text(1, 1.5, "without a mask", ha="center")
ax.text(4, 1.5, "with the causal mask", ha="center")
ax.text(1, 0.2, "b = 1: knows next to nothing,\nat any scale of x", ha="center", fontsize=9)
ax.text(4.4, 0.58, "one seed each\ndid not learn", ha="center", va="center", fontsize=9)
text.figure("divided", figure)

# %%
text.say(
    role="caption",
    ru="Поделите ошибку на дисперсию $x$, и ящики его рисунка сжимаются: их высота была масштабом $x$. Без маски и цикла ни один "
    "вариант не знает ничего (1), с маской ошибка меньше, при $b = 5$ ещё меньше. Точка — его опубликованный тест, слева направо "
    "в столбике растёт стандартное отклонение $x$; черта — медиана; пустые точки — зерно, которое не обучилось. Тесты, где "
    "стандартное отклонение меньше 0,3, опущены: там всякий ответ близок к нулю. "
    "<!-- alt: Столбики точек по вариантам, b = 1 и 5: без маски около единицы, с маской ниже и при b = 5 ниже, чем при b = 1 -->",
    en="Divide the error by the variance of $x$, and the boxes of his figure shrink: their height was the scale of $x$. With "
    "neither mask nor loop no variant knows anything (1), with the mask the error is lower, and at $b = 5$ lower still. A dot is a "
    "test that he published, with $x$’s standard deviation growing from left to right in a column; a bar is the median; hollow dots "
    "are a seed that did not learn. Tests with a standard deviation below 0.3 are left out: any answer is near zero there. "
    "<!-- alt: Columns of dots by variant, b = 1 and 5: near one without a mask, lower with it and lower at b = 5 than at b = 1 -->",
    holds=bool((masked[5] < masked[1]).all() and (masked < middle.loc["none"]).all(axis=None)),
)

# %%
nothing = wide[wide.variant == "none"].divided
text.say(
    ru="Без кодирования и без маски отношение лежит между {low} и {high}: такая модель не знает ничего. Итерации помогают "
    "всем трём вариантам с маской: медиана отношения у CM падает с {cm1} до {cm5}, у SPE + CM с {spe1} до {spe5}, у LPE + CM с "
    "{lpe1} до {lpe5}.",
    en="With neither encoding nor mask the ratio lies between {low} and {high}: such a model knows nothing. Iterations help all "
    "three variants with a mask: the median ratio falls from {cm1} to {cm5} for CM, from {spe1} to {spe5} for SPE + CM, and "
    "from {lpe1} to {lpe5} for LPE + CM.",
    holds=bool((masked[5] < masked[1]).all() and nothing.between(0.8, 1.1).all()),
    **{"low": round(nothing.min(), 2), "high": round(nothing.max(), 2)},
    **dict(zip(("cm1", "cm5", "spe1", "spe5", "lpe1", "lpe5"), masked.round(2).to_numpy().flat)),
)

# %% [markdown] tags=["ru"]
# ## Его второй рисунок
#
# `loss comparison`: ошибка на обучении каждые 75 шагов; он усредняет её по запускам, три зерна, $b = 1$ и $5$ вместе.
# Под ней — то, чего у него нет: ошибка на запросе.

# %% [markdown] tags=["en"]
# ## His second figure
#
# `loss comparison`: the training loss at every 75th step; he takes its mean over the runs, three seeds, $b = 1$ and $5$
# together. Below it is what he does not have: the target error.

# %%
pooled = len(repeated) == 36
shown = repeated if pooled else [run for run in repeated if run.config.b == 1]
if repeated:
    of_all = records.tidy(shown, "curves.csv")
    rings = his_losses.loc[[run.key for run in shown], 100:]
    rings = rings.groupby("variant" if pooled else ["variant", "b", "seed"]).mean()
    zero = {"training_loss": 1, "target_error": claims.zero(setup)}


# %%
def named(variant, end):
    """Run -> the name at its line's end: one for each b with the mask; those that did not learn."""
    if variant not in masked.index:
        return {end.index[len(end) // 2]: variant}
    parts = {f"{variant}, b = {own_b}": own for own_b, own in end.groupby(level="b")}
    names = {own.index[len(own) // 2]: name for name, own in parts.items()}
    return names | dict.fromkeys(end.index[end > 0.7][:1], f"{variant}, did not learn")


# %%
def draw_losses(ax, variant, column):
    """The loss as he has it, mean and standard deviation; else a line a run, of every second row."""
    own, look = of_all[of_all.variant == variant], drawing.style(variant)
    runs = own.pivot(index="step", columns=["b", "seed"], values=column)
    if pooled and column == "training_loss":
        mean, std = runs.mean(axis=1), runs.std(axis=1)
        ax.fill_between(runs.index, mean - std, mean + std, color=look["color"], alpha=0.15, lw=0)
        ax.plot(mean, label=variant, **look)
    else:
        names = named(variant, runs.iloc[-1].sort_values())
        for key in runs:
            ax.plot(runs[key].iloc[1::2], label=names.get(key), **look | {"linewidth": 1})


# %%
def mark_copying(above, below):
    arrow = {"arrowprops": {"arrowstyle": "->"}, "fontsize": 9}
    words = "SPE and LPE copy:\nhardly any error here …", "… and here they know next to nothing"
    above.annotate(words[0], (450, 0.06), (1000, 0.13), **arrow)
    below.annotate(words[1], (900, 0.96), (100, 1.16), **arrow)
    below.text(7500, 1.04, "dotted: always answers 0", ha="right", fontsize=9)


# %%
if repeated:
    figure, axes = plt.subplots(2, 1, figsize=(drawing.WIDTH, 5.6), sharex=True)
    for ax, column in zip(axes, zero):
        for variant in variants:
            draw_losses(ax, variant, column)
        ax.axhline(zero[column], color="black", lw=0.8, ls=":")
        ax.set(title=column.replace("_", " "), ylim=(0, 1.3), ylabel="squared error / d")
        drawing.name_lines(ax)
    for key, own in rings.iterrows():
        colour = drawing.style(key if pooled else key[0])["color"]
        axes[0].plot(own, "o", ms=3.5, mew=0.7, mfc="none", color=colour)
    axes[1].set_xlabel("step")
    mark_copying(*axes)
    text.figure("loss_comparison", figure)

# %%
if repeated:
    last = of_all[of_all.step == of_all.step.max()]
    copiers = last[last.variant.isin(["SPE", "LPE"])]
    copied = bool((copiers.target_error > 10 * copiers.training_loss).all())

# %%
if repeated and pooled:
    text.say(
        role="caption",
        ru="SPE и LPE без маски на обучении почти не ошибаются, а на запросе — намного сильнее: это списывание. Сверху, как у него, "
        "среднее и стандартное отклонение по шести запускам варианта, кольца — среднее его опубликованных ошибок; снизу каждый запуск, "
        "штриховой без маски. Под конец там падают запуски с циклом ({late} из 6). "
        "<!-- alt: Ошибка на обучении и на запросе по шагам, шесть вариантов: сверху SPE и LPE падают почти до нуля, снизу нет -->",
        en="SPE and LPE without a mask hardly err in training, and far more on the query: this is copying. Above, as he has "
        "them, means and standard deviations over the six runs of a variant, with rings for means of his published losses; below every run, dashed "
        "without the mask. What falls there towards the end are runs with a loop ({late} of 6). "
        "<!-- alt: Training loss and target error by step, six variants: above SPE and LPE fall nearly to zero, below they do not -->",
        holds=copied and set(copiers[copiers.target_error < 2 / 3].b) == {5},
        late=int((copiers.target_error < 2 / 3).sum()),
    )

# %%
if repeated and not pooled:
    text.say(
        role="caption",
        ru="SPE и LPE без маски на обучении почти не ошибаются, а на запросе ошибаются так, как если бы не знали ничего: это "
        "списывание. Линия — запуск при $b = 1$ ({n}), кольца — среднее его опубликованных ошибок в тех же запусках. "
        "<!-- alt: Ошибка на обучении и на запросе по шагам, шесть вариантов: сверху SPE и LPE падают почти до нуля, снизу остаются у единицы -->",
        en="SPE and LPE without a mask hardly err in training, and on the query they err as if they knew nothing: this is copying. A "
        "line is a run at $b = 1$ ({n}), rings are means of his published losses of the same runs. "
        "<!-- alt: Training loss and target error by step, six variants: above SPE and LPE fall nearly to zero, below they stay near one -->",
        holds=copied and bool(copiers.target_error.min() > 0.85),
        n=len(shown),
    )

# %% [markdown] tags=["ru"]
# Переобучиться здесь не на чем: каждый батч новый, и ни один промпт не встречается дважды. Что модель списывает, видно
# прямо, если подложить ей чужой ответ: об этом [глава о парах и списывании](3_label_leakage.ipynb).

# %% [markdown] tags=["en"]
# There is nothing to overfit on: every batch is new, and no prompt is met twice. That a model copies can be seen directly
# when another prompt’s answer is planted: see [the chapter on pairs and copies](3_label_leakage.ipynb).

# %% [markdown] tags=["ru"]
# ## Что мы узнали
#
# Его опыт повторяется число в число, значит, модели у нас — те самые, и дальше можно смотреть, что у них внутри.
# То, что он назвал переобучением, — списывание ответа из соседнего токена. Высота ящиков на его первом рисунке — разброс
# масштаба $x$. Цвета $b$ в легенде перепутаны: итерации помогают. Наша гипотеза, что все отличия меньше одной тысячной, для пяти
# запусков не сбылась.

# %% [markdown] tags=["en"]
# ## What we learned
#
# His experiment comes out again number by number, so the models we hold are his, and one can go on and look inside them.
# What he called overfitting is copying the answer from the neighbouring token. The height of the boxes in his
# first figure is the spread of the scale of $x$. The colours of $b$ in its legend are exchanged: iterations help. Our hypothesis
# that all differences are below one part in a thousand failed for five runs.

# %% [markdown] tags=["ru"]
# ## Чего эта глава не показывает
#
# - Что находят те, кто учится: об этом [глава 3](3_label_leakage.ipynb).
# - Три зерна — это три зерна. Новые зёрна и проверки гипотез — в [главе 5](5_choices.ipynb).
# - Повторение не делает его постановку обычной: у блока, у синусоиды и у таблицы свои особенности, и какие выводы
#   держатся на них, здесь не видно.

# %% [markdown] tags=["en"]
# ## What this chapter does not show
#
# - What those that learn have found: that is in [chapter 3](3_label_leakage.ipynb).
# - Three seeds are three seeds. New seeds and the tests of hypotheses are in [chapter 5](5_choices.ipynb).
# - To repeat a setting does not make it an ordinary one: the block, the sinusoid and the table have peculiarities, and
#   which conclusions hang on them cannot be seen here.
