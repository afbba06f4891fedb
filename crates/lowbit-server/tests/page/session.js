// The web page in a real browser, step by step:
//
//   node session.js [--key KEY] URL [URL…]
//
// URL is a running server, several where each has a model. Every step needs only that the first model answers something;
// what it should say in particular is made up by `scripts.js`.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch } from "./browser.js";
import { HOSTILE, MODELS, comparing, says } from "./scripts.js";
import { stage } from "./stage.js";

const args = process.argv.slice(2);
const key = args[0] === "--key" ? args.splice(0, 2)[1] : null;
const { url, rules, seen, close } = await stage(args);
const browser = await launch();

/** What the browser complained of, and requests to elsewhere. */
const complaints = [];
const context = await browser.newContext({ acceptDownloads: true, permissions: ["clipboard-read", "clipboard-write"] });
await context.addInitScript(() => {
  addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
});
const page = await open();

async function open() {
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`error: ${error.stack}`));
  page.on("console", (line) => {
    // That a server refuses is told by the page itself.
    if (line.type() === "error" && !line.text().startsWith("Failed to load resource")) complaints.push(line.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("blob:")) complaints.push(`left the origin: ${request.url()}`);
  });
  page.setDefaultTimeout(20_000);
  return page;
}

async function step(name, run) {
  try {
    await run();
    assert.deepEqual(complaints, []);
    console.log(`ok: ${name}`);
  } catch (error) {
    console.log(`failed: ${name}\n${error.stack}`);
    await page.screenshot({ path: join(tmpdir(), "lowbit-page-failed.png") }).catch(() => {});
    process.exit(1);
  } finally {
    rules.slow = 0;
    rules.answer = () => null;
  }
}

const answers = page.locator(".message.assistant");
const answer = answers.last().locator(".answer");
const complete = () => page.waitForFunction(() => document.querySelector(".message.assistant:last-child")?.ariaBusy === "false");
const chats = () => seen.filter(({ path }) => path === "/v1/chat/completions");

async function send(text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

async function setting(label, value) {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.locator("#settings").getByLabel(label, { exact: true }).fill(value);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Escape");
}

/** An answer made up: these pieces. */
function say(pieces, options) {
  rules.answer = (path) => (path === "/v1/chat/completions" ? { events: says(pieces, options), pause: 5 } : null);
}

await step("the page comes without a key, and says so where one is needed", async () => {
  await page.goto(url);
  if (key) {
    await page.getByText("This server needs an API key.").waitFor();
    await page.getByRole("button", { name: "Enter a key" }).click();
    await page.getByLabel("API key").fill("wrong");
    await page.keyboard.press("Tab");
    await page.getByText("does not accept this API key").waitFor();
    await page.getByLabel("API key").fill(key);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Escape");
  }
  await page.waitForFunction(() => document.querySelector("#model").options.length > 0);
  assert.equal(await page.locator(".notice.error").count(), 0);
  assert.equal(await page.evaluate(() => localStorage.getItem("lowbit.key")), null);
});

await step("settings are sent, and empty ones are not", async () => {
  await setting("Max tokens", "60");
  await setting("Seed", "5");
  await setting("System prompt", "Be brief.");
  await send("Hello");
  await complete();
  const { body } = chats().at(-1);
  assert.deepEqual([body.max_tokens, body.seed, body.temperature, body.top_p], [60, 5, undefined, undefined]);
  assert.deepEqual(body.messages, [{ role: "system", content: "Be brief." }, { role: "user", content: "Hello" }]);
  await setting("Top p", "7");
  assert.match(await page.locator("#settings-wrong").textContent(), /Top p/);
  await setting("Top p", "");
});

await step("an answer grows while it streams, and its speed is shown", async () => {
  rules.slow = 15;
  await page.evaluate(() => {
    window.lengths = new Set();
    const note = () => window.lengths.add(document.querySelector(".message.assistant:last-child .answer")?.textContent.length);
    window.observer = new MutationObserver(note);
    window.observer.observe(document.querySelector("#messages"), { childList: true, subtree: true, characterData: true });
  });
  await send("Count to twenty and then tell a story about it");
  await complete();
  const lengths = await page.evaluate(() => [...window.lengths].filter((length) => length > 0));
  assert.ok(lengths.length > 2, `${lengths}`);
  assert.match(await answers.last().locator(".stats").textContent(), /\d tokens? · [\d.]+ tokens\/s · first after [\d.]+ s/);
  assert.equal(await page.locator("#status").textContent(), "The answer is complete.");
});

await step("Escape stops an answer, and the server hears of it", async () => {
  rules.slow = 60;
  await send("Tell a long story");
  await page.waitForFunction(() => document.querySelector(".message.assistant:last-child .answer").textContent.length > 2);
  await page.keyboard.press("Escape");
  await answers.last().locator(".stats").getByText("stopped").waitFor();
  assert.equal(await page.getByRole("button", { name: "Stop" }).isVisible(), false);
  await new Promise((done) => setTimeout(done, 200));
  assert.equal(chats().at(-1).ended, "cut");
  assert.ok((await answer.textContent()).length > 0);
});

await step("an answer is made again in its place", async () => {
  const before = await answers.count();
  const asked = chats().length;
  await answers.last().getByRole("button", { name: "Regenerate" }).click();
  await complete();
  assert.equal(await answers.count(), before);
  assert.equal(chats().length, asked + 1);
  assert.equal(chats().at(-1).body.messages.at(-1).content, "Tell a long story");
});

await step("a message is edited, and the conversation goes on from there", async () => {
  const first = page.locator(".message.user").first();
  await first.hover();
  await first.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Edit the message").fill("Hello, edited");
  await page.keyboard.press("Escape");
  assert.equal(await first.locator(".bubble").textContent(), "Hello");
  await first.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Edit the message").fill("Hello, edited");
  await page.keyboard.press("Enter");
  await complete();
  assert.equal(await answers.count(), 1);
  assert.deepEqual(chats().at(-1).body.messages.map(({ content }) => content), ["Be brief.", "Hello, edited"]);
});

await step("messages that an edit drops can be brought back", async () => {
  for (const text of ["two", "three"]) {
    say([`answer ${text}`]);
    await send(text);
    await complete();
  }
  const before = await page.locator("#messages .bubble, #messages .answer").allTextContents();
  say(["other"]);
  await answers.first().getByRole("button", { name: "Regenerate" }).click();
  await complete();
  assert.deepEqual(await page.locator("#messages .bubble, #messages .answer").allTextContents(), [before[0], "other"]);
  await page.getByRole("button", { name: "Undo" }).click();
  assert.deepEqual(await page.locator("#messages .bubble, #messages .answer").allTextContents(), before);
});

await step("Shift+Enter begins a line, and what users type is shown as typed", async () => {
  say(["fine"]);
  await page.getByLabel("Message", { exact: true }).fill("**one**");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  await complete();
  assert.equal(await page.locator(".message.user .bubble").last().textContent(), "**one**\ntwo");
});

await step("a reload keeps the conversation", async () => {
  const before = await page.locator("#messages").innerText();
  await page.reload();
  await page.locator(".message.assistant").first().waitFor();
  assert.equal(await page.locator("#messages").innerText(), before);
  assert.equal(await page.locator("#conversations li.shown").count(), 1);
});

await step("answers are Markdown, with code that can be copied", async () => {
  say(["# Title\n\nSome *emphasis* and `code`:\n\n``", "`python\nprint(1)\n", "```\n\n1. one\n2. two\n   - nested\n\n| a | b |\n|--|--:|\n| 1 | 2 |\n\n[link](https://example.org/)"]);
  await send("Markdown");
  await complete();
  for (const [selector, text] of [["h3", "Title"], ["em", "emphasis"], ["p code", "code"], ["pre code", "print(1)"], ["ol > li > ul > li", "nested"], ["td.right", "2"]]) {
    assert.equal(await answer.locator(selector).textContent(), text, selector);
  }
  assert.equal(await answer.locator("a").getAttribute("rel"), "noopener noreferrer");
  await answer.getByRole("button", { name: /Copy/ }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "print(1)");
});

await step("reasoning is folded away", async () => {
  say(["42"], { reasoning: ["Let me ", "think."] });
  await send("Think");
  await complete();
  const details = answers.last().locator("details");
  assert.equal(await details.evaluate((element) => element.open), false);
  assert.equal(await details.locator(".thoughts").textContent(), "Let me think.");
  assert.equal(await answer.textContent(), "42");
});

await step("text stays text, whoever wrote it", async () => {
  rules.answer = (path) => {
    if (path === "/v1/models") return { json: { data: [...MODELS.json.data, { id: HOSTILE.split("\n")[0] }] } };
    return path === "/v1/chat/completions" ? { events: says([...HOSTILE], { reasoning: [HOSTILE] }) } : null;
  };
  await page.reload();
  await send(HOSTILE);
  await complete();
  await page.getByRole("button", { name: "Settings" }).click();
  await page.keyboard.press("Escape");
  const found = await page.evaluate(() => ({
    pwned: window.pwned,
    made: document.querySelectorAll("#messages :is(img, script, svg, iframe, b), #sidebar img, #settings img, [onerror], [onload]").length,
    links: [...document.querySelectorAll("#messages a")].map(({ href }) => href),
    text: document.querySelector(".message.assistant:last-child .answer").textContent,
    code: document.querySelector(".message.assistant:last-child pre").textContent,
  }));
  assert.equal(found.pwned, undefined);
  assert.equal(found.made, 0);
  assert.ok(found.links.every((href) => /^https?:/.test(href)), `${found.links}`);
  assert.ok(found.text.includes(`<img src=x onerror="window.pwned=1">`) && found.text.includes("<script>"), found.text);
  assert.ok(found.code.includes("</code></pre>"));
  const refused = await page.evaluate(() => {
    try {
      document.createElement("p").innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, "the policy lets nothing turn text into markup");
  // The browser tells of the attempt a moment later.
  while (!complaints.some((complaint) => complaint.startsWith("policy: "))) await page.waitForTimeout(20);
  for (const complaint of complaints.splice(0)) assert.match(complaint, /TrustedHTML|require-trusted-types-for/);
});

await step("errors are told plainly, and asking again helps", async () => {
  const refusals = [
    [{ status: 429, headers: { "retry-after": "7" }, json: { error: { message: "queue" } } }, "too much to do. Try again in 7 s."],
    [{ status: 401, json: { error: {} } }, "API key"],
    [{ status: 400, json: { error: { message: "messages: too long" } } }, "messages: too long."],
    [{ status: 502, json: {} }, "status 502"],
    ["away", "The server does not answer."],
    [{ events: [{ error: { message: "the model broke" } }] }, "the model broke."],
    [{ events: says(["half an "]).slice(0, 2), broken: true }, "broke off in the middle"],
  ];
  await page.getByRole("button", { name: "New conversation" }).click();
  for (const [instead, text] of refusals) {
    rules.answer = (path) => (path === "/v1/chat/completions" ? instead : null);
    await send(`Provoke ${text}`);
    await complete();
    assert.match(await answers.last().locator(".error-box").textContent(), new RegExp(text.replaceAll(".", "\\.")), text);
  }
  assert.equal(await answer.textContent(), "half an");
  say(["all of it"]);
  await answers.last().getByRole("button", { name: "Try again" }).click();
  await complete();
  assert.equal(await answer.textContent(), "all of it");
  rules.answer = () => "away";
  await page.reload();
  await page.locator(".notice.error").getByText("The server does not answer.").waitFor();
  rules.answer = () => null;
  await page.locator("#notices").getByRole("button", { name: "Try again" }).click();
  await page.waitForFunction(() => !document.querySelector(".notice"));
});

await step("conversations are renamed, deleted, brought back, exported and imported", async () => {
  const list = page.locator("#conversations li");
  const before = await list.count();
  await page.getByRole("button", { name: /^Rename/ }).first().click();
  await page.getByLabel("Title of the conversation").fill("Errors, all of them");
  await page.keyboard.press("Enter");
  await list.getByText("Errors, all of them").waitFor();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export" }).click()]);
  const path = await file.path();
  const exported = JSON.parse(await readFile(path, "utf8"));
  assert.equal(exported.conversations.length, before);
  await page.getByRole("button", { name: /^Delete/ }).first().click();
  assert.equal(await list.count(), before - 1);
  await page.getByRole("button", { name: "Undo" }).click();
  assert.equal(await list.count(), before);
  await page.locator("#import-file").setInputFiles(path);
  await page.getByText(`Imported ${before} conversations.`).waitFor();
  assert.equal(await list.count(), 2 * before);
  const damaged = join(tmpdir(), "lowbit-page-damaged.json");
  await writeFile(damaged, JSON.stringify({ ...exported, conversations: [{ messages: [{ role: "root" }] }] }));
  await page.locator("#import-file").setInputFiles(damaged);
  await page.getByText("nothing was imported").waitFor();
  assert.equal(await list.count(), 2 * before);
});

await step("the picker shows bits and memory", async () => {
  rules.answer = comparing;
  await page.reload();
  await page.waitForFunction(() => document.querySelector("#model").options.length === 2);
  assert.deepEqual(await page.locator("#model option").allTextContents(), ["source · 16 bits · 269 MB", "small · 3.3 bits · 76 MB · not loaded yet"]);
});

await step("two models are compared token by token", async () => {
  rules.answer = comparing;
  await page.getByRole("link", { name: "Compare" }).click();
  assert.deepEqual([await page.locator("#left").inputValue(), await page.locator("#right").inputValue()], ["source", "small"]);
  await page.getByLabel("Prompt", { exact: true }).fill("What colour is the sky?");
  await page.keyboard.press("Enter");
  await page.locator(".tokens").waitFor();
  assert.equal(await page.locator("#left-answer").textContent(), "The sky is blue.");
  assert.equal(await page.locator("#right-answer").textContent(), "The sky grey");
  const scored = seen.filter(({ path }) => path === "/v1/completions").slice(-2);
  for (const { body } of scored) assert.deepEqual(body.prompt, [1, 2, 3, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual(new Set(scored.map(({ body }) => body.model)), new Set(["source", "small"]));
  const tokens = await page.locator(".tokens span").evaluateAll((all) => all.map(({ textContent, dataset, className }) => [textContent, dataset.level, className]));
  assert.deepEqual(tokens, [["The", "0", ""], [" sky", "0", ""], [" is", "1", "differs"], [" blue", "3", "differs"], [".", "0", ""], ["↵\n", "0", ""]]);
  assert.match(await page.locator(".figures").textContent(), /66\.7 % ?same most probable token/);
  // The keyboard goes from mark to mark, and the detail follows.
  await page.locator(".tokens [tabindex='0']").focus();
  await page.keyboard.press("ArrowDown");
  const detail = page.locator(".detail");
  assert.equal(await detail.locator("h3").textContent(), "·blue");
  for (const text of ["70.0 %", "2.0 %", "·grey", "88.2 %"]) assert.ok((await detail.textContent()).includes(text), text);
  await page.keyboard.press("Home");
  assert.equal(await detail.locator("h3").textContent(), "The");
  assert.match(await page.locator(".tokens [aria-selected='true']").getAttribute("aria-label"), /“The”: 90\.0 % in source, 90\.0 % in small/);
});

await step("models of different vocabularies are shown side by side and not scored", async () => {
  rules.answer = (path, body) => (path === "/tokenize" && body.model === "small" ? { json: { tokens: [7] } } : comparing(path, body));
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByText("Scoring needs two models of one vocabulary").waitFor();
  assert.equal(await page.locator("#right-answer").textContent(), "The sky grey");
  assert.equal(await page.locator(".tokens").count(), 0);
});

await step("colours follow the system or the button", async () => {
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await colour();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await colour();
  assert.notEqual(light, dark);
  await page.locator("#theme").click();
  assert.equal(await colour(), light);
  await page.reload();
  assert.equal(await colour(), light);
  await page.locator("#theme").click();
  assert.equal(await colour(), dark);
  await page.locator("#theme").click();
});

await step("a window of 320 pixels has everything and scrolls in one direction", async () => {
  rules.answer = comparing;
  await page.setViewportSize({ width: 320, height: 640 });
  const overflow = () => page.evaluate(() => {
    const wide = [...document.querySelectorAll("body *")].filter((element) => {
      const { right, width } = element.getBoundingClientRect();
      return width > 0 && right > innerWidth + 1 && !element.closest("pre, .table, #sidebar, .hidden");
    });
    return [document.documentElement.scrollWidth > innerWidth, ...wide.map(({ outerHTML }) => outerHTML.slice(0, 120))];
  });
  await page.getByLabel("Prompt", { exact: true }).fill("What colour is the sky?");
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.locator(".tokens").waitFor();
  assert.deepEqual(await overflow(), [false]);
  await page.getByRole("link", { name: "Chat" }).click();
  assert.deepEqual(await overflow(), [false]);
  const lister = page.getByRole("button", { name: "Conversations", exact: true });
  const focused = () => page.evaluate(() => document.activeElement.id);
  await lister.click();
  assert.equal(await focused(), "close-sidebar");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "open-sidebar");
  await page.locator("#sidebar").waitFor({ state: "hidden" });
  await lister.click();
  await page.getByRole("button", { name: /Hello, edited/ }).first().click();
  await page.locator(".message.assistant .code").first().waitFor();
  assert.deepEqual(await overflow(), [false]);
  await page.getByRole("button", { name: "Settings" }).click();
  assert.deepEqual(await overflow(), [false]);
  await page.keyboard.press("Escape");
});

await step("text is legible in both colours (WCAG AA)", async () => {
  const faint = () => page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const parts = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = parts(getComputedStyle(at).backgroundColor);
        if (colour[3] > 0) return colour;
      }
      return [255, 255, 255];
    };
    const shown = [...document.querySelectorAll("body *")].filter((element) => {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
      return own && element.checkVisibility() && !element.closest(".hidden, option, :disabled");
    });
    return shown.flatMap((element) => {
      const [text, ground] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
      const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
      return ratio < 4.5 ? [`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 100)}`] : [];
    });
  });
  await page.setViewportSize({ width: 1280, height: 800 });
  rules.answer = comparing;
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.locator(".tokens").waitFor();
    assert.deepEqual(await faint(), [], colorScheme);
    await page.getByRole("link", { name: "Chat" }).click();
    await page.getByRole("button", { name: "Settings" }).click();
    assert.deepEqual(await faint(), [], colorScheme);
    await page.keyboard.press("Escape");
  }
});

await step("every control has a name, and the keyboard reaches it visibly", async () => {
  await page.setViewportSize({ width: 1280, height: 800 });
  const nameless = await page.evaluate(() => {
    const named = (one) => one.ariaLabel || one.textContent.trim() || one.labels?.length > 0 || one.type === "file";
    return [...document.querySelectorAll("button, a, input, select, textarea, [role=option]")].filter((one) => !named(one)).map(({ id }) => id);
  });
  assert.deepEqual(nameless, []);
  for (let presses = 0; presses < 8; presses += 1) {
    await page.keyboard.press("Tab");
    const seen = await page.evaluate(() => {
      const { outlineStyle } = getComputedStyle(document.activeElement);
      return document.activeElement === document.body || outlineStyle !== "none" || document.activeElement.closest(".field") !== null;
    });
    assert.ok(seen, `press ${presses}`);
  }
});

await browser.close();
close();
console.log("all well");
process.exit(0);
