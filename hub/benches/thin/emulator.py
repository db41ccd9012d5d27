"""A thin link between two network namespaces: two TUN devices with a rate, a delay, losses and a queue between them.

    unshare --net python3 emulator.py KBIT_PER_S RTT_MS LOSS_PERCENT QUEUE_BYTES SEED PID_A PID_B

PID_A and PID_B are processes in the two namespaces; A gets 10.99.0.1, B gets 10.99.0.2. A packet waits for the line (or is dropped when
QUEUE_BYTES wait already), occupies it for as long as its bytes take, is lost or not, and arrives half the round-trip time later. Each line
on standard input is answered with the counters so far; the end of standard input ends it.
"""

import collections
import fcntl
import json
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 1500


class Direction:
    def __init__(self, rate, delay, loss, queue, seed):
        self.rate, self.delay, self.loss, self.queue = rate, delay, loss, queue
        self.dice = random.Random(seed)
        self.free_at = 0.0  # the line is busy until then
        self.under_way = collections.deque()  # (arrives at, packet)
        self.bytes = self.packets = self.lost = self.dropped = 0

    def take(self, now, packet):
        waiting = max(0.0, self.free_at - now) * self.rate
        if waiting + len(packet) > self.queue:
            self.dropped += 1
            return
        self.free_at = max(now, self.free_at) + len(packet) / self.rate
        self.bytes += len(packet)
        self.packets += 1
        if self.dice.random() < self.loss:
            self.lost += 1
            return
        self.under_way.append((self.free_at + self.delay, packet))

    def counters(self):
        return {"bytes": self.bytes, "packets": self.packets, "lost": self.lost, "dropped": self.dropped}


def device(name, pid, own, other):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "netns", pid], check=True)
    inside = ["nsenter", "--target", pid, "--net", "ip"]
    subprocess.run([*inside, "addr", "add", own, "peer", other, "dev", name], check=True)
    subprocess.run([*inside, "link", "set", name, "mtu", str(MTU), "up"], check=True)
    subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
    return tun


def main():
    kbit, rtt, loss, queue, seed, pid_a, pid_b = sys.argv[1:]
    a = device("thin-a", pid_a, "10.99.0.1", "10.99.0.2")
    b = device("thin-b", pid_b, "10.99.0.2", "10.99.0.1")
    terms = (float(kbit) * 125, float(rtt) / 2000, float(loss) / 100, int(queue))
    up, down = Direction(*terms, seed + "up"), Direction(*terms, seed + "down")
    ways = {a: (up, b), b: (down, a)}
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        for way, to in ways.values():
            while way.under_way and way.under_way[0][0] <= now:
                os.write(to, way.under_way.popleft()[1])
        due = min((way.under_way[0][0] for way, _ in ways.values() if way.under_way), default=now + 1)
        readable, _, _ = select.select([a, b, sys.stdin], [], [], max(0.0, due - now))
        for source in readable:
            if source is sys.stdin:
                if not sys.stdin.readline():
                    return
                print(json.dumps({"up": up.counters(), "down": down.counters()}), flush=True)
                continue
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                continue
            # What else systems say to a new device is not ours.
            if packet[0] >> 4 == 4:
                ways[source][0].take(time.monotonic(), packet)


main()
