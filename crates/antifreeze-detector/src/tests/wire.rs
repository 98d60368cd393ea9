//! Every message comes out as it went in, and nothing that comes from a peer panics.

use proptest::prelude::*;

use super::*;
use crate::report::Kind;
use crate::wire::{
    Again, Ask, Attach, Body, Child, Children, Decided, Hop, Malformed, Message, Part, Verdict,
};
use crate::{Hold, Member};

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z:.]{0,9}", ".{0,40}"]
}

fn edges() -> impl Strategy<Value = Vec<Edge>> {
    let edge = (any::<u64>(), any::<bool>()).prop_map(|(frame, soft)| Edge { frame, soft });
    prop::collection::vec(edge, 0..3)
}

fn peers() -> impl Strategy<Value = Peer> {
    (any::<u64>(), texts()).prop_map(|(node, address)| Peer { node, address })
}

fn needs() -> impl Strategy<Value = Need> {
    let holders = edges().prop_map(|all| all.into_iter().map(|edge| (edge, edge.frame)).collect());
    let permits = (any::<u64>(), any::<u64>(), holders, edges()).prop_map(
        |(wanted, free, holders, ahead)| graph::Need::Permits {
            wanted,
            free,
            holders,
            ahead,
        },
    );
    let local = prop_oneof![
        Just(graph::Need::External),
        edges().prop_map(graph::Need::All),
        edges().prop_map(graph::Need::Any),
        permits,
    ];
    let callees = prop_oneof![
        Just(Callee::Unknown),
        peers().prop_map(Callee::Native),
        (texts(), any::<bool>()).prop_map(|(location, single)| opaque(&location, single)),
    ];
    prop_oneof![
        local.prop_map(Need::Local),
        (any::<u64>(), callees).prop_map(|(seq, to)| Need::Call(Call { seq, to })),
    ]
}

fn abouts() -> impl Strategy<Value = About> {
    let hold = (texts(), texts(), texts()).prop_map(|(lock, mode, site)| Hold { lock, mode, site });
    let wait = (texts(), texts(), texts(), any::<u64>(), any::<bool>()).prop_map(
        |(lock, mode, site, ms, pool)| Wanted {
            lock,
            mode,
            site,
            ms,
            pool,
        },
    );
    let holds = prop::collection::vec(hold, 0..3);
    let waits = prop::collection::vec(wait, 0..3);
    (texts(), texts(), texts(), holds, waits).prop_map(|(agent, object, method, holds, waits)| {
        About {
            agent,
            object,
            method,
            holds,
            waits,
        }
    })
}

fn frames() -> impl Strategy<Value = Frame> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let numbers = (
        any::<u64>(),
        any::<u32>(),
        any::<i8>(),
        any::<u64>(),
        any::<u32>(),
    );
    let parent = prop::option::of((any::<u64>(), any::<u64>()));
    let waits = prop::collection::vec(needs(), 0..3);
    (flags, numbers, parent, waits, abouts(), any::<[u8; 16]>()).prop_map(
        |((timed, before_body, spared, external), numbers, parent, waits, about, chain)| {
            let (frame, times_victim, priority, birth, depth) = numbers;
            Frame {
                candidate: Candidate {
                    frame,
                    times_victim,
                    timed,
                    priority,
                    before_body,
                    birth,
                    depth,
                    spared,
                },
                parent: parent.map(|(node, seq)| CallId { node, seq }),
                chain,
                external,
                waited: Duration::ZERO,
                waits,
                about,
            }
        },
    )
}

fn children() -> impl Strategy<Value = Vec<Child>> {
    let child = (peers(), any::<u64>()).prop_map(|(peer, frame)| Child { peer, frame });
    prop::collection::vec(child, 0..3)
}

fn parts() -> impl Strategy<Value = Part> {
    let reading = (
        any::<u64>(),
        prop::collection::vec(frames(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(number, frames, truncated)| Reading {
            number,
            frames,
            truncated,
        });
    let known = (any::<u64>(), any::<u64>(), children())
        .prop_map(|(call, changes, known)| (call, Children { changes, known }));
    let hop =
        (any::<u64>(), peers(), any::<u64>(), texts()).prop_map(|(frame, caller, call, via)| Hop {
            frame,
            caller,
            call,
            via,
        });
    let ended = prop::collection::vec(any::<u64>(), 0..3);
    (
        reading,
        prop::collection::vec(known, 0..3),
        prop::collection::vec(hop, 0..3),
        ended,
    )
        .prop_map(|(reading, children, hops, ended)| Part {
            reading,
            children,
            hops,
            ended,
        })
}

fn reports() -> impl Strategy<Value = Report> {
    let member = (
        any::<u64>(),
        texts(),
        any::<u64>(),
        any::<[u8; 16]>(),
        abouts(),
    )
        .prop_map(|(node, address, frame, chain, about)| Member {
            node,
            address,
            frame,
            chain,
            about,
        });
    let kind = prop_oneof![
        Just(Kind::Cycle),
        Just(Kind::SelfLock),
        Just(Kind::Upgrade),
        Just(Kind::Pool)
    ];
    let members = prop::collection::vec(member, 0..20);
    (texts(), kind, members, any::<u32>(), any::<bool>()).prop_map(
        |(id, kind, members, left_out, inferred)| Report {
            id,
            kind,
            members,
            left_out,
            inferred,
        },
    )
}

fn bodies() -> impl Strategy<Value = Body> {
    let root = prop_oneof![
        any::<u64>().prop_map(Root::Frame),
        (any::<u64>(), any::<u64>()).prop_map(|(node, seq)| Root::Call(CallId { node, seq })),
    ];
    let ask = prop_oneof![root.prop_map(Ask::Root), any::<u64>().prop_map(Ask::Made),];
    let attach = (any::<u64>(), peers(), any::<u64>(), any::<bool>()).prop_map(
        |(call, peer, frame, ended)| {
            Body::Attach(Attach {
                call,
                child: Child { peer, frame },
                ended,
            })
        },
    );
    let verdict = (any::<u64>(), any::<u64>(), prop::option::of(reports())).prop_map(
        |(reading, frame, report)| {
            Body::Verdict(Verdict {
                reading,
                frame,
                report,
            })
        },
    );
    let numbers = || prop::collection::vec(any::<u64>(), 0..5);
    let again = (any::<u64>(), numbers(), numbers()).prop_map(|(reading, frames, calls)| Again {
        reading,
        frames,
        calls,
    });
    prop_oneof![
        prop::collection::vec(ask, 0..5).prop_map(Body::Gather),
        again.prop_map(Body::Confirm),
        attach,
        verdict,
        parts().prop_map(Body::Part),
        Just(Body::Gone),
        Just(Body::Changed),
        Just(Body::Attached),
        Just(Body::Decided(Decided::Stale)),
        Just(Body::Decided(Decided::Done)),
        Just(Body::Decided(Decided::Refused)),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    (any::<u32>(), any::<u64>(), any::<u64>(), bodies()).prop_map(|(request, from, to, body)| {
        Message {
            request,
            from,
            to,
            body,
        }
    })
}

proptest! {
    #[test]
    fn a_message_comes_out_as_it_went_in(message in messages()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn a_damaged_message_does_no_harm(
        message in messages(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = message.encode();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(read) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&read.encode()), Ok(read));
        }
    }

    #[test]
    fn any_bytes_can_be_put_in(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        message in messages(),
        answer: bool,
    ) {
        let mut world = World::new(CROSSING);
        world.run(Duration::from_millis(12));
        let mut message = message;
        message.to = 1;
        message.request %= 4;
        for bytes in [bytes, message.encode()] {
            match answer {
                true => world.on(1, Input::Answer { node: 2, bytes: &bytes }),
                false => world.on(1, Input::Request(&bytes)),
            };
            world.pass(Duration::from_millis(100));
        }
    }
}

#[track_caller]
fn refuse(bytes: &[u8], expected: &'static str) {
    assert_eq!(Message::decode(bytes), Err(Malformed(expected)));
}

#[test]
fn what_cannot_be_read_is_told_without_a_byte_of_it() {
    let head = |kind: u8| [vec![1, kind], vec![0; 22]].concat();
    refuse(&[], "expected more bytes");
    refuse(&[2; 24], "expected version 1");
    refuse(&head(9), "expected a type of message that is known");
    refuse(&[head(1), vec![255; 4]].concat(), "expected a shorter list");
    refuse(
        &[head(1), vec![0; 5]].concat(),
        "expected the end of the message",
    );
    let long = vec![1; crate::wire::MOST_BYTES + 1];
    refuse(&long, "expected a shorter message");
}

#[test]
fn of_a_long_cycle_those_near_the_victim_are_told() {
    let member = |n: u64| Member {
        node: n,
        about: About {
            waits: vec![Wanted::default(); 9],
            ..About::default()
        },
        ..Member::default()
    };
    let report = Report::new(7, (0..1000).map(member).collect(), false);
    assert_eq!((report.members.len(), report.left_out), (16, 984));
    assert_eq!(report.members[15].node, 15);
    assert_eq!(report.members[15].about.waits.len(), 4);
}
