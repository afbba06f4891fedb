//! AutoRound, whose own files have the packing of GPTQ (zero points less one) or of AWQ under a name of their own.

use super::{
    Entry,
    awq::Awq,
    gptq::{Gptq, Zeros},
};

pub(super) const ENTRY: Entry = Entry {
    method: "auto-round",
    open: |settings| match settings.text("packing_format")? {
        Some("auto_round:auto_gptq" | "auto_round:gptq") => Gptq::open(settings, Zeros::OneLess),
        Some("auto_round:auto_awq" | "auto_round:awq") => Awq::open(settings),
        found => {
            let expected = "auto_round:auto_gptq or auto_round:auto_awq";
            Err(settings.refused("packing_format", found.unwrap_or("nothing"), expected))
        }
    },
};
