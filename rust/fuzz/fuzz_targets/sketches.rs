#![no_main]
hypermesh_fuzz::program!("sketches");
