// The dialog of the settings: those of the conversation, and the key.

import * as api from "./api.js";
import { byId } from "./dom.js";

const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const LABELS = { temperature: "Temperature", top_p: "Top p", max_tokens: "Max tokens", seed: "Seed" };

export class Settings {
  /** `current` tells the settings that are edited, `changed` takes new ones, `newKey` is called when the key changed. */
  constructor({ current, changed, newKey }) {
    Object.assign(this, { current, changed, newKey });
    this.dialog = byId("settings");
    byId("open-settings").addEventListener("click", () => this.open("system"));
    byId("close-settings").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    for (const name of ["system", ...NUMBERS]) byId(name).addEventListener("input", () => this.read());
    byId("key").addEventListener("change", () => {
      api.setKey(byId("key").value.trim());
      newKey();
    });
  }

  /** Opens the dialog with the cursor in a field. */
  open(field) {
    const settings = this.current();
    byId("system").value = settings.system ?? "";
    for (const name of NUMBERS) byId(name).value = settings[name] ?? "";
    byId("key").value = api.key();
    this.read();
    this.dialog.showModal();
    byId(field).focus();
  }

  /** Takes over what the fields say; one that says something impossible counts as empty, and the dialog says so. */
  read() {
    const settings = { system: byId("system").value };
    const wrong = [];
    for (const name of NUMBERS) {
      const field = byId(name);
      const valid = field.checkValidity();
      field.ariaInvalid = String(!valid);
      if (!valid) wrong.push(LABELS[name]);
      else if (field.value !== "") settings[name] = field.valueAsNumber;
    }
    byId("settings-wrong").textContent = wrong.length > 0 ? `Out of range and not used: ${wrong.join(", ")}.` : "";
    this.changed(settings);
  }
}
