"""What the suites with servers of their own share: programs that can be killed and started again, topics, checks.

A suite is started as `run.py [--kills N] [--bootstrap HOST:PORT] FOLDER`, where FOLDER holds `streamhouse`. With
--bootstrap it speaks to a server that is there, which it cannot kill: that shows what Apache Kafka makes of the suite.
In the environment: CLASSPATH (the jars of Apache Kafka and the compiled programs of suites/java), FLIGHTS (the path of
flights.csv), and for `--on pair` what `cargo xtask services` prints.
"""

import argparse
import csv
import datetime
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import uuid
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

# Members that were killed are missed soon.
SETTINGS = {
    "group.initial.rebalance.delay.ms": 500,
    "group.consumer.session.timeout.ms": 6000,
    "group.consumer.min.session.timeout.ms": 6000,
    "group.consumer.heartbeat.interval.ms": 1500,
    "group.consumer.min.heartbeat.interval.ms": 1500,
}
JAVA = ["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
JAVA += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
# What clients say when a server goes, which is no news here.
EXPECTED = ["could not be established", "disconnected", "Connection refused", "Disconnected: connection closed"]
SECONDS = 60  # how long a thing may take that nobody disturbs


def arguments(doc, kills):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where streamhouse lies")
    parser.add_argument("--kills", type=int, default=int(os.environ.get("STREAMHOUSE_TEST_KILLS", kills)))
    parser.add_argument("--bootstrap", help="a server that is there and stays alive")
    parser.add_argument("--on", choices=["folder", "pair", "oracle"], default="folder", help="what is started and killed")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="what is killed when")
    parser.add_argument("--records", type=int, help="how many records go through")
    parser.add_argument("--keep", action="store_true", help="leave the logs where they are")
    return parser.parse_args()


class Checks:
    """Named checks, printed and counted."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, problem):
        if problem:
            self.failed += 1
            print(f"FAIL {name}\n{problem}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {name}", flush=True)
        return not problem

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(self.failed > 0)


class Process:
    """A program that is killed and started again; its log goes on."""

    def __init__(self, name, command, folder, environment=None):
        self.name, self.command = name, [str(word) for word in command]
        self.environment = {**os.environ, **(environment or {})}
        self.path = Path(folder) / f"{name}.log"
        self.child = None
        self.starts = 0

    def start(self):
        self.starts += 1
        with open(self.path, "a") as log:
            log.write(f"--- start {self.starts} at {time.strftime('%H:%M:%S')}\n")
            log.flush()
            self.child = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        """SIGKILL: the program learns nothing of its end."""
        if self.alive():
            self.child.kill()
        if self.child:
            self.child.wait()

    def stop(self):
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self):
        self.kill()
        self.start()

    def tail(self, lines=15):
        text = self.path.read_text(errors="replace") if self.path.exists() else ""
        shown = [line[:300] for line in text.splitlines() if not any(word in line for word in EXPECTED)]
        return f"--- log of {self.name}\n" + "\n".join(shown[-lines:])


class Agent(Process):
    """One `streamhouse serve` with a data folder that outlives it."""

    def __init__(self, name, binary, folder, stores=(), environment=None):
        self.port, self.http = free_port(), free_port()
        command = [binary, "serve", "--data", Path(folder) / f"{name}-data"]
        command += ["--kafka", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http}", *stores]
        super().__init__(name, command, folder, environment)

    def start(self):
        super().start()
        wait_until(self.ready, lambda: f"{self.name} is not ready\n{self.tail()}")

    def ready(self):
        if not self.alive():
            raise RuntimeError(f"{self.name} ended by itself with {self.child.returncode}\n{self.tail()}")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=2).status == 200
        except OSError:
            return False


class Broker(Agent):
    """Apache Kafka: shows what it makes of the same kills."""

    def __init__(self, name, folder):
        super().__init__(name, "", folder)
        dir = Path(folder) / f"{name}-data"
        dir.mkdir()
        text = (Path(__file__).resolve().parents[1] / "oracle/server.properties").read_text()
        for word, value in {"port": self.port, "controller": free_port(), "dir": dir}.items():
            text = text.replace(f"{{{word}}}", str(value))
        settings = dir / "server.properties"
        settings.write_text(text + "\n" + "".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
        format = ["kafka.tools.StorageTool", "format", "-t", "streamhouse-suites-kil", "-c", settings]
        subprocess.run(["java", *format], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        self.command = [str(word) for word in ["java", "-Xmx700m", level, "kafka.Kafka", settings]]
        self.admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})

    def ready(self):
        if not self.alive():
            raise RuntimeError(f"{self.name} ended by itself with {self.child.returncode}\n{self.tail()}")
        try:
            return self.admin.list_topics(timeout=2).brokers
        except KafkaException:
            return False


class Cluster:
    """The servers under test; as a context they are there, and gone afterwards."""

    def __init__(self, options):
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="streamhouse-kills-"))
        self.processes = []
        self.agents = [] if options.bootstrap else self.make_agents()
        self.bootstrap = options.bootstrap or ",".join(f"127.0.0.1:{a.port}" for a in self.agents)

    def make_agents(self):
        binary = self.options.folder.resolve() / "streamhouse"
        settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        if self.options.on == "oracle":
            return [Broker("broker", self.folder)]
        if self.options.on == "folder":
            return [Agent("agent", binary, self.folder, settings)]
        place, query = os.environ["STREAMHOUSE_TEST_S3"].split(",")[0].split("?", 1)
        name = f"kills_{uuid.uuid4().hex}"
        metadata = f"{os.environ['STREAMHOUSE_TEST_POSTGRES']}?schema={name}"
        stores = [*settings, "--bucket", f"{place}/{name}?{query}", "--metadata", metadata]
        keys = {
            "AWS_ACCESS_KEY_ID": os.environ["STREAMHOUSE_TEST_S3_KEY"],
            "AWS_SECRET_ACCESS_KEY": os.environ["STREAMHOUSE_TEST_S3_SECRET"],
        }
        return [Agent(f"agent-{n}", binary, self.folder, stores, keys) for n in range(2)]

    def __enter__(self):
        try:
            for agent in self.agents:
                agent.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
        for agent in self.agents:
            agent.stop()
        if self.options.keep:
            print(f"the logs are in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, name, command, environment=None):
        process = Process(name, command, self.folder, environment)
        self.processes.append(process)
        process.start()
        return process

    def java(self, name, *command):
        return self.run(name, ["java", *JAVA, *command])

    @functools.cached_property
    def admin(self):
        """One for all: its answers come only as long as it lives."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})

    def logs(self):
        return "\n".join(process.tail() for process in [*self.agents, *self.processes])

    def new_topics(self, *names, partitions=4, **config):
        named = {key.replace("_", "."): value for key, value in config.items()}
        wanted = [NewTopic(name, partitions, 1, config=named) for name in names]
        for future in self.admin.create_topics(wanted).values():
            future.result(SECONDS)


class Killer:
    """Kills one victim after the other, in random order, and starts it again."""

    def __init__(self, seed, victims, pause=(1.5, 4.0)):
        self.seed, self.random = seed, random.Random(seed)
        self.victims, self.pause = victims, pause
        self.done = {}
        self.queue = []

    def step(self):
        time.sleep(self.random.uniform(*self.pause))
        if not self.queue:
            self.queue = self.random.sample(self.victims, len(self.victims))
        victim = self.queue.pop()
        victim.kill()
        time.sleep(self.random.choice([0, 0, 0.5, 2]))
        victim.start()
        self.done[victim.name] = self.done.get(victim.name, 0) + 1

    def summary(self):
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.done.items()))
        return f"{sum(self.done.values())} kills (seed {self.seed}): {kills}"


class Feed:
    """An idempotent producer that writes records evenly over some time, whatever happens to the server."""

    def __init__(self, cluster, topic, partitions):
        self.topic, self.partitions, self.failures, self.acknowledged = topic, partitions, [], 0
        self.producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "enable.idempotence": True,
                "delivery.timeout.ms": 300_000,
                "linger.ms": 20,
                "log_level": 2,
            }
        )

    def write(self, number, value, timestamp=0):
        key = str(number)
        more = {"timestamp": timestamp} if timestamp else {}
        while True:
            try:
                self.producer.produce(
                    self.topic, value, key, partition=number % self.partitions, on_delivery=self.heard, **more
                )
                return
            except BufferError:
                self.producer.poll(0.1)

    def heard(self, error, _message):
        if error:
            self.failures.append(str(error))
        else:
            self.acknowledged += 1

    def finish(self):
        left = self.producer.flush(300)
        return (self.failures and self.failures[:3]) or (f"{left} records had no answer" if left else None)


def flights(count):
    """The first lines of the flights: (line, timestamp in ms), moved in time so that the last ones are of today."""
    with open(os.environ["FLIGHTS"]) as file:
        lines = [line.rstrip("\n").replace('"', "") for line in file]
    column = lines[0].split(",").index("time_hour")
    hour = lambda line: int(datetime.datetime.fromisoformat(line.split(",")[column].replace("Z", "+00:00")).timestamp())
    rows = [(line, hour(line)) for line in lines[1 : count + 1]]
    days = (int(time.time()) - max(at for _, at in rows)) // 86_400
    return [(line, (at + days * 86_400) * 1000) for line, at in rows]


class Reader:
    """Reads a topic from its beginning or from these offsets, committed records only."""

    def __init__(self, cluster, topic, start=None):
        settings = {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": f"reader-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "log_level": 2,
        }
        self.consumer = Consumer(settings)
        partitions = self.consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
        self.consumer.assign([TopicPartition(topic, p, (start or {}).get(p, 0)) for p in partitions])
        self.records = {p: [] for p in partitions}

    def count(self):
        return sum(len(records) for records in self.records.values())

    def read(self, enough, limit):
        """Until `enough` records are there, or `limit` seconds passed without a further one."""
        deadline = time.monotonic() + limit
        while self.count() < enough and time.monotonic() < deadline:
            if self.poll(1.0):
                deadline = time.monotonic() + limit
        return self

    def poll(self, seconds):
        messages = self.consumer.consume(5000, seconds)
        for message in messages:
            if message.error():
                if message.error().retriable() or message.error().code() in (
                    KafkaError._TRANSPORT,
                    KafkaError._ALL_BROKERS_DOWN,
                ):
                    continue
                raise KafkaException(message.error())
            self.records[message.partition()].append((text(message.key()), text(message.value())))
        return len(messages)

    def close(self):
        self.consumer.close()


def text(value):
    return None if value is None else value.decode()


def wait_until(true, problem=lambda: "it never came true", limit=SECONDS):
    deadline = time.monotonic() + limit
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(problem())
        time.sleep(0.1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main(suite, doc, kills):
    """Runs `suite(cluster, checks, options)` and ends the program."""
    options, checks = arguments(doc, kills), Checks()
    with Cluster(options) as cluster:
        try:
            suite(cluster, checks, options)
        except Exception:
            checks.check("the suite comes to its end", traceback.format_exc())
        if checks.failed:
            print(cluster.logs(), flush=True)
    checks.finish()
