#![no_main]
hypermesh_fuzz::program!("consensus_evidence");
