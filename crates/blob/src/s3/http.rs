//! The HTTP client under object_store, which keeps what the store said when it refused.
//!
//! object_store turns most refusals into one opaque error. Whether a request may have happened hangs on the status and on S3's
//! code, so refusals are turned into a [`Refused`] here, which travels as the cause of object_store's error.
use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpService, ReqwestConnector,
    },
};

/// A message longer than this is a web page, not S3's.
const MESSAGE_CHARS_MAX: usize = 300;

/// The store answered, and it was not yes. Holds S3's code and message, never the body: that may repeat the signature.
#[derive(Debug, thiserror::Error)]
#[error("HTTP {status} {code}: {message}")]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) code: String,
    message: String,
}

#[derive(Debug)]
pub(super) struct Connector;

#[derive(Debug)]
struct Telling(HttpClient);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Telling(
            ReqwestConnector::default().connect(options)?,
        )))
    }
}

#[async_trait]
impl HttpService for Telling {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        let refused = Refused::read(parts.status.as_u16(), &String::from_utf8_lossy(&body));
        if refused.is_about_the_key() {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        Err(HttpError::new(HttpErrorKind::Unknown, refused))
    }
}

impl Refused {
    fn read(status: u16, body: &str) -> Refused {
        let message = element(body, "Message")
            .chars()
            .take(MESSAGE_CHARS_MAX)
            .collect();
        Refused {
            status,
            code: element(body, "Code").into(),
            message,
        }
    }

    /// Absent, or its condition does not hold: ordinary answers, which object_store knows.
    fn is_about_the_key(&self) -> bool {
        matches!(self.status, 404 | 412) && self.code != "NoSuchBucket"
    }

    /// The store did not do it and would not the next time. Not so: a server's trouble, throttling, a race (409), an upload
    /// that came too slowly, credentials that just expired and are renewed.
    pub(super) fn is_final(&self) -> bool {
        let passing = [
            "RequestTimeout",
            "ExpiredToken",
            "SlowDown",
            "OperationAborted",
        ];
        (300..500).contains(&self.status)
            && !matches!(self.status, 408 | 409 | 425 | 429)
            && !passing.contains(&self.code.as_str())
    }
}

/// The text of an XML element. S3's error bodies are flat.
fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let text = || {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    text().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Refused {
        Refused::read(
            status,
            &format!("<Error><Code>{code}</Code><Message>why</Message></Error>"),
        )
    }

    #[test]
    fn a_refusal_tells_its_code_and_nothing_secret() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>why</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(
            Refused::read(403, body).to_string(),
            "HTTP 403 SignatureDoesNotMatch: why"
        );
    }

    #[test]
    fn what_may_be_tried_again_is_not_final() {
        for (status, code) in [
            (500, "InternalError"),
            (503, "SlowDown"),
            (429, ""),
            (409, "ConditionalRequestConflict"),
            (400, "RequestTimeout"),
            (400, "ExpiredToken"),
        ] {
            assert!(!refused(status, code).is_final(), "{status} {code}");
        }
        for (status, code) in [
            (403, "AccessDenied"),
            (400, "InvalidArgument"),
            (404, "NoSuchBucket"),
            (301, "PermanentRedirect"),
            (416, "InvalidRange"),
        ] {
            assert!(refused(status, code).is_final(), "{status} {code}");
        }
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_key() {
        assert!(refused(404, "NoSuchKey").is_about_the_key());
        assert!(
            refused(404, "").is_about_the_key(),
            "an answer to HEAD has no body"
        );
        assert!(refused(412, "PreconditionFailed").is_about_the_key());
        assert!(!refused(404, "NoSuchBucket").is_about_the_key());
    }
}
