/* The official JavaScript client's Responses API, unchanged, against the server named by the first
 * argument. Prints one JSON object of what it saw; test_responses.py checks it. */
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = process.argv[3];
const input = "one two three four five";
const seen = {};

const whole = await client.responses.create({ model, input });
seen.whole = whole.output_text;

seen.types = [];
seen.numbers = [];
for await (const event of await client.responses.create({ model, input, stream: true })) {
  if (seen.types.at(-1) !== event.type) seen.types.push(event.type);
  seen.numbers.push(event.sequence_number);
}

const next = await client.responses.create({ model, input: "six", previous_response_id: whole.id });
seen.next = next.output_text;
seen.items = [];
for await (const item of client.responses.inputItems.list(next.id, { order: "asc", limit: 2 }))
  seen.items.push(item.content[0].text);

seen.helper = (await client.responses.stream({ model, input }).finalResponse()).output[0].content[0].text;

const background = await client.responses.create({ model, input, background: true, stream: true });
let id, last;
for await (const event of background) {
  id ??= event.response?.id;
  last = event.sequence_number;
  if (event.type === "response.output_text.delta") break;
}
seen.resumed = [];
for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: last }))
  seen.resumed.push(event.sequence_number);
seen.last = last;
seen.kept = (await client.responses.retrieve(id)).output_text;

await client.responses.delete(id);
try {
  await client.responses.retrieve(id);
} catch (e) {
  seen.gone = { name: e.constructor.name, status: e.status };
}
console.log(JSON.stringify(seen));
