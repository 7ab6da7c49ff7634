#![no_main]
hypermesh_fuzz::program!("local_frame");
