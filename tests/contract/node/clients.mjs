// Drives a live server with the official JavaScript clients and prints one JSON object of what they saw.
//   node clients.mjs URL MODEL
import OpenAI from "openai";
import { Ollama } from "ollama";

const [url, model] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const ollama = new Ollama({ host: url });
const messages = [{ role: "user", content: "Hello! What can you do?" }];
const seen = {};

const whole = await openai.chat.completions.create({ model, messages, max_tokens: 16, temperature: 0 });
seen.chat = whole.choices[0].message.content;
seen.usage = whole.usage;

let streamed = "";
let usage = null;
const stream = await openai.chat.completions.create({
  model, messages, max_tokens: 16, temperature: 0, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
seen.streamed = streamed;
seen.streamedUsage = usage;

const legacy = await openai.completions.create({ model, prompt: "Hello", max_tokens: 4, temperature: 0 });
seen.completion = legacy.choices[0].text;
seen.models = (await openai.models.list()).data.map((m) => m.id);

try {
  await openai.chat.completions.create({ model, messages, temperature: 99 });
} catch (error) {
  seen.error = { name: error.constructor.name, status: error.status, param: error.param };
}

const answer = await ollama.chat({ model, messages, options: { num_predict: 16, temperature: 0 } });
seen.ollama = answer.message.content;
let pieces = "";
for await (const part of await ollama.generate({
  model, prompt: "Hello", stream: true, options: { num_predict: 4, temperature: 0 },
})) {
  pieces += part.response;
  seen.ollamaDone = part.done;
}
seen.ollamaStreamed = pieces;
seen.tags = (await ollama.list()).models.map((m) => m.name);
console.log(JSON.stringify(seen));
