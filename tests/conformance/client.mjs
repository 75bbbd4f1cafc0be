// The official TypeScript SDK's client: node client.mjs SDK_FOLDER URL PREFIX. Prints what it saw as JSON.
const [, , sdk, url, prefix] = process.argv;
const load = (path) => import(`${sdk}/dist/esm/${path}`);
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const types = await load("types.js");

const asked = new Set();
const updated = new Set();
const client = new Client(
  { name: "typescript", version: "1" },
  { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
);
const answer = (schema, method, result) =>
  client.setRequestHandler(schema, async () => {
    asked.add(method);
    return result;
  });
answer(types.CreateMessageRequestSchema, "sampling/createMessage", {
  role: "assistant",
  model: "m",
  content: { type: "text", text: "sampled" },
});
answer(types.ElicitRequestSchema, "elicitation/create", { action: "decline" });
answer(types.ListRootsRequestSchema, "roots/list", { roots: [{ uri: "file:///one", name: "One" }] });
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => updated.add(params.uri));

const until = async (condition) => {
  for (let step = 0; step < 600 && !condition(); step++) await new Promise((done) => setTimeout(done, 50));
};

await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const call = (name, args, options) => client.callTool({ name: prefix + name, arguments: args }, undefined, options);
const sum = await call("get-sum", { a: 2, b: 3 });
const progress = [];
await call("trigger-long-running-operation", { duration: 0.2, steps: 2 }, { onprogress: (step) => progress.push(step.progress) });
await call("trigger-sampling-request", { prompt: "x" });
await call("trigger-elicitation-request", {});
const uri = "demo://resource/static/document/features.md";
await client.subscribeResource({ uri });
await call("toggle-subscriber-updates", {});
await until(() => updated.size && asked.has("roots/list"));
await call("toggle-subscriber-updates", {});
console.log(
  JSON.stringify({
    server: client.getServerVersion().name,
    sum: sum.content[0].text,
    progress,
    asked: [...asked].sort(),
    updated: [...updated],
  }),
);
await client.close();
