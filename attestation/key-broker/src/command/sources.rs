//! Where a serving broker has endorsements from.

use anchorhold_endorsements::{BaseUrl, Config, Mirrors, Mode};
use clap::Args;
use std::path::PathBuf;

/// Where the broker has from what vendors say about the parts in evidence.
#[derive(Args)]
pub(super) struct Sources {
    /// Fetch AMD's, Intel's and NVIDIA's endorsements and keep them in this folder; without it, what guests attach must do
    #[arg(long, value_name = "DIR")]
    pub(super) endorsements: Option<PathBuf>,
    /// Fetch nothing: what the folder has must do. `anchorhold evidence endorse --cache` fills it elsewhere
    #[arg(long, requires = "endorsements")]
    offline: bool,
    /// Ask this PCCS instead of Intel's services
    #[arg(long, value_name = "URL", requires = "endorsements", value_parser = BaseUrl::new)]
    pccs: Option<BaseUrl>,
    /// Ask this mirror instead of AMD's key distribution service
    #[arg(long, value_name = "URL", requires = "endorsements", value_parser = BaseUrl::new)]
    kds: Option<BaseUrl>,
    /// Ask this mirror instead of NVIDIA's RIM service
    #[arg(long, value_name = "URL", requires = "endorsements", value_parser = BaseUrl::new)]
    rim_service: Option<BaseUrl>,
    /// Ask this mirror instead of NVIDIA's OCSP responder
    #[arg(long, value_name = "URL", requires = "endorsements", value_parser = BaseUrl::new)]
    ocsp_service: Option<BaseUrl>,
}

impl Sources {
    pub(super) fn config(&self) -> Config {
        let (pccs, kds) = (self.pccs.clone(), self.kds.clone());
        let (rim, ocsp) = (self.rim_service.clone(), self.ocsp_service.clone());
        let mode = if self.offline { Mode::Offline } else { Mode::CacheFirst };
        Config { mode, ..Config::production() }.with_mirrors(Mirrors { pccs, kds, rim, ocsp })
    }
}
