// Conversations, kept in this browser under one key each. Whatever is read back is checked before it is used.

const PREFIX = "lowbit.conversation.";
const FORMAT = "lowbit-conversations";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];

/** { id, title, changed, model, settings: { system, temperature, … }, messages: [{ role, content, … }] } */
export function newConversation({ model = "", settings = {} } = {}) {
  return { id: randomId(), title: "", changed: Date.now(), model, settings: { ...settings }, messages: [] };
}

/** What the list shows of a conversation. */
export function titleOf({ title, messages }) {
  if (title !== "") return title;
  const first = messages.find(({ role }) => role === "user")?.content.trim().replace(/\s+/g, " ") ?? "";
  return first === "" ? "New conversation" : first.length > 60 ? `${first.slice(0, 59)}…` : first;
}

export class Store {
  /** `area` is like localStorage. */
  constructor(area) {
    this.area = area;
  }

  /** All conversations, the youngest first. */
  all() {
    const keys = Array.from({ length: this.area.length }, (_, place) => this.area.key(place));
    const found = keys.filter((key) => key.startsWith(PREFIX)).map((key) => this.load(key.slice(PREFIX.length)));
    return found.filter((one) => one !== null).sort((a, b) => b.changed - a.changed);
  }

  load(id) {
    try {
      return checked(JSON.parse(this.area.getItem(PREFIX + id)), id);
    } catch {
      return null;
    }
  }

  /** Throws where the browser has no room. */
  save(conversation) {
    this.area.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
  }

  remove(id) {
    this.area.removeItem(PREFIX + id);
  }

  /** Everything as a text of JSON. */
  exported() {
    return JSON.stringify({ format: FORMAT, version: 1, conversations: this.all() }, null, 2);
  }

  /** Adds the conversations of such a text beside those that are here; how many. Throws with a sentence. */
  imported(text) {
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      throw new Error("This file is not JSON.");
    }
    if (value?.format !== FORMAT || value.version !== 1 || !Array.isArray(value.conversations)) {
      throw new Error("This file has no conversations of lowbit’s page.");
    }
    const all = value.conversations.map((one) => checked(one, randomId()));
    const wrong = all.indexOf(null);
    if (wrong >= 0) throw new Error(`Conversation ${wrong + 1} of this file is damaged; nothing was imported.`);
    all.forEach((one) => this.save(one));
    return all.length;
  }
}

/** A conversation with the fields it should have and no others; null where it is none. */
function checked(value, id) {
  if (value === null || typeof value !== "object" || !Array.isArray(value.messages)) return null;
  const messages = value.messages.map(message);
  if (messages.includes(null)) return null;
  return {
    id,
    title: text(value.title),
    changed: Number.isFinite(value.changed) ? value.changed : 0,
    model: text(value.model),
    settings: settings(value.settings),
    messages,
  };
}

function message(value) {
  if (!["user", "assistant"].includes(value?.role) || typeof value.content !== "string") return null;
  const { role, content } = value;
  if (role === "user") return { role, content };
  const kept = { role, content, reasoning: text(value.reasoning), model: text(value.model), error: text(value.error) };
  return { ...kept, finish: text(value.finish), stats: figures(value.stats) };
}

function settings(value) {
  const kept = { system: text(value?.system) };
  for (const name of NUMBERS) if (Number.isFinite(value?.[name])) kept[name] = value[name];
  return kept;
}

function figures(value) {
  const kept = {};
  for (const name of ["first_s", "tokens", "tokens_per_s"]) {
    if (Number.isFinite(value?.[name])) kept[name] = value[name];
  }
  return kept;
}

function text(value) {
  return typeof value === "string" ? value : "";
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
