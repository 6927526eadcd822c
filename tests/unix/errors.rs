//! What goes wrong says so: at connecting, at binding, at writing to a peer that is gone.

use std::fs;
use std::os::unix::net::UnixListener;

use tidegate::bootstrap::Bootstrap;
use tidegate::channel::options::SO_BACKLOG;
use tidegate::transport::tcp::Tcp;
use tidegate::transport::unix::UnixAddress;
use tidegate::{Address, ErrorKind, Fault};

use crate::support::*;

/// Rules: A17, A22
#[test]
fn a_connect_that_fails_says_why() {
    with_each_group(|group, folder| {
        let (bootstrap, _) = client(group);
        let stale = folder.path("stale");
        leave_stale(&stale);
        let file = folder.path("file");
        fs::write(&file, "").unwrap();
        let below = file.join("socket");
        for (path, kind, fault) in [
            (folder.path("none"), ErrorKind::NotFound, Fault::Caller),
            (stale, ErrorKind::ConnectRefused, Fault::Peer),
            (below, ErrorKind::NotFound, Fault::Caller),
            (
                folder.path(&"x".repeat(200)),
                ErrorKind::InvalidArgument,
                Fault::Caller,
            ),
        ] {
            let error = failed(bootstrap.connect(&path));
            assert_eq!((error.kind(), error.fault()), (kind, fault), "{error}");
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
        let error = failed(bootstrap.connect(&file));
        assert!(
            matches!(
                error.kind(),
                ErrorKind::ConnectRefused | ErrorKind::InvalidArgument
            ),
            "{error}"
        );
        assert_ne!(error.fault(), Fault::Us);
    });
}

/// Linux answers at once: there is nothing that would tell of room in the queue.
#[cfg(target_os = "linux")]
#[test]
fn a_full_queue_of_connections_is_an_error_and_not_a_wait() {
    with_each_group(|group, folder| {
        let path = folder.path("full");
        let server = tidegate::ServerBootstrap::new(group, group)
            .transport::<tidegate::transport::unix::UnixStream>()
            .option(SO_BACKLOG, 0)
            .option(tidegate::channel::options::AUTO_READ, false)
            .child_handler(|pipeline| pipeline.add_last(Echo));
        let server = ok(server.bind(&path));
        let (bootstrap, _) = client(group);
        let _first = ok(bootstrap.connect(&path));
        let error = failed(bootstrap.connect(&path));
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::Exhausted, Fault::Machine),
            "{error}"
        );
        ok(server.close());
    });
}

#[test]
fn a_bind_that_fails_says_why_and_leaves_no_file() {
    with_each_group(|group, folder| {
        let long = folder.path(&"x".repeat(200));
        let nowhere = folder.path("none/socket");
        for (path, kind) in [
            (long, ErrorKind::InvalidArgument),
            (nowhere, ErrorKind::NotFound),
        ] {
            let error = failed(server(group, || Echo).bind(&path));
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
        assert!(folder.names().is_empty());
    });
}

/// Rules: A17
#[test]
fn an_address_of_another_family_is_refused_by_name() {
    with_each_group(|group, _| {
        let inet = Address::from("127.0.0.1:80");
        let (unix, _) = client(group);
        let error = failed(unix.connect(inet));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("127.0.0.1:80"), "{error}");
        let tcp: Bootstrap<Tcp> = Bootstrap::new(group).handler(|_| Ok::<_, tidegate::Error>(()));
        let error = failed(tcp.connect(Address::from(UnixAddress::path("/run/x"))));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("/run/x"), "{error}");
    });
}

/// EPIPE: no signal, an error of the peer's, and the channel closes.
#[test]
fn writing_to_a_peer_that_is_gone_is_a_reset() {
    with_each_group(|group, folder| {
        let path = folder.path("gone");
        let listener = UnixListener::bind(&path).unwrap();
        let (bootstrap, seen) = client(group);
        let client = ok(bootstrap
            .option(tidegate::channel::options::AUTO_READ, false)
            .connect(&path));
        drop(listener.accept().unwrap());
        let error = failed(client.write_and_flush("to nobody"));
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::ConnectionReset, Fault::Peer),
            "{error}"
        );
        wait_for_the_end(&seen);
    });
}
