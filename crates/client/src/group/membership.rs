//! What both protocols have in common: to stay a member, and to learn what to read.
use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    GroupOptions, GroupProtocol, classic::Classic, consumer_protocol::ConsumerProtocol, link::Link,
};
use crate::{Client, Error, ErrorCode, Result, TopicPartition, admin::Author};

/// What a member learns from its group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// This is to be read from now on, and nothing else.
    Assigned(BTreeSet<TopicPartition>),
    /// The group went on without this member: nothing is to be read, and nothing can be committed.
    Lost,
}

/// When to speak to the coordinator, and for how long its silence is borne.
pub(super) struct Pulse {
    next: Instant,
    last_answer: Instant,
}

impl Pulse {
    fn new() -> Pulse {
        let now = Instant::now();
        Pulse {
            next: now,
            last_answer: now,
        }
    }

    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// The coordinator answered; the next heartbeat is due after `interval`.
    pub fn answered(&mut self, interval: Duration) {
        self.last_answer = Instant::now();
        self.next = self.last_answer + interval;
    }

    pub fn hurry(&mut self) {
        self.next = Instant::now();
    }
}

pub(super) struct Membership {
    protocol: Protocol,
    link: Link,
    pulse: Pulse,
}

enum Protocol {
    Classic(Classic),
    Consumer(ConsumerProtocol),
}

impl Membership {
    pub fn new(client: Client, options: GroupOptions) -> Membership {
        Membership {
            link: Link::new(client, options.group.clone()),
            pulse: Pulse::new(),
            protocol: match options.protocol {
                GroupProtocol::Classic => Protocol::Classic(Classic::new(options)),
                GroupProtocol::Consumer => Protocol::Consumer(ConsumerProtocol::new(options)),
            },
        }
    }

    /// Sends what is due. Errors that may pass are borne as long as the client's options say.
    pub async fn keep(&mut self, owned: &BTreeSet<TopicPartition>) -> Result<Change> {
        let (link, pulse) = (&mut self.link, &mut self.pulse);
        let kept = match &mut self.protocol {
            Protocol::Classic(member) => member.keep(link, pulse, owned).await,
            Protocol::Consumer(member) => member.keep(link, pulse, owned).await,
        };
        let error = match kept {
            Ok(change) => return Ok(change),
            Err(error) if !error.is_retriable() => return Err(error),
            Err(error) => error,
        };
        link.forget();
        let options = link.client().options();
        if pulse.last_answer.elapsed() > options.retry_for {
            return Err(Error::Deadline {
                what: "staying in the group".into(),
                after: pulse.last_answer.elapsed(),
                last: Box::new(error),
            });
        }
        tracing::debug!(%error, "the coordinator is asked again");
        tokio::time::sleep(options.backoff).await;
        Ok(Change::None)
    }

    /// On a new connection: the old one may be held by a JoinGroup that nobody waits for any more.
    pub async fn leave(&mut self) -> Result<()> {
        self.link.forget();
        match &self.protocol {
            Protocol::Classic(member) => member.leave(&mut self.link).await,
            Protocol::Consumer(member) => member.leave(&mut self.link).await,
        }
    }

    /// Who commits.
    pub fn author(&self) -> Author {
        match &self.protocol {
            Protocol::Classic(member) => member.author(),
            Protocol::Consumer(member) => member.author(),
        }
    }

    /// Partitions were given up: others wait for them.
    pub fn has_revoked(&mut self) {
        if let Protocol::Classic(member) = &mut self.protocol {
            member.has_revoked();
        }
        self.pulse.hurry();
    }

    /// The next [`Membership::keep`] speaks to the coordinator.
    pub fn hurry(&mut self) {
        self.pulse.hurry();
    }

    /// How long there is nothing to do for a member without partitions.
    pub fn pause(&self) -> Duration {
        self.pulse
            .next
            .saturating_duration_since(Instant::now())
            .min(Duration::from_millis(500))
    }

    /// Makes sure that the metadata has this partition: a topic may have grown since it was read.
    pub async fn know(&self, topic: &str, partition: i32) -> Result<()> {
        let client = self.link.client();
        if client.topic(topic).await?.partition(partition).is_err() {
            client.forget(topic);
            client.topic(topic).await?.partition(partition)?;
        }
        Ok(())
    }
}

/// Commits that are refused because the group has changed: the member must hear what changed first.
pub(super) fn must_ask_again(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RebalanceInProgress
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::FencedMemberEpoch
    )
}
