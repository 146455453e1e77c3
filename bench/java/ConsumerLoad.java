import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a topic from its beginning with a consumer of default settings; prints MiB per second. Arguments: bootstrap topic partitions records. */
public final class ConsumerLoad {
    public static void main(String[] args) {
        var properties = new Properties();
        properties.put("bootstrap.servers", args[0]);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        long wanted = Long.parseLong(args[3]);
        List<TopicPartition> partitions = IntStream.range(0, Integer.parseInt(args[2]))
                .mapToObj(index -> new TopicPartition(args[1], index)).toList();
        try (var consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(partitions);
            // The first pass is for the Java machine to get warm.
            for (int pass = 0; pass < 2; pass++) {
                consumer.seekToBeginning(partitions);
                long records = 0, bytes = 0, begun = System.nanoTime();
                while (records < wanted) {
                    for (var record : consumer.poll(Duration.ofSeconds(1))) {
                        records++;
                        bytes += record.value().length;
                    }
                }
                double seconds = (System.nanoTime() - begun) / 1e9;
                if (pass == 1) {
                    System.out.printf("%.3f%n", bytes / 1048576.0 / seconds);
                }
            }
        }
    }
}
