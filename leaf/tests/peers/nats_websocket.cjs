// What users of nats.js do in a browser, by ws or wss: messages both ways, headers, a request, a large message.
//
// Usage: nats_websocket.cjs MODULES URL. Says "all well" at the end, or fails.

const { createRequire } = require("node:module");

const [modules, url] = process.argv.slice(2);
const require_there = createRequire(`${modules}/`);
// Browsers have it.
globalThis.WebSocket = require_there("ws");
const { wsconnect, headers } = require_there("@nats-io/nats-core");

function check(right, what) {
  if (!right) {
    console.error(what);
    process.exit(1);
  }
}

async function main() {
  const nc = await wsconnect({ servers: url, timeout: 30_000 });
  const sub = nc.subscribe("t.>");
  const h = headers();
  h.set("Unit", "kelvin");
  nc.publish("t.a", "one", { headers: h });
  const large = "0123456789".repeat(70_000);
  nc.publish("t.b", large);
  const got = [];
  for await (const message of sub) {
    got.push(message);
    if (got.length === 2) break;
  }
  check(got[0].string() === "one" && got[0].headers.get("Unit") === "kelvin", "a message");
  check(got[1].string() === large, "a large message");
  nc.subscribe("echo", { callback: (error, message) => message.respond(message.data) });
  check((await nc.request("echo", "again", { timeout: 30_000 })).string() === "again", "a request");
  check((await nc.rtt()) >= 0, "a ping");
  await nc.drain();
  console.log("all well");
}

main().catch((error) => check(false, error.stack ?? error));
