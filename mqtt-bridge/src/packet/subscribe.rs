//! SUBSCRIBE and UNSUBSCRIBE.

use crate::property::allowed;
use crate::reader::Reader;
use crate::{Properties, Property, QoS, Version, Violation};

/// A SUBSCRIBE with at least one filter, each checked but for its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet identifier.
    pub id: u16,
    /// The subscription identifier; 0 for none.
    pub subscription_id: u32,
    filters: Reader<'a>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// As it came; maybe not a filter at all.
    pub filter: &'a str,
    /// How messages are to come.
    pub options: Options,
}

/// Options of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// At most so.
    pub qos: QoS,
    /// Not what the same connection published.
    pub no_local: bool,
    /// The retain flag stays as it was published.
    pub retain_as_published: bool,
    /// Whether what was kept is sent now.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// Each time it is asked for.
    #[default]
    Always,
    /// When it was not there before.
    IfNew,
    /// Never.
    Never,
}

impl Options {
    fn read(byte: u8, version: Version) -> Result<Self, Violation> {
        let bits = match version {
            // The upper six bits "are not used".
            Version::V31 => byte & 3,
            _ => byte,
        };
        let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
        if bits & reserved != 0 {
            return Err(Violation::malformed("reserved subscription options"));
        }
        Ok(Self {
            qos: QoS::new(bits & 3).ok_or(Violation::protocol("subscription with QoS 3"))?,
            no_local: bits & 4 != 0,
            retain_as_published: bits & 8 != 0,
            retain_handling: match bits >> 4 & 3 {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                2 => RetainHandling::Never,
                _ => return Err(Violation::protocol("Retain Handling 3")),
            },
        })
    }

    /// As one byte, as in a SUBSCRIBE of 5.0.
    pub fn byte(self) -> u8 {
        let handling = match self.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 0x10,
            RetainHandling::Never => 0x20,
        };
        self.qos as u8 | u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3 | handling
    }

    /// From [`Self::byte`].
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::read(byte, Version::V5).ok()
    }
}

impl<'a> Subscribe<'a> {
    pub(super) fn read(mut body: Reader<'a>, version: Version) -> Result<Self, Violation> {
        let id = body.packet_id()?;
        let mut subscription_id = 0;
        if version == Version::V5 {
            let properties = Properties::read(&mut body, allowed::SUBSCRIBE)?;
            subscription_id = properties.number(Property::SubscriptionId).unwrap_or(0);
        }
        let filters = body;
        if body.is_empty() {
            return Err(Violation::protocol("SUBSCRIBE without a filter"));
        }
        while !body.is_empty() {
            let filter = body.text()?;
            let options = Options::read(body.u8()?, version)?;
            if filter.is_empty() {
                return Err(Violation::protocol("empty topic filter"));
            }
            // [MQTT-3.8.3-4]
            if options.no_local && filter.starts_with("$share/") {
                return Err(Violation::protocol("No Local on a shared subscription"));
            }
        }
        Ok(Self { id, subscription_id, filters })
    }

    /// The filters, in their order.
    pub fn requests(&self, version: Version) -> impl Iterator<Item = Request<'a>> + use<'a> {
        let mut rest = self.filters;
        // All of them were read before.
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let filter = rest.text().ok()?;
            let options = Options::read(rest.u8().ok()?, version).ok()?;
            Some(Request { filter, options })
        })
    }
}

/// An UNSUBSCRIBE with at least one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet identifier.
    pub id: u16,
    filters: Reader<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn read(mut body: Reader<'a>, version: Version) -> Result<Self, Violation> {
        let id = body.packet_id()?;
        if version == Version::V5 {
            Properties::read(&mut body, allowed::UNSUBSCRIBE)?;
        }
        let filters = body;
        if body.is_empty() {
            return Err(Violation::protocol("UNSUBSCRIBE without a filter"));
        }
        while !body.is_empty() {
            if body.text()?.is_empty() {
                return Err(Violation::protocol("empty topic filter"));
            }
        }
        Ok(Self { id, filters })
    }

    /// The filters, in their order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.filters;
        std::iter::from_fn(move || if rest.is_empty() { None } else { rest.text().ok() })
    }
}
