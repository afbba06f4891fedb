// From the tree of `markdown.js` to nodes of the page. Model text reaches the page through text nodes only.

import { button, copy, el } from "./dom.js";
import { parse } from "./markdown.js";

const TAGS = { strong: "strong", em: "em", del: "del" };

/**
 * Shows a text of Markdown in an element. Blocks that are the same as at the last call keep their nodes, so that a growing
 * answer does not disturb what is being read, selected or copied.
 */
export function render(element, text) {
  const blocks = parse(text);
  const shown = element.shownBlocks ?? [];
  let same = 0;
  while (same < blocks.length && blocks[same].raw === shown[same]) same += 1;
  while (element.childNodes.length > same) element.lastChild.remove();
  element.append(...blocks.slice(same).map(block));
  element.shownBlocks = blocks.map(({ raw }) => raw);
}

function block(tree) {
  switch (tree.kind) {
    case "heading":
      // The page has headings of its own above those of an answer.
      return el(`h${Math.min(tree.level + 2, 6)}`, {}, inline(tree.content));
    case "code":
      return code(tree);
    case "quote":
      return el("blockquote", {}, tree.blocks.map(block));
    case "list":
      return el(
        tree.ordered ? "ol" : "ul",
        { start: tree.ordered && tree.start !== 1 ? tree.start : null },
        tree.items.map((blocks) => el("li", {}, blocks.flatMap((one) => inner(one, tree.loose)))),
      );
    case "table":
      return table(tree);
    case "rule":
      return el("hr");
    default:
      return el("p", {}, inline(tree.content));
  }
}

/** Paragraphs of a list without blank lines are plain text. */
function inner(tree, loose) {
  return tree.kind === "paragraph" && !loose ? inline(tree.content) : [block(tree)];
}

function code({ language, text }) {
  const label = language || "text";
  const copying = button("Copy", (event) => copy(text, event.currentTarget), { class: "quiet", "aria-label": `Copy the code (${label})` });
  return el(
    "div",
    { class: "code" },
    el("div", { class: "code-head" }, el("span", {}, label), copying),
    el("pre", { tabindex: 0, "aria-label": `Code (${label})` }, el("code", {}, text)),
  );
}

function table({ align, head, rows }) {
  const row = (tag, cells) => el("tr", {}, cells.map((cell, column) => el(tag, { class: align[column] }, inline(cell))));
  return el(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": "Table" },
    el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, rows.map((cells) => row("td", cells)))),
  );
}

function inline(nodes) {
  return nodes.map((node) => {
    if (node.kind === "text") return document.createTextNode(node.text);
    if (node.kind === "break") return el("br");
    if (node.kind === "code") return el("code", {}, node.text);
    if (node.kind === "link") {
      // `inline.js` made the address: http, https or mailto.
      return el("a", { href: node.href, target: "_blank", rel: "noopener noreferrer" }, inline(node.content));
    }
    return el(TAGS[node.kind], {}, inline(node.content));
  });
}
