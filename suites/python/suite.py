"""librdkafka, through confluent-kafka: every way to write and read, alone and in groups.

usage: suite.py HOST:PORT[,HOST:PORT]...
"""

import functools
import sys
import time
import traceback
import uuid

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SECONDS = 20  # how long anything may take

BOOTSTRAP = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)


@functools.cache
def admin():
    """One client for all: its answers come only as long as it lives."""
    return AdminClient({"bootstrap.servers": BOOTSTRAP})


def producer(**settings):
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return Producer({"bootstrap.servers": BOOTSTRAP, **named})


def consumer(**settings):
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            # librdkafka insists on a name; without subscribe and commit no group comes to be.
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **named,
        }
    )


def new_topic(partitions=1, **config):
    name = f"python-{uuid.uuid4()}"
    named = {key.replace("_", "."): value for key, value in config.items()}
    done(admin().create_topics([NewTopic(name, partitions, 1, config=named)])[name])
    wait_until(lambda: name in topics())
    return name


def topics():
    return admin().list_topics(timeout=SECONDS).topics


def wait_until(true):
    """Apache Kafka answers before its broker knows of a change."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def done(future):
    return future.result(timeout=SECONDS)


def fails_with(code, action):
    """Runs `action`, which must fail with this Kafka error."""
    try:
        action()
    except KafkaException as error:
        assert error.args[0].code() == code, error
    else:
        raise AssertionError(f"no error where {code} was due")


def write(topic, records, **settings):
    """Produces (key, value) pairs or dicts of arguments; returns the delivered messages in order."""
    client, delivered = producer(**settings), []

    def on_delivery(error, message):
        assert error is None, error
        delivered.append(message)

    for record in records:
        arguments = record if isinstance(record, dict) else dict(zip(("key", "value"), record))
        client.produce(topic, on_delivery=on_delivery, **arguments)
    assert client.flush(SECONDS) == 0, "not everything was delivered"
    return delivered


def read(topic, count, partition=0, offset=OFFSET_BEGINNING, **settings):
    """The next `count` messages of a partition from `offset` on."""
    client = consumer(**settings)
    client.assign([TopicPartition(topic, partition, offset)])
    try:
        return take(client, count)
    finally:
        client.close()


def take(client, count):
    messages, deadline = [], time.monotonic() + SECONDS
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} messages came"
        message = client.poll(0.5)
        if message is not None:
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def pairs(messages):
    return [(message.key(), message.value()) for message in messages]


# --- writing and reading


def every_codec_comes_back_as_it_was_written():
    records = [(f"key {i}".encode(), f"value {i} ".encode() * 50) for i in range(500)]
    for codec in CODECS:
        topic = new_topic()
        write(topic, records, compression_type=codec, linger_ms=20)
        assert pairs(read(topic, len(records))) == records, codec


def a_topic_re_compresses_nothing_that_a_reader_could_see():
    for codec in CODECS[1:] + ["producer", "uncompressed"]:
        topic = new_topic(compression_type=codec)
        records = [(None, b"x" * 1000)] * 50
        write(topic, records, compression_type="gzip", linger_ms=20)
        assert pairs(read(topic, len(records))) == records, codec


def null_and_empty_keys_and_values_differ():
    topic = new_topic()
    records = [(None, None), (b"", b""), (None, b""), (b"", None), (b"k", b"v")]
    write(topic, records)
    assert pairs(read(topic, len(records))) == records


def headers_keep_their_order_their_repeats_and_their_nulls():
    topic = new_topic()
    headers = [("b", b"2"), ("a", b""), ("a", None), ("b", b"\x00\xff")]
    write(topic, [{"value": b"v", "headers": headers}, {"value": b"w"}])
    first, second = read(topic, 2)
    assert first.headers() == headers
    assert second.headers() is None


def a_clients_timestamp_is_kept():
    topic = new_topic()
    stamps = [1, 1_356_998_400_000, 1_356_998_399_999, int(time.time() * 1000)]
    write(topic, [{"value": b"v", "timestamp": stamp} for stamp in stamps])
    assert [message.timestamp() for message in read(topic, len(stamps))] == [(1, s) for s in stamps]


def log_append_time_is_the_servers():
    topic = new_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    write(topic, [{"value": b"v", "timestamp": 1}])
    kind, stamp = read(topic, 1)[0].timestamp()
    assert kind == 2 and before - 1000 <= stamp <= int(time.time() * 1000) + 1000, (kind, stamp)


def every_ack_setting_stores_the_records():
    for acks in ["0", "1", "all"]:
        topic = new_topic()
        records = [(None, f"{i}".encode()) for i in range(100)]
        write(topic, records, acks=acks)
        assert pairs(read(topic, len(records))) == records, acks


def an_idempotent_producer_stores_each_record_once_and_in_order():
    topic = new_topic()
    records = [(None, f"{i}".encode()) for i in range(2000)]
    delivered = write(topic, records, enable_idempotence=True, batch_num_messages=50)
    assert [message.offset() for message in delivered] == list(range(len(records)))
    assert pairs(read(topic, len(records))) == records


def the_default_partitioner_keeps_a_key_in_one_partition():
    topic = new_topic(partitions=6)
    delivered = write(topic, [(f"{i % 10}".encode(), b"v") for i in range(200)])
    homes = {}
    for message in delivered:
        homes.setdefault(message.key(), set()).add(message.partition())
    assert all(len(home) == 1 for home in homes.values())
    assert len(set().union(*homes.values())) > 1


def a_record_over_the_topics_limit_is_refused_and_others_are_not():
    topic = new_topic(max_message_bytes="2000")
    client, outcomes = producer(linger_ms=0), []
    for size in (100, 5000, 100):
        client.produce(topic, b"x" * size, on_delivery=lambda error, _: outcomes.append(error))
        assert client.flush(SECONDS) == 0
    assert outcomes[0] is None and outcomes[2] is None
    assert outcomes[1].code() == KafkaError.MSG_SIZE_TOO_LARGE, outcomes[1]
    assert len(read(topic, 2)) == 2


def a_large_record_passes():
    topic = new_topic()
    value = bytes(range(256)) * 3600  # 900 KiB
    write(topic, [(None, value)])
    assert read(topic, 1)[0].value() == value
    assert read(topic, 1, fetch_message_max_bytes=1000)[0].value() == value, "one batch always fits"


def writing_to_an_unknown_topic_makes_it():
    topic = f"python-{uuid.uuid4()}"
    write(topic, [{"value": b"v", "partition": 0}])
    wait_until(lambda: topic in topics())
    assert pairs(read(topic, 1)) == [(None, b"v")]


# --- offsets


def a_consumer_starts_where_it_is_told_and_seeks():
    topic = new_topic()
    write(topic, [(None, f"{i}".encode()) for i in range(100)], batch_num_messages=10)
    assert read(topic, 1, offset=37)[0].value() == b"37"
    client = consumer()
    client.assign([TopicPartition(topic, 0, 90)])
    assert take(client, 10)[-1].offset() == 99
    client.seek(TopicPartition(topic, 0, 3))
    assert take(client, 1)[0].offset() == 3
    client.close()


def a_consumer_at_the_end_sees_only_what_comes():
    topic = new_topic()
    write(topic, [(None, b"old")])
    client = consumer()
    client.assign([TopicPartition(topic, 0, OFFSET_END)])
    assert client.poll(2) is None
    write(topic, [(None, b"new")])
    assert take(client, 1)[0].value() == b"new"
    client.close()


def the_end_of_a_partition_is_reported():
    topic = new_topic()
    write(topic, [(None, b"v")])
    client = consumer(enable_partition_eof=True)
    client.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    events = [client.poll(SECONDS) for _ in range(2)]
    assert events[0].error() is None
    assert events[1].error().code() == KafkaError._PARTITION_EOF
    client.close()


def an_offset_past_the_end_is_reset():
    topic = new_topic()
    write(topic, [(None, b"first")])
    assert read(topic, 1, offset=1000)[0].value() == b"first"


def paused_partitions_stay_silent():
    topic = new_topic(partitions=2)
    write(topic, [{"value": b"v", "partition": p} for p in (0, 1)])
    client = consumer()
    client.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in (0, 1)])
    client.pause([TopicPartition(topic, 1)])
    assert take(client, 1)[0].partition() == 0
    assert client.poll(1) is None
    client.resume([TopicPartition(topic, 1)])
    assert take(client, 1)[0].partition() == 1
    client.close()


def watermarks_are_the_ends_of_the_log():
    topic = new_topic()
    client = consumer()
    partition = TopicPartition(topic, 0)
    assert client.get_watermark_offsets(partition, timeout=SECONDS) == (0, 0)
    write(topic, [(None, b"v")] * 5)
    assert client.get_watermark_offsets(partition, timeout=SECONDS) == (0, 5)
    client.close()


def offsets_are_found_by_time():
    topic = new_topic()
    write(topic, [{"value": b"v", "timestamp": 1000 * i} for i in range(1, 11)])
    client = consumer()

    def at(stamp):
        answer = client.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=SECONDS)
        return answer[0].offset

    assert at(1) == 0
    assert at(3000) == 2
    assert at(3001) == 3
    assert at(99_000) == OFFSET_END
    client.close()


def list_offsets_knows_earliest_latest_and_the_largest_timestamp():
    topic = new_topic()
    write(topic, [{"value": b"v", "timestamp": stamp} for stamp in (5000, 9000, 7000)])
    partition = TopicPartition(topic, 0)

    def ask(spec):
        return done(admin().list_offsets({partition: spec})[partition])

    assert ask(OffsetSpec.earliest()).offset == 0
    assert ask(OffsetSpec.latest()).offset == 3
    largest = ask(OffsetSpec.max_timestamp())
    assert (largest.offset, largest.timestamp) == (1, 9000), (largest.offset, largest.timestamp)
    assert ask(OffsetSpec.for_timestamp(6000)).offset == 1


def deleted_records_are_gone():
    topic = new_topic()
    write(topic, [(None, f"{i}".encode()) for i in range(10)])
    answer = admin().delete_records([TopicPartition(topic, 0, 4)])
    assert [done(future).low_watermark for future in answer.values()] == [4]
    assert read(topic, 6)[0].offset() == 4
    everything = admin().delete_records([TopicPartition(topic, 0, OFFSET_END)])
    assert [done(future).low_watermark for future in everything.values()] == [10]
    beyond = admin().delete_records([TopicPartition(topic, 0, 11)])
    fails_with(KafkaError.OFFSET_OUT_OF_RANGE, lambda: [done(f) for f in beyond.values()])


# --- topics and configurations


def topics_come_and_go():
    topic = new_topic(partitions=3)
    listed = admin().list_topics(timeout=SECONDS)
    assert sorted(listed.topics[topic].partitions) == [0, 1, 2]
    assert len(listed.brokers) >= 1
    done(admin().delete_topics([topic])[topic])
    wait_until(lambda: topic not in topics())


def a_topic_is_described_with_its_id():
    topic = new_topic(partitions=2)
    answer = done(admin().describe_topics(TopicCollection([topic]))[topic])
    assert answer.name == topic and not answer.is_internal and len(answer.partitions) == 2
    assert str(answer.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA"


def bad_topics_are_refused():
    topic = new_topic()

    def create(name, partitions=1, **arguments):
        return done(admin().create_topics([NewTopic(name, partitions, 1, **arguments)])[name])

    fails_with(KafkaError.TOPIC_ALREADY_EXISTS, lambda: create(topic))
    fails_with(KafkaError.TOPIC_EXCEPTION, lambda: create("no spaces"))
    fails_with(KafkaError.INVALID_PARTITIONS, lambda: create(topic + "x", partitions=0))
    fails_with(KafkaError.INVALID_CONFIG, lambda: create(topic + "x", config={"no.such": "1"}))
    bad_value = {"retention.ms": "soon"}
    fails_with(KafkaError.INVALID_CONFIG, lambda: create(topic + "x", config=bad_value))
    unknown = admin().delete_topics([topic + "x"])[topic + "x"]
    fails_with(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: done(unknown))


def validating_a_topic_makes_none():
    topic = f"python-{uuid.uuid4()}"
    done(admin().create_topics([NewTopic(topic, 1, 1)], validate_only=True)[topic])
    assert topic not in topics()


def partitions_are_added_and_never_taken():
    topic = new_topic()
    done(admin().create_partitions([NewPartitions(topic, 4)])[topic])
    wait_until(lambda: len(topics()[topic].partitions) == 4)
    write(topic, [{"value": b"v", "partition": 3}])
    fewer = admin().create_partitions([NewPartitions(topic, 2)])[topic]
    fails_with(KafkaError.INVALID_PARTITIONS, lambda: done(fewer))


def describe(resource):
    return done(admin().describe_configs([resource])[resource])


def topic_config(topic, name):
    return describe(ConfigResource(ResourceType.TOPIC, topic))[name].value


def configurations_show_their_value_and_where_it_is_from():
    topic = new_topic(retention_ms="1234567")
    entries = describe(ConfigResource(ResourceType.TOPIC, topic))
    assert entries["retention.ms"].value == "1234567"
    assert entries["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    assert entries["cleanup.policy"].value == "delete"
    assert entries["cleanup.policy"].source == ConfigSource.DEFAULT_CONFIG.value


def a_configuration_is_set_and_deleted():
    topic = new_topic()

    def alter(operation, value=None):
        entry = ConfigEntry("max.message.bytes", value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        done(admin().incremental_alter_configs([resource])[resource])

    def shows(value):
        wait_until(lambda: topic_config(topic, "max.message.bytes") == value)

    alter(AlterConfigOpType.SET, "54321")
    shows("54321")
    alter(AlterConfigOpType.DELETE)
    shows("1048588")
    fails_with(KafkaError.INVALID_CONFIG, lambda: alter(AlterConfigOpType.SET, "-7"))


def a_list_configuration_is_appended_to():
    topic = new_topic()
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    done(admin().incremental_alter_configs([resource])[resource])
    both = ["compact", "delete"]
    wait_until(lambda: sorted(topic_config(topic, "cleanup.policy").split(",")) == both)


def the_broker_shows_its_configuration():
    broker = next(iter(admin().list_topics(timeout=SECONDS).brokers))
    entries = describe(ConfigResource(ResourceType.BROKER, str(broker)))
    assert int(entries["num.partitions"].value) >= 1
    assert entries["message.max.bytes"].value == "1048588"


def the_cluster_is_described():
    answer = done(admin().describe_cluster())
    assert answer.cluster_id and answer.controller is not None
    assert len(answer.nodes) >= 1


# --- groups


def group_name():
    return f"python-{uuid.uuid4()}"


def member(group, topic, protocol="classic", **settings):
    """A member of a group, of either protocol."""
    if protocol == "classic":
        settings = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500, **settings}
    client = consumer(group_id=group, group_protocol=protocol, **settings)
    client.subscribe([topic])
    return client


def share(members, enough):
    """Polls all of them until `enough`, a question about the sizes of their assignments, is true."""
    deadline, seen = time.monotonic() + SECONDS, []
    while not enough([len(m.assignment()) for m in members]):
        assert time.monotonic() < deadline, [m.assignment() for m in members]
        for m in members:
            message = m.poll(0.1)
            if message is not None:
                assert message.error() is None, message.error()
                seen.append(message)
    return seen


def members_share_the_partitions_of_a_topic():
    for protocol in ["classic", "consumer"]:
        topic, group = new_topic(partitions=4), group_name()
        first = member(group, topic, protocol)
        share([first], lambda sizes: sizes == [4])
        second = member(group, topic, protocol)
        share([first, second], lambda sizes: sizes == [2, 2])
        theirs = {p.partition for m in (first, second) for p in m.assignment()}
        assert theirs == {0, 1, 2, 3}, protocol
        first.close()
        share([second], lambda sizes: sizes == [4])
        second.close()


def a_group_goes_on_where_it_committed():
    for protocol in ["classic", "consumer"]:
        topic, group = new_topic(), group_name()
        write(topic, [(b"k", str(i).encode()) for i in range(10)])
        first = member(group, topic, protocol)
        taken = take(first, 4)
        first.commit(taken[-1], asynchronous=False)
        first.close()
        second = member(group, topic, protocol)
        assert [m.value() for m in take(second, 6)] == [str(i).encode() for i in range(4, 10)]
        at = second.committed([TopicPartition(topic, 0)], timeout=SECONDS)
        assert at[0].offset == 4, (protocol, at)
        second.close()


def what_was_never_committed_has_no_offset():
    topic = new_topic()
    client = consumer(group_id=group_name())
    assert client.committed([TopicPartition(topic, 0)], timeout=SECONDS)[0].offset < 0
    client.close()


def the_words_of_a_commit_come_back():
    topic, group = new_topic(), group_name()
    client = consumer(group_id=group)
    client.commit(offsets=[TopicPartition(topic, 0, 7, metadata="läuft")], asynchronous=False)
    at = client.committed([TopicPartition(topic, 0)], timeout=SECONDS)[0]
    assert (at.offset, at.metadata) == (7, "läuft"), at
    client.close()


def a_cooperative_member_keeps_what_it_has():
    topic, group = new_topic(partitions=4), group_name()
    settings = {"partition_assignment_strategy": "cooperative-sticky"}
    lost = []
    first = consumer(
        group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500, **settings
    )
    first.subscribe([topic], on_revoke=lambda _, gone: lost.extend(gone))
    share([first], lambda sizes: sizes == [4])
    second = member(group, topic, **settings)
    share([first, second], lambda sizes: sizes == [2, 2])
    assert len(lost) == 2, lost
    first.close(), second.close()


def a_static_member_comes_back_without_a_rebalance():
    topic, group = new_topic(partitions=2), group_name()
    settings = {"group_instance_id": "one", "session_timeout_ms": 10000}
    first = member(group, topic, **settings)
    share([first], lambda sizes: sizes == [2])
    other = member(group, topic, group_instance_id="two")
    share([first, other], lambda sizes: sizes == [1, 1])
    before = {p.partition for p in first.assignment()}
    first.close()  # a static member does not leave
    again = member(group, topic, **settings)
    share([again, other], lambda sizes: sizes == [1, 1])
    assert {p.partition for p in again.assignment()} == before
    again.close(), other.close()


def groups_are_listed_described_and_deleted():
    topic, group = new_topic(), group_name()
    client = member(group, topic)
    share([client], lambda sizes: sizes == [1])
    listed = done(admin().list_consumer_groups()).valid
    assert group in {g.group_id for g in listed}
    shown = done(admin().describe_consumer_groups([group])[group])
    assert shown.state.name == "STABLE" and len(shown.members) == 1, shown
    fails_with(KafkaError.NON_EMPTY_GROUP, lambda: done(admin().delete_consumer_groups([group])[group]))
    client.close()
    done(admin().delete_consumer_groups([group])[group])
    assert group not in {g.group_id for g in done(admin().list_consumer_groups()).valid}


def an_administrator_moves_the_offsets_of_an_empty_group():
    topic, group = new_topic(), group_name()
    to = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])
    done(admin().alter_consumer_group_offsets([to])[group])
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
    shown = done(admin().list_consumer_group_offsets([asked])[group])
    assert shown.topic_partitions[0].offset == 3, shown


CHECKS = [
    every_codec_comes_back_as_it_was_written,
    a_topic_re_compresses_nothing_that_a_reader_could_see,
    null_and_empty_keys_and_values_differ,
    headers_keep_their_order_their_repeats_and_their_nulls,
    a_clients_timestamp_is_kept,
    log_append_time_is_the_servers,
    every_ack_setting_stores_the_records,
    an_idempotent_producer_stores_each_record_once_and_in_order,
    the_default_partitioner_keeps_a_key_in_one_partition,
    a_record_over_the_topics_limit_is_refused_and_others_are_not,
    a_large_record_passes,
    writing_to_an_unknown_topic_makes_it,
    a_consumer_starts_where_it_is_told_and_seeks,
    a_consumer_at_the_end_sees_only_what_comes,
    the_end_of_a_partition_is_reported,
    an_offset_past_the_end_is_reset,
    paused_partitions_stay_silent,
    watermarks_are_the_ends_of_the_log,
    offsets_are_found_by_time,
    list_offsets_knows_earliest_latest_and_the_largest_timestamp,
    deleted_records_are_gone,
    topics_come_and_go,
    a_topic_is_described_with_its_id,
    bad_topics_are_refused,
    validating_a_topic_makes_none,
    partitions_are_added_and_never_taken,
    configurations_show_their_value_and_where_it_is_from,
    a_configuration_is_set_and_deleted,
    a_list_configuration_is_appended_to,
    the_broker_shows_its_configuration,
    the_cluster_is_described,
    members_share_the_partitions_of_a_topic,
    a_group_goes_on_where_it_committed,
    what_was_never_committed_has_no_offset,
    the_words_of_a_commit_come_back,
    a_cooperative_member_keeps_what_it_has,
    a_static_member_comes_back_without_a_rebalance,
    groups_are_listed_described_and_deleted,
    an_administrator_moves_the_offsets_of_an_empty_group,
]


def main():
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok   {name}")
        except Exception:
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc(limit=-3)}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
