//! Raw bindings to the Zig archive of layer 1.
