import static java.util.Map.of;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** Real input: all flights from New York in 2013, written by a default producer and read back by a consumer. */
public final class FlightsSuite {
    private static final int PARTITIONS = 6;

    /** A line of the file, with its key and its time. */
    private record Flight(String carrier, long hour, String line) {}

    private final Clients clients;
    private final List<Flight> flights;
    private String topic;

    private FlightsSuite(String bootstrap, Path csv) throws IOException {
        clients = new Clients(bootstrap);
        flights = read(csv);
    }

    public static void main(String[] args) throws IOException {
        if (args.length != 2) {
            System.err.println("usage: FlightsSuite HOST:PORT[,HOST:PORT]... FLIGHTS.CSV");
            System.exit(2);
        }
        var flights = new FlightsSuite(args[0], Path.of(args[1]));
        var suite = new Suite();
        suite.check("every flight is acknowledged", flights::write);
        suite.check("each carrier's flights come back in order, unchanged, with their hour", flights::readBack);
        suite.runAndExit();
    }

    private static List<Flight> read(Path csv) throws IOException {
        try (var lines = Files.lines(csv)) {
            var rows = lines.iterator();
            var columns = List.of(rows.next().replace("\"", "").split(","));
            int carrier = columns.indexOf("carrier");
            int hour = columns.indexOf("time_hour");
            List<Flight> flights = new ArrayList<>();
            rows.forEachRemaining(row -> {
                var fields = row.replace("\"", "").split(",", -1);
                flights.add(new Flight(fields[carrier], Instant.parse(fields[hour]).toEpochMilli(), row));
            });
            return flights;
        }
    }

    private void write() throws Exception {
        try (var admin = Admin.create(clients.properties(of()))) {
            topic = ClientSuite.newTopic(admin, PARTITIONS, of("retention.ms", "-1"));
        }
        long start = System.nanoTime();
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        try (var producer = clients.producer(of())) {
            for (var flight : flights) {
                answers.add(producer.send(
                        new ProducerRecord<>(topic, null, flight.hour(), flight.carrier(), flight.line())));
            }
            for (var answer : answers) {
                answer.get();
            }
        }
        report("written", start);
    }

    private void report(String what, long start) {
        double seconds = (System.nanoTime() - start) / 1e9;
        System.out.printf("     %d flights %s in %.1f s%n", flights.size(), what, seconds);
    }

    private void readBack() {
        Map<String, List<Flight>> expected = new HashMap<>();
        for (var flight : flights) {
            expected.computeIfAbsent(flight.carrier(), carrier -> new ArrayList<>()).add(flight);
        }
        long start = System.nanoTime();
        Map<String, Integer> seen = new HashMap<>();
        try (var consumer = clients.consumer(of())) {
            var partitions = IntStream.range(0, PARTITIONS).mapToObj(p -> new TopicPartition(topic, p)).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long left = flights.size();
            while (left > 0) {
                var records = Clients.take(consumer, 1);
                left -= records.size();
                for (var record : records) {
                    int next = seen.merge(record.key(), 1, Integer::sum) - 1;
                    var flight = expected.get(record.key()).get(next);
                    Suite.equal(flight.line(), record.value());
                    Suite.equal(flight.hour(), record.timestamp());
                }
            }
            Suite.that(left == 0, -left + " records more than were written");
            long end = consumer.endOffsets(partitions).values().stream().mapToLong(Long::longValue).sum();
            Suite.equal((long) flights.size(), end);
        }
        for (var carrier : expected.keySet()) {
            Suite.that(Objects.equals(expected.get(carrier).size(), seen.get(carrier)), "flights of " + carrier);
        }
        report("read", start);
    }
}
