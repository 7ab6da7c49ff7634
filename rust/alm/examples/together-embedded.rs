//! Layer 3 in this process: `together-embedded DIRECTORY`. Learns what is used together, asks, and keeps it for the next run.

use mfn_alm::{Alm, AlmError, Edge, EmbeddedAlm, EmbeddedOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AlmError> {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: together-embedded DIRECTORY");
        return Ok(());
    };
    // SAFETY: no handler of a signal is installed after this, no other Go archive is linked, nothing forks.
    let alm = unsafe { EmbeddedAlm::open(&EmbeddedOptions::new(directory)) }?;
    alm.add(vec![
        Edge::new("home", "office", 0.9),
        Edge::new("office", "shop", 0.9),
    ])
    .await?;
    if let Some(path) = alm.best_path(b"home".to_vec(), b"shop".to_vec(), 0).await? {
        println!("home to shop at {:.2}", path.strength);
    }
    for _ in 0..3 {
        alm.observe(0, vec![b"parse.c".to_vec(), b"parse.h".to_vec()])
            .await?;
    }
    for one in alm.predict(0, b"parse.c".to_vec(), 1).await? {
        println!(
            "{} seen {} times",
            String::from_utf8_lossy(&one.key),
            one.together
        );
    }
    alm.close().await;
    Ok(())
}
