// Markdown inside a line: emphasis, code, links. From text to a list of inline nodes.

/** Emphasis that may be open at once; what opens more is text. */
const DEEPEST = 40;

const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPED = /[*_~`<>#|!+.\\-]/;
const BARE_URL = /https?:\/\/[^\s<>"`]+/y;
const ANGLE_URL = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const TARGET = /\(\s{0,8}(<[^<>\n]{0,2000}>|[^\s()]{0,2000}(?:\([^\s()]{0,2000}\)[^\s()]{0,2000}){0,8})(?:\s{1,8}(?:"[^"]{0,500}"|'[^']{0,500}'))?\s{0,8}\)/y;

const NAMES = { "*1": "em", "_1": "em", "*2": "strong", "_2": "strong", "~2": "del" };

/** The nodes of a text. */
export function inlines(text) {
  return new Reader(text).read();
}

/** Where a link may lead: an absolute address of the web or of mail. Null for anything else, `javascript:` above all. */
export function safeHref(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The text of nodes without their marks. */
export function plain(nodes) {
  return nodes.map((node) => (node.kind === "break" ? "\n" : node.text ?? plain(node.content))).join("");
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.nodes = [];
    /** Emphasis that was opened: { key, place in nodes }. */
    this.open = [];
    /** How many of each key are in `open`, so that a look in vain costs nothing. */
    this.counts = {};
    /** Brackets that were opened: { place in nodes, height of `open` }. */
    this.brackets = [];
    /** Lengths of backtick runs that nothing later closes. */
    this.unclosed = new Set();
  }

  read() {
    while (this.at < this.text.length) this.step();
    return merged(this.nodes);
  }

  say(text) {
    this.nodes.push({ kind: "text", text });
  }

  step() {
    const { text, at } = this;
    const char = text[at];
    if (char === "\n") {
      this.nodes.push({ kind: "break" });
      this.at += 1;
    } else if (char === "\\" && at + 1 < text.length && ESCAPED.test(text[at + 1])) {
      this.say(text[at + 1]);
      this.at += 2;
    } else if (char === "`") {
      this.code();
    } else if (char === "*" || char === "_" || char === "~") {
      this.emphasis(char);
    } else if (char === "[") {
      // An image is fetched by nobody: it becomes a link.
      const last = this.nodes.at(-1);
      const image = last?.kind === "text" && last.text.endsWith("!");
      if (image) last.text = last.text.slice(0, -1);
      this.say(image ? "![" : "[");
      this.brackets.push({ place: this.nodes.length - 1, height: this.open.length });
      this.at += 1;
    } else if (char === "]") {
      this.bracket();
    } else if (char === "<" || char === "h") {
      this.address(char);
    } else {
      let end = at + 1;
      while (end < text.length && !"\n\\`*_~[]<h".includes(text[end])) end += 1;
      this.say(text.slice(at, end));
      this.at = end;
    }
  }

  run(char) {
    let end = this.at;
    while (this.text[end] === char) end += 1;
    return end - this.at;
  }

  code() {
    const length = this.run("`");
    const start = this.at + length;
    let end = this.unclosed.has(length) ? -1 : start;
    while (end >= 0) {
      end = this.text.indexOf("`", end);
      if (end < 0) break;
      let after = end;
      while (this.text[after] === "`") after += 1;
      if (after - end === length) {
        const inner = this.text.slice(start, end).replaceAll("\n", " ");
        const padded = inner.length > 2 && inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() !== "";
        this.nodes.push({ kind: "code", text: padded ? inner.slice(1, -1) : inner });
        this.at = after;
        return;
      }
      end = after;
    }
    this.unclosed.add(length);
    this.say("`".repeat(length));
    this.at = start;
  }

  emphasis(char) {
    let length = this.run(char);
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + length] ?? " ";
    this.at += length;
    if (char === "~" && length !== 2) return this.say(char.repeat(length));
    const space = [before, after].map((one) => /\s/.test(one));
    const marks = [before, after].map((one) => PUNCTUATION.test(one));
    const left = !space[1] && (!marks[1] || space[0] || marks[0]);
    const right = !space[0] && (!marks[0] || space[1] || marks[1]);
    const opens = left && (char !== "_" || !right || marks[0]);
    const closes = right && (char !== "_" || !left || marks[1]);
    while (closes && length > 0) {
      const closed = this.close(char, length);
      if (closed === 0) break;
      length -= closed;
    }
    while (length > 0) {
      const size = length >= 2 ? 2 : 1;
      if (opens && this.open.length < DEEPEST) {
        const key = `${char}${size}`;
        this.open.push({ key, place: this.nodes.length });
        this.counts[key] = (this.counts[key] ?? 0) + 1;
      }
      this.say(char.repeat(size));
      length -= size;
    }
  }

  /** Closes the nearest emphasis of a character with at most so many of it; how many it took, 0 where none is open. */
  close(char, most) {
    const fits = (key) => key[0] === char && Number(key[1]) <= most;
    if (!Object.entries(this.counts).some(([key, count]) => count > 0 && fits(key))) return 0;
    const height = this.brackets.at(-1)?.height ?? 0;
    let top = this.open.length - 1;
    while (top >= height && !fits(this.open[top].key)) top -= 1;
    if (top < height) return 0;
    const { key, place } = this.open[top];
    const content = merged(this.nodes.splice(place).slice(1));
    if (content.length === 0) {
      this.say(char.repeat(Number(key[1])));
      this.forget(top);
      return 0;
    }
    this.forget(top);
    while (this.brackets.length > 0 && this.brackets.at(-1).place >= place) this.brackets.pop();
    this.nodes.push({ kind: NAMES[key], content });
    return Number(key[1]);
  }

  /** What was opened at this height or above closes no more. */
  forget(height) {
    for (const { key } of this.open.splice(height)) this.counts[key] -= 1;
  }

  bracket() {
    this.at += 1;
    const start = this.brackets.pop();
    TARGET.lastIndex = this.at;
    const target = start && TARGET.exec(this.text);
    if (!target) return this.say("]");
    this.at = TARGET.lastIndex;
    this.forget(start.height);
    const content = unlinked(merged(this.nodes.splice(start.place).slice(1)));
    const address = target[1].replace(/^<|>$/g, "");
    const href = safeHref(address);
    if (href) this.nodes.push({ kind: "link", href, content: content.length > 0 ? content : [{ kind: "text", text: address }] });
    else this.nodes.push({ kind: "text", text: "[" }, ...content, { kind: "text", text: `](${address})` });
    // No link has a link in it.
    this.brackets = [];
  }

  address(char) {
    const { text, at } = this;
    const pattern = char === "<" ? ANGLE_URL : BARE_URL;
    pattern.lastIndex = at;
    const found = char === "h" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? " ") ? null : pattern.exec(text);
    let address = found && (found[1] ?? found[0]);
    if (found && char === "h") {
      address = address.replace(/[.,;:!?'*_~\]]{1,20}$/, "");
      while (address.endsWith(")") && address.split(")").length > address.split("(").length) address = address.slice(0, -1);
    }
    const href = address && safeHref(address);
    if (href) {
      this.nodes.push({ kind: "link", href, content: [{ kind: "text", text: address }] });
      this.at = char === "<" ? pattern.lastIndex : at + address.length;
    } else {
      this.say(char);
      this.at += 1;
    }
  }
}

function unlinked(nodes) {
  return nodes.flatMap((node) => {
    if (node.kind === "link") return unlinked(node.content);
    return [node.content ? { ...node, content: unlinked(node.content) } : node];
  });
}

/** Neighbouring texts as one. */
function merged(nodes) {
  const out = [];
  for (const node of nodes) {
    const last = out.at(-1);
    if (node.kind === "text" && last?.kind === "text") last.text += node.text;
    else out.push(node.kind === "text" ? { ...node } : node);
  }
  return out;
}
