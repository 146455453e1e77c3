//! Configs of groups: described, altered, listed.
use std::collections::BTreeMap;

use bytes::Bytes;
use sh_base::{ErrorCode, Failure, Org, limits::GROUP_ID_BYTES_MAX};
use sh_meta::{Key, KeyRange, Row, View};

use crate::{
    Caller, Node, Operation, Resource,
    config::{Changes, ConfigEntry, GROUP, GroupConfigs, alter::group_configs},
    control::{damaged, fits_key, put, storage},
};

/// Groups with configs of their own that are listed.
const LISTED_MAX: usize = 100_000;

fn request(text: &str) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, text)
}

impl Node {
    pub(crate) async fn describe_group_configs(
        &self,
        caller: &Caller,
        group: &str,
    ) -> Result<Vec<ConfigEntry>, Failure> {
        self.authorize(caller, Operation::DescribeConfigs, Resource::Group(group))?;
        if group.is_empty() {
            return Err(request("Group name must not be empty"));
        }
        let row = self.row(key(&caller.org, group)).await?;
        let (own, broker) = (configs_of(&row)?, self.broker());
        Ok(GroupConfigs {
            own: &own,
            broker: &broker,
        }
        .entries())
    }

    pub(crate) async fn alter_group_configs(
        &self,
        caller: &Caller,
        group: &str,
        changes: Changes,
        validate_only: bool,
    ) -> Result<(), Failure> {
        self.authorize(caller, Operation::AlterConfigs, Resource::Group(group))?;
        if group.is_empty() {
            return Err(request("Default group resources are not allowed."));
        }
        fits_key("id of the group", group, GROUP_ID_BYTES_MAX)?;
        let (key, broker) = (key(&caller.org, group), self.broker());
        if validate_only {
            let row = self.row(key).await?;
            return group_configs(&configs_of(&row)?, &changes, &broker).map(drop);
        }
        self.try_change(vec![key.clone()], move |view: &View| {
            let configs = group_configs(&configs_of(view.row(&key))?, &changes, &broker)?;
            let value = serde_json::to_vec(&configs).map_err(|e| damaged("group configs", e))?;
            Ok(vec![put(key.clone(), value)])
        })
        .await
    }

    /// The groups of the caller's org for which anything is set.
    pub(crate) async fn groups_with_configs(
        &self,
        caller: &Caller,
    ) -> Result<Vec<String>, Failure> {
        let range = KeyRange::configs(&caller.org, GROUP);
        let rows = self
            .store()
            .scan(range, LISTED_MAX, false)
            .await
            .map_err(storage)?;
        let mut groups = Vec::new();
        for (key, row) in rows {
            if let Key::Config(_, _, group) = key
                && !configs_of(&row)?.is_empty()
            {
                groups.push(group);
            }
        }
        Ok(groups)
    }
}

/// The row of what is set for one group.
pub(crate) fn key(org: &Org, group: &str) -> Key {
    Key::Config(org.clone(), GROUP.into(), group.into())
}

/// The value of that row: a JSON object of texts.
pub(crate) fn configs_of(row: &Row) -> Result<BTreeMap<String, String>, Failure> {
    let parse = |bytes: &Bytes| serde_json::from_slice(bytes).map_err(|e| damaged("config row", e));
    row.value.as_ref().map_or(Ok(BTreeMap::new()), parse)
}
