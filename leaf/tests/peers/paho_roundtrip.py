"""Every version and quality of service with paho, over TCP, TLS or WebSocket; a persistent session; a will; retained messages.

Usage: paho_roundtrip.py PORT [CA_FILE] [websockets]. Says "all well" at the end, or fails.
"""
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes

PORT = int(sys.argv[1])
TRANSPORT = "websockets" if "websockets" in sys.argv else "tcp"
CA = next((arg for arg in sys.argv[2:] if arg != "websockets"), None)
PATIENCE = 30


class Client:
    def __init__(self, version, client_id, clean=True, will=None):
        options = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, transport=TRANSPORT, **options)
        if CA:
            self.mqtt.tls_set(CA)
        if will:
            self.mqtt.will_set(*will)
        self.version, self.clean = version, clean
        self.messages, self.acks = queue.Queue(), queue.Queue()
        self.connected, self.flags = threading.Event(), None
        self.mqtt.on_connect = self.on_connect
        self.mqtt.on_message = lambda client, data, message: self.messages.put(message)
        self.mqtt.on_subscribe = lambda client, data, mid, codes, properties: self.acks.put(codes)

    def on_connect(self, client, data, flags, code, properties):
        assert not code.is_failure, code
        self.flags = flags
        self.connected.set()

    def start(self):
        self.connected.clear()
        options = {}
        if self.version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else 100
            options = {"clean_start": self.clean, "properties": properties}
        self.mqtt.connect("localhost" if CA else "127.0.0.1", PORT, **options)
        self.mqtt.loop_start()
        assert self.connected.wait(PATIENCE)
        return self

    def subscribe(self, topic, qos):
        self.mqtt.subscribe(topic, qos)
        return self.acks.get(timeout=PATIENCE)

    def publish(self, topic, payload, qos, retain=False):
        self.mqtt.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE)

    def get(self):
        return self.messages.get(timeout=PATIENCE)

    def stop(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def die(self):
        """Goes without a word."""
        self.mqtt._sock_close()
        self.mqtt.loop_stop()


def versions(name, version):
    client = Client(version, f"{name} one").start()
    for granted in range(3):
        assert client.subscribe(f"{name}/{granted}/+", granted)[0].value == granted
        for qos in range(3):
            client.publish(f"{name}/{granted}/ü x.{qos}", f"{qos}", qos)
            message = client.get()
            assert message.topic == f"{name}/{granted}/ü x.{qos}", message.topic
            assert message.qos == min(qos, granted) and message.payload == f"{qos}".encode(), message.qos
    for qos in (1, 2):
        for number in range(300):
            client.mqtt.publish(f"{name}/2/many", f"{number}", qos)
        assert [int(client.get().payload) for _ in range(300)] == list(range(300))
    client.stop()


def sessions(name, version):
    sleeper = Client(version, f"{name}-sleeper", clean=False).start()
    sleeper.subscribe(f"{name}/commands/#", 2)
    sleeper.stop()
    other = Client(version, f"{name}-other").start()
    for qos in range(3):
        other.publish(f"{name}/commands/{qos}", f"while away {qos}", qos)
    sleeper = Client(version, f"{name}-sleeper", clean=False).start()
    assert version == mqtt.MQTTv31 or sleeper.flags.session_present
    assert [sleeper.get().topic for _ in range(2)] == [f"{name}/commands/1", f"{name}/commands/2"]
    sleeper.stop()
    # A will, retained, of one who dies.
    other.subscribe(f"{name}/status", 1)
    mortal = Client(version, f"{name}-mortal", will=(f"{name}/status", "dead", 1, True)).start()
    mortal.die()
    assert other.get().payload == b"dead"
    late = Client(version, f"{name}-late").start()
    late.subscribe(f"{name}/+", 1)
    message = late.get()
    assert message.payload == b"dead" and message.retain
    other.publish(f"{name}/status", "", 1, True)
    assert other.get().payload == b""
    late.stop()
    other.stop()


for name, version in (("v31", mqtt.MQTTv31), ("v311", mqtt.MQTTv311), ("v5", mqtt.MQTTv5)):
    versions(name, version)
    sessions(name, version)
print("all well")
