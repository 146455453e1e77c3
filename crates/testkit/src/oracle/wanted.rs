//! The differences from Apache Kafka that we want, each with its reason. One that no longer occurs fails the comparison, so
//! the list cannot outlive its reasons.
use super::{diff::Difference, tree::Tree};

/// All of scenario, step and path are patterns, in which `*` stands for any text.
#[derive(Debug)]
pub struct Wanted {
    pub scenario: &'static str,
    pub step: &'static str,
    pub path: &'static str,
    /// What Kafka answers there, as it is printed (a pattern, too); `(absent)` if it leaves it out.
    pub kafka: &'static str,
    /// What we answer there, as it is printed (a pattern, too); `(absent)` if we leave it out.
    pub ours: &'static str,
    pub reason: &'static str,
}

pub const WANTED: &[Wanted] = &[
    Wanted {
        scenario: "api_versions",
        step: "*",
        path: "api_keys[*]",
        kafka: "*",
        ours: "(absent)",
        reason: "Quotas, ACLs and SCRAM come with their own issues and are advertised with them; raft, share and delegation-token APIs have nothing to speak to here.",
    },
    Wanted {
        scenario: "api_versions",
        step: "*",
        path: "api_keys[07*]",
        kafka: "(absent)",
        ours: "{api_key: 7*",
        reason: "Kafka tells of telemetry only with a plugin that receives it; ours is shown at /metrics.",
    },
    Wanted {
        scenario: "api_versions",
        step: "*",
        path: "api_keys[0*].max_version",
        kafka: "*",
        ours: "*",
        reason: "The protocol crate codes Kafka 4.1's messages; ListOffsets 11, OffsetCommit 10, OffsetFetch 10 and DescribeLogDirs 5 are newer.",
    },
    Wanted {
        scenario: "api_versions",
        step: "*",
        path: "supported_features*",
        kafka: "*",
        ours: "(absent)",
        reason: "A feature is told when what it stands for is there: eligible leader replicas, raft, share groups and streams groups are not.",
    },
    Wanted {
        scenario: "api_versions",
        step: "*",
        path: "finalized_features*",
        kafka: "*",
        ours: "(absent)",
        reason: "A feature is told when what it stands for is there: eligible leader replicas, raft, share groups and streams groups are not.",
    },
    Wanted {
        scenario: "describe_*_configs",
        step: "*",
        path: "*.documentation",
        kafka: "*",
        ours: "*",
        reason: "Kafka's documentation of a config is Kafka's text; ours says what the config does here.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "*",
        path: "*[group.*].read_only",
        kafka: "true",
        ours: "false",
        reason: "Settings of groups can change while the server runs.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "*",
        path: "*[offset*].read_only",
        kafka: "true",
        ours: "false",
        reason: "Settings of committed offsets can change while the server runs.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "*",
        path: "*[transaction*].read_only",
        kafka: "true",
        ours: "false",
        reason: "How long transactions and their ids live can change while the server runs.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "*",
        path: "*[listeners].read_only",
        kafka: "false",
        ours: "true",
        reason: "The listeners cannot change while the server runs.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "*",
        path: "results[004/NODE].configs[*]",
        kafka: "*",
        ours: "(absent)",
        reason: "Settings of disks, replication, threads and raft mean nothing here and are not shown.",
    },
    Wanted {
        scenario: "*",
        step: "*",
        path: "*.configs[min.insync.replicas].*",
        kafka: "*",
        ours: "*",
        reason: "Kafka's eligible leader replicas write this default into the cluster's own configs; there are no replicas to be eligible here.",
    },
    Wanted {
        scenario: "produce_*",
        step: "*",
        path: "*.error_message",
        kafka: "null",
        ours: "\"*\"",
        reason: "Where Kafka refuses without a word, we say what was wrong and what to do.",
    },
    Wanted {
        scenario: "internal_topics_refused",
        step: "Produce: *",
        path: "*.error_message",
        kafka: "null",
        ours: "\"*\"",
        reason: "Where Kafka refuses without a word, we say what was wrong and what to do.",
    },
    Wanted {
        scenario: "idempotent_*",
        step: "*",
        path: "*.error_message",
        kafka: "null",
        ours: "\"*\"",
        reason: "Where Kafka refuses without a word, we say what was wrong and what to do.",
    },
    Wanted {
        scenario: "delete_topics_gone",
        step: "*",
        path: "*.error_message",
        kafka: "null",
        ours: "\"*\"",
        reason: "Where Kafka refuses without a word, we say what was wrong and what to do.",
    },
    Wanted {
        scenario: "describe_producers",
        step: "*",
        path: "*.error_message",
        kafka: "null",
        ours: "\"*\"",
        reason: "Where Kafka refuses without a word, we say what was wrong and what to do.",
    },
    Wanted {
        scenario: "idempotent_*",
        step: "*",
        path: "*.log_append_time_ms",
        kafka: "*",
        ours: "-1",
        reason: "For a duplicate Kafka tells the client's own timestamp; the field is about the server's, and there is none with CreateTime.",
    },
    Wanted {
        scenario: "txn_version_2",
        step: "*",
        path: "*.log_append_time_ms",
        kafka: "*",
        ours: "-1",
        reason: "For a duplicate Kafka tells the client's own timestamp; the field is about the server's, and there is none with CreateTime.",
    },
    Wanted {
        scenario: "create_topics_numbers",
        step: "CreateTopics: 1 partitions, * replicas",
        path: "topics[*].error_code",
        kafka: "38",
        ours: "0",
        reason: "Any replication factor is accepted: the store replicates.",
    },
    Wanted {
        scenario: "create_topics",
        step: "CreateTopics: a timeout of 0",
        path: "topics[*].error_code",
        kafka: "7",
        ours: "0",
        reason: "Creating a topic is one commit: it is done when the answer leaves, whatever the timeout.",
    },
    Wanted {
        scenario: "metadata_auto_creation",
        step: "*may be created",
        path: "topics[*].error_code",
        kafka: "3",
        ours: "0",
        reason: "The topic is created before the answer, so that the client need not ask again.",
    },
    Wanted {
        scenario: "metadata_by_id",
        step: "Metadata: no name and no id",
        path: "*error_code",
        kafka: "-1",
        ours: "*",
        reason: "Kafka fails inside; we say that the request is wrong.",
    },
    Wanted {
        scenario: "produce_codec_bits",
        step: "Produce: *g*",
        path: "*.error_code",
        kafka: "*",
        ours: "0",
        reason: "Batches are stored as they came and are not unpacked: their CRC vouches for the payload, and reading it is the consumer's work.",
    },
    Wanted {
        scenario: "produce_codec_bits",
        step: "Fetch: what was stored of *",
        path: "*",
        kafka: "*",
        ours: "*",
        reason: "Batches are stored as they came and are not unpacked: their CRC vouches for the payload, and reading it is the consumer's work.",
    },
    Wanted {
        scenario: "produce_codec_bits",
        step: "Produce: codec *",
        path: "*.error_code",
        kafka: "-1",
        ours: "76",
        reason: "Kafka fails inside; we say that there is no such codec.",
    },
    Wanted {
        scenario: "produce_headers",
        step: "Produce: *, packed",
        path: "*.error_code",
        kafka: "*",
        ours: "0",
        reason: "What lies inside a packed batch is not looked at while it is written.",
    },
    Wanted {
        scenario: "produce_headers",
        step: "Fetch: what was stored of *, packed",
        path: "*",
        kafka: "*",
        ours: "*",
        reason: "What lies inside a packed batch is not looked at while it is written.",
    },
    Wanted {
        scenario: "produce_headers",
        step: "Produce: a*offset delta*",
        path: "*.error_code",
        kafka: "0",
        ours: "87",
        reason: "Offsets are dense when they are given out: a batch whose records would leave a gap or share an offset is refused.",
    },
    Wanted {
        scenario: "produce_headers",
        step: "Fetch: what was stored of a*offset delta*",
        path: "*",
        kafka: "*",
        ours: "*",
        reason: "Offsets are dense when they are given out: a batch whose records would leave a gap or share an offset is refused.",
    },
    Wanted {
        scenario: "produce_damaged",
        step: "*a byte too many",
        path: "*",
        kafka: "*",
        ours: "*",
        reason: "Bytes behind a batch are a broken client's; Kafka drops them in silence.",
    },
    Wanted {
        scenario: "produce_damaged",
        step: "Produce: a length of 2 GiB",
        path: "*.error_code",
        kafka: "-1",
        ours: "87",
        reason: "Kafka fails inside; we say that the batch is cut off.",
    },
    Wanted {
        scenario: "produce_damaged",
        step: "Produce: *",
        path: "*.error_message",
        kafka: "\"*\"",
        ours: "\"*\"",
        reason: "The same refusals in our words.",
    },
    Wanted {
        scenario: "produce_old_formats",
        step: "Produce: magic *",
        path: "*.error_code",
        kafka: "87",
        ours: "43",
        reason: "A client that writes the old message formats learns that from the code, not only from a text.",
    },
    Wanted {
        scenario: "produce_shapes",
        step: "*",
        path: "responses[*].partition_responses",
        kafka: "1 elements",
        ours: "2 elements",
        reason: "A partition that a request names twice is written twice and answered twice; Kafka drops the first batch in silence.",
    },
    Wanted {
        scenario: "produce_shapes",
        step: "Fetch: read back",
        path: "responses[*].partitions[002].*",
        kafka: "*",
        ours: "*",
        reason: "A partition that a request names twice is written twice and answered twice; Kafka drops the first batch in silence.",
    },
    Wanted {
        scenario: "produce_timestamps",
        step: "Fetch: read back",
        path: "*.max_timestamp",
        kafka: "*",
        ours: "*",
        reason: "The largest timestamp in a batch's header is its producer's to say; Kafka reckons it again and rewrites the batch.",
    },
    Wanted {
        scenario: "fetch_limits",
        step: "*of -1*",
        path: "*.error_code",
        kafka: "-1",
        ours: "0",
        reason: "A negative limit is read as the smallest one; Kafka fails inside.",
    },
    Wanted {
        scenario: "fetch_limits",
        step: "Fetch: two topics, max_bytes of 532",
        path: "responses[*].partitions[000].records",
        kafka: "0 elements",
        ours: "1 elements",
        reason: "Kafka cuts the first topic's last batch in half and counts the half, which no client can use; ours sends whole batches only, and the second topic's fits.",
    },
    Wanted {
        scenario: "fetch_isolation",
        step: "Fetch: isolation level 7",
        path: "error_code",
        kafka: "-1",
        ours: "*",
        reason: "Kafka fails inside.",
    },
    Wanted {
        scenario: "describe_configs_errors",
        step: "DescribeConfigs: type 32*",
        path: "*.configs[*]",
        kafka: "*",
        ours: "(absent)",
        reason: "Configs of share groups and streams groups mean nothing here and are not shown.",
    },
    Wanted {
        scenario: "describe_log_dirs",
        step: "*",
        path: "results[*].total_bytes",
        kafka: "SOME",
        ours: "-1",
        reason: "A bucket has no size.",
    },
    Wanted {
        scenario: "describe_log_dirs",
        step: "*",
        path: "results[*].usable_bytes",
        kafka: "SOME",
        ours: "-1",
        reason: "A bucket has no size.",
    },
    Wanted {
        scenario: "create_topics_configs",
        step: "CreateTopics: two bad ones",
        path: "*.error_message",
        kafka: "*",
        ours: "*",
        reason: "Of several bad values the first is told; Kafka tells the one that its hash map holds first.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "DescribeConfigs: loggers",
        path: "*.configs[*]",
        kafka: "*",
        ours: "*",
        reason: "Which loggers there are is each program's own.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "DescribeConfigs: loggers",
        path: "*.configs[root].value",
        kafka: "*",
        ours: "*",
        reason: "How much a server writes into its log is its own default.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "DescribeConfigs: this broker",
        path: "*.configs[topic.undelete.ms]",
        kafka: "(absent)",
        ours: "*",
        reason: "Deleting a topic is soft for a while here; Kafka has nothing like it.",
    },
    Wanted {
        scenario: "describe_broker_configs",
        step: "DescribeConfigs: the cluster's defaults",
        path: "*.configs[min.insync.replicas]",
        kafka: "*",
        ours: "(absent)",
        reason: "Kafka's eligible leader replicas write this default into the cluster's own configs; there are no replicas to be eligible here.",
    },
    Wanted {
        scenario: "describe_producers",
        step: "DescribeProducers: an unknown topic",
        path: "*.error_message",
        kafka: "\"*\"",
        ours: "\"*\"",
        reason: "The same refusal, with what to do.",
    },
    Wanted {
        scenario: "offset_for_leader_epoch",
        step: "OffsetForLeaderEpoch: leader epoch -2*",
        path: "*.leader_epoch",
        kafka: "-2",
        ours: "-1",
        reason: "An epoch below -1 is none, and has no end.",
    },
    Wanted {
        scenario: "offset_for_leader_epoch",
        step: "OffsetForLeaderEpoch: leader epoch -2*",
        path: "*.end_offset",
        kafka: "0",
        ours: "-1",
        reason: "An epoch below -1 is none, and has no end.",
    },
    Wanted {
        scenario: "idempotent_odd",
        step: "Produce: an epoch of -2",
        path: "*.error_code",
        kafka: "47",
        ours: "87",
        reason: "No client has such an epoch: the batch is malformed, not fenced.",
    },
    Wanted {
        scenario: "find_coordinator",
        step: "*",
        path: "node_id",
        kafka: "0",
        ours: "NODE",
        reason: "Not on the wire from version 4 on; we are node 0.",
    },
    Wanted {
        scenario: "sequence_patterns",
        step: "ConsumerGroupHeartbeat: the pattern *",
        path: "error_message",
        kafka: "*is not a valid regular expression: *",
        ours: "*is not a valid regular expression: *",
        reason: "What is wrong with an expression each engine says in its own words.",
    },
    Wanted {
        scenario: "sequence_uniform",
        step: "ConsumerGroupDescribe: *",
        path: "groups[*].members[*]*ssignment*",
        kafka: "*",
        ours: "*",
        reason: "Shares are as equal and stay as they were; which partition moves first is each server's own order.",
    },
    Wanted {
        scenario: "consumer_regex",
        step: "ConsumerGroupHeartbeat: the pattern *",
        path: "error_message",
        kafka: "*is not a valid regular expression: *",
        ours: "*is not a valid regular expression: *",
        reason: "What is wrong with an expression each engine says in its own words.",
    },
    Wanted {
        scenario: "consumer_offsets",
        step: "OffsetFetch: read by None of epoch 1",
        path: "*error_code",
        kafka: "-1",
        ours: "25",
        reason: "An epoch without a member id makes Kafka stumble; that member is unknown.",
    },
];

impl Wanted {
    pub fn covers(&self, difference: &Difference) -> bool {
        let side =
            |tree: &Option<Tree>| tree.as_ref().map_or("(absent)".to_owned(), Tree::to_string);
        fits(self.scenario, difference.scenario)
            && fits(self.step, &difference.step)
            && fits(self.path, &difference.path)
            && fits(self.kafka, &side(&difference.kafka))
            && fits(self.ours, &side(&difference.ours))
    }
}

/// Whether `text` is `pattern` with every `*` replaced by some text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => match text.strip_prefix(head) {
            None => false,
            Some(rest) => rest
                .char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| rest.get(at..).is_some_and(|r| fits(tail, r))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "ab"),
            ("*.x[*].y", "q.x[1].y"),
            ("a", "a"),
            ("a*b*c", "aXbYbc"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("", "x")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
