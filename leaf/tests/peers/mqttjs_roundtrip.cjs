// Every version and quality of service with mqtt.js, by whatever the url says: mqtt, mqtts, ws, wss.
// Also a session that sleeps, a will, a retained message, and a large one.
//
// Usage: mqttjs_roundtrip.cjs MODULES URL [CA_FILE]. Says "all well" at the end, or fails.

const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const [modules, url, ca] = process.argv.slice(2);
const mqtt = createRequire(`${modules}/`)("mqtt");
const PATIENCE = 60_000;

const late = setTimeout(() => fail("it took too long"), PATIENCE);

function fail(what) {
  console.error(what);
  process.exit(1);
}

function check(right, what) {
  if (!right) fail(what);
}

// A client that keeps what it hears until somebody takes it.
class Client {
  static async start(version, clientId, more = {}) {
    const name = version === 3 ? { protocolId: "MQIsdp" } : {};
    const options = { protocolVersion: version, clientId, clean: true, reconnectPeriod: 0, ...name, ...more };
    if (ca) options.ca = readFileSync(ca);
    const self = new Client();
    self.heard = [];
    self.takers = [];
    self.mqtt = mqtt.connect(url, options);
    self.mqtt.on("message", (topic, payload, packet) => self.hear({ topic, payload, packet }));
    self.connack = await new Promise((done) => {
      self.mqtt.once("connect", done);
      self.mqtt.once("error", (error) => fail(`${clientId}: ${error}`));
    });
    return self;
  }

  hear(message) {
    const taker = this.takers.shift();
    if (taker) taker(message);
    else this.heard.push(message);
  }

  take() {
    if (this.heard.length > 0) return Promise.resolve(this.heard.shift());
    return new Promise((done) => this.takers.push(done));
  }

  async subscribe(filter, qos) {
    const [granted] = await this.mqtt.subscribeAsync(filter, { qos });
    check(granted.qos === qos, `${filter}: granted ${granted.qos}`);
  }

  publish(topic, payload, options) {
    return this.mqtt.publishAsync(topic, payload, options);
  }

  stop() {
    return this.mqtt.endAsync();
  }
}

async function messages(version) {
  const client = await Client.start(version, `js${version}`);
  for (const granted of [0, 1, 2]) {
    await client.subscribe(`js${version}/${granted}/#`, granted);
    for (const qos of [0, 1, 2]) {
      await client.publish(`js${version}/${granted}/ü x`, `${qos}`, { qos });
      const { payload, packet } = await client.take();
      check(payload.toString() === `${qos}` && packet.qos === Math.min(qos, granted), `${version} ${granted} ${qos}`);
    }
  }
  const large = Buffer.alloc(700_000, "0123456789");
  await client.publish(`js${version}/2/large`, large, { qos: 2 });
  check((await client.take()).payload.equals(large), "a large message");
  const many = [...Array(300).keys()];
  await Promise.all(many.map((number) => client.publish(`js${version}/1/many`, `${number}`, { qos: 1 })));
  for (const number of many) check((await client.take()).payload.toString() === `${number}`, "order");
  await client.stop();
}

async function sessions(version) {
  const expiry = version === 5 ? { properties: { sessionExpiryInterval: 100 } } : {};
  const lasting = { clean: false, ...expiry };
  let sleeper = await Client.start(version, `js${version}-sleeper`, lasting);
  await sleeper.subscribe(`js${version}/commands`, 1);
  await sleeper.stop();
  const will = { topic: `js${version}/status`, payload: Buffer.from("dead"), qos: 1, retain: true };
  const mortal = await Client.start(version, `js${version}-mortal`, { will });
  const other = await Client.start(version, `js${version}-other`);
  await other.subscribe(`js${version}/status`, 1);
  await other.publish(`js${version}/commands`, "go", { qos: 1 });
  sleeper = await Client.start(version, `js${version}-sleeper`, lasting);
  check(version === 3 || sleeper.connack.sessionPresent, "the session is there");
  check((await sleeper.take()).payload.toString() === "go", "what waited");
  mortal.mqtt.stream.destroy();
  check((await other.take()).payload.toString() === "dead", "the will");
  const kept = await Client.start(version, `js${version}-late`);
  await kept.subscribe(`js${version}/+`, 1);
  const { payload, packet } = await kept.take();
  check(payload.toString() === "dead" && packet.retain, "the retained will");
  await other.publish(`js${version}/status`, "", { qos: 1, retain: true });
  await Promise.all([sleeper, other, kept].map((client) => client.stop()));
}

async function main() {
  for (const version of [3, 4, 5]) {
    await messages(version);
    await sessions(version);
  }
  clearTimeout(late);
  console.log("all well");
}

process.on("unhandledRejection", (error) => fail(error.stack ?? error));
main();
