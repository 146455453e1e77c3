//! Why a command failed, and the exit code that says so.
use std::{fmt::Display, io, process::ExitCode};

use serde_json::json;
use sh_client::{Error, ErrorCode};

use crate::output::Format;

/// What scripts can rely on; `streamctl --help` lists them. 2 is clap's, for a wrong command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nobody reads what we print any more: the reader of the pipe has seen enough.
    Enough = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 4,
    Exists = 5,
}

#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure { exit, message }
    }

    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    pub fn no_topic(name: &str) -> Failure {
        let advice =
            "`streamctl topic list` shows those there are, `streamctl topic create` makes one";
        Failure::new(
            Exit::NotFound,
            format!("there is no topic {name}; {advice}"),
        )
    }

    /// The same failure, with what was being done before it.
    pub fn during(self, what: impl Display) -> Failure {
        let Failure { exit, message } = self;
        Failure {
            exit,
            message: format!("{what}: {message}"),
        }
    }

    /// Tells standard error, in the form that was asked for, and gives the process its exit code.
    pub fn report(&self, format: Format) -> ExitCode {
        let code = self.exit as u8;
        match (self.exit, format) {
            (Exit::Enough, _) => {}
            (_, Format::Text) => eprintln!("streamctl: {}", self.message),
            (_, Format::Json) => {
                eprintln!("{}", json!({ "error": self.message, "exit_code": code }))
            }
        }
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Enough, ""),
            _ => Failure::failed(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = exit_of(&error);
        let advice = error.code().and_then(advice);
        let advice = advice.map(|a| format!("; {a}")).unwrap_or_default();
        Failure::new(
            exit,
            format!("{}{advice}", error.to_string().trim_end_matches('.')),
        )
    }
}

fn exit_of(error: &Error) -> Exit {
    match (error, error.code()) {
        (
            _,
            Some(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::TransactionalIdNotFound,
            ),
        ) => Exit::NotFound,
        (_, Some(ErrorCode::TopicAlreadyExists)) => Exit::Exists,
        (_, Some(ErrorCode::RequestTimedOut)) => Exit::Unreachable,
        (Error::NoSuchPartition { .. }, _) => Exit::NotFound,
        (
            Error::Connect { .. }
            | Error::Closed { .. }
            | Error::Timeout { .. }
            | Error::NoBroker { .. },
            _,
        ) => Exit::Unreachable,
        (Error::Deadline { last, .. }, _) => exit_of(last),
        (Error::Undelivered(error), _) => exit_of(error),
        _ => Exit::Failed,
    }
}

fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::TopicAlreadyExists => {
            "choose another name, or change this one with `streamctl topic alter`"
        }
        ErrorCode::UnknownTopicOrPartition => "`streamctl topic list` shows the topics there are",
        ErrorCode::OffsetOutOfRange => "`streamctl offsets` shows which offsets there are",
        ErrorCode::MessageTooLarge => {
            "send smaller records or batches, or raise the topic's max.message.bytes"
        }
        ErrorCode::GroupIdNotFound => "`streamctl group list` shows the groups there are",
        ErrorCode::TransactionalIdNotFound => "`streamctl txn list` shows the ids there are",
        ErrorCode::NonEmptyGroup => "stop the group's consumers first",
        ErrorCode::InvalidRecord => "a compacted topic needs a key on every record",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i16) -> Error {
        Error::check("topic t", code, None).unwrap_err()
    }

    #[test]
    fn exit_codes_tell_what_scripts_must_tell_apart() {
        assert_eq!(Failure::from(refused(3)).exit, Exit::NotFound);
        assert_eq!(Failure::from(refused(36)).exit, Exit::Exists);
        assert_eq!(Failure::from(refused(40)).exit, Exit::Failed);
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        let away = Error::Connect {
            address: "h:1".into(),
            source,
        };
        let last = Box::new(Error::NoBroker {
            tried: "h:1".into(),
            last: Box::new(away),
        });
        let deadline = Error::Deadline {
            what: "x".into(),
            after: std::time::Duration::ZERO,
            last,
        };
        assert_eq!(Failure::from(deadline).exit, Exit::Unreachable);
    }
}
