#![no_main]
hypermesh_fuzz::program!("stoq_frame");
