// The parts of the page that touch no page: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inlines, plain, safeHref } from "../../page/inline.js";
import { parse } from "../../page/markdown.js";
import { Memory } from "../../page/memory.js";
import { compared, percent } from "../../page/scores.js";
import { Store, newConversation, titleOf } from "../../page/store.js";

/** A tree as short text, for comparison. */
function short(block) {
  const line = (nodes) =>
    nodes.map((node) => (node.kind === "text" ? node.text : node.kind === "break" ? "/" : `<${node.kind}${node.href ? ` ${node.href}` : ""}:${node.text ?? line(node.content)}>`)).join("");
  switch (block.kind) {
    case "paragraph":
      return line(block.content);
    case "heading":
      return `h${block.level}(${line(block.content)})`;
    case "code":
      return `code[${block.language}](${block.text})`;
    case "quote":
      return `quote(${block.blocks.map(short).join("|")})`;
    case "list":
      return `${block.ordered ? `ol${block.start}` : "ul"}(${block.items.map((item) => item.map(short).join("|")).join("; ")})`;
    case "table":
      return `table[${block.align}](${[block.head, ...block.rows].map((row) => row.map(line).join(",")).join("; ")})`;
    default:
      return block.kind;
  }
}

const CASES = [
  ["plain", "plain"],
  ["", ""],
  ["one\ntwo\n\nthree", "one/two¶three"],
  ["a *b* **c** ***d*** _e_ __f__ ~~g~~", "a <em:b> <strong:c> <strong:<em:d>> <em:e> <strong:f> <del:g>"],
  ["2 * 3 * 4, a_b_c, **open, * x*", "2 * 3 * 4, a_b_c, **open, * x*"],
  ["**a *b* c**", "<strong:a <em:b> c>"],
  ["`a *b*` ``c ` d`` `open", "<code:a *b*> <code:c ` d> `open"],
  ["\\*no\\* \\(x\\)", "*no* \\(x\\)"],
  ["[a](https://e.org/x(1)) [b](<https://e.org/y z>)", "<link https://e.org/x(1):a> <link https://e.org/y%20z:b>"],
  ["[a **b**](https://e.org \"t\") [c] [d](e)", "<link https://e.org/:a <strong:b>> [c] [d](e)"],
  ["see https://e.org/a_b_c. (https://e.org/) <https://e.org>", "see <link https://e.org/a_b_c:https://e.org/a_b_c>. (<link https://e.org/:https://e.org/>) <link https://e.org/:https://e.org>"],
  ["![alt](https://e.org/p.png)", "<link https://e.org/p.png:alt>"],
  ["[x](javascript:alert(1))", "[x](javascript:alert(1))"],
  ["*a [b* c](https://e.org)", "*a <link https://e.org/:b* c>"],
  ["<b>bold</b> &amp;", "<b>bold</b> &amp;"],
  ["# One\n## Two ##\n#no", "h1(One)¶h2(Two)¶#no"],
  ["---\n***\n- - -", "rule¶rule¶rule"],
  ["```js\nlet a = `1`;\n\n```\nafter", "code[js](let a = `1`;\n)¶after"],
  ["text\n~~~\nopen", "text¶code[](open)"],
  ["````\n```\n````", "code[](```)"],
  ["> a\n> - b\nlazy\n\nend", "quote(a|ul(b/lazy))¶end"],
  ["- a\n- b\n  - c\n    - d\n- e", "ul(a; b|ul(c|ul(d)); e)"],
  ["1. a\n   b\n2. c\n  - d\n\n   more\n3. e", "ol1(a/b; c|ul(d)|more; e)"],
  ["3) a\n4) b", "ol3(a; b)"],
  ["- a\n\n- b\n\ntext", "ul(a; b)¶text"],
  ["- ```py\n  x\n  ```\n- y", "ul(code[py](x); y)"],
  ["* a\n+ b", "ul(a)¶ul(b)"],
  ["-\n- a", "ul(; a)"],
  ["born in\n1984. A year", "born in/1984. A year"],
  ["| a | b |\n|:-:|--:|\n| 1 \\| 2 | *x* |\n| 3 |", "table[center,right](a,b; 1 | 2,<em:x>; 3,)"],
  ["a | b\n\nc", "a | b¶c"],
];

test("Markdown becomes the tree that its writer meant", () => {
  for (const [text, expected] of CASES) assert.equal(parse(text).map(short).join("¶"), expected, JSON.stringify(text));
});

test("only absolute addresses of the web and of mail are followed", () => {
  for (const address of ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "blob:x", "file:///etc", "//e.org", "/v1/models", "x", ""]) {
    assert.equal(safeHref(address), null, address);
  }
  for (const address of ["http://e.org/", "https://e.org/?a=b", "mailto:a@e.org"]) assert.equal(safeHref(address), address);
});

test("no text is lost", () => {
  const alphabet = ["*", "**", "_", "~~", "`", "``", "[", "](", ")", "<", ">", "!", "a", " ", "b c", "https://e.org", "|"];
  let seed = 1;
  const draw = () => (seed = (seed * 48271) % 2147483647);
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: 1 + (draw() % 24) }, () => alphabet[draw() % alphabet.length]).join("");
    const letters = (all) => all.replace(/[^abc]/g, "");
    const said = (nodes) => nodes.map((node) => node.text ?? (node.kind === "break" ? "" : said(node.content))).join("");
    const bare = text.replace(/\]\(https:\/\/e\.org[^)]*\)/g, "").replaceAll("https://e.org", "");
    assert.ok(letters(said(inlines(text))).length >= letters(bare).length, text);
  }
});

test("the time grows with the text and not with its square, and nesting has an end", () => {
  const shapes = ["*a ", "**a", "_a _", "[", "[a](", "`", "`a``b", "> ", "- ", "  - a\n", "![[", "<h", "|a", "a|b\n-|-\n", "~~a ", "* a\n\n", "1. ", "](x", "https://a)", "# ", "\\", "```\n", "a_*b*_ "];
  for (const shape of shapes) {
    const start = performance.now();
    parse(shape.repeat(60_000 / shape.length));
    assert.ok(performance.now() - start < 3000, `${JSON.stringify(shape)}: ${performance.now() - start} ms`);
  }
});

test("blocks before the end stay the same while an answer grows", () => {
  const text = "# a\n\nb *c*\n\n- d\n- e\n\n```\nf\n```\n\ng";
  for (let end = 0; end < text.length; end += 1) {
    const [now, then] = [parse(text.slice(0, end)), parse(text)];
    now.slice(0, -1).forEach(({ raw }, place) => assert.equal(raw.trimEnd(), then[place].raw.trimEnd()));
  }
});

test("plain gives the text without marks", () => assert.equal(plain(inlines("a **b** `c`\nd")), "a b c\nd"));

test("conversations come back as they were, and damaged ones do not", () => {
  const area = new Memory();
  const store = new Store(area);
  const one = { ...newConversation({ model: "m", settings: { system: "s", seed: 3 } }), title: "t" };
  one.messages.push({ role: "user", content: "<b>" });
  one.messages.push({ role: "assistant", content: "x", reasoning: "", model: "m", error: "", finish: "stop", stats: { tokens: 1 } });
  store.save(one);
  assert.deepEqual(store.load(one.id), one);
  assert.equal(store.imported(store.exported()), 1);
  assert.equal(store.all().length, 2);
  area.setItem("lowbit.conversation.broken", "{");
  area.setItem("lowbit.conversation.wrong", JSON.stringify({ messages: [{ role: "user", content: 1 }] }));
  area.setItem("other", "1");
  assert.equal(store.all().length, 2);
  for (const text of ["", "[]", "{}", JSON.stringify({ format: "lowbit-conversations", version: 1, conversations: [one, {}] })]) {
    assert.throws(() => store.imported(text), /file/);
  }
  assert.equal(store.all().length, 2);
  assert.equal(titleOf(newConversation()), "New conversation");
  assert.equal(titleOf({ ...newConversation(), messages: [{ role: "user", content: "a\n b" }] }), "a b");
});

test("scores are compared from the answer on", () => {
  const lists = (shares, top) => ({ tokens: ["p", "a", "b", "c"], token_logprobs: [null, ...shares.map(Math.log)], top_logprobs: [null, ...top] });
  const left = lists([0.8, 0.5, 0.1], [{ a: -0.2 }, { b: -0.7, z: -2 }, { c: -2.3, y: -1 }]);
  const right = lists([0.8, 0.2, 0.9], [{ a: -0.2 }, { b: -1.6, z: -0.3 }, { c: -0.1, y: -3 }]);
  const { tokens, summary } = compared(left, right, 1);
  assert.deepEqual(tokens.map(({ text, level, more, differs }) => [text, level, more, differs]), [["a", 0, false, false], ["b", 1, false, true], ["c", 2, true, true]]);
  assert.deepEqual([summary.count, summary.marked, summary.same.toFixed(3)], [3, 2, "0.333"]);
  assert.ok(Math.abs(summary.mean - (Math.log(0.2 / 0.5) + Math.log(9)) / 3) < 1e-12);
  assert.deepEqual([percent(Math.log(0.5)), percent(Math.log(0.005)), percent(-9999)], ["50.0 %", "0.50 %", "< 0.01 %"]);
});
