import static java.util.Map.of;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TransactionalIdNotFoundException;

/** Consumer groups of both protocols, transactions, and what the admin client does with them. */
final class GroupChecks {
    private static final List<String> PROTOCOLS = List.of("classic", "consumer");

    private final Clients clients;
    private final Admin admin;

    GroupChecks(Clients clients, Admin admin) {
        this.clients = clients;
        this.admin = admin;
    }

    void addTo(Suite suite) {
        for (var protocol : PROTOCOLS) {
            var name = " (" + protocol + ")";
            suite.check("members share the partitions of a topic" + name, () -> sharing(protocol));
            suite.check("a group goes on where it committed" + name, () -> resuming(protocol));
            suite.check("a static member keeps its partitions" + name, () -> staticMember(protocol));
            suite.check("offsets of a transaction are committed with it, or not at all" + name,
                    () -> transaction(protocol));
            suite.check("the admin client lists, describes, changes and deletes a group" + name,
                    () -> administration(protocol));
        }
        suite.check("the server matches topics by a pattern, new ones too", this::pattern);
        suite.check("a group moves from one protocol to the other while it works", this::migration);
        suite.check("a second producer of an id fences the first", this::fencing);
        suite.check("transactions are listed, described and aborted", this::transactions);
    }

    private static String name() {
        return "java-" + UUID.randomUUID();
    }

    private KafkaConsumer<String, String> member(String group, String protocol, Map<String, String> more) {
        var settings = new HashMap<>(more);
        settings.putAll(of("group.id", group, "group.protocol", protocol));
        if (protocol.equals("classic")) {
            settings.putAll(of("session.timeout.ms", "6000", "heartbeat.interval.ms", "300"));
        }
        return clients.consumer(settings);
    }

    private KafkaConsumer<String, String> member(String topic, String group, String protocol) {
        var consumer = member(group, protocol, of());
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    /** Polls all of them in turn until each has so many partitions; what came meanwhile is returned. */
    @SafeVarargs
    private static List<String> share(int each, Consumer<String, String>... members) throws Exception {
        List<String> seen = new ArrayList<>();
        Suite.eventually(() -> {
            boolean shared = true;
            for (var member : members) {
                member.poll(Duration.ofMillis(100)).forEach(record -> seen.add(record.value()));
                shared &= member.assignment().size() == each;
            }
            return shared;
        });
        return seen;
    }

    private List<ProducerRecord<String, String>> numbered(String topic, int partition, int count) {
        return IntStream.range(0, count)
                .mapToObj(n -> new ProducerRecord<>(topic, partition, "key", Integer.toString(n)))
                .toList();
    }

    private void sharing(String protocol) throws Exception {
        var topic = ClientSuite.newTopic(admin, 4, of());
        var group = name();
        try (var first = member(topic, group, protocol); var second = member(topic, group, protocol)) {
            share(4, first);
            share(2, first, second);
            var all = new HashSet<>(first.assignment());
            all.addAll(second.assignment());
            Suite.equal(4, all.size());
            first.unsubscribe();
            share(4, second);
        }
    }

    private void resuming(String protocol) throws Exception {
        var topic = ClientSuite.newTopic(admin, 1, of());
        var partition = new TopicPartition(topic, 0);
        var group = name();
        clients.write(numbered(topic, 0, 10), of());
        try (var first = member(topic, group, protocol)) {
            Suite.equal(10, Clients.take(first, 10).size());
            first.commitSync(of(partition, new OffsetAndMetadata(4, "four")));
        }
        try (var second = member(topic, group, protocol)) {
            Suite.equal("4", Clients.take(second, 6).get(0).value());
            var committed = second.committed(Set.of(partition)).get(partition);
            Suite.equal(new OffsetAndMetadata(4, "four").offset(), committed.offset());
            Suite.equal("four", committed.metadata());
        }
    }

    private void staticMember(String protocol) throws Exception {
        var topic = ClientSuite.newTopic(admin, 2, of());
        var group = name();
        Set<TopicPartition> before;
        try (var other = member(group, protocol, of("group.instance.id", "two"))) {
            other.subscribe(List.of(topic));
            try (var first = member(group, protocol, of("group.instance.id", "one"))) {
                first.subscribe(List.of(topic));
                share(1, first, other);
                before = first.assignment();
            }
            try (var again = member(group, protocol, of("group.instance.id", "one"))) {
                again.subscribe(List.of(topic));
                share(1, again, other);
                Suite.equal(before, again.assignment());
            }
            var gone = new RemoveMembersFromConsumerGroupOptions();
            gone.reason("the suite is done");
            Suite.get(admin.removeMembersFromConsumerGroup(group, gone).all());
        }
    }

    private KafkaProducer<String, String> transactional(String id) {
        var producer = clients.producer(of("transactional.id", id));
        producer.initTransactions();
        return producer;
    }

    private void transaction(String protocol) throws Exception {
        var topic = ClientSuite.newTopic(admin, 1, of());
        var target = ClientSuite.newTopic(admin, 1, of());
        var partition = new TopicPartition(topic, 0);
        clients.write(numbered(topic, 0, 10), of());
        try (var producer = transactional(name()); var consumer = member(topic, name(), protocol)) {
            Clients.take(consumer, 10);
            for (var end : List.of(3L, 5L)) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(target, Long.toString(end)));
                producer.sendOffsetsToTransaction(of(partition, new OffsetAndMetadata(end)), consumer.groupMetadata());
                producer.flush();
                if (end == 3) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
            Suite.equal(3L, consumer.committed(Set.of(partition)).get(partition).offset());
        }
        Suite.equal("3", clients.read(target, 1, of("isolation.level", "read_committed")).get(0).value());
        Suite.equal(2, clients.read(target, 2, of()).size());
    }

    private void administration(String protocol) throws Exception {
        var topic = ClientSuite.newTopic(admin, 1, of());
        var partition = new TopicPartition(topic, 0);
        var group = name();
        clients.write(numbered(topic, 0, 10), of());
        try (var consumer = member(topic, group, protocol)) {
            Clients.take(consumer, 10);
            consumer.commitSync();
            var listed = Suite.get(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all()).stream()
                    .filter(found -> found.groupId().equals(group)).toList();
            Suite.equal(GroupType.parse(protocol), listed.get(0).type().orElseThrow());
            var described = Suite.get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            Suite.equal(GroupState.STABLE, described.groupState());
            Suite.equal(Set.of(partition), described.members().iterator().next().assignment().topicPartitions());
            Suite.fails(GroupNotEmptyException.class, () -> Suite.get(admin.deleteConsumerGroups(List.of(group)).all()));
            Suite.fails(GroupSubscribedToTopicException.class,
                    () -> Suite.get(admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all()));
        }
        Suite.equal(10L, offset(group, partition));
        Suite.get(admin.alterConsumerGroupOffsets(group, of(partition, new OffsetAndMetadata(7))).all());
        Suite.equal(7L, offset(group, partition));
        Suite.get(admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all());
        Suite.equal(null, offset(group, partition));
        Suite.get(admin.deleteConsumerGroups(List.of(group)).all());
        Suite.fails(GroupIdNotFoundException.class, () -> Suite.get(admin.describeConsumerGroups(List.of(group)).all()));
    }

    private Long offset(String group, TopicPartition partition) throws Exception {
        var offsets = Suite.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        return offsets.containsKey(partition) ? offsets.get(partition).offset() : null;
    }

    private void pattern() throws Exception {
        var start = name();
        create(start + "-a");
        create("other-" + start);
        try (var consumer = member(name(), "consumer", of())) {
            consumer.subscribe(new SubscriptionPattern(start + "-[ab]"));
            share(1, consumer);
            create(start + "-b");
            share(2, consumer);
            var topics = new TreeSet<>(consumer.assignment().stream().map(TopicPartition::topic).toList());
            Suite.equal(new TreeSet<>(Set.of(start + "-a", start + "-b")), topics);
        }
    }

    private void create(String topic) throws Exception {
        var wanted = new NewTopic(topic, 1, (short) 1);
        Suite.get(admin.createTopics(List.of(wanted)).all());
    }

    private void migration() throws Exception {
        var topic = ClientSuite.newTopic(admin, 4, of());
        var group = name();
        var old = member(topic, group, "classic");
        share(4, old);
        try (var new1 = member(topic, group, "consumer")) {
            share(2, old, new1);
            old.close();
            share(4, new1);
            try (var back = member(topic, group, "classic")) {
                share(2, back, new1);
            }
        }
    }

    private void fencing() throws Exception {
        var topic = ClientSuite.newTopic(admin, 1, of());
        var id = name();
        try (var first = transactional(id)) {
            first.beginTransaction();
            Suite.get(first.send(new ProducerRecord<>(topic, "of the first")));
            try (var second = transactional(id)) {
                Suite.fails(ProducerFencedException.class, first::commitTransaction);
                second.beginTransaction();
                second.send(new ProducerRecord<>(topic, "of the second"));
                second.commitTransaction();
            }
        }
        Suite.equal("of the second", clients.read(topic, 1, of("isolation.level", "read_committed")).get(0).value());
    }

    private void transactions() throws Exception {
        var topic = ClientSuite.newTopic(admin, 1, of());
        var partition = new TopicPartition(topic, 0);
        var id = name();
        try (var producer = transactional(id)) {
            producer.beginTransaction();
            Suite.get(producer.send(new ProducerRecord<>(topic, "never committed")));
            var ongoing = new ListTransactionsOptions().filterStates(Set.of(TransactionState.ONGOING));
            var found = Suite.get(admin.listTransactions(ongoing).all());
            Suite.that(found.stream().anyMatch(t -> t.transactionalId().equals(id)), "it is listed");
            var described = Suite.get(admin.describeTransactions(List.of(id)).all()).get(id);
            Suite.equal(TransactionState.ONGOING, described.state());
            Suite.equal(Set.of(partition), described.topicPartitions());
            Suite.get(admin.fenceProducers(List.of(id)).all());
            Suite.eventually(() -> Suite.get(admin.describeTransactions(List.of(id)).all()).get(id).state()
                    == TransactionState.EMPTY);
            Suite.fails(ProducerFencedException.class, producer::commitTransaction);
        }
        Suite.fails(TransactionalIdNotFoundException.class,
                () -> Suite.get(admin.describeTransactions(List.of(name())).all()));
    }
}
