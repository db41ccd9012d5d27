//! CONNECT.

use super::Frame;
use crate::property::allowed;
use crate::reader::Reader;
use crate::{Forwarded, Properties, Property, QoS, Reason, Version, Violation};

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

/// A CONNECT that may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What the client speaks.
    pub version: Version,
    /// Clean session, clean start: an old session is thrown away.
    pub clean: bool,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    /// Maybe empty: the server is to make one up.
    pub client_id: &'a str,
    /// What to publish when the connection breaks.
    pub will: Option<Will<'a>>,
    /// Who it is.
    pub user: Option<&'a str>,
    /// How it proves that.
    pub password: Option<&'a [u8]>,
    /// Seconds that the session outlives the connection; `u32::MAX` for ever. For 3.1 and 3.1.1 derived from `clean`.
    pub session_expiry: u32,
    /// Unacknowledged messages that it takes.
    pub receive_max: u16,
    /// Bytes of a packet that it takes; `u32::MAX` when it did not say.
    pub packet_max: u32,
    /// Topic aliases that it takes.
    pub alias_max: u16,
    /// It wants reason strings and user properties where something goes wrong.
    pub request_problem: bool,
    /// It wants response information.
    pub request_response: bool,
    /// The method of enhanced authentication it wants.
    pub auth_method: Option<&'a str>,
}

/// A message for the time after the connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// A topic name.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// How it is published.
    pub qos: QoS,
    /// Whether it is kept.
    pub retain: bool,
    /// The rest.
    pub properties: WillProperties<'a>,
}

/// Properties of a will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WillProperties<'a> {
    /// Seconds between the end of the connection and the will.
    pub delay: u32,
    /// Seconds after which it is no longer worth delivering.
    pub expiry: Option<u32>,
    /// What subscribers get.
    pub forwarded: Forwarded<'a>,
}

/// A CONNECT that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The protocol is not MQTT, or there is not even its name: there is nobody to answer.
    NotMqtt,
    /// A level we do not speak; answered in the way that 3.1.1 prescribes, which 5.0 allows `[MQTT-3.1.2-2]`.
    UnknownLevel(u8),
    /// It breaks the rules of its version.
    Violation(Version, Violation),
}

impl<'a> Connect<'a> {
    /// Reads a CONNECT.
    ///
    /// # Errors
    /// When it may not be accepted.
    pub fn read(frame: Frame<'a>) -> Result<Self, ConnectError> {
        let mut body = Reader::new(frame.body);
        let name = body.binary().map_err(|_| ConnectError::NotMqtt)?;
        if name != b"MQTT" && name != b"MQIsdp" {
            return Err(ConnectError::NotMqtt);
        }
        let level = body.u8().map_err(|_| ConnectError::NotMqtt)?;
        let version = match (name, level) {
            (b"MQIsdp", 3) => Version::V31,
            (b"MQTT", 4) => Version::V311,
            (b"MQTT", 5) => Version::V5,
            _ => return Err(ConnectError::UnknownLevel(level)),
        };
        let violation = |violation| ConnectError::Violation(version, violation);
        if frame.first != 0x10 || frame.padded && version == Version::V5 {
            return Err(violation(Violation::malformed("fixed header of CONNECT")));
        }
        rest(version, body).map_err(violation)
    }
}

fn rest(version: Version, mut body: Reader<'_>) -> Result<Connect<'_>, Violation> {
    let flags = body.u8()?;
    check_flags(flags, version)?;
    let keep_alive = body.u16()?;
    let mut connect = Connect {
        version,
        clean: flags & CLEAN != 0,
        keep_alive,
        client_id: "",
        will: None,
        user: None,
        password: None,
        session_expiry: if flags & CLEAN != 0 { 0 } else { u32::MAX },
        receive_max: u16::MAX,
        packet_max: u32::MAX,
        alias_max: 0,
        request_problem: true,
        request_response: false,
        auth_method: None,
    };
    if version == Version::V5 {
        properties(Properties::read(&mut body, allowed::CONNECT)?, &mut connect)?;
    }
    connect.client_id = body.text()?;
    if flags & WILL != 0 {
        connect.will = Some(will(flags, &mut body, version)?);
    }
    // 3.1 had these flags before it had the fields: what is not there was not said.
    let absent = |body: &Reader<'_>| version == Version::V31 && body.is_empty();
    if flags & USER != 0 && !absent(&body) {
        connect.user = Some(body.text()?);
    }
    if flags & PASSWORD != 0 && !absent(&body) {
        connect.password = Some(body.binary()?);
    }
    body.finished()?;
    Ok(connect)
}

fn check_flags(flags: u8, version: Version) -> Result<(), Violation> {
    // 3.1 does not use this bit and does not say what it must be.
    if flags & 1 != 0 && version != Version::V31 {
        return Err(Violation::malformed("reserved connect flag"));
    }
    let will_bits = flags & (WILL_RETAIN | 0x18);
    if flags & WILL == 0 && will_bits != 0 {
        return Err(Violation::malformed("will QoS or will retain without a will"));
    }
    if flags & 0x18 == 0x18 {
        return Err(Violation::malformed("will QoS 3"));
    }
    // [MQTT-3.1.2-22] of 3.1.1; 5.0 allows a password alone.
    if flags & PASSWORD != 0 && flags & USER == 0 && version != Version::V5 {
        return Err(Violation::malformed("password without a user name"));
    }
    Ok(())
}

fn properties<'a>(block: Properties<'a>, connect: &mut Connect<'a>) -> Result<(), Violation> {
    let number = |property| block.number(property);
    connect.session_expiry = number(Property::SessionExpiry).unwrap_or(0);
    connect.receive_max = number(Property::ReceiveMaximum).map_or(u16::MAX, |max| max as u16);
    connect.packet_max = number(Property::MaximumPacketSize).unwrap_or(u32::MAX);
    connect.alias_max = number(Property::TopicAliasMaximum).unwrap_or(0) as u16;
    connect.request_problem = number(Property::RequestProblem) != Some(0);
    connect.request_response = number(Property::RequestResponse) == Some(1);
    connect.auth_method = block.text(Property::AuthenticationMethod);
    if block.binary(Property::AuthenticationData).is_some() && connect.auth_method.is_none() {
        return Err(Violation::protocol("Authentication Data without a method"));
    }
    Ok(())
}

fn will<'a>(flags: u8, body: &mut Reader<'a>, version: Version) -> Result<Will<'a>, Violation> {
    let mut properties = WillProperties::default();
    if version == Version::V5 {
        let block = Properties::read(body, allowed::WILL)?;
        properties = WillProperties {
            delay: block.number(Property::WillDelay).unwrap_or(0),
            expiry: block.number(Property::MessageExpiry),
            forwarded: block.forwarded(),
        };
    }
    let topic = body.text()?;
    if !crate::topic::is_name(topic) {
        return Err(Violation::with(Reason::TopicNameInvalid, "will topic is not a topic name"));
    }
    let payload = body.binary()?;
    let qos = QoS::new(flags >> 3 & 3).ok_or(Violation::malformed("will QoS 3"))?;
    Ok(Will { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
}
