import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Producers and consumers with their defaults, but for what a check says. */
final class Clients {
    private final String bootstrap;

    Clients(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    Properties properties(Map<String, String> settings) {
        var properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.putAll(settings);
        return properties;
    }

    KafkaProducer<String, String> producer(Map<String, String> settings) {
        return new KafkaProducer<>(properties(settings), new StringSerializer(), new StringSerializer());
    }

    /** Without a group: its partitions are assigned. */
    KafkaConsumer<String, String> consumer(Map<String, String> settings) {
        var properties = properties(settings);
        properties.putIfAbsent("auto.offset.reset", "earliest");
        properties.putIfAbsent("enable.auto.commit", "false");
        return new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    }

    List<RecordMetadata> write(List<ProducerRecord<String, String>> records, Map<String, String> settings)
            throws Exception {
        try (var producer = producer(settings)) {
            List<Future<RecordMetadata>> answers = new ArrayList<>();
            for (var record : records) {
                answers.add(producer.send(record));
            }
            producer.flush();
            List<RecordMetadata> stored = new ArrayList<>();
            for (var answer : answers) {
                stored.add(Suite.get(answer));
            }
            return stored;
        }
    }

    /** The next records of a consumer that knows where to read. */
    static List<ConsumerRecord<String, String>> take(Consumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long deadline = System.nanoTime() + Duration.ofSeconds(Suite.SECONDS).toNanos();
        while (records.size() < count) {
            Suite.that(System.nanoTime() < deadline, records.size() + " of " + count + " records came");
            consumer.poll(Duration.ofMillis(500)).forEach(records::add);
        }
        return records;
    }

    List<ConsumerRecord<String, String>> read(String topic, int count, Map<String, String> settings) {
        try (var consumer = consumer(settings)) {
            var partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            return take(consumer, count);
        }
    }
}
