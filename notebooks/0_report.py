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
# Маленький трансформер читает 63 примера неизвестной линейной функции и должен назвать её значение в новой точке.
# Помогает ли ему знать, на каком месте стоит токен? И что будет, если разрешить ему заглядывать вперёд? Эти вопросы
# поставил автор «Эксперимента №3» (репозиторий DaniilLaptev/TBankFoundations, август 2024 года). Мы повторяем его
# опыт с теми же случайными числами, а потом разбираем, как его модели устроены.

# %% [markdown] tags=["en", "headline"]
# A small transformer reads 63 examples of a linear function that it has never seen and must predict its value at a new
# point. Does it help to know the position of each token? And what if it may look ahead? The author of “Experiment 3”
# asked this (repository DaniilLaptev/TBankFoundations, August 2024). We repeat his experiment with the same random
# numbers, and then look at how his models work.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from icl_core import records
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
table = claims.outcomes(runs).assign(took=lambda own: own.take_off.notna())
table["loss"] = [run.table("curves.csv").training_loss.iloc[-1] for run in runs]
his = pd.read_csv(records.PROJECT / "data" / "source" / "published" / "runs.csv")
repeated = [run for run in runs if run.config.setup == "source" and run.config.variant in six]
repeated = [run for run in repeated if run.config.seed in claims.PILOT]


# %%
def of(variant, setup="source", b=1, by=table):
    """The runs of a variant at one b: in our table, or in his."""
    own = by[(by.variant == variant) & (by.b == b)]
    return own[(own.setup == setup) & own.seed.isin((0, 1, 2, *claims.PILOT))]


# %%
his["setup"] = "source"
his_error = his.set_index(["variant", "b", "seed"]).eval_7500  # the last check
lucky = his_error < 2 / 3
copiers = table[table.variant.isin(["SPE", "LPE"]) & (table.setup == "source") & (table.b == 1)]


# %%
def hidden(run):
    """The target error with something hidden in all layers; nothing, pair, neighbour, others."""
    rows = run.table("hidden.csv").query("layer == 0")
    return rows[rows.examples == run.config.n_examples].set_index("hidden").error


looked = [run for run in repeated if (run.folder / "hidden.csv").exists() and run.config.b == 1]
inside = pd.DataFrame([hidden(run) for run in looked], index=[run.key for run in looked])
inside["took"] = [bool(table.took[runs.index(run)]) for run in looked]
inside["variant"] = [run.config.variant for run in looked]
numbered = inside[inside.variant.isin(["SPE + CM", "LPE + CM"])]
paired, stuck = numbered[numbered.took], numbered[~numbered.took]
cm, lpe_cm = of("CM").at_n.median(), of("LPE + CM").at_n.median()

# %%
tpe, loop = (
    of("TPE + CM"),
    {name: of(name, "gpt2", 5).at_n.median() for name in ("TPE + CM", "LPE + CM")},
)
masked = ["CM", "SPE + CM", "LPE + CM"]
gain = {name: his_error[name][lucky[name]].groupby("b").mean() for name in masked}
gain = {name: own[1] / own[5] for name, own in gain.items()}
copied_well = bool(copiers.planted.max() < 0.01 and copiers.at_n.min() > 0.9)
lottery = bool(lucky["LPE + CM"].all() and paired.pair.min() > 1 and (stuck.pair < 1).all())
two = bool(
    0.95 * cm < tpe[tpe.took].at_n.median() < 1.2 * cm and loop["TPE + CM"] < 2 * loop["LPE + CM"]
)

# %%
text.say(
    role="headline",
    ru="- **Без маски модель списывает.** Ответ стоит рядом с точкой, и модель, которая знает позиции, находит его: ответы "
    "примеров она называет с ошибкой {planted}, а в новой точке ошибается на {error}, как если бы всегда отвечала нулём. Это не "
    "переобучение: промпты не повторяются.\n"
    "- **С каузальной маской (CM) списать нельзя**, и приходится учиться. С обучаемыми позициями (LPE) это удалось в {lpe} "
    "запусках автора из 6, с синусоидальными (SPE) — в {spe} из 6.\n"
    "- **Разница — в голове внимания**, которая связывает каждый ответ с его точкой. Если запретить ответам смотреть на "
    "свои точки, ошибка обученных SPE + CM и LPE + CM вырастает с {before} до {after}; в застрявшей модели не меняется ничего.\n"
    "- **Одной маски мало, цикл помогает.** Без кодирования ошибка {cm}, с LPE {lpe_cm}; если применить те же слои пять раз, "
    "у обученных моделей она меньше в {low}–{high} раза.\n"
    "- **Два вектора вместо таблицы позиций** автор предложил, но не проверил. Без цикла они не лучше одной маски ({tpe}), с "
    "циклом в постановке GPT-2 почти не хуже таблицы ({tpe5} и {lpe5}, по одному запуску).",
    en="- **Without a mask the model copies.** The answer stands right beside the point, and a model that knows positions finds it: "
    "it names the examples’ answers with an error of {planted}, and at the new point it errs by {error}, as if it always answered "
    "0. This is not overfitting: prompts never repeat.\n"
    "- **The causal mask (CM) prevents copying**, so the model must learn. With learned positions (LPE) it did in {lpe} of the "
    "author’s 6 runs, with sinusoidal ones (SPE) in {spe} of 6.\n"
    "- **The difference is an attention head** that links each answer to its point. Forbid the answers to look at their own "
    "points, and the error of trained SPE + CM and LPE + CM rises from {before} to {after}; in a stuck model nothing changes.\n"
    "- **The mask alone is not enough, and a loop helps.** Without an encoding the error is {cm}, with LPE {lpe_cm}; with the same "
    "layers applied five times it is {low} to {high} times lower in models that learned.\n"
    "- **Two vectors in place of a table of positions** were the author’s untested idea. Without a loop they are no better than "
    "the mask alone ({tpe}), with one in the GPT-2 setup nearly as good as the table ({tpe5} and {lpe5}, one run each).",
    holds=copied_well and lottery and two and min(gain.values()) > 1,
    **{"planted": float(f"{copiers.planted.max():.0e}"), "error": short(copiers.at_n.median())},
    **{"lpe": int(lucky["LPE + CM"].sum()), "spe": int(lucky["SPE + CM"].sum())},
    **{"before": short(paired.nothing.median()), "after": short(paired.pair.median())},
    **{"cm": short(cm), "lpe_cm": short(lpe_cm), "tpe": short(tpe[tpe.took].at_n.median())},
    **{"low": short(min(gain.values())), "high": short(max(gain.values()))},
    **{"tpe5": short(loop["TPE + CM"]), "lpe5": short(loop["LPE + CM"])},
)

# %%
text.say(
    ru="Все числа, если не сказано другого, — для $b = 1$ (слои применяются один раз), медианы по зёрнам автора, которых три. "
    "Повторено {n} его запусков из 36, остальные ещё обучаются.",
    en="All numbers, unless said otherwise, are for $b = 1$ (the layers are applied once), medians over the author’s three seeds. "
    "Of his 36 runs {n} are repeated, the others are still being trained.",
    holds=len(repeated) < 36,
    n=len(repeated),
)


# %%
def draw_cell(ax, variant):
    """His runs as rings, ours as dots, at b = 1 and 5."""
    colour = drawing.style(variant)["color"]
    for _, own in his[his.variant == variant].groupby("seed"):
        ax.plot(own.b.astype(str), own.eval_7500, "o-", ms=9, mfc="none", color=colour, lw=0.8)
    for run in [run for run in repeated if run.config.variant == variant]:
        error = run.table("checks.csv").error.iloc[-1]
        ax.plot(str(run.config.b), error, "o", ms=4.5, color=colour)
    ax.axhline(1, color="grey", lw=0.8, ls=":")
    ax.set(title=variant, ylim=(0, 1.3), xlabel="loop iterations b" if "CM" in variant else "")


# %%
figure, axes = plt.subplots(2, 3, figsize=(9, 5.2), sharex=True, sharey=True)
for ax, variant, words in zip(
    axes.flat, six, ("", "copies", "copies", "", "4 of 6 learn", "all learn")
):
    draw_cell(ax, variant)
    ax.set_title(words, loc="right", fontsize="small", color="grey")
for ax, words in zip(axes[:, 0], ("without a mask", "with the causal mask")):
    ax.set_ylabel(f"{words}\nsquared error / d")
text.figure("hero", figure)

# %%
text.say(
    role="caption",
    ru="Ошибка на запросе шести вариантов: 0 — идеально, 1 — не знать ничего. Кольцо — его опубликованный запуск, линия "
    "соединяет одно зерно при b = 1 и 5; точка — наше повторение того же запуска, их пока {n} из 36. "
    "<!-- alt: Сетка из шести клеток, кодирование на маску; без маски ошибка около единицы, с маской ниже, у LPE + CM ниже всех -->",
    en="Target error of the six variants: 0 is perfect, 1 is to know nothing. A ring is a run that he published, a line joins "
    "one seed at b = 1 and 5; a dot is our repetition of that run, {n} of 36 so far. "
    "<!-- alt: A grid of six cells, encoding by mask; without a mask the error is near one, with it lower, lowest for LPE + CM -->",
    n=len(repeated),
)

# %% [markdown] tags=["ru"]
# ## Он написал, мы нашли

# %% [markdown] tags=["en"]
# ## He wrote, we found

# %%
pairs = his_error.unstack("variant")
models = {name: LoopedTransformer(Config(variant=name)) for name in ("SPE", "LPE", "TPE")}
numbers = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
wins = {name: int((pairs[f"{name} + CM"] < pairs[name]).sum()) for name in ("SPE", "LPE")}
off = his_error["SPE + CM"][lucky["SPE + CM"]]
ratio = his_error["CM"].groupby("b").mean() / off.groupby("b").mean()
late = int(lucky[["SPE", "LPE"]].xs(5, level="b").sum())
never = bool(
    his_error[["SPE", "LPE"]].xs(1, level="b").min() > 0.85 and his_error["none"].min() > 0.85
)

# %%
text.say(
    ru="| он написал | мы нашли | глава |\n|:--|:--|:--|\n"
    "| «само по себе позиционное кодирование работает очень плохо» | Да: при $b = 1$ ошибка около 1 во всех 6 запусках. При $b = 5$ к концу обучения {late} из 6 опустились ниже двух третей. | [1](1_position_and_mask.ipynb) |\n"
    "| «связка позиционного кодирования и каузальной маски значительно улучшает качество» | Да: с маской лучше SPE в {spe} парах из 6 и LPE в {lpe} из 6. | [1](1_position_and_mask.ipynb) |\n"
    "| «обучаемый позиционный эмбеддинг … даёт результаты лучшие, нежели синусоидальный» | Да, потому что обучается всегда: 6 запусков из 6 против {off}. Там, где SPE + CM обучился, он не хуже. | [5](5_choices.ipynb) |\n"
    "| без маски «происходит значительное переобучение» | Его признак, малая ошибка на обучении и большая в тестах, есть. Но это списывание: промпты не повторяются. | [3](3_label_leakage.ipynb) |\n"
    "| «это связано с тем, как устроена функция потерь: мы сравниваем сразу все токены» | Да, она и позволяет списать. Но если спрашивать об одном запросе, не обучается никто. | [3](3_label_leakage.ipynb) |\n"
    "| «обучение SPE + CM гораздо более нестабильно» | Да: {off} запуска из 6 обучаются, остальные стоят на месте. | [3](3_label_leakage.ipynb) |\n"
    "| SPE «не даёт практически никакого выигрыша (по крайней мере этот выигрыш несколько маловероятен)» над маской | Когда обучается — даёт: ошибка меньше, чем у CM, в {gain1} раза при $b = 1$ и в {gain5} при $b = 5$. | [1](1_position_and_mask.ipynb) |\n"
    "| «LPE добавляет примерно 8% дополнительных параметров» | Да: {with_table} вместо {without}. | [1](1_position_and_mask.ipynb) |\n"
    "| другая длина «может ухудшить результат» | Для LPE — да: дальше обученной длины таблицы нет. Короче почти не вредит. | [4](4_lengths_and_loops.ipynb) |\n"
    "| «может лучше всего подойти такое обучаемое позиционное кодирование, в котором обучается всего два токена» | При $b = 1$ нет. С циклом, в постановке GPT-2, почти как таблица (один запуск). | [2](2_two_token_encoding.ipynb) |\n"
    "| ждал заранее: без кодирования или без маски хуже, без того и другого «неудовлетворительно» | Да: без обоих ошибка не ниже {none} во всех 6 запусках. | [1](1_position_and_mask.ipynb) |\n"
    "| ждал заранее: SPE может оказаться лучше LPE | По точности не хуже, по надёжности хуже. | [5](5_choices.ipynb) |",
    en="| he wrote | we found | chapter |\n|:--|:--|:--|\n"
    "| “positional encoding by itself works very badly” | Yes: at $b = 1$ the error is near 1 in all 6 runs. At $b = 5$, {late} of 6 fall below two thirds by the end of training. | [1](1_position_and_mask.ipynb) |\n"
    "| “positional encoding together with the causal mask improves the quality considerably” | Yes: with the mask SPE is better in {spe} pairs of 6, LPE in {lpe} of 6. | [1](1_position_and_mask.ipynb) |\n"
    "| “the learned positional embedding … gives better results than the sinusoidal one” | Yes, because it always learns: 6 runs of 6, against {off}. Where SPE + CM has learned it is no worse. | [5](5_choices.ipynb) |\n"
    "| without the mask “there is considerable overfitting” | Its sign is there, a low training loss and a large test error. But it is copying: prompts never repeat. | [3](3_label_leakage.ipynb) |\n"
    "| “this has to do with the loss: we compare all tokens at once” | Yes, that is what makes copying possible. But if the query alone is asked for, no model learns. | [3](3_label_leakage.ipynb) |\n"
    "| “SPE + CM trains much less stably” | Yes: {off} runs of 6 learn, the others stand still. | [3](3_label_leakage.ipynb) |\n"
    "| SPE “gives practically no gain (at least this gain is somewhat improbable)” over the mask | When it learns it does: an error {gain1} times lower than CM’s at $b = 1$, and {gain5} times at $b = 5$. | [1](1_position_and_mask.ipynb) |\n"
    "| “LPE adds about 8% more parameters” | Yes: {with_table} in place of {without}. | [1](1_position_and_mask.ipynb) |\n"
    "| another length “may make the result worse” | For LPE, yes: there is no table beyond the trained length. Shorter hardly hurts. | [4](4_lengths_and_loops.ipynb) |\n"
    "| “a learned positional encoding in which only two tokens are learned may be best” | At $b = 1$, no. With a loop, in the GPT-2 setup, nearly as good as the table (one run). | [2](2_two_token_encoding.ipynb) |\n"
    "| expected: worse without the encoding or the mask, “unsatisfactory” without both | Yes: without both the error is {none} or more in all 6 runs. | [1](1_position_and_mask.ipynb) |\n"
    "| expected: SPE may beat LPE | In accuracy no worse, in reliability worse. | [5](5_choices.ipynb) |",
    holds=never and bool(lucky["LPE + CM"].all()) and bool(ratio.min() > 1.5),
    **{"late": late, "spe": wins["SPE"], "lpe": wins["LPE"], "off": len(off)},
    **{"with_table": numbers["LPE"], "without": numbers["SPE"]},
    **{"gain1": short(ratio[1]), "gain5": short(ratio[5]), "none": short(his_error["none"].min())},
)

# %% [markdown] tags=["ru"]
# ## Задача и шесть вариантов
#
# **Токены чередуются**: точка, ответ, точка, ответ, а в конце новая точка, ответа на которую нет. Ответ — это
# $y = w^\top x$, и в каждом промпте вектор $w$ новый. Узнать его можно только из примеров.
#
# Трансформер небольшой: два слоя, четыре головы внимания, скрытая размерность 64. При $b = 5$ те же два слоя применяются пять
# раз подряд: это зацикленный трансформер. Обучают его по всем точкам промпта, а оценивают по последней.

# %% [markdown] tags=["en"]
# ## The task and the six variants
#
# **Tokens alternate**: point, answer, point, answer, and at the end a new point that has no answer. An answer is
# $y = w^\top x$, and every prompt has a new vector $w$. Only the examples tell what it is.
#
# The transformer is small: two layers, four attention heads, hidden dimension 64. At $b = 5$ the same two layers are
# applied five times over: a looped transformer. It is trained on every point of the prompt and judged by the last.

# %%
tokens = ["x_1", "y_1", "x_2", "y_2", r"\dots", "x_i", "y_i", r"\dots", "x_{63}", "y_{63}", "x_q"]
figure, ax = plt.subplots(figsize=(9, 2.6))
for place, token in enumerate(tokens):
    colour = {"x": "#d6e6f5", "y": "#fde7c7"}.get(token[0], "none")
    ax.add_patch(plt.Rectangle((place - 0.42, 0), 0.84, 0.8, fc=colour))
    ax.text(place, 0.4, f"${token}$", ha="center", va="center")
for ends, height, colour in (((5, 6), 0.85, "#c0392b"), ((6, 5), -0.05, "#0173b2")):
    arrow = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-.6", "color": colour, "lw": 1.6}
    ax.annotate("", (ends[1], height), (ends[0], height), arrowprops=arrow)
ax.text(5.5, 1.4, "copy: $x_i$ sees its own answer, unless masked", ha="center", color="#c0392b")
ax.text(5.5, -0.7, "pair: $y_i$ looks back at its own point", ha="center", color="#0173b2")
ax.set(xlim=(-0.6, 10.6), ylim=(-0.9, 1.8))
ax.axis("off")
text.figure("prompt", figure)

# %% [markdown] tags=["ru", "caption"]
# Промпт. Если смотреть вперёд можно, точка $x_i$ видит свой ответ и может его списать (красная стрелка). Чтобы решить
# задачу, ответ надо соединить с его точкой (синяя стрелка), и это разрешено всегда. У новой точки $x_q$ списать нечего.
# <!-- alt: Ряд токенов x_1 y_1 … x_q; красная стрелка от x_i вперёд к y_i, синяя от y_i назад к x_i -->

# %% [markdown] tags=["en", "caption"]
# A prompt. Where looking ahead is allowed, the point $x_i$ sees its own answer and can copy it (red arrow). To solve the
# task, an answer has to be joined to its point (blue arrow), which is always allowed. For the new point $x_q$ there is
# nothing to copy.
# <!-- alt: A row of tokens x_1 y_1 … x_q; a red arrow from x_i ahead to y_i, a blue one from y_i back to x_i -->

# %% [markdown] tags=["ru"]
# Позицию модель узнаёт из **позиционного кодирования**: синусоидального (SPE), обучаемого (LPE, таблица из 127 строк) или
# никакого. **Каузальная маска** (CM) запрещает смотреть вперёд; она либо есть, либо нет. Всего шесть вариантов.
#
# О модели судим по **ошибке на запросе**: квадрат ошибки в $x_q$, делённый на размерность $d = 8$. Ноль — идеально, около
# единицы — у модели, которая всегда отвечает нулём. **Ошибка на обучении** — среднее того же по всем точкам промпта. Модель
# **обучилась** (взлетела), если ошибка на запросе опустилась ниже двух третей.
#
# Автор усредняет ошибку по итерациям цикла, мы берём последнюю; и наборы промптов у разных измерений разные. Поэтому у одной
# модели числа на разных рисунках расходятся на несколько сотых.

# %% [markdown] tags=["en"]
# The model learns positions from a **positional encoding**: sinusoidal (SPE), learned (LPE, a table of 127 rows) or none.
# The **causal mask** (CM) forbids looking ahead; it is on or off. That makes six variants.
#
# A model is judged by the **target error**: the squared error at $x_q$ divided by the dimension $d = 8$. Zero is perfect,
# about one is a model that always answers 0. The **training loss** is the mean of the same over all points of the prompt. A
# model **has learned** (taken off) if its target error has fallen below two thirds.
#
# The author averages the error over the loop’s iterations, we take the last one; and different measurements use different
# prompts. So one model’s numbers differ by a few hundredths from figure to figure.

# %% [markdown] tags=["ru"]
# ## Его первый рисунок
#
# **Разброс внутри ящика — это масштаб $x$.** В каждом его тесте у $x$ своё стандартное отклонение, случайное, от 0 до 2, и
# ошибка на него не делится. А в легенде перепутаны цвета двух $b$: в его числах ниже ящики при $b = 5$.

# %% [markdown] tags=["en"]
# ## His first figure
#
# **The spread within a box is the scale of $x$.** In each of his tests $x$ has a standard deviation of its own, drawn
# between 0 and 2, and the error is not divided by it. And the legend swaps the colours of the two $b$: in his numbers the
# boxes at $b = 5$ are the lower ones.

# %%
text.again("performance", out)

# %% [markdown] tags=["ru", "caption"]
# Его рисунок `performance` по его опубликованным тестам и по нашим тестам повторённых запусков. При $b = 1$ ящики те
# же, при $b = 5$ повторены пока не все зёрна. Цвета $b$ здесь верные. <!-- alt: Ящики ошибок в тестах: шесть вариантов, b = 1 и 5, слева его, справа наши -->

# %% [markdown] tags=["en", "caption"]
# His figure `performance` from his published tests and from our tests of the repeated runs. At $b = 1$ the boxes
# are the same, at $b = 5$ not all seeds are repeated yet. The colours of $b$ are corrected. <!-- alt: Boxes of test errors: six variants, b = 1 and 5, his on the left, ours on the right -->

# %% [markdown] tags=["ru"]
# Если поделить ошибку на дисперсию $x$, ящики сожмутся. Без маски при $b = 1$ не умеет ничего ни один вариант; с маской
# ошибка у всех трёх меньше, и при $b = 5$ меньше, чем при $b = 1$.

# %% [markdown] tags=["en"]
# Divide the error by the variance of $x$, and the boxes shrink. Without a mask no variant can do anything at $b = 1$; with
# it all three have lower errors, and lower ones at $b = 5$ than at $b = 1$.

# %%
text.again("divided", out)

# %% [markdown] tags=["ru", "caption"]
# Его тесты, ошибка поделена на дисперсию $x$. Точка — тест; закрашены варианты с маской. Тесты со стандартным отклонением
# $x$ меньше 0,3 опущены: там всякий ответ близок к нулю.
# <!-- alt: Ошибка, делённая на дисперсию x, против стандартного отклонения x; при b = 5 точки с маской ниже -->

# %% [markdown] tags=["en", "caption"]
# His tests, the error divided by the variance of $x$. A dot is a test, filled where there is a mask. Tests in which $x$ has
# a standard deviation below 0.3 are left out: any answer is near zero there.
# <!-- alt: The error divided by the variance of x against the standard deviation of x; at b = 5 masked dots are lower -->

# %% [markdown] tags=["ru"]
# ## Его второй рисунок
#
# **Малая ошибка на обучении ещё не значит, что мала и ошибка на запросе.** Автор увидел у моделей с кодированием и без маски
# малую ошибку на обучении и большую в тестах и назвал это переобучением. Но переобучиться здесь не на чем: каждый батч новый.

# %% [markdown] tags=["en"]
# ## His second figure
#
# **A low training loss does not mean a low target error.** The author saw a low training loss and a large test error in
# models with an encoding and no mask and called it overfitting. But there is nothing to overfit on: every batch is new.

# %%
text.again("loss_comparison", out)

# %% [markdown] tags=["ru", "caption"]
# Ошибка на обучении (его рисунок `loss comparison`) и рядом ошибка на запросе, среднее и стандартное отклонение по
# повторённым запускам. Кольца — среднее его опубликованных ошибок в тех же запусках.
# <!-- alt: Две панели по шагам: слева SPE и LPE падают почти до нуля, справа остаются около единицы -->

# %% [markdown] tags=["en", "caption"]
# The training loss (his figure `loss comparison`) and the target error beside it, mean and standard deviation over the
# repeated runs. Rings are the means of his published losses of the same runs.
# <!-- alt: Two panels by step: on the left SPE and LPE fall nearly to zero, on the right they stay near one -->

# %%
loss_300 = his[his.variant.isin(["SPE", "LPE"])].loss_300
text.say(
    ru="Это списывание, и оно быстрое: к шагу 300 ошибка на обучении в его двенадцати запусках с кодированием и без маски уже "
    "между {low} и {high}. Проверить легко: подложим вместо ответа $y_i$ чужое число. Модель называет в точке $x_i$ именно его, "
    "с ошибкой не больше {planted}. А то, что остаётся от ошибки на обучении, — почти целиком запрос: единица, делённая на 64 "
    "точки.",
    en="It is copying, and it is fast: by step 300 the training loss in his twelve runs with an encoding and no mask is between "
    "{low} and {high} already. That is easily checked: plant another number in the place of the answer $y_i$. At $x_i$ the model "
    "names that very number, with an error of {planted} at most. And what is left of the training loss is nearly all the "
    "query’s: one, divided by 64 points.",
    holds=bool(
        copiers.planted.max() < 0.01 and (copiers.loss - copiers.at_n / 64).abs().max() < 0.005
    ),
    **{"low": short(loss_300.min()), "high": short(loss_300.max())},
    planted=float(f"{copiers.planted.max():.0e}"),
)

# %% [markdown] tags=["ru"]
# ## До последней цифры
#
# **Мы восстановили его модели.** Начальные веса, промпты, проверки и тесты берутся из тех же случайных чисел, что и в его
# программе.

# %% [markdown] tags=["en"]
# ## To the last digit
#
# **We have rebuilt his models.** Initial weights, prompts, checks and tests come from the same random numbers as in his
# program.

# %%
text.again("agreement", out)

# %% [markdown] tags=["ru", "caption"]
# Насколько наша ошибка на обучении отличается от опубликованной, на 16 шагах, в долях её самой. Линия —
# запуск, цвета те же, что на рисунке 1.
# <!-- alt: Относительное отличие от его ошибки по шагам; почти все линии ниже одной стотысячной -->

# %% [markdown] tags=["en", "caption"]
# How far our training loss is from the published one, at 16 steps, in parts of it. A line
# is a run, in the colours of Figure 1.
# <!-- alt: Relative difference from his loss by step; nearly all lines are below one part in a hundred thousand -->

# %%
steps = [int(name[5:]) for name in his if name[5:].isdigit() and name.startswith("loss_")]


def apart(run):
    """The largest relative difference of the training loss from his, at the published steps."""
    loss = run.tensors("losses.safetensors")["loss"].double()
    own = his.set_index(["variant", "b", "seed"]).loc[run.key]
    return max(abs(float(loss[step - 1]) / own[f"loss_{step}"] - 1) for step in steps)


parted = [run for run in repeated if apart(run) > 1e-3]

# %%
text.say(
    ru="Повторено {n} из 36 запусков, остальные обучаются. В {same} из них каждая опубликованная ошибка та же до одной "
    "тысячной, а чаще до стотысячной. Остальные {parted} — SPE без маски: под самый конец ошибки округления вырастают, и "
    "числа расходятся, но кончается обучение там же. Подробно об этом в [главе 1](1_position_and_mask.ipynb).",
    en="Of 36 runs {n} are repeated, the others are being trained. In {same} of them every published loss is the same to one "
    "part in a thousand, and mostly to one in a hundred thousand. The other {parted} are SPE without a mask: towards the very "
    "end rounding errors grow and the numbers part, though training ends in the same place. "
    "[Chapter 1](1_position_and_mask.ipynb) has the details.",
    holds=len(repeated) < 36 and {run.config.variant for run in parted} == {"SPE"},
    **{"n": len(repeated), "same": len(repeated) - len(parted), "parted": len(parted)},
)

# %% [markdown] tags=["ru"]
# ## Почему: пары
#
# **Обученная модель связывает каждый ответ с его точкой.** Это видно, если запретить ответам $y_i$ смотреть на свои точки
# $x_i$, не меняя ни весов, ни чего-либо ещё. Для сравнения запретим им смотреть на соседнюю точку $x_{i-1}$.

# %% [markdown] tags=["en"]
# ## Why: pairs
#
# **A trained model links each answer to its point.** One sees it by forbidding the answers $y_i$ to look at their own points
# $x_i$, with the weights and everything else left alone. For comparison, forbid them to look at the neighbouring point
# $x_{i-1}$.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
for ax, name, title in zip(axes, ("pair", "neighbour"), ("own point hidden", "neighbour hidden")):
    for (_, own), variant in zip(inside.iterrows(), inside.variant):
        if variant in masked:
            look = drawing.style(variant)["color"]
            face = look if own.took else "white"
            ax.plot(["as trained", "hidden"], [own.nothing, own[name]], "o-", color=look, mfc=face)
    ax.axhline(1, color="grey", lw=0.8, ls=":")
    ax.set(title=title, yscale="log", xlim=(-0.2, 1.5))
for variant, height in zip(("SPE + CM", "LPE + CM", "CM"), (4, 1.6, 1.15)):
    axes[0].text(1.08, height, variant, color=drawing.style(variant)["color"], va="center")
axes[0].set_ylabel("target error, squared error / d")
text.figure("pairs", figure)

# %%
text.say(
    role="caption",
    ru="Ошибка на запросе до и после запрета, $b = 1$, запуски автора с маской. Без своей точки обученные модели становятся хуже "
    "той, что всегда отвечает нулём (пунктир); без соседней не меняется почти ничего. Линия — запуск ({n}), пустые кружки — "
    "запуск, который не обучился. "
    "<!-- alt: Слева линии идут от 0,1–0,4 вверх выше единицы, справа горизонтальны; линия необученного запуска горизонтальна в обеих -->",
    en="Target error before and after, $b = 1$, the author’s runs with the mask. Without their own point trained models become worse "
    "than one that always answers 0 (dotted); without the neighbour’s hardly anything changes. A line is a run ({n}), hollow "
    "circles are the run that did not learn. "
    "<!-- alt: On the left lines rise from 0.1–0.4 to above one, on the right they are level; that of the run that did not learn is level in both -->",
    holds=bool(
        inside[inside.took].pair.min() > 1
        and (inside[inside.took].neighbour - inside[inside.took].nothing).abs().max() < 0.1
    ),
    n=int(inside.variant.isin(masked).sum()),
)

# %%
learned = [run for run in looked if run.key in paired.index]
by_head = [(run.table("heads.csv").error > 2 * hidden(run).nothing).sum() for run in learned]
spe = paired[paired.variant == "SPE + CM"]
text.say(
    ru="Этим и различаются удачные и неудачные запуски SPE с маской. Где модель обучилась, ошибка {before} без пар вырастает до "
    "{low}–{high}; где нет — было {stuck} и осталось {hid}. Связь держится на одной-двух головах первого слоя: если отнять "
    "пары у одной из них, ошибка по меньшей мере удваивается (в {one} запусках из {n} такая голова одна). "
    "Почему она складывается не всегда, мы не знаем.",
    en="This is what sets SPE’s successes with the mask apart from its failures. Where the model has learned, the error of {before} "
    "rises to {low} or {high} without pairs; where it has not, {stuck} stays {hid}. The link rests on one or two heads of the first "
    "layer: take the pairs from one of them, and the error at least doubles (in {one} runs of {n} there is just one such head). "
    "Why it does not always form we do not know.",
    holds=bool(len(stuck) and len(spe) > 1 and spe.pair.min() > 2 and {*by_head} <= {1, 2}),
    **{
        "before": short(spe.nothing.median()),
        "low": short(spe.pair.min()),
        "high": short(spe.pair.max()),
    },
    **{"stuck": short(stuck.nothing.median()), "hid": short(stuck.pair.median())},
    **{"one": sum(count == 1 for count in by_head), "n": len(by_head)},
)

# %% [markdown] tags=["ru"]
# Одна маска позиций не сообщает, и связать пару наверняка может только $y_1$: перед ним единственная точка. Если скрыть от него
# одного эту точку, CM теряет больше половины того, чему научилась ([приложение, глава 3](3_label_leakage.ipynb)).
#
# ### Попробуйте сами
#
# Четыре модели автора работают прямо на этой странице: подмените ответ примера, спрячьте пары, уберите примеры. У SPE без маски
# подменённый ответ вернётся, у LPE + CM нет.

# %% [markdown] tags=["en"]
# The mask alone tells no positions, and only $y_1$ can surely be linked to its point, as it has just one before it. Hide that
# point from it alone, and CM loses more than half of what it has learned ([appendix, chapter 3](3_label_leakage.ipynb)).
#
# ### Try it yourself
#
# Four of the author’s models run in this page: replace an example’s answer, hide the pairs, remove examples. SPE without a mask
# gives a replaced answer back, LPE + CM does not.

# %%
own = {run.key: run for run in repeated}
chosen = [own[name, 1, 42] for name in ("SPE", "LPE + CM", "SPE + CM", "CM")]
explorer("model", chosen)

# %% [markdown] tags=["ru", "caption"]
# Предсказания моделей автора ($b = 1$, зерно 42) во всех точках одного промпта и карта внимания. Веса округлены до
# половинной точности. Без скриптов здесь неподвижная картинка.
# <!-- alt: Предсказания четырёх моделей против правды на одном промпте и их карты внимания -->

# %% [markdown] tags=["en", "caption"]
# Predictions of the author’s models ($b = 1$, seed 42) at every point of one prompt, and the attention map. The weights are
# rounded to half precision. Without scripts this is a still picture.
# <!-- alt: Predictions of four models against the truth on one prompt, and their attention maps -->

# %% [markdown] tags=["ru"]
# ## Виновата ли функция потерь?

# %% [markdown] tags=["en"]
# ## Is the loss to blame?

# %%
setups = ["gpt2+query", "gpt2+random-k", "gpt2+all-random-k", "gpt2+hidden"]
others = [Config(setup=name, variant=variant) for name in setups for variant in VARIANTS]
other = claims.outcomes(records.recorded_runs(out, others))
asked_query = other[other.setup.isin(["gpt2+query", "gpt2+random-k"])]
both_ways = other[(other.setup == "gpt2+all-random-k") & (other.variant == "SPE")]
text.say(
    ru="**Да, она позволяет списать. Но отнять у модели шпаргалку ещё не значит научить.** Если на обучении считать ошибку только на "
    "запросе, списывать нечего — и за 10 000 шагов не обучился ни один из {n} запусков постановки GPT-2, в том числе LPE с "
    "маской: вместе со шпаргалкой исчезают и 63 из 64 вопросов. А если длина промпта на каждом шаге случайна и спрашивается "
    "обо всех точках, SPE без маски и списывает, и решает задачу: {both} запуска из {all}.",
    en="**Yes, it makes copying possible. But to take the crib away is not yet to teach.** Count the error at the query alone in "
    "training, and there is nothing to copy, and in 10,000 steps none of {n} runs of the GPT-2 setup learned, LPE with the mask "
    "among them: with the crib 63 of the 64 questions are gone, too. And where the prompt’s length is random at every step and "
    "every point is asked about, SPE without a mask both copies and solves the task: {both} runs of {all}.",
    holds=bool(asked_query.take_off.isna().all() and both_ways.take_off.notna().any()),
    **{"n": len(asked_query), "low": short(asked_query.at_n.min())},
    **{"both": int(both_ways.take_off.notna().sum()), "all": len(both_ways)},
)

# %% [markdown] tags=["ru"]
# Пять функций потерь сравниваются в [приложении, глава 3](3_label_leakage.ipynb).

# %% [markdown] tags=["en"]
# Five losses are compared in [the appendix, chapter 3](3_label_leakage.ipynb).

# %% [markdown] tags=["ru"]
# ## Его идея: два вектора

# %% [markdown] tags=["en"]
# ## His idea: two vectors

# %%
once = of("TPE + CM", "gpt2").at_n.median(), of("CM", "gpt2").at_n.median()
text.say(
    ru="**Без цикла двух векторов мало, с циклом их может хватить.** TPE сообщает токену только, точка он или ответ. В постановке "
    "автора при $b = 1$ TPE с маской обучается в {took} запусках из {n} и приходит к ошибке {error}, как одна маска ({cm}). В "
    "постановке GPT-2 два вектора маске помогают ({once} против {cm2}), а при $b = 5$ их ошибка {loop}, у таблицы {table} (по "
    "одному запуску): {two} чисел почти заменяют {rows}. Без маски TPE не знает, какой ответ к какой точке: переставьте "
    "ответы, и предсказание не изменится ([приложение, глава 2](2_two_token_encoding.ipynb)).",
    en="**Without a loop two vectors are too few; with a loop they can be enough.** TPE tells a token only whether it is a point or an "
    "answer. In the author’s setup at $b = 1$ TPE with the mask learns in {took} runs of {n} and ends at an error of {error}, as "
    "the mask alone does ({cm}). In the GPT-2 setup two vectors help the mask ({once} against {cm2}), and at $b = 5$ their error is "
    "{loop}, the table’s {table} (one run each): {two} numbers nearly replace {rows}. Without the mask TPE does not know which answer "
    "belongs to which point: permute the answers, and the prediction stays the same "
    "([appendix, chapter 2](2_two_token_encoding.ipynb)).",
    holds=two and once[0] < 0.8 * once[1],
    **{"took": int(tpe.took.sum()), "n": len(tpe), "error": short(tpe[tpe.took].at_n.median())},
    **{"cm": short(cm), "once": short(once[0]), "cm2": short(once[1])},
    **{"two": numbers["TPE"] - numbers["SPE"], "rows": numbers["LPE"] - numbers["SPE"]},
    **{"loop": short(loop["TPE + CM"]), "table": short(loop["LPE + CM"])},
)

# %%
text.again("type_runs", out)

# %% [markdown] tags=["ru", "caption"]
# TPE в постановке автора, $b = 1$: слева ошибка на запросе по ходу обучения, справа в конце; точка — запуск.
# <!-- alt: Кривые ошибки пяти вариантов и точки запусков: TPE + CM кончает там же, где CM, LPE + CM ниже -->

# %% [markdown] tags=["en", "caption"]
# TPE in the author’s setup, $b = 1$: on the left the target error in training, on the right at its end; a dot is a run.
# <!-- alt: Error curves of five variants and dots of the runs: TPE + CM ends where CM does, LPE + CM is lower -->

# %% [markdown] tags=["ru"]
# ## Что от чего зависит
#
# **Маска помогает в обеих постановках; списывает ли LPE, зависит от того, с чего начинается таблица.** Постановка автора
# необычна: выход внимания не остаётся в остаточном потоке, основание синусоиды 9,2 вместо 10 000, а таблица LPE
# начинается с $N(0, 1)$, тогда как в GPT-2 её стандартное отклонение 0,02. Мы сравнили её с постановкой GPT-2: обычный
# блок, обычные начальные веса, $d = 5$ и 10 000 шагов.

# %% [markdown] tags=["en"]
# ## What depends on which choice
#
# **The mask helps in both setups; whether LPE copies depends on where its table starts.** The author’s setup is unusual: the
# attention’s output does not stay in the residual stream, the sinusoid’s base is 9.2 in place of 10,000, and LPE’s table
# starts from $N(0, 1)$, where GPT-2 has a standard deviation of 0.02. We compared it with the GPT-2 setup: the usual block,
# the usual initial weights, $d = 5$ and 10,000 steps.

# %%
text.again("choices_map", out)

# %% [markdown] tags=["ru", "caption"]
# Доля запусков (или пар запусков), в которых утверждение верно, в постановке автора и в постановке GPT-2: чем зеленее, тем
# больше. У сравнений указано и отношение ошибок: 0,5× — вдвое меньше. Рамкой обведено то, в чём постановки расходятся.
# <!-- alt: Таблица утверждений и постановок; рамкой обведены строки о том, что LPE списывает и что SPE без маски обучается -->

# %% [markdown] tags=["en", "caption"]
# The share of runs (or pairs of runs) in which a statement is true, in the author’s setup and in the GPT-2 setup: the greener,
# the larger. Comparisons also have the ratio of errors: 0.5× is half. Frames mark what the setups disagree about.
# <!-- alt: A table of statements by setup; frames mark the rows on LPE’s copying and on SPE’s learning without a mask -->

# %% [markdown] tags=["ru"]
# С малой начальной таблицей LPE не списывает, и задачу без маски всё равно не решает. Похоже, дело в том, насколько велик
# вклад позиции рядом с содержанием токена: все наши модели без маски, у которых он сначала велик, списывают, и ни одна из
# тех, у которых мал ([приложение, глава 5](5_choices.ipynb)). Чтобы понять, какое отличие к чему приводит, нужны запуски с
# одним изменением; они ещё обучаются.

# %% [markdown] tags=["en"]
# With a small initial table LPE does not copy, and without the mask it still does not solve the task. It seems to depend on
# how large the position’s share is beside the token’s content: all our models without a mask in which it is large at first
# copy, and none of those in which it is small ([appendix, chapter 5](5_choices.ipynb)). To tell which difference does what
# takes runs with one change; they are still being trained.

# %% [markdown] tags=["ru"]
# ## Другая длина

# %% [markdown] tags=["en"]
# ## Another length

# %%
masked_runs = [run for run in looked if run.config.mask == "CM"]
lengths = records.tidy(masked_runs, "lengths.csv")
median = lengths[lengths.place == 2 * lengths.k].groupby(["variant", "k"]).error.median()
at = {f"{name[:3].strip().lower()}{k}": short(error) for (name, k), error in median.items()}
text.say(
    ru="**Короче можно, длиннее — только маске без кодирования.** С 32 примерами вместо 63 ошибка LPE + CM {lpe32} (с 63 — {lpe63}), "
    "SPE + CM {spe32} ({spe63}), CM {cm32} ({cm63}). Со 127 примерами у LPE кончается таблица, у SPE + CM ошибка вырастает до "
    "{spe127}, у CM остаётся {cm127}. Итерации сверх тех, с которыми модель обучали, вредят всем "
    "([приложение, глава 4](4_lengths_and_loops.ipynb)).",
    en="**Shorter is fine, longer only for the mask without an encoding.** With 32 examples in place of 63 LPE + CM has an error of "
    "{lpe32} ({lpe63} with 63), SPE + CM {spe32} ({spe63}), CM {cm32} ({cm63}). With 127 LPE’s table ends, SPE + CM rises to "
    "{spe127}, CM stays at {cm127}. Iterations beyond those that a model was trained with hurt all of them "
    "([appendix, chapter 4](4_lengths_and_loops.ipynb)).",
    holds=bool(
        at["spe127"] > 1.5 * at["spe63"] and at["cm127"] < 1.2 * at["cm63"] and at["lpe32"] < 0.3
    ),
    **at,
)

# %% [markdown] tags=["ru"]
# ## Чего мы не знаем
#
# - **Запусков мало.** У автора три зерна, в постановке GPT-2 их у нас тоже три, а с циклом одно. Шесть из шести и четыре из шести
#   статистически неразличимы; новые зёрна, до семнадцати на вариант, ещё обучаются.
# - **Обучение коротко**: 7500 шагов у автора, 10 000 в постановке GPT-2. Кто не обучился, мог бы обучиться позже: три запуска
#   без маски при $b = 5$ начали под самый конец.
# - **Голова нужна, а хватает ли её**, неизвестно: подсказать пары застрявшей модели мы ещё не пробовали.
# - **Одна задача и одна маленькая модель**: линейные функции без шума, два слоя.
# - **Наши решения, которых нет у автора**: порог в две трети, стандартное отклонение $x$, равное 1, ошибка после последней
#   итерации.

# %% [markdown] tags=["en"]
# ## What we do not know
#
# - **Runs are few.** The author has three seeds; in the GPT-2 setup we have three as well, and one with a loop. Six of six and
#   four of six cannot be told apart statistically; new seeds, up to seventeen a variant, are still being trained.
# - **Training is short**: 7,500 steps in the author’s setup, 10,000 in GPT-2’s. A model that has not learned might have later:
#   three runs without a mask at $b = 5$ began to at the very end.
# - **The head is needed; whether it is enough** is not known: we have not yet tried to hint at the pairs in a stuck model.
# - **One task and one small model**: linear functions without noise, two layers.
# - **Decisions of ours that the author did not make**: the threshold of two thirds, a standard deviation of $x$ of 1, the error
#   after the last iteration.
