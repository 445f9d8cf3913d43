//! Which checkers are on: what `--check` says.

use anyhow::{Result, bail};
use stallbox_timeline::Span;

/// Which checkers are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckConfig {
    /// `tlb`.
    pub tlb: bool,
    /// `stall`.
    pub stall: bool,
    /// `dma`.
    pub dma: bool,
    /// `config`.
    pub config: bool,
    /// `pasid`.
    pub pasid: bool,
    /// `tlb`: how long an invalidation may take after the table has changed.
    pub tlb_limit: Option<Span>,
    /// `config`: how long a CMD_CFGI may take after the configuration has changed.
    pub config_limit: Option<Span>,
    /// `stall`: how long a stall may wait for its answer.
    pub stall_limit: Option<Span>,
}

impl CheckConfig {
    /// Adds what one `--check` says: names, separated by commas, each with an optional limit in
    /// microseconds of virtual time.
    pub fn add(&mut self, text: &str) -> Result<()> {
        for word in text.split(',') {
            let (name, limit) = match word.split_once('=') {
                Some((name, limit)) => match limit.parse() {
                    Ok(us) if (1..=3_600_000_000).contains(&us) => (name, Some(Span::from_us(us))),
                    _ => bail!(
                        "--check {word}: \"{limit}\" is no number of microseconds from 1 to \
                         3600000000"
                    ),
                },
                None => (word, None),
            };
            let on = [
                ("tlb", self.tlb),
                ("stall", self.stall),
                ("config", self.config),
                ("dma", self.dma),
                ("pasid", self.pasid),
            ];
            if on.contains(&(name, true)) {
                bail!("--check {word}: {name} is given twice");
            }
            match name {
                "tlb" => {
                    self.tlb = true;
                    self.tlb_limit = limit.or(self.tlb_limit);
                }
                "stall" => {
                    self.stall = true;
                    self.stall_limit = limit.or(self.stall_limit);
                }
                "config" => {
                    self.config = true;
                    self.config_limit = limit.or(self.config_limit);
                }
                "dma" | "pasid" if limit.is_some() => {
                    bail!("--check {word}: {name} has no limit")
                }
                "dma" => self.dma = true,
                "pasid" => self.pasid = true,
                _ => bail!("--check {word}: there are tlb, stall, dma, config and pasid"),
            }
        }
        Ok(())
    }

    /// Whether any is on.
    pub fn any(&self) -> bool {
        self.tlb || self.stall || self.dma || self.config || self.pasid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkers_are_named_and_have_limits() {
        let mut config = CheckConfig::default();
        config.add("tlb,stall=5000").unwrap();
        config.add("dma,pasid,config=7").unwrap();
        assert!(config.tlb && config.stall && config.dma && config.pasid && config.config);
        assert_eq!(config.config_limit, Some(Span::from_us(7)));
        assert_eq!(config.stall_limit, Some(Span::from_us(5000)));
        for (text, word) in [
            ("stal", "there are tlb, stall, dma, config and pasid"),
            ("tlb=soon", "\"soon\" is no number"),
            ("stall=0", "from 1 to"),
            ("dma=5", "no limit"),
            ("pasid=5", "no limit"),
            ("dma,tlb,dma", "dma is given twice"),
            ("pasid,config,config", "config is given twice"),
            ("tlb=1,tlb=2", "tlb is given twice"),
        ] {
            let error = CheckConfig::default().add(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
