// Building elements. Text only ever becomes text nodes, and no attribute can carry code.

/**
 * An element with properties and children.
 * `on` maps events to listeners, `data` fills the dataset, `class` is the class, a function or boolean value of another
 * name is set as a property, anything else as an attribute. Children are nodes or text; null and false are left out.
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "data") {
      Object.assign(element.dataset, value);
    } else if (typeof value === "boolean") {
      element[name] = value;
    } else {
      if (name.startsWith("on")) throw new Error(`no code in attributes: ${name}`);
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button with a visible label. */
export function button(label, listener, properties = {}) {
  return el("button", { type: "button", on: { click: listener }, ...properties }, label);
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Tells screen readers something that others see. */
export function announce(text) {
  byId("status").textContent = text;
}

/** Copies text and says on the button whether that worked. */
export async function copy(text, from) {
  const label = from.textContent;
  const done = await write(text);
  from.textContent = done ? "Copied" : "Not copied";
  announce(from.textContent);
  setTimeout(() => (from.textContent = label), 1500);
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages that came neither by TLS nor from this machine have no clipboard of their own.
    const field = el("textarea", { class: "hidden", "aria-hidden": "true" });
    field.value = text;
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    focused?.focus();
    return done;
  }
}
