//! The few things that Kafka's protocol has no words for, over StreamHouse's HTTP listener.
use std::time::Duration;

use clap::Args;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use crate::failure::{Exit, Failure};

#[derive(Args)]
pub struct HttpArgs {
    /// Where StreamHouse's HTTP listener is
    #[arg(
        long,
        env = "STREAMCTL_HTTP",
        default_value = "127.0.0.1:8080",
        value_name = "HOST:PORT or URL"
    )]
    http: String,
}

/// A server's HTTP listener.
pub struct Http {
    base: String,
    client: Client,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Http {
    pub fn new(args: &HttpArgs, timeout: Duration) -> Result<Http, Failure> {
        // The only fault is that one was chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(timeout).build();
        let client = client.map_err(|e| Failure::failed(format!("no HTTP client: {e}")))?;
        let base = match args.http.split_once("://") {
            Some(_) => args.http.trim_end_matches('/').to_owned(),
            None => format!("http://{}", args.http),
        };
        Ok(Http { base, client })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(self.client.get(self.url(path))).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(self.client.post(self.url(path))).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let answer = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| self.unreachable(&e))?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|e| {
            let problem = format!(
                "{} answered with what is not StreamHouse's ({e})",
                self.base
            );
            Failure::failed(format!(
                "{problem}; say --http with the address that the server prints at its start"
            ))
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let advice =
            "is the server running, and is this the HTTP address it prints at its start? (--http)";
        Failure::new(
            Exit::Unreachable,
            format!("cannot reach {}: {error}; {advice}", self.base),
        )
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let exit = match status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::CONFLICT => Exit::Exists,
            StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let message = match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => refusal.message,
            Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
        };
        Failure::new(exit, format!("{} answered {status}: {message}", self.base))
    }
}
