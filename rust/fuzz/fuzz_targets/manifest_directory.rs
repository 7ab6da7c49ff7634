#![no_main]
hypermesh_fuzz::program!("manifest_directory");
