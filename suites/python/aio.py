"""aiokafka, the client for asyncio: writing, reading, groups and transactions.

usage: aio.py HOST:PORT[,HOST:PORT]...
"""

import asyncio
import sys
import traceback
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

SECONDS = 30  # how long anything may take

BOOTSTRAP = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)


def name():
    return f"aiokafka-{uuid.uuid4()}"


async def new_topic(partitions=1):
    topic = name()
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await wait_until_true(admin.list_topics, lambda topics: topic in topics)
    await admin.close()
    return topic


async def wait_until_true(ask, true):
    """Apache Kafka answers before its broker knows of a change."""
    async with asyncio.timeout(SECONDS):
        while not true(await ask()):
            await asyncio.sleep(0.1)


async def wait_until(true):
    async with asyncio.timeout(SECONDS):
        while not true():
            await asyncio.sleep(0.1)


async def write(topic, values, partition=None, **settings):
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **settings) as producer:
        answers = [await producer.send(topic, value, partition=partition) for value in values]
        return [(await answer).offset for answer in answers]


def consumer(*topics, **settings):
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=BOOTSTRAP,
        **{"auto_offset_reset": "earliest", "enable_auto_commit": False, **settings},
    )


def member(group, topic, **settings):
    return consumer(topic, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500, **settings)


async def take(client, count):
    async with asyncio.timeout(SECONDS):
        return [await client.getone() for _ in range(count)]


async def read(topic, count, **settings):
    async with consumer(**settings) as client:
        client.assign([TopicPartition(topic, 0)])
        return await take(client, count)


def numbered(count):
    return [str(n).encode() for n in range(count)]


async def every_codec_and_ack_stores_the_records():
    for settings in [{"compression_type": "gzip"}, {"acks": 1}, {"enable_idempotence": True}]:
        topic = await new_topic()
        assert await write(topic, numbered(500), **settings) == list(range(500)), settings
        assert [r.value for r in await read(topic, 500)] == numbered(500), settings


async def two_members_share_the_partitions_of_a_topic():
    topic, group = await new_topic(4), name()
    first, second, seen = member(group, topic), member(group, topic), []

    async def poll(client):
        async for record in client:
            seen.append((record.partition, record.offset))

    await first.start(), await second.start()
    readers = [asyncio.create_task(poll(client)) for client in (first, second)]
    await wait_until(lambda: [len(client.assignment()) for client in (first, second)] == [2, 2])
    for partition in range(4):
        await write(topic, numbered(25), partition)
    await wait_until(lambda: len(seen) >= 100)
    assert len(seen) == len(set(seen)) == 100
    readers[0].cancel()
    await first.stop()
    await wait_until(lambda: len(second.assignment()) == 4)
    readers[1].cancel()
    await second.stop()


async def a_group_goes_on_where_it_committed():
    topic, group, place = await new_topic(), name(), None
    await write(topic, numbered(10))
    async with member(group, topic) as first:
        await take(first, 4)
        place = TopicPartition(topic, 0)
        await first.commit({place: (4, "four")})
    async with member(group, topic) as second:
        assert [r.value for r in await take(second, 6)] == numbered(10)[4:]
        assert await second.committed(place) == 4


async def auto_commit_commits_what_was_read():
    topic, group = await new_topic(), name()
    await write(topic, numbered(10))
    async with member(group, topic, enable_auto_commit=True, auto_commit_interval_ms=100) as first:
        await take(first, 10)
    async with member(group, topic) as second:
        await wait_until(lambda: second.assignment())
        assert await second.committed(TopicPartition(topic, 0)) == 10


async def a_committed_transaction_is_read_and_an_aborted_one_is_not():
    topic = await new_topic()
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name()) as producer:
        for value, keeps in [(b"kept", True), (b"gone", False)] * 2:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)
            await (producer.commit_transaction() if keeps else producer.abort_transaction())
    assert [r.value for r in await read(topic, 2, isolation_level="read_committed")] == [b"kept"] * 2
    assert len(await read(topic, 4)) == 4


async def offsets_are_committed_in_a_transaction():
    topic, target, group, place = await new_topic(), await new_topic(), name(), None
    await write(topic, numbered(10))
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name()) as producer:
        async with member(group, topic, isolation_level="read_committed") as first:
            taken, place = await take(first, 5), TopicPartition(topic, 0)
            for offset, keeps in [(3, True), (5, False)]:
                await producer.begin_transaction()
                await producer.send(target, taken[offset - 1].value)
                await producer.send_offsets_to_transaction({place: offset}, group)
                await (producer.commit_transaction() if keeps else producer.abort_transaction())
            assert await first.committed(place) == 3
    assert [r.value for r in await read(target, 1, isolation_level="read_committed")] == [b"2"]


async def groups_are_listed_and_described():
    topic, group = await new_topic(), name()
    await write(topic, numbered(10))
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    async with member(group, topic) as client:
        await take(client, 10)
        await client.commit()
        assert (group, "consumer") in await admin.list_consumer_groups()
        assert "Stable" in str(await admin.describe_consumer_groups([group]))
    offsets = await admin.list_consumer_group_offsets(group)
    assert offsets[TopicPartition(topic, 0)].offset == 10
    await admin.close()


CHECKS = [
    every_codec_and_ack_stores_the_records,
    two_members_share_the_partitions_of_a_topic,
    a_group_goes_on_where_it_committed,
    auto_commit_commits_what_was_read,
    a_committed_transaction_is_read_and_an_aborted_one_is_not,
    offsets_are_committed_in_a_transaction,
    groups_are_listed_and_described,
]


def main():
    failed = 0
    for check in CHECKS:
        title = check.__name__.replace("_", " ")
        try:
            asyncio.run(asyncio.wait_for(check(), 3 * SECONDS))
            print(f"ok   {title}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {title}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
