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
# # Что дают позиционное кодирование и каузальная маска

# %% [markdown] tags=["en"]
# # What positional encoding and the causal mask do

# %% [markdown] tags=["ru", "headline"]
# Маленький трансформер читает 63 примера неизвестной линейной функции и должен предсказать её значение в новой точке, в
# **запросе**. Помогает ли ему позиционное кодирование, синусоидальное (SPE) или обучаемое (LPE)? Нужна ли каузальная
# маска (CM), которая запрещает смотреть вперёд? Мы повторяем «Эксперимент № 3»
# ([DaniilLaptev/TBankFoundations](https://github.com/DaniilLaptev/TBankFoundations), август 2024 года) с теми же случайными
# числами и смотрим, как устроены его модели.

# %% [markdown] tags=["en", "headline"]
# A small transformer reads 63 examples of an unknown linear function and must predict its value at a new point, the
# **query**. Does a positional encoding help, sinusoidal (SPE) or learned (LPE)? Is the causal mask (CM) needed, which
# forbids looking ahead? We repeat “Experiment 3”
# ([DaniilLaptev/TBankFoundations](https://github.com/DaniilLaptev/TBankFoundations), August 2024) with the same random
# numbers and look inside its models.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from icl_core import records, sampler
from icl_core.config import Config
from icl_core.encodings import VARIANTS
from icl_core.model import LoopedTransformer
from icl_report import claims, drawing, text
from icl_report.model_figure import explorer
from icl_report.text import short

drawing.use_theme()

# %% tags=["parameters"]
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
six = ["none", "SPE", "LPE", "CM", "SPE + CM", "LPE + CM"]
asked = [Config(setup=s, variant=v) for s in ("source", "gpt2") for v in VARIANTS]
runs = records.recorded_runs(out, asked)
if not runs:
    raise records.RecordError(f"out = {out!r} holds no run to tell of: the project's own is .")
table = claims.outcomes(runs).assign(took=lambda own: own.at_n < 2 / 3)
published = records.PROJECT / "data" / "source" / "published"
his, his_tests = (pd.read_csv(published / f"{name}.csv") for name in ("runs", "tests"))
repeated = [run for run in runs if run.config.setup == "source" and run.config.variant in six]
repeated = [run for run in repeated if run.config.seed in claims.PILOT]


# %%
def of(variant, setup="source", b=1):
    """Our runs of a variant in a setup at one b; of the author's setup those of his seeds."""
    own = table[(table.variant == variant) & (table.b == b) & (table.setup == setup)]
    return own[own.seed.isin(claims.PILOT if setup == "source" else (0, 1, 2))]


def error(variant, setup="source", b=1):
    """The median of their target errors, after the last iteration, x at standard deviation 1."""
    return of(variant, setup, b).at_n.median()


# %%
his_error = his.set_index(["variant", "b", "seed"]).eval_7500  # his last check
lucky = his_error < 2 / 3  # the runs that learned
learned_of_6 = lucky.groupby("variant").sum()
copying = his_error[["SPE", "LPE"]]
late = int(lucky[["SPE", "LPE"]].xs(5, level="b").sum())
copiers = table[table.variant.isin(["SPE", "LPE"]) & (table.setup == "source") & (table.b == 1)]
loss_300 = his[his.variant.isin(["SPE", "LPE"])].loss_300


# %%
def hidden(run):
    """The target error with something hidden in all layers; nothing, pair, neighbour, others."""
    rows = run.table("hidden.csv").query("layer == 0")
    return rows[rows.examples == run.config.n_examples].set_index("hidden").error


looked = [run for run in repeated if (run.folder / "hidden.csv").exists() and run.config.b == 1]
looked = [run for run in looked if run.config.mask == "CM"]
inside = pd.DataFrame([hidden(run) for run in looked], index=[run.key for run in looked])
inside["took"] = [bool(table.took[runs.index(run)]) for run in looked]
inside["variant"] = [run.config.variant for run in looked]
stuck, taken = inside[~inside.took], inside[inside.took]
cm, spe, lpe = (taken[taken.variant == name] for name in ("CM", "SPE + CM", "LPE + CM"))

# %%
fresh = table.query("setup == 'source' and b == 1 and seed not in @claims.PILOT")
fresh = {name: fresh[fresh.variant == name] for name in ("CM", "SPE + CM", "LPE + CM")}
learned = {name: own.at_n[own.took] for name, own in fresh.items()}  # the errors of these runs
of_17 = {"cm_17": len(learned["CM"]), "spe_17": len(learned["SPE + CM"])}
of_17 |= {"lpe_17": len(learned["LPE + CM"])}
seeded = all(len(own) == 17 == of_17["cm_17"] for own in fresh.values())
encoded = short(learned["LPE + CM"].median())
stuck_now = sorted(pd.concat(own.at_n[~own.took] for own in fresh.values()))
lucky_now = (
    seeded
    and short(learned["SPE + CM"].median()) == encoded
    and 8 < of_17["lpe_17"] < of_17["spe_17"] < 17
)

# %%
hints = ("hint-1500-3000", "hint-at-the-neighbour-1500-3000")
hinted = [Config(setup=f"source+{name}", variant="SPE + CM", seed=1984) for name in hints]
hinted = [records.find_run(out, own) for own in hinted]
hint, control = (run.table("probes.csv").error.iloc[-1] for run in hinted)
others = [Config(setup=f"source+{hints[0]}", variant=name) for name in ("SPE + CM", "LPE + CM")]
rescued = claims.outcomes(records.recorded_runs(out, others)).query("seed not in @claims.PILOT")
rescued = rescued[rescued.b == 1]

# %%
text.say(
    role="headline",
    ru="**Коротко: с маской модель учится решать задачу, а кодирование делает её точнее в тех запусках, которые обучились.** В постановке "
    "автора без маски модель с кодированием списывает готовые ответы, а в запросе чаще всего ошибается так, будто отвечает нулём. С одной маской без "
    "цикла обучились все 17 новых зёрен случайных чисел, но грубо: ошибка {cm}. С кодированием она {encoded}, если модель научится связывать каждый "
    "ответ с его точкой, а за 7500 шагов это удаётся не всем: LPE + CM в {lpe_17} запусках из 17, SPE + CM в {spe_17}. Все {n} запусков "
    "автора повторены.",
    en="**In short: with the mask a model learns the task, and an encoding makes it more accurate in those runs that learn.** In the author’s "
    "setup, without the mask, a model with an encoding copies ready answers, and at the query it mostly errs as if it answered zero. With the mask "
    "alone, without a loop, all 17 new random seeds learned, but coarsely, with an error of {cm}. With an encoding it is {encoded} if the model comes "
    "to link each answer to its point, and in 7,500 steps not all do: LPE + CM in {lpe_17} runs of 17, SPE + CM in {spe_17}. All {n} of the author’s "
    "runs are repeated.",
    holds=len(repeated) == len(his) and lucky_now,
    **{"n": len(his), "cm": short(learned["CM"].median()), "encoded": encoded},
    **of_17,
)


# %%
def draw_cell(ax, variant):
    """His runs as rings, ours as dots: three seeds at b = 1, three at b = 5."""
    colour, own = drawing.style(variant)["color"], his[his.variant == variant]
    places = {(b, s): (b == 5) + 0.2 * i - 0.2 for b in (1, 5) for i, s in enumerate(claims.PILOT)}
    ax.axhspan(0, 2 / 3, color="0.94", zorder=0)
    ax.axhline(1, color="grey", lw=0.8, ls=":")
    for run in own.itertuples():
        ax.plot(places[run.b, run.seed], run.eval_7500, "o", ms=9, mfc="none", color=colour)
    for run in [run for run in repeated if run.config.variant == variant]:
        place = places[run.config.b, run.config.seed]
        ax.plot(place, run.table("checks.csv").error.iloc[-1], "o", ms=4.5, color=colour)
    words = f"learned {learned_of_6[variant]} of 6"
    words = f"copies\n{words}" if variant in ("SPE", "LPE") else words
    place, edge = (0.97, "top") if VARIANTS[variant][1] else (0.04, "bottom")
    ax.text(0.04, place, words, va=edge, fontsize=9, transform=ax.transAxes)


# %%
figure, axes = plt.subplots(2, 3, figsize=(drawing.WIDTH, 3.5), sharex=True, sharey=True)
for ax, variant in zip(axes.flat, six):
    draw_cell(ax, variant)
    ax.set_title(variant)
ax.set(ylim=(0, 1.45), xlim=(-0.5, 1.5))
ax.set_xticks([0, 1], ["b = 1", "b = 5"])
axes[0, 0].text(-0.4, 1.15, "always answers 0", color="grey", fontsize=9)
axes[0, 0].set_ylabel("error,\nno mask")
axes[1, 0].set_ylabel("error,\nwith the mask")
for size, face, words in ((9, "none", "published by the author"), (4.5, "grey", "repeated by us")):
    ax.plot([], [], "o", ms=size, mfc=face, color="grey", label=words)
figure.legend(loc="outside lower center", ncols=2, fontsize=9)
text.figure("hero", figure)

# %%
text.say(
    role="caption",
    ru="**Ошибка на запросе** в конце обучения: квадрат ошибки, делённый на размерность $d = 8$; у ответа «всегда ноль» она около 1. Серая "
    "полоса: модель **обучилась**, ошибка ниже двух третей (порог наш). Слои применяются один раз ($b = 1$) или пять раз подряд ($b = 5$, "
    "цикл). Зёрна слева направо: 42, 451, 1984. "
    "<!-- alt: Сетка из шести клеток, кодирование на маску; без маски ошибка около единицы, с маской ниже, у LPE + CM ниже всех -->",
    en="**Target error** at the end of training: the squared error divided by the dimension $d = 8$; “always zero” has about 1. In the grey "
    "band a model **has learned**, with an error below two thirds (our threshold). The layers are applied once ($b = 1$) or five times in a "
    "row ($b = 5$, a loop). Seeds from left to right: 42, 451, 1984. "
    "<!-- alt: A grid of six cells, encoding by mask; without the mask the error is near one, with it lower, lowest for LPE + CM -->",
)

# %%
loop = {name: error(name, "gpt2", 5) for name in ("CM", "TPE + CM", "LPE + CM")}
tpe, tpe_taken = of("TPE + CM"), of("TPE + CM").query("took")

# %%
copied = bool(copiers.planted.max() < 0.01 and loss_300.max() < 0.2)
copied = copied and bool(copying.xs(1, level="b").between(0.85, 1.25).all())
late_runs = pd.concat([of("SPE", b=5), of("LPE", b=5)]).query("took")
full_only = len(late_runs) == late and bool(late_runs.before_n.min() > 0.9)  # k = 62: nothing
# %%
linked = bool(
    min(spe.pair.min(), lpe.pair.min(), cm.pair.min()) > 1
    and (stuck.pair / stuck.nothing).max() < 1.1
)
two = bool(
    tpe_taken.at_n.min() > error("CM")
    and error("TPE + CM", b=5) > error("CM", b=5)
    and error("LPE + CM", "gpt2") < error("TPE + CM", "gpt2") < 0.8 * error("CM", "gpt2")
    and loop["LPE + CM"] < loop["TPE + CM"] < loop["CM"]
    and of("TPE + CM", "gpt2", 5).at_n.min() < of("LPE + CM", "gpt2", 5).at_n.max()
    and of("TPE + CM", "gpt2", 5).at_n.max() > of("CM", "gpt2", 5).at_n.min()
    and all(len(of(name, "gpt2", 5)) == 3 for name in loop)
)

# %%
text.say(
    role="headline",
    ru="- **Без маски модель с кодированием списывает.** Ответ стоит рядом со своей точкой, и модель быстро его находит, а в запросе "
    "списать нечего. Это не переобучение: промпты не повторяются. С циклом {late} запуска из 6 к концу всё же научились отвечать на "
    "запрос, но только в промпте полной длины.\n"
    "- **С маской списать нельзя**, и модели обычно обучаются: у автора одна маска (CM) и LPE + CM в 6 запусках из 6, SPE + CM в {spe}. "
    "На новых зёрнах (без цикла) такой разницы не видно.\n"
    "- **Точность зависит от связи ответа с точкой.** Если запретить ответам смотреть на свои точки, обученные модели ломаются: ошибка "
    "растёт с {lpe_a} до {lpe_b} у LPE + CM, с {spe_a} до {spe_b} у SPE + CM, с {cm_a} до {cm_b} у CM. Подсказка "
    "этой связи на 1500 шагов выручила запуск SPE + CM, который не обучился: {hint} вместо {stuck}.\n"
    "- **Цикл помогает тем, кто обучился.** При $b = 5$ ошибка после последней итерации (наши измерения) у CM {cm_last}, у LPE + CM {lpe_last}: LPE уже почти не нужна. В постановке GPT-2 (обычные блок и начальные веса) разница больше: {loop_cm} и {loop_lpe}.\n"
    "- **Идея автора — два обучаемых вектора (TPE)**, для точек и для ответов, вместо таблицы LPE. В его постановке они за 7500 шагов ничего не "
    "прибавили к маске. В постановке GPT-2 без цикла прибавили, но меньше, чем таблица; с циклом TPE + CM не отличить ни от маски, ни от таблицы.",
    en="- **Without the mask a model with an encoding copies.** An answer stands next to its point and is soon found, but at the query there "
    "is nothing to copy. This is not overfitting: prompts never repeat. With a loop, {late} runs of 6 come to answer the "
    "query late, in prompts of full length only.\n"
    "- **With the mask nothing can be copied**, and models usually learn: for the author, the mask alone (CM) and LPE + CM in 6 runs of 6, "
    "SPE + CM in {spe}. On new seeds (no loop) no such difference is seen.\n"
    "- **Accuracy depends on the link between an answer and its point.** If answers may not look at their own points, trained models break: "
    "the error rises from {lpe_a} to {lpe_b} for LPE + CM, from {spe_a} to {spe_b} for SPE + CM, from {cm_a} to {cm_b} for "
    "CM. A hint at this link made a failed SPE + CM run learn: {hint} instead of {stuck}.\n"
    "- **A loop helps those that learn.** At $b = 5$ the error after the last iteration (our measurement) is {cm_last} for CM, {lpe_last} for LPE + CM: LPE is hardly needed. In the GPT-2 setup (usual block and initial weights) it gains more: {loop_cm} and {loop_lpe}.\n"
    "- **The author’s idea: two learned vectors (TPE)**, for points and for answers, instead of LPE’s table. In his setup, in "
    "7,500 steps, they add nothing to the mask. In the GPT-2 setup without a loop they do, but less than the table; with one, TPE + CM overlaps with both.",
    holds=copied
    and full_only
    and linked
    and two
    and learned_of_6[["CM", "LPE + CM"]].eq(6).all()
    and len(stuck) == 1
    and hint < 0.15
    and lucky_now
    and max(map(max, (learned["SPE + CM"], learned["LPE + CM"]))) < min(learned["CM"])
    and loop["LPE + CM"] / loop["CM"] < 0.5 < error("LPE + CM", b=5) / error("CM", b=5) < 1,
    **of_17,
    **{"late": late, "spe": int(learned_of_6["SPE + CM"])},
    **{"loop_cm": short(loop["CM"]), "loop_lpe": short(loop["LPE + CM"])},
    **{"cm_last": short(error("CM", b=5)), "lpe_last": short(error("LPE + CM", b=5))},
    **{"lpe_a": short(lpe.nothing.median()), "lpe_b": short(lpe.pair.median())},
    **{"spe_a": round(spe.nothing.median(), 2), "spe_b": short(spe.pair.median())},
    **{"cm_a": short(cm.nothing.median()), "cm_b": short(cm.pair.median())},
    **{"stuck": short(stuck.nothing.iloc[0]), "hint": short(hint)},
)

# %% [markdown] tags=["ru"]
# ## Задача и шесть вариантов
#
# **В промпте чередуются точки и ответы**, а в конце стоит запрос $x_q$: новая точка, ответа на которую в промпте нет. Ответ
# равен $y = w^\top x$. Вектор $w$ в каждом промпте новый, и узнать его можно только из примеров.

# %% [markdown] tags=["en"]
# ## The task and the six variants
#
# **In a prompt, points and answers alternate**, and at the end comes the query $x_q$: a new point whose answer is not in the
# prompt. An answer is $y = w^\top x$. Every prompt has a new vector $w$, and only the examples tell what it is.


# %%
def draw_tokens(ax):
    """x_i and y_i among the others."""
    tokens = ["x_1", "y_1", r"\dots", "x_i", "y_i", r"\dots", "x_{63}", "y_{63}", "x_q"]
    for place, token in enumerate(tokens):
        colour = {"x": "#d6e6f5", "y": "#fde7c7"}.get(token[0], "none")
        edge = "0.3" if token in ("x_i", "y_i") else "none"
        ax.add_patch(plt.Rectangle((place - 0.42, 0), 0.84, 0.8, fc=colour, ec=edge))
        ax.text(place, 0.4, f"${token}$", ha="center", va="center")
    ax.text(8, -0.35, "query", ha="center")


# %%
figure, ax = plt.subplots(figsize=(drawing.WIDTH, 2.3))
draw_tokens(ax)
for ends, height, colour in (((3, 4), 0.85, "#c0392b"), ((4, 3), -0.05, "#0173b2")):
    arrow = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-.6", "color": colour, "lw": 2}
    ax.annotate("", (ends[1], height), (ends[0], height), arrowprops=arrow)
words = "copy: $x_i$ looks ahead\n(the causal mask forbids it)"
ax.text(3.5, 1.45, words, ha="center", color="#c0392b")
ax.text(3.5, -1.3, "link: $y_i$ looks back\n(always allowed)", ha="center", color="#0173b2")
ax.set(xlim=(-0.5, 8.5), ylim=(-1.4, 2.3))
ax.axis("off")
text.figure("prompt", figure)

# %% [markdown] tags=["ru", "caption"]
# Промпт из 127 токенов. Без маски точка видит свой ответ и может его списать.
# <!-- alt: Ряд токенов x_1 y_1 … x_q; красная стрелка от x_i вперёд к y_i, синяя от y_i назад к x_i -->

# %% [markdown] tags=["en", "caption"]
# A prompt of 127 tokens. Without the mask a point sees its own answer and can copy it.
# <!-- alt: A row of tokens x_1 y_1 … x_q; a red arrow from x_i ahead to y_i, a blue one from y_i back to x_i -->

# %% [markdown] tags=["ru"]
# **Позиционное кодирование** прибавляет к токену вектор его номера: у SPE это значения синусоид, у LPE строка обучаемой
# таблицы. С маской и без неё получается шесть вариантов; «без обоих» — без кодирования и без маски.
#
# Трансформер маленький: два слоя, четыре головы внимания, скрытая размерность 64. При $b = 5$ те же слои применяются пять
# раз подряд, и в обучении тоже: это зацикленный трансформер. **Запуск** — один вариант при одном $b$ и одном **зерне**,
# которое задаёт начальные веса и промпты.
# **Ошибка на обучении** — среднее квадрата ошибки по всем 64 точкам промпта, тоже делённое на $d$.

# %% [markdown] tags=["en"]
# A **positional encoding** adds to each token a vector for its number: SPE the values of sinusoids, LPE a row of a learned
# table. With and without the mask this makes six variants; “none” has neither.
#
# The transformer is small: two layers, four attention heads, hidden dimension 64. A looped transformer
# ($b = 5$) applies the same layers five times, also in training. A **run** is one variant at one $b$ and one **seed**, which sets
# initial weights and prompts. The **training loss** is the mean
# squared error over all 64 points of a prompt, also divided by $d$.

# %% [markdown] tags=["ru"]
# Автор усредняет ошибку по итерациям цикла; мы, кроме рисунка 1, берём последнюю. Промпты на разных рисунках разные, поэтому и ошибки
# одной модели немного расходятся.

# %% [markdown] tags=["en"]
# The author averages the error over the loop’s iterations; we take the last, except in Figure 1. Prompts differ between figures, so the
# errors of one model vary a little.

# %% [markdown] tags=["ru"]
# ## Утверждения автора и наша проверка

# %% [markdown] tags=["en"]
# ## The author’s claims and our check

# %%
primary = claims.primary(table).set_index("claim")
average = {name: his_error[name].mean() for name in six}
wins = {
    f"{one}, {other}": int((his_error[one] < his_error[other]).sum())
    for one in ("SPE + CM", "LPE + CM")
    for other in ("CM", "SPE", "LPE")
}
no_encoding = wins["SPE + CM, CM"] + wins["LPE + CM, CM"]
no_mask = wins["SPE + CM, SPE"] + wins["LPE + CM, LPE"]
off = his_error["SPE + CM"][lucky["SPE + CM"]]
ratio = his_error["CM"].groupby("b").mean() / off.groupby("b").mean()
unstable = his.groupby("variant").loss_last_100.std()


# %%
models = {name: LoopedTransformer(Config(variant=name)) for name in ("SPE", "LPE", "TPE")}
numbers = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
lengths = records.tidy(looked, "lengths.csv")
lengths = lengths[lengths.place == 2 * lengths.k].groupby(["variant", "k"]).error.median()
at = {f"{name[:3].strip().lower()}{k}": short(value) for (name, k), value in lengths.items()}
never = bool(copying.xs(1, level="b").min() > 0.85 and his_error["none"].min() > 0.85)
longer = bool(at["spe127"] > 3 * at["spe63"] and at["cm127"] < 1.2 * at["cm63"])
shorter = all(at[f"{name}32"] < 1.2 * at[f"{name}63"] for name in ("cm", "spe", "lpe"))
together = bool(
    min(average["SPE"], average["LPE"]) > 1.5 * max(average["SPE + CM"], average["LPE + CM"])
)


# %%
text.say(
    ru="**В запусках автора почти всё так, как он пишет, но новые зёрна подтверждают не всё, а переобучение оказалось списыванием.** Его слова в кавычках. Числа, если не сказано иное, — его "
    "опубликованные ошибки в конце обучения. Пара — запуски с "
    "одним $b$ и одним зерном.\n\n"
    "| Утверждение | Что показала проверка | Глава приложения |\n|:--|:--|:--|\n"
    "| «само по себе позиционное кодирование работает очень плохо» | Без цикла да: ошибка около 1 во всех 6 запусках. С циклом {late} из 6 под конец отвечают на запрос, но лишь при полной длине. | [1](1_position_and_mask.ipynb) |\n"
    "| «связка позиционного кодирования и каузальной маски значительно улучшает качество работы модели» | Да: с маской SPE точнее, чем без неё, в {spe} парах из 6, LPE в {lpe} из 6. | [1](1_position_and_mask.ipynb) |\n"
    "| «обучаемый позиционный эмбеддинг (как у GPT2) даёт результаты лучшие, нежели синусоидальный» | В среднем да: с маской {lpe_mean} против {spe_mean}. Но разницу дают {stuck} не обучившихся запуска SPE + CM, а на новых зёрнах (без цикла) обучились {spe_17} запусков SPE + CM из 17 и {lpe_17} LPE + CM. | [5](5_choices.ipynb) |\n"
    "| «при отсутствии каузальной маски и при наличии позиционного кодирования происходит значительное переобучение» | Ошибка на обучении действительно мала, а в тестах велика. Но это списывание. | [3](3_label_leakage.ipynb) |\n"
    "| «…это связано с тем, как устроена функция потерь: мы сравниваем сразу все токены, а не только последний, поэтому модель успешно минимизирует ошибку, но оказывается чрезвычайно неэффективной в целевой задаче» | Да: за списывание она награждает. Но учить на одном запросе — не выход: так за 10 000 шагов не обучается никакая модель (постановка GPT-2). | [3](3_label_leakage.ipynb) |\n"
    "| «обучение SPE + CM гораздо более нестабильно по сравнению с LPE + CM» | В его запусках да: стандартное отклонение ошибки на обучении {spe_sd} против {lpe_sd}. На новых зёрнах разницы не видно. | [5](5_choices.ipynb) |\n"
    "| «в целом SPE не даёт практически никакого выигрыша (по крайней мере этот выигрыш несколько маловероятен) по сравнению с обучением с просто каузальной маской» | В среднем да: {spe_mean} против {cm_mean} у CM. Но где она обучилась, ошибка в {gain1} раза меньше (с циклом в {gain5}), а на новых зёрнах она меньше в {pairs_17} парах из 17. | [1](1_position_and_mask.ipynb) |\n"
    "| «LPE добавляет примерно 8% дополнительных параметров» | Да: {with_table} вместо {without}. | [1](1_position_and_mask.ipynb) |\n"
    "| другая длина: «Это может ухудшить результат» | Да, если она больше: у LPE кончается таблица, а SPE + CM отвечает не лучше, чем «всегда ноль». Меньшая почти ничего не меняет. | [4](4_lengths_and_loops.ipynb) |\n"
    "| «Можно также предположить, что для данной задачи может лучше всего подойти такое обучаемое позиционное кодирование, в котором обучается всего два токена» | За 7500 шагов в его постановке нет. В постановке GPT-2 лучше одной маски, но хуже таблицы. | [2](2_two_token_encoding.ipynb) |\n"
    "| до опыта: «Информация о позиции токенов окажется достаточно важной. Результат ухудшится, если убрать PE или каузальную маску, а если убрать и то, и другое, результат будет неудовлетворительным» | Да: без кодирования хуже в {encoding} парах из 12, без маски в {mask} из 12, без обоих ошибка не ниже {none}. | [1](1_position_and_mask.ipynb) |\n"
    "| до опыта: «SPE может показать результат лучше, чем обучаемый PE (LPE)» | В среднем нет. Там, где обе обучились, точность примерно одинакова. | [5](5_choices.ipynb) |",
    en="**In the author’s runs nearly all is as he says, but new seeds do not bear all of it out, and the overfitting is copying.** His words, translated, are in quotation marks. Numbers "
    "are his published errors unless said otherwise. A pair is two runs with the same seed and $b$.\n\n"
    "| His claim | What we found | Appendix chapter |\n|:--|:--|:--|\n"
    "| “positional encoding by itself works very badly” | Without a loop yes: the error is about 1 in all 6 runs. With one, {late} of 6 answer late, at full length only. | [1](1_position_and_mask.ipynb) |\n"
    "| “combining positional encoding and the causal mask considerably improves the model’s performance” | Yes: SPE is better with the mask in {spe} pairs of 6, LPE in {lpe} of 6. | [1](1_position_and_mask.ipynb) |\n"
    "| “the learned positional embedding (as in GPT2) gives better results than the sinusoidal one” | On average yes: {lpe_mean} against {spe_mean} with the mask, owing to {stuck} SPE + CM runs that did not learn. On new seeds (no loop) {spe_17} SPE + CM runs of 17 learned, {lpe_17} LPE + CM. | [5](5_choices.ipynb) |\n"
    "| “without a causal mask and with positional encoding there is considerable overfitting” | A low training loss and a large test error, yes. But this is copying. | [3](3_label_leakage.ipynb) |\n"
    "| “… due to the loss function: we compare all tokens at once, not just the last, so the model successfully minimises the error but turns out extremely inefficient at the target task” | Yes: it rewards copying. But the query alone is no remedy: no model learns from it in 10,000 steps (GPT-2 setup). | [3](3_label_leakage.ipynb) |\n"
    "| “SPE + CM trains much less stably than LPE + CM” | In his runs yes: the training loss has a standard deviation of {spe_sd} against {lpe_sd}. On new seeds no difference is seen. | [5](5_choices.ipynb) |\n"
    "| “on the whole SPE gives practically no gain (at least this gain is somewhat unlikely) over training with just the causal mask” | On average yes: {spe_mean} against {cm_mean} for CM. But where it learned it errs {gain1} times less ({gain5} with a loop); on new seeds, less in {pairs_17} pairs of 17. | [1](1_position_and_mask.ipynb) |\n"
    "| “LPE adds about 8% more parameters” | Yes: {with_table} instead of {without}. | [1](1_position_and_mask.ipynb) |\n"
    "| another length: “This may make the result worse” | Yes, if longer: LPE’s table ends, and SPE + CM does no better than “always zero”. Shorter prompts change little. | [4](4_lengths_and_loops.ipynb) |\n"
    "| “One may also suppose that a learned positional encoding in which only two tokens are learned may suit this task best” | Not in his setup in 7,500 steps. In the GPT-2 setup better than the mask alone, worse than the table. | [2](2_two_token_encoding.ipynb) |\n"
    "| beforehand: “Information about token positions will prove quite important. The result will get worse without the PE or the causal mask, and without both it will be unsatisfactory” | Yes: worse without the encoding in {encoding} pairs of 12, without the mask in {mask} of 12; without both the error is at least {none}. | [1](1_position_and_mask.ipynb) |\n"
    "| beforehand: “SPE may show a better result than learned PE (LPE)” | On average no. Where both learned, about equally accurate. | [5](5_choices.ipynb) |",
    holds=never
    and together
    and longer
    and shorter
    and at["spe127"] > 0.8
    and two
    and bool(ratio.min() > 1.5)
    and average["SPE + CM"] > average["CM"]
    and lucky_now
    and 0.7 < off.mean() / average["LPE + CM"] < 1.3,
    pairs_17=int(primary.wins["P5"]),
    **of_17,
    **{"late": late, "spe": wins["SPE + CM, SPE"], "lpe": wins["LPE + CM, LPE"]},
    **{"spe_mean": short(average["SPE + CM"]), "lpe_mean": short(average["LPE + CM"])},
    **{"cm_mean": short(average["CM"]), "stuck": 6 - len(off)},
    **{"spe_sd": short(unstable["SPE + CM"]), "lpe_sd": short(unstable["LPE + CM"])},
    **{"with_table": numbers["LPE"], "without": numbers["SPE"]},
    **{"gain1": short(ratio[1]), "gain5": short(ratio[5]), "none": short(his_error["none"].min())},
    **{"encoding": no_encoding, "mask": no_mask},
)

# %% [markdown] tags=["ru"]
# ## Рисунок автора «performance»
#
# **Высота ящика показывает в основном масштаб $x$, а не то, насколько различаются модели.** В каждом тесте у $x$ своё случайное
# стандартное отклонение, от 0 до 2, и ошибка на него не делится. В легенде рисунка цвета двух $b$ перепутаны: по
# опубликованным числам ниже лежат ящики при $b = 5$.

# %% [markdown] tags=["en"]
# ## The author’s figure “performance”
#
# **The height of a box mostly shows the scale of $x$, not how much models differ.** In every test $x$ has its own random
# standard deviation, from 0 to 2, and the error is not divided by it. His legend has the colours of the two $b$ exchanged: in
# the published numbers the lower boxes are those at $b = 5$.

# %%
text.again("performance", out)

# %% [markdown] tags=["ru", "caption"]
# Рисунок `performance`: сверху по опубликованным тестам, снизу по нашим. Ящики одинаковы.
# <!-- alt: Ящики ошибок в тестах: шесть вариантов, b = 1 и 5, сверху опубликованные, снизу наши -->

# %% [markdown] tags=["en", "caption"]
# The figure `performance`: published tests above, ours below. The boxes are the same.
# <!-- alt: Boxes of test errors: six variants, b = 1 and 5, published above, ours below -->

# %%
tests = his_tests[his_tests["std"] > 0.3]
tests = tests.filter(like=", b = ").div(tests["std"] ** 2, axis=0).median()
masked = ["CM", "SPE + CM", "LPE + CM"]
after = {name: [tests[f"{name}, b = {b}"] for b in (1, 5)] for name in six}
low_b1 = min(after[name][0] for name in ("none", "SPE", "LPE"))
text.say(
    ru="Если разделить ошибку на дисперсию $x$, видны сами модели. Без маски и цикла медиана у всех вариантов не ниже {low}; с маской она не "
    "выше {high}, а с маской и циклом у каждого ещё меньше.",
    en="Divide the error by the variance of $x$, and the models become comparable. With neither mask nor loop no variant has a median below {low}; "
    "with the mask medians are at most {high}, and with a loop lower still.",
    holds=low_b1 > 0.85 and all(after[name][1] < after[name][0] for name in masked),
    **{"low": short(low_b1), "high": short(max(after[name][0] for name in masked))},
)

# %%
text.again("divided", out)

# %% [markdown] tags=["ru", "caption"]
# Опубликованные тесты, ошибка разделена на дисперсию $x$. Точка — тест, черта — медиана; в столбике слева направо растёт
# стандартное отклонение $x$, от 0,3. Пустые точки — зерно, которое не обучилось.
# <!-- alt: Столбики точек по вариантам, b = 1 и 5: без маски около единицы, с маской ниже, при b = 5 ниже, чем при b = 1 -->

# %% [markdown] tags=["en", "caption"]
# The published tests, with the error divided by the variance of $x$. A dot is a test, a bar a median; within a column $x$’s
# standard deviation grows, from 0.3 on. Hollow: a seed that did not learn.
# <!-- alt: Columns of dots by variant, b = 1 and 5: near one without the mask, lower with it, and lower at b = 5 than at b = 1 -->

# %% [markdown] tags=["ru"]
# ## Рисунок автора «loss comparison»
#
# **Без маски модели с кодированием мало ошибаются только на обучении.** Большую ошибку в тестах автор назвал
# переобучением. Но переобучиться здесь не на чем: каждый батч новый.

# %% [markdown] tags=["en"]
# ## The author’s figure “loss comparison”
#
# **Without the mask, models with an encoding have a low error in training only.** The author called their
# large test errors overfitting. But every batch is new.

# %%
text.again("loss_comparison", out)

# %%
text.say(
    role="caption",
    ru="Ошибка на обучении, как на рисунке `loss comparison`, среднее и стандартное отклонение по шести запускам; кольца — "
    "среднее опубликованных ошибок. Под ней ошибка на запросе, линия — запуск, штриховая — без маски; под конец падают {late}, с циклом. "
    "<!-- alt: Две панели по шагам: на первой SPE и LPE падают почти до нуля, на второй нет -->",
    en="The training loss, as in the figure `loss comparison`, mean and standard deviation over six runs; rings are means of the "
    "published losses. Below, the target error, a line a run, dashed without the mask; {late} with a loop fall in the end. "
    "<!-- alt: Two panels by step: in the first SPE and LPE fall nearly to zero, in the second they do not -->",
    holds=len(repeated) == len(his) and late > 0,
    late=late,
)

# %%
text.say(
    ru="Это списывание, и начинается оно рано: уже к шагу 300 ошибка на обучении в двенадцати запусках автора с кодированием без маски "
    "упала до {low}⁠–⁠{high}. Проверим прямо: заменим ответ $y_i$ ответом из другого промпта. При $b = 1$ модели предсказывают в $x_i$ "
    "именно подмену, с ошибкой не больше {planted}.",
    en="This is copying, and it starts early: by step 300 the training loss in the author’s twelve runs with an encoding and no mask is down "
    "to {low}⁠–⁠{high}. As a direct check, replace the answer $y_i$ by one from another prompt. At $b = 1$ the models predict this "
    "replacement at $x_i$, with an error of at most {planted}.",
    holds=copied,
    **{"low": short(loss_300.min()), "high": short(loss_300.max())},
    planted=float(f"{copiers.planted.max():.0e}"),
)

# %% [markdown] tags=["ru"]
# ## Насколько точно мы его повторили

# %% [markdown] tags=["en"]
# ## How closely we repeat him

# %%
steps = [int(name[5:]) for name in his if name[5:].isdigit() and name.startswith("loss_")]


def apart(run):
    """Largest relative differences from his losses, checks and tests; both mean losses at the end."""
    loss, checks = run.tensors("losses.safetensors")["loss"].double(), run.table("checks.csv")
    own = his.set_index(["variant", "b", "seed"]).loc[run.key]
    tested = his_tests[his_tests.seed == run.key[2]]["{}, b = {}".format(*run.key)]
    losses = [abs(float(loss[step - 1]) / own[f"loss_{step}"] - 1) for step in steps]
    checked = [abs(row.error / own[f"eval_{row.step}"] - 1) for row in checks.itertuples()]
    tested = (run.table("tests.csv").error.to_numpy() / tested - 1).abs().max()
    return max(losses), max(checked), tested, float(loss[-100:].mean()), own.loss_last_100


# %%
columns = ["losses", "checks", "tests", "end", "his"]
agreement = pd.DataFrame([apart(run) for run in repeated], columns=columns)
agreement[columns[:3]] *= 100  # per cent
exact = agreement.losses < 0.1  # one part in a thousand
most, parted = agreement[exact].max(), agreement[~exact]
parted_variants = [run.config.variant for run, same in zip(repeated, exact) if not same]
end = 100 * (agreement.end / agreement.his - 1).abs()

# %%
text.say(
    ru="**В {same} из {n} запусков опубликованная кривая обучения совпадает с нашей до {losses} %**, шесть проверок по ходу обучения — до {checks} %, "
    "десять тестов — до {tests} %. В остальных {parted}, это SPE без маски и один CM, под конец накапливаются ошибки округления (до "
    "{losses2} %), но итог тот же ([приложение, глава 1](1_position_and_mask.ipynb)).",
    en="**In {same} of the {n} runs the published training curve is the same as ours to {losses}%**, six checks on the way to {checks}%, ten tests "
    "to {tests}%. In the other {parted}, SPE without the mask and one CM, rounding errors build up (to "
    "{losses2}%), but they end in the same place ([appendix, chapter 1](1_position_and_mask.ipynb)).",
    holds=sorted(parted_variants) == ["CM", *["SPE"] * (len(parted) - 1)] and end.max() < 5,
    **{"n": len(repeated), "same": int(exact.sum()), "parted": len(parted)},
    **{name: short(most[name]) for name in ("losses", "checks", "tests")},
    losses2=short(parted.losses.max()),
)

# %% [markdown] tags=["ru"]
# ## Что показали новые зёрна

# %% [markdown] tags=["en"]
# ## What new seeds show

# %%
text.say(
    ru="**За 7500 шагов модель с маской и кодированием обучается не при всяком зерне.** Мы обучили его постановку без цикла на новых зёрнах, по "
    "семнадцать на вариант с маской: CM обучилась в {cm_17} запусках, SPE + CM в {spe_17}, LPE + CM в {lpe_17}; у остальных ошибка осталась "
    "{off_1}⁠–⁠{off_2}. По критериям, выбранным заранее, LPE с маской лучше, чем без неё ({wins} пар из 10; $p$ = {p} с поправкой Холма), а SPE + CM и "
    "LPE + CM с одной маской не разделены: отношения ошибок {p5} и {p2} ([приложение, глава 5](5_choices.ipynb)).",
    en="**In 7,500 steps a model with the mask and an encoding does not learn at every seed.** We trained his setup without a loop on new seeds, "
    "seventeen per variant with the mask: CM learned in {cm_17} runs, SPE + CM in {spe_17}, LPE + CM in {lpe_17}; the others were left with an error of "
    "{off_1}⁠–⁠{off_2}. By the tests fixed beforehand LPE is better with the mask than without ({wins} pairs of 10; Holm’s $p$ = {p}), while SPE + CM and "
    "LPE + CM are not told from the mask alone: ratios of errors {p5} and {p2} ([appendix, chapter 5](5_choices.ipynb)).",
    holds=lucky_now and list(primary.holm < 0.05) == [True, False, False, False, False],
    **of_17,
    **{"wins": int(primary.wins["P1"]), "p": short(primary.holm["P1"])},
    **{"p5": round(primary.effect["P5"], 2), "p2": round(primary.effect["P2"], 2)},
    **{"off_1": short(stuck_now[0]), "off_2": short(stuck_now[-1])},
)

# %%
text.again("new_seeds", out)

# %% [markdown] tags=["ru", "caption"]
# Новые зёрна в постановке автора, $b = 1$. Сверху ошибка в конце: точка — запуск, закрашена, если он обучился. Снизу доля запусков до
# **взлёта**, первой ошибки ниже двух третей ошибки ответа «ноль».
# <!-- alt: Сверху точки: без маски у единицы, CM около 0,44, SPE + CM и LPE + CM двумя группами, около 0,12 и 0,8; снизу кривые падают -->

# %% [markdown] tags=["en", "caption"]
# New seeds in the author’s setup, $b = 1$. Above, the final error: a dot is a run, filled if it learned. Below, the share of runs
# before **take-off**, their first error below two thirds of answering zero’s.
# <!-- alt: Above, dots: without the mask near one, CM near 0.44, SPE + CM and LPE + CM in two groups, near 0.12 and 0.8; below, falling curves -->

# %% [markdown] tags=["ru"]
# ## Почему: пары
#
# **Чтобы предсказать точно, модель связывает каждый ответ с его точкой.** Это видно, если в обученной модели запретить каждому
# ответу $y_i$ смотреть на свою точку $x_i$ во всех слоях и головах (для сравнения — на соседнюю, $x_{i-1}$).

# %% [markdown] tags=["en"]
# ## Why: pairs
#
# **To predict accurately, a model links each answer to its point.** To see this, forbid every answer $y_i$ of a trained model to
# look at its own point $x_i$ in all layers and heads (for comparison, at the neighbouring one, $x_{i-1}$).


# %%
def draw_pair(ax, row, own):
    """One run: as trained, the neighbour's point hidden, its own point hidden."""
    colour = drawing.style(own.variant)["color"]
    ax.plot([own.nothing, own.pair], [row, row], color=colour)
    ax.plot(own.pair, row, ">", color=colour)
    ax.plot(own.nothing, row, "o", color=colour, mfc=colour if own.took else "white")
    ax.plot(own.neighbour, row, "|", ms=14, color=colour)
    return f"{own.variant}" if own.took else f"{own.variant},\ndid not learn"


# %%
def draw_rows(ax):
    """A row a run; gives how many rows there are."""
    row, names = 0, {}
    for group in (lpe, spe, stuck, cm):
        for own in group.itertuples():
            names.setdefault(draw_pair(ax, row, own), []).append(row)
            row += 1
        row += 0.6
    ax.set_yticks([sum(rows) / len(rows) for rows in names.values()], names)
    return row


# %%
prompts = sampler.evaluation_prompts(Config())
zero = float((prompts.first(256).answers[:, -1] ** 2).mean() / 8)
figure, ax = plt.subplots(figsize=(drawing.WIDTH, 3.6))
end = draw_rows(ax)
ax.axvline(zero, color="grey", lw=0.8, ls=":")
ax.text(zero * 1.06, end - 0.6, "always\nanswers 0", color="grey", fontsize=9, va="center")
ax.set(xscale="log", ylim=(end, -0.6), xlim=(0.05, 9), xlabel="target error")
for mark, words in (("o", "as trained"), ("|", "neighbour hidden"), (">", "own point hidden")):
    ax.plot([], [], mark, color="grey", ms=12 if mark == "|" else 6, label=words)
figure.legend(loc="outside lower center", ncols=3, fontsize=9, handletextpad=0)
text.figure("pairs", figure)

# %%
text.say(
    role="caption",
    ru="Ошибка на запросе до запрета (кружок) и после него (треугольник): без своей точки обученные модели становятся хуже ответа «всегда "
    "ноль». Соседняя (чёрточка) почти не важна. Строка — запуск с маской, $b = 1$. "
    "<!-- alt: Линии от 0,1–0,4 вправо за единицу у обученных запусков; у необученного SPE + CM линии почти нет -->",
    en="Target error before (circle) and after (triangle): without their own point trained models become worse than “always zero”. The "
    "neighbour’s (tick) hardly matters. A row is a run with the mask, $b = 1$. "
    "<!-- alt: Lines from 0.1–0.4 to the right beyond one for trained runs; for the SPE + CM run that did not learn hardly any line -->",
    holds=bool(taken.pair.min() > 1 and (taken.neighbour - taken.nothing).abs().max() < 0.05),
)


# %%
def needed(run):
    """The layers of the heads without whose look at the own point the error at least doubles."""
    heads = run.table("heads.csv")
    return heads.layer[heads.error > 2 * hidden(run).nothing].to_list()


# %%
def first_hidden(run):
    """The target error with the own point hidden from y_1 alone."""
    rows = run.table("hidden.csv").query("hidden == 'pair' and examples == 1")
    return rows.error.iloc[0]


places = pd.concat([fresh["SPE + CM"], fresh["LPE + CM"]])
new = pd.DataFrame([hidden(runs[i]) for i in places.index]).assign(took=places.took.to_numpy())
lost = (new.pair / new.nothing)[~new.took].max()  # by what factor those that did not learn err more
heads = [needed(run) for run in looked if run.key in spe.index.union(lpe.index)]
counts, layers = [len(own) for own in heads], {layer for own in heads for layer in own}
first = pd.Series([first_hidden(run) for run in looked], inside.index)[cm.index]

# %%
text.say(
    ru="У SPE + CM и LPE + CM связь держится на одной-двух головах первого слоя. CM в первом слое номеров не знает, и наверняка найти свою точку может только $y_1$: до него она единственная. Если закрыть её от него "
    "одного, ошибка с {cm_1}⁠–⁠{cm_2} растёт до {first_1}⁠–⁠{first_2}. То же и на новых зёрнах: без своих точек ломаются все {n} обучившихся "
    "запуска с кодированием (ошибка от {broken}), а у остальных ошибка меняется мало: обучились те, у кого связь сложилась "
    "([приложение, глава 3](3_label_leakage.ipynb)).",
    en="In SPE + CM and LPE + CM the link rests on one or two heads of the first layer. CM’s first layer knows no positions, and only $y_1$ can be sure of its point, the only one before it. Hide it from $y_1$ alone, and the "
    "error rises from {cm_1}⁠–⁠{cm_2} to {first_1}⁠–⁠{first_2}. So it is on the new seeds: without their own points all {n} runs with an "
    "encoding that learned break (an error from {broken} up), and the others change little: those that learned have the link "
    "([appendix, chapter 3](3_label_leakage.ipynb)).",
    holds=linked
    and {*counts} <= {1, 2}
    and layers == {1}
    and new[new.took].pair.min() > 1
    and lost < 1.5,
    **{"n": int(new.took.sum()), "broken": short(new[new.took].pair.min())},
    **{"cm_1": short(cm.nothing.min()), "cm_2": short(cm.nothing.max())},
    **{"first_1": short(first.min()), "first_2": short(first.max())},
)

# %%
text.say(
    ru="**Подсказка выручает запуски, которые не обучились.** У такого запуска автора, SPE + CM, запрет ничего не меняет: {before} до, {after} после. "
    "Мы повторили его, но с шага 1500 до 3000 прибавляли в одной голове 5 к логитам, с которыми ответы смотрят на свои точки. Запуск "
    "обучился: {hint}. Обучились и все {n} застрявших запуска на новых зёрнах, SPE + CM и LPE + CM, которым мы дали ту же подсказку. На "
    "соседнюю точку она ничего не дала ({control}) ([приложение, глава 6](6_interventions.ipynb)).",
    en="**A hint rescues runs that did not learn.** In the author’s, SPE + CM, hiding changes nothing ({before} before, {after} after). "
    "Repeated with 5 added, in one head during steps 1,500⁠–⁠3,000, to the logits with which answers look at their own points, it learned: "
    "{hint}. So did all {n} stuck runs on new seeds, SPE + CM and LPE + CM, that were given the same hint. At the neighbour it did nothing "
    "({control}) ([appendix, chapter 6](6_interventions.ipynb)).",
    holds=len(stuck) == 1
    and linked
    and hint < 0.15
    and control > 2 / 3
    and rescued.at_n.max() < 0.25
    and rescued.variant.nunique() == 2,
    n=len(rescued),
    **{"before": short(stuck.nothing.iloc[0]), "after": short(stuck.pair.iloc[0])},
    **{"hint": short(hint), "control": short(control)},
)

# %% [markdown] tags=["ru"]
# ### Попробуйте сами
#
# Четыре модели автора работают прямо на этой странице. Замените ответ примера: SPE без маски повторит замену, LPE + CM нет.
# Закройте ответам их точки: LPE + CM собьётся.

# %% [markdown] tags=["en"]
# ### Try it yourself
#
# Four of the author’s models run in this page. Replace an example’s answer: SPE without the mask repeats it, LPE + CM does not.
# Hide their points from the answers, and LPE + CM goes astray.

# %%
own = {run.key: run for run in repeated}
chosen = [own[name, 1, 42] for name in ("LPE + CM", "SPE + CM", "CM", "SPE")]
explorer("model", chosen)

# %% [markdown] tags=["ru", "caption"]
# Предсказания моделей автора ($b = 1$, зерно 42) во всех точках одного промпта и карта внимания.
# <!-- alt: Предсказания четырёх моделей против правды на одном промпте и их карты внимания -->

# %% [markdown] tags=["en", "caption"]
# Predictions of the author’s models ($b = 1$, seed 42) at every point of one prompt, and the attention map.
# <!-- alt: Predictions of four models against the truth on one prompt, and their attention maps -->

# %% [markdown] tags=["ru"]
# ## Виновата ли функция потерь?

# %% [markdown] tags=["en"]
# ## Is the loss to blame?

# %%
losses = ["gpt2+query", "gpt2+random-k"]
trained = [Config(setup=name, variant=variant) for name in losses for variant in VARIANTS]
asked_query = claims.outcomes(records.recorded_runs(out, trained)).query("b == 1")
groups = {
    "none": of("none"),
    "his": of("SPE"),
    "usual": of("SPE", "gpt2"),
    "lpe": of("LPE + CM"),
    "query": asked_query,
}
said = {f"{name}_n": len(own) for name, own in groups.items()}
said |= {f"{name}_copies": int(claims.copies(own.planted).sum()) for name, own in groups.items()}
said |= {f"{name}_learned": int((own.at_n < 2 / 3).sum()) for name, own in groups.items()}

# %%
text.say(
    ru="**За списывание она награждает, но списывать и обучиться можно и вместе, и порознь.** Встречаются все четыре сочетания "
    "($b = 1$):\n\n"
    "| Что обучали | Списывает | Обучилась |\n|:--|--:|--:|\n"
    "| SPE без маски, постановка автора | {his_copies} из {his_n} | {his_learned} из {his_n} |\n"
    "| SPE без маски, постановка GPT-2 | {usual_copies} из {usual_n} | {usual_learned} из {usual_n} |\n"
    "| LPE + CM, постановка автора | {lpe_copies} из {lpe_n} | {lpe_learned} из {lpe_n} |\n"
    "| без обоих, постановка автора | {none_copies} из {none_n} | {none_learned} из {none_n} |",
    en="**It rewards copying, but copying and learning can go together and apart.** All four combinations occur ($b = 1$):\n\n"
    "| What was trained | Copies | Learned |\n|:--|--:|--:|\n"
    "| SPE without the mask, author’s setup | {his_copies} of {his_n} | {his_learned} of {his_n} |\n"
    "| SPE without the mask, GPT-2 setup | {usual_copies} of {usual_n} | {usual_learned} of {usual_n} |\n"
    "| LPE + CM, author’s setup | {lpe_copies} of {lpe_n} | {lpe_learned} of {lpe_n} |\n"
    "| none, author’s setup | {none_copies} of {none_n} | {none_learned} of {none_n} |",
    holds=said["his_copies"] > 0 == said["his_learned"]
    and said["usual_copies"] == said["usual_n"] > said["usual_learned"] > 0
    and said["lpe_copies"] == 0 < said["lpe_learned"]
    and said["none_copies"] == said["none_learned"] == 0,
    **said,
)

# %%
many = records.recorded_runs(out, [Config(setup="source+queries", variant="LPE + CM")])
many = claims.outcomes(many)
text.say(
    ru="Оставим в функции потерь один запрос, и списывание ничего не даст. За 10 000 шагов в постановке GPT-2 не обучился ни один из {n} "
    "запусков, даже LPE + CM: вместе со списыванием исчезли 63 точки из 64, на которых модель учится. Не "
    "обучилась она и на многих запросах в одном промпте (постановка автора, {queries} запуска; "
    "[приложение, глава 3](3_label_leakage.ipynb)).",
    en="Keep the query alone in the loss, and copying earns nothing. In 10,000 steps of the GPT-2 setup none of {n} runs learned, "
    "not even LPE + CM: 63 of 64 training targets are gone, too. Nor did it learn "
    "from many queries in one prompt (author’s setup, {queries} runs; [appendix, chapter 3](3_label_leakage.ipynb)).",
    holds=said["query_learned"] == 0
    and len(asked_query) == 2 * 3 * asked_query.variant.nunique()
    and "LPE + CM" in set(asked_query.variant)
    and len(many) == 3
    and many.at_n.min() > 2 / 3,
    **{"n": len(asked_query), "queries": len(many)},
)

# %%
later = "gpt2+query-after-1000", "source+query-after-1000"
later = [Config(setup=s, variant=v) for s, v in zip((*later, later[0]), ("SPE", "SPE", "LPE"))]
after, his_after, no_copier = (claims.outcomes(records.recorded_runs(out, [s])) for s in later)
text.say(
    ru="**Но начать со всех точек может и помочь.** Если первые 1000 шагов учить на всех точках, а потом на одном запросе, SPE без маски обучается в "
    "постановке GPT-2 при всех зёрнах ({n}), с ошибкой {low}⁠–⁠{high}. LPE, которая там не списывает, не обучается ни при одном. В постановке автора это не помогло (одно зерно; "
    "[приложение, глава 6](6_interventions.ipynb)).",
    en="**But starting with all points can help.** Trained on all points for 1,000 steps, then on the query alone, SPE without the mask learns at all {n} seeds "
    "of the GPT-2 setup, with an error of {low}⁠–⁠{high}. LPE, which does not copy there, learns at none. In the author’s setup this did not help (one seed; "
    "[appendix, chapter 6](6_interventions.ipynb)).",
    holds=after.take_off.notna().all()
    and after.at_n.max() < 0.1
    and len(no_copier) == len(after)
    and no_copier.at_n.min() > 2 / 3
    and len(his_after) == 1
    and his_after.at_n.min() > 2 / 3,
    **{"n": len(after), "low": short(after.at_n.min()), "high": short(after.at_n.max())},
)

# %% [markdown] tags=["ru"]
# ## Идея автора: два вектора

# %% [markdown] tags=["en"]
# ## The author’s idea: two vectors

# %%
compared = ("CM", "TPE + CM", "LPE + CM")
short_names = dict(zip(compared, ("cm", "tpe", "lpe")))
places = (("source", 1), ("source", 5), ("gpt2", 1), ("gpt2", 5))
told = {
    f"{short_names[name]}_{i}": short(error(name, *place))
    for name in compared
    for i, place in enumerate(places, start=1)
}


# %%
def fell(table):
    """By how much the target error of each run that learned fell over the last 1500 steps."""
    curves = [runs[i].table("curves.csv").set_index("step") for i in table[table.took].index]
    return [own.target_error[6000] - own.target_error[7500] for own in curves]


still, flat = fell(tpe), fell(of("CM"))

# %%
text.say(
    ru="**Два вектора помогают маске только в постановке GPT-2, и меньше, чем таблица.** Два вектора TPE — это "
    "$2 \\cdot 64$ = {two} чисел вместо $127 \\cdot 64$ = {rows} в "
    "таблице LPE. Ошибка на запросе, медиана трёх запусков:\n\n"
    "| Вариант | У автора, $b = 1$ | У автора, $b = 5$ | GPT-2, $b = 1$ | GPT-2, $b = 5$ |\n|:--|--:|--:|--:|--:|\n"
    "| CM | {cm_1} | {cm_2} | {cm_3} | {cm_4} |\n"
    "| TPE + CM | {tpe_1} | {tpe_2} | {tpe_3} | {tpe_4} |\n"
    "| LPE + CM | {lpe_1} | {lpe_2} | {lpe_3} | {lpe_4} |",
    en="**Two vectors help the mask in the GPT-2 setup only, and less than the table does.** TPE’s two "
    "vectors are $2 \\cdot 64$ = {two} numbers instead of the $127 \\cdot 64$ = {rows} of "
    "LPE’s table. Target error, median of three runs:\n\n"
    "| Variant | Author’s, $b = 1$ | Author’s, $b = 5$ | GPT-2, $b = 1$ | GPT-2, $b = 5$ |\n|:--|--:|--:|--:|--:|\n"
    "| CM | {cm_1} | {cm_2} | {cm_3} | {cm_4} |\n"
    "| TPE + CM | {tpe_1} | {tpe_2} | {tpe_3} | {tpe_4} |\n"
    "| LPE + CM | {lpe_1} | {lpe_2} | {lpe_3} | {lpe_4} |",
    holds=two and all(len(of(name, *place)) == 3 for name in compared for place in places),
    **{"two": numbers["TPE"] - numbers["SPE"], "rows": numbers["LPE"] - numbers["SPE"]},
    **told,
)

# %%
tpe5, cm5 = of("TPE + CM", b=5).take_off, of("CM", b=5).take_off
text.say(
    ru="В постановке автора при $b = 1$ обучились {took} запуска TPE + CM из {n} и пришли к ошибке CM, которая у них ещё падала. При $b = 5$ "
    "обучились все, но позже CM. Без маски TPE не знает, какой ответ у какой точки "
    "([приложение, глава 2](2_two_token_encoding.ipynb)).",
    en="In the author’s setup at $b = 1$, {took} TPE + CM runs of {n} learned and arrived at CM’s error, theirs still falling. At $b = 5$ "
    "all did, but later than CM. Without the mask TPE does not know which answer is "
    "whose ([appendix, chapter 2](2_two_token_encoding.ipynb)).",
    holds=len(still) == int(tpe.took.sum()) == 2
    and min(still) > 2 * max(flat)
    and tpe_taken.at_n.max() < 1.2 * error("CM")
    and len(tpe5.dropna()) == len(tpe) == 3
    and cm5.notna().all()
    and tpe5.min() > cm5.max(),
    **{"took": int(tpe.took.sum()), "n": len(tpe)},
)

# %%
text.again("type_runs", out)

# %% [markdown] tags=["ru", "caption"]
# TPE и четыре других варианта в постановке автора: ошибка на запросе по ходу обучения ($b = 1$) и в его конце (кружки $b = 1$, ромбы
# $b = 5$, пустые — не обучившиеся).
# <!-- alt: Кривые ошибки пяти вариантов и точки запусков: TPE + CM кончает там же, где CM, LPE + CM ниже -->

# %% [markdown] tags=["en", "caption"]
# TPE and four other variants in the author’s setup: the target error during training ($b = 1$) and at its end (circles $b = 1$,
# diamonds $b = 5$, hollow: did not learn).
# <!-- alt: Error curves of five variants and dots of the runs: TPE + CM ends where CM does, LPE + CM is lower -->

# %% [markdown] tags=["ru"]
# ## Что от чего зависит
#
# **Маска помогает в обеих постановках, а LPE без маски списывает только в постановке автора.** Постановка автора отличается от обычной в трёх местах. Выход внимания в его
# блоке попадает в остаточный поток только через MLP, а в GPT-2 прибавляется и сам. Строки таблицы LPE вначале берутся из
# $N(0, 1)$, в GPT-2 стандартное отклонение 0,02. Основание синусоиды 9,21 = ln 10 000, а не 10 000: похоже, описка.

# %% [markdown] tags=["en"]
# ## What depends on which choice
#
# **The mask helps in both setups, while LPE without the mask copies only in the author’s.** His setup is unusual in three ways.
# In its block attention’s output enters the residual stream through the MLP alone, while in GPT-2 it is also added itself. LPE’s
# table starts from $N(0, 1)$, in GPT-2 with a standard deviation of 0.02. The sinusoid’s base is 9.21 = ln 10,000, not 10,000,
# apparently a slip.

# %%
text.again("choices_map", out)

# %% [markdown] tags=["ru", "caption"]
# Сколько запусков, а где сравниваются два варианта, пар запусков подтверждают утверждение при $b = 1$, считая и новые зёрна. Пара —
# запуски с одним зерном, а где у вариантов нет общих случайных чисел, любые два.
# <!-- alt: Таблица утверждений и двух постановок; расходятся они в том, обучается ли SPE без маски и списывает ли LPE -->

# %% [markdown] tags=["en", "caption"]
# How many runs, or pairs of runs where two variants are compared, bear a statement out at $b = 1$, new seeds included. A pair is two
# runs of one seed or, where variants share no random numbers, any two.
# <!-- alt: A table of statements by setup; the setups part on whether SPE learns without the mask and whether LPE copies -->

# %%
choices = ["attention-in-residual", "final-norm", "gpt2-init", "d5", "small-table"]
bridge = [Config(setup=f"source+{own}", variant="LPE") for own in choices]
bridge = claims.outcomes(records.recorded_runs(out, bridge))
quiet = bridge.setup == "source+small-table"
text.say(
    ru="Решает это таблица. Если в постановке автора взять от GPT-2 её одну, LPE без маски не списывает ({short_n} из {short_all}); с "
    "каждой из четырёх других деталей списывает ({rest_n} из {rest_all}; [приложение, глава 5](5_choices.ipynb)).",
    en="The table decides this. Take it alone from GPT-2 into the author’s setup, and LPE without the mask does not copy ({short_n} of "
    "{short_all}); with each of four other choices it does ({rest_n} of {rest_all}; [appendix, chapter 5](5_choices.ipynb)).",
    holds=bridge.setup.nunique() == 5 and (claims.copies(bridge.planted) != quiet).all(),
    **{"short_n": int(claims.copies(bridge.planted[quiet]).sum()), "short_all": int(quiet.sum())},
    **{"rest_n": int(claims.copies(bridge.planted[~quiet]).sum()), "rest_all": int((~quiet).sum())},
)

# %% [markdown] tags=["ru"]
# ## Другая длина

# %% [markdown] tags=["en"]
# ## Another length

# %%
text.say(
    ru="**С маской на коротких промптах ошибка почти та же, на длинных её сохраняет только CM.** При $b = 1$ с 32 примерами вместо 63 ошибка CM, SPE + CM и "
    "LPE + CM выше не более чем на {more} %. Со 127 строки таблицы LPE кончаются, ошибка SPE + CM доходит до {spe127}, как у ответа "
    "«всегда ноль», а у CM остаётся {cm127} ({cm63} с 63 примерами) "
    "([приложение, глава 4](4_lengths_and_loops.ipynb)).",
    en="**With the mask, shorter prompts do little harm; only CM keeps its error on longer ones.** At $b = 1$, with 32 examples instead of 63, the error of "
    "CM, SPE + CM and LPE + CM is at most {more}% higher. With 127 LPE’s table runs out of rows, SPE + CM reaches "
    "{spe127}, as for “always zero”, and CM stays at {cm127} ({cm63} with 63) "
    "([appendix, chapter 4](4_lengths_and_loops.ipynb)).",
    holds=longer and shorter and 0.8 < at["spe127"] < 1.2,
    more=short(100 * max(at[f"{name}32"] / at[f"{name}63"] - 1 for name in ("cm", "spe", "lpe"))),
    **at,
)

# %% [markdown] tags=["ru"]
# ## Чего мы не знаем

# %% [markdown] tags=["en"]
# ## What we do not know

# %% [markdown] tags=["ru"]
# - **Что дало бы более долгое обучение.** Мы останавливаемся после 7500 шагов, как автор, в постановке GPT-2 после 10 000, а некоторые запуски
#   взлетели только под конец.
# - **Почему одни запуски находят связь сами, а другие нет.**
# - **Что будет на других задачах.** Функции здесь линейные, без шума, слоёв два.
# - **Что зависит от нашего выбора:** от порога, стандартного отклонения $x$, равного 1, и последней итерации.

# %% [markdown] tags=["en"]
# - **Longer training.** We stop after 7,500 steps, as he does, or 10,000 in the GPT-2 setup; some runs took off near the end.
# - **Why some runs find the link by themselves** and others do not.
# - **Other tasks and sizes.** Functions here are linear, without noise, and there are two layers.
# - **What depends on our choices:** the threshold, a standard deviation of $x$ of 1, the last iteration.
