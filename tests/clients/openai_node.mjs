// OpenAI's own client for Node against a running server: chat, streams, tools, responses, embeddings and typed refusals.
//
// usage: CLIENT_ACCESS=access.json NODE_EXTRA_CA_CERTS=server.pem node openai_node.mjs; CLIENT_MODULES names the folder of node_modules.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { default: OpenAI } = createRequire(join(process.env.CLIENT_MODULES, "here.js"))("openai");
const { version } = JSON.parse(readFileSync(join(process.env.CLIENT_MODULES, "node_modules/openai/package.json"), "utf8"));
const access = JSON.parse(readFileSync(process.env.CLIENT_ACCESS, "utf8"));
const client = new OpenAI({ baseURL: `${access.url}/v1`, apiKey: access.key, maxRetries: 0 });
const greedy = { model: access.chat_model, messages: [{ role: "user", content: "What is Anchorhold?" }], temperature: 0, max_tokens: 48 };
const texts = ["\u2693\ufe0f\u{1f600}", "\u{1f469}\u200d\u{1f692}", "e\u0301o\u0308", "\u05e9\u05c1"];
const weather = {
  type: "object",
  properties: { city: { enum: ["Oslo", "Köln"] } },
  required: ["city"],
  additionalProperties: false,
};
let done = 0;

function check(condition, told) {
  assert.ok(condition, typeof told === "string" ? told : JSON.stringify(told));
  done += 1;
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function models() {
  const ids = (await all(client.models.list())).map((model) => model.id).sort();
  check(JSON.stringify(ids) === JSON.stringify([access.embedding_model, access.chat_model].sort()), ids);
  check((await client.models.retrieve(access.chat_model)).id === access.chat_model, "retrieved");
}

async function chat() {
  const whole = await client.chat.completions.create(greedy);
  check(whole.choices[0].message.content.length > 0 && whole.choices[0].message.refusal === null, whole);
  check(whole._request_id, "a request id");
  const chunks = await all(await client.chat.completions.create({ ...greedy, stream: true, stream_options: { include_usage: true } }));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  check(text === whole.choices[0].message.content, text);
  check(chunks.at(-1).usage.completion_tokens === whole.usage.completion_tokens, chunks.at(-1));
  check(chunks.slice(0, -1).every((chunk) => chunk.usage === null), "usage is null before");
  const runner = client.chat.completions.stream(greedy);
  const final = await runner.finalChatCompletion();
  check(final.choices[0].message.content === text, final);
  const left = await client.chat.completions.create({ ...greedy, stream: true });
  for await (const _ of left) break;
  check((await client.chat.completions.create(greedy)).choices[0].message.content === text, "after one who left");
  const stop = text.slice(5, 8);
  const cut = await client.chat.completions.create({ ...greedy, stop });
  check(cut.choices[0].message.content === text.slice(0, text.indexOf(stop)), cut);
  const many = await client.chat.completions.create({ ...greedy, n: 2, seed: 3, temperature: 1, logprobs: true, top_logprobs: 1 });
  check(many.choices.length === 2 && many.choices[1].logprobs.content[0].top_logprobs.length === 1, many);
}

async function textsByteForByte() {
  for (const text of texts) {
    const schema = { type: "object", properties: { told: { enum: [text] } }, required: ["told"], additionalProperties: false };
    const asked = { ...greedy, max_tokens: 200, response_format: { type: "json_schema", json_schema: { name: "told", strict: true, schema } } };
    const whole = await client.chat.completions.create(asked);
    check(JSON.parse(whole.choices[0].message.content).told === text, whole);
    const chunks = await all(await client.chat.completions.create({ ...asked, stream: true }));
    check(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("") === whole.choices[0].message.content, "streamed");
  }
}

async function tools() {
  const tool = { type: "function", function: { name: "weather", parameters: weather } };
  const asked = { ...greedy, max_tokens: 200, tools: [tool], tool_choice: "required", parallel_tool_calls: false };
  const made = await client.chat.completions.create(asked);
  const call = made.choices[0].message.tool_calls[0];
  check(made.choices[0].finish_reason === "tool_calls" && call.function.name === "weather", made);
  check(["Oslo", "Köln"].includes(JSON.parse(call.function.arguments).city), call);
  const final = await client.chat.completions.stream(asked).finalChatCompletion();
  check(final.choices[0].message.tool_calls[0].function.arguments === call.function.arguments, final);
}

async function responses() {
  const asked = { model: access.chat_model, input: "What is Anchorhold?", temperature: 0, max_output_tokens: 48 };
  const made = await client.responses.create(asked);
  check(made.output_text.length > 0 && made.object === "response", made);
  const events = await all(await client.responses.create({ ...asked, stream: true }));
  const text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
  check(text === made.output_text && events[0].type === "response.created", events.at(-1));
}

async function embeddings() {
  const asked = { model: access.embedding_model, input: ["A doctor", texts[0]] };
  // Without a format the client asks for base64 and decodes it itself.
  const packed = await client.embeddings.create(asked);
  const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const same = (left, right) => left.every((value, at) => Math.fround(value) === Math.fround(right[at]));
  check(packed.data.every((vector, at) => vector.index === at && same(vector.embedding, floats.data[at].embedding)), "base64 equals float");
}

async function refusals() {
  async function refused(kind, param, call) {
    const error = await call().then(() => null, (error) => error);
    check(error instanceof kind && error.param === param && error.requestID, error ?? "not refused");
  }
  const stranger = client.withOptions({ apiKey: "ak-wrong" });
  await refused(OpenAI.AuthenticationError, null, () => stranger.chat.completions.create(greedy));
  await refused(OpenAI.NotFoundError, "model", () => client.chat.completions.create({ ...greedy, model: "gpt-4o" }));
  await refused(OpenAI.BadRequestError, "temperature", () => client.chat.completions.create({ ...greedy, temperature: 3 }));
  await refused(OpenAI.BadRequestError, "input", () => client.embeddings.create({ model: access.embedding_model, input: "" }));
}

for (const part of [models, chat, textsByteForByte, tools, responses, embeddings, refusals]) {
  const before = done;
  await part();
  console.log(`ok openai-node ${version}: ${part.name} (${done - before})`);
}
console.log(`openai-node ${version}: ${done} checks`);
