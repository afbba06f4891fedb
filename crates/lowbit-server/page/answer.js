// An answer being asked for: what has come, how fast, and how it ended.

import * as api from "./api.js";

/**
 * Asks and fills `message` ({ content, reasoning, error, finish, stats }) while the answer comes, calling `changed` after
 * each piece. Never throws: an error is `message.error`, and the error is returned; a stop is `finish: "stopped"`.
 */
export async function fill(message, body, signal, changed) {
  const start = performance.now();
  let first = 0;
  let last = 0;
  let pieces = 0;
  try {
    for await (const { content, reasoning, finish, usage } of api.chat(body, signal)) {
      if (content !== "" || reasoning !== "") {
        last = performance.now();
        first ||= last;
        pieces += 1;
        message.content += content;
        message.reasoning += reasoning;
        message.stats = figures(start, first, last, pieces);
      }
      if (finish) message.finish = finish;
      if (usage) message.stats = figures(start, first, last, usage.completion_tokens);
      changed();
    }
    return null;
  } catch (error) {
    if (error.name === "AbortError") {
      message.finish = "stopped";
      return null;
    }
    message.error = error.message;
    return error;
  } finally {
    changed();
  }
}

/** Without `usage` a piece of the stream stands for a token; the first one has no time of its own. */
function figures(start, first, last, tokens) {
  const stats = { tokens };
  if (first > 0) stats.first_s = (first - start) / 1000;
  if (last > first && tokens > 1) stats.tokens_per_s = ((tokens - 1) * 1000) / (last - first);
  return stats;
}

/** The sampling fields of a request, those left empty not among them. */
export function sampling(settings) {
  const fields = {};
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    if (settings[name] !== undefined) fields[name] = settings[name];
  }
  return fields;
}

/** A line about an answer: model, speed, length, and how it ended where that is not by itself. */
export function statsText({ model, stats = {}, finish }) {
  const { first_s, tokens_per_s, tokens } = stats;
  const parts = [model];
  if (tokens !== undefined) parts.push(tokens === 1 ? "1 token" : `${tokens} tokens`);
  if (tokens_per_s !== undefined) parts.push(`${tokens_per_s.toFixed(1)} tokens/s`);
  if (first_s !== undefined) parts.push(`first after ${first_s.toFixed(2)} s`);
  if (finish === "length") parts.push("cut off at the limit of tokens");
  if (finish === "stopped") parts.push("stopped");
  return parts.filter(Boolean).join(" · ");
}
