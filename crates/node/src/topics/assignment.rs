//! Assignments of partitions to brokers by hand: checked as Kafka checks them. Any agent serves any partition, so they are
//! then forgotten; what stays is the number of partitions and replicas.
use std::collections::BTreeSet;

use sh_base::{ErrorCode, Failure};

fn refused(text: String) -> Failure {
    Failure::new(ErrorCode::InvalidReplicaAssignment, text)
}

/// Partitions with the brokers they should be on, of a topic that is created. Gives partitions and replication factor.
pub fn of_new_topic(
    assignments: &[(i32, Vec<i32>)],
    brokers: &BTreeSet<i32>,
) -> Result<(i32, i16), Failure> {
    let mut seen = BTreeSet::new();
    let mut factor = None;
    for (partition, replicas) in assignments {
        if !seen.insert(*partition) {
            return Err(refused(format!(
                "Found multiple manual partition assignments for partition {partition}"
            )));
        }
        factor = Some(check_one(replicas, factor, brokers)?);
    }
    if seen
        .iter()
        .zip(0..)
        .any(|(partition, expected)| *partition != expected)
    {
        let text = "partitions should be a consecutive 0-based integer sequence";
        return Err(refused(text.into()));
    }
    Ok((seen.len() as i32, factor.unwrap_or(1) as i16))
}

/// The brokers of partitions that are added to a topic.
pub fn of_new_partitions(
    assignments: &[Vec<i32>],
    added: i32,
    factor: i16,
    brokers: &BTreeSet<i32>,
) -> Result<(), Failure> {
    if assignments.len() != added as usize {
        return Err(refused(format!(
            "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        )));
    }
    for replicas in assignments {
        check_one(replicas, Some(factor as usize), brokers)?;
    }
    Ok(())
}

/// One partition's brokers: some, known, no one twice, as many as of the others.
fn check_one(
    replicas: &[i32],
    factor: Option<usize>,
    brokers: &BTreeSet<i32>,
) -> Result<usize, Failure> {
    if replicas.is_empty() {
        let text = "The manual partition assignment includes an empty replica list.";
        return Err(refused(text.into()));
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut last = None;
    for broker in sorted {
        if last == Some(broker) {
            return Err(refused(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            )));
        }
        if !brokers.contains(&broker) {
            return Err(refused(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            )));
        }
        last = Some(broker);
    }
    match factor {
        Some(factor) if factor != replicas.len() => Err(refused(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not \
             consistent with previous partitions, which have {factor} replica(s).",
            replicas.len()
        ))),
        _ => Ok(replicas.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(assignments: &[(i32, Vec<i32>)]) -> String {
        of_new_topic(assignments, &BTreeSet::from([1, 2]))
            .unwrap_err()
            .message
    }

    #[test]
    fn assignments_are_checked_as_kafka_checks_them() {
        assert_eq!(
            of_new_topic(&[(1, vec![2]), (0, vec![1])], &BTreeSet::from([1, 2])),
            Ok((2, 1))
        );
        assert!(why(&[(0, vec![1]), (0, vec![1])]).contains("multiple manual"));
        assert!(why(&[(1, vec![1])]).contains("consecutive"));
        assert!(why(&[(0, vec![])]).contains("empty replica list"));
        assert!(why(&[(0, vec![1, 1])]).contains("broker 1 more than once"));
        assert!(why(&[(0, vec![3])]).contains("no such broker"));
        assert!(why(&[(0, vec![1]), (1, vec![1, 2])]).contains("with 2 replica(s)"));
    }
}
