//! Which groups there are.
use serde::Serialize;
use sh_client::{Admin, GroupListing};

use super::ListArgs;
use crate::{failure::Failure, output::table, session::Session};

#[derive(Serialize)]
struct Line {
    group: String,
    r#type: String,
    state: String,
    protocol_type: String,
}

impl From<GroupListing> for Line {
    fn from(listing: GroupListing) -> Line {
        Line {
            group: listing.group,
            r#type: listing.group_type.to_lowercase(),
            state: listing.state,
            protocol_type: listing.protocol_type,
        }
    }
}

pub async fn list(args: ListArgs, session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let groups = admin.list_groups(&args.state, &args.kind).await?;
    let lines: Vec<Line> = groups.into_iter().map(Line::from).collect();
    session.output().show(&lines, |lines| text(lines))
}

fn text(lines: &[Line]) -> String {
    let dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let row = |l: &Line| {
        [
            l.group.clone(),
            dash(&l.r#type),
            dash(&l.state),
            dash(&l.protocol_type),
        ]
    };
    table(
        ["group", "type", "state", "protocol"],
        lines.iter().map(row),
    )
}
