// Markdown as models write it, from text to a tree of plain objects. Nothing here touches the page; `render.js` does.
//
// Blocks:  { kind: "paragraph" | "heading" | "code" | "list" | "quote" | "table" | "rule", … }, each with the lines it
//          came from in `raw`.
// Inlines: { kind: "text" | "code" | "strong" | "em" | "del" | "link" | "break", … }.
//
// HTML is text. A line break is a line break. Time grows linearly with the text, and nesting is bounded.

import { inlines } from "./inline.js";

/** Lists and quotes in each other; what is deeper is a paragraph. */
const DEEPEST = 12;

const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;

/** The blocks of a text. */
export function parse(text) {
  const lines = text.split(/\r\n|\r|\n/).map((line) => line.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    ")));
  return blocks(lines, 0);
}

function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at, depth);
    block.raw = lines.slice(at, next).join("\n");
    found.push(block);
    at = next;
  }
  return found;
}

/** The block that begins at a line, and the line after it. */
function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = opening(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) {
    const title = (heading[2] ?? "").trimEnd().replace(/(^|[ \t])#+$/, "");
    return [{ kind: "heading", level: heading[1].length, content: inlines(title.trim()) }, at + 1];
  }
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && item(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() !== "" && !interrupts(lines, end, depth)) end += 1;
  const text = lines.slice(at, end).map((part) => part.trim()).join("\n");
  return [{ kind: "paragraph", content: inlines(text) }, end];
}

/** Whether a line ends the paragraph before it. */
function interrupts(lines, at, depth) {
  const line = lines[at];
  if (opening(line) || HEADING.test(line) || RULE.test(line)) return true;
  if (depth >= DEEPEST) return false;
  const marker = item(line);
  // A number at the beginning of a wrapped line is no list unless it could begin one.
  if (marker && marker.text !== "" && (!marker.ordered || marker.number === 1)) return true;
  return QUOTE.test(line) || isTable(lines, at);
}

function opening(line) {
  const fence = FENCE.exec(line);
  return fence && !(fence[1][0] === "`" && fence[2].includes("`")) ? fence : null;
}

/** A fence that nothing closes reaches to the end: that is what an answer looks like while it comes. */
function code(lines, at, fence) {
  const indent = lines[at].indexOf(fence[1]);
  const body = [];
  let end = at + 1;
  let closed = false;
  while (end < lines.length && !closed) {
    const line = lines[end];
    const bare = line.trim();
    closed = bare.length >= fence[1].length && bare === fence[1][0].repeat(bare.length);
    if (!closed) body.push(line.slice(Math.min(indent, line.length - line.trimStart().length)));
    end += 1;
  }
  const language = fence[2].trim().split(/\s/)[0];
  return [{ kind: "code", language, text: body.join("\n") }, end];
}

function quote(lines, at, depth) {
  const inner = [];
  let end = at;
  for (; end < lines.length && lines[end].trim() !== ""; end += 1) {
    const quoted = QUOTE.exec(lines[end]);
    if (!quoted && interrupts(lines, end, depth)) break;
    inner.push(quoted ? quoted[1] : lines[end]);
  }
  return [{ kind: "quote", blocks: blocks(inner, depth + 1) }, end];
}

/** What a line that begins an item says; `inside` is where the item's own lines begin. */
function item(line) {
  const found = ITEM.exec(line);
  if (!found) return null;
  const [, before, marker, space = " ", text = ""] = found;
  const width = space.length > 4 ? 1 : space.length;
  const ordered = marker.length > 1;
  return {
    indent: before.length,
    inside: before.length + marker.length + width,
    kind: marker.at(-1),
    ordered,
    number: ordered ? Number(marker.slice(0, -1)) : 0,
    text: " ".repeat(space.length - width) + text,
  };
}

function list(lines, at, depth) {
  const first = item(lines[at]);
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    const marker = item(lines[end]);
    if (!marker || marker.kind !== first.kind || RULE.test(lines[end]) || marker.indent >= first.indent + 2) break;
    const inner = [marker.text];
    end += 1;
    let blank = false;
    while (end < lines.length) {
      const line = lines[end];
      if (line.trim() === "") {
        blank = true;
        inner.push("");
        end += 1;
        continue;
      }
      const indent = line.length - line.trimStart().length;
      // Models indent what is nested by two spaces, also below "1.".
      const nested = indent >= Math.min(marker.inside, marker.indent + 2);
      const goesOn = !blank && !item(line) && !interrupts(lines, end, depth);
      if (!nested && !goesOn) break;
      loose ||= blank && nested && !item(line);
      inner.push(nested ? line.slice(Math.min(indent, marker.inside)) : line.trimStart());
      blank = false;
      end += 1;
    }
    const more = end < lines.length && item(lines[end])?.kind === first.kind;
    loose ||= blank && more;
    items.push(blocks(inner, depth + 1));
  }
  return [{ kind: "list", ordered: first.ordered, start: first.number, loose, items }, end];
}

function cells(line) {
  const text = line.trim().replace(/^\|/, "").replace(/\\\|/g, "\u0000").replace(/\|$/, "");
  return text.split("|").map((cell) => cell.trim().replaceAll("\u0000", "|"));
}

function isTable(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|") || !/^[ \t|:-]*-[ \t|:-]*$/.test(lines[at + 1])) return false;
  const rule = cells(lines[at + 1]);
  return rule.length === cells(lines[at]).length && rule.every((cell) => /^:?-+:?$/.test(cell));
}

function table(lines, at) {
  const align = cells(lines[at + 1]).map((cell) => {
    if (!cell.endsWith(":")) return "left";
    return cell.startsWith(":") ? "center" : "right";
  });
  const row = (line) => align.map((_, column) => inlines(cells(line)[column] ?? ""));
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  return [{ kind: "table", align, head: row(lines[at]), rows: lines.slice(at + 2, end).map(row) }, end];
}
