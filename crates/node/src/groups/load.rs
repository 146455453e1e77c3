//! Reading a group's rows.
use sh_base::Env;
use sh_coord::{
    GroupError, Now, Snapshot,
    row::{GroupRow, MemberRow, UnreadableRow},
};
use sh_meta::{Key, Row};

/// The moment, as a machine wants it.
pub(super) fn now(env: &Env) -> Now {
    Now {
        mono: env.mono(),
        wall_ms: env.wall_ms(),
    }
}

/// Adds one row of the group to what is known of it.
pub(super) fn add_row(snapshot: &mut Snapshot, key: &Key, row: &Row) -> Result<(), GroupError> {
    add(snapshot, key, row).map_err(|error| {
        tracing::error!(%error, ?key, "a group cannot be read");
        GroupError::UnknownServerError
    })
}

fn add(snapshot: &mut Snapshot, key: &Key, row: &Row) -> Result<(), UnreadableRow> {
    match (key, &row.value) {
        (Key::Group(..), Some(value)) => snapshot.group = Some(GroupRow::decode(value)?),
        (Key::GroupMember(_, _, member), Some(value)) => {
            let row = MemberRow::decode(value)?;
            snapshot.members.insert(member.clone(), row);
        }
        _ => {}
    }
    Ok(())
}
