//! Which crate may know which: docs/ARCHITECTURE.md, "Code map" and "Invariants", as code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Problem;

/// Pure logic: time, randomness and I/O come in as arguments.
const SANS_IO: &[&str] = &[
    "hypermesh-id",
    "mfn-wire",
    "stoq-proto",
    "hypermesh-routing",
    "hypermesh-placement",
    "hypermesh-consensus",
    "hypermesh-registry",
    "mfn-dsr",
    "mfn-cpe",
];

/// What brings sockets, files, clocks or ambient randomness.
const IO: &[&str] = &[
    "tokio",
    "mio",
    "async-std",
    "smol",
    "quinn",
    "quinn-udp",
    "rustls",
    "socket2",
    "rustix",
    "nix",
    "tempfile",
    "redb",
    "mfn-local",
    "stoq",
    "hypermesh-blocks",
    "hypermesh-node",
    "mfn-alm",
    "mfn-ifr",
    "mfn-journal",
    "mfn-memory",
    "mfn-ifr-client",
];

/// Dependencies that somebody else's crate names and does not use: no line of the agreement core says tokio, and its version is
/// pinned.
const NAMED_ONLY: &[(&str, &str)] = &[("arc-malachitebft-core-consensus", "tokio")];

/// Do I/O, and know nothing of each other.
const IO_CRATES: &[&str] = &["stoq", "mfn-local", "mfn-journal", "hypermesh-blocks"];

/// The composition root, and what hosts layers: it serves calls and keeps what they change.
const JOIN: &[&str] = &["hypermesh-node", "mfn-memory"];

/// Run built processes: they link no product code.
const PROCESS_TESTS: &[&str] = &["hypermesh-it", "hypermesh-demo"];

/// Reach a running node through its sockets only.
const SOCKET_ONLY: &[&str] = &["hypermesh", "hypermesh-gateway"];

/// May be named by few crates each.
const FEW_USERS: &[(&str, &[&str])] = &[
    ("quinn", &["stoq"]),
    ("rustls", &["stoq"]),
    // Blocks of content, and what was decided: two databases that know nothing of each other.
    ("redb", &["hypermesh-blocks", "hypermesh-node"]),
    ("fastcdc", &["hypermesh-blocks"]),
];

/// What a crate depends on directly.
#[derive(Debug, Default, Clone)]
pub(crate) struct Package {
    /// Whether it is a member of the workspace.
    member: bool,
    /// Needed to build or run it.
    normal: BTreeSet<String>,
    /// Needed by its tests only.
    dev: BTreeSet<String>,
}

/// Packages by name.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
}

/// One rule: its name and what it finds.
type EdgeRule = fn(&Graph) -> Vec<Problem>;

pub(crate) const RULES: &[(&str, EdgeRule)] = &[
    ("sans-IO crates do no I/O", sans_io),
    (
        "stoq, local, journal and blocks know nothing of each other",
        apart,
    ),
    (
        "only node and memory join stoq, local, journal and blocks",
        joined_once,
    ),
    ("a -sys crate has one user", sys),
    ("Go is in no process by default", go_is_chosen),
    ("capi is a leaf", capi_is_a_leaf),
    ("the command knows sockets, not components", socket_only),
    ("process tests link no product code", process_tests),
    ("testkit is for tests", testkit),
    ("one crate names this library", one_user),
];

/// Applies every rule.
pub(crate) fn check(graph: &Graph) -> Vec<Problem> {
    RULES
        .iter()
        .flat_map(|(name, rule)| {
            rule(graph).into_iter().map(move |mut problem| {
                problem.text = format!("{} [{name}]", problem.text);
                problem
            })
        })
        .collect()
}

impl Graph {
    /// Reads `cargo metadata`.
    pub(crate) fn read(root: &Path) -> Result<Graph, String> {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(vec!["--locked".to_owned()])
            .exec()
            .map_err(|e| format!("cargo metadata: {e}"))?;
        let members: BTreeSet<_> = metadata.workspace_members.iter().cloned().collect();
        let names: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|package| (package.id.clone(), package.name.to_string()))
            .collect();
        let mut graph = Graph::default();
        let nodes = metadata.resolve.map(|resolve| resolve.nodes);
        for node in nodes.unwrap_or_default() {
            let Some(name) = names.get(&node.id) else {
                continue;
            };
            // Two versions of one library count as one: the rules are about names.
            let package = graph.packages.entry(name.clone()).or_default();
            package.member |= members.contains(&node.id);
            for dep in &node.deps {
                let Some(to) = names.get(&dep.pkg) else {
                    continue;
                };
                let has = |kind| dep.dep_kinds.iter().any(|info| info.kind == kind);
                // What a build script uses is in no product, and may do I/O.
                if has(DependencyKind::Normal) {
                    package.normal.insert(to.clone());
                } else if has(DependencyKind::Development) {
                    package.dev.insert(to.clone());
                }
            }
        }
        Ok(graph)
    }

    fn members(&self) -> impl Iterator<Item = (&String, &Package)> {
        self.packages.iter().filter(|(_, package)| package.member)
    }

    /// The chain of edges from `from` to the first package in `targets`, tests aside.
    fn path(&self, from: &str, targets: &[&str]) -> Option<Vec<String>> {
        let mut queue = vec![vec![from.to_owned()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(path) = queue.get(next).cloned() {
            next += 1;
            let Some(package) = path.last().and_then(|last| self.packages.get(last)) else {
                continue;
            };
            for to in &package.normal {
                let from = path.last().map_or("", String::as_str);
                if NAMED_ONLY.contains(&(from, to.as_str())) {
                    continue;
                }
                if !seen.insert(to.clone()) {
                    continue;
                }
                let mut longer = path.clone();
                longer.push(to.clone());
                if targets.contains(&to.as_str()) {
                    return Some(longer);
                }
                queue.push(longer);
            }
        }
        None
    }
}

fn edge(chain: &[String], text: &str) -> Problem {
    Problem::at(&chain.join(" -> "), 0, text)
}

fn sans_io(graph: &Graph) -> Vec<Problem> {
    SANS_IO
        .iter()
        .filter_map(|name| graph.path(name, IO))
        .map(|chain| {
            edge(
                &chain,
                "pass time, randomness and I/O in as arguments instead",
            )
        })
        .collect()
}

fn apart(graph: &Graph) -> Vec<Problem> {
    IO_CRATES
        .iter()
        .filter_map(|name| graph.path(name, IO_CRATES))
        .map(|chain| edge(&chain, "join them in hypermesh-node instead"))
        .collect()
}

fn joined_once(graph: &Graph) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, package) in graph.members() {
        let joined: Vec<&str> = IO_CRATES
            .iter()
            .copied()
            .filter(|io| package.normal.contains(*io))
            .collect();
        if joined.len() > 1 && !JOIN.contains(&name.as_str()) && name != "hypermesh-bench" {
            problems.push(Problem::at(
                &format!("{name} -> {}", joined.join(" + ")),
                0,
                format!(
                    "only {} may depend on more than one of them",
                    JOIN.join(" and ")
                ),
            ));
        }
    }
    problems
}

fn sys(graph: &Graph) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, package) in graph.members() {
        for to in package.normal.union(&package.dev) {
            let ours = graph.packages.get(to).is_some_and(|p| p.member);
            if let Some(owner) = to.strip_suffix("-sys")
                && ours
                && owner != name
            {
                let chain = [name.clone(), to.clone()];
                problems.push(edge(&chain, &format!("use the safe crate {owner} instead")));
            }
        }
    }
    problems
}

/// The graph is that of the default features: an edge that is seen here is in every build, and in the node's process.
fn go_is_chosen(graph: &Graph) -> Vec<Problem> {
    users_of(graph, "mfn-alm-sys", |_, _| false)
        .into_iter()
        .map(|chain| edge(&chain, "leave the feature embedded-alm off and run almd"))
        .collect()
}

fn capi_is_a_leaf(graph: &Graph) -> Vec<Problem> {
    users_of(graph, "mfn-capi", |_, _| false)
        .into_iter()
        .map(|chain| edge(&chain, "the C exports are for C; use mfn-local from Rust"))
        .collect()
}

fn socket_only(graph: &Graph) -> Vec<Problem> {
    let banned = [
        "stoq",
        "stoq-proto",
        "hypermesh-blocks",
        "mfn-alm",
        "mfn-alm-sys",
        "mfn-ifr",
        "mfn-ifr-sys",
    ];
    let mut problems = Vec::new();
    for name in SOCKET_ONLY {
        let Some(package) = graph.packages.get(*name) else {
            continue;
        };
        for to in banned.iter().filter(|to| package.normal.contains(**to)) {
            let chain = [(*name).to_owned(), (*to).to_owned()];
            problems.push(edge(&chain, "ask the node through its sockets instead"));
        }
    }
    problems
}

fn process_tests(graph: &Graph) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in PROCESS_TESTS {
        let Some(package) = graph.packages.get(*name) else {
            continue;
        };
        for to in package.normal.union(&package.dev) {
            let ours = graph.packages.get(to).is_some_and(|p| p.member);
            if ours && to != "hypermesh-testkit" {
                let chain = [(*name).to_owned(), to.clone()];
                problems.push(edge(&chain, "run the built process instead"));
            }
        }
    }
    problems
}

fn testkit(graph: &Graph) -> Vec<Problem> {
    users_of(graph, "hypermesh-testkit", |name, dev| {
        dev || PROCESS_TESTS.contains(&name) || name == "hypermesh-bench"
    })
    .into_iter()
    .map(|chain| edge(&chain, "make it a dev-dependency"))
    .collect()
}

fn one_user(graph: &Graph) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (library, owners) in FEW_USERS {
        // Benchmarks run the bare library as the peer; tests may build a hostile one.
        problems.extend(
            users_of(graph, library, |name, dev| {
                dev || owners.contains(&name) || name == "hypermesh-bench"
            })
            .iter()
            .map(|chain| {
                edge(
                    chain,
                    &format!("only {} may name {library}", owners.join(" and ")),
                )
            }),
        );
    }
    problems
}

/// Edges of members to `to` that `allowed(from, only for tests)` does not accept.
fn users_of(graph: &Graph, to: &str, allowed: impl Fn(&str, bool) -> bool) -> Vec<[String; 2]> {
    let mut found = Vec::new();
    for (name, package) in graph.members() {
        let normal = package.normal.contains(to) && !allowed(name, false);
        let dev = package.dev.contains(to) && !allowed(name, true);
        if normal || dev {
            found.push([name.clone(), to.to_owned()]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a -> b c; d => e`: `->` normal edges, `=>` edges of tests. Every name on a left side is a member.
    fn graph(text: &str) -> Graph {
        let mut graph = Graph::default();
        for part in text.split(';') {
            let dev = part.contains("=>");
            let (from, to) = part.split_once(if dev { "=>" } else { "->" }).unwrap();
            let package = graph.packages.entry(from.trim().to_owned()).or_default();
            package.member = true;
            let to = to.split_whitespace().map(str::to_owned);
            if dev {
                package.dev.extend(to);
            } else {
                package.normal.extend(to);
            }
        }
        graph
    }

    fn places(rule: EdgeRule, text: &str) -> Vec<String> {
        rule(&graph(text)).into_iter().map(|p| p.place).collect()
    }

    #[test]
    fn sans_io_names_the_whole_chain() {
        let bad = "stoq-proto -> helper; helper -> tokio; tokio -> mio";
        assert_eq!(places(sans_io, bad), ["stoq-proto -> helper -> tokio"]);
        assert!(places(sans_io, "stoq-proto => tokio; stoq-proto -> bytes").is_empty());
    }

    #[test]
    fn sans_io_passes_over_what_is_only_named() {
        let core = "arc-malachitebft-core-consensus";
        let named = format!("hypermesh-consensus -> {core}; {core} -> tokio");
        assert!(places(sans_io, &named).is_empty());
        let used = format!("{named}; {core} -> helper; helper -> tokio");
        assert_eq!(places(sans_io, &used).len(), 1);
    }

    #[test]
    fn apart_sees_through_other_crates() {
        let bad = "stoq -> x; x -> hypermesh-blocks; mfn-local -> tokio";
        assert_eq!(places(apart, bad), ["stoq -> x -> hypermesh-blocks"]);
        assert!(places(apart, "hypermesh-node -> stoq hypermesh-blocks mfn-local").is_empty());
    }

    #[test]
    fn joined_once_allows_node_only() {
        let bad = "hypermesh -> mfn-local stoq; hypermesh-node -> mfn-local stoq";
        assert_eq!(places(joined_once, bad), ["hypermesh -> stoq + mfn-local"]);
    }

    #[test]
    fn sys_is_for_its_own_crate() {
        let text = "mfn-ifr -> mfn-ifr-sys; mfn-ifr-sys -> libc; hypermesh-blocks => mfn-ifr-sys; b -> zstd-sys";
        assert_eq!(places(sys, text), ["hypermesh-blocks -> mfn-ifr-sys"]);
    }

    #[test]
    fn go_comes_with_a_feature_only() {
        let text = "mfn-alm -> mfn-local mfn-alm-sys; mfn-alm-sys -> libc";
        assert_eq!(places(go_is_chosen, text), ["mfn-alm -> mfn-alm-sys"]);
    }

    #[test]
    fn capi_has_no_users_not_even_tests() {
        let text = "mfn-capi -> mfn-local; hypermesh-it => mfn-capi";
        assert_eq!(places(capi_is_a_leaf, text), ["hypermesh-it -> mfn-capi"]);
    }

    #[test]
    fn socket_only_bans_components() {
        let text = "hypermesh -> mfn-local hypermesh-node hypermesh-blocks";
        assert_eq!(places(socket_only, text), ["hypermesh -> hypermesh-blocks"]);
    }

    #[test]
    fn process_tests_link_nothing_of_ours() {
        let text = "hypermesh-it -> serde_json hypermesh-testkit mfn-wire; mfn-wire -> prost; hypermesh-testkit -> x";
        assert_eq!(places(process_tests, text), ["hypermesh-it -> mfn-wire"]);
    }

    #[test]
    fn testkit_stays_out_of_products() {
        let text = "mfn-wire => hypermesh-testkit; stoq -> hypermesh-testkit; hypermesh-it -> hypermesh-testkit";
        assert_eq!(places(testkit, text), ["stoq -> hypermesh-testkit"]);
    }

    #[test]
    fn one_user_per_library() {
        let text = "stoq -> quinn; hypermesh-node -> quinn; hypermesh-bench -> quinn; hypermesh-it => quinn";
        assert_eq!(places(one_user, text), ["hypermesh-node -> quinn"]);
    }

    #[test]
    fn check_adds_the_name_of_the_rule() {
        let found = check(&graph("x -> mfn-capi"));
        assert!(found[0].text.ends_with("[capi is a leaf]"));
    }
}
