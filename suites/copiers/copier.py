"""Copies one topic to another, partition by partition, in transactions; each value gets the copier's mark at its end.

usage: copier.py HOST:PORT[,HOST:PORT]... TRANSACTIONAL-ID classic|consumer FROM TO
"""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

# Where all brokers are away at once, librdkafka 2.16 forgets them and looks for them anew; an offset commit that it has
# already given to the forgotten broker is then never sent, and the call never returns.
COMMON = {"metadata.recovery.strategy": "none"}
SECONDS = 30  # how long the client may try by itself before it asks us


def main(bootstrap, name, protocol, source, target):
    common = {"bootstrap.servers": bootstrap, **COMMON}
    producer = Producer({**common, "transactional.id": name, "transaction.timeout.ms": 30000})
    again(lambda: producer.init_transactions(SECONDS))
    classic = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1500} if protocol == "classic" else {}
    consumer = Consumer(
        {
            **common,
            "group.id": target,
            "group.protocol": protocol,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            **classic,
        }
    )
    consumer.subscribe([source])
    while True:
        messages = [m for m in consumer.consume(200, 0.5) if not said_no(m)]
        if messages:
            copy(consumer, producer, messages, target)


def said_no(message):
    if message.error():
        print("fetch:", message.error(), flush=True)
    return message.error()


def copy(consumer, producer, messages, target):
    producer.begin_transaction()
    try:
        for m in messages:
            write(producer, target, m)
        following = {(m.topic(), m.partition()): m.offset() + 1 for m in messages}
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in following.items()]
        again(lambda: producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), SECONDS))
        again(lambda: producer.commit_transaction(SECONDS))
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise
        print("aborts:", error, flush=True)
        again(lambda: producer.abort_transaction(SECONDS))
        rewind(consumer)


def write(producer, target, m):
    value = m.value() + b">python"
    while True:
        try:
            return producer.produce(target, value, m.key(), partition=m.partition())
        except BufferError:
            producer.poll(0.1)


def again(call):
    """What librdkafka calls retriable may be asked for again, and only that."""
    while True:
        try:
            return call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            print("again:", error, flush=True)


def rewind(consumer):
    for place in again(lambda: consumer.committed(consumer.assignment(), SECONDS)):
        offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
        consumer.seek(TopicPartition(place.topic, place.partition, offset))


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
