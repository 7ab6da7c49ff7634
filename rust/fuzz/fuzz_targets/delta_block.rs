#![no_main]
hypermesh_fuzz::program!("delta_block");
