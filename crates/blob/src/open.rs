//! From a URL to a bucket.
use std::{fmt, sync::Arc, time::Duration};

use object_store::aws::AmazonS3ConfigKey;
use sh_base::Env;
use url::{Host, Url};

use crate::{Bucket, FileBucket, Hedged, MemoryBucket, Metered, Retrying, s3, wrap::RetryLimits};

/// A word that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(word: String) -> Self {
        Secret(word)
    }
}
impl From<&str> for Secret {
    fn from(word: &str) -> Self {
        Secret(word.into())
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How to reach a bucket, beside its URL. For `s3://` only, except the timeouts. The URL's own parameters win.
#[derive(Clone, Debug)]
pub struct BlobSettings {
    /// With `secret_access_key`: static credentials. Without: web identity, container or instance credentials, in this order.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    /// For temporary static credentials.
    pub session_token: Option<Secret>,
    /// Default `us-east-1`.
    pub region: Option<String>,
    /// `http(s)://host:port` of an S3-compatible store. Without it, AWS.
    pub endpoint: Option<String>,
    /// Plain HTTP to an endpoint that is not this machine. Payloads then travel unprotected. Default false.
    pub allow_http: bool,
    /// The bucket's name in the path instead of the host name. Default: only with an endpoint.
    pub path_style: Option<bool>,
    /// With `role_arn`: credentials by web identity (as on EKS).
    pub web_identity_token_file: Option<String>,
    pub role_arn: Option<String>,
    pub role_session_name: Option<String>,
    /// Credentials of a container (as on ECS, or EKS Pod Identity).
    pub container_credentials_relative_uri: Option<String>,
    pub container_credentials_full_uri: Option<String>,
    pub container_authorization_token_file: Option<String>,
    /// How long one request may take, plus a second for each MiB that it moves, before it counts as unanswered and is repeated.
    /// Shorter repeats sooner when a store stalls, but gives up on slow links. Default 10 s.
    pub request_timeout: Duration,
    /// How long a call may take with all its repeats, plus the same seconds. Default 30 s.
    pub call_timeout: Duration,
}

impl Default for BlobSettings {
    fn default() -> Self {
        BlobSettings {
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            region: None,
            endpoint: None,
            allow_http: false,
            path_style: None,
            web_identity_token_file: None,
            role_arn: None,
            role_session_name: None,
            container_credentials_relative_uri: None,
            container_credentials_full_uri: None,
            container_authorization_token_file: None,
            request_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
        }
    }
}

impl BlobSettings {
    /// Settings from the environment variables that AWS tools share, as `var` tells them (this crate reads no environment).
    pub fn from_aws_variables(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        BlobSettings {
            access_key_id: var("AWS_ACCESS_KEY_ID"),
            secret_access_key: var("AWS_SECRET_ACCESS_KEY").map(Secret),
            session_token: var("AWS_SESSION_TOKEN").map(Secret),
            region: var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION")),
            endpoint: var("AWS_ENDPOINT_URL_S3").or_else(|| var("AWS_ENDPOINT_URL")),
            allow_http: var("AWS_ALLOW_HTTP").is_some_and(|value| value == "true"),
            web_identity_token_file: var("AWS_WEB_IDENTITY_TOKEN_FILE"),
            role_arn: var("AWS_ROLE_ARN"),
            role_session_name: var("AWS_ROLE_SESSION_NAME"),
            container_credentials_relative_uri: var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            container_credentials_full_uri: var("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            container_authorization_token_file: var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            ..BlobSettings::default()
        }
    }

    pub(crate) fn http_allowed(&self) -> bool {
        self.allow_http || self.endpoint.as_deref().is_some_and(is_this_machine)
    }

    pub(crate) fn path_style_wanted(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    /// What is set, by object_store's names.
    pub(crate) fn s3_config(&self) -> Vec<(AmazonS3ConfigKey, String)> {
        use AmazonS3ConfigKey as Key;
        let secret = |word: &Option<Secret>| word.as_ref().map(|word| word.0.clone());
        let all = [
            (Key::AccessKeyId, self.access_key_id.clone()),
            (Key::SecretAccessKey, secret(&self.secret_access_key)),
            (Key::Token, secret(&self.session_token)),
            (Key::Region, self.region.clone()),
            (Key::Endpoint, self.endpoint.clone()),
            (
                Key::WebIdentityTokenFile,
                self.web_identity_token_file.clone(),
            ),
            (Key::RoleArn, self.role_arn.clone()),
            (Key::RoleSessionName, self.role_session_name.clone()),
            (
                Key::ContainerCredentialsRelativeUri,
                self.container_credentials_relative_uri.clone(),
            ),
            (
                Key::ContainerCredentialsFullUri,
                self.container_credentials_full_uri.clone(),
            ),
            (
                Key::ContainerAuthorizationTokenFile,
                self.container_authorization_token_file.clone(),
            ),
        ];
        all.into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }
}

/// Why a URL does not open. Names the part that is wrong; never repeats the whole URL, which may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the bucket URL has the unknown scheme {0:?}; use file://, s3:// or memory://")]
    Scheme(String),
    #[error(
        "the bucket URL is not a URL: {0}; write file:///path, s3://bucket/prefix or memory://"
    )]
    Syntax(String),
    #[error(
        "the bucket URL has the unknown parameter {0:?}; s3:// takes endpoint, region, path_style and allow_http, the others none"
    )]
    Parameter(String),
    #[error("the parameter {0} of the bucket URL must be true or false")]
    Boolean(&'static str),
    #[error(
        "the bucket URL must not hold credentials; set them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Credentials,
    #[error(
        "the prefix {0:?} in the bucket URL may only have the characters A-Z a-z 0-9 . _ = - and /, and no empty parts"
    )]
    Prefix(String),
    #[error("the S3 endpoint must begin with https:// or http://")]
    Endpoint,
    #[error(
        "the S3 endpoint is plain http:// and not on this machine; use https://, or set allow_http=true if the network is trusted"
    )]
    PlainHttp,
    #[error("cannot use the folder {path} as a bucket: {source}")]
    Folder {
        path: String,
        source: std::io::Error,
    },
    #[error("cannot use the S3 bucket: {0}")]
    S3(String),
}

/// Opens a bucket. It is metered, and over a network also hedged and retried within bounds.
///
/// - `memory://`: new and empty, gone with the process.
/// - `file://PATH`: a local folder, made if need be; `file:///absolute` or `file://relative/to/the/working/directory`.
/// - `s3://BUCKET/PREFIX?endpoint=URL&region=NAME&path_style=BOOL&allow_http=BOOL`: all but the bucket's name optional.
pub fn open(url: &str, settings: &BlobSettings, env: &Env) -> Result<Arc<dyn Bucket>, OpenError> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| OpenError::Syntax("it has no ://".into()))?;
    match scheme {
        "memory" => {
            no_parameters(rest)?;
            Ok(metered(Arc::new(MemoryBucket::new(env)), env))
        }
        "file" => {
            no_parameters(rest)?;
            let folder = |source| OpenError::Folder {
                path: rest.into(),
                source,
            };
            Ok(metered(
                Arc::new(FileBucket::open(rest, env).map_err(folder)?),
                env,
            ))
        }
        "s3" => open_s3(url, settings, env),
        other => Err(OpenError::Scheme(other.into())),
    }
}

fn metered(bucket: Arc<dyn Bucket>, env: &Env) -> Arc<dyn Bucket> {
    Arc::new(Metered::new(bucket, env))
}

fn no_parameters(rest: &str) -> Result<(), OpenError> {
    match rest.split_once('?') {
        None => Ok(()),
        Some((_, query)) => Err(OpenError::Parameter(
            query.split(['=', '&']).next().unwrap_or("").into(),
        )),
    }
}

fn open_s3(url: &str, settings: &BlobSettings, env: &Env) -> Result<Arc<dyn Bucket>, OpenError> {
    let url = Url::parse(url).map_err(|e| OpenError::Syntax(e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(OpenError::Credentials);
    }
    let bucket = url.host_str().filter(|name| !name.is_empty());
    let bucket = bucket.ok_or_else(|| OpenError::Syntax("s3:// needs a bucket's name".into()))?;
    let settings = with_parameters(&url, settings)?;
    check_endpoint(&settings)?;
    let limits = RetryLimits {
        request_timeout: settings.request_timeout,
        call_timeout: settings.call_timeout,
    };
    let store = metered(
        s3::open(bucket, url.path().trim_matches('/'), &settings)?,
        env,
    );
    let hedged = Arc::new(Hedged::new(store, env));
    Ok(Arc::new(Retrying::new(hedged, limits, env)))
}

fn with_parameters(url: &Url, settings: &BlobSettings) -> Result<BlobSettings, OpenError> {
    let mut settings = settings.clone();
    for (name, value) in url.query_pairs() {
        match &*name {
            "endpoint" => settings.endpoint = Some(value.into()),
            "region" => settings.region = Some(value.into()),
            "path_style" => settings.path_style = Some(boolean("path_style", &value)?),
            "allow_http" => settings.allow_http = boolean("allow_http", &value)?,
            unknown => return Err(OpenError::Parameter(unknown.into())),
        }
    }
    Ok(settings)
}

fn boolean(name: &'static str, value: &str) -> Result<bool, OpenError> {
    value.parse().map_err(|_| OpenError::Boolean(name))
}

fn check_endpoint(settings: &BlobSettings) -> Result<(), OpenError> {
    match settings.endpoint.as_deref().map(Url::parse) {
        None => Ok(()),
        Some(Ok(url)) if !url.username().is_empty() || url.password().is_some() => {
            Err(OpenError::Credentials)
        }
        Some(Ok(url)) if url.scheme() == "https" => Ok(()),
        Some(Ok(url)) if url.scheme() == "http" && settings.http_allowed() => Ok(()),
        Some(Ok(url)) if url.scheme() == "http" => Err(OpenError::PlainHttp),
        Some(_) => Err(OpenError::Endpoint),
    }
}

fn is_this_machine(endpoint: &str) -> bool {
    match Url::parse(endpoint).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
