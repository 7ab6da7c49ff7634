#![no_main]
hypermesh_fuzz::program!("cpe_series");
