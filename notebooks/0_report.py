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
# # Что дают номера токенов и каузальная маска

# %% [markdown] tags=["en"]
# # What token numbers and the causal mask do

# %% [markdown] tags=["ru", "headline"]
# Маленький трансформер читает 63 примера неизвестной линейной функции и должен назвать её значение в новой точке.
# Помогает ли ему знать номера токенов? И что будет, если разрешить ему заглядывать вперёд? Так спросил студент в августе
# 2024 года («Эксперимент №3» репозитория DaniilLaptev/TBankFoundations). Мы повторили его опыт число в число, а потом
# посмотрели, что у его моделей внутри.

# %% [markdown] tags=["en", "headline"]
# A small transformer reads 63 examples of a linear function that it has never seen and must name its value at a new
# point. Does it help to know where each token stands? And what if it may look ahead? A student asked this in August 2024
# (“Experiment 3” of DaniilLaptev/TBankFoundations). We repeated his experiment, number by number, and then looked inside
# his models.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from icl_core import records
from icl_core.config import Config
from icl_core.encodings import VARIANTS
from icl_report import claims, drawing, text
from icl_report.model_figure import explorer

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


def short(value):
    """Two significant digits."""
    return float(f"{value:.2g}")


# %%
his["setup"] = "source"
his_error = his.set_index(["variant", "b", "seed"]).eval_7500  # the last check
lucky = his_error < 2 / 3
copiers = table[table.variant.isin(["SPE", "LPE"]) & (table.setup == "source") & (table.b == 1)]

# %%
text.say(
    role="headline",
    ru="- **Без маски модель списывает.** Ответ стоит рядом с вопросом, и модель, которая знает номера токенов, находит его "
    "за несколько сотен шагов: на обучении ошибка {loss}, на новом вопросе {error}, а 1 — это не знать ничего. Это не "
    "переобучение: каждый батч новый.\n"
    "- **Маска отнимает шпаргалку**, и приходится учиться. С обучаемыми номерами (LPE) это удаётся всегда, в {lpe} его "
    "запусках из 6; с синусоидальными (SPE) — как повезёт, в {spe} из 6.",
    en="- **Without a mask the model copies.** The answer stands right beside the question, and a model that knows the numbers "
    "of the tokens finds it within a few hundred steps: an error of {loss} in training and of {error} on a new question, where "
    "1 is to know nothing. This is not overfitting, as every batch is new.\n"
    "- **The mask takes the crib away**, and the model has to learn. With learned numbers (LPE) it always does, in {lpe} of "
    "his 6 runs; with sinusoidal ones (SPE) it takes luck, {spe} of 6.",
    holds=bool(copiers.loss.max() < 0.03 and copiers.at_n.min() > 0.9 and lucky["LPE + CM"].all()),
    **{"loss": short(copiers.loss.median()), "error": short(copiers.at_n.median())},
    **{"lpe": int(lucky["LPE + CM"].sum()), "spe": int(lucky["SPE + CM"].sum())},
)


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
tpe = of("TPE + CM")
text.say(
    role="headline",
    ru="- **Везение — это одна голова внимания**, та, что соединяет ответ с его точкой. Спрячем от ответов их точки, и ошибка "
    "обученной модели вырастает с {before} до {after} (медианы).\n"
    "- **Одной маски хватает наполовину**: без номеров ошибка {cm}, с обучаемыми {lpe}. Цикл помогает всем, кто учится.\n"
    "- **Его идея, два вектора вместо таблицы**, без цикла не лучше одной маски ({tpe}); с циклом, в обстановке из учебника, "
    "почти догоняет таблицу.",
    en="- **Luck is one attention head**, the one that joins an answer to its point. Hide their points from the answers, and "
    "the error of a trained model rises from {before} to {after} (medians).\n"
    "- **The mask alone does half of it**: without numbers the error is {cm}, with learned ones {lpe}. A loop helps all that "
    "learn.\n"
    "- **His idea, two vectors in place of a table**, is no better than the mask alone without a loop ({tpe}); with one, in the "
    "textbook’s setup, it nearly catches up with the table.",
    holds=bool(paired.pair.min() > 1 and (stuck.pair < 1).all() and tpe.at_n.median() > 0.95 * cm),
    **{"before": short(paired.nothing.median()), "after": short(paired.pair.median())},
    **{"cm": short(cm), "lpe": short(lpe_cm), "tpe": short(tpe.at_n.median())},
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
said = [("", 0), ("copies", 0.2), ("copies", 0.2), ("", 0), ("luck", 0.6), ("always learns", 0.6)]
for ax, variant, (words, height) in zip(axes.flat, six, said):
    draw_cell(ax, variant)
    ax.annotate(words, (0.5, height), xycoords="axes fraction", ha="center")
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
wins = {name: int((pairs[f"{name} + CM"] < pairs[name]).sum()) for name in ("SPE", "LPE")}
off = his_error["SPE + CM"][lucky["SPE + CM"]]
gain = his_error["CM"].groupby("b").mean() / off.groupby("b").mean()
late = int(lucky[["SPE", "LPE"]].xs(5, level="b").sum())

# %%
text.say(
    ru="| он написал | мы нашли | глава |\n|:--|:--|:--|\n"
    "| «само по себе позиционное кодирование работает очень плохо» | Да: при $b = 1$ ошибка около 1 во всех 6 запусках. При $b = 5$ под конец обучения {late} из 6 начинают решать задачу. | [1](1_position_and_mask.ipynb) |\n"
    "| с маской «значительно улучшает» | Да: SPE с маской лучше в {spe} парах из 6, LPE в {lpe} из 6. | [1](1_position_and_mask.ipynb) |\n"
    "| LPE «даёт результаты лучшие, нежели синусоидальный» | Надёжнее, а не точнее: взлетают 6 запусков из 6 против {off}. | [5](5_choices.ipynb) |\n"
    "| «происходит значительное переобучение» | Нет, списывание: ни один промпт не встречается дважды. | [3](3_label_leakage.ipynb) |\n"
    "| дело в функции потерь | Отчасти: она позволяет списать. Но без неё не учится почти никто. | [3](3_label_leakage.ipynb) |\n"
    "| «обучение SPE + CM гораздо более нестабильно» | Всё или ничего: {off} из 6 взлетают. | [3](3_label_leakage.ipynb) |\n"
    "| SPE «не даёт практически никакого выигрыша» над маской | Даёт, когда взлетает: ошибка меньше в {gain1} раза при $b = 1$ и в {gain5} при $b = 5$. Среднее по шести запускам это прячет. | [1](1_position_and_mask.ipynb) |\n"
    "| LPE добавляет «примерно 8 %» параметров | Да. | [1](1_position_and_mask.ipynb) |\n"
    "| другая длина «может ухудшить результат» | Короче — нет. Длиннее нельзя: таблица кончилась. | [4](4_lengths_and_loops.ipynb) |\n"
    "| лучше всего может подойти «всего два токена» | Без цикла — нет: не лучше одной маски. | [2](2_two_token_encoding.ipynb) |",
    en="| he wrote | we found | chapter |\n|:--|:--|:--|\n"
    "| “positional encoding by itself works very badly” | Yes: at $b = 1$ the error is near 1 in all 6 runs. At $b = 5$ {late} of 6 begin to solve the task towards the end. | [1](1_position_and_mask.ipynb) |\n"
    "| with the mask it “improves considerably” | Yes: SPE is better with the mask in {spe} pairs of 6, LPE in {lpe} of 6. | [1](1_position_and_mask.ipynb) |\n"
    "| LPE “gives better results than the sinusoidal one” | More reliable, not more accurate: 6 runs of 6 take off, against {off}. | [5](5_choices.ipynb) |\n"
    "| “there is considerable overfitting” | No, copying: no prompt is met twice. | [3](3_label_leakage.ipynb) |\n"
    "| the loss is the reason | In part: it makes copying possible. But without it hardly any model learns. | [3](3_label_leakage.ipynb) |\n"
    "| “SPE + CM trains much less stably” | All or nothing: {off} of 6 take off. | [3](3_label_leakage.ipynb) |\n"
    "| SPE “gives practically no gain” over the mask | It does when it takes off: an error {gain1} times lower at $b = 1$ and {gain5} times at $b = 5$. The mean of six runs hides it. | [1](1_position_and_mask.ipynb) |\n"
    "| LPE adds “about 8%” to the parameters | Yes. | [1](1_position_and_mask.ipynb) |\n"
    "| another length “may make the result worse” | Shorter, no. Longer cannot be: the table ends. | [4](4_lengths_and_loops.ipynb) |\n"
    "| “only two tokens” may be best | Without a loop, no: they are no better than the mask alone. | [2](2_two_token_encoding.ipynb) |",
    holds=bool(
        his_error[["SPE", "LPE"]].xs(1, level="b").min() > 0.85
        and lucky["LPE + CM"].all()
        and gain.min() > 1.5
    ),
    **{"late": late, "spe": wins["SPE"], "lpe": wins["LPE"], "off": len(off)},
    **{"gain1": short(gain[1]), "gain5": short(gain[5])},
)

# %% [markdown] tags=["ru"]
# ## Задача и шесть вариантов
#
# **Токены чередуются**: точка, ответ, точка, ответ, а в конце новая точка, ответа на которую нет. Ответ — это
# $y = w^\top x$, и в каждом промпте вектор $w$ новый. Узнать его можно только из примеров.
#
# Трансформер мал: два слоя, четыре головы внимания, скрытая размерность 64. При $b = 5$ те же два слоя применяются пять
# раз подряд: это зацикленный трансформер. Обучают его предсказывать ответ в каждой точке промпта, а нужен он ради
# последней.

# %% [markdown] tags=["en"]
# ## The task and the six variants
#
# **Tokens alternate**: point, answer, point, answer, and at the end a new point that has no answer. An answer is
# $y = w^\top x$, and every prompt has a new vector $w$. Only the examples tell what it is.
#
# The transformer is small: two layers, four attention heads, hidden dimension 64. At $b = 5$ the same two layers are
# applied five times over: a looped transformer. It is trained to predict the answer at every point of the prompt, and it
# is wanted for the last one.

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
# Номер токена сообщает **позиционное кодирование**: синусоида (SPE), обучаемая таблица (LPE) или никакое. Смотреть вперёд
# запрещает **каузальная маска** (CM), или не запрещает ничто. Вместе шесть вариантов.
#
# О модели судим по **ошибке на запросе**: квадрат ошибки в $x_q$, делённый на размерность $d = 8$. Ноль — идеально,
# единица — не знать ничего. **Ошибка на обучении** — среднее того же по всем точкам промпта. Модель **взлетела**, если
# ошибка на запросе стала меньше двух третей.

# %% [markdown] tags=["en"]
# A **positional encoding** tells a token its number: a sinusoid (SPE), a learned table (LPE), or none does. The **causal
# mask** (CM) forbids looking ahead, or nothing does. Together they make six variants.
#
# A model is judged by the **target error**: the squared error at $x_q$ divided by the dimension $d = 8$. Zero is perfect,
# one is to know nothing. The **training loss** is the mean of the same over all points of the prompt. A model has **taken
# off** once its target error is below two thirds.

# %% [markdown] tags=["ru"]
# ## Его первый рисунок
#
# **Высота ящиков — это масштаб $x$, а не качество моделей.** В каждом его тесте у $x$ своё стандартное отклонение,
# случайное, от 0 до 2, и ошибка на него не делится. А в легенде перепутаны цвета двух $b$.

# %% [markdown] tags=["en"]
# ## His first figure
#
# **The height of the boxes is the scale of $x$, not the quality of the models.** In each of his tests $x$ has a standard
# deviation of its own, drawn between 0 and 2, and the error is not divided by it. And the legend has the colours of the
# two $b$ exchanged.

# %%
text.again("performance", out)

# %% [markdown] tags=["ru", "caption"]
# Его рисунок `performance` по его опубликованным тестам и по нашим тестам повторённых запусков: ящики те же. Цвета $b$
# здесь на своих местах. <!-- alt: Ящики ошибок в тестах: шесть вариантов, b = 1 и 5, слева его, справа наши -->

# %% [markdown] tags=["en", "caption"]
# His figure `performance` from his published tests and from our tests of the repeated runs: the boxes are the same. The
# colours of $b$ are put right. <!-- alt: Boxes of test errors: six variants, b = 1 and 5, his on the left, ours on the right -->

# %% [markdown] tags=["ru"]
# Поделим ошибку на дисперсию $x$, и ящики сожмутся. Тогда видно то, что он почти разглядел: без маски при $b = 1$ не умеет
# ничего ни один вариант, с маской умеют все три, а пять итераций лучше одной.

# %% [markdown] tags=["en"]
# Divide the error by the variance of $x$, and the boxes shrink. Then one sees what he nearly saw: without a mask no
# variant can do anything at $b = 1$, with it all three can, and five iterations are better than one.

# %%
text.again("divided", out)

# %% [markdown] tags=["ru", "caption"]
# Те же его тесты, ошибка поделена на дисперсию $x$. Точка — тест; закрашены варианты с маской.
# <!-- alt: Ошибка, делённая на дисперсию x, против стандартного отклонения x; при b = 5 точки с маской ниже -->

# %% [markdown] tags=["en", "caption"]
# The same tests of his, the error divided by the variance of $x$. A dot is a test, filled where there is a mask.
# <!-- alt: The error divided by the variance of x against the standard deviation of x; at b = 5 masked dots are lower -->

# %% [markdown] tags=["ru"]
# ## Его второй рисунок
#
# **Кто лучше всех на обучении, тот хуже всех на запросе.** Автор увидел у моделей без маски малую ошибку на обучении и
# большую в тестах и назвал это переобучением. Но переобучиться здесь не на чем: каждый батч новый.

# %% [markdown] tags=["en"]
# ## His second figure
#
# **Who is best in training is worst on the query.** The author saw a low training loss and a large test error in models
# without a mask and called it overfitting. But there is nothing to overfit on: every batch is new.

# %%
text.again("loss_comparison", out)

# %% [markdown] tags=["ru", "caption"]
# Ошибка на обучении (его рисунок `loss comparison`) и рядом ошибка на запросе, среднее и разброс по повторённым запускам.
# Кольца — его опубликованные числа.
# <!-- alt: Две панели по шагам: слева SPE и LPE падают почти до нуля, справа остаются около единицы -->

# %% [markdown] tags=["en", "caption"]
# The training loss (his figure `loss comparison`) and the target error beside it, mean and spread over the repeated runs.
# Rings are his published numbers.
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
# **Его модели теперь у нас.** Случайные числа его программы удалось восстановить: начальные веса, промпты, проверки,
# тесты. Каждый запуск начат с них.

# %% [markdown] tags=["en"]
# ## To the last digit
#
# **We now hold his models.** The random numbers of his program could be had again: initial weights, prompts, checks,
# tests. Every run starts from them.

# %%
text.again("agreement", out)

# %% [markdown] tags=["ru", "caption"]
# Насколько наша ошибка на обучении отличается от опубликованной, на 16 шагах. Линия — запуск.
# <!-- alt: Относительное отличие от его ошибки по шагам; почти все линии ниже одной стотысячной -->

# %% [markdown] tags=["en", "caption"]
# How far our training loss is from the published one, at 16 steps. A line is a run.
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
# **Решить задачу — значит соединить ответ с его точкой.** Запретим ответам смотреть на свои точки, и только это; веса те
# же. Если модель соединяла пары, она собьётся.

# %% [markdown] tags=["en"]
# ## Why: pairs
#
# **To solve the task is to join each answer to its point.** Forbid the answers to look at their own points, and nothing
# else; the weights stay. A model that made pairs will lose its way.

# %%
text.again("hidden", out)

# %% [markdown] tags=["ru", "caption"]
# Ошибка на запросе до и после. Слева спрятана своя точка: кто решал задачу, ошибается сильнее, чем тот, кто не знает
# ничего. В середине спрятана соседняя: не меняется ничего. Справа спрятаны все точки, кроме своей: страдают только CM и
# TPE + CM. Точка — запуск с маской, $b = 1$; пустые не взлетели.
# <!-- alt: Три панели, ошибка до и после; слева точки выше единицы, в середине на диагонали, справа CM и TPE + CM выше диагонали -->

# %% [markdown] tags=["en", "caption"]
# Target error before and after. On the left the own point is hidden: who solved the task now errs more than one who knows
# nothing. In the middle the neighbour’s: nothing changes. On the right all points but the own: only CM and TPE + CM suffer.
# A dot is a run with the mask, $b = 1$; hollow ones did not take off.
# <!-- alt: Three panels, error before and after; on the left dots are above one, in the middle on the diagonal, on the right CM and TPE + CM leave it -->

# %%
text.say(
    ru="Вот и вся лотерея SPE с маской. Пары собирает одна голова внимания первого слоя. Появилась она — ошибка падает до {before}, "
    "и без пар вырастает до {after}. Не появилась — прятать нечего: {stuck} до и {hid} после. Одна маска пар почти не "
    "собирает: номеров нет, и свою точку находит только первый ответ, перед которым она одна. Спрячем её от него одного, и CM "
    "теряет больше половины того, что умела ([глава 3](3_label_leakage.ipynb)).",
    en="That is all of SPE’s lottery with the mask. One attention head of the first layer makes the pairs. Where it has formed, "
    "the error falls to {before}, and without pairs it rises to {after}. Where it has not, there is nothing to hide: {stuck} before "
    "and {hid} after. The mask alone hardly makes pairs: there are no numbers, and only the first answer finds its point, as it "
    "has just one before it. Hide that from it alone, and CM loses more than half of what it could do "
    "([chapter 3](3_label_leakage.ipynb)).",
    holds=bool(len(stuck) and paired.nothing.max() < 0.25 and paired.pair.min() > 1),
    **{"before": short(paired.nothing.median()), "after": short(paired.pair.median())},
    **{"stuck": short(stuck.nothing.median()), "hid": short(stuck.pair.median())},
)

# %% [markdown] tags=["ru"]
# ### Своими руками
#
# Четыре модели автора работают прямо на этой странице. Подложите ответ, спрячьте пары, уберите примеры.

# %% [markdown] tags=["en"]
# ### With your own hands
#
# Four of the author’s models run in this page. Plant an answer, hide the pairs, take examples away.

# %%
own = {run.key: run for run in repeated}
chosen = [own[name, 1, 42] for name in ("LPE + CM", "SPE + CM", "SPE", "CM")]
explorer("model", chosen)

# %% [markdown] tags=["ru", "caption"]
# Предсказания моделей автора ($b = 1$, зерно 42) во всех точках одного промпта и карта внимания. Веса записаны с половинной
# точностью, промпт можно сменить. Без скриптов здесь неподвижная картинка.
# <!-- alt: Предсказания четырёх моделей против правды на одном промпте и их карты внимания -->

# %% [markdown] tags=["en", "caption"]
# Predictions of the author’s models ($b = 1$, seed 42) at every point of one prompt, and the attention map. The weights have
# half precision; another prompt can be drawn. Without scripts this is a still picture.
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
    ru="**Она позволяет списать, но учиться мешает не она.** Спросим на обучении только про запрос: списать нечего. За 10 000 "
    "шагов не выучился ни один из {n} запусков в обстановке из учебника, ошибка не меньше {low}; LPE с маской тоже. Задача без "
    "подсказок по дороге слишком трудна. А SPE без маски, если длина промпта на обучении случайна, и списывает, и решает: {both} "
    "из {all}.",
    en="**It makes copying possible, but it is not what prevents learning.** Ask in training for the query alone: there is "
    "nothing to copy. In 10,000 steps none of {n} runs in the textbook’s setup has learned, the error is {low} or more; nor has "
    "LPE with the mask. Without hints on the way the task is too hard. And SPE without a mask, if the length of the training "
    "prompt is random, both copies and solves: {both} of {all}.",
    holds=bool(asked_query.take_off.isna().all() and both_ways.take_off.notna().any()),
    **{"n": len(asked_query), "low": short(asked_query.at_n.min())},
    **{"both": int(both_ways.take_off.notna().sum()), "all": len(both_ways)},
)

# %% [markdown] tags=["ru"]
# Пять функций потерь, и кто под какой научился, сравнивает [глава 3](3_label_leakage.ipynb).

# %% [markdown] tags=["en"]
# [Chapter 3](3_label_leakage.ipynb) compares five losses, and who learned under which.

# %% [markdown] tags=["ru"]
# ## Его идея: два вектора

# %% [markdown] tags=["en"]
# ## His idea: two vectors

# %%
loop = of("TPE + CM", "gpt2", 5).at_n.median(), of("LPE + CM", "gpt2", 5).at_n.median()
text.say(
    ru="**Без цикла двух векторов мало, с циклом их может хватить.** TPE сообщает токену только, точка он или ответ. В "
    "обстановке автора при $b = 1$ TPE с маской взлетает в {took} запусках из {n} и приходит к ошибке CM; пар она не собирает. В "
    "обстановке из учебника при $b = 5$ ошибка {loop}, у таблицы {table}, а чисел 128 вместо 8 128. Без маски TPE не может "
    "ничего: перемешайте ответы, и её предсказание не изменится ([глава 2](2_two_token_encoding.ipynb)).",
    en="**Without a loop two vectors are too few; with a loop they can be enough.** TPE tells a token only whether it is a point "
    "or an answer. In the author’s setup at $b = 1$ TPE with the mask takes off in {took} runs of {n} and ends at CM’s error; it "
    "makes no pairs. In the textbook’s setup at $b = 5$ the error is {loop}, the table’s {table}, with 128 numbers in place of "
    "8,128. Without the mask TPE can do nothing: shuffle the answers, and its prediction is the same "
    "([chapter 2](2_two_token_encoding.ipynb)).",
    holds=bool(tpe[tpe.took].at_n.min() > 0.9 * cm and loop[0] < 2 * loop[1]),
    **{"took": int(tpe.took.sum()), "n": len(tpe), "loop": short(loop[0]), "table": short(loop[1])},
)

# %%
text.again("type_runs", out)

# %% [markdown] tags=["ru", "caption"]
# TPE в обстановке автора, $b = 1$: слева ошибка на запросе по ходу обучения, справа в конце; точка — запуск.
# <!-- alt: Кривые ошибки пяти вариантов и точки запусков: TPE + CM кончает там же, где CM, LPE + CM ниже -->

# %% [markdown] tags=["en", "caption"]
# TPE in the author’s setup, $b = 1$: on the left the target error in training, on the right at its end; a dot is a run.
# <!-- alt: Error curves of five variants and dots of the runs: TPE + CM ends where CM does, LPE + CM is lower -->

# %% [markdown] tags=["ru"]
# ## Что от чего зависит
#
# **Выводы о маске держатся в обеих обстановках, вывод о списывании — нет.** Его обстановка необычна: выход внимания не
# остаётся в остаточном потоке, основание синусоиды 9,2, а таблица LPE начинается с $N(0, 1)$, в 50 раз громче, чем у
# GPT-2. Мы сравнили её с обстановкой из учебника.

# %% [markdown] tags=["en"]
# ## What hangs on which choice
#
# **Conclusions about the mask hold in both setups, the one about copying does not.** His setup is unusual: the attention’s
# output does not stay in the residual stream, the sinusoid’s base is 9.2, and LPE’s table starts from $N(0, 1)$, 50 times
# as loud as GPT-2’s. We compared it with the textbook’s.

# %%
text.again("choices_map", out)

# %% [markdown] tags=["ru", "caption"]
# В скольких запусках или парах запусков из скольких утверждение верно, в обстановке автора и в обстановке из учебника.
# Чем зеленее, тем чаще. <!-- alt: Таблица утверждений и обстановок; расходятся они в строке о том, что LPE списывает -->

# %% [markdown] tags=["en", "caption"]
# In how many runs or pairs of runs of how many a statement is true, in the author’s setup and in the textbook’s. The
# greener, the oftener. <!-- alt: A table of statements by setup; they part in the row on LPE’s copying -->

# %% [markdown] tags=["ru"]
# С тихой таблицей LPE не списывает: номера не слышно рядом с содержанием токена. Задачу без маски она не решает и тогда
# ([глава 5](5_choices.ipynb)). Чтобы знать, какой именно выбор за что отвечает, нужны запуски с одним изменением; они ещё
# обучаются.

# %% [markdown] tags=["en"]
# With a quiet table LPE does not copy: the number cannot be heard beside the token’s content. Without the mask it does not
# solve the task even so ([chapter 5](5_choices.ipynb)). To tell which choice answers for what takes runs with one change;
# they are still being trained.

# %% [markdown] tags=["ru"]
# ## Другая длина

# %% [markdown] tags=["en"]
# ## Another length

# %%
masked = [run for run in repeated if run.config.b == 1 and run.config.mask == "CM"]
lengths = records.tidy(
    [run for run in masked if (run.folder / "lengths.csv").exists()], "lengths.csv"
)
after = lengths[lengths.place == 2 * lengths.k].groupby(["variant", "k"]).error.median()
text.say(
    ru="**Короче — можно всем, у кого есть маска; длиннее — только маске без номеров.** С 32 примерами вместо 63 ошибка LPE + CM "
    "{lpe32} (с полными — {lpe63}), CM — {cm32}. Со 127 примерами у LPE кончается таблица, SPE + CM сбивается ({spe127}), а CM "
    "остаётся при своём: {cm127}. Лишние итерации цикла не помогают никому ([глава 4](4_lengths_and_loops.ipynb)).",
    en="**Shorter is fine for all that have the mask; longer only for the mask without numbers.** With 32 examples in place of 63 "
    "LPE + CM has an error of {lpe32} ({lpe63} with all), CM {cm32}. With 127 LPE’s table ends, SPE + CM loses its way ({spe127}), "
    "and CM stays where it was: {cm127}. More loop iterations than trained help nobody ([chapter 4](4_lengths_and_loops.ipynb)).",
    holds=bool(
        after["LPE + CM", 32] < 0.5
        and after["SPE + CM", 127] > 1.5 * after["SPE + CM", 63]
        and after["CM", 127] < 1.2 * after["CM", 63]
    ),
    **{
        "lpe32": short(after["LPE + CM", 32]),
        "lpe63": short(after["LPE + CM", 63]),
        "cm32": short(after["CM", 32]),
    },
    **{"spe127": short(after["SPE + CM", 127]), "cm127": short(after["CM", 127])},
)

# %% [markdown] tags=["ru"]
# ## Чего мы не знаем
#
# - **Зёрен мало.** У автора их три, и все числа здесь — о них. Семнадцать новых зёрен для проверки пяти утверждений,
#   выбранных заранее, ещё обучаются, как и часть его запусков при $b = 5$.
# - **Шагов 7 500.** Кто не взлетел, мог бы взлететь позже: три запуска без маски при $b = 5$ начали учиться под самый конец.
# - **Подсказать пару мы ещё не пробовали.** Что голова, соединяющая пары, нужна, видно; что её хватит, чтобы спасти
#   застрявшую модель, — нет.
# - **Одна задача, одна маленькая модель.** Линейные функции без шума, два слоя.
# - **Наше, а не его**: порог взлёта, стандартное отклонение $x$, равное 1, ошибка после последней итерации, всё, что
#   сделано с моделями после обучения.

# %% [markdown] tags=["en"]
# ## What we do not know
#
# - **Seeds are few.** The author has three, and all numbers here are about them. Seventeen new seeds to test five claims that
#   were chosen beforehand are still being trained, and so are some of his runs at $b = 5$.
# - **There are 7,500 steps.** A model that has not taken off might have later: three runs without a mask at $b = 5$ began to
#   learn at the very end.
# - **We have not yet tried to hint at the pair.** That the head which makes pairs is needed can be seen; that it is enough to
#   rescue a stuck model cannot.
# - **One task, one small model.** Linear functions without noise, two layers.
# - **Ours, not his**: the threshold of take-off, a standard deviation of $x$ of 1, the error after the last iteration, all that
#   was done to the models after training.
