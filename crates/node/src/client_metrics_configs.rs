//! Subscriptions to metrics of clients: described, altered, listed.
use sh_base::{ErrorCode, Failure, Org, limits::KEY_NAME_BYTES_MAX};
use sh_meta::{Key, KeyRange, View};

use crate::{
    Caller, Node, Operation, Resource,
    config::{
        CLIENT_METRICS, Changes, ConfigEntry, alter::client_metrics_configs, client_metrics_entries,
    },
    control::{damaged, fits_key, put, storage},
    group_configs::configs_of,
};

/// Subscriptions of one org that are listed and followed; each costs every new client a look.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_000;

fn request(text: &str) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, text)
}

impl Node {
    pub(crate) async fn describe_client_metrics(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, Failure> {
        self.authorize(caller, Operation::DescribeConfigs, Resource::Cluster)?;
        if name.is_empty() {
            return Err(request(
                "Client metrics subscription name must not be empty",
            ));
        }
        let row = self.row(key(&caller.org, name)).await?;
        Ok(client_metrics_entries(&configs_of(&row)?))
    }

    pub(crate) async fn alter_client_metrics(
        &self,
        caller: &Caller,
        name: &str,
        changes: Changes,
        validate_only: bool,
    ) -> Result<(), Failure> {
        self.authorize(caller, Operation::AlterConfigs, Resource::Cluster)?;
        if name.is_empty() {
            return Err(request("Subscription name can't be empty"));
        }
        fits_key("name of the subscription", name, KEY_NAME_BYTES_MAX)?;
        let key = key(&caller.org, name);
        if validate_only {
            let row = self.row(key).await?;
            return client_metrics_configs(&configs_of(&row)?, &changes).map(drop);
        }
        self.try_change(vec![key.clone()], move |view: &View| {
            let configs = client_metrics_configs(&configs_of(view.row(&key))?, &changes)?;
            let value = serde_json::to_vec(&configs).map_err(|e| damaged("subscription", e))?;
            Ok(vec![put(key.clone(), value)])
        })
        .await
    }

    /// The subscriptions of the caller's org for which anything is set.
    pub(crate) async fn client_metrics_subscriptions(
        &self,
        caller: &Caller,
    ) -> Result<Vec<String>, Failure> {
        let range = KeyRange::configs(&caller.org, CLIENT_METRICS);
        let rows = self.store().scan(range, SUBSCRIPTIONS_MAX, false).await;
        let mut names = Vec::new();
        for (key, row) in rows.map_err(storage)? {
            if let Key::Config(_, _, name) = key
                && !configs_of(&row)?.is_empty()
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// The row of one subscription.
fn key(org: &Org, name: &str) -> Key {
    Key::Config(org.clone(), CLIENT_METRICS.into(), name.into())
}
