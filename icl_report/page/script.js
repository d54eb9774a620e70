// The page is complete without this: it shows where the reader is, keeps the place when the language
// is switched, remembers whether code is shown, lets Tab pass over boxes that need no scrolling, and
// tells a table's cells their column, which stands beside them where a row is a card.
const nav = document.getElementById("contents");
const other = document.querySelector(".switch");
const otherPage = other.getAttribute("href");
const here = document.querySelector(".here");
const code = document.querySelector(".fold input");
const boxes = document.querySelectorAll(".table, .picture, .formula");
const sections = [...nav.querySelectorAll("a")].map((link) => ({
  link,
  chapter: link.closest("nav > ol > li"),
  start: document.getElementById(decodeURIComponent(link.hash.slice(1))),
}));
let reading = null;

function place() {
  if (scrollY + innerHeight > document.documentElement.scrollHeight - 2) {
    const asked = sections.find(({ link }) => link.hash === location.hash); // too near the end
    return asked?.start.getBoundingClientRect().top > 0 ? asked : sections.at(-1);
  }
  const edge = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) + 24;
  const passed = sections.filter(({ start }) => start.getBoundingClientRect().top <= edge);
  return passed.at(-1) ?? sections[0];
}

function mark() {
  const now = place();
  if (now === reading) return;
  reading?.link.removeAttribute("aria-current");
  reading?.chapter.classList.remove("reading");
  now.link.setAttribute("aria-current", "location");
  now.chapter.classList.add("reading");
  here.textContent = now.link.textContent;
  other.href = otherPage + now.link.hash;
  reading = now;
  const { top, bottom } = now.link.getBoundingClientRect();
  const column = nav.parentElement.getBoundingClientRect();
  if (top < column.top || bottom > column.bottom) {
    nav.parentElement.scrollTop += top - (column.top + column.bottom) / 2;
  }
}

function reach() {
  for (const box of boxes) box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
}

let waiting = false;
addEventListener(
  "scroll",
  () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      mark();
    });
  },
  { passive: true },
);
addEventListener("hashchange", mark);
addEventListener("resize", () => {
  mark();
  reach();
});
nav.addEventListener("toggle", () => {
  nav.scrollTop = reading.link.offsetTop - nav.clientHeight / 2;
});
nav.addEventListener("click", (event) => {
  if (event.target.closest("a")) nav.hidePopover?.();
});
code.addEventListener("change", () => {
  try {
    sessionStorage.setItem("code", code.checked);
  } catch {} // a browser may forbid it; then the switch is not remembered
});

for (const table of document.querySelectorAll(".report table")) { // cards on a telephone
  const heads = [...table.querySelectorAll("th")].map((head) => head.textContent);
  table.querySelectorAll("td").forEach((cell, i) => (cell.dataset.label = heads[i % heads.length]));
}
nav.classList.add("folded");
try {
  code.checked = sessionStorage.getItem("code") === "true";
} catch {}
mark();
reach();
