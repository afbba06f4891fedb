// A session of the `openai` package for Node: chat, a stream, tools, a schema, vectors, responses, errors.
// Argument: the address of a server with the tests' tiny model and the key "secret".
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "secret", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const asked = { model: "tiny", messages, max_tokens: 10, temperature: 0 };

const answer = await client.chat.completions.create(asked);
const text = answer.choices[0].message.content;
assert.equal(answer.usage.completion_tokens, 10);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, text);

const schema = {
  type: "object",
  properties: { good: { type: "boolean" } },
  required: ["good"],
  additionalProperties: false,
};
const shaped = await client.chat.completions.create({
  ...asked,
  max_tokens: 60,
  response_format: { type: "json_schema", json_schema: { name: "verdict", schema, strict: true } },
});
assert.equal(typeof JSON.parse(shaped.choices[0].message.content).good, "boolean");
const called = await client.chat.completions.create({
  ...asked,
  max_tokens: 90,
  tools: [{ type: "function", function: { name: "judge", parameters: schema } }],
  tool_choice: "required",
  parallel_tool_calls: false,
});
assert.equal(called.choices[0].message.tool_calls[0].function.name, "judge");

const vectors = await client.embeddings.create({ model: "tiny", input: ["one", "two"] });
assert.equal(vectors.data.length, 2);
assert.ok(Math.abs(vectors.data[0].embedding.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-4);
const said = await client.responses.create({ model: "tiny", input: "Hello", max_output_tokens: 10, temperature: 0 });
assert.equal(said.status, "incomplete");
await assert.rejects(client.chat.completions.create({ ...asked, model: "none" }), OpenAI.NotFoundError);
await assert.rejects(client.chat.completions.create({ ...asked, surprise: 1 }), OpenAI.BadRequestError);
console.log("all well");
