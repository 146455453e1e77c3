//! What Apache Kafka answers, we answer.
use sh_testkit::oracle::{self, diff::Told};

use crate::servers::{OurServer, reference};

#[tokio::test]
async fn oracle_agrees() {
    let kafka = reference();
    let ours = OurServer::start().await;
    let report = oracle::compare(&kafka, &ours.address, "")
        .await
        .expect("both servers answer");
    assert!(
        report.steps > 1000,
        "only {} answers were compared",
        report.steps
    );
    assert!(
        report.unwanted.is_empty(),
        "{} of {} answers differ in ways that nobody wants:{}",
        report.unwanted.len(),
        report.steps,
        Told(&report.unwanted)
    );
    assert!(
        report.unused.is_empty(),
        "wanted differences that did not occur; remove them: {:#?}",
        report.unused
    );
}
