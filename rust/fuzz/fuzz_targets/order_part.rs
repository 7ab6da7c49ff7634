#![no_main]
hypermesh_fuzz::program!("order_part");
