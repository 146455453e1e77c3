import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.OutOfOrderSequenceException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Copies one topic to another, partition by partition, in transactions; each value gets the copier's mark at its end. */
public final class Copier {
    private final KafkaConsumer<String, String> consumer;
    private final KafkaProducer<String, String> producer;
    private final String to;

    private Copier(String bootstrap, String id, String protocol, String to) {
        this.to = to;
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        var writing = Map.of("transactional.id", id, "transaction.timeout.ms", "30000");
        producer = new KafkaProducer<>(with(settings, writing), new StringSerializer(), new StringSerializer());
        var reading = new HashMap<>(Map.of("group.id", to, "group.protocol", protocol, "enable.auto.commit", "false",
                "isolation.level", "read_committed", "auto.offset.reset", "earliest", "max.poll.records", "200"));
        if (protocol.equals("classic")) {
            reading.putAll(Map.of("session.timeout.ms", "6000", "heartbeat.interval.ms", "1500"));
        }
        consumer = new KafkaConsumer<>(with(settings, reading), new StringDeserializer(), new StringDeserializer());
    }

    private static Properties with(Properties common, Map<String, String> more) {
        var all = new Properties();
        all.putAll(common);
        all.putAll(more);
        return all;
    }

    public static void main(String[] args) {
        if (args.length != 5) {
            System.err.println("usage: Copier HOST:PORT[,HOST:PORT]... TRANSACTIONAL-ID classic|consumer FROM TO");
            System.exit(2);
        }
        new Copier(args[0], args[1], args[2], args[4]).run(args[3]);
    }

    private void run(String from) {
        initTransactions();
        consumer.subscribe(List.of(from));
        while (true) {
            var records = consumer.poll(Duration.ofMillis(500));
            if (!records.isEmpty()) {
                copy(records);
            }
        }
    }

    /** The server may be away for a moment; asking again is what the client wants then. */
    private void initTransactions() {
        while (true) {
            try {
                producer.initTransactions();
                return;
            } catch (TimeoutException e) {
                System.out.println("again: " + e);
            }
        }
    }

    private void copy(ConsumerRecords<String, String> records) {
        try {
            producer.beginTransaction();
            Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
            for (var record : records) {
                producer.send(new ProducerRecord<>(to, record.partition(), record.key(), record.value() + ">java"));
                next.put(new TopicPartition(record.topic(), record.partition()),
                        new OffsetAndMetadata(record.offset() + 1));
            }
            producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
            commit();
        } catch (ProducerFencedException | OutOfOrderSequenceException | AuthorizationException e) {
            throw e;
        } catch (KafkaException e) {
            System.out.println("aborts: " + e);
            producer.abortTransaction();
            rewind();
        }
    }

    /** A commit that timed out may have happened: it has to be asked for again. */
    private void commit() {
        while (true) {
            try {
                producer.commitTransaction();
                return;
            } catch (TimeoutException e) {
                System.out.println("again: " + e);
            }
        }
    }

    private void rewind() {
        var assigned = consumer.assignment();
        var committed = consumer.committed(assigned);
        for (var partition : assigned) {
            var offset = committed.get(partition);
            if (offset == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, offset.offset());
            }
        }
    }
}
