// Puts the parts of the page together.

import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { byId } from "./dom.js";
import { storage } from "./memory.js";
import * as models from "./models.js";
import { dismiss, notice } from "./notices.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { Store, newConversation } from "./store.js";

/** The conversation that was shown last, and the settings with which new ones begin. */
const CURRENT = "lowbit.current";
const DEFAULTS = "lowbit.settings";

const area = storage();
const store = new Store(area);

const chat = new Chat({ store, changed: () => (remember(), sidebar.refresh()), enterKey: () => settings.open("key") });
const compare = new Compare();
const sidebar = new Sidebar({ store, open, begin, renamed, current: () => chat.conversation?.id });
const settings = new Settings({ current: () => chat.conversation.settings, changed: newSettings, newKey: connect });

function open(id) {
  const conversation = store.load(id);
  if (conversation) return show(conversation);
}

function begin() {
  return show(fresh());
}

/** A conversation with the settings that were used last. */
function fresh() {
  let settings = {};
  try {
    settings = JSON.parse(area.getItem(DEFAULTS)) ?? {};
  } catch {
    // Damaged settings are as good as none.
  }
  return newConversation({ model: byId("model").value, settings });
}

async function show(conversation) {
  await chat.open(conversation);
  remember();
  sidebar.refresh();
  location.hash = "#chat";
  byId("input").focus();
}

function renamed(id, title) {
  if (chat.conversation.id === id) chat.conversation.title = title;
}

function remember() {
  area.setItem(CURRENT, chat.conversation.id);
}

function newSettings(changed) {
  const { conversation } = chat;
  conversation.settings = changed;
  area.setItem(DEFAULTS, JSON.stringify(changed));
  if (conversation.messages.length > 0) chat.keep(conversation);
}

/** Asks which models there are; what is wrong is said above the view, with a way to try again. */
async function connect() {
  try {
    await models.refresh();
    if (chat.conversation) models.choose(byId("model"), chat.conversation.model);
    dismiss("connection");
  } catch (error) {
    const again = { label: "Try again", run: connect };
    const key = { label: "Enter a key", run: () => settings.open("key") };
    notice(error.message, { name: "connection", kind: "error", action: error.status === 401 ? key : again });
  }
}

function route() {
  const comparing = location.hash === "#compare";
  byId("chat").hidden = comparing;
  byId("compare").hidden = !comparing;
  for (const [id, shown] of [["to-chat", !comparing], ["to-compare", comparing]]) {
    if (shown) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
}

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || byId("settings").open) return;
  if (sidebar.isOver()) return sidebar.hide();
  chat.stop();
  compare.stop();
});
// Another tab changed something.
addEventListener("storage", (event) => {
  sidebar.refresh();
  const latest = chat.running ? null : store.load(chat.conversation.id);
  if (event.key?.endsWith(chat.conversation.id) && latest) chat.open(latest);
});

route();
await chat.open(store.load(area.getItem(CURRENT) ?? "") ?? fresh());
sidebar.refresh();
if (location.hash !== "#compare") byId("input").focus();
await connect();
