// Models that run in the page: the reader meddles with a prompt and sees what the chosen model answers
// and where it looks. They replace the picture of a figure.model; data-model: see model_figure.py.
{
  const language = document.documentElement.lang;
  const number = (value, digits = 2) => (Number.isFinite(value) ? value.toLocaleString(language, {
    maximumFractionDigits: digits, signDisplay: "negative" }).replace("-", "−") : "—");
  const squared = (miss, d) => number(Number((miss ** 2 / d).toPrecision(2)), 4);
  const bold = (value) => `<b>${number(value)}</b>`;
  const [X, Y] = ["x<sub>i</sub>", "y<sub>i</sub>"];
  const [pairing, copying] = [`${Y}&nbsp;→&nbsp;${X}`, `${X}&nbsp;→&nbsp;${Y}`];
  const words = {
    ru: {
      model: "Модель", seed: "зерно", k: "Примеров, k", draw: "Новая функция", plant: "Подменить ответ примера", value: "на",
      hide: `В слое 1 скрыть от ${Y} его точку ${X}`, layer: "Слой", head: "Голова", near: "Первые 8 примеров", query: "запрос",
      answer: "правда", prediction: "ответ модели", planted: "подмена", other: "остальное", hidden: "не видно",
      pairing: `ответ на свою точку, ${pairing}`, copying: `точка на свой ответ, ${copying}`, axes: "кто ↓ на кого →",
      plot: "Правда и ответы модели по примерам", map: "Карта внимания", diverged: "Обучение этой модели разошлось.",
      asked: (k, p, y, d) => `При k = ${k} модель отвечает на запрос ${bold(p)}, правда — ${bold(y)}.
        Квадрат ошибки / d: <b>${squared(p - y, d)}</b>; ответ «0» дал бы ${squared(y, d)}.`,
      tried: (i, y, v, p) => ` В примере ${i} вместо ${number(y)} стоит ${v}; модель отвечает там ${bold(p)}`,
      copies: ": списала.", resists: ": не списала.", links: "Эта голова соединяет пары. ", takes: "Эта голова списывает. ",
      gives: (own, copy) => `Внимание в паре, в среднем: ${pairing} ${bold(own)}, ${copying} ${bold(copy)}.`,
    },
    en: {
      model: "Model", seed: "seed", k: "Examples, k", draw: "New function", plant: "Replace the answer of example", value: "by",
      hide: `In layer 1 hide from ${Y} its point ${X}`, layer: "Layer", head: "Head", near: "First 8 examples", query: "query",
      answer: "truth", prediction: "model's answer", planted: "replacement", other: "other", hidden: "not seen",
      pairing: `an answer at its point, ${pairing}`, copying: `a point at its answer, ${copying}`, axes: "who ↓ at whom →",
      plot: "Truth and the model's answers by example", map: "Attention map", diverged: "This model diverged in training.",
      asked: (k, p, y, d) => `With k = ${k} the model answers the query with ${bold(p)}; the truth
        is ${bold(y)}. Squared error / d: <b>${squared(p - y, d)}</b>; the answer 0 would have ${squared(y, d)}.`,
      tried: (i, y, v, p) => ` In example ${i} the answer ${number(y)} is now ${v}; there the model answers ${bold(p)}`,
      copies: ": it copied.", resists: ": it did not copy.", links: "This head links the pairs. ", takes: "This head copies. ",
      gives: (own, copy) => `Mean attention in a pair: ${pairing} ${bold(own)}, ${copying} ${bold(copy)}.`,
    },
  }[language];

  // The model. A matrix is a flat Float32Array, a row a token; n is the number of tokens.
  const unpack = (digits, all) => Object.fromEntries(Object.entries(all).map(([name, own]) => {
    const level = (word) => [...word].reduce((sum, digit) => sum * digits.length + digits.indexOf(digit), 0);
    const weight = (word) => (own.scale ?? NaN) * (level(word) - (digits.length ** own.places - 1) / 2);
    return [name, Float32Array.from(own.digits.match(new RegExp(`.{${own.places}}`, "g")), weight)];
  }));

  const linear = (net, name, x, n) => {
    const [weight, bias, wide] = [net[`${name}.weight`], net[`${name}.bias`], x.length / n];
    const out = new Float32Array(n * bias.length);
    for (let t = 0, at = 0; t < n; t++) {
      for (let o = 0, w = 0; o < bias.length; o++, at++) {
        let sum = bias[o];
        for (let i = t * wide, end = i + wide; i < end; i++, w++) sum += x[i] * weight[w];
        out[at] = sum;
      }
    }
    return out;
  };
  const norm = (net, name, x) => {
    const [weight, bias, out] = [net[`${name}.weight`], net[`${name}.bias`], new Float32Array(x.length)];
    for (let t = 0, wide = weight.length; t < x.length; t += wide) {
      const row = x.subarray(t, t + wide);
      const mean = row.reduce((sum, value) => sum + value, 0) / wide;
      const deviation = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / wide + 1e-5);
      out.set(row.map((value, i) => ((value - mean) / deviation) * weight[i] + bias[i]), t);
    }
    return out;
  };
  // x Φ(x); erf by Abramowitz & Stegun 7.1.26, whose error is at most 1.5e-7.
  const gelu = (x) => {
    const [z, t] = [Math.abs(x) * Math.SQRT1_2, 1 / (1 + 0.3275911 * Math.abs(x) * Math.SQRT1_2)];
    const sum = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)));
    const tail = t * sum * Math.exp(-z * z);
    return (x * (x < 0 ? tail : 2 - tail)) / 2;
  };
  // softmax(q kᵀ / √(D / H)) v; the softmax itself, (n, n) for each head, goes into maps.
  const attention = (net, name, x, n, heads, sees, maps) => {
    const [qkv, mixed, own] = [linear(net, `${name}.qkv`, x, n), new Float32Array(x.length), x.length / n / heads];
    const part = (t, which, head) => ((3 * t + which) * heads + head) * own;
    for (let head = 0; head < heads; head++) {
      maps.push(new Float32Array(n * n));
      for (let t = 0; t < n; t++) {
        const [q, row] = [part(t, 0, head), maps[head].subarray(t * n, (t + 1) * n)];
        let [largest, total] = [-Infinity, 0];
        for (let s = 0; s < n; s++) {
          let score = 0;
          for (let i = 0, k = part(s, 1, head); i < own; i++, k++) score += qkv[q + i] * qkv[k];
          row[s] = sees(t, s) ? score / Math.sqrt(own) : -Infinity;
          largest = Math.max(largest, row[s]);
        }
        for (let s = 0; s < n; s++) total += row[s] = Math.exp(row[s] - largest);
        for (let s = 0, to = (t * heads + head) * own; s < n; s++) {
          row[s] /= total;
          for (let i = 0, v = part(s, 2, head); i < own; i++, v++) mixed[to + i] += row[s] * qkv[v];
        }
      }
    }
    return linear(net, `${name}.out`, mixed, n);
  };

  // The prediction at every token, and the last iteration's maps by layer and head.
  const run = ({ b, n_layers, n_heads }, net, tokens, n, sees) => {
    const injected = linear(net, "read_in", tokens, n).map((value, i) => value + net.rows[i]);
    let [z, maps] = [new Float32Array(injected.length)];
    for (let t = 0; t < b; t++) {
      maps = Array.from({ length: n_layers }, () => []);
      z = z.map((value, i) => value + injected[i]);
      maps.forEach((own, layer) => {
        const [name, seen] = [`blocks.${layer}`, (row, column) => sees(layer, row, column)];
        const mixed = attention(net, `${name}.attention`, norm(net, `${name}.norm_1`, z), n, n_heads, seen, own);
        const attended = norm(net, `${name}.norm_2`, mixed.map((value, i) => value + z[i]));
        const mlp = linear(net, `${name}.mlp_out`, linear(net, `${name}.mlp_in`, attended, n).map(gelu), n);
        z = z.map((value, i) => value + mlp[i]); // the attention's output itself is not kept
      });
    }
    return [linear(net, "read_out", z, n), maps];
  };

  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const isPair = (row, column) => row % 2 === 1 && column === row - 1; // y_i → x_i
  const label = (name, control) => `<label><span>${name}</span> ${control}</label>`;
  const range = (name, rest) => label(words[name], `<input type="range" name="${name}" ${rest}><output></output>`);
  const select = (name, all) => label(words[name], `<select name="${name}"><option>${all.join("<option>")}</select>`);
  const legend = (...names) => `<p class="legend">${names.map(
    (name) => `<span><i class="${name}"></i> ${words[name]}</span> `).join("")}</p>`;

  // SVG: truth and prediction at each x_i, the query's last.
  const plot = (truth, predictions, planted) => {
    const [last, height] = [truth.length - 1, 300];
    const far = Math.max(8, ...[...truth, ...predictions, planted.value].map((v) => Math.abs(v) || 0));
    const [along, up] = [(i) => `${(100 * (i + 0.5)) / (last + 1)}%`, (v) => height * (0.5 - (0.48 * v) / far)];
    const stroke = (name, at, from, to) => `<line class="${name}" x1="${at}" x2="${at}" y1="${from}" y2="${to}"/>`;
    const grid = [-20, -10, -5, 0, 5, 10, 20].filter((y) => Math.abs(y) < 1.04 * far).map((y) => `<line class="grid"
      x2="100%" y1="${up(y)}" y2="${up(y)}"/><text x="-8" y="${up(y) + 4}">${number(y)}</text>`);
    const points = truth.map((y, i) => {
      const [at, p, numbered] = [along(i), predictions[i], i === 0 || (i % 10 === 9 && i < 0.85 * last)];
      return `<g class="${i < last ? "example" : "asked"}"><circle class="answer" cx="${at}" cy="${up(y)}"/>
        ${Number.isNaN(p) ? "" : `${stroke("miss", at, up(y), up(p))}<circle class="prediction" cx="${at}"
        cy="${up(p)}"><title>${number(p)} (${number(y)})</title></circle>`}<text class="under" x="${at}"
        y="${height + 18}">${i === last ? words.query : numbered ? i + 1 : ""}</text></g>`;
    });
    const diamond = `<svg x="${along(planted.i)}" y="${up(planted.value)}"><path d="M0-7 7 0 0 7-7 0z"/></svg>`;
    return [stroke("query", along(last), 0, height), ...grid, ...points, planted && diamond].join("");
  };

  document.querySelectorAll("figure.model").forEach((figure) => {
    const { digits, models, prompt } = JSON.parse(figure.dataset.model);
    const [most, upTo] = [prompt.y.length - 1, (length) => Array.from({ length }, (_, i) => i + 1)];
    const box = Object.assign(document.createElement("div"), { className: "explorer", innerHTML: `<div class="controls">
      ${select("model", models.map((own) => own.name + (own.seed === models[0].seed ? "" : `, ${words.seed} ${own.seed}`)))}
      ${range("k", `min="1" max="${most}" value="${most}"`)}<button type="button" name="draw">${words.draw}</button>
      <fieldset><label><input type="checkbox" name="plant" checked> <span>${words.plant}</span></label>
      <input type="number" name="which" min="1" value="${Math.ceil(most / 2)}" aria-label="${words.plant}">
      ${range("value", 'min="-10" max="10" value="8"')}</fieldset>
      <label><input type="checkbox" name="hide"> <span>${words.hide}</span></label></div>
      <div class="answers">${legend("answer", "prediction", "planted")}
      <svg role="img" aria-label="${words.plot}"></svg><p aria-live="polite"></p></div>
      <div class="looks"><div class="controls">${select("layer", upTo(models[0].n_layers))}
      ${select("head", upTo(models[0].n_heads))}<label><input type="checkbox" name="near" checked> ${words.near}</label>
      </div><p class="axes">${words.axes}</p><div class="map"><svg aria-hidden="true"></svg>
      <canvas role="img" aria-label="${words.map}"></canvas></div>
      ${legend("pairing", "copying", "other", "hidden")}<p aria-live="polite"></p></div>` });
    const [graph, said, axes, canvas, gives] = box.querySelectorAll("svg, [aria-live], canvas");
    const { model, k, draw, plant, which, value, hide, layer, head, near } = Object.fromEntries(
      [...box.querySelectorAll("[name]")].map((control) => [control.name, control]));
    let [{ x, y }, all, maps] = [prompt];
    const sees = (l, row, column) => !(models[model.selectedIndex].causal && column > row)
      && !(hide.checked && l === 0 && isPair(row, column));
    const look = () => {
      const [n, style, given] = [2 * k.value + 1, getComputedStyle(canvas), { pairing: 0, copying: 0 }];
      const colour = (name) => style.getPropertyValue(`--${name}`).split(" ");
      const size = canvas.width = canvas.height = near.checked ? Math.min(16, n) : n;
      const image = new ImageData(size, size);
      maps[layer.selectedIndex][head.selectedIndex].forEach((weight, at) => {
        const [row, column] = [Math.floor(at / n), at % n];
        const kind = isPair(row, column) ? "pairing" : isPair(column, row) ? "copying" : "other";
        given[kind] += weight / k.value;
        if (row >= size || column >= size) return;
        const seen = sees(layer.selectedIndex, row, column);
        image.data.set([...colour(seen ? kind : "hidden"), seen ? 255 * Math.sqrt(weight) : 255], 4 * (row * size + column));
      });
      canvas.getContext("2d").putImageData(image, 0, 0);
      axes.innerHTML = upTo(size).filter((t) => near.checked || t % 20 === 1).map((t) => [`${(100 * (t - 0.5)) / size}%`,
        `${t % 2 ? "x" : "y"}<tspan dy="3" font-size="75%">${Math.ceil(t / 2)}</tspan>`]).map(([at, token]) => `<text
        class="column" x="${at}" y="-7">${token}</text><text class="row" x="-6" y="${at}" dy=".3em">${token}</text>`).join("");
      gives.innerHTML = (given.pairing > 0.3 ? words.links : given.copying > 0.3 ? words.takes : "")
        + words.gives(given.pairing, given.copying);
    };
    const answer = () => {
      const [own, last, d] = [models[model.selectedIndex], Number(k.value), x[0].length];
      const i = Math.max(1, Math.min(which.value, last)) - 1;
      const planted = plant.checked ? { i, value: Number(value.value) } : "";
      const [truth, n, zeros] = [y.slice(0, last + 1), 2 * last + 1, Array(d - 1).fill(0)];
      const tokens = truth.flatMap((own, j) => [...x[j], j === planted.i ? planted.value : own, ...zeros]);
      own.net ??= unpack(digits, own.tensors);
      [all, maps] = run(own, own.net, Float32Array.from(tokens.slice(0, n * d)), n, sees);
      const predictions = truth.map((_, j) => all[2 * j]);
      graph.innerHTML = plot(truth, predictions, planted);
      const [p, there, right, put] = [predictions[last], predictions[i], truth[i], planted.value];
      const copied = Math.abs(there - put) < Math.abs(there - right) ? words.copies : words.resists;
      const tried = planted && words.tried(i + 1, right, put, there) + (Math.abs(put - right) < 1 ? "." : copied);
      said.innerHTML = Number.isNaN(p) ? words.diverged : words.asked(last, p, truth[last], d) + tried;
      for (const output of box.querySelectorAll("output")) output.value = number(+output.previousSibling.value);
      look();
    };
    const change = ({ target }) => {
      if (target === k) which.value = Math.min(which.value, k.value);
      if (target === which || target === value) plant.checked = true;
      if (target === model) [layer.selectedIndex, head.selectedIndex] = models[model.selectedIndex].start;
      ([layer, head, near].includes(target) ? look : answer)();
    };
    box.addEventListener("input", change);
    draw.addEventListener("click", () => {
      const [w, ...drawn] = [x[0], ...x].map((own) => own.map(normal));
      [x, y] = [drawn, drawn.map((own) => own.reduce((sum, coordinate, i) => sum + coordinate * w[i], 0))];
      answer();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look);
    figure.querySelector(".picture").after(box);
    setTimeout(change, 0, { target: model }); // the page is painted first
  });
}
