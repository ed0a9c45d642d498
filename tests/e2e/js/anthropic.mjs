/* Anthropic's JavaScript client, unchanged, against the server named by its first argument. Prints one
 * JSON object of what it saw; test_anthropic_clients.py checks it. */
import Anthropic from "@anthropic-ai/sdk";

const [, , baseURL, model, script] = process.argv;
const client = new Anthropic({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "one two three four five" }];
const seen = {};

const whole = await client.messages.create({ model, max_tokens: 5, messages });
seen.whole = whole.content[0].text;
seen.stop = whole.stop_reason;
seen.request_id = whole._request_id;

seen.streamed = "";
const stream = client.messages.stream({ model, max_tokens: 5, messages });
stream.on("text", (text) => (seen.streamed += text));
await stream.finalMessage();

const tools = [{ name: "weather", input_schema: { type: "object", properties: { city: { type: "string" } } } }];
const runner = client.messages.stream({
  model, max_tokens: 99, tools, messages: [{ role: "user", content: script }],
  thinking: { type: "enabled", budget_tokens: 50 },
});
const final = await runner.finalMessage();
seen.tools = final.content.map((b) => b.type);
seen.input = final.content[2].input;

seen.count = (await client.messages.countTokens({ model, messages })).input_tokens;
seen.models = [];
for await (const m of client.models.list({ limit: 1 })) seen.models.push(m.id);

try {
  await client.messages.create({ model, max_tokens: 0, messages });
} catch (e) {
  seen.error = { name: e.constructor.name, status: e.status, type: e.error?.error?.type };
}
console.log(JSON.stringify(seen));
