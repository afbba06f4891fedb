// The browser of the tests and of the screenshots.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";

// `require` finds packages also by NODE_PATH.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Headless, and silent but for the pages it is told to open. CHROMIUM names the program where it is elsewhere. */
export function launch() {
  const executablePath = process.env.CHROMIUM ?? PLACES.find((place) => existsSync(place));
  const args = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ];
  return chromium.launch({ executablePath, args, headless: true });
}
