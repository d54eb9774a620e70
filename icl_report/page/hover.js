// Shows the value under the pointer: the <img data-points> of a figure holds what icl_report/hover.py
// describes. The figure is complete without it.
{
  const REACH = 24; // px from the pointer to a point
  const language = document.documentElement.lang;
  const number = (value) => value.toLocaleString(
    language, Math.abs(value) < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });

  const part = (axis, value) => {
    const [low, high, at] = [axis.from, axis.to, value].map(axis.log ? Math.log : Number);
    return (at - low) / (high - low);
  };

  // The point nearest to (x, y), both in px of a picture of that size.
  const nearest = (values, x, y, size) => {
    let found = null;
    let least = REACH;
    for (const axes of values) {
      const [left, top, width, height] = axes.box;
      for (const [name, xs, ys] of axes.lines) {
        for (let i = 0; i < xs.length; i++) {
          const dx = (left + width * part(axes.x, xs[i])) * size.width - x;
          const dy = (top + height * (1 - part(axes.y, ys[i]))) * size.height - y;
          const distance = Math.hypot(dx, dy);
          if (distance < least) {
            least = distance;
            found = { axes, name, x: xs[i], y: ys[i], left: x + dx, top: y + dy };
          }
        }
      }
    }
    return found;
  };

  const words = ({ axes, name, x, y }) => {
    const told = [[axes.x, x], [axes.y, y]].filter(([axis]) => axis.label !== null);
    const line = ([{ label }, value]) => (label && `${label}: `) + number(value);
    return [name, ...told.map(line)].join("\n");
  };

  for (const image of document.querySelectorAll("img[data-points]")) {
    const values = JSON.parse(image.dataset.points);
    const tip = document.createElement("span");
    tip.className = "tip";
    tip.hidden = true;
    tip.ariaHidden = true; // a reader of screens has the tables
    image.after(tip);
    const show = (event) => {
      const point = nearest(values, event.offsetX, event.offsetY, image.getBoundingClientRect());
      tip.hidden = !point;
      if (!point) return;
      tip.textContent = words(point);
      const left = Math.min(point.left + 12, image.clientWidth - tip.offsetWidth);
      const over = point.top - tip.offsetHeight - 8;
      tip.style.left = `${image.offsetLeft + Math.max(0, left)}px`;
      tip.style.top = `${image.offsetTop + (over < 0 ? point.top + 12 : over)}px`;
    };
    image.addEventListener("pointermove", show);
    image.addEventListener("pointerdown", show);
    image.addEventListener("pointerleave", () => (tip.hidden = true));
  }
}
