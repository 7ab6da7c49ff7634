#![no_main]
hypermesh_fuzz::program!("order_snapshot");
