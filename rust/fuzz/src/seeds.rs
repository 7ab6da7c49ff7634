//! Encodings that are accepted: what a change starts from.

use std::net::SocketAddr;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use hypermesh_blocks::manifest::{
    self, ContentRef, DirectoryEntry, IndexEntry, IndexKind, RootManifest, Target, Totals,
};
use hypermesh_blocks::record;
use hypermesh_id::{BlockId, NodeId, Root};
use mfn_wire::{ContentType, Header, Kind, Service, Tlv, tlv};
use stoq_proto::{
    Against, BASES_MAX, Delta, Invitation, MemberRecord, Message, Shard, StoredBlock, Token,
    TokenKey,
};

/// Whose tokens are checked.
pub(crate) const HOLDER: NodeId = NodeId([2; 32]);

/// Signs whatever is signed here.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

pub(crate) fn token_key() -> TokenKey {
    TokenKey::new([1; 32])
}

/// Golden vectors that decode, and frames of every kind.
pub(crate) fn local_frame() -> Vec<Vec<u8>> {
    const VECTORS: &str = include_str!("../../../integration/vectors/wire.txt");
    let unhex = |text: &str| -> Option<Vec<u8>> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
            .collect()
    };
    VECTORS
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            (fields.next()? == "0").then(|| unhex(fields.next()?))?
        })
        .filter(|bytes| bytes.len() < 4_096)
        .chain(request())
        .collect()
}

/// A request as a client sends it: a body, a path of entries, every field in use.
fn request() -> Option<Vec<u8>> {
    let header = Header {
        content_type: ContentType::Protobuf,
        method: 3,
        request_id: 9,
        deadline_ns: 1 << 40,
        trace_id: [3; 16],
        span_id: [4; 8],
        credit: 64,
        ..Header::new(Kind::Request, Service::State)
    };
    let entries = [Tlv {
        kind: tlv::SOFTWARE,
        value: b"fuzz/1",
    }];
    let mut out = Vec::new();
    mfn_wire::encode(&header, &entries, &[8, 1, 18, 3, 97, 98, 99], &mut out).ok()?;
    Some(out)
}

fn addresses() -> Vec<SocketAddr> {
    vec![
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 4_870)),
        SocketAddr::from(([127, 0, 0, 1], 2)),
    ]
}

fn invitations() -> impl Iterator<Item = Invitation> {
    (1..=4).filter_map(|count| {
        let addresses = addresses().into_iter().cycle().take(count).collect();
        Invitation::sign(&key(), addresses, 1_000, [7; 16]).ok()
    })
}

/// One message of every kind.
pub(crate) fn stoq_frame() -> Vec<Vec<u8>> {
    let record = MemberRecord::sign(&key(), NodeId([3; 32]), addresses(), 3);
    let token = token_key().issue(&HOLDER, 77);
    let id = BlockId([4; 32]);
    let block = StoredBlock {
        codec: 1,
        raw_len: 10,
        bytes: Bytes::from_static(b"stored"),
    };
    let joins = invitations().map(|invitation| Message::Join {
        invitation,
        addresses: addresses(),
    });
    let messages = [
        Message::Hello {
            version: stoq_proto::VERSION,
            software: "fuzz/1".into(),
            addresses: addresses(),
        },
        Message::Joined {
            records: vec![record.clone(); 3],
            mesh: bytes::Bytes::from_static(&[7; 40]),
        },
        Message::Tell {
            class: stoq_proto::Class::Blocks,
            content: bytes::Bytes::from_static(&[9; 100]),
        },
        Message::Peers {
            records: vec![record],
        },
        Message::Token(None),
        Message::Token(Some(token.clone())),
        Message::Seed { ids: vec![id; 9] },
        Message::Seeded {
            has: vec![true, false, true],
        },
        Message::Shard(Shard::Blocks {
            token: token.clone(),
            ids: vec![id, id],
        }),
        Message::Shard(Shard::Against {
            token: token.clone(),
            wanted: (0..=BASES_MAX)
                .map(|count| Against {
                    id,
                    bases: vec![id; count],
                })
                .collect(),
        }),
        Message::Shard(Shard::Range {
            token,
            id,
            start: 1,
            end: 5,
        }),
        Message::Shard(Shard::Block { id, block }),
        Message::Shard(Shard::Delta {
            at: 255,
            base: 3,
            delta: Delta {
                raw_len: 100,
                frame: Bytes::from_static(b"delta"),
            },
        }),
        Message::Shard(Shard::Missing { id }),
        Message::Shard(Shard::Slice {
            id,
            raw_len: 100,
            proof: Bytes::from_static(b"proof"),
        }),
        Message::Ping(u64::MAX),
        Message::Pong(1),
        Message::Error {
            status: 12,
            text: "why".into(),
        },
        Message::Done,
    ];
    messages
        .into_iter()
        .chain(joins)
        .map(|message| {
            let (head, tail) = message.encode();
            [&head[..], &tail[..]].concat()
        })
        .collect()
}

pub(crate) fn token() -> Vec<Vec<u8>> {
    [1, 77, u64::MAX]
        .map(|expires| token_key().issue(&HOLDER, expires))
        .iter()
        .map(|token: &Token| token.to_bytes().to_vec())
        .collect()
}

pub(crate) fn invitation() -> Vec<Vec<u8>> {
    invitations()
        .map(|invitation| invitation.to_bytes().to_vec())
        .collect()
}

/// All three kinds as text, upper case as well, and the bytes that they hold.
pub(crate) fn ids() -> Vec<Vec<u8>> {
    let id = BlockId::of(b"a block");
    let texts = [
        NodeId([9; 32]).to_string(),
        Root(id).to_string(),
        id.to_string(),
        Root(id).to_string().to_uppercase(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

fn content(size: u64, depth: u8, block_len: u32) -> ContentRef {
    let id = BlockId::of(&size.to_le_bytes());
    ContentRef {
        size,
        depth,
        block_len,
        id,
    }
}

pub(crate) fn manifest_root() -> Vec<Vec<u8>> {
    let totals = Totals {
        files: 3,
        directories: 2,
        symlinks: 1,
        content_bytes: 70_000,
    };
    [
        (0o755, Target::Directory(content(3, 0, 200))),
        (0o700, Target::Directory(content(900_000, 2, 88))),
        (0o644, Target::File(content(70_000, 0, 70_000))),
        (0o444, Target::File(content(5 << 30, 2, 4_000))),
        (0o600, Target::File(ContentRef::EMPTY)),
    ]
    .into_iter()
    .filter_map(|(mode, target)| {
        manifest::encode_root(&RootManifest {
            mode,
            target,
            totals,
        })
    })
    .collect()
}

pub(crate) fn manifest_directory() -> Vec<Vec<u8>> {
    let entry = |name: &[u8], mode, target| DirectoryEntry {
        name: name.to_vec(),
        mode,
        target,
    };
    let mixed = [
        entry(b"a", 0o755, Target::Directory(content(1, 0, 60))),
        entry(b"b.txt", 0o644, Target::File(content(70_000, 0, 70_000))),
        entry(b"big", 0o600, Target::File(content(5 << 30, 1, 4_000))),
        entry(b"empty", 0o444, Target::File(ContentRef::EMPTY)),
        entry(b"link", 0o777, Target::Symlink(b"../gone".to_vec())),
        entry(b"z\xff\xfe", 0o644, Target::File(content(1, 0, 1))),
    ];
    let many: Vec<_> = (0..40)
        .map(|at| {
            let name = format!("name-{at:03}");
            entry(name.as_bytes(), 0o644, Target::File(content(9, 0, 9)))
        })
        .collect();
    [&mixed[..], &mixed[2..3], &[], &many]
        .into_iter()
        .map(manifest::encode_directory)
        .collect()
}

pub(crate) fn manifest_index() -> Vec<Vec<u8>> {
    let part = |size: u64, block_len: u32| IndexEntry {
        size,
        block_len,
        id: BlockId::of(&size.to_le_bytes()),
    };
    let chunks = [
        part(60_000, 60_000),
        IndexEntry::hole(1 << 40),
        part(70_000, 70_000),
        part(1, 1),
    ];
    let parts = [part(1 << 30, 4_000), part(1 << 31, 80_000)];
    let directories = [part(128, 60_000), part(40, 3_000)];
    vec![
        manifest::encode_index(IndexKind::File, 1, &chunks),
        manifest::encode_index(IndexKind::File, 2, &parts),
        manifest::encode_index(IndexKind::Directory, 1, &directories),
        manifest::encode_index(IndexKind::Directory, 3, &parts),
    ]
}

/// Plain and compressed blocks.
pub(crate) fn segment_record() -> Vec<Vec<u8>> {
    let text = b"the same words again and again, ".repeat(40);
    let plain = [&b"short"[..], &text].map(|block| (record::CODEC_RAW, block, block.to_vec()));
    let compressed = zstd::bulk::compress(&text, 3)
        .ok()
        .map(|stored| (record::CODEC_ZSTD, &text[..], stored));
    plain
        .into_iter()
        .chain(compressed)
        .map(|(codec, block, stored)| {
            let header = record::Header {
                codec,
                raw_len: block.len() as u32,
                stored_len: stored.len() as u32,
                id: BlockId::of(block),
                stored_crc: crc32fast::hash(&stored),
            };
            [&header.encode()[..], &stored].concat()
        })
        .collect()
}

/// Lists of no, one and five records, and of five where one is a delta.
pub(crate) fn segment_sidecar() -> Vec<Vec<u8>> {
    [(0_u32, false), (1, false), (5, false), (5, true)]
        .map(|(count, delta)| {
            let mut out = b"hmx".to_vec();
            out.push(if delta { 2 } else { 1 });
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&(16 + u64::from(count) * 1_056).to_le_bytes());
            for at in 0..count {
                out.extend_from_slice(&BlockId::of(&at.to_le_bytes()).0);
                for number in [16 + at * 1_056, 1_000, 3_000] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
            if delta {
                out.extend_from_slice(&3_u32.to_le_bytes());
                out.extend_from_slice(&BlockId::of(b"base").0);
            }
            let hash = blake3::hash(&out);
            out.extend_from_slice(hash.as_bytes());
            out
        })
        .to_vec()
}

/// Blocks that are like their bases.
pub(crate) fn delta_block() -> Vec<Vec<u8>> {
    let text = |changed: &str| {
        format!(
            "{}{changed}{}",
            "one line after another\n".repeat(9),
            "x".repeat(50)
        )
    };
    [("", "a word"), ("this", "that"), ("long ago", ""), ("", "")]
        .into_iter()
        .filter_map(|(old, new)| {
            let (base, block) = (text(old), text(new));
            let mut context = zstd::bulk::Compressor::with_dictionary(3, base.as_bytes()).ok()?;
            let frame = context.compress(block.as_bytes()).ok()?;
            let mut out = BlockId::of(block.as_bytes()).0.to_vec();
            out.extend_from_slice(&(block.len() as u32).to_le_bytes());
            out.extend_from_slice(&(base.len() as u16).to_le_bytes());
            out.extend_from_slice(base.as_bytes());
            out.extend_from_slice(&BlockId::of(base.as_bytes()).0);
            out.extend_from_slice(&frame);
            Some(out)
        })
        .collect()
}

/// Snapshots of one, two and more sketches.
pub(crate) fn sketches() -> Vec<Vec<u8>> {
    use mfn_dsr::bytes::{Encoder, Options, Reservoir};
    let encoder = Encoder::new(Options::default().seed);
    (1..5_u8)
        .map(|count| {
            let mut reservoir = Reservoir::new(Options::default());
            for number in 0..count {
                let text = format!("block {number} has words of its own\n").repeat(40);
                reservoir.insert([number; 32], encoder.sketch(text.as_bytes()));
            }
            reservoir.to_bytes()
        })
        .collect()
}

fn dsr_options() -> mfn_dsr::Options {
    mfn_dsr::Options {
        expiring: true,
        portable: true,
        ..mfn_dsr::Options::new(4)
    }
}

/// Operations of layer 2, of every kind.
fn dsr_operations() -> Vec<mfn_dsr::Op> {
    use mfn_dsr::{Op, PoolOptions};
    let (pool, well, id, now) = (1, 2, 3, 4);
    vec![
        Op::SetPool {
            pool,
            options: PoolOptions::default(),
        },
        Op::CreateWell {
            pool,
            well,
            options: dsr_options(),
        },
        Op::Insert {
            pool,
            well,
            id,
            vector: vec![0.1, -0.2, 0.3, 0.4],
            now,
        },
        Op::Touch {
            pool,
            well,
            id,
            now,
        },
        Op::Remove { pool, well, id },
        Op::Expire {
            pool,
            now,
            most: 10,
        },
        Op::DropWell { pool, well },
        Op::DropPool { pool },
    ]
}

pub(crate) fn dsr_operation() -> Vec<Vec<u8>> {
    dsr_operations().iter().map(mfn_dsr::Op::encode).collect()
}

/// Wells with few and with some entries.
pub(crate) fn dsr_well() -> Vec<Vec<u8>> {
    [0, 1, 5, 40]
        .into_iter()
        .filter_map(|count: u32| {
            let mut well = mfn_dsr::Well::new(dsr_options()).ok()?;
            for number in 0..count {
                let vector: Vec<f32> = (0..4).map(|at| (number * 7 + at) as f32 / 9.0).collect();
                well.insert_at(number.into(), &vector, number).ok()?;
            }
            Some(well.snapshot())
        })
        .collect()
}

/// Registries after more and more operations.
pub(crate) fn dsr_registry() -> Vec<Vec<u8>> {
    let operations = dsr_operations();
    (0..4)
        .map(|count| {
            let mut registry = mfn_dsr::Registry::new();
            for operation in operations.iter().take(count) {
                drop(registry.apply(operation));
            }
            registry.snapshot()
        })
        .collect()
}

/// Operations of layer 4, of every kind.
pub(crate) fn cpe_operations() -> Vec<mfn_cpe::Op> {
    use mfn_cpe::{Op, PoolOptions};
    let (pool, lane, time) = (1, 2, 3);
    vec![
        Op::Pool {
            pool,
            options: PoolOptions::default(),
        },
        Op::Observe {
            pool,
            stream: 4,
            lane,
            symbol: 5,
            time,
        },
        Op::Sample {
            pool,
            series: 6,
            lane,
            time,
            value: 0.25,
        },
        Op::Forget { pool, id: 4 },
        Op::Expire { now: 9 },
        Op::DropPool { pool },
    ]
}

pub(crate) fn cpe_operation() -> Vec<Vec<u8>> {
    let encoded = |operation: &mfn_cpe::Op| {
        let mut out = Vec::new();
        operation.encode(&mut out);
        out
    };
    cpe_operations().iter().map(encoded).collect()
}

/// Bytes of one change of a snapshot: where, and what is turned over there.
pub(crate) const CHANGE_BYTES: usize = 5;

/// Snapshots of layer 4 are long and almost all of them is numbers, and whatever moves one of their bytes is refused at the next
/// count. So an input says what to change: the number of a snapshot, then changes; an end that is no whole change says where the
/// snapshot is cut.
pub(crate) fn cpe_changes() -> Vec<Vec<u8>> {
    // Places all over, where nothing is turned over yet.
    let change = |at: u32| {
        let [a, b, c, d] = at.wrapping_mul(0x9e37_79b9).to_le_bytes();
        [a, b, c, d, 0]
    };
    let input = |number: u32| {
        let changes = (0..2 + number).flat_map(|at| change(16 * number + at));
        std::iter::once((number % 5) as u8).chain(changes).collect()
    };
    (0..10).map(input).collect()
}

/// One of some snapshots, changed as an input says.
pub(crate) fn changed(snapshots: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let (which, changes) = data.split_first().unwrap_or((&0, &[]));
    let mut snapshot = snapshots
        .get(usize::from(*which) % snapshots.len().max(1))
        .cloned()
        .unwrap_or_default();
    let length = snapshot.len().max(1);
    let (changes, cut) = changes.as_chunks::<CHANGE_BYTES>();
    for [a, b, c, d, over] in changes {
        let at = u32::from_le_bytes([*a, *b, *c, *d]) as usize % length;
        if let Some(byte) = snapshot.get_mut(at) {
            *byte ^= over;
        }
    }
    if !cut.is_empty() {
        let mut end = [0; 4];
        end[..cut.len()].copy_from_slice(cut);
        snapshot.truncate(u32::from_le_bytes(end) as usize % length);
    }
    snapshot
}

/// Streams with few and with some events, of several lanes.
pub(crate) fn cpe_stream() -> Vec<Vec<u8>> {
    let options = mfn_cpe::StreamOptions {
        bytes_max: mfn_cpe::STREAM_BYTES_MIN,
        lanes_max: 3,
        claim_min: 0.2,
    };
    [0_u64, 3, 40, 400]
        .into_iter()
        .filter_map(|count| {
            let mut stream = mfn_cpe::Stream::new(options).ok()?;
            for event in 0..count {
                stream.observe((event % 4) as u32, event * event % 23, 2 * event);
            }
            Some(stream.snapshot())
        })
        .collect()
}

/// Series with few and with some samples, gaps and steps.
pub(crate) fn cpe_series() -> Vec<Vec<u8>> {
    [0_u64, 2, 30, 300]
        .into_iter()
        .filter_map(|count| {
            let mut series = mfn_cpe::Series::new(mfn_cpe::SeriesOptions::default()).ok()?;
            for sample in 0..count {
                let step = if sample > 100 { 40.0 } else { 0.0 };
                let value = 20.0 + step + (sample * 7 % 5) as f64;
                let time = 10 * sample + 50 * (sample / 20);
                series.sample((sample % 2) as u32, time, value).ok()?;
            }
            Some(series.snapshot())
        })
        .collect()
}

/// Engines after more and more operations.
pub(crate) fn cpe_engine() -> Vec<Vec<u8>> {
    let operations = cpe_operations();
    (0..5)
        .map(|count| {
            let mut engine = mfn_cpe::Engine::new();
            for operation in operations.iter().take(count) {
                drop(engine.apply(operation));
            }
            engine.snapshot()
        })
        .collect()
}
