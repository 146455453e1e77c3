import static java.util.Map.of;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

/** The Java client with its defaults: an idempotent producer, and a consumer whose partitions are assigned. */
public final class ClientSuite {
    private final Clients clients;
    private final Admin admin;

    private ClientSuite(String bootstrap) {
        clients = new Clients(bootstrap);
        admin = Admin.create(clients.properties(of()));
    }

    public static void main(String[] args) {
        if (args.length != 1) {
            System.err.println("usage: ClientSuite HOST:PORT[,HOST:PORT]...");
            System.exit(2);
        }
        var suite = new Suite();
        var client = new ClientSuite(args[0]);
        client.addTo(suite);
        new AdminChecks(client.clients, client.admin).addTo(suite);
        new GroupChecks(client.clients, client.admin).addTo(suite);
        suite.runAndExit();
    }

    private void addTo(Suite suite) {
        suite.check("records come back with every codec", this::everyCodec);
        suite.check("the default producer's offsets are dense and its records in order", this::defaultProducer);
        suite.check("keys, values, headers and timestamps are kept", this::fields);
        suite.check("LogAppendTime is the server's clock, in the answer too", this::logAppendTime);
        suite.check("every ack setting stores the records", this::acks);
        suite.check("sixteen partitions fill side by side", this::manyPartitions);
        suite.check("a record over max.message.bytes is refused alone", this::tooLarge);
        suite.check("a bad topic name is refused", this::badTopic);
        suite.check("a consumer seeks, pauses and resumes", this::seek);
        suite.check("a consumer reads committed records", this::readCommitted);
        suite.check("a consumer past the end is told so", this::outOfRange);
        suite.check("offsets are found by time, at the beginning and at the end", this::offsets);
        suite.check("the lag of a reader is known", this::lag);
        suite.check("small fetches bring everything, in order", this::smallFetches);
    }

    private String newTopic(int partitions, Map<String, String> configs) throws Exception {
        return newTopic(admin, partitions, configs);
    }

    static String newTopic(Admin admin, int partitions, Map<String, String> configs) throws Exception {
        String topic = "java-" + UUID.randomUUID();
        Suite.get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all());
        Map<TopicPartition, OffsetSpec> all = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            all.put(new TopicPartition(topic, partition), OffsetSpec.latest());
        }
        // Apache Kafka names a partition before it has a log, and takes the second batch of a producer in flight for
        // its first when the first one came too early.
        Suite.eventually(() -> hasOffsets(admin, all));
        return topic;
    }

    private static boolean hasOffsets(Admin admin, Map<TopicPartition, OffsetSpec> partitions) throws Exception {
        try {
            return Suite.get(admin.listOffsets(partitions).all()).size() == partitions.size();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                return false;
            }
            throw e;
        }
    }

    static List<ProducerRecord<String, String>> numbered(String topic, int count) {
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            records.add(new ProducerRecord<>(topic, 0, "key " + i, "value " + i));
        }
        return records;
    }

    private static void sameOrder(
            List<ProducerRecord<String, String>> written, List<ConsumerRecord<String, String>> read) {
        Suite.equal(written.size(), read.size());
        for (int i = 0; i < written.size(); i++) {
            Suite.equal((long) i, read.get(i).offset());
            Suite.equal(written.get(i).key(), read.get(i).key());
            Suite.equal(written.get(i).value(), read.get(i).value());
        }
    }

    private void everyCodec() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = newTopic(1, of());
            var records = numbered(topic, 1000);
            clients.write(records, of("compression.type", codec));
            sameOrder(records, clients.read(topic, records.size(), of()));
        }
    }

    private void defaultProducer() throws Exception {
        String topic = newTopic(1, of());
        var records = numbered(topic, 20_000);
        var stored = clients.write(records, of());
        for (int i = 0; i < stored.size(); i++) {
            Suite.equal((long) i, stored.get(i).offset());
        }
        sameOrder(records, clients.read(topic, records.size(), of()));
    }

    private void fields() throws Exception {
        String topic = newTopic(1, of());
        long stamp = 1_356_998_400_123L;
        var nulls = new ProducerRecord<String, String>(topic, 0, stamp, null, null);
        var empties = new ProducerRecord<>(topic, 0, stamp + 1, "", "");
        empties.headers().add("b", new byte[] {2}).add("a", null).add("b", new byte[0]);
        clients.write(List.of(nulls, empties), of());
        var read = clients.read(topic, 2, of());
        Suite.equal(null, read.get(0).key());
        Suite.equal(null, read.get(0).value());
        Suite.equal(stamp, read.get(0).timestamp());
        Suite.equal(TimestampType.CREATE_TIME, read.get(0).timestampType());
        Suite.equal("", read.get(1).key());
        Suite.equal("", read.get(1).value());
        var expected = List.of(
                new RecordHeader("b", new byte[] {2}), new RecordHeader("a", null), new RecordHeader("b", new byte[0]));
        Suite.equal(expected, List.of(read.get(1).headers().toArray()));
    }

    private void logAppendTime() throws Exception {
        String topic = newTopic(1, of("message.timestamp.type", "LogAppendTime"));
        var stored = clients.write(List.of(new ProducerRecord<>(topic, 0, 1L, "k", "v")), of());
        var record = clients.read(topic, 1, of()).get(0);
        Suite.equal(TimestampType.LOG_APPEND_TIME, record.timestampType());
        Suite.equal(stored.get(0).timestamp(), record.timestamp());
        Suite.that(Math.abs(System.currentTimeMillis() - record.timestamp()) < 60_000, "it is now");
    }

    private void acks() throws Exception {
        for (String acks : List.of("0", "1", "all")) {
            String topic = newTopic(1, of());
            var records = numbered(topic, 1000);
            clients.write(records, of("acks", acks, "enable.idempotence", "false"));
            sameOrder(records, clients.read(topic, records.size(), of()));
        }
    }

    private void manyPartitions() throws Exception {
        String topic = newTopic(16, of());
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int i = 0; i < 16_000; i++) {
            records.add(new ProducerRecord<>(topic, i % 16, null, Integer.toString(i)));
        }
        clients.write(records, of());
        try (var consumer = clients.consumer(of())) {
            consumer.assign(IntStream.range(0, 16).mapToObj(p -> new TopicPartition(topic, p)).toList());
            int[] next = IntStream.range(0, 16).toArray();
            for (var record : Clients.take(consumer, records.size())) {
                Suite.equal(Integer.toString(next[record.partition()]), record.value());
                next[record.partition()] += 16;
            }
        }
    }

    private void tooLarge() throws Exception {
        String topic = newTopic(1, of("max.message.bytes", "2000"));
        Suite.fails(
                RecordTooLargeException.class,
                () -> clients.write(List.of(new ProducerRecord<>(topic, "x".repeat(5000))), of()));
        clients.write(List.of(new ProducerRecord<>(topic, "small")), of());
        Suite.equal("small", clients.read(topic, 1, of()).get(0).value());
    }

    private void badTopic() {
        Suite.fails(
                InvalidTopicException.class,
                () -> clients.write(List.of(new ProducerRecord<>("no spaces", "v")), of()));
    }

    private void seek() throws Exception {
        String topic = newTopic(1, of());
        clients.write(numbered(topic, 100), of());
        var partition = List.of(new TopicPartition(topic, 0));
        try (var consumer = clients.consumer(of("max.poll.records", "1"))) {
            consumer.assign(partition);
            consumer.seek(partition.get(0), 42);
            Suite.equal(42L, Clients.take(consumer, 1).get(0).offset());
            consumer.pause(partition);
            Suite.that(consumer.poll(Duration.ofSeconds(1)).isEmpty(), "a paused partition is silent");
            consumer.resume(partition);
            Suite.equal(43L, Clients.take(consumer, 1).get(0).offset());
            consumer.seekToEnd(partition);
            Suite.equal(100L, consumer.position(partition.get(0)));
        }
    }

    private void readCommitted() throws Exception {
        String topic = newTopic(1, of());
        var records = numbered(topic, 100);
        clients.write(records, of());
        sameOrder(records, clients.read(topic, 100, of("isolation.level", "read_committed")));
    }

    private void outOfRange() throws Exception {
        String topic = newTopic(1, of());
        clients.write(numbered(topic, 1), of());
        var partition = new TopicPartition(topic, 0);
        try (var consumer = clients.consumer(of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1000);
            Suite.fails(OffsetOutOfRangeException.class, () -> Clients.take(consumer, 1));
        }
    }

    private void offsets() throws Exception {
        String topic = newTopic(1, of());
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (long stamp = 1000; stamp <= 10_000; stamp += 1000) {
            records.add(new ProducerRecord<>(topic, 0, stamp, null, "v"));
        }
        clients.write(records, of());
        var partition = new TopicPartition(topic, 0);
        try (var consumer = clients.consumer(of())) {
            var found = consumer.offsetsForTimes(of(partition, 3001L)).get(partition);
            Suite.equal(3L, found.offset());
            Suite.equal(4000L, found.timestamp());
            Suite.equal(null, consumer.offsetsForTimes(of(partition, 99_000L)).get(partition));
            Suite.equal(of(partition, 0L), consumer.beginningOffsets(List.of(partition)));
            Suite.equal(of(partition, 10L), consumer.endOffsets(List.of(partition)));
        }
    }

    private void lag() throws Exception {
        String topic = newTopic(1, of());
        clients.write(numbered(topic, 100), of());
        var partition = new TopicPartition(topic, 0);
        try (var consumer = clients.consumer(of("max.poll.records", "10"))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 0);
            Suite.equal(10, Clients.take(consumer, 10).size());
            Suite.equal(90L, consumer.currentLag(partition).orElse(-1));
        }
    }

    private void smallFetches() throws Exception {
        String topic = newTopic(1, of());
        var records = numbered(topic, 5000);
        clients.write(records, of("batch.size", "1000"));
        var small = of("fetch.max.bytes", "2000", "max.partition.fetch.bytes", "1500", "fetch.min.bytes", "500");
        sameOrder(records, clients.read(topic, records.size(), small));
    }
}
