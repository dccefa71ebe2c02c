#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::link::{PARENT, Role, Slot};
use std::fs::File;
use std::io::Write;
use tokio::task::LocalSet;

const HCE: Peer = Peer {
    role: Role::Hce,
    instance: 0,
};
const PARENT_PEER: Peer = Peer {
    role: Role::Parent,
    instance: 0,
};

fn verbose(level: u8) -> Incoming {
    Incoming {
        from: PARENT_PEER,
        message: Message::Verbose { level },
        descriptors: Vec::new(),
    }
}

#[tokio::test]
async fn messages_and_descriptors_cross_in_order() {
    LocalSet::new()
        .run_until(async {
            let (a, b) = StdStream::pair().unwrap();
            let mut parent = parent_end(a, HCE).unwrap();
            let (mut link, end) = child_end(b, HCE, |_| ()).unwrap();
            let null: OwnedFd = File::open("/dev/null").unwrap().into();
            parent.inbox.send(verbose(1)).await.unwrap();
            let descriptors = Incoming {
                from: PARENT_PEER,
                message: Message::Descriptors {
                    slots: vec![Slot::Icmp4],
                },
                descriptors: vec![null],
            };
            parent.inbox.send(descriptors).await.unwrap();
            parent.inbox.send(verbose(2)).await.unwrap();

            let first = link.inbox.recv().await.unwrap();
            assert_eq!(first.from, PARENT_PEER);
            assert!(matches!(first.message, Message::Verbose { level: 1 }));
            let second = link.inbox.recv().await.unwrap();
            assert_eq!(second.descriptors.len(), 1);
            let third = link.inbox.recv().await.unwrap();
            assert!(matches!(third.message, Message::Verbose { level: 2 }));
            assert!(third.descriptors.is_empty());

            link.sender.tell(PARENT, Message::Stop).await.unwrap();
            end.finish(Duration::from_secs(5)).await;
            let got = parent.outbox.recv().await.unwrap();
            assert_eq!(got.to, PARENT);
            assert!(matches!(got.message, Message::Stop));
        })
        .await;
}

#[tokio::test]
async fn a_message_larger_than_the_socket_buffer_crosses() {
    LocalSet::new()
        .run_until(async {
            let (a, b) = StdStream::pair().unwrap();
            let mut parent = parent_end(a, HCE).unwrap();
            let (link, _end) = child_end(b, HCE, |_| ()).unwrap();
            let line = "x".repeat(3 << 20);
            let message = Message::Log {
                severity: 6,
                line: line.clone(),
            };
            link.sender.tell(PARENT, message).await.unwrap();
            let Message::Log { line: got, .. } = parent.outbox.recv().await.unwrap().message else {
                panic!("another message");
            };
            assert!(got == line);
        })
        .await;
}

#[tokio::test]
async fn each_end_sees_the_other_close() {
    LocalSet::new()
        .run_until(async {
            let (a, b) = StdStream::pair().unwrap();
            let Remote { inbox, mut outbox } = parent_end(a, HCE).unwrap();
            let (mut link, end) = child_end(b, HCE, |_| ()).unwrap();
            drop(inbox);
            assert!(link.inbox.recv().await.is_none());
            drop(link);
            end.finish(Duration::from_secs(5)).await;
            assert!(outbox.recv().await.is_none());
        })
        .await;
}

#[tokio::test]
async fn garbage_closes_the_link() {
    LocalSet::new()
        .run_until(async {
            for garbage in [
                &[0xff; 64][..],
                &[4, 0, 0, 0, 99, 0, 0, 0, 1, 2, 3, 4],
                &[1, 0, 0, 0, 1, 0, 3, 0, 0],
            ] {
                let (a, mut b) = StdStream::pair().unwrap();
                let mut parent = parent_end(a, HCE).unwrap();
                b.write_all(garbage).unwrap();
                assert!(parent.outbox.recv().await.is_none());
            }
        })
        .await;
}

#[tokio::test]
async fn the_first_message_is_read_alone() {
    LocalSet::new()
        .run_until(async {
            let (a, mut b) = StdStream::pair().unwrap();
            let parent = parent_end(a, HCE).unwrap();
            parent.inbox.send(verbose(1)).await.unwrap();
            parent.inbox.send(verbose(2)).await.unwrap();
            let first = tokio::task::spawn_blocking(move || {
                let first = read_first(&mut b).unwrap();
                (first, b)
            });
            let (first, b) = first.await.unwrap();
            assert!(matches!(first, Message::Verbose { level: 1 }));
            let (mut link, _end) = child_end(b, HCE, |_| ()).unwrap();
            let second = link.inbox.recv().await.unwrap().message;
            assert!(matches!(second, Message::Verbose { level: 2 }));
        })
        .await;
}

#[test]
fn too_many_descriptors_are_refused() {
    assert!(matches!(
        encode(&1u8, pass::DESCRIPTORS_MAX + 1),
        Err(TransportError::Descriptors(201))
    ));
}
