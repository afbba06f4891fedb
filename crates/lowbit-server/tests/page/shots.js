// Pictures of the page for the documentation:
//
//   node shots.js FOLDER URL [URL…]
//
// URL as for session.js, with two models in all, the source first. What is shown is what these models answer.

import { join } from "node:path";
import { launch } from "./browser.js";
import { stage } from "./stage.js";

const [folder, ...targets] = process.argv.slice(2);
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const QUESTIONS = ["What is the capital of France?", "Write a Python function that adds two numbers."];
const COMPARED = "Why is the sky blue? Answer in two sentences.";

const { url, close } = await stage(targets);
const browser = await launch();
const context = await browser.newContext({ viewport: SIZES.desktop });
const page = await context.newPage();
page.setDefaultTimeout(120_000);

async function shoot(view) {
  // The cursor blinks, and the mouse lies on something.
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.move(0, 0);
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      // The scores are what is to be seen, with as much of the answers as there is room for.
      const top = size === "phone" ? ".scored" : "#answers";
      if (view === "compare") await page.locator(top).evaluate((element) => element.scrollIntoView());
      await page.waitForTimeout(200);
      await page.screenshot({ path: join(folder, `page-${view}-${size}-${colorScheme}.png`) });
    }
  }
  await page.setViewportSize(SIZES.desktop);
}

await page.goto(url);
await page.waitForFunction(() => document.querySelector("#model").options.length > 0);
await page.getByRole("button", { name: "Settings" }).click();
await page.locator("#settings").getByLabel("Temperature").fill("0");
await page.locator("#settings").getByLabel("Max tokens").fill("200");
await page.keyboard.press("Escape");
for (const question of QUESTIONS) {
  await page.getByLabel("Message", { exact: true }).fill(question);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".message.assistant:last-child")?.ariaBusy === "false");
}
await shoot("chat");

await page.getByRole("link", { name: "Compare" }).click();
await page.getByLabel("Prompt", { exact: true }).fill(COMPARED);
await page.getByLabel("Max tokens", { exact: true }).first().fill("64");
await page.keyboard.press("Enter");
await page.locator(".tokens").waitFor();
await shoot("compare");

await browser.close();
close();
