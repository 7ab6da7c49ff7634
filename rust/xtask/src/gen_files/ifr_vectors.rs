//! Golden vectors of the fixed bodies of the ifr service: `integration/vectors/ifr/bodies.json`, and again as lines for who
//! reads no JSON.
//!
//! Bodies are put together here byte by byte; each says what is in it as one line of words. The codecs are not used.

use serde_json::{Value, json};

use super::constants::Constants;
use super::{Files, Generated};

struct Case {
    name: &'static str,
    body: &'static str,
    status: i32,
    bytes: Vec<u8>,
    /// What a reader finds; empty for a body that is refused.
    fields: String,
}

const DIGEST: u8 = 1;
const BYTES: u8 = 2;

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "~".into();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn head(pool_id: u32, kind: u8) -> Vec<u8> {
    let mut out = pool_id.to_le_bytes().to_vec();
    out.extend([kind, 0, 0, 0]);
    out
}

fn batch(kind: u8, count: u32) -> Vec<u8> {
    let mut out = head(0, kind);
    out.extend(count.to_le_bytes());
    out.extend([0; 4]);
    out
}

fn digest(first: u8) -> Vec<u8> {
    (0..32).map(|at| first.wrapping_add(at * 7)).collect()
}

fn value(first: u8) -> Vec<u8> {
    (0..16)
        .map(|at| first.wrapping_mul(3).wrapping_add(at))
        .collect()
}

fn with_length(key: &[u8]) -> Vec<u8> {
    let mut out = (key.len() as u32).to_le_bytes().to_vec();
    out.extend(key);
    out
}

/// Counts, and one bit for each index.
fn bits(count: u32, found: &[usize]) -> Vec<u8> {
    let mut out = count.to_le_bytes().to_vec();
    out.extend((found.len() as u32).to_le_bytes());
    let mut bits = vec![0u8; count.div_ceil(64) as usize * 8];
    for index in found {
        bits[index / 8] |= 1 << (index % 8);
    }
    out.extend(bits);
    out
}

fn joined<T>(items: impl IntoIterator<Item = T>, word: impl Fn(T) -> String) -> String {
    let words: Vec<String> = items.into_iter().map(word).collect();
    if words.is_empty() {
        "~".into()
    } else {
        words.join(",")
    }
}

fn valid(name: &'static str, body: &'static str, bytes: Vec<u8>, fields: String) -> Case {
    Case {
        name,
        body,
        status: 0,
        bytes,
        fields,
    }
}

fn valid_requests() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, kind, key) in [
        ("digest", DIGEST, digest(1)),
        ("digest_of_zeros", DIGEST, vec![0; 32]),
        ("bytes", BYTES, b"route/7".to_vec()),
        ("bytes_of_a_digest's_length", BYTES, digest(1)),
        ("no_bytes", BYTES, Vec::new()),
        ("bytes_of_all_values", BYTES, (0..=255).collect()),
    ] {
        let bytes = [head(0, kind), key.clone()].concat();
        cases.push(valid(name, "key", bytes, format!("0 {kind} {}", hex(&key))));
        let bytes = [head(0, kind), value(9), key.clone()].concat();
        let fields = format!("0 {kind} {} {}", hex(&key), hex(&value(9)));
        cases.push(valid(name, "put", bytes, fields));
    }
    let digests: Vec<Vec<u8>> = (0..70).map(digest).collect();
    let texts: Vec<Vec<u8>> = vec![b"a".to_vec(), Vec::new(), b"a".to_vec(), vec![7; 300]];
    for (name, kind, keys) in [
        ("one_digest", DIGEST, &digests[..1]),
        ("seventy_digests", DIGEST, &digests[..]),
        ("texts", BYTES, &texts[..]),
    ] {
        let (mut plain, mut full) = (
            batch(kind, keys.len() as u32),
            batch(kind, keys.len() as u32),
        );
        for (index, key) in keys.iter().enumerate() {
            let key = if kind == BYTES {
                with_length(key)
            } else {
                key.clone()
            };
            plain.extend(&key);
            full.extend(value(index as u8));
            full.extend(&key);
        }
        let start = format!("0 {kind} {}", keys.len());
        let fields = format!("{start} {}", joined(keys, |key| hex(key)));
        cases.push(valid(name, "keys", plain, fields));
        let each =
            |(index, key): (usize, &Vec<u8>)| format!("{}={}", hex(key), hex(&value(index as u8)));
        let fields = format!("{start} {}", joined(keys.iter().enumerate(), each));
        cases.push(valid(name, "entries", full, fields));
    }
    cases
}

fn valid_answers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, count, found) in [
        ("none_of_one", 1, &[][..]),
        ("one_of_one", 1, &[0]),
        ("some_of_64", 64, &[0, 1, 8, 63]),
        ("some_of_65", 65, &[0, 64]),
        ("some_of_130", 130, &[7, 64, 129]),
    ] {
        let start = format!("{count} {}", found.len());
        let fields = format!("{start} {}", joined(found, usize::to_string));
        cases.push(valid(name, "found", bits(count, found), fields));
        let mut bytes = bits(count, found);
        for index in 0..count as usize {
            bytes.extend(if found.contains(&index) {
                value(index as u8)
            } else {
                vec![0; 16]
            });
        }
        let each = |index: &usize| format!("{index}={}", hex(&value(*index as u8)));
        let fields = format!("{start} {}", joined(found, each));
        cases.push(valid(name, "values", bytes, fields));
    }
    for (name, done, replaced, status) in
        [("all_done", 4_096u32, 5u32, 0i32), ("full_at_7", 7, 0, -5)]
    {
        let mut bytes = done.to_le_bytes().to_vec();
        bytes.extend(replaced.to_le_bytes());
        bytes.extend(status.to_le_bytes());
        bytes.extend([0; 4]);
        cases.push(valid(
            name,
            "done",
            bytes,
            format!("{done} {replaced} {status}"),
        ));
    }
    let numbers: Vec<u64> = (1..=23)
        .map(|number: u64| number.rotate_left(4 * number as u32))
        .collect();
    let bytes = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    cases.push(valid(
        "stats",
        "stats",
        bytes,
        joined(&numbers, u64::to_string),
    ));
    cases
}

/// Requests that are refused, with the status that says so.
fn refused(bad_body: i32, limit: i32) -> Vec<Case> {
    let one = [batch(DIGEST, 1), digest(1)].concat();
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    let short_key = [head(0, DIGEST), digest(1)].concat();
    let text = [batch(BYTES, 1), with_length(b"abc")].concat();
    // Both are refused before anything behind their numbers is looked at.
    let too_many = batch(BYTES, 4_097);
    let long_key = [batch(BYTES, 1), 65_537u32.to_le_bytes().to_vec()].concat();
    let case = |name, body, status, bytes| Case {
        name,
        body,
        status,
        bytes,
        fields: String::new(),
    };
    vec![
        case("nothing", "key", bad_body, Vec::new()),
        case("half_a_head", "key", bad_body, vec![0; 7]),
        case("short_digest", "key", bad_body, short_key[..39].to_vec()),
        case(
            "long_digest",
            "key",
            bad_body,
            [short_key.clone(), vec![0]].concat(),
        ),
        case("kind_0", "key", bad_body, with(&short_key, 4, 0)),
        case("kind_3", "key", bad_body, with(&short_key, 4, 3)),
        case("no_zeros", "key", bad_body, with(&short_key, 6, 1)),
        case(
            "no_value",
            "put",
            bad_body,
            [head(0, BYTES), vec![1; 15]].concat(),
        ),
        case(
            "value_without_digest",
            "put",
            bad_body,
            [head(0, DIGEST), value(1)].concat(),
        ),
        case(
            "no_count",
            "keys",
            bad_body,
            batch(DIGEST, 1)[..15].to_vec(),
        ),
        case("count_0", "keys", limit, batch(DIGEST, 0)),
        case("too_many", "keys", limit, too_many),
        case("count_says_more", "keys", bad_body, with(&one, 8, 2)),
        case(
            "bytes_follow",
            "keys",
            bad_body,
            [one.clone(), vec![0]].concat(),
        ),
        case(
            "no_zeros_after_the_count",
            "keys",
            bad_body,
            with(&one, 12, 1),
        ),
        case("length_says_more", "keys", bad_body, with(&text, 16, 4)),
        case("length_says_less", "keys", bad_body, with(&text, 16, 2)),
        case("longer_than_a_key", "keys", limit, long_key),
        case("no_values", "entries", bad_body, one),
    ]
}

/// A record whose numbers all differ.
fn record(priority: u8) -> Vec<u8> {
    let mut out = digest(9);
    for number in [4_096_u64, 1 << 60, (1 << 60) + 1, (1 << 60) + 2, 0xabcd] {
        out.extend(number.to_le_bytes());
    }
    out.extend([3, 0, 5, 1, priority, 0, 0, 0]);
    out
}

/// The same in words.
fn record_words(priority: u8) -> String {
    let (key, start) = (hex(&digest(9)), 1_u64 << 60);
    let (updated, expires) = (start + 1, start + 2);
    format!("{key} 4096 {start} {updated} {expires} 43981 3 261 {priority}")
}

/// Bodies of pools of records.
fn flows(bad_body: i32) -> Vec<Case> {
    let valid = |name, body, bytes, fields| Case {
        name,
        body,
        status: 0,
        bytes,
        fields,
    };
    let wrong = |name, body, bytes| Case {
        name,
        body,
        status: bad_body,
        bytes,
        fields: String::new(),
    };
    let pool = |flags: u32, bytes_max: u64| {
        let mut out = 7_u32.to_le_bytes().to_vec();
        out.extend(flags.to_le_bytes());
        out.extend(bytes_max.to_le_bytes());
        out
    };
    let put = |ttl_ns: u64, record: &[u8]| {
        let mut out = [7, 0, 0, 0, 0, 0, 0, 0].to_vec();
        out.extend(ttl_ns.to_le_bytes());
        out.extend(record);
        out
    };
    let decision = |outcome: u32, layer: u32, confidence: f32, record: &[u8]| {
        let mut out = outcome.to_le_bytes().to_vec();
        out.extend(layer.to_le_bytes());
        out.extend(confidence.to_le_bytes());
        out.extend([0; 4]);
        out.extend(record);
        out
    };
    let words = record_words(7);
    let mut cold = record(7);
    cold[77] = 1;
    let mut cases = vec![
        valid("evicting", "pool", pool(0, 1 << 20), "7 0 1048576".into()),
        valid(
            "refusing",
            "pool",
            pool(1, 1 << 40),
            "7 1 1099511627776".into(),
        ),
        valid("of_values", "pool", pool(3, 1 << 20), "7 3 1048576".into()),
        wrong("of_values_that_evicts", "pool", pool(2, 1 << 20)),
        wrong("unknown_flag", "pool", pool(4, 1 << 20)),
        wrong("cut", "pool", pool(0, 1 << 20)[..15].to_vec()),
        valid(
            "lives_on",
            "flow_put",
            put(0, &record(7)),
            format!("7 0 {words}"),
        ),
        valid(
            "a_minute",
            "flow_put",
            put(60_000_000_000, &record(0)),
            format!("7 60000000000 {}", record_words(0)),
        ),
        wrong("heat", "flow_put", put(0, &cold)),
        wrong("cut", "flow_put", put(0, &record(7)[..79])),
        wrong(
            "bytes_follow",
            "flow_put",
            put(0, &[record(7), vec![0]].concat()),
        ),
        valid(
            "exact",
            "decision",
            decision(0, 0, 1.0, &record(7)),
            format!("0 0 1065353216 {words}"),
        ),
        valid(
            "partial",
            "decision",
            decision(1, 3, 0.25, &record(7)),
            format!("1 3 1048576000 {words}"),
        ),
        valid(
            "route",
            "decision",
            decision(2, 4, 0.5, &[0; 80]),
            format!("2 4 1056964608 {} 0 0 0 0 0 0 0 0", hex(&[0; 32])),
        ),
        wrong("outcome_3", "decision", decision(3, 4, 0.5, &[0; 80])),
        wrong("layer_1", "decision", decision(2, 1, 0.5, &[0; 80])),
        wrong(
            "exact_with_layer",
            "decision",
            decision(0, 2, 1.0, &record(7)),
        ),
        wrong(
            "no_number",
            "decision",
            decision(1, 3, f32::NAN, &record(7)),
        ),
        wrong(
            "more_than_sure",
            "decision",
            decision(1, 3, 1.5, &record(7)),
        ),
        wrong(
            "route_with_record",
            "decision",
            decision(2, 4, 0.5, &record(7)),
        ),
        wrong("priority_8", "decision", decision(0, 0, 1.0, &record(8))),
        wrong("cut", "decision", decision(0, 0, 1.0, &record(7)[..79])),
    ];
    cases.extend(more_of_flows(&valid, &wrong));
    cases
}

/// Requests about one record, and what is answered to them and to pool_stats.
fn more_of_flows(
    valid: &impl Fn(&'static str, &'static str, Vec<u8>, String) -> Case,
    wrong: &impl Fn(&'static str, &'static str, Vec<u8>) -> Case,
) -> Vec<Case> {
    let key = hex(&digest(9));
    let numbers = |numbers: &[u32]| -> Vec<u8> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        bytes.collect()
    };
    let stats: Vec<u64> = (1..6).map(|number| (number << 40) + number).collect();
    let stats_words = joined(&stats, u64::to_string).replace(',', " ");
    let stats: Vec<u8> = stats
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let mut warm = record(7);
    warm[77] = 1;
    // A pool that evicts and a pool of values, as they are answered today and by a later version.
    let pools = |count: u32, more: usize| {
        let mut out = numbers(&[count, 56 + more as u32]);
        for (pool_id, flags) in [(7, 0), (9, 3)] {
            out.extend(numbers(&[pool_id, flags, 1 << 20, 0]));
            out.extend(&stats);
            out.extend(vec![9; more]);
        }
        out
    };
    let pools_words = format!("7 0 1048576 {stats_words} 9 3 1048576 {stats_words}");
    let mut unknown_flag = pools(2, 0);
    unknown_flag[12] = 4;
    vec![
        valid("two", "pools", pools(2, 0), pools_words.clone()),
        valid("of_a_later_version", "pools", pools(2, 8), pools_words),
        wrong("one_too_few", "pools", pools(1, 0)),
        wrong("cut", "pools", pools(2, 0)[..119].to_vec()),
        wrong("unknown_flag", "pools", unknown_flag),
        valid(
            "of_a_pool",
            "flow_key",
            [head(7, DIGEST), digest(9)].concat(),
            format!("7 {key}"),
        ),
        valid("looks", "expire", numbers(&[7, 4_096]), "7 4096".into()),
        valid(
            "of_a_kind",
            "flow_route",
            [numbers(&[7, 261]), digest(9)].concat(),
            format!("7 261 {key}"),
        ),
        valid(
            "found",
            "learn",
            vec![5, 1, 4, 1, 0, 0, 0, 0],
            "261 4 1".into(),
        ),
        valid(
            "not_found",
            "learn",
            vec![5, 1, 2, 0, 0, 0, 0, 0],
            "261 2 0".into(),
        ),
        valid("found", "record", record(7), record_words(7)),
        wrong("priority_8", "record", record(8)),
        wrong("heat", "record", warm),
        wrong("cut", "record", record(7)[..79].to_vec()),
        wrong("bytes_follow", "record", [record(7), vec![0]].concat()),
        valid(
            "of_a_pool",
            "pool_stats",
            stats.clone(),
            stats_words.clone(),
        ),
        valid(
            "of_a_later_version",
            "pool_stats",
            [stats.clone(), vec![9; 8]].concat(),
            stats_words,
        ),
        wrong("cut", "pool_stats", stats[..39].to_vec()),
        valid(
            "some",
            "expired",
            numbers(&[4_096, 3, 0, 0]),
            "4096 3".into(),
        ),
        wrong("more_than_looked_at", "expired", numbers(&[2, 3, 0, 0])),
        wrong("no_zeros", "expired", numbers(&[4, 3, 0, 1])),
        wrong("cut", "expired", numbers(&[4, 3, 0, 0])[..15].to_vec()),
    ]
}

pub(crate) fn files(constants: &Constants) -> Files {
    let status = |name: &str| {
        let found = constants.statuses.iter().find(|one| one.name == name);
        // A name that does not exist shows up as a vector that no codec agrees with.
        found.map_or(0, |one| one.value)
    };
    let mut cases = valid_requests();
    cases.extend(valid_answers());
    cases.extend(refused(status("BAD_BODY"), status("LIMIT")));
    let (lines, values) = written(&cases)?;
    let (flow_lines, flow_values) = written(&flows(status("BAD_BODY")))?;
    let path = |name: &str| format!("integration/vectors/{name}").into();
    Ok(vec![
        Generated {
            path: path("ifr/bodies.json"),
            text: values,
        },
        Generated {
            path: path("ifr.txt"),
            text: lines,
        },
        Generated {
            path: path("ifr/flows.json"),
            text: flow_values,
        },
        Generated {
            path: path("ifr_flows.txt"),
            text: flow_lines,
        },
    ])
}

/// The cases as lines, and as JSON.
fn written(cases: &[Case]) -> Result<(String, String), serde_json::Error> {
    let mut lines = String::from("# body name status hex fields\n");
    let mut values = Vec::new();
    for case in cases {
        let (body, name, bytes) = (case.body, case.name, hex(&case.bytes));
        lines += format!("{body} {name} {} {bytes} {}", case.status, case.fields).trim_end();
        lines.push('\n');
        let value: Value = json!({ "body": body, "name": name, "status": case.status, "hex": bytes, "fields": case.fields });
        values.push(value);
    }
    let texts: Result<Vec<String>, _> = values.iter().map(serde_json::to_string).collect();
    Ok((lines, format!("[\n{}\n]\n", texts?.join(",\n"))))
}
