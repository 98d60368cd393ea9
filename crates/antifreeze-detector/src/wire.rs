//! Messages between detectors: how they are written and read.
//!
//! All numbers are big-endian. A message has a head of 24 bytes:
//!
//! ```text
//!  0      1      2        4          8               16              24
//! ┌──────┬──────┬────────┬──────────┬────────────────┬───────────────┐
//! │ver 1 │ type │ flags  │ request  │ from this node │ to this node  │ body
//! └──────┴──────┴────────┴──────────┴────────────────┴───────────────┘
//! ```
//!
//! Types are GATHER 1, ATTACH 2 and VERDICT 3; an answer has the type of its request and the high bit.
//! No byte of what cannot be read ends up in an error.

use std::time::Duration;

use antifreeze_sync::graph::{self, Candidate, Edge};

use crate::home::{About, Call, CallId, Callee, Frame, Hold, Need, Peer, Reading, Root, Wanted};
use crate::report::{Kind, Member, Report};

const VERSION: u8 = 1;
const ANSWER: u8 = 0x80;
/// How long a text may be; longer ones are cut.
const MOST_TEXT: usize = 200;
/// From here on, an answer says no more about its frames than what decides.
const MOST_ABOUT: usize = 256 * 1024;
/// How long a message may be.
pub(crate) const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A message with its head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) request: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Read these and what they wait for.
    Gather(Vec<Ask>),
    /// Read these once more, and compare.
    Confirm(Again),
    Attach(Attach),
    Verdict(Verdict),
    /// What was read, in either pass.
    Part(Part),
    /// The asked one has this number no more.
    Gone,
    /// Somebody is not in the same wait any more, or the reading is forgotten.
    Changed,
    Attached,
    Decided(Decided),
}

/// What a process is asked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Ask {
    /// What these wait for.
    Root(Root),
    /// Whom this call of its own led to, if it was not answered.
    Made(u64),
}

/// What a process is asked for once more: some frames of a reading, and some of its own calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Again {
    pub(crate) reading: u64,
    pub(crate) frames: Vec<u64>,
    pub(crate) calls: Vec<u64>,
}

/// What came of a verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decided {
    /// The wait is not the one that was read.
    Stale,
    Done,
    /// It is, but that cannot be done.
    Refused,
}

/// A frame reports itself to the process that made a call which led to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attach {
    /// The number of that call.
    pub(crate) call: u64,
    pub(crate) child: Child,
    /// It is over, or is no child any more.
    pub(crate) ended: bool,
}

/// A frame somewhere that a call led to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Child {
    pub(crate) peer: Peer,
    pub(crate) frame: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) reading: u64,
    pub(crate) frame: u64,
    /// Why it fails; none if it is let past others.
    pub(crate) report: Option<Report>,
}

/// What a process says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    pub(crate) reading: Reading,
    /// Of the opaque calls in it, and of those that were asked for and were not answered, by their
    /// numbers and in the order of those, whom they led to.
    pub(crate) children: Vec<(u64, Children)>,
    /// Which frames of it came through single-threaded hops.
    pub(crate) hops: Vec<Hop>,
    /// Frames that were asked for, and are nobody's children: they have ended, or their callers have
    /// hung up.
    pub(crate) ended: Vec<u64>,
}

/// How a frame came through a single-threaded hop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hop {
    pub(crate) frame: u64,
    /// Whoever made the call that led to it, and the call's number there.
    pub(crate) caller: Peer,
    pub(crate) call: u64,
    /// Where that call went.
    pub(crate) via: String,
}

/// Whom an opaque call led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Children {
    /// Another number whenever one came or went.
    pub(crate) changes: u64,
    pub(crate) known: Vec<Child>,
}

impl Hop {
    /// The call that led to it.
    pub(crate) fn parent(&self) -> CallId {
        CallId {
            node: self.caller.node,
            seq: self.call,
        }
    }
}

/// What cannot be read: what was expected, and not what came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(128));
        out.u8(VERSION);
        out.u8(self.body.code());
        out.u16(self.body.flags());
        out.u32(self.request);
        out.u64(self.from);
        out.u64(self.to);
        out.body(&self.body);
        out.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MOST_BYTES {
            return Err(Malformed("expected a shorter message"));
        }
        let mut input = Reader(bytes);
        if input.u8()? != VERSION {
            return Err(Malformed("expected version 1"));
        }
        let code = input.u8()?;
        let flags = input.u16()?;
        let (request, from, to) = (input.u32()?, input.u64()?, input.u64()?);
        let body = input.body(code, flags)?;
        match input.0 {
            [] => Ok(Self {
                request,
                from,
                to,
                body,
            }),
            _ => Err(Malformed("expected the end of the message")),
        }
    }
}

impl Body {
    fn code(&self) -> u8 {
        match self {
            Self::Gather(_) | Self::Confirm(_) => 1,
            Self::Attach(_) => 2,
            Self::Verdict(_) => 3,
            Self::Part(_) | Self::Changed => 1 | ANSWER,
            Self::Attached => 2 | ANSWER,
            Self::Decided(_) => 3 | ANSWER,
            Self::Gone => 0x7f | ANSWER,
        }
    }

    /// Which of those with the same type it is.
    fn flags(&self) -> u16 {
        match self {
            Self::Confirm(_) | Self::Changed => 1,
            Self::Decided(decided) => *decided as u16,
            _ => 0,
        }
    }

    pub(crate) fn is_answer(&self) -> bool {
        self.code() & ANSWER != 0
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    fn u16(&mut self, n: u16) {
        self.0.extend(n.to_be_bytes());
    }

    fn u32(&mut self, n: u32) {
        self.0.extend(n.to_be_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend(n.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        let mut end = text.len().min(MOST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = &text.as_bytes()[..end];
        self.u8(bytes.len() as u8);
        self.0.extend(bytes);
    }

    fn list<T>(&mut self, all: &[T], each: impl Fn(&mut Self, &T)) {
        self.u32(all.len() as u32);
        all.iter().for_each(|one| each(self, one));
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Gather(asks) => self.list(asks, |out, ask| match ask {
                Ask::Root(Root::Frame(frame)) => {
                    out.u8(0);
                    out.u64(*frame);
                }
                Ask::Root(Root::Call(call)) => {
                    out.u8(1);
                    out.call_id(*call);
                }
                Ask::Made(call) => {
                    out.u8(2);
                    out.u64(*call);
                }
            }),
            Body::Confirm(again) => {
                self.u64(again.reading);
                self.list(&again.frames, |out, frame| out.u64(*frame));
                self.list(&again.calls, |out, call| out.u64(*call));
            }
            Body::Attach(attach) => {
                self.u64(attach.call);
                self.child(&attach.child);
                self.u8(attach.ended.into());
            }
            Body::Verdict(verdict) => {
                self.u64(verdict.reading);
                self.u64(verdict.frame);
                self.list(verdict.report.as_slice(), Self::report);
            }
            Body::Part(part) => self.part(part),
            Body::Gone | Body::Changed | Body::Attached | Body::Decided(_) => {}
        }
    }

    fn call_id(&mut self, call: CallId) {
        self.u64(call.node);
        self.u64(call.seq);
    }

    fn peer(&mut self, peer: &Peer) {
        self.u64(peer.node);
        self.text(&peer.address);
    }

    fn child(&mut self, child: &Child) {
        self.peer(&child.peer);
        self.u64(child.frame);
    }

    fn part(&mut self, part: &Part) {
        self.u64(part.reading.number);
        self.u8(part.reading.truncated.into());
        self.list(&part.reading.frames, Self::frame);
        self.list(&part.children, |out, (call, children)| {
            out.u64(*call);
            out.u64(children.changes);
            out.list(&children.known, Self::child);
        });
        self.list(&part.hops, |out, hop| {
            out.u64(hop.frame);
            out.peer(&hop.caller);
            out.u64(hop.call);
            out.text(&hop.via);
        });
        self.list(&part.ended, |out, frame| out.u64(*frame));
    }

    fn frame(&mut self, frame: &Frame) {
        let Candidate {
            frame: number,
            times_victim,
            timed,
            priority,
            before_body,
            birth,
            depth,
            spared,
        } = frame.candidate;
        self.u64(number);
        let about = self.0.len() < MOST_ABOUT && frame.about != About::default();
        let flags = [
            timed,
            before_body,
            spared,
            frame.external,
            frame.parent.is_some(),
            about,
        ];
        self.u8(bits(&flags));
        self.u8(priority as u8);
        self.u32(times_victim);
        self.u32(depth);
        self.u64(birth);
        self.0.extend(frame.chain);
        if let Some(parent) = frame.parent {
            self.call_id(parent);
        }
        self.list(&frame.waits, |out, need| match need {
            Need::Local(need) => out.need(need),
            Need::Call(call) => out.call(call),
        });
        if about {
            self.about(&frame.about);
        }
    }

    fn need(&mut self, need: &graph::Need) {
        match need {
            graph::Need::External => self.u8(0),
            graph::Need::All(edges) => {
                self.u8(1);
                self.list(edges, Self::edge);
            }
            graph::Need::Any(edges) => {
                self.u8(2);
                self.list(edges, Self::edge);
            }
            graph::Need::Permits {
                wanted,
                free,
                holders,
                ahead,
            } => {
                self.u8(3);
                self.u64(*wanted);
                self.u64(*free);
                self.list(holders, |out, (edge, permits)| {
                    out.edge(edge);
                    out.u64(*permits);
                });
                self.list(ahead, Self::edge);
            }
        }
    }

    fn edge(&mut self, edge: &Edge) {
        self.u64(edge.frame);
        self.u8(edge.soft.into());
    }

    fn call(&mut self, call: &Call) {
        match &call.to {
            Callee::Native(peer) => {
                self.u8(4);
                self.u64(call.seq);
                self.peer(peer);
            }
            Callee::Opaque {
                location,
                single_threaded,
            } => {
                self.u8(5 + u8::from(*single_threaded));
                self.u64(call.seq);
                self.text(location);
            }
            Callee::Unknown => {
                self.u8(7);
                self.u64(call.seq);
            }
        }
    }

    fn about(&mut self, about: &About) {
        self.text(&about.agent);
        self.text(&about.object);
        self.text(&about.method);
        self.list(&about.holds, |out, hold| {
            out.text(&hold.lock);
            out.text(&hold.mode);
            out.text(&hold.site);
        });
        self.list(&about.waits, |out, wait| {
            out.text(&wait.lock);
            out.text(&wait.mode);
            out.text(&wait.site);
            out.u64(wait.ms);
            out.u8(wait.pool.into());
        });
    }

    fn report(&mut self, report: &Report) {
        self.text(&report.id);
        self.u8(report.kind as u8);
        self.u8(report.inferred.into());
        self.u32(report.left_out);
        self.list(&report.members, |out, member| {
            out.u64(member.node);
            out.text(&member.address);
            out.u64(member.frame);
            out.0.extend(member.chain);
            out.about(&member.about);
        });
    }
}

fn bits(flags: &[bool]) -> u8 {
    let numbered = flags.iter().enumerate();
    numbered.map(|(place, flag)| u8::from(*flag) << place).sum()
}

struct Reader<'a>(&'a [u8]);

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("expected more bytes"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Read<u8> {
        self.bytes().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Read<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Read<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Read<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn flag(&mut self) -> Read<bool> {
        Ok(self.u8()? & 1 != 0)
    }

    fn text(&mut self) -> Read<String> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("expected a longer text"))?;
        self.0 = rest;
        let text = str::from_utf8(text).map_err(|_| Malformed("expected UTF-8"))?;
        Ok(text.to_owned())
    }

    /// A list whose entries take `least` bytes or more each, so that a short message cannot ask for much
    /// memory.
    fn list<T>(
        &mut self,
        least: usize,
        mut each: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let length = self.u32()? as usize;
        if length.saturating_mul(least) > self.0.len() {
            return Err(Malformed("expected a shorter list"));
        }
        let mut all = Vec::with_capacity(length);
        for _ in 0..length {
            all.push(each(self)?);
        }
        Ok(all)
    }

    fn body(&mut self, code: u8, flags: u16) -> Read<Body> {
        Ok(match (code, flags) {
            (1, 0) => Body::Gather(self.list(9, |input| {
                Ok(match input.u8()? {
                    0 => Ask::Root(Root::Frame(input.u64()?)),
                    1 => Ask::Root(Root::Call(input.call_id()?)),
                    2 => Ask::Made(input.u64()?),
                    _ => return Err(Malformed("expected a frame or a call")),
                })
            })?),
            (1, 1) => Body::Confirm(Again {
                reading: self.u64()?,
                frames: self.list(8, Self::u64)?,
                calls: self.list(8, Self::u64)?,
            }),
            (2, _) => Body::Attach(Attach {
                call: self.u64()?,
                child: self.child()?,
                ended: self.flag()?,
            }),
            (3, _) => Body::Verdict(Verdict {
                reading: self.u64()?,
                frame: self.u64()?,
                report: self.list(10, Self::report)?.pop(),
            }),
            (0x81, 0) => Body::Part(self.part()?),
            (0x81, 1) => Body::Changed,
            (0x82, _) => Body::Attached,
            (0x83, 0) => Body::Decided(Decided::Stale),
            (0x83, 1) => Body::Decided(Decided::Done),
            (0x83, 2) => Body::Decided(Decided::Refused),
            (0xff, _) => Body::Gone,
            _ => return Err(Malformed("expected a type of message that is known")),
        })
    }

    fn call_id(&mut self) -> Read<CallId> {
        Ok(CallId {
            node: self.u64()?,
            seq: self.u64()?,
        })
    }

    fn peer(&mut self) -> Read<Peer> {
        Ok(Peer {
            node: self.u64()?,
            address: self.text()?,
        })
    }

    fn child(&mut self) -> Read<Child> {
        Ok(Child {
            peer: self.peer()?,
            frame: self.u64()?,
        })
    }

    fn part(&mut self) -> Read<Part> {
        let (number, truncated) = (self.u64()?, self.flag()?);
        Ok(Part {
            reading: Reading {
                number,
                truncated,
                frames: self.list(46, Self::frame)?,
            },
            children: self.list(20, |input| {
                let (call, changes) = (input.u64()?, input.u64()?);
                let known = input.list(17, Self::child)?;
                Ok((call, Children { changes, known }))
            })?,
            hops: self.list(26, |input| {
                Ok(Hop {
                    frame: input.u64()?,
                    caller: input.peer()?,
                    call: input.u64()?,
                    via: input.text()?,
                })
            })?,
            ended: self.list(8, Self::u64)?,
        })
    }

    fn frame(&mut self) -> Read<Frame> {
        let (frame, flags) = (self.u64()?, self.u8()?);
        let flag = |place: u32| flags & 1 << place != 0;
        let candidate = Candidate {
            frame,
            timed: flag(0),
            before_body: flag(1),
            spared: flag(2),
            priority: self.u8()? as i8,
            times_victim: self.u32()?,
            depth: self.u32()?,
            birth: self.u64()?,
        };
        let chain = self.bytes()?;
        let parent = match flag(4) {
            true => Some(self.call_id()?),
            false => None,
        };
        let waits = self.list(1, Self::need)?;
        let about = match flag(5) {
            true => self.about()?,
            false => About::default(),
        };
        Ok(Frame {
            candidate,
            parent,
            chain,
            external: flag(3),
            waited: Duration::ZERO,
            waits,
            about,
        })
    }

    fn need(&mut self) -> Read<Need> {
        let edge = Self::edge;
        let need = match self.u8()? {
            0 => graph::Need::External,
            1 => graph::Need::All(self.list(9, edge)?),
            2 => graph::Need::Any(self.list(9, edge)?),
            3 => graph::Need::Permits {
                wanted: self.u64()?,
                free: self.u64()?,
                holders: self.list(17, |input| Ok((input.edge()?, input.u64()?)))?,
                ahead: self.list(9, edge)?,
            },
            code @ 4..=7 => return Ok(Need::Call(self.call(code)?)),
            _ => return Err(Malformed("expected a need that is known")),
        };
        Ok(Need::Local(need))
    }

    fn edge(&mut self) -> Read<Edge> {
        Ok(Edge {
            frame: self.u64()?,
            soft: self.flag()?,
        })
    }

    fn call(&mut self, code: u8) -> Read<Call> {
        Ok(Call {
            seq: self.u64()?,
            to: match code {
                4 => Callee::Native(self.peer()?),
                5 | 6 => Callee::Opaque {
                    location: self.text()?,
                    single_threaded: code == 6,
                },
                _ => Callee::Unknown,
            },
        })
    }

    fn about(&mut self) -> Read<About> {
        Ok(About {
            agent: self.text()?,
            object: self.text()?,
            method: self.text()?,
            holds: self.list(3, |input| {
                Ok(Hold {
                    lock: input.text()?,
                    mode: input.text()?,
                    site: input.text()?,
                })
            })?,
            waits: self.list(12, |input| {
                Ok(Wanted {
                    lock: input.text()?,
                    mode: input.text()?,
                    site: input.text()?,
                    ms: input.u64()?,
                    pool: input.flag()?,
                })
            })?,
        })
    }

    fn report(&mut self) -> Read<Report> {
        let id = self.text()?;
        let kind = match self.u8()? {
            0 => Kind::Cycle,
            1 => Kind::SelfLock,
            2 => Kind::Upgrade,
            3 => Kind::Pool,
            _ => return Err(Malformed("expected a kind of deadlock that is known")),
        };
        Ok(Report {
            id,
            kind,
            inferred: self.flag()?,
            left_out: self.u32()?,
            members: self.list(44, |input| {
                Ok(Member {
                    node: input.u64()?,
                    address: input.text()?,
                    frame: input.u64()?,
                    chain: input.bytes()?,
                    about: input.about()?,
                })
            })?,
        })
    }
}
