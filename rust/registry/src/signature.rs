//! Signatures of transactions.
//!
//! They are verified by ZIP 215 (<https://zips.z.cash/zip-0215>), by which many together verify exactly when each alone does, so
//! that no mesh parts over how its nodes group them. Votes keep the strict rules of the consensus crate: there a second form
//! of a signature would be evidence. Here it would be its author's other transaction of the same sequence, and one of the two is
//! decided.
//!
//! The coefficients of a batch come from a hash of all that is in it: nobody can choose signatures by them, and the verdict
//! needs no randomness from outside.

use std::convert::Infallible;

use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature, VerificationKeyBytes};
use hypermesh_consensus::{MeshId, Voter};
use hypermesh_id::NodeId;
use rand_core::{TryCryptoRng, TryRng};

use crate::transaction::Transaction;

const LABEL: &str = "hypermesh 2026 transactions batch";

/// Whether these were all signed by their authors for this mesh.
pub(crate) fn verify<'a>(
    mesh: &MeshId,
    transactions: impl IntoIterator<Item = &'a Transaction>,
) -> bool {
    let mut all = transactions.into_iter().peekable();
    let mut said = Vec::new();
    let mut known: Option<NodeId> = None;
    let Some(first) = all.next() else {
        return true;
    };
    if all.peek().is_none() {
        first.put_sign_bytes(mesh, &mut said);
        return is_key(&first.author) && item(first, &said).verify_single().is_ok();
    }
    let mut batch = Verifier::new();
    let mut hash = blake3::Hasher::new_derive_key(LABEL);
    for transaction in std::iter::once(first).chain(all) {
        // Who wrote one often wrote the next.
        if known != Some(transaction.author) && !is_key(&transaction.author) {
            return false;
        }
        known = Some(transaction.author);
        said.clear();
        transaction.put_sign_bytes(mesh, &mut said);
        // Each message ends where its own lengths say, so that no two lists hash as one.
        hash.update(&said);
        hash.update(&transaction.signature.0);
        batch.queue(item(transaction, &said));
    }
    batch.verify(Coefficients(hash.finalize_xof())).is_ok()
}

/// One of small order, or another text of a key, is nobody's.
fn is_key(node: &NodeId) -> bool {
    Voter::new(*node).is_ok()
}

fn item(transaction: &Transaction, said: &[u8]) -> Item {
    let key = VerificationKeyBytes::from(transaction.author.0);
    let signature = Signature::from_bytes(&transaction.signature.0);
    Item::from((key, signature, said))
}

struct Coefficients(blake3::OutputReader);

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(to);
        Ok(())
    }
}

impl TryCryptoRng for Coefficients {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::Action;
    use ed25519_dalek::SigningKey;
    use hypermesh_consensus::{Key, Sig};
    use hypermesh_id::{BlockId, Root};
    use proptest::prelude::*;

    const MESH: MeshId = MeshId([3; 32]);

    fn signed(author: u8, sequence: u64) -> Transaction {
        let key = Key(SigningKey::from_bytes(&[author + 1; 32]));
        let action = Action::Unpin {
            root: Root(BlockId([author; 32])),
        };
        Transaction::sign(&key, &MESH, sequence, 9, action)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn together_as_each_alone(
            authors in prop::collection::vec(0u8..4, 1..40),
            wrong in prop::option::of((any::<prop::sample::Index>(), 0usize..64, 0u8..8)),
        ) {
            let mut all: Vec<Transaction> = authors
                .iter()
                .zip(1..)
                .map(|(author, sequence)| signed(*author, sequence))
                .collect();
            if let Some((which, byte, bit)) = wrong {
                which.get_mut(&mut all).signature.0[byte] ^= 1 << bit;
            }
            let alone = all.iter().all(|one| verify(&MESH, [one]));
            prop_assert_eq!(verify(&MESH, &all), alone);
            prop_assert_eq!(alone, wrong.is_none());
            prop_assert!(!verify(&MeshId([4; 32]), &all));
        }
    }

    /// Signatures that some rules take and others do not: ours take the same of them alone and among others.
    #[test]
    fn points_of_small_order_part_nobody() {
        use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
        use curve25519_dalek::scalar::Scalar;
        use sha2::{Digest, Sha512};
        let good = signed(0, 1);
        let secret = SigningKey::from_bytes(&[1; 32]).to_scalar();
        for torsion in EIGHT_TORSION {
            let nonce = Scalar::from(1_234_567u64);
            let point = (nonce * B + torsion).compress().to_bytes();
            let mut odd = signed(0, 2);
            let mut said = Vec::new();
            odd.put_sign_bytes(&MESH, &mut said);
            let hash = Sha512::new()
                .chain_update(point)
                .chain_update(odd.author.0)
                .chain_update(&said);
            let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
            let s = nonce + k * secret;
            odd.signature = Sig([point, s.to_bytes()].concat().try_into().unwrap());
            assert!(verify(&MESH, [&odd]));
            // The strict rules, and a batch without the cofactor, would take one in eight.
            for more in 1..8 {
                let others = std::iter::repeat_n(&good, more);
                assert!(verify(&MESH, others.chain([&odd])));
            }
        }
        // For a key of small order anybody can sign.
        let mut nobody = signed(0, 3);
        nobody.author = NodeId(EIGHT_TORSION[1].compress().to_bytes());
        nobody.signature = Sig([0; 64]);
        nobody.signature.0[..32].copy_from_slice(&EIGHT_TORSION[0].compress().to_bytes());
        assert!(!verify(&MESH, [&nobody]));
        assert!(!verify(&MESH, [&good, &nobody]));
    }
}
