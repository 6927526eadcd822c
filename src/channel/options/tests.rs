//! What the options promise: names, ranges, order, the kernel's units.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::buffer::RecvAllocator;
use crate::channel::outbound::ENTRY_OVERHEAD;
use crate::error::{ErrorKind, Fault};

#[test]
fn later_values_replace_earlier_ones_in_place() {
    // G5
    let mut options = OptionSet::new();
    options.set(SO_RCVBUF, 1000).unwrap();
    options.set(TCP_NODELAY, false).unwrap();
    options.set(SO_RCVBUF, 2000).unwrap();
    let order: Vec<_> = options.iter().map(|(id, _)| id).collect();
    assert_eq!(order, [OptionId::SoRcvbuf, OptionId::TcpNodelay]);
    assert_eq!(options.get(SO_RCVBUF), Some(2000));
    assert_eq!(
        format!("{options:?}"),
        r#"{"SO_RCVBUF": 2000, "TCP_NODELAY": false}"#
    );
}

#[test]
fn a_removed_option_is_unset_and_the_rest_keeps_its_order() {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).unwrap();
    options.set(AUTO_CLOSE, false).unwrap();
    options.set(IP_TOS, 8).unwrap();
    assert!(options.remove(AUTO_READ.id()));
    assert!(!options.remove(AUTO_READ.id()));
    assert_eq!(options.get(AUTO_READ), None);
    assert_eq!(options.get(IP_TOS), Some(8));
    assert_eq!(options.len(), 2);
}

#[test]
fn a_clone_is_a_snapshot() {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).unwrap();
    let snapshot = options.clone();
    options.set(AUTO_READ, true).unwrap();
    assert_eq!(snapshot.get(AUTO_READ), Some(false));
}

#[test]
fn values_out_of_range_are_refused_with_name_value_and_range() {
    let mut options = OptionSet::new();
    options.set(TCP_KEEPCNT, 3).unwrap();
    let error = options.set(TCP_KEEPCNT, 128).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.fault(), Fault::Caller);
    assert_eq!(
        error.to_string(),
        "option TCP_KEEPCNT: 128 is outside 1..=127"
    );
    assert_eq!(options.get(TCP_KEEPCNT), Some(3));

    let error = options.set(TCP_KEEPIDLE, Duration::ZERO).unwrap_err();
    assert_eq!(
        error.to_string(),
        "option TCP_KEEPIDLE: 0ns is outside 1s..=32767s"
    );
    let year = Duration::from_secs(365 * 24 * 3600);
    assert!(options.set(TCP_USER_TIMEOUT, year).is_err());
    assert!(options.set(SO_LINGER, Some(year)).is_err());
    // A channel keeps these in two bytes.
    for count in [WRITE_SPIN_COUNT, MAX_MESSAGES_PER_READ] {
        assert!(options.set(count, 0).is_err());
        assert!(options.set(count, 65_535).is_ok());
        let error = options.set(count, 65_536).unwrap_err();
        let text = format!("option {}: 65536 is outside 1..=65535", count.name());
        assert_eq!(error.to_string(), text);
    }
    assert!(
        options
            .set(RECV_ALLOCATOR, RecvAllocator::Fixed(0))
            .is_err()
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    let mut options = OptionSet::new();
    let error = options
        .set_erased(OptionId::TcpNodelay, OptionValue::Int(1))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "option TCP_NODELAY: 1 is not true or false"
    );
    let off = OptionValue::Duration(None);
    assert!(
        options
            .set_erased(OptionId::ConnectTimeout, off.clone())
            .is_err()
    );
    assert!(options.set_erased(OptionId::SoLinger, off).is_ok());
    assert_eq!(options.get(SO_LINGER), Some(None));
}

#[test]
fn times_reach_the_kernel_rounded_up_in_its_unit() {
    let erased = |time| OptionValue::Duration(Some(time));
    let millis = Duration::from_millis(1500);
    assert_eq!(OptionId::TcpKeepidle.to_kernel(&erased(millis)), Some(2));
    assert_eq!(
        OptionId::TcpUserTimeout.to_kernel(&erased(millis)),
        Some(1500)
    );
    let nano = Duration::from_nanos(1);
    assert_eq!(OptionId::SoBusyPoll.to_kernel(&erased(nano)), Some(1));
    assert_eq!(
        OptionId::SoLinger.to_kernel(&OptionValue::Duration(None)),
        None
    );
    assert_eq!(
        OptionId::TcpCork.to_kernel(&OptionValue::Bool(true)),
        Some(1)
    );
    assert_eq!(OptionId::ConnectTimeout.to_kernel(&erased(millis)), None);
}

#[test]
fn what_the_kernel_says_comes_back_typed() {
    let back = |id: OptionId, number| id.from_kernel(number).unwrap();
    assert_eq!(
        TCP_NODELAY.restore(&back(OptionId::TcpNodelay, 4)),
        Some(true)
    );
    assert_eq!(
        SO_SNDBUF.restore(&back(OptionId::SoSndbuf, 4096)),
        Some(4096)
    );
    let idle = back(OptionId::TcpKeepidle, 60);
    assert_eq!(TCP_KEEPIDLE.restore(&idle), Some(Duration::from_secs(60)));
    assert_eq!(SO_LINGER.restore(&back(OptionId::SoLinger, -1)), Some(None));
    assert!(OptionId::AcceptOverload.from_kernel(1).is_none());
}

#[test]
fn every_constant_agrees_with_its_id_in_name_and_type() {
    let samples = [
        OptionValue::Bool(true),
        OptionValue::Int(100),
        OptionValue::Duration(Some(Duration::from_secs(5))),
        OptionValue::WaterMark(WaterMark::default()),
        OptionValue::Recv(RecvAllocator::default()),
        OptionValue::Overload(AcceptOverload::Shed),
    ];
    let constants = catalogue::all();
    for (name, id, takes) in &constants {
        assert_eq!(*name, id.name());
        let fitting: Vec<_> = samples
            .iter()
            .filter(|value| id.check(value).is_ok())
            .collect();
        assert_eq!(fitting.len(), 1, "{name}");
        assert!(takes(fitting[0]), "{name}");
    }
    let ids: Vec<_> = constants.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(ids, OptionId::ALL);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert_eq!(format!("{TCP_NODELAY:?}"), "ChannelOption(TCP_NODELAY)");
}

#[test]
fn options_of_users_own_are_told_apart_by_name() {
    const SPEED: ChannelOption<i32> = ChannelOption::named("serial.SPEED");
    const NODELAY: ChannelOption<bool> = ChannelOption::named("TCP_NODELAY");
    let mut options = OptionSet::new();
    options.set(SPEED, -9600).unwrap();
    options.set(NODELAY, true).unwrap();
    let same: ChannelOption<i32> = ChannelOption::named("serial.SPEED");
    assert_eq!(options.get(same), Some(-9600));
    let other_type: ChannelOption<bool> = ChannelOption::named("serial.SPEED");
    assert_eq!(options.get(other_type), None);
    assert_eq!(options.get(TCP_NODELAY), None);
}

#[test]
fn water_marks_are_in_order() {
    let marks = WaterMark::new(10, 10).unwrap();
    assert_eq!((marks.low(), marks.high()), (10, 10));
    let error = WaterMark::new(11, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let default = WaterMark::default();
    assert_eq!((default.low(), default.high()), (32_768, 65_536));
}

#[test]
fn a_full_read_that_is_passed_on_stays_below_the_high_water_mark() {
    let RecvAllocator::Adaptive { max, .. } = RecvAllocator::default() else {
        panic!("reads adapt by default");
    };
    let high = WaterMark::default().high();
    assert!(max + ENTRY_OVERHEAD <= high, "unwritable is above the mark");
    assert!(max + 2 * ENTRY_OVERHEAD > high, "and no more is given away");
}

#[test]
fn sets_and_values_travel_between_threads() {
    fn travels<T: Send + Sync>() {}
    travels::<OptionSet>();
    travels::<OptionValue>();
    travels::<ChannelOption<std::cell::Cell<u8>>>();
}
