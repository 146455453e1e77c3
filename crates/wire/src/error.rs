//! What can be wrong with a frame. Each of these ends the connection that sent it; no error code answers a frame that
//! cannot be understood.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a frame of {size} bytes; the largest that is read has {max}")]
    FrameSize { size: i32, max: usize },
    #[error("the frame is cut off in {what}")]
    CutOff { what: &'static str },
    #[error("the frame is malformed: {0}")]
    Malformed(String),
    #[error("a request with more than {max} array elements and tagged fields")]
    TooManyElements { max: usize },
    #[error("unknown api key {key}")]
    UnknownApi { key: i16 },
    #[error("version {version} of {api} is not supported ({min} to {max} are)")]
    UnsupportedVersion {
        api: String,
        version: i16,
        min: i16,
        max: i16,
    },
    #[error("an answer of more than 2 GiB cannot be sent")]
    AnswerTooLarge,
}

impl WireError {
    pub(crate) fn malformed(what: impl std::fmt::Display) -> Self {
        WireError::Malformed(what.to_string())
    }
}
