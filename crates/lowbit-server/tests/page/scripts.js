// What no tiny model says: answers made up for the tests.

/** Events of a streamed chat that says these pieces. */
export function says(pieces, { reasoning = [], finish = "stop" } = {}) {
  const event = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, finish_reason }], usage: null });
  return [
    event({ role: "assistant", content: "" }),
    ...reasoning.map((reasoning_content) => event({ reasoning_content })),
    ...pieces.map((content) => event({ content })),
    event({}, finish),
    { choices: [], usage: { prompt_tokens: 9, completion_tokens: pieces.length } },
  ];
}

const ATTACK = `<img src=x onerror="window.pwned=1">`;

/** Everything by which text has become code somewhere. */
export const HOSTILE = [
  ATTACK,
  `<script>window.pwned=1</script>`,
  `<svg onload="window.pwned=1"></svg><iframe srcdoc="<script>parent.pwned=1</script>"></iframe>`,
  `[click](javascript:window.pwned=1) [click](JaVaScRiPt:window.pwned=1) [click](data:text/html,<script>1</script>)`,
  `[click](&#106;avascript:window.pwned=1) <javascript:window.pwned=1> [click]( java\nscript:window.pwned=1)`,
  `![picture](http://evil.example/picture.png) [fine](https://example.org/a?b="onclick=1)`,
  "```\"><img/src=x/onerror=window.pwned=1>\n</code></pre>" + ATTACK + "\n```",
  `| ${ATTACK} | b |\n|---|---|\n| ${ATTACK} | <b onmouseover="window.pwned=1">x</b> |`,
  `# ${ATTACK}\n> ${ATTACK}\n- ${ATTACK}\n- **${ATTACK}**`,
].join("\n\n");

export const MODELS = {
  json: {
    data: [
      { id: "source", max_model_len: 600, lowbit: { bits_per_weight: 16, bytes: 269030016, loaded: true } },
      { id: "small", max_model_len: 600, lowbit: { bits_per_weight: 3.30251, bytes: 75912939, loaded: false } },
    ],
  },
};

const WORDS = ["The", " sky", " is", " blue", ".", "\n"];

/** Two models that read the same tokens and disagree about some: "is" by a factor, "blue" by the word itself. */
export function comparing(path, body) {
  if (path === "/v1/models") return MODELS;
  if (path === "/v1/chat/completions") return { events: says(body.model === "source" ? WORDS : ["The", " sky", " grey"]), pause: 5 };
  if (path === "/tokenize") return { json: { tokens: body.messages ? [1, 2, 3] : WORDS.map((_, id) => id + 10) } };
  if (path !== "/v1/completions") return null;
  const shares = body.model === "source" ? [0.9, 0.8, 0.6, 0.7, 0.9, 0.5] : [0.9, 0.7, 0.25, 0.02, 0.95, 0.5];
  const top = (word, share, other) => ({ [word]: Math.log(share), [other]: Math.log((1 - share) * 0.9) });
  return {
    json: {
      choices: [
        {
          logprobs: {
            tokens: ["<s>", "user", "\n", ...WORDS],
            token_logprobs: [null, -1, -1, ...shares.map(Math.log)],
            top_logprobs: [null, null, null, ...WORDS.map((word, at) => top(word, shares[at], at === 3 ? " grey" : "!"))],
          },
        },
      ],
    },
  };
}
