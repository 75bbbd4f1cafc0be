// The official TypeScript SDK's client of its second line: node modernclient.mjs PACKAGE URL PREFIX MODE.
// MODE is legacy, auto or a revision to insist on. Prints what it saw as JSON.
const [, , folder, url, prefix, mode] = process.argv;
const { Client, StreamableHTTPClientTransport } = await import(`${folder}/dist/index.mjs`);

const asked = new Set();
const client = new Client(
  { name: "typescript", version: "2" },
  {
    capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } },
    versionNegotiation: { mode: mode === "legacy" || mode === "auto" ? mode : { pin: mode } },
  },
);
const answer = (method, result) =>
  client.setRequestHandler(method, async () => {
    asked.add(method);
    return result;
  });
answer("sampling/createMessage", { role: "assistant", model: "m", content: { type: "text", text: "sampled" } });
answer("elicitation/create", { action: "decline" });
answer("roots/list", { roots: [{ uri: "file:///one", name: "One" }] });

const until = async (condition) => {
  for (let step = 0; step < 600 && !condition(); step++) await new Promise((done) => setTimeout(done, 50));
};

await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const call = (name, args, options) => client.callTool({ name: prefix + name, arguments: args }, options);
const { tools } = await client.listTools();
const { resources } = await client.listResources();
const { prompts } = await client.listPrompts();
const sum = await call("get-sum", { a: 2, b: 3 });
const progress = [];
await call("trigger-long-running-operation", { duration: 0.2, steps: 2 }, { onprogress: (step) => progress.push(step.progress) });
const sampled = await call("trigger-sampling-request", { prompt: "x" });
await call("trigger-elicitation-request", {});
const uri = "demo://resource/static/document/features.md";
const read = await client.readResource({ uri });
const prompt = await client.getPrompt({ name: `${prefix}simple-prompt` });
const modern = client.getProtocolEra() === "modern";
const listening = modern ? await client.listen({ resourceSubscriptions: [uri], toolsListChanged: true }) : null;
if (!modern) await client.subscribeResource({ uri });
// A Legacy server asks for roots by itself, once it knows that there are some.
await until(() => modern || asked.has("roots/list"));
let unknown = 0;
await client.callTool({ name: "no such" }).catch((error) => (unknown = error.code));
console.log(
  JSON.stringify({
    era: client.getProtocolEra(),
    version: client.getNegotiatedProtocolVersion(),
    server: client.getServerVersion().name,
    listed: [tools.length > 10, resources.length, prompts.length],
    sum: sum.content[0].text,
    progress,
    sampled: sampled.content[0].text.includes("sampled"),
    asked: [...asked].sort(),
    read: read.contents[0].uri,
    prompt: prompt.messages.length,
    honored: listening ? listening.honoredFilter : null,
    unknown,
  }),
);
if (listening) await listening.close();
await client.close();
