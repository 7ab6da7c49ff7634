//! A mesh of one, and a mesh of four that real keys sign for, by hand.

use std::collections::VecDeque;

use bytes::Bytes;
use hypermesh_consensus::{
    Config, Decided, Height, Key, Machine, Message, Output, Record, Replica, Sign, Timeouts, Voters,
};
use hypermesh_id::NodeId;

use crate::{MESH, key, voters};

/// Orders nothing but numbers; has so much work.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) work: u64,
    pub(super) voters: Voters,
    pub(super) tag: u8,
}

impl Machine for Numbers {
    fn has_work(&self) -> bool {
        self.work > 0
    }
    fn propose(&mut self, height: Height) -> Bytes {
        let mut block = height.0.to_le_bytes().to_vec();
        block.push(self.tag);
        block.into()
    }
    fn check(&self, height: Height, block: &[u8]) -> Result<(), String> {
        match block.starts_with(&height.0.to_le_bytes()) {
            true => Ok(()),
            false => Err("another height".into()),
        }
    }
    fn apply(&mut self, _decided: &Decided) -> Voters {
        self.work = self.work.saturating_sub(1);
        self.voters.clone()
    }
}

pub(super) fn replica(number: u8, count: u8, work: u64, log: Vec<Record>) -> Replica<Numbers, Key> {
    let machine = Numbers {
        work,
        voters: voters(count),
        tag: number,
    };
    let config = Config {
        mesh: MESH,
        timeouts: Timeouts::default(),
    };
    Replica::new(
        config,
        key(number),
        machine,
        (Height(1), voters(count)),
        log,
        0,
    )
    .unwrap()
}

#[test]
fn one_alone_decides_what_it_has_and_then_rests() {
    let mut alone = replica(0, 1, 3, Vec::new());
    let (mut now, mut decided) = (0, Vec::new());
    while decided.len() < 3 {
        while let Some(output) = alone.poll_output() {
            if let Output::Decided(block) = output {
                block
                    .certificate
                    .verify(&MESH, &voters(1), &key(0))
                    .unwrap();
                decided.push(block.certificate.height);
            }
        }
        now = alone.deadline().max(now);
        alone.elapsed(now).unwrap();
    }
    assert_eq!(decided, [Height(1), Height(2), Height(3)]);
    // No work, nothing begins before the idle time, but for the telling of its height.
    while now < 29_000_000_000 {
        while let Some(output) = alone.poll_output() {
            assert!(
                matches!(output, Output::Broadcast(Message::Status(Height(4)))),
                "{output:?}"
            );
        }
        now = alone.deadline().max(now);
        alone.elapsed(now).unwrap();
    }
    assert_eq!(alone.height(), Height(4));
}

#[test]
fn four_decide_the_same() {
    let mut replicas: Vec<_> = (0..4)
        .map(|number| replica(number, 4, 2, Vec::new()))
        .collect();
    let nodes: Vec<NodeId> = (0..4).map(|number| key(number).node()).collect();
    let mut decided: Vec<Vec<Decided>> = vec![Vec::new(); 4];
    let mut mail: VecDeque<(usize, usize, Bytes)> = VecDeque::new();
    let mut now = 0;
    while decided.iter().any(|decided| decided.len() < 2) {
        for from in 0..4 {
            while let Some(output) = replicas[from].poll_output() {
                match output {
                    Output::Broadcast(message) => {
                        let others = (0..4).filter(|to| *to != from);
                        mail.extend(others.map(|to| (from, to, message.encode(&MESH))));
                    }
                    Output::Send(to, message) => {
                        let to = nodes.iter().position(|node| *node == to).unwrap();
                        mail.push_back((from, to, message.encode(&MESH)));
                    }
                    Output::Decided(block) => decided[from].push(block),
                    Output::Evidence(_) | Output::Fault(..) => panic!("{output:?}"),
                    _ => {}
                }
            }
        }
        match mail.pop_front() {
            Some((from, to, bytes)) => {
                let message = Message::decode(&bytes, &MESH).unwrap();
                replicas[to].message(now, nodes[from], message).unwrap();
            }
            None => {
                now = replicas
                    .iter()
                    .map(Replica::deadline)
                    .min()
                    .unwrap()
                    .max(now);
                replicas
                    .iter_mut()
                    .for_each(|replica| replica.elapsed(now).unwrap());
            }
        }
    }
    assert!(decided.iter().all(|blocks| {
        blocks
            .iter()
            .zip(&decided[0])
            .all(|(one, other)| one.certificate.block == other.certificate.block)
    }));
    decided[3][1]
        .certificate
        .verify(&MESH, &voters(4), &key(0))
        .unwrap();
    let mut few = decided[0][0].certificate.clone();
    few.signatures.truncate(2);
    assert!(few.verify(&MESH, &voters(4), &key(0)).is_err());
    let mut twice = decided[0][0].certificate.clone();
    twice.signatures[1] = twice.signatures[0];
    assert!(twice.verify(&MESH, &voters(4), &key(0)).is_err());
}
