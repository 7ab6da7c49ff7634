//! Writes the seeds of every target to `DIRECTORY/TARGET/NUMBER`: what a fuzzer starts from.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("target/fuzz/corpus"), PathBuf::from);
    for target in hypermesh_fuzz::TARGETS {
        let place = directory.join(target.name);
        std::fs::create_dir_all(&place)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(place.join(number.to_string()), seed)?;
        }
    }
    Ok(())
}
