//! One target per decoder of bytes that anyone may send or leave behind: none may panic, whatever the bytes, and what
//! decodes must encode to the same again.
//!
//! - [`TARGETS`]: each has a decoder, seeds that are valid, and a repair of what guards the decoder (lengths,
//!   checksums, signatures), so that changed bytes get past the guard.
//! - [`mutate`]: structural changes of bytes, from a seed.
//!
//! `tests/fixed_seed.rs` runs every target with a fixed seed and counts how deep the inputs got. `fuzz_targets` has a
//! libFuzzer program for each (`./make fuzz TARGET`); `examples/corpus.rs` writes the seeds to start from.
#![forbid(unsafe_code)]

pub mod mutate;
mod order;
mod parts;
mod seal;
mod seeds;
mod targets;

/// How far a decoder went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The first layer refused: length, magic, checksum.
    Refused,
    /// Past the first layer, refused by a later rule.
    Entered,
    /// Decoded.
    Accepted,
}

/// A decoder of hostile bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its program.
    pub name: &'static str,
    /// Decodes. Panics where a promise of the decoder is broken.
    pub run: fn(&[u8]) -> Depth,
    /// Encodings that are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Repairs what guards the decoder; never grows the bytes.
    pub seal: fn(&mut Vec<u8>),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "local_frame",
        run: targets::local_frame,
        seeds: seeds::local_frame,
        seal: seal::local_frame,
    },
    Target {
        name: "stoq_frame",
        run: targets::stoq_frame,
        seeds: seeds::stoq_frame,
        seal: seal::stoq_frame,
    },
    Target {
        name: "token",
        run: targets::token,
        seeds: seeds::token,
        seal: seal::token,
    },
    Target {
        name: "invitation",
        run: targets::invitation,
        seeds: seeds::invitation,
        seal: seal::invitation,
    },
    Target {
        name: "ids",
        run: targets::ids,
        seeds: seeds::ids,
        seal: seal::ids,
    },
    Target {
        name: "manifest_root",
        run: targets::manifest_root,
        seeds: seeds::manifest_root,
        seal: seal::manifest_root,
    },
    Target {
        name: "manifest_directory",
        run: targets::manifest_directory,
        seeds: seeds::manifest_directory,
        seal: seal::manifest_directory,
    },
    Target {
        name: "manifest_index",
        run: targets::manifest_index,
        seeds: seeds::manifest_index,
        seal: seal::manifest_index,
    },
    Target {
        name: "segment_record",
        run: targets::segment_record,
        seeds: seeds::segment_record,
        seal: seal::segment_record,
    },
    Target {
        name: "segment_sidecar",
        run: targets::segment_sidecar,
        seeds: seeds::segment_sidecar,
        seal: seal::segment_sidecar,
    },
    Target {
        name: "delta_block",
        run: targets::delta_block,
        seeds: seeds::delta_block,
        seal: seal::delta_block,
    },
    Target {
        name: "sketches",
        run: targets::sketches,
        seeds: seeds::sketches,
        seal: seal::sketches,
    },
    Target {
        name: "dsr_operation",
        run: targets::dsr_operation,
        seeds: seeds::dsr_operation,
        seal: seal::dsr_operation,
    },
    Target {
        name: "dsr_well",
        run: targets::dsr_well,
        seeds: seeds::dsr_well,
        seal: seal::dsr_well,
    },
    Target {
        name: "dsr_registry",
        run: targets::dsr_registry,
        seeds: seeds::dsr_registry,
        seal: seal::dsr_registry,
    },
    Target {
        name: "cpe_operation",
        run: targets::cpe_operation,
        seeds: seeds::cpe_operation,
        seal: seal::cpe_operation,
    },
    Target {
        name: "cpe_stream",
        run: targets::cpe_stream,
        seeds: seeds::cpe_changes,
        seal: seal::cpe_snapshot,
    },
    Target {
        name: "cpe_series",
        run: targets::cpe_series,
        seeds: seeds::cpe_changes,
        seal: seal::cpe_snapshot,
    },
    Target {
        name: "cpe_engine",
        run: targets::cpe_engine,
        seeds: seeds::cpe_changes,
        seal: seal::cpe_snapshot,
    },
    Target {
        name: "order_transaction",
        run: order::transaction,
        seeds: order::transactions,
        seal: order::unsealed,
    },
    Target {
        name: "order_block",
        run: order::block,
        seeds: order::blocks,
        seal: order::unsealed,
    },
    Target {
        name: "order_proof",
        run: order::proof,
        seeds: order::proofs,
        seal: order::unsealed,
    },
    Target {
        name: "order_part",
        run: parts::part,
        seeds: parts::seeds,
        seal: parts::sealed,
    },
    Target {
        name: "order_snapshot",
        run: order::snapshot,
        seeds: order::snapshots,
        seal: order::sealed_snapshot,
    },
    Target {
        name: "consensus_message",
        run: order::message,
        seeds: order::messages,
        seal: order::unsealed,
    },
    Target {
        name: "consensus_decided",
        run: order::decided,
        seeds: order::decisions,
        seal: order::unsealed,
    },
    Target {
        name: "consensus_evidence",
        run: order::evidence,
        seeds: order::proofs_of_blame,
        seal: order::unsealed,
    },
    Target {
        name: "consensus_log",
        run: order::log,
        seeds: order::logs,
        seal: order::sealed_log,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The libFuzzer program of a target: its own changes, every other one repaired.
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            if let Some(target) = $crate::target($name) {
                (target.run)(data);
            }
        });
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
            let size = libfuzzer_sys::fuzzer_mutate(data, size, max);
            match $crate::target($name) {
                Some(target) if seed % 2 == 0 => {
                    let mut sealed = data[..size].to_vec();
                    (target.seal)(&mut sealed);
                    data[..sealed.len()].copy_from_slice(&sealed);
                    sealed.len()
                }
                _ => size,
            }
        });
    };
}
