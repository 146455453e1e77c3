//! Groups over several rebalances: who has what, in which generation or epoch, after each change.
use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use kafka_protocol::{
    messages::{GroupId, consumer_group_heartbeat_request::TopicPartitions},
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    group_requests::{
        Member, beat, begin_join, commit, describe, describe_consumer, end_join, group, introduce,
        join_beat, meet, member, rebalance, subscription, sync,
    },
    requests::text,
    scenarios,
};
use crate::oracle::{Peer, Topic};

scenarios! {
    sequence_classic: "a classic group over six generations",
    sequence_classic_commits: "commits in every state of a classic group",
    sequence_uniform: "a group of KIP-848 over many epochs, uniform",
    sequence_range: "a group of KIP-848 over many epochs, range",
    sequence_mixed: "members of both protocols come and go",
    sequence_rack: "racks, told by members of either protocol",
    sequence_patterns: "regular expressions: what is one, and what it means",
}

async fn sequence_classic(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [mut a, mut b] = [member(0, &group), member(1, &group).instance("two")];
    introduce(peer, "a", &mut a).await?;
    meet(peer, "a and b", &mut a, &mut [&mut b]).await?;
    let gifts = [(&a.id.clone(), "1"), (&b.id.clone(), "2")];
    sync(peer, "a assigns", 5, &a, &gifts).await?;
    sync(peer, "b hears", 5, &b, &[]).await?;
    peer.ask("two of them", 5, &describe(5, &[&group])).await?;
    // The leader joins again: nobody has changed, the generation has.
    let leads = begin_join(peer, 9, &a).await?;
    peer.ask("b hears of it", 4, &b.heartbeat(4)).await?;
    let follows = begin_join(peer, 9, &b).await?;
    end_join(peer, "b again", follows, &mut b).await?;
    end_join(peer, "a again", leads, &mut a).await?;
    let waits = peer.begin(1, 5, &b.sync(5, &[])).await?;
    let gifts = [(&a.id.clone(), "3"), (&b.id.clone(), "4")];
    sync(peer, "a assigns again", 5, &a, &gifts).await?;
    peer.end("b hears again", waits).await?;
    let mut c = member(2, &group);
    introduce(peer, "c", &mut c).await?;
    let third = begin_join(peer, 9, &c).await?;
    let follows = begin_join(peer, 9, &b).await?;
    let leads = begin_join(peer, 9, &a).await?;
    end_join(peer, "c is in", third, &mut c).await?;
    end_join(peer, "b is in", follows, &mut b).await?;
    end_join(peer, "a leads three", leads, &mut a).await?;
    let gifts = [
        (&a.id.clone(), "5"),
        (&b.id.clone(), "6"),
        (&c.id.clone(), "7"),
    ];
    sync(peer, "a assigns to three", 5, &a, &gifts).await?;
    sync(peer, "b hears once more", 5, &b, &[]).await?;
    sync(peer, "c hears", 5, &c, &[]).await?;
    peer.ask("three of them", 5, &describe(5, &[&group]))
        .await?;
    peer.ask("a and b leave", 5, &a.leave(5)).await?;
    peer.ask("b leaves", 5, &b.leave(5)).await?;
    peer.ask("c hears of it", 4, &c.heartbeat(4)).await?;
    rebalance(peer, "c is alone", 9, &mut [&mut c]).await?;
    sync(peer, "c assigns", 5, &c, &[(&c.id.clone(), "all")]).await?;
    peer.ask("c is left", 5, &describe(5, &[&group])).await?;
    peer.ask("c leaves", 5, &c.leave(5)).await?;
    let mut d = member(3, &group);
    introduce(peer, "d", &mut d).await?;
    rebalance(peer, "d goes on where they ended", 9, &mut [&mut d]).await
}

async fn sequence_classic_commits(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let group = group(peer, "g").await?;
    let commits = async |peer: &mut Peer, when: &str, of: &Member| -> Result<()> {
        for (whose, id, generation) in [
            ("its own", of.id.clone(), of.generation),
            ("the next generation's", of.id.clone(), of.generation + 1),
            ("the last generation's", of.id.clone(), of.generation - 1),
            ("nobody's", text(""), -1),
            ("another's", text("another"), of.generation),
        ] {
            for version in [2, 6, 9] {
                let request = commit(version, &group, &topic, &[(0, 4, -1, None)])
                    .with_member_id(id.clone())
                    .with_generation_id_or_member_epoch(generation);
                peer.ask(&format!("{when}: {whose}"), version, &request)
                    .await?;
            }
        }
        Ok(())
    };
    let mut a = member(0, &group);
    commits(peer, "no group", &a).await?;
    introduce(peer, "a", &mut a).await?;
    commits(peer, "a group that is expected", &a).await?;
    rebalance(peer, "a joins", 9, &mut [&mut a]).await?;
    commits(peer, "completing", &a).await?;
    sync(peer, "a assigns", 5, &a, &[]).await?;
    commits(peer, "stable", &a).await?;
    let mut b = member(1, &group);
    introduce(peer, "b", &mut b).await?;
    let join = begin_join(peer, 9, &b).await?;
    commits(peer, "preparing", &a).await?;
    commits(peer, "preparing, who waits", &b).await?;
    peer.ask("a leaves", 5, &a.leave(5)).await?;
    end_join(peer, "b leads now", join, &mut b).await?;
    commits(peer, "who has left", &a).await?;
    peer.ask("b leaves", 5, &b.leave(5)).await?;
    commits(peer, "empty", &b).await
}

/// A member of KIP-848 that does as it is told.
struct Reader {
    id: &'static str,
    epoch: i32,
    owned: BTreeMap<Uuid, Vec<i32>>,
}

/// Members of one group, and what they subscribe to.
struct Readers {
    group: GroupId,
    topics: Vec<Topic>,
    assignor: &'static str,
    members: Vec<Reader>,
}

impl Readers {
    async fn new(peer: &mut Peer, assignor: &'static str, topics: Vec<Topic>) -> Result<Readers> {
        Ok(Readers {
            group: group(peer, "g").await?,
            topics,
            assignor,
            members: Vec::new(),
        })
    }

    /// A new member, and time for all to get their share.
    async fn join(&mut self, peer: &mut Peer, id: &'static str) -> Result<()> {
        let names: Vec<_> = self.topics.iter().map(|t| &t.name).collect();
        let request =
            join_beat(&self.group, id, &names).with_server_assignor(Some(text(self.assignor)));
        let answer = peer.quietly(1, &request).await?;
        self.members.push(Reader {
            id,
            epoch: answer.member_epoch,
            owned: BTreeMap::new(),
        });
        self.settle(peer, &format!("{id} has come")).await
    }

    async fn leave(&mut self, peer: &mut Peer, id: &'static str) -> Result<()> {
        peer.ask(&format!("{id} leaves"), 1, &beat(&self.group, id, -1))
            .await?;
        self.members.retain(|m| m.id != id);
        self.settle(peer, &format!("{id} has gone")).await
    }

    async fn settle(&mut self, peer: &mut Peer, what: &str) -> Result<()> {
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            for member in &mut self.members {
                member.beat(peer, &self.group).await?;
            }
        }
        peer.ask(what, 1, &describe_consumer(&[&self.group]))
            .await
            .map(drop)
    }
}

impl Reader {
    async fn beat(&mut self, peer: &mut Peer, group: &GroupId) -> Result<()> {
        let owned = self.owned.iter().map(|(id, partitions)| {
            TopicPartitions::default()
                .with_topic_id(*id)
                .with_partitions(partitions.clone())
        });
        let request = beat(group, self.id, self.epoch).with_topic_partitions(Some(owned.collect()));
        let answer = peer.quietly(1, &request).await?;
        anyhow::ensure!(answer.error_code == 0, "{}: {answer:?}", self.id);
        self.epoch = answer.member_epoch;
        if let Some(told) = answer.assignment {
            let told = told.topic_partitions.into_iter();
            self.owned = told.map(|t| (t.topic_id, t.partitions)).collect();
        }
        Ok(())
    }
}

async fn sequence_of(peer: &mut Peer, assignor: &'static str) -> Result<()> {
    let topics = vec![
        peer.topic("one", 6, &[]).await?,
        peer.topic("two", 6, &[]).await?,
    ];
    let mut readers = Readers::new(peer, assignor, topics).await?;
    readers.join(peer, "a").await?;
    readers.join(peer, "b").await?;
    readers.join(peer, "c").await?;
    readers.leave(peer, "b").await?;
    readers.join(peer, "d").await?;
    readers.leave(peer, "a").await?;
    readers.leave(peer, "c").await?;
    readers.leave(peer, "d").await
}

async fn sequence_uniform(peer: &mut Peer) -> Result<()> {
    sequence_of(peer, "uniform").await
}

async fn sequence_range(peer: &mut Peer) -> Result<()> {
    sequence_of(peer, "range").await
}

/// A classic consumer's whole round: it joins, hears what it has, and lives.
async fn round(peer: &mut Peer, what: &str, of: &mut Member) -> Result<()> {
    let join = begin_join(peer, 9, of).await?;
    end_join(peer, &format!("{what} joins"), join, of).await?;
    sync(peer, &format!("{what} hears"), 5, of, &[]).await?;
    peer.ask(&format!("{what} lives"), 4, &of.heartbeat(4))
        .await
        .map(drop)
}

async fn sequence_mixed(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 3, &[]).await?;
    let mut readers = Readers::new(peer, "uniform", vec![topic.clone()]).await?;
    readers.join(peer, "m").await?;
    let group = readers.group.clone();
    let classic = |lane: usize| Member {
        protocols: vec![("range", subscription(&[&topic.name]))],
        ..member(lane, &group)
    };
    let mut fixed = classic(0).instance("one");
    round(peer, "a static classic one", &mut fixed).await?;
    readers.settle(peer, "both are in").await?;
    peer.ask("it is told of more", 4, &fixed.heartbeat(4))
        .await?;
    round(peer, "it again", &mut fixed).await?;
    readers.settle(peer, "both have their share").await?;
    let commit = commit(9, &group, &topic.name, &[(0, 1, -1, None)]);
    for (whose, id, epoch) in [
        ("its own", fixed.id.clone(), fixed.generation),
        ("an older", fixed.id.clone(), 0),
        ("a newer", fixed.id.clone(), 99),
        ("no", text(""), -1),
    ] {
        let request = commit
            .clone()
            .with_member_id(id)
            .with_generation_id_or_member_epoch(epoch);
        peer.ask(
            &format!("a classic one commits in {whose} epoch"),
            9,
            &request,
        )
        .await?;
    }
    let mut reborn = classic(1).instance("one");
    round(peer, "its next life", &mut reborn).await?;
    peer.ask("its former life", 4, &fixed.heartbeat(4)).await?;
    peer.ask("its former life", 5, &fixed.sync(5, &[])).await?;
    peer.ask("what the classic API sees", 6, &describe(6, &[&group]))
        .await?;
    readers.leave(peer, "m").await?;
    peer.ask("classic again", 6, &describe(6, &[&group]))
        .await?;
    peer.ask("it must join", 4, &reborn.heartbeat(4)).await?;
    let join = begin_join(peer, 9, &reborn).await?;
    end_join(peer, "alone", join, &mut reborn).await?;
    let id: StrBytes = reborn.id.clone();
    sync(peer, "it assigns", 5, &reborn, &[(&id, "all")]).await?;
    peer.ask("in the end", 6, &describe(6, &[&group]))
        .await
        .map(drop)
}

async fn sequence_rack(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    let join = join_beat(&group, "m", &[&topic.name]);
    peer.ask(
        "a member with a rack",
        1,
        &join.clone().with_rack_id(Some(text("r1"))),
    )
    .await?;
    peer.ask("its rack", 1, &describe_consumer(&[&group]))
        .await?;
    let moved = beat(&group, "m", 2).with_rack_id(Some(text("r2")));
    peer.ask("it has moved", 1, &moved).await?;
    peer.ask("its new rack", 1, &describe_consumer(&[&group]))
        .await?;
    peer.ask("no word of a rack", 1, &beat(&group, "m", 2))
        .await?;
    peer.ask("still there", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn sequence_patterns(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let by = |pattern: &str| {
        join_beat(&group, "m", &[])
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text(pattern)))
    };
    for bad in [
        "a{2,1}",
        "a{1001}",
        "a**",
        "?",
        "+a",
        "[b-a]",
        "[[:nope:]]",
        "(?P<n>a",
        "(?P<n>a)(?P<n>b)",
        "\\8",
        "\\1",
        "\\k<n>",
        "(?=a)",
        "(?!a)",
        "(?<!a)b",
        "(?>a)",
        "a)",
        "\\pX",
        "\\p{Nope}",
        "\\x{110000}",
        "(?z)a",
        "\\",
        "a\\",
        "[a",
        "[]",
        "x{2}{3}{",
        "\\Z",
        "\\G",
    ] {
        peer.ask(&format!("the pattern {bad}"), 1, &by(bad)).await?;
    }
    for (n, good) in [
        "a{2}",
        "(?i)ABC",
        "[[:alpha:]]+",
        "(?P<n>a)",
        "(?:a|b)c",
        "\\Qa.b\\E",
        "\\x61",
        "\\x{61}",
        "a{,2}",
        "a{",
        "\\d\\w\\s",
        "^a$",
        "\\Aa\\z",
        "[^a-z]",
        "a*?",
        "[a&&b]",
        "\\C",
        "\\v",
        "\\a",
        "\\b",
        "\\B",
    ]
    .into_iter()
    .enumerate()
    {
        let group = GroupId(peer.name(&format!("p{n}")).0);
        let request = join_beat(&group, "m", &[])
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text(good)));
        peer.ask(&format!("the pattern {good}"), 1, &request)
            .await?;
        peer.quietly(1, &beat(&group, "m", -1)).await?;
    }
    Ok(())
}
