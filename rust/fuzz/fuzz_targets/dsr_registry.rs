#![no_main]
hypermesh_fuzz::program!("dsr_registry");
