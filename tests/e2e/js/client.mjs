/* The official JavaScript client, unchanged, against the server named by its first argument. Prints one
 * JSON object of what it saw; test_openai_clients.py checks it. */
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = process.argv[3];
const messages = [{ role: "user", content: "one two three four five" }];
const seen = {};

const whole = await client.chat.completions.create({ model, messages, seed: 1 });
seen.whole = whole.choices[0].message.content;
seen.finish = whole.choices[0].finish_reason;
seen.usage = whole.usage;
seen.request_id = whole._request_id;

seen.streamed = "";
const stream = await client.chat.completions.create({
  model, messages, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? "";
  if (chunk.usage) seen.stream_usage = chunk.usage;
}

const runner = client.chat.completions.stream({ model, messages, logprobs: true, top_logprobs: 2 });
const final = await runner.finalChatCompletion();
seen.runner = final.choices[0].message.content;
seen.logprobs = final.choices[0].logprobs.content.length;

const many = await client.chat.completions.create({ model, messages, n: 3, max_tokens: 2 });
seen.n = many.choices.map((c) => c.message.content);

const text = await client.completions.create({ model, prompt: ["a b", "c d"], echo: true });
seen.texts = text.choices.map((c) => c.text);

seen.models = [];
for await (const m of client.models.list()) seen.models.push(m.id);
seen.model = (await client.models.retrieve(model)).id;

try {
  await client.chat.completions.create({ model, messages, temperature: 9 });
} catch (e) {
  seen.error = { name: e.constructor.name, status: e.status, param: e.param, code: e.code, type: e.type };
}
try {
  await client.chat.completions.create({ model: "missing", messages });
} catch (e) {
  seen.missing = { name: e.constructor.name, status: e.status, code: e.code };
}

const left = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of left) {
  if (chunk.choices[0].delta.content) break; /* the iterator aborts the request */
}
console.log(JSON.stringify(seen));
