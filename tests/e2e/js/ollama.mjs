/* The official JavaScript client for Ollama, unchanged, against the server named by its first argument.
 * Prints one JSON object of what it saw; test_ollama_clients.py checks it. */
import { Ollama } from "ollama";

const client = new Ollama({ host: process.argv[2] });
const model = process.argv[3];
const messages = [{ role: "user", content: "one two three" }];
const seen = {};

const whole = await client.chat({ model, messages });
seen.whole = { content: whole.message.content, done: whole.done, reason: whole.done_reason, n: whole.eval_count };

seen.streamed = "";
for await (const part of await client.chat({ model, messages, stream: true })) {
  seen.streamed += part.message.content;
  if (part.done) seen.last = { reason: part.done_reason, total: part.total_duration > 0 };
}

const text = await client.generate({ model, prompt: "a b c", options: { num_predict: 2, temperature: 0 } });
seen.text = { response: text.response, reason: text.done_reason, context: Array.isArray(text.context) };

seen.models = (await client.list()).models.map((m) => m.name);
seen.running = (await client.ps()).models.map((m) => m.name);
seen.version = (await client.version()).version;
seen.family = (await client.show({ model })).details.family;

const steps = [];
for await (const step of await client.create({ model: "made-js", from: model, system: "be brief", stream: true }))
  steps.push(step.status);
seen.created = steps;
await client.copy({ source: "made-js", destination: "made-js-2" });
seen.system = (await client.show({ model: "made-js-2" })).system;
await client.delete({ model: "made-js" });
await client.delete({ model: "made-js-2" });
try {
  await client.show({ model: "made-js" });
} catch (e) {
  seen.missing = { status: e.status_code, error: e.error };
}

const left = await client.generate({ model: "slow", prompt: "go on", stream: true });
try {
  for await (const part of left) left.abort();
} catch (e) {
  seen.aborted = e.name;
}
console.log(JSON.stringify(seen));
