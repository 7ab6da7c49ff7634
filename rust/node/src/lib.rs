//! The node: wires the components, owns their sockets, config, shutdown, metrics.
