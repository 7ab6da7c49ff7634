//! The layers dsr and cpe: opened with the node, served on sockets of their own. Layer ifr is a process: `exact`.

use std::path::Path;
use std::sync::Arc;

use mfn_local::Handler;
use mfn_memory::{Cpe, Dsr, Layer, Memory};
use mfn_wire::{Service, pb};

use crate::config::Config;
use crate::dir::NodeDir;

/// Both layers.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) dsr: Served,
    pub(crate) cpe: Served,
}

/// A layer, or why it is not there.
#[derive(Clone)]
pub(crate) enum Served {
    Here(Arc<Memory>),
    Absent(String),
}

impl Layers {
    /// Opens both, as the configuration says. A layer that does not open is absent, and the node goes on without it.
    pub(crate) fn open(dir: &NodeDir, config: &Config) -> Self {
        let place = dir.memory();
        Self {
            dsr: Served::open::<Dsr>(&place.join("dsr"), config),
            cpe: Served::open::<Cpe>(&place.join("cpe"), config),
        }
    }

    /// What gets a socket.
    pub(crate) fn served(&self) -> Vec<(Service, Arc<dyn Handler>)> {
        let mut served: Vec<(Service, Arc<dyn Handler>)> = Vec::new();
        for (service, layer) in [(Service::Dsr, &self.dsr), (Service::Cpe, &self.cpe)] {
            if let Served::Here(memory) = layer {
                served.push((service, Arc::clone(memory) as Arc<dyn Handler>));
            }
        }
        served
    }
}

impl Served {
    fn open<L: Layer>(directory: &Path, config: &Config) -> Self {
        if !config.memory_enabled {
            return Self::Absent("switched off: memory.enabled in config.toml".into());
        }
        match Memory::open::<L>(directory, config.memory_bytes_max) {
            Ok(memory) => Self::Here(Arc::new(memory)),
            Err(error) => {
                let layer = L::SERVICE.name();
                tracing::error!(layer, %error, "the layer does not open; the node goes on without it");
                Self::Absent(error.to_string())
            }
        }
    }

    /// What `hypermesh status` says of it.
    pub(crate) fn status(&self, name: &str) -> pb::LayerStatus {
        let (state, detail, entries) = match self {
            Self::Absent(why) => ("absent", why.clone(), 0),
            Self::Here(memory) => {
                let status = memory.status();
                match status.failed {
                    Some(why) => ("failed", why, status.entries),
                    None => (
                        "in use",
                        format!(
                            "{} MiB in memory, kept in memory/{name}",
                            status.bytes >> 20
                        ),
                        status.entries,
                    ),
                }
            }
        };
        pb::LayerStatus {
            name: name.into(),
            state: state.into(),
            detail,
            entries,
            restarts: 0,
        }
    }
}
