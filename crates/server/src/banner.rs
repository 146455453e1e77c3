//! What a newcomer reads after the start.
use crate::settings::Settings;

/// Where it listens, where the data is, and one command to type next.
pub fn banner(settings: &Settings, kafka: &str, http: &str, cluster: &str, agent: u32) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "\nstreamhouse {version} is ready: agent {agent} of cluster {cluster}\n\
         \n  Kafka     {kafka}\
         \n  HTTP      http://{http}  (/healthz /readyz /metrics)\
         \n  bucket    {}\
         \n  metadata  {}\
         \n  WAL       {}\n\
         \nTry it:\n\n  echo hello | kcat -b {kafka} -P -t greetings && kcat -b {kafka} -C -t greetings -e\n",
        without_secrets(&settings.bucket),
        without_secrets(&settings.metadata),
        settings.data.join("wal").display(),
    )
}

/// A URL without its password and its query.
pub fn without_secrets(url: &str) -> String {
    let url = url.split('?').next().unwrap_or(url);
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let user = url[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        assert_eq!(
            without_secrets("postgres://me:secret@db:5432/x?sslmode=off"),
            "postgres://me@db:5432/x"
        );
        assert_eq!(without_secrets("s3://b/p?secret=x"), "s3://b/p");
        assert_eq!(without_secrets("file:///a/b"), "file:///a/b");
    }
}
