//! What the daemon answers, and the events it sends.
//! Owns the replies and their frames.
//! Must never depend on the request: a reply explains itself.

use super::bytes::{get_i32, get_u32};
use super::extension::{self, Answer};
use super::imsg::Frame;
use super::layout::P77;
use super::record::{
    HostRecord, Image, RedirectRecord, RelayRecord, RouteRecord, RouterRecord, SessionRecord,
    StatisticsRecord, StatusRecord, TableRecord, TrafficRecord,
};
use super::request::{Class, ObjectId, Request};
use super::{ControlError, kind};

/// A reply or event.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done.
    Ok,
    /// Not done.
    Fail,
    /// End of a list.
    End,
    /// A redirection.
    Redirect(RedirectRecord),
    /// Its statistics, and its packets and bytes where they are counted.
    RedirectStatistics(StatisticsRecord, Option<TrafficRecord>),
    /// A table.
    Table(TableRecord),
    /// A host.
    Host(HostRecord),
    /// A relay.
    Relay(RelayRecord),
    /// Its statistics, one entry per relay process.
    RelayStatistics(Vec<StatisticsRecord>),
    /// A router.
    Router(RouterRecord),
    /// A route.
    Route(RouteRecord),
    /// A session.
    Session(SessionRecord),
    /// Event: a host was checked.
    HostStatus(StatusRecord),
    /// Event: a check round ended.
    Sync,
    /// Event: the packet filter's table of a redirection changed.
    TableChanged(u32),
    /// Event: rules of a redirection were removed.
    PullRuleset(u32),
    /// Event: rules of a redirection were installed.
    PushRuleset(u32),
    /// Event: somebody enabled or disabled something; the object as it was written.
    Switched {
        /// What kind of object.
        class: Class,
        /// Which.
        object: ObjectId,
        /// On.
        enable: bool,
    },
    /// Event: the debug level changed.
    Verbose(i32),
    /// A JSON answer.
    Extension(Answer),
}

impl Reply {
    /// The reply as frames from process `pid`: one, or several for a long text.
    pub fn to_frame(&self, pid: u32) -> Frame {
        let (kind, payload) = match self {
            Reply::Ok => (kind::OK, Vec::new()),
            Reply::Fail => (kind::FAIL, Vec::new()),
            Reply::End => (kind::END, Vec::new()),
            Reply::Redirect(record) => (kind::RDR, record.to_image()),
            Reply::RedirectStatistics(record, traffic) => {
                let mut image = record.to_image();
                image.extend(traffic.iter().flat_map(|t| t.to_image()));
                (kind::RDR_STATS, image)
            }
            Reply::Table(record) => (kind::TABLE, record.to_image()),
            Reply::Host(record) => (kind::HOST, record.to_image()),
            Reply::Relay(record) => (kind::RELAY, record.to_image()),
            Reply::RelayStatistics(list) => (
                kind::RELAY_STATS,
                StatisticsRecord::list_to_image(list.as_slice()),
            ),
            Reply::Router(record) => (kind::ROUTER, record.to_image()),
            Reply::Route(record) => (kind::NETROUTE, record.to_image()),
            Reply::Session(record) => (kind::SESSION, record.to_image()),
            Reply::HostStatus(record) => (kind::HOST_STATUS, record.to_image()),
            Reply::Sync => (kind::SYNC, Vec::new()),
            Reply::TableChanged(id) => (kind::TABLE_CHANGED, ObjectId::Id(*id).to_image()),
            Reply::PullRuleset(id) => (kind::PULL_RULESET, ObjectId::Id(*id).to_image()),
            Reply::PushRuleset(id) => (kind::PUSH_RULESET, ObjectId::Id(*id).to_image()),
            Reply::Switched {
                class,
                object,
                enable,
            } => (Request::switch_kind(*class, *enable), object.to_image()),
            Reply::Verbose(level) => (kind::VERBOSE, level.to_ne_bytes().to_vec()),
            Reply::Extension(answer) => answer.encode(),
        };
        let mut frame = Frame::new(kind, pid, payload);
        // Events that come from the check engine carry no client's peer id.
        if matches!(self, Reply::HostStatus(_) | Reply::Sync) {
            frame.peer = u32::MAX;
        }
        frame
    }

    /// Reads a reply. Like the original's client it accepts longer images than it knows.
    ///
    /// # Errors
    /// Unknown number, too short an image or an impossible value.
    pub fn from_frame(frame: &Frame) -> Result<Reply, ControlError> {
        let payload = frame.payload.as_slice();
        let number = frame.kind;
        let object = || {
            if payload.len() < P77.object_id.size {
                return Err(ControlError::Size {
                    kind: number,
                    length: payload.len(),
                    expected: P77.object_id.size,
                });
            }
            let cut = payload.get(..P77.object_id.size).unwrap_or_default();
            ObjectId::from_payload(number, cut)
        };
        let id = || object().map(|_| get_u32(payload, P77.object_id.id));
        let switched = |class, enable| {
            Ok(Reply::Switched {
                class,
                object: object()?,
                enable,
            })
        };
        Ok(match number {
            kind::OK => Reply::Ok,
            kind::FAIL => Reply::Fail,
            kind::END => Reply::End,
            kind::RDR => Reply::Redirect(Image::from_payload(number, payload)?),
            kind::RDR_STATS => Reply::RedirectStatistics(
                Image::from_payload(number, payload)?,
                TrafficRecord::behind(payload),
            ),
            kind::TABLE => Reply::Table(Image::from_payload(number, payload)?),
            kind::HOST => Reply::Host(Image::from_payload(number, payload)?),
            kind::RELAY => Reply::Relay(Image::from_payload(number, payload)?),
            kind::RELAY_STATS => {
                Reply::RelayStatistics(StatisticsRecord::list_from_payload(number, payload)?)
            }
            kind::ROUTER => Reply::Router(Image::from_payload(number, payload)?),
            kind::NETROUTE => Reply::Route(Image::from_payload(number, payload)?),
            kind::SESSION => Reply::Session(Image::from_payload(number, payload)?),
            kind::HOST_STATUS => Reply::HostStatus(Image::from_payload(number, payload)?),
            kind::SYNC => Reply::Sync,
            kind::TABLE_CHANGED => Reply::TableChanged(id()?),
            kind::PULL_RULESET => Reply::PullRuleset(id()?),
            kind::PUSH_RULESET => Reply::PushRuleset(id()?),
            kind::RDR_ENABLE => switched(Class::Redirect, true)?,
            kind::RDR_DISABLE => switched(Class::Redirect, false)?,
            kind::TABLE_ENABLE => switched(Class::Table, true)?,
            kind::TABLE_DISABLE => switched(Class::Table, false)?,
            kind::HOST_ENABLE => switched(Class::Host, true)?,
            kind::HOST_DISABLE => switched(Class::Host, false)?,
            kind::VERBOSE => Reply::Verbose(get_i32(payload, 0)),
            extension::FIRST.. => Reply::Extension(Answer::decode(number, payload)?),
            unknown => return Err(ControlError::Unknown(unknown)),
        })
    }
}
