//! `streamhouse wal adopt`: commits what the WAL of an agent holds that will not come back.
use anyhow::bail;
use sh_base::Env;
use sh_log::agent::Address;
use sh_node::BrokerConfig;

use crate::{
    data_dir::DataDir,
    settings::Settings,
    start::{begin, open_stores},
    telemetry::LogControl,
};

/// Begins one more life of the agent that `settings.data` belongs to, without listening: its WAL is replayed, flushed and empty
/// when this returns.
pub async fn adopt(settings: &Settings, env: &Env, logs: LogControl) -> anyhow::Result<()> {
    if !settings.data.join("agent.json").exists() {
        bail!(
            "{} has no agent.json: it is not the data folder of an agent",
            settings.data.display()
        );
    }
    let data = DataDir::open(&settings.data)?;
    let stores = open_stores(settings, env).await?;
    let nowhere = Address {
        host: "adopted".into(),
        port: 0,
        zone: None,
        http: None,
    };
    let broker = BrokerConfig::parse(&settings.broker).map_err(anyhow::Error::msg)?;
    let agent = begin(settings, env, &data, &stores, &nowhere, broker, logs).await?;
    agent.log.drain().await?;
    println!("agent {} has nothing left in its WAL", agent.me.agent.0);
    Ok(())
}
