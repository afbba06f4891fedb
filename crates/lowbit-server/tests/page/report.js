// A picture of a study's report for the documentation, as a browser shows it:
//
//   node report.js REPORT.html PICTURE.png
//
// Nothing may be fetched: the page has everything in it. Fails where it asks for something, or logs an error.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./browser.js";

const [report, picture] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1100, height: 2000 } });
const wrong = [];
page.on("request", (request) => request.url().startsWith("file:") || wrong.push(`asks for ${request.url()}`));
page.on("pageerror", (error) => wrong.push(String(error)));
page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
await page.goto(pathToFileURL(resolve(report)).href);
await page.locator("svg").first().waitFor();
await page.screenshot({ path: picture });
await browser.close();
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
