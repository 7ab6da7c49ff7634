//! Waits for a real condition.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks at a condition until it answers.
///
/// # Errors
/// Its own error ends the wait at once; after `deadline` the error names `what`.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            return Err(format!("{what}: not after {} s", deadline.as_secs()));
        }
        std::thread::sleep(INTERVAL);
    }
}
