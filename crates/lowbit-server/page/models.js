// The models of the server: the pickers and the table of the settings.

import * as api from "./api.js";
import { byId, el } from "./dom.js";

/** The models as the server told them last. */
let known = [];

export function list() {
  return known;
}

/** Asks the server again and fills every picker. Throws what the server says instead. */
export async function refresh() {
  known = await api.models();
  document.querySelectorAll("select.model").forEach((select, place) => fill(select, place));
  byId("model-table").replaceChildren(table());
  byId("one-model").hidden = known.length > 1;
}

/** Asks again where a model was not loaded: answering loads it. */
export function settle() {
  if (known.some(({ loaded }) => loaded === false)) refresh().catch(() => {});
}

/** Chooses a model in a picker; one that the server has not leaves it as it is. */
export function choose(select, id) {
  if (known.some((model) => model.id === id)) select.value = id;
}

/** Keeps the choice where it still exists; otherwise the first, and in the last picker another one. */
function fill(select, place) {
  const before = select.value;
  select.replaceChildren(...known.map((model) => el("option", { value: model.id }, label(model))));
  const fallback = known[place === 2 ? Math.min(1, known.length - 1) : 0];
  select.value = known.some((model) => model.id === before) ? before : fallback?.id ?? "";
}

function label({ id, bits, bytes, loaded }) {
  const facts = [bitsText(bits, " bits"), bytesText(bytes), loaded === false ? "not loaded yet" : null];
  return [id, ...facts.filter((fact) => fact !== null)].join(" · ");
}

function table() {
  const row = ({ id, bits, bytes, context }) => {
    const figures = [bitsText(bits, ""), bytesText(bytes), context?.toLocaleString("en")];
    return el("tr", {}, el("th", { scope: "row" }, id), figures.map((figure) => el("td", {}, figure ?? "–")));
  };
  const head = ["Model", "Bits a weight", "Memory", "Context"].map((title) => el("th", { scope: "col" }, title));
  return el("table", { class: "facts" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, known.map(row)));
}

function bitsText(bits, unit) {
  return bits === null ? null : `${Number(bits.toFixed(2))}${unit}`;
}

function bytesText(bytes) {
  if (bytes === null) return null;
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`;
}
