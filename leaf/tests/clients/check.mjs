// What users of the JavaScript client do every day. Argument: the addresses and files, as JSON; see official_clients.rs.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline/promises";

const at = JSON.parse(process.argv[2]);
const require = createRequire(`${at.modules}/`);
const { connect, credsAuthenticator, headers, nkeyAuthenticator } = require("@nats-io/transport-node");

function check(right, what) {
  if (!right) {
    console.error(`node: ${what}`);
    process.exit(1);
  }
}

async function take(sub, count) {
  const got = [];
  for await (const message of sub) {
    got.push(message);
    if (got.length === count) break;
  }
  return got;
}

async function messages(nc) {
  const sub = nc.subscribe("t.*");
  const h = headers();
  h.set("Unit", "kelvin");
  nc.publish("t.a", "one");
  nc.publish("t.b", "two", { headers: h });
  const got = await take(sub, 2);
  check(got.map((m) => m.subject + m.string()).join() === "t.aone,t.btwo", "messages");
  check(got[1].headers.get("Unit") === "kelvin", "headers");
}

async function queues(nc) {
  const counts = [0, 0];
  for (const member of [0, 1]) {
    nc.subscribe("job", { queue: "workers", callback: () => counts[member]++ });
  }
  for (let i = 0; i < 200; i++) nc.publish("job");
  await nc.flush();
  await nc.flush();
  check(counts[0] + counts[1] === 200 && Math.min(...counts) > 20, `queue group ${counts}`);
}

async function requests(nc) {
  nc.subscribe("svc", { callback: (_, m) => m.respond(m.string().split("").reverse().join("")) });
  const reply = await nc.request("svc", "abc", { timeout: 5000 });
  check(reply.string() === "cba", "reply");
  const error = await nc.request("nobody", "", { timeout: 5000 }).catch((error) => error);
  check(error instanceof Error && /responders/.test(`${error.name} ${error.message} ${error.cause?.name}`), `nobody: ${error}`);
}

async function drain() {
  const nc = await connect({ servers: at.url });
  const sub = nc.subscribe("d");
  let got = 0;
  const done = (async () => {
    for await (const _ of sub) got++;
  })();
  for (let i = 0; i < 50; i++) nc.publish("d");
  await nc.flush();
  await nc.drain();
  await done;
  check(got === 50 && nc.isClosed(), `drained ${got} of 50`);
}

async function logins() {
  const seed = readFileSync(at.seed);
  const ways = {
    tls: { servers: at.tls, tls: { caFile: at.ca } },
    nkey: { servers: at.nkey, authenticator: nkeyAuthenticator(new TextEncoder().encode(seed.toString().trim())) },
    jwt: { servers: at.jwt, authenticator: credsAuthenticator(readFileSync(at.creds)) },
  };
  for (const [way, options] of Object.entries(ways)) {
    const nc = await connect({ ...options, reconnect: false });
    const sub = nc.subscribe("in.x");
    nc.publish("in.x", "x");
    check((await take(sub, 1))[0].string() === "x", way);
    await nc.close();
  }
}

async function restart() {
  const nc = await connect({ servers: at.url, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
  const sub = nc.subscribe("after");
  await nc.flush();
  const back = (async () => {
    for await (const status of nc.status()) if (status.type === "reconnect") return;
  })();
  const input = createInterface({ input: process.stdin });
  console.log("restart");
  await input.question("");
  await back;
  nc.publish("after", "still here");
  check((await take(sub, 1))[0].string() === "still here", "after the restart");
  await nc.close();
  input.close();
}

setTimeout(() => check(false, "it takes too long"), 60_000).unref();
const nc = await connect({ servers: at.url });
await messages(nc);
await queues(nc);
await requests(nc);
await nc.close();
await drain();
await logins();
await restart();
