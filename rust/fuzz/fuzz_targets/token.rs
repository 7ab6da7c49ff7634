#![no_main]
hypermesh_fuzz::program!("token");
