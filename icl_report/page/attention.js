// A figure to play with: puts controls and a grid of cells in the place of the still picture of each
// <figure class="attention">. Its data-maps is the JSON that attention_figure.py describes.
{
  const WORDS = {
    ru: {
      variant: "Вариант", b: "b", loop: "Итерация цикла", layer: "Слой", head: "Голова",
      mean: "среднее", rows: "какой токен смотрит", columns: "на какой токен смотрит",
      grid: "Карта внимания", rest: "остальные примеры", weights: "вес внимания", own: "свой ответ",
      hint: "Наведите указатель на клетку или перемещайтесь по клеткам стрелками: здесь появится вес.",
      place: (c) => `${c.variant}, b = ${c.b}, итерация цикла ${c.loop}, слой ${c.layer}, `
        + (c.head ? `голова ${c.head}` : "среднее по головам"),
      summary: (w, even) => `x_i отдаёт своему ответу y_i в среднем ${w} своего внимания; `
        + `если бы оно делилось поровну между всеми токенами, было бы ${even}.`,
      masked: "x_i не отдаёт своему ответу y_i ничего: маска его скрывает.",
      diverged: "обучение этой модели разошлось, карты у неё нет.",
    },
    en: {
      variant: "Variant", b: "b", loop: "Loop iteration", layer: "Layer", head: "Head",
      mean: "mean", rows: "token that looks", columns: "token looked at",
      grid: "Attention map", rest: "the other examples", weights: "attention weight", own: "own answer",
      hint: "Point at a cell, or walk the cells with the arrow keys, to read its weight here.",
      place: (c) => `${c.variant}, b = ${c.b}, loop iteration ${c.loop}, layer ${c.layer}, `
        + (c.head ? `head ${c.head}` : "mean over heads"),
      summary: (w, even) => `x_i gives its own answer y_i ${w} of its attention on average; `
        + `shared evenly among all tokens it would be ${even}.`,
      masked: "x_i gives its own answer y_i nothing: the mask hides it.",
      diverged: "this model diverged in training and has no map.",
    },
  };
  const language = document.documentElement.lang;
  const words = WORDS[language];

  // The quantised weights hold two digits after the point, and three below 0.1.
  const number = (weight, digits = weight < 0.1 ? 3 : 2) => {
    const rounded = Number(weight.toFixed(digits));
    const text = weight > 0 && !rounded ? `< ${10 ** -digits}` : String(rounded);
    return language === "ru" ? text.replace(".", ",") : text;
  };

  const element = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  // "x_3 …" as text in which what follows an underscore is a subscript.
  const subscripts = (text) => text.split(/_(\w+)/).map(
    (part, i) => (i % 2 ? element("sub", {}, part) : part));

  // For a screen reader: "x 3".
  const spoken = (name) => (name === "…" ? words.rest : name.replace("_", " "));

  // How much of the colour a weight gets: its square root, as in the still picture; none where nan.
  const level = (weight) => `${100 * Math.sqrt(weight || 0)}%`;

  const isOwn = (row, column) => row[0] === "x" && column === row.replace("x", "y");

  let groups = 0;
  // Radio buttons in a box, the arrow keys move among them; read() is the place of the chosen one.
  const choice = (name, labels, chosen, changed) => {
    const group = `attention-${(groups += 1)}`;
    const inputs = labels.map((_, i) => {
      const input = element("input", { type: "radio", name: group });
      input.checked = i === chosen;
      input.addEventListener("change", changed);
      return input;
    });
    const options = labels.map((label, i) => element("label", {}, inputs[i], element("span", {}, label)));
    return {
      box: element("fieldset", { class: name }, element("legend", {}, words[name]), ...options),
      read: () => inputs.findIndex((input) => input.checked),
    };
  };

  // The cells by row, with the arrow keys' walk and the read-out of the cell pointed at.
  const grid = (maps, readOut) => {
    const { rows, columns } = maps;
    const size = columns.length;
    const box = element("div", { role: "grid", "aria-label": words.grid, class: "map" });
    box.style.setProperty("--columns", size);
    const label = (name) => subscripts(name === "…" ? "…" : name[0] === "y" ? "y" : name);
    const heads = columns.map((name) => element("span", {
      role: "columnheader", class: name[0], "aria-label": spoken(name),
    }, ...label(name)));
    box.append(element("div", { role: "row" }, element("span", { "aria-hidden": true }), ...heads));
    const cells = [];
    for (const row of rows) {
      const head = element("span", { role: "rowheader", "aria-label": spoken(row) }, ...label(row));
      const own = columns.map((column) => element("span", {
        role: "gridcell", tabindex: -1, class: isOwn(row, column) ? "cell own" : "cell",
      }));
      cells.push(...own);
      box.append(element("div", { role: "row" }, head, ...own));
    }
    cells[0].tabIndex = 0;
    let weights = [];
    const said = (place, called) => {
      const names = [rows[Math.floor(place / size)], columns[place % size]].map(called);
      const weight = Number.isNaN(weights[place]) ? "—" : number(weights[place]);
      return `${names.join(" → ")}: ${weight}`;
    };
    const tell = (event) => {
      const place = cells.indexOf(event.target);
      if (place >= 0) readOut.replaceChildren(...subscripts(said(place, (name) => name)));
    };
    box.addEventListener("pointerover", tell);
    box.addEventListener("focusin", (event) => {
      for (const cell of cells) cell.tabIndex = cell === event.target ? 0 : -1;
      tell(event);
    });
    box.addEventListener("keydown", (event) => {
      const place = cells.indexOf(event.target);
      const column = place % size;
      const step = {
        ArrowLeft: column ? -1 : 0, ArrowRight: column < size - 1 ? 1 : 0,
        ArrowUp: -size, ArrowDown: size,
      }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      (cells[place + step] ?? cells[place]).focus();
    });
    const show = (shown) => {
      weights = shown;
      cells.forEach((cell, i) => {
        cell.style.setProperty("--level", level(weights[i]));
        cell.setAttribute("aria-label", said(i, spoken));
      });
    };
    return { box, show };
  };

  const legend = () => {
    const levels = [0, 0.05, 0.25, 0.5, 1].map((weight) => {
      const swatch = element("span", { class: "cell" });
      swatch.style.setProperty("--level", level(weight));
      return element("span", {}, swatch, number(weight));
    });
    const own = element("span", {}, element("span", { class: "cell own" }), words.own);
    return element("p", { class: "legend" }, `${words.weights}: `, ...levels, own);
  };

  const explore = (figure) => {
    const maps = JSON.parse(figure.dataset.maps);
    const { variants, layers, heads, rows, columns, start, runs } = maps;
    const cells = rows.length * columns.length;
    const bytes = runs.map((run) => Uint8Array.from(atob(run.maps), (c) => c.charCodeAt(0)));
    const count = (n) => Array.from({ length: n }, (_, i) => String(i + 1));
    const chosen = {};
    let loop;

    const summary = element("p", { class: "summary", "aria-live": "polite" });
    const readOut = element("p", { class: "read-out" }, words.hint);
    const map = grid(maps, readOut);
    const loops = element("div", { class: "loops" });

    // Head 0 is the mean over heads.
    const update = () => {
      const [variant, b, layer, head] = ["variant", "b", "layer", "head"].map((k) => chosen[k].read());
      const t = loop.read();
      const those = head ? [head - 1] : count(heads).map((_, i) => i);
      const first = ((t * layers + layer) * variants.length + variant) * heads;
      const weights = Array.from({ length: cells }, (_, cell) => those.reduce((sum, h) => {
        const byte = bytes[b][(first + h) * cells + cell];
        return sum + (byte > 254 ? NaN : (byte / 254) ** 2) / those.length;
      }, 0));
      map.show(weights);
      const own = runs[b].leak[t][layer][variant];
      const leak = those.reduce((sum, h) => sum + (own[h] ?? NaN) / those.length, 0);
      const place = words.place({
        variant: variants[variant].name, b: runs[b].b, loop: t + 1, layer: layer + 1, head,
      });
      const told = variants[variant].causal ? words.masked : words.summary(
        number(leak, 3), number(1 / maps.tokens, 3));
      const text = Number.isNaN(leak) ? words.diverged : told;
      summary.replaceChildren(...subscripts(`${place}: ${text}`));
      readOut.replaceChildren(words.hint);
    };
    // A run has as many iterations as its b.
    const chooseLoop = (wanted) => {
      const last = runs[chosen.b.read()].b;
      loop = choice("loop", count(last), Math.min(wanted, last - 1), update);
      loops.replaceChildren(loop.box);
    };

    chosen.variant = choice("variant", variants.map((v) => v.name), start[0], update);
    chosen.b = choice("b", runs.map((run) => String(run.b)), 0, () => {
      chooseLoop(loop.read());
      update();
    });
    chosen.layer = choice("layer", count(layers), start[2], update);
    chosen.head = choice("head", [words.mean, ...count(heads)], start[3] + 1, update);
    chooseLoop(start[1]);
    const boxes = ["variant", "b", "layer", "head"].map((key) => chosen[key].box);
    boxes.splice(2, 0, loops);
    const axes = element("p", { class: "axes" }, `↓ ${words.rows}, → ${words.columns}`);
    const explorer = element("div", { class: "explorer" },
      element("div", { class: "controls" }, ...boxes), summary, axes, map.box, readOut, legend());
    figure.querySelector(".picture").after(explorer);
    figure.classList.add("playing");
    update();
  };

  document.querySelectorAll("figure.attention").forEach(explore);
}
