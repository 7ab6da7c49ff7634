//! `hypermesh verify`: what a name means, from a file, asking nobody.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hypermesh_consensus::MeshId;
use hypermesh_node::NodeDir;
use hypermesh_registry::{
    GENESIS_BYTES_MAX, Genesis, NameProof, PROOF_BYTES_MAX, ProofError, Proven,
};
use serde_json::{Value, json};

use super::ago_ms;
use crate::args::{Global, Verify};
use crate::error::CliError;
use crate::output::Output;

/// Where a node keeps the genesis of its mesh, in its directory.
const GENESIS: &str = "consensus/genesis";

/// Who says which mesh it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    Argument,
    Node,
    /// The file itself.
    Founder,
}

/// A proof that holds.
#[derive(Debug)]
struct Verified {
    proof: NameProof,
    proven: Proven,
    mesh: MeshId,
    trusted: Trusted,
}

pub(crate) fn verify(out: Output, global: &Global, arguments: &Verify) -> Result<(), CliError> {
    let failed = |error: String| CliError::failed(format!("{}: {error}", arguments.file.display()));
    let bytes =
        read(&arguments.file, PROOF_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let known = match arguments.mesh {
        Some(id) => Some((MeshId(id.0), Trusted::Argument)),
        None => own_mesh(global)?.map(|mesh| (mesh, Trusted::Node)),
    };
    let verified = check(&bytes, known).map_err(|error| CliError {
        status: Some("not_proved".into()),
        ..failed(explain(&error, known))
    })?;
    if verified.trusted == Trusted::Founder {
        out.remark(&format!(
            "the founder whom the file names is trusted: compare the mesh's id with one that you know, or give it with --mesh {}",
            verified.mesh
        ));
    }
    out.result(|| verified.text(), || verified.json())
}

/// All of a file, and at most one byte more than `most`: who decodes it refuses that.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The mesh of the node whose directory this is; none where there is no node, or one without a mesh.
fn own_mesh(global: &Global) -> Result<Option<MeshId>, CliError> {
    let path = match &global.dir {
        Some(path) => path.clone(),
        // Without a home there is no node either.
        None => match NodeDir::default_path(|name| std::env::var_os(name)) {
            Ok(path) => path,
            Err(_) => return Ok(None),
        },
    };
    let path = path.join(GENESIS);
    let unusable = |error: String| {
        CliError::failed(format!(
            "{}: {error}; say with --mesh which mesh it has to be",
            path.display()
        ))
    };
    match read(&path, GENESIS_BYTES_MAX) {
        Ok(bytes) => match Genesis::from_bytes(&bytes) {
            Ok(genesis) => Ok(Some(genesis.mesh())),
            Err(error) => Err(unusable(error.to_string())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn check(bytes: &[u8], known: Option<(MeshId, Trusted)>) -> Result<Verified, ProofError> {
    let proof = NameProof::from_bytes(bytes)?;
    let (mesh, trusted) = known.unwrap_or_else(|| (proof.genesis.mesh(), Trusted::Founder));
    let proven = proof.verify(&mesh)?;
    Ok(Verified {
        proof,
        proven,
        mesh,
        trusted,
    })
}

fn explain(error: &ProofError, known: Option<(MeshId, Trusted)>) -> String {
    match (error, known) {
        (ProofError::OtherMesh(_), Some((mesh, Trusted::Node))) => format!(
            "it proves nothing here: {error}, and this node's is {mesh}; say with --mesh which mesh it has to be"
        ),
        (ProofError::OtherMesh(_), Some((mesh, _))) => {
            format!("it proves nothing here: {error}, not {mesh}")
        }
        _ => format!("it proves nothing: {error}"),
    }
}

impl Trusted {
    fn word(self) -> &'static str {
        match self {
            Self::Argument => "argument",
            Self::Node => "node",
            Self::Founder => "founder",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Argument => "as --mesh says",
            Self::Node => "that of this node",
            Self::Founder => "as the file says",
        }
    }
}

impl Verified {
    fn text(&self) -> String {
        let proven = &self.proven;
        let mut lines = match &proven.named {
            Some(named) => vec![
                format!("{} means {}", proven.name, named.root),
                format!("  owner    {}", named.owner),
                format!("  changed  at height {}", named.changed),
            ],
            None => vec![format!("{} means nothing", proven.name)],
        };
        lines.push(format!(
            "  as of    height {}, {} by its proposer's clock",
            proven.height,
            ago_ms(proven.time)
        ));
        lines.push(format!(
            "  voters   {}, of whom {} signed",
            proven.voters.len(),
            self.signers()
        ));
        lines.push(format!(
            "  changes  of voters since the founder: {}",
            self.proof.links.len()
        ));
        lines.push(format!("  founder  {}", self.proof.genesis.founder));
        lines.push(format!("  mesh     {}, {}", self.mesh, self.trusted.text()));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let Proven {
            name,
            named,
            height,
            time,
            voters,
        } = &self.proven;
        json!({
            "name": name.as_str(),
            "root": named.as_ref().map(|named| named.root.to_string()),
            "owner": named.as_ref().map(|named| named.owner.to_string()),
            "changed": named.as_ref().map(|named| named.changed),
            "height": height,
            "time_ms": time,
            "voters": voters.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "signers": self.signers(),
            "links": self.proof.links.len(),
            "founder": self.proof.genesis.founder.to_string(),
            "mesh": self.mesh.to_string(),
            "trusted": self.trusted.word(),
        })
    }

    fn signers(&self) -> usize {
        self.proof.sealed.certificate.signatures.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    use ed25519_dalek::SigningKey;
    use hypermesh_consensus::{
        BlockHash, Certificate, Decided, Key, Machine, NilOrVal, Round, Sign, Signer, Vote,
        VoteType,
    };
    use hypermesh_id::{BlockId, Root};
    use hypermesh_registry::{
        Action, Description, Expect, Ledger, MempoolLimits, Name, Parameters, Transaction,
    };

    /// A mesh of one that calls a root `films/dune`, and the proof of a name.
    fn proof(of: &str) -> (Genesis, Vec<u8>) {
        let key = Key(SigningKey::from_bytes(&[3; 32]));
        let genesis = Genesis::found(
            &key,
            [1; 16],
            1_000,
            Parameters::default(),
            Description::default(),
        )
        .unwrap();
        let mesh = genesis.mesh();
        let limits = MempoolLimits::default();
        let mut ledger = Ledger::new(genesis.clone(), limits, NonZeroUsize::MIN).unwrap();
        ledger.tell_time(2_000);
        let action = Action::SetName {
            name: Name::new("films/dune").unwrap(),
            root: Root(BlockId([9; 32])),
            expect: Expect::Absent,
        };
        let transaction = Transaction::sign(&key, &mesh, 1, 10, action);
        ledger.submit(&transaction.to_bytes()).unwrap();
        let height = ledger.next_height();
        let body = ledger.propose(height);
        let block = BlockHash::of(&body);
        let vote = Vote {
            phase: VoteType::Precommit,
            height,
            round: Round::new(0),
            block: NilOrVal::Val(block),
            voter: Signer(key.node()),
        };
        let certificate = Certificate {
            height,
            round: Round::new(0),
            block,
            signatures: vec![(key.node(), key.sign(&vote.sign_bytes(&mesh)))],
        };
        ledger.apply(&Decided { certificate, body });
        let name = Name::new(of).unwrap();
        (genesis, ledger.prove_name(&name).unwrap().to_bytes())
    }

    #[test]
    fn a_name_and_its_absence_are_shown() {
        let (genesis, bytes) = proof("films/dune");
        let known = Some((genesis.mesh(), Trusted::Argument));
        let verified = check(&bytes, known).unwrap();
        let root = Root(BlockId([9; 32])).to_string();
        assert!(
            verified
                .text()
                .starts_with(&format!("films/dune means {root}"))
        );
        let value = verified.json();
        assert_eq!(value["root"], json!(root));
        assert_eq!(
            (&value["height"], &value["time_ms"]),
            (&json!(1), &json!(2_000))
        );
        assert_eq!(value["voters"], json!([genesis.founder.to_string()]));
        assert_eq!((&value["signers"], &value["links"]), (&json!(1), &json!(0)));
        assert_eq!(value["trusted"], json!("argument"));

        let (_, bytes) = proof("films");
        let verified = check(&bytes, None).unwrap();
        assert!(verified.text().starts_with("films means nothing"));
        assert_eq!(verified.json()["root"], Value::Null);
        assert_eq!(verified.json()["trusted"], json!("founder"));
        assert_eq!(verified.json()["mesh"], json!(genesis.mesh().to_string()));
    }

    #[test]
    fn what_does_not_hold_is_refused_with_its_reason() {
        let (genesis, bytes) = proof("films/dune");
        let other = Some((MeshId([0; 32]), Trusted::Node));
        let error = check(&bytes, other).unwrap_err();
        let text = explain(&error, other);
        assert!(
            text.contains("--mesh") && text.contains(&genesis.mesh().to_string()),
            "{text}"
        );
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let known = Some((genesis.mesh(), Trusted::Argument));
            assert!(check(&changed, known).is_err(), "byte {place}");
            assert!(check(&bytes[..place], known).is_err(), "{place} bytes");
        }
    }

    #[test]
    fn files_are_read_no_further_than_a_proof_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        std::fs::write(&path, [0; 100]).unwrap();
        assert_eq!(read(&path, 10).unwrap().len(), 11);
        assert_eq!(read(&path, 100).unwrap().len(), 100);
        assert!(read(&dir.path().join("none"), 10).is_err());
    }

    #[test]
    fn the_nodes_own_mesh_is_known_from_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let global = Global {
            dir: Some(dir.path().into()),
            json: false,
            quiet: true,
            progress: crate::args::ProgressMode::None,
        };
        assert_eq!(own_mesh(&global).unwrap(), None);
        let (genesis, bytes) = proof("films/dune");
        std::fs::create_dir(dir.path().join("consensus")).unwrap();
        let path = dir.path().join(GENESIS);
        std::fs::write(&path, genesis.to_bytes()).unwrap();
        assert_eq!(own_mesh(&global).unwrap(), Some(genesis.mesh()));
        std::fs::write(&path, &genesis.to_bytes()[1..]).unwrap();
        assert!(own_mesh(&global).unwrap_err().text.contains("--mesh"));
        // The whole command, with and without the right mesh.
        let file = dir.path().join("proof");
        std::fs::write(&file, bytes).unwrap();
        let out = Output {
            json: true,
            quiet: true,
        };
        let run = |mesh: [u8; 32]| {
            let arguments = Verify {
                file: file.clone(),
                mesh: Some(BlockId(mesh)),
            };
            verify(out, &global, &arguments)
        };
        run(genesis.mesh().0).unwrap();
        let error = run([1; 32]).unwrap_err();
        assert_eq!(error.status.as_deref(), Some("not_proved"));
    }
}
