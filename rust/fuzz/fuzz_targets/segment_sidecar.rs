#![no_main]
hypermesh_fuzz::program!("segment_sidecar");
