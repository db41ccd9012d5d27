"""What users of nats-py do every day. Argument: the addresses and files, as JSON; see official_clients.rs."""

import asyncio
import json
import ssl
import sys

import nats
from nats.errors import NoRespondersError

AT = json.loads(sys.argv[1])


def check(right, what):
    if not right:
        sys.exit(f"python: {what}")


async def messages(nc):
    got = []

    async def keep(message):
        got.append((message.subject, message.data, message.headers))

    await nc.subscribe("t.*", cb=keep)
    await nc.flush()
    await nc.publish("t.a", b"one")
    await nc.publish("t.b", b"two", headers={"Unit": "kelvin"})
    await nc.publish("u.a", b"not this")
    await nc.flush()
    while len(got) < 2:
        await asyncio.sleep(0.01)
    check([(s, d) for s, d, _ in got] == [("t.a", b"one"), ("t.b", b"two")], f"messages {got}")
    check(got[1][2] == {"Unit": "kelvin"}, f"headers {got[1][2]}")


async def queues(nc):
    counts = [0, 0]

    def member(at):
        async def count(_):
            counts[at] += 1

        return count

    for at in range(2):
        await nc.subscribe("job", "workers", cb=member(at))
    await nc.flush()
    for _ in range(200):
        await nc.publish("job", b"")
    await nc.flush()
    while sum(counts) < 200:
        await asyncio.sleep(0.01)
    check(sum(counts) == 200 and min(counts) > 20, f"queue group {counts}")


async def requests(nc):
    async def answer(message):
        await message.respond(message.data[::-1])

    await nc.subscribe("svc", cb=answer)
    await nc.flush()
    reply = await nc.request("svc", b"abc", timeout=5)
    check(reply.data == b"cba", f"reply {reply.data}")
    try:
        await nc.request("nobody", b"", timeout=5)
        check(False, "somebody answered in nobody's place")
    except NoRespondersError:
        pass


async def drain():
    nc = await nats.connect(AT["url"])
    got = []

    async def slow(message):
        await asyncio.sleep(0.001)
        got.append(message.data)

    await nc.subscribe("d", cb=slow)
    await nc.flush()
    for _ in range(50):
        await nc.publish("d", b"x")
    await nc.flush()
    await nc.drain()
    check(len(got) == 50 and nc.is_closed, f"drained {len(got)} of 50")


async def restart(nc):
    back = asyncio.Event()

    async def reconnected():
        back.set()

    other = await nats.connect(AT["url"], reconnected_cb=reconnected, reconnect_time_wait=0.05, max_reconnect_attempts=-1)
    sub = await other.subscribe("after")
    await other.flush()
    print("restart", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.wait_for(back.wait(), 10)
    await other.publish("after", b"still here")
    message = await sub.next_msg(timeout=5)
    check(message.data == b"still here", "after the restart")
    await other.close()


async def logins():
    context = ssl.create_default_context(cafile=AT["ca"])
    ways = {
        "tls": {"servers": AT["tls"], "tls": context, "tls_hostname": "localhost"},
        "nkey": {"servers": AT["nkey"], "nkeys_seed": AT["seed"]},
        "jwt": {"servers": AT["jwt"], "user_credentials": AT["creds"]},
    }
    for way, options in ways.items():
        nc = await nats.connect(allow_reconnect=False, **options)
        sub = await nc.subscribe("in.x")
        await nc.publish("in.x", b"x")
        check((await sub.next_msg(timeout=5)).data == b"x", way)
        await nc.close()


async def main():
    nc = await nats.connect(AT["url"])
    await messages(nc)
    await queues(nc)
    await requests(nc)
    await nc.close()
    await drain()
    await logins()
    await restart(nc)


asyncio.run(asyncio.wait_for(main(), 60))
