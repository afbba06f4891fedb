// What this page asks of its server. All addresses are relative to the page: no request leaves its origin.

const KEY = "lowbit.key";

/** An answer that is an error, or none at all (`status` 0). Its message is a sentence for the user. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let keptKey = "";

/** The key sent with every request; it ends with the tab. */
export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? keptKey;
  } catch {
    return keptKey;
  }
}

export function setKey(value) {
  keptKey = value;
  try {
    if (value === "") sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // A browser that keeps nothing has it in `keptKey`.
  }
}

/** The models of the server: [{ id, context, bits, bytes, loaded }], each figure null where the server does not say. */
export async function models() {
  const { data } = await (await ask("v1/models")).json();
  const number = (value) => (typeof value === "number" ? value : null);
  return data.map(({ id, max_model_len, lowbit }) => ({
    id,
    context: number(max_model_len),
    bits: number(lowbit?.bits_per_weight),
    bytes: number(lowbit?.bytes),
    loaded: typeof lowbit?.loaded === "boolean" ? lowbit.loaded : null,
  }));
}

/**
 * A chat, streamed: yields { at, content, reasoning, finish, usage }, what an event brought and when it came
 * (`performance.now()`, the same for events that came together).
 * Ends by an error where the stream breaks off; aborting `signal` ends it with an AbortError.
 */
export async function* chat(body, signal) {
  const streaming = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/chat/completions", streaming, signal);
  for await (const { data, at } of events(response.body)) {
    if (data === "[DONE]") return;
    const { error, choices, usage } = JSON.parse(data);
    if (error) throw new ApiError(sentence(error.message), { status: response.status, code: error.code });
    const choice = choices?.[0];
    yield {
      at,
      content: choice?.delta?.content || "",
      reasoning: choice?.delta?.reasoning_content || "",
      finish: choice?.finish_reason ?? null,
      usage: usage ?? null,
    };
  }
  throw new ApiError("The connection broke off in the middle of the answer.");
}

/** Token ids of a conversation, up to where the answer begins. */
export async function tokenizeMessages(model, messages, signal) {
  const body = { model, messages, add_generation_prompt: true };
  return (await (await ask("tokenize", body, signal)).json()).tokens;
}

/** Token ids of a text as it stands. */
export async function tokenizeText(model, prompt, signal) {
  const body = { model, prompt, add_special_tokens: false };
  return (await (await ask("tokenize", body, signal)).json()).tokens;
}

/** What a model thinks of every token: { tokens, token_logprobs, top_logprobs }, lists side by side. */
export async function score(model, ids, signal) {
  const body = { model, prompt: ids, echo: true, logprobs: 5, max_tokens: 0 };
  return (await (await ask("v1/completions", body, signal)).json()).choices[0].logprobs;
}

async function ask(address, body, signal) {
  const headers = {};
  if (!/^[\x21-\x7e]*$/.test(key())) throw new ApiError("An API key has no spaces, accents or signs of other scripts.", { status: 401 });
  if (key() !== "") headers.Authorization = `Bearer ${key()}`;
  if (body) headers["Content-Type"] = "application/json";
  const request = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store" };
  let response;
  try {
    response = await fetch(address, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Something between us and the server answered.
  }
  const { status } = response;
  const about = { status, code: error.code ?? null };
  if (status === 401) {
    const message = key() === "" ? "This server needs an API key." : "The server does not accept this API key.";
    return new ApiError(message, about);
  }
  if (status === 429) {
    const seconds = response.headers.get("Retry-After");
    const when = seconds ? `Try again in ${seconds} s.` : "Try again later.";
    return new ApiError(`The server has too much to do. ${when}`, about);
  }
  return new ApiError(sentence(error.message ?? `The server answered with status ${status}`), about);
}

function sentence(message) {
  const text = String(message);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Server-sent events: { data, at }. */
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError("The connection broke off in the middle of the answer.");
      }
      if (piece.done) return;
      const at = performance.now();
      text += decoder.decode(piece.value, { stream: true });
      const whole = text.split(/\r?\n\r?\n/);
      text = whole.pop();
      for (const event of whole) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (data.length > 0) yield { data: data.map((line) => line.slice(5).replace(/^ /, "")).join("\n"), at };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
