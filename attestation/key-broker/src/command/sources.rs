//! Where a serving broker has endorsements from.

use anchorhold_endorsements::{BaseUrl, Config, Mode};
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
        let mut config = Config::production();
        if self.offline {
            config.mode = Mode::Offline;
        }
        if let Some(url) = &self.pccs {
            config = config.with_pccs(url.clone().into());
        }
        for (url, source) in [
            (&self.kds, &mut config.kds),
            (&self.rim_service, &mut config.rim),
            (&self.ocsp_service, &mut config.ocsp),
        ] {
            if let Some(url) = url {
                *source = url.clone().into();
            }
        }
        config
    }
}
