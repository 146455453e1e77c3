"""Kafka Connect, distributed: a file goes into a topic exactly once and comes out into a file, while both workers and
the server are killed; its REST calls read and change offsets. Then MirrorMaker 2 copies topics of an Apache Kafka to us,
exactly once, and translates the offsets of its groups.

usage: run.py [--records N] [--kills N] [--on folder|pair|oracle] [--bootstrap HOST:PORT] FOLDER-OF-THE-BINARIES

In the environment, beside what kills/processes.py says: STREAMHOUSE_TEST_ORACLE, the Apache Kafka that is copied from.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kills"))
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType
from processes import SECONDS, Cluster, Feed, Killer, Process, Reader, flights, free_port, main, wait_until

STRINGS = "org.apache.kafka.connect.storage.StringConverter"


def suite(cluster, checks, options):
    Files(cluster, checks, options).run()
    Mirror(cluster, checks, options).run()


class Worker(Process):
    """One of the workers of a Connect cluster."""

    def __init__(self, cluster, name, group):
        self.port = free_port()
        file = cluster.folder / f"{name}.properties"
        settings = {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": group,
            "config.storage.topic": f"{group}-configs",
            "offset.storage.topic": f"{group}-offsets",
            "status.storage.topic": f"{group}-status",
            "config.storage.replication.factor": 1,
            "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1,
            "offset.storage.partitions": 3,
            "key.converter": STRINGS,
            "value.converter": STRINGS,
            "exactly.once.source.support": "enabled",
            "offset.flush.interval.ms": 500,
            # What both workers left open when they were killed holds up who reads committed offsets.
            "producer.transaction.timeout.ms": 10_000,
            "connector.client.config.override.policy": "All",
            "listeners": f"http://127.0.0.1:{self.port}",
            # A worker that was killed is missed soon, and its work handed to the other at once.
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1500,
            "rebalance.timeout.ms": 8000,
            "scheduled.rebalance.max.delay.ms": 500,
        }
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        made = cluster.java(name, "org.apache.kafka.connect.cli.ConnectDistributed", file)
        self.__dict__.update(made.__dict__, port=self.port)
        cluster.processes[-1] = self


class Files:
    """A file source and a file sink on two workers."""

    def __init__(self, cluster, checks, options):
        self.cluster, self.checks, self.options = cluster, checks, options
        self.name = f"connect-{uuid.uuid4()}"
        self.rows = [line for line, _ in flights(options.records or 4000 + 1000 * options.kills)]
        self.source, self.sink = cluster.folder / "source.txt", cluster.folder / "sink.txt"

    def run(self):
        start = time.monotonic()
        self.source.write_text("")
        self.cluster.new_topics(self.name, partitions=1)
        self.workers = [Worker(self.cluster, f"worker-{n}", self.name) for n in range(2)]
        self.put("source", self.source_settings())
        self.put("sink", self.sink_settings())
        print(f"     two workers run two connectors after {time.monotonic() - start:.0f} s", flush=True)
        killer = Killer(self.options.seed, [*self.cluster.agents * 2, *self.workers], pause=(1.5, 5.0))
        self.append_under(killer)
        print(f"     {len(self.rows)} lines, {killer.summary()}, {time.monotonic() - start:.0f} s", flush=True)
        reader = Reader(self.cluster, self.name).read(len(self.rows), 90)
        reader.poll(2.0)
        print(f"     all lines written after {time.monotonic() - start:.0f} s", flush=True)
        self.checks.check("the topic has each line of the file once, in order", self.wrong_topic(reader))
        reader.close()
        self.checks.check("the sink's file lacks no line and has none of its own", self.wrong_sink())
        self.checks.check("both connectors and their tasks run", self.not_running())
        self.checks.check("offsets are read, changed and deleted through REST", self.offsets())
        self.checks.check("connectors are deleted", self.delete())
        for worker in self.workers:
            worker.stop()

    def source_settings(self):
        return {
            "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
            "tasks.max": "1",
            "file": str(self.source),
            "topic": self.name,
            "batch.size": "200",
            "exactly.once.support": "required",
        }

    def sink_settings(self):
        return {
            "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
            "tasks.max": "1",
            "file": str(self.sink),
            "topics": self.name,
            "consumer.override.isolation.level": "read_committed",
            "consumer.override.session.timeout.ms": "6000",
        }

    def rest(self, method, path, body=None):
        """What one of the workers answers; workers that are away or between two leaders are asked again."""
        deadline, said = time.monotonic() + SECONDS, "nobody answered"
        while time.monotonic() < deadline:
            for worker in self.workers:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{worker.port}{path}",
                    method=method,
                    data=None if body is None else json.dumps(body).encode(),
                    headers={"Content-Type": "application/json"},
                )
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        return json.loads(answer.read() or b"null")
                except urllib.error.HTTPError as error:
                    said = f"{error.code} {error.read().decode()}"
                    if error.code not in (404, 409, 500, 503):
                        raise RuntimeError(f"{method} {path}: {said}") from error
                except OSError as error:
                    said = str(error)
            time.sleep(0.3)
        raise TimeoutError(f"{method} {path}: {said}")

    def put(self, kind, settings):
        self.rest("PUT", f"/connectors/{self.name}-{kind}/config", settings)

    def append_under(self, killer):
        """Writes the file in as many parts as there are kills."""
        written, kills = 0, self.options.kills
        with open(self.source, "a") as file:
            for kill in range(kills + 1):
                until = len(self.rows) * (kill + 1) // (kills + 1)
                file.writelines(line + "\n" for line in self.rows[written:until])
                file.flush()
                written = until
                if kill < kills:
                    killer.step()

    def wrong_topic(self, reader):
        lines = [value for records in reader.records.values() for _, value in records]
        if lines == self.rows:
            return None
        at = next((i for i, (a, b) in enumerate(zip(lines, self.rows)) if a != b), min(len(lines), len(self.rows)))
        return f"{len(lines)} lines of {len(self.rows)}, others than expected from {at}: {lines[at:at + 2]}\n{self.status()}"

    def wrong_sink(self):
        """A sink may write a line again after a crash; a line that a crash cut in two is written again as well."""
        expected = set(self.rows)
        lines = lambda: self.sink.read_text().split("\n") if self.sink.exists() else []
        try:
            wait_until(lambda: expected <= set(lines()), limit=90)
        except TimeoutError:
            missing = [line for line in self.rows if line not in set(lines())]
            return f"{len(missing)} lines are missing: {missing[:3]}\n{self.status()}"
        others = set(lines()) - expected - {""}
        others = [line for line in others if not any(row.startswith(line) or row in line for row in self.rows)]
        return f"lines of its own: {others[:3]}" if others else None

    def status(self):
        return "\n".join(json.dumps(self.rest("GET", f"/connectors/{self.name}-{k}/status")) for k in ("source", "sink"))

    def not_running(self):
        def states():
            answers = [self.rest("GET", f"/connectors/{self.name}-{k}/status") for k in ("source", "sink")]
            return [[a["connector"]["state"], *(t["state"] for t in a["tasks"])] for a in answers]

        try:
            wait_until(lambda: states() == [["RUNNING", "RUNNING"]] * 2)
        except TimeoutError:
            return self.status()

    def offsets(self):
        """Stopped connectors, whose offsets are asked for, set and forgotten: groups and a compacted topic below."""
        try:
            for kind in ("source", "sink"):
                self.rest("PUT", f"/connectors/{self.name}-{kind}/stop")
            size = self.source.stat().st_size
            position = lambda: self.rest("GET", f"/connectors/{self.name}-source/offsets")["offsets"]
            wait_until(lambda: [o["offset"]["position"] for o in position()] == [size], lambda: f"{position()} not {size}")
            place = {"kafka_topic": self.name, "kafka_partition": 0}
            asked = lambda: self.rest("GET", f"/connectors/{self.name}-sink/offsets")["offsets"]
            wait_until(lambda: asked() and asked()[0]["offset"]["kafka_offset"] >= len(self.rows), lambda: str(asked()))
            change = {"offsets": [{"partition": place, "offset": {"kafka_offset": 7}}]}
            self.rest("PATCH", f"/connectors/{self.name}-sink/offsets", change)
            wait_until(lambda: asked() == change["offsets"], lambda: f"changed to {asked()}")
            for kind in ("source", "sink"):
                self.rest("DELETE", f"/connectors/{self.name}-{kind}/offsets")
            wait_until(lambda: not position() and not asked(), lambda: f"left: {position()} {asked()}")
        except (RuntimeError, TimeoutError) as error:
            return f"{error}\n{self.status()}"

    def delete(self):
        for kind in ("source", "sink"):
            self.rest("DELETE", f"/connectors/{self.name}-{kind}")
        try:
            wait_until(lambda: self.rest("GET", "/connectors") == [])
        except TimeoutError:
            return str(self.rest("GET", "/connectors"))


class Mirror:
    """MirrorMaker 2, from an Apache Kafka to us."""

    PARTITIONS = 3

    def __init__(self, cluster, checks, options):
        self.cluster, self.checks, self.options = cluster, checks, options
        self.name = f"mirror-{uuid.uuid4()}"
        self.rows = [line for line, _ in flights(options.records or 4000 + 500 * options.kills)]

    def origin(self):
        """The other cluster, as the helpers want it; nobody starts or kills it."""
        other = Cluster.__new__(Cluster)
        other.bootstrap, other.processes, other.agents = os.environ["STREAMHOUSE_TEST_ORACLE"], [], []
        return other

    def run(self):
        start, origin = time.monotonic(), self.origin()
        origin.new_topics(self.name, partitions=self.PARTITIONS, max_message_bytes="777777")
        feed = Feed(origin, self.name, self.PARTITIONS)
        mirror = self.cluster.java("mirror", "org.apache.kafka.connect.mirror.MirrorMaker", self.settings(origin))
        killer = Killer(self.options.seed, [*self.cluster.agents, mirror], pause=(3.0, 6.0))
        written, kills = 0, max(1, self.options.kills // 3)
        for kill in range(kills + 1):
            until = len(self.rows) * (kill + 1) // (kills + 1)
            self.write(feed, written, until)
            written = until
            if kill < kills:
                killer.step()
        self.checks.check("every record is acknowledged by the origin", feed.finish())
        self.checks.check("the copy has each record of the origin once, in order", self.wrong_copy(len(self.rows)))
        print(f"     {len(self.rows)} records, {killer.summary()}, {time.monotonic() - start:.0f} s", flush=True)
        self.checks.check("the copy has the origin's settings", self.wrong_settings())
        self.commit(origin, len(self.rows))
        self.checks.check("a group at the end of the origin is at the end of the copy", self.wrong_offsets(len(self.rows)))
        last = len(self.rows)
        self.rows += self.rows[: 2 * self.PARTITIONS]
        self.write(feed, last, len(self.rows))
        self.checks.check("further records are copied", self.wrong_copy(len(self.rows)))
        self.checks.check("and it goes on with the first of those", self.wrong_offsets(last))
        print(f"     offsets translated after {time.monotonic() - start:.0f} s", flush=True)
        mirror.stop()

    def write(self, feed, first, end):
        for number in range(first, end):
            feed.write(number, self.rows[number])
        feed.producer.flush(SECONDS)

    def settings(self, origin):
        settings = {
            "clusters": "origin, ours",
            "origin.bootstrap.servers": origin.bootstrap,
            "ours.bootstrap.servers": self.cluster.bootstrap,
            "origin->ours.enabled": "true",
            "ours->origin.enabled": "false",
            "topics": self.name,
            "groups": self.name,
            "replication.factor": 1,
            "checkpoints.topic.replication.factor": 1,
            "heartbeats.topic.replication.factor": 1,
            "offset-syncs.topic.replication.factor": 1,
            "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1,
            "config.storage.replication.factor": 1,
            "ours.exactly.once.source.support": "enabled",
            "dedicated.mode.enable.internal.rest": "true",
            "listeners": "http://127.0.0.1:0",
            "sync.group.offsets.enabled": "true",
            "sync.group.offsets.interval.seconds": 1,
            "emit.checkpoints.interval.seconds": 1,
            "refresh.topics.interval.seconds": 2,
            "refresh.groups.interval.seconds": 2,
            "sync.topic.configs.interval.seconds": 2,
            "offset.lag.max": 0,
            "offset.flush.interval.ms": 500,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1500,
            "scheduled.rebalance.max.delay.ms": 500,
        }
        file = self.cluster.folder / "mirror.properties"
        file.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        return file

    def places(self, end):
        """The offset of each partition after so many records."""
        return {p: (end - p + self.PARTITIONS - 1) // self.PARTITIONS for p in range(self.PARTITIONS)}

    def commit(self, cluster, end):
        """As a consumer of the origin that has read so many records."""
        group = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": self.name})
        places = [TopicPartition(self.name, p, offset) for p, offset in self.places(end).items()]
        wait_until(lambda: commits(group, places))
        group.close()

    def wrong_copy(self, count):
        copy = f"origin.{self.name}"
        wait_until(lambda: copy in self.cluster.admin.list_topics(timeout=SECONDS).topics)
        reader = Reader(self.cluster, copy).read(count, 90)
        reader.poll(2.0)
        wrong = []
        for partition, records in reader.records.items():
            expected = [(str(n), self.rows[n]) for n in range(partition, count, self.PARTITIONS)]
            if records != expected:
                found = f"{len(records)} records ({len(set(records))} different) of {len(expected)}"
                wrong.append(f"partition {partition}: {found}")
        reader.close()
        return "\n".join(wrong)

    def wrong_settings(self):
        resource = ConfigResource(ResourceType.TOPIC, f"origin.{self.name}")

        def size():
            asked = self.cluster.admin.describe_configs([resource])
            return asked[resource].result(SECONDS)["max.message.bytes"].value

        try:
            wait_until(lambda: size() == "777777")
        except TimeoutError:
            return f"max.message.bytes is {size()}"

    def wrong_offsets(self, end):
        """Who goes on at the copy reads on where its group was at the origin."""
        try:
            wait_until(lambda: self.following() == self.places(end), limit=90)
        except TimeoutError:
            return f"a group that was at {self.places(end)} of the origin goes on at {self.following()}"

    def following(self):
        """For each partition, the offset at the origin of what a consumer of the group would read next at the copy."""
        copy = f"origin.{self.name}"
        asked = self.cluster.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.name)])
        try:
            places = asked[self.name].result(SECONDS).topic_partitions
        except KafkaException:
            return {}
        at = {place.partition: place.offset for place in places if place.topic == copy and place.offset >= 0}
        reader = Reader(self.cluster, copy, at).read(1_000_000, 2)
        left = {p: len(reader.records[p]) for p in at}
        reader.close()
        return {p: self.places(len(self.rows))[p] - left[p] for p in at}


def commits(group, places):
    """A new Apache Kafka makes its topic of offsets first, and refuses until then."""
    try:
        return group.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        if not error.args[0].retriable():
            raise


if __name__ == "__main__":
    main(suite, __doc__, kills=3)
