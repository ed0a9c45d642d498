/* The official JavaScript client's conversations, unchanged, against the server named by the first
 * argument. Prints one JSON object of what it saw; test_conversations.py checks it. */
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = process.argv[3];
const seen = {};

const made = await client.conversations.create({ metadata: { a: "b" }, items: [{ role: "user", content: "alpha" }] });
await client.conversations.update(made.id, { metadata: { a: "c" } });
seen.metadata = (await client.conversations.retrieve(made.id)).metadata;
seen.text = (await client.responses.create({ model, input: "beta", conversation: made.id })).output_text;

const ids = [];
seen.items = [];
for await (const item of client.conversations.items.list(made.id, { order: "asc", limit: 2 })) {
  ids.push(item.id);
  seen.items.push(item.content[0].text);
}
seen.one = (await client.conversations.items.retrieve(ids[1], { conversation_id: made.id })).content[0].text;
await client.conversations.items.delete(ids[1], { conversation_id: made.id });
seen.left = (await client.conversations.items.list(made.id)).data.length;
await client.conversations.delete(made.id);
try {
  await client.conversations.retrieve(made.id);
} catch (e) {
  seen.gone = { name: e.constructor.name, status: e.status };
}
console.log(JSON.stringify(seen));
