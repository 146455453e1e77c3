import static java.util.Map.of;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** The Java admin client. */
final class AdminChecks {
    private final Clients clients;
    private final Admin admin;

    AdminChecks(Clients clients, Admin admin) {
        this.clients = clients;
        this.admin = admin;
    }

    void addTo(Suite suite) {
        suite.check("a new topic is answered with its id, partitions and configs", this::createTopic);
        suite.check("bad topics are refused, each with its own error", this::badTopics);
        suite.check("validating a topic makes none", this::validateOnly);
        suite.check("replicas can be assigned by hand", this::manualAssignment);
        suite.check("a topic is described and deleted by name and by id", this::topicIds);
        suite.check("many topics are described page by page", this::manyTopics);
        suite.check("partitions are added and never taken", this::partitions);
        suite.check("topic configs are set, appended to and deleted, with sources and synonyms", this::topicConfigs);
        suite.check("broker configs and loggers are shown", this::brokerConfigs);
        suite.check("config resources are listed", this::configResources);
        suite.check("records are deleted up to an offset", this::deleteRecords);
        suite.check("offsets are listed by every specification", this::listOffsets);
        suite.check("the cluster, its quorum and its features are described", this::cluster);
        suite.check("log folders show where a topic is", this::logDirs);
        suite.check("the producers of a partition are described", this::producers);
        suite.check("an election is not needed", this::election);
        suite.check("no partition is being reassigned", this::reassignments);
    }

    private String newTopic(int partitions, Map<String, String> configs) throws Exception {
        return ClientSuite.newTopic(admin, partitions, configs);
    }

    private void create(NewTopic topic) throws Exception {
        Suite.get(admin.createTopics(List.of(topic)).all());
    }

    private void createTopic() throws Exception {
        var topic = new NewTopic("java-" + System.nanoTime(), 3, (short) 1).configs(of("retention.ms", "1000000"));
        var answer = admin.createTopics(List.of(topic));
        Suite.equal(3, Suite.get(answer.numPartitions(topic.name())));
        Suite.equal(1, Suite.get(answer.replicationFactor(topic.name())));
        Suite.equal("1000000", Suite.get(answer.config(topic.name())).get("retention.ms").value());
        var id = Suite.get(answer.topicId(topic.name()));
        Suite.eventually(() -> Suite.get(admin.listTopics().names()).contains(topic.name()));
        var described = Suite.get(admin.describeTopics(List.of(topic.name())).allTopicNames()).get(topic.name());
        Suite.equal(id, described.topicId());
    }

    private void badTopics() throws Exception {
        String topic = newTopic(1, of());
        String other = topic + "-other";
        Suite.fails(TopicExistsException.class, () -> create(new NewTopic(topic, 1, (short) 1)));
        Suite.fails(InvalidTopicException.class, () -> create(new NewTopic("no spaces", 1, (short) 1)));
        Suite.fails(InvalidTopicException.class, () -> create(new NewTopic("x".repeat(250), 1, (short) 1)));
        Suite.fails(InvalidPartitionsException.class, () -> create(new NewTopic(other, 0, (short) 1)));
        for (var config : List.of(of("no.such", "1"), of("retention.ms", "soon"), of("cleanup.policy", "burn"))) {
            Suite.fails(
                    InvalidConfigurationException.class, () -> create(new NewTopic(other, 1, (short) 1).configs(config)));
        }
        Suite.that(!Suite.get(admin.listTopics().names()).contains(other), "a refused topic is not made");
    }

    private void validateOnly() throws Exception {
        var topic = new NewTopic("java-" + System.nanoTime(), 2, (short) 1);
        Suite.get(admin.createTopics(List.of(topic), new CreateTopicsOptions().validateOnly(true)).all());
        Suite.that(!Suite.get(admin.listTopics().names()).contains(topic.name()), "it was only validated");
    }

    private void manualAssignment() throws Exception {
        int broker = Suite.get(admin.describeCluster().nodes()).iterator().next().id();
        var topic = new NewTopic("java-" + System.nanoTime(), of(0, List.of(broker), 1, List.of(broker)));
        create(topic);
        Suite.eventually(() -> Suite.get(admin.listTopics().names()).contains(topic.name()));
        var described = Suite.get(admin.describeTopics(List.of(topic.name())).allTopicNames()).get(topic.name());
        Suite.equal(2, described.partitions().size());
    }

    private void topicIds() throws Exception {
        String topic = newTopic(2, of());
        var id = Suite.get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId();
        var ids = TopicCollection.ofTopicIds(List.of(id));
        Suite.equal(topic, Suite.get(admin.describeTopics(ids).allTopicIds()).get(id).name());
        Suite.get(admin.deleteTopics(ids).all());
        Suite.eventually(() -> !Suite.get(admin.listTopics().names()).contains(topic));
        Suite.fails(UnknownTopicIdException.class, () -> Suite.get(admin.deleteTopics(ids).all()));
        Suite.fails(
                UnknownTopicOrPartitionException.class,
                () -> Suite.get(admin.describeTopics(List.of(topic)).allTopicNames()));
    }

    private void manyTopics() throws Exception {
        Collection<String> names = new java.util.TreeSet<>();
        for (int i = 0; i < 10; i++) {
            names.add(newTopic(30, of()));
        }
        var options = new org.apache.kafka.clients.admin.DescribeTopicsOptions().partitionSizeLimitPerResponse(50);
        var described = Suite.get(admin.describeTopics(names, options).allTopicNames());
        Suite.equal(names, new java.util.TreeSet<>(described.keySet()));
        described.values().forEach(topic -> Suite.equal(30, topic.partitions().size()));
    }

    private void partitions() throws Exception {
        String topic = newTopic(1, of());
        Suite.get(admin.createPartitions(of(topic, NewPartitions.increaseTo(4))).all());
        Suite.eventually(() -> {
            var described = Suite.get(admin.describeTopics(List.of(topic)).allTopicNames());
            return described.get(topic).partitions().size() == 4;
        });
        Suite.fails(
                InvalidPartitionsException.class,
                () -> Suite.get(admin.createPartitions(of(topic, NewPartitions.increaseTo(2))).all()));
    }

    private Config describe(ConfigResource resource) throws Exception {
        var options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        return Suite.get(admin.describeConfigs(List.of(resource), options).all()).get(resource);
    }

    private void alter(ConfigResource resource, AlterConfigOp.OpType type, String name, String value)
            throws Exception {
        var op = new AlterConfigOp(new ConfigEntry(name, value), type);
        Suite.get(admin.incrementalAlterConfigs(of(resource, List.of(op))).all());
    }

    private void topicConfigs() throws Exception {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, newTopic(1, of()));
        Suite.equal(ConfigSource.DEFAULT_CONFIG, describe(topic).get("retention.ms").source());
        alter(topic, AlterConfigOp.OpType.SET, "retention.ms", "12345678");
        Suite.eventually(() -> describe(topic).get("retention.ms").value().equals("12345678"));
        var entry = describe(topic).get("retention.ms");
        Suite.equal(ConfigSource.DYNAMIC_TOPIC_CONFIG, entry.source());
        Suite.equal(ConfigEntry.ConfigType.LONG, entry.type());
        Suite.equal("12345678", entry.synonyms().get(0).value());
        Suite.that(entry.documentation() != null && !entry.documentation().isEmpty(), "it is documented");
        alter(topic, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact");
        Suite.eventually(() -> Set.of(describe(topic).get("cleanup.policy").value().split(","))
                .equals(Set.of("delete", "compact")));
        alter(topic, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete");
        Suite.eventually(() -> describe(topic).get("cleanup.policy").value().equals("compact"));
        alter(topic, AlterConfigOp.OpType.DELETE, "retention.ms", null);
        Suite.eventually(() -> describe(topic).get("retention.ms").isDefault());
        Suite.fails(
                InvalidConfigurationException.class,
                () -> alter(topic, AlterConfigOp.OpType.SET, "retention.ms", "soon"));
        Suite.fails(
                InvalidConfigurationException.class, () -> alter(topic, AlterConfigOp.OpType.SET, "no.such", "1"));
    }

    private String broker() throws Exception {
        return Suite.get(admin.describeCluster().nodes()).iterator().next().idString();
    }

    private void brokerConfigs() throws Exception {
        var config = describe(new ConfigResource(ConfigResource.Type.BROKER, broker()));
        for (String name : List.of("advertised.listeners", "num.partitions", "message.max.bytes", "log.retention.ms")) {
            Suite.that(config.get(name) != null, "the broker shows " + name);
        }
        var loggers = describe(new ConfigResource(ConfigResource.Type.BROKER_LOGGER, broker()));
        Suite.that(!loggers.entries().isEmpty(), "the broker shows its loggers");
    }

    private void configResources() throws Exception {
        String topic = newTopic(1, of("retention.ms", "12345678"));
        var topics = admin.listConfigResources(
                Set.of(ConfigResource.Type.TOPIC), new org.apache.kafka.clients.admin.ListConfigResourcesOptions());
        Suite.that(
                Suite.get(topics.all()).contains(new ConfigResource(ConfigResource.Type.TOPIC, topic)),
                "the topic is listed");
        var groups = admin.listConfigResources(
                Set.of(ConfigResource.Type.GROUP), new org.apache.kafka.clients.admin.ListConfigResourcesOptions());
        Suite.get(groups.all());
    }

    private void deleteRecords() throws Exception {
        String topic = newTopic(1, of());
        clients.write(ClientSuite.numbered(topic, 10), of());
        var partition = new TopicPartition(topic, 0);
        var answer = admin.deleteRecords(of(partition, RecordsToDelete.beforeOffset(4)));
        Suite.equal(4L, Suite.get(answer.lowWatermarks().get(partition)).lowWatermark());
        Suite.equal(4L, clients.read(topic, 6, of()).get(0).offset());
        var beyond = admin.deleteRecords(of(partition, RecordsToDelete.beforeOffset(11)));
        Suite.fails(OffsetOutOfRangeException.class, () -> Suite.get(beyond.all()));
        var all = admin.deleteRecords(of(partition, RecordsToDelete.beforeOffset(-1)));
        Suite.equal(10L, Suite.get(all.lowWatermarks().get(partition)).lowWatermark());
    }

    private void listOffsets() throws Exception {
        String topic = newTopic(1, of());
        List<ProducerRecord<String, String>> records = new java.util.ArrayList<>();
        for (long stamp : new long[] {5000, 9000, 7000}) {
            records.add(new ProducerRecord<>(topic, 0, stamp, null, "v"));
        }
        clients.write(records, of());
        var partition = new TopicPartition(topic, 0);
        var expected = Map.of(
                OffsetSpec.earliest(), 0L,
                OffsetSpec.latest(), 3L,
                OffsetSpec.maxTimestamp(), 1L,
                OffsetSpec.forTimestamp(6000), 1L,
                OffsetSpec.forTimestamp(10_000), -1L);
        for (var entry : expected.entrySet()) {
            var answer = admin.listOffsets(of(partition, entry.getKey()));
            Suite.equal(entry.getValue(), Suite.get(answer.partitionResult(partition)).offset());
        }
    }

    private void cluster() throws Exception {
        var cluster = admin.describeCluster();
        Suite.that(!Suite.get(cluster.clusterId()).isEmpty(), "the cluster has an id");
        Suite.that(!Suite.get(cluster.nodes()).isEmpty(), "the cluster has nodes");
        Suite.that(Suite.get(cluster.controller()) != null, "the cluster has a controller");
        Suite.that(!Suite.get(admin.describeMetadataQuorum().quorumInfo()).voters().isEmpty(), "there are voters");
        Suite.get(admin.describeFeatures().featureMetadata());
    }

    private void logDirs() throws Exception {
        String topic = newTopic(1, of());
        clients.write(ClientSuite.numbered(topic, 1000), of());
        var brokers = Suite.get(admin.describeCluster().nodes()).stream().map(node -> node.id()).toList();
        var dirs = Suite.get(admin.describeLogDirs(brokers).allDescriptions());
        var partition = new TopicPartition(topic, 0);
        boolean found = dirs.values().stream()
                .flatMap(ofBroker -> ofBroker.values().stream())
                .anyMatch(dir -> dir.replicaInfos().containsKey(partition)
                        && dir.replicaInfos().get(partition).size() > 0);
        Suite.that(found, "a log folder has the topic, with its size");
    }

    private void producers() throws Exception {
        String topic = newTopic(1, of());
        clients.write(ClientSuite.numbered(topic, 10), of());
        var partition = new TopicPartition(topic, 0);
        var state = Suite.get(admin.describeProducers(List.of(partition)).partitionResult(partition));
        Suite.equal(1, state.activeProducers().size());
        Suite.equal(9, state.activeProducers().get(0).lastSequence());
    }

    private void election() throws Exception {
        var partition = new TopicPartition(newTopic(1, of()), 0);
        var answer = Suite.get(admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).partitions());
        Suite.that(
                answer.get(partition).orElse(null) instanceof ElectionNotNeededException,
                "the preferred leader leads: " + answer);
    }

    private void reassignments() throws Exception {
        Suite.equal(Map.of(), Suite.get(admin.listPartitionReassignments().reassignments()));
    }
}
