// An answer being asked for: what has come, how fast, and how it ended.

import * as api from "./api.js";

/**
 * Asks and fills `message` ({ content, reasoning, error, finish, stats }) while the answer comes, calling `changed` after
 * each piece. Never throws: an error is `message.error`, and the error is returned; a stop is `finish: "stopped"`.
 */
export async function fill(message, body, signal, changed) {
  const times = { start: performance.now(), first: 0, last: 0, together: 0 };
  let pieces = 0;
  try {
    for await (const { at, content, reasoning, finish, usage } of api.chat(body, signal)) {
      if (content !== "" || reasoning !== "") {
        times.first ||= at;
        times.last = at;
        if (at === times.first) times.together += 1;
        pieces += 1;
        message.content += content;
        message.reasoning += reasoning;
        message.stats = figures(times, pieces);
      }
      if (finish) {
        message.finish = finish;
        // The token that ends an answer counts and has no text.
        if (times.first > 0) times.last = at;
      }
      if (usage) message.stats = figures(times, usage.completion_tokens);
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

/** Without `usage` a piece of the stream stands for a token; those that came together with the first have no time of their own. */
function figures({ start, first, last, together }, tokens) {
  const stats = { tokens };
  if (first > 0) stats.first_s = (first - start) / 1000;
  if (last > first && tokens > together) stats.tokens_per_s = ((tokens - together) * 1000) / (last - first);
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
