// Two models side by side: the same prompt, and one answer scored by both.

import * as api from "./api.js";
import { fill, statsText } from "./answer.js";
import { announce, byId, el } from "./dom.js";
import * as models from "./models.js";
import { render } from "./render.js";
import { compared } from "./scores.js";
import { view } from "./tokens.js";

const SIDES = ["left", "right"];
const FIELDS = { temperature: "compare-temperature", max_tokens: "compare-max-tokens", seed: "compare-seed" };

export class Compare {
  constructor() {
    this.stopping = null;
    byId("compare-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId("compare-form").requestSubmit();
    });
    byId("compare-stop").addEventListener("click", () => this.stop());
  }

  stop() {
    this.stopping?.abort();
  }

  async run() {
    const prompt = byId("prompt").value;
    if (this.stopping || prompt.trim() === "") return;
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    this.busy(true);
    announce("Both models answer.");
    byId("scores").replaceChildren();
    byId("compare-error").replaceChildren();
    try {
      const names = SIDES.map((side) => byId(side).value);
      const messages = [{ role: "user", content: prompt }];
      const answers = await Promise.all(SIDES.map((side, at) => answer(side, names[at], messages, signal)));
      if (signal.aborted || answers.some(({ error }) => error !== "")) return;
      await score(names, messages, answers[0].content, signal);
    } catch (error) {
      if (error.name !== "AbortError") fail(`The answers cannot be scored: ${error.message}`);
    } finally {
      this.stopping = null;
      this.busy(false);
    }
  }

  busy(is) {
    const [stop, run] = [byId("compare-stop"), byId("compare-run")];
    const focused = [stop, run].includes(document.activeElement);
    stop.hidden = !is;
    run.disabled = is;
    byId("answers").hidden &&= !is;
    if (focused) (is ? stop : run).focus();
    if (!is) models.settle();
  }
}

async function answer(side, model, messages, signal) {
  const message = { content: "", reasoning: "", model, error: "", finish: "", stats: {} };
  const [heading, body, stats] = ["name", "answer", "stats"].map((part) => byId(`${side}-${part}`));
  heading.textContent = model;
  const show = () => {
    render(body, message.content);
    stats.textContent = statsText({ ...message, model: "" });
  };
  show();
  let drawn = 0;
  const request = { model, messages };
  for (const [name, id] of Object.entries(FIELDS)) if (byId(id).value !== "") request[name] = byId(id).valueAsNumber;
  await fill(message, request, signal, () => {
    drawn ||= requestAnimationFrame(() => ((drawn = 0), show()));
  });
  cancelAnimationFrame(drawn);
  show();
  if (message.error !== "") fail(`${model}: ${message.error}`);
  return message;
}

/** Scores an answer by both models, where they read the same tokens. */
async function score(names, messages, text, signal) {
  if (text === "") return fail(`${names[0]} answered nothing, so there is nothing to score.`);
  const waiting = el("p", { class: "hint" }, "Scoring the answer under both models …");
  byId("scores").replaceChildren(waiting);
  try {
    const [left, right] = await Promise.all(names.map((name) => tokenize(name, messages, text, signal)));
    if (!same(left.prompt, right.prompt) || !same(left.answer, right.answer)) {
      return fail("These models read the text as different tokens. Scoring needs two models of one vocabulary and chat template; both answers are shown above.");
    }
    const ids = [...left.prompt, ...left.answer];
    const scores = await Promise.all(names.map((name) => api.score(name, ids, signal)));
    const found = compared(scores[0], scores[1], left.prompt.length);
    byId("scores").append(view(found, names));
    announce(`Scored: ${found.summary.marked} of ${found.summary.count} tokens are marked.`);
  } finally {
    waiting.remove();
  }
}

async function tokenize(model, messages, text, signal) {
  const both = [api.tokenizeMessages(model, messages, signal), api.tokenizeText(model, text, signal)];
  const [prompt, answer] = await Promise.all(both);
  return { prompt, answer };
}

function same(one, other) {
  return one.length === other.length && one.every((id, place) => id === other[place]);
}

function fail(text) {
  byId("compare-error").append(el("div", { class: "error-box", role: "alert" }, el("span", {}, text)));
}
