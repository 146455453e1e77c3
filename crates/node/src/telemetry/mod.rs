//! Telemetry of clients (KIP-714): what operators see of producers and consumers without touching them.
//!
//! A client asks which metrics it should push and how often; the subscriptions that match it say so. It then pushes OTLP, which
//! the door decodes into [`Sample`]s; they are shown at `/metrics`. All of this is in the memory of the agent that the client
//! speaks to: a client that goes to another one begins there as a new one does, and nothing needs to be stored.
mod instances;
mod series;
mod subscriptions;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use sh_base::{ErrorCode, Failure};
use sh_meta::Change;
use uuid::Uuid;

use crate::{Caller, Node, config::client_metrics::Selector};
pub use instances::Subscribed;
use instances::{Instance, Instances};
use series::SeriesTable;
pub use series::{Sample, SampleKind, TEXT_BYTES_MAX, cut};
use subscriptions::Subscriptions;

/// The largest push, as it comes (`telemetry.max.bytes`).
const MAX_BYTES: &str = "telemetry.max.bytes";

/// A client that has telemetry, as its connection shows it.
#[derive(Clone, Debug, Default)]
pub struct TelemetryClient {
    /// What the client calls itself (KIP-511); `unknown` if it has not said.
    pub software_name: String,
    pub software_version: String,
    /// The port that the client speaks from.
    pub port: u16,
}

/// What a client pushes, before its payload is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    pub instance: Uuid,
    pub subscription: i32,
    /// The client's last push.
    pub terminating: bool,
    /// The number of its compression; `None` where that is one that nobody knows, with the number for the sentence about it.
    pub compression: Result<(), i8>,
    /// Of the payload, as it came.
    pub bytes: usize,
}

#[derive(Default)]
pub(crate) struct Telemetry {
    subscriptions: Subscriptions,
    instances: Mutex<Instances>,
    series: Mutex<SeriesTable>,
}

impl Telemetry {
    pub fn hear(&self, change: &Change) {
        self.subscriptions.hear(change);
    }
}

/// A client instance's id as Kafka writes it: base64.
pub fn shown(instance: Uuid) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(instance.as_bytes())
}

fn too_early(instance: Uuid) -> Failure {
    let text = format!(
        "Request from the client [{}] arrived before the next push interval time",
        shown(instance)
    );
    Failure::new(ErrorCode::ThrottlingQuotaExceeded, text)
}

impl Node {
    /// What this client instance should push; the nil id is a new instance, which gets an id.
    ///
    /// Errors: `ThrottlingQuotaExceeded` (it asked a moment ago).
    pub async fn telemetry_subscription(
        &self,
        caller: &Caller,
        client: &TelemetryClient,
        instance: Uuid,
    ) -> Result<Subscribed, Failure> {
        let id = match instance.is_nil() {
            true => self.env().uuid(),
            false => instance,
        };
        self.with_instance(caller, client, id, |instance, now| {
            match instance.may_ask(now) {
                true => Ok(instance.subscribed.clone()),
                false => Err(too_early(id)),
            }
        })
        .await
    }

    /// May this be pushed now? In Kafka's order of checks.
    ///
    /// Errors: `InvalidRequest` (no instance, or one that has ended), `ThrottlingQuotaExceeded`, `UnknownSubscriptionId`,
    /// `UnsupportedCompressionType`, `TelemetryTooLarge`.
    pub async fn check_push(
        &self,
        caller: &Caller,
        client: &TelemetryClient,
        push: Push,
    ) -> Result<(), Failure> {
        let most = usize::try_from(self.broker().number(MAX_BYTES)).unwrap_or(0);
        let id = push.instance;
        if id.as_u128() <= 1 {
            let text = format!(
                "Invalid request from the client [{}], invalid client instance id",
                shown(id)
            );
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
        self.with_instance(caller, client, id, |instance, now| {
            let checked = check(instance, &push, now, most);
            instance.terminating = push.terminating;
            checked
        })
        .await
    }

    /// Shows what was pushed.
    pub fn record_telemetry(&self, caller: &Caller, instance: Uuid, samples: Vec<Sample>) {
        let client_id = caller.client_id.as_deref().unwrap_or_default();
        let now = self.env().mono();
        let mut series = self.0.telemetry.series.lock();
        let dropped = series.record(client_id, instance, samples, now);
        metrics::counter!("streamhouse_client_telemetry_dropped_total").increment(dropped);
    }

    /// What clients pushed, in Prometheus' text format.
    pub fn telemetry_text(&self) -> String {
        let mut series = self.0.telemetry.series.lock();
        series.expire(self.env().mono());
        series.render()
    }

    async fn with_instance<T>(
        &self,
        caller: &Caller,
        client: &TelemetryClient,
        id: Uuid,
        act: impl FnOnce(&mut Instance, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let telemetry = &self.0.telemetry;
        let version = telemetry.subscriptions.load(self, &caller.org).await?;
        let most_bytes = self.broker().number(MAX_BYTES);
        let now = self.env().mono();
        let mut instances = telemetry.instances.lock();
        let instance = instances.of((caller.org.clone(), id), version, now, || {
            let attribute = |selector| attribute(selector, caller, client, id);
            let (metrics, interval_ms) = telemetry.subscriptions.matching(&caller.org, attribute);
            Subscribed::new(
                id,
                metrics,
                interval_ms,
                i32::try_from(most_bytes).unwrap_or(i32::MAX),
            )
        });
        act(instance, now)
    }
}

fn attribute(selector: Selector, caller: &Caller, client: &TelemetryClient, id: Uuid) -> String {
    match selector {
        Selector::InstanceId => shown(id),
        Selector::ClientId => caller.client_id.clone().unwrap_or_default(),
        Selector::SoftwareName => client.software_name.clone(),
        Selector::SoftwareVersion => client.software_version.clone(),
        Selector::SourceAddress => caller.host.clone(),
        Selector::SourcePort => client.port.to_string(),
    }
}

fn check(instance: &mut Instance, push: &Push, now: Duration, most: usize) -> Result<(), Failure> {
    let shown = shown(push.instance);
    let refused = |code, text: String| Err(Failure::new(code, text));
    if instance.terminating {
        return refused(
            ErrorCode::InvalidRequest,
            format!(
                "Client [{shown}] sent the previous request with state terminating to TRUE, can not accept any requests after that"
            ),
        );
    }
    if !instance.may_push(now) && !push.terminating {
        return Err(too_early(push.instance));
    }
    if push.subscription != instance.subscribed.id {
        return refused(
            ErrorCode::UnknownSubscriptionId,
            format!("Unknown client subscription id for the client [{shown}]"),
        );
    }
    if let Err(number) = push.compression {
        return refused(
            ErrorCode::UnsupportedCompressionType,
            format!(
                "Unknown compression type [{number}] is received in telemetry request from [{shown}]"
            ),
        );
    }
    if push.bytes > most {
        return refused(
            ErrorCode::TelemetryTooLarge,
            format!(
                "Telemetry request from [{shown}] is larger than the maximum allowed size [{most}]"
            ),
        );
    }
    Ok(())
}
