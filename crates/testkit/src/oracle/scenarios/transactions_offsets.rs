//! Offsets that are committed with a transaction.
use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, FindCoordinatorRequest, GroupId, OffsetFetchRequest, TransactionalId,
    TxnOffsetCommitRequest,
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
};

use super::{
    requests::text,
    scenarios,
    transactions::{Producer, ask, ask_end, begin, end, id},
};
use crate::oracle::{Peer, Topic};

scenarios! {
    txn_offsets: "offsets that are committed with a transaction, in both flows",
}

/// Offset `offset` of partition 0 for a group, as part of a transaction.
fn offsets(
    group: &GroupId,
    topic: &Topic,
    (tx, (producer, epoch)): (&TransactionalId, Producer),
    offset: i64,
) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("m")));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(tx.clone())
        .with_group_id(group.clone())
        .with_producer_id(producer.into())
        .with_producer_epoch(epoch)
        .with_topics(vec![topic])
}

async fn ask_offsets(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: TxnOffsetCommitRequest,
) -> Result<()> {
    ask!(peer, what, version, request, a => a.topics[0].partitions[0].error_code);
    Ok(())
}

/// What is committed, for those who take what is there and for those who wait for open transactions.
async fn committed(peer: &mut Peer, when: &str, group: &GroupId, topic: &Topic) -> Result<()> {
    for stable in [false, true] {
        let topics = OffsetFetchRequestTopics::default()
            .with_name(topic.name.clone())
            .with_partition_indexes(vec![0]);
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group.clone())
            .with_topics(Some(vec![topics]));
        let request = OffsetFetchRequest::default()
            .with_groups(vec![asked])
            .with_require_stable(stable);
        let what = format!("{when}, stable only: {stable}");
        peer.ask(&what, 8, &request).await?;
    }
    Ok(())
}

/// Until the offsets of the transaction before are committed or gone.
async fn offsets_settled(peer: &mut Peer, group: &GroupId, topic: &Topic) -> Result<()> {
    let topics = OffsetFetchRequestTopics::default()
        .with_name(topic.name.clone())
        .with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group.clone())
        .with_topics(Some(vec![topics]));
    let request = OffsetFetchRequest::default()
        .with_groups(vec![asked])
        .with_require_stable(true);
    for _ in 0..200 {
        let answer = peer.quietly(8, &request).await?;
        let group = &answer.groups[0];
        if group.error_code == 0 && group.topics[0].partitions[0].error_code == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("the offsets are not settled within 5 s")
}

async fn txn_offsets(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (group, tx) = (GroupId(peer.name("g").0), id(peer, "tx"));
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]);
    for _ in 0..200 {
        if peer.quietly(4, &find).await?.coordinators[0].error_code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let old = begin(peer, &tx).await?;
    let mut now = begin(peer, &tx).await?;
    offsets_settled(peer, &group, &topic).await?;
    for version in 0..=4 {
        let request = offsets(&group, &topic, (&tx, now), 5);
        ask_offsets(peer, "a group that was not added", version, request).await?;
    }
    for version in 0..=5 {
        for (what, who) in [
            ("a zombie", (&tx, old)),
            ("another producer", (&tx, (now.0 + 77, 0))),
            ("nobody's id", (&id(peer, "other"), now)),
        ] {
            let request = offsets(&group, &topic, who, 5);
            ask_offsets(peer, what, version, request).await?;
        }
    }
    for (round, commit) in [(1, true), (2, false), (3, true)] {
        let request = offsets(&group, &topic, (&tx, now), round * 10);
        ask_offsets(peer, "the commit adds its group", 5, request).await?;
        committed(peer, &format!("open {round}"), &group, &topic).await?;
        ask_end(peer, "an end", 5, end(&tx, now, commit)).await?;
        offsets_settled(peer, &group, &topic).await?;
        committed(peer, &format!("ended {round}"), &group, &topic).await?;
        now.1 += 1;
    }
    for version in 0..=4 {
        let add = AddOffsetsToTxnRequest::default()
            .with_transactional_id(tx.clone())
            .with_producer_id(now.0.into())
            .with_producer_epoch(now.1)
            .with_group_id(group.clone());
        ask!(peer, "a group", version.min(4), add, a => a.error_code);
        let request = offsets(&group, &topic, (&tx, now), 100 + i64::from(version));
        ask_offsets(peer, "its offsets", version, request).await?;
        if version >= 3 {
            let member = offsets(&group, &topic, (&tx, now), 7)
                .with_generation_id(3)
                .with_member_id(text("who"));
            ask_offsets(peer, "of a member that is not", version, member).await?;
        }
        ask_end(peer, "an end of the classic flow", 3, end(&tx, now, true)).await?;
        offsets_settled(peer, &group, &topic).await?;
        committed(peer, &format!("after version {version}"), &group, &topic).await?;
    }
    Ok(())
}
