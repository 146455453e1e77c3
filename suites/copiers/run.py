"""A chain of three copiers, in Java, Go and Python, each of two processes that consume, transform and produce in
transactions: while they and the server are killed, what comes out is what went in, once each and in order.

usage: run.py [--records N] [--kills N] [--on folder|pair] [--bootstrap HOST:PORT] FOLDER-OF-THE-BINARIES

In the environment, beside what kills/processes.py says: GO_COPIER, the compiled program of suites/go/copier.
"""

import os
import random
import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kills"))
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec
from processes import JAVA, SECONDS, Feed, Killer, Reader, flights, main, wait_until

PARTITIONS = 6
PROCESSES = 2  # of each copier


class Copiers:
    """The processes of the chain; one that ends by itself is started again, and what it said is kept."""

    def __init__(self, cluster, name, protocols):
        self.cluster, self.ends = cluster, []
        self.topics = [f"{name}-{n}" for n in range(4)]
        cluster.new_topics(*self.topics, partitions=PARTITIONS)
        programs = {
            "java": ["java", *JAVA, "Copier"],
            "go": [os.environ["GO_COPIER"]],
            "python": [sys.executable, "-u", str(Path(__file__).with_name("copier.py"))],
        }
        self.all = [
            cluster.run(
                f"{language}-{n}",
                [*program, cluster.bootstrap, f"{name}-{language}-{n}", protocol, *self.topics[at : at + 2]],
            )
            for at, ((language, program), protocol) in enumerate(zip(programs.items(), protocols))
            for n in range(PROCESSES)
        ]

    def look_after(self):
        for copier in self.all:
            if not copier.alive():
                self.ends.append(f"{copier.name} ended with {copier.child.returncode}\n{copier.tail()}")
                copier.start()

    def stop(self):
        for copier in self.all:
            copier.kill()


def suite(cluster, checks, options):
    rows = flights(options.records or 6000 + 1500 * options.kills)
    name = f"copiers-{uuid.uuid4()}"
    protocols = random.Random(options.seed).choices(["classic", "consumer"], k=3)
    print(f"     group protocols: {', '.join(protocols)}", flush=True)
    copiers = Copiers(cluster, name, protocols)
    killer = Killer(options.seed, [*cluster.agents * 3, *copiers.all], pause=(0.8, 3.0))
    feed = Feed(cluster, copiers.topics[0], PARTITIONS)
    start, written = time.monotonic(), 0
    for kill in range(options.kills + 1):
        until = len(rows) * (kill + 1) // (options.kills + 1)
        for number in range(written, until):
            feed.write(number, rows[number][0])
        written = until
        feed.producer.poll(0)
        if kill < options.kills:
            killer.step()
            copiers.look_after()
    checks.check("every record is acknowledged", feed.finish())
    print(f"     {len(rows)} records, {killer.summary()}, {time.monotonic() - start:.0f} s", flush=True)
    reader = Reader(cluster, copiers.topics[-1])
    deadline = time.monotonic() + 90
    while reader.count() < len(rows) and time.monotonic() < deadline:
        if reader.poll(1.0):
            deadline = time.monotonic() + 90
        copiers.look_after()
    print(f"     all of it after {time.monotonic() - start:.0f} s", flush=True)
    reader.poll(2.0)
    checks.check("each record comes out once, in order, with the mark of each copier", wrong(reader, rows))
    checks.check("no copier ends by itself", "\n".join(copiers.ends[:3]))
    checks.check("each group has committed all of its topic", uncommitted(cluster, copiers.topics))
    copiers.stop()
    checks.check("no transaction stays open", hanging(cluster, copiers.topics))
    reader.close()


def wrong(reader, rows):
    problems = []
    for partition, records in reader.records.items():
        expected = [(str(n), rows[n][0] + ">java>go>python") for n in range(partition, len(rows), PARTITIONS)]
        if records != expected:
            at = next((i for i, (a, b) in enumerate(zip(records, expected)) if a != b), min(len(records), len(expected)))
            problems.append(
                f"partition {partition}: {len(records)} records ({len(set(records))} different) of {len(expected)}, "
                f"other than expected from {at}: {records[at:at + 3]} instead of {expected[at:at + 3]}"
            )
    return "\n".join(problems)


def uncommitted(cluster, topics):
    """The groups are named as the topics they write to. From where they committed, they have nothing more to read."""
    problems = []
    for source, group in zip(topics, topics[1:]):
        asked = cluster.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        places = {p.partition: p.offset for p in asked[group].result(SECONDS).topic_partitions}
        reader = Reader(cluster, source, places).read(1, 2)
        if reader.count() or len(places) != PARTITIONS or min(places.values()) < 0:
            problems.append(f"{group} committed {places} of {source} and has {reader.count()} records or more to read")
        reader.close()
    return "\n".join(problems)


def offsets(admin, topic, spec, isolation=IsolationLevel.READ_UNCOMMITTED):
    asked = admin.list_offsets(
        {TopicPartition(topic, p): spec for p in range(PARTITIONS)}, isolation_level=isolation, request_timeout=SECONDS
    )
    return {place.partition: future.result(SECONDS).offset for place, future in asked.items()}


def hanging(cluster, topics):
    """Copiers that were killed leave transactions; these end when their 30 s are over."""
    admin = cluster.admin

    def behind():
        return {
            topic: (ends, stable)
            for topic in topics
            for ends in [offsets(admin, topic, OffsetSpec.latest())]
            for stable in [offsets(admin, topic, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)]
            if ends != stable
        }

    try:
        wait_until(lambda: not behind(), limit=90)
    except TimeoutError:
        return f"end and last stable offset: {behind()}"


if __name__ == "__main__":
    main(suite, __doc__, kills=10)
