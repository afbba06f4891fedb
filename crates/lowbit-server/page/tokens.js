// The scored answer: every token, marked where two models disagree, and what is known of the one that is looked at.

import { el } from "./dom.js";
import { FACTORS, percent } from "./scores.js";

/** Alternatives shown of each model. */
const SHOWN = 5;

/** The view of what `scores.js` found; `names` are those of the two models. */
export function view({ tokens, summary }, names) {
  const detail = el("div", { class: "detail card" });
  const list = el("div", { class: "tokens", role: "listbox", "aria-label": "Tokens of the answer", "aria-orientation": "horizontal" });
  const items = tokens.map((token) => item(token, names));
  list.append(...items);

  const select = (place) => {
    const before = list.querySelector("[aria-selected=true]");
    before?.setAttribute("aria-selected", "false");
    if (before) before.tabIndex = -1;
    items[place].setAttribute("aria-selected", "true");
    items[place].tabIndex = 0;
    detail.replaceChildren(...details(tokens[place], names));
  };
  const placeOf = (event) => items.indexOf(event.target.closest("[role=option]"));
  const marked = (from, step) => {
    for (let place = from + step; place >= 0 && place < tokens.length; place += step) {
      if (isMarked(tokens[place])) return place;
    }
    return from;
  };
  list.addEventListener("pointerover", (event) => placeOf(event) >= 0 && select(placeOf(event)));
  list.addEventListener("focusin", (event) => placeOf(event) >= 0 && select(placeOf(event)));
  list.addEventListener("click", (event) => placeOf(event) >= 0 && items[placeOf(event)].focus());
  list.addEventListener("keydown", (event) => {
    const at = placeOf(event);
    const moves = {
      ArrowRight: Math.min(at + 1, items.length - 1),
      ArrowLeft: Math.max(at - 1, 0),
      ArrowDown: marked(at, 1),
      ArrowUp: marked(at, -1),
      Home: 0,
      End: items.length - 1,
    };
    if (at < 0 || !(event.key in moves)) return;
    event.preventDefault();
    items[moves[event.key]].focus();
  });
  select(Math.max(tokens.findIndex(isMarked), 0));

  return el(
    "section",
    { class: "scored", "aria-label": "Scores" },
    el("h2", {}, `The answer of ${names[0]}, scored by both`),
    figures(summary, names),
    legend(names),
    el("div", { class: "scored-pair" }, list, detail),
    el("p", { class: "hint" }, "Arrow left and right go from token to token, up and down to the marked ones."),
  );
}

function isMarked({ level, differs }) {
  return level > 0 || differs;
}

function item(token, names) {
  const said = `${spoken(token.text)}: ${percent(token.left)} in ${names[0]}, ${percent(token.right)} in ${names[1]}`;
  const other = token.differs && token.rightTop[0] ? `, which finds ${spoken(token.rightTop[0].text)} most probable` : "";
  return el(
    "span",
    {
      role: "option",
      tabindex: -1,
      "aria-selected": "false",
      "aria-label": said + other,
      class: token.differs ? "differs" : "",
      data: { level: token.level, more: String(token.more) },
    },
    // A line ends where the token says so, with a sign that something is there to be looked at.
    token.text.replaceAll("\n", "↵\n"),
  );
}

function spoken(text) {
  if (text === "\n") return "line break";
  return text.trim() === "" ? "space" : `“${text.trim()}”`;
}

function visible(text) {
  return text.replaceAll("\n", "↵").replaceAll(" ", "·");
}

function figures({ count, marked, mean, same }, names) {
  const figure = (value, text) => el("div", { class: "figure" }, el("strong", {}, value), el("span", {}, text));
  const sign = mean > 0 ? "+" : "";
  return el(
    "div",
    { class: "figures" },
    figure(`${sign}${mean.toFixed(3).replace("-", "−")}`, `mean difference of log-probability, ${names[1]} less ${names[0]}`),
    figure(`${(same * 100).toFixed(1)} %`, "same most probable token"),
    figure(`${marked} of ${count}`, "tokens marked"),
  );
}

function legend(names) {
  const swatches = (more) => FACTORS.map((factor, at) => el("span", { class: "swatch", data: { level: at + 1, more: String(more) } }, `×${factor}`));
  return el(
    "p",
    { class: "legend" },
    el("span", {}, `Less probable in ${names[1]} `, swatches(false)),
    el("span", {}, "More probable ", swatches(true)),
    el("span", {}, el("span", { class: "differs" }, "Underlined"), ": another token is the most probable"),
  );
}

function details(token, names) {
  const bar = (logprob) => {
    const fill = el("span", { class: "fill" });
    fill.style.setProperty("--share", `${Math.exp(logprob) * 100}%`);
    return el("span", { class: "bar", "aria-hidden": "true" }, fill);
  };
  const row = (label, logprob, own) => {
    return el("div", { class: own ? "share own" : "share" }, el("span", { class: "what" }, label), bar(logprob), el("span", { class: "value" }, percent(logprob)));
  };
  const top = (name, list) => [
    el("h4", {}, `Most probable for ${name}`),
    list.slice(0, SHOWN).map(({ text, logprob }) => row(visible(text), logprob, text === token.text)),
  ];
  return [
    el("h3", {}, visible(token.text)),
    row(names[0], token.left),
    row(names[1], token.right),
    ...top(names[1], token.rightTop).flat(),
    ...top(names[0], token.leftTop).flat(),
  ];
}
