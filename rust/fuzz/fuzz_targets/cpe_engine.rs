#![no_main]
hypermesh_fuzz::program!("cpe_engine");
