use std::time::Duration;

use sh_blob::{BlobSettings, OpenError, open};
use tempfile::tempdir;

use crate::world;

fn refused(url: &str) -> OpenError {
    match open(url, &BlobSettings::default(), &world::env()) {
        Ok(_) => panic!("{url} opened"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_named() {
    for (url, named) in [
        ("gs://bucket", "\"gs\""),
        ("bucket", "://"),
        ("memory://?size=1", "\"size\""),
        ("file:///data?sync=no", "\"sync\""),
        ("s3://bucket?endpoint=https://h&regoin=x", "\"regoin\""),
        ("s3://bucket?path_style=yes", "path_style"),
        ("s3://", "bucket"),
        ("s3://bucket/a//b", "a//b"),
        ("s3://bucket?endpoint=ftp://h", "https://"),
        ("s3://bucket?endpoint=http://example.org", "allow_http"),
    ] {
        let text = refused(url).to_string();
        assert!(text.contains(named), "{url}: {text}");
    }
}

#[tokio::test]
async fn a_secret_is_never_printed() {
    for url in [
        "s3://AKIA:hunter2@bucket",
        "s3://bucket?endpoint=https://AKIA:hunter2@host",
    ] {
        let text = format!("{:?} {}", refused(url), refused(url));
        assert!(
            text.contains("Credentials") && !text.contains("hunter2"),
            "{text}"
        );
    }
    let settings = BlobSettings {
        secret_access_key: Some("hunter2".into()),
        session_token: Some("hunter2".into()),
        ..BlobSettings::default()
    };
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[tokio::test]
async fn settings_come_from_the_variables_that_aws_tools_share() {
    let var = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("id".to_string()),
        "AWS_DEFAULT_REGION" => Some("eu-central-1".to_string()),
        "AWS_SESSION_TOKEN" => Some(String::new()),
        _ => None,
    };
    let settings = BlobSettings::from_aws_variables(var);
    assert_eq!(settings.access_key_id.as_deref(), Some("id"));
    assert_eq!(settings.region.as_deref(), Some("eu-central-1"));
    assert_eq!(settings.session_token, None, "empty is unset");
    assert_eq!(settings.request_timeout, Duration::from_secs(10));
}

#[tokio::test]
async fn a_key_without_its_secret_does_not_open() {
    let settings = BlobSettings {
        access_key_id: Some("id".into()),
        ..BlobSettings::default()
    };
    let result = open("s3://bucket", &settings, &world::env());
    assert!(matches!(result, Err(OpenError::S3(_))));
}

#[tokio::test]
async fn every_scheme_opens() {
    let dir = tempdir().unwrap();
    let file = format!("file://{}/data", dir.path().display());
    for url in ["memory://", &file] {
        let bucket = open(url, &BlobSettings::default(), &world::env()).unwrap();
        bucket.put("a", vec!["x".into()]).await.unwrap();
        assert_eq!(bucket.get_all("a").await.unwrap(), "x");
    }
    assert!(dir.path().join("data/a").exists());
    for url in [
        "s3://bucket",
        "s3://bucket/some/prefix?region=eu-west-1&path_style=true",
        "s3://b?endpoint=http://10.0.0.1:9000&allow_http=true",
    ] {
        assert!(
            open(url, &BlobSettings::default(), &world::env()).is_ok(),
            "{url}"
        );
    }
}
