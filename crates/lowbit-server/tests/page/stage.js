// A server between the browser and the servers under test. It passes requests on to the one that has the model they name, and
// can slow streams down or answer by itself what no tiny model says.

import http from "node:http";

/**
 * Gives { url, rules, seen, close }.
 * `rules.slow` is the pause before each event of a stream, in milliseconds. `rules.answer(path, body)` may give
 * { status, headers, json }, { events, pause, broken } or "away" to answer in place of a server; null passes the request on.
 * `seen` has { path, body, headers, ended } of each request that is no file of the page; `ended` is "whole" or "cut".
 */
export async function stage(targets) {
  const rules = { slow: 0, answer: () => null };
  const seen = [];
  const models = new Map();
  const server = http.createServer(async (request, response) => {
    const path = request.url;
    const text = await whole(request);
    const body = text === "" ? null : JSON.parse(text);
    const entry = { path, body, headers: request.headers, ended: "" };
    const isPage = path === "/" || path.startsWith("/page/");
    if (!isPage) seen.push(entry);
    response.on("close", () => (entry.ended = response.writableFinished ? "whole" : "cut"));
    const instead = isPage ? null : rules.answer(path, body);
    if (instead === "away") return request.socket.destroy();
    if (instead) return scripted(response, instead);
    if (path === "/v1/models" && targets.length > 1) return merged(request, response, targets, models);
    pass(request, response, text, models.get(body?.model) ?? targets[0], rules);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const close = () => (server.closeAllConnections(), server.close());
  return { url: `http://127.0.0.1:${server.address().port}/`, rules, seen, close };
}

async function whole(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

async function scripted(response, { status = 200, headers = {}, json, events, pause: between = 0, broken = false }) {
  if (!events) {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(json));
    return;
  }
  response.writeHead(status, { "content-type": "text/event-stream", ...headers });
  for (const event of events) {
    await pause(between);
    response.write(`data: ${JSON.stringify(event)}\n\n`);
  }
  if (broken) {
    await pause(50);
    response.destroy();
  } else {
    response.end("data: [DONE]\n\n");
  }
}

async function merged(request, response, targets, models) {
  const data = [];
  for (const target of targets) {
    const headers = request.headers.authorization ? { authorization: request.headers.authorization } : {};
    for (const model of (await (await fetch(new URL("v1/models", target), { headers })).json()).data) {
      models.set(model.id, target);
      data.push(model);
    }
  }
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ object: "list", data }));
}

function pass(request, response, text, target, rules) {
  const { method, url, headers } = request;
  const options = { method, headers: { ...headers, host: new URL(target).host, "content-length": Buffer.byteLength(text) } };
  delete options.headers["transfer-encoding"];
  const asking = http.request(new URL(url, target), options, async (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    const streaming = answer.headers["content-type"]?.startsWith("text/event-stream");
    if (!streaming || rules.slow === 0) return answer.pipe(response);
    let rest = "";
    try {
      for await (const piece of answer) {
        const events = (rest + piece).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          await pause(rules.slow);
          if (response.destroyed) return;
          response.write(`${event}\n\n`);
        }
      }
    } catch {
      // The browser went away, and with it the request to the server.
    }
    response.end();
  });
  asking.on("error", () => response.destroy());
  response.on("close", () => asking.destroy());
  asking.end(text);
}
