/* Anthropic's JavaScript client's Message Batches, unchanged, against the server named by its first
 * argument. Prints one JSON object of what it saw; test_message_batches.py checks it. */
import Anthropic from "@anthropic-ai/sdk";

const [, , baseURL, model] = process.argv;
const client = new Anthropic({ baseURL, apiKey: "none", maxRetries: 0 });
const params = { model, max_tokens: 5, messages: [{ role: "user", content: "one two three four five" }] };
const seen = {};

const made = await client.messages.batches.create({
  requests: [{ custom_id: "a", params }, { custom_id: "b", params: { ...params, max_tokens: -1 } }],
});
seen.id = made.id;
let batch = made;
while (batch.processing_status !== "ended") {
  await new Promise((done) => setTimeout(done, 50));
  batch = await client.messages.batches.retrieve(made.id);
}
seen.counts = batch.request_counts;
for await (const one of client.messages.batches.list()) seen.listed = one.id;
seen.results = [];
for await (const { custom_id, result } of await client.messages.batches.results(made.id))
  seen.results.push([custom_id, result.type, result.message?.content[0].text ?? result.error.error.type]);
seen.deleted = (await client.messages.batches.delete(made.id)).type;
try {
  await client.messages.batches.retrieve(made.id);
} catch (e) {
  seen.gone = { name: e.constructor.name, status: e.status };
}
console.log(JSON.stringify(seen));
