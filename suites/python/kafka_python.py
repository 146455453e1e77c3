"""kafka-python, the client in Python alone: writing, reading, groups, transactions and its admin client.

usage: kafka_python.py HOST:PORT[,HOST:PORT]...
"""

import sys
import threading
import time
import traceback
import uuid

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.structs import OffsetAndMetadata, TopicPartition

SECONDS = 30  # how long anything may take

BOOTSTRAP = sys.argv[1].split(",") if len(sys.argv) == 2 else sys.exit(__doc__)
ADMIN = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def name():
    return f"kafka-python-{uuid.uuid4()}"


def new_topic(partitions=1):
    topic = name()
    ADMIN.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)])
    wait_until(lambda: topic in ADMIN.list_topics())
    return topic


def wait_until(true):
    """Apache Kafka answers before its broker knows of a change."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def write(topic, values, partition=None, **settings):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)
    answers = [producer.send(topic, value, partition=partition) for value in values]
    offsets = [answer.get(timeout=SECONDS).offset for answer in answers]
    producer.close()
    return offsets


def consumer(**settings):
    return KafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        **{"auto_offset_reset": "earliest", "enable_auto_commit": False, **settings},
    )


def member(group, topic, **settings):
    client = consumer(group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500, **settings)
    client.subscribe([topic])
    return client


def take(client, count):
    deadline, records = time.monotonic() + SECONDS, []
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records came"
        for some in client.poll(timeout_ms=200, max_records=count - len(records)).values():
            records.extend(some)
    return records


def read(topic, count, **settings):
    client = consumer(**settings)
    client.assign([TopicPartition(topic, 0)])
    records = take(client, count)
    client.close()
    return records


def numbered(count):
    return [str(n).encode() for n in range(count)]


def every_codec_and_ack_stores_the_records():
    for settings in [{"compression_type": "gzip"}, {"acks": 1}, {"acks": "all", "linger_ms": 20}]:
        topic = new_topic()
        assert write(topic, numbered(500), **settings) == list(range(500)), settings
        assert [r.value for r in read(topic, 500)] == numbered(500), settings


def keys_headers_and_timestamps_are_kept():
    topic = new_topic()
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)
    producer.send(topic, None, b"key", headers=[("a", b"1"), ("a", b"2")], timestamp_ms=1356998400123).get(SECONDS)
    producer.close()
    record = read(topic, 1)[0]
    assert (record.key, record.value, record.timestamp) == (b"key", None, 1356998400123)
    assert list(record.headers) == [("a", b"1"), ("a", b"2")]


def the_ends_of_a_log_and_offsets_by_time_are_known():
    topic = new_topic()
    write(topic, numbered(10))
    client, place = consumer(), TopicPartition(topic, 0)
    assert client.beginning_offsets([place]) == {place: 0}
    assert client.end_offsets([place]) == {place: 10}
    assert client.offsets_for_times({place: 1})[place].offset == 0
    client.close()


class Reading:
    """Members that are polled side by side, as members of a group live in processes of their own."""

    def __init__(self, *members):
        self.members, self.records, self.done = list(members), [], threading.Event()
        self.threads = [threading.Thread(target=self.poll, args=[m], daemon=True) for m in members]
        for thread in self.threads:
            thread.start()

    def poll(self, client):
        while not self.done.is_set():
            for some in client.poll(timeout_ms=100).values():
                self.records.extend(some)

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join(SECONDS)


def two_members_share_the_partitions_of_a_topic():
    topic, group = new_topic(4), name()
    first, second = member(group, topic), member(group, topic)
    both = Reading(first, second)
    wait_until(lambda: sorted(len(m.assignment()) for m in (first, second)) == [2, 2])
    for partition in range(4):
        write(topic, numbered(25), partition)
    wait_until(lambda: len(both.records) >= 100)
    both.stop()
    assert {p.partition for m in (first, second) for p in m.assignment()} == {0, 1, 2, 3}
    assert len(both.records) == 100 and len({(r.partition, r.offset) for r in both.records}) == 100
    first.close()
    rest = Reading(second)
    wait_until(lambda: len(second.assignment()) == 4)
    rest.stop()
    second.close()


def a_group_goes_on_where_it_committed():
    topic, group = new_topic(), name()
    write(topic, numbered(10))
    first = member(group, topic)
    taken = take(first, 4)
    place = TopicPartition(topic, 0)
    first.commit({place: OffsetAndMetadata(taken[-1].offset + 1, "four", -1)})
    first.close()
    second = member(group, topic)
    assert [r.value for r in take(second, 6)] == numbered(10)[4:]
    assert second.committed(place) == 4
    assert second.committed(place, metadata=True).metadata == "four"
    second.close()


def a_static_member_comes_back_without_a_rebalance():
    topic, group = new_topic(2), name()
    first = member(group, topic, group_instance_id="one")
    wait_until(lambda: first.poll(timeout_ms=200) is not None and len(first.assignment()) == 2)
    before = first.group_metadata()
    first.close()
    again = member(group, topic, group_instance_id="one")
    wait_until(lambda: again.poll(timeout_ms=200) is not None and len(again.assignment()) == 2)
    assert again.group_metadata().generation_id == before.generation_id
    again.close()


def a_committed_transaction_is_read_and_an_aborted_one_is_not():
    topic = new_topic()
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name())
    producer.init_transactions()
    for value, end in [(b"kept", producer.commit_transaction), (b"gone", producer.abort_transaction)] * 2:
        producer.begin_transaction()
        # What was not sent yet, an abort does not send.
        producer.send(topic, value).get(SECONDS)
        end()
    producer.close()
    assert [r.value for r in read(topic, 2, isolation_level="read_committed")] == [b"kept"] * 2
    assert len(read(topic, 4)) == 4


def offsets_are_committed_in_a_transaction():
    topic, target, group = new_topic(), new_topic(), name()
    write(topic, numbered(10))
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name())
    producer.init_transactions()
    first, place = member(group, topic, isolation_level="read_committed"), TopicPartition(topic, 0)
    taken = take(first, 5)
    for offset, end in [(3, producer.commit_transaction), (5, producer.abort_transaction)]:
        producer.begin_transaction()
        producer.send(target, taken[offset - 1].value)
        producer.send_offsets_to_transaction({place: OffsetAndMetadata(offset, "", -1)}, first.group_metadata())
        end()
    assert first.committed(place) == 3
    first.close(), producer.close()
    assert [r.value for r in read(target, 1, isolation_level="read_committed")] == [b"2"]


def groups_are_listed_described_changed_and_deleted():
    topic, group = new_topic(), name()
    write(topic, numbered(10))
    client, place = member(group, topic), TopicPartition(topic, 0)
    take(client, 10)
    client.commit()
    described = ADMIN.describe_groups([group])
    assert "Stable" in str(described), described
    client.close()
    assert group in str(ADMIN.list_groups())
    assert ADMIN.list_group_offsets(group)[group][place].offset == 10
    ADMIN.alter_group_offsets(group, {place: OffsetAndMetadata(3, "", -1)})
    assert ADMIN.list_group_offsets(group)[group][place].offset == 3
    ADMIN.delete_groups([group])
    assert group not in str(ADMIN.list_groups())


CHECKS = [
    every_codec_and_ack_stores_the_records,
    keys_headers_and_timestamps_are_kept,
    the_ends_of_a_log_and_offsets_by_time_are_known,
    two_members_share_the_partitions_of_a_topic,
    a_group_goes_on_where_it_committed,
    a_static_member_comes_back_without_a_rebalance,
    a_committed_transaction_is_read_and_an_aborted_one_is_not,
    offsets_are_committed_in_a_transaction,
    groups_are_listed_described_changed_and_deleted,
]


def main():
    failed = 0
    for check in CHECKS:
        title = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok   {title}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {title}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
