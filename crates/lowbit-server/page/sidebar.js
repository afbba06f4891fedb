// The list of conversations: open, rename, delete, export, import.

import { button, byId, el } from "./dom.js";
import { notice } from "./notices.js";
import { titleOf } from "./store.js";

export class Sidebar {
  /**
   * `open` shows a conversation, `begin` a new one, `renamed` hears of a new title, `current` tells the id of the one that is
   * shown.
   */
  constructor({ store, open, begin, renamed, current }) {
    Object.assign(this, { store, open, begin, renamed, current });
    byId("new").addEventListener("click", () => (begin(), this.hide()));
    byId("export").addEventListener("click", () => this.export());
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", (event) => this.import(event.target));
    byId("open-sidebar").addEventListener("click", () => this.unhide());
    byId("close-sidebar").addEventListener("click", () => this.hide());
    byId("shade").addEventListener("click", () => this.hide());
    // In a wide window it lies over nothing.
    matchMedia("(min-width: 52.01rem)").addEventListener("change", () => this.hide());
  }

  refresh() {
    byId("conversations").replaceChildren(...this.store.all().map((one) => this.entry(one)));
  }

  entry(conversation) {
    const title = titleOf(conversation);
    const shown = conversation.id === this.current();
    const opening = button(title, () => (this.open(conversation.id), this.hide()), { class: "title", title, "aria-current": shown ? "true" : null });
    const name = { "aria-label": `Rename “${title}”`, class: "quiet" };
    const gone = { "aria-label": `Delete “${title}”`, class: "quiet" };
    const item = el(
      "li",
      { class: shown ? "shown" : "" },
      opening,
      el(
        "div",
        { class: "actions" },
        button("Rename", () => this.rename(item, conversation), name),
        button("Delete", () => this.delete(conversation), gone),
      ),
    );
    return item;
  }

  rename(item, conversation) {
    const field = el("input", { type: "text", maxlength: 120, "aria-label": "Title of the conversation" });
    field.value = titleOf(conversation);
    let ended = false;
    const end = (accept) => {
      if (ended) return;
      ended = true;
      const latest = this.store.load(conversation.id);
      if (accept && latest && field.value.trim() !== "") {
        this.store.save({ ...latest, title: field.value.trim() });
        this.renamed(conversation.id, field.value.trim());
      }
      this.refresh();
    };
    field.addEventListener("blur", () => end(true));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) end(true);
      if (event.key !== "Escape") return;
      event.stopPropagation();
      end(false);
    });
    item.replaceChildren(field);
    field.select();
  }

  async delete(conversation) {
    // An answer that is still coming would be kept again.
    if (conversation.id === this.current()) await this.begin();
    const latest = this.store.load(conversation.id) ?? conversation;
    this.store.remove(conversation.id);
    this.refresh();
    const undo = () => (this.store.save(latest), this.refresh());
    notice(`Deleted “${titleOf(conversation)}”.`, { name: "deleted", action: { label: "Undo", run: undo } });
  }

  export() {
    const file = URL.createObjectURL(new Blob([this.store.exported()], { type: "application/json" }));
    const day = new Date().toISOString().slice(0, 10);
    el("a", { href: file, download: `lowbit-conversations-${day}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(file), 10_000);
  }

  async import(field) {
    const [file] = field.files;
    if (!file) return;
    try {
      const count = this.store.imported(await file.text());
      notice(count === 1 ? "Imported one conversation." : `Imported ${count} conversations.`, { name: "imported" });
    } catch (error) {
      notice(`Not imported: ${error.message}`, { name: "imported", kind: "error" });
    }
    field.value = "";
    this.refresh();
  }

  /** On narrow windows the list lies over the conversation. */
  isOver() {
    return document.body.classList.contains("listing");
  }

  unhide() {
    document.body.classList.add("listing");
    byId("open-sidebar").setAttribute("aria-expanded", "true");
    byId("stage").inert = true;
    byId("close-sidebar").focus();
  }

  hide() {
    if (!this.isOver()) return;
    document.body.classList.remove("listing");
    byId("open-sidebar").setAttribute("aria-expanded", "false");
    byId("stage").inert = false;
    byId("open-sidebar").focus();
  }
}
