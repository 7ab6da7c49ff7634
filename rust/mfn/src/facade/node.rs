//! The memory that a running node serves, by its sockets.

use std::path::Path;
use std::sync::Arc;

use mfn_wire::Service;

use super::Layers;
use super::carrier::{Carrier, Socket};
use super::door::Door;
use super::foreseeing::Streams;
use super::linked::Links;
use super::question::LayerId;
use super::similar::Vectors;

/// The pool of DSR, ALM and CPE that is the node's memory for people and their programs ("mem"); the node itself uses
/// others.
pub const NODE_POOL: u32 = 0x006d_656d;

impl Layers {
    /// The layers behind the sockets of a node's run directory. `absent` says of each why it is not there, if it is not;
    /// those that are there and do not serve yet are waited for by calls.
    pub fn of_node(
        run_dir: &Path,
        software: &str,
        absent: impl Fn(LayerId) -> Option<String>,
    ) -> Self {
        let socket = |service: Service| {
            let path = run_dir.join(service.socket_name());
            Arc::new(Socket::new(service, &path, software, true))
        };
        let carrier = |service| -> Arc<dyn Carrier> { socket(service) };
        let ifr = match absent(LayerId::Ifr) {
            Some(why) => Door::Absent(why),
            None => Door::Here(socket(Service::Ifr) as Arc<dyn super::Exact>),
        };
        let dsr = match absent(LayerId::Dsr) {
            Some(why) => Door::Absent(why),
            None => {
                let vectors = Vectors::new(carrier(Service::Dsr), NODE_POOL);
                Door::Here(Arc::new(vectors) as Arc<dyn super::Similar>)
            }
        };
        let alm = match absent(LayerId::Alm) {
            Some(why) => Door::Absent(why),
            None => {
                let links = Links::behind(&run_dir.join(Service::Alm.socket_name()), NODE_POOL);
                Door::Here(Arc::new(links) as Arc<dyn super::Linked>)
            }
        };
        let cpe = match absent(LayerId::Cpe) {
            Some(why) => Door::Absent(why),
            None => {
                let streams = Streams::new(carrier(Service::Cpe), NODE_POOL);
                Door::Here(Arc::new(streams) as Arc<dyn super::Foreseeing>)
            }
        };
        Self { ifr, dsr, alm, cpe }
    }
}
