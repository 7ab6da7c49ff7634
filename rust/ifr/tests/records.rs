//! Records in pools, summaries by the golden vectors, filters.

use mfn_ifr::{
    Digest, Filter, FlowRecord, Flows, IfrError, Layer, POOL_BYTES_MIN, RoutingDecision, Summary,
    WhenFull,
};

fn digest(number: u64) -> Digest {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    key
}

fn record(number: u64, priority: u8, expires_ns: u64) -> FlowRecord {
    FlowRecord {
        key: digest(number),
        size: number,
        created_ns: 1,
        updated_ns: 2,
        expires_ns,
        reference: !number,
        component: 4,
        kind: 9,
        priority,
    }
}

#[test]
fn records_come_back_whole_and_decisions_follow_them() {
    let mut flows = Flows::new().unwrap();
    flows.add_pool(1, POOL_BYTES_MIN, WhenFull::Evict).unwrap();
    flows.add_pool(2, POOL_BYTES_MIN, WhenFull::Evict).unwrap();
    let first = record(1, 7, 1_000);
    assert_eq!(flows.put(1, &first, 10), Ok(None));
    assert_eq!(flows.get(1, &first.key, 999), Some(first));
    assert_eq!(flows.get(1, &first.key, 1_000), None);
    assert_eq!(flows.get(2, &first.key, 10), None);
    assert_eq!(
        flows.route(1, &first.key, 9, 10),
        RoutingDecision::FoundExact(first)
    );
    let elsewhere = flows.route(2, &first.key, 9, 10);
    assert!(
        matches!(elsewhere, RoutingDecision::FoundPartial { record, confidence, .. } if record == first && confidence == 1.0)
    );
    let late = flows.route(1, &first.key, 9, 1_998);
    assert!(
        matches!(late, RoutingDecision::FoundPartial { confidence, .. } if (confidence - 0.5).abs() < 0.01)
    );
    for _ in 0..20 {
        flows.learn(9, Layer::Prediction, true);
    }
    let unknown = flows.route(1, &digest(2), 9, 10);
    assert!(
        matches!(unknown, RoutingDecision::RouteToLayers { next: Layer::Prediction, confidence } if confidence > 0.9)
    );
    assert_eq!(flows.expire(1, 1_000, 100), Ok(1));
    assert_eq!(flows.remove(1, &first.key), None);
    assert_eq!(flows.put(3, &first, 10), Err(IfrError::NoPool));
    assert_eq!(
        flows.add_pool(1, POOL_BYTES_MIN, WhenFull::Evict),
        Err(IfrError::PoolExists)
    );
    assert!(matches!(
        flows.add_pool(9, 1, WhenFull::Evict),
        Err(IfrError::Limit { .. })
    ));
    assert!(flows.put(1, &record(3, 8, 0), 10).is_err());
    flows.drop_pool(2).unwrap();
    assert_eq!(flows.pool_stats(2), Err(IfrError::NoPool));
}

#[test]
fn a_full_pool_evicts_or_refuses_as_it_was_told() {
    let mut flows = Flows::new().unwrap();
    flows.add_pool(1, POOL_BYTES_MIN, WhenFull::Evict).unwrap();
    flows.add_pool(2, POOL_BYTES_MIN, WhenFull::Refuse).unwrap();
    let mut refused = 0;
    for number in 0..20_000 {
        flows.put(1, &record(number, 0, 0), number).unwrap();
        match flows.put(2, &record(number, 0, 0), number) {
            Ok(_) => {}
            Err(IfrError::Limit { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let (evicting, refusing) = (flows.pool_stats(1).unwrap(), flows.pool_stats(2).unwrap());
    assert_eq!(evicting.records + evicting.evictions, 20_000);
    assert!(evicting.evictions > 0 && evicting.bytes <= evicting.bytes_max);
    assert_eq!(refusing.records + refused, 20_000);
    assert!(refused > 0 && refusing.evictions == 0);
}

#[test]
fn summaries_are_those_of_the_vectors() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../integration/vectors/ifr/summary.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let unhex = |text: &serde_json::Value| -> Vec<u8> {
        let text = text.as_str().unwrap();
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let digests = |list: &serde_json::Value| -> Vec<Digest> {
        let list = list.as_array().unwrap().iter();
        list.map(|text| unhex(text).try_into().unwrap()).collect()
    };
    let vectors = vectors.as_array().unwrap();
    assert!(vectors.len() >= 17);
    for vector in vectors {
        let bytes = unhex(&vector["hex"]);
        let name = &vector["name"];
        if vector["expect"] != "ok" {
            assert_eq!(
                Summary::from_bytes(bytes),
                Err(IfrError::NoSummary),
                "{name}"
            );
            continue;
        }
        let keys = digests(&vector["keys"]);
        let built = Summary::build(&keys, vector["seed"].as_u64().unwrap()).unwrap();
        assert_eq!(built.as_bytes(), bytes, "{name}");
        let summary = Summary::from_bytes(bytes).unwrap();
        assert!(keys.iter().all(|key| summary.may_contain(key)), "{name}");
        assert!(
            !digests(&vector["absent"])
                .iter()
                .any(|key| summary.may_contain(key)),
            "{name}"
        );
        assert!(
            digests(&vector["false_positive"])
                .iter()
                .all(|key| summary.may_contain(key)),
            "{name}"
        );
    }
}

#[test]
fn a_filter_forgets_and_says_when_it_is_full() {
    let mut filter = Filter::new(20_000).unwrap();
    assert!(filter.bytes() * 8 <= 240_000);
    for number in 0..20_000 {
        filter.insert(&digest(number)).unwrap();
    }
    assert!(matches!(
        filter.insert(&digest(20_000)),
        Err(IfrError::Limit { .. })
    ));
    assert!((0..20_000).all(|number| filter.may_contain(&digest(number))));
    assert!((0..20_000).all(|number| filter.remove(&digest(number))));
    assert!(!(0..20_000).any(|number| filter.may_contain(&digest(number))));
}
