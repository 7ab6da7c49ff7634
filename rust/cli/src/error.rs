//! Says why a command failed: the cause, the repair, and the exit status.

use std::io;
use std::process::ExitCode;

/// A failure as the person or script at the other end sees it.
#[derive(Debug)]
pub(crate) struct CliError {
    /// Name of the status of the local wire, where the failure came from a node.
    pub(crate) status: Option<String>,
    pub(crate) text: String,
    /// Whether it was the command line that was wrong.
    pub(crate) usage: bool,
    /// Nothing is to be said: the reader of standard output went away.
    pub(crate) silent: bool,
}

impl CliError {
    /// The command failed.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self {
            status: None,
            text: text.into(),
            usage: false,
            silent: false,
        }
    }

    /// The command line asked for something that cannot be.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            usage: true,
            ..Self::failed(text)
        }
    }

    /// Everything was said already; only the exit status is left.
    pub(crate) fn said() -> Self {
        Self {
            silent: true,
            ..Self::failed("")
        }
    }

    pub(crate) fn from_stdout(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::said();
        }
        Self::failed(format!("could not write to standard output: {error}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.usage { 2 } else { 1 })
    }

    /// The one line on standard error.
    pub(crate) fn line(&self, json: bool) -> String {
        if json {
            let mut value = serde_json::json!({ "event": "error", "text": self.text });
            if let Some(status) = &self.status {
                value["status"] = serde_json::json!(status);
            }
            return value.to_string();
        }
        format!("hypermesh: {}", self.text)
    }
}

macro_rules! failed_from {
    ($($error:ty)*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::failed(error.to_string())
            }
        }
    )*};
}
failed_from!(
    hypermesh_node::DirError
    hypermesh_node::ConfigError
    hypermesh_node::IdentityError
);
