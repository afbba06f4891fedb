// How a message looks, and what can be done with it.

import { statsText } from "./answer.js";
import { button, copy, el } from "./dom.js";
import { render } from "./render.js";

/**
 * The view of a message: { element, update }. `actions` has `resend(text)` for the user's, `regenerate()` and
 * `rewrite(text)` for answers, and `enterKey()`.
 */
export function view(message, actions) {
  return message.role === "user" ? question(message, actions) : answer(message, actions);
}

function question(message, { resend }) {
  const text = el("div", { class: "bubble" }, message.content);
  const row = el(
    "div",
    { class: "actions" },
    button("Edit", () => edit(element, message.content, "Send", resend), { class: "quiet" }),
    button("Copy", (event) => copy(message.content, event.currentTarget), { class: "quiet" }),
  );
  const element = el("article", { class: "message user", "aria-label": "You" }, text, row);
  return { element, update() {} };
}

function answer(message, { regenerate, rewrite, enterKey }) {
  const thoughts = el("div", { class: "thoughts" });
  const reasoning = el("details", { class: "reasoning", hidden: true }, el("summary", {}, "Reasoning"), thoughts);
  const body = el("div", { class: "answer" });
  const wrong = el("div", { class: "error-box", hidden: true });
  const stats = el("p", { class: "stats" });
  const row = el(
    "div",
    { class: "actions" },
    button("Copy", (event) => copy(message.content, event.currentTarget), { class: "quiet" }),
    button("Regenerate", regenerate, { class: "quiet" }),
    button("Edit", () => edit(element, message.content, "Save", rewrite), { class: "quiet" }),
  );
  const foot = el("div", { class: "foot" }, stats, row);
  const element = el("article", { class: "message assistant", "aria-label": "Answer" }, reasoning, body, wrong, foot);
  return {
    element,
    /** Shows what the message has now; `busy` while more is to come. */
    update({ busy = false, status = 0 } = {}) {
      reasoning.hidden = message.reasoning === "";
      if (thoughts.textContent !== message.reasoning) thoughts.textContent = message.reasoning;
      render(body, message.content);
      element.classList.toggle("busy", busy);
      element.ariaBusy = String(busy);
      stats.textContent = statsText(message);
      // Of nothing there is nothing to copy; the box above asks again.
      row.hidden = busy || (message.content === "" && message.error !== "");
      wrong.hidden = message.error === "";
      if (message.error !== "" && wrong.textContent === "") {
        const key = status === 401 && button("Enter a key", enterKey);
        wrong.replaceChildren(el("span", {}, message.error), key || "", button("Try again", regenerate));
      }
    },
  };
}

/** Puts a field in the place of a message until it is accepted or given up. */
function edit(element, text, label, accept) {
  const before = [...element.childNodes];
  const field = el("textarea", { rows: 3, "aria-label": "Edit the message" });
  field.value = text;
  const close = () => {
    element.classList.remove("editing");
    element.replaceChildren(...before);
    element.querySelector(".actions button")?.focus();
  };
  const done = () => {
    if (field.value.trim() !== "") accept(field.value);
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && label === "Send") {
      event.preventDefault();
      done();
    }
  });
  const row = el("div", { class: "row" }, button("Cancel", close), button(label, done, { class: "primary" }));
  element.classList.add("editing");
  element.replaceChildren(el("div", { class: "field" }, field, row));
  field.focus();
}
