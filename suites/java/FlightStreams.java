import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;

/**
 * A Kafka Streams application over the topic NAME-flights, whose values are lines of flights.csv.
 *
 * <p>NAME-counts gets every step of a word count (the words are carrier, tail number, origin and destination), NAME-pairs
 * every two departures to one destination, from JFK and from EWR, that lie at most an hour apart.
 */
public final class FlightStreams {
    private static final int CARRIER = 9;
    private static final int TAIL_NUMBER = 11;
    private static final int ORIGIN = 12;
    private static final int DESTINATION = 13;
    /** Longer than the year of the flights: however late one is processed, it still finds its partners. */
    private static final Duration GRACE = Duration.ofDays(500);

    private FlightStreams() {}

    public static void main(String[] args) {
        if (args.length != 3) {
            System.err.println("usage: FlightStreams HOST:PORT[,HOST:PORT]... NAME STATE-FOLDER");
            System.exit(2);
        }
        var builder = new StreamsBuilder();
        KStream<String, String> flights = builder.stream(args[1] + "-flights");
        count(flights).to(args[1] + "-counts");
        pair(flights).to(args[1] + "-pairs");
        var streams = new KafkaStreams(builder.build(), settings(args[0], args[1], args[2]));
        streams.setStateListener((now, before) -> System.out.println("state: " + now));
        streams.setUncaughtExceptionHandler(error -> {
            System.out.println("thread died: " + error);
            error.printStackTrace(System.out);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }

    private static Properties settings(String bootstrap, String name, String folder) {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("application.id", name);
        settings.put("state.dir", folder);
        settings.put("processing.guarantee", "exactly_once_v2");
        settings.put("num.stream.threads", "2");
        settings.put("default.key.serde", Serdes.StringSerde.class);
        settings.put("default.value.serde", Serdes.StringSerde.class);
        // Every step of a count goes out, so that one too many or too few can be seen.
        settings.put("statestore.cache.max.bytes", "0");
        // The members of a process that was killed are missed soon.
        settings.put("consumer.session.timeout.ms", "6000");
        settings.put("consumer.heartbeat.interval.ms", "1500");
        settings.put("consumer.auto.offset.reset", "earliest");
        return settings;
    }

    private static String field(String flight, int column) {
        return flight.split(",", -1)[column];
    }

    private static KStream<String, String> count(KStream<String, String> flights) {
        return flights
                .flatMapValues(flight -> {
                    var fields = flight.split(",", -1);
                    return Arrays.asList(fields[CARRIER], fields[TAIL_NUMBER], fields[ORIGIN], fields[DESTINATION]);
                })
                .groupBy((number, word) -> word)
                .count()
                .mapValues(count -> Long.toString(count))
                .toStream();
    }

    /** Keys are destinations, values the numbers of both flights. */
    private static KStream<String, String> pair(KStream<String, String> flights) {
        var window = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofHours(1), GRACE);
        return departures(flights, "JFK").join(departures(flights, "EWR"), (one, other) -> one + "+" + other, window);
    }

    private static KStream<String, String> departures(KStream<String, String> flights, String origin) {
        return flights
                .filter((number, flight) -> field(flight, ORIGIN).equals(origin))
                .map((number, flight) -> KeyValue.pair(field(flight, DESTINATION), number));
    }
}
