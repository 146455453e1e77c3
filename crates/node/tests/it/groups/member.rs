//! Members of groups, and what they ask.
use bytes::Bytes;
use sh_coord::{
    Client, Command, GroupError, Reply,
    command::{
        CommitPartition, CommitTopic, ConsumerGroupHeartbeat, Heartbeat, JoinGroup, LeaveGroup,
        LeavingMember, OffsetCommit, OffsetFetch, Protocol, SyncGroup,
    },
    error::Refusal,
    reply::{HeartbeatReply, JoinReply, OffsetsReply},
};
use sh_node::CommittedTopic;

use crate::world::{Agent, caller};

pub fn client() -> Client {
    Client {
        id: "client".into(),
        host: "/127.0.0.1".into(),
    }
}

pub async fn ask(agent: &Agent, group: &str, command: Command) -> Reply {
    agent.node.group(&caller(), group, client(), command).await
}

/// A member of a classic group that has joined.
pub struct Member {
    pub group: String,
    pub id: String,
    pub generation: i32,
    leader: String,
}

impl Member {
    /// Somebody whom no group knows.
    pub fn ghost(group: &str) -> Member {
        Member {
            group: group.into(),
            id: "ghost".into(),
            generation: 1,
            leader: String::new(),
        }
    }

    pub async fn try_join(agent: &Agent, group: &str) -> JoinReply {
        let join = JoinGroup {
            member_id: String::new(),
            instance_id: None,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"metadata"),
            }],
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            requires_known_member_id: false,
            supports_skipping_assignment: true,
        };
        match ask(agent, group, Command::JoinGroup(join)).await {
            Reply::JoinGroup(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub async fn join(agent: &Agent, group: &str) -> Member {
        let reply = Member::try_join(agent, group).await;
        assert_eq!(reply.error, None);
        Member {
            group: group.into(),
            id: reply.member_id,
            generation: reply.generation,
            leader: reply.leader,
        }
    }

    /// The only member of its group, which is stable.
    pub async fn alone(agent: &Agent, group: &str) -> Member {
        let member = Member::join(agent, group).await;
        let share = member.sync(agent, &[(&member.id, "all")]).await;
        assert_eq!(&share[..], b"all");
        member
    }

    pub fn leads(&self) -> bool {
        self.leader == self.id
    }

    pub async fn sync(&self, agent: &Agent, shares: &[(&String, &str)]) -> Bytes {
        let share =
            |(id, share): &(&String, &str)| ((*id).clone(), Bytes::from((*share).to_owned()));
        let sync = SyncGroup {
            member_id: self.id.clone(),
            instance_id: None,
            generation: self.generation,
            protocol_type: None,
            protocol_name: None,
            assignments: shares.iter().map(share).collect(),
        };
        match ask(agent, &self.group, Command::SyncGroup(sync)).await {
            Reply::SyncGroup(reply) => {
                assert_eq!(reply.error, None);
                reply.assignment
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn beat(&self, agent: &Agent) -> Option<GroupError> {
        let beat = Heartbeat {
            member_id: self.id.clone(),
            instance_id: None,
            generation: self.generation,
        };
        match ask(agent, &self.group, Command::Heartbeat(beat)).await {
            Reply::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    pub async fn leave(&self, agent: &Agent) {
        let members = vec![LeavingMember {
            member_id: self.id.clone(),
            instance_id: None,
            reason: None,
        }];
        let reply = ask(
            agent,
            &self.group,
            Command::LeaveGroup(LeaveGroup { members }),
        )
        .await;
        assert!(matches!(reply, Reply::LeaveGroup(reply) if reply.error.is_none()));
    }

    /// Commits for partition 0 of topic `t`.
    pub async fn commit(&self, agent: &Agent, offset: i64) -> Option<GroupError> {
        let commit = commit(&self.id, self.generation, &[("t", 0, offset)]);
        code(&committed(agent, &self.group, commit).await)
    }
}

pub fn commit(member: &str, generation: i32, offsets: &[(&str, i32, i64)]) -> OffsetCommit {
    let topic = |(topic, partition, offset): &(&str, i32, i64)| CommitTopic {
        topic: (*topic).into(),
        partitions: vec![CommitPartition {
            partition: *partition,
            offset: *offset,
            leader_epoch: -1,
            metadata: String::new(),
        }],
    };
    OffsetCommit {
        member_id: member.into(),
        instance_id: None,
        generation_or_epoch: generation,
        retention_ms: None,
        knows_member_epochs: true,
        transaction: None,
        topics: offsets.iter().map(topic).collect(),
    }
}

pub async fn committed(agent: &Agent, group: &str, commit: OffsetCommit) -> OffsetsReply {
    match ask(agent, group, Command::OffsetCommit(commit)).await {
        Reply::OffsetCommit(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// What the first partition was answered.
pub fn code(reply: &OffsetsReply) -> Option<GroupError> {
    reply.topics[0].1[0].1
}

/// A consumer that manages its partitions itself commits for partition 0 of `t`.
pub async fn commit_alone(agent: &Agent, group: &str, offset: i64) {
    let commit = commit("", -1, &[("t", 0, offset)]);
    assert_eq!(code(&committed(agent, group, commit).await), None);
}

pub async fn fetch(
    agent: &Agent,
    group: &str,
    topics: Option<Vec<(String, Vec<i32>)>>,
) -> Result<Vec<CommittedTopic>, GroupError> {
    let fetch = OffsetFetch {
        member_id: None,
        member_epoch: -1,
    };
    let node = &agent.node;
    node.committed_offsets(&caller(), group, client(), fetch, topics, true)
        .await
}

/// The committed offset of partition 0 of topic `t`.
pub async fn offset_of(agent: &Agent, group: &str) -> Option<i64> {
    try_offset_of(agent, group).await.unwrap()
}

pub async fn try_offset_of(agent: &Agent, group: &str) -> Result<Option<i64>, GroupError> {
    let topics = vec![("t".to_owned(), vec![0])];
    let mut topics = fetch(agent, group, Some(topics)).await?;
    let partition = topics.remove(0).partitions.remove(0);
    Ok(partition.committed?.map(|row| row.offset))
}

/// A member of KIP-848 that joins.
pub fn subscribing(member: &str) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        member_id: member.into(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        topic_partitions: Some(Default::default()),
        member_chooses_id: true,
        ..ConsumerGroupHeartbeat::default()
    }
}

pub async fn joining(
    agent: &Agent,
    group: &str,
    beat: ConsumerGroupHeartbeat,
) -> Result<HeartbeatReply, Refusal> {
    match ask(agent, group, Command::ConsumerGroupHeartbeat(beat)).await {
        Reply::ConsumerGroupHeartbeat(reply) => reply,
        other => panic!("{other:?}"),
    }
}
