// What docs/clients.md promises of the Vercel AI SDK: vercel.mjs text|object|tool BASE_URL MODEL
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, jsonSchema, streamText, tool } from "ai";

const [what, url, model] = process.argv.slice(2);
const hearth = createOpenAICompatible({
  name: "hearth", baseURL: `${url}/v1`, apiKey: "none", supportsStructuredOutputs: true,
});

const checks = {
  async text() {
    const whole = await generateText({ model: hearth(model), prompt: "Say hello.", maxOutputTokens: 8, temperature: 0 });
    assert.ok(whole.text.length > 0 && whole.usage.outputTokens > 0);
    let streamed = "";
    const stream = streamText({ model: hearth(model), prompt: "Say hello.", maxOutputTokens: 8, temperature: 0 });
    for await (const part of stream.textStream) streamed += part;
    assert.equal(streamed, whole.text);
  },
  async object() {
    const schema = jsonSchema({
      type: "object", additionalProperties: false, required: ["name", "age"],
      properties: { name: { type: "string", maxLength: 20 }, age: { type: "integer", minimum: 0, maximum: 150 } },
    });
    const { object } = await generateObject({ model: hearth(model), schema, prompt: "Ada is 36.", maxOutputTokens: 120 });
    assert.ok(Number.isInteger(object.age) && typeof object.name === "string");
  },
  async tool() {
    const weather = tool({
      description: "The weather of a city",
      inputSchema: jsonSchema({
        type: "object", additionalProperties: false, required: ["city"], properties: { city: { type: "string" } },
      }),
    });
    const answer = await generateText({
      model: hearth(model), tools: { weather }, toolChoice: { type: "tool", toolName: "weather" },
      prompt: "The weather in Paris?", maxOutputTokens: 120, temperature: 0,
    });
    assert.equal(answer.toolCalls[0].toolName, "weather");
    assert.equal(typeof answer.toolCalls[0].input.city, "string");
  },
};

await checks[what]();
