// Lines above the view: something went wrong, or can be undone.

import { button, byId, el } from "./dom.js";

/**
 * Shows a line until it is closed or its action is taken. `kind` is "error" or "info"; one of the same `name` is replaced.
 * `action` is { label, run }.
 */
export function notice(text, { name = text, kind = "info", action = null } = {}) {
  dismiss(name);
  const close = () => line.remove();
  const act = action && button(action.label, () => (close(), action.run()), { class: "quiet" });
  const line = el(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status", data: { name } },
    el("span", {}, text),
    act,
    button("Close", close, { class: "quiet" }),
  );
  byId("notices").append(line);
}

export function dismiss(name) {
  for (const line of [...byId("notices").children]) if (line.dataset.name === name) line.remove();
}
