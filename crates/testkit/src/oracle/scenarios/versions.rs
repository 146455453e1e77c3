//! ApiVersions: the first word of every client.
use anyhow::Result;
use kafka_protocol::messages::ApiVersionsRequest;

use super::{requests::text, scenarios};
use crate::oracle::Peer;

scenarios! {
    api_versions: "what a server says it can do, at every version of the question",
    api_versions_client_names: "a client's name and version are checked from version 3 on",
    api_versions_downgrade: "an unknown version is answered in version 0, with error 35 and the range",
}

async fn api_versions(peer: &mut Peer) -> Result<()> {
    for version in 0..=4 {
        let request = match version {
            0..=2 => ApiVersionsRequest::default(),
            _ => ApiVersionsRequest::default()
                .with_client_software_name(text("oracle"))
                .with_client_software_version(text("1.0")),
        };
        peer.ask("an ordinary client", version, &request).await?;
    }
    Ok(())
}

async fn api_versions_client_names(peer: &mut Peer) -> Result<()> {
    let names = [
        ("", "1"),
        ("a", ""),
        ("-a", "1"),
        ("a b", "1"),
        ("a.b-c9", "1.0-SNAPSHOT"),
        ("ü", "1"),
        ("a", "1."),
    ];
    for (name, release) in names {
        for version in 3..=4 {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text(name))
                .with_client_software_version(text(release));
            let answer = peer.quietly(version, &request).await?;
            let brief = answer
                .with_api_keys(vec![])
                .with_supported_features(vec![])
                .with_finalized_features(vec![]);
            peer.write_down(
                &format!("ApiVersions: name {name:?}, version {release:?}"),
                version,
                &brief,
            );
        }
    }
    Ok(())
}

async fn api_versions_downgrade(peer: &mut Peer) -> Result<()> {
    for version in [5, 9, 127, -1] {
        peer.ask_raw("an unknown version", (18, version, 2), b"\x02a\x021\x00")
            .await?;
    }
    peer.ask_raw("version 3 with an empty body", (18, 3, 2), b"")
        .await?;
    Ok(())
}
