//! File regions (rule C20).

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate::buffer::FileRegion;
use tidegate::channel::options::AUTO_CLOSE;
use tidegate::error::ErrorKind;

use crate::place::{Place, SMALL, everywhere_with};
use crate::probe::{DEADLINE, Seen, wait_for};
use crate::row::Feature;

/// A file of one test, removed at its end.
struct Temp(PathBuf);

impl Temp {
    fn with(contents: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("tidegate-files-{}-{number}", std::process::id()));
        File::create(&path)
            .and_then(|mut file| file.write_all(contents))
            .unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with_files(test: impl Fn(&Place<'_>)) {
    everywhere_with(&[Feature::SendsFiles], test);
}

fn contents(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_be_bytes).collect()
}

/// Rules: C16, C20
#[test]
fn regions_and_buffers_arrive_in_the_order_of_their_writes() {
    with_files(|place| {
        let bytes = contents(1 << 20);
        let file = Temp::with(&bytes);
        let (client, mut peer, _seen) = place.client_and_peer(|recipe| place.narrow(recipe, SMALL));
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        client.write("head ");
        client.write(FileRegion::open(&file.0, 1000, 300_000).unwrap());
        client.write(" middle ");
        client.write(FileRegion::new(File::open(&file.0).unwrap(), 0, 0));
        client.write(FileRegion::lazy(&file.0, 7, 9));
        client.write(FileRegion::whole(&file.0).unwrap());
        client
            .write_and_flush(" tail")
            .sync_timeout(DEADLINE)
            .unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
        let mut expected = b"head ".to_vec();
        expected.extend_from_slice(&bytes[1000..301_000]);
        expected.extend_from_slice(b" middle ");
        expected.extend_from_slice(&bytes[7..16]);
        expected.extend_from_slice(&bytes);
        expected.extend_from_slice(b" tail");
        assert!(reading.join().unwrap() == expected);
    });
}

/// Rules: C20
#[test]
fn a_file_shorter_than_its_region_fails_the_write_and_ends_the_connection() {
    with_files(|place| {
        let file = Temp::with(&contents(250));
        let (client, mut peer, seen) = place.client_and_peer(|recipe| recipe);
        let region = client.write_future(FileRegion::open(&file.0, 0, 5000).unwrap());
        let behind = client.write_future("never sent");
        client.flush();
        let error = region.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooShort);
        assert!(error.to_string().contains("1000 bytes"), "{error}");
        assert_eq!(
            behind.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::FileTooShort
        );
        wait_for(&seen, &Seen::Inactive);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, contents(250), "what there was, and then the end");
    });
}

/// Rules: C20
#[test]
fn a_file_that_is_not_there_fails_the_write() {
    with_files(|place| {
        let (client, _peer, seen) = place.client_and_peer(|recipe| recipe);
        let region = client.write_and_flush(FileRegion::lazy("/nonexistent/file", 0, 5));
        let error = region.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("/nonexistent/file"), "{error}");
        wait_for(&seen, &Seen::Inactive);
    });
}

/// Rules: A44
#[test]
fn without_auto_close_a_write_error_ends_the_output_only() {
    with_files(|place| {
        let file = Temp::with(&contents(250));
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(AUTO_CLOSE, false));
        let region = client.write_and_flush(FileRegion::open(&file.0, 0, 5000).unwrap());
        let error = region.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooShort);
        wait_for(&seen, &Seen::Event("ChannelOutputShutdown"));
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, contents(250), "what there was, and then the end");
        assert!(client.is_active());
        peer.write_all(b"still readable").unwrap();
        wait_for(&seen, &Seen::Read(b"still readable".to_vec()));
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}
