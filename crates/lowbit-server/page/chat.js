// The conversation: asking, stopping, asking again, from any message on.

import { fill, sampling } from "./answer.js";
import { announce, byId, el } from "./dom.js";
import { view } from "./message.js";
import * as models from "./models.js";
import { dismiss, notice } from "./notices.js";

/** How often a growing answer is kept, in milliseconds. */
const KEEP_EVERY = 1000;
/** How near the end one has to be for the view to follow the answer, in pixels. */
const NEAR_END = 80;

export class Chat {
  /** `changed` is called when the list of conversations has something new; `enterKey` opens the field for the key. */
  constructor({ store, changed, enterKey }) {
    Object.assign(this, { store, changed, enterKey });
    this.conversation = null;
    this.running = null;
    this.input = byId("input");
    this.input.addEventListener("input", () => this.resize());
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    byId("send").addEventListener("click", () => this.submit());
    byId("stop").addEventListener("click", () => this.stop());
  }

  /** Shows a conversation; an answer that is still coming to another one stops. */
  async open(conversation) {
    await this.stop();
    dismiss("dropped");
    this.conversation = conversation;
    models.choose(byId("model"), conversation.model);
    this.show();
    this.toEnd();
  }

  show() {
    const { messages } = this.conversation;
    const views = messages.map((message, place) => {
      const one = view(message, {
        resend: (text) => this.ask(place, text),
        regenerate: () => this.ask(place),
        rewrite: (text) => this.rewrite(place, text),
        enterKey: this.enterKey,
      });
      one.update();
      return one;
    });
    const empty = el("div", { class: "empty" }, el("p", { class: "big" }, "What would you like to ask?"), el("p", {}, "Answers are made by this server, and conversations stay in this browser."));
    byId("messages").replaceChildren(...(views.length > 0 ? views.map(({ element }) => element) : [empty]));
    return views;
  }

  submit() {
    const text = this.input.value;
    if (this.running || text.trim() === "") return;
    this.input.value = "";
    this.resize();
    this.ask(this.conversation.messages.length, text);
  }

  /**
   * Drops the messages from `place` on and asks: with `text` as the user's next message, or again with those that are
   * left.
   */
  async ask(place, text = null) {
    if (this.running) await this.stop();
    const { conversation } = this;
    const model = byId("model").value || conversation.model;
    conversation.model = model;
    this.drop(conversation, place);
    if (text !== null) conversation.messages.push({ role: "user", content: text });
    const asked = requested(conversation);
    const message = { role: "assistant", content: "", reasoning: "", model, error: "", finish: "", stats: {} };
    conversation.messages.push(message);
    conversation.changed = Date.now();
    const shown = this.show().at(-1);
    shown.update({ busy: true });
    this.keep(conversation);
    this.changed();
    this.toEnd();
    this.input.focus();
    const stopping = new AbortController();
    const body = { model, messages: asked, ...sampling(conversation.settings) };
    this.running = { stopping, done: this.run(conversation, message, shown, body, stopping.signal) };
    this.busy(true);
    announce("The answer begins.");
    await this.running.done;
  }

  /** Drops the messages from `place` on; more than a question and its answer can be brought back. */
  drop(conversation, place) {
    const before = [...conversation.messages];
    conversation.messages.length = place;
    dismiss("dropped");
    if (before.length - place <= 2) return;
    const undo = async () => {
      if (this.conversation !== conversation) return;
      await this.stop();
      conversation.messages = before;
      this.keep(conversation);
      this.show();
    };
    const action = { label: "Undo", run: undo };
    notice(`${before.length - place} messages gave way to this answer.`, { name: "dropped", action });
  }

  async run(conversation, message, shown, body, signal) {
    let drawn = 0;
    let kept = performance.now();
    const error = await fill(message, body, signal, () => {
      drawn ||= requestAnimationFrame(() => {
        drawn = 0;
        this.follow(() => shown.update({ busy: true }));
      });
      if (performance.now() - kept > KEEP_EVERY) {
        kept = performance.now();
        this.keep(conversation);
      }
    });
    cancelAnimationFrame(drawn);
    this.running = null;
    this.busy(false);
    this.follow(() => shown.update({ status: error?.status ?? 0 }));
    this.keep(conversation);
    models.settle();
    announce(error ? message.error : message.finish === "stopped" ? "Stopped." : "The answer is complete.");
  }

  /** Gives up the answer that is coming; what came stays. */
  async stop() {
    if (!this.running) return;
    const { stopping, done } = this.running;
    stopping.abort();
    await done;
  }

  rewrite(place, text) {
    this.conversation.messages[place].content = text;
    this.keep(this.conversation);
    this.show();
  }

  keep(conversation) {
    try {
      this.store.save(conversation);
    } catch {
      notice("The browser has no room for this conversation. Export and delete some.", { kind: "error" });
    }
  }

  busy(is) {
    const stop = byId("stop");
    if (document.activeElement === stop || document.activeElement === byId("send")) this.input.focus();
    stop.hidden = !is;
    byId("send").hidden = is;
  }

  /** Changes the view, and stays at its end where one was there. */
  follow(change) {
    const scroll = byId("scroll");
    const near = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END;
    change();
    if (near) this.toEnd();
  }

  toEnd() {
    const scroll = byId("scroll");
    scroll.scrollTop = scroll.scrollHeight;
  }

  resize() {
    this.input.style.setProperty("height", "auto");
    this.input.style.setProperty("height", `${Math.min(this.input.scrollHeight, 220)}px`);
  }
}

/** What the server reads of a conversation; answers of which nothing came are left out. */
function requested({ settings, messages }) {
  const system = settings.system?.trim() ? [{ role: "system", content: settings.system }] : [];
  const said = messages.filter(({ content }) => content !== "").map(({ role, content }) => ({ role, content }));
  return [...system, ...said];
}
